from math import erf, sqrt

import numba as nb
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import map_coordinates

from psimg.core import DataError, VoxelGrid
from psimg.imaging.list_mode import sort_events
from psimg.imaging.projector import Projector, clear_border, to_field, to_image

pytestmark = pytest.mark.kernel

GRID = VoxelGrid.centred(shape=(9, 11, 8), voxel_mm=(3.0, 2.5, 4.0), centre_mm=(2.0, -1.0, 5.0))
"""Small, off the centre, and of voxels that are not cubes."""
SIGMA = 6.0
CUT = 3.0
F32 = np.finfo(np.float32).eps


def joseph_matrix(position, direction, grid=GRID, sigma=SIGMA):
    """Return the (N, nx, ny, nz) weights of Joseph's method, sample by sample."""
    size = np.asarray(grid.voxel_mm)
    matrix = np.zeros((len(position), *grid.shape))
    for weights, r, u in zip(matrix, position, direction, strict=True):
        place, per_voxel = (r - np.asarray(grid.origin_mm)) / size, u / size
        d = int(np.argmax(np.abs(per_voxel)))
        for k in range(grid.shape[d]):
            t = (k - place[d]) / per_voxel[d]
            if abs(t) > CUT * sigma:
                continue
            at = place + t * per_voxel
            at[d] = k
            step = 1.0 / abs(per_voxel[d])
            value = step * np.exp(-0.5 * (t / sigma) ** 2) / (sqrt(2 * np.pi) * sigma)
            low = np.floor(at).astype(int)
            for corner in np.ndindex(2, 2, 2):
                cell = low + corner
                share = np.prod(np.where(corner, at - low, 1.0 - (at - low)))
                if share > 0 and np.all((cell >= 0) & (cell < grid.shape)):
                    weights[tuple(cell)] += value * share
    return matrix


def made(position, direction, *, grid=GRID, resolution_mm=0.0, **bins):
    events = sort_events(position, direction, grid=grid, sigma_mm=SIGMA, **bins)
    return Projector(events, resolution_mm=resolution_mm)


def sums_along(position, direction, image, grid=GRID):
    """Return the sums in the order of the lines, zero for those that are left out."""
    projector = made(position, direction, grid=grid)
    out = np.zeros(len(position))
    out[projector.events.row] = projector.project(to_field(image, grid))
    return out


def test_sums_and_their_transpose_are_those_of_josephs_method_written_out(draw_lines):
    rng = np.random.default_rng(1)
    position, direction = draw_lines(rng, 90, GRID)
    matrix = joseph_matrix(position, direction)
    axis = np.argmax(np.abs(direction) / GRID.voxel_mm, axis=1)
    assert np.bincount(axis).min() > 10
    image = rng.uniform(0, 1, GRID.shape)
    projector = made(position, direction)
    values = rng.uniform(0, 1, len(projector.events)).astype(np.float32)

    seen = projector.project(to_field(image, GRID))
    back = to_image(projector.back_project(values), GRID)

    rows = projector.events.row
    # Places of up to 12 voxels are known to 12 eps, and an image of noise changes by up to one
    # per voxel and axis; the weights' own rounding is less.
    assert_allclose(seen, matrix[rows].reshape(len(rows), -1) @ image.ravel(), atol=40 * F32)
    assert_allclose(back, np.tensordot(values, matrix[rows], 1), atol=40 * F32 * len(rows) / 4)
    left_out = np.setdiff1d(np.arange(len(position)), rows)
    assert not matrix[left_out].any()


