"""Compiled fit of all voxels: damped Newton steps on four parameters."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._emg import bin_shares, edge_slopes
from psimg.lifetime._likelihood import SMALLEST_COUNT, count_deviance

FloatArray = NDArray[np.float64]

OK, TOO_FEW_COUNTS, NOT_CONVERGED, AT_BOUND = 0, 1, 2, 3
"""Values of `psimg.core.maps.FitStatus`."""

FAST, OPS, BACKGROUND, TAU = 0, 1, 2, 3
"""Rows of the parameters: events of the fast group, of the o-Ps group, randoms, mean life."""

_STUCK = 1e10
"""Damping at which no step lowers the deviance."""


@nb.njit(cache=True)
def shares_in_tau(
    edges: FloatArray, tau: float, sigma: float, mu: float, out: FloatArray, d_tau: FloatArray,
    d2_tau: FloatArray,
) -> None:  # fmt: skip
    """Write the shares of `bin_shares` with their first and second derivative in tau.

    edges : (B+1,) [ns]; the others : (B,). With k = sigma/tau, z = t/sigma - k, the density f and
    D = dF/dtau = -k (z tau f + phi)/tau, differentiating once more gives
    d2F/dtau2 = ((k z - 2) D - k^2 f)/tau.
    """
    bin_shares(edges, tau, sigma, mu, out)
    k = sigma / tau
    first = 0.0
    second = 0.0
    for b in range(len(edges)):
        t = edges[b] - mu
        density, slope, _ = edge_slopes(t, tau, sigma)
        bend = ((k * (t / sigma - k) - 2.0) * slope - k * k * density) / tau
        if b > 0:
            d_tau[b - 1] = slope - first
            d2_tau[b - 1] = bend - second
        first = slope
        second = bend


@nb.njit(cache=True)
def evaluate(
    theta: FloatArray,
    counts: FloatArray,
    level: float,
    scale: float,
    edges: FloatArray,
    mu: float,
    sigma: float,
    fast: FloatArray,
    fellow: FloatArray,
    weight: float,
    flat: FloatArray,
    shares: FloatArray,
    expected: FloatArray,
    jacobian: FloatArray,
) -> float:
    """Deviance of one voxel at ``theta``, and d(expected)/d(theta) in ``jacobian`` (4, B).

    Expected counts are theta[FAST] fast + theta[OPS] (fellow + weight emg(tau)) +
    theta[BACKGROUND] flat and go to ``expected`` (B,). The level of the background was measured as
    ``level`` ~ Poisson(scale theta[BACKGROUND]). ``shares`` is (3, B) scratch; its last row
    receives d2(emg)/dtau2.
    """
    shares_in_tau(edges, theta[TAU], sigma, mu, shares[0], shares[1], shares[2])
    deviance = 0.0
    for b in range(len(counts)):
        shape = fellow[b] + weight * shares[0, b]
        jacobian[FAST, b] = fast[b]
        jacobian[OPS, b] = shape
        jacobian[BACKGROUND, b] = flat[b]
        jacobian[TAU, b] = theta[OPS] * weight * shares[1, b]
        m = theta[FAST] * fast[b] + theta[OPS] * shape + theta[BACKGROUND] * flat[b]
        expected[b] = max(m, SMALLEST_COUNT)
        deviance += count_deviance(counts[b], expected[b])
    if scale > 0:
        deviance += count_deviance(level, scale * theta[BACKGROUND])
    return deviance


@nb.njit(cache=True)
def derivatives(
    theta: FloatArray,
    counts: FloatArray,
    level: float,
    scale: float,
    weight: float,
    d2_tau: FloatArray,
    expected: FloatArray,
    jacobian: FloatArray,
    gradient: FloatArray,
    information: FloatArray,
) -> None:
    """Gradient of the log-likelihood (4,) and its observed information (4, 4).

    With m the expected and n the observed counts of a bin, the information is the sum over bins
    of n/m^2 dm dm' - (n/m - 1) d2m. The expected counts are linear in all but the mean life, so
    d2m is not zero only for the mean life with itself and with the o-Ps events.
    """
    gradient[:] = 0.0
    information[:] = 0.0
    bend = 0.0
    for b in range(len(counts)):
        pull = counts[b] / expected[b] - 1.0
        square = counts[b] / (expected[b] * expected[b])
        for i in range(4):
            gradient[i] += jacobian[i, b] * pull
            share = jacobian[i, b] * square
            for j in range(i + 1):
                information[i, j] += share * jacobian[j, b]
        bend += pull * d2_tau[b]
    information[TAU, TAU] -= bend * weight * theta[OPS]
    if theta[OPS] > 0:
        information[TAU, OPS] -= gradient[TAU] / theta[OPS]
    for i in range(4):
        for j in range(i):
            information[j, i] = information[i, j]
    if scale > 0:
        background = max(theta[BACKGROUND], SMALLEST_COUNT)
        gradient[BACKGROUND] += level / background - scale
        information[BACKGROUND, BACKGROUND] += level / (background * background)


@nb.njit(cache=True)
def solve(matrix: FloatArray, right: FloatArray, free: NDArray[np.bool_], step: FloatArray) -> bool:
    """Solve the symmetric (4, 4) system for the free parameters by Cholesky; False if singular.

    ``matrix`` is overwritten; ``step`` is zero for parameters that are not free.
    """
    n = 4
    for i in range(n):
        if not free[i]:
            for j in range(n):
                matrix[i, j] = 0.0
                matrix[j, i] = 0.0
            matrix[i, i] = 1.0
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                # Relative to the diagonal: a pivot of rounding errors is no information.
                if not total > 1e-13 * matrix[i, i] or not math.isfinite(total):
                    return False
                matrix[i, i] = math.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(n):
        total = right[i] if free[i] else 0.0
        for k in range(i):
            total -= matrix[i, k] * step[k]
        step[i] = total / matrix[i, i]
    for i in range(n - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, n):
            total -= matrix[k, i] * step[k]
        step[i] = total / matrix[i, i]
    return True


@nb.njit(cache=True)
def choose_free(
    theta: FloatArray,
    gradient: FloatArray,
    lowest: FloatArray,
    highest: FloatArray,
    with_fast: bool,
    free: NDArray[np.bool_],
) -> None:
    """Mark the parameters not held on a bound by the gradient."""
    for i in range(4):
        held = (theta[i] <= lowest[i] and gradient[i] < 0) or (
            theta[i] >= highest[i] and gradient[i] > 0
        )
        free[i] = not held
    if not with_fast:
        free[FAST] = False
    if theta[OPS] <= 0:
        free[TAU] = False


@nb.njit(cache=True)
def fit_one(
    counts: FloatArray,
    level: float,
    scale: float,
    edges: FloatArray,
    mu: float,
    sigma: float,
    fast: FloatArray,
    fellow: FloatArray,
    weight: float,
    flat: FloatArray,
    with_fast: bool,
    lowest: FloatArray,
    highest: FloatArray,
    max_iter: int,
    theta: FloatArray,
    covariance: FloatArray,
) -> tuple[float, int]:
    """Fit one voxel from the start in ``theta``; return its deviance and status.

    ``covariance`` (4, 4) receives the inverse of the observed information, zero for parameters on
    a bound.
    """
    n_bin = len(counts)
    shares = np.empty((3, n_bin))
    expected = np.empty(n_bin)
    jacobian = np.empty((4, n_bin))
    gradient = np.empty(4)
    information = np.empty((4, 4))
    damped = np.empty((4, 4))
    free = np.ones(4, np.bool_)
    step = np.zeros(4)
    trial = np.empty(4)
    damping = 1e-3
    deviance = evaluate(
        theta, counts, level, scale, edges, mu, sigma, fast, fellow, weight, flat, shares,
        expected, jacobian,
    )  # fmt: skip
    derivatives(
        theta, counts, level, scale, weight, shares[2], expected, jacobian, gradient,
        information,
    )  # fmt: skip
    # Differences of large counts: the deviance is good to their rounding, not to its own.
    rounding = 1e-12 + 1e-14 * (counts.sum() + level)
    status = NOT_CONVERGED
    for _ in range(max_iter):
        choose_free(theta, gradient, lowest, highest, with_fast, free)
        damped[:] = information
        for i in range(4):
            # The absolute value: far from the minimum the likelihood may curve the wrong way.
            damped[i, i] += damping * abs(information[i, i]) + 1e-30
        if not solve(damped, gradient, free, step):
            damping *= 10.0
            if damping > _STUCK:
                break
            continue
        gain = 0.0
        for i in range(4):
            gain += step[i] * gradient[i]
            trial[i] = min(max(theta[i] + step[i], lowest[i]), highest[i])
        # A lifetime may at most double or halve in a step: farther the model is no parabola.
        trial[TAU] = min(max(trial[TAU], 0.5 * theta[TAU]), 2.0 * theta[TAU])
        trial_deviance = evaluate(
            trial, counts, level, scale, edges, mu, sigma, fast, fellow, weight, flat,
            shares, expected, jacobian,
        )  # fmt: skip
        if not trial_deviance <= deviance + rounding + 1e-12 * abs(deviance):
            damping *= 10.0
            if damping > _STUCK:
                break
            continue
        theta[:] = trial
        deviance = trial_deviance
        derivatives(
            theta, counts, level, scale, weight, shares[2], expected, jacobian, gradient,
            information,
        )  # fmt: skip
        # A promised gain of a millionth of a unit of the deviance is a thousandth of a standard
        # error; under strong damping it would say nothing.
        if damping <= 1e-2 and gain < 1e-6:
            status = OK
            break
        damping = max(0.1 * damping, 1e-9)
    if status == OK:
        choose_free(theta, gradient, lowest, highest, with_fast, free)
        # Without fast events o-Ps has taken them over: its lifetime comes out short, with an error
        # that is far too small.
        at_bound = theta[OPS] <= 0 or (with_fast and theta[FAST] <= 0)
        if at_bound or theta[TAU] <= lowest[TAU] or theta[TAU] >= highest[TAU]:
            return deviance, AT_BOUND
        for i in range(4):
            damped[:] = information
            trial[:] = 0.0
            trial[i] = 1.0
            if not solve(damped, trial, free, step):
                return deviance, NOT_CONVERGED
            covariance[:, i] = step
            if not free[i]:
                covariance[:, i] = 0.0
    return deviance, status


@nb.njit(cache=True, parallel=True)
def fit_all(
    counts: NDArray[np.uint16] | NDArray[np.uint32],
    level: FloatArray,
    scale: FloatArray,
    edges: FloatArray,
    mu: float,
    sigma: float,
    fast: FloatArray,
    fellow: FloatArray,
    weight: float,
    flat: FloatArray,
    class_2: FloatArray,
    class_2_share: FloatArray,
    with_fast: bool,
    side: NDArray[np.bool_],
    lowest: FloatArray,
    highest: FloatArray,
    tau_start: float,
    min_counts: int,
    max_iter: int,
    values: FloatArray,
    covariance: FloatArray,
    deviance: FloatArray,
    status: NDArray[np.uint8],
) -> None:
    """Fit every voxel.

    counts : (V, B); level, scale : (V,) measured levels of the background; flat, class_2 : (B,)
    shapes of its two parts and class_2_share : (V,) the share of the second; side : (B,) bins
    before the peak, for the start of the background; values : (V, 4), covariance : (V, 4, 4),
    deviance and status : (V,) receive the results, NaN where there are none.
    """
    side_share = 0.0
    for b in range(len(flat)):
        if side[b]:
            side_share += flat[b]
    for v in nb.prange(counts.shape[0]):  # a voxel writes only its own row
        values[v] = np.nan
        covariance[v] = np.nan
        deviance[v] = np.nan
        row = counts[v].astype(np.float64)
        total = row.sum()
        if total < min_counts:
            status[v] = TOO_FEW_COUNTS
            continue
        background = 0.3 * total
        shape = (1.0 - class_2_share[v]) * flat + class_2_share[v] * class_2
        if scale[v] > 0:
            background = level[v] / scale[v]
        elif side_share > 0:
            background = 0.0
            for b in range(len(flat)):
                if side[b]:
                    background += row[b] / side_share
        background = min(max(background, 0.01 * total), 0.9 * total)
        theta = np.empty(4)
        theta[FAST] = 0.6 * (total - background) if with_fast else 0.0
        theta[OPS] = 0.4 * (total - background) if with_fast else total - background
        theta[BACKGROUND] = background
        theta[TAU] = tau_start
        matrix = np.zeros((4, 4))
        deviance[v], code = fit_one(
            row, level[v], scale[v], edges, mu, sigma, fast, fellow, weight, shape, with_fast,
            lowest, highest, max_iter, theta, matrix,
        )  # fmt: skip
        status[v] = code
        if code == OK:
            values[v] = theta
            covariance[v] = matrix
