"""Figures of spectra: signals of singles and dt. They know nothing of files or pages."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import gammaincinv

from psimg.events.signal import SignalWindows
from psimg.lifetime.model import DIRECT, OPS, PPS
from psimg.lifetime.values import SpectrumFit
from psimg.report.drawing import (
    BLUE,
    CLASS_2,
    DT_LABEL,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    RANDOMS,
    SKY,
    TICK_SIZE,
    TITLE_SIZE,
    VERMILLION,
    YELLOW,
    centres,
    drawable,
    finish_axes,
    width_label,
)
from psimg.report.slices import MapImage, draw_slices, find_slices
from psimg.report.words import COMPONENT_WORDS, STATUS_WORDS, number, percent, with_error
from psimg.spectra.signal import SignalSpectrum

__all__ = ["MapImage", "draw_signals", "draw_slices", "draw_spectrum", "find_slices"]

FloatArray = NDArray[np.float64]

_OTHERS = (ORANGE, SKY, YELLOW)
_LINES = {PPS: (BLUE, "-."), DIRECT: (GREEN, "--"), OPS: (VERMILLION, "-")}
COMPONENT_LINES = (*_LINES.values(), *((colour, "-") for colour in _OTHERS))
"""Colour and style of components in the order of their mean lives."""

TRUE_LINES = "lines: true numbers"
"""In a legend, what all lines without a name of their own are."""

_ONE_SIGMA = (0.15865525393145707, 0.8413447460685429)
"""Tails of a Gaussian beyond one standard deviation."""


def draw_signals(spectrum: SignalSpectrum, *, windows: SignalWindows) -> Figure:
    """Draw the energies or times over threshold of the singles with the two windows.

    Parameters
    ----------
    spectrum : SignalSpectrum
        Singles per bin.
    windows : SignalWindows
        Windows on the same signal.

    Returns
    -------
    Figure
        One panel, counts on a logarithmic scale.
    """
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.stairs(spectrum.counts, spectrum.edges, color=INK, linewidth=1.1, zorder=3)
    unit = spectrum.signal.unit
    filled = np.flatnonzero(spectrum.counts)
    last = float(spectrum.edges[filled[-1] + 1]) if len(filled) else 0.0
    ends = [end for window in (windows.annihilation, windows.prompt) for end in window]
    right = 1.04 * max(last, *(end for end in ends if np.isfinite(end)))
    for name, (low, high), colour in (
        ("annihilation", windows.annihilation, BLUE),
        ("prompt", windows.prompt, ORANGE),
    ):
        reach = f"{low:g} to {high:g} {unit}" if np.isfinite(high) else f"from {low:g} {unit} on"
        label = f"{name} window, {reach}"
        axes.axvspan(low, min(high, right), color=colour, alpha=0.22, linewidth=0, label=label)
    axes.set_xlim(0.0, right)
    highest = max(int(spectrum.counts.max(initial=0)), 1)
    axes.set_ylim(0.6, highest * 4)
    axes.set_yscale("log")
    axes.set_xlabel(f"{spectrum.signal.name} [{unit}]")
    axes.set_ylabel(f"singles per {width_label(spectrum.edges, unit)}")
    title = f"{int(spectrum.counts.sum()) + spectrum.n_above:,} singles"
    if spectrum.n_above:
        title += f", {spectrum.n_above:,} of them above {spectrum.edges[-1]:g} {unit}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE_SIZE, fontweight="bold")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=TICK_SIZE,
        borderaxespad=0.2,
    )
    finish_axes(axes)
    return figure


def draw_spectrum(fit: SpectrumFit) -> Figure:
    """Draw a spectrum of dt with its fit, the components and the residuals.

    Parameters
    ----------
    fit : SpectrumFit
        Counts and expected events; without expected events the counts stand alone.

    Returns
    -------
    Figure
        Counts on a logarithmic scale, and the residuals below where there is a fit.
    """
    figure = Figure(figsize=(6.8, 5.2), layout="constrained")
    fitted = bool(np.all(np.isfinite(fit.expected)))
    if fitted:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1.0))
        residuals = deviance_residuals(fit.counts, fit.expected.sum(axis=0))
        draw_residuals(bottom, centres(fit.edges_ns), residuals)
        lowest = bottom
    else:
        top = lowest = figure.subplots()
    draw_counts(top, fit.counts, fit.edges_ns)
    if fitted:
        _draw_components(top, fit)
    set_count_range(top, fit.edges_ns, fit.counts, fit.expected if fitted else None)
    top.set_ylabel(f"events per {width_label(fit.edges_ns, 'ns')}")
    lowest.set_xlabel(DT_LABEL)
    put_legend(top)
    for axes in figure.axes:
        finish_axes(axes)
    figure.align_ylabels()
    _put_title(top, fit)
    return figure


def poisson_bars(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how far the central 68 % interval reaches below and above each count.

    F. Garwood, Biometrika 28 (1936) 437: quantiles of the gamma distribution.
    """
    low, high = _ONE_SIGMA
    below = counts - np.where(counts > 0, gammaincinv(np.maximum(counts, 1.0), low), 0.0)
    return below, gammaincinv(counts + 1.0, high) - counts


def deviance_residuals(counts: FloatArray, expected: FloatArray) -> FloatArray:
    """Return signed roots of each bin's share of the Poisson deviance.

    About standard normal where a bin expects more than a few events; their squares sum to the
    deviance.
    """
    m = np.maximum(expected, 1e-100)
    log = np.log(np.where(counts > 0, counts, 1.0) / np.where(counts > 0, m, 1.0))
    share = 2.0 * (m - counts + counts * log)
    return np.asarray(np.sign(counts - m) * np.sqrt(np.maximum(share, 0.0)))


