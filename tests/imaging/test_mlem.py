import numba as nb
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import VoxelGrid
from psimg.imaging.list_mode import sort_events
from psimg.imaging.mlem import maximise_activity
from psimg.imaging.projector import Projector, to_field, to_image

GRID = VoxelGrid.centred(shape=(12, 13, 11), voxel_mm=(5.0, 5.0, 6.0))
SIGMA = 8.0


def ball_events(rng, n, radius, sigma=SIGMA, across=0.0):
    """Draw annihilations of a uniform ball, blurred along random lines, and across them."""
    point = rng.standard_normal((n, 3))
    point *= radius * rng.random((n, 1)) ** (1 / 3) / np.linalg.norm(point, axis=1, keepdims=True)
    direction = rng.standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    point = point + sigma * rng.standard_normal((n, 1)) * direction
    return point + across * rng.standard_normal((n, 3)), direction


def of_ball(n, radius=20.0, seed=1, grid=GRID, **bins):
    events = ball_events(np.random.default_rng(seed), n, radius)
    return Projector(sort_events(*events, grid=grid, sigma_mm=SIGMA, **bins))


@pytest.mark.kernel
def test_passes_are_those_of_the_update_written_out():
    projector = of_ball(60)
    n = len(projector.events)
    matrix = np.zeros((n, GRID.n_voxel))
    for i in range(n):
        one = np.zeros(n, np.float32)
        one[i] = 1.0
        matrix[i] = to_image(projector.back_project(one), GRID).ravel()
    rng = np.random.default_rng(2)
    weights = rng.integers(0, 3, n).astype(np.float32)
    additive = rng.uniform(0.0, 0.02, GRID.n_voxel)
    x = np.full(GRID.n_voxel, weights.sum() / GRID.n_voxel)
    expected_trace = []
    for _ in range(3):
        seen = matrix @ (x + additive)
        expected_trace.append(weights @ np.log(seen) - x.sum())
        x = x * (matrix.T @ (weights / seen))
    calls = []

    image, trace = maximise_activity(
        projector, iterations=3, weights=weights, additive=to_field(additive.reshape(GRID.shape),
        GRID), progress=lambda *done: calls.append(done),
    )  # fmt: skip

    assert_allclose(to_image(image, GRID).ravel(), x, rtol=1e-4, atol=1e-6 * x.max())
    assert_allclose(trace, expected_trace, rtol=1e-5)
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("additive_share", [0.0, 0.3])
def test_the_likelihood_rises_with_every_pass(additive_share):
    projector = of_ball(5000)
    additive = to_field(np.full(GRID.shape, additive_share * 5000 / GRID.n_voxel), GRID)

    _, trace = maximise_activity(projector, iterations=30, additive=additive)

    # An event's logarithm is rounded to float32's eps.
    assert np.all(np.diff(trace) > -1e-7 * 5000)
    assert trace[-1] > trace[0]


def test_images_sum_to_the_weights():
    projector = of_ball(5000)
    weights = np.random.default_rng(3).uniform(0, 2, len(projector.events)).astype(np.float32)

    image, _ = maximise_activity(projector, iterations=5, weights=weights)

    assert_allclose(image.sum(dtype=float), weights.sum(dtype=float), rtol=1e-5)


def test_an_additive_term_takes_its_share_of_the_events():
    n_random = 1500.0
    rng = np.random.default_rng(4)
    position, direction = ball_events(rng, 5000, 20.0)
    half = GRID.high_mm - 15.0
    flat = rng.uniform(-half, half, (int(n_random), 3))
    point, line = np.concatenate([position, flat]), rng.standard_normal((6500, 3))
    line /= np.linalg.norm(line, axis=1, keepdims=True)
    line[:5000] = direction
    both = Projector(sort_events(point, line, grid=GRID, sigma_mm=SIGMA))
    inside = np.all(np.abs(GRID.centres_mm()) < half, axis=1).astype(float)
    additive = to_field((n_random * inside / inside.sum()).reshape(GRID.shape), GRID)
    image, _ = maximise_activity(both, iterations=200, additive=additive)

    # At the maximum the gradient along x is zero: sum over lines of H x / (H (x + r)) = sum of x.
    ratio, _ = both.back_project_ratio(image + additive)
    assert_allclose(image.astype(float) @ ratio, image.sum(dtype=float), rtol=1e-4)
    # The additive term's own gradient is near zero where it is the truth: its share is Poisson.
    assert_allclose(image.sum(dtype=float), 5000, atol=4 * np.sqrt(2 * n_random))


