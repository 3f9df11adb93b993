"""Events in the order and the numbers that the projector wants."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.settings import require_positive
from psimg.imaging import _sorting
from psimg.imaging._projector import CUT, MOST_PLANES

IntArray = NDArray[np.int64]

_N_BLOCK = 8
"""Blocks that events are split into along z: more than cores share out evenly, and each needs an
image of the planes that its events reach."""
_CELL = 8
"""Voxels a side of the columns that events are sorted into: neighbours meet in the cache."""
_COARSEST = 1.6
"""Widths of the time of flight that two samples of a line may lie apart: the sum of a Gaussian's
samples is then within 2 exp(-2 pi^2 / 1.6^2) = 0.09 % of its integral."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ListMode:
    """Events sorted for the projector: by time bin, block of planes, dominant axis and column.

    Coordinates are in voxels of the padded grid, whose voxel (1, 1, 1) is the grid's (0, 0, 0).
    """

    grid: VoxelGrid
    sigma_mm: float
    """Gaussian width of the annihilation point along the LOR [mm]."""
    point: NDArray[np.float32]
    """(N, 3) most likely annihilation point [padded voxels]."""
    slope: NDArray[np.float32]
    """(N, 2) change of the two other coordinates for a step of one voxel along the dominant axis.
    """
    row: IntArray
    """(N,) row of the event among those that were given."""
    starts: IntArray
    """(T, L, 3, 2) first event and the one after the last, of each time bin, block and axis."""
    first_plane: IntArray
    """(L,) lowest padded plane along z that events of a block reach."""
    stop_plane: IntArray
    """(L,) plane after the highest."""
    n_outside: int
    """Events given whose line does not reach the grid."""

    def __post_init__(self) -> None:
        n, n_block = len(self.point), len(self.first_plane)
        freeze(
            self,
            point=(np.float32, n, 3),
            slope=(np.float32, n, 2),
            row=(np.int64, n),
            starts=(np.int64, len(self.starts), n_block, 3, 2),
            first_plane=(np.int64, n_block),
            stop_plane=(np.int64, n_block),
        )

    def __len__(self) -> int:
        return len(self.point)

    @property
    def n_bin(self) -> int:
        """T, number of time bins that the events are sorted by."""
        return len(self.starts)

    def span(self, time_bin: int) -> slice:
        """Return the events of one time bin."""
        starts = self.starts[time_bin]
        return slice(int(starts[0, 0, 0]), int(starts[-1, -1, 1]))

    def of_bins(self, first: int, stop: int) -> tuple["ListMode", IntArray]:
        """Return the events of some time bins as those of one, and where they are here.

        Parameters
        ----------
        first, stop : int
            First time bin, and the one after the last.

        Returns
        -------
        events : ListMode
            The events, in the order of one time bin.
        index : (n,) int array
            Place of each among the events here.
        """
        starts = self.starts[first:stop]
        part = [
            np.repeat(np.arange(_N_BLOCK * 3), np.diff(of_bin, axis=-1).reshape(-1))
            for of_bin in starts
        ]
        low = int(starts.min()) if starts.size else 0
        key = np.concatenate([*part, np.zeros(0, np.int64)])
        padded = np.asarray(self.grid.shape) + 2
        index = low + _order(key, self.point[low : low + len(key)], padded)
        edges = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=_N_BLOCK * 3))])
        return replace(
            self,
            point=self.point[index],
            slope=self.slope[index],
            row=self.row[index],
            starts=np.stack([edges[:-1], edges[1:]], axis=1).reshape(1, _N_BLOCK, 3, 2),
        ), index


def require_fine_voxels(grid: VoxelGrid, sigma_mm: float) -> None:
    """Raise `SettingsError` where voxels are too coarse, or too fine, for the time of flight.

    Parameters
    ----------
    grid : VoxelGrid
        The image.
    sigma_mm : float
        Gaussian width along the LOR [mm].
    """
    require_positive("sigma_mm", sigma_mm)
    longest = float(np.sqrt(3.0)) * max(grid.voxel_mm)
    if longest > _COARSEST * sigma_mm:
        raise SettingsError(
            f"voxels of {max(grid.voxel_mm):g} mm are too coarse for a time of flight of "
            f"{sigma_mm:.3g} mm (Gaussian width): use at most "
            f"{_COARSEST * sigma_mm / np.sqrt(3.0):.2g} mm, or recon.method = 'histogram'"
        )
    if 2.0 * CUT * sigma_mm / min(grid.voxel_mm) > MOST_PLANES - 8:
        raise SettingsError(
            f"voxels of {min(grid.voxel_mm):g} mm are too fine for a time of flight of "
            f"{sigma_mm:.3g} mm (Gaussian width): use at least "
            f"{2.0 * CUT * sigma_mm / (MOST_PLANES - 8):.2g} mm"
        )
    if np.prod([n + 2 for n in grid.shape]) >= 2**31:
        raise SettingsError(f"a grid of {grid.n_voxel} voxels is too large; use larger voxels")


