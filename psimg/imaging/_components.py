"""Compiled loops over voxels of the component reconstruction.

A voxel has ``a`` true triplets, of which the share ``g`` is of the o-Ps group and the rest of the
fast group. With f and o(tau) the shares of both in a time bin, d the slope of o in ln tau, and b
what randoms add, it is expected to send ``a ((1 - g) f + g o) + b`` into the bin. A mean life is
kept as its place in the table of shapes: a cell and how far across it.
"""

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]

_JIT: dict[str, Any] = {"cache": True, "error_model": "numpy"}


@nb.njit(cache=True, inline="always")
def _hermite(p0: float, p1: float, s0: float, s1: float, t: float) -> Any:
    """Return the cubic with values p0, p1 and slopes s0, s1 at 0 and 1, and its slope, at t."""
    rise = p1 - p0
    bend = s0 + s1 - 2.0 * rise
    value = p0 + t * (s0 + t * (rise - s0 - bend + t * bend))
    slope = s0 + t * (2.0 * (rise - s0 - bend) + t * 3.0 * bend)
    return value, slope


@nb.njit(parallel=True, **_JIT)
def place(
    log_tau: SingleArray, low: float, step: float, n_node: int, cell: Any, across: SingleArray
) -> None:
    """Write the cell of the table that each mean life lies in, and how far across it, 0 to 1."""
    for v in nb.prange(len(log_tau)):
        x = min(max((log_tau[v] - low) / step, 0.0), n_node - 1.0)
        c = min(int(x), n_node - 2)
        cell[v] = c
        across[v] = x - c


@nb.njit(parallel=True, **_JIT)
def expect(
    a: SingleArray,
    g: SingleArray,
    cell: Any,
    across: SingleArray,
    fast: float,
    ops: FloatArray,
    d_ops: FloatArray,
    step: float,
    added: SingleArray,
    added_share: float,
    class_2: SingleArray,
    class_2_share: float,
    out: SingleArray,
) -> None:
    """Write what each voxel is expected to send into one time bin.

    fast : share of the fast group; ops, d_ops : (M,) shares of the o-Ps group at the table's nodes
    and their slopes in ln tau; step : between nodes; added, class_2 : randoms of each voxel, with
    their shares in the bin.
    """
    for v in nb.prange(len(a)):
        randoms = added_share * added[v] + class_2_share * class_2[v]
        if a[v] > 0.0:
            c = cell[v]
            o, _ = _hermite(ops[c], ops[c + 1], step * d_ops[c], step * d_ops[c + 1], across[v])
            out[v] = a[v] * ((1.0 - g[v]) * fast + g[v] * o) + randoms
        else:
            out[v] = randoms


@nb.njit(parallel=True, **_JIT)
def gather(
    ratio: SingleArray,
    a: SingleArray,
    g: SingleArray,
    cell: Any,
    across: SingleArray,
    fast: float,
    ops: FloatArray,
    d_ops: FloatArray,
    step: float,
    n_fast: SingleArray,
    n_ops: SingleArray,
    score: SingleArray,
    information: SingleArray,
    seen_ops: SingleArray,
) -> None:
    """Add one time bin's share of events to the sums of each voxel.

    ratio : back projection of one over what is expected; n_fast, n_ops : expected number of events
    of each group; score : slope of their log-likelihood in ln tau; information : its curvature,
    were the group of each event known; seen_ops : share of the o-Ps group that is in the spectrum.
    """
    for v in nb.prange(len(a)):
        if a[v] > 0.0:
            c = cell[v]
            o, d = _hermite(ops[c], ops[c + 1], step * d_ops[c], step * d_ops[c + 1], across[v])
            d /= step
            ag = a[v] * g[v]
            n_fast[v] += (a[v] - ag) * fast * ratio[v]
            n_ops[v] += ag * o * ratio[v]
            score[v] += ag * d * (ratio[v] - 1.0)
            if o > 0.0:
                information[v] += ag * d * d / o
            seen_ops[v] += o


@nb.njit(parallel=True, **_JIT)
def smooth(
    wanted: SingleArray,
    information: SingleArray,
    used: NDArray[np.bool_],
    shape: NDArray[np.int64],
    strength: FloatArray,
    edge: FloatArray,
    guide: SingleArray,
    guide_scale: float,
    low: float,
    high: float,
    n_sweep: int,
    out: SingleArray,
) -> None:
    """Minimise ``sum_j i_j (x_j - wanted_j)^2 / 2 + sum_jk s w_jk phi(x_j - x_k)`` from ``out``.

    phi(d) = e^2 (sqrt(1 + (d/e)^2) - 1), quadratic below an edge e and linear above it (P.
    Charbonnier et al., IEEE Trans. Image Process. 6 (1997) 298); w_jk = 1/(1 + (difference of the
    guide / scale)^2). Neighbours share a face. Each sweep takes the voxels of one colour of a
    chequerboard and then those of the other, each to the minimum of the parabola that touches phi
    at its present difference and lies above it elsewhere.

    shape : (3,) padded, x fastest; strength, edge : (3,) s and e along x, y, z; guide : (0,) for
    none.
    """
    nx, ny, nz = shape[0], shape[1], shape[2]
    guided = len(guide) > 0
    for _ in range(n_sweep):
        for colour in range(2):
            for z in nb.prange(1, nz - 1):  # a voxel looks only at the other colour
                for y in range(1, ny - 1):
                    base = (z * ny + y) * nx
                    for x in range(1 + (y + z + 1 + colour) % 2, nx - 1, 2):
                        j = base + x
                        if not used[j]:
                            continue
                        top = information[j] * wanted[j]
                        bottom = float(information[j])
                        for n in range(6):
                            axis = n // 2
                            hop = 1 if axis == 0 else (nx if axis == 1 else nx * ny)
                            k = j + hop if n % 2 else j - hop
                            if not used[k]:
                                continue
                            d = (out[j] - out[k]) / edge[axis]
                            w = strength[axis] / math.sqrt(1.0 + d * d)
                            if guided:
                                e = (guide[j] - guide[k]) / guide_scale
                                w /= 1.0 + e * e
                            top += w * out[k]
                            bottom += w
                        if bottom > 0.0:
                            out[j] = min(max(top / bottom, low), high)


@nb.njit(parallel=True, **_JIT)
def inform(
    seen: SingleArray,
    a: SingleArray,
    g: SingleArray,
    cell: Any,
    across: SingleArray,
    fast: float,
    ops: FloatArray,
    d_ops: FloatArray,
    step: float,
    tau_tau: SingleArray,
    tau_g: SingleArray,
    g_g: SingleArray,
    complete: SingleArray,
) -> None:
    """Add one time bin's information on ln tau and g of each voxel, had its events no blur.

    complete : information on ln tau, were the group of each event known as well.

    seen : expected events of all kinds where the voxel's events are located.
    """
    for v in nb.prange(len(a)):
        if a[v] > 0.0 and seen[v] > 0.0:
            c = cell[v]
            o, d = _hermite(ops[c], ops[c + 1], step * d_ops[c], step * d_ops[c + 1], across[v])
            by_tau = a[v] * g[v] * d / step
            by_g = a[v] * (o - fast)
            tau_tau[v] += by_tau * by_tau / seen[v]
            tau_g[v] += by_tau * by_g / seen[v]
            g_g[v] += by_g * by_g / seen[v]
            if o > 0.0:
                complete[v] += by_tau * by_tau / (a[v] * g[v] * o)
