"""Two maps side by side: their differences, over all voxels and region by region."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region
from psimg.imaging.region_values import (
    checked_image,
    mean,
    ratio,
    root_mean_square,
    sample_width,
    voxels_inside,
)

FloatArray = NDArray[np.float64]

ALL = "all voxels"
"""Name of the first row of a comparison."""
_SAME = 1e-3
"""Voxels by which two grids may differ and be one: NIfTI keeps places as float32."""
_COUNTS = ("n_both", "n_only_a", "n_only_b", "n_pull")
_NUMBERS = (
    "mean_a", "mean_b", "difference", "relative_difference", "spread", "rmse", "correlation",
    "pull_mean", "pull_width",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class MapComparison:
    """Two maps on the grid of the first: Q rows, all voxels and then the regions.

    All numbers but the counts are of the voxels with a value in both; NaN where there is none.
    """

    names: tuple[str, ...]
    """``all voxels``, then the regions."""
    n_both: NDArray[np.int64]
    """(Q,) voxels with a value in both."""
    n_only_a: NDArray[np.int64]
    """(Q,) voxels with a value in A alone."""
    n_only_b: NDArray[np.int64]
    """(Q,) voxels with a value in B alone."""
    mean_a: FloatArray
    """(Q,) mean of A."""
    mean_b: FloatArray
    """(Q,) mean of B."""
    difference: FloatArray
    """(Q,) mean of A - B."""
    relative_difference: FloatArray
    """(Q,) mean of A - B over the mean of B."""
    spread: FloatArray
    """(Q,) root of the mean square of A - B about its mean: the sd over voxels, with n."""
    rmse: FloatArray
    """(Q,) root of the mean square of A - B; rmse^2 = difference^2 + spread^2."""
    correlation: FloatArray
    """(Q,) Pearson's r over voxels; NaN of fewer than three, or where a map is constant."""
    n_pull: NDArray[np.int64]
    """(Q,) voxels with a pull."""
    pull_mean: FloatArray
    """(Q,) mean of (A - B) / error, the error that of both maps as if independent."""
    pull_width: FloatArray
    """(Q,) standard deviation of the same, with n - 1."""
    with_errors: tuple[str, ...]
    """``A``, ``B`` or both: the maps whose errors are in the pull."""
    resampled: bool
    """Whether B was interpolated onto A's grid."""
    grid: VoxelGrid
    """Grid of A."""
    b: FloatArray
    """(nx, ny, nz) B on A's grid."""

    def __post_init__(self) -> None:
        n = len(self.names)
        counts = dict.fromkeys(_COUNTS, (np.int64, n))
        numbers = dict.fromkeys(_NUMBERS, (np.float64, n))
        freeze(self, **counts, **numbers, b=(np.float64, *self.grid.shape))

    def __len__(self) -> int:
        return len(self.names)


def compare_maps(
    a: ArrayLike,
    b: ArrayLike,
    *,
    grid: VoxelGrid,
    grid_b: VoxelGrid | None = None,
    error_a: ArrayLike | None = None,
    error_b: ArrayLike | None = None,
    regions: Sequence[Region] = (),
) -> MapComparison:
    """Compare two maps of one quantity, voxel by voxel.

    The pull takes the errors of A and B as independent. Where both are from the same data, as two
    fits of one spectrum, their errors are common for the larger part: the difference is smaller
    than the pull supposes, and its width well below 1 says nothing of the errors. A map without
    errors, such as a truth, counts as exact.

    Parameters
    ----------
    a : (nx, ny, nz) array
        The first map, NaN where it has no value.
    b : (mx, my, mz) array
        The second; interpolated onto the grid of the first where its own is another.
    grid : VoxelGrid
        Where A's voxels are.
    grid_b : VoxelGrid, optional
        Where B's voxels are; those of A when left out.
    error_a, error_b : arrays, optional
        Standard errors, each on the grid of its map. Those of interpolated values are the errors of
        a weighted mean of independent voxels.
    regions : sequence of Region
        A row for each, with the voxels of A's grid whose centre is inside.

    Returns
    -------
    MapComparison
        Counts, differences, correlation and pulls.

    Raises
    ------
    DataError
        If an array is not of its grid's shape, the grids do not overlap, or no voxel has a value
        in both maps.
    """
    other = grid if grid_b is None else grid_b
    images = {"A": checked_image("A", a, grid), "B": checked_image("B", b, other)}
    errors = {}
    for name, error, own in (("A", error_a, grid), ("B", error_b, other)):
        if error is not None:
            errors[name] = checked_image(f"error of {name}", error, own)
    _require_overlap(grid, other)
    resampled = not same_grid(grid, other)
    if resampled:
        images["B"] = resample(images["B"], other, grid)
        if "B" in errors:
            errors["B"] = resample(errors["B"], other, grid, as_errors=True)
    n_a, n_b = (int(np.isfinite(image).sum()) for image in images.values())
    if not np.any(np.isfinite(images["A"]) & np.isfinite(images["B"])):
        raise DataError(
            f"no voxel has a value in both maps ({n_a:,} have one in A, {n_b:,} in B); compare "
            "maps of one object"
        )
    total = _total_error(images["A"], errors)
    places = [np.ones(grid.shape, np.bool_), *voxels_inside(regions, grid)]
    rows = [_row(images["A"][place], images["B"][place], total[place]) for place in places]
    columns = {key: np.array([row[key] for row in rows]) for key in (*_COUNTS, *_NUMBERS)}
    return MapComparison(
        names=(ALL, *(region.name for region in regions)),
        with_errors=tuple(errors),
        resampled=resampled,
        grid=grid,
        b=images["B"],
        **columns,
    )


