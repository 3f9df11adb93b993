"""Compiled loops of the triplet finder: two pointers over time-sorted candidates."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@nb.njit(cache=True)
def count_triplets(
    pair_time: FloatArray,
    prompt_time: FloatArray,
    n_anchor: int,
    pair_window: float,
    low: float,
    high: float,
    delays: FloatArray,
    counts: NDArray[np.int64],
) -> int:
    """Count the pairs of the first ``n_anchor`` annihilation singles and their triplets.

    pair_time : (A,) and prompt_time : (P,) rising [ns]; delays : (D,) [ns], the prompt window
    first, as 0; counts : (D,) receives the triplets of each window. Returns the number of pairs.
    """
    n_pair = 0
    first = np.zeros(len(delays), np.int64)
    for i in range(n_anchor):
        for d in range(len(delays)):
            first[d] = _skip(prompt_time, first[d], pair_time[i], high, delays[d])
        j = i + 1
        while j < len(pair_time) and pair_time[j] - pair_time[i] <= pair_window:
            n_pair += 1
            mean = 0.5 * (pair_time[i] + pair_time[j])
            for d in range(len(delays)):
                k = _skip(prompt_time, first[d], mean, high, delays[d])
                while k < len(prompt_time) and mean - (prompt_time[k] + delays[d]) >= low:
                    counts[d] += 1
                    k += 1
            j += 1
    return n_pair


@nb.njit(cache=True)
def fill_triplets(
    pair_time: FloatArray,
    prompt_time: FloatArray,
    n_anchor: int,
    pair_window: float,
    low: float,
    high: float,
    delays: FloatArray,
    row: NDArray[np.int64],
    window: NDArray[np.uint8],
) -> None:
    """Write the triplets that `count_triplets` counted, by first photon, second, window, prompt.

    row : (T, 3) receives the positions among the annihilation singles (twice) and the prompts;
    window : (T,) the position of the delay.
    """
    n = 0
    first = np.zeros(len(delays), np.int64)
    for i in range(n_anchor):
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
