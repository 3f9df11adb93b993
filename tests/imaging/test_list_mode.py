import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError, SettingsError, VoxelGrid
from psimg.imaging.list_mode import require_fine_voxels, sort_events

GRID = VoxelGrid.centred(shape=(20, 16, 24), voxel_mm=(4.0, 4.0, 3.0), centre_mm=(5.0, 0.0, -3.0))
SIGMA = 6.0


def test_each_line_that_reaches_the_grid_is_kept_once_with_its_place_and_slopes(draw_lines):
    position, direction = draw_lines(np.random.default_rng(1), 3000, GRID, reach=2.0)
    size = np.asarray(GRID.voxel_mm)

    events = sort_events(position, direction, grid=GRID, sigma_mm=SIGMA)

    t = np.linspace(-3 * SIGMA, 3 * SIGMA, 61)
    along = position[:, None] + t[:, None] * direction[:, None]
    inside = np.all((along > GRID.low_mm) & (along < GRID.high_mm), axis=-1).any(axis=1)
    assert 0 < events.n_outside < len(position)
    assert len(events) + events.n_outside == len(position)
    assert len(np.unique(events.row)) == len(events)
    assert np.isin(np.flatnonzero(inside), events.row).all()
    place = (position[events.row] - GRID.origin_mm) / size + 1.0
    assert_allclose(events.point, place, rtol=1e-6, atol=1e-5)
    per_voxel = direction[events.row] / size
    axis = np.argmax(np.abs(per_voxel), axis=1)
    for d, others in enumerate(([1, 2], [0, 2], [0, 1])):
        mine = axis == d
        expected = per_voxel[mine][:, others] / per_voxel[mine][:, [d]]
        assert_allclose(events.slope[mine], expected, rtol=1e-6, atol=1e-7)
    assert np.abs(events.slope).max() <= 1.0


def test_stretches_of_bins_blocks_and_axes_follow_each_other(draw_lines):
    rng = np.random.default_rng(2)
    n, n_bin = 3000, 4
    position, direction = draw_lines(rng, n, GRID)
    time_bin = rng.integers(-1, n_bin + 1, n)

    events = sort_events(
        position, direction, grid=GRID, sigma_mm=SIGMA, time_bin=time_bin, n_bin=n_bin
    )

    assert events.n_bin == n_bin
    assert events.starts.shape[0] == n_bin
    edges = events.starts.reshape(-1, 2)
    assert edges[0, 0] == 0
    assert edges[-1, 1] == len(events)
    assert_array_equal(edges[1:, 0], edges[:-1, 1])
    axis = np.argmax(np.abs(direction / np.asarray(GRID.voxel_mm)), axis=1)[events.row]
    reach = np.abs(direction[events.row, 2]) * 3 * SIGMA / GRID.voxel_mm[2]
    low, high = events.point[:, 2] - reach, events.point[:, 2] + reach
    for b in range(n_bin):
        span = events.span(b)
        assert_array_equal(time_bin[events.row[span]], b)
        for block, parts in enumerate(events.starts[b]):
            for d, (start, stop) in enumerate(parts):
                assert_array_equal(axis[start:stop], d)
                # All planes that the block's lines interpolate in are its own.
                assert np.all(np.maximum(low[start:stop], 0) >= events.first_plane[block])
                top = np.minimum(high[start:stop], GRID.shape[2] + 0.999)
                assert np.all(np.floor(top) + 1 < events.stop_plane[block])
    assert events.n_outside + len(events) == np.count_nonzero((time_bin >= 0) & (time_bin < n_bin))


def test_blocks_hold_about_as_many_events_each(draw_lines):
    events = sort_events(
        *draw_lines(np.random.default_rng(3), 20_000, GRID, reach=1.0), grid=GRID, sigma_mm=SIGMA
    )

    n_events = np.diff(events.starts[0], axis=-1).sum(axis=(1, 2))

    # A plane is not split.
    assert_allclose(n_events, 20_000 / len(n_events), atol=1.1 * 20_000 / GRID.shape[2])


def test_events_of_one_place_stay_in_the_order_they_came_in():
    position = np.tile([5.0, 0.0, -3.0], (50, 1))
    direction = np.tile([1.0, 0.0, 0.0], (50, 1))

    events = sort_events(position, direction, grid=GRID, sigma_mm=SIGMA)

    assert_array_equal(events.row, np.arange(50))
    assert events.n_outside == 0


def test_no_events_and_no_event_inside_are_fine():
    nowhere = sort_events(np.zeros((0, 3)), np.zeros((0, 3)), grid=GRID, sigma_mm=SIGMA)
    outside = sort_events(
        np.array([[500.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]]), grid=GRID, sigma_mm=SIGMA
    )

    assert len(nowhere) == len(outside) == 0
    assert (nowhere.n_outside, outside.n_outside) == (0, 1)
    assert not nowhere.starts.any()
    assert nowhere.span(0) == slice(0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_errors(bad):
    position, direction = np.zeros((2, 3)), np.tile([0.0, 0.0, 1.0], (2, 1))
    bad_position, bad_direction = position.copy(), direction.copy()
    bad_position[1, 0] = bad
    bad_direction[1, 0] = bad

    with pytest.raises(DataError, match="annihilation points must be finite"):
        sort_events(bad_position, direction, grid=GRID, sigma_mm=SIGMA)
    with pytest.raises(DataError, match="directions of LORs must be finite unit vectors"):
        sort_events(position, bad_direction, grid=GRID, sigma_mm=SIGMA)


@pytest.mark.parametrize("length", [0.0, 0.5, 2.0])
def test_a_direction_that_is_no_unit_vector_is_an_error(length):
    direction = np.array([[0.0, length, 0.0]])

    with pytest.raises(DataError, match="directions of LORs must be finite unit vectors"):
        sort_events(np.zeros((1, 3)), direction, grid=GRID, sigma_mm=SIGMA)


def test_voxels_too_coarse_or_too_fine_for_the_time_of_flight_are_errors():
    with pytest.raises(SettingsError, match=r"voxels of 4 mm are too coarse .* at most 1.8 mm"):
        require_fine_voxels(GRID, 2.0)
    with pytest.raises(SettingsError, match=r"voxels of 3 mm are too fine .* at least 3.6 mm"):
        require_fine_voxels(GRID, 300.0)
    with pytest.raises(SettingsError, match="sigma_mm"):
        require_fine_voxels(GRID, 0.0)
    huge = VoxelGrid.centred(shape=(2000, 1200, 1200), voxel_mm=(4.0, 4.0, 4.0))
    with pytest.raises(SettingsError, match="a grid of 2880000000 voxels is too large"):
        require_fine_voxels(huge, 15.0)
    # The limits that the messages name are within them.
    for voxel, sigma in ((1.8, 2.0), (3.6, 300.0)):
        grid = VoxelGrid.centred(shape=(4, 4, 4), voxel_mm=(voxel, voxel, voxel))
        require_fine_voxels(grid, sigma)
