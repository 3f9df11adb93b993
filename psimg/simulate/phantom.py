"""Phantoms: what they are made of, where decays happen, and how long positrons live there."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Box, Cylinder, Sphere, Vector
from psimg.core.settings import require_positive
from psimg.simulate.materials import find_material


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfCylinder:
    """The half of a cylinder along the scanner's axis that lies above its centre, in y."""

    name: str
    centre_mm: Vector
    radius_mm: float
    half_length_mm: float

    def __post_init__(self) -> None:
        require_positive("radius_mm", self.radius_mm)
        require_positive("half_length_mm", self.half_length_mm)

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(3,) lowest and (3,) highest corner of the box around it [mm]."""
        x, y, z = self.centre_mm
        low = [x - self.radius_mm, y, z - self.half_length_mm]
        return np.array(low), np.asarray(self.centre_mm) + np.array(
            [self.radius_mm, self.radius_mm, self.half_length_mm]
        )

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is inside."""
        x, y, z = (position_mm - np.asarray(self.centre_mm)).T
        inside = (x * x + y * y <= self.radius_mm**2) & (np.abs(z) <= self.half_length_mm)
        return np.asarray(inside & (y >= 0))


Shape = Sphere | Cylinder | HalfCylinder | Box


LONGEST_NS = 10_000.0
"""Longest mean life of a channel [ns]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """A way to annihilate: a share of the positrons and their mean life."""

    name: str
    """``pps``, ``direct``, ``ops``, or another."""
    tau_ns: float
    """Mean life [ns]."""
    share: float
    """Share of the positrons that stop, 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 < self.tau_ns <= LONGEST_NS:
            raise SettingsError(
                f"channel {self.name!r}: tau_ns = {self.tau_ns:g}, expected a mean life above zero "
                f"and at most {LONGEST_NS:g} ns; o-Ps in vacuum has 142 ns"
            )
        if not 0 <= self.share <= 1:
            raise SettingsError(f"channel {self.name!r}: share = {self.share:g}, expected 0 to 1")


def ps_channels(
    tau_ops_ns: float,
    *,
    share_ops: float = 0.3,
    tau_pps_ns: float = 0.125,
    tau_direct_ns: float = 0.388,
    share_pps: float | None = None,
) -> tuple[Channel, ...]:
    """Return the three channels of a liquid: p-Ps, direct annihilation and o-Ps.

    Parameters
    ----------
    tau_ops_ns, tau_pps_ns, tau_direct_ns : float
        Mean lives [ns].
    share_ops : float
        Share of o-Ps.
    share_pps : float, optional
        Share of p-Ps; a third of o-Ps, as the spins divide, when left out.
    """
    pps = share_ops / 3.0 if share_pps is None else share_pps
    return (
        Channel(name="pps", tau_ns=tau_pps_ns, share=pps),
        Channel(name="direct", tau_ns=tau_direct_ns, share=1.0 - pps - share_ops),
        Channel(name="ops", tau_ns=tau_ops_ns, share=share_ops),
    )


