"""Phantoms in use, ready made."""

import math
from collections.abc import Sequence

from psimg.core.regions import Box, Cylinder, Sphere, Vector
from psimg.simulate.phantom import (
    WATER_CHANNELS,
    Channel,
    HalfCylinder,
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


REFERENCE_CHANNELS = {
    "quartz": ps_channels(1.538, share_ops=0.25),
    "polycarbonate": ps_channels(1.927, share_ops=0.30),
    "xad-4": (
        Channel(name="pps", tau_ns=0.125, share=0.16),
        Channel(name="direct", tau_ns=0.388, share=0.36),
        Channel(name="ops", tau_ns=2.45, share=0.03),
        Channel(name="ops_pores", tau_ns=90.0, share=0.45),
    ),
}
"""Channels of reference materials."""
