"""The sections of a simulation file, key by key."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from psimg.core.errors import SettingsError
from psimg.core.isotopes import find_isotope
from psimg.core.settings import SETTINGS_CONFIG, require_positive
from psimg.simulate.detector import Detector
from psimg.simulate.phantom import WATER_CHANNELS, PhantomRegion, ps_channels
from psimg.simulate.phantoms import cylinder_phantom, nema_iq
from psimg.simulate.physics import Physics
from psimg.study.simulation_parts import LifetimeKeys, LineSpec, PointSpec, RegionSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationSection:
    """``[simulation]``: what decays, and for how long."""

    name: str = ""
    """Title, for the files that are written."""
    isotope: str
    """Positron emitter with a prompt gamma: Sc-44, Na-22, Ga-68, I-124, ..."""
    duration_s: float
    """Length of the scan [s]."""
    activity_mbq: float | None = None
    """Activity of the phantom at the start, divided as its parts' activities are; the sum of these
    when left out [MBq]."""
    seed: int = 1
    """Seed of the random numbers: the same file with the same seed gives the same singles."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        find_isotope(self.isotope)
        require_positive("duration_s", self.duration_s)
        if self.activity_mbq is not None:
            require_positive("activity_mbq", self.activity_mbq)
        if self.seed < 0:
            raise SettingsError(f"seed = {self.seed}: expected zero or more")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ScannerSection(Detector):
    """``[scanner]``: a preset, a detector of one's own, or a preset with some keys changed."""

    preset: str | None = None
    """A known scanner, such as ``vision-quadra``; every key below then has its value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VoxelSection:
    """``[phantom.voxels]``: a phantom from NIfTI images on one grid, below all regions."""

    name: str = "voxels"
    """Name in the files that are written."""
    activity: str
    """Image of the activity, in any unit; paths are relative to the simulation file."""
    activity_mbq: float | None = None
    """Activity of all of it at the start; that of ``[simulation]`` when left out [MBq]."""
    attenuation: str | None = None
    """Image of the attenuation at 511 keV; its ratio to the material's is the density [1/cm]."""
    density: str | None = None
    """Or image of the density over that of the material; 1 everywhere when left out."""
    material: str = "water"
    """What attenuates and scatters."""
    tau_ops_ns: float | str | None = None
    """Mean life of o-Ps, a number or an image; 1.83 when left out [ns]."""
    share_ops: float | str | None = None
    """Share of o-Ps, a number or an image; 0.3 when left out. A third of it is that of p-Ps."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.attenuation is not None and self.density is not None:
            raise SettingsError("attenuation and density both give the density; keep one")


@dataclass(frozen=True, kw_only=True, slots=True)
class VoxelsOnly:
    """No phantom ready made: voxels, or nothing below the regions."""

    preset: None = None
    """``nema-iq`` or ``cylinder``; see below for their keys."""
    voxels: VoxelSection | None = None
    """The table ``[phantom.voxels]``."""

    __pydantic_config__ = SETTINGS_CONFIG

    def regions(self) -> tuple[PhantomRegion, ...]:
        """Return the regions of the preset."""
        return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NemaSection:
    """The NEMA image-quality phantom: body, lung insert, six spheres, the smallest first."""

    preset: Literal["nema-iq"]
    sphere_kbq_ml: float
    """Concentration of activity in the spheres [kBq/mL]."""
    background_kbq_ml: float = 0.0
    """The same in the body [kBq/mL]."""
    tau_ops_ns: float | tuple[float, ...] = WATER_CHANNELS[-1].tau_ns
    """Mean life of o-Ps in the spheres, one number or six [ns]."""
    share_ops: float | tuple[float, ...] = WATER_CHANNELS[-1].share
    """Share of o-Ps in the spheres, one number or six."""
    background_tau_ops_ns: float = WATER_CHANNELS[-1].tau_ns
    """Mean life of o-Ps in the body [ns]."""
    background_share_ops: float = WATER_CHANNELS[-1].share
    """Share of o-Ps in the body."""
    first_sphere_deg: float = 0.0
    """Direction of the smallest sphere from the x axis; the next follow at 60 degrees each."""
    voxels: VoxelSection | None = None
    """The table ``[phantom.voxels]``, below the phantom."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        self.regions()

    def regions(self) -> tuple[PhantomRegion, ...]:
        """Return the regions of the phantom."""
        spheres = zip(self._six("tau_ops_ns"), self._six("share_ops"), strict=True)
        return nema_iq(
            sphere_kbq_ml=self.sphere_kbq_ml,
            background_kbq_ml=self.background_kbq_ml,
            spheres=[ps_channels(tau, share_ops=share) for tau, share in spheres],
            background=ps_channels(self.background_tau_ops_ns, share_ops=self.background_share_ops),
            first_sphere_deg=self.first_sphere_deg,
        ).regions

    def _six(self, key: str) -> tuple[float, ...]:
        value = getattr(self, key)
        values: tuple[float, ...] = value if isinstance(value, tuple) else (value,) * 6
        if len(values) != 6:
            raise SettingsError(
                f"{key} has {len(values)} values; expected one, or one for each of six spheres"
            )
        return values


