"""From singles to annihilation points with a time difference."""

from psimg.events.locate import locate_triplets
from psimg.events.order import sort_chunks, with_last
from psimg.events.select import (
    Carry,
    FoundTriplets,
    SelectOptions,
    drop_close_pairs,
    find_triplets,
    within_windows,
)
from psimg.events.values import LifetimeEvents, Singles, Triplets

__all__ = [
    "Carry",
    "FoundTriplets",
    "LifetimeEvents",
    "SelectOptions",
    "Singles",
    "Triplets",
    "drop_close_pairs",
    "find_triplets",
    "locate_triplets",
    "sort_chunks",
    "with_last",
    "within_windows",
]
