"""How good an image is: bias, spread and contrast in regions, over one image or many repeats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region
from psimg.imaging.comparison import MapComparison, compare_maps, resample
from psimg.imaging.edge import EdgeResolution, blurred_ball, edge_resolution
from psimg.imaging.region_values import (
    checked_image,
    mean,
    ratio,
    root_mean_square,
    sample_width,
    truth_images,
    voxels_inside,
)

__all__ = [
    "ContrastRecovery",
    "EdgeResolution",
    "MapComparison",
    "RegionEvaluation",
    "ReplicateEvaluation",
    "blurred_ball",
    "compare_maps",
    "contrast_recovery",
    "edge_resolution",
    "evaluate_regions",
    "over_replicates",
    "resample",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RegionEvaluation:
    """An image against its truth, one entry per region; NaN where nothing has a value."""

    names: tuple[str, ...]
    n_voxel: NDArray[np.int64]
    """(R,) voxels with their centre inside that have a value and a truth."""
    n_missing: NDArray[np.int64]
    """(R,) voxels with their centre inside that lack one of the two."""
    mean: FloatArray
    """(R,) mean value."""
    true_mean: FloatArray
    """(R,) mean truth of the same voxels."""
    bias: FloatArray
    """(R,) mean of value - truth."""
    relative_bias: FloatArray
    """(R,) bias over the mean truth."""
    spread: FloatArray
    """(R,) root of the mean square of (value - truth) - bias: the sd over voxels, with n."""
    rmse: FloatArray
    """(R,) root of the mean square of value - truth; rmse^2 = bias^2 + spread^2."""
    mean_error: FloatArray
    """(R,) mean of the stated errors."""
    pull_mean: FloatArray
    """(R,) mean of (value - truth) / error."""
    pull_width: FloatArray
    """(R,) standard deviation of the same, with n - 1; 1 where errors are right and alone."""

    def __post_init__(self) -> None:
        n = len(self.names)
        freeze(
            self,
            n_voxel=(np.int64, n),
            n_missing=(np.int64, n),
            mean=(np.float64, n),
            true_mean=(np.float64, n),
            bias=(np.float64, n),
            relative_bias=(np.float64, n),
            spread=(np.float64, n),
            rmse=(np.float64, n),
            mean_error=(np.float64, n),
            pull_mean=(np.float64, n),
            pull_width=(np.float64, n),
        )

    def __len__(self) -> int:
        return len(self.names)


def evaluate_regions(
    image: ArrayLike,
    truth: ArrayLike,
    *,
    grid: VoxelGrid,
    regions: Sequence[Region],
    error: ArrayLike | None = None,
) -> RegionEvaluation:
    """Compare an image with the truth, region by region.

    Parameters
    ----------
    image : (nx, ny, nz) array
        The image, NaN where it has no value.
    truth : (nx, ny, nz) or (R,) array
        The true image, or one number per region.
    grid : VoxelGrid
        Where the voxels are.
    regions : sequence of Region
        A voxel belongs to each region that holds its centre.
    error : (nx, ny, nz) array, optional
        Stated standard errors; those that are not above zero count for no pull.

    Returns
    -------
    RegionEvaluation
        Bias, spread and RMSE over the voxels that have a value and a truth.

    Raises
    ------
    DataError
        If an array is not of the grid's shape, or the truth not of the regions' number.
    """
    values = checked_image("image", image, grid)
    errors = None if error is None else checked_image("error", error, grid)
    rows = [
        _evaluate(values[inside], true[inside], None if errors is None else errors[inside])
        for inside, true in zip(
            voxels_inside(regions, grid), truth_images(truth, grid, len(regions)), strict=True
        )
    ]
    columns = {key: np.array([row[key] for row in rows]) for key in _evaluate(*_NOTHING)}
    return RegionEvaluation(names=tuple(region.name for region in regions), **columns)


_NOTHING = (np.empty(0), np.empty(0), None)


def _evaluate(value: FloatArray, true: FloatArray, error: FloatArray | None) -> dict[str, float]:
    """Return the numbers of one region from the values of all voxels inside."""
    kept = np.isfinite(value) & np.isfinite(true)
    difference = (value - true)[kept]
    bias, true_mean = mean(difference), mean(true[kept])
    stated = np.full(len(difference), np.nan) if error is None else error[kept]
    has_error = np.isfinite(stated) & (stated > 0)
    pull = difference[has_error] / stated[has_error]
    return {
        "n_voxel": int(kept.sum()),
        "n_missing": int((~kept).sum()),
        "mean": mean(value[kept]),
        "true_mean": true_mean,
        "bias": bias,
        "relative_bias": ratio(bias, true_mean),
        "spread": root_mean_square(difference - bias),
        "rmse": root_mean_square(difference),
        "mean_error": mean(stated[has_error]),
        "pull_mean": mean(pull),
        "pull_width": sample_width(pull),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastRecovery:
    """How much of the true contrast of a region an image shows; 1 is all of it."""

    region_mean: float
    """Mean of the voxels inside the region."""
    background_mean: float
    """Mean of the voxels inside the background."""
    difference_recovery: float
    """Difference seen over true difference: the definition for a map of lifetimes."""
    ratio_recovery: float
    """Seen ratio - 1 over true ratio - 1: the definition of NEMA NU 2 for activity; NaN where a
    background is zero."""


def contrast_recovery(
    image: ArrayLike,
    *,
    grid: VoxelGrid,
    region: Region,
    background: Region,
    true_region: float,
    true_background: float,
) -> ContrastRecovery:
    """Find how much of a region's contrast an image shows.

    For a map of lifetimes: (C_h - C_b) / (true_h - true_b). A lifetime has no zero that is
    "nothing", so that a ratio of lifetimes means little. For activity, section 7 of NEMA NU 2-2018:
    (C_h / C_b - 1) / (true_h / true_b - 1). The two agree where C_b is right.

    Parameters
    ----------
    image : (nx, ny, nz) array
        The image, NaN where it has no value.
    grid : VoxelGrid
        Where the voxels are.
    region, background : Region
        What is looked at, and what it stands out from.
    true_region, true_background : float
        What the image would be inside them without noise and blur.

    Returns
    -------
    ContrastRecovery
        Both definitions.

    Raises
    ------
    DataError
        If the image is not of the grid's shape, or has no value inside one of the two.
    SettingsError
        If there is no true contrast.
    """
    values = checked_image("image", image, grid)
    if true_region == true_background:
        raise SettingsError(
            f"true_region and true_background are both {true_region:g}: there is no contrast"
        )
    seen = []
    for place, inside in zip(
        (region, background), voxels_inside((region, background), grid), strict=True
    ):
        found = values[inside & np.isfinite(values)]
        if not found.size:
            raise DataError(
                f"no voxel with a value has its centre in {place.name!r}; enlarge the region, or "
                "use smaller voxels"
            )
        seen.append(float(found.mean()))
    shown, behind = seen
    return ContrastRecovery(
        region_mean=shown,
        background_mean=behind,
        difference_recovery=(shown - behind) / (true_region - true_background),
        ratio_recovery=(ratio(shown, behind) - 1.0) / (ratio(true_region, true_background) - 1.0),
    )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ReplicateEvaluation:
    """Repeats of an image against their truth, one entry per region; NaN where nothing has a value.

    A region's mean is over the voxels that have a value in that repeat, and its deviation is that
    mean less the mean truth of the same voxels.
    """

    names: tuple[str, ...]
    n_repeat: NDArray[np.int64]
    """(R,) repeats with a value inside."""
    n_value: NDArray[np.int64]
    """(R,) values of voxels in all repeats together."""
    n_missing: NDArray[np.int64]
    """(R,) voxels without a value or a truth in all repeats together."""
    mean: FloatArray
    """(R,) mean over repeats of the region's mean."""
    bias: FloatArray
    """(R,) mean over repeats of the region's deviation."""
    bias_error: FloatArray
    """(R,) standard error of the bias."""
    relative_bias: FloatArray
    """(R,) bias over the mean truth."""
    spread: FloatArray
    """(R,) standard deviation between repeats of the region's deviation, with S - 1."""
    spread_error: FloatArray
    """(R,) standard error of the spread, for Gaussian repeats."""
    rmse: FloatArray
    """(R,) root of the mean square of the deviation; rmse^2 = bias^2 + spread^2 (S - 1) / S."""
    pull_mean: FloatArray
    """(R,) mean of (value - truth) / error over voxels and repeats."""
    pull_mean_error: FloatArray
    """(R,) its standard error, from the repeats: voxels of an image may be correlated."""
    pull_width: FloatArray
    """(R,) standard deviation of the same."""
    pull_width_error: FloatArray
    """(R,) its standard error, from the repeats."""

    def __post_init__(self) -> None:
        n = len(self.names)
        counts = dict.fromkeys(("n_repeat", "n_value", "n_missing"), (np.int64, n))
        others = dict.fromkeys(_REPLICATE_NUMBERS, (np.float64, n))
        freeze(self, **counts, **others)

    def __len__(self) -> int:
        return len(self.names)


