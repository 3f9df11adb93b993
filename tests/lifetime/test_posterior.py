from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest, norm

from psimg.core import DataError, SettingsError
from psimg.lifetime import (
    Component,
    Gaussian,
    LifetimeModel,
    Posterior,
    Prior,
    Response,
    SpectrumData,
    default_priors,
    fit_data,
    sample_posterior,
    standard_components,
)
from psimg.lifetime.posterior import TWO_SIGMA, _Density
from psimg.lifetime.problem import SpectrumProblem

EDGES = np.linspace(-3.0, 12.0, 76)
N_BIN = len(EDGES) - 1
PPS, DIRECT, OPS = standard_components()
KNOWN = LifetimeModel().with_response(0.0, 0.1)
RICH = LifetimeModel(
    components=(
        PPS,
        replace(DIRECT, free=True, prior_ns=(0.38, 0.02)),
        replace(OPS, spread=0.1, spread_free=True),
        Component(name="foil", tau_ns=0.25, intensity=0.15, source=True),
    ),
    response=Response(more=(Gaussian(), Gaussian(weight=0.1, sigma_ns=0.3))),
)


def expectation(amplitudes=(6000.0, 3000.0, 2000.0), tau=2.0) -> np.ndarray:
    """(B,) expected events for those of direct annihilation, o-Ps and background."""
    direct, ops, background = amplitudes
    empty = SpectrumData(name="a", edges_ns=EDGES, counts=np.zeros(N_BIN))
    problem = SpectrumProblem(empty, KNOWN)
    return problem.expectation(np.array([direct, ops, tau, background]))


def data(counts, name="a", **more) -> SpectrumData:
    return SpectrumData(name=name, edges_ns=EDGES, counts=counts, **more)


@pytest.mark.kernel
@pytest.mark.parametrize("model", [KNOWN, RICH])
def test_the_density_is_the_likelihood_times_the_priors(model):
    rng = np.random.default_rng(1)
    spectrum = data(rng.poisson(expectation()), exposure=np.linspace(0.5, 1.0, N_BIN))
    problem = SpectrumProblem(spectrum, model)
    priors = [default_priors(spectrum, model)[name] for name in problem.names]
    priors[0] = Prior(kind="log-uniform", low=1.0, high=1e5)
    density = _Density(problem, priors)
    points = problem.start() * rng.uniform(0.95, 1.05, (4, len(priors)))

    found = density(points)

    expected = [-0.5 * problem.deviance(p) - np.log(p[0]) for p in points]
    assert_allclose(found - found[0], np.array(expected) - expected[0], rtol=1e-9, atol=1e-8)
    outside = points.copy()
    outside[0, 0] = -1.0
    assert density(outside)[0] == -np.inf


def test_all_cores_give_the_same_density(monkeypatch):
    spectrum = data(np.random.default_rng(1).poisson(expectation()))
    problem = SpectrumProblem(spectrum, KNOWN)
    density = _Density(problem, list(default_priors(spectrum, KNOWN).values()))
    points = problem.start() * np.linspace(0.9, 1.1, 5)[:, None]
    alone = density(points)

    monkeypatch.setattr("psimg.lifetime.posterior._MANY", 0)

    assert np.array_equal(density(points), alone)


def test_weights_that_leave_nothing_for_the_first_gaussian_have_no_density():
    spectrum = data(expectation())
    problem = SpectrumProblem(spectrum, RICH)
    priors = [default_priors(spectrum, RICH)[name] for name in problem.names]
    point = problem.start()[None, :].copy()
    point[0, problem.names.index("weight_2")] = 0.9

    assert _Density(problem, priors)(point)[0] == -np.inf


def test_with_many_events_the_posterior_is_the_fit():
    spectrum = data(np.random.default_rng(5).poisson(100 * expectation()))
    fit = fit_data(spectrum, model=KNOWN)

    found = sample_posterior(spectrum, model=KNOWN, rng=np.random.default_rng(2), n_step=1200)

    assert found.is_mixed
    for name in fit.parameters:
        at = fit.parameters.index(name)
        # The mean is worth so many independent draws.
        error = fit.error(name) / np.sqrt(found.chain.effective_size[at])
        assert abs(found.mean(name) - fit.value(name)) < 5 * error + 0.02 * fit.error(name)
        assert_allclose(found.error(name), fit.error(name), rtol=0.1)
    assert_allclose(found.mean("intensity_ops"), fit.intensity_ops, rtol=0.01)
    low, high = found.interval("tau_ops_ns")
    assert_allclose(high - low, 2 * fit.tau_ops_error_ns, rtol=0.1)
    low, high = found.interval("tau_ops_ns", TWO_SIGMA)
    assert_allclose(high - low, 2 * 1.96 * fit.tau_ops_error_ns, rtol=0.1)


def test_without_data_the_posterior_is_the_prior():
    nothing = data(np.zeros(N_BIN), exposure=np.full(N_BIN, 1e-12))
    priors = {
        "tau_ops_ns": Prior(kind="normal", low=0.5, high=9.0, mean=2.0, sigma=0.3),
        "n_ops": Prior(kind="log-uniform", low=1.0, high=100.0),
        "n_direct": Prior(low=5.0, high=10.0),
        "background": Prior(low=0.0, high=1.0),
    }

    found = sample_posterior(
        nothing, model=KNOWN, priors=priors, rng=np.random.default_rng(3), n_step=4000, n_burn=500
    )

    uniform = {
        "n_direct": (found.column("n_direct") - 5.0) / 5.0,
        "n_ops": np.log(found.column("n_ops")) / np.log(100.0),
        "tau_ops_ns": norm(2.0, 0.3).cdf(found.column("tau_ops_ns")),
        "background": found.column("background"),
    }
    for name, ranks in uniform.items():
        n = found.chain.effective_size[found.parameters.index(name)]
        # Mean and variance of a uniform number: 1/2 and 1/12, with variances of 1/12 and 1/180.
        assert abs(ranks.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / n)
        assert abs(((ranks - 0.5) ** 2).mean() - 1 / 12) < 4 * np.sqrt(1 / 180 / n)


