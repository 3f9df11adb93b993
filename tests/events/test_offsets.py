import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import Cylinder, DataError, Everywhere, SettingsError, Sphere
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events import (
    OffsetOptions,
    PairOptions,
    PairResiduals,
    ResidualRange,
    SelectOptions,
    Singles,
    estimate_offsets,
    find_pairs,
    measure_pairs,
)
from psimg.events import offsets as offsets_module
from psimg.events._timing import add_pairs
from psimg.events.pairs import require_single_places

BALL = Sphere(name="ball", centre_mm=(0.0, 0.0, 0.0), radius_mm=30.0)
LIMITS = ResidualRange.of(BALL, PairOptions())
SIGMA = 0.1


def draw_pairs(true, n_pair, rng, *, random_share=0.0, opening=0.5) -> PairResiduals:
    """Pairs of detectors that face each other, with residuals of their offsets and randoms."""
    n = len(true)
    a = rng.integers(0, n, n_pair)
    b = (a + n // 2 + rng.integers(-int(opening * n / 2), int(opening * n / 2) + 1, n_pair)) % n
    a, b = np.minimum(a, b), np.maximum(a, b)
    keep = a != b
    a, b = a[keep], b[keep]
    residual = true[b] - true[a] + SIGMA * rng.standard_normal(len(a))
    # Randoms reach farther than the offsets can move them, as those of the pair window do.
    width = LIMITS.reach_ns + 1.0
    random = rng.random(len(a)) < random_share
    residual[random] = rng.uniform(-width, width, np.count_nonzero(random))
    return PairResiduals(
        detector=np.stack([a, b], axis=1), residual_ns=residual, chord_mm=np.full(len(a), 40.0)
    )


def estimate(*chunks, **options):
    return estimate_offsets(lambda: chunks, limits=LIMITS, options=OffsetOptions(**options))


def test_offsets_equal_dense_least_squares_where_nothing_is_cut():
    rng = np.random.default_rng(1)
    pairs = draw_pairs(rng.normal(0, 0.1, 12), 3000, rng)

    # A cut of 200 ns leaves the score straight to a part in a million.
    limits = ResidualRange.of(BALL, PairOptions(max_difference_ns=200.0))
    options = OffsetOptions(n_sigma=1e9, tolerance=1e-6)
    found = estimate_offsets(lambda: [pairs], limits=limits, options=options)

    design = np.zeros((len(pairs) + 1, 12))
    rows = np.arange(len(pairs))
    design[rows, pairs.detector[:, 1]] = 1.0
    design[rows, pairs.detector[:, 0]] = -1.0
    design[-1] = 1e3  # the mean is zero
    expected, *_ = np.linalg.lstsq(design, np.append(pairs.residual_ns, 0.0))
    assert_allclose(found.offset_ns, expected, atol=1e-6)
    spread = np.mean((pairs.residual_ns - design[:-1] @ expected) ** 2)
    covariance = spread * np.linalg.pinv(design[:-1].T @ design[:-1])
    # The width is measured in bins of 10 ps.
    assert_allclose(found.error_ns, np.sqrt(np.diag(covariance)), rtol=0.005)
    assert_array_equal(found.n_pairs, np.abs(design[:-1]).sum(axis=0))


def test_a_constant_added_to_all_offsets_changes_nothing():
    true = np.random.default_rng(2).normal(0, 0.1, 20)

    one = estimate(draw_pairs(true, 5000, np.random.default_rng(3), random_share=0.2))
    other = estimate(draw_pairs(true + 7.0, 5000, np.random.default_rng(3), random_share=0.2))

    assert_allclose(one.offset_ns, other.offset_ns, atol=1e-12)
    assert_allclose(one.offset_ns.mean(), 0.0, atol=1e-15)


@pytest.mark.parametrize("random_share", [0.0, 0.4, 0.8])
def test_pulls_have_mean_zero_and_width_one_with_randoms_and_without(random_share):
    rng = np.random.default_rng(4)
    n = 400
    true = rng.normal(0, 0.1, n)
    true -= true.mean()

    found = estimate(draw_pairs(true, 150_000, rng, random_share=random_share))

    pull = (found.offset_ns - true) / found.error_ns
    assert len(found.detector) == n
    assert abs(pull.std() - 1) < 4 / np.sqrt(2 * n)
    # Within the cut of 4.7 sigma either way.
    inside = random_share * 9.4 * SIGMA / (2 * LIMITS.reach_ns + 2.0)
    share = inside / (inside + 1 - random_share)
    assert_allclose(found.random_share, share, atol=0.02)


def test_pulls_have_width_one_for_chords_of_many_lengths_among_many_randoms():
    rng = np.random.default_rng(41)
    true = rng.normal(0, 0.1, 300)
    pairs = draw_pairs(true, 120_000, rng, random_share=0.8)
    chord = rng.uniform(0.0, 60.0, len(pairs))
    along = rng.uniform(-1.0, 1.0, len(pairs)) * chord / SPEED_OF_LIGHT_MM_NS
    spread = PairResiduals(
        detector=pairs.detector, residual_ns=pairs.residual_ns + along, chord_mm=chord
    )

    found = estimate(spread)

    expected = true[found.detector]
    pull = (found.offset_ns - (expected - expected.mean())) / found.error_ns
    assert len(pull) > 290
    assert abs(pull.std() - 1) < 4 / np.sqrt(2 * len(pull))


def test_random_pairs_do_not_pull_offsets_towards_zero():
    rng = np.random.default_rng(5)
    true = rng.normal(0, 0.2, 100)
    true -= true.mean()

    found = estimate(draw_pairs(true, 200_000, rng, random_share=0.9))

    slope = (true @ found.offset_ns) / (true @ true)
    error = np.sqrt(true**2 @ found.error_ns**2) / (true @ true)
    assert error < 0.01
    assert abs(slope - 1) < 4 * error


def test_the_width_of_the_residuals_is_that_of_the_pairs_once_offsets_are_off():
    rng = np.random.default_rng(6)
    pairs = draw_pairs(rng.normal(0, 0.1, 50), 50_000, rng, random_share=0.3)

    found = estimate(pairs)

    extent = pairs.chord_mm[0] / SPEED_OF_LIGHT_MM_NS / math.sqrt(3.0)
    assert_allclose(np.hypot(found.sigma_after_ns, extent), SIGMA, rtol=0.03)
    assert found.sigma_before_ns > 1.3 * found.sigma_after_ns
    assert found.before.sum() >= found.after.sum()


def test_numbers_do_not_depend_on_the_chunks():
    rng = np.random.default_rng(7)
    pairs = draw_pairs(rng.normal(0, 0.1, 30), 9000, rng, random_share=0.3)

    one = estimate(pairs)
    other = estimate(*(pairs.take(slice(i, i + 700)) for i in range(0, len(pairs), 700)))

    assert_array_equal(one.offset_ns, other.offset_ns)
    assert_array_equal(one.error_ns, other.error_ns)


def test_cells_of_detectors_lead_to_the_same_offsets_as_each_for_itself(monkeypatch):
    rng = np.random.default_rng(8)
    pairs = draw_pairs(rng.normal(0, 0.1, 128), 60_000, rng, random_share=0.2)

    exact = estimate(pairs, tolerance=1e-4)
    monkeypatch.setattr(offsets_module, "_MAX_CELLS", 16)
    gathered = estimate(pairs, tolerance=1e-4)

    assert_allclose(gathered.offset_ns, exact.offset_ns, atol=0.01 * exact.error_ns.min())
    assert_allclose(gathered.error_ns, exact.error_ns, rtol=0.05)


def test_a_block_of_labels_has_one_offset():
    rng = np.random.default_rng(9)
    pairs = draw_pairs(rng.normal(0, 0.1, 20), 5000, rng)
    # Each label becomes one of three neighbours.
    labels = 3 * pairs.detector + rng.integers(0, 3, pairs.detector.shape)
    split = PairResiduals(detector=labels, residual_ns=pairs.residual_ns, chord_mm=pairs.chord_mm)

    assert_array_equal(estimate(split, block=3).offset_ns, estimate(pairs).offset_ns)


def test_a_detector_that_is_far_out_is_still_found():
    rng = np.random.default_rng(10)
    true = rng.normal(0, 0.05, 40)
    true[7] = 0.8

    found = estimate(draw_pairs(true, 20_000, rng, random_share=0.3))

    assert abs(found.offset_ns[7] - (0.8 - true.mean())) < 4 * found.error_ns[7]


def test_detectors_without_true_pairs_are_left_out_and_listed():
    rng = np.random.default_rng(11)
    true = rng.normal(0, 0.05, 40)
    pairs = draw_pairs(true, 30_000, rng, random_share=0.2)
    beyond = (pairs.detector == 5).any(axis=1)  # all of its pairs random
    few = (pairs.detector == 9).any(axis=1) & (np.arange(len(pairs)) > 200)
    residual = np.where(beyond, rng.uniform(-2, 2, len(pairs)), pairs.residual_ns)
    pairs = PairResiduals(
        detector=pairs.detector, residual_ns=residual, chord_mm=pairs.chord_mm
    ).take(~few)

    found = estimate(pairs)

    assert_array_equal(found.left_out, [5, 9])
    rest = np.delete(true, [5, 9])
    pull = (found.offset_ns - (rest - rest.mean())) / found.error_ns
    assert np.abs(pull).max() < 4.5


def test_of_two_sets_that_no_pair_ties_together_the_larger_gets_offsets():
    rng = np.random.default_rng(12)
    large, small = draw_pairs(np.zeros(20), 4000, rng), draw_pairs(np.zeros(6), 4000, rng)
    small = PairResiduals(
        detector=small.detector + 100, residual_ns=small.residual_ns, chord_mm=small.chord_mm
    )

    found = estimate(large, small)

    assert_array_equal(found.detector, np.arange(20))
    assert_array_equal(found.left_out, np.arange(100, 106))


def test_no_pairs_are_an_error():
    nothing = PairResiduals(
        detector=np.empty((0, 2), np.int64), residual_ns=np.empty(0), chord_mm=np.empty(0)
    )

    with pytest.raises(DataError, match="no annihilation pairs stand out from the random ones"):
        estimate(nothing)
    with pytest.raises(DataError, match="no annihilation pairs stand out from the random ones"):
        estimate()


def test_random_pairs_alone_are_an_error():
    rng = np.random.default_rng(13)

    with pytest.raises(DataError, match="no annihilation pairs stand out"):
        estimate(draw_pairs(np.zeros(10), 5000, rng, random_share=1.0))


def test_too_few_pairs_for_any_detector_are_an_error():
    rng = np.random.default_rng(14)

    with pytest.raises(DataError, match="no detector of 100 has the 20 true pairs"):
        estimate(draw_pairs(np.zeros(100), 400, rng))


def test_passes_that_do_not_settle_are_an_error():
    rng = np.random.default_rng(15)
    pairs = draw_pairs(rng.normal(0, 0.1, 30), 5000, rng, random_share=0.3)

    with pytest.raises(DataError, match="did not settle in 4 passes"):
        estimate(pairs, max_passes=4, tolerance=1e-12)


@pytest.mark.kernel
def test_pairs_found_are_all_those_within_the_window():
    rng = np.random.default_rng(16)
    time = np.sort(rng.uniform(0, 100.0, 200)).round(1)

    pair = find_pairs(time, pair_window_ns=2.0)

    i, j = np.triu_indices(len(time), 1)
    close = time[j] - time[i] <= 2.0
    assert_array_equal(pair, np.stack([i[close], j[close]], axis=1))


@pytest.mark.kernel
def test_the_sums_of_a_pass_equal_those_of_numpy():
    rng = np.random.default_rng(17)
    n, m, reach, flat_from = 8, 500, 2.0, 1.5
    row = rng.integers(0, n, (m, 2))
    residual, chord = rng.uniform(-2.2, 2.2, m), rng.integers(0, 3, m)
    offset = rng.normal(0, 0.1, n)
    cell = np.arange(n) // 2
    cell[3] = -1
    cut, weight, information = np.array([0.5, 1.0, 0.0]), rng.random(3), rng.random(3)
    histogram, n_inside = np.zeros((3, 40), np.int64), np.zeros(n, np.int64)
    n_random, diagonal, gradient = np.zeros((3, n))
    coarse = np.zeros((4, 4))

    add_pairs(
        row, residual, chord, offset, cell, cut, weight, information, reach, flat_from,
        histogram, n_inside, n_random, diagonal, gradient, coarse,
    )  # fmt: skip

    x = residual - (offset[row[:, 1]] - offset[row[:, 0]])
    seen = (row[:, 0] != row[:, 1]) & (row != 3).all(axis=1) & (np.abs(x) < reach)
    inside = seen & (np.abs(x) <= cut[chord])
    for d in range(n):
        first, second = inside & (row[:, 0] == d), inside & (row[:, 1] == d)
        either = first | second
        assert n_inside[d] == np.count_nonzero(either)
        assert_allclose(diagonal[d], information[chord[either]].sum())
        with np.errstate(divide="ignore"):
            wx = weight[chord] * x * (1 - (x / cut[chord]) ** 2) ** 2
        assert_allclose(gradient[d], wx[second].sum() - wx[first].sum(), atol=1e-12)
        outer = seen & (row == d).any(axis=1) & (np.abs(x) > flat_from)
        assert_allclose(n_random[d], (cut[chord[outer]] / (reach - flat_from)).sum())
    assert histogram.sum() == np.count_nonzero(seen)
    across = inside & (cell[row[:, 0]] != cell[row[:, 1]])
    assert_allclose(coarse.sum(), 2 * information[chord[across]].sum())
    assert_array_equal(coarse, coarse.T)


def make_singles(n_decay, rng, *, point=(20.0, -10.0, 5.0), radius=300.0, offset=None) -> Singles:
    """Both photons of annihilations in one point, one label per 30 degrees, perfect clocks."""
    angle, tilt = rng.uniform(0, 2 * np.pi, n_decay), rng.uniform(-0.2, 0.2, n_decay)
    heading = np.stack([np.cos(angle), np.sin(angle), tilt], axis=1)
    heading /= np.linalg.norm(heading, axis=1)[:, None]
    start = np.arange(n_decay) * 100.0
    times, places = [], []
    for sign in (1.0, -1.0):
        u = sign * heading
        a, b = (u[:, :2] ** 2).sum(axis=1), u[:, :2] @ np.array(point[:2])
        c = np.sum(np.square(point[:2])) - radius**2
        distance = (-b + np.sqrt(b * b - a * c)) / a
        places.append(np.array(point) + distance[:, None] * u)
        times.append(start + distance / SPEED_OF_LIGHT_MM_NS)
    place, time = np.concatenate(places), np.concatenate(times)
    label = (np.arctan2(place[:, 1], place[:, 0]) // (np.pi / 6) + 6).astype(np.int64) % 12
    if offset is not None:
        time = time + offset[label]
    order = np.argsort(time, kind="stable")
    return Singles(
        time_ns=time[order],
        energy_kev=np.full(2 * n_decay, 511.0),
        position_mm=place[order],
        detector=label[order],
    )


SOURCE = Sphere(name="source", centre_mm=(20.0, -10.0, 5.0), radius_mm=1.0)


def test_residuals_of_a_point_source_are_the_differences_of_the_offsets():
    rng = np.random.default_rng(18)
    offset = rng.normal(0, 0.1, 12)

    (pairs,) = measure_pairs([make_singles(500, rng, offset=offset)], region=SOURCE)

    assert len(pairs) == 500
    a, b = pairs.detector.T
    assert np.all(a <= b)
    differ = a != b
    assert_allclose(pairs.residual_ns[differ], (offset[b] - offset[a])[differ], atol=1e-9)
    assert_allclose(pairs.chord_mm, 2.0, atol=1e-6)


def test_pairs_across_the_end_of_a_chunk_are_found_once():
    rng = np.random.default_rng(19)
    singles = make_singles(300, rng)

    whole = list(measure_pairs([singles], region=SOURCE))
    cuts = [singles.take(slice(i, i + 7)) for i in range(0, len(singles), 7)]
    parts = list(measure_pairs(cuts, region=SOURCE))

    assert sum(map(len, parts)) == 300
    residual = np.concatenate([p.residual_ns for p in parts])
    assert_array_equal(residual, whole[0].residual_ns)


def test_pairs_off_the_region_outside_the_window_or_without_a_label_are_not_used():
    rng = np.random.default_rng(20)
    singles = make_singles(100, rng)
    aside = Cylinder(name="aside", centre_mm=(0, 200.0, 0), radius_mm=5.0, half_length_mm=1.0)
    unlabelled = Singles(
        time_ns=singles.time_ns,
        energy_kev=singles.energy_kev,
        position_mm=singles.position_mm,
        detector=np.full(len(singles), -1),
    )

    def count(value, *, region=SOURCE, **options):
        found = measure_pairs([value], region=region, options=PairOptions(**options))
        return sum(map(len, found))

    narrow = SelectOptions(annihilation_kev=(520.0, 600.0)).signal

    assert count(singles) == 100
    assert count(singles, region=aside) < 20
    assert count(singles, signal=narrow) == 0
    assert count(singles, min_distance_mm=700.0) == 0
    assert count(unlabelled) == 0


def test_photons_may_be_told_apart_by_time_over_threshold():
    singles = make_singles(100, np.random.default_rng(23))
    by_tot = replace(singles, energy_kev=None, tot_ns=np.full(len(singles), 20.0))
    windows = SelectOptions(annihilation_tot_ns=(10.0, 25.0), prompt_tot_ns=(30.0, 50.0)).signal

    (pairs,) = measure_pairs([by_tot], region=SOURCE, options=PairOptions(signal=windows))

    assert len(pairs) == 100


def test_singles_without_labels_are_an_error():
    singles = make_singles(5, np.random.default_rng(21))
    bare = Singles(
        time_ns=singles.time_ns, energy_kev=singles.energy_kev, position_mm=singles.position_mm
    )

    with pytest.raises(DataError, match="no detector labels, which a timing calibration needs"):
        list(measure_pairs([bare], region=SOURCE))


def test_a_region_without_an_end_is_an_error():
    with pytest.raises(SettingsError, match="region 'all' has no end"):
        ResidualRange.of(Everywhere(), PairOptions())


def test_labels_that_repeat_round_the_scanner_are_an_error():
    singles = make_singles(500, np.random.default_rng(22))
    repeated = Singles(
        time_ns=singles.time_ns,
        energy_kev=singles.energy_kev,
        position_mm=singles.position_mm,
        detector=singles.detector % 2,
    )

    require_single_places(singles)
    with pytest.raises(DataError, match="labels repeat round the scanner"):
        require_single_places(repeated)


@pytest.mark.parametrize("name", ["block", "min_pairs", "n_sigma", "max_passes", "tolerance"])
def test_options_below_zero_are_errors(name):
    with pytest.raises(SettingsError, match=f"{name} = -1: expected a number above zero"):
        OffsetOptions(**{name: -1})
