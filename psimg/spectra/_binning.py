"""Compiled loop of the voxel histogram."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(cache=True)
def bin_of(value: float, edges: NDArray[np.float64]) -> int:
    """Return the bin that holds ``value``, -1 below the first edge, B from the last on.

    The bins are of equal width but for rounding, which the edges settle.
    """
    n_bin = len(edges) - 1
    if not value >= edges[0]:
        return -1
    if value >= edges[n_bin]:
        return n_bin
    b = int((value - edges[0]) / (edges[n_bin] - edges[0]) * n_bin)
    b = min(b, n_bin - 1)
    while value < edges[b]:
        b -= 1
    while value >= edges[b + 1]:
        b += 1
    return b


@nb.njit(cache=True)
def add_events(
    position: NDArray[np.float64],
    dt: NDArray[np.float64],
    kind: NDArray[np.uint8],
    low: NDArray[np.float64],
    size: NDArray[np.float64],
    shape: NDArray[np.int64],
    edges: NDArray[np.float64],
    counts: NDArray[np.uint32],
    delayed: NDArray[np.uint32],
    total: NDArray[np.int64],
    outside: NDArray[np.int64],
) -> None:
    """Add events to the histogram of a grid whose lowest corner is ``low``.

    position : (N, 3) [mm]; dt : (N,) [ns]; kind : (N,) a `WindowKind`; counts : (V, B) receives
    the prompt-window events; delayed : (V, 3) those of the delayed windows, whatever their bin;
    total : (4, B) all events in the grid by kind; outside : (2,) the prompt-window events outside
    the grid, and those inside it but outside the edges.
    """
    n_bin = len(edges) - 1
    for e in range(len(dt)):
        voxel = 0
        inside = True
        for axis in range(3):
            index = math.floor((position[e, axis] - low[axis]) / size[axis])
            if index < 0 or index >= shape[axis]:
                inside = False
                break
            voxel = voxel * shape[axis] + int(index)
        b = bin_of(dt[e], edges)
        if inside and 0 <= b < n_bin:
            total[kind[e], b] += 1
            if kind[e] == 0:
                counts[voxel, b] += 1
            else:
                delayed[voxel, kind[e] - 1] += 1
        elif kind[e] == 0:
            outside[1 if inside else 0] += 1
