"""Fit the spectrum of every voxel."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus, ParameterMaps
from psimg.lifetime import _voxel
from psimg.lifetime._voxel_blocks import fit_all
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.lifetime.voxel_task import VoxelTask, prepare
from psimg.spectra.levels import RandomLevels
from psimg.spectra.values import LifetimeSpectra

log = logging.getLogger(__name__)

_BLOCK = 4096


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
        the observed information (and the variances of weighted counts) and a `FitStatus` for each
        voxel. With ``options.intervals = "profile"`` also ``tau_ops_low`` and ``tau_ops_high``; an
        end beyond a bound of the mean life is that bound. A voxel whose status is ``AT_BOUND`` has
        them, too: they say what its events exclude.

    Raises
    ------
    DataError
        If the spectra are not of voxels.
    SettingsError
        If the response is not known, a lifetime other than that of o-Ps is free, or the
        background asks for delayed windows and there are none.
    """
    options = options or FitOptions()
    task = prepare(spectra, model, calibration, levels, shape, options)
    n_voxel = len(spectra)
    results = _Results.empty(n_voxel)
    scratch = np.empty((min(_BLOCK, n_voxel), spectra.counts.shape[1]))
    none = np.empty((0, spectra.counts.shape[1]))
    for start in range(0, n_voxel, _BLOCK):
        block = slice(start, min(start + _BLOCK, n_voxel))
        # Arrays of one kind whatever is given: another kind would be compiled anew.
        counts = scratch[: block.stop - start]
        counts[:] = spectra.counts[block]
        variances = none if spectra.variances is None else np.array(spectra.variances[block])
        data: tuple[Any, ...] = (counts, variances, *task.levels_of(block))
        fit_all(*(*task.shared, *data, *results.part(block)))
        if progress is not None:
            progress(block.stop, n_voxel)
    log.info(
        "voxels: %d with events, %s",
        n_voxel,
        ", ".join(f"{np.count_nonzero(results.status == s)} {s.name.lower()}" for s in FitStatus),
    )
    return _maps(spectra, results, task, model)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Results:
    """What the compiled loop writes, V voxels first."""

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    ends: NDArray[np.float64]
    """(V, 2) of the profiled interval of the mean life."""
    deviance: NDArray[np.float64]
    iterations: NDArray[np.uint16]
    status: NDArray[np.uint8]

    @classmethod
    def empty(cls, n_voxel: int) -> "_Results":
        return cls(
            values=np.empty((n_voxel, 4)),
            covariance=np.empty((n_voxel, 4, 4)),
            ends=np.empty((n_voxel, 2)),
            deviance=np.empty(n_voxel),
            iterations=np.empty(n_voxel, np.uint16),
            status=np.empty(n_voxel, np.uint8),
        )

    def part(self, block: slice) -> tuple[NDArray[Any], ...]:
        """Return views of some voxels' rows, in the order of `fit_all`."""
        arrays = (
            self.values, self.covariance, self.ends, self.deviance, self.iterations, self.status,
        )  # fmt: skip
        return tuple(array[block] for array in arrays)


def _maps(
    spectra: LifetimeSpectra, results: _Results, task: VoxelTask, model: LifetimeModel
) -> ParameterMaps:
    """Turn amplitudes into intensity and signal, with errors by propagation."""
    assert spectra.grid is not None
    assert spectra.voxel is not None
    values, covariance = results.values, results.covariance
    fast_link, ops_link = task.fast_link, task.ops_link
    amplitude = values[:, : _voxel.OPS + 1]
    block = covariance[:, : _voxel.OPS + 1, : _voxel.OPS + 1]
    per_unit = np.array([fast_link.sum(), ops_link.sum()])
    ops_per_unit = np.array([0.0, ops_link[model.ops]])
    signal = amplitude @ per_unit
    # The share of the sample, without the source.
    ops_per_unit /= 1.0 - model.source_share
    intensity = amplitude @ ops_per_unit / signal
    jacobian = (ops_per_unit - intensity[:, None] * per_unit) / signal[:, None]
    intensity_variance = _variance_along(jacobian.T, block)
    signal_variance = _variance_along(per_unit, block)
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
    if task.with_intervals:
        nothing = np.full(len(values), np.nan)
        for name, end in zip(("tau_ops_low", "tau_ops_high"), results.ends.T, strict=True):
            columns[name] = ("ns", end, nothing)
    n_free = 4 if task.with_fast else 3
    return ParameterMaps(
        grid=spectra.grid,
        names=tuple(columns),
        units=tuple(unit for unit, _, _ in columns.values()),
        voxel=spectra.voxel,
        values=np.stack([column for _, column, _ in columns.values()], axis=1),
        errors=np.sqrt(np.stack([variance for _, _, variance in columns.values()], axis=1)),
        deviance=results.deviance,
        ndf=spectra.counts.shape[1] + task.level_known - n_free,
        status=results.status,
        iterations=results.iterations,
    )


def _variance_along(
    direction: NDArray[np.float64], block: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the (V,) variance of a sum of two amplitudes with (V, 2, 2) covariances."""
    a, b = direction
    return np.asarray(
        a * a * block[:, 0, 0] + 2.0 * a * b * block[:, 0, 1] + b * b * block[:, 1, 1]
    )
