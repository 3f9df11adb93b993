"""Slices of maps: three planes through one voxel, with the outlines of the regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region
from psimg.report.drawing import INK, TEXT_SIZE, TICK_SIZE, TITLE_SIZE

FloatArray = NDArray[np.float64]

_PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
"""Horizontal and vertical axis of each slice, and the axis it is cut across."""
_NAMES = "xyz"
_RASTER = 240
"""Points along each side of the box in which a region's outline is sought."""
_COLOURS = {
    "count": "gray_r",
    "amount": "magma_r",
    "error": "magma_r",
    "value": "viridis",
    "ratio": "viridis",
}
"""All perceptually uniform; what starts at zero starts light, so that paper stays paper."""
_WIDTH, _TALLEST = 8.4, 4.2
"""Of the figure, and of its tallest panel [inch]."""
_LEFT, _BETWEEN, _TO_BAR, _BAR, _RIGHT = 0.66, 0.7, 0.2, 0.17, 1.05
"""Widths beside the panels; the colour bar lies within the last [inch]."""
_BELOW, _ABOVE = 0.58, 0.66
"""Heights for labels and titles [inch]."""
_FRAME = 0.6


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class MapImage:
    """One map as drawn."""

    name: str
    """Name of the file in ``maps/``."""
    title: str
    label: str
    """Of the colour bar, with the unit."""
    image: FloatArray
    """(nx, ny, nz) NaN where there is no value."""
    errors: FloatArray | None = None
    """(nx, ny, nz) standard errors; they keep noise from filling the colour scale."""
    scale: Literal["count", "amount", "error", "value", "ratio"]
    """``count`` and ``amount`` run from zero to their largest, ``error`` to most of its values; a
    ``value`` spans its noise with room to spare; a ``ratio`` is about one."""
    least_span: float = 0.0
    """Smallest difference that a ``value``'s colours span."""
    by_region: bool = False
    """Whether voxels have the values of some regions: a ``value``'s colours then reach all."""

    reached: tuple[float, ...] = ()
    """What the colours of a ``value`` or an ``error`` must reach: the medians in regions, which
    voxels of a small one would not set."""

    def __post_init__(self) -> None:
        shape = np.shape(self.image)
        freeze(self, image=(np.float64, *shape), errors=(np.float64, *shape))


def find_slices(counts: NDArray[np.uint32] | NDArray[np.floating]) -> tuple[int, int, int]:
    """Return the voxel through which to cut: along each axis, the plane with the most events.

    Of planes that equal it within its Poisson noise, the one nearest to the centre of all events.
    """
    if not counts.any():
        nx, ny, nz = counts.shape
        return nx // 2, ny // 2, nz // 2
    planes = []
    for axis in range(3):
        across = tuple(a for a in range(3) if a != axis)
        events = counts.sum(axis=across, dtype=np.float64)
        centre = float(np.average(np.arange(len(events)), weights=events))
        close = np.flatnonzero(events >= events.max() - 2.0 * np.sqrt(events.max()))
        planes.append(int(close[np.argmin(np.abs(close - centre))]))
    return planes[0], planes[1], planes[2]


def draw_slices(
    drawn: MapImage,
    *,
    grid: VoxelGrid,
    regions: Sequence[Region] = (),
    voxel: tuple[int, int, int],
    number_regions: bool = False,
) -> Figure:
    """Draw three orthogonal slices of a map through one voxel.

    Parameters
    ----------
    drawn : MapImage
        The map and how to colour it.
    grid : VoxelGrid
        Where its voxels are.
    regions : sequence of Region
        Outlined where they meet a slice.
    voxel : (i, j, k)
        The voxel through which to cut.
    number_regions : bool
        Whether to write each region's number, from 1, above its outline.

    Returns
    -------
    Figure
        Three panels on one scale in mm, and a colour bar.
    """
    figure, panels, bar_axes = _lay_out(grid)
    norm, extend = _colours(drawn)
    shown: list[AxesImage] = []
    for axes, plane in zip(panels, _PLANES, strict=True):
        shown.append(_draw_plane(axes, drawn, grid, plane, voxel, norm))
        for n, region in enumerate(regions, start=1):
            _draw_outline(axes, region, grid, plane, voxel, n if number_regions else None)
    ticks = MaxNLocator(nbins=6, integer=drawn.scale == "count")
    bar = figure.colorbar(shown[0], cax=bar_axes, extend=extend, extendfrac=0.035, ticks=ticks)
    bar.set_label(drawn.label, size=TEXT_SIZE)
    bar_axes.tick_params(labelsize=TICK_SIZE)
    for spine in bar_axes.spines.values():
        spine.set_linewidth(_FRAME)
    _draw_typical_error(bar_axes, drawn)
    _put_title(figure, drawn.title)
    return figure


