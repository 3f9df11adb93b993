import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError, SettingsError, VoxelGrid
from psimg.spectra import LifetimeSpectra, PairCounter, RandomLevels, estimate_levels

N_SETS = (4, 3, 2)
GRID = VoxelGrid.centred(shape=(4, 3, 5), voxel_mm=(5.0, 7.0, 4.0), centre_mm=(1.0, 2.0, 3.0))
CUBE = VoxelGrid.centred(shape=(13, 13, 13), voxel_mm=(10.0, 10.0, 10.0))
CENTRE = np.ravel_multi_index((6, 6, 6), CUBE.shape)
"""The smoothing of 20 mm reaches 6 voxels: as far as the faces."""


def spectra_of(delayed, *, grid=CUBE, n_sets=N_SETS, voxel=None) -> LifetimeSpectra:
    """Spectra of voxels whose (V, 3) delayed events are given."""
    delayed = np.asarray(delayed)
    return LifetimeSpectra(
        edges_ns=[0.0, 1.0],
        counts=np.ones((len(delayed), 1)),
        delayed=delayed[:, :, None],
        n_sets=n_sets,
        n_events=0,
        n_outside=0,
        n_outside_dt=0,
        grid=grid,
        voxel=np.arange(len(delayed)) if voxel is None else voxel,
    )


def sums_of(unrelated, class_2, class_3) -> np.ndarray:
    """Expected delayed events of each kind, the windows of a kind together."""
    n_prompt, n_photon, n_both = N_SETS
    columns = n_prompt * unrelated, n_photon * (class_2 + 2 * class_3), 2 * n_both * class_3
    return np.stack(np.broadcast_arrays(*columns), axis=1)


def test_counted_pairs_equal_numpys_histogram():
    point = np.random.default_rng(1).uniform(-14, 16, (3000, 3))
    counter = PairCounter(GRID)

    for i in range(0, 3000, 700):
        counter.add(point[i : i + 700])

    faces = [
        low + size * np.arange(n + 1)
        for low, size, n in zip(GRID.low_mm, GRID.voxel_mm, GRID.shape, strict=True)
    ]
    expected, _ = np.histogramdd(point, faces)
    assert 0 < expected.sum() < 3000
    assert_array_equal(counter.image(), expected.reshape(-1))


def test_pairs_on_a_lower_face_are_counted_and_those_on_the_upper_one_are_not():
    counter = PairCounter(GRID)

    counter.add(np.stack([GRID.low_mm, GRID.low_mm, GRID.high_mm]))

    assert counter.image()[0] == 2
    assert counter.image().sum() == 2


def test_an_image_of_pairs_does_not_change_with_later_pairs():
    counter = PairCounter(GRID)
    before = counter.image()

    counter.add(GRID.low_mm[None])

    assert before.sum() == 0
    assert counter.image().sum() == 1


def test_no_pairs_are_an_empty_image():
    counter = PairCounter(GRID)

    counter.add(np.empty((0, 3)))

    assert_array_equal(counter.image(), np.zeros(GRID.n_voxel))


def test_with_pairs_the_unrelated_randoms_of_a_voxel_go_as_its_pairs():
    rng = np.random.default_rng(2)
    pairs = rng.poisson(400.0 * rng.uniform(0, 2, CUBE.n_voxel))
    delayed = rng.poisson(4 * 0.05 * pairs[:, None] * [1, 0, 0])

    levels = estimate_levels(spectra_of(delayed), pairs=pairs)

    rho = delayed[:, 0].sum() / 4 / pairs.sum()
    assert_allclose(levels.expected, rho * pairs)
    assert_allclose(levels.expected.sum(), delayed[:, 0].sum() / 4)
    assert_array_equal(levels.class_2_share, 0.0)


def test_without_pairs_a_voxel_tells_its_own_level():
    delayed = np.array([[8, 5, 1], [0, 0, 0], [2, 0, 0]])
    nothing = np.zeros(CUBE.n_voxel, np.int64)

    for pairs in (None, nothing):
        levels = estimate_levels(spectra_of(delayed), pairs=pairs)

        assert_allclose(levels.expected, [2.0, 0.0, 0.5])
        assert_allclose(levels.count, [8, 0, 2])
        assert_allclose(levels.scale, 4.0)


def test_levels_of_voxels_in_any_order_of_memory_take_their_own_pairs():
    pairs = np.arange(CUBE.n_voxel)
    voxel = np.array([3, 100, 2000])

    levels = estimate_levels(spectra_of(np.full((3, 3), 40), voxel=voxel), pairs=pairs)

    assert_allclose(levels.expected, voxel * 30.0 / pairs.sum())


