"""Find triplets: two annihilation photons in coincidence, and a prompt gamma near them in time."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.events._pairing import (
    count_candidates,
    count_triplets,
    fill_candidates,
    fill_triplets,
)
from psimg.events.values import Singles, Triplets
from psimg.events.windows import Window, windows_of

_T = TypeVar("_T", bound=np.generic)

_N_BLOCK = 64
"""Blocks that threads share out; the same for any number of threads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectOptions:
    """Which photons make a triplet. Windows hold both their ends."""

    annihilation_kev: tuple[float, float] = (430.0, 600.0)
    """Energy window of the annihilation photons [keV]."""
    prompt_kev: tuple[float, float] = (700.0, 1300.0)
    """Energy window of the prompt gamma [keV]."""
    pair_window_ns: float = 4.0
    """Largest |t2 - t1| of a pair [ns]."""
    prompt_window_ns: tuple[float, float] = (-20.0, 40.0)
    """Range of (t1 + t2)/2 - t3 of raw times [ns]."""
    multiples: Literal["all"] = "all"
    """What to keep when a photon is part of several triplets."""
    delays_ns: tuple[float, ...] = ()
    """Delays of the prompt for windows that hold randoms only [ns]."""
    photon_delays_ns: tuple[float, ...] = ()
    """Delays of one annihilation photon, for windows that hold prompt-correlated randoms [ns]."""
    min_pair_distance_mm: float = 100.0
    """Smallest distance of the two annihilation photons [mm]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        for name in ("annihilation_kev", "prompt_kev", "prompt_window_ns"):
            require_window(name, getattr(self, name))
        require_positive("pair_window_ns", self.pair_window_ns)
        if not self.min_pair_distance_mm >= 0:
            raise SettingsError(f"min_pair_distance_mm = {self.min_pair_distance_mm:g} is negative")
        below = min(self.annihilation_kev[1], self.prompt_kev[1])
        above = max(self.annihilation_kev[0], self.prompt_kev[0])
        if above < below:
            raise SettingsError(
                f"annihilation_kev and prompt_kev overlap from {above:g} to {below:g} keV: a "
                "photon could be both; move one of the windows"
            )
        if len(self.delays_ns) > 255:
            raise SettingsError(f"delays_ns has {len(self.delays_ns)} delays; at most 255 are kept")
        width = self.prompt_window_ns[1] - self.prompt_window_ns[0]
        for delay in self.delays_ns:
            if not abs(delay) > width:
                raise SettingsError(
                    f"delays_ns holds {delay:g} ns, not longer than the prompt window's {width:g} "
                    "ns: a delayed window would hold true triplets; use longer delays"
                )

    @property
    def windows(self) -> tuple[Window, ...]:
        """The prompt window and the delayed ones; a triplet's label is the position here."""
        return windows_of(self.delays_ns, self.photon_delays_ns)

    @property
    def reach_ns(self) -> tuple[float, float]:
        """How far before and after a pair's first photon the others of a triplet lie [ns]."""
        delays = (0.0, *self.delays_ns)
        low, high = self.prompt_window_ns
        before = max(0.0, high + max(delays))
        after = max(self.pair_window_ns, 0.5 * self.pair_window_ns - low - min(delays))
        return before, after


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Carry:
    """Singles of a chunk's end, whose triplets the next chunk may complete."""

    singles: Singles
    """Candidates of both windows, in time order."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class FoundTriplets:
    """Triplets of one chunk, what was counted on the way, and what the next chunk needs."""

    triplets: Triplets
    n_annihilation: int
    """Singles of this chunk in the annihilation window."""
    n_prompt: int
    """Singles of this chunk in the prompt window."""
    n_pairs: int
    """Pairs of annihilation singles within ``pair_window_ns``."""
    carry: Carry


def find_triplets(
    singles: Singles,
    *,
    options: SelectOptions | None = None,
    carry: Carry | None = None,
    last: bool = True,
) -> FoundTriplets:
    """Find the triplets of time-sorted singles, whole or chunk by chunk.

    Parameters
    ----------
    singles : Singles
        Singles in time order; not earlier than those of the chunk before.
    options : SelectOptions, optional
        Windows and delays.
    carry : Carry, optional
        What the chunk before left over.
    last : bool
        False when more chunks of the same clock follow.

    Returns
    -------
    FoundTriplets
        Every combination of two annihilation singles and a prompt within the windows, by first
        photon, second, window and prompt in time order: the same list for any cut into chunks.
    """
    options = options or SelectOptions()
    parts = [singles] if carry is None else [carry.singles, singles]
    candidates = [_Candidates.of(part, options) for part in parts]
    both = candidates[0] if carry is None else candidates[0].joined(candidates[1])
    before, after = options.reach_ns

    n_anchor = len(both.pair_time)
    if not last:
        # A single at the time of the last one may still come; only what lies before is complete.
        seen = singles.time_ns[-1] if len(singles) else -np.inf
        n_anchor = int(np.searchsorted(both.pair_time, seen - after, side="left"))

    row, window, n_pairs = _combine(both, n_anchor, options)
    return FoundTriplets(
        triplets=_gather(parts, both, row, window, options),
        n_annihilation=len(candidates[-1].pair_time),
        n_prompt=len(candidates[-1].prompt_time),
        n_pairs=n_pairs,
        carry=Carry(singles=_left_over(parts, both, n_anchor, before)),
    )


def within_windows(triplets: Triplets, *, options: SelectOptions) -> Triplets:
    """Keep the triplets of a list made elsewhere that the windows would have let through."""
    energy, time = triplets.energy_kev, triplets.time_ns
    keep = _within(energy[:, 0], options.annihilation_kev)
    keep &= _within(energy[:, 1], options.annihilation_kev)
    keep &= _within(energy[:, 2], options.prompt_kev)
    keep &= np.abs(time[:, 1] - time[:, 0]) <= options.pair_window_ns
    keep &= _within(0.5 * (time[:, 0] + time[:, 1]) - time[:, 2], options.prompt_window_ns)
    return triplets.take(keep)


def drop_close_pairs(triplets: Triplets, *, min_distance_mm: float) -> Triplets:
    """Keep the triplets whose annihilation photons are at least ``min_distance_mm`` apart.

    Two photons in the same place have no LOR and are dropped whatever the distance asked for.
    """
    offset = triplets.position_mm[:, 0] - triplets.position_mm[:, 1]
    distance = np.sqrt(np.einsum("ij,ij->i", offset, offset))
    return triplets.take((distance >= min_distance_mm) & (distance > 0))


def _within(value: NDArray[np.float64], window: tuple[float, float]) -> NDArray[np.bool_]:
    return (value >= window[0]) & (value <= window[1])


@dataclass(frozen=True, eq=False, slots=True)
class _Candidates:
    """The singles of the two energy windows: rows and times, not their other columns.

    Rows count through the carried singles and on through the chunk's.
    """

    n_singles: int
    pair_row: NDArray[np.int64]
    pair_time: NDArray[np.float64]
    prompt_row: NDArray[np.int64]
    prompt_time: NDArray[np.float64]

    @classmethod
    def of(cls, singles: Singles, options: SelectOptions) -> "_Candidates":
        """Pick the candidates of some singles in two passes over their energies."""
        windows = np.array([options.annihilation_kev, options.prompt_kev])
        counts = np.empty((_N_BLOCK, 2), np.int64)
        count_candidates(singles.energy_kev, windows, _N_BLOCK, counts)
        # The annihilation singles of all blocks come first, then the prompts of all blocks.
        flat = counts.T.ravel()
        starts = np.ascontiguousarray((np.cumsum(flat) - flat).reshape(2, _N_BLOCK).T)
        n_pair, n_all = int(counts[:, 0].sum()), int(flat.sum())
        row, time = np.empty(n_all, np.int64), np.empty(n_all)
        fill_candidates(singles.energy_kev, singles.time_ns, windows, starts, row, time)
        return cls(len(singles), row[:n_pair], time[:n_pair], row[n_pair:], time[n_pair:])

    def joined(self, later: "_Candidates") -> "_Candidates":
        """Return the candidates of two lists of singles, one after the other."""
        return _Candidates(
            self.n_singles + later.n_singles,
            np.concatenate([self.pair_row, later.pair_row + self.n_singles]),
            np.concatenate([self.pair_time, later.pair_time]),
            np.concatenate([self.prompt_row, later.prompt_row + self.n_singles]),
            np.concatenate([self.prompt_time, later.prompt_time]),
        )


def _combine(
    candidates: _Candidates, n_anchor: int, options: SelectOptions
) -> tuple[NDArray[np.int64], NDArray[np.uint8], int]:
    """Return (T, 3) rows of the triplets' singles, (T,) windows, and the number of pairs."""
    low, high = options.prompt_window_ns
    arguments = (
        candidates.pair_time,
        candidates.prompt_time,
        n_anchor,
        options.pair_window_ns,
        low,
        high,
        np.array([0.0, *options.delays_ns]),
    )
    n_pair, n_found = np.empty((2, _N_BLOCK), np.int64)
    count_triplets(*arguments, n_pair, n_found)
    position = np.empty((int(n_found.sum()), 3), np.int64)
    window = np.empty(len(position), np.uint8)
    fill_triplets(*arguments, np.cumsum(n_found) - n_found, position, window)
    row = np.empty_like(position)
    row[:, :2] = candidates.pair_row[position[:, :2]]
    row[:, 2] = candidates.prompt_row[position[:, 2]]
    return row, window, int(n_pair.sum())


