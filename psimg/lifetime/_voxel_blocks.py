"""Compiled loop over all voxels."""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._shape_table import ShapeTable
from psimg.lifetime._voxel import (
    AT_BOUND,
    BACKGROUND,
    FAST,
    NOT_CONVERGED,
    OK,
    OPS,
    TAU,
    TOO_FEW_COUNTS,
    Voxel,
    deviance_of,
    empty_voxel,
)
from psimg.lifetime._voxel_steps import covariance_at, search

FloatArray = NDArray[np.float64]

_BLOCK = 64
"""Voxels that share scratch."""
_DENSE = 0.6
"""Share of bins with counts above which all bins are looked at."""


class Task(NamedTuple):
    """What all voxels share."""

    shapes: FloatArray
    """(3, B) of the fast group, of unrelated and of prompt-correlated randoms."""
    masks: FloatArray
    """(4, B) 1 in the bins before the peak, in it, after it, and in those that only randoms
    reach."""
    shares: FloatArray
    """(4, 3) of the shapes and of the o-Ps group at ``log_tau`` before the peak, in it, after."""
    with_fast: bool
    log_tau: float
    """Start of ln tau."""
    min_counts: float
    max_iter: int


@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def survey(counts: FloatArray, v: int, masks: FloatArray, found: FloatArray) -> None:
    """Sum a voxel's counts under each mask, and count its bins with counts, into (5,)."""
    before = peak = late = lone = full = 0.0
    for b in range(counts.shape[1]):
        n = counts[v, b]
        before += n * masks[0, b]
        peak += n * masks[1, b]
        late += n * masks[2, b]
        lone += n * masks[3, b]
        full += 1.0 if n > 0 else 0.0
    found[0], found[1], found[2], found[3], found[4] = before, peak, late, lone, full


@nb.njit(cache=True, error_model="numpy")
def load(
    voxel: Voxel, task: Task, table: ShapeTable, counts: FloatArray, variances: FloatArray, v: int,
    share: float, level: float, scale: float,
) -> int:  # fmt: skip
    """Put one voxel's bins with counts, its bounds and a start into the scratch.

    `Voxel.found` holds its survey. Returns the number of bins.
    """
    n_bin = counts.shape[1]
    columns, bins, shapes = voxel.columns, voxel.bins, task.shapes
    weighted = len(variances) > 0
    size = n_bin
    if voxel.found[4] > _DENSE * n_bin:
        for b in range(n_bin):
            columns[0, b] = counts[v, b]
            columns[2, b] = shapes[0, b]
            columns[3, b] = (1.0 - share) * shapes[1, b] + share * shapes[2, b]
        if weighted:
            for b in range(n_bin):
                columns[1, b] = variances[v, b]
    else:
        size = 0
        for b in range(n_bin):
            bins[size] = b
            size += counts[v, b] > 0
        for i in range(size):
            b = bins[i]
            columns[0, i] = counts[v, b]
            columns[2, i] = shapes[0, b]
            columns[3, i] = (1.0 - share) * shapes[1, b] + share * shapes[2, b]
            if weighted:
                columns[1, i] = variances[v, b]
    voxel.cell[0] = -1
    set_start(voxel, task, table, share, level, scale)
    return size


@nb.njit(cache=True, error_model="numpy")
def set_start(
    voxel: Voxel, task: Task, table: ShapeTable, share: float, level: float, scale: float
) -> None:
    """Set bounds, and guess the amplitudes from the counts before the peak, in it and after."""
    shares, found = task.shares, voxel.found
    before, peak, late = found[0], found[1], found[2]
    total = before + peak + late
    flat0 = (1.0 - share) * shares[1, 0] + share * shares[2, 0]
    flat1 = (1.0 - share) * shares[1, 1] + share * shares[2, 1]
    flat2 = (1.0 - share) * shares[1, 2] + share * shares[2, 2]
    flat = flat0 + flat1 + flat2
    voxel.totals[0] = shares[0, 0] + shares[0, 1] + shares[0, 2]
    voxel.totals[1] = flat
    voxel.totals[5] = total
    for i in range(4):
        voxel.lowest[i] = 0.0
        voxel.highest[i] = np.inf
    # At the minimum R (sum flat + scale) = level + sum n R flat/m, and the last is at least the
    # counts of the bins that only randoms reach.
    if flat + scale > 0:
        lone = found[3] + level
        voxel.lowest[BACKGROUND] = 0.9 * lone / (flat + scale)
    voxel.lowest[TAU] = table.log_low
    voxel.highest[TAU] = table.log_low + table.n_cell / table.per_step
    background = 0.3 * total
    if scale > 0:
        background = level / scale
    elif flat0 > 0:
        background = before / flat0
    background = min(max(background, 0.01 * total), 0.9 * total)
    background = max(background, voxel.lowest[BACKGROUND])
    signal = max(total - background * flat, 0.1 * total)
    theta = voxel.theta
    theta[BACKGROUND] = background
    theta[TAU] = task.log_tau
    theta[FAST] = 0.0
    theta[OPS] = signal
    if task.with_fast:
        # Two equations for two groups.
        late -= background * flat2
        peak -= background * flat1
        ops = 0.4 * signal
        determinant = shares[0, 1] * shares[3, 2] - shares[0, 2] * shares[3, 1]
        if determinant > 0:
            ops = (shares[0, 1] * late - shares[0, 2] * peak) / determinant
        theta[OPS] = min(max(ops, 0.1 * signal), 0.9 * signal)
        theta[FAST] = signal - theta[OPS]