def sort_events(
    position_mm: NDArray[np.floating],
    direction: NDArray[np.floating],
    *,
    grid: VoxelGrid,
    sigma_mm: float,
    time_bin: NDArray[np.integer] | None = None,
    n_bin: int = 1,
) -> ListMode:
    """Sort events for the projector.

    Parameters
    ----------
    position_mm : (N, 3) array
        Most likely annihilation points [mm].
    direction : (N, 3) array
        Unit vectors along the LORs.
    grid : VoxelGrid
        The image.
    sigma_mm : float
        Gaussian width of the point along the LOR, `Scanner.sigma_point_mm` [mm].
    time_bin : (N,) array, optional
        Time bin of each event, 0 to ``n_bin`` - 1; events of others are left out. All in one bin
        when not given.
    n_bin : int
        Number of time bins.

    Returns
    -------
    ListMode
        The events whose line reaches the grid.

    Raises
    ------
    DataError
        If a position is not finite, or a direction is no unit vector.
    SettingsError
        If the voxels are too coarse or too fine for the time of flight.
    """
    require_fine_voxels(grid, sigma_mm)
    position, lines = np.ascontiguousarray(position_mm), np.ascontiguousarray(direction)
    bins = np.zeros(0, np.int16) if time_bin is None else np.asarray(time_bin)
    origin, size = np.array(grid.origin_mm), np.array(grid.voxel_mm)
    padded, cut = np.array(grid.shape, np.int64) + 2, CUT * sigma_mm
    plane = np.empty(len(position), np.int16)
    n_of_plane = np.zeros(padded[2], np.int64)
    wrong, n_outside = _sorting.survey(
        position, lines, bins, n_bin, origin, size, padded, cut, plane, n_of_plane
    )
    if wrong == _sorting.NOT_FINITE:
        raise DataError("annihilation points must be finite; drop the others first")
    if wrong == _sorting.NO_UNIT_VECTOR:
        raise DataError("directions of LORs must be finite unit vectors")
    n_column = int(np.prod(padded[:2] // _CELL + 1))
    key = np.empty(len(position), np.int32)
    following = np.zeros(n_bin * _N_BLOCK * 3 * n_column + 1, np.int64)
    lowest, highest = np.full(_N_BLOCK, np.inf), np.full(_N_BLOCK, -np.inf)
    _sorting.count(
        position, lines, bins, origin, size, padded, cut, plane, _blocks(n_of_plane), _N_BLOCK,
        _CELL, key, following, lowest, highest,
    )  # fmt: skip
    del plane
    np.cumsum(following, out=following)
    edges = following[::n_column].copy()
    n = int(edges[-1])
    point, slope = np.empty((n, 3), np.float32), np.empty((n, 2), np.float32)
    row = np.empty(n, np.int64)
    _sorting.place(position, lines, origin, size, key, following, point, slope, row)
    some = np.isfinite(lowest)
    return ListMode(
        grid=grid,
        sigma_mm=sigma_mm,
        point=point,
        slope=slope,
        row=row,
        starts=np.stack([edges[:-1], edges[1:]], axis=1).reshape(n_bin, _N_BLOCK, 3, 2),
        first_plane=np.where(some, np.maximum(np.where(some, lowest, 0).astype(int) - 1, 0), 0),
        stop_plane=np.where(
            some, np.minimum(np.where(some, highest, 0).astype(int) + 3, padded[2]), 0
        ),
        n_outside=n_outside,
    )


def _order(part: IntArray, point: NDArray[np.float32], padded: IntArray) -> IntArray:
    """Return the order by part and, within it, by columns of voxels."""
    n_column = padded[:2] // _CELL + 1
    column = np.clip(point[:, :2].astype(np.int64) // _CELL, 0, n_column - 1)
    key = (part * n_column[1] + column[:, 1]) * n_column[0] + column[:, 0]
    return np.argsort(key, kind="stable")


def _blocks(n_of_plane: IntArray) -> IntArray:
    """Return the block of each plane: planes split so that each block has as many events."""
    below = np.cumsum(n_of_plane)
    if not below[-1]:
        return np.zeros_like(below)
    middle = below - 0.5 * n_of_plane
    return np.asarray(np.minimum((_N_BLOCK * middle / below[-1]).astype(np.int64), _N_BLOCK - 1))