def _gather(
    parts: list[Singles],
    candidates: _Candidates,
    row: NDArray[np.int64],
    window: NDArray[np.uint8],
    options: SelectOptions,
) -> Triplets:
    """Fetch the columns of the triplets' singles from the carried singles and the chunk's."""
    time_ns = _pick([part.time_ns for part in parts], row)
    time_ns[:, 2] += np.array([0.0, *options.delays_ns])[window]
    decays = [part.decay for part in parts]
    known = [decay for decay in decays if decay is not None]
    return Triplets(
        time_ns=time_ns,
        energy_kev=_pick([part.energy_kev for part in parts], row),
        position_mm=_pick([part.position_mm for part in parts], row),
        window=window,
        decay=_pick(known, row) if len(known) == len(decays) else None,
    )


def _pick(columns: list[NDArray[_T]], row: NDArray[np.int64]) -> NDArray[_T]:
    """Return the rows of one column cut in two, without joining the pieces."""
    if len(columns) == 1:
        return columns[0][row]
    carried, fresh = columns
    picked = fresh[np.maximum(row - len(carried), 0)] if len(fresh) else carried[row]
    early = row < len(carried)
    picked[early] = carried[row[early]]
    return picked


def _left_over(
    parts: list[Singles], candidates: _Candidates, n_anchor: int, before: float
) -> Singles:
    """Return the singles of the anchors still open, and the prompts that they can reach."""
    if n_anchor < len(candidates.pair_time):
        cut = candidates.pair_time[n_anchor]
    else:
        # No anchor is open, but one may follow at the very time of the last single seen.
        cut = max((part.time_ns[-1] for part in parts if len(part)), default=-np.inf)
    # One ns of margin: rounding of times must never lose a prompt on the window's edge.
    n_past = int(np.searchsorted(candidates.prompt_time, cut - before - 1.0, side="left"))
    row = np.union1d(candidates.pair_row[n_anchor:], candidates.prompt_row[n_past:])
    first, *rest = parts
    kept = first.take(row[row < len(first)])
    for part in rest:
        kept = kept.joined(part.take(row[row >= len(first)] - len(first)))
    return kept
