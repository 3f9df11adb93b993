import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import Box, Cylinder, Everywhere, Mask, Sphere, VoxelGrid

GRID = VoxelGrid.centred(shape=(12, 9, 7), voxel_mm=(5.0, 7.0, 9.0), centre_mm=(2.0, 1.0, -4.0))


def ball_mask():
    centres = GRID.centres_mm() - np.array([2.0, 1.0, -4.0])
    inside = np.linalg.norm(centres, axis=1) <= 22.0
    return Mask(name="mask", grid=GRID, inside=inside.reshape(GRID.shape))


SHAPES = [
    Sphere(name="sphere", centre_mm=(5.0, -3.0, 8.0), radius_mm=25.0),
    Cylinder(name="cylinder", centre_mm=(-4.0, 6.0, 2.0), radius_mm=20.0, half_length_mm=30.0),
    Box(name="box", centre_mm=(3.0, 4.0, -6.0), half_length_mm=(15.0, 25.0, 35.0)),
    ball_mask(),
]
ALL = pytest.mark.parametrize("region", SHAPES, ids=lambda region: region.name)
CONVEX = pytest.mark.parametrize("region", SHAPES[:3], ids=lambda region: region.name)


def segments(n=400, reach=60.0):
    rng = np.random.default_rng(5)
    return rng.uniform(-reach, reach, (2, n, 3))


@ALL
def test_a_chord_holds_the_samples_of_the_segment_that_are_inside(region):
    start, end = segments()
    share = np.linspace(0.0, 1.0, 4001)

    chord = region.chord(start, end)

    assert chord.shape == (400, 2)
    for i, (enter, leave) in enumerate(chord):
        inside = region.contains(start[i] + share[:, None] * (end[i] - start[i]))
        if np.isnan(enter):
            assert np.isnan(leave)
            assert not inside.any()
            continue
        assert 0 <= enter <= leave <= 1
        where = share[inside]
        if len(where):
            assert_allclose([enter, leave], [where[0], where[-1]], rtol=0, atol=1 / 4000)
        else:
            assert leave - enter < 1 / 4000
    assert 50 < np.count_nonzero(~np.isnan(chord[:, 0])) < 400


@ALL
def test_a_segment_walked_backwards_has_the_same_chord(region):
    start, end = segments()

    there = region.chord(start, end)
    back = region.chord(end, start)

    assert_allclose(1.0 - back[:, ::-1], there, rtol=0, atol=1e-12)


@ALL
def test_a_segment_wholly_inside_is_a_chord_from_0_to_1(region):
    low, high = region.bounds_mm
    middle = 0.5 * (low + high)
    offset = np.array([[4.0, 3.0, -5.0], [0.0, 0.0, 0.0]])

    chord = region.chord(middle - offset, middle + offset)

    assert_array_equal(chord, [[0.0, 1.0], [0.0, 1.0]])


@ALL
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_segment_along_an_axis_enters_and_leaves_at_the_bounds(region, axis):
    low, high = region.bounds_mm
    start = 0.5 * (low + high)
    end = start.copy()
    start[axis], end[axis] = low[axis] - 10.0, high[axis] + 30.0
    length = end[axis] - start[axis]

    enter, leave = region.chord(start[None], end[None])[0]

    assert_allclose(enter * length, 10.0, rtol=0, atol=1e-9)
    assert_allclose((1 - leave) * length, 30.0, rtol=0, atol=1e-9)


@ALL
def test_segments_beside_a_region_and_short_of_it_miss_it(region):
    low, high = region.bounds_mm
    x, y, z = 0.5 * (low + high)
    start = np.array([low - 20.0, [x, y, z + 100.0], [x + 200.0, y, z]])
    end = np.array([[low[0] - 20.0, low[1], high[2]], [x, y, z + 90.0], [x + 90.0, y, z]])

    assert np.all(np.isnan(region.chord(start, end)))


@CONVEX
def test_a_tangent_touches_in_one_place_and_misses_a_hair_beyond(region):
    low, high = region.bounds_mm
    _, y, z = 0.5 * (low + high)
    start, end = np.array([[high[0], y - 100.0, z], [high[0], y + 60.0, z]])
    beyond = np.array([1e-6, 0.0, 0.0])

    touching = region.chord(start[None], end[None])[0]
    missing = region.chord(start[None] + beyond, end[None] + beyond)[0]

    if isinstance(region, Box):  # along a face, which is inside
        half = region.half_length_mm[1]
        assert_allclose(touching, [(100 - half) / 160, (100 + half) / 160])
    else:
        assert_allclose(touching, 100 / 160)
    assert np.all(np.isnan(missing))


def test_a_chord_through_a_mask_spans_the_hole_in_it():
    inside = np.zeros((5, 1, 1), bool)
    inside[[1, 3]] = True
    grid = VoxelGrid.centred(shape=(5, 1, 1), voxel_mm=(10.0, 10.0, 10.0))
    mask = Mask(name="two", grid=grid, inside=inside)

    chord = mask.chord(np.array([[-25.0, 0.0, 0.0]]), np.array([[25.0, 0.0, 0.0]]))

    assert_allclose(chord, [[0.2, 0.8]])


def test_a_corner_of_a_voxel_is_crossed_however_short_the_way():
    grid = VoxelGrid.centred(shape=(1, 1, 1), voxel_mm=(10.0, 10.0, 10.0))
    mask = Mask(name="one", grid=grid, inside=np.ones((1, 1, 1), bool))

    chord = mask.chord(np.array([[4.99, 9.0, 0.0]]), np.array([[9.0, 4.99, 0.0]]))
    cut = mask.chord(np.array([[4.99, 5.0, 0.0]]), np.array([[5.0, 4.99, 0.0]]))

    assert np.all(np.isnan(chord))
    assert_allclose(cut, [[0.0, 1.0]])


def test_every_segment_is_wholly_in_all_of_space():
    start, end = segments(3)

    assert_array_equal(Everywhere().chord(start, end), [[0.0, 1.0]] * 3)


@ALL
def test_no_segment_has_no_chord(region):
    assert region.chord(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 2)
