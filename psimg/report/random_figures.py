"""Figures of random triplets: beside the events, and in each kind of delayed window."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from psimg.events.values import Origin
from psimg.lifetime.randoms import RandomsSummary
from psimg.report.drawing import (
    CLASS_2,
    DT_LABEL,
    GREEN,
    INK,
    RANDOMS,
    SKY,
    TEXT_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
    VERMILLION,
    centres,
    finish_axes,
    width_label,
)
from psimg.report.figures import TRUE_LINES, draw_counts, poisson_bars, put_legend
from psimg.report.merging import MergedBins
from psimg.report.words import with_error
from psimg.spectra.randoms import flat_shape

FloatArray = NDArray[np.float64]

_PROMPT, _PHOTON, _BOTH = range(3)
_KINDS = (
    ("Prompt delayed: I + III", SKY, "o"),
    ("One annihilation photon delayed: II + twice III", CLASS_2, "D"),
    ("Both delayed: twice III", GREEN, "^"),
)
"""Title, colour and marker of each kind of delayed window."""


def draw_randoms(randoms: RandomsSummary) -> Figure:
    """Draw the spectrum of all events with the random triplets among them.

    Parameters
    ----------
    randoms : RandomsSummary
        Events, delayed windows, and the truth where a simulation says so.

    Returns
    -------
    Figure
        Points for what the windows tell, steps for the truth, on a logarithmic scale.
    """
    figure = Figure(figsize=(6.8, 5.2), layout="constrained")
    axes = figure.subplots()
    draw_counts(axes, randoms.counts, randoms.edges_ns)
    levels = []
    # Side by side within their bin: all randoms and the unrelated ones often lie on each other.
    for shift, curve in zip((-0.15, 0.15, 0.0), _curves(randoms), strict=True):
        levels.append(_draw_curve(axes, curve, randoms.edges_ns, shift))
    if randoms.truth is not None and any(randoms.n_sets):
        axes.plot([], [], color=INK, linewidth=1.0, label=TRUE_LINES)
    low = 0.15 * min((level for level in levels if level > 0), default=1.0)
    # Limits first: matplotlib warns of a logarithmic axis without any value above zero.
    axes.set_ylim(max(low, 1e-3), 8.0 * max(float(randoms.counts.max(initial=0.0)), 4.0))
    axes.set_yscale("log")
    axes.set_xlim(float(randoms.edges_ns[0]), float(randoms.edges_ns[-1]))
    axes.set_xlabel(DT_LABEL)
    axes.set_ylabel(f"events per {width_label(randoms.edges_ns, 'ns')}")
    put_legend(axes)
    finish_axes(axes)
    _put_title(figure, f"All events in the grid: {int(randoms.counts.sum()):,}")
    axes.set_title(_line(randoms), loc="left", fontsize=TICK_SIZE, color=INK)
    return figure


def draw_delayed(randoms: RandomsSummary) -> Figure:
    """Draw the spectrum of each kind of delayed window, per window.

    Parameters
    ----------
    randoms : RandomsSummary
        At least one kind of delayed window.

    Returns
    -------
    Figure
        A panel per kind, from zero, with what a flat spectrum of its level would be.
    """
    kinds = [kind for kind in range(3) if randoms.n_sets[kind]]
    figure = Figure(figsize=(6.8, 5.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(kinds), 1, sharex=True))
    for axes, kind in zip(panels, kinds, strict=True):
        _draw_kind(axes, randoms, kind)
        axes.set_xlim(float(randoms.edges_ns[0]), float(randoms.edges_ns[-1]))
        finish_axes(axes)
    panels[-1].set_xlabel(DT_LABEL)
    figure.supylabel(
        f"events per {width_label(randoms.edges_ns, 'ns')} and window", fontsize=TEXT_SIZE
    )
    _put_title(figure, "Delayed windows: random triplets alone")
    return figure


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Curve:
    """One kind of random triplets against dt."""

    name: str
    colour: str
    marker: str
    measured: tuple[FloatArray, FloatArray] | None
    """(B,) estimate and its variance; None where its windows are missing."""
    true: FloatArray | None
    """(B,) true numbers; None where nobody knows them."""
    n_counted: float
    """Events that the estimate comes from: how fine a binning they bear."""


def _curves(randoms: RandomsSummary) -> tuple[_Curve, ...]:
    p, a, b = randoms.delayed
    vp, va, vb = randoms.delayed / np.maximum(randoms.n_sets, 1)[:, None]
    has_p, has_a, has_b = (n > 0 for n in randoms.n_sets)
    n_counted = randoms.delayed.sum(axis=1) * randoms.n_sets
    looks = (("all randoms", RANDOMS, "s"), ("prompt unrelated (I + III)", SKY, "o"),
             ("prompt-correlated (II)", CLASS_2, "D"))  # fmt: skip
    measured = (
        (p + a - b, vp + va + vb) if has_p and has_a and has_b else None,
        (p, vp) if has_p else None,
        (a - b, va + vb) if has_a and has_b else None,
    )
    origins = (
        (Origin.CLASS_1, Origin.CLASS_2, Origin.CLASS_3),
        (Origin.CLASS_1, Origin.CLASS_3),
        (Origin.CLASS_2,),
    )
    return tuple(
        _Curve(
            name=name,
            colour=colour,
            marker=marker,
            measured=values,
            true=None if randoms.truth is None else _sum_of(randoms.truth, some),
            n_counted=np.inf if values is None else float(n_counted[kind]),
        )
        for (name, colour, marker), values, some, kind in zip(
            looks, measured, origins, (_PROMPT, _PROMPT, _PHOTON), strict=True
        )
    )


def _sum_of(truth: NDArray[np.int64], origins: tuple[Origin, ...]) -> FloatArray:
    return np.asarray(truth[list(origins)].sum(axis=0), dtype=np.float64)


def _draw_curve(axes: Axes, curve: _Curve, edges_ns: FloatArray, shift: float) -> float:
    """Draw points for what is measured and steps for the truth; return the level of both."""
    coarse = MergedBins.evenly(edges_ns, curve.n_counted)
    level = 0.0
    if curve.true is not None:
        label = None if curve.measured is not None else f"{curve.name}, true"
        axes.stairs(
            coarse.mean(curve.true),
            coarse.edges_ns,
            baseline=None,
            color=curve.colour,
            linewidth=1.0,
            label=label,
            zorder=3,
        )
        level = float(curve.true.mean())
    if curve.measured is not None:
        value, variance = curve.measured
        axes.errorbar(
            centres(coarse.edges_ns) + shift * np.diff(coarse.edges_ns),
            coarse.mean(value),
            yerr=np.sqrt(coarse.sum(variance)) / coarse.n_merged,
            fmt=curve.marker,
            markersize=4.8,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=0.9,
            color=curve.colour,
            label=curve.name,
            zorder=4,
        )
        level = max(float(value.mean()), float(np.sqrt(variance.sum())) / len(value))
    return level


def _draw_kind(axes: Axes, randoms: RandomsSummary, kind: int) -> None:
    title, colour, marker = _KINDS[kind]
    n = randoms.n_sets[kind]
    events = randoms.delayed[kind] * n
    coarse = MergedBins.evenly(randoms.edges_ns, float(events.sum()))
    counts = coarse.sum(events)
    scale = 1.0 / (coarse.n_merged * n)
    axes.errorbar(
        centres(coarse.edges_ns),
        counts * scale,
        yerr=np.stack(poisson_bars(np.round(counts))) * scale,
        fmt=marker,
        markersize=3.4,
        linewidth=0.9,
        color=colour,
        label="events",
        zorder=4,
    )
    true = _true_in_window(randoms, kind)
    if true is not None:
        axes.stairs(
            coarse.mean(true),
            coarse.edges_ns,
            baseline=None,
            color=INK,
            linewidth=0.9,
            label="true numbers",
        )
    flat = randoms.delayed[kind].sum() if kind == _PROMPT else randoms.delayed[_BOTH].sum()
    shape = randoms.shape
    shares = flat_shape(randoms.edges_ns) if shape is None else shape.shares
    words = "flat" if shape is None or shape.order == 0 else f"smooth, of order {shape.order}"
    if kind == _PHOTON:
        words = "twice III, from both delayed"
    axes.plot(
        centres(coarse.edges_ns),
        coarse.mean(flat * shares),
        color=VERMILLION,
        linewidth=1.1,
        linestyle="--",
        label=words,
        zorder=3,
    )
    axes.set_ylim(0.0, 1.45 * _highest(axes))
    plural = "" if n == 1 else "s"
    axes.set_title(f"{title}, {n} window{plural}", loc="left", fontsize=TICK_SIZE, color=INK)
    put_legend(axes, ncols=3)


def _true_in_window(randoms: RandomsSummary, kind: int) -> FloatArray | None:
    """Return what the truth of the prompt window puts into a delayed one, in the mean."""
    if randoms.truth is None:
        return None
    _, class_1, class_2, class_3 = randoms.truth.astype(np.float64)
    return np.asarray((class_1 + class_3, class_2 + 2.0 * class_3, 2.0 * class_3)[kind])


def _highest(axes: Axes) -> float:
    high = axes.dataLim.y1
    return float(high) if np.isfinite(high) and high > 0 else 1.0


def _put_title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.02, ha="left", fontsize=TITLE_SIZE, fontweight="bold")


def _line(randoms: RandomsSummary) -> str:
    """Return the numbers of randoms, as far as they are measured."""
    classes = randoms.classes[0]
    parts = (
        ("randoms", classes.total, classes.total_error),
        ("prompt unrelated", classes.unrelated, classes.unrelated_error),
        ("class II", classes.class_2, classes.class_2_error),
    )
    return ",  ".join(f"{name} {with_error(n, e)}" for name, n, e in parts if np.isfinite(n))
