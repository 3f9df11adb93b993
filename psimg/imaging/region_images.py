"""Known regions as images, and what each of them sends into the lines of events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.imaging.list_mode import ListMode, require_fine_voxels
from psimg.imaging.projector import Projector, to_field

FloatArray = NDArray[np.float64]

FINEST_MM = 2.5
"""Voxels of regions are at most this large [mm]."""
_N_POINT = 5
"""Points a side that a voxel at a region's surface is looked at."""
_MOST_POINTS = 4_000_000
"""Points looked at in one go."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RegionImage:
    """A region on a grid of its own, which is cut from finer voxels of the data's grid."""

    name: str
    grid: VoxelGrid
    first: tuple[int, int, int]
    """Its voxel (0, 0, 0) among the finer voxels of the data's grid."""
    inside: NDArray[np.float32]
    """(nx, ny, nz) share of each voxel that belongs to the region and to no smaller one."""

    @property
    def volume_mm3(self) -> float:
        """What belongs to the region [mm3]."""
        return float(self.inside.sum(dtype=np.float64) * np.prod(self.grid.voxel_mm))


def refinement(grid: VoxelGrid) -> int:
    """Return how many voxels of regions there are along each side of a voxel of the data."""
    return int(np.ceil(max(grid.voxel_mm) / FINEST_MM - 1e-9))


def draw_regions(
    regions: Sequence[Region], grid: VoxelGrid, *, resolution_mm: float
) -> list[RegionImage]:
    """Draw regions; where they overlap, space belongs to the smallest.

    Parameters
    ----------
    regions : sequence of Region
        The regions.
    grid : VoxelGrid
        The data's grid; what lies outside belongs to no region.
    resolution_mm : float
        Full width at half maximum of the resolution that there must be room for around each [mm].

    Raises
    ------
    SettingsError
        If a region is outside the grid, or nothing of it is left beside smaller ones.
    """
    fine = _finer(grid, refinement(grid))
    whole = [_draw(region, fine, resolution_mm) for region in regions]
    drawn = list(whole)
    rank = volume_rank([image.volume_mm3 for image in whole])
    for r, region in enumerate(regions):
        smaller = [
            regions[s]
            for s in range(len(regions))
            if rank[s] < rank[r] and _meet(whole[r], whole[s])
        ]
        if smaller:
            drawn[r] = _draw(region, fine, resolution_mm, smaller)
        if not drawn[r].volume_mm3 > 0:
            raise SettingsError(
                f"nothing is left of region {region.name!r}: smaller regions, or an equal one "
                "before it, hold all of it; remove one of them"
            )
    return drawn


def volume_rank(volumes: Sequence[float] | FloatArray) -> NDArray[np.int64]:
    """Return the place of each volume among all, the smallest first; equal ones in their order."""
    rank = np.empty(len(volumes), np.int64)
    rank[np.argsort(volumes, kind="stable")] = np.arange(len(volumes))
    return rank


