"""Annihilation pairs of singles, and how far their time differences are from the expected ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.regions import Region
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.core.settings import require_positive
from psimg.events._pairing import list_pairs
from psimg.events.order import with_last
from psimg.events.select import SelectOptions
from psimg.events.signal import SignalWindows
from psimg.events.values import Singles, _Rows

_RANDOMS_NS = 0.5
"""Stretch of residuals on either side that holds random pairs only [ns]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairOptions:
    """Which pairs of singles tell the detectors' time offsets."""

    signal: SignalWindows = SelectOptions().signal
    """What tells annihilation photons, energy or time over threshold, and its window."""
    min_distance_mm: float = 100.0
    """Smallest distance of the two photons [mm]."""
    max_difference_ns: float = 1.0
    """Largest difference of two detectors' offsets that is looked for [ns]."""

    def __post_init__(self) -> None:
        require_positive("max_difference_ns", self.max_difference_ns)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PairResiduals(_Rows):
    """Pairs whose LOR crosses the activity, one row each, true and random ones."""

    detector: NDArray[np.int64]
    """(M, 2) labels of the two detectors, the lower one first."""
    residual_ns: NDArray[np.float64]
    """(M,) t2 - t1 less what an annihilation in the middle of the chord would give [ns]."""
    chord_mm: NDArray[np.float64]
    """(M,) length of the LOR within the region of the activity [mm]."""

    def __post_init__(self) -> None:
        n = len(self.residual_ns)
        freeze(
            self,
            detector=(np.int64, n, 2),
            residual_ns=(np.float64, n),
            chord_mm=(np.float64, n),
        )

    def __len__(self) -> int:
        return len(self.residual_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualRange:
    """The residuals a region can give: where its pairs lie, and where only random ones do."""

    flat_from_ns: float
    """True pairs have a residual below this, whatever the two offsets [ns]."""
    reach_ns: float
    """Every LOR's pairs are seen up to this residual, with any offsets taken off [ns]."""
    expected_ns: float
    """LORs whose expected t2 - t1 is beyond this are not used [ns]."""
    pair_window_ns: float
    """Largest |t2 - t1| that is needed [ns]."""
    chord_mm: float
    """Longest chord [mm]."""

    @classmethod
    def of(cls, region: Region, options: PairOptions) -> "ResidualRange":
        """Return the range for activity anywhere in a region.

        Raises
        ------
        SettingsError
            If the region has no end.
        """
        low, high = region.bounds_mm
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise SettingsError(
                f"region {region.name!r} has no end; name the region that holds the activity"
            )
        chord = float(np.linalg.norm(high - low))
        # Uniform along a chord of length L, t2 - t1 is uniform within L/c of its middle's.
        flat_from = chord / SPEED_OF_LIGHT_MM_NS + options.max_difference_ns
        reach = flat_from + _RANDOMS_NS
        farthest = float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high))))
        expected = 2.0 * farthest / SPEED_OF_LIGHT_MM_NS
        return cls(
            flat_from_ns=flat_from,
            reach_ns=reach,
            expected_ns=expected,
            pair_window_ns=reach + options.max_difference_ns + expected,
            chord_mm=chord,
        )


def find_pairs(
    time_ns: NDArray[np.float64], *, pair_window_ns: float, n_anchor: int | None = None
) -> NDArray[np.int64]:
    """Find all pairs of time-sorted singles that are close in time.

    Parameters
    ----------
    time_ns : (N,) array
        Rising times [ns].
    pair_window_ns : float
        Largest t2 - t1, inclusive [ns].
    n_anchor : int, optional
        Only pairs whose first single is one of the first ``n_anchor``.

    Returns
    -------
    (M, 2) int64 array
        Rows of the pairs' singles, the earlier first.
    """
    n_anchor = len(time_ns) if n_anchor is None else n_anchor
    pair = np.empty((0, 2), np.int64)
    n_pair = list_pairs(time_ns, len(time_ns), 0, n_anchor, pair_window_ns, 0.0, pair)
    pair = np.empty((n_pair, 2), np.int64)
    list_pairs(time_ns, len(time_ns), 0, n_anchor, pair_window_ns, 0.0, pair)
    return pair


