"""The figure of two maps side by side: slices, values against each other, differences."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region
from psimg.report.drawing import (
    BLUE,
    GREY,
    INK,
    TEXT_SIZE,
    TICK_SIZE,
    VERMILLION,
    drawable,
    finish_axes,
)

FloatArray = NDArray[np.float64]

_WIDTH = 8.4
_LOWER = 3.3
"""Height of the lower row [inch]."""
_RASTER = 240
_MANY = 3000
"""Voxels above which their density is drawn in place of points."""
_COLOURED, _SHOWN = (5.0, 95.0), (1.0, 98.0)
"""Percentiles between which colours and axes run: tails of a few noisy voxels are long."""
_LIMIT = 1.959963984540054
"""Standard deviations that hold 95 % of a Gaussian."""
_LONGEST_TITLE = 27


def draw_comparison(
    a: FloatArray,
    b: FloatArray,
    *,
    grid: VoxelGrid,
    quantity: str,
    unit: str = "",
    titles: tuple[str, str] = ("A", "B"),
    regions: Sequence[Region] = (),
    voxel: tuple[int, int, int],
    b_is_exact: bool = False,
) -> Figure:
    """Draw two maps, their difference, and the values of their voxels against each other.

    The lower right panel is that of J. M. Bland and D. G. Altman, Lancet 327 (1986) 307: the
    difference against the mean, with its own mean and the limits that hold 95 % of Gaussian
    differences. Against the mean with a truth, noise alone would show as a slope.

    Parameters
    ----------
    a, b : (nx, ny, nz) array
        The maps, NaN where one has no value.
    grid : VoxelGrid
        Where the voxels of both are.
    quantity : str
        What the maps are of, as on an axis.
    unit : str
        Behind it, with its brackets and a space before.
    titles : (str, str)
        Of the slices of A and B.
    regions : sequence of Region
        Outlined and numbered in the slices; their means are marked in the panels below.
    voxel : (i, j, k)
        The slices are the transverse ones through this voxel.
    b_is_exact : bool
        Whether B is a truth: differences stand against it then, not against the mean.

    Returns
    -------
    Figure
        Five panels.
    """
    extent = grid.high_mm - grid.low_mm
    upper = float(np.clip(2.35 * extent[1] / extent[0], 1.2, 4.5)) + 0.9
    figure = Figure(figsize=(_WIDTH, upper + _LOWER), layout="constrained")
    rows = GridSpec(2, 1, figure=figure, height_ratios=(upper, _LOWER))
    top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    both = np.isfinite(a) & np.isfinite(b)
    centres = grid.centres_mm()
    marks = []
    for n, region in enumerate(regions, start=1):
        inside = both & region.contains(centres).reshape(grid.shape)
        # The mean of nearly everything says nothing of a place.
        if 0 < np.count_nonzero(inside) <= 0.5 * np.count_nonzero(both):
            marks.append((n, float(a[inside].mean()), float(b[inside].mean())))
    _draw_slices(top, a, b, grid, f"{quantity}{unit}", titles, regions, voxel[2], marks)
    left, right = bottom.subplots(1, 2)
    _draw_scatter(left, a[both], b[both], marks, quantity, unit)
    _draw_differences(right, a[both], b[both], marks, quantity, unit, b_is_exact)
    return figure


def _draw_slices(
    figure: SubFigure,
    a: FloatArray,
    b: FloatArray,
    grid: VoxelGrid,
    label: str,
    titles: tuple[str, str],
    regions: Sequence[Region],
    k: int,
    marks: list[tuple[int, float, float]],
) -> None:
    panels = figure.subplots(1, 3, sharey=True)
    difference = a - b
    both = np.isfinite(difference)
    means = [x for _, *pair in marks for x in pair]
    norm = Normalize(*_range(np.concatenate([a[both], b[both]]), _COLOURED, means))
    apart = [x - y for _, x, y in marks]
    reach = max(abs(x) for x in _range(difference[both], _COLOURED, apart))
    drawn: list[AxesImage] = []
    level = f"{grid.axis_mm(2)[k]:.4g}".replace("-", "−")
    for axes, image, scale, colours, title in (
        (panels[0], a, norm, "viridis", titles[0]),
        (panels[1], b, norm, "viridis", titles[1]),
        (panels[2], difference, Normalize(-reach, reach), "RdBu_r", "A − B"),
    ):
        drawn.append(_draw_slice(axes, image[:, :, k], grid, scale, colours))
        for n, region in enumerate(regions, start=1):
            _draw_outline(axes, region, grid, k, str(n))
        axes.set_title(_short(title), fontsize=TEXT_SIZE)
        axes.set_xlabel("x [mm]", fontsize=TEXT_SIZE)
    panels[0].set_ylabel(f"y [mm], at z = {level} mm", fontsize=TEXT_SIZE)
    for shown, axes, text, aspect, shrink in (
        (drawn[0], list(panels[:2]), label, 44, 0.72),
        (drawn[2], panels[2], f"difference of {label}", 30, 1.0),
    ):
        bar = figure.colorbar(
            shown, ax=axes, location="bottom", extend="both", extendfrac=0.03, aspect=aspect,
            shrink=shrink, pad=0.03,
        )  # fmt: skip
        bar.set_label(text, size=TEXT_SIZE)
        bar.ax.tick_params(labelsize=TICK_SIZE)


def _short(title: str) -> str:
    """Return a title that fits above a slice: the end of a path says more than its start."""
    text = drawable(title, len(title))
    if len(text) <= _LONGEST_TITLE:
        return text
    head = text[:3]
    return f"{head}…{text[len(text) - _LONGEST_TITLE + 4 :]}"


def _draw_slice(
    axes: Axes, image: FloatArray, grid: VoxelGrid, norm: Normalize, colours: str
) -> AxesImage:
    low, high = grid.low_mm, grid.high_mm
    shown = axes.imshow(
        np.ma.masked_invalid(image.T),
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        interpolation="nearest",
        cmap=matplotlib.colormaps[colours],
        norm=norm,
        aspect="equal",
    )
    # What has no value shows the hatch behind the image, as in the report's maps.
    axes.patch.set(facecolor="#f6f6f6", edgecolor="#dcdcdc", hatch="////", linewidth=0)
    axes.locator_params(nbins=5, steps=[1, 2, 5, 10])
    axes.tick_params(labelsize=TICK_SIZE)
    return shown


def _draw_outline(axes: Axes, region: Region, grid: VoxelGrid, k: int, number: str) -> None:
    h, v = (np.linspace(grid.low_mm[i], grid.high_mm[i], _RASTER) for i in (0, 1))
    points = np.full((_RASTER, _RASTER, 3), grid.axis_mm(2)[k])
    points[..., 0], points[..., 1] = np.meshgrid(h, v)
    inside = region.contains(points.reshape(-1, 3)).reshape(_RASTER, _RASTER)
    if inside.all() or not inside.any():
        return
    lines = axes.contour(h, v, inside.astype(float), levels=[0.5], colors=INK, linewidths=0.7)
    lines.set_path_effects([withStroke(linewidth=1.8, foreground="white", alpha=0.85)])
    rows = np.flatnonzero(inside.any(axis=1))
    # Into the foot of a region that ends where the panel does.
    row = rows[0] if rows[-1] > 0.9 * _RASTER else rows[-1]
    axes.annotate(
        number,
        (float(h[inside[row]].mean()), float(v[row])),
        xytext=(0.0, 1.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=TICK_SIZE - 1,
        color=INK,
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
    )


def _range(
    values: FloatArray, percent: tuple[float, float], reached: Sequence[float] = ()
) -> tuple[float, float]:
    """Return ends that most values lie between, and all of ``reached``; never equal."""
    if not len(values):
        return 0.0, 1.0
    low, high = (float(p) for p in np.percentile(values, percent))
    low, high = min((low, *reached)), max((high, *reached))
    margin = max(0.03 * (high - low), 1e-6 * max(abs(low), abs(high)), 1e-12)
    return low - margin, high + margin


def _draw_cloud(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    """Draw the voxels as points, or their density where they are many."""
    if len(x) <= _MANY:
        axes.scatter(x, y, s=7, color=BLUE, alpha=0.35, linewidths=0, rasterized=True)
        return
    reach = (*axes.get_xlim(), *axes.get_ylim())
    axes.hexbin(
        x, y, gridsize=55, extent=reach, cmap="Blues", norm=LogNorm(vmin=0.4), mincnt=1,
        linewidths=0.0, rasterized=True,
    )  # fmt: skip


def _draw_marks(axes: Axes, marks: list[tuple[int, float, float]]) -> None:
    for n, x, y in marks:
        axes.plot(x, y, "o", markersize=5.5, color=VERMILLION, markeredgecolor="white", zorder=5)
        axes.annotate(
            str(n), (x, y), xytext=(4.0, 3.0 if n % 2 else -11.0), textcoords="offset points",
            color=VERMILLION, fontsize=TICK_SIZE, fontweight="bold", zorder=6,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
        )  # fmt: skip


def _note_outside(axes: Axes, x: FloatArray, y: FloatArray) -> None:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    n = int(np.count_nonzero((x < left) | (x > right) | (y < low) | (y > high)))
    voxels = f"{len(x):,} voxels" + (f", {n:,} beyond the axes" if n else "")
    axes.set_title(voxels, fontsize=TICK_SIZE, loc="right", color="#555555")


def _draw_scatter(
    axes: Axes,
    a: FloatArray,
    b: FloatArray,
    marks: list[tuple[int, float, float]],
    quantity: str,
    unit: str,
) -> None:
    means = [x for _, *pair in marks for x in pair]
    low, high = _range(np.concatenate([a, b]), _SHOWN, means)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    _draw_cloud(axes, b, a)
    axes.plot([low, high], [low, high], color=GREY, linewidth=1.0, zorder=3)
    _draw_marks(axes, [(n, y, x) for n, x, y in marks])
    axes.set_aspect("equal")
    axes.set_xlabel(f"{quantity} of B{unit}")
    axes.set_ylabel(f"{quantity} of A{unit}")
    _note_outside(axes, b, a)
    finish_axes(axes)


def _draw_differences(
    axes: Axes,
    a: FloatArray,
    b: FloatArray,
    marks: list[tuple[int, float, float]],
    quantity: str,
    unit: str,
    b_is_exact: bool,
) -> None:
    mean, difference = b if b_is_exact else 0.5 * (a + b), a - b
    centre, width = float(difference.mean()), float(difference.std())
    low, high = _range(difference, _SHOWN, [x - y for _, x, y in marks])
    reach = 1.35 * _LIMIT * width
    places = [y if b_is_exact else 0.5 * (x + y) for _, x, y in marks]
    left, right = _range(mean, (0.0, 100.0) if b_is_exact else _SHOWN, places)
    margin = 0.06 * (right - left) if b_is_exact else 0.0
    axes.set_xlim(left - margin, right + margin)
    axes.set_ylim(min(low, centre - reach), max(high, centre + reach))
    _draw_cloud(axes, mean, difference)
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=3)
    axes.axhline(centre, color=INK, linewidth=1.3, zorder=4)
    for side in (-1, 1):
        axes.axhline(
            centre + side * _LIMIT * width, color=INK, linewidth=1.0, linestyle="--", zorder=4
        )
    for y, text in (
        (centre - _LIMIT * width, f"−1.96 sd: {centre - _LIMIT * width:.3g}"),
        (centre, f"mean: {centre:.3g}"),
        (centre + _LIMIT * width, f"+1.96 sd: {centre + _LIMIT * width:.3g}"),
    ):
        axes.annotate(
            text.replace("-", "−"), (1.0, y), xycoords=("axes fraction", "data"),
            xytext=(-2.0, 2.0), textcoords="offset points", ha="right", va="bottom",
            fontsize=TICK_SIZE, color=INK, zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip
    _draw_marks(axes, [(n, y if b_is_exact else 0.5 * (x + y), x - y) for n, x, y in marks])
    axes.set_xlabel(
        f"{quantity} of B{unit}" if b_is_exact else f"mean of A and B, {quantity}{unit}"
    )
    axes.set_ylabel(f"A − B{unit}")
    _note_outside(axes, mean, difference)
    finish_axes(axes)
