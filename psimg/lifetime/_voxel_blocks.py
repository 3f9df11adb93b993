"""Compiled loop over all voxels."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._voxel import (
    BACKGROUND,
    COUNTS,
    DEVIANCE,
    FAST,
    FAST_SHAPE,
    FLAT_SHAPE,
    FOUND,
    HIGHEST,
    LEVEL,
    LOWEST,
    N_ROW,
    OK,
    OPS,
    TABLE,
    TAU,
    THETA,
    TOO_FEW_COUNTS,
    TOTALS,
    VARIANCES,
)  # fmt: skip
from psimg.lifetime._voxel_profile import fit_one

FloatArray = NDArray[np.float64]

_BLOCK = 64
"""Voxels that share scratch."""
_DENSE = 0.6
"""Share of bins with counts above which all bins are looked at."""


@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def survey(state: FloatArray, counts: FloatArray, v: int, masks: FloatArray) -> None:
    """Sum a voxel's counts before the peak, in it, after it and where only randoms reach.

    masks : (4, B) 1 in those bins, 0 elsewhere. Also counts the bins with counts.
    """
    before = peak = late = lone = full = 0.0
    for b in range(counts.shape[1]):
        n = counts[v, b]
        before += n * masks[0, b]
        peak += n * masks[1, b]
        late += n * masks[2, b]
        lone += n * masks[3, b]
        full += 1.0 if n > 0 else 0.0
    state[FOUND, 0], state[FOUND, 1], state[FOUND, 2] = before, peak, late
    state[FOUND, 3], state[FOUND, 4] = lone, full


@nb.njit(cache=True, error_model="numpy")
def load(
    state: FloatArray, columns: FloatArray, bins: NDArray[np.int64], counts: FloatArray,
    variances: FloatArray, v: int, shapes: FloatArray, share: float,
) -> int:  # fmt: skip
    """Put one voxel's bins with counts into the scratch; return their number.

    shapes : (3, B) of the fast group and of randoms, unrelated and prompt-correlated; ``share`` of
    the latter.
    """
    n_bin = counts.shape[1]
    weighted = len(variances) > 0
    state[TABLE, 3] = -1.0
    if state[FOUND, 4] > _DENSE * n_bin:
        for b in range(n_bin):
            columns[COUNTS, b] = counts[v, b]
            columns[FAST_SHAPE, b] = shapes[0, b]
            columns[FLAT_SHAPE, b] = (1.0 - share) * shapes[1, b] + share * shapes[2, b]
        if weighted:
            for b in range(n_bin):
                columns[VARIANCES, b] = variances[v, b]
        return int(n_bin)
    size = 0
    for b in range(n_bin):
        bins[size] = b
        size += 1 if counts[v, b] > 0 else 0
    for i in range(size):
        b = bins[i]
        columns[COUNTS, i] = counts[v, b]
        columns[FAST_SHAPE, i] = shapes[0, b]
        columns[FLAT_SHAPE, i] = (1.0 - share) * shapes[1, b] + share * shapes[2, b]
        if weighted:
            columns[VARIANCES, i] = variances[v, b]
    # Empty bins up to a whole number of the processor's vectors: what is left over goes one by one.
    while size % 4 > 0 and size < n_bin - 1:
        bins[size] = 0
        for i in range(4):
            columns[i, size] = 0.0
        size += 1
    return int(size)


@nb.njit(cache=True, error_model="numpy")
def set_start(state: FloatArray, shares: FloatArray, share: float, log_tau: float) -> None:
    """Set bounds, and guess the amplitudes from the counts before the peak, in it and after.

    shares : (4, 3) of the shapes and of the o-Ps group at ``log_tau`` before the peak, in it,
    after it.
    """
    before, peak, late = state[FOUND, 0], state[FOUND, 1], state[FOUND, 2]
    total = before + peak + late
    flat0 = (1.0 - share) * shares[1, 0] + share * shares[2, 0]
    flat1 = (1.0 - share) * shares[1, 1] + share * shares[2, 1]
    flat2 = (1.0 - share) * shares[1, 2] + share * shares[2, 2]
    flat = flat0 + flat1 + flat2
    level, scale = state[LEVEL, 0], state[LEVEL, 1]
    state[TOTALS, 0] = shares[0, 0] + shares[0, 1] + shares[0, 2]
    state[TOTALS, 1] = flat
    state[TOTALS, 5] = total
    for i in range(4):
        state[LOWEST, i] = 0.0
        state[HIGHEST, i] = np.inf
    # At the minimum R (sum flat + scale) = level + sum n R flat/m, and the last is at least the
    # counts of the bins that only randoms reach.
    if flat + scale > 0:
        state[LOWEST, BACKGROUND] = 0.9 * (state[FOUND, 3] + level) / (flat + scale)
    state[LOWEST, TAU] = state[TABLE, 0]
    state[HIGHEST, TAU] = state[TABLE, 0] + state[TABLE, 2] / state[TABLE, 1]
    background = 0.3 * total
    if scale > 0:
        background = level / scale
    elif flat0 > 0:
        background = before / flat0
    background = min(max(background, 0.01 * total), 0.9 * total)
    background = max(background, state[LOWEST, BACKGROUND])
    signal = max(total - background * flat, 0.1 * total)
    fast, ops = 0.0, signal
    if state[LEVEL, 2] > 0:
        # Two equations for two groups.
        late -= background * flat2
        peak -= background * flat1
        ops = 0.4 * signal
        determinant = shares[0, 1] * shares[3, 2] - shares[0, 2] * shares[3, 1]
        if determinant > 0:
            ops = (shares[0, 1] * late - shares[0, 2] * peak) / determinant
        ops = min(max(ops, 0.1 * signal), 0.9 * signal)
        fast = signal - ops
    state[THETA, FAST] = fast
    state[THETA, OPS] = ops
    state[THETA, BACKGROUND] = background
    state[THETA, TAU] = log_tau


@nb.njit(cache=True, error_model="numpy")
def fit_block(
    table: FloatArray, log_low: float, per_step: float, with_fast: bool, shapes: FloatArray,
    masks: FloatArray, shares: FloatArray, log_tau: float, min_counts: float, max_iter: int,
    rises: FloatArray, counts: FloatArray, variances: FloatArray, level: FloatArray,
    scale: FloatArray, class_2_share: FloatArray, start: int, stop: int, values: FloatArray,
    covariance: FloatArray, ends: FloatArray, deviance: FloatArray, iterations: NDArray[np.uint16],
    status: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Fit the voxels from ``start`` to ``stop``; see `fit_all`."""
    n_bin = counts.shape[1]
    state = np.zeros((N_ROW, 16))
    columns, rows, bins = np.zeros((4, n_bin)), np.zeros((6, n_bin)), np.zeros(n_bin, np.int64)
    state[TABLE, 0], state[TABLE, 1], state[TABLE, 2] = log_low, per_step, len(table) // 6
    state[LEVEL, 2] = 1.0 if with_fast else 0.0
    for v in range(start, stop):
        deviance[v] = np.nan
        iterations[v] = 0
        for i in range(4):
            values[v, i] = np.nan
            for j in range(4):
                covariance[v, i, j] = np.nan
        ends[v, 0] = ends[v, 1] = np.nan
        survey(state, counts, v, masks)
        if state[FOUND, 0] + state[FOUND, 1] + state[FOUND, 2] < min_counts:
            status[v] = TOO_FEW_COUNTS
            continue
        state[LEVEL, 0], state[LEVEL, 1] = level[v], scale[v]
        size = load(state, columns, bins, counts, variances, v, shapes, class_2_share[v])
        set_start(state, shares, class_2_share[v], log_tau)
        code, n_step = fit_one(
            state, columns, rows, bins, table, size, len(variances) > 0, max_iter, rises,
            covariance[v], ends[v],
        )  # fmt: skip
        status[v] = code
        iterations[v] = min(n_step, 65535)
        deviance[v] = state[DEVIANCE, 0]
        if code == OK:
            for i in range(3):
                values[v, i] = state[THETA, i]
            values[v, TAU] = math.exp(state[THETA, TAU])
        else:
            for i in range(4):
                for j in range(4):
                    covariance[v, i, j] = np.nan


