"""Compiled loops of the triplet finder.

The singles are cut into blocks of rows that threads share out. A block picks its annihilation
singles without a branch into arrays that stay in the cache, and walks over them; pairs are rare,
so that prompts are looked up among the singles themselves, around each pair. A block sees all
singles that its anchors can reach, and writes to a place of its own: the triplets are the same for
any number of blocks, chunks and threads.

The anchor of a triplet is its first photon. Delays are numbers added to a photon's time: `delay`
arrays hold one per group of windows for the second photon, and one per window for the prompt.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ALL, FIRST, REJECT = 0, 1, 2
"""What to do with triplets that share a photon."""

N_FOUND, N_CROWDED, N_NOT_ALONE, N_SHARED = 0, 1, 2, 3
"""Columns of the counts per window: triplets found, and those dropped by each rule."""
N_ANNIHILATION, N_PROMPT, N_PAIR = 0, 1, 2
"""Columns of the counts per block."""

N_LANE = 64
"""Runs of blocks that threads share out; the result does not depend on it."""
BLOCK_MARGIN = 4096
"""Singles beyond what a block has now: the next may have more."""


@nb.njit(cache=True)
def lower_row(time: FloatArray, bound: float) -> int:
    """Return the first row whose time is not below ``bound``; ``time`` rises."""
    below = 0
    above = len(time)
    while below < above:
        middle = (below + above) // 2
        if time[middle] < bound:
            below = middle + 1
        else:
            above = middle
    return below


@nb.njit(cache=True)
def pick_annihilation(
    time: FloatArray,
    signal: FloatArray,
    low: float,
    high: float,
    start: int,
    stop: int,
    row: IntArray,
    when: FloatArray,
) -> int:
    """Write row and time of the annihilation singles of some rows; return how many there are.

    Every single is written and the place moves on only for those in the window: a branch that
    goes one way as often as the other costs more than the write.
    """
    n = 0
    for s in range(start, stop):
        row[n] = s
        when[n] = time[s]
        n += (signal[s] >= low) & (signal[s] <= high)
    return n


@nb.njit(cache=True)
def is_prompt(signal: float, windows: FloatArray) -> bool:
    """Whether a single is a prompt; on an edge that both windows share it is not."""
    if signal < windows[1, 0] or signal > windows[1, 1]:
        return False
    return not windows[0, 0] <= signal <= windows[0, 1]


@nb.njit(cache=True)
def count_prompts(signal: FloatArray, windows: FloatArray, start: int, stop: int) -> int:
    """Count the prompts of some rows, as `is_prompt` says, in a form without branches."""
    pair_low, pair_high = windows[0]
    low, high = windows[1]
    n = 0
    for s in range(start, stop):
        x = signal[s]
        n += ((x >= low) & (x <= high)) & ~((x >= pair_low) & (x <= pair_high))
    return n


@nb.njit(cache=True)
def find_early(
    time: FloatArray, row: int, start: int, stop: int, mean: float, high: float, delay: float
) -> int:
    """Return the first of the rows ``start`` to ``stop`` not too early for a pair at ``mean``.

    The search begins at ``row`` and doubles its steps until it has gone too far: a prompt is near
    its pair. Rounding is monotone, so the comparison may be the very one that decides.
    """
    step = 1
    if row < stop and mean - (time[row] + delay) > high:
        below = row
        while below + step < stop and mean - (time[below + step] + delay) > high:
            below += step
            step *= 2
        above = min(below + step, stop)
        below += 1
    else:
        above = min(row, stop)
        while above - step >= start and not mean - (time[above - step] + delay) > high:
            above -= step
            step *= 2
        below = max(above - step + 1, start)
    while below < above:
        middle = (below + above) // 2
        if mean - (time[middle] + delay) > high:
            below = middle + 1
        else:
            above = middle
    return below


@nb.njit(cache=True)
def has_neighbour(when: FloatArray, n: int, i: int, j: int, reach: float) -> bool:
    """Whether an annihilation single other than ``i`` and ``j`` lies within ``reach`` of ``i``."""
    m = i - 1
    while m >= 0 and when[i] - when[m] <= reach:
        if m != j:
            return True
        m -= 1
    m = i + 1
    while m < n and when[m] - when[i] <= reach:
        if m != j:
            return True
        m += 1
    return False


@nb.njit(cache=True)
def sees_others(
    when: FloatArray, n: int, delay: float, prompt: float, low: float, high: float, i: int, j: int
) -> bool:
    """Whether the window of a prompt holds delayed annihilation singles beside ``i`` and ``j``."""
    m = lower_row(when[:n], prompt + low - delay - 1.0)
    while m < n and when[m] + delay - prompt <= high:
        if when[m] + delay - prompt >= low and m != i and m != j:
            return True
        m += 1
    return False


@nb.njit(cache=True)
def is_alone(
    time: FloatArray,
    signal: FloatArray,
    windows: FloatArray,
    start: int,
    stop: int,
    row: int,
    when: FloatArray,
    n: int,
    i: int,
    j: int,
    mean: float,
    prompt: float,
    low: float,
    high: float,
    photon_delay: float,
    prompt_delay: float,
) -> bool:
    """Whether the prompt window holds no candidate beside the three photons of a triplet.

    That is, no other prompt as seen from the pair, and no other annihilation single as seen from
    the prompt, at either photon's delay.
    """
    k = find_early(time, row, start, stop, mean, high, prompt_delay)
    n_prompt = 0
    while k < stop and mean - (time[k] + prompt_delay) >= low:
        n_prompt += is_prompt(signal[k], windows)
        k += 1
    if n_prompt != 1:
        return False
    if photon_delay == 0.0:
        return not sees_others(when, n, 0.0, prompt, low, high, i, j)
    return not (
        sees_others(when, n, 0.0, prompt, low, high, i, -1)
        or sees_others(when, n, photon_delay, prompt, low, high, -1, j)
    )


@nb.njit(cache=True)
def list_pairs(
    when: FloatArray,
    n: int,
    first: int,
    last: int,
    pair_window: float,
    delay: float,
    pairs: IntArray,
) -> int:
    """List the pairs of the anchors ``first`` to ``last`` and return how many there are.

    when : (n,) rising times of annihilation singles; delay : added to the second photon's. Without
    it the second photon is the later one; with it, it may be on either side. pairs : (capacity, 2)
    receives positions in ``when`` while there is room.
    """
    n_pair = 0
    earliest = 0
    for i in range(first, last):
        if delay == 0.0:
            j = i + 1
        else:
            while earliest < n and when[i] - (when[earliest] + delay) > pair_window:
                earliest += 1
            j = earliest
        while j < n and when[j] + delay - when[i] <= pair_window:
            if n_pair < len(pairs):
                pairs[n_pair, 0] = i
                pairs[n_pair, 1] = j
            n_pair += 1
            j += 1
    return n_pair


@nb.njit(cache=True)
def list_triplets(
    time: FloatArray,
    signal: FloatArray,
    windows: FloatArray,
    start: int,
    stop: int,
    row: IntArray,
    when: FloatArray,
    n: int,
    pairs: IntArray,
    first_own: int,
    last_own: int,
    low: float,
    high: float,
    photon_delay: float,
    prompt_delay: FloatArray,
    first_window: int,
    last_window: int,
    secondary: float,
    alone: bool,
    found: IntArray,
    n_found: int,
    tally: IntArray,
) -> int:
    """List the triplets of some pairs after the ``n_found`` already there; return how many now.

    row, when : (n,) annihilation singles of the rows ``start`` to ``stop``; pairs : (P, 2)
    positions in them; found : (capacity, 4) receives both positions, the prompt's row and the
    window, while there is room; tally : (n_window, 4) receives counts of the anchors
    ``first_own`` to ``last_own``.
    """
    for p in range(len(pairs)):
        i = pairs[p, 0]
        j = pairs[p, 1]
        own = first_own <= i < last_own
        mean = 0.5 * (when[i] + (when[j] + photon_delay))
        crowded = secondary > 0 and (
            has_neighbour(when, n, i, j, secondary) or has_neighbour(when, n, j, i, secondary)
        )
        for w in range(first_window, last_window):
            delay = prompt_delay[w]
            k = find_early(time, row[i], start, stop, mean, high, delay)
            while k < stop and mean - (time[k] + delay) >= low:
                if is_prompt(signal[k], windows):
                    tally[w, N_FOUND] += own
                    if crowded:
                        tally[w, N_CROWDED] += own
                    elif alone and not is_alone(
                        time,
                        signal,
                        windows,
                        start,
                        stop,
                        row[i],
                        when,
                        n,
                        i,
                        j,
                        mean,
                        time[k] + delay,
                        low,
                        high,
                        photon_delay,
                        delay,
                    ):
                        tally[w, N_NOT_ALONE] += own
                    else:
                        if n_found < len(found):
                            found[n_found, 0] = i
                            found[n_found, 1] = j
                            found[n_found, 2] = k
                            found[n_found, 3] = w
                        n_found += 1
                k += 1
    return n_found


@nb.njit(cache=True)
def mark_shared(
    found: IntArray,
    n: int,
    n_annihilation: int,
    start: int,
    stop: int,
    is_delayed: NDArray[np.bool_],
    rule: int,
    keep: NDArray[np.bool_],
) -> None:
    """Mark the triplets of a list to keep where some share a photon of the same window.

    ``FIRST`` keeps a triplet that shares a photon with no earlier one of the list, ``REJECT`` one
    that shares a photon with no other. A photon and the same one delayed are two photons.

    found : (n, 4) as `list_triplets` writes it; its rows are positions below ``n_annihilation`` and
    prompts from ``start`` to ``stop``; is_delayed : (n_window,) whether the second photon is;
    keep : (n,) receives the marks.
    """
    # The first triplet of each photon, and whether others have it too.
    n_row = max(n_annihilation, stop - start)
    owner = np.full((len(is_delayed), 3, n_row), -1, np.int64)
    shared = np.zeros((len(is_delayed), 3, n_row), np.bool_)
    for f in range(n):
        w = found[f, 3]
        for p in range(3):
            place = 0 if p == 1 and not is_delayed[w] else p
            s = found[f, p] - (start if p == 2 else 0)
            if owner[w, place, s] < 0:
                owner[w, place, s] = f
            else:
                shared[w, place, s] = True
    for f in range(n):
        w = found[f, 3]
        keep[f] = True
        for p in range(3):
            place = 0 if p == 1 and not is_delayed[w] else p
            s = found[f, p] - (start if p == 2 else 0)
            if rule == FIRST:
                keep[f] &= owner[w, place, s] == f
            else:
                keep[f] &= not shared[w, place, s]


@nb.njit(cache=True, parallel=True)
def find_in_blocks(
    time: FloatArray,
    signal: FloatArray,
    windows: FloatArray,
    first_row: int,
    last_row: int,
    pair_window: float,
    low: float,
    high: float,
    photon_delay: FloatArray,
    group_start: IntArray,
    prompt_delay: FloatArray,
    label: IntArray,
    secondary: float,
    alone: bool,
    rule: int,
    before: float,
    after: float,
    context: float,
    row: IntArray,
    window: NDArray[np.uint8],
    pair: IntArray,
    n_found: IntArray,
    needed: IntArray,
    totals: IntArray,
    tally: IntArray,
) -> None:
    """Find the triplets anchored in the rows ``first_row`` to ``last_row``, block by block.

    time : (N,) rising [ns]; signal : (N,) energy or time over threshold; windows : (2, 2) low and
    high of the annihilation and the prompt window; before, after : how far around an anchor the
    singles matter, and context : how far the anchors of triplets that may share its photons [ns].
    For each block b: row[b], window[b] receive the singles' rows and the labels of ``n_found[b]``
    triplets, pair[b] the rows of pairs where it has room for any, ``totals[b]`` the numbers of
    singles in the two windows and of pairs, ``tally[b]`` (n_window, 4) those of
    triplets, and ``needed[b]`` the room that the lists take: where it exceeds what there is, the
    lists are not written.
    """
    n_block, capacity = window.shape
    n_room = pair.shape[1]
    is_delayed = np.zeros(len(label), np.bool_)
    for g in range(len(photon_delay)):
        for w in range(group_start[g], group_start[g + 1]):
            is_delayed[w] = photon_delay[g] != 0.0
    n_lane = min(n_block, N_LANE)
    for lane in nb.prange(n_lane):
        # Scratch of a lane, used again by its blocks.
        annihilation = np.empty(0, np.int64)
        when = np.empty(0)
        pairs = np.empty((capacity, 2), np.int64)
        found = np.empty((capacity, 4), np.int64)
        for b in range(lane * n_block // n_lane, (lane + 1) * n_block // n_lane):
            own = first_row + b * (last_row - first_row) // n_block
            end = first_row + (b + 1) * (last_row - first_row) // n_block
            n_found[b] = 0
            needed[b] = 0
            totals[b] = 0
            tally[b] = 0
            if own == end:
                continue
            # One ns of margin: rounding of times must never lose a single on the edge.
            start = lower_row(time, time[own] - before - 1.0)
            stop = lower_row(time, time[end - 1] + after + 1.0)
            if stop - start >= len(when):
                annihilation = np.empty(stop - start + 1 + BLOCK_MARGIN, np.int64)
                when = np.empty(stop - start + 1 + BLOCK_MARGIN)
            n = pick_annihilation(
                time, signal, windows[0, 0], windows[0, 1], start, stop, annihilation, when
            )
            first = np.searchsorted(annihilation[:n], own)
            last = np.searchsorted(annihilation[:n], end)
            first_anchor = first
            last_anchor = last
            if rule != ALL:
                # Triplets of other blocks may share a photon with this one's.
                first_anchor = min(first, lower_row(when[:n], time[own] - context - 1.0))
                last_anchor = max(last, lower_row(when[:n], time[end - 1] + context + 1.0))
            totals[b, N_ANNIHILATION] = last - first
            totals[b, N_PROMPT] = count_prompts(signal, windows, own, end)
            n_all = 0
            for g in range(len(photon_delay)):
                n_pair = list_pairs(
                    when, n, first_anchor, last_anchor, pair_window, photon_delay[g], pairs
                )
                needed[b] = max(needed[b], n_pair)
                n_pair = min(n_pair, capacity)
                n_all = list_triplets(
                    time,
                    signal,
                    windows,
                    start,
                    stop,
                    annihilation,
                    when,
                    n,
                    pairs[:n_pair],
                    first,
                    last,
                    low,
                    high,
                    photon_delay[g],
                    prompt_delay,
                    group_start[g],
                    group_start[g + 1],
                    secondary,
                    alone,
                    found,
                    n_all,
                    tally[b],
                )
                if photon_delay[g] == 0.0:
                    for m in range(n_pair):
                        if first <= pairs[m, 0] < last:
                            if n_room > 0:
                                pair[b, totals[b, N_PAIR], 0] = annihilation[pairs[m, 0]]
                                pair[b, totals[b, N_PAIR], 1] = annihilation[pairs[m, 1]]
                            totals[b, N_PAIR] += 1
            needed[b] = max(needed[b], n_all)
            if needed[b] > capacity:
                continue
            order = np.arange(n_all)
            if len(photon_delay) > 1:
                order = np.argsort(found[:n_all, 0], kind="mergesort")
            ordered = found[:n_all][order]
            keep = np.ones(n_all, np.bool_)
            if rule != ALL:
                mark_shared(ordered, n_all, n, start, stop, is_delayed, rule, keep)
            for f in range(n_all):
                if not first <= ordered[f, 0] < last:
                    continue
                w = ordered[f, 3]
                if not keep[f]:
                    tally[b, w, N_SHARED] += 1
                    continue
                m = n_found[b]
                row[b, m, 0] = annihilation[ordered[f, 0]]
                row[b, m, 1] = annihilation[ordered[f, 1]]
                row[b, m, 2] = ordered[f, 2]
                window[b, m] = label[w]
                n_found[b] = m + 1
