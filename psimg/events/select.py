"""Find triplets: two annihilation photons in coincidence, and a prompt gamma near them in time."""

import math
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.events import _pairing
from psimg.events.cuts import CutOptions
from psimg.events.signal import ENERGY, TOT, SignalWindows
from psimg.events.values import Pairs, Singles, Triplets
from psimg.events.windows import Window, windows_of

_BLOCK_ROWS = 8192
"""Singles of a block: their times and energies stay in the cache of a core."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectOptions(CutOptions):
    """Which photons make a triplet. Windows hold both their ends."""

    annihilation_kev: tuple[float, float] = (430.0, 600.0)
    """Energy window of the annihilation photons [keV]."""
    prompt_kev: tuple[float, float] = (700.0, 1300.0)
    """Energy window of the prompt gamma; its high end may be ``inf``, to take in a scanner's
    overflow bin [keV]."""
    annihilation_tot_ns: tuple[float, float] | None = None
    """Window of the annihilation photons' time over threshold; where it and ``prompt_tot_ns`` are
    set, they tell photons apart and energies do not [ns]."""
    prompt_tot_ns: tuple[float, float] | None = None
    """Window of the prompt gamma's time over threshold; its high end may be ``inf`` [ns]."""
    pair_window_ns: float = 4.0
    """Largest |t2 - t1| of a pair [ns]."""
    prompt_window_ns: tuple[float, float] = (-20.0, 40.0)
    """Range of (t1 + t2)/2 - t3 of raw times [ns]."""
    multiples: Literal["all", "first", "reject"] = "all"
    """What to keep of the triplets of a window that share a photon: ``all`` of them; those that
    share none with one before them (``first``); those that share none with any (``reject``)."""
    secondary_ns: float = 0.0
    """Drop triplets with a further annihilation-window single within this time of one of their
    annihilation photons; 0 keeps them [ns]."""
    exactly_three: bool = False
    """Keep only triplets whose prompt window holds no other candidate: one prompt as seen from the
    pair, and two annihilation photons as seen from the prompt."""
    delays_ns: tuple[float, ...] = ()
    """Delays of the prompt, a window each: unrelated prompts (random classes I and III) [ns]."""
    photon_delays_ns: tuple[float, ...] = ()
    """Delays of one annihilation photon, two windows each: for the randoms in which the prompt
    belongs to one of the photons (class II), and for class III alone [ns]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        CutOptions.__post_init__(self)
        require_window("prompt_window_ns", self.prompt_window_ns)
        require_positive("pair_window_ns", self.pair_window_ns)
        if not self.secondary_ns >= 0:
            raise SettingsError(f"secondary_ns = {self.secondary_ns:g} is negative")
        self._check_signals()
        self._check_delays()

    def _check_signals(self) -> None:
        if (self.annihilation_tot_ns is None) != (self.prompt_tot_ns is None):
            raise SettingsError(
                "annihilation_tot_ns and prompt_tot_ns go together; give both or neither"
            )
        for signal in (ENERGY, TOT):
            annihilation = getattr(self, signal.annihilation_key)
            prompt = getattr(self, signal.prompt_key)
            if annihilation is None:
                continue
            require_window(signal.annihilation_key, annihilation)
            require_window(signal.prompt_key, prompt, open_end=True)
            below, above = min(annihilation[1], prompt[1]), max(annihilation[0], prompt[0])
            if above < below:
                raise SettingsError(
                    f"{signal.annihilation_key} and {signal.prompt_key} overlap from {above:g} to "
                    f"{below:g} {signal.unit}: a photon could be both; move one of the windows"
                )

    def _check_delays(self) -> None:
        if len(self.windows) > 256:
            raise SettingsError(
                f"delays_ns and photon_delays_ns make {len(self.windows) - 1} delayed windows; at "
                "most 255 are kept"
            )
        width = self.prompt_window_ns[1] - self.prompt_window_ns[0]
        for name, least, what, apart in (
            ("delays_ns", width, "the prompt window's", width),
            (
                "photon_delays_ns",
                width + self.pair_window_ns,
                "the prompt and pair windows'",
                2 * self.pair_window_ns,
            ),
        ):
            ordered = sorted(getattr(self, name))
            for one, other in pairwise(ordered):
                if not other - one > apart:
                    raise SettingsError(
                        f"{name} holds {one:g} and {other:g} ns, whose windows of {apart:g} ns "
                        "overlap: they would count the same randoms twice; move them farther apart"
                    )
            for delay in ordered:
                if not (math.isfinite(delay) and abs(delay) > least):
                    raise SettingsError(
                        f"{name} holds {delay:g} ns, not longer than {what} {least:g} ns: a "
                        "delayed window would hold true triplets; use longer delays"
                    )

    @property
    def signal(self) -> SignalWindows:
        """What tells annihilation photons from prompts, and its two windows."""
        if self.annihilation_tot_ns is not None and self.prompt_tot_ns is not None:
            return SignalWindows(
                signal=TOT, annihilation=self.annihilation_tot_ns, prompt=self.prompt_tot_ns
            )
        return SignalWindows(
            signal=ENERGY, annihilation=self.annihilation_kev, prompt=self.prompt_kev
        )

    @property
    def windows(self) -> tuple[Window, ...]:
        """The prompt window and the delayed ones; a triplet's label is the position here."""
        return windows_of(self.delays_ns, self.photon_delays_ns)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Carry:
    """Singles of a chunk's end, whose triplets the next chunk may complete."""

    singles: Singles
    """In time order; those already done are there for others to see."""
    n_done: int
    """Singles at the start whose own triplets have been found."""
    room: int = 512
    """Triplets of a block to make room for; more are found all the same, but twice."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class FoundTriplets:
    """Triplets of one chunk, what was counted on the way, and what the next chunk needs.

    Counts are of the singles done and of the triplets anchored in them: over all chunks they add
    up to those of the whole.
    """

    triplets: Triplets
    pairs: Pairs | None
    """All pairs within ``pair_window_ns``, where they were asked for."""
    n_annihilation: int
    """Singles in the annihilation window."""
    n_prompt: int
    """Singles in the prompt window."""
    n_pairs: int
    """Pairs of annihilation singles within ``pair_window_ns``."""
    n_combinations: NDArray[np.int64]
    """(n_window,) pair-prompt combinations of each window, before any rule."""
    n_secondary: NDArray[np.int64]
    """(n_window,) of them dropped by ``secondary_ns``."""
    n_not_alone: NDArray[np.int64]
    """(n_window,) dropped by ``exactly_three``."""
    n_multiple: NDArray[np.int64]
    """(n_window,) dropped by ``multiples``."""
    carry: Carry


def find_triplets(
    singles: Singles,
    *,
    options: SelectOptions | None = None,
    carry: Carry | None = None,
    last: bool = True,
    with_pairs: bool = False,
) -> FoundTriplets:
    """Find the triplets of time-sorted singles, whole or chunk by chunk.

    Parameters
    ----------
    singles : Singles
        Singles in time order; not earlier than those of the chunk before.
    options : SelectOptions, optional
        Windows, delays, and rules for triplets that are not alone.
    carry : Carry, optional
        What the chunk before left over.
    last : bool
        False when more chunks of the same clock follow.
    with_pairs : bool
        Whether to return the pairs too: they show where randoms are, with many more counts.

    Returns
    -------
    FoundTriplets
        Every combination of two annihilation singles and a prompt within the windows, by first
        photon, second, window and prompt in time order, less those that a rule drops: the same
        list for any cut into chunks. Where an annihilation photon is delayed, the first photon is
        the one left in its own time.
    """
    options = options or SelectOptions()
    reach = _Reach.of(options)
    before = carry or Carry(singles=singles.take(slice(0, 0)), n_done=0)
    # A single at the time of the last one may still come; only what lies before is complete.
    latest = _latest(singles if len(singles) else before.singles)
    complete = math.inf if last else latest - reach.after
    n_ready = int(np.searchsorted(singles.time_ns, complete, side="left"))

    def find(some: Singles, start: int, stop: int) -> FoundTriplets:
        return _find(some, start, stop, options, reach, with_pairs, before.room)

    if not len(before.singles):
        return _with_carry(find(singles, 0, n_ready), singles, n_ready, reach)
    # Most of a chunk needs nothing of the one before; the seam between the two does.
    n_before = len(before.singles)
    n_seam = _rows_until(singles, _start(singles) + reach.before)
    n_seen = _rows_until(singles, _start(singles.take(slice(n_seam, None))) + reach.after)
    seam = before.singles.joined(singles.take(slice(None, n_seen)))
    seam_stop = int(np.searchsorted(seam.time_ns, complete, side="left"))
    seam_stop = max(min(seam_stop, n_before + n_seam), before.n_done)
    found = find(seam, before.n_done, seam_stop)
    if seam_stop < n_before + n_seam or n_seam == len(singles):
        # A chunk shorter than the reach; the next one may need all of it.
        whole = seam if n_seen == len(singles) else before.singles.joined(singles)
        return _with_carry(found, whole, seam_stop, reach)
    n_done = max(n_ready, n_seam)
    return _with_carry(_joined(found, find(singles, n_seam, n_done)), singles, n_done, reach)


def within_windows(triplets: Triplets, *, options: SelectOptions) -> Triplets:
    """Keep the triplets of a list made elsewhere that the windows would have let through."""
    signal, time = options.signal.of(triplets), triplets.time_ns
    keep = _within(signal[:, 0], options.signal.annihilation)
    keep &= _within(signal[:, 1], options.signal.annihilation)
    keep &= _within(signal[:, 2], options.signal.prompt)
    keep &= np.abs(time[:, 1] - time[:, 0]) <= options.pair_window_ns
    keep &= _within(0.5 * (time[:, 0] + time[:, 1]) - time[:, 2], options.prompt_window_ns)
    return triplets.take(keep)


def _within(value: NDArray[np.float64], window: tuple[float, float]) -> NDArray[np.bool_]:
    return (value >= window[0]) & (value <= window[1])


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far around an anchor other singles matter [ns]."""

    before: float
    after: float
    context: float
    """How far away the anchor of another triplet with a photon in common may be."""

    @classmethod
    def of(cls, options: SelectOptions) -> "_Reach":
        """Return the reach of these options, with a ns of margin for rounding of times."""
        low, high = options.prompt_window_ns
        pair = options.pair_window_ns
        before, after = [0.0], [pair]
        for window in options.windows:
            photon, prompt = window.photon_delay_ns, window.prompt_delay_ns
            # The second photon, and the prompt about the middle of the two.
            before += [photon + pair, 0.5 * pair + high + prompt]
            after += [pair - photon, 0.5 * pair - low - prompt]
        around = options.secondary_ns
        if options.exactly_three:
            # From the middle of the pair to the prompt, and on to what the prompt sees.
            around = max(around, pair + high - low)
        context = 0.0 if options.multiples == "all" else 2.0 * pair + high - low
        margin = around + context + 1.0
        return cls(max(before) + margin, max(after) + margin, context)


