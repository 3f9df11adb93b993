"""Geometric rules: which triplets cannot be three photons of one decay seen as they should be."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.regions import Region
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.core.settings import SETTINGS_CONFIG
from psimg.events.values import Pairs, Triplets

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RULES = (
    "min_pair_distance_mm",
    "min_opening_deg",
    "min_prompt_distance_mm",
    "min_prompt_crystals",
    "lor_through",
    "max_tof_excess_ns",
    "scatter_margin_ns",
)
"""Names of the rules, in the order in which they are applied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutOptions:
    """Which triplets to drop for where and when their photons were detected."""

    min_pair_distance_mm: float = 100.0
    """Smallest distance of the two annihilation photons; two in one place are always dropped
    [mm]."""
    min_opening_deg: float | None = None
    """Smallest angle about the scanner's axis between the two annihilation photons, at most 180
    [deg]."""
    min_prompt_distance_mm: float | None = None
    """Smallest distance of the prompt from either annihilation photon [mm]."""
    min_prompt_crystals: int | None = None
    """Drop prompts within this many crystals of an annihilation photon, both around and along: one
    photon scattered from crystal to crystal. Needs ``detector`` and ``scanner.crystals_around``."""
    lor_through: str | None = None
    """Name of a region that the line between the annihilation photons must cross."""
    max_tof_excess_ns: float | None = None
    """Largest |t2 - t1| - |r1 - r2|/c: by how much the annihilation photons may seem to come from
    beyond their detectors [ns]."""
    scatter_margin_ns: float | None = None
    """Drop triplets in which |tj - ti| is this near the flight time |rj - ri|/c of two photons: one
    photon scattered from one detector to the other. Acts on dt itself and bends its spectrum
    [ns]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        for name in self.rules:
            value = getattr(self, name)
            if isinstance(value, str):
                continue
            if not math.isfinite(value):
                raise SettingsError(f"{name} = {value:g} is not finite")
            if value < 0:
                raise SettingsError(f"{name} = {value:g} is negative")
        if self.min_opening_deg is not None and self.min_opening_deg > 180.0:
            raise SettingsError(
                f"min_opening_deg = {self.min_opening_deg:g}: two directions are at most 180 "
                "degrees apart"
            )

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules that are set, in the order in which they are applied."""
        return tuple(name for name in RULES if getattr(self, name) is not None)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class CutTriplets:
    """The triplets that every rule lets through, and how many each rule dropped."""

    triplets: Triplets
    n_dropped: dict[str, int]
    """Triplets of the prompt window dropped, by the first rule that fails; rules that are set."""
    n_dropped_delayed: dict[str, int]
    """The same for all delayed windows together."""


def cut_triplets(
    triplets: Triplets,
    *,
    options: CutOptions | None = None,
    through: Region | None = None,
    crystals_around: int | None = None,
) -> CutTriplets:
    """Drop triplets by where and when their photons were detected.

    Triplets of delayed windows are treated like those of the prompt window. Their times have the
    artificial delay taken off, and are spread like those of the random triplets that the delayed
    windows stand for; a rule must drop the same share of both, or the delayed windows would say
    the wrong number of randoms.

    Parameters
    ----------
    triplets : Triplets
        Triplets within the windows; with ``detector`` for ``min_prompt_crystals``.
    options : CutOptions, optional
        The rules; all but ``min_pair_distance_mm`` are off unless set.
    through : Region, optional
        The region that ``lor_through`` names.
    crystals_around : int, optional
        Crystals in a ring, for ``min_prompt_crystals``: a detector's label is
        ``along * crystals_around + around``.

    Returns
    -------
    CutTriplets
        What is left, in the same order, and how many each rule dropped.

    Raises
    ------
    SettingsError
        If a rule that is set lacks the region or the number of crystals.
    DataError
        If ``min_prompt_crystals`` is set and the detectors are not known.
    """
    options = options or CutOptions()
    if options.lor_through is not None and through is None:
        raise SettingsError(
            f"lor_through = {options.lor_through!r} names a region that was not given; pass it as "
            "through"
        )
    if options.min_prompt_crystals is not None and crystals_around is None:
        raise SettingsError(
            "min_prompt_crystals needs the number of crystals in a ring; set "
            "scanner.crystals_around"
        )
    prompt = triplets.window == 0
    keep = np.ones(len(triplets), np.bool_)
    n_dropped, n_dropped_delayed = {}, {}
    for name in options.rules:
        if name == "lor_through":
            assert through is not None
            fails = _misses(triplets, keep, through)
        elif name == "min_prompt_crystals":
            assert crystals_around is not None
            fails = _neighbours(triplets, getattr(options, name), crystals_around)
        else:
            fails = _FAILS[name](triplets, getattr(options, name))
        fails &= keep
        n_dropped[name] = int(np.count_nonzero(fails & prompt))
        n_dropped_delayed[name] = int(np.count_nonzero(fails)) - n_dropped[name]
        keep &= ~fails
    return CutTriplets(
        triplets=triplets if keep.all() else triplets.take(keep),
        n_dropped=n_dropped,
        n_dropped_delayed=n_dropped_delayed,
    )


