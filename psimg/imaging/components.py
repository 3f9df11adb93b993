"""Images of activity, o-Ps intensity and o-Ps lifetime by component EM, penalised or not."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.imaging import _components
from psimg.imaging.mlem import Progress
from psimg.imaging.projector import Field, Projector, clear_border, to_field
from psimg.imaging.time_shapes import TimeShapes
from psimg.imaging.values import ImageData, ReconOptions

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

_LEAST_SHARE, _MOST_SHARE = 1e-3, 1.0 - 1e-3
"""Range of the share of the o-Ps group."""
_SUPPORT = 1e-3
"""Share of the mean activity below which a voxel holds nothing."""
_LEAST_SUBSET = 20_000
"""Triplets of a subset below which its noise is taken for structure."""
_LONGEST_STEP = 0.3
"""Of ln tau in one pass: the parabola that a step goes to the bottom of is only locally right."""
_EDGE_MM = 4.0
"""Distance of the neighbours that ``edge_tau`` and ``edge_intensity`` are the difference of."""
_N_SWEEP = 8
"""Sweeps of the penalty's minimiser in one pass, which starts where the last one ended."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Components:
    """What component EM found, as fields."""

    counts: Field
    """True triplets of each voxel."""
    share: Field
    """Share of the o-Ps group among them."""
    log_tau: Field
    """Logarithm of the mean life of o-Ps [ln ns]."""
    used: NDArray[np.bool_]
    """Voxels that hold something."""
    random_scale: float
    """Factor on the unrelated randoms that was found; 1 where they are known."""
    trace: FloatArray
    """(I,) log-likelihood after each pass, up to a constant."""


@dataclass
class _State:
    """Fields that the passes update."""

    a: Field
    g: Field
    log_tau: Field
    random_scale: float


def maximise_components(
    data: ImageData,
    *,
    options: ReconOptions,
    penalised: bool,
    weights: NDArray[np.float32] | None = None,
    guide: Image | None = None,
    progress: Progress | None = None,
) -> Components:
    """Find activity, o-Ps share and o-Ps lifetime of each voxel by expectation maximisation.

    With f, o(tau) the shares of the fast and of the o-Ps group in a time bin and r the randoms,

        lambda_i = sum_j H_ij [a_j ((1 - g_j) f + g_j o(tau_j)) + r_j],

    each event is shared among voxels and groups by what they add to lambda_i; a and g are then
    sums of shares, and ln tau takes the step of expectation maximisation by gradient (K. Lange, J.
    R. Stat. Soc. B 57 (1995) 425), score over information of the complete data. An event touches
    one time bin only, so that a pass costs one projection and one back projection of each event,
    however many lifetimes there are.

    The penalty acts on ln tau and g (``smooth_tau``, ``smooth_intensity``): each is then the
    minimum of the same parabola plus the penalty, which makes the passes climb the penalised
    likelihood.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        Passes, subsets and weights.
    penalised : bool
        Whether neighbours are pulled together.
    weights : (N,) float32 array, optional
        Weight of each event in the order of the list mode.
    guide : (nx, ny, nz) array, optional
        An anatomical image for the penalty.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.
    """
    grid, shapes = data.grid, data.shapes
    if options.subsets > 1 and len(data.triplets) < _LEAST_SUBSET * options.subsets:
        raise SettingsError(
            f"recon.subsets = {options.subsets} leaves {len(data.triplets) // options.subsets} "
            f"triplets in each; at least {_LEAST_SUBSET} are needed for counts that are right, use "
            f"{max(len(data.triplets) // _LEAST_SUBSET, 1)} or fewer"
        )
    projector = Projector(data.triplets, resolution_mm=options.resolution_mm)
    n_events = float(len(data.triplets) if weights is None else weights.sum(dtype=np.float64))
    unrelated, class_2 = (to_field(x, grid) for x in (data.unrelated, data.class_2))
    state = _start(data, n_events)
    held = options.activity != "triplets"
    used = state.a > _SUPPORT * state.a.max()
    guide_field = np.zeros(0, np.float32) if guide is None else to_field(guide, grid)
    trace = np.zeros(options.passes)
    sums = np.zeros((5, projector.n_cell), np.float32)
    for iteration in range(options.passes):
        for subset in range(options.subsets):
            log_sum, n_random = _pass(
                projector, shapes, state, unrelated, class_2, weights,
                (subset, options.subsets), sums,
            )  # fmt: skip
            trace[iteration] += log_sum
            _update(
                state, sums, shapes, options,
                used=used, penalised=penalised, guide=guide_field, grid_shape=grid.shape,
                voxel_mm=grid.voxel_mm, held=held,
            )  # fmt: skip
            clear_border(state.a, grid)
            if not data.level_known:
                state.random_scale *= n_random / max(
                    state.random_scale * float(unrelated.sum(dtype=np.float64)), 1e-30
                )
        if progress is not None:
            progress(iteration + 1, options.passes)
    return Components(
        counts=state.a,
        share=state.g,
        log_tau=state.log_tau,
        used=used,
        random_scale=state.random_scale,
        trace=trace,
    )


