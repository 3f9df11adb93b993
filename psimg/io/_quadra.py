"""Compiled loop that turns records of a Vision Quadra export into events."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray


@nb.njit(cache=True, nogil=True)
def take_good(
    records: NDArray[np.float64],
    order: NDArray[np.int64],
    sign: NDArray[np.float64],
    bad: float,
    start: int,
    position: NDArray[np.float64],
    dt: NDArray[np.float64],
) -> tuple[int, int]:
    """Write the records that are events behind those before; return how many are not.

    records : (N, 4) c0, c1, c2 [mm] and t [ns]; order, sign : (3,) which of c0, c1, c2 is x, y, z,
    and its sign; bad : |t| from which a record is marked as bad [ns]; start : first row to write;
    position : (M, 3) [mm] and dt : (M,) [ns] with M not less than start + N. Returns the number of
    records with NaN or infinite numbers, and of those marked as bad.
    """
    n_not_finite = n_bad = 0
    row = start
    for i in range(len(records)):
        # Written in any case, and written over by the next record unless this one stays.
        position[row, 0] = sign[0] * records[i, order[0]]
        position[row, 1] = sign[1] * records[i, order[1]]
        position[row, 2] = sign[2] * records[i, order[2]]
        dt[row] = records[i, 3]
        if not (
            math.isfinite(records[i, 0])
            and math.isfinite(records[i, 1])
            and math.isfinite(records[i, 2])
            and math.isfinite(records[i, 3])
        ):
            n_not_finite += 1
        elif abs(records[i, 3]) >= bad:
            n_bad += 1
        else:
            row += 1
    return n_not_finite, n_bad