def test_sums_are_integrals_along_the_lines_through_a_smooth_image(draw_lines):
    grid = VoxelGrid.centred(shape=(24, 30, 20), voxel_mm=(3.0, 2.5, 4.0))
    position, direction = draw_lines(np.random.default_rng(2), 60, grid, reach=0.4)
    width = 15.0
    image = np.exp(-0.5 * (grid.centres_mm() ** 2).sum(axis=1) / width**2).reshape(grid.shape)
    t = np.linspace(-CUT * SIGMA, CUT * SIGMA, 2001)
    along = position[:, None] + t[:, None] * direction[:, None]
    place = (along - np.asarray(grid.origin_mm)) / np.asarray(grid.voxel_mm)
    smooth = map_coordinates(image, np.moveaxis(place, -1, 0), order=1, mode="constant")
    weight = np.exp(-0.5 * (t / SIGMA) ** 2) / (sqrt(2 * np.pi) * SIGMA)
    expected = (smooth * weight).sum(axis=1) * (t[1] - t[0])

    seen = sums_along(position, direction, image, grid)

    # Linear interpolation is wrong by up to h^2/8 times the second derivative, at most 1/width^2,
    # on each axis; where the line is cut, up to half a step too much or too little is counted on
    # either side, of steps of up to sqrt(3) times the largest voxel.
    interpolation = sum(h**2 for h in grid.voxel_mm) / 8 / width**2
    cut = sqrt(3) * max(grid.voxel_mm) * weight[0]
    assert_allclose(seen, expected, atol=interpolation + cut)
    # The cut's part averages out: on the mean only curvature is left, in less than three axes.
    assert_allclose(seen.mean(), expected.mean(), atol=interpolation)


@pytest.mark.parametrize("resolution_mm", [0.0, 5.0])
@pytest.mark.parametrize("n_bin", [1, 3])
def test_back_projection_is_the_transpose_of_projection(draw_lines, resolution_mm, n_bin):
    rng = np.random.default_rng(3)
    n = 200
    projector = made(
        *draw_lines(rng, n, GRID), resolution_mm=resolution_mm,
        time_bin=rng.integers(0, n_bin, n), n_bin=n_bin,
    )  # fmt: skip
    field = to_field(rng.uniform(0, 1, GRID.shape), GRID)
    values = rng.uniform(0, 1, len(projector.events)).astype(np.float32)

    for time_bin in [None, *range(n_bin)]:
        one = projector.project(field, time_bin=time_bin).astype(float) @ values
        back = projector.back_project(values, time_bin=time_bin)
        other = field.astype(float) @ back

        assert one > 0
        assert_allclose(one, other, rtol=1e-6)


def test_bins_and_subsets_are_parts_of_the_whole(draw_lines):
    rng = np.random.default_rng(4)
    n = 200
    lines, time_bin = draw_lines(rng, n, GRID), rng.integers(0, 3, n)
    whole, split = made(*lines), made(*lines, time_bin=time_bin, n_bin=3)
    field = to_field(rng.uniform(0.5, 1, GRID.shape), GRID)

    expected, log_sum = whole.back_project_ratio(field)
    bins = [split.back_project_ratio(field, time_bin=b) for b in range(3)]
    subsets = [whole.back_project_ratio(field, subset=(s, 4)) for s in range(4)]
    every, every_log = split.back_project_ratio(field)

    for parts in (bins, subsets, [(every, every_log)]):
        assert_allclose(sum(part for part, _ in parts), expected, rtol=n * F32)
        assert_allclose(sum(log for _, log in parts), log_sum, rtol=10 * F32)


def test_a_ratio_is_the_weights_over_the_sums_back_along_the_lines(draw_lines):
    rng = np.random.default_rng(5)
    projector = made(*draw_lines(rng, 100, GRID), resolution_mm=4.0)
    field = to_field(rng.uniform(0.5, 1, GRID.shape), GRID)
    weights = rng.integers(0, 3, len(projector.events)).astype(np.float32)
    seen = projector.project(field)

    ratio, log_sum = projector.back_project_ratio(field, weights=weights)

    hit = seen > 0
    over = np.where(hit, weights / np.where(hit, seen, 1.0), 0.0).astype(np.float32)
    expected = projector.back_project(over)
    assert_allclose(ratio, expected, rtol=100 * F32, atol=F32 * expected.max())
    assert_allclose(log_sum, weights[hit] @ np.log(seen[hit].astype(float)), rtol=100 * F32)
    # Each event gives its weight back.
    assert_allclose(field.astype(float) @ ratio, weights[hit].sum(), rtol=1e-5)