def test_credible_intervals_hold_the_truth_as_often_as_they_say():
    # Truths drawn from the priors (S. Talts et al., arXiv:1804.06788): ranks are uniform.
    rng = np.random.default_rng(17)
    box = {"n_direct": (40.0, 160.0), "n_ops": (30.0, 120.0), "background": (10.0, 100.0)}
    priors = {name: Prior(low=low, high=high) for name, (low, high) in box.items()}
    priors["tau_ops_ns"] = Prior(low=1.0, high=4.0)
    ranks = []
    for _ in range(120):
        truth = [rng.uniform(*box[name]) for name in box]
        tau = rng.uniform(1.0, 4.0)
        spectrum = data(rng.poisson(expectation(truth, tau)))
        found = sample_posterior(
            spectrum, model=KNOWN, priors=priors, rng=rng, n_walker=16, n_step=250, n_burn=150
        )
        ranks.append(np.mean(found.column("tau_ops_ns") < tau))

    assert kstest(ranks, "uniform").pvalue > 1e-3


def test_few_events_say_what_they_can():
    spectrum = data(np.random.default_rng(4).poisson(expectation((60.0, 30.0, 10.0))))

    found = sample_posterior(spectrum, model=KNOWN, rng=np.random.default_rng(5), n_step=800)

    assert isinstance(found, Posterior)
    low, high = found.interval("tau_ops_ns")
    assert 0.5 < low < found.mean("tau_ops_ns") < high < 20.0
    assert len(found.priors) == 4
    assert str(found.priors[2]) == "uniform from 0.5 to 20"


def test_the_same_seed_gives_the_same_draws():
    spectrum = data(np.round(expectation()))

    a, b = (
        sample_posterior(spectrum, model=KNOWN, rng=np.random.default_rng(8), n_step=20, n_burn=5)
        for _ in range(2)
    )

    assert np.array_equal(a.samples, b.samples)


def test_a_prior_has_the_range_of_its_parameter_unless_it_states_one():
    spectrum = data(np.random.default_rng(3).poisson(expectation((600.0, 300.0, 100.0))))
    priors = {"tau_ops_ns": Prior(kind="normal", mean=2.0, sigma=0.2)}

    found = sample_posterior(spectrum, model=KNOWN, priors=priors, rng=np.random.default_rng(5))

    assert found.is_mixed
    assert str(found.priors[2]) == "normal 2 +- 0.2, from 0.5 to 20"
    assert abs(found.mean("tau_ops_ns") - 2.0) < 0.4


def test_priors_of_a_model_are_the_default():
    priors = default_priors(data(np.full(N_BIN, 4.0)), RICH)

    assert priors["tau_direct_ns"] == Prior(
        kind="normal", low=0.097, high=1.552, mean=0.38, sigma=0.02
    )
    assert priors["n_ops"] == Prior(low=0.0, high=600.0)
    assert str(priors["tau_direct_ns"]) == "normal 0.38 +- 0.02, from 0.097 to 1.552"


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Prior(low=2.0, high=1.0), SettingsError, "a prior from 2 to 1"),
        (lambda: Prior(kind="normal", mean=1.0, sigma=0.0), SettingsError, "needs a mean and a"),
        (lambda: Prior(kind="normal", sigma=1.0), SettingsError, "needs a mean and a sigma"),
        (
            lambda: Prior(kind="normal", mean=2.0, sigma=0.2, high=1.0),
            SettingsError,
            "a normal prior of mean 2 cut to -inf to 1: the mean must lie inside",
        ),
        (lambda: Prior(kind="gauss"), SettingsError, "kind 'gauss': use one of uniform, normal"),
        (
            lambda: Prior(kind="log-uniform", low=0.0),
            SettingsError,
            "log-uniform prior from 0: expected above zero",
        ),
        (
            lambda: sample_posterior(
                data(expectation()), model=KNOWN, priors={"mu_ns": Prior()},
                rng=np.random.default_rng(0),
            ),
            SettingsError,
            "a: a prior for 'mu_ns', which is not free; there are n_direct",
        ),
        (
            lambda: sample_posterior(
                data(expectation()), model=replace(KNOWN, background="four-set"),
                rng=np.random.default_rng(0),
            ),
            SettingsError,
            "a: a posterior takes no background = 'four-set'",
        ),
        (
            lambda: sample_posterior(
                data(expectation()), model=RICH,
                priors={"weight_2": Prior(low=0.95, high=0.99)}, rng=np.random.default_rng(0),
            ),
            SettingsError,
            "a: no walker finds a place within the priors near n_direct",
        ),
    ],
)  # fmt: skip
def test_priors_that_make_no_sense_are_an_error(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_parameter_that_was_not_sampled_is_an_error():
    found = sample_posterior(
        data(np.round(expectation())), model=KNOWN, rng=np.random.default_rng(8), n_step=8, n_burn=0
    )

    with pytest.raises(DataError, match="no parameter 'mu_ns' was sampled; there are n_direct"):
        found.mean("mu_ns")
