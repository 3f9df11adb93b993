"""Compiled loop that turns triplets into annihilation points and time differences."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@nb.njit(cache=True, parallel=True)
def locate(
    time: FloatArray,
    position: FloatArray,
    c: float,
    point: FloatArray,
    dt: FloatArray,
    direction: FloatArray,
) -> None:
    """Locate every triplet.

    time : (N, 3) [ns]; position : (N, 3, 3) [mm]; c : speed of light [mm/ns]; point, direction :
    (N, 3) and dt : (N,) receive the results, NaN where photons 1 and 2 are in one place.
    """
    for n in nb.prange(len(dt)):  # a triplet writes only its own row
        x = position[n, 0, 0] - position[n, 1, 0]
        y = position[n, 0, 1] - position[n, 1, 1]
        z = position[n, 0, 2] - position[n, 1, 2]
        length = math.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            dt[n] = np.nan
            point[n] = np.nan
            direction[n] = np.nan
            continue
        direction[n, 0] = x / length
        direction[n, 1] = y / length
        direction[n, 2] = z / length
        along = 0.5 * c * (time[n, 1] - time[n, 0])
        square = 0.0
        for a in range(3):
            point[n, a] = 0.5 * (position[n, 0, a] + position[n, 1, a]) + along * direction[n, a]
            square += (position[n, 2, a] - point[n, a]) ** 2
        # Differences first: absolute times are long numbers, their differences short ones.
        mean = 0.5 * ((time[n, 0] - time[n, 2]) + (time[n, 1] - time[n, 2]))
        dt[n] = mean + (math.sqrt(square) - 0.5 * length) / c
