"""Shares of a component behind a response of several Gaussians, its mean life spread or not.

A response ``sum_g w_g N(mu_g, sigma_g)`` and a distribution of mean lives are sums of
exponentially modified Gaussians, and so are their derivatives. A log-normal distribution of mean
``tau`` and logarithmic width ``s`` is a Gauss-Hermite sum over ``tau_j = tau exp(s x_j - s^2/2)``,
with ``dtau_j/dtau = tau_j / tau`` and ``dtau_j/ds = tau_j (x_j - s)``.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._emg import bin_shares, bin_shares_derivatives

FloatArray = NDArray[np.float64]

_NODE, _WEIGHT = np.polynomial.hermite_e.hermegauss(32)
_WEIGHT = _WEIGHT / _WEIGHT.sum()
_N_NODE = len(_NODE)
_NEGLIGIBLE = 1e-15
"""Nodes of less weight add less than rounding."""


def spread_nodes(spread: float) -> tuple[FloatArray, FloatArray]:
    """Return (S,) offsets in ln tau that stand for a log-normal distribution, and their weights.

    Parameters
    ----------
    spread : float
        Standard deviation of the logarithm; 0 gives one sharp mean life.
    """
    if not spread > 0:
        return np.zeros(1), np.ones(1)
    used = _WEIGHT >= _NEGLIGIBLE
    return spread * _NODE[used] - 0.5 * spread**2, _WEIGHT[used]


@nb.njit(cache=True)
def mixture_shares(
    edges: FloatArray,
    tau: float,
    spread: float,
    response: FloatArray,
    work: FloatArray,
    out: FloatArray,
) -> None:
    """Write the share of a component's decays that is seen in each bin.

    edges : (B+1,) [ns]; tau : mean of the mean lives [ns]; spread : standard deviation of their
    logarithm; response : (G, 3) weight, mean and width [ns]; work : (B,) scratch; out : (B,).
    """
    out[:] = 0.0
    for j in range(_N_NODE if spread > 0 else 1):
        tau_j = tau * np.exp(spread * _NODE[j] - 0.5 * spread * spread) if spread > 0 else tau
        weight = _WEIGHT[j] if spread > 0 else 1.0
        if weight < _NEGLIGIBLE:
            continue
        for g in range(response.shape[0]):
            if response[g, 0] == 0.0:
                continue
            bin_shares(edges, tau_j, response[g, 2], response[g, 1], work)
            for b in range(len(out)):
                out[b] += weight * response[g, 0] * work[b]


@nb.njit(cache=True)
def mixture_derivatives(
    edges: FloatArray,
    tau: float,
    spread: float,
    response: FloatArray,
    work: FloatArray,
    out: FloatArray,
    d_tau: FloatArray,
    d_spread: FloatArray,
    d_response: FloatArray,
) -> None:
    """Write the shares of `mixture_shares` and their derivatives.

    work : (4, B) scratch; out, d_tau, d_spread : (B,); d_response : (G, 3, B), by the weight, the
    mean and the width of each Gaussian, the weights taken as independent.
    """
    out[:] = 0.0
    d_tau[:] = 0.0
    d_spread[:] = 0.0
    d_response[:] = 0.0
    for j in range(_N_NODE if spread > 0 else 1):
        scale = np.exp(spread * _NODE[j] - 0.5 * spread * spread) if spread > 0 else 1.0
        weight = _WEIGHT[j] if spread > 0 else 1.0
        if weight < _NEGLIGIBLE:
            continue
        lean = scale * tau * (_NODE[j] - spread) if spread > 0 else 0.0
        for g in range(response.shape[0]):
            bin_shares_derivatives(
                edges, scale * tau, response[g, 2], response[g, 1], work[0], work[1], work[2],
                work[3],
            )  # fmt: skip
            w = weight * response[g, 0]
            for b in range(len(out)):
                out[b] += w * work[0, b]
                d_tau[b] += w * scale * work[1, b]
                d_spread[b] += w * lean * work[1, b]
                d_response[g, 0, b] += weight * work[0, b]
                d_response[g, 1, b] += w * work[3, b]
                d_response[g, 2, b] += w * work[2, b]
