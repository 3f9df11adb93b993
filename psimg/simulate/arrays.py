"""Phantom, detector and physics as the arrays that compiled loops take."""

import math

import numpy as np
from numpy.typing import NDArray

from psimg.core.regions import Box, Sphere
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.simulate import _body, _decays
from psimg.simulate._body import Frame
from psimg.simulate._decays import Lifetimes, Sources, Switches
from psimg.simulate._photons import STOP_KEV, Ring
from psimg.simulate._readout import Response
from psimg.simulate.detector import Detector
from psimg.simulate.materials import MAX_KEV, Material, attenuation_tables, find_material
from psimg.simulate.phantom import Channel, HalfCylinder, Phantom, Shape
from psimg.simulate.physics import Physics


def materials_of(phantom: Phantom) -> tuple[Material, ...]:
    """Return the materials of a phantom, each once."""
    parts = [] if phantom.voxels is None else [phantom.voxels.material]
    parts += [region.material for region in phantom.regions]
    return tuple(find_material(name) for name in dict.fromkeys(parts))


def shapes_of(phantom: Phantom, materials: tuple[Material, ...]) -> NDArray[np.float64]:
    """Return the (S, 9) table of a phantom's shapes, later ones above those before them."""
    names = [material.name for material in materials]
    rows = []
    if phantom.voxels is not None:
        low, high = phantom.voxels.grid.low_mm, phantom.voxels.grid.high_mm
        material = names.index(phantom.voxels.material)
        rows.append([_body.VOXELS, *(0.5 * (low + high)), *(0.5 * (high - low)), 0, material])
    n_below = len(rows)
    for number, region in enumerate(phantom.regions):
        for shape in region.shapes:
            row = [_kind(shape), *shape.centre_mm, *_lengths(shape)]
            rows.append([*row, n_below + number, names.index(region.material)])
    return np.array(rows, dtype=np.float64)


def coefficients_of(
    phantom: Phantom, materials: tuple[Material, ...], detector: Detector, max_kev: int
) -> NDArray[np.float64]:
    """Return the (E, 2M + 3) coefficients at each keV up to ``max_kev`` [1/mm].

    The highest anywhere in the phantom; those for Compton and photoelectric effect of the
    scintillator, and of each of the phantom's materials.
    """
    compton, photo = _tables(materials, max_kev)
    thickest = np.ones(len(materials))
    if phantom.voxels is not None and phantom.voxels.density is not None:
        thickest[0] = max(1.0, float(phantom.voxels.density.max()))
    highest = np.max((compton + photo) * thickest[:, None], axis=0)
    both = np.stack([compton, photo], axis=1).reshape(2 * len(materials), -1)
    own = _tables((find_material(detector.material),), max_kev)
    rows = np.vstack([highest, *(detector.packing * part for part in own), both])
    return np.ascontiguousarray(rows.T)


