import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.imaging.resampling import describe_difference, resample_image

GRID = VoxelGrid.centred(shape=(6, 5, 4), voxel_mm=(4.0, 4.0, 5.0))


def turned(affine, degrees, axis=2):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    i, j = [a for a in range(3) if a != axis]
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn @ affine


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(5.0, 1.0, shape)


def test_an_image_of_the_same_voxels_is_left_as_it_is():
    image = noise(GRID.shape)

    found = resample_image(image, GRID.affine, GRID)

    assert_allclose(found.image, image, rtol=1e-12)
    assert found.covered == 1.0
    assert not found.image.flags.writeable


@pytest.mark.parametrize("size", [1.0, 1.3, 2.0, 4.0, 9.0])
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_a_constant_stays_a_constant_inside(size, degrees):
    n = int(80 / size)
    source = VoxelGrid.centred(shape=(n, n, n), voxel_mm=(size, size, size))
    affine = turned(turned(source.affine, degrees), degrees, axis=0)

    found = resample_image(np.full((n, n, n), 0.096), affine, GRID, outside=-7.0)

    assert_allclose(found.image, 0.096, rtol=1e-12)
    assert found.covered == 1.0


@pytest.mark.parametrize("size", [0.7, 1.5, 2.0, 3.1])
def test_the_sum_of_a_finer_image_is_kept(size):
    shape = (7, 6, 5)
    source = VoxelGrid.centred(shape=shape, voxel_mm=(size,) * 3, centre_mm=(0.6, -0.4, 0.2))
    image = noise(shape)
    grid = VoxelGrid.centred(shape=(8, 8, 8), voxel_mm=(4.0, 4.0, 4.0))

    found = resample_image(image, source.affine, grid)

    assert found.image.sum() * 4.0**3 == pytest.approx(image.sum() * size**3, rel=1e-9)
    assert found.covered == pytest.approx(np.prod(shape) * size**3 / (8 * 4.0) ** 3)


def test_voxels_that_fit_into_one_are_averaged():
    image = noise((12, 10, 8))
    source = VoxelGrid.centred(shape=image.shape, voxel_mm=(2.0, 2.0, 2.5))

    found = resample_image(image, source.affine, GRID)

    blocks = image.reshape(6, 2, 5, 2, 4, 2).mean(axis=(1, 3, 5))
    assert_allclose(found.image, blocks, rtol=1e-12)


def test_a_turned_finer_image_keeps_its_mean_and_loses_its_noise():
    image = noise((60, 60, 60))
    source = VoxelGrid.centred(shape=image.shape, voxel_mm=(1.0, 1.0, 1.0))

    found = resample_image(image, turned(source.affine, 30.0), GRID)

    # 80 source voxels in each voxel of the grid, 120 voxels.
    assert found.image.mean() == pytest.approx(5.0, abs=4 / np.sqrt(80 * GRID.n_voxel))
    assert found.image.std() < 1.2 / np.sqrt(80)


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_a_coarser_image_is_linear_between_its_centres(degrees):
    source = VoxelGrid.centred(shape=(9, 9, 9), voxel_mm=(9.0, 8.0, 7.0))
    affine = turned(source.affine, degrees)
    index = np.stack(np.meshgrid(*map(np.arange, source.shape), indexing="ij"), axis=-1)
    centre = index @ affine[:3, :3].T + affine[:3, 3]
    slope = np.array([0.1, -0.2, 0.3])

    found = resample_image(1.0 + centre @ slope, affine, GRID)

    assert_allclose(found.image.ravel(), 1.0 + GRID.centres_mm() @ slope, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(0,), (1, 2), ()])
def test_flipped_and_swapped_axes_give_the_same_image(order, flips):
    image = noise((20, 22, 24))
    source = VoxelGrid.centred(shape=image.shape, voxel_mm=(1.5, 1.3, 1.1))
    straight = resample_image(image, source.affine, GRID)
    affine = source.affine.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (image.shape[axis] - 1)
        affine[:3, axis] *= -1
    stored = np.flip(image, flips).transpose(order)
    affine[:, :3] = affine[:, list(order)]

    found = resample_image(stored, affine, GRID)

    assert_allclose(found.image, straight.image, rtol=1e-10)
    assert found.covered == pytest.approx(straight.covered)