_REPLICATE_NUMBERS = (
    "mean", "bias", "bias_error", "relative_bias", "spread", "spread_error", "rmse", "pull_mean",
    "pull_mean_error", "pull_width", "pull_width_error",
)  # fmt: skip


def over_replicates(
    images: ArrayLike,
    truth: ArrayLike,
    *,
    grid: VoxelGrid,
    regions: Sequence[Region],
    errors: ArrayLike | None = None,
) -> ReplicateEvaluation:
    """Compare repeats of an image with their truth, region by region.

    Parameters
    ----------
    images : (S, nx, ny, nz) array
        Independent repeats, NaN where one has no value.
    truth : (nx, ny, nz) or (R,) array
        The true image, or one number per region.
    grid : VoxelGrid
        Where the voxels are.
    regions : sequence of Region
        A voxel belongs to each region that holds its centre.
    errors : (S, nx, ny, nz) array, optional
        Stated standard errors; those that are not above zero count for no pull.

    Returns
    -------
    ReplicateEvaluation
        Bias, spread and RMSE of the regions' means, and pulls of the voxels. The errors of mean
        and width of the pulls leave out one repeat at a time (B. Efron and C. Stein, Ann.
        Statist. 9 (1981) 586, eq. 1.4).

    Raises
    ------
    DataError
        If there are fewer than two repeats, or an array has another shape than these.
    """
    stack = _checked_stack("images", images, grid)
    stated = None if errors is None else _checked_stack("errors", errors, grid)
    if len(stack) < 2:
        raise DataError(f"{len(stack)} repeat: a spread between repeats needs at least two")
    if stated is not None and stated.shape != stack.shape:
        raise DataError(f"{len(stack)} images but {len(stated)} images of errors")
    rows = [
        _evaluate_repeats(
            stack[:, inside], true[inside], None if stated is None else stated[:, inside]
        )
        for inside, true in zip(
            voxels_inside(regions, grid), truth_images(truth, grid, len(regions)), strict=True
        )
    ]
    keys = ("n_repeat", "n_value", "n_missing", *_REPLICATE_NUMBERS)
    columns = {key: np.array([row[key] for row in rows]) for key in keys}
    return ReplicateEvaluation(names=tuple(region.name for region in regions), **columns)


