"""Compiled loops over the stream of hits: their order, and blocks that are busy."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.simulate._jit import JIT
from psimg.simulate._photons import Ring
from psimg.simulate._readout import (
    HIT_ALONG,
    HIT_AROUND,
    HIT_ENERGY,
    HIT_TIME,
    Response,
    block_of,
)

START, ROW = 0, 1
"""Columns of the table of blocks: time of the last hit a block took up [ns], and its number."""


@nb.njit(**JIT)
def order_in_time(
    hits: NDArray[np.float64], order: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    """Copy hits in the order of their times, equal ones as they come.

    hits, out (H, 8); order (H,). Hits come nearly sorted: a few steps back find each one's place.
    """
    for i in range(len(hits)):
        time = hits[i, HIT_TIME]
        place = i
        while place > 0 and hits[order[place - 1], HIT_TIME] > time:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    for i in range(len(hits)):
        for k in range(hits.shape[1]):
            out[i, k] = hits[order[i], k]


@nb.njit(**JIT)
def merge(one: NDArray[np.float64], other: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Merge hits in the order of their times; those of ``one`` come before equal ones of ``other``.

    one (H, 8), other (G, 8), both in time order; out (H + G, 8).
    """
    i, j = 0, 0
    for row in range(len(out)):
        from_one = j == len(other)
        if i < len(one) and not from_one:
            from_one = one[i, HIT_TIME] <= other[j, HIT_TIME]
        for k in range(out.shape[1]):
            out[row, k] = one[i, k] if from_one else other[j, k]
        if from_one:
            i += 1
        else:
            j += 1


@nb.njit(**JIT)
def keep_free(
    hits: NDArray[np.float64],
    first: int,
    number: int,
    dead: float,
    blocks: NDArray[np.float64],
    ring: Ring,
    response: Response,
) -> int:
    """Drop the hits that find their block busy, moving the others up; return how many are left.

    hits (H, 8), in time order; row 0 is the ``number``-th of those kept so far, and rows before
    ``first`` were dealt with. blocks (L, 2), kept from call to call. A hit within the integration
    time of the last one that its block took up adds its energy to that one; a later one within the
    dead time [ns] is lost.
    """
    n = first
    for i in range(first, len(hits)):
        block = block_of(hits[i, HIT_AROUND], hits[i, HIT_ALONG], ring, response)
        since = hits[i, HIT_TIME] - blocks[block, START]
        if since <= response.integration:
            hits[int(blocks[block, ROW]) - number, HIT_ENERGY] += hits[i, HIT_ENERGY]
        elif since > dead:
            for k in range(hits.shape[1]):
                hits[n, k] = hits[i, k]
            blocks[block, START] = hits[n, HIT_TIME]
            blocks[block, ROW] = number + n
            n += 1
    return n
