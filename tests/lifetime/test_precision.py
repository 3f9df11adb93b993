from dataclasses import replace

import numpy as np
import pytest
from numba_stats import exponnorm
from numpy.testing import assert_allclose

from psimg.core import FitStatus, SettingsError
from psimg.lifetime import Component, LifetimeModel, Response, fit_spectrum
from psimg.lifetime.precision import (
    expected_information,
    fitted_parameters,
    free_intensities,
    precision_of,
)

EDGES = np.linspace(-10.0, 20.0, 301)
SIGMA = 0.25 / 2.354820045


def water(tau_ops=1.83, intensities="free", mu=0.0, **changes) -> LifetimeModel:
    return LifetimeModel(
        components=(
            Component(name="pps", tau_ns=0.125, intensity=0.1),
            Component(name="direct", tau_ns=0.388, intensity=0.6),
            Component(name="ops", tau_ns=tau_ops, intensity=0.3, free=True),
        ),
        intensities=intensities,
        response=Response(mu_ns=mu, sigma_ns=SIGMA),
        **changes,
    )


SOME = ("tau_ops_ns", "events")
MORE = (*SOME, "background", "intensity_ops")
ALL = (*MORE, "tau_direct_ns", "mu_ns", "sigma_ns")


@pytest.mark.parametrize(
    ("free", "tabulated"),
    [
        (SOME, ("2.07", "3.34", "4.89", "8.23", "16.3")),
        (MORE, ("2.63", "4.51", "6.31", "9.88", "18.3")),
        (ALL, ("3.30", "6.35", "9.41", "15.7", "31.0")),
    ],
)
def test_the_precision_of_a_water_like_spectrum_is_as_tabulated(free, tabulated):
    # sqrt(N) sigma(tau)/tau for N true events, the share of p-Ps known; an independent calculation
    # gave the figures.
    n = 1e5
    for share, figure in zip((0.0, 0.2, 0.5, 0.8, 0.95), tabulated, strict=True):
        precision = precision_of(
            water(), EDGES, n_events=n / (1 - share), background_share=share, free=free
        )

        decimals = len(figure.partition(".")[2])
        found = np.sqrt(n) * precision.tau_ops_error_ns / 1.83
        assert f"{found:.{decimals}f}" == figure


def numerical_covariance(truth, expected, extra=None) -> np.ndarray:
    """Covariance from differences of the expected counts."""
    slopes = []
    for k, value in enumerate(truth):
        step = np.zeros(len(truth))
        step[k] = 1e-4 * (value or 1.0)
        slopes.append((expected(*(truth + step)) - expected(*(truth - step))) / (2 * step[k]))
    information = (np.array(slopes) / expected(*truth)) @ np.array(slopes).T
    if extra is not None:
        information += extra
    return np.linalg.inv(information)


@pytest.mark.parametrize("rule", ["free", "ps-ratio"])
@pytest.mark.parametrize("n_sets", [0, 4])
def test_the_bound_is_that_of_a_numerical_jacobian(rule, n_sets):
    def expected(tau, events, background, ops, tau_direct, mu, sigma):
        pps = 0.1 if rule == "free" else ops / 3
        parts = ((0.125, pps), (tau_direct, 1 - pps - ops), (tau, ops))
        signal = sum(s * np.diff(exponnorm.cdf(EDGES, t / sigma, mu, sigma)) for t, s in parts)
        return events * signal + background / 300

    truth = np.array([1.83, 2e4, 1e4, 0.3, 0.388, 0.02, SIGMA])
    extra = np.zeros((7, 7))
    extra[2, 2] = n_sets / truth[2]

    precision = precision_of(
        water(intensities=rule, mu=0.02),
        EDGES,
        n_events=expected(*truth).sum(),
        background_share=1e4 / expected(*truth).sum(),
        free=ALL,
        n_sets=n_sets,
    )

    assert_allclose(precision.values, truth, rtol=1e-9)
    assert_allclose(
        precision.covariance,
        numerical_covariance(truth, expected, extra),
        rtol=1e-3,
        atol=1e-5 * np.outer(precision.errors, precision.errors).min(),
    )
    assert_allclose(precision.errors, np.sqrt(np.diag(precision.covariance)))


def test_information_of_one_mean_is_one_over_the_mean():
    information = expected_information(np.full(5, 20.0), np.ones((1, 5)))

    assert_allclose(information, [[5 / 20.0]])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("n_sets", [0, 3])
def test_the_error_falls_as_one_over_the_root_of_the_events(share, n_sets):
    few, many = (
        precision_of(water(), EDGES, n_events=n, background_share=share, n_sets=n_sets)
        for n in (1e3, 1.6e4)
    )

    assert_allclose(few.tau_ops_error_ns / many.tau_ops_error_ns, 4.0, rtol=1e-9)
    assert_allclose(few.events_for(many.tau_ops_error_ns), 1.6e4, rtol=1e-9)