def _start(singles: Singles) -> float:
    return float(singles.time_ns[0]) if len(singles) else math.inf


def _latest(singles: Singles) -> float:
    return float(singles.time_ns[-1]) if len(singles) else -math.inf


def _rows_until(singles: Singles, time_ns: float) -> int:
    return int(np.searchsorted(singles.time_ns, time_ns, side="right"))


def _with_carry(
    found: FoundTriplets, singles: Singles, n_done: int, reach: _Reach
) -> FoundTriplets:
    """Carry the singles from ``n_done`` on, and those before that their triplets can reach."""
    # When none is open, one may follow at the very time of the last one seen.
    open_from = singles.time_ns[n_done] if n_done < len(singles) else _latest(singles)
    n_past = int(np.searchsorted(singles.time_ns, open_from - reach.before, side="left"))
    kept = singles.take(slice(n_past, None))
    return replace(found, carry=replace(found.carry, singles=kept, n_done=n_done - n_past))


def _find(
    singles: Singles,
    first_row: int,
    last_row: int,
    options: SelectOptions,
    reach: _Reach,
    with_pairs: bool,
    room: int,
) -> FoundTriplets:
    """Find the triplets anchored in some rows of singles that hold all that they reach."""
    windows = options.windows
    delays = sorted({w.photon_delay_ns for w in windows}, key=lambda d: (d != 0.0, d))
    groups = [[i for i, w in enumerate(windows) if w.photon_delay_ns == d] for d in delays]
    label = np.array([i for group in groups for i in group])
    low, high = options.prompt_window_ns
    n_block = max(1, -(-(last_row - first_row) // _BLOCK_ROWS))
    n_found, needed = np.empty((2, n_block), np.int64)
    totals = np.empty((n_block, 3), np.int64)
    tally = np.empty((n_block, len(windows), 4), np.int64)
    while True:
        row = np.empty((n_block, room, 3), np.int64)
        window = np.empty((n_block, room), np.uint8)
        pair = np.empty((n_block, room if with_pairs else 0, 2), np.int64)
        _pairing.find_in_blocks(
            singles.time_ns,
            options.signal.of(singles),
            np.array([options.signal.annihilation, options.signal.prompt]),
            first_row,
            last_row,
            options.pair_window_ns,
            low,
            high,
            np.array(delays),
            np.cumsum([0, *map(len, groups)]),
            np.array([windows[i].prompt_delay_ns for i in label]),
            label,
            options.secondary_ns,
            options.exactly_three,
            _RULES[options.multiples],
            reach.before,
            reach.after,
            reach.context,
            row,
            window,
            pair,
            n_found,
            needed,
            totals,
            tally,
        )
        if needed.max() <= room:
            break
        room = int(1.2 * needed.max())
    by_window = np.empty((len(windows), 4), np.int64)
    by_window[label] = tally.sum(axis=0)
    return FoundTriplets(
        triplets=_gather(singles, _filled(row, n_found), _filled(window, n_found), windows),
        pairs=_gather_pairs(singles, _filled(pair, totals[:, _pairing.N_PAIR]))
        if with_pairs
        else None,
        n_annihilation=int(totals[:, _pairing.N_ANNIHILATION].sum()),
        n_prompt=int(totals[:, _pairing.N_PROMPT].sum()),
        n_pairs=int(totals[:, _pairing.N_PAIR].sum()),
        n_combinations=by_window[:, _pairing.N_FOUND],
        n_secondary=by_window[:, _pairing.N_CROWDED],
        n_not_alone=by_window[:, _pairing.N_NOT_ALONE],
        n_multiple=by_window[:, _pairing.N_SHARED],
        carry=Carry(singles=singles.take(slice(0, 0)), n_done=0, room=room),
    )


_RULES = {"all": _pairing.ALL, "first": _pairing.FIRST, "reject": _pairing.REJECT}


def _filled(blocks: NDArray[Any], n: NDArray[np.int64]) -> NDArray[Any]:
    """Return the filled rows of all blocks, one after the other."""
    return np.concatenate([block[:filled] for block, filled in zip(blocks, n, strict=True)])


def _gather(
    singles: Singles,
    row: NDArray[np.int64],
    window: NDArray[np.uint8],
    windows: tuple[Window, ...],
) -> Triplets:
    """Fetch the columns of the triplets' singles and move delayed ones to where they were seen."""
    time_ns = singles.time_ns[row]
    time_ns[:, 1] += np.array([w.photon_delay_ns for w in windows])[window]
    time_ns[:, 2] += np.array([w.prompt_delay_ns for w in windows])[window]
    return Triplets(
        time_ns=time_ns,
        energy_kev=None if singles.energy_kev is None else singles.energy_kev[row],
        tot_ns=None if singles.tot_ns is None else singles.tot_ns[row],
        position_mm=singles.position_mm[row],
        window=window,
        detector=None if singles.detector is None else singles.detector[row],
        decay=None if singles.decay is None else singles.decay[row],
    )


def _gather_pairs(singles: Singles, row: NDArray[np.int64]) -> Pairs:
    return Pairs(time_ns=singles.time_ns[row], position_mm=singles.position_mm[row])


def _joined(one: FoundTriplets, other: FoundTriplets) -> FoundTriplets:
    """Return what was found in two parts of the singles, one after the other."""
    counts = {
        f.name: getattr(one, f.name) + getattr(other, f.name)
        for f in fields(FoundTriplets)
        if f.name.startswith("n_")
    }
    pairs = None
    if one.pairs is not None and other.pairs is not None:
        pairs = one.pairs.joined(other.pairs)
    return FoundTriplets(
        triplets=one.triplets.joined(other.triplets),
        pairs=pairs,
        carry=replace(other.carry, room=max(one.carry.room, other.carry.room)),
        **counts,
    )