@dataclass(frozen=True, kw_only=True, slots=True)
class CylinderSection(LifetimeKeys):
    """A cylinder along the axis, filled uniformly; its region is called ``body``."""

    preset: Literal["cylinder"]
    radius_mm: float = 100.0
    """Radius [mm]."""
    half_length_mm: float = 90.0
    """Half its length [mm]."""
    activity_mbq: float = 1.0
    """Activity at the start of the scan [MBq]."""
    material: str = "water"
    """What it is filled with."""
    voxels: VoxelSection | None = None
    """The table ``[phantom.voxels]``, below the phantom."""

    def __post_init__(self) -> None:
        self.regions()

    def regions(self) -> tuple[PhantomRegion, ...]:
        """Return the one region."""
        return cylinder_phantom(
            radius_mm=self.radius_mm,
            half_length_mm=self.half_length_mm,
            activity_mbq=self.activity_mbq,
            channels=self.lifetime(),
            material=self.material,
        ).regions


PHANTOM_SPECS = {"none": VoxelsOnly, "nema-iq": NemaSection, "cylinder": CylinderSection}
"""What each preset of ``[phantom]`` takes."""


def _preset_of(value: Any) -> str | None:
    preset = value.get("preset") if isinstance(value, dict) else getattr(value, "preset", None)
    return preset or "none"


PhantomSection = Annotated[
    Annotated[VoxelsOnly, Tag("none")]
    | Annotated[NemaSection, Tag("nema-iq")]
    | Annotated[CylinderSection, Tag("cylinder")],
    Discriminator(_preset_of),
]
"""``[phantom]``: a preset, or voxels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationOutput:
    """``[output]``: the files to write, relative to the simulation file."""

    singles: str = "singles.root"
    """Singles: ``.root`` in the layout of GATE 9, or a flat tree where the detector measures times
    over threshold; ``.csv``; ``.npz``. A ``.json`` of the same name tells what they are."""
    truth: str | Literal[False] = "truth.root"
    """Truth of every decay: ``.root``, ``.csv`` or ``.npz``; ``false`` to leave it out."""
    study: str | None = None
    """A study file to start from, for ``psimg run``; none when left out."""

    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationFile:
    """A simulation file as written."""

    simulation: SimulationSection
    scanner: ScannerSection
    phantom: PhantomSection = field(default_factory=VoxelsOnly)
    regions: tuple[RegionSpec, ...] = ()
    points: tuple[PointSpec, ...] = ()
    lines: tuple[LineSpec, ...] = ()
    physics: Physics = field(default_factory=Physics)
    output: SimulationOutput = field(default_factory=SimulationOutput)

    __pydantic_config__ = SETTINGS_CONFIG
