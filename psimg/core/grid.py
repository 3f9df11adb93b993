"""The voxel grid: where a voxel is and which voxel a point is in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class VoxelGrid:
    """A box of equal voxels along the scanner's axes.

    A voxel holds its lower faces and not its upper ones, so every point is in at most one voxel.
    """

    shape: tuple[int, int, int]
    """Number of voxels along x, y, z."""
    voxel_mm: tuple[float, float, float]
    """Size of a voxel [mm]."""
    origin_mm: tuple[float, float, float]
    """Centre of voxel (0, 0, 0) [mm]."""

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.shape):
            raise SettingsError(
                f"grid shape {list(self.shape)}: expected at least one voxel a side"
            )
        if not all(np.isfinite(self.voxel_mm)) or any(size <= 0 for size in self.voxel_mm):
            raise SettingsError(f"voxel_mm = {list(self.voxel_mm)}: expected sizes above zero")
        if not all(np.isfinite(self.origin_mm)):
            raise SettingsError(f"grid origin {list(self.origin_mm)} is not finite")

    @classmethod
    def centred(
        cls,
        *,
        shape: tuple[int, int, int],
        voxel_mm: tuple[float, float, float],
        centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> "VoxelGrid":
        """Return the grid of this shape whose middle is at ``centre_mm``."""
        x, y, z = (
            c - 0.5 * (n - 1) * size for c, n, size in zip(centre_mm, shape, voxel_mm, strict=True)
        )
        return cls(shape=shape, voxel_mm=voxel_mm, origin_mm=(x, y, z))

    @property
    def n_voxel(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def low_mm(self) -> NDArray[np.float64]:
        """(3,) lowest corner of the box [mm]."""
        return np.array(self.origin_mm, dtype=np.float64) - 0.5 * np.array(self.voxel_mm)

    @property
    def high_mm(self) -> NDArray[np.float64]:
        """(3,) highest corner of the box [mm]."""
        size: NDArray[np.float64] = np.array(self.shape) * np.array(self.voxel_mm)
        return self.low_mm + size

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) matrix from voxel indices to the centre of the voxel [mm]."""
        matrix = np.diag([*self.voxel_mm, 1.0])
        matrix[:3, 3] = self.origin_mm
        return np.asarray(matrix, dtype=np.float64)

    def axis_mm(self, axis: int) -> NDArray[np.float64]:
        """Return the (n,) centres of the voxels along one axis [mm]."""
        index = np.arange(self.shape[axis], dtype=np.float64)
        return self.origin_mm[axis] + self.voxel_mm[axis] * index

    def centres_mm(self) -> NDArray[np.float64]:
        """Return the (V, 3) centres of all voxels in array order [mm]."""
        axes = np.meshgrid(*(self.axis_mm(axis) for axis in range(3)), indexing="ij")
        return np.stack(axes, axis=-1).reshape(-1, 3)

    def voxel_of(self, position_mm: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the (N,) flat index of the voxel each of the (N, 3) points is in, -1 outside."""
        index = np.floor((position_mm - self.low_mm) / np.asarray(self.voxel_mm))
        inside = np.all((index >= 0) & (index < self.shape), axis=1)
        safe = np.where(inside[:, None], index, 0).astype(np.int64)
        _, ny, nz = self.shape
        flat = (safe[:, 0] * ny + safe[:, 1]) * nz + safe[:, 2]
        return np.where(inside, flat, -1)
