"""What images are made from, how, and what comes out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.maps import ParameterMaps
from psimg.core.settings import SETTINGS_CONFIG
from psimg.imaging.list_mode import ListMode
from psimg.imaging.time_shapes import TimeShapes

_PASSES = {"penalised": 40, "em": 20, "rate": 1, "simple": 3, "moment": 3, "split": 3}
"""Passes over the triplets of methods that take more than one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconOptions:
    """How events become an image."""

    method: Literal[
        "histogram", "mlem", "rate", "simple", "moment", "split", "em", "penalised", "regions"
    ] = "histogram"
    """``histogram``: each event in the voxel of its most likely point, and a fit per voxel. The
    others undo the blur of the time of flight; see docs/reconstruction.md."""
    iterations: int | None = None
    """Passes over the triplets; when left out 40 for ``penalised``, which has converged by then, 20
    for ``em`` and 3 for ``simple``, ``moment`` and ``split``, whose noise grows with every one."""
    subsets: int = 1
    """Parts of the triplets, each of which updates the image in turn."""
    activity: str = "pairs"
    """Where the image of annihilations comes from that lifetimes lean on: ``pairs``, all located
    annihilation pairs; ``triplets``; or a NIfTI file, such as the scanner's own image."""
    activity_iterations: int = 10
    """Passes over the pairs (or triplets) for that image."""
    activity_subsets: int = 1
    """Parts of the pairs, each of which updates that image in turn."""
    most_pairs: int = 20_000_000
    """Pairs kept for that image: of more, an even share."""
    resolution_mm: float = 0.0
    """Full width at half maximum of the resolution across LORs (crystals, positron range,
    acollinearity), modelled in image space; 0 leaves it in the image [mm]."""
    sensitivity: str = "uniform"
    """How likely an annihilation of each voxel is seen: ``uniform``, ``geometric`` (from
    [scanner]), or a NIfTI file."""
    attenuation: str | None = None
    """NIfTI file of the linear attenuation coefficient at 511 keV [1/cm], for ``geometric``."""
    randoms: Literal["model", "none"] = "model"
    """``model``: randoms are a term of the forward model, as model.background measures them;
    ``none``: left out, to see what they do."""
    errors: Literal["information", "bootstrap"] = "information"
    """``information``: from the likelihood's curvature; ``bootstrap``: from replicates of the
    list mode."""
    replicates: int = 20
    """Replicates of the bootstrap."""
    min_counts: float = 50.0
    """Voxels and regions with fewer true triplets get no lifetime; for ``penalised`` the 125
    voxels around must have them together."""
    smooth_tau: float = 1.0
    """Weight of the penalty on differences of ln tau between neighbours, for ``penalised``."""
    smooth_intensity: float = 10.0
    """The same on differences of the o-Ps intensity."""
    edge_tau: float = 0.1
    """Difference of ln tau between neighbours 4 mm apart above which the penalty grows no longer
    with its square but with the difference itself: a step is an edge. In proportion on other
    grids."""
    edge_intensity: float = 0.1
    """The same of the o-Ps intensity, in units of the mean intensity."""
    guide: str | None = None
    """NIfTI file of an anatomical image: neighbours that differ in it smooth each other less."""
    guide_scale: float | None = None
    """Difference in that image that counts as an edge; a tenth of its range when left out."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        for name in ("iterations", "subsets", "activity_iterations", "activity_subsets",
                     "most_pairs"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} = {value}: expected 1 or more")
        if self.replicates < 2:
            raise SettingsError(f"replicates = {self.replicates}: expected 2 or more")
        for name in ("resolution_mm", "min_counts", "smooth_tau", "smooth_intensity"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise SettingsError(f"{name} = {value:g}: expected a number from 0 up")
        for name in ("edge_tau", "edge_intensity", "guide_scale"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise SettingsError(f"{name} = {value:g}: expected more than 0")
        if self.attenuation is not None and self.sensitivity != "geometric":
            raise SettingsError(
                "attenuation is used by sensitivity = 'geometric' only; set sensitivity, or remove "
                "attenuation"
            )

    @property
    def passes(self) -> int:
        """Passes over the triplets."""
        return self.iterations or _PASSES.get(self.method, 20)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ImageData:
    """What every method starts from. V = nx x ny x nz voxels of the grid."""

    triplets: ListMode
    """Triplets of the prompt window, sorted by the time bins of ``shapes``."""
    dt_ns: NDArray[np.float32]
    """(N,) dt of each, in the order of the list mode [ns]."""
    shapes: TimeShapes
    """Shapes in dt."""
    activity: NDArray[np.float32]
    """(nx, ny, nz) annihilations of each voxel that are seen, on any scale: what an image of all
    pairs, randoms among them taken off, shows."""
    unrelated: NDArray[np.float32]
    """(nx, ny, nz) randoms with a prompt of another decay expected in the spectrum, as an image
    whose lines hold them; sums to their number."""
    class_2: NDArray[np.float32]
    """(nx, ny, nz) the same of prompt-correlated randoms."""
    level_known: bool
    """Whether delayed windows measured the randoms; else their sum is a first guess, and a method
    finds it with the rest."""
    sensitivity: NDArray[np.float32] | None = None
    """(nx, ny, nz) relative chance that a triplet of each voxel is seen; None where uniform."""
    activity_trace: NDArray[np.float64] | None = None
    """(I,) log-likelihood of the image of pairs or triplets after each pass, up to a constant."""
    pairs: ListMode | None = None
    """All annihilation pairs; None where there are none beside the triplets."""

    def __post_init__(self) -> None:
        n_pass = 0 if self.activity_trace is None else len(self.activity_trace)
        freeze(
            self,
            dt_ns=(np.float32, len(self.triplets)),
            activity=(np.float32, *self.grid.shape),
            unrelated=(np.float32, *self.grid.shape),
            class_2=(np.float32, *self.grid.shape),
            sensitivity=(np.float32, *self.grid.shape),
            activity_trace=(np.float64, n_pass),
        )
        if self.pairs is not None and self.pairs.grid != self.grid:
            raise DataError("pairs are on another grid than the triplets; sort both on the same")

    @property
    def grid(self) -> VoxelGrid:
        """The voxels."""
        return self.triplets.grid


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Reconstruction:
    """What a method gives."""

    maps: ParameterMaps
    """The parameters of voxels."""
    counts: NDArray[np.float32]
    """(nx, ny, nz) true triplets expected of each voxel."""
    trace: NDArray[np.float64]
    """(I,) log-likelihood after each pass, up to a constant."""
    random_scale: float | None = None
    """Factor on the unrelated randoms that was found; None where the method looks for none."""

    def __post_init__(self) -> None:
        freeze(self, counts=(np.float32, *self.maps.grid.shape),
               trace=(np.float64, len(self.trace)))  # fmt: skip