def test_levels_from_delayed_prompts_have_pulls_of_mean_0_and_width_1():
    rng = np.random.default_rng(20261127)
    truth = rng.uniform(50, 200, CUBE.n_voxel)
    delayed = rng.poisson(4 * truth[:, None] * [1, 0, 0])

    levels = estimate_levels(spectra_of(delayed))

    pull = (levels.expected - truth) / (np.sqrt(levels.count) / levels.scale)
    n = len(pull)
    # With the error from the count itself the pull of m counts has a mean of -1/(2 sqrt m).
    assert_allclose(pull.mean(), 0.0, atol=4 / np.sqrt(n) + 0.5 / np.sqrt(200))
    assert_allclose(pull.std(), 1.0, atol=4 / np.sqrt(2 * n))


def test_levels_from_pairs_have_pulls_of_mean_0_and_width_1_and_smaller_errors():
    rng = np.random.default_rng(20261128)
    mean_pairs, rho = rng.uniform(500, 2000, CUBE.n_voxel), 0.05
    pairs = rng.poisson(mean_pairs)
    delayed = rng.poisson(4 * rho * mean_pairs[:, None] * [1, 0, 0])

    levels = estimate_levels(spectra_of(delayed), pairs=pairs)

    error = np.sqrt(levels.count) / levels.scale
    pull = (levels.expected - rho * mean_pairs) / error
    n = len(pull)
    # The level of the whole image moves all voxels alike, by the error of the delayed total.
    common = np.sqrt(mean_pairs.max() / delayed.sum())
    atol = 4 * np.hypot(1 / np.sqrt(n), common) + 0.5 / np.sqrt(500)
    assert_allclose(pull.mean(), 0.0, atol=atol)
    assert_allclose(pull.std(), 1.0, atol=4 / np.sqrt(2 * n))
    # A voxel has rho times four delayed events a pair: its pairs tell it better by that root.
    own = np.sqrt(delayed[:, 0]) / 4
    assert_allclose(error / own, np.sqrt(4 * rho), rtol=0.5)


@pytest.mark.parametrize(
    "where",
    [(6, 6, 6), (0, 6, 6), (0, 0, 0), (12, 12, 12)],
    ids=["centre", "face", "low corner", "high corner"],
)
def test_levels_with_class_2_have_pulls_of_mean_0_and_width_1_up_to_the_corners(where):
    rng = np.random.default_rng(20261129)
    # Class III outweighs class II: its noise counts in both of the windows that tell II.
    n, rho, mean_pairs, class_2, class_3 = 400, 0.02, 500.0, 10.0, 100.0
    v = np.ravel_multi_index(where, CUBE.shape)
    truth = rho * mean_pairs + class_2
    one = np.ones(CUBE.n_voxel)
    pulls = []

    for _ in range(n):
        pairs = rng.poisson(mean_pairs * one)
        delayed = rng.poisson(sums_of(rho * mean_pairs * one, class_2, class_3))
        levels = estimate_levels(spectra_of(delayed), pairs=pairs, with_class_2=True)
        pulls.append((levels.expected[v] - truth) / (np.sqrt(levels.count[v]) / levels.scale[v]))

    assert_allclose(np.mean(pulls), 0.0, atol=4 / np.sqrt(n))
    assert_allclose(np.std(pulls), 1.0, atol=4 / np.sqrt(2 * n))


def test_a_uniform_class_2_is_uniform_up_to_the_grids_edges():
    one = np.ones(CUBE.n_voxel)

    levels = estimate_levels(
        spectra_of(sums_of(8e4 * one, 2e4, 1e4)),
        pairs=(1000 * one).astype(np.int64),
        with_class_2=True,
    )

    assert_allclose(levels.expected, 1e5, rtol=1e-9)
    assert_allclose(levels.class_2_share, 0.2, rtol=1e-9)


def test_class_2_follows_a_smooth_truth():
    x = CUBE.centres_mm()[:, 0]
    # A slope goes through a symmetric mean unchanged, where that is not cut by a face.
    class_2 = 2e6 * (1 + x / 100)
    unrelated = np.full(len(x), 8e6)

    levels = estimate_levels(
        spectra_of(np.round(sums_of(unrelated, class_2, 5e5))),
        pairs=np.full(len(x), 1000),
        with_class_2=True,
    )

    inner = np.abs(x) < 5
    assert inner.sum() == 13 * 13
    assert_allclose(levels.class_2_share[inner], 0.2, rtol=1e-5)
    beyond = np.abs(x) > 45
    assert np.all(np.sign(levels.class_2_share[beyond] - 0.2) == np.sign(x[beyond]))