def _lay_out(grid: VoxelGrid) -> tuple[Figure, list[Axes], Axes]:
    """Return a figure with three panels of one scale in mm and a place for the colour bar."""
    extent = grid.high_mm - grid.low_mm
    # A panel of a grid of few voxels keeps room for its labels.
    widths, heights = (
        np.maximum(extent[[plane[a] for plane in _PLANES]], 0.2 * extent.max()) for a in (0, 1)
    )
    free = _WIDTH - _LEFT - 2 * _BETWEEN - _RIGHT
    inch_per_mm = min(free / widths.sum(), _TALLEST / heights.max())
    widths, heights = widths * inch_per_mm, heights * inch_per_mm
    height = _BELOW + float(heights.max()) + _ABOVE
    figure = Figure(figsize=(_WIDTH, height))
    panels, x = [], _LEFT
    for w, h in zip(widths, heights, strict=True):
        box = (x / _WIDTH, _BELOW / height, w / _WIDTH, h / height)
        panels.append(figure.add_axes(box))
        x += w + _BETWEEN
    x += _TO_BAR - _BETWEEN
    bar = (x / _WIDTH, _BELOW / height, _BAR / _WIDTH, float(heights.max()) / height)
    return figure, panels, figure.add_axes(bar)


def _put_title(figure: Figure, title: str) -> None:
    y = 1.0 - 0.1 / figure.get_figheight()
    figure.suptitle(
        title, x=0.1 / _WIDTH, y=y, ha="left", va="top", fontsize=TITLE_SIZE, fontweight="bold"
    )


def _draw_plane(
    axes: Axes,
    drawn: MapImage,
    grid: VoxelGrid,
    plane: tuple[int, int, int],
    voxel: tuple[int, int, int],
    norm: Normalize,
) -> AxesImage:
    across, up, cut = plane
    image = np.take(drawn.image, voxel[cut], axis=cut)
    low, high = grid.low_mm, grid.high_mm
    shown = axes.imshow(
        np.ma.masked_invalid(image.T),
        origin="lower",
        extent=(low[across], high[across], low[up], high[up]),
        interpolation="nearest",
        cmap=matplotlib.colormaps[_COLOURS[drawn.scale]],
        norm=norm,
        aspect="equal",
    )
    # What has no value shows the hatch behind the image.
    axes.patch.set(facecolor="#f6f6f6", edgecolor="#dcdcdc", hatch="////", linewidth=0)
    axes.set_xlabel(f"{_NAMES[across]} [mm]", fontsize=TEXT_SIZE)
    axes.set_ylabel(f"{_NAMES[up]} [mm]", fontsize=TEXT_SIZE, labelpad=1)
    level = f"{grid.axis_mm(cut)[voxel[cut]]:.4g}".replace("-", "−")
    axes.set_title(f"{_NAMES[cut]} = {level} mm", fontsize=TEXT_SIZE)
    axes.locator_params(nbins=5, steps=[1, 2, 5, 10])
    axes.tick_params(labelsize=TICK_SIZE)
    for spine in axes.spines.values():
        spine.set_linewidth(_FRAME)
    return shown


def _draw_outline(
    axes: Axes,
    region: Region,
    grid: VoxelGrid,
    plane: tuple[int, int, int],
    voxel: tuple[int, int, int],
    number: int | None,
) -> None:
    across, up, cut = plane
    low, high = region.bounds_mm
    level = float(grid.axis_mm(cut)[voxel[cut]])
    if not low[cut] <= level <= high[cut]:
        return
    # A little beyond the region, so that its outline closes.
    margin = 0.02 * np.where(np.isfinite(high - low), high - low, 0.0)
    low, high = np.maximum(low - margin, grid.low_mm), np.minimum(high + margin, grid.high_mm)
    if low[across] >= high[across] or low[up] >= high[up]:
        return
    h, v = (np.linspace(low[a], high[a], _RASTER) for a in (across, up))
    points = np.full((_RASTER, _RASTER, 3), level)
    points[..., across], points[..., up] = np.meshgrid(h, v)
    inside = region.contains(points.reshape(-1, 3)).reshape(_RASTER, _RASTER)
    if inside.all() or not inside.any():
        return
    lines = axes.contour(h, v, inside.astype(float), levels=[0.5], colors=INK, linewidths=0.7)
    lines.set_path_effects([withStroke(linewidth=1.8, foreground="white", alpha=0.85)])
    if number is not None:
        _put_number(axes, number, h, v, inside)


