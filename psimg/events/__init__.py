"""From singles to annihilation points with a time difference."""

from psimg.events.cuts import CutOptions, CutTriplets, cut_pairs, cut_triplets
from psimg.events.locate import locate_pairs, locate_triplets
from psimg.events.order import sort_chunks, with_last
from psimg.events.select import (
    Carry,
    FoundTriplets,
    SelectOptions,
    find_triplets,
    within_windows,
)
from psimg.events.signal import ENERGY, TOT, Signal, SignalWindows
from psimg.events.values import LifetimeEvents, Origin, Pairs, Singles, Triplets
from psimg.events.windows import Window, WindowKind, windows_of

__all__ = [
    "ENERGY",
    "TOT",
    "Carry",
    "CutOptions",
    "CutTriplets",
    "FoundTriplets",
    "LifetimeEvents",
    "Origin",
    "Pairs",
    "SelectOptions",
    "Signal",
    "SignalWindows",
    "Singles",
    "Triplets",
    "Window",
    "WindowKind",
    "cut_pairs",
    "cut_triplets",
    "find_triplets",
    "locate_pairs",
    "locate_triplets",
    "sort_chunks",
    "windows_of",
    "with_last",
    "within_windows",
]