@nb.njit(cache=True, parallel=True)
def fit_all(
    table: FloatArray, log_low: float, per_step: float, with_fast: bool, shapes: FloatArray,
    masks: FloatArray, shares: FloatArray, log_tau: float, min_counts: float, max_iter: int,
    rises: FloatArray, counts: FloatArray, variances: FloatArray, level: FloatArray,
    scale: FloatArray, class_2_share: FloatArray, values: FloatArray, covariance: FloatArray,
    ends: FloatArray, deviance: FloatArray, iterations: NDArray[np.uint16],
    status: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Fit every voxel.

    table : (6 C, B + 1), log_low, per_step : see `psimg.lifetime._shape_table`; shapes : (3, B) of
    the fast group and of unrelated and prompt-correlated randoms; masks : (4, B) of `survey`;
    shares : (4, 3) of `set_start`; log_tau : start of ln tau; rises : of the profiled deviance at
    the ends of an interval of tau, 0 for none; counts : (V, B); variances : (V, B), or (0, B)
    where counts are their own; level, scale : (V,) measured levels of the background;
    class_2_share : (V,) share of the prompt-correlated among the randoms; values : (V, 4),
    covariance : (V, 4, 4), ends : (V, 2), deviance, iterations and status : (V,) receive the
    results, NaN where there are none.
    """
    n_voxel = len(counts)
    for block in nb.prange((n_voxel + _BLOCK - 1) // _BLOCK):  # a voxel writes only its own row
        fit_block(
            table, log_low, per_step, with_fast, shapes, masks, shares, log_tau, min_counts,
            max_iter, rises, counts, variances, level, scale, class_2_share, block * _BLOCK,
            min((block + 1) * _BLOCK, n_voxel), values, covariance, ends, deviance, iterations,
            status,
        )  # fmt: skip
