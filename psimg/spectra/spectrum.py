"""One spectrum of dt: counts per bin, and where its time axis came from."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError

_SLACK = 1e-6
"""Share of a bin by which an edge may miss a limit: 0.1 + 0.2 is not 0.3."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Spectrum:
    """Counts against time of one measurement."""

    edges_ns: NDArray[np.float64]
    """(B+1,) bin edges, rising [ns]."""
    counts: NDArray[np.float64]
    """(B,) counts per bin; whole numbers, unless the events carried weights."""
    name: str
    """What the spectrum is called: its file, histogram or region."""
    origin: str
    """Where the time axis came from, in a line."""
    axis_assumed: bool = False
    """Whether nobody stated the width of a channel: every time scales with the one assumed."""

    def __post_init__(self) -> None:
        n_bin = np.size(self.counts)
        if n_bin < 1:
            raise DataError("a spectrum of no bins; expected one or more")
        freeze(self, edges_ns=(np.float64, n_bin + 1), counts=(np.float64, n_bin))
        steps = np.diff(self.edges_ns)
        if not (np.all(np.isfinite(self.edges_ns)) and np.all(steps > 0)):
            b = int(np.argmin(np.isfinite(steps) & (steps > 0)))
            raise DataError(
                f"edges_ns must be finite and rise, but bin {b} reaches from "
                f"{self.edges_ns[b]:g} to {self.edges_ns[b + 1]:g} ns; mend the time axis"
            )
        bad = np.flatnonzero(~(np.isfinite(self.counts) & (self.counts >= 0)))
        if len(bad):
            raise DataError(
                f"bin {bad[0]} holds {self.counts[bad[0]]:g} counts, expected 0 or more; do not "
                "subtract a background before the fit"
            )
        if not self.counts.any():
            raise DataError(
                f"no counts in {n_bin} bins from {self.edges_ns[0]:g} to {self.edges_ns[-1]:g} ns; "
                "take another range or file"
            )

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def centres_ns(self) -> NDArray[np.float64]:
        """(B,) middle of each bin [ns]."""
        return np.asarray(0.5 * (self.edges_ns[1:] + self.edges_ns[:-1]))

    def between(self, start_ns: float, stop_ns: float) -> "Spectrum":
        """Return the bins that lie wholly from ``start_ns`` to ``stop_ns``."""
        slack = _SLACK * np.diff(self.edges_ns)
        inside = (self.edges_ns[:-1] >= start_ns - slack) & (self.edges_ns[1:] <= stop_ns + slack)
        bins = np.flatnonzero(inside)
        if not len(bins):
            raise DataError(
                f"no bin lies wholly between {start_ns:g} and {stop_ns:g} ns; the spectrum reaches "
                f"from {self.edges_ns[0]:g} to {self.edges_ns[-1]:g} ns"
            )
        first, last = bins[0], bins[-1] + 1
        return replace(
            self, edges_ns=self.edges_ns[first : last + 1], counts=self.counts[first:last]
        )

    def merged(self, n: int) -> "Spectrum":
        """Return a spectrum of every ``n`` bins added; fewer than ``n`` at the end are dropped."""
        n_bin = len(self) // n if n >= 1 else 0
        if not n_bin:
            raise DataError(f"{n} bins to merge; expected 1 to {len(self)}")
        used = n_bin * n
        return replace(
            self,
            edges_ns=self.edges_ns[: used + 1 : n],
            counts=self.counts[:used].reshape(n_bin, n).sum(axis=1),
        )