def _tables(
    materials: tuple[Material, ...], max_kev: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients up to any energy; above those tabulated they stay as they are there."""
    n_more = max(0, max_kev - MAX_KEV)
    compton, photo = attenuation_tables(materials, min(max_kev, MAX_KEV))
    pad = ((0, 0), (0, n_more))
    return np.pad(compton, pad, "edge"), np.pad(photo, pad, "edge")


def frame_of(phantom: Phantom) -> Frame:
    """Return the cylinder around a phantom, a little wider than it, and its voxels."""
    extents = [shape.bounds_mm for region in phantom.regions for shape in region.shapes]
    grid = None if phantom.voxels is None else phantom.voxels.grid
    if grid is not None:
        extents.append((grid.low_mm, grid.high_mm))
    low = np.min([one for one, _ in extents], axis=0)
    high = np.max([other for _, other in extents], axis=0)
    centre = 0.5 * (low + high)
    reach = 0.0
    if grid is not None:
        corners = np.array([grid.low_mm, grid.high_mm]) - centre
        reach = math.hypot(*np.abs(corners[:, :2]).max(axis=0))
    for region in phantom.regions:
        for shape in region.shapes:
            away = math.hypot(*(np.asarray(shape.centre_mm) - centre)[:2])
            across = math.hypot(*_lengths(shape)[:2]) if isinstance(shape, Box) else shape.radius_mm
            reach = max(reach, away + across)
    n_x, n_y, n_z = (0, 0, 0) if grid is None else grid.shape
    low_x, low_y, low_z = (0.0, 0.0, 0.0) if grid is None else map(float, grid.low_mm)
    size_x, size_y, size_z = (1.0, 1.0, 1.0) if grid is None else grid.voxel_mm
    slack = 1e-6
    return Frame(
        x=float(centre[0]), y=float(centre[1]), radius=reach + slack,
        low=float(low[2]) - slack, high=float(high[2]) + slack,
        n_x=n_x, n_y=n_y, n_z=n_z, low_x=low_x, low_y=low_y, low_z=low_z,
        size_x=float(size_x), size_y=float(size_y), size_z=float(size_z),
    )  # fmt: skip


def density_of(phantom: Phantom) -> NDArray[np.float32]:
    """Return the (V,) relative densities of a phantom's voxels; empty where they are all 1."""
    if phantom.voxels is None or phantom.voxels.density is None:
        return np.empty(0, np.float32)
    # Kernels are compiled for arrays that can be written to, and frozen ones are of another type.
    return phantom.voxels.density.copy()


def _kind(shape: Shape) -> int:
    if isinstance(shape, Sphere):
        return _body.SPHERE
    if isinstance(shape, Box):
        return _body.BOX
    return _body.HALF_CYLINDER if isinstance(shape, HalfCylinder) else _body.CYLINDER


def _lengths(shape: Shape) -> tuple[float, float, float]:
    if isinstance(shape, Box):
        return shape.half_length_mm
    return shape.radius_mm, 0.0 if isinstance(shape, Sphere) else shape.half_length_mm, 0.0


def sources_of(phantom: Phantom, activities: NDArray[np.float64]) -> Sources:
    """Return where decays happen; ``activities`` as `Phantom.activities_mbq` has them."""
    kind, region, place = [], [], []
    voxel = np.empty(0)
    if phantom.voxels is not None:
        kind.append(_decays.IN_VOXELS)
        region.append(0)
        grid = phantom.voxels.grid
        place.append([*grid.low_mm, *grid.high_mm])
        total = phantom.voxels.activity.sum()
        voxel = np.cumsum(phantom.voxels.activity) / (total if total > 0 else 1.0)
        voxel[np.argmax(voxel >= voxel[-1]) :] = 1.0
    for part in phantom.regions:
        kind.append(_decays.IN_REGION)
        region.append(len(region))
        low, high = part.bounds_mm
        place.append([*low, *high])
    for line in phantom.lines:
        at_point = line.start_mm == line.end_mm
        kind.append(_decays.AT_POINT if at_point else _decays.ON_LINE)
        region.append(-1)
        place.append([*line.start_mm, *line.end_mm])
    return Sources(
        kind=np.array(kind),
        cumulative=_cumulative(activities),
        region=np.array(region),
        place=np.array(place, dtype=np.float64),
        voxel=voxel,
    )


def _cumulative(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative shares that reach 1 with the last one above zero."""
    total = np.cumsum(shares) / np.sum(shares)
    total[np.flatnonzero(shares)[-1] :] = 1.0
    return np.asarray(total)


def lifetimes_of(phantom: Phantom) -> Lifetimes:
    """Return how positrons annihilate in each region."""
    channels: list[tuple[Channel, ...]] = []
    none = np.empty(0, np.float32)
    voxel_ops, voxel_tau = none, none
    if phantom.voxels is not None:
        own = phantom.voxels.channels
        channels.append(own)
        if phantom.voxels.has_maps:
            n = phantom.voxels.grid.n_voxel
            share, tau = phantom.voxels.share_ops, phantom.voxels.tau_ops_ns
            voxel_ops = np.full(n, own[2].share, np.float32) if share is None else share.copy()
            voxel_tau = np.full(n, own[2].tau_ns, np.float32)
            if tau is not None:
                # Positrons may come to rest where there is no activity and no lifetime is given.
                np.copyto(voxel_tau, tau, where=tau > 0)
    channels += [region.channels for region in phantom.regions]
    n_most = max(len(some) for some in channels)
    cumulative, tau_ns = np.ones((2, len(channels), n_most))
    for row, some in enumerate(channels):
        cumulative[row, : len(some)] = _cumulative(np.array([c.share for c in some]))
        tau_ns[row, : len(some)] = [c.tau_ns for c in some]
    return Lifetimes(share=cumulative, tau=tau_ns, voxel_ops=voxel_ops, voxel_tau=voxel_tau)


def ring_of(detector: Detector, *, lowest_kev: float) -> Ring:
    """Return a detector's geometry as numbers; hits below ``lowest_kev`` are not wanted."""
    return Ring(
        inner=detector.inner_radius_mm,
        outer=detector.outer_radius_mm,
        half=0.5 * detector.length_mm,
        thickness=detector.thickness_mm,
        n_module=detector.n_modules,
        half_width=0.5 * detector.module_width_mm,
        n_around=detector.crystals_around,
        n_along=detector.crystals_along,
        # No resolution doubles an energy of tens of keV.
        lost=max(STOP_KEV, 0.5 * lowest_kev),
    )


def faces_of(detector: Detector) -> NDArray[np.float64]:
    """Return the (crystals around, 4) places of crystals.

    Cosine and sine of the direction in which a crystal's depth is measured, and x and y of its
    middle carried back to distance 0 from the axis [mm].
    """
    n = detector.crystals_around
    if not detector.n_modules:
        angle = 2.0 * math.pi * (np.arange(n) + 0.5) / n
        across = np.zeros(n)
    else:
        per_module = n // detector.n_modules
        module, strip = np.divmod(np.arange(n), per_module)
        angle = 2.0 * math.pi * module / detector.n_modules
        across = ((strip + 0.5) / per_module - 0.5) * detector.module_width_mm
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos, sin, -across * sin, across * cos], axis=1)


def response_of(detector: Detector, *, lowest_kev: float) -> Response:
    """Return what a detector's electronics do; hits below ``lowest_kev`` are not passed on."""
    depth = detector.depth_fwhm_mm
    return Response(
        block_around=detector.block_around,
        block_along=detector.block_along,
        lowest=lowest_kev,
        energy_fwhm=detector.energy_fwhm,
        sigma=detector.sigma_single_ns,
        integration=detector.integration_ns,
        radius=detector.placed_radius_mm if depth is None else 0.0,
        sigma_depth=(depth or 0.0) / FWHM_PER_SIGMA,
        sigma_z=(detector.axial_fwhm_mm or 0.0) / FWHM_PER_SIGMA,
        walk=detector.walk_ns,
    )


def switches_of(physics: Physics) -> Switches:
    """Return the physics as flags."""
    return Switches(
        phantom=physics.attenuation,
        range=physics.positron_range,
        flight=physics.in_flight,
        sigma_angle=math.radians(physics.acollinearity_fwhm_deg) / FWHM_PER_SIGMA,
    )
