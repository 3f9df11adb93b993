"""Phantoms: where decays happen and how long positrons live there."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.regions import Box, Cylinder, Sphere


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A volume of uniform activity with one set of lifetimes."""

    region: Sphere | Cylinder | Box
    activity_share: float
    """Share of the phantom's activity, 0 to 1."""
    tau_ops_ns: float
    """Mean life of o-Ps [ns]."""
    tau_pps_ns: float = 0.125
    """Mean life of p-Ps [ns]."""
    tau_direct_ns: float = 0.388
    """Mean life of direct annihilation [ns]."""
    intensity_pps: float = 0.1
    """Share of positrons that annihilate from p-Ps."""
    intensity_ops: float = 0.3
    """Share of positrons that annihilate from o-Ps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phantom:
    """Sources; where they overlap, the one named last displaces those before it."""

    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        total = sum(source.activity_share for source in self.sources)
        if abs(total - 1) > 1e-9:
            raise SettingsError(f"the sources' activity shares sum to {total:g}, expected 1")

    def draw_points(
        self, source: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw a point uniformly in the free part of the source of each of N decays [mm]."""
        point = np.empty((len(source), 3))
        for s, this in enumerate(self.sources):
            low, high = this.region.bounds_mm
            missing = np.flatnonzero(source == s)
            while len(missing):
                trial = rng.uniform(low, high, size=(len(missing), 3))
                good = this.region.contains(trial)
                for later in self.sources[s + 1 :]:
                    good &= ~later.region.contains(trial)
                point[missing[good]] = trial[good]
                missing = missing[~good]
        return point


NEMA_DIAMETERS_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
"""Inner diameters of the spheres of the NEMA image-quality phantom (NEMA NU 2-2018) [mm]."""


def nema_like(
    tau_ops_ns: tuple[float, ...] = (1.5, 1.8, 2.1, 2.4, 2.7, 3.0), tau_body_ns: float = 2.0
) -> Phantom:
    """Return six hot spheres of the NEMA diameters in a warm cylinder.

    The centres are those of the image-quality phantom: on a circle of 57.2 mm radius, 60 degrees
    apart. Each sphere holds 13 % of the activity whatever its size, so that the small ones have
    events enough in a short acquisition; the cylinder of 200 mm diameter and 180 mm length holds
    the other 22 %.

    Parameters
    ----------
    tau_ops_ns : tuple of float
        Mean life of o-Ps in each sphere, the smallest first [ns].
    tau_body_ns : float
        Mean life of o-Ps in the cylinder [ns].
    """
    share = 0.13
    body = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=100.0, half_length_mm=90.0)
    sources = [
        Source(
            region=body,
            activity_share=1 - share * len(NEMA_DIAMETERS_MM),
            tau_ops_ns=tau_body_ns,
        )
    ]
    for i, (diameter, tau) in enumerate(zip(NEMA_DIAMETERS_MM, tau_ops_ns, strict=True)):
        angle = math.radians(60.0 * i)
        centre = (57.2 * math.cos(angle), 57.2 * math.sin(angle), 0.0)
        sphere = Sphere(name=f"sphere_{diameter:g}mm", centre_mm=centre, radius_mm=diameter / 2)
        sources.append(Source(region=sphere, activity_share=share, tau_ops_ns=tau))
    return Phantom(sources=tuple(sources))
