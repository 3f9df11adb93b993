"""Fit the spectrum of every voxel."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.lifetime import _voxel
from psimg.lifetime._emg import bin_shares
from psimg.lifetime.model import LifetimeModel, require_free_ops, require_windows
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.levels import RandomLevels, estimate_levels
from psimg.spectra.randoms import flat_shape
from psimg.spectra.values import LifetimeSpectra

log = logging.getLogger(__name__)

_BLOCK = 4096
_LEAST_FAST = 0.01
"""Share of positrons in the fast group below which its mixture is noise."""


def fit_voxels(
    spectra: LifetimeSpectra,
    *,
    model: LifetimeModel,
    calibration: SpectrumFit | None = None,
    levels: RandomLevels | None = None,
    shape: NDArray[np.float64] | None = None,
    options: FitOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ParameterMaps:
    """Fit o-Ps lifetime, intensity, amplitude and background in each voxel.

    A voxel has too few events to tell the fast components apart. All that is not o-Ps (and, under
    the ``ps-ratio`` rule, its third of p-Ps) is one group of fixed shape: its components' shares
    are those of ``calibration``, or else of the model.

    Parameters
    ----------
    spectra : LifetimeSpectra
        Spectra of voxels.
    model : LifetimeModel
        The model; its response must be known and only the o-Ps lifetime free.
    calibration : SpectrumFit, optional
        A fit of all events, for the mixture of the fast components and the shape of class II.
    levels : RandomLevels, optional
        Measured randoms of each voxel, with their errors' worth of counts; from the voxels' own
        delayed events when left out. The ``flat`` background takes none.
    shape : (B,) array, optional
        Shares of the unrelated randoms in each bin, from `measure_shape`; flat when left out.
    options : FitOptions, optional
        Smallest number of events and of steps.
    progress : callable, optional
        Called as ``progress(voxels_done, voxels_total)`` after each block of voxels.

    Returns
    -------
    ParameterMaps
        ``tau_ops``, ``intensity_ops``, ``signal`` and ``background``, with standard errors from
        the observed information and a `FitStatus` for each voxel.

    Raises
    ------
    DataError
        If the spectra are not of voxels.
    SettingsError
        If the response is not known, a lifetime other than that of o-Ps is free, or the
        background asks for delayed windows and there are none.
    """
    options = options or FitOptions()
    if spectra.grid is None or spectra.voxel is None:
        raise DataError("these spectra are of regions; fit them with fit_regions")
    require_free_ops(model)
    mu, sigma = model.response.mu_ns, model.response.sigma_ns
    if mu is None or sigma is None:
        raise SettingsError(
            "voxels are fitted with a known response; calibrate it on all events first, or set "
            "model.response"
        )
    if any(c.free for k, c in enumerate(model.components) if k != model.ops):
        raise SettingsError("voxels are fitted with only the o-Ps lifetime free; fix the others")
    require_windows(model, spectra.n_sets)
    class_2 = _class_2_shape(model, calibration)
    if model.background == "flat":
        levels = RandomLevels.unknown(len(spectra))
    elif levels is None:
        levels = estimate_levels(spectra, with_class_2=model.background == "four-set")
    fast_link, ops_link = _two_groups(model, calibration)
    shares = np.empty((len(model.components), len(spectra.edges_ns) - 1))
    for k, component in enumerate(model.components):
        bin_shares(spectra.edges_ns, component.tau_ns, sigma, mu, shares[k])
    others = ops_link.copy()
    others[model.ops] = 0.0
    # Arrays of one kind whatever the background: another kind would be compiled anew.
    measured = shape is not None and model.background != "flat"
    flat = np.array(shape) if measured else flat_shape(spectra.edges_ns)
    share = np.array(levels.class_2_share) if class_2 is not None else np.zeros(len(spectra))
    ops = model.components[model.ops]
    n_voxel = len(spectra)
    values = np.empty((n_voxel, 4))
    covariance = np.empty((n_voxel, 4, 4))
    deviance = np.empty(n_voxel)
    status = np.empty(n_voxel, np.uint8)
    for start in range(0, n_voxel, _BLOCK):
        block = slice(start, min(start + _BLOCK, n_voxel))
        _voxel.fit_all(
            spectra.counts[block],
            levels.count[block],
            levels.scale[block],
            spectra.edges_ns,
            mu,
            sigma,
            fast_link @ shares,
            others @ shares,
            float(ops_link[model.ops]),
            flat,
            flat if class_2 is None else class_2,
            share[block],
            bool(fast_link.any()),
            spectra.edges_ns[1:] < mu - 5 * sigma - 0.5,
            np.array([0.0, 0.0, 0.0, ops.range_ns[0]]),
            np.array([np.inf, np.inf, np.inf, ops.range_ns[1]]),
            ops.tau_ns,
            options.min_counts,
            options.max_iter,
            values[block],
            covariance[block],
            deviance[block],
            status[block],
        )
        if progress is not None:
            progress(block.stop, n_voxel)
    log.info(
        "voxels: %d with events, %s",
        n_voxel,
        ", ".join(f"{np.count_nonzero(status == s)} {s.name.lower()}" for s in FitStatus),
    )
    return _maps(
        spectra, values, covariance, deviance, status, fast_link, ops_link, model,
        model.background != "flat",
    )  # fmt: skip


def _class_2_shape(
    model: LifetimeModel, calibration: SpectrumFit | None
) -> NDArray[np.float64] | None:
    """Return the (B,) shape of class II as the fit of all events found it; None if it did not."""
    if model.background != "four-set" or calibration is None:
        return None
    total = calibration.class_2.sum()
    return calibration.class_2 / total if np.isfinite(total) and total > 0 else None


def _two_groups(
    model: LifetimeModel, calibration: SpectrumFit | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (K,) events per component for one event of the fast and of the o-Ps group."""
    groups, link = model.groups
    if len(groups) == 1:
        return np.zeros(len(link)), link[:, 0]
    ops = link[:, groups.index(model.names[model.ops])]
    own = np.array([c.intensity or 0.0 for c in model.components])
    fitted = own if calibration is None else calibration.intensities
    for shares in (fitted, own):
        # What the o-Ps group brings along is not the fast group's.
        fast = np.maximum(shares - ops * shares[model.ops] / ops[model.ops], 0.0)
        fast[model.ops] = 0.0
        # A calibration without a value, or with next to no fast components, has no mixture to give.
        if fast.sum() > _LEAST_FAST:
            return fast / fast.sum(), ops
    raise SettingsError("the components' intensities leave nothing beside o-Ps; state them")


