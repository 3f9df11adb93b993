"""Phantoms in use, ready made."""

import math
from collections.abc import Sequence
from dataclasses import replace

from psimg.core.errors import SettingsError
from psimg.core.regions import Box, Cylinder, Sphere, Vector
from psimg.simulate.phantom import (
    WATER_CHANNELS,
    Channel,
    HalfCylinder,
    LineSource,
    Phantom,
    PhantomRegion,
    ps_channels,
)

NEMA_DIAMETERS_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
"""Inner diameters of the spheres of the NEMA image-quality phantom (NEMA NU 2-2018) [mm]."""
NEMA_CIRCLE_MM = 57.2
"""Distance of the spheres' centres from the axis of the lung insert (NEMA NU 2-2018) [mm]."""


def nema_iq(
    *,
    sphere_kbq_ml: float,
    background_kbq_ml: float = 0.0,
    spheres: Sequence[tuple[Channel, ...]] = (WATER_CHANNELS,) * 6,
    background: tuple[Channel, ...] = WATER_CHANNELS,
    first_sphere_deg: float = 0.0,
) -> Phantom:
    """Return the NEMA image-quality phantom: body, lung insert, six spheres.

    The origin is the middle of the circle of spheres. Inner dimensions (NEMA NU 2-2018): the body
    is a half cylinder of 147 mm radius above two quarter cylinders of 77 mm radius and what lies
    between them, 180 mm long, in PMMA 3 mm thick; the spheres are 70 mm from one end; the lung
    insert, 50 mm across, runs through the whole length. Sphere walls are left out.

    Parameters
    ----------
    sphere_kbq_ml, background_kbq_ml : float
        Concentration of activity in the spheres and in the body [kBq/mL].
    spheres : sequence of six tuples of Channel
        How positrons annihilate in each sphere, the smallest first.
    background : tuple of Channel
        The same in the body.
    first_sphere_deg : float
        Direction of the smallest sphere from the x axis; the next follow at 60 degrees each.
    """
    wall = _body_shapes(150.0, 80.0, 93.0, centre_z=-20.0)
    inside = _body_shapes(147.0, 77.0, 90.0, centre_z=-20.0)
    regions = [
        PhantomRegion(name="wall", shapes=wall, material="pmma"),
        PhantomRegion(
            name="body",
            shapes=inside,
            channels=background,
            activity_kbq_ml=background_kbq_ml,
        ),
        PhantomRegion(
            name="lung",
            shapes=(_rod("lung", (0.0, 0.0, -20.0), 25.0, 90.0),),
            material="lung-insert",
        ),
    ]
    for i, (diameter, channels) in enumerate(zip(NEMA_DIAMETERS_MM, spheres, strict=True)):
        angle = math.radians(first_sphere_deg + 60.0 * i)
        centre = (NEMA_CIRCLE_MM * math.cos(angle), NEMA_CIRCLE_MM * math.sin(angle), 0.0)
        name = f"sphere_{diameter:g}mm"
        ball = Sphere(name=name, centre_mm=centre, radius_mm=diameter / 2)
        regions.append(
            PhantomRegion(
                name=name, shapes=(ball,), channels=channels, activity_kbq_ml=sphere_kbq_ml
            )
        )
    return Phantom(regions=tuple(regions))


def _body_shapes(
    upper_mm: float, lower_mm: float, half_length_mm: float, centre_z: float
) -> tuple[HalfCylinder | Cylinder | Box, ...]:
    """Return the outline of the body; its upper half is centred 35 mm below the spheres' circle."""
    y = -35.0
    across = 70.0
    halves = {"half_length_mm": half_length_mm}
    return (
        HalfCylinder(name="upper", centre_mm=(0.0, y, centre_z), radius_mm=upper_mm, **halves),
        Cylinder(name="left", centre_mm=(-across, y, centre_z), radius_mm=lower_mm, **halves),
        Cylinder(name="right", centre_mm=(across, y, centre_z), radius_mm=lower_mm, **halves),
        Box(
            name="between",
            centre_mm=(0.0, y - 0.5 * lower_mm, centre_z),
            half_length_mm=(across, 0.5 * lower_mm, half_length_mm),
        ),
    )


def _rod(name: str, centre_mm: Vector, radius_mm: float, half_length_mm: float) -> Cylinder:
    return Cylinder(
        name=name, centre_mm=centre_mm, radius_mm=radius_mm, half_length_mm=half_length_mm
    )