def test_both_ways_agree_on_a_smooth_image():
    source = VoxelGrid.centred(shape=(60, 60, 60), voxel_mm=(1.0, 1.0, 1.0))
    square = (source.centres_mm() ** 2).sum(1).reshape(source.shape)
    image = np.exp(-square / (2 * 8.0**2))
    straight = resample_image(image, source.affine, GRID)

    found = resample_image(image, turned(source.affine, 40.0), GRID)

    # Linear between voxels of 1 mm, along the two axes that are turned: h**2 / 8 of a curvature.
    assert_allclose(found.image, straight.image, atol=2 * (1.0 / 8.0**2) / 8)


def test_what_the_source_does_not_cover_gets_the_value_for_outside():
    affine = GRID.affine.copy()
    affine[0, 3] += 3 * 4.0

    found = resample_image(np.full(GRID.shape, 2.0), affine, GRID, outside=-1.0)

    assert_allclose(found.image[3:], 2.0)
    assert_array_equal(found.image[:3], -1.0)
    assert found.covered == 0.5


@pytest.mark.parametrize("degrees", [0.0, 90.0, 30.0])
def test_a_nan_reaches_only_the_voxels_it_is_part_of(degrees):
    source = VoxelGrid.centred(shape=(60, 60, 60), voxel_mm=(1.0, 1.0, 1.0))
    image = np.ones(source.shape)
    image[30, 30, 30] = np.nan

    found = resample_image(image, turned(source.affine, degrees), GRID)

    assert 1 <= np.isnan(found.image).sum() <= 8
    assert_allclose(found.image[~np.isnan(found.image)], 1.0)


@pytest.mark.parametrize(("degrees", "span"), [(0.0, "488 to 512"), (45.0, "")])
def test_images_apart_are_an_error_that_says_both_boxes(degrees, span):
    affine = turned(GRID.affine, degrees)
    affine[0, 3] += 500.0

    words = f"image spans x {span}.* mm and the grid x -12 to 12, y -10 to 10, z -10 to 10 mm;"
    with pytest.raises(DataError, match=f"do not overlap: the {words} check that both"):
        resample_image(np.ones(GRID.shape), affine, GRID)


def test_an_image_of_other_than_three_axes_is_an_error():
    with pytest.raises(DataError, match=r"image has shape \(3, 4\), expected three axes"):
        resample_image(np.ones((3, 4)), GRID.affine, GRID)


def test_an_affine_without_volume_is_an_error():
    with pytest.raises(DataError, match="takes its voxels to a plane; mend its header"):
        resample_image(np.ones(GRID.shape), np.diag([1.0, 1.0, 0.0, 1.0]), GRID)


def moved(row, column, value):
    affine = GRID.affine.copy()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "shape", "words"),
    [
        (GRID.affine, GRID.shape, ""),
        (GRID.affine.astype(np.float32), GRID.shape, ""),
        (GRID.affine, (6, 5, 3), "shape 6 x 5 x 3, not 6 x 5 x 4"),
        (moved(0, 0, 2.0), GRID.shape, "voxels of 2 x 4 x 5 mm, not 4 x 4 x 5"),
        (moved(2, 3, 1.0), GRID.shape, "first voxel at (-10, -8, 1) mm, not (-10, -8, -7.5)"),
        (moved(0, 0, -4.0), GRID.shape, "axes along -x, +y, +z, not +x, +y, +z"),
    ],
)
def test_a_difference_of_grids_is_put_in_words(affine, shape, words):
    assert describe_difference(GRID, affine, shape) == words


def test_several_differences_are_listed_and_turned_axes_are_vectors():
    affine = turned(np.diag([2.0, 2.0, 5.0, 1.0]), 30.0)

    words = describe_difference(GRID, affine, (7, 5, 4))

    assert re.fullmatch(
        r"shape .*; voxels of 2 x 2 x 5 mm, .*; first voxel at .*; "
        r"axes along \(0\.866, 0\.500, 0\.000\), \(-0\.500, 0\.866, 0\.000\), \+z, not .*",
        words,
    )