def same_grid(a: VoxelGrid, b: VoxelGrid) -> bool:
    """Return whether two grids have the same voxels, up to the digits a file keeps."""
    if a.shape != b.shape:
        return False
    ends = np.stack([a.low_mm - b.low_mm, a.high_mm - b.high_mm])
    return bool(np.all(np.abs(ends) <= _SAME * np.asarray(a.voxel_mm)))


def resample(
    image: FloatArray, grid: VoxelGrid, onto: VoxelGrid, *, as_errors: bool = False
) -> FloatArray:
    """Interpolate an image linearly along each axis at the centres of another grid's voxels.

    Parameters
    ----------
    image : (nx, ny, nz) array
        The image, NaN where it has no value.
    grid : VoxelGrid
        Where its voxels are.
    onto : VoxelGrid
        The other grid.
    as_errors : bool
        Whether to return the errors of interpolated values from those of independent voxels: the
        root of the sum of (weight error)^2.

    Returns
    -------
    (mx, my, mz) float64 array
        NaN where one of up to eight neighbours that have a weight is NaN, and beyond the centres
        of the outermost voxels.
    """
    values = np.square(image) if as_errors else np.asarray(image, dtype=np.float64)
    for axis in range(3):
        place = (onto.axis_mm(axis) - grid.origin_mm[axis]) / grid.voxel_mm[axis]
        # A neighbour with the weight of a rounding error must not spread its NaN.
        place = np.where(np.abs(place - np.round(place)) < _SAME, np.round(place), place)
        below = np.floor(place)
        weight = place - below
        last = grid.shape[axis] - 1
        outside = (below < 0) | (place > last)
        low = np.clip(below, 0, last).astype(np.int64)
        high = np.minimum(low + 1, last)
        lower, upper = 1.0 - weight, weight
        if as_errors:
            lower, upper = lower**2, upper**2
        form = [1, 1, 1]
        form[axis] = -1
        part = np.take(values, low, axis=axis) * lower.reshape(form)
        more = np.take(values, high, axis=axis) * upper.reshape(form)
        has_weight = (weight > 0).reshape(form)
        values = np.where(outside.reshape(form), np.nan, part + np.where(has_weight, more, 0.0))
    return np.sqrt(values) if as_errors else values


def _require_overlap(a: VoxelGrid, b: VoxelGrid) -> None:
    if np.all((a.low_mm < b.high_mm) & (b.low_mm < a.high_mm)):
        return
    raise DataError(
        f"the grids do not overlap: A spans {_span(a)} mm and B {_span(b)} mm; compare maps in "
        "the same coordinates"
    )


def _span(grid: VoxelGrid) -> str:
    ends = zip(grid.low_mm, grid.high_mm, strict=True)
    return ", ".join(f"{low:g} to {high:g}" for low, high in ends)


def _total_error(image: FloatArray, errors: dict[str, FloatArray]) -> FloatArray:
    """Return the error of the difference; NaN where a map that has errors has none there."""
    if not errors:
        return np.full(image.shape, np.nan)
    return np.asarray(np.sqrt(sum(np.square(error) for error in errors.values())))


def _row(a: FloatArray, b: FloatArray, error: FloatArray) -> dict[str, float]:
    """Return the numbers of one row from the values of all its voxels."""
    in_a, in_b = np.isfinite(a), np.isfinite(b)
    both = in_a & in_b
    a, b, error = a[both], b[both], error[both]
    difference = a - b
    has_error = np.isfinite(error) & (error > 0)
    pull = difference[has_error] / error[has_error]
    shift = mean(difference)
    return {
        "n_both": len(a),
        "n_only_a": int((in_a & ~in_b).sum()),
        "n_only_b": int((in_b & ~in_a).sum()),
        "mean_a": mean(a),
        "mean_b": mean(b),
        "difference": shift,
        "relative_difference": ratio(shift, mean(b)),
        "spread": root_mean_square(difference - shift),
        "rmse": root_mean_square(difference),
        "correlation": _correlation(a, b),
        "n_pull": len(pull),
        "pull_mean": mean(pull),
        "pull_width": sample_width(pull),
    }


def _correlation(a: FloatArray, b: FloatArray) -> float:
    if len(a) < 3 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return math.nan
    u, v = a - a.mean(), b - b.mean()
    return float(u @ v / math.sqrt(float(u @ u) * float(v @ v)))
