"""Bins of a spectrum merged for the eye, until there is something to see in each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_STEEP = 0.5
"""Change of the logarithm from bin to bin over which bins are not merged."""
_MOST_BINS, _LEAST_BINS, _LEAST_COUNTS = 40, 10, 30


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class MergedBins:
    """Bins merged until there is something to see in them; numbers are means over what they merge.

    Means keep the unit of the spectrum, events per bin, so that both can be drawn on one axis.
    """

    edges_ns: FloatArray
    """(C+1,) edges [ns]."""
    start: NDArray[np.intp]
    """(C,) first bin of each."""
    n_merged: FloatArray
    """(C,) bins in each."""

    @classmethod
    def starting(cls, edges_ns: FloatArray, start: NDArray[np.intp]) -> "MergedBins":
        """Return bins that begin at these of the spectrum's."""
        return cls(
            edges_ns=np.append(edges_ns[start], edges_ns[-1]),
            start=start,
            n_merged=np.diff(np.append(start, len(edges_ns) - 1)).astype(np.float64),
        )

    @classmethod
    def evenly(cls, edges_ns: FloatArray, n_events: float) -> "MergedBins":
        """Return bins that hold some tens of the events each, or a tenth of the spectrum."""
        n_bin = len(edges_ns) - 1
        n_coarse = np.clip(n_events / _LEAST_COUNTS, _LEAST_BINS, _MOST_BINS)
        step = max(int(np.ceil(n_bin / n_coarse)), 1)
        return cls.starting(edges_ns, np.arange(0, n_bin, step))

    @classmethod
    def by_expected(
        cls, edges_ns: FloatArray, expected: FloatArray, *, least: float, most_bins: int
    ) -> "MergedBins":
        """Return bins that expect ``least`` events each, or more where that were too many bins.

        Fine where events are many and wide where they are few; what is left at the end joins the
        last one.
        """
        total = float(expected.sum())
        while True:
            start = _starts(expected, least)
            # Bins of the peak hold more than the least, however that grows.
            if len(start) <= most_bins or least >= total:
                return cls.starting(edges_ns, start)
            least *= 1.25

    def sum(self, values: FloatArray) -> FloatArray:
        """Return (C,) sums of (B,) values."""
        return np.asarray(np.add.reduceat(values, self.start))

    def mean(self, values: FloatArray) -> FloatArray:
        """Return (C,) means of (B,) values."""
        return self.sum(values) / self.n_merged


def _starts(expected: FloatArray, least: float) -> NDArray[np.intp]:
    before = np.concatenate([[0.0], np.cumsum(expected)])
    steep = np.flatnonzero(np.abs(np.diff(np.log(np.maximum(expected, 1e-300)))) > _STEEP) + 1
    starts = [0]
    while True:
        # The first bin at whose upper edge enough is expected; the rest must have enough too.
        stop = max(int(np.searchsorted(before, before[starts[-1]] + least)), starts[-1] + 1)
        # A mean over a steep rise is far from the curve on both sides: stop before it.
        rise = steep[np.searchsorted(steep, starts[-1], side="right") :][:1]
        if len(rise) and rise[0] < stop and before[rise[0]] - before[starts[-1]] > 0:
            stop = int(rise[0])
        if stop >= len(expected) or before[-1] - before[stop] < least:
            return np.array(starts, np.intp)
        starts.append(stop)
