"""Parameter maps: what a fit or a reconstruction gives for each voxel."""

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid


class FitStatus(enum.IntEnum):
    """How the fit of one voxel or region ended."""

    OK = 0
    """Converged inside the bounds."""
    TOO_FEW_COUNTS = 1
    """Fewer events than ``FitOptions.min_counts``; nothing was fitted."""
    NOT_CONVERGED = 2
    """Stopped before the minimum was reached; no values are given."""
    AT_BOUND = 3
    """The likelihood is best at a bound of the lifetime, without o-Ps or without anything else, so
    that a lifetime would say nothing; no values are given."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ParameterMaps:
    """Fitted parameters of the voxels of a grid, with errors and a status for each."""

    grid: VoxelGrid
    names: tuple[str, ...]
    """P parameters, for example ``("tau_ops", "intensity_ops")``."""
    units: tuple[str, ...]
    """Unit of each parameter; ``"1"`` for a share."""
    voxel: NDArray[np.int64]
    """(V,) flat index of the voxels that hold events."""
    values: NDArray[np.float64]
    """(V, P) NaN where nothing was fitted."""
    errors: NDArray[np.float64]
    """(V, P) standard errors; NaN where there is none."""
    deviance: NDArray[np.float64]
    """(V,) Poisson deviance of the fit; NaN where nothing was fitted."""
    ndf: int
    """Bins minus free parameters of a voxel's fit."""
    status: NDArray[np.uint8]
    """(V,) a `FitStatus` per voxel."""
    iterations: NDArray[np.uint16] | None = None
    """(V,) steps that the fit of a voxel took; 0 where nothing was fitted."""

    def __post_init__(self) -> None:
        n, p = len(self.voxel), len(self.names)
        if len(self.units) != p:
            raise DataError(f"{p} parameters but {len(self.units)} units")
        freeze(
            self,
            voxel=(np.int64, n),
            values=(np.float64, n, p),
            errors=(np.float64, n, p),
            deviance=(np.float64, n),
            status=(np.uint8, n),
            iterations=(np.uint16, n),
        )

    def __len__(self) -> int:
        return len(self.voxel)

    def column(self, name: str) -> int:
        """Return the position of parameter ``name``; `DataError` if there is none."""
        if name not in self.names:
            raise DataError(
                f"no parameter {name!r} in these maps; they hold {', '.join(self.names)}"
            )
        return self.names.index(name)

    def unit(self, name: str) -> str:
        """Return the unit of parameter ``name``."""
        return self.units[self.column(name)]

    def image(self, name: str) -> NDArray[np.float64]:
        """Return the (nx, ny, nz) image of a parameter, NaN where nothing was fitted."""
        return self._spread(self.values[:, self.column(name)])

    def error_image(self, name: str) -> NDArray[np.float64]:
        """Return the (nx, ny, nz) image of a parameter's standard error."""
        return self._spread(self.errors[:, self.column(name)])

    def deviance_image(self) -> NDArray[np.float64]:
        """Return the (nx, ny, nz) image of the fits' deviance."""
        return self._spread(self.deviance)

    def status_image(self) -> NDArray[np.uint8]:
        """Return the (nx, ny, nz) image of `FitStatus`; a voxel without events has too few."""
        image = np.full(self.grid.n_voxel, FitStatus.TOO_FEW_COUNTS, dtype=np.uint8)
        image[self.voxel] = self.status
        return image.reshape(self.grid.shape)

    def _spread(self, column: NDArray[np.float64]) -> NDArray[np.float64]:
        image = np.full(self.grid.n_voxel, np.nan)
        image[self.voxel] = column
        return image.reshape(self.grid.shape)