def test_the_number_of_threads_changes_nothing():
    projector = of_ball(20_000)
    before = nb.get_num_threads()

    results = []
    try:
        for n_thread in (1, min(2, before)):
            nb.set_num_threads(n_thread)
            results.append(maximise_activity(projector, iterations=3, subsets=2))
    finally:
        nb.set_num_threads(before)

    (one, one_trace), (other, other_trace) = results
    assert_array_equal(one, other)
    assert_array_equal(one_trace, other_trace)


def test_time_bins_change_only_the_order_of_sums():
    rng = np.random.default_rng(5)
    whole, split = of_ball(3000), of_ball(3000, time_bin=rng.integers(0, 7, 3000), n_bin=7)

    one, one_trace = maximise_activity(whole, iterations=4)
    other, other_trace = maximise_activity(split, iterations=4)

    assert_allclose(one, other, rtol=1e-3, atol=1e-5 * one.max())
    assert_allclose(one_trace, other_trace, rtol=1e-6)


def test_subsets_reach_the_likelihood_of_as_many_passes_sooner():
    projector = of_ball(20_000)

    _, slow = maximise_activity(projector, iterations=12)
    image, fast = maximise_activity(projector, iterations=4, subsets=4)

    assert fast[-1] > slow[6]
    assert_allclose(image.sum(dtype=float), len(projector.events), rtol=0.01)


def test_a_start_is_where_it_goes_on_from():
    projector = of_ball(2000)

    whole, whole_trace = maximise_activity(projector, iterations=6)
    first, first_trace = maximise_activity(projector, iterations=2)
    kept = first.copy()
    second, second_trace = maximise_activity(projector, iterations=4, start=first)

    assert_array_equal(first, kept)
    assert_array_equal(second, whole)
    assert_array_equal(np.concatenate([first_trace, second_trace]), whole_trace)


@pytest.mark.parametrize("resolution_mm", [0.0, 12.0])
def test_a_uniform_ball_is_recovered_without_bias(resolution_mm):
    grid = VoxelGrid.centred(shape=(24, 24, 24), voxel_mm=(5.0, 5.0, 5.0))
    radius, n, n_set = 40.0, 20_000, 8
    rng = np.random.default_rng(6)
    far = np.linalg.norm(grid.centres_mm(), axis=1).reshape(grid.shape)
    core, shell = far < 20.0, (far > 55.0) & (far < 60.0)
    density = n / (4 / 3 * np.pi * radius**3)

    found = []
    for _ in range(n_set):
        lines = ball_events(rng, n, radius, across=resolution_mm / np.sqrt(8 * np.log(2)))
        projector = Projector(
            sort_events(*lines, grid=grid, sigma_mm=SIGMA), resolution_mm=resolution_mm
        )
        image, _ = maximise_activity(projector, iterations=20, subsets=2)
        image = to_image(image, grid)
        found.append((image[core].sum(), image[shell].sum() / n))
    core_sum, outside = np.array(found).T

    volume = core.sum() * 125.0
    expected = density * volume
    # A sum over a core that is wide against the blur is nearly Poisson; its edge adds a little.
    error = 4 * np.sqrt(2 * expected / n_set)
    assert_allclose(core_sum.mean(), expected, atol=error)
    assert core_sum.std() < 3 * np.sqrt(expected)
    assert outside.max() < 0.01


def test_without_events_the_image_is_empty():
    empty = Projector(sort_events(np.zeros((0, 3)), np.zeros((0, 3)), grid=GRID, sigma_mm=SIGMA))

    image, trace = maximise_activity(empty, iterations=2)

    assert not image.any()
    assert np.isfinite(trace).all()


def test_one_event_gathers_where_its_weight_is_largest():
    projector = Projector(
        sort_events(np.array([[0.0, 0.0, 0.0]]), np.eye(3)[:1], grid=GRID, sigma_mm=SIGMA)
    )

    image, _ = maximise_activity(projector, iterations=50)

    assert_allclose(image.sum(dtype=float), 1.0, rtol=1e-5)
    image = to_image(image, GRID)
    assert np.unravel_index(image.argmax(), GRID.shape)[1:] == (6, 5)
