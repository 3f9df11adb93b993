"""The sections of a study file, key by key."""

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from psimg.core.errors import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import ISOTOPES
from psimg.core.regions import Box, Cylinder, Sphere
from psimg.core.scanner import SCANNERS, Scanner
from psimg.core.settings import SETTINGS_CONFIG, require_positive
from psimg.events.select import SelectOptions
from psimg.imaging.values import ReconOptions
from psimg.io.input import InputOptions
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import FitOptions
from psimg.spectra.binning import SpectrumOptions

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySection:
    """``[study]``: what was measured."""

    name: str = ""
    """Title of the report."""
    isotope: str | None = None
    """Sets the energy windows that ``[select]`` leaves out: Sc-44, Na-22, Ga-68, Rb-82, I-124,
    Mn-52, Co-55, Y-86, Cu-60."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.isotope is not None and self.isotope not in ISOTOPES:
            raise SettingsError(
                f"isotope = {self.isotope!r} is not known; use one of {', '.join(ISOTOPES)}, or "
                "leave it out and set the windows in [select]"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSection(InputOptions):
    """``[input]``: which files, and how to read them."""

    files: tuple[str, ...]
    """Paths or patterns, relative to the study file."""
    timing: str | None = None
    """Time offsets and walk to take off, from ``psimg calibrate``; relative to the study file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannerSection:
    """``[scanner]``: a preset, figures of one's own, or a preset with some of them changed."""

    preset: str | None = None
    """``vision-quadra``, ``neuroexplorer``, ``pennpet`` or ``jpet-modular``."""
    crt_ns: float | None = None
    """Coincidence resolving time of two 511 keV photons, FWHM [ns]."""
    energy_fwhm: float | None = None
    """FWHM of the 511 keV photopeak over 511 keV."""
    radius_mm: float | None = None
    """Distance of the detectors' front from the axis [mm]."""
    length_mm: float | None = None
    """Axial length [mm]."""
    crystals_around: int | None = None
    """Crystals in a ring, for ``min_prompt_crystals``; where a detector's label is
    along * crystals_around + around."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in SCANNERS:
            raise SettingsError(
                f"preset = {self.preset!r} is not known; use one of {', '.join(SCANNERS)}"
            )
        self.scanner()

    def scanner(self) -> Scanner | None:
        """Return the scanner, or None if the section says nothing.

        Raises
        ------
        SettingsError
            If there is no preset and a figure is missing.
        """
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "preset"}
        own = {name: value for name, value in own.items() if value is not None}
        if self.preset is not None:
            return replace(SCANNERS[self.preset], **own)
        if not own:
            return None
        missing = [name for name in ("crt_ns", "radius_mm", "length_mm") if name not in own]
        if missing:
            raise SettingsError(f"without a preset, give {', '.join(missing)} too")
        return Scanner(name="own", **{"energy_fwhm": None, **own})


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectSection(SelectOptions):
    """``[select]``: the windows, and the object the annihilation point must lie in."""

    object: str | None = None
    """Name of a region; events located outside it are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridSection:
    """``[grid]``: the voxels of the maps."""

    voxel_mm: float | Vector = 8.0
    """Size of a voxel, one number or one per axis [mm]."""
    shape: tuple[int, int, int] | None = None
    """Number of voxels along x, y, z; or give ``extent_mm``."""
    extent_mm: Vector | None = None
    """Size of the grid, rounded up to whole voxels; 256 mm a side when neither is given [mm]."""
    centre_mm: Vector = (0.0, 0.0, 0.0)
    """Middle of the grid [mm]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.shape is not None and self.extent_mm is not None:
            raise SettingsError("give shape or extent_mm, not both")
        for size in self._size:
            require_positive("voxel_mm", size)
        for size in self.extent_mm or ():
            require_positive("extent_mm", size)
        self.grid()

    @property
    def _size(self) -> Vector:
        size = self.voxel_mm
        return (size, size, size) if isinstance(size, (int, float)) else size

    def grid(self) -> VoxelGrid:
        """Return the grid; without shape and extent, 256 mm a side."""
        shape = self.shape
        if shape is None:
            x, y, z = (
                # A hair less than whole: 240 mm in voxels of 0.1 mm are 2400, not 2401.
                max(1, -int(-(length / size - 1e-9) // 1))
                for length, size in zip(
                    self.extent_mm or (256.0, 256.0, 256.0), self._size, strict=True
                )
            )
            shape = (x, y, z)
        return VoxelGrid.centred(shape=shape, voxel_mm=self._size, centre_mm=self.centre_mm)


@dataclass(frozen=True, kw_only=True, slots=True)
class SphereSpec(Sphere):
    """A ball; points on its surface are inside."""

    shape: Literal["sphere"]
    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class CylinderSpec(Cylinder):
    """A cylinder along the scanner's axis."""

    shape: Literal["cylinder"]
    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxSpec(Box):
    """A box along the scanner's axes; ``half_length_mm`` has one number per axis."""

    shape: Literal["box"]
    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskSpec:
    """The voxels of a NIfTI image along the scanner's axes that are set."""

    shape: Literal["mask"]
    name: str
    file: str
    """The image, relative to the study file."""
    label: int | None = None
    """The value of the region's voxels; all that are not zero when left out."""

    __pydantic_config__ = SETTINGS_CONFIG


REGION_SPECS = {"sphere": SphereSpec, "cylinder": CylinderSpec, "box": BoxSpec, "mask": MaskSpec}
"""What each shape of ``[[regions]]`` takes."""


def _shape_of(value: Any) -> str | None:
    return value.get("shape") if isinstance(value, dict) else getattr(value, "shape", None)


RegionSpec = Annotated[
    Annotated[SphereSpec, Tag("sphere")]
    | Annotated[CylinderSpec, Tag("cylinder")]
    | Annotated[BoxSpec, Tag("box")]
    | Annotated[MaskSpec, Tag("mask")],
    Discriminator(_shape_of),
]
"""``[[regions]]``: one shape each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSection:
    """``[output]``: where results go."""

    directory: str = "results"
    """Where results go, relative to the study file."""
    formats: tuple[Literal["nifti", "root", "npz", "report"], ...] = (
        "nifti",
        "root",
        "npz",
        "report",
    )
    """What to write beside summary.json, regions.csv and psimg.log."""

    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFile:
    """A study file as written."""

    input: InputSection
    study: StudySection = field(default_factory=StudySection)
    scanner: ScannerSection = field(default_factory=ScannerSection)
    select: SelectSection = field(default_factory=SelectSection)
    grid: GridSection = field(default_factory=GridSection)
    spectrum: SpectrumOptions = field(default_factory=SpectrumOptions)
    model: LifetimeModel = field(default_factory=LifetimeModel)
    fit: FitOptions = field(default_factory=FitOptions)
    recon: ReconOptions = field(default_factory=ReconOptions)
    regions: tuple[RegionSpec, ...] = ()
    output: OutputSection = field(default_factory=OutputSection)

    __pydantic_config__ = SETTINGS_CONFIG