def test_voxels_without_a_count_are_zeros_of_the_smoothed_image_where_they_hold_pairs():
    # Every other voxel of the object holds delayed events, all of it holds pairs.
    index = np.indices(CUBE.shape).sum(axis=0).reshape(-1)
    inside = CUBE.centres_mm()[:, 0] < 0
    voxel = np.flatnonzero(inside & (index % 2 == 0))
    means = sums_of(np.full(len(voxel), 80.0), 60.0, 10.0)

    known = estimate_levels(spectra_of(means, voxel=voxel), pairs=1000 * inside, with_class_2=True)

    assert_allclose(known.class_2_share * known.expected, 30.0, rtol=0.01)


def test_negative_estimates_of_class_2_are_zero():
    one = np.ones(CUBE.n_voxel)

    levels = estimate_levels(
        spectra_of(sums_of(10 * one, 0, 5) - [0, 6, 0]),
        pairs=np.full(CUBE.n_voxel, 100),
        with_class_2=True,
    )

    assert_array_equal(levels.class_2_share, 0.0)
    assert_allclose(levels.expected, 10.0)


def test_class_2_makes_the_error_of_a_level_larger():
    one = np.ones(CUBE.n_voxel)
    spectra = spectra_of(sums_of(10 * one, 4, 3))
    pairs = np.full(CUBE.n_voxel, 500)

    without = estimate_levels(spectra, pairs=pairs)
    errors = [np.sqrt(without.count[CENTRE]) / without.scale[CENTRE]]
    for smoothing in (60.0, 20.0, 10.0):
        levels = estimate_levels(spectra, pairs=pairs, with_class_2=True, smoothing_mm=smoothing)
        errors.append(np.sqrt(levels.count[CENTRE]) / levels.scale[CENTRE])

    assert np.all(np.diff(errors) > 0)


def test_a_voxel_without_pairs_has_no_unrelated_randoms():
    pairs = np.full(CUBE.n_voxel, 100)
    pairs[CENTRE] = 0

    levels = estimate_levels(spectra_of(np.full((CUBE.n_voxel, 3), 8)), pairs=pairs)

    assert levels.expected[CENTRE] == 0.0
    assert levels.scale[CENTRE] > 0
    assert_allclose(levels.expected.sum(), 2.0 * CUBE.n_voxel)


def test_without_delayed_events_nothing_is_known():
    spectra = spectra_of(np.zeros((10, 3), int))
    pairs = np.full(CUBE.n_voxel, 100)

    for with_class_2 in (False, True):
        levels = estimate_levels(spectra, pairs=pairs, with_class_2=with_class_2)

        assert np.all(np.isnan(levels.expected))
        assert_array_equal(levels.scale, 0.0)
        assert_array_equal(levels.class_2_share, 0.0)


def test_unknown_levels_say_nothing():
    levels = RandomLevels.unknown(3)

    assert_array_equal(levels.scale, [0.0, 0.0, 0.0])
    assert np.all(np.isnan(levels.expected))


def test_levels_of_regions_are_an_error():
    spectra = LifetimeSpectra(
        edges_ns=[0.0, 1.0], counts=[[1]], delayed=np.zeros((1, 3, 1)), n_sets=N_SETS,
        n_events=0, n_outside=0, n_outside_dt=0, names=("a",),
    )  # fmt: skip

    with pytest.raises(DataError, match="levels of randoms are estimated for voxels; these"):
        estimate_levels(spectra)


@pytest.mark.parametrize(
    ("n_sets", "with_class_2"),
    [((0, 0, 0), False), ((0, 2, 2), True), ((2, 0, 2), True), ((2, 2, 0), True)],
)
def test_levels_without_their_windows_are_an_error(n_sets, with_class_2):
    spectra = spectra_of(np.zeros((1, 3)), n_sets=n_sets)

    with pytest.raises(DataError, match=r"no delayed windows .* set select\.delays_ns"):
        estimate_levels(spectra, with_class_2=with_class_2)


def test_a_smoothing_of_no_width_is_an_error():
    with pytest.raises(SettingsError, match="smoothing_mm = 0: expected a number above zero"):
        estimate_levels(spectra_of(np.zeros((1, 3))), with_class_2=True, smoothing_mm=0.0)
