"""Images of other grids on ours."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-3
"""Part of a voxel that counts as nothing: headers store float32."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Resampled:
    """An image on a grid that it was not measured on."""

    grid: VoxelGrid
    image: FloatArray
    """(nx, ny, nz) values."""
    covered: float
    """Share of the grid's volume that the source covers, 0 to 1."""

    def __post_init__(self) -> None:
        freeze(self, image=(np.float64, *self.grid.shape))


def resample_image(
    image: FloatArray, affine: FloatArray, grid: VoxelGrid, *, outside: float = 0.0
) -> Resampled:
    """Put an image on a grid.

    Along an axis on which its voxels are smaller than the grid's they are averaged, otherwise the
    image is linear between their centres. A voxel that the image covers in part has that share of
    it and ``outside`` for the rest. With axes along the grid's (in any order and direction) the
    averages are exact; turned against them, they are those of points inside each voxel.

    Parameters
    ----------
    image : (mx, my, mz) array
        The source; a NaN makes NaN of the voxels that it is part of.
    affine : (4, 4) array
        From the source's voxel indices to the centre of the voxel [mm].
    grid : VoxelGrid
        Where the image is wanted.
    outside : float
        Value beyond the source.

    Returns
    -------
    Resampled
        The image on the grid and how much of the grid the source covers.

    Raises
    ------
    DataError
        If the source and the grid do not overlap, or the source is no image of three axes.
    """
    source = np.asarray(image, dtype=np.float64)
    if source.ndim != 3 or source.size == 0:
        raise DataError(f"image has shape {source.shape}, expected three axes")
    if np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise DataError("the affine of the image takes its voxels to a plane; mend its header")
    to_source = np.linalg.inv(affine) @ grid.affine
    order = _order(to_source)
    if order is None:
        inside, share = _sample(source, to_source, grid.shape)
    else:
        inside, share = _average(source, to_source, order, grid.shape)
    covered = float(share.mean())
    if covered == 0.0:
        low, high = _box(affine, source.shape)
        raise DataError(
            f"the image and the grid do not overlap: the image spans {_span(low, high)} and the "
            f"grid {_span(grid.low_mm, grid.high_mm)}; check that both are in scanner coordinates"
        )
    values = np.where(share > 0, share * inside + (1.0 - share) * outside, outside)
    return Resampled(grid=grid, image=values, covered=covered)


def describe_difference(grid: VoxelGrid, affine: FloatArray, shape: tuple[int, ...]) -> str:
    """Say in what an image's voxels differ from a grid's; nothing if they are the same.

    Parameters
    ----------
    grid : VoxelGrid
        The grid.
    affine : (4, 4) array
        From the image's voxel indices to the centre of the voxel [mm].
    shape : tuple of int
        The image's shape.

    Returns
    -------
    str
        Such as "voxels of 2 x 2 x 3 mm, not 4 x 4 x 4"; empty if nothing differs.
    """
    size = np.asarray(grid.voxel_mm)
    own = np.linalg.norm(affine[:3, :3], axis=0)
    words = []
    if tuple(shape) != tuple(grid.shape):
        words.append(f"shape {_times(shape)}, not {_times(grid.shape)}")
    if np.any(np.abs(own - size) > _ROUNDING * size):
        words.append(f"voxels of {_times(own)} mm, not {_times(size)}")
    if np.any(np.abs(affine[:3, 3] - grid.origin_mm) > _ROUNDING * size):
        origin = ", ".join(f"{value:g}" for value in affine[:3, 3])
        wanted = ", ".join(f"{value:g}" for value in grid.origin_mm)
        words.append(f"first voxel at ({origin}) mm, not ({wanted})")
    turn = affine[:3, :3] / np.where(own > 0, own, 1.0)
    if np.any(np.abs(turn - np.eye(3)) > _ROUNDING):
        words.append(f"axes along {_directions(turn)}, not +x, +y, +z")
    return "; ".join(words)


def _directions(turn: FloatArray) -> str:
    """Name the direction of each column: an axis, or a vector if it is along none."""
    words = []
    for column in turn.T:
        axis = int(np.abs(column).argmax())
        if abs(column[axis]) > 1.0 - 0.5 * _ROUNDING**2:
            words.append(("-" if column[axis] < 0 else "+") + "xyz"[axis])
        else:
            words.append("(" + ", ".join(f"{value:.3f}" for value in column) + ")")
    return ", ".join(words)


