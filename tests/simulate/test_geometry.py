import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.grid import VoxelGrid
from psimg.core.regions import Box, Cylinder, Sphere
from psimg.simulate import Detector, HalfCylinder, Phantom, PhantomRegion, VoxelPhantom
from psimg.simulate._body import OUTSIDE, REGION, crossing, shape_at, voxel_of
from psimg.simulate._photons import crystal_of, is_around, module_place, to_bore, turn_of
from psimg.simulate._readout import block_of
from psimg.simulate.arrays import (
    faces_of,
    frame_of,
    materials_of,
    response_of,
    ring_of,
    shapes_of,
)
from psimg.simulate.phantoms import nema_iq

pytestmark = pytest.mark.kernel

KINDS = Phantom(
    regions=(
        PhantomRegion(
            name="both",
            shapes=(
                Box(name="b", centre_mm=(5.0, -8.0, 3.0), half_length_mm=(40.0, 20.0, 30.0)),
                HalfCylinder(
                    name="h", centre_mm=(-10.0, 5.0, -5.0), radius_mm=35.0, half_length_mm=25.0
                ),
            ),
        ),
        PhantomRegion(
            name="rod",
            material="pmma",
            shapes=(
                Cylinder(name="c", centre_mm=(20.0, 10.0, 0), radius_mm=25.0, half_length_mm=40.0),
            ),
        ),
        PhantomRegion(
            name="ball", shapes=(Sphere(name="s", centre_mm=(0.0, 12.0, 8.0), radius_mm=18.0),)
        ),
    )
)
GRID = VoxelGrid(shape=(5, 7, 3), voxel_mm=(9.0, 6.0, 15.0), origin_mm=(-20.0, -17.0, -12.0))
VOXELS = VoxelPhantom(name="v", grid=GRID, activity=np.ones(105), activity_mbq=1.0)
RING = Detector(
    inner_radius_mm=100.0, thickness_mm=20.0, length_mm=60.0, crystals_around=60, crystals_along=12,
    block_around=5, block_along=4, crt_ns=0.2, energy_fwhm=0.1,
)  # fmt: skip
MODULES = Detector(
    inner_radius_mm=100.0, thickness_mm=25.0, length_mm=60.0, n_modules=8, module_width_mm=70.0,
    crystals_around=56, crystals_along=3, block_around=7, crt_ns=0.2, energy_fwhm=0.1,
)  # fmt: skip
DETECTORS = pytest.mark.parametrize("detector", [RING, MODULES], ids=["ring", "modules"])


def ring(detector):
    return ring_of(detector, lowest_kev=0.0)


def random_points(low, high, n, seed):
    return np.random.default_rng(seed).uniform(low, high, size=(n, 3))


def region_at(phantom, points):
    shapes = shapes_of(phantom, materials_of(phantom))
    rows = [shape_at(*point, shapes) for point in points]
    return np.array([-1 if row == OUTSIDE else shapes[row, REGION] for row in rows])


@pytest.mark.parametrize(
    "phantom", [KINDS, nema_iq(sphere_kbq_ml=1.0)], ids=["each kind", "nema_iq"]
)
def test_a_point_is_in_the_last_region_that_contains_it(phantom):
    frame = frame_of(phantom)
    reach = frame.radius
    points = random_points([-reach, -reach, frame.low], [reach, reach, frame.high], 2000, 31)

    expected = np.full(len(points), -1)
    for number, region in enumerate(phantom.regions):
        expected[region.contains(points)] = number
    assert_array_equal(region_at(phantom, points), expected)
    assert len(np.unique(expected)) == len(np.unique(region_at(phantom, points))) >= 4


def test_voxels_lie_below_all_regions():
    phantom = Phantom(voxels=VOXELS, regions=KINDS.regions)
    points = random_points(-60.0, 60.0, 2000, 32)

    expected = np.where(GRID.voxel_of(points) >= 0, 0, -1)
    for number, region in enumerate(phantom.regions, start=1):
        expected[region.contains(points)] = number
    assert_array_equal(region_at(phantom, points), expected)


