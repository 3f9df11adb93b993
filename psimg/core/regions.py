"""Regions of interest: named volumes that an annihilation point is in or not."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psimg.core._chords import ball_chord, on_segment, slab_chord, voxel_chord
from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.settings import require_positive

Vector = tuple[float, float, float]


class Region(Protocol):
    """A named volume. Points on its surface are inside."""

    @property
    def name(self) -> str:
        """Name in tables and maps."""
        ...

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(3,) lowest and (3,) highest corner of the box around it [mm]."""
        ...

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is inside."""
        ...

    def chord(
        self, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Find where segments enter and leave.

        Parameters
        ----------
        start_mm, end_mm : (N, 3) array
            Ends of each segment [mm].

        Returns
        -------
        (N, 2) float64 array
            Share of the way from start to end, 0 to 1, at which the segment enters and at which
            it leaves; 0 or 1 for an end that is inside, NaN, NaN where it misses.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Everywhere:
    """All of space."""

    name: str = "all"

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner [mm]."""
        return np.full(3, -np.inf), np.full(3, np.inf)

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) True for each of the (N, 3) points."""
        return np.ones(len(position_mm), np.bool_)

    def chord(
        self, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (N, 2) shares of the way, always 0 and 1."""
        return np.tile([0.0, 1.0], (len(start_mm), 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sphere:
    """A ball."""

    name: str
    centre_mm: Vector
    radius_mm: float

    def __post_init__(self) -> None:
        require_positive("radius_mm", self.radius_mm)

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of the box around it [mm]."""
        centre = np.asarray(self.centre_mm)
        return centre - self.radius_mm, centre + self.radius_mm

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is inside."""
        offset = position_mm - np.asarray(self.centre_mm)
        return np.asarray(np.einsum("ij,ij->i", offset, offset) <= self.radius_mm**2)

    def chord(
        self, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (N, 2) shares of the way at which segments enter and leave, NaN if missed."""
        centre = np.asarray(self.centre_mm)
        return on_segment(ball_chord(start_mm - centre, end_mm - centre, self.radius_mm))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cylinder:
    """A cylinder along the scanner's axis."""

    name: str
    centre_mm: Vector
    radius_mm: float
    half_length_mm: float

    def __post_init__(self) -> None:
        require_positive("radius_mm", self.radius_mm)
        require_positive("half_length_mm", self.half_length_mm)

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of the box around it [mm]."""
        reach = np.array([self.radius_mm, self.radius_mm, self.half_length_mm])
        return np.asarray(self.centre_mm) - reach, np.asarray(self.centre_mm) + reach

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is inside."""
        x, y, z = (position_mm - np.asarray(self.centre_mm)).T
        inside = (x * x + y * y <= self.radius_mm**2) & (np.abs(z) <= self.half_length_mm)
        return np.asarray(inside)

    def chord(
        self, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (N, 2) shares of the way at which segments enter and leave, NaN if missed."""
        start, end = start_mm - np.asarray(self.centre_mm), end_mm - np.asarray(self.centre_mm)
        half = self.half_length_mm
        return on_segment(
            ball_chord(start[:, :2], end[:, :2], self.radius_mm),
            slab_chord(start[:, 2], end[:, 2], -half, half),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box along the scanner's axes."""

    name: str
    centre_mm: Vector
    half_length_mm: Vector

    def __post_init__(self) -> None:
        for length in self.half_length_mm:
            require_positive("half_length_mm", length)

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner [mm]."""
        centre, reach = np.asarray(self.centre_mm), np.asarray(self.half_length_mm)
        return centre - reach, centre + reach

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is inside."""
        offset = np.abs(position_mm - np.asarray(self.centre_mm))
        return np.asarray(np.all(offset <= np.asarray(self.half_length_mm), axis=1))

    def chord(
        self, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (N, 2) shares of the way at which segments enter and leave, NaN if missed."""
        return _box_chord(start_mm, end_mm, *self.bounds_mm)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Mask:
    """The voxels of an image that are set."""

    name: str
    grid: VoxelGrid
    inside: NDArray[np.bool_]
    """(nx, ny, nz) whether the voxel belongs to the region."""

    def __post_init__(self) -> None:
        freeze(self, inside=(np.bool_, *self.grid.shape))
        if not self.inside.any():
            raise SettingsError(f"region {self.name!r}: its mask has no voxel set")

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of the box around the voxels that are set [mm]."""
        index = np.argwhere(self.inside)
        size = np.asarray(self.grid.voxel_mm)
        return self.grid.low_mm + index.min(0) * size, self.grid.low_mm + (index.max(0) + 1) * size

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is inside."""
        voxel = self.grid.voxel_of(position_mm)
        return np.asarray((voxel >= 0) & self.inside.reshape(-1)[np.maximum(voxel, 0)])

    def chord(
        self, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (N, 2) shares of the way at which segments enter and leave, NaN if missed.

        A segment enters at the first face of a voxel that is set and leaves at the last one: what
        is not set between the two does not matter.
        """
        low, high = self.bounds_mm
        limits = _box_chord(start_mm, end_mm, low, high)
        size = np.asarray(self.grid.voxel_mm)
        n_voxel = np.rint((high - low) / size).astype(int)
        planes = [low[k] + size[k] * np.arange(1, n_voxel[k]) for k in range(3)]
        return voxel_chord(start_mm, end_mm, limits, planes, self.contains)


def _box_chord(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (N, 2) where segments cross the box between two corners."""
    slabs = (slab_chord(start[:, k], end[:, k], low[k], high[k]) for k in range(3))
    return on_segment(*slabs)