def _times(values: NDArray[np.float64] | tuple[int, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _span(low: FloatArray, high: FloatArray) -> str:
    parts = zip("xyz", low, high, strict=True)
    return ", ".join(f"{axis} {a:g} to {b:g}" for axis, a, b in parts) + " mm"


def _box(affine: FloatArray, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    ends = itertools.product(*((-0.5, n - 0.5) for n in shape))
    corners = np.array(list(ends)) @ affine[:3, :3].T + affine[:3, 3]
    return corners.min(axis=0), corners.max(axis=0)


def _order(to_source: FloatArray) -> list[int] | None:
    """Return the axis of the source along each axis of the grid, None if it is turned."""
    matrix = np.abs(to_source[:3, :3])
    order = [int(axis) for axis in matrix.argmax(axis=0)]
    rest = matrix.copy()
    rest[order, range(3)] = 0.0
    straight = len(set(order)) == 3 and rest.max() <= _ROUNDING * matrix[order, range(3)].min()
    return order if straight else None


def _average(
    source: FloatArray, to_source: FloatArray, order: list[int], shape: tuple[int, int, int]
) -> tuple[FloatArray, FloatArray]:
    """Average axis by axis; return the mean of what is covered and the share that is."""
    values = source.transpose(order)
    share = np.ones(shape)
    for axis, own in enumerate(order):
        centre = to_source[own, 3] + to_source[own, axis] * np.arange(shape[axis])
        weights, part = _weights(centre, abs(to_source[own, axis]), source.shape[own])
        moved = np.moveaxis(values, axis, 0)
        mixed = weights @ moved.reshape(len(moved), -1)
        values = np.moveaxis(mixed.reshape(-1, *moved.shape[1:]), 0, axis)
        share *= np.expand_dims(part, [a for a in range(3) if a != axis])
    return values, share


def _weights(centre: FloatArray, width: float, n: int) -> tuple[sparse.csr_array, FloatArray]:
    """Return (G, n) weights of a row of voxels and (G,) the share of each that the row covers.

    centre : (G,) and width of the voxels wanted, in voxels of the row.
    """
    low = np.clip(centre - 0.5 * width + 0.5, 0.0, n)
    high = np.clip(centre + 0.5 * width + 0.5, 0.0, n)
    part = (high - low) / width
    part = np.where(part > 1.0 - _ROUNDING, 1.0, np.where(part < _ROUNDING, 0.0, part))
    if width < 1.0:
        at = np.clip(centre, 0.0, n - 1.0)
        low, high = at, at + 1.0
    rows, columns, weights = [], [], []
    for row in np.flatnonzero(part):
        index = np.arange(int(low[row]), min(math.ceil(high[row]), n))
        overlap = np.minimum(high[row], index + 1.0) - np.maximum(low[row], index)
        rows.append(np.full(len(index), row))
        columns.append(index)
        weights.append(overlap / overlap.sum())
    if not rows:
        return sparse.csr_array((len(centre), n)), part
    where = (np.concatenate(rows), np.concatenate(columns))
    matrix = sparse.csr_array((np.concatenate(weights), where), shape=(len(centre), n))
    return matrix, part


def _sample(
    source: FloatArray, to_source: FloatArray, shape: tuple[int, int, int]
) -> tuple[FloatArray, FloatArray]:
    """Average points inside each voxel; return the mean of those covered and their share."""
    # As many points along an axis of the grid as source voxels fit in one of its voxels.
    counts = np.ceil(np.linalg.norm(to_source[:3, :3], axis=0) - _ROUNDING).astype(int)
    counts = np.maximum(counts, 1)
    centre = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    total, n_inside = np.zeros(centre.shape[1]), np.zeros(centre.shape[1])
    limit = np.array(source.shape)[:, None] - 0.5
    for point in itertools.product(*map(range, counts)):
        shift = (np.array(point) + 0.5) / counts - 0.5
        index = to_source[:3, :3] @ (centre + shift[:, None]) + to_source[:3, 3:]
        inside = np.all((index >= -0.5) & (index < limit), axis=0)
        value = ndimage.map_coordinates(source, index[:, inside], order=1, mode="nearest")
        total[inside] += value
        n_inside += inside
    mean = total / np.maximum(n_inside, 1)
    return mean.reshape(shape), (n_inside / counts.prod()).reshape(shape)
