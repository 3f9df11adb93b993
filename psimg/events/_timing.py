"""Compiled loops of the timing calibration: pairs of singles, and sums over them."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@nb.njit(cache=True)
def count_pairs(time: FloatArray, n_anchor: int, window: float) -> int:
    """Count the pairs whose first single is one of the first ``n_anchor``.

    time : (N,) rising [ns]; window : largest difference [ns].
    """
    n = 0
    j = 0
    for i in range(n_anchor):
        j = max(j, i + 1)
        while j < len(time) and time[j] - time[i] <= window:
            j += 1
        n += j - i - 1
    return n


@nb.njit(cache=True)
def fill_pairs(time: FloatArray, n_anchor: int, window: float, pair: IntArray) -> None:
    """Write the pairs that `count_pairs` counted; pair : (M, 2) receives rows of ``time``."""
    n = 0
    for i in range(n_anchor):
        j = i + 1
        while j < len(time) and time[j] - time[i] <= window:
            pair[n, 0] = i
            pair[n, 1] = j
            n += 1
            j += 1


@nb.njit(cache=True)
def add_pairs(
    row: IntArray,
    residual: FloatArray,
    chord: IntArray,
    offset: FloatArray,
    cell: IntArray,
    cut: FloatArray,
    weight: FloatArray,
    information: FloatArray,
    reach: float,
    flat_from: float,
    histogram: IntArray,
    n_inside: IntArray,
    n_random: FloatArray,
    diagonal: FloatArray,
    gradient: FloatArray,
    coarse: FloatArray,
) -> None:
    """Add pairs to the sums of one pass, in their order.

    row : (M, 2) detectors of each pair; residual : (M,) [ns]; chord : (M,) class of its chord;
    offset : (D,) [ns] and cell : (D,) of each detector, -1 to leave its pairs out; cut [ns],
    weight and information [1/ns^2] : (C,) of each class; reach, flat_from : ends of the histogram
    and of the part that holds randoms only [ns]. The rest are added to: histogram : (C, H);
    n_inside, n_random, diagonal, gradient : (D,); coarse : (cells, cells).
    """
    n_bin = histogram.shape[1]
    for p in range(len(residual)):
        a = row[p, 0]
        b = row[p, 1]
        if a == b or cell[a] < 0 or cell[b] < 0:
            continue
        c = chord[p]
        x = residual[p] - (offset[b] - offset[a])
        k = math.floor((x + reach) / (2.0 * reach) * n_bin)
        if k < 0 or k >= n_bin:
            continue
        histogram[c, k] += 1
        if abs(x) > flat_from:
            # What the randoms of this stretch say about those inside the cut.
            share = cut[c] / (reach - flat_from)
            n_random[a] += share
            n_random[b] += share
        if abs(x) > cut[c]:
            continue
        n_inside[a] += 1
        n_inside[b] += 1
        u = x / cut[c]
        pull = weight[c] * x * (1.0 - u * u) ** 2
        gradient[a] -= pull
        gradient[b] += pull
        diagonal[a] += information[c]
        diagonal[b] += information[c]
        if cell[a] != cell[b]:
            coarse[cell[a], cell[b]] += information[c]
            coarse[cell[b], cell[a]] += information[c]
