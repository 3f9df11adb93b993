"""The sections of a simulation file, key by key."""

import difflib
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from psimg.core.errors import SettingsError
from psimg.core.isotopes import find_isotope
from psimg.core.regions import Box, Cylinder, Sphere, Vector
from psimg.core.settings import SETTINGS_CONFIG, require_positive
from psimg.simulate.detector import Detector
from psimg.simulate.phantom import (
    WATER_CHANNELS,
    Channel,
    HalfCylinder,
    PhantomRegion,
    Shape,
    ps_channels,
)
from psimg.simulate.phantoms import REFERENCE_CHANNELS, cylinder_phantom, nema_iq
from psimg.simulate.physics import Physics

Channels = tuple[Channel, ...]


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
class ChannelSpec(Channel):
    """A way to annihilate: a share of the positrons and their mean life."""

    __pydantic_config__ = SETTINGS_CONFIG


# Without slots: a class with slots cannot have two bases that have them.
@dataclass(frozen=True, kw_only=True)
class LifetimeKeys:
    """How positrons annihilate in a region; water's 1.83 ns and 60/10/30 % when nothing is said."""

    tau_ops_ns: float | None = None
    """Mean life of o-Ps; 1.83 when left out [ns]."""
    share_ops: float | None = None
    """Share of the positrons in o-Ps; 0.3 when left out."""
    tau_pps_ns: float | None = None
    """Mean life of p-Ps; 0.125 when left out [ns]."""
    tau_direct_ns: float | None = None
    """Mean life in direct annihilation; 0.388 when left out [ns]."""
    share_pps: float | None = None
    """Share of the positrons in p-Ps; a third of o-Ps when left out. The rest annihilates
    directly."""
    channels: tuple[ChannelSpec, ...] | None = None
    """Or all channels one by one: ``{ name, tau_ns, share }`` each, with shares that sum to 1."""
    reference: str | None = None
    """Or the channels of a reference material: ``quartz``, ``polycarbonate`` or ``xad-4``."""

    __pydantic_config__ = SETTINGS_CONFIG

    def lifetime(self) -> Channels:
        """Return the channels."""
        keys = [f.name for f in fields(LifetimeKeys) if f.name not in ("channels", "reference")]
        own = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        said = [*(own and [next(iter(own))])]
        said += [key for key in ("channels", "reference") if getattr(self, key) is not None]
        if len(said) > 1:
            raise SettingsError(
                f"{said[0]} and {said[1]} both say how positrons annihilate; keep one"
            )
        if self.channels is not None:
            return self.channels
        if self.reference is not None:
            return _reference(self.reference)
        return ps_channels(**({"tau_ops_ns": WATER_CHANNELS[-1].tau_ns} | own))


def _reference(name: str) -> Channels:
    if name in REFERENCE_CHANNELS:
        return REFERENCE_CHANNELS[name]
    near = difflib.get_close_matches(name.lower(), REFERENCE_CHANNELS, 1)
    hint = f"did you mean {near[0]!r}? Known are" if near else "use one of"
    raise SettingsError(
        f"reference = {name!r} is not known; {hint} {', '.join(REFERENCE_CHANNELS)}"
    )


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
class ShapeKeys:
    """One shape."""

    shape: Literal["sphere", "cylinder", "half-cylinder", "box"] | None = None
    """``sphere``, ``cylinder`` along the scanner's axis, ``half-cylinder``, the half of it above
    its centre in y, or ``box`` along the scanner's axes."""
    centre_mm: Vector | None = None
    """Middle; of a half cylinder, that of the whole one [mm]."""
    radius_mm: float | None = None
    """Radius, of all but a box [mm]."""
    half_length_mm: float | Vector | None = None
    """Half the length along the axis; of a box, one number per axis [mm]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def built(self, name: str) -> Shape:
        """Return the shape."""
        takes = {
            "sphere": ("centre_mm", "radius_mm"),
            "box": ("centre_mm", "half_length_mm"),
        }.get(self.shape or "", ("centre_mm", "radius_mm", "half_length_mm"))
        for key in ("centre_mm", "radius_mm", "half_length_mm"):
            if (getattr(self, key) is not None) != (key in takes):
                what = f"needs {key}" if key in takes else f"has no {key}"
                raise SettingsError(f"a {self.shape} {what}; it takes {', '.join(takes)}")
        if isinstance(self.half_length_mm, tuple) != (self.shape == "box"):
            wanted = "one number per axis" if self.shape == "box" else "one number"
            raise SettingsError(f"half_length_mm of a {self.shape}: expected {wanted}")
        kinds: dict[str, Any] = {
            "sphere": Sphere, "cylinder": Cylinder, "half-cylinder": HalfCylinder, "box": Box,
        }  # fmt: skip
        built: Shape = kinds[self.shape or ""](
            name=name, **{key: getattr(self, key) for key in takes}
        )
        return built


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeSpec(ShapeKeys):
    """One of the ``shapes`` of a region."""

    def __post_init__(self) -> None:
        if self.shape is None:
            raise SettingsError("shape is missing; use sphere, cylinder, half-cylinder or box")
        self.built("shape")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionSpec(LifetimeKeys, ShapeKeys):
    """``[[regions]]``: a part of the phantom; later ones displace those before them."""

    name: str
    """Name in the files that are written."""
    shapes: tuple[ShapeSpec, ...] = ()
    """Several shapes in place of the one above: ``[{ shape = ..., centre_mm = ... }, ...]``."""
    material: str = "water"
    """What it is made of."""
    activity_mbq: float | None = None
    """Activity in what is not displaced, at the start of the scan [MBq]."""
    activity_kbq_ml: float | None = None
    """Or its concentration [kBq/mL]."""

    def __post_init__(self) -> None:
        if (self.shape is None) == (not self.shapes):
            raise SettingsError(f"region {self.name!r}: give it shape, or shapes")
        try:
            self.region()
        except SettingsError as error:
            named = f"region {self.name!r}"
            if str(error).startswith(named):
                raise
            raise SettingsError(f"{named}: {error}") from error

    def region(self) -> PhantomRegion:
        """Return the region."""
        shapes = self.shapes or (self,)
        return PhantomRegion(
            name=self.name,
            shapes=tuple(shape.built(self.name) for shape in shapes),
            material=self.material,
            channels=self.lifetime(),
            activity_mbq=self.activity_mbq,
            activity_kbq_ml=self.activity_kbq_ml,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PointSpec:
    """``[[points]]``: activity at a point, inside a region or the voxels."""

    name: str
    """Name in the files that are written."""
    position_mm: Vector
    """Where it is [mm]."""
    activity_mbq: float
    """Activity at the start of the scan [MBq]."""

    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class LineSpec:
    """``[[lines]]``: activity on a straight line, inside a region or the voxels."""

    name: str
    """Name in the files that are written."""
    start_mm: Vector
    """One end [mm]."""
    end_mm: Vector
    """The other end [mm]."""
    activity_mbq: float
    """Activity at the start of the scan [MBq]."""

    __pydantic_config__ = SETTINGS_CONFIG


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
