"""Compiled loops of the voxel histogram: find the cell of each event, count the cells, pack them.

A cell is one number of the histogram. Voxels lie one after another, ``width`` cells each: the time
bins, and then one cell per delayed kind where there are delayed windows.
"""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

UintArray = NDArray[Any]
"""Of uint16 or uint32."""

PIECE = 1024
"""Events looked at together: what a core keeps closest."""
_SHARE_SHIFT = 12
"""2 ** 12 neighbouring cells are one thread's: few enough that all get as many events, and enough
that two threads rarely write to one cache line."""


@nb.njit(cache=True)
def bin_of(value: float, edges: NDArray[np.float64], per_ns: float) -> int:
    """Return the bin that holds ``value``, -1 below the first edge, B from the last on.

    The bins are of equal width but for rounding, which the edges settle; per_ns : bins per ns.
    """
    n_bin = len(edges) - 1
    if not value >= edges[0]:
        return -1
    if value >= edges[n_bin]:
        return n_bin
    b: int = min(int((value - edges[0]) * per_ns), n_bin - 1)
    while value < edges[b]:
        b -= 1
    while value >= edges[b + 1]:
        b += 1
    return b


@nb.njit(cache=True, error_model="numpy")  # no look at every divisor
def find_voxels(
    position: NDArray[np.float64],
    low: NDArray[np.float64],
    size: NDArray[np.float64],
    shape: NDArray[np.float64],
    voxel: NDArray[np.float64],
) -> None:
    """Find the flat index of the voxel that holds each point, -1 outside the grid.

    position : (n, 3); low, size : (3,) lowest corner of the grid and size of a voxel, all [mm];
    shape : (3,) of the grid; voxel : (n,) receives the indices. All are float64, which holds any
    index exactly, because the loop then runs on several points at once.
    """
    for k in range(len(voxel)):
        u = (position[k, 0] - low[0]) / size[0]
        v = (position[k, 1] - low[1]) / size[1]
        w = (position[k, 2] - low[2]) / size[2]
        # A comparison with NaN is false, so that a point which is nowhere is outside.
        inside = (
            (u >= 0.0) & (u < shape[0]) & (v >= 0.0) & (v < shape[1]) & (w >= 0.0) & (w < shape[2])
        )
        index = (np.floor(u) * shape[1] + np.floor(v)) * shape[2] + np.floor(w)
        voxel[k] = index if inside else -1.0


@nb.njit(cache=True, parallel=True)
def find_cells(
    position: NDArray[np.float64],
    dt: NDArray[np.float64],
    window: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    low: NDArray[np.float64],
    size: NDArray[np.float64],
    shape: NDArray[np.float64],
    edges: NDArray[np.float64],
    joined: int,
    width: int,
    cell: NDArray[np.int64],
    total: NDArray[np.int64],
    outside: NDArray[np.int64],
) -> None:
    """Find the cell of every event.

    position : (N, 3) [mm]; dt : (N,) [ns]; window : (N,) positions in ``kinds``, which holds a
    `WindowKind` each; low, size, shape : (3,) lowest corner, voxel size [mm] and shape of the grid;
    edges : (B+1,) [ns]; joined : time bins that share a cell; width : cells of a voxel; cell : (N,)
    receives the cells, -1 where there is none; total : (T, 4, B) counts all events in the grid by
    kind; outside : (T, 2) counts the prompt-window events outside the grid, and those inside it but
    outside the edges. Each of T threads has its own row.
    """
    n_event, n_part, n_bin = len(dt), len(total), len(edges) - 1
    n_piece = (n_event + PIECE - 1) // PIECE
    per_ns = n_bin / (edges[n_bin] - edges[0])
    n_cell = (n_bin + joined - 1) // joined
    for part in nb.prange(n_part):  # a part writes only its own rows
        voxels = np.empty(PIECE)
        for piece in range(part, n_piece, n_part):
            start = piece * PIECE
            n = min(PIECE, n_event - start)
            find_voxels(position[start : start + n], low, size, shape, voxels[:n])
            for k in range(n):
                e = start + k
                kind = int(kinds[window[e]])
                voxel = int(voxels[k])
                b = bin_of(dt[e], edges, per_ns)
                cell[e] = -1
                if voxel >= 0 and 0 <= b < n_bin:
                    total[part, kind, b] += 1
                    cell[e] = voxel * width + (b // joined if kind == 0 else n_cell + kind - 1)
                elif kind == 0:
                    outside[part, 1 if voxel >= 0 else 0] += 1


@nb.njit(cache=True, parallel=True)
def count_cells(
    cell: NDArray[np.int64], most: int, counts: UintArray, n_waiting: NDArray[np.int64]
) -> None:
    """Add one for every event to its cell, unless the cell is full.

    cell : (N,), -1 for none; most : largest number a cell can hold; counts : (n_cell,);
    n_waiting : (S,) counts the events whose cell is full, whose ``cell`` becomes ``-2 - cell`` for
    `count_waiting`. S, a power of two, is the number of shares that the cells are dealt into: all
    go through all events, and each counts those in its own cells.
    """
    n_event, n_share = len(cell), len(n_waiting)
    for share in nb.prange(n_share):  # a share's cells are its own
        own = np.empty(PIECE, np.int64)
        full = 0
        for start in range(0, n_event, PIECE):
            n = 0
            for e in range(start, min(start + PIECE, n_event)):
                own[n] = e  # written over unless the event is this share's: no branch to guess
                n += (cell[e] >= 0) & (((cell[e] >> _SHARE_SHIFT) & (n_share - 1)) == share)
            for i in range(n):
                c = cell[own[i]]
                if counts[c] == most:
                    cell[own[i]] = -2 - c
                    full += 1
                else:
                    counts[c] += 1
        n_waiting[share] = full


@nb.njit(cache=True)
def count_waiting(cell: NDArray[np.int64], counts: UintArray) -> None:
    """Add the events that `count_cells` left out to ``counts``, which now has room for them."""
    for e in range(len(cell)):
        if cell[e] < -1:
            counts[-2 - cell[e]] += 1


@nb.njit(cache=True)
def widen(narrow: NDArray[np.uint16], wide: NDArray[np.uint32]) -> None:
    """Copy the cells that are not zero, so that memory nobody counted in is never touched."""
    for c in range(len(narrow)):
        if narrow[c]:
            wide[c] = narrow[c]


@nb.njit(cache=True)
def pack(
    counts: UintArray,
    width: int,
    n_bin: int,
    voxel: NDArray[np.int64],
    delayed: NDArray[np.uint32],
) -> None:
    """Move the bins of the given voxels to the front of ``counts``, row after row.

    counts : (V * width,); voxel : (n,) rising; delayed : (n, 3) receives the cells behind the bins.
    """
    for row in range(len(voxel)):
        start = voxel[row] * width
        for kind in range(width - n_bin):
            delayed[row, kind] = counts[start + n_bin + kind]
        for b in range(n_bin):  # never ahead of where it reads
            counts[row * n_bin + b] = counts[start + b]


@nb.njit(cache=True, parallel=True)
def find_filled(counts: UintArray, width: int, filled: NDArray[np.bool_]) -> None:
    """Set (V,) ``filled`` where one of a voxel's ``width`` cells in ``counts`` is not zero."""
    for v in nb.prange(len(filled)):  # a voxel writes only its own flag
        most = 0
        for c in range(v * width, (v + 1) * width):
            most |= counts[c]
        filled[v] = most != 0
