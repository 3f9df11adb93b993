"""Compiled log-posterior of many points at once."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._likelihood import count_deviance
from psimg.lifetime._mixture import mixture_shares

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNIFORM, NORMAL, LOG_UNIFORM = 0, 1, 2
"""Kinds of a prior."""


@nb.njit(cache=True)
def log_prior(theta: FloatArray, kind: IntArray, prior: FloatArray) -> float:
    """Logarithm of the prior density up to a constant; minus infinity outside its range.

    kind : (P,); prior : (P, 4) lowest and highest value, then mean and standard deviation.
    """
    total = 0.0
    for i in range(len(theta)):
        if not prior[i, 0] <= theta[i] <= prior[i, 1]:
            return -math.inf
        if kind[i] == NORMAL:
            pull = (theta[i] - prior[i, 2]) / prior[i, 3]
            total -= 0.5 * pull * pull
        elif kind[i] == LOG_UNIFORM:
            total -= math.log(theta[i])
    return total


@nb.njit(cache=True)
def pick(base: float, at: int, theta: FloatArray) -> float:
    """Return the free parameter at a position, or what is known where there is none (-1)."""
    return theta[at] if at >= 0 else base


@nb.njit(cache=True)
def fill_response(known: FloatArray, at: IntArray, theta: FloatArray, response: FloatArray) -> bool:
    """Write the (G, 3) table of the response; False where its weights are no shares.

    known, at : (G, 3) weight, shift against the first Gaussian (its own mean in the first row) and
    width, and their positions among the parameters.
    """
    left = 1.0
    for g in range(len(known)):
        weight = pick(known[g, 0], at[g, 0], theta)
        shift = pick(known[g, 1], at[g, 1], theta)
        response[g, 0] = weight
        response[g, 1] = shift if g == 0 else response[0, 1] + shift
        response[g, 2] = pick(known[g, 2], at[g, 2], theta)
        if g > 0:
            left -= weight
    response[0, 0] = left
    return left > 0.0


@nb.njit(cache=True)
def log_posterior_of(
    theta: FloatArray, kind: IntArray, prior: FloatArray, edges: FloatArray, counts: FloatArray,
    exposure: FloatArray, shape: FloatArray, level: FloatArray, link: FloatArray,
    life: FloatArray, life_at: IntArray, known_shares: FloatArray, is_known: NDArray[np.bool_],
    response_known: FloatArray, response_at: IntArray, level_at: int,
) -> float:  # fmt: skip
    """Logarithm of the posterior density of one point (P,), up to a constant.

    counts, exposure, shape : (B,); level : (2,) events of the delayed prompts and their number of
    windows, 0 without; link : (K, A); life, life_at : (K, 2) mean life and spread and their
    positions among the parameters; known_shares : (K, B) shares of the components that nothing
    changes; level_at : position of the unrelated randoms.
    """
    total = log_prior(theta, kind, prior)
    response = np.empty_like(response_known)
    if total == -math.inf or not fill_response(response_known, response_at, theta, response):
        return -math.inf
    n_bin, n_group = len(counts), link.shape[1]
    expected = theta[level_at] * shape
    part, work = np.empty(n_bin), np.empty(n_bin)
    for k in range(len(link)):
        events = 0.0
        for a in range(n_group):
            events += link[k, a] * theta[a]
        if is_known[k]:
            for b in range(n_bin):
                expected[b] += events * known_shares[k, b]
            continue
        tau = pick(life[k, 0], life_at[k, 0], theta)
        spread = pick(life[k, 1], life_at[k, 1], theta)
        mixture_shares(edges, tau, spread, response, work, part)
        for b in range(n_bin):
            expected[b] += events * part[b]
    for b in range(n_bin):
        total -= 0.5 * count_deviance(counts[b], exposure[b] * expected[b])
    if level[1] > 0:
        total -= 0.5 * count_deviance(level[0], level[1] * theta[level_at])
    return total


@nb.njit(cache=True)
def log_posterior(
    thetas: FloatArray, kind: IntArray, prior: FloatArray, edges: FloatArray, counts: FloatArray,
    exposure: FloatArray, shape: FloatArray, level: FloatArray, link: FloatArray,
    life: FloatArray, life_at: IntArray, known_shares: FloatArray, is_known: NDArray[np.bool_],
    response_known: FloatArray, response_at: IntArray, level_at: int, out: FloatArray,
) -> None:  # fmt: skip
    """Write the log-posterior of M points (M, P), one after the other; see `log_posterior_of`."""
    for i in range(len(thetas)):
        out[i] = log_posterior_of(
            thetas[i], kind, prior, edges, counts, exposure, shape, level, link, life, life_at,
            known_shares, is_known, response_known, response_at, level_at,
        )  # fmt: skip


@nb.njit(cache=True, parallel=True)
def log_posterior_on_cores(
    thetas: FloatArray, kind: IntArray, prior: FloatArray, edges: FloatArray, counts: FloatArray,
    exposure: FloatArray, shape: FloatArray, level: FloatArray, link: FloatArray,
    life: FloatArray, life_at: IntArray, known_shares: FloatArray, is_known: NDArray[np.bool_],
    response_known: FloatArray, response_at: IntArray, level_at: int, out: FloatArray,
) -> None:  # fmt: skip
    """Write the same as `log_posterior`, on all cores."""
    for i in nb.prange(len(thetas)):  # a point writes only its own number
        out[i] = log_posterior_of(
            thetas[i], kind, prior, edges, counts, exposure, shape, level, link, life, life_at,
            known_shares, is_known, response_known, response_at, level_at,
        )  # fmt: skip
