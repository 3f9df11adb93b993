"""Compiled loops that sort events for the projector in the memory of the result.

Two walks over the events: the first sees where each goes and counts, the second puts it there.
"""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NOT_FINITE, NO_UNIT_VECTOR = 1, 2
"""What is wrong with an event."""
_UNIT_TOLERANCE = 1e-3
"""Of the square of a direction: memory is set aside for the planes that unit vectors reach."""


@nb.njit(cache=True, inline="always")
def _dominant(x: float, y: float, z: float) -> int:
    """Return the axis along which a line crosses most planes, from its steps in voxels."""
    x, y, z = abs(x), abs(y), abs(z)
    axis = 0 if x >= y else 1
    return axis if max(x, y) >= z else 2


@nb.njit(cache=True, error_model="numpy")
def survey(
    position: Any,
    direction: Any,
    bins: Any,
    n_bin: int,
    origin: FloatArray,
    size: FloatArray,
    padded: IntArray,
    cut: float,
    plane: NDArray[np.int16],
    n_of_plane: IntArray,
) -> tuple[int, int]:
    """Write the plane each event lies in, -1 where it is not used, and count those of each plane.

    position, direction : (N, 3) [mm]; bins : (N,), or (0,) for one bin; origin, size : centre of
    voxel 0 and size of a voxel [mm]; padded : (3,) shape of the padded grid; cut : length to
    either side of the point at which a line ends [mm]; plane : (N,); n_of_plane : (padded z,).
    Returns what is wrong, if anything, and how many events do not reach the grid.
    """
    n_outside = 0
    for n in range(len(plane)):
        plane[n] = -1
        square = 0.0
        near = True
        for k in range(3):
            square += float(direction[n, k]) ** 2
            point = (position[n, k] - origin[k]) / size[k] + 1.0
            if not np.isfinite(point):
                return NOT_FINITE, 0
            reach = abs(direction[n, k]) * cut / size[k]
            near &= point + reach > 0.0 and point - reach < padded[k] - 1.0
        if not abs(square - 1.0) < _UNIT_TOLERANCE:
            return NO_UNIT_VECTOR, 0
        if len(bins) and not 0 <= bins[n] < n_bin:
            continue
        if not near:
            n_outside += 1
            continue
        z = np.float32((position[n, 2] - origin[2]) / size[2] + 1.0)
        p = min(max(int(np.floor(z)), 0), padded[2] - 1)
        plane[n] = p
        n_of_plane[p] += 1
    return 0, n_outside


@nb.njit(cache=True, error_model="numpy")
def count(
    position: Any,
    direction: Any,
    bins: Any,
    origin: FloatArray,
    size: FloatArray,
    padded: IntArray,
    cut: float,
    plane: NDArray[np.int16],
    block_of_plane: IntArray,
    n_block: int,
    side: int,
    key: NDArray[np.int32],
    n_of_key: IntArray,
    lowest: FloatArray,
    highest: FloatArray,
) -> None:
    """Write the place of each event in the order, count, and see how far each block reaches.

    side : voxels a side of a column; key : (N,), -1 where the event is not used; n_of_key : (keys
    + 1,) counts, each one place on; lowest, highest : (blocks,) planes reached along z.
    """
    n_x, n_y = padded[0] // side + 1, padded[1] // side + 1
    for n in range(len(plane)):
        key[n] = -1
        if plane[n] < 0:
            continue
        block = block_of_plane[plane[n]]
        x = np.float32((position[n, 0] - origin[0]) / size[0] + 1.0)
        y = np.float32((position[n, 1] - origin[1]) / size[1] + 1.0)
        z = np.float32((position[n, 2] - origin[2]) / size[2] + 1.0)
        reach = abs(direction[n, 2]) * cut / size[2]
        lowest[block] = min(lowest[block], z - reach)
        highest[block] = max(highest[block], z + reach)
        column_x = min(max(int(x) // side, 0), padded[0] // side)
        column_y = min(max(int(y) // side, 0), padded[1] // side)
        axis = _dominant(
            direction[n, 0] / size[0], direction[n, 1] / size[1], direction[n, 2] / size[2]
        )
        time_bin = np.int64(bins[n]) if len(bins) else 0
        part = (time_bin * n_block + block) * 3 + axis
        key[n] = (part * n_y + column_y) * n_x + column_x
        n_of_key[key[n] + 1] += 1


@nb.njit(cache=True, error_model="numpy")
def place(
    position: Any,
    direction: Any,
    origin: FloatArray,
    size: FloatArray,
    key: NDArray[np.int32],
    following: IntArray,
    point: NDArray[np.float32],
    slope: NDArray[np.float32],
    row: IntArray,
) -> None:
    """Put each event in its place.

    following : (keys + 1,) first place of each key, which moves on; point, slope, row : see
    `ListMode`.
    """
    for n in range(len(key)):
        if key[n] < 0:
            continue
        m = following[key[n]]
        following[key[n]] = m + 1
        row[m] = n
        for k in range(3):
            point[m, k] = (position[n, k] - origin[k]) / size[k] + 1.0
        x, y, z = direction[n, 0] / size[0], direction[n, 1] / size[1], direction[n, 2] / size[2]
        axis = _dominant(x, y, z)
        if axis == 0:
            slope[m, 0], slope[m, 1] = y / x, z / x
        elif axis == 1:
            slope[m, 0], slope[m, 1] = x / y, z / y
        else:
            slope[m, 0], slope[m, 1] = x / z, y / z