def _put_number(
    axes: Axes, number: int, h: FloatArray, v: FloatArray, inside: NDArray[np.bool_]
) -> None:
    """Write a region's number above its outline, or into its foot where the panel ends above."""
    rows = np.flatnonzero(inside.any(axis=1))
    low, high = axes.get_ylim()
    reaches_top = v[rows[-1]] > high - 0.1 * (high - low)
    row = rows[0] if reaches_top else rows[-1]
    axes.annotate(
        str(number),
        (float(h[inside[row]].mean()), float(v[row])),
        xytext=(0.0, 2.0),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=TICK_SIZE,
        color=INK,
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
    )


def _colours(drawn: MapImage) -> tuple[Normalize, Literal["neither", "min", "max", "both"]]:
    """Return the colour scale, and at which ends values lie beyond it."""
    low, high = colour_limits(drawn)
    values = drawn.image[np.isfinite(drawn.image)]
    beyond = bool((values < low).any()), bool((values > high).any())
    extend: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]] = {
        (False, False): "neither",
        (True, False): "min",
        (False, True): "max",
        (True, True): "both",
    }
    return Normalize(low, high), extend[beyond]


def colour_limits(drawn: MapImage) -> tuple[float, float]:
    """Return the ends of the colour scale.

    A few outliers do not set them. The scale of a ``value`` reaches at least three median errors
    to both sides, so that noise alone never runs through all its colours.
    """
    values = drawn.image[np.isfinite(drawn.image)]
    if not len(values):
        return 0.0, 1.0
    if drawn.scale in ("count", "amount"):
        high = float(values.max())
        return 0.0, high if high > 1.0 or (drawn.scale == "amount" and high > 0.0) else 1.0
    if drawn.scale == "error":
        high = max((float(np.percentile(values, 95)), *drawn.reached))
        return 0.0, high if high > 0 else 1.0
    if drawn.scale == "ratio":
        low, high = np.percentile(values, (1, 99))
        return min(float(low), 0.9), max(float(high), 1.1)
    half = 0.5 * drawn.least_span
    if drawn.by_region:
        # None is an outlier, however few voxels it has.
        middle = 0.5 * float(values.min() + values.max())
        half = max(half, 3.0 * _typical_error(drawn), middle - float(values.min()))
        return max(0.0, middle - half), middle + half
    if drawn.errors is not None:
        errors = drawn.errors[np.isfinite(drawn.image)]
        typical = _typical_error(drawn)
        half = max(half, 3.0 * typical)
        values = values[errors <= typical] if np.any(errors <= typical) else values
    low, middle, high = (float(p) for p in np.percentile(values, (2, 50, 98)))
    # Where a region lies beyond what voxels set, that end alone moves.
    half = max(half, middle - low, high - middle)
    low, high = min((middle - half, *drawn.reached)), max((middle + half, *drawn.reached))
    return max(0.0, low), high


def _typical_error(drawn: MapImage) -> float:
    """Return the median standard error; 0 where there is none."""
    if drawn.errors is None:
        return 0.0
    errors = drawn.errors[np.isfinite(drawn.image) & np.isfinite(drawn.errors)]
    return float(np.median(errors)) if len(errors) else 0.0


def _draw_typical_error(axes: Axes, drawn: MapImage) -> None:
    """Draw the median error on the colour bar of a ``value``."""
    typical = _typical_error(drawn)
    if drawn.scale != "value" or not typical > 0:
        return
    low, high = colour_limits(drawn)
    axes.errorbar(
        0.5, 0.5 * (low + high), yerr=typical, fmt="none", color="white", capsize=3, linewidth=1.4
    )
