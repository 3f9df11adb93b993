"""The width of a channel, for spectra whose file does not state it."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError

USUAL_RANGE_NS = 50.0
"""Shortest full range of common time-to-amplitude converters, and that for lifetimes [ns]."""
PEAK_WIDTH_NS = (0.3, 0.7)
"""Full widths at half height that a peak may have for the usual range to be believed [ns]."""
_LEAST_CHANNELS = 512


def guess_channel_ns(counts: NDArray[np.float64]) -> tuple[float, str]:
    """Assume the usual range of the converter, and ask the peak whether that can be.

    A spectrum alone cannot calibrate its own axis: its lifetimes are what is sought, the
    response that p-Ps is folded with is unknown, and files of multichannel analysers state an
    energy scale at best. What is left is how such spectra are taken: a time-to-amplitude
    converter set to 50 ns (ranges go 50, 100, 200 ns) feeds a multichannel analyser of a power of
    two of channels. With that 50 ns over all of them make a channel.

    The peak guards the assumption. It is as wide as the response and the short mean lives make
    it, 0.3 to 0.7 ns in liquids, polymers and tissue; a range of 100 or 200 ns would make it look
    two or four times narrower, and falls out of these limits. Narrower peaks occur (metals with a
    fast response) and are refused too: an axis that is wrong by a factor is worse than a question.

    A converter keeps its nominal range to a few per cent, and all mean lives carry that error
    beside the one of the fit: a guess is for a first look, a calibration for a result.

    Parameters
    ----------
    counts : (B,) array
        Counts of all channels.

    Returns
    -------
    channel_ns : float
        Assumed width of a channel [ns].
    origin : str
        What was assumed and how to replace it, in a line.

    Raises
    ------
    DataError
        If the channels are no full range of an analyser or the peak does not fit the assumption.
    """
    n = len(counts)
    if not np.any(counts):
        raise DataError(f"no counts in its {n} channels")
    if n < _LEAST_CHANNELS or n & (n - 1):
        raise DataError(
            f"its {n} channels are no full range of an analyser (a power of two, "
            f"{_LEAST_CHANNELS} or more) of which a width could be assumed"
        )
    channel_ns = USUAL_RANGE_NS / n
    width_ns = _peak_width(np.asarray(counts, np.float64)) * channel_ns
    low, high = PEAK_WIDTH_NS
    if not low <= width_ns <= high:
        raise DataError(
            f"with the usual {USUAL_RANGE_NS:g} ns over {n} channels its peak would be "
            f"{width_ns:.2g} ns wide at half height, outside {low:g} to {high:g} ns"
        )
    origin = (
        f"{channel_ns:.5g} ns per channel, assumed: {USUAL_RANGE_NS:g} ns, a usual converter "
        f"range, over {n} channels; all times scale with it, set the measured width with "
        "--channel-ns"
    )
    return channel_ns, origin


def _peak_width(counts: NDArray[np.float64]) -> int:
    """Return the full width of the highest peak at half its height over the level [channels]."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return 0
    level = float(np.median(counts[filled[0] : filled[-1] + 1]))
    # A thousandth of the range, 0.05 ns: narrow beside the peak, wide enough to quiet it.
    n = max(len(counts) // 1000, 1)
    smooth = np.convolve(counts, np.full(n, 1.0 / n), mode="same")
    peak = int(np.argmax(smooth))
    below = np.flatnonzero(smooth < 0.5 * (level + smooth[peak]))
    before, after = below[below < peak], below[below > peak]
    first = int(before[-1]) + 1 if len(before) else 0
    last = int(after[0]) if len(after) else len(counts)
    return last - first