def _maps(
    spectra: LifetimeSpectra,
    values: NDArray[np.float64],
    covariance: NDArray[np.float64],
    deviance: NDArray[np.float64],
    status: NDArray[np.uint8],
    fast_link: NDArray[np.float64],
    ops_link: NDArray[np.float64],
    model: LifetimeModel,
    level_known: bool,
) -> ParameterMaps:
    """Turn amplitudes into intensity and signal, with errors by propagation."""
    assert spectra.grid is not None
    assert spectra.voxel is not None
    amplitude = values[:, : _voxel.OPS + 1]
    block = covariance[:, : _voxel.OPS + 1, : _voxel.OPS + 1]
    per_unit = np.array([fast_link.sum(), ops_link.sum()])
    ops_per_unit = np.array([0.0, ops_link[model.ops]])
    signal = amplitude @ per_unit
    intensity = amplitude @ ops_per_unit / signal
    jacobian = (ops_per_unit - intensity[:, None] * per_unit) / signal[:, None]
    intensity_variance = np.einsum("va,vab,vb->v", jacobian, block, jacobian)
    signal_variance = np.einsum("a,vab,b->v", per_unit, block, per_unit)
    columns = {
        "tau_ops": (
            "ns",
            values[:, _voxel.TAU],
            covariance[:, _voxel.TAU, _voxel.TAU],
        ),
        "intensity_ops": ("1", intensity, intensity_variance),
        "signal": ("counts", signal, signal_variance),
        "background": (
            "counts",
            values[:, _voxel.BACKGROUND],
            covariance[:, _voxel.BACKGROUND, _voxel.BACKGROUND].copy(),
        ),
    }
    # A background of zero lies on its bound and has no symmetric error.
    background = columns["background"][2]
    background[background == 0.0] = np.nan
    n_free = 4 if fast_link.any() else 3
    return ParameterMaps(
        grid=spectra.grid,
        names=tuple(columns),
        units=tuple(unit for unit, _, _ in columns.values()),
        voxel=spectra.voxel,
        values=np.stack([column for _, column, _ in columns.values()], axis=1),
        errors=np.sqrt(np.stack([variance for _, _, variance in columns.values()], axis=1)),
        deviance=deviance,
        ndf=spectra.counts.shape[1] + level_known - n_free,
        status=status,
    )