def test_points_on_a_surface_are_inside():
    box, _, ball = KINDS.regions
    for region, point in [(box, (45.0, -28.0, 33.0)), (ball, (0.0, 30.0, 8.0))]:
        assert region_at(Phantom(regions=(region,)), [point])[0] == 0
        outside = np.multiply(point, 1 + 1e-9)
        assert region_at(Phantom(regions=(region,)), [outside])[0] == -1


def test_a_voxel_is_that_of_the_grid():
    frame = frame_of(Phantom(voxels=VOXELS))
    points = random_points(GRID.low_mm, GRID.high_mm, 2000, 33)

    assert_array_equal([voxel_of(*point, frame) for point in points], GRID.voxel_of(points))
    centres = GRID.centres_mm()
    assert_array_equal([voxel_of(*point, frame) for point in centres], np.arange(105))
    assert voxel_of(*GRID.high_mm, frame) == 104
    assert voxel_of(*GRID.low_mm, frame) == 0


def test_the_frame_holds_the_phantom():
    for phantom in (KINDS, Phantom(voxels=VOXELS), nema_iq(sphere_kbq_ml=1.0)):
        frame = frame_of(phantom)
        reach = 2 * frame.radius
        points = random_points(-reach, reach, 3000, 34)
        inside = region_at(phantom, points) >= 0

        assert inside.any()
        assert all(is_around(*point, frame) for point in points[inside])


