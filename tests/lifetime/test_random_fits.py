"""Fits of regions and voxels with every class of randoms, on toys of known expectations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError, FitStatus, SettingsError, VoxelGrid
from psimg.lifetime import (
    FitOptions,
    LifetimeModel,
    calibrate_response,
    fit_regions,
    fit_spectrum,
    fit_voxels,
)
from psimg.spectra import DelayedSpectrum, LifetimeSpectra, RandomLevels

EDGES = np.linspace(-10.0, 20.0, 301)
N_BIN = 300
MU, SIGMA = 0.03, 0.09
FLAT, DELAYED, FOUR_SET = (
    LifetimeModel(background=background) for background in ("flat", "delayed", "four-set")
)
NUMBERS = {"signal": 3e4, "class_2": 3000.0, "unrelated": 1e4, "class_3": 2000.0}
"""Class II is a tenth of the true events, class III a fifth of the unrelated ones."""
N_TOY = 60


@pytest.fixture(scope="module")
def toys(make_truth):
    """Fits of the same toys with each background."""
    truth = make_truth(**NUMBERS)
    rng = np.random.default_rng(20261201)
    fits = {"flat": [], "four-set": []}
    for _ in range(N_TOY):
        counts, delayed = truth.draw(rng)
        for name, model in (("flat", FLAT), ("four-set", FOUR_SET)):
            fits[name].append(
                fit_spectrum(counts, EDGES, model=model.with_response(MU, SIGMA), delayed=delayed)
            )
    return fits


def region_spectra(truth, counts, delayed) -> LifetimeSpectra:
    return LifetimeSpectra(
        edges_ns=EDGES, counts=[counts], delayed=[delayed], n_sets=truth.n_sets, n_events=0,
        n_outside=0, n_outside_dt=0, names=("a",),
    )  # fmt: skip


def voxel_spectra(counts) -> LifetimeSpectra:
    n = len(counts)
    return LifetimeSpectra(
        edges_ns=EDGES, counts=counts, delayed=np.zeros((n, 3, 1)), n_sets=(4, 3, 2), n_events=0,
        n_outside=0, n_outside_dt=0, voxel=np.arange(n),
        grid=VoxelGrid.centred(shape=(n, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parameter", "truth"), [("tau_ops_ns", 2.0), ("background", NUMBERS["unrelated"])]
)
def test_four_set_fits_have_pulls_of_mean_0_and_width_1(toys, parameter, truth):
    fits = toys["four-set"]

    pull = np.array([(fit.value(parameter) - truth) / fit.error(parameter) for fit in fits])

    assert all(fit.status == FitStatus.OK for fit in fits)
    assert_allclose(pull.mean(), 0.0, atol=4 / np.sqrt(N_TOY))
    assert_allclose(pull.std(), 1.0, atol=4 / np.sqrt(2 * N_TOY))


@pytest.mark.parametrize(("parameter", "sign"), [("class_2", 1), ("class_3", -1)])
def test_class_2_takes_less_than_an_error_of_class_3(toys, parameter, sign):
    fits = toys["four-set"]

    pull = np.array([(f.value(parameter) - NUMBERS[parameter]) / f.error(parameter) for f in fits])

    # The weights of the shifts are positive: noise of class III within their reach adds to class
    # II where it is high and takes nothing where it is low.
    atol = 4 / np.sqrt(N_TOY)
    assert -atol < sign * pull.mean() < 1.0
    assert_allclose(pull.std(), 1.0, atol=4 / np.sqrt(2 * N_TOY))


def test_class_2_and_twice_class_3_are_what_the_windows_with_a_photon_delayed_hold(toys):
    pulls = []
    for fit in toys["four-set"]:
        weights = np.zeros(len(fit.parameters))
        weights[[fit.parameters.index("class_2"), fit.parameters.index("class_3")]] = 1.0, 2.0
        truth = NUMBERS["class_2"] + 2 * NUMBERS["class_3"]
        error = np.sqrt(weights @ fit.covariance @ weights)
        pulls.append((weights @ fit.values - truth) / error)

    assert_allclose(np.mean(pulls), 0.0, atol=4 / np.sqrt(N_TOY))
    assert_allclose(np.std(pulls), 1.0, atol=4 / np.sqrt(2 * N_TOY))


def test_four_set_fits_state_the_randoms_and_intensities_that_are_there(toys):
    fits = toys["four-set"]
    randoms = NUMBERS["class_2"] + NUMBERS["unrelated"]
    share = randoms / (randoms + NUMBERS["signal"])

    found = np.array([[fit.background_fraction, fit.intensity_ops] for fit in fits])
    errors = [fit.intensity_ops_error for fit in fits]

    atol = 4 * found.std(axis=0) / np.sqrt(N_TOY)
    assert np.all(np.abs(found.mean(axis=0) - [share, 0.3]) < atol)
    assert_allclose(found[:, 1].std(), np.mean(errors), rtol=4 / np.sqrt(2 * N_TOY))
    for fit in fits:
        assert_allclose(fit.class_2.sum(), fit.value("class_2"), rtol=1e-9)
        total = fit.value("class_2") + fit.value("background")
        assert_allclose(fit.expected[-1].sum(), total, rtol=1e-9)


def test_a_flat_background_makes_the_lifetime_short_where_there_is_class_2(toys):
    tau = np.array([fit.tau_ops_ns for fit in toys["flat"]])

    # Class II piles up near the prompt peak: -0.2 ns at a tenth of the true events (physics, 3).
    assert tau.mean() < 2.0 - 0.05
    assert tau.mean() < 2.0 - 4 * tau.std() / np.sqrt(N_TOY)


def test_the_deviance_of_four_set_fits_is_near_their_degrees_of_freedom(toys):
    fits = toys["four-set"]

    assert {fit.ndf for fit in fits} == {2 * (N_BIN + 1) - 6}
    assert not any(fit.is_poor for fit in fits)
    # The shifts of class II are fitted to the same counts: up to 51 weights, positive ones, that
    # are not counted. Bins of few counts add to the deviance: up to a fifth.
    mean = np.mean([fit.deviance for fit in fits])
    spread = 4 * np.sqrt(2 * fits[0].ndf / N_TOY)
    assert fits[0].ndf - 51 - spread < mean < 1.2 * fits[0].ndf


def test_a_four_set_fit_of_exact_expectations_gives_the_truth(make_truth):
    truth = make_truth(signal=1e6, class_2=1e5, unrelated=4e5, class_3=1e5)

    fit = fit_spectrum(truth.counts, EDGES, model=FOUR_SET, delayed=truth.windows(truth.delayed))

    # Half a percent of the lifetime is what the backgrounds are to be better than.
    assert_allclose(fit.tau_ops_ns, 2.0, rtol=0.005)
    assert_allclose(fit.intensities, [0.1, 0.6, 0.3], atol=0.005)
    assert_allclose([fit.value("mu_ns"), fit.value("sigma_ns")], [MU, SIGMA], atol=5e-4)
    for name, value in (("background", 4e5), ("class_2", 1e5), ("class_3", 1e5)):
        assert_allclose(fit.value(name), value, rtol=0.005)


def test_a_four_set_fit_without_class_2_is_the_delayed_fit(make_truth):
    truth = make_truth(signal=3e4, class_2=0.0, unrelated=8000.0, class_3=0.0)
    counts = np.random.default_rng(5).poisson(truth.counts)
    nothing = truth.windows(truth.delayed * [[1], [0], [0]])

    fits = [
        fit_spectrum(counts, EDGES, model=model, delayed=nothing) for model in (DELAYED, FOUR_SET)
    ]

    delayed, four_set = fits
    assert four_set.value("class_2") == 0.0
    assert_allclose(four_set.tau_ops_ns, delayed.tau_ops_ns, atol=0.01 * delayed.tau_ops_error_ns)
    assert_allclose(four_set.tau_ops_error_ns, delayed.tau_ops_error_ns, rtol=0.02)
    assert delayed.ndf == N_BIN + 1 - 6
    # Two parameters that ended on a bound are not free.
    assert four_set.ndf == 2 * (N_BIN + 1) - 6


@pytest.mark.parametrize("model", [DELAYED, FOUR_SET], ids=["delayed", "four-set"])
def test_a_sloping_background_has_the_slope_of_its_windows(make_truth, model):
    truth = make_truth(signal=3e4, class_2=0.0, unrelated=3e4, class_3=3000.0, slope=1.0)
    counts, delayed = truth.counts, truth.windows(truth.delayed)
    flat = DelayedSpectrum(
        prompt=delayed.prompt, photon=delayed.photon, both=delayed.both, n_sets=delayed.n_sets,
        shape=np.full(N_BIN, 1 / N_BIN),
    )  # fmt: skip

    known = fit_spectrum(counts, EDGES, model=model, delayed=delayed)
    wrong = fit_spectrum(counts, EDGES, model=model, delayed=flat)

    assert_allclose(known.tau_ops_ns, 2.0, atol=0.1 * known.tau_ops_error_ns)
    assert abs(wrong.tau_ops_ns - 2.0) > 2 * known.tau_ops_error_ns
    assert_allclose(known.expected[-1], truth.unrelated, rtol=0.02)


def test_regions_and_calibrations_use_the_shape_they_are_given(make_truth):
    truth = make_truth(**NUMBERS, slope=1.0)
    counts = np.round(truth.counts).astype(int)
    spectra = region_spectra(truth, counts, np.round(truth.delayed))
    delayed = DelayedSpectrum.of(spectra, 0, shape=truth.shape)

    alone = fit_spectrum(counts, EDGES, model=FOUR_SET, delayed=delayed)
    (region,) = fit_regions(spectra, model=FOUR_SET, shape=truth.shape)
    calibration = calibrate_response(spectra, model=FOUR_SET, shape=truth.shape)

    assert_allclose(region.values, alone.values)
    assert_allclose(calibration.values, alone.values)
    assert_allclose(region.expected[-1] - region.class_2, truth.unrelated, rtol=0.05)


@pytest.mark.parametrize(
    ("background", "n_sets", "missing"),
    [
        ("delayed", (0, 2, 2), "delays_ns"),
        ("four-set", (0, 2, 2), "delays_ns"),
        ("four-set", (2, 0, 0), "photon_delays_ns"),
        ("four-set", (0, 0, 0), "delays_ns and select.photon_delays_ns"),
    ],
)
def test_a_background_without_its_windows_is_an_error(make_truth, background, n_sets, missing):
    truth = make_truth(**NUMBERS, n_sets=n_sets)
    model = LifetimeModel(background=background)
    match = f"background = '{background}' needs delayed windows and .*; set select.{missing}, or"

    with pytest.raises(SettingsError, match=match):
        fit_spectrum(truth.counts, EDGES, model=model, delayed=truth.windows(truth.delayed))


def test_a_four_set_fit_without_any_windows_is_an_error():
    with pytest.raises(SettingsError, match="a: background = 'four-set' needs delayed windows"):
        fit_spectrum(np.ones(N_BIN), EDGES, model=FOUR_SET, name="a")


def test_a_four_set_fit_in_bins_of_unequal_width_is_an_error(make_truth):
    truth = make_truth(**NUMBERS)
    edges = EDGES.copy()
    edges[-1] += 1.0

    with pytest.raises(DataError, match="'four-set' needs time bins of equal width"):
        fit_spectrum(truth.counts, edges, model=FOUR_SET, delayed=truth.windows(truth.delayed))


def test_a_four_set_fit_of_few_counts_has_a_status_and_the_right_degrees_of_freedom(make_truth):
    truth = make_truth(**NUMBERS)
    counts = np.zeros(N_BIN)

    fit = fit_spectrum(counts, EDGES, model=FOUR_SET, delayed=truth.windows(truth.delayed))

    assert fit.status == FitStatus.TOO_FEW_COUNTS
    assert np.all(np.isnan(fit.class_2))
    assert fit.ndf == 2 * (N_BIN + 1) - len(fit.parameters)


@pytest.fixture(scope="module")
def calibration(make_truth):
    """The fit of all events of the toys of voxels."""
    truth = make_truth(signal=1e6, class_2=1e5, unrelated=4e5, class_3=1e5)
    return fit_spectrum(truth.counts, EDGES, model=FOUR_SET, delayed=truth.windows(truth.delayed))


@pytest.mark.parametrize("scale", [1.0, 10.0], ids=["loose levels", "tight levels"])
def test_voxel_fits_with_levels_have_pulls_of_mean_0_and_width_1(make_truth, calibration, scale):
    rng = np.random.default_rng(20261202)
    n = 1000
    signal, class_2, unrelated = 1e4, 1000.0, 4000.0
    truth = make_truth(signal=signal, class_2=class_2, unrelated=unrelated, class_3=0.0)
    randoms = class_2 + unrelated
    levels = RandomLevels(
        count=rng.poisson(scale * randoms, n),
        scale=np.full(n, scale),
        class_2_share=np.full(n, class_2 / randoms),
    )
    model = FOUR_SET.with_response(MU, SIGMA)

    maps = fit_voxels(
        voxel_spectra(rng.poisson(truth.counts, (n, N_BIN))),
        model=model, calibration=calibration, levels=levels,
    )  # fmt: skip

    assert np.all(maps.status == FitStatus.OK)
    pull = (maps.values - [2.0, 0.3, signal, randoms]) / maps.errors
    # As without levels: the lifetime's likelihood is a little skewed, a tenth of an error.
    assert_allclose(pull.mean(axis=0), 0.0, atol=4 / np.sqrt(n) + 0.1)
    assert_allclose(pull.std(axis=0), 1.0, atol=4 / np.sqrt(2 * n) + 0.03)


def test_voxel_fits_without_class_2_in_their_levels_are_short(make_truth, calibration):
    truth = make_truth(signal=1e5, class_2=1e4, unrelated=4e4, class_3=0.0)
    spectra = voxel_spectra(np.round(truth.counts)[None].astype(int))
    known = RandomLevels(count=[5e5], scale=[10.0], class_2_share=[0.2])
    without = RandomLevels(count=[4e5], scale=[10.0], class_2_share=[0.0])
    model = FOUR_SET.with_response(MU, SIGMA)

    tau = [
        fit_voxels(spectra, model=model, calibration=calibration, levels=levels).values[0, 0]
        for levels in (known, without)
    ]

    assert_allclose(tau[0], 2.0, atol=0.01)
    assert tau[1] < 1.9


def test_a_looser_level_makes_a_lifetime_less_certain(make_truth, calibration):
    truth = make_truth(signal=1e6, class_2=1e5, unrelated=4e5, class_3=0.0)
    counts = np.round(truth.counts).astype(int)
    scale = np.array([100.0, 10.0, 1.0, 0.1, 1e-3, 0.0])
    levels = RandomLevels(count=5e5 * scale, scale=scale, class_2_share=np.full(len(scale), 0.2))

    maps = fit_voxels(
        voxel_spectra(np.tile(counts, (len(scale), 1))),
        model=FOUR_SET.with_response(MU, SIGMA), calibration=calibration, levels=levels,
    )  # fmt: skip

    tau, background = maps.errors[:, 0], maps.errors[:, 3]
    assert np.all(np.diff(tau) > 0)
    assert np.all(np.diff(background) > 0)
    # A level of many counts keeps their error, and one of next to none is as good as none.
    assert_allclose(background[0], np.sqrt(5e5 / 100.0), rtol=1e-2)
    assert_allclose(tau[-2], tau[-1], rtol=1e-2)
    # Values do not move where the level says what the counts say, but for the calibration's shape.
    assert_allclose(maps.values[:, 0], 2.0, rtol=0.005)
    # A level is a datum more.
    assert_array_equal(maps.ndf, N_BIN + 1 - 4)


def test_voxels_of_very_many_pairs_are_fitted_as_others_are(make_truth, calibration):
    rng = np.random.default_rng(20261203)
    truth = make_truth(signal=1e6, class_2=0.0, unrelated=4e5, class_3=0.0)
    n = 100
    # Tens of millions of counts: the deviance is good to 1e-8, whatever its own size.
    levels = RandomLevels(
        count=rng.poisson(100 * 4e5, n), scale=np.full(n, 100.0), class_2_share=np.zeros(n)
    )

    maps = fit_voxels(
        voxel_spectra(rng.poisson(truth.counts, (n, N_BIN))),
        model=DELAYED.with_response(MU, SIGMA), calibration=calibration, levels=levels,
    )  # fmt: skip

    assert np.all(maps.status == FitStatus.OK)


def test_a_wrong_level_moves_a_lifetime_by_as_much_as_it_weighs(make_truth, calibration):
    truth = make_truth(signal=1e4, class_2=1000.0, unrelated=4000.0, class_3=0.0)
    counts = np.tile(np.round(truth.counts).astype(int), (2, 1))
    scale = np.array([0.01, 10.0])
    levels = RandomLevels(count=0.8 * 5000 * scale, scale=scale, class_2_share=[0.2, 0.2])

    maps = fit_voxels(
        voxel_spectra(counts), model=FOUR_SET.with_response(MU, SIGMA), calibration=calibration,
        levels=levels,
    )  # fmt: skip

    light, heavy = np.abs(maps.values[:, 0] - 2.0)
    assert heavy > 5 * light
    # Fewer randoms leave more tail to o-Ps.
    assert maps.values[1, 0] > 2.0


def test_a_flat_background_takes_no_levels(make_truth, calibration):
    truth = make_truth(signal=1e4, class_2=0.0, unrelated=4000.0, class_3=0.0)
    spectra = voxel_spectra(np.round(truth.counts)[None].astype(int))
    wrong = RandomLevels(count=[1e6], scale=[1.0], class_2_share=[0.5])
    model = FLAT.with_response(MU, SIGMA)

    with_levels = fit_voxels(spectra, model=model, levels=wrong)
    without = fit_voxels(spectra, model=model)

    assert_allclose(with_levels.values, without.values)


def test_voxels_without_a_calibrated_class_2_take_a_shape_of_unrelated_randoms(make_truth):
    truth = make_truth(signal=1e4, class_2=0.0, unrelated=5000.0, class_3=0.0)
    spectra = voxel_spectra(np.round(truth.counts)[None].astype(int))
    levels = RandomLevels(count=[5e4], scale=[10.0], class_2_share=[0.2])
    too_few = fit_spectrum(
        np.zeros(N_BIN), EDGES, model=FOUR_SET, delayed=truth.windows(truth.delayed),
        options=FitOptions(min_counts=1),
    )  # fmt: skip
    model = FOUR_SET.with_response(MU, SIGMA)

    for calibration in (None, too_few):
        maps = fit_voxels(spectra, model=model, levels=levels, calibration=calibration)

        assert_allclose(maps.values[0, [0, 3]], [2.0, 5000.0], rtol=0.02)


def test_voxel_levels_follow_a_sloping_shape(make_truth):
    truth = make_truth(signal=1e5, class_2=0.0, unrelated=1e5, class_3=0.0, slope=1.0)
    spectra = voxel_spectra(np.round(truth.counts)[None].astype(int))
    levels = RandomLevels(count=[1e6], scale=[10.0], class_2_share=[0.0])
    model = DELAYED.with_response(MU, SIGMA)

    known = fit_voxels(spectra, model=model, levels=levels, shape=truth.shape)
    wrong = fit_voxels(spectra, model=model, levels=levels)

    assert_allclose(known.values[0, 0], 2.0, atol=0.1 * known.errors[0, 0])
    assert abs(wrong.values[0, 0] - 2.0) > 3 * known.errors[0, 0]