def cut_pairs(pairs: Pairs, *, options: CutOptions, through: Region | None = None) -> Pairs:
    """Drop the pairs that the rules for annihilation photons would drop from triplets.

    Parameters
    ----------
    pairs : Pairs
        Annihilation photons in coincidence.
    options : CutOptions
        The rules; those about the prompt drop nothing.
    through : Region, optional
        The region that ``lor_through`` names.
    """
    n = len(pairs)
    # A prompt that is nowhere: no comparison with it holds.
    nowhere = Triplets(
        time_ns=np.concatenate([pairs.time_ns, np.full((n, 1), np.nan)], axis=1),
        energy_kev=np.full((n, 3), np.nan),
        position_mm=np.concatenate([pairs.position_mm, np.full((n, 1, 3), np.nan)], axis=1),
        window=np.zeros(n, np.uint8),
    )
    rules = replace(options, min_prompt_crystals=None)
    kept = cut_triplets(nowhere, options=rules, through=through).triplets
    return Pairs(time_ns=kept.time_ns[:, :2], position_mm=kept.position_mm[:, :2])


def _close(triplets: Triplets, least_mm: float) -> BoolArray:
    distance = _distance(triplets, 0, 1)
    return np.asarray((distance < least_mm) | (distance == 0))


def _narrow(triplets: Triplets, least_deg: float) -> BoolArray:
    x, y = triplets.position_mm[:, :2, 0].T, triplets.position_mm[:, :2, 1].T
    across, along = x[0] * y[1] - x[1] * y[0], x[0] * x[1] + y[0] * y[1]
    return np.asarray(np.degrees(np.arctan2(np.abs(across), along)) < least_deg)


def _prompt_close(triplets: Triplets, least_mm: float) -> BoolArray:
    return (_distance(triplets, 0, 2) < least_mm) | (_distance(triplets, 1, 2) < least_mm)


def _neighbours(triplets: Triplets, n_crystal: int, crystals_around: int) -> BoolArray:
    detector = triplets.detector
    if detector is None:
        raise DataError(
            "min_prompt_crystals needs the detector of each photon, and the triplets have none; "
            "map detector in [input.columns], or use min_prompt_distance_mm"
        )
    if (detector < 0).any():
        raise DataError(
            "min_prompt_crystals needs the detector of each photon, and some labels are negative "
            f"(lowest {detector.min()}); number the crystals from 0, or use "
            "min_prompt_distance_mm"
        )
    along, around = np.divmod(detector, crystals_around)
    turn = np.abs(around[:, :2] - around[:, 2:])
    turn = np.minimum(turn, crystals_around - turn)
    near = (turn <= n_crystal) & (np.abs(along[:, :2] - along[:, 2:]) <= n_crystal)
    return np.asarray(near.any(axis=1))


def _misses(triplets: Triplets, keep: BoolArray, through: Region) -> BoolArray:
    """Return (N,) whether the LOR misses a region, looking only at the triplets to keep."""
    position = triplets.position_mm
    missed = np.zeros(len(triplets), np.bool_)
    missed[keep] = np.isnan(through.chord(position[keep, 0], position[keep, 1])[:, 0])
    return missed


def _beyond(triplets: Triplets, most_ns: float) -> BoolArray:
    return np.asarray(_lateness(triplets, 0, 1) > most_ns)


def _scattered(triplets: Triplets, margin_ns: float) -> BoolArray:
    pairs = ((0, 1), (0, 2), (1, 2))
    near = [np.abs(_lateness(triplets, i, j)) < margin_ns for i, j in pairs]
    return np.asarray(np.logical_or.reduce(near))


_FAILS: dict[str, Callable[[Triplets, float], BoolArray]] = {
    "min_pair_distance_mm": _close,
    "min_opening_deg": _narrow,
    "min_prompt_distance_mm": _prompt_close,
    "max_tof_excess_ns": _beyond,
    "scatter_margin_ns": _scattered,
}
"""The rules that need nothing but their number."""


def _distance(triplets: Triplets, i: int, j: int) -> FloatArray:
    """Return (N,) distances of two of the three photons [mm]."""
    offset = triplets.position_mm[:, i] - triplets.position_mm[:, j]
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", offset, offset)))


def _lateness(triplets: Triplets, i: int, j: int) -> FloatArray:
    """Return (N,) |tj - ti| - |rj - ri|/c [ns]."""
    between = np.abs(triplets.time_ns[:, j] - triplets.time_ns[:, i])
    return np.asarray(between - _distance(triplets, i, j) / SPEED_OF_LIGHT_MM_NS)