def test_weights_of_a_line_well_inside_sum_to_the_gaussian_within_the_cut(draw_lines):
    grid = VoxelGrid.centred(shape=(26, 26, 26), voxel_mm=(4.0, 4.0, 4.0))
    position, direction = draw_lines(np.random.default_rng(6), 100, grid, reach=0.2)
    step = 4.0 / np.abs(direction).max(axis=1) / SIGMA

    sums = sums_along(position, direction, np.ones(grid.shape), grid)

    # Up to half a step too much or too little at either end, and a sum for an integral.
    cut = step * np.exp(-0.5 * (CUT - 0.5 * step) ** 2) / sqrt(2 * np.pi)
    sampling = 2 * np.exp(-2 * np.pi**2 / step**2)
    assert np.all(np.abs(sums - erf(CUT / sqrt(2))) < cut + sampling + 20 * F32)
    assert_allclose(sums.mean(), erf(CUT / sqrt(2)), atol=4 * cut.max() / np.sqrt(3 * 100))


def test_a_shift_of_grid_and_events_together_changes_nothing(draw_lines):
    rng = np.random.default_rng(7)
    position, direction = draw_lines(rng, 100, GRID)
    image = rng.uniform(0, 1, GRID.shape)
    shift = np.array([64.0, -32.0, 128.0])
    moved = VoxelGrid(
        shape=GRID.shape, voxel_mm=GRID.voxel_mm,
        origin_mm=tuple(float(c) for c in np.asarray(GRID.origin_mm) + shift),
    )  # fmt: skip

    seen = sums_along(position, direction, image)

    assert_allclose(sums_along(position + shift, direction, image, moved), seen, atol=40 * F32)


def test_a_line_has_no_sense(draw_lines):
    rng = np.random.default_rng(8)
    position, direction = draw_lines(rng, 100, GRID)
    image = rng.uniform(0, 1, GRID.shape)

    seen = sums_along(position, direction, image)

    assert_array_equal(sums_along(position, -direction, image), seen)


def test_the_order_of_events_changes_only_rounding(draw_lines):
    rng = np.random.default_rng(9)
    position, direction = draw_lines(rng, 200, GRID)
    order = rng.permutation(200)
    field = to_field(rng.uniform(0.5, 1, GRID.shape), GRID)

    one, one_log = made(position, direction).back_project_ratio(field)
    other, other_log = made(position[order], direction[order]).back_project_ratio(field)

    assert_allclose(one, other, rtol=200 * F32)
    assert_allclose(one_log, other_log, rtol=10 * F32)
    assert_array_equal(
        sums_along(position[order], direction[order], to_image(field, GRID)),
        sums_along(position, direction, to_image(field, GRID))[order],
    )


def test_mirrored_axes_give_mirrored_images(draw_lines):
    rng = np.random.default_rng(10)
    grid = VoxelGrid.centred(shape=(8, 8, 8), voxel_mm=(4.0, 4.0, 4.0))
    position, direction = draw_lines(rng, 100, grid)
    image = rng.uniform(0, 1, grid.shape)
    turn = [2, 0, 1]

    seen = sums_along(position, direction, image, grid)
    turned = sums_along(position[:, turn], direction[:, turn], image.transpose(turn), grid)
    mirrored = sums_along(-position, direction, image[::-1, ::-1, ::-1], grid)

    assert_allclose(turned, seen, atol=40 * F32)
    assert_allclose(mirrored, seen, atol=40 * F32)