@nb.njit(cache=True, error_model="numpy")
def status_of(voxel: Voxel, with_fast: bool) -> int:
    """Return whether the minimum lies inside the bounds."""
    theta = voxel.theta
    # Without fast events o-Ps has taken them over: its lifetime comes out short, with an error
    # that is far too small.
    if theta[OPS] <= 0 or (with_fast and theta[FAST] <= 0):
        return AT_BOUND
    if theta[TAU] <= voxel.lowest[TAU] or theta[TAU] >= voxel.highest[TAU]:
        return AT_BOUND
    return OK


@nb.njit(cache=True, error_model="numpy")
def fit_block(
    task: Task,
    table: ShapeTable,
    counts: FloatArray,
    variances: FloatArray,
    level: FloatArray,
    scale: FloatArray,
    class_2_share: FloatArray,
    start: int,
    stop: int,
    values: FloatArray,
    covariance: FloatArray,
    deviance: FloatArray,
    iterations: NDArray[np.uint16],
    status: NDArray[np.uint8],
) -> None:
    """Fit the voxels from ``start`` to ``stop``; see `fit_all`."""
    n_bin = counts.shape[1]
    weighted = len(variances) > 0
    voxel = empty_voxel(n_bin)
    for v in range(start, stop):
        deviance[v] = np.nan
        iterations[v] = 0
        for i in range(4):
            values[v, i] = np.nan
            for j in range(4):
                covariance[v, i, j] = np.nan
        found = voxel.found
        survey(counts, v, task.masks, found)
        if found[0] + found[1] + found[2] < task.min_counts:
            status[v] = TOO_FEW_COUNTS
            continue
        size = load(voxel, task, table, counts, variances, v, class_2_share[v], level[v], scale[v])
        code, n_step = search(
            voxel, table, size, level[v], scale[v], task.with_fast, True, task.max_iter
        )
        iterations[v] = n_step
        deviance[v] = deviance_of(voxel, table, size, level[v], scale[v], voxel.theta)
        if code == OK:
            code = status_of(voxel, task.with_fast)
        if code == OK:
            done = covariance_at(voxel, table, size, level[v], scale[v], weighted, covariance[v])
            if done:
                for i in range(3):
                    values[v, i] = voxel.theta[i]
                values[v, TAU] = math.exp(voxel.theta[TAU])
            else:
                code = NOT_CONVERGED
        status[v] = code


@nb.njit(cache=True, parallel=True)
def fit_all(
    task: Task,
    table: ShapeTable,
    counts: FloatArray,
    variances: FloatArray,
    level: FloatArray,
    scale: FloatArray,
    class_2_share: FloatArray,
    values: FloatArray,
    covariance: FloatArray,
    deviance: FloatArray,
    iterations: NDArray[np.uint16],
    status: NDArray[np.uint8],
) -> None:
    """Fit every voxel.

    counts : (V, B); variances : (V, B), or (0, B) where counts are their own; level, scale : (V,)
    measured levels of the background; class_2_share : (V,) share of the prompt-correlated among
    the randoms; values : (V, 4), covariance : (V, 4, 4), deviance, iterations and status : (V,)
    receive the results, NaN where there are none.
    """
    n_voxel = len(counts)
    for block in nb.prange((n_voxel + _BLOCK - 1) // _BLOCK):  # a voxel writes only its own row
        fit_block(
            task, table, counts, variances, level, scale, class_2_share, block * _BLOCK,
            min((block + 1) * _BLOCK, n_voxel), values, covariance, deviance, iterations, status,
        )  # fmt: skip