def draw_counts(
    axes: Axes,
    counts: FloatArray,
    edges_ns: FloatArray,
    *,
    n_merged: FloatArray | float = 1.0,
) -> None:
    """Draw events per bin as points with Poisson bars, on a logarithmic axis.

    Of bins that merge ``n_merged`` each, the mean of these is drawn.
    """
    seen = counts > 0  # a logarithmic axis has no place for the others
    scale = np.broadcast_to(1.0 / np.asarray(n_merged), counts.shape)[seen]
    axes.errorbar(
        centres(edges_ns)[seen],
        counts[seen] * scale,
        yerr=np.stack(poisson_bars(counts[seen])) * scale,
        fmt="o",
        markersize=2.4,
        linewidth=0.7,
        color=GREY,
        label="events",
        zorder=2,
    )


def _draw_components(axes: Axes, fit: SpectrumFit) -> None:
    t = centres(fit.edges_ns)
    axes.plot(t, fit.expected.sum(axis=0), color=INK, linewidth=1.3, label="fit", zorder=5)
    others = iter(_OTHERS * len(fit.model.components))
    for component, events in zip(fit.model.components, fit.expected[:-1], strict=True):
        colour, style = _LINES.get(component.name) or (next(others), "-")
        name = COMPONENT_WORDS.get(component.name) or drawable(component.name, 20)
        tau = f"tau_{component.name}_ns"
        label = f"{name}, {with_error(fit.value(tau), fit.error(tau))} ns"
        if not np.isfinite(fit.value(tau)):
            label = f"{name}, no value"
        axes.plot(t, events, color=colour, linestyle=style, label=label, zorder=4)
    with_class_2 = bool(fit.class_2.any())
    label = "background: all randoms" if with_class_2 else "background"
    axes.plot(t, fit.expected[-1], color=RANDOMS, linestyle=":", label=label, zorder=3)
    if with_class_2:
        label = "of them prompt-correlated (class II)"
        axes.plot(t, fit.class_2, color=CLASS_2, linestyle=(0, (4, 1.5)), label=label, zorder=3)


def draw_residuals(axes: Axes, t: FloatArray, residuals: FloatArray) -> None:
    """Draw residuals in standard deviations about zero, with a band of one."""
    axes.axhspan(-1.0, 1.0, color=PALE, linewidth=0)
    axes.axhline(0.0, color=INK, linewidth=0.9)
    axes.plot(t, residuals, "o", markersize=2.4, color=GREY)
    reach = max(3.6, 1.1 * float(np.abs(residuals).max(initial=0.0)))
    axes.set_ylim(-reach, reach)
    axes.locator_params(axis="y", nbins=5, integer=True)
    axes.set_ylabel("residual [$\\sigma$]")


def set_count_range(
    axes: Axes, edges_ns: FloatArray, counts: FloatArray, expected: FloatArray | None
) -> None:
    """Set the range of time and a logarithmic one of counts, for data and curves.

    counts : (B,); expected : (K+1, B), the background last, or None without a fit.
    """
    seen = counts[counts > 0]
    # A decade below the data, for the components; never below what a single event needs.
    low = max(0.5, 0.1 * float(seen.min())) if len(seen) else 0.5
    high = float(counts.max(initial=1.0))
    if expected is not None:
        # A background of less than an event per bin stays in sight, within reason.
        level = float(expected[-1].mean())
        low = max(min(low, 0.5 * level), 0.05) if level > 0 else low
        high = max(high, float(expected.sum(axis=0).max()))
    # Limits first: matplotlib warns of a logarithmic axis without any value above zero.
    axes.set_ylim(low, 3.0 * max(high, 4.0))
    axes.set_yscale("log")
    axes.set_xlim(float(edges_ns[0]), float(edges_ns[-1]))


def _put_title(axes: Axes, fit: SpectrumFit) -> None:
    # The name comes from a user: '$' in it is a letter, not mathematics.
    name = f"{drawable(fit.name, 36)}: {fit.n_events:,} events"
    axes.figure.suptitle(
        name, x=0.02, ha="left", fontsize=TITLE_SIZE, fontweight="bold", parse_math=False
    )
    if np.isfinite(fit.tau_ops_ns):
        tau = with_error(fit.tau_ops_ns, fit.tau_ops_error_ns)
        share = percent(fit.intensity_ops, fit.intensity_ops_error)
        line = f"$\\tau$(o-Ps) = {tau} ns,  $I$(o-Ps) = {share} %"
    else:
        line = STATUS_WORDS[fit.status]
    if np.isfinite(fit.deviance):
        line += f",  deviance/ndf = {number(fit.deviance, 4)}/{fit.ndf}"
    axes.set_title(line, loc="left", fontsize=TICK_SIZE, color=INK)


def _rank(label: str) -> int:
    return {"events": 0, TRUE_LINES: 2}.get(label, 1)


def put_legend(axes: Axes, *, ncols: int = 1) -> None:
    """Put the events first, for matplotlib puts error bars last, and a note on lines at the end."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: _rank(labels[i]))
    legend = axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="upper right",
        ncols=ncols,
        frameon=False,
        fontsize=TICK_SIZE,
        labelspacing=0.35,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
