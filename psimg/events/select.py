"""Find triplets: two annihilation photons in coincidence, and a prompt gamma near them in time."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.events._pairing import count_triplets, fill_triplets
from psimg.events.values import Singles, Triplets

_T = TypeVar("_T", bound=np.generic)


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
    def reach_ns(self) -> tuple[float, float]:
        """How far before and after a pair's first photon the others of a triplet lie [ns]."""
        delays = (0.0, *self.delays_ns)
        low, high = self.prompt_window_ns
        before = max(0.0, high + max(delays))
        after = max(self.pair_window_ns, 0.5 * self.pair_window_ns - low - min(delays))
        return before, after


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Carry:
    """Candidate singles of a chunk's end, whose triplets the next chunk may complete."""

    annihilation: Singles
    prompt: Singles


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
    annihilation = singles.take(_within(singles.energy_kev, options.annihilation_kev))
    prompt = singles.take(_within(singles.energy_kev, options.prompt_kev))
    n_annihilation, n_prompt = len(annihilation), len(prompt)
    if carry is not None:
        annihilation = carry.annihilation.joined(annihilation)
        prompt = carry.prompt.joined(prompt)
    before, after = options.reach_ns

    n_anchor = len(annihilation)
    if not last:
        # A single at the time of the last one may still come; only what lies before is complete.
        seen = singles.time_ns[-1] if len(singles) else -np.inf
        n_anchor = int(np.searchsorted(annihilation.time_ns, seen - after, side="left"))

    triplets, n_pairs = _combine(annihilation, prompt, n_anchor, options)
    return FoundTriplets(
        triplets=triplets,
        n_annihilation=n_annihilation,
        n_prompt=n_prompt,
        n_pairs=n_pairs,
        carry=_carry_over(annihilation, prompt, n_anchor, before),
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


def _carry_over(annihilation: Singles, prompt: Singles, n_anchor: int, before: float) -> Carry:
    """Keep the anchors still open and the prompts that they can reach."""
    if n_anchor == len(annihilation):
        # No anchor is open, but one may follow at the very time of the last single seen.
        cut = max((s.time_ns[-1] for s in (annihilation, prompt) if len(s)), default=-np.inf)
    else:
        cut = annihilation.time_ns[n_anchor]
    # One ns of margin: rounding of times must never lose a prompt on the window's edge.
    n_past = int(np.searchsorted(prompt.time_ns, cut - before - 1.0, side="left"))
    return Carry(
        annihilation=annihilation.take(slice(n_anchor, None)),
        prompt=prompt.take(slice(n_past, None)),
    )


def _combine(
    annihilation: Singles,
    prompt: Singles,
    n_anchor: int,
    options: SelectOptions,
) -> tuple[Triplets, int]:
    """Run the compiled finder over the anchors and gather the columns of its triplets."""
    delays = np.array([0.0, *options.delays_ns])
    low, high = options.prompt_window_ns
    counts = np.zeros(len(delays), np.int64)
    arguments = (
        annihilation.time_ns,
        prompt.time_ns,
        n_anchor,
        options.pair_window_ns,
        low,
        high,
        delays,
    )
    n_pairs = count_triplets(*arguments, counts)
    row = np.empty((int(counts.sum()), 3), np.int64)
    window = np.empty(len(row), np.uint8)
    fill_triplets(*arguments, row, window)

    first, second, third = row.T
    time_ns = _three(annihilation.time_ns, prompt.time_ns, row)
    time_ns[:, 2] += delays[window]
    decay = None
    if annihilation.decay is not None and prompt.decay is not None:
        decay = _three(annihilation.decay, prompt.decay, row)
    triplets = Triplets(
        time_ns=time_ns,
        energy_kev=_three(annihilation.energy_kev, prompt.energy_kev, row),
        position_mm=np.stack(
            [
                annihilation.position_mm[first],
                annihilation.position_mm[second],
                prompt.position_mm[third],
            ],
            axis=1,
        ),
        window=window,
        decay=decay,
    )
    return triplets, int(n_pairs)


def _three(pair: NDArray[_T], prompt: NDArray[_T], row: NDArray[np.int64]) -> NDArray[_T]:
    return np.stack([pair[row[:, 0]], pair[row[:, 1]], prompt[row[:, 2]]], axis=1)
