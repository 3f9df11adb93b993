"""The figure of one fitted spectrum, as for a paper; drawn from plain arrays."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.report.drawing import (
    DT_LABEL,
    INK,
    RANDOMS,
    TICK_SIZE,
    TITLE_SIZE,
    centres,
    drawable,
    finish_axes,
    width_label,
)
from psimg.report.figures import (
    COMPONENT_LINES,
    draw_counts,
    draw_residuals,
    put_legend,
    set_count_range,
)
from psimg.report.merging import MergedBins
from psimg.report.words import NO_VALUE, percent, with_error

FloatArray = NDArray[np.float64]

_LEAST_EXPECTED = 25.0
"""Events that a residual's bin must expect: its square root is then a standard deviation."""
_FEWEST_POINTS, _AT_LEAST = 20.0, 4.0
"""Points wanted of few events, and events that each must expect at least."""
_MOST_POINTS = 400


def component_label(
    name: str,
    *,
    tau_ns: float,
    tau_error_ns: float,
    intensity: float,
    intensity_error: float,
) -> str:
    """Return a component's line in the legend: mean life and intensity with their errors.

    An error that is NaN or zero marks a value that was fixed; it stands alone. The intensity is a
    share, and printed in per cent.
    """
    tau, share = with_error(tau_ns, tau_error_ns), percent(intensity, intensity_error)
    life = "no mean life" if tau == NO_VALUE else f"τ = {_bracketed(tau)} ns"
    part = "" if share == NO_VALUE else f", I = {_bracketed(share)} %"
    return f"{drawable(name, 20)}: {life}{part}"


def _bracketed(value: str) -> str:
    """Return a value for a unit to follow: ``(1.83 ± 0.02)``."""
    return f"({value})" if "±" in value else value


def draw_spectrum_fit(
    edges_ns: FloatArray,
    counts: FloatArray,
    expected: FloatArray,
    *,
    labels: Sequence[str],
    title: str,
    subtitle: str = "",
    time_label: str = DT_LABEL,
) -> Figure:
    """Draw a spectrum with its fit, each component and the background, and the residuals.

    Bins are merged for the points, never for the curves: to some hundred points, and until each
    expects enough events for the residual (n - m) / sqrt(m) to be a number of standard deviations.

    Parameters
    ----------
    edges_ns : (B+1,) array
        Edges of the fitted bins [ns].
    counts : (B,) array
        Counts per bin.
    expected : (K+1, B) array
        Counts the fit expects of each component, and of the background in the last row.
    labels : sequence of str
        What the legend says of each row; `component_label` writes one for a component.
    title, subtitle : str
        Above the figure; the second for what holds of the whole fit.
    time_label : str
        What the time axis is.

    Returns
    -------
    Figure
        Counts on a logarithmic scale above, residuals below.

    Raises
    ------
    DataError
        If the arrays and labels do not fit together, or the fit has no finite curves.
    """
    n_bin = len(edges_ns) - 1
    if counts.shape != (n_bin,) or expected.shape != (len(labels), n_bin):
        raise DataError(
            f"{n_bin} bins and {len(labels)} labels, but counts of shape {counts.shape} and "
            f"expected of {expected.shape}; expected (B,) and a row of B bins per label"
        )
    if not np.all(np.isfinite(expected)):
        raise DataError("expected counts are not finite; a fit that failed has no curves to draw")
    total = expected.sum(axis=0)
    # With few events points that say where they lie, though their errors are not Gaussian.
    least = min(_LEAST_EXPECTED, max(float(total.sum()) / _FEWEST_POINTS, _AT_LEAST))
    merged = MergedBins.by_expected(edges_ns, total, least=least, most_bins=_MOST_POINTS)
    figure = Figure(figsize=(6.8, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1.0))
    draw_counts(top, merged.sum(counts), merged.edges_ns, n_merged=merged.n_merged)
    _draw_curves(top, centres(edges_ns), expected, labels)
    set_count_range(top, edges_ns, merged.mean(counts), expected)
    m = merged.sum(total)
    draw_residuals(
        bottom, centres(merged.edges_ns), (merged.sum(counts) - m) / np.sqrt(np.maximum(m, 1.0))
    )
    bottom.set_ylabel("$(n - m)\\,/\\sqrt{m}$ [$\\sigma$]")
    bottom.set_xlabel(time_label)
    top.set_ylabel(f"counts per {width_label(edges_ns, 'ns')}")
    put_legend(top)
    for axes in figure.axes:
        finish_axes(axes)
    figure.align_ylabels()
    # The title comes from a user: '$' in it is a letter, not mathematics.
    figure.suptitle(
        drawable(title, 64),
        x=0.02,
        ha="left",
        fontsize=TITLE_SIZE,
        fontweight="bold",
        parse_math=False,
    )
    top.set_title(subtitle, loc="left", fontsize=TICK_SIZE, color=INK, parse_math=False)
    return figure


def _draw_curves(axes: Axes, t: FloatArray, expected: FloatArray, labels: Sequence[str]) -> None:
    axes.plot(t, expected.sum(axis=0), color=INK, linewidth=1.2, label="fit", zorder=5)
    named = zip(expected[:-1], labels[:-1], strict=True)
    lines = itertools.cycle(COMPONENT_LINES)
    for (events, label), (colour, style) in zip(named, lines, strict=False):
        axes.plot(t, events, color=colour, linestyle=style, linewidth=1.3, label=label, zorder=4)
    axes.plot(
        t, expected[-1], color=RANDOMS, linestyle=":", linewidth=1.5, label=labels[-1], zorder=3
    )
