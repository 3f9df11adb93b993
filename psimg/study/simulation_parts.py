"""The parts of a simulation's phantom, key by key: regions, points, lines."""

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from psimg.core.errors import SettingsError
from psimg.core.regions import Box, Cylinder, Sphere, Vector
from psimg.core.settings import SETTINGS_CONFIG
from psimg.simulate.phantom import (
    WATER_CHANNELS,
    Channel,
    HalfCylinder,
    PhantomRegion,
    Shape,
    ps_channels,
)
from psimg.simulate.phantoms import REFERENCE_CHANNELS

Channels = tuple[Channel, ...]


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
        if not all(map(math.isfinite, self.centre_mm or ())):
            raise SettingsError(f"centre_mm = {list(self.centre_mm or ())} is not finite")
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
    """Several shapes in place of ``shape`` and what goes with it:
    ``[{ shape = ..., centre_mm = ... }, ...]``."""
    material: str = "water"
    """What it is made of; see below."""
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
