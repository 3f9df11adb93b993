"""The corner plot: what a posterior says of each parameter, and of each two together."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.report.drawing import BLUE, INK, TICK_SIZE, VERMILLION, drawable, finish_axes
from psimg.report.words import COMPONENT_WORDS, number

FloatArray = NDArray[np.float64]

MASSES = (0.95, 0.68)
"""Shares of the samples inside the contours, the outer one first."""
_ONE_SIGMA = (0.158655, 0.841345)
_LABELS = {
    "background": "background [counts]",
    "events": "true triplets [counts]",
    "signal": "true triplets [counts]",
    "class_2": "class II [counts]",
    "class_3": "class III [counts]",
    "mu_ns": "$\\mu$ [ns]",
    "sigma_ns": "$\\sigma$ [ns]",
}
_PANEL, _EDGE = 1.75, 0.7
"""Inches of a panel, and of the labels beside all of them."""
_FILLS = ("#c6dbef", "#6baed6")
_SMOOTH = 1.5
"""Width of the Gaussian that smooths a density of two parameters, in bins."""
_MARGIN = 0.001
"""Share of the samples that may lie beyond each end of an axis."""


def draw_corner(
    samples: FloatArray,
    names: tuple[str, ...],
    *,
    truths: FloatArray | None = None,
    intervals: FloatArray | None = None,
) -> Figure:
    """Draw the distribution of each parameter and of each pair of them.

    Parameters
    ----------
    samples : (S, P) array
        Draws from the posterior.
    names : P strings
        Parameters, named as in a fit: ``tau_ops_ns``, ``intensity_ops``, ``background``, ...
    truths : (P,) array, optional
        True values, drawn as lines; NaN for one that is not known.
    intervals : (P, 2) array, optional
        Ends of each parameter's 68 % interval; the central interval when left out.

    Returns
    -------
    Figure
        Histograms with median and 68 % interval on the diagonal; below it densities with the
        smallest regions that hold 68 and 95 % of the samples.

    Raises
    ------
    DataError
        If the arrays do not fit together, or a sample is not finite.
    """
    samples = np.asarray(samples, dtype=np.float64)
    n = len(names)
    if samples.ndim != 2 or samples.shape[1] != n or len(samples) < 2:
        raise DataError(
            f"samples has shape {samples.shape}, expected (2 or more, {n}) for {n} names"
        )
    if not np.all(np.isfinite(samples)):
        raise DataError("samples holds values that are not finite; draw those of a valid chain")
    if intervals is None:
        intervals = np.quantile(samples, _ONE_SIGMA, axis=0).T
    intervals = _checked("intervals", intervals, (n, 2))
    truths = _checked("truths", np.full(n, np.nan) if truths is None else truths, (n,))
    edges = [_edges(samples[:, p]) for p in range(n)]
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    size = _EDGE + _PANEL * n
    figure = Figure(figsize=(size, size), layout=layout)
    panels = figure.subplots(n, n, squeeze=False)
    for row in range(n):
        for column in range(n):
            axes = panels[row, column]
            if column > row:
                axes.remove()
                continue
            if column == row:
                _draw_one(axes, samples[:, row], edges[row], intervals[row], truths[row])
            else:
                pair = [column, row]
                _draw_two(axes, samples[:, pair], edges[column], edges[row], truths[pair])
            _finish(axes, row, column, n)
            axes.set_xlim(edges[column][0], edges[column][-1])
        panels[-1, row].set_xlabel(label_of(names[row]))
        if row:
            panels[row, 0].set_ylabel(label_of(names[row]))
    for axes in figure.axes:
        finish_axes(axes)
        axes.tick_params(labelsize=TICK_SIZE - 1.5)
    figure.align_labels()
    if n > 1:
        _put_key(figure, with_truth=bool(np.isfinite(truths).any()))
    return figure


def label_of(parameter: str) -> str:
    """Return the label of a parameter with its unit."""
    if parameter in _LABELS:
        return _LABELS[parameter]
    kind, _, rest = parameter.partition("_")
    unit = rest.endswith("_ns")
    component = rest.removesuffix("_ns")
    # The name comes from a user: '$' in it is a letter, not mathematics.
    word = COMPONENT_WORDS.get(component) or drawable(component, 16).replace("$", "\\$")
    if kind == "tau" and unit:
        return f"$\\tau$({word}) [ns]"
    if kind == "intensity" and rest:
        return f"$I$({word})"
    if kind == "n" and rest:
        return f"{word} [counts]"
    return drawable(parameter, 24).replace("$", "\\$")


def region_levels(density: FloatArray, masses: tuple[float, ...] = MASSES) -> list[float]:
    """Return the densities above which these shares of all lie, for rising contours.

    Parameters
    ----------
    density : array
        Samples per bin of equal size.
    masses : tuple of float
        Shares, falling.

    Returns
    -------
    list of float
        One level per share; equal ones, of a density in a few bins, are merged.
    """
    falling = np.sort(density, axis=None)[::-1]
    inside = np.cumsum(falling) / falling.sum()
    # Not beyond the last bin, should the sum round to less than the share.
    last = [min(int(np.searchsorted(inside, m)), len(falling) - 1) for m in masses]
    return sorted({float(falling[k]) for k in last})


def _checked(name: str, values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"{name} has shape {values.shape}, expected {shape}")
    return values


def _edges(values: FloatArray) -> FloatArray:
    """Return the bins of a parameter: from its smallest to its largest value, strays left out.

    An axis ends where the samples end, and not before zero of a parameter that is not negative.
    """
    low, high = np.quantile(values, (_MARGIN, 1.0 - _MARGIN))
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    low, high = max(low, values.min()), min(high, values.max())
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        reach = 0.5 * abs(low) or 0.5
        low, high = low - reach, high + reach
    # Bins as wide as their scatter allows: 12 of them for a hundred samples, 40 for ten thousand.
    n_bin = int(np.clip(2.2 * len(values) ** (1 / 3), 12, 40))
    return np.linspace(low, high, n_bin + 1)


def _draw_one(
    axes: Axes, values: FloatArray, edges: FloatArray, interval: FloatArray, truth: float
) -> None:
    counts, _ = np.histogram(values, edges)
    low, high = interval
    # Clipped at the ends of the interval, which lie within bins.
    inside = axes.stairs(counts, edges, fill=True, color=_FILLS[0])
    inside.set_clip_path(axes.axvspan(low, high, color="none"))
    axes.stairs(counts, edges, color=BLUE, linewidth=1.2)
    median = float(np.median(values))
    axes.axvline(median, color=BLUE, linewidth=1.0)
    if np.isfinite(truth):
        axes.axvline(truth, color=VERMILLION, linewidth=1.2, linestyle="--")
    axes.set_ylim(0.0, 1.12 * max(int(counts.max()), 1))
    axes.set_title(_with_interval(median, low, high), fontsize=TICK_SIZE, color=INK)


def _draw_two(
    axes: Axes, pair: FloatArray, x: FloatArray, y: FloatArray, truth: FloatArray
) -> None:
    from scipy.ndimage import gaussian_filter

    counts, _, _ = np.histogram2d(pair[:, 0], pair[:, 1], (x, y))
    # Mirrored at the ends: a density that ends on a bound does not fade there.
    density = gaussian_filter(counts, _SMOOTH, mode="reflect")
    levels = region_levels(density)
    # The contours reach the axes' ends, half a bin beyond the outermost centres.
    padded = np.pad(density, 1, mode="edge").T
    centre = [np.r_[e[0], 0.5 * (e[1:] + e[:-1]), e[-1]] for e in (x, y)]
    fills = _FILLS[len(_FILLS) - len(levels) :]
    top = 1.01 * max(float(density.max()), levels[-1])
    axes.contourf(*centre, padded, levels=[*levels, top], colors=fills)
    axes.contour(*centre, padded, levels=levels, colors=[BLUE], linewidths=0.9)
    if np.isfinite(truth[0]):
        axes.axvline(truth[0], color=VERMILLION, linewidth=1.0, linestyle="--")
    if np.isfinite(truth[1]):
        axes.axhline(truth[1], color=VERMILLION, linewidth=1.0, linestyle="--")
    axes.set_ylim(y[0], y[-1])


def _put_key(figure: Figure, *, with_truth: bool) -> None:
    """Say in the empty corner what shades and lines are."""
    handles: list[Artist] = [
        Line2D([], [], color=BLUE, linewidth=1.2, label="median"),
        Patch(facecolor=_FILLS[0], label="68 % interval"),
        Patch(facecolor=_FILLS[1], edgecolor=BLUE, label="68 % region of a pair"),
        Patch(facecolor=_FILLS[0], edgecolor=BLUE, label="95 % region of a pair"),
    ]
    if with_truth:
        truth = Line2D([], [], color=VERMILLION, linewidth=1.2, linestyle="--", label="truth")
        handles.append(truth)
    figure.legend(handles=handles, loc="upper right", frameon=False, fontsize=TICK_SIZE)


def _finish(axes: Axes, row: int, column: int, n: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    axes.tick_params(axis="x", rotation=40, labelbottom=row == n - 1)
    if row == column:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4, prune="both"))
        axes.tick_params(axis="y", labelleft=column == 0)
    axes.set_box_aspect(1.0)


def _with_interval(median: float, low: float, high: float) -> str:
    """Return the median and the ends of the interval as differences, two digits of the smaller."""
    below, above = median - low, high - median
    smaller = min(below, above)
    if not smaller > 0:
        return number(median)
    exponent = int(f"{smaller:.1e}".partition("e")[2])
    decimals = min(max(1 - exponent, 0), 9)
    value = f"{median:.{decimals}f}".replace("-", "−")
    return f"${value}^{{+{above:.{decimals}f}}}_{{−{below:.{decimals}f}}}$"