def edges_of(edge: float, voxel_mm: tuple[float, float, float]) -> FloatArray:
    """Return (3,) the difference of neighbours along each axis that is an edge.

    A step of a given height then costs the same per area on any grid: h e d a face of 1/h^2.
    """
    return np.asarray(edge * np.array(voxel_mm) / _EDGE_MM)


def _start(data: ImageData, n_events: float) -> _State:
    grid, shapes = data.grid, data.shapes
    a = to_field(np.maximum(data.activity, 0.0), grid)
    randoms = float(data.unrelated.sum(dtype=np.float64) + data.class_2.sum(dtype=np.float64))
    a *= np.float32(max(n_events - randoms, 0.05 * n_events) / a.sum(dtype=np.float64))
    return _State(
        a=a,
        g=np.full(len(a), shapes.start_share if shapes.fast.any() else 1.0, np.float32),
        log_tau=np.full(len(a), np.log(shapes.start_tau_ns), np.float32),
        random_scale=1.0,
    )


def _pass(
    projector: Projector,
    shapes: TimeShapes,
    state: _State,
    unrelated: Field,
    class_2: Field,
    weights: NDArray[np.float32] | None,
    subset: tuple[int, int],
    sums: NDArray[np.float32],
) -> tuple[float, float]:
    """Share the events out; return the log-likelihood and the unrelated randoms among them."""
    a, g = state.a, state.g
    step = float(shapes.log_tau[1] - shapes.log_tau[0])
    cell, across = np.empty(len(a), np.int16), np.empty(len(a), np.float32)
    _components.place(
        state.log_tau, float(shapes.log_tau[0]), step, len(shapes.log_tau), cell, across
    )
    expected = np.empty(len(a), np.float32)
    sums[:] = 0.0
    total, n_random = 0.0, 0.0
    for t in range(shapes.n_bin):
        ops, d_ops = (
            np.ascontiguousarray(shapes.ops[:, t]),
            np.ascontiguousarray(shapes.d_ops[:, t]),
        )
        shared = (a, g, cell, across, float(shapes.fast[t]), ops, d_ops, step)
        added = state.random_scale * float(shapes.unrelated[t])
        _components.expect(*shared, unrelated, added, class_2, float(shapes.class_2[t]), expected)
        ratio, part = projector.back_project_ratio(
            expected, time_bin=t, weights=weights, subset=subset
        )
        ratio *= np.float32(subset[1])
        total += part - float(expected.sum(dtype=np.float64)) / subset[1]
        n_random += added * float(np.dot(unrelated, ratio))
        _components.gather(ratio, *shared, *sums)
    return total, n_random


def _update(
    state: _State,
    sums: NDArray[np.float32],
    shapes: TimeShapes,
    options: ReconOptions,
    *,
    used: NDArray[np.bool_],
    penalised: bool,
    guide: Field,
    grid_shape: tuple[int, int, int],
    voxel_mm: tuple[float, float, float],
    held: bool,
) -> None:
    """Take the step of one pass, in place."""
    n_fast, n_ops, score, information, seen_ops = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        seen_fast = shapes.fast.sum()
        fast = n_fast / np.float32(seen_fast) if seen_fast > 0 else np.zeros_like(n_fast)
        ops = np.where(seen_ops > 0, n_ops / seen_ops, 0.0).astype(np.float32)
        total = fast + ops
        share = np.where(total > 0, ops / total, state.g).astype(np.float32)
        step = np.where(information > 0, score / information, 0.0)
    wanted = state.log_tau + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP).astype(np.float32)
    low, high = float(shapes.log_tau[0]), float(shapes.log_tau[-1])
    if penalised:
        shape = np.array([n + 2 for n in grid_shape], np.int64)
        # A penalty on the gradient, on any grid: h^3 (d/h)^2 = h d^2 for a step d of a voxel h.
        volume = float(np.prod(voxel_mm))
        per_axis = volume / np.square(voxel_mm)
        scale = options.guide_scale or 1.0
        _components.smooth(
            wanted, information, used, shape, options.smooth_tau * per_axis,
            edges_of(options.edge_tau, voxel_mm),
            guide, scale, low, high, _N_SWEEP, state.log_tau,
        )  # fmt: skip
        bend = np.where(total > 0, total / np.maximum(state.g * (1.0 - state.g), 1e-3), 0.0).astype(
            np.float32
        )
        edge = edges_of(options.edge_intensity * shapes.start_share, voxel_mm)
        _components.smooth(
            share, bend, used, shape, options.smooth_intensity * per_axis, edge,
            guide, scale, _LEAST_SHARE, _MOST_SHARE, _N_SWEEP, state.g,
        )  # fmt: skip
    else:
        state.log_tau[:] = np.clip(wanted, low, high)
        state.g[:] = np.clip(share, _LEAST_SHARE, _MOST_SHARE)
    if not seen_fast > 0:
        # One group: its share is no parameter.
        state.g[:] = 1.0
    if held:
        state.a *= np.float32(total.sum(dtype=np.float64) / state.a.sum(dtype=np.float64))
    else:
        state.a[:] = total
