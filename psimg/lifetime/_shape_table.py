"""Table of the o-Ps shape over its mean life, for fits that share edges and response.

The bin shares of a decay depend on its mean life alone once edges and response are known. They are
computed at nodes equally spaced in ``x = ln tau``, with their first and second derivatives in x,
and joined by the quintic that has all three right at both ends of a cell. The table holds the
quintics: with ``t = 0..1`` the place in a cell of width ``h``,

    shape = sum_j row_j t^j,    d shape/dx = sum_j j row_j t^(j-1) / h,    and so on.
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._emg import bin_shares, edge_slopes

FloatArray = NDArray[np.float64]

_FIRST_CELLS, _MOST_CELLS = 8, 2048
_TOLERANCE = 1e-8
"""Of a share; its slope may be off by 30 times as much. That is 1e-3 counts in a spectrum of 1e5,
and a finer table would no longer fit the processor's cache."""


class ShapeTable(NamedTuple):
    """The shape of one event of the o-Ps group at every mean life within bounds."""

    rows: FloatArray
    """(6 C, B + 1) the six coefficients of each of C cells, that of ``t^0`` first, in each bin and
    summed over the bins."""
    log_low: float
    """ln of the shortest mean life."""
    per_step: float
    """1/h of the width h of a cell in ln tau."""


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
def fill_nodes(
    edges: FloatArray,
    log_tau: FloatArray,
    weights: FloatArray,
    mus: FloatArray,
    sigmas: FloatArray,
    spread: FloatArray,
    shares_of_spread: FloatArray,
    nodes: FloatArray,
) -> None:
    """Write the shape and its derivatives in ln tau at each node.

    edges : (B+1,) [ns]; log_tau : (N,); weights, mus, sigmas : (G,) Gaussians of the response;
    spread, shares_of_spread : (S,) offsets in ln tau over which the mean life is spread and their
    weights; nodes : (N, 3, B).
    """
    n_bin = nodes.shape[2]
    part = np.empty((3, n_bin))
    for i in range(len(log_tau)):
        nodes[i] = 0.0
        for g in range(len(weights)):
            for s in range(len(spread)):
                tau = math.exp(log_tau[i] + spread[s])
                weight = weights[g] * shares_of_spread[s]
                shares_in_tau(edges, tau, sigmas[g], mus[g], part[0], part[1], part[2])
                for b in range(n_bin):
                    nodes[i, 0, b] += weight * part[0, b]
                    nodes[i, 1, b] += weight * tau * part[1, b]
                    nodes[i, 2, b] += weight * tau * (tau * part[2, b] + part[1, b])


def make_table(
    edges: FloatArray,
    bounds_ns: tuple[float, float],
    response: tuple[FloatArray, FloatArray, FloatArray],
    *,
    fellow: FloatArray,
    weight: float,
    spread: tuple[FloatArray, FloatArray] | None = None,
) -> ShapeTable:
    """Tabulate ``fellow + weight emg(tau)`` between bounds, as finely as its accuracy needs.

    Parameters
    ----------
    edges : (B+1,) array
        Bin edges [ns].
    bounds_ns : (2,) tuple
        Shortest and longest mean life [ns].
    response : tuple of three (G,) arrays
        Weights, means and widths of the Gaussians of the response [ns].
    fellow : (B,) array
        What comes with an event whatever its mean life.
    weight : float
        Events of the mean life for one of the group.
    spread : tuple of two (S,) arrays, optional
        Offsets in ln tau about the nominal mean life and their weights; one sharp mean life when
        left out.
    """
    offsets, shares = spread if spread is not None else (np.zeros(1), np.ones(1))
    weights, mus, sigmas = (np.ascontiguousarray(part, dtype=np.float64) for part in response)
    low, high = np.log(bounds_ns[0]), np.log(bounds_ns[1])

    def at(log_tau: FloatArray) -> FloatArray:
        nodes = np.empty((len(log_tau), 3, len(edges) - 1))
        fill_nodes(edges, log_tau, weights, mus, sigmas, offsets, shares, nodes)
        return nodes

    n_cell = _FIRST_CELLS
    log_tau = np.linspace(low, high, n_cell + 1)
    nodes = at(log_tau)
    while True:
        step = (high - low) / n_cell
        middles = at(0.5 * (log_tau[1:] + log_tau[:-1]))
        good = n_cell >= _MOST_CELLS or _is_close(nodes, middles, step)
        if good:
            break
        finer = np.empty((2 * n_cell + 1, *nodes.shape[1:]))
        finer[::2], finer[1::2] = nodes, middles
        n_cell *= 2
        log_tau, nodes = np.linspace(low, high, n_cell + 1), finer
    cells = weight * _quintics(nodes, step)
    cells[:, 0] += fellow
    rows = cells.reshape(6 * n_cell, -1)
    rows = np.hstack([rows, rows.sum(axis=1, keepdims=True)])
    return ShapeTable(rows, float(low), float(1.0 / step))


_TO_QUINTIC = np.array(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0, 0.0],
        [-10.0, -6.0, -1.5, 10.0, -4.0, 0.5],
        [15.0, 8.0, 1.5, -15.0, 7.0, -1.0],
        [-6.0, -3.0, -0.5, 6.0, -3.0, 0.5],
    ]
)
"""Coefficients of the quintic for value, slope and bend at ``t = 0`` and then at ``t = 1``."""


def _quintics(nodes: FloatArray, step: float) -> FloatArray:
    """Return the (C, 6, B) quintics through (C + 1, 3, B) nodes."""
    scaled = nodes * np.array([1.0, step, step * step])[:, None]
    return np.asarray(_TO_QUINTIC @ np.concatenate([scaled[:-1], scaled[1:]], axis=1))


def _is_close(nodes: FloatArray, middles: FloatArray, step: float) -> bool:
    """Whether the quintics through the nodes hold in the middles of the cells."""
    power = np.arange(6)
    value = 0.5**power
    slope = power * 0.5 ** np.maximum(power - 1, 0) / step
    found = np.stack([value, slope]) @ _quintics(nodes, step)
    error = np.abs(found - middles[:, :2]).max(axis=(0, 2), initial=0.0)
    return bool(error[0] < _TOLERANCE and error[1] < 30 * _TOLERANCE)
