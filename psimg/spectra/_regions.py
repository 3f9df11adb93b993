"""Compiled loops of the region histograms.

A column is a place in a region's histogram: ``kind * (B + 1) + bin``, where bin B is for events
whose dt is in none of the B bins.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.spectra._binning import PIECE, bin_of, find_voxels

N_NUMBER = 8
"""Numbers that describe a shape, see `find_inside`."""
_GROUP = 62
"""Shapes looked at together: a bit each in an integer of 64."""


@nb.njit(cache=True, parallel=True)
def find_columns(
    dt: NDArray[np.float64],
    window: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    edges: NDArray[np.float64],
    column: NDArray[np.int32],
) -> None:
    """Find the column of every event.

    dt : (N,) [ns]; window : (N,) positions in ``kinds``, which holds a `WindowKind` each; edges :
    (B+1,) [ns]; column : (N,) receives the columns.
    """
    n_bin = len(edges) - 1
    per_ns = n_bin / (edges[n_bin] - edges[0])
    for e in nb.prange(len(dt)):  # an event writes only its own column
        b = bin_of(dt[e], edges, per_ns)
        column[e] = int(kinds[window[e]]) * (n_bin + 1) + (b if b >= 0 else n_bin)


@nb.njit(cache=True)
def find_inside(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    shape: NDArray[np.float64],
    bit: int,
    inside: NDArray[np.int64],
) -> None:
    """Add ``bit`` to (n,) ``inside`` for the points that are in a shape.

    x, y, z : (n,) [mm]; shape : (8,) centre x, y, z [mm], weight of z^2, largest x^2 + y^2 +
    weight z^2 [mm^2], and largest |x|, |y| and |z| [mm] from the centre. The arithmetic is that of
    `Region.contains`, so that the answers are too.
    """
    cx, cy, cz, weight, square = shape[0], shape[1], shape[2], shape[3], shape[4]
    ax, ay, az = shape[5], shape[6], shape[7]
    for k in range(len(x)):
        dx = x[k] - cx
        dy = y[k] - cy
        dz = z[k] - cz
        # All of them, always: without a branch the loop runs on several points at once.
        found = (
            (dx * dx + dy * dy + weight * (dz * dz) <= square)
            & (abs(dx) <= ax)
            & (abs(dy) <= ay)
            & (abs(dz) <= az)
        )
        inside[k] |= bit if found else 0


@nb.njit(cache=True, parallel=True)
def count_shapes(
    position: NDArray[np.float64],
    column: NDArray[np.int32],
    shapes: NDArray[np.float64],
    rows: NDArray[np.int64],
    anywhere: NDArray[np.bool_],
    histogram: NDArray[np.int64],
) -> None:
    """Count the events in each shape.

    position : (N, 3) [mm]; column : (N,); shapes : (S, 8), see `find_inside`; rows : (S,) row of
    each shape in the histogram; anywhere : (N,) is set where an event is in a shape; histogram :
    (T, R, n_column), a layer for each of T threads.
    """
    n_event, n_part, n_shape = len(column), len(histogram), len(shapes)
    n_piece = (n_event + PIECE - 1) // PIECE
    for part in nb.prange(n_part):  # a part counts in its own layer
        xyz = np.empty((3, PIECE))
        inside = np.empty(PIECE, np.int64)
        for piece in range(part, n_piece, n_part):
            start = piece * PIECE
            n = min(PIECE, n_event - start)
            for k in range(n):
                for a in range(3):
                    xyz[a, k] = position[start + k, a]
            for group in range(0, n_shape, _GROUP):
                inside[:n] = 0
                for s in range(group, min(group + _GROUP, n_shape)):
                    find_inside(
                        xyz[0, :n], xyz[1, :n], xyz[2, :n], shapes[s], 1 << (s - group), inside[:n]
                    )
                for k in range(n):
                    bits = inside[k]
                    if bits:
                        anywhere[start + k] = True
                    s = group
                    while bits:
                        if bits & 1:
                            histogram[part, rows[s], column[start + k]] += 1
                        bits >>= 1
                        s += 1


@nb.njit(cache=True, parallel=True)
def count_masks(
    position: NDArray[np.float64],
    column: NDArray[np.int32],
    low: NDArray[np.float64],
    size: NDArray[np.float64],
    image: NDArray[np.uint16] | NDArray[np.uint32],
    first: NDArray[np.int64],
    rows: NDArray[np.int64],
    anywhere: NDArray[np.bool_],
    histogram: NDArray[np.int64],
) -> None:
    """Count the events in each of some masks on one grid.

    position : (N, 3) [mm]; column : (N,); low, size : (3,) lowest corner of the grid and size of a
    voxel [mm]; image : (nx, ny, nz), a number per set of masks; the masks of set i have the rows
    ``rows[first[i] : first[i + 1]]`` of the histogram; anywhere, histogram : as in `count_shapes`.
    """
    n_event, n_part = len(column), len(histogram)
    n_piece = (n_event + PIECE - 1) // PIECE
    shape = np.array([float(image.shape[0]), float(image.shape[1]), float(image.shape[2])])
    flat = image.reshape(-1)
    for part in nb.prange(n_part):  # a part counts in its own layer
        voxels = np.empty(PIECE)
        for piece in range(part, n_piece, n_part):
            start = piece * PIECE
            n = min(PIECE, n_event - start)
            find_voxels(position[start : start + n], low, size, shape, voxels[:n])
            for k in range(n):
                if voxels[k] < 0.0:
                    continue
                masks = flat[int(voxels[k])]
                for i in range(first[masks], first[masks + 1]):
                    histogram[part, rows[i], column[start + k]] += 1
                    anywhere[start + k] = True
