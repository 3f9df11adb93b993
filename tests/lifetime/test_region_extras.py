"""Intervals, profiles, goodness of fit, joint fits, and the richer models, on known truth."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest

from psimg.core import DataError, FitStatus, SettingsError
from psimg.lifetime import (
    Component,
    FitOptions,
    Gaussian,
    LifetimeModel,
    Response,
    SpectrumData,
    calibrated_model,
    fit_joint,
    fit_spectrum,
    goodness_of_fit,
    profile_likelihood,
    standard_components,
)
from psimg.lifetime._mixture import mixture_shares
from psimg.lifetime.goodness import toy_deviances

EDGES = np.linspace(-5.0, 15.0, 201)
N_BIN = len(EDGES) - 1
PPS, DIRECT, OPS = standard_components()
ONE = Response(mu_ns=0.02, sigma_ns=0.1)
KNOWN = LifetimeModel(response=ONE)
FREE_DIRECT = replace(DIRECT, free=True)


def expectation(components, shares, *, response=ONE, n=1e5, background=2e4) -> np.ndarray:
    """(B,) expected events of components with these shares and a flat background."""
    total, out, work = np.full(N_BIN, background / N_BIN), np.empty(N_BIN), np.empty(N_BIN)
    for component, share in zip(components, shares, strict=True):
        mixture_shares(EDGES, component.tau_ns, component.spread, response.table, work, out)
        total += n * share * out
    return total


WATER = expectation((PPS, DIRECT, OPS), (0.1, 0.6, 0.3))


def test_profile_intervals_are_where_the_deviance_has_risen_by_one():
    counts = np.random.default_rng(4).poisson(WATER / 200)

    fit = fit_spectrum(counts, EDGES, model=KNOWN, options=FitOptions(intervals="profile"))

    low, high = fit.interval("tau_ops_ns")
    profile = profile_likelihood(fit, values=np.array([low, fit.tau_ops_ns, high]))
    # MINOS looks for the crossing to a hundredth of a standard error.
    assert_allclose(profile.rise, [1.0, 0.0, 1.0], atol=0.02)
    # Few events: the upper error of a lifetime is the larger one.
    assert high - fit.tau_ops_ns > fit.tau_ops_ns - low
    assert np.isnan(fit_spectrum(counts, EDGES, model=KNOWN).intervals).all()


def test_with_many_events_the_interval_is_the_standard_error():
    fit = fit_spectrum(100 * WATER, EDGES, model=KNOWN, options=FitOptions(intervals="profile"))

    half = 0.5 * np.diff(fit.intervals, axis=1)[:, 0]
    assert_allclose(half, fit.errors, rtol=5e-3)


def test_the_profile_is_a_parabola_of_the_standard_error_where_events_are_many():
    fit = fit_spectrum(100 * WATER, EDGES, model=KNOWN)

    profile = profile_likelihood(fit, n_value=7)

    pull = (profile.values - fit.tau_ops_ns) / fit.tau_ops_error_ns
    # With an error of 0.2 % the next term is some thousandths of the pull cubed.
    assert np.all(np.abs(profile.rise - pull**2) < 0.003 * np.abs(pull) ** 3 + 1e-3)


def test_a_profile_needs_a_fit_and_a_free_parameter():
    fit = fit_spectrum(WATER, EDGES, model=KNOWN)

    with pytest.raises(DataError, match=r"no profile of 'mu_ns': status ok, free parameters n_dir"):
        profile_likelihood(fit, "mu_ns")
    nothing = fit_spectrum(np.floor(expectation((PPS, DIRECT, OPS), (0.1, 0.6, 0.3),
                           background=0.0)), EDGES, model=KNOWN)  # fmt: skip
    with pytest.raises(DataError, match="no profile of 'background', which ended on a bound"):
        profile_likelihood(nothing, "background")


def test_the_correlation_has_ones_on_its_diagonal_and_nothing_beyond():
    fit = fit_spectrum(WATER, EDGES, model=KNOWN)

    assert_allclose(np.diag(fit.correlation), 1.0)
    assert np.all(np.abs(fit.correlation) <= 1 + 1e-12)
    assert_allclose(fit.correlation, fit.correlation.T)


@pytest.mark.parametrize("n", [300, 10_000])
def test_the_goodness_of_true_models_is_spread_evenly(n):
    rng = np.random.default_rng(n)
    model = replace(KNOWN, components=(PPS, replace(FREE_DIRECT, prior_ns=(0.388, 0.02)), OPS))
    found = []
    for _ in range(80):
        fit = fit_spectrum(rng.poisson(WATER * n / WATER.sum()), EDGES, model=model)
        if fit.status == FitStatus.OK:
            found.append(goodness_of_fit(fit, rng=rng, n_toy=500))

    # The prior's centre is not drawn anew with each spectrum: one datum of 200 that always fits.
    assert all(one.method == "toys" for one in found)
    assert kstest([one.p_value for one in found], "uniform").pvalue > 0.001


def test_chi_square_would_not_be_honest_with_few_counts():
    rng = np.random.default_rng(8)
    fit = fit_spectrum(rng.poisson(WATER * 300 / WATER.sum()), EDGES, model=KNOWN)

    toys = toy_deviances(fit, rng=rng, n_toy=2000)

    # 300 events in 200 bins: the deviance a spectrum should have is far below a chi-square's.
    assert toys.mean() < fit.ndf - np.sqrt(2 * fit.ndf)


def test_toys_fitted_to_first_order_have_the_deviance_of_toys_that_are_fitted():
    rng = np.random.default_rng(6)
    fit = fit_spectrum(rng.poisson(WATER * 1000 / WATER.sum()), EDGES, model=KNOWN)
    expected = fit.expected.sum(axis=0)
    fitted = [fit_spectrum(rng.poisson(expected), EDGES, model=KNOWN) for _ in range(120)]
    deviance = np.array([f.deviance for f in fitted if f.status == FitStatus.OK])

    toys = toy_deviances(fit, rng=rng, n_toy=4000)

    error = toys.std() / np.sqrt(len(deviance))
    assert abs(deviance.mean() - toys.mean()) < 3 * error
    assert_allclose(deviance.std(), toys.std(), rtol=4 / np.sqrt(2 * len(deviance)))


def test_a_wrong_model_has_no_chance():
    components = (PPS, DIRECT, OPS, Component(name="pore", tau_ns=6.0))
    counts = np.random.default_rng(5).poisson(expectation(components, (0.1, 0.5, 0.2, 0.2)))

    fit = fit_spectrum(counts, EDGES, model=KNOWN)

    assert goodness_of_fit(fit, rng=np.random.default_rng(0)).p_value < 1e-3


def test_large_counts_are_compared_with_chi_square():
    fit = fit_spectrum(np.random.default_rng(2).poisson(100 * WATER), EDGES, model=KNOWN)

    found = goodness_of_fit(fit, rng=np.random.default_rng(0))

    assert found.method == "chi2"
    assert 1e-4 < found.p_value < 1


def test_a_fit_without_values_has_no_goodness():
    with pytest.raises(DataError, match=r"a: a fit without values \(too_few_counts\)"):
        goodness_of_fit(
            fit_spectrum(np.zeros(N_BIN), EDGES, model=KNOWN, name="a"),
            rng=np.random.default_rng(0),
        )


RICH = LifetimeModel(
    components=(
        replace(PPS, intensity=0.15),
        replace(FREE_DIRECT, intensity=0.45),
        replace(OPS, intensity=0.25),
        Component(name="pore", tau_ns=7.0, free=True, intensity=0.15, bounds_ns=(4.0, 12.0)),
        Component(name="foil", tau_ns=0.25, intensity=0.12, source=True),
    ),
    intensities="free",
    response=Response(more=(Gaussian(), Gaussian())),
)
RICH_RESPONSE = Response(
    mu_ns=0.05,
    sigma_ns=0.09,
    more=(
        Gaussian(weight=0.3, shift_ns=-0.04, sigma_ns=0.17),
        Gaussian(weight=0.08, shift_ns=0.1, sigma_ns=0.35),
    ),
)
RICH_TRUTH = expectation(
    RICH.components,
    np.array([0.15 * 0.88, 0.45 * 0.88, 0.25 * 0.88, 0.15 * 0.88, 0.12]),
    response=RICH_RESPONSE, n=2e8, background=1e6,
)  # fmt: skip


def test_three_gaussians_and_five_components_are_found_in_exact_expectations():
    fit = fit_spectrum(RICH_TRUTH, EDGES, model=RICH)

    assert fit.status == FitStatus.OK
    assert_allclose(fit.deviance, 0.0, atol=0.5)
    assert_allclose(fit.intensities, [0.15, 0.45, 0.25, 0.15, 0.12], atol=2e-3)
    assert_allclose(fit.value("tau_pore_ns"), 7.0, rtol=1e-3)
    assert_allclose(fit.tau_ops_ns, 2.0, rtol=1e-3)


def test_a_spread_of_mean_lives_is_found():
    wide = replace(OPS, spread=0.3)
    truth = expectation((PPS, DIRECT, wide), (0.1, 0.6, 0.3), n=1e7)
    model = replace(KNOWN, components=(PPS, DIRECT, replace(OPS, spread_free=True)))

    fit = fit_spectrum(truth, EDGES, model=model)

    assert_allclose(fit.value("spread_ops"), 0.3, rtol=1e-3)
    assert_allclose(fit.tau_ops_ns, 2.0, rtol=1e-4)


def test_a_prior_is_a_measurement():
    alone = fit_spectrum(WATER, EDGES, model=replace(KNOWN, components=(PPS, FREE_DIRECT, OPS)))
    error = alone.error("tau_direct_ns")
    known = replace(FREE_DIRECT, prior_ns=(alone.value("tau_direct_ns") + error, error))

    both = fit_spectrum(WATER, EDGES, model=replace(KNOWN, components=(PPS, known, OPS)))

    # Two measurements of the same error: their mean, with the error over sqrt(2).
    assert_allclose(
        both.value("tau_direct_ns"), alone.value("tau_direct_ns") + error / 2, atol=0.03 * error
    )
    assert_allclose(both.error("tau_direct_ns"), error / np.sqrt(2), rtol=0.02)
    assert both.ndf == alone.ndf + 1


def test_a_template_and_an_exposure_leave_no_bias():
    slope = np.linspace(0.5, 2.0, N_BIN)
    exposure = np.where(np.arange(N_BIN) % 7 == 0, 0.0, np.linspace(1.0, 0.3, N_BIN))
    signal = expectation((PPS, DIRECT, OPS), (0.1, 0.6, 0.3), background=0.0)
    counts = exposure * (signal + 3e4 * slope / slope.sum())

    fit = fit_spectrum(
        counts, EDGES, model=replace(KNOWN, background="template"), template=slope,
        exposure=exposure,
    )  # fmt: skip

    assert_allclose(fit.tau_ops_ns, 2.0, rtol=1e-4)
    assert_allclose(fit.value("background"), 3e4, rtol=1e-3)


def spectra(rng=None) -> list[SpectrumData]:
    found = []
    for name, tau in (("liver", 1.7), ("fat", 2.6), ("muscle", 2.0)):
        truth = expectation((PPS, DIRECT, replace(OPS, tau_ns=tau)), (0.1, 0.6, 0.3))
        counts = truth if rng is None else rng.poisson(truth)
        found.append(SpectrumData(name=name, edges_ns=EDGES, counts=counts))
    return found


JOINT = LifetimeModel(components=(PPS, FREE_DIRECT, OPS))


def test_a_joint_fit_shares_response_and_direct_lifetime():
    joint = fit_joint(spectra(), model=JOINT)

    assert joint.shared == ("tau_direct_ns", "mu_ns", "sigma_ns")
    assert_allclose([fit.tau_ops_ns for fit in joint.fits], [1.7, 2.6, 2.0], rtol=1e-4)
    for name in joint.shared:
        assert len({fit.value(name) for fit in joint.fits}) == 1
        assert len({fit.error(name) for fit in joint.fits}) == 1
    assert_allclose(joint.deviance, sum(fit.deviance for fit in joint.fits), atol=1e-9)
    alone = fit_spectrum(spectra()[0].counts, EDGES, model=JOINT)
    assert joint.fits[0].error("tau_direct_ns") < 0.7 * alone.error("tau_direct_ns")
    assert "liver: tau_ops_ns" in joint.parameters


def test_a_joint_fit_that_shares_nothing_is_the_fits_alone():
    rng = np.random.default_rng(3)
    data = spectra(rng)

    joint = fit_joint(data, model=KNOWN, shared=())

    for spectrum, fit in zip(data, joint.fits, strict=True):
        alone = fit_spectrum(spectrum.counts, EDGES, model=KNOWN)
        assert_allclose(fit.tau_ops_ns, alone.tau_ops_ns, atol=0.01 * alone.tau_ops_error_ns)
        assert_allclose(fit.errors, alone.errors, rtol=1e-2)


def test_a_prior_of_a_shared_parameter_counts_once():
    known = replace(JOINT, components=(PPS, replace(FREE_DIRECT, prior_ns=(0.388, 0.001)), OPS))

    joint = fit_joint(spectra(), model=known)

    free = fit_joint(spectra(), model=JOINT).fits[0].error("tau_direct_ns")
    assert_allclose(
        joint.fits[0].error("tau_direct_ns"), 1 / np.hypot(1 / free, 1 / 0.001), rtol=0.02
    )


@pytest.mark.parametrize(
    ("names", "model", "shared", "error", "match"),
    [
        ([], JOINT, None, DataError, "spectra with different names; there are none"),
        (["a", "a"], JOINT, None, DataError, "different names; there are a, a"),
        (["a", "b"], JOINT, ["tau_x_ns"], SettingsError, "shared = 'tau_x_ns' is no free param"),
        (
            ["a"],
            replace(JOINT, background="four-set"),
            None,
            SettingsError,
            "a joint fit takes no background = 'four-set'",
        ),
    ],
)
def test_a_joint_fit_that_makes_no_sense_is_an_error(names, model, shared, error, match):
    data = [SpectrumData(name=name, edges_ns=EDGES, counts=WATER) for name in names]

    with pytest.raises(error, match=match):
        fit_joint(data, model=model, shared=shared)


def test_a_calibration_is_known_in_what_follows():
    fit = fit_spectrum(WATER, EDGES, model=JOINT)

    model = calibrated_model(fit)

    assert model.response.known
    assert_allclose(model.response.table[0], [1.0, 0.02, 0.1], atol=1e-4)
    assert [c.free for c in model.components] == [False, False, True]
    assert_allclose(model.components[1].tau_ns, 0.388, rtol=1e-3)
    too_few = fit_spectrum(np.zeros(N_BIN), EDGES, model=JOINT)
    guess = calibrated_model(too_few)
    assert guess.response == JOINT.response
    assert guess.components == (PPS, DIRECT, OPS)
