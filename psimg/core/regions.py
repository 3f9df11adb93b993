"""Regions of interest: named volumes that an annihilation point is in or not."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
        x, y, z = (position_mm - np.asarray(self.centre_mm)).T
        return np.asarray(x * x + y * y + z * z <= self.radius_mm**2)


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
