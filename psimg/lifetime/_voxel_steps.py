"""Compiled search for the minimum of one voxel, and the covariance there.

Arguments are those of `psimg.lifetime._voxel`.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._voxel import (
    BEFORE,
    CURVE,
    FAST,
    FREE,
    GRADIENT,
    HIGHEST,
    INFORMATION,
    LEVEL,
    LOWEST,
    MOVE,
    NOT_CONVERGED,
    OK,
    OPS,
    RIGHT,
    STEP,
    TAU,
    THETA,
    TOTALS,
    VARIANCES,
    accumulate,
    deviance_of,
    differentiate,
    fill_products,
    solve,
    turn_to,
)  # fmt: skip

FloatArray = NDArray[np.float64]

_STUCK = 1e10
"""Damping at which no step lowers the deviance."""
_GAIN = 1e-5
"""A promised gain of the deviance at which a Newton step is the last: 0.003 standard errors."""
_LARGEST_STEP = math.log(2.0)
"""A lifetime may at most double or halve in a step: farther the model is no parabola."""
_PLAIN_STEPS = 12
"""Steps without a look at the deviance, before the search goes on with one."""


@nb.njit(cache=True, error_model="numpy")
def choose_free(state: FloatArray, with_tau: bool) -> None:
    """Mark the parameters not held on a bound by the gradient."""
    for i in range(4):
        held = (state[THETA, i] <= state[LOWEST, i] and state[GRADIENT, i] < 0) or (
            state[THETA, i] >= state[HIGHEST, i] and state[GRADIENT, i] > 0
        )
        state[FREE, i] = 0.0 if held else 1.0
    if not state[LEVEL, 2] > 0:
        state[FREE, FAST] = 0.0
    if state[THETA, OPS] <= 0 or not with_tau:
        state[FREE, TAU] = 0.0


@nb.njit(cache=True, error_model="numpy")
def solve_within(state: FloatArray) -> bool:
    """Solve ``CURVE step = gradient`` with amplitudes that stay above their lower bounds.

    One that would fall below is put there, and the others solve their equations with it there.
    Returns False if the matrix is not positive definite.
    """
    for i in range(4):
        state[RIGHT, i] = state[GRADIENT, i]
        state[MOVE, i] = 0.0
    while True:
        if not solve(state, CURVE, _LARGEST_STEP):
            return False
        worst, below = -1, 0.0
        for i in range(3):
            gap = state[LOWEST, i] - state[THETA, i] - state[STEP, i]
            if state[FREE, i] > 0 and gap > below:
                worst, below = i, gap
        if worst < 0:
            break
        state[FREE, worst] = 0.0
        target = state[LOWEST, worst]
        # Not to nothing at once: what a bin holds may hang on it.
        if state[THETA, worst] > 0.01 * state[TOTALS, 5]:
            target = max(target, 0.1 * state[THETA, worst])
        move = target - state[THETA, worst]
        state[MOVE, worst] = move
        for i in range(4):
            state[RIGHT, i] -= state[CURVE, 4 * i + worst] * move
    for i in range(3):
        state[STEP, i] += state[MOVE, i]
    return True


@nb.njit(cache=True, error_model="numpy")
def find_step(state: FloatArray, damping: float, with_tau: bool) -> int:
    """Solve for the step; return 2 for a Newton step, 1 for another way uphill, 0 for none."""
    choose_free(state, with_tau)
    for i in range(16):
        state[CURVE, i] = state[INFORMATION, i]
    for i in range(4):
        # The absolute value: far from the minimum the likelihood may curve the wrong way.
        state[CURVE, 5 * i] += damping * abs(state[CURVE, 5 * i])
    if solve_within(state):
        return 2
    # Without the bend of the shape the matrix is a sum of squares.
    choose_free(state, with_tau)
    fill_products(state, CURVE)
    for i in range(4):
        state[CURVE, 5 * i] += damping * state[CURVE, 5 * i] + 1e-30
    if solve_within(state):
        return 1
    return 0


@nb.njit(cache=True, error_model="numpy")
def take_step(state: FloatArray) -> bool:
    """Add the step to the parameters within their bounds; return whether it had to be cut."""
    cut = abs(state[STEP, TAU]) >= _LARGEST_STEP
    for i in range(4):
        value = state[THETA, i] + state[STEP, i]
        if state[MOVE, i] != 0.0 or value < state[LOWEST, i] or value > state[HIGHEST, i]:
            value = min(max(value, state[LOWEST, i]), state[HIGHEST, i])
            cut = True
        state[BEFORE, i] = state[THETA, i]
        state[THETA, i] = value
    return bool(cut)


@nb.njit(cache=True, error_model="numpy")
def search(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int, with_tau: bool, max_iter: int,
) -> tuple[int, int]:  # fmt: skip
    """Go by Newton steps to a minimum; return the status and the steps taken.

    Most voxels need four. Those that take long go on by damped steps that lower the deviance.
    The information is left as that of the last point but one, 0.003 standard errors away at most.
    Without ``with_tau`` the mean life stays.
    """
    # Differences of large counts: the deviance is good to their rounding, not to its own.
    rounding = 1e-12 + 1e-14 * (state[TOTALS, 5] + state[LEVEL, 0])
    damping = 0.0
    deviance = np.inf
    fresh = True
    for step in range(max_iter):
        if step == _PLAIN_STEPS:
            damping = 1e-3
            deviance = deviance_of(state, columns, rows, bins, table, size)
        if fresh:
            differentiate(state, columns, rows, bins, table, size)
        kind = find_step(state, damping, with_tau)
        gain = 0.0
        for i in range(4):
            gain += state[STEP, i] * state[GRADIENT, i]
        if kind == 0 or not math.isfinite(gain):
            return NOT_CONVERGED, step + 1
        cut = take_step(state)
        if step >= _PLAIN_STEPS:
            lower = deviance_of(state, columns, rows, bins, table, size)
            fresh = lower <= deviance + rounding + 1e-12 * abs(deviance)
            if not fresh:
                for i in range(4):
                    state[THETA, i] = state[BEFORE, i]
                damping = max(10.0 * damping, 1e-3)
                if damping > _STUCK:
                    return NOT_CONVERGED, step + 1
                continue
            deviance = lower
        # Under strong damping a small gain would say nothing.
        if kind == 2 and not cut and gain < _GAIN and damping <= 1e-2:
            return OK, step + 1
        damping *= 0.1
    return NOT_CONVERGED, max_iter


@nb.njit(cache=True, error_model="numpy")
def covariance_at(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int, weighted: bool, covariance: FloatArray,
) -> bool:  # fmt: skip
    """Write the covariance (4, 4) of the parameters, in tau; False if there is none.

    It is the inverse of the observed information H, or H^-1 V H^-1 where counts have variances of
    their own and V is that of the gradient.
    """
    tau = math.exp(state[THETA, TAU])
    for i in range(4):
        for j in range(4):
            state[RIGHT, j] = 0.0
        state[RIGHT, i] = 1.0
        if not solve(state, INFORMATION, np.inf):
            return False
        for j in range(4):
            covariance[j, i] = state[STEP, j] if state[FREE, i] > 0 else 0.0
    if weighted:
        t = turn_to(state, rows, bins, table, size)
        accumulate(state, columns, rows, t, VARIANCES, size)
        fill_products(state, CURVE)
        for i in range(4):
            for j in range(4):
                value = 0.0
                for k in range(4):
                    value += covariance[i, k] * state[CURVE, 4 * k + j]
                state[INFORMATION, 4 * i + j] = value
        for i in range(4):
            for j in range(4):
                value = 0.0
                for k in range(4):
                    value += state[INFORMATION, 4 * i + k] * covariance[j, k]
                state[CURVE, 4 * i + j] = value
        for i in range(4):
            for j in range(4):
                covariance[i, j] = state[CURVE, 4 * i + j]
    for i in range(4):
        covariance[TAU, i] *= tau
    for i in range(4):
        covariance[i, TAU] *= tau
    return True