def _checked_stack(name: str, images: ArrayLike, grid: VoxelGrid) -> FloatArray:
    stack = np.asarray(images, dtype=np.float64)
    if stack.ndim != 4 or stack.shape[1:] != grid.shape:
        raise DataError(
            f"{name} has shape {list(stack.shape)}; expected repeats of {list(grid.shape)}"
        )
    return stack


def _evaluate_repeats(
    values: FloatArray, true: FloatArray, stated: FloatArray | None
) -> dict[str, float]:
    """Return the numbers of one region from the (S, V) values of all voxels inside."""
    kept = np.isfinite(values) & np.isfinite(true)
    n = kept.sum(axis=1)
    filled = n > 0
    means = np.where(kept, values, 0.0).sum(axis=1)[filled] / n[filled]
    true_means = np.where(kept, true, 0.0).sum(axis=1)[filled] / n[filled]
    deviation = means - true_means
    n_repeat = len(deviation)
    spread, bias = sample_width(deviation), mean(deviation)
    pulls = np.full(values.shape, np.nan)
    if stated is not None:
        np.divide(values - true, stated, out=pulls, where=kept & np.isfinite(stated) & (stated > 0))
    centre, centre_error, width, width_error = _pulls(pulls)
    return {
        "n_repeat": n_repeat,
        "n_value": int(n.sum()),
        "n_missing": int((~kept).sum()),
        "mean": mean(means),
        "bias": bias,
        "bias_error": spread / math.sqrt(max(n_repeat, 1)),
        "relative_bias": ratio(bias, mean(true_means)),
        "spread": spread,
        "spread_error": spread / math.sqrt(2 * max(n_repeat - 1, 1)),
        "rmse": root_mean_square(deviation),
        "pull_mean": centre,
        "pull_mean_error": centre_error,
        "pull_width": width,
        "pull_width_error": width_error,
    }


def _pulls(pulls: FloatArray) -> tuple[float, float, float, float]:
    """Return mean and width of (S, V) pulls, each with its error from leaving out a repeat."""
    kept = np.isfinite(pulls)
    everything = pulls[kept]
    centre, width = mean(everything), sample_width(everything)
    # About the mean, so that the sums of squares keep their digits.
    offset = np.where(kept, pulls - (0.0 if math.isnan(centre) else centre), 0.0)
    n = kept.sum(axis=1)
    rest = n.sum() - n[n > 0]
    if len(rest) < 2 or rest.min() < 2:
        return centre, math.nan, width, math.nan
    first, second = offset.sum(axis=1), (offset * offset).sum(axis=1)
    means = (first.sum() - first[n > 0]) / rest
    squares = (second.sum() - second[n > 0]) - rest * means * means
    widths = np.sqrt(np.maximum(squares, 0.0) / (rest - 1))
    return centre, _left_out(means), width, _left_out(widths)


def _left_out(estimates: FloatArray) -> float:
    """Return the jackknife error of what has these values with one repeat left out at a time."""
    n = len(estimates)
    return math.sqrt((n - 1) / n * float(np.sum((estimates - estimates.mean()) ** 2)))
