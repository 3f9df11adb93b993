"""Compiled loops of the triplet finder: candidates by energy, then two pointers over them.

Every loop runs over blocks of equal size that write to places of their own, counted first and
filled after, so that the result is the same for any number of threads.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@nb.njit(cache=True)
def _block(b: int, n_block: int, n: int) -> tuple[int, int]:
    """Return the first row of block ``b`` of ``n`` rows, and the first row after it."""
    return b * n // n_block, (b + 1) * n // n_block


@nb.njit(cache=True, parallel=True)
def count_candidates(
    energy: FloatArray, windows: FloatArray, n_block: int, counts: IntArray
) -> None:
    """Count the singles of each energy window in each block.

    A single on an edge that both windows share is an annihilation photon.

    energy : (N,); windows : (2, 2) low and high of the annihilation and the prompt window [keV];
    counts : (n_block, 2) receives the numbers.
    """
    for b in nb.prange(n_block):
        start, stop = _block(b, n_block, len(energy))
        n_pair = 0
        n_prompt = 0
        for s in range(start, stop):
            e = energy[s]
            is_pair = (e >= windows[0, 0]) & (e <= windows[0, 1])
            n_pair += is_pair
            n_prompt += (not is_pair) & (e >= windows[1, 0]) & (e <= windows[1, 1])
        counts[b, 0] = n_pair
        counts[b, 1] = n_prompt


@nb.njit(cache=True, parallel=True)
def fill_candidates(
    energy: FloatArray,
    time: FloatArray,
    windows: FloatArray,
    starts: IntArray,
    row: IntArray,
    when: FloatArray,
) -> None:
    """Write row and time of the singles that `count_candidates` counted, in their order.

    starts : (n_block, 2) first place of each block's annihilation and prompt singles in ``row``
    and ``when`` (C,).
    """
    for b in nb.prange(len(starts)):
        start, stop = _block(b, len(starts), len(energy))
        i = starts[b, 0]
        k = starts[b, 1]
        for s in range(start, stop):
            e = energy[s]
            if (e >= windows[0, 0]) & (e <= windows[0, 1]):
                row[i] = s
                when[i] = time[s]
                i += 1
            elif (e >= windows[1, 0]) & (e <= windows[1, 1]):
                row[k] = s
                when[k] = time[s]
                k += 1


@nb.njit(cache=True, parallel=True)
def count_triplets(
    pair_time: FloatArray,
    prompt_time: FloatArray,
    n_anchor: int,
    pair_window: float,
    low: float,
    high: float,
    delays: FloatArray,
    n_pair: IntArray,
    n_found: IntArray,
) -> None:
    """Count the pairs of the first ``n_anchor`` annihilation singles, and their triplets.

    pair_time : (A,) and prompt_time : (P,) rising [ns]; delays : (D,) [ns], the prompt window
    first, as 0; n_pair, n_found : (n_block,) receive the numbers of each block of anchors.
    """
    n_block = len(n_pair)
    for b in nb.prange(n_block):
        start, stop = _block(b, n_block, n_anchor)
        first = np.zeros(len(delays), np.int64)
        n_pair[b] = 0
        n_found[b] = 0
        if start < stop:
            for d in range(len(delays)):
                first[d] = _search(prompt_time, pair_time[start], high, delays[d])
        for i in range(start, stop):
            for d in range(len(delays)):
                first[d] = _skip(prompt_time, first[d], pair_time[i], high, delays[d])
            j = i + 1
            while j < len(pair_time) and pair_time[j] - pair_time[i] <= pair_window:
                n_pair[b] += 1
                mean = 0.5 * (pair_time[i] + pair_time[j])
                for d in range(len(delays)):
                    k = _skip(prompt_time, first[d], mean, high, delays[d])
                    while k < len(prompt_time) and mean - (prompt_time[k] + delays[d]) >= low:
                        n_found[b] += 1
                        k += 1
                j += 1


@nb.njit(cache=True, parallel=True)
def fill_triplets(
    pair_time: FloatArray,
    prompt_time: FloatArray,
    n_anchor: int,
    pair_window: float,
    low: float,
    high: float,
    delays: FloatArray,
    starts: IntArray,
    row: IntArray,
    window: NDArray[np.uint8],
) -> None:
    """Write the triplets that `count_triplets` counted, by first photon, second, window, prompt.

    starts : (n_block,) first place of each block; row : (T, 3) receives positions among the
    annihilation singles (twice) and the prompts; window : (T,) the position of the delay.
    """
    for b in nb.prange(len(starts)):
        start, stop = _block(b, len(starts), n_anchor)
        n = starts[b]
        first = np.zeros(len(delays), np.int64)
        if start < stop:
            for d in range(len(delays)):
                first[d] = _search(prompt_time, pair_time[start], high, delays[d])
        for i in range(start, stop):
            for d in range(len(delays)):
                first[d] = _skip(prompt_time, first[d], pair_time[i], high, delays[d])
            j = i + 1
            while j < len(pair_time) and pair_time[j] - pair_time[i] <= pair_window:
                mean = 0.5 * (pair_time[i] + pair_time[j])
                for d in range(len(delays)):
                    k = _skip(prompt_time, first[d], mean, high, delays[d])
                    while k < len(prompt_time) and mean - (prompt_time[k] + delays[d]) >= low:
                        row[n, 0] = i
                        row[n, 1] = j
                        row[n, 2] = k
                        window[n] = d
                        n += 1
                        k += 1
                j += 1


@nb.njit(cache=True)
def _skip(prompt_time: FloatArray, k: int, mean: float, high: float, delay: float) -> int:
    """Return the first prompt from ``k`` on that is not too early for a pair at ``mean``.

    Rounding is monotone, so a prompt too early for this pair is too early for every later one and
    the comparison may be the very one that decides.
    """
    while k < len(prompt_time) and mean - (prompt_time[k] + delay) > high:
        k += 1
    return k


@nb.njit(cache=True)
def _search(prompt_time: FloatArray, mean: float, high: float, delay: float) -> int:
    """Return what `_skip` returns from the first prompt on, by bisection."""
    below = 0
    above = len(prompt_time)
    while below < above:
        middle = (below + above) // 2
        if mean - (prompt_time[middle] + delay) > high:
            below = middle + 1
        else:
            above = middle
    return below