def cylinder_phantom(
    *,
    radius_mm: float = 100.0,
    half_length_mm: float = 90.0,
    activity_mbq: float = 1.0,
    channels: tuple[Channel, ...] = WATER_CHANNELS,
    material: str = "water",
) -> Phantom:
    """Return a cylinder filled uniformly."""
    shape = _rod("body", (0.0, 0.0, 0.0), radius_mm, half_length_mm)
    return Phantom(
        regions=(
            PhantomRegion(
                name="body",
                shapes=(shape,),
                material=material,
                channels=channels,
                activity_mbq=activity_mbq,
            ),
        )
    )


THREE_PHOTON_NS = 142.0
"""Mean life of o-Ps in vacuum, where it goes to three photons (see docs/physics.md) [ns]."""


def two_photon_channels(channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
    """Return the channels as shares of the positrons that go to two photons, as all do here.

    Of o-Ps that lives tau, tau/142 ns goes to three photons.
    """
    shares = [
        c.share * (1.0 - c.tau_ns / THREE_PHOTON_NS if c.name.startswith("ops") else 1.0)
        for c in channels
    ]
    return tuple(
        replace(channel, share=share / sum(shares))
        for channel, share in zip(channels, shares, strict=True)
    )


REFERENCE_CHANNELS = {
    # Mean lives of o-Ps: reference materials NMIJ CRM 5601-a, 1.62(5) ns, and 5602-a, 2.10(5) ns,
    # commonly quoted. Shares of o-Ps: assumed, within the 40 to 60 % and 25 to 35 % commonly
    # quoted. Direct annihilation: commonly quoted as 0.37 to 0.40 ns. p-Ps: a third of o-Ps.
    "quartz": ps_channels(1.62, share_ops=0.50),
    "polycarbonate": ps_channels(2.10, share_ops=0.30),
    # Evacuated: J-PET's Geant4 code has o-Ps of 2.45, 10 and 90 ns at 3.3, 2.8 and 44.8 %, and
    # 0.45 ns for direct annihilation. p-Ps, a third of all o-Ps: assumed. Air or water in the
    # pores shortens the long ones.
    "xad-4": two_photon_channels(
        (
            Channel(name="pps", tau_ns=0.125, share=0.170),
            Channel(name="direct", tau_ns=0.45, share=0.321),
            Channel(name="ops", tau_ns=2.45, share=0.033),
            Channel(name="ops_middle", tau_ns=10.0, share=0.028),
            Channel(name="ops_pores", tau_ns=90.0, share=0.448),
        )
    ),
}
"""Channels of reference materials, without those of a source's foil."""


def reference_block(
    material: str,
    *,
    activity_mbq: float = 1.0,
    channels: tuple[Channel, ...] | None = None,
    radius_mm: float = 15.0,
    thickness_mm: float = 10.0,
    spot_mm: float = 4.0,
    source_share: float = 0.1,
    source_tau_ns: float = 0.382,
) -> Phantom:
    """Return a sealed source between two discs of a reference material, at the scanner's centre.

    The discs lie on each other along the axis. The foil of the source is thinner than positrons
    travel, and is not made of matter here: a known share of all positrons annihilate as they would
    in it.

    Parameters
    ----------
    material : str
        ``quartz``, ``polycarbonate`` or ``xad-4``.
    activity_mbq : float
        Activity of the source [MBq].
    channels : tuple of Channel, optional
        How positrons annihilate in the discs; `REFERENCE_CHANNELS` when left out.
    radius_mm, thickness_mm : float
        Of each disc [mm].
    spot_mm : float
        Length of the dried drop, a line across the axis; 0 for a point [mm].
    source_share : float
        Share of all positrons that annihilate in the foil. About 0.1 for 22Na in Kapton of 7.5 um,
        commonly quoted; more where the disc scatters them back.
    source_tau_ns : float
        Their mean life [ns]. Kapton has one, 0.382 ns, commonly quoted; 0.374 in J-PET's Geant4
        code.
    """
    if channels is None:
        if material not in REFERENCE_CHANNELS:
            raise SettingsError(
                f"material {material!r} has no channels; use one of "
                f"{', '.join(REFERENCE_CHANNELS)}, or give channels"
            )
        channels = REFERENCE_CHANNELS[material]
    foil = Channel(name="source", tau_ns=source_tau_ns, share=source_share)
    sample = tuple(replace(c, share=c.share * (1.0 - source_share)) for c in channels)
    return Phantom(
        regions=(
            PhantomRegion(
                name="discs",
                shapes=(_rod("discs", (0.0, 0.0, 0.0), radius_mm, thickness_mm),),
                material=material,
                channels=(*sample, foil),
            ),
        ),
        lines=(
            LineSource(
                name="source",
                start_mm=(-0.5 * spot_mm, 0.0, 0.0),
                end_mm=(0.5 * spot_mm, 0.0, 0.0),
                activity_mbq=activity_mbq,
            ),
        ),
    )