def project_region(
    image: RegionImage,
    events: ListMode,
    *,
    resolution_mm: float,
    sensitivity: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return (N,) what one triplet of a uniformly active region sends into each line.

    Parameters
    ----------
    image : RegionImage
        The region.
    events : ListMode
        The events, on the data's grid.
    resolution_mm : float
        Full width at half maximum of the resolution in image space [mm].
    sensitivity : (nx, ny, nz) array, optional
        Relative chance that a triplet is seen, on the data's grid.
    """
    factor = refinement(events.grid)
    sent = image.inside.astype(np.float64)
    if sensitivity is not None:
        index = [
            np.clip((np.arange(n) + start) // factor, 0, size - 1)
            for n, start, size in zip(image.grid.shape, image.first, events.grid.shape, strict=True)
        ]
        sent *= sensitivity[np.ix_(*index)]
    sent /= sent.sum()
    projector = Projector(_moved(events, image, factor), resolution_mm=resolution_mm)
    # H counts voxels of its own grid: an event is that much denser in larger ones.
    return projector.project(to_field((sent * factor**3).astype(np.float32), image.grid))


def outside_regions(images: Sequence[RegionImage], grid: VoxelGrid) -> FloatArray:
    """Return the (nx, ny, nz) share of each voxel of the data's grid that is in no region."""
    factor = refinement(grid)
    covered = np.zeros(grid.shape)
    for image in images:
        index = [
            (np.arange(n) + start) // factor
            for n, start in zip(image.grid.shape, image.first, strict=True)
        ]
        used = [(i >= 0) & (i < n) for i, n in zip(index, grid.shape, strict=True)]
        part = image.inside[np.ix_(*used)]
        index = [i[u] for i, u in zip(index, used, strict=True)]
        np.add.at(covered, np.ix_(*index), part / factor**3)
    return np.clip(1.0 - covered, 0.0, 1.0)


def _finer(grid: VoxelGrid, factor: int) -> VoxelGrid:
    x, y, z = (np.asarray(grid.voxel_mm) / factor).tolist()
    low = grid.low_mm
    nx, ny, nz = grid.shape
    return VoxelGrid(
        shape=(nx * factor, ny * factor, nz * factor),
        voxel_mm=(x, y, z),
        origin_mm=(float(low[0] + x / 2), float(low[1] + y / 2), float(low[2] + z / 2)),
    )


def _moved(events: ListMode, image: RegionImage, factor: int) -> ListMode:
    """Return the same events on a region's grid, in the same order.

    Both grids have voxels of the same shape, so that slopes are what they were; the planes that
    only a transpose needs are left empty.
    """
    require_fine_voxels(image.grid, events.sigma_mm)
    point = (events.point - np.float32(0.5)) * np.float32(factor)
    point += np.float32(0.5) - np.asarray(image.first, np.float32)
    nothing = np.zeros_like(events.first_plane)
    return replace(events, grid=image.grid, point=point, first_plane=nothing, stop_plane=nothing)


def _cut(
    region: Region, fine: VoxelGrid, margin_mm: float
) -> tuple[VoxelGrid, tuple[int, int, int]]:
    """Return the part of a grid around a region, with a margin that may reach beyond the grid."""
    low, high = region.bounds_mm
    size = np.asarray(fine.voxel_mm)
    if np.any(high <= fine.low_mm) or np.any(low >= fine.high_mm):
        raise SettingsError(f"region {region.name!r} lies outside the grid; move or enlarge [grid]")
    low, high = np.maximum(low, fine.low_mm), np.minimum(high, fine.high_mm)
    margin = np.ceil(margin_mm / size).astype(int) + 1
    first = np.floor((low - fine.low_mm) / size).astype(int) - margin
    stop = np.ceil((high - fine.low_mm) / size).astype(int) + margin
    x, y, z = (stop - first).tolist()
    origin = np.asarray(fine.origin_mm) + first * size
    grid = VoxelGrid(shape=(x, y, z), voxel_mm=fine.voxel_mm, origin_mm=tuple(origin.tolist()))
    i, j, k = first.tolist()
    return grid, (i, j, k)


def _draw(
    region: Region, fine: VoxelGrid, resolution_mm: float, smaller: Sequence[Region] = ()
) -> RegionImage:
    grid, first = _cut(region, fine, 3.5 * resolution_mm / FWHM_PER_SIGMA)
    share = _shares(region, smaller, grid)
    for axis, (n, start, size) in enumerate(zip(grid.shape, first, fine.shape, strict=True)):
        index = np.arange(n) + start
        outside = (index < 0) | (index >= size)
        np.moveaxis(share, axis, 0)[outside] = 0.0
    image = RegionImage(name=region.name, grid=grid, first=first, inside=share)
    if not smaller and not image.volume_mm3 > 0:
        raise SettingsError(
            f"region {region.name!r} holds nothing of the grid; move it, or enlarge [grid]"
        )
    return image


def _shares(region: Region, smaller: Sequence[Region], grid: VoxelGrid) -> NDArray[np.float32]:
    """Return the share of each voxel inside; only voxels at the surface are looked at closely."""
    from scipy.ndimage import maximum_filter, minimum_filter

    centres = grid.centres_mm()
    middle = np.zeros((1, 3))
    share = _share_of_points(region, smaller, centres, middle, grid).reshape(grid.shape)
    if share.any():
        near = np.flatnonzero(maximum_filter(share, 3) != minimum_filter(share, 3))
    else:
        near = np.arange(grid.n_voxel)
    offset = ((np.arange(_N_POINT) + 0.5) / _N_POINT - 0.5)[:, None] * np.asarray(grid.voxel_mm)
    points = np.stack(
        np.meshgrid(offset[:, 0], offset[:, 1], offset[:, 2], indexing="ij"), axis=-1
    ).reshape(-1, 3)
    flat, step = share.reshape(-1), max(1, _MOST_POINTS // len(points))
    for start in range(0, len(near), step):
        rows = near[start : start + step]
        flat[rows] = _share_of_points(region, smaller, centres[rows], points, grid)
    return share


def _share_of_points(
    region: Region,
    smaller: Sequence[Region],
    centres: FloatArray,
    points: FloatArray,
    grid: VoxelGrid,
) -> NDArray[np.float32]:
    """Return the (M,) share of points about each centre in a region and in no smaller one."""

    def inside(of: Region, about: FloatArray) -> NDArray[np.bool_]:
        found = of.contains((about[:, None] + points).reshape(-1, 3))
        return found.reshape(len(about), len(points))

    found = inside(region, centres)
    for other in smaller:
        low, high = other.bounds_mm
        reached = (centres >= low - grid.voxel_mm) & (centres <= high + grid.voxel_mm)
        rows = np.flatnonzero(reached.all(axis=1))
        found[rows] &= ~inside(other, centres[rows])
    return np.asarray(found.mean(axis=1), np.float32)


def _meet(a: RegionImage, b: RegionImage) -> bool:
    """Whether the grids of two regions overlap."""
    low = np.maximum(a.first, b.first)
    high = np.minimum(np.add(a.first, a.grid.shape), np.add(b.first, b.grid.shape))
    return bool(np.all(low < high))
