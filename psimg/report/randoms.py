"""Tables of random triplets, in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from psimg.events.values import Origin
from psimg.events.windows import Window, WindowKind
from psimg.lifetime.randoms import RandomsSummary
from psimg.report.words import NO_VALUE, chance, percent, with_error
from psimg.spectra.randoms import RandomClasses, SmoothShape

_NOT_FLAT = 1e-3
"""Chance below which a spectrum is said not to be flat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """One class of random triplets, or a sum of classes."""

    name: str
    meaning: str
    estimate: str
    share: str
    """Per cent of all events."""
    true: int | None
    pull: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionRow:
    """The random triplets of one region."""

    name: str
    n_events: int
    unrelated: str
    class_2: str
    total: str
    share: str
    """All randoms in per cent of the events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatRow:
    """Whether a spectrum is flat."""

    name: str
    n_events: int
    shape: str
    chance: str


_CLASSES = (
    ("I", "a pair of one decay, the prompt of another", "class_1", (Origin.CLASS_1,)),
    ("III", "three decays", "class_3", (Origin.CLASS_3,)),
    ("I + III", "prompt unrelated", "unrelated", (Origin.CLASS_1, Origin.CLASS_3)),
    (
        "II",
        "prompt-correlated: the prompt and one annihilation photon of one decay, the other of "
        "another",
        "class_2",
        (Origin.CLASS_2,),
    ),
    ("All randoms", "", "total", (Origin.CLASS_1, Origin.CLASS_2, Origin.CLASS_3)),
)


def class_rows(randoms: RandomsSummary) -> tuple[ClassRow, ...]:
    """Return a row for each class of all events in the grid; none where nothing is known."""
    if not any(randoms.n_sets) and randoms.truth is None:
        return ()
    n_events = randoms.n_events[0]
    rows = []
    for name, meaning, field, origins in _CLASSES:
        estimate, error = _estimate(randoms.classes[0], field)
        true = None if randoms.truth is None else int(randoms.truth[list(origins)].sum())
        rows.append(
            ClassRow(
                name=name,
                meaning=meaning,
                estimate=with_error(estimate, error),
                share=_share(estimate, error, n_events),
                true=true,
                pull=NO_VALUE if true is None else _pull(estimate, error, true),
            )
        )
    return tuple(rows)


def region_rows(randoms: RandomsSummary) -> tuple[RegionRow, ...]:
    """Return a row for each region; none without delayed windows."""
    if not any(randoms.n_sets):
        return ()
    regions = zip(randoms.names[1:], randoms.n_events[1:], randoms.classes[1:], strict=True)
    return tuple(
        RegionRow(
            name=name,
            n_events=n_events,
            unrelated=with_error(classes.unrelated, classes.unrelated_error),
            class_2=with_error(classes.class_2, classes.class_2_error),
            total=with_error(classes.total, classes.total_error),
            share=_share(classes.total, classes.total_error, n_events),
        )
        for name, n_events, classes in regions
    )


def flat_rows(randoms: RandomsSummary) -> tuple[FlatRow, ...]:
    """Return how flat the delayed prompts and the spectrum before the peak are."""
    rows = []
    if randoms.shape is not None:
        n_events = round(float(randoms.delayed[0].sum()) * randoms.n_sets[0])
        rows.append(_flat_row("windows with a delayed prompt", n_events, randoms.shape))
    if randoms.sideband is not None:
        name = f"the spectrum before {_signed(randoms.sideband.stop_ns, 1)} ns (sideband)"
        rows.append(_flat_row(name, randoms.sideband.n_events, randoms.sideband.shape))
    return tuple(rows)


def is_flat(shape: SmoothShape) -> bool:
    """Whether nothing speaks against a flat spectrum."""
    return shape.order == 0 and shape.p_flat >= _NOT_FLAT


def window_words(windows: Sequence[Window]) -> tuple[str, ...]:
    """Return a sentence part for each kind of delayed window: how many, and their delays."""
    kinds = (
        (WindowKind.DELAYED_PROMPT, "the prompt delayed by"),
        (WindowKind.DELAYED_PHOTON, "one annihilation photon delayed by"),
        (WindowKind.DELAYED_BOTH, "that photon delayed as far, and the prompt the other way, by"),
    )
    found = []
    for kind, what in kinds:
        delays = [
            w.prompt_delay_ns if kind == WindowKind.DELAYED_PROMPT else w.photon_delay_ns
            for w in windows
            if w.kind == kind
        ]
        if delays:
            *some, last = (_signed(delay) for delay in delays)
            listed = f"{', '.join(some)} and {last}" if some else last
            plural = "" if len(delays) == 1 else "s"
            found.append(f"{len(delays)} window{plural} with {what} {listed} ns")
    return tuple(found)


def _estimate(classes: RandomClasses, field: str) -> tuple[float, float]:
    return getattr(classes, field), getattr(classes, f"{field}_error")


def _share(estimate: float, error: float, n_events: int) -> str:
    return percent(estimate / n_events, error / n_events) if n_events else NO_VALUE


def _pull(estimate: float, error: float, true: int) -> str:
    spread = math.hypot(error, math.sqrt(true))
    return _signed((estimate - true) / spread, 1, plus=True) if spread > 0 else NO_VALUE


def _flat_row(name: str, n_events: int, shape: SmoothShape) -> FlatRow:
    words = "flat" if shape.order == 0 else f"smooth curve of order {shape.order}"
    return FlatRow(name=name, n_events=n_events, shape=words, chance=chance(shape.p_flat))


def _signed(value: float, decimals: int | None = None, *, plus: bool = False) -> str:
    """Return a number with a proper minus sign, and a plus where it is asked for."""
    if not math.isfinite(value):
        return NO_VALUE
    size = f"{abs(value):g}" if decimals is None else f"{abs(value):.{decimals}f}"
    sign = "−" if value < 0 else "+" if plus else ""
    return sign + size