WATER_CHANNELS = ps_channels(1.83)
"""Water: 1.83 ns and 60/10/30 %, the values of psimg's fits and plans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomRegion:
    """A part of a phantom; where parts overlap, the one named last displaces those before it."""

    name: str
    shapes: tuple[Shape, ...]
    """It is where any of these is."""
    material: str = "water"
    """One of `MATERIALS`."""
    channels: tuple[Channel, ...] = WATER_CHANNELS
    """How positrons annihilate in it; the shares sum to 1."""
    activity_mbq: float | None = None
    """Activity in what is not displaced, at the start of the scan [MBq]."""
    activity_kbq_ml: float | None = None
    """Or its concentration [kBq/mL]."""

    def __post_init__(self) -> None:
        _check_channels(self.name, self.channels)
        find_material(self.material)
        _check_activity(self.name, self.activity_mbq)
        _check_activity(self.name, self.activity_kbq_ml)
        if self.activity_mbq is not None and self.activity_kbq_ml is not None:
            raise SettingsError(
                f"region {self.name!r} has activity_mbq and activity_kbq_ml; give one of them"
            )

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(3,) lowest and (3,) highest corner of the box around it [mm]."""
        lows, highs = zip(*(shape.bounds_mm for shape in self.shapes), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def contains(self, position_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) whether each of the (N, 3) points is in one of its shapes."""
        inside = [shape.contains(position_mm) for shape in self.shapes]
        return np.asarray(np.any(inside, axis=0))


@dataclass(frozen=True, kw_only=True, slots=True)
class LineSource:
    """Activity on a straight line, or at a point; it displaces nothing."""

    name: str
    start_mm: Vector
    end_mm: Vector
    """The same as the start for a point [mm]."""
    activity_mbq: float
    """Activity at the start of the scan [MBq]."""

    def __post_init__(self) -> None:
        _check_activity(self.name, self.activity_mbq)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class VoxelPhantom:
    """A phantom given voxel by voxel, below all regions. V voxels of the grid, in array order."""

    name: str
    grid: VoxelGrid
    activity: NDArray[np.float64]
    """(V,) activity of each voxel relative to the others."""
    activity_mbq: float
    """Activity of all, at the start of the scan [MBq]."""
    density: NDArray[np.float32] | None = None
    """(V,) density over that of the material; 1 everywhere when left out."""
    material: str = "water"
    """What attenuates and scatters."""
    channels: tuple[Channel, ...] = WATER_CHANNELS
    """How positrons annihilate; with maps these are p-Ps, direct and o-Ps, in that order."""
    tau_ops_ns: NDArray[np.float32] | None = None
    """(V,) mean life of o-Ps; that of the channels when left out [ns]."""
    share_ops: NDArray[np.float32] | None = None
    """(V,) share of o-Ps; that of the channels when left out. The share of p-Ps follows it."""

    def __post_init__(self) -> None:
        n = self.grid.n_voxel
        freeze(
            self,
            activity=(np.float64, n),
            density=(np.float32, n),
            tau_ops_ns=(np.float32, n),
            share_ops=(np.float32, n),
        )
        _check_channels(self.name, self.channels)
        find_material(self.material)
        _check_activity(self.name, self.activity_mbq)
        _require_map(self.name, "activity", self.activity)
        if not self.activity.sum() > 0 and self.activity_mbq:
            raise SettingsError(f"voxel phantom {self.name!r}: its activity map is zero everywhere")
        if self.density is not None:
            _require_map(self.name, "density", self.density)
        active = self.activity > 0
        if self.tau_ops_ns is not None:
            _require_map(self.name, "tau_ops_ns", self.tau_ops_ns)
            if not np.all(self.tau_ops_ns[active] > 0):
                raise SettingsError(
                    f"voxel phantom {self.name!r}: tau_ops_ns is zero where there is activity"
                )
        if self.share_ops is not None:
            _require_map(self.name, "share_ops", self.share_ops)
            if self.share_ops.max() > 1:
                raise SettingsError(
                    f"voxel phantom {self.name!r}: share_ops reaches {self.share_ops.max():g}, "
                    "expected 0 to 1"
                )
        own = {channel.name: channel.share for channel in self.channels}
        if self.share_ops is not None and own.get("ops", 0.0) > 0:
            both = float(self.share_ops.max()) * (1.0 + own.get("pps", 0.0) / own["ops"])
            if both > 1.0 + 1e-6:
                raise SettingsError(
                    f"voxel phantom {self.name!r}: share_ops reaches {self.share_ops.max():g}, and "
                    f"with the p-Ps that goes with it {both:g}; expected at most 1"
                )
        if self.share_ops is not None and not self.channels[-1].share > 0:
            raise SettingsError(
                f"voxel phantom {self.name!r}: with a map share_ops its channels need a share of "
                "o-Ps above zero, which says how p-Ps goes with it"
            )
        if self.has_maps and [c.name for c in self.channels] != ["pps", "direct", "ops"]:
            raise SettingsError(
                f"voxel phantom {self.name!r}: maps of o-Ps need the channels pps, direct, ops"
            )

    @property
    def has_maps(self) -> bool:
        """Whether the lifetime or the share of o-Ps differs from voxel to voxel."""
        return self.tau_ops_ns is not None or self.share_ops is not None


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Phantom:
    """Voxels at the bottom, regions upon them in their order, and lines and points of activity."""

    regions: tuple[PhantomRegion, ...] = ()
    lines: tuple[LineSource, ...] = ()
    voxels: VoxelPhantom | None = None

    def __post_init__(self) -> None:
        if not self.regions and self.voxels is None:
            raise SettingsError("the phantom has no region; give it one, or a voxel phantom")
        names = [r.name for r in self.regions] + [line.name for line in self.lines]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"two parts of the phantom are called {name!r}; rename one")
        for line in self.lines:
            start, end = np.array([line.start_mm, line.end_mm])
            points = start + np.linspace(0.0, 1.0, 1001)[:, None] * (end - start)
            inside = np.any([region.contains(points) for region in self.regions], axis=0)
            if self.voxels is not None:
                inside = inside | (self.voxels.grid.voxel_of(points) >= 0)
            if not np.all(inside):
                raise SettingsError(
                    f"source {line.name!r} lies outside every region, all or a part of it, and no "
                    "lifetime is known there; put a region around it"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what a region number of the truth stands for."""
        voxels = () if self.voxels is None else (self.voxels.name,)
        return voxels + tuple(region.name for region in self.regions)

    @property
    def reach_mm(self) -> float:
        """Largest distance from the scanner's axis of what is in it [mm]."""
        reaches = [_reach_mm(shape) for region in self.regions for shape in region.shapes]
        if self.voxels is not None:
            grid = self.voxels.grid
            filled = np.ones(grid.n_voxel, np.bool_)
            if self.voxels.density is not None:
                filled = (self.voxels.density > 0) | (self.voxels.activity > 0)
            across = filled.reshape(grid.shape).any(axis=2)
            x, y = np.meshgrid(
                np.abs(grid.axis_mm(0)) + 0.5 * grid.voxel_mm[0],
                np.abs(grid.axis_mm(1)) + 0.5 * grid.voxel_mm[1],
                indexing="ij",
            )
            reaches.append(float(np.max(np.hypot(x, y), where=across, initial=0.0)))
        return max(reaches)

    def sees_voxels(self) -> bool:
        """Return whether the middle of any voxel with activity is in no region."""
        if self.voxels is None:
            return False
        centres = self.voxels.grid.centres_mm()[self.voxels.activity > 0]
        free = np.ones(len(centres), np.bool_)
        for region in self.regions:
            free &= ~region.contains(centres)
        return bool(free.any())

    def visible_ml(self, index: int) -> float:
        """Return the volume of the ``index``-th region that no later one displaces [mL].

        Exact where nothing overlaps; else from 2**18 points spread evenly, good to about one part
        in a thousand.
        """
        region = self.regions[index]
        low, high = region.bounds_mm
        later = self.regions[index + 1 :]
        apart = len(region.shapes) == 1 and all(
            np.any(other.bounds_mm[0] >= high) or np.any(other.bounds_mm[1] <= low)
            for other in later
        )
        if apart:
            return _volume_ml(region.shapes[0])
        point = low + _lattice(2**18) * (high - low)
        inside = region.contains(point)
        for other in later:
            inside &= ~other.contains(point)
        return float(inside.mean() * np.prod(high - low) * 1e-3)

    def activities_mbq(self) -> NDArray[np.float64]:
        """Return the activity of voxels, regions and lines, in this order [MBq]."""
        parts = [] if self.voxels is None else [self.voxels.activity_mbq]
        for i, region in enumerate(self.regions):
            if region.activity_kbq_ml is not None:
                parts.append(1e-3 * region.activity_kbq_ml * self.visible_ml(i))
            else:
                parts.append(region.activity_mbq or 0.0)
        parts += [line.activity_mbq for line in self.lines]
        return np.array(parts, dtype=np.float64)

    def displaced(self) -> list[tuple[str, str]]:
        """Return which regions lose room to which later ones, as pairs of names."""
        pairs = []
        for i, region in enumerate(self.regions):
            for other in self.regions[i + 1 :]:
                low, high = other.bounds_mm
                point = low + _lattice(2**12) * (high - low)
                if np.any(other.contains(point) & region.contains(point)):
                    pairs.append((region.name, other.name))
        return pairs


def _lattice(n: int) -> NDArray[np.float64]:
    """Return (n, 3) points spread evenly over the unit cube.

    M. Roberts's additive recurrence: the steps are powers of the root of x^4 = x + 1.
    """
    root = 1.2207440846057596
    steps = root ** -np.arange(1.0, 4.0)
    return np.asarray((0.5 + np.arange(n)[:, None] * steps) % 1.0)


def _reach_mm(shape: Shape) -> float:
    """Return the largest distance of a shape from the scanner's axis."""
    x, y, _ = (abs(c) for c in shape.centre_mm)
    if isinstance(shape, Box):
        return math.hypot(x + shape.half_length_mm[0], y + shape.half_length_mm[1])
    return math.hypot(x, y) + shape.radius_mm


def _volume_ml(shape: Shape) -> float:
    if isinstance(shape, Sphere):
        return 4e-3 / 3.0 * math.pi * shape.radius_mm**3
    if isinstance(shape, Box):
        x, y, z = shape.half_length_mm
        return 8e-3 * x * y * z
    whole = 2e-3 * math.pi * shape.radius_mm**2 * shape.half_length_mm
    return 0.5 * whole if isinstance(shape, HalfCylinder) else whole


def _check_channels(name: str, channels: tuple[Channel, ...]) -> None:
    total = sum(channel.share for channel in channels)
    if abs(total - 1) > 1e-6:
        listed = ", ".join(f"{c.name} {c.share:g}" for c in channels) or "none"
        raise SettingsError(
            f"region {name!r}: the shares of its channels sum to {total:g}, expected 1 ({listed})"
        )


def _check_activity(name: str, activity: float | None) -> None:
    if activity is not None and not (math.isfinite(activity) and activity >= 0):
        raise SettingsError(f"{name!r}: activity {activity:g}, expected zero or more")


def _require_map(name: str, what: str, values: NDArray[np.floating]) -> None:
    if not np.all(np.isfinite(values)) or values.min() < 0:
        raise SettingsError(
            f"voxel phantom {name!r}: its map {what} holds negative or non-finite values"
        )
