"""Spectra of what photons leave in detectors: energies or times over threshold."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.events.signal import ENERGY, TOT, Signal

_BINS = {ENERGY.column: (400, 5.0), TOT.column: (400, 0.25)}
"""Number of bins from zero on, and their width in the signal's unit."""
_SMOOTHING = 3
"""Bins to either side that a maximum is looked for in: some 15 keV."""
_LEAST_SIGMA = 7.0
"""How far a maximum must stand out, in errors of its counts; the highest and the lowest of the
smoothed bins of a flat spectrum differ by some five."""
_LEAST_SHARE = 0.02
"""How far a maximum must stand out, as a share of the highest."""
_OVERFLOW_SHARE = 0.05
"""Share of the singles in the topmost bin above which it looks like an overflow bin."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SignalSpectrum:
    """Singles against energy or time over threshold."""

    signal: Signal
    edges: NDArray[np.float64]
    """(B+1,) rising bin edges, in the signal's unit."""
    counts: NDArray[np.int64]
    """(B,) singles per bin."""
    n_above: int
    """Singles not below the last edge."""

    def __post_init__(self) -> None:
        n_bin = len(self.edges) - 1
        freeze(self, edges=(np.float64, n_bin + 1), counts=(np.int64, n_bin))

    @classmethod
    def of(cls, values: NDArray[np.float64], *, signal: Signal = ENERGY) -> "SignalSpectrum":
        """Return the spectrum of (N,) values, in 5 keV bins to 2 MeV or 0.25 ns bins to 100 ns."""
        n_bin, step = _BINS[signal.column]
        # Beyond the last edge and below zero share no bin with the rest.
        index = np.floor(np.clip(values / step, -1.0, n_bin)).astype(np.int64) + 1
        counts = np.bincount(index, minlength=n_bin + 2)
        return cls(
            signal=signal,
            edges=np.linspace(0.0, step * n_bin, n_bin + 1),
            counts=counts[1 : n_bin + 1],
            n_above=int(counts[n_bin + 1]),
        )

    def __add__(self, other: "SignalSpectrum") -> "SignalSpectrum":
        """Return the spectrum of the singles of both."""
        if self.signal is not other.signal:
            raise DataError(
                f"spectra of {self.signal.names} and of {other.signal.names} do not add"
            )
        return replace(
            self, counts=self.counts + other.counts, n_above=self.n_above + other.n_above
        )


def find_maxima(spectrum: SignalSpectrum, *, n_most: int = 4) -> list[float]:
    """Return where a spectrum has its clearest maxima, rising, in the signal's unit.

    A maximum is one of the spectrum smoothed over some bins that stands out from the valleys
    beside it by several errors, and by a share of the highest maximum.
    """
    width = np.arange(-_SMOOTHING, _SMOOTHING + 1)
    weight = 1.0 - np.abs(width) / (_SMOOTHING + 1.0)
    padded = np.pad(spectrum.counts.astype(np.float64), _SMOOTHING)
    smooth = np.convolve(padded, weight / weight.sum(), mode="valid")
    error = np.sqrt(np.convolve(padded, (weight / weight.sum()) ** 2, mode="valid"))
    found = []
    for b in np.flatnonzero(smooth > 0):
        stands_out = smooth[b] - max(
            _valley(smooth[:b][::-1], smooth[b], equal=True),
            _valley(smooth[b + 1 :], smooth[b], equal=False),
        )
        if stands_out > max(_LEAST_SIGMA * error[b], _LEAST_SHARE * smooth.max()):
            near = slice(max(b - _SMOOTHING, 0), b + _SMOOTHING + 1)
            centres = 0.5 * (spectrum.edges[:-1] + spectrum.edges[1:])[near]
            place = np.average(centres, weights=np.maximum(spectrum.counts[near], 1e-9))
            found.append((float(stands_out), float(place)))
    return sorted(place for _, place in sorted(found, reverse=True)[:n_most])


def _valley(beside: NDArray[np.float64], height: float, *, equal: bool) -> float:
    """Return the lowest level on the way to something higher; zero beyond the spectrum's end.

    beside : levels going away from the maximum. With ``equal``, as high counts as higher, so that
    a flat top is one maximum.
    """
    higher = np.flatnonzero(beside >= height if equal else beside > height)
    if not len(higher):
        return 0.0
    return float(beside[: higher[0] + 1].min())


def describe_signals(spectrum: SignalSpectrum) -> str:
    """Say in half a sentence where the singles of a spectrum lie."""
    signal, total = spectrum.signal, int(spectrum.counts.sum()) + spectrum.n_above
    if 2 * spectrum.n_above > total:
        return f"{spectrum.n_above} of them lie above {spectrum.edges[-1]:g} {signal.unit}"
    b = int(np.searchsorted(np.cumsum(spectrum.counts), 0.99 * total))
    within = "99 %", f"lie below {spectrum.edges[min(b, len(spectrum.counts) - 1) + 1]:g}"
    if b == len(spectrum.counts):
        within = "more than 1 %", f"lie above {spectrum.edges[-1]:g}"
    maxima = [f"{place:.3g}" for place in find_maxima(spectrum)]
    if not maxima:
        return f"{within[0]} of their {signal.names} {within[1]} {signal.unit}"
    several = "maxima" if maxima[1:] else "a maximum"
    listed = " and ".join([", ".join(maxima[:-1]), maxima[-1]] if maxima[1:] else maxima)
    return (
        f"their {signal.names} have {several} at {listed} {signal.unit} and "
        f"{' '.join(within)} {signal.unit}"
    )


def find_overflow(spectrum: SignalSpectrum) -> tuple[float, float, float] | None:
    """Find a bin at the top that looks as if it held all that is above.

    Returns
    -------
    (low, high, share) or None
        The bin in the signal's unit, and its share of the singles. None unless the topmost bin
        holds more than 5 % of the singles and twice as many as the one below.
    """
    filled = np.flatnonzero(spectrum.counts)
    if not len(filled) or spectrum.n_above:
        return None
    top = int(filled[-1])
    share = float(spectrum.counts[top] / spectrum.counts.sum())
    below = spectrum.counts[top - 1] if top else 0
    if share <= _OVERFLOW_SHARE or spectrum.counts[top] < 2 * below:
        return None
    return float(spectrum.edges[top]), float(spectrum.edges[top + 1]), share