def test_the_number_of_threads_changes_nothing(draw_lines):
    rng = np.random.default_rng(11)
    projector = made(*draw_lines(rng, 500, GRID))
    field = to_field(rng.uniform(0.5, 1, GRID.shape), GRID)
    before = nb.get_num_threads()

    results = []
    try:
        for n_thread in (1, min(2, before)):
            nb.set_num_threads(n_thread)
            seen = projector.project(field)
            results.append(
                (seen, projector.back_project(seen), *projector.back_project_ratio(field))
            )
    finally:
        nb.set_num_threads(before)

    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_line_along_an_axis_sees_the_voxels_that_it_runs_through(axis):
    grid = VoxelGrid.centred(shape=(9, 9, 9), voxel_mm=(4.0, 4.0, 4.0))
    image = np.zeros(grid.shape)
    cell = [3, 5, 6]
    row = [*cell]
    row[axis] = slice(None)
    image[tuple(row)] = np.arange(9) + 1.0
    centre = np.asarray(grid.origin_mm) + 4.0 * np.array(cell)
    aside = np.roll([0.0, 2.0, 0.0], axis)
    position = np.array([centre, centre + aside])
    direction = np.tile(np.eye(3)[axis], (2, 1))

    middle, between = sums_along(position, direction, image, grid)

    k = np.arange(9)
    z = 4.0 * (k - cell[axis]) / SIGMA
    weight = np.where(np.abs(z) <= CUT, np.exp(-0.5 * z**2), 0.0) * 4.0 / (SIGMA * sqrt(2 * np.pi))
    assert_allclose(middle, weight @ (k + 1.0), rtol=20 * F32)
    # Half a voxel aside, half of it.
    assert_allclose(between, 0.5 * middle, rtol=20 * F32)


def test_lines_at_a_corner_of_the_grid_stay_inside_it():
    grid = VoxelGrid.centred(shape=(8, 8, 8), voxel_mm=(4.0, 4.0, 4.0))
    corner, face = grid.high_mm, grid.high_mm + 2.0
    position = np.array([corner, face, -corner, -face, grid.origin_mm])
    direction = np.tile([0.6, 0.0, 0.8], (5, 1))
    image = np.ones(grid.shape)

    seen = sums_along(position, direction, image, grid)

    matrix = joseph_matrix(position, direction, grid)
    # The last thousandth of a voxel before the border of the border is left out.
    assert_allclose(seen, matrix.reshape(5, -1).sum(axis=1), atol=0.002)
    assert np.all(seen[[0, 2, 4]] > 0)


def test_without_events_there_is_nothing():
    projector = made(np.zeros((0, 3)), np.zeros((0, 3)))
    field = to_field(np.ones(GRID.shape), GRID)

    assert len(projector.project(field)) == 0
    assert not projector.back_project(np.zeros(0, np.float32)).any()
    ratio, log_sum = projector.back_project_ratio(field)
    assert not ratio.any()
    assert log_sum == 0.0


def test_one_event_gives_its_line():
    position, direction = np.array([[2.0, -1.0, 5.0]]), np.array([[0.0, 0.6, 0.8]])
    projector = made(position, direction)

    back = projector.back_project(np.ones(1, np.float32))

    assert_allclose(to_image(back, GRID), joseph_matrix(position, direction)[0], atol=20 * F32)


def test_a_line_through_nothing_gives_nothing(draw_lines):
    projector = made(*draw_lines(np.random.default_rng(12), 50, GRID))

    ratio, log_sum = projector.back_project_ratio(np.zeros(projector.n_cell, np.float32))

    assert not ratio.any()
    assert log_sum == 0.0


def test_images_go_to_fields_and_back():
    image = np.random.default_rng(13).random(GRID.shape).astype(np.float32)

    field = to_field(image, GRID)

    assert_array_equal(to_image(field, GRID), image)
    assert field.sum(dtype=float) == pytest.approx(image.sum(dtype=float))
    full = np.ones_like(field)
    clear_border(full, GRID)
    assert full.sum() == GRID.n_voxel
    assert_array_equal(to_image(full, GRID), 1.0)


def test_arrays_that_do_not_fit_are_errors(draw_lines):
    projector = made(*draw_lines(np.random.default_rng(14), 50, GRID))
    n = len(projector.events)

    with pytest.raises(DataError, match="an image of shape"):
        to_field(np.ones((3, 3, 3)), GRID)
    with pytest.raises(DataError, match=rf"\({n - 1},\) values for {n} events"):
        projector.back_project(np.ones(n - 1, np.float32))
    with pytest.raises(DataError, match=rf"\({n - 1},\) weights for {n} events"):
        projector.back_project_ratio(
            np.ones(projector.n_cell, np.float32), weights=np.ones(n - 1, np.float32)
        )
