"""Compiled search for the minimum of one voxel, and what is read off there."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._shape_table import ShapeTable
from psimg.lifetime._voxel import (
    FAST,
    NOT_CONVERGED,
    OK,
    OPS,
    TAU,
    VARIANCE,
    Voxel,
    deviance_of,
    differentiate,
    fill_products,
    solve,
    sums_at,
    turn_to,
)

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
def choose_free(voxel: Voxel, with_fast: bool, with_tau: bool) -> None:
    """Mark the parameters not held on a bound by the gradient."""
    theta, gradient, free = voxel.theta, voxel.gradient, voxel.free
    for i in range(4):
        held = (theta[i] <= voxel.lowest[i] and gradient[i] < 0) or (
            theta[i] >= voxel.highest[i] and gradient[i] > 0
        )
        free[i] = not held
    if not with_fast:
        free[FAST] = False
    if theta[OPS] <= 0 or not with_tau:
        free[TAU] = False


@nb.njit(cache=True, error_model="numpy")
def solve_within(voxel: Voxel) -> bool:
    """Solve ``curve step = gradient`` with amplitudes that stay above their lower bounds.

    One that would fall below is put there, and the others solve their equations with it there.
    Returns False if the matrix is not positive definite.
    """
    theta, step, free, right = voxel.theta, voxel.step, voxel.free, voxel.right
    for i in range(4):
        right[i] = voxel.gradient[i]
        voxel.move[i] = 0.0
    while True:
        if not solve(voxel.curve, right, free, _LARGEST_STEP, step):
            return False
        worst, below = -1, 0.0
        for i in range(3):
            gap = voxel.lowest[i] - theta[i] - step[i]
            if free[i] and gap > below:
                worst, below = i, gap
        if worst < 0:
            break
        free[worst] = False
        target = voxel.lowest[worst]
        # Not to nothing at once: what a bin holds may hang on it.
        if theta[worst] > 0.01 * voxel.totals[5]:
            target = max(target, 0.1 * theta[worst])
        voxel.move[worst] = target - theta[worst]
        for i in range(4):
            right[i] -= voxel.curve[i, worst] * voxel.move[worst]
    for i in range(3):
        step[i] += voxel.move[i]
    return True


@nb.njit(cache=True, error_model="numpy")
def find_step(voxel: Voxel, damping: float, level: float, scale: float) -> int:
    """Solve for the step; return 2 for a Newton step, 1 for another way uphill, 0 for none."""
    curve = voxel.curve
    for i in range(4):
        for j in range(4):
            curve[i, j] = voxel.information[i, j]
        # The absolute value: far from the minimum the likelihood may curve the wrong way.
        curve[i, i] += damping * abs(curve[i, i])
    if solve_within(voxel):
        return 2
    # Without the bend of the shape the matrix is a sum of squares.
    fill_products(voxel, level, scale, curve)
    for i in range(4):
        curve[i, i] += damping * curve[i, i] + 1e-30
    if solve_within(voxel):
        return 1
    return 0


@nb.njit(cache=True, error_model="numpy")
def take_step(voxel: Voxel) -> bool:
    """Add the step to the parameters within their bounds; return whether it had to be cut."""
    theta = voxel.theta
    cut = bool(abs(voxel.step[TAU]) >= _LARGEST_STEP)
    for i in range(4):
        value = theta[i] + voxel.step[i]
        if voxel.move[i] != 0.0 or value < voxel.lowest[i] or value > voxel.highest[i]:
            value = min(max(value, voxel.lowest[i]), voxel.highest[i])
            cut = True
        theta[i] = value
    return cut


@nb.njit(cache=True, error_model="numpy")
def search(
    voxel: Voxel, table: ShapeTable, size: int, level: float, scale: float, with_fast: bool,
    with_tau: bool, max_iter: int,
) -> tuple[int, int]:  # fmt: skip
    """Go by Newton steps from ``theta`` to a minimum; return the status and the steps taken.

    Most voxels need four. Those that take long go on by damped steps that lower the deviance.
    `Voxel.information` is left as that of the last point but one, 0.003 standard errors away at
    most. Without ``with_tau`` the mean life stays.
    """
    theta, before = voxel.theta, voxel.trial
    # Differences of large counts: the deviance is good to their rounding, not to its own.
    rounding = 1e-12 + 1e-14 * (voxel.totals[5] + level)
    damping = 0.0
    deviance = np.inf
    fresh = True
    for i in range(max_iter):
        if i == _PLAIN_STEPS:
            damping = 1e-3
            deviance = deviance_of(voxel, table, size, level, scale, theta)
        if fresh:
            differentiate(voxel, table, size, level, scale)
            choose_free(voxel, with_fast, with_tau)
        kind = find_step(voxel, damping, level, scale)
        gain = 0.0
        for k in range(4):
            gain += voxel.step[k] * voxel.gradient[k]
            before[k] = theta[k]
        if kind == 0 or not math.isfinite(gain):
            return NOT_CONVERGED, i + 1
        cut = take_step(voxel)
        if i >= _PLAIN_STEPS:
            lower = deviance_of(voxel, table, size, level, scale, theta)
            fresh = lower <= deviance + rounding + 1e-12 * abs(deviance)
            if not fresh:
                for k in range(4):
                    theta[k] = before[k]
                damping = max(10.0 * damping, 1e-3)
                if damping > _STUCK:
                    return NOT_CONVERGED, i + 1
                continue
            deviance = lower
        # Under strong damping a small gain would say nothing.
        if kind == 2 and not cut and gain < _GAIN and damping <= 1e-2:
            return OK, i + 1
        damping *= 0.1
    return NOT_CONVERGED, max_iter


@nb.njit(cache=True, error_model="numpy")
def covariance_at(
    voxel: Voxel, table: ShapeTable, size: int, level: float, scale: float, weighted: bool,
    covariance: FloatArray,
) -> bool:  # fmt: skip
    """Write the covariance (4, 4) of the parameters, in tau; False if there is none.

    It is the inverse of the observed information H, or H^-1 V H^-1 where counts have variances of
    their own and V is that of the gradient.
    """
    tau = math.exp(voxel.theta[TAU])
    matrix, free, right = voxel.matrix, voxel.free, voxel.right
    for i in range(4):
        for j in range(4):
            right[j] = 0.0
        right[i] = tau if i == TAU else 1.0
        if not solve(voxel.information, right, free, np.inf, voxel.step):
            return False
        voxel.step[TAU] *= tau
        for j in range(4):
            covariance[j, i] = voxel.step[j] if free[i] else 0.0
    if weighted:
        t = turn_to(voxel, table, size, voxel.theta[TAU])
        sums_at(voxel, table, size, t, VARIANCE)
        fill_products(voxel, level, scale, matrix)
        between = voxel.curve
        for i in range(4):
            matrix[TAU, i] /= tau
        for i in range(4):
            matrix[i, TAU] /= tau
        for i in range(4):
            for j in range(4):
                between[i, j] = 0.0
                for k in range(4):
                    between[i, j] += covariance[i, k] * matrix[k, j]
        for i in range(4):
            for j in range(4):
                matrix[i, j] = 0.0
                for k in range(4):
                    matrix[i, j] += between[i, k] * covariance[k, j]
        for i in range(4):
            for j in range(4):
                covariance[i, j] = matrix[i, j]
    return True
