"""What the fits of all voxels share: shapes in the bins, and the randoms of each voxel."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.maps import FitStatus
from psimg.lifetime._mixture import spread_nodes
from psimg.lifetime._shape_table import make_table
from psimg.lifetime.groups import class_2_shape, seen_shares, two_groups
from psimg.lifetime.model import LifetimeModel, require_free_ops, require_windows
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.levels import RandomLevels, estimate_levels
from psimg.spectra.randoms import flat_shape
from psimg.spectra.values import LifetimeSpectra

FloatArray = NDArray[np.float64]

_PEAK = 0.98
"""Share of the fast group that lies before the end of the peak."""
_LONE_SIGMA = 8.0
"""Widths of the response before its mean beyond which no decay is seen: below rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VoxelTask:
    """One model on one set of edges, ready for the compiled loop."""

    shared: tuple[Any, ...]
    """First arguments of `fit_all`, down to the stopping rule."""
    levels: RandomLevels
    """Measured randoms of each voxel."""
    level_known: bool
    """Whether they are part of the data."""
    fast_link: FloatArray
    """(K,) events per component for one event of the fast group."""
    ops_link: FloatArray
    """(K,) the same for the o-Ps group."""
    shapes: FloatArray
    """(3, B) of the fast group and of unrelated and prompt-correlated randoms."""
    ops_shape: FloatArray
    """(2, B) of the o-Ps group at the start's mean life, and its derivative in tau."""

    def levels_of(self, block: slice) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return level, scale and share of class II of some voxels."""
        level, scale = np.array(self.levels.count[block]), np.array(self.levels.scale[block])
        return level, scale, np.array(self.levels.class_2_share[block])

    @property
    def with_intervals(self) -> bool:
        """Whether the profiled intervals of the mean life are asked for."""
        return bool(self.shared[-1][0] > 0)

    @property
    def with_fast(self) -> bool:
        """Whether there are components whose share is free beside o-Ps."""
        return bool(self.fast_link.any())


def prepare(
    spectra: LifetimeSpectra,
    model: LifetimeModel,
    calibration: SpectrumFit | None,
    levels: RandomLevels | None,
    shape: FloatArray | None,
    options: FitOptions,
) -> VoxelTask:
    """Check that the voxels can be fitted with the model, and compute what they share."""
    if spectra.grid is None or spectra.voxel is None:
        raise DataError("these spectra are of regions; fit them with fit_regions")
    require_free_ops(model)
    response = _known_response(model)
    _require_sense(spectra.edges_ns, model, response)
    require_windows(model, spectra.n_sets)
    class_2 = class_2_shape(model, calibration)
    if model.background == "flat":
        levels = RandomLevels.unknown(len(spectra))
    elif levels is None:
        levels = estimate_levels(spectra, with_class_2=model.background == "four-set")
    if class_2 is None:
        levels = RandomLevels(
            count=levels.count, scale=levels.scale, class_2_share=np.zeros(len(spectra))
        )
    fast_link, ops_link = two_groups(model, calibration)
    edges = spectra.edges_ns
    shares = np.stack(
        [seen_shares(edges, c.tau_ns, c.spread, response)[0] for c in model.components]
    )
    others = ops_link.copy()
    others[model.ops] = 0.0
    weight = float(ops_link[model.ops])
    ops = model.components[model.ops]
    tau = ops.tau_ns
    if calibration is not None and calibration.status == FitStatus.OK:
        tau = float(np.clip(calibration.tau_ops_ns, *ops.range_ns))
    measured = shape is not None and model.background != "flat"
    flat = np.array(shape) if measured else flat_shape(edges)
    shapes = np.stack([fast_link @ shares, flat, flat if class_2 is None else class_2])
    ops_shape = weight * seen_shares(edges, tau, ops.spread, response)
    ops_shape[0] += others @ shares
    masks = _masks(edges, shapes[0], response)
    return VoxelTask(
        shared=(
            *make_table(
                edges,
                ops.range_ns,
                tuple(response.T),
                fellow=others @ shares,
                weight=weight,
                spread=spread_nodes(ops.spread),
            ),
            bool(fast_link.any()),
            shapes,
            masks,
            np.vstack([shapes, ops_shape[:1]]) @ masks[:3].T,
            math.log(tau),
            float(options.min_counts),
            options.max_iter,
            _rises(options),
        ),
        levels=levels,
        level_known=model.background != "flat",
        fast_link=fast_link,
        ops_link=ops_link,
        shapes=shapes,
        ops_shape=ops_shape,
    )


def _rises(options: FitOptions) -> FloatArray:
    """Return the rise of the deviance at the ends of intervals, of the best inside and on a bound.

    On a bound the rise at the truth is no chi-square of one degree of freedom: another parameter
    than the mean life has been pressed there. That of two degrees of freedom with the same
    probability is not exceeded more often.
    """
    if options.intervals != "profile":
        return np.zeros(2)
    beyond = math.erfc(math.sqrt(0.5 * options.interval_rise))
    return np.array([options.interval_rise, -2.0 * math.log(beyond)])


def _known_response(model: LifetimeModel) -> FloatArray:
    """Return the (G, 3) weight, mean and width of the response's Gaussians."""
    if not model.response.known:
        raise SettingsError(
            "voxels are fitted with a known response; calibrate it on all events first, or set "
            "model.response"
        )
    return model.response.table


def _require_sense(edges: FloatArray, model: LifetimeModel, response: FloatArray) -> None:
    """Raise where no spectrum could tell the parameters apart."""
    if any(c.free for k, c in enumerate(model.components) if k != model.ops):
        raise SettingsError("voxels are fitted with only the o-Ps lifetime free; fix the others")
    n_bin, n_free = len(edges) - 1, min(len(model.groups[0]), 2) + 2
    if n_bin < n_free:
        raise DataError(f"{n_bin} time bins cannot fix {n_free} free parameters; use narrower bins")
    length, widest = edges[-1] - edges[0], float(response[:, 2].max())
    if widest > length:
        raise SettingsError(
            f"a response of sigma_ns = {widest:g} is wider than the spectrum, which is "
            f"{length:g} ns long"
        )


def _masks(edges: FloatArray, fast: FloatArray, response: FloatArray) -> FloatArray:
    """Mark the bins before the peak, in it, after it, and those of randoms alone, (4, B)."""
    _, mus, sigmas = response.T
    upper = edges[1:]
    before = upper < (mus - 5.0 * sigmas).min()
    late = upper > (mus + 3.0 * sigmas).max() + 1.0
    if fast.sum() > 0:
        late = np.cumsum(fast) > _PEAK * fast.sum()
    late &= ~before
    lone = upper < (mus - _LONE_SIGMA * sigmas).min()
    return np.stack([before, ~before & ~late, late, lone]).astype(np.float64)
