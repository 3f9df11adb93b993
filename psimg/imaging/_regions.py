"""Compiled loop of the likelihood of regions: sums over events that all derivatives come from.

The expected density of an event in time bin t is ``base + sum_k p_k A_kt`` with p_k the projection
of term k, kept where it is not zero. With lambda that density and w the event's weight, everything
that depends on parameters of A comes from ``sum w ln lambda``, from ``M_kt = sum w p_k / lambda``
and from ``Q_kjt = sum w p_k p_j / lambda^2``. Blocks of events lie in one time bin each and are the
same for any number of threads.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@nb.njit(parallel=True, cache=True, error_model="numpy")
def add_events(
    blocks: IntArray,
    first: IntArray,
    term: NDArray[np.uint16],
    share: SingleArray,
    base: SingleArray,
    weight: SingleArray,
    coefficient: FloatArray,
    log_sum: FloatArray,
    linear: FloatArray,
    square: FloatArray,
) -> None:
    """Sum over the events of each block.

    blocks : (L, 3) time bin, first event and the one after the last; first : (N+1,) where each
    event's terms begin; term, share : (E,) which terms, and their projections; base : (N,) density
    that no parameter changes; weight : (N,), or (0,) for ones; coefficient : (K, T); log_sum :
    (L,), linear : (L, K), square : (L, K, K) or (L, 0, 0) to leave it out; all three zero before.
    Events of no density are left out.
    """
    weighted, squared = len(weight) > 0, square.shape[1] > 0
    for b in nb.prange(len(blocks)):  # a block writes only its own rows
        t = blocks[b, 0]
        total = 0.0
        for n in range(blocks[b, 1], blocks[b, 2]):
            start, stop = first[n], first[n + 1]
            density = np.float64(base[n])
            for e in range(start, stop):
                density += share[e] * coefficient[term[e], t]
            w = np.float64(weight[n]) if weighted else 1.0
            if w == 0.0 or not density > 0.0:
                continue
            total += w * math.log(density)
            w /= density
            for e in range(start, stop):
                linear[b, term[e]] += w * share[e]
            if squared:
                w /= density
                for e in range(start, stop):
                    part = w * share[e]
                    for f in range(start, e + 1):  # terms rise: the lower triangle
                        square[b, term[e], term[f]] += part * share[f]
        log_sum[b] = total


@nb.njit(parallel=True, cache=True, error_model="numpy")
def add_members(
    blocks: IntArray,
    first: IntArray,
    term: NDArray[np.uint16],
    share: SingleArray,
    base: SingleArray,
    weight: SingleArray,
    coefficient: FloatArray,
    amount: FloatArray,
    random: FloatArray,
    members: FloatArray,
    randoms: FloatArray,
) -> None:
    """Share each event out among regions, by what each sends there at any time.

    amount : (K,) triplets of each term, 0 for those that no event belongs to; random : (K, T) the
    part of the coefficients that is of randoms; members, randoms : (L, K) events of each, and
    those among them that are random; zero before.
    """
    weighted = len(weight) > 0
    for b in nb.prange(len(blocks)):  # a block writes only its own rows
        t = blocks[b, 0]
        for n in range(blocks[b, 1], blocks[b, 2]):
            start, stop = first[n], first[n + 1]
            density, noise, whole = np.float64(base[n]), np.float64(base[n]), 0.0
            for e in range(start, stop):
                density += share[e] * coefficient[term[e], t]
                noise += share[e] * random[term[e], t]
                whole += share[e] * amount[term[e]]
            if not (density > 0.0 and whole > 0.0):
                continue
            w = np.float64(weight[n]) if weighted else 1.0
            for e in range(start, stop):
                part = w * share[e] * amount[term[e]] / whole
                members[b, term[e]] += part
                randoms[b, term[e]] += part * noise / density
