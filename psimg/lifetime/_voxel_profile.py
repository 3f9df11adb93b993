"""Compiled fit of one voxel: the best of its minima, and where the profiled likelihood falls.

Arguments are those of `psimg.lifetime._voxel`. With the mean life held, the likelihood is concave
in the amplitudes and has one maximum; along the mean life, that maximum may have more than one.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._voxel import (
    AT_BOUND,
    BEST,
    COUNTS,
    DEVIANCE,
    FAST,
    GRADIENT,
    HIGHEST,
    LEVEL,
    LOWEST,
    NOT_CONVERGED,
    OK,
    OPS,
    TAU,
    THETA,
    TOTALS,
    VARIANCES,
    deviance_of,
)  # fmt: skip
from psimg.lifetime._voxel_steps import covariance_at, search

FloatArray = NDArray[np.float64]

_FAR = 0.2
"""Relative error of a mean life above which other minima are looked for."""
_LOOKS = (0.1, 0.3, 0.6, 0.9)
"""Where that is done, as shares of the range of ln tau."""
_NEAR = 0.35
"""Distance in ln tau at which there is no other minimum."""
_BETTER = 1e-4
"""Fall of the deviance that makes another minimum better."""
_HELD_STEPS = 2
"""Steps of the amplitudes that tell which way the profile slopes; one more where flat."""
_STEEP = 1.0
"""Slope of the log-likelihood, times the distance to the best, that is steep."""
_MOST_TRIALS = 40


@nb.njit(cache=True, error_model="numpy")
def status_of(state: FloatArray) -> int:
    """Return whether the minimum lies inside the bounds."""
    # Without fast events o-Ps has taken them over: its lifetime comes out short, with an error
    # that is far too small.
    if state[THETA, OPS] <= 0 or (state[LEVEL, 2] > 0 and state[THETA, FAST] <= 0):
        return AT_BOUND
    if state[THETA, TAU] <= state[LOWEST, TAU] or state[THETA, TAU] >= state[HIGHEST, TAU]:
        return AT_BOUND
    return OK


@nb.njit(cache=True, error_model="numpy")
def copy_row(state: FloatArray, source: int, target: int) -> None:
    """Copy the four parameters of a row."""
    for i in range(4):
        state[target, i] = state[source, i]


@nb.njit(cache=True, error_model="numpy")
def look_around(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int, max_iter: int,
) -> int:  # fmt: skip
    """Look for a better minimum than BEST; return the steps to it, 0 if there is none.

    At a few other mean lives the amplitudes are fitted. Where the likelihood then rises away from
    the best, or rises at all from a best without o-Ps, a search starts.
    """
    low, high = state[LOWEST, TAU], state[HIGHEST, TAU]
    found = 0
    for share in _LOOKS:
        log_tau = low + share * (high - low)
        away = log_tau - state[BEST, TAU]
        without = state[BEST, OPS] <= 0
        if abs(away) < _NEAR and not without:
            continue
        copy_row(state, BEST, THETA)
        state[THETA, TAU] = log_tau
        state[THETA, OPS] = max(state[BEST, OPS], 0.05 * state[TOTALS, 5])
        search(state, columns, rows, bins, table, size, False, _HELD_STEPS)
        # Down a steep slope to the best there is no doubt.
        if state[GRADIENT, TAU] * away > -_STEEP:
            search(state, columns, rows, bins, table, size, False, 1)
        if state[THETA, OPS] <= 0 or (state[GRADIENT, TAU] * away <= 0 and not without):
            continue
        code, n_step = search(state, columns, rows, bins, table, size, True, max_iter)
        if code != OK:
            continue
        deviance = deviance_of(state, columns, rows, bins, table, size)
        if deviance < state[DEVIANCE, 0] - _BETTER:
            state[DEVIANCE, 0] = deviance
            copy_row(state, THETA, BEST)
            found = n_step
    copy_row(state, BEST, THETA)
    return found


@nb.njit(cache=True, error_model="numpy")
def find_end(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int, max_iter: int, first: float, rise: float,
) -> float:  # fmt: skip
    """Return the ln tau nearest to BEST where the profiled deviance has risen; NaN if it falls.

    ``first`` is the distance to try first, negative for the lower end. An end that lies beyond a
    bound of the mean life is that bound. With NaN the point that lies lower is in THETA. The root
    of the rise, nearly a straight line, is solved for.
    """
    best = float(state[BEST, TAU])
    wanted = math.sqrt(rise)
    inside, z_inside, outside, z_outside = best, 0.0, np.nan, np.nan
    log_tau = best + first
    copy_row(state, BEST, THETA)
    for _ in range(_MOST_TRIALS):
        log_tau = float(min(max(log_tau, state[LOWEST, TAU]), state[HIGHEST, TAU]))
        if log_tau == best:
            return best
        state[THETA, TAU] = log_tau
        code, _n = search(state, columns, rows, bins, table, size, False, max_iter)
        risen = deviance_of(state, columns, rows, bins, table, size) - state[DEVIANCE, 0]
        if code == OK and risen < -10.0 * _BETTER:
            return np.nan
        z = math.sqrt(max(risen, 0.0))
        if abs(z - wanted) < 1e-4:
            return log_tau
        if z > wanted:
            outside, z_outside = log_tau, z
        else:
            if log_tau == state[LOWEST, TAU] or log_tau == state[HIGHEST, TAU]:
                return log_tau
            inside, z_inside = log_tau, z
        if math.isnan(outside):
            stretch = min(max(1.05 * wanted / max(z, 1e-9), 1.2), 2.0)
            log_tau = best + stretch * (log_tau - best)
        else:
            if abs(outside - inside) < 1e-7:
                return log_tau
            share = (wanted - z_inside) / (z_outside - z_inside)
            # Not too near to either end, which would stay for many trials where the line bends.
            share = min(max(share, 0.05), 0.95)
            log_tau = inside + share * (outside - inside)
    return log_tau


@nb.njit(cache=True, error_model="numpy")
def weight_of_counts(columns: FloatArray, size: int) -> float:
    """Return the mean variance of a weighted count, and how much larger its deviance is."""
    variance = counts = 0.0
    for b in range(size):
        variance += columns[VARIANCES, b]
        counts += columns[COUNTS, b]
    return variance / counts


@nb.njit(cache=True, error_model="numpy")
def fit_one(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int, weighted: bool, max_iter: int, rises: FloatArray,
    covariance: FloatArray, ends: FloatArray,
) -> tuple[int, int]:  # fmt: skip
    """Fit one voxel from the start in THETA; return its status and the steps taken.

    The best is left in THETA and its deviance in DEVIANCE. covariance : (4, 4); ends : (2,)
    receives the interval of tau where the deviance has risen by less than ``rises``, of the best
    inside the bounds and on one.
    """
    n_total = 0
    looked = False
    while True:
        code, n_step = search(state, columns, rows, bins, table, size, True, max_iter)
        n_total += n_step
        state[DEVIANCE, 0] = deviance_of(state, columns, rows, bins, table, size)
        copy_row(state, THETA, BEST)
        width = np.inf
        if code == OK:
            code = status_of(state)
        if code == OK:
            done = covariance_at(state, columns, rows, bins, table, size, weighted, covariance)
            if done:
                width = math.sqrt(covariance[TAU, TAU]) / math.exp(state[THETA, TAU])
            else:
                code = NOT_CONVERGED
        if width > _FAR and not looked:
            looked = True
            more = look_around(state, columns, rows, bins, table, size, max_iter)
            if more > 0:
                # Its information, too: a step from the minimum to itself.
                n_total += more
                continue
        rise = rises[1] if code == AT_BOUND else rises[0]
        if rise > 0 and code in (OK, AT_BOUND):
            if weighted:
                rise *= weight_of_counts(columns, size)
            first = math.sqrt(rise) * min(width, 0.5)
            low = find_end(state, columns, rows, bins, table, size, max_iter, -first, rise)
            high = low
            if not math.isnan(low):
                high = find_end(state, columns, rows, bins, table, size, max_iter, first, rise)
            if math.isnan(high) and n_total < 4 * max_iter:
                continue
            ends[0], ends[1] = math.exp(low), math.exp(high)
            copy_row(state, BEST, THETA)
        return code, n_total
