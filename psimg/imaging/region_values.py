"""What all evaluations of images share: checked images, voxels of regions, means of what is there.

An empty selection has the value NaN, never a warning.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def checked_image(name: str, image: ArrayLike, grid: VoxelGrid) -> FloatArray:
    """Return an image as float64; `DataError` if it is not of the grid's shape."""
    values = np.asarray(image, dtype=np.float64)
    if values.shape != grid.shape:
        raise DataError(
            f"{name} has shape {list(values.shape)} but its grid has {list(grid.shape)}; give "
            "the grid that it was made on"
        )
    return values


def voxels_inside(regions: Sequence[Region], grid: VoxelGrid) -> list[BoolArray]:
    """Return for each region the (nx, ny, nz) voxels whose centre is inside."""
    centres = grid.centres_mm()
    return [region.contains(centres).reshape(grid.shape) for region in regions]


def truth_images(truth: ArrayLike, grid: VoxelGrid, n_region: int) -> list[FloatArray]:
    """Return for each region the (nx, ny, nz) true image; one number per region is spread out."""
    values = np.asarray(truth, dtype=np.float64)
    if values.shape == grid.shape:
        return [values] * n_region
    if values.shape == (n_region,):
        return [np.broadcast_to(number, grid.shape) for number in values]
    raise DataError(
        f"truth has shape {list(values.shape)}; expected an image of {list(grid.shape)} or "
        f"{n_region} numbers, one per region"
    )


def mean(values: NDArray[Any]) -> float:
    """Return the mean; NaN of nothing."""
    return float(values.mean()) if values.size else math.nan


def root_mean_square(values: NDArray[Any]) -> float:
    """Return the root of the mean square; NaN of nothing."""
    return math.sqrt(float(np.mean(values * values))) if values.size else math.nan


def sample_width(values: NDArray[Any]) -> float:
    """Return the standard deviation with n - 1; NaN of fewer than two values."""
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def ratio(numerator: float, denominator: float) -> float:
    """Return the ratio; NaN over zero."""
    return numerator / denominator if denominator != 0 else math.nan
