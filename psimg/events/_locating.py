"""Compiled loop that turns triplets into annihilation points and time differences."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@nb.njit(cache=True, parallel=True, error_model="numpy")  # no look at every divisor
def locate(
    time: FloatArray,
    position: FloatArray,
    c: float,
    point: FloatArray,
    dt: FloatArray,
    direction: FloatArray,
) -> int:
    """Locate every triplet; return how many have photons 1 and 2 in one place, and so no LOR.

    time : (N, 3) [ns]; position : (N, 3, 3) [mm]; c : speed of light [mm/ns]; point : (N, 3),
    dt : (N,) and direction : (N, 3), or (0, 3) if nobody asks for it, receive the results, NaN
    where there is no LOR.
    """
    n_without = 0
    for n in nb.prange(len(dt)):  # a triplet writes only its own row
        x = position[n, 0, 0] - position[n, 1, 0]
        y = position[n, 0, 1] - position[n, 1, 1]
        z = position[n, 0, 2] - position[n, 1, 2]
        length = math.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            dt[n] = np.nan
            point[n] = np.nan
            if len(direction):
                direction[n] = np.nan
            n_without += 1
            continue
        x, y, z = x / length, y / length, z / length
        if len(direction):
            direction[n, 0] = x
            direction[n, 1] = y
            direction[n, 2] = z
        along = 0.5 * c * (time[n, 1] - time[n, 0])
        x = 0.5 * (position[n, 0, 0] + position[n, 1, 0]) + along * x
        y = 0.5 * (position[n, 0, 1] + position[n, 1, 1]) + along * y
        z = 0.5 * (position[n, 0, 2] + position[n, 1, 2]) + along * z
        point[n, 0] = x
        point[n, 1] = y
        point[n, 2] = z
        square = (
            (position[n, 2, 0] - x) ** 2
            + (position[n, 2, 1] - y) ** 2
            + (position[n, 2, 2] - z) ** 2
        )
        # Differences first: absolute times are long numbers, their differences short ones.
        mean = 0.5 * ((time[n, 0] - time[n, 2]) + (time[n, 1] - time[n, 2]))
        dt[n] = mean + (math.sqrt(square) - 0.5 * length) / c
    return n_without