def measure_pairs(
    chunks: Iterable[Singles], *, region: Region, options: PairOptions | None = None
) -> Iterator[PairResiduals]:
    """Find the annihilation pairs of a stream of singles and their residuals.

    The expected time difference is that of the middle of the LOR's chord through the region: the
    mean where the region is filled uniformly, or so small that it does not matter. Pairs cut by the
    end of a chunk are completed with the next one.

    Parameters
    ----------
    chunks : iterable of Singles
        Singles of one clock with detector labels, in time order.
    region : Region
        Holds the activity.
    options : PairOptions, optional
        Energy window and cuts.

    Yields
    ------
    PairResiduals
        Pairs whose LOR crosses the region; those of detectors with a label below zero, which marks
        the unknown, are left out.

    Raises
    ------
    DataError
        If the singles have no detector labels.
    SettingsError
        If the region has no end.
    """
    options = options or PairOptions()
    limits = ResidualRange.of(region, options)
    held: Singles | None = None
    for chunk, last in with_last(chunks):
        fresh = _candidates(chunk, options)
        both = fresh if held is None else held.joined(fresh)
        n_anchor = len(both)
        if not last:
            seen = chunk.time_ns[-1] if len(chunk) else -np.inf
            # A partner in the next chunk is no earlier than the last single of this one.
            open_from = seen - limits.pair_window_ns
            n_anchor = int(np.searchsorted(both.time_ns, open_from, side="left"))
        pair = find_pairs(both.time_ns, pair_window_ns=limits.pair_window_ns, n_anchor=n_anchor)
        held = both.take(slice(n_anchor, None))
        yield _residuals(both, pair, region, limits, options.min_distance_mm)


def require_single_places(singles: Singles) -> None:
    """Raise `DataError` where one label stands for detectors all round the scanner.

    Labels that count crystals within a module repeat from module to module; offsets by such a label
    would mix detectors. A label's places may differ by its own size, and along the axis by as much
    as a strip is long.
    """
    if singles.detector is None or not len(singles):
        return
    label, row = np.unique(singles.detector, return_inverse=True)
    xy = singles.position_mm[:, :2]
    n = np.bincount(row)
    mean = np.stack([np.bincount(row, xy[:, a]) / n for a in (0, 1)], axis=1)
    spread = np.hypot(*(xy - mean[row]).T)
    radius = float(np.hypot(*xy.T).mean())
    # A label seen once has no spread; the others of a repeated label are off by the radius.
    far = np.bincount(row, spread) / n > 0.5 * radius
    if np.count_nonzero(far) > 0.1 * np.count_nonzero(n > 1):
        example = int(label[far][0])
        raise DataError(
            f"detector label {example} is seen at places up to "
            f"{2 * spread[row == np.flatnonzero(far)[0]].max():.0f} mm apart: labels repeat round "
            "the scanner; map a label that numbers all detectors (input.columns.detector)"
        )


def _candidates(singles: Singles, options: PairOptions) -> Singles:
    if singles.detector is None:
        raise DataError(
            "the singles have no detector labels, which a timing calibration needs; export them "
            "too (input.columns.detector)"
        )
    low, high = options.signal.annihilation
    value = options.signal.of(singles)
    rows = np.flatnonzero((value >= low) & (value <= high) & (singles.detector >= 0))
    return singles.take(rows)


def _residuals(
    singles: Singles,
    pair: NDArray[np.int64],
    region: Region,
    limits: ResidualRange,
    min_distance_mm: float,
) -> PairResiduals:
    assert singles.detector is not None
    # In order of time t2 - t1 is never negative; in order of label its mean is the offsets'.
    turned = singles.detector[pair[:, 0]] > singles.detector[pair[:, 1]]
    pair = np.where(turned[:, None], pair[:, ::-1], pair)
    start, end = singles.position_mm[pair[:, 0]], singles.position_mm[pair[:, 1]]
    offset = end - start
    length = np.sqrt(np.einsum("ij,ij->i", offset, offset))
    far = np.flatnonzero((length >= min_distance_mm) & (length > 0))
    pair, length = pair[far], length[far]
    enter, leave = region.chord(start[far], end[far]).T
    expected = (1.0 - enter - leave) * length / SPEED_OF_LIGHT_MM_NS
    # NaN compares false: LORs that miss the region go here.
    used = np.flatnonzero(np.abs(expected) <= limits.expected_ns)
    pair = pair[used]
    difference = singles.time_ns[pair[:, 1]] - singles.time_ns[pair[:, 0]]
    return PairResiduals(
        detector=singles.detector[pair],
        residual_ns=difference - expected[used],
        chord_mm=(leave - enter)[used] * length[used],
    )