@pytest.mark.parametrize("free", [SOME, MORE, ALL])
def test_more_background_and_more_unknowns_make_a_larger_error(free):
    errors = [
        precision_of(water(), EDGES, n_events=1e4, background_share=b, free=free).tau_ops_error_ns
        for b in np.linspace(0.0, 0.95, 20)
    ]

    assert np.all(np.diff(errors) > 0)
    if len(free) > 2:
        fewer = precision_of(water(), EDGES, n_events=1e4, background_share=0.95, free=free[:-1])
        assert errors[-1] > fewer.tau_ops_error_ns


def test_delayed_windows_lead_from_a_free_to_a_known_background():
    known, free, measured, well = (
        precision_of(
            water(), EDGES, n_events=1e4, background_share=0.8, free=parameters, n_sets=n_sets
        ).tau_ops_error_ns
        for parameters, n_sets in (
            ((*SOME, "intensity_ops"), 0),
            (MORE, 0),
            (MORE, 4),
            (MORE, 1e9),
        )
    )

    assert known < measured < free
    assert_allclose(well, known, rtol=1e-6)


def test_the_fitted_parameters_are_those_of_the_rule():
    assert fitted_parameters(water(intensities="ps-ratio")) == MORE
    assert free_intensities(water()) == ("intensity_pps", "intensity_ops")
    assert fitted_parameters(water(intensities="fixed")) == ("tau_ops_ns", "events", "background")


@pytest.mark.parametrize("rule", ["ps-ratio", "fixed"])
def test_fits_of_toys_spread_as_the_bound_says(rule):
    rng = np.random.default_rng(20261125)
    model, n_toy, n, share = water(intensities=rule), 300, 2e4, 0.5
    shape = sum(
        c.intensity * np.diff(exponnorm.cdf(EDGES, c.tau_ns / SIGMA, 0.0, SIGMA))
        for c in model.components
    )
    expected = n * ((1 - share) * shape / shape.sum() + share / 300)

    fits = [fit_spectrum(rng.poisson(expected), EDGES, model=model) for _ in range(n_toy)]
    bound = precision_of(model, EDGES, n_events=n, background_share=share)

    assert all(fit.status == FitStatus.OK for fit in fits)
    # A spread of n toys is known to 1/sqrt(2 n); the likelihood's own bend adds the square of
    # the relative error, 0.4 %.
    spread = np.std([fit.tau_ops_ns for fit in fits])
    assert_allclose(spread, bound.tau_ops_error_ns, rtol=4 / np.sqrt(2 * n_toy))
    assert_allclose(
        np.median([fit.tau_ops_error_ns for fit in fits]), bound.tau_ops_error_ns, rtol=0.02
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n_events": 0.0}, "n_events = 0: expected a number above zero"),
        ({"background_share": 1.0}, "background_share = 1: expected 0 or more and below 1"),
        ({"background_share": np.nan}, "background_share = nan"),
        ({"n_sets": -1.0}, "n_sets = -1: expected 0 or more"),
        ({"free": ("tau",)}, "free = 'tau' is no parameter; there are events"),
        ({"free": ("events", "events")}, "names a parameter twice"),
        ({"edges_ns": EDGES[::-1]}, "edges_ns must rise"),
        ({"edges_ns": np.linspace(5, 20, 4), "free": ALL}, "does not tell .* apart"),
        ({"edges_ns": np.linspace(-90, -80, 11), "free": SOME}, "from -90 to -80 ns hold none"),
    ],
)
def test_what_cannot_be_computed_is_an_error(changes, match):
    arguments = {"edges_ns": EDGES, "n_events": 1e3, "background_share": 0.2} | changes

    with pytest.raises(SettingsError, match=match):
        precision_of(water(), **arguments)


def test_a_model_without_response_or_intensities_is_an_error():
    model = water()
    bare = replace(model.components[2], intensity=None)

    with pytest.raises(SettingsError, match="needs a known response"):
        precision_of(LifetimeModel(), EDGES, n_events=1e3, background_share=0.0)
    with pytest.raises(SettingsError, match="component ops states no intensity"):
        precision_of(
            replace(model, components=(*model.components[:2], bare)),
            EDGES,
            n_events=1e3,
            background_share=0.0,
        )
    with pytest.raises(SettingsError, match=r"leave -0\.1 for direct"):
        precision_of(
            replace(model, components=(*model.components[:2], replace(bare, intensity=1.0))),
            EDGES,
            n_events=1e3,
            background_share=0.0,
        )
