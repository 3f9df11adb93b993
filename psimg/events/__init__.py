"""From singles to annihilation points with a time difference."""

from psimg.events.cuts import CutOptions, CutTriplets, cut_pairs, cut_triplets
from psimg.events.locate import locate_lines, locate_pairs, locate_triplets
from psimg.events.offsets import OffsetOptions, Offsets, estimate_offsets
from psimg.events.order import sort_chunks, with_last
from psimg.events.pairs import (
    PairOptions,
    PairResiduals,
    ResidualRange,
    find_pairs,
    measure_pairs,
)
from psimg.events.select import (
    Carry,
    FoundTriplets,
    SelectOptions,
    find_triplets,
    within_windows,
)
from psimg.events.signal import ENERGY, TOT, Signal, SignalWindows
from psimg.events.timing import PromptWalk, TimingTable, correct_times, count_uncorrected
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
    "OffsetOptions",
    "Offsets",
    "Origin",
    "PairOptions",
    "PairResiduals",
    "Pairs",
    "PromptWalk",
    "ResidualRange",
    "SelectOptions",
    "Signal",
    "SignalWindows",
    "Singles",
    "TimingTable",
    "Triplets",
    "Window",
    "WindowKind",
    "correct_times",
    "count_uncorrected",
    "cut_pairs",
    "cut_triplets",
    "estimate_offsets",
    "find_pairs",
    "find_triplets",
    "locate_lines",
    "locate_pairs",
    "locate_triplets",
    "measure_pairs",
    "sort_chunks",
    "windows_of",
    "with_last",
    "within_windows",
]