def test_a_ray_crosses_the_frame_where_slow_marching_says():
    frame = frame_of(KINDS)
    rng = np.random.default_rng(35)
    step = 0.25
    way = np.arange(0.0, 600.0, step)
    n_missed = n_inside = 0
    for k in range(300):
        start = rng.uniform(-90.0, 90.0, 3)
        direction = rng.normal(size=3)
        if k % 5 == 0:
            direction[k // 5 % 3] = 0.0
        if k % 50 == 1:
            direction[:2] = 0.0
        direction /= np.linalg.norm(direction)
        x, y, z = (start + way[:, None] * direction).T
        across = np.hypot(x - frame.x, y - frame.y)
        seen = np.flatnonzero((across < frame.radius) & (frame.low < z) & (z < frame.high))

        near, far = crossing(*start, *direction, frame)

        if len(seen):
            assert_allclose([near, far], way[seen[[0, -1]]], atol=step)
            n_inside += near == 0.0
        else:
            n_missed += 1
            # A corner may be cut between two steps.
            assert far - near < step
    assert n_missed > 50
    assert n_inside > 20


def test_the_turn_of_a_point_is_its_angle():
    angle = np.random.default_rng(36).uniform(0.0, 2 * np.pi, 3000)
    angle = np.concatenate([angle, np.arange(8) * np.pi / 4 + 1e-9])
    for radius in (1.0, 400.0):
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        turn = np.array([turn_of(*point) for point in zip(x, y, strict=True)])

        expected = np.arctan2(y, x)
        away = (2 * np.pi * turn - expected + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(away).max() < 2e-5
        assert turn.min() >= 0.0
        assert turn.max() <= 1.0


def points_in(detector, n, seed):
    """Points in the cylinder around the detectors, outside the bore."""
    rng = np.random.default_rng(seed)
    r = np.sqrt(rng.uniform(detector.inner_radius_mm**2, detector.outer_radius_mm**2, n))
    angle = rng.uniform(0.0, 2 * np.pi, n)
    z = rng.uniform(-0.5, 0.5, n) * detector.length_mm
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


def test_a_point_is_in_the_module_nearest_to_it():
    angle = 2 * np.pi * np.arange(8) / 8
    out = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    for point in points_in(MODULES, 500, 37):
        nearest = int(np.argmax(out @ point[:2]))

        module, across, depth = module_place(point[0], point[1], ring(MODULES))

        assert module == nearest
        assert across == pytest.approx(along[nearest] @ point[:2], abs=1e-9)
        assert depth == pytest.approx(out[nearest] @ point[:2] - 100.0, abs=1e-9)


def test_modules_are_boxes_with_gaps_between_them():
    n_in = 0
    for x, y, z in (points := points_in(MODULES, 2000, 38)):
        around, _, depth = crystal_of(x, y, z, ring(MODULES))
        module, across, _ = module_place(x, y, ring(MODULES))
        inside = abs(across) <= 35.0 and 0.0 <= depth <= 25.0
        assert (around >= 0) == inside
        if inside:
            n_in += 1
            assert around // 7 == module
    # 8 boxes of 70 by 25 mm in the ring around them.
    share = 8 * 70 * 25 / (math.pi * (MODULES.outer_radius_mm**2 - 100**2))
    assert abs(n_in / len(points) - share) < 4 * math.sqrt(share * (1 - share) / len(points))


@DETECTORS
def test_a_crystals_place_lies_within_half_a_pitch_of_what_it_detects(detector):
    faces = faces_of(detector)
    half = 0.5 * detector.length_mm
    pitch_z = detector.length_mm / detector.crystals_along
    seen = set()
    for x, y, z in points_in(detector, 3000, 39):
        around, along, depth = crystal_of(x, y, z, ring(detector))
        if around < 0:
            continue
        seen.add((around, along))
        radius = detector.inner_radius_mm + depth
        cos, sin, x0, y0 = faces[around]
        away = np.array([x - (x0 + radius * cos), y - (y0 + radius * sin)])
        if detector.n_modules:
            pitch = detector.module_width_mm * detector.n_modules / detector.crystals_around
            assert abs(away @ [cos, sin]) < 1e-9
        else:
            # The turn's 2e-5 rad is 0.003 mm here.
            pitch = 2 * math.pi * radius / detector.crystals_around + 2 * 2e-5 * radius
        assert np.hypot(*away) <= 0.5 * pitch + 1e-9
        assert abs(z - ((along + 0.5) * pitch_z - half)) <= 0.5 * pitch_z + 1e-9
    # 4 a crystal and more: but for a fraction exp(-4) of them all are met.
    assert len(seen) > 0.95 * detector.n_crystals


@DETECTORS
def test_the_ends_of_the_detectors_belong_to_the_last_crystals(detector):
    half = 0.5 * detector.length_mm
    for z, expected in [(-half, 0), (half, detector.crystals_along - 1)]:
        _, along, _ = crystal_of(110.0, 1e-6, z, ring(detector))
        assert along == expected


@DETECTORS
def test_crystals_share_a_number_where_they_share_a_block(detector):
    numbers = {}
    response = response_of(detector, lowest_kev=0.0)
    for around in range(detector.crystals_around):
        for along in range(detector.crystals_along):
            number = block_of(around, along, ring(detector), response)
            assert 0 <= number < detector.n_crystals
            block = around // detector.block_around, along // detector.block_along
            assert numbers.setdefault(number, block) == block
    assert len(set(numbers.values())) == len(numbers)


def test_the_way_back_to_the_bore_ends_on_it():
    n_missed = 0
    rng = np.random.default_rng(40)
    for x, y, _ in points_in(RING, 1000, 41):
        u, v, _ = (unit := rng.normal(size=3)) / np.linalg.norm(unit)
        # Nearest to the axis that the ray comes.
        nearest = abs(x * v - y * u) / math.hypot(u, v)

        way = to_bore(x, y, u, v, ring(RING))

        if x * u + y * v < 0 and nearest < 100.0:
            assert math.hypot(x + way * u, y + way * v) == pytest.approx(100.0)
            assert math.hypot(x + 0.99 * way * u, y + 0.99 * way * v) >= 100.0
        else:
            n_missed += 1
            assert way == math.inf
    assert 100 < n_missed < 900


def test_the_place_of_the_half_that_a_half_cylinder_keeps_is_its_upper():
    half = HalfCylinder(name="h", centre_mm=(1.0, 2.0, 3.0), radius_mm=10.0, half_length_mm=5.0)
    low, high = half.bounds_mm

    assert_allclose(low, [-9.0, 2.0, -2.0])
    assert_allclose(high, [11.0, 12.0, 8.0])
    region = Phantom(regions=(PhantomRegion(name="h", shapes=(half,)),))
    assert_array_equal(region_at(region, [(1.0, 3.0, 3.0), (1.0, 1.0, 3.0)]), [0, -1])
