"""Compiled loop of the timing calibration: sums over pairs."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


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
