import numpy as np
import pytest
from numba_stats import exponnorm
from numpy.testing import assert_allclose

from psimg.core import DataError, FitStatus, SettingsError
from psimg.lifetime import (
    Component,
    FitOptions,
    LifetimeModel,
    calibrate_response,
    fit_regions,
    fit_spectrum,
    standard_components,
)
from psimg.lifetime._emg import bin_shares, bin_shares_derivatives
from psimg.lifetime._likelihood import poisson_deviance
from psimg.spectra import DelayedSpectrum, LifetimeSpectra

EDGES = np.linspace(-10.0, 20.0, 301)
MU, SIGMA = 0.03, 0.09
TRUTH = {"pps": (0.125, 0.1), "direct": (0.388, 0.6), "ops": (2.0, 0.3)}
KNOWN = LifetimeModel().with_response(MU, SIGMA)


def expected_counts(n, background, truth=TRUTH) -> np.ndarray:
    """Expected counts by another library's EMG."""
    signal = sum(
        share * np.diff(exponnorm.cdf(EDGES, tau / SIGMA, MU, SIGMA))
        for tau, share in truth.values()
    )
    return n * signal + background / (len(EDGES) - 1)


def mixed(*tau_ops) -> np.ndarray:
    """Expected counts of equal parts of several o-Ps lifetimes."""
    return sum(
        expected_counts(1e5 / len(tau_ops), 2e4 / len(tau_ops), TRUTH | {"ops": (tau, 0.3)})
        for tau in tau_ops
    )


def delayed_prompts(counts, n_window) -> DelayedSpectrum:
    nothing = np.zeros(300)
    return DelayedSpectrum(
        prompt=counts,
        photon=nothing,
        both=nothing,
        n_sets=(n_window, 0, 0),
        shape=np.full(300, 1 / 300),
    )


def spectra_of(counts) -> LifetimeSpectra:
    counts = np.atleast_2d(counts).astype(np.uint32)
    return LifetimeSpectra(
        edges_ns=EDGES,
        counts=counts,
        delayed=np.zeros((len(counts), 3, len(EDGES) - 1)),
        n_sets=(0, 0, 0),
        n_events=0,
        n_outside=0,
        n_outside_dt=0,
        names=tuple(f"r{i}" for i in range(len(counts))),
    )


@pytest.mark.kernel
def test_the_deviance_is_that_of_baker_and_cousins():
    n = np.array([0.0, 1.0, 5.0, 10.0])
    m = np.array([0.5, 1.5, 5.0, 7.0])

    safe = np.where(n > 0, n, 1.0)
    expected = 2 * np.sum(m - n + n * np.log(safe / m))
    assert_allclose(poisson_deviance(n, m), expected, rtol=1e-14)


@pytest.mark.parametrize("intensities", ["free", "ps-ratio", "fixed"])
def test_the_fit_of_exact_expectations_gives_the_truth(intensities):
    model = LifetimeModel(intensities=intensities)

    fit = fit_spectrum(expected_counts(1e6, 2e5), EDGES, model=model)

    assert fit.status == FitStatus.OK
    assert_allclose(fit.tau_ops_ns, 2.0, atol=2e-3)
    assert_allclose(fit.intensities, [0.1, 0.6, 0.3], atol=2e-3)
    assert_allclose([fit.value("mu_ns"), fit.value("sigma_ns")], [MU, SIGMA], atol=2e-4)
    assert_allclose(fit.background_fraction, 2e5 / fit.expected.sum(), rtol=1e-2)
    assert fit.deviance < 1e-2
    assert_allclose(fit.expected.sum(axis=0), expected_counts(1e6, 2e5), rtol=1e-2)


def fisher_covariance(n, background, n_delays=0) -> np.ndarray:
    """Covariance of tau, intensity, events and background, from numerical derivatives."""

    def expected(tau, ops, events, randoms):
        truth = {"pps": (0.125, ops / 3), "direct": (0.388, 1 - 4 / 3 * ops), "ops": (tau, ops)}
        return expected_counts(events, randoms, truth)

    truth = np.array([2.0, 0.3, n, background])
    steps = np.diag(1e-4 * truth)
    slope = np.array(
        [(expected(*(truth + h)) - expected(*(truth - h))) / (2 * h.sum()) for h in steps]
    )
    information = (slope / expected(*truth)) @ slope.T
    information[3, 3] += n_delays / background
    return np.linalg.inv(information)


def test_errors_are_those_of_the_fisher_information():
    covariance = fisher_covariance(5e5, 5e5)

    fit = fit_spectrum(expected_counts(5e5, 5e5), EDGES, model=KNOWN)

    assert_allclose(fit.tau_ops_error_ns, np.sqrt(covariance[0, 0]), rtol=0.01)
    assert_allclose(fit.intensity_ops_error, np.sqrt(covariance[1, 1]), rtol=0.01)


@pytest.mark.parametrize(
    ("share", "tau_and_n", "and_background_and_intensity"),
    [
        (0.0, 2.07, 2.63),
        (0.2, 3.34, 4.51),
        (0.5, 4.89, 6.31),
        (0.8, 8.23, 9.88),
        (0.95, 16.3, 18.3),
    ],
)
def test_the_precision_of_a_water_like_spectrum_is_as_tabulated(
    share, tau_and_n, and_background_and_intensity
):
    # sqrt(N) sigma(tau)/tau for 60/10/30 %, 0.388/0.125/1.83 ns, 250 ps FWHM, -10 to 20 ns, with
    # the share of p-Ps known; an independent calculation gave the figures.
    sigma, tau, n = 0.25 / 2.3548, 1.83, 1e6
    out, d_tau, scratch = np.empty(300), np.empty(300), np.empty(300)
    pps, direct = np.empty(300), np.empty(300)
    bin_shares(EDGES, 0.125, sigma, 0.0, pps)
    bin_shares(EDGES, 0.388, sigma, 0.0, direct)
    bin_shares_derivatives(EDGES, tau, sigma, 0.0, out, d_tau, scratch, scratch.copy())
    signal = 0.1 * pps + 0.6 * direct + 0.3 * out
    expected = n * signal + share / (1 - share) * n / 300
    slope = np.array([0.3 * n * d_tau, signal, np.full(300, 1 / 300), n * (out - direct)])
    information = (slope / np.maximum(expected, 1e-9)) @ slope.T

    errors = [
        np.sqrt(np.linalg.inv(block)[0, 0] * n) / tau
        for block in (information[:2, :2], information)
    ]

    assert_allclose(errors, [tau_and_n, and_background_and_intensity], rtol=3e-3)


def test_pulls_have_mean_0_and_width_1():
    rng = np.random.default_rng(20261121)
    n_toy = 150
    expected = expected_counts(2e4, 1e4)
    pulls = []
    for _ in range(n_toy):
        fit = fit_spectrum(rng.poisson(expected), EDGES, model=KNOWN)
        assert fit.status == FitStatus.OK
        pulls.append(
            [
                (fit.tau_ops_ns - 2.0) / fit.tau_ops_error_ns,
                (fit.intensity_ops - 0.3) / fit.intensity_ops_error,
                (fit.value("background") - 1e4) / fit.error("background"),
            ]
        )

    assert_allclose(np.mean(pulls, axis=0), 0.0, atol=4 / np.sqrt(n_toy))
    assert_allclose(np.std(pulls, axis=0), 1.0, atol=4 / np.sqrt(2 * n_toy))


def test_delayed_windows_make_the_lifetime_more_precise_without_bias():
    rng = np.random.default_rng(7)
    delayed_model = LifetimeModel(background="delayed").with_response(MU, SIGMA)
    n, background, n_toy, n_delays = 2e4, 4e4, 100, 4
    flat, delayed = [], []
    for _ in range(n_toy):
        counts = rng.poisson(expected_counts(n, background))
        windows = delayed_prompts(rng.poisson(n_delays * background / 300, 300), n_delays)
        flat.append(fit_spectrum(counts, EDGES, model=KNOWN))
        delayed.append(fit_spectrum(counts, EDGES, model=delayed_model, delayed=windows))

    pull = [(fit.tau_ops_ns - 2.0) / fit.tau_ops_error_ns for fit in delayed]
    assert abs(np.median(pull)) < 4 * 1.25 / np.sqrt(n_toy)
    gain = np.median(
        [d.tau_ops_error_ns / f.tau_ops_error_ns for d, f in zip(delayed, flat, strict=True)]
    )
    expected = [np.sqrt(fisher_covariance(n, background, k)[0, 0]) for k in (n_delays, 0)]
    assert expected[0] < 0.95 * expected[1]
    assert_allclose(gain, expected[0] / expected[1], rtol=0.02)


@pytest.mark.parametrize(("rule", "tolerance_ns"), [("ps-ratio", 0.001), ("free", 0.004)])
def test_mixing_lifetimes_hardly_moves_the_calibrated_response(rule, tolerance_ns):
    spectra = spectra_of(np.round(mixed(1.5, 3.2)))

    fit = calibrate_response(spectra, model=LifetimeModel(intensities=rule))

    assert_allclose(fit.value("mu_ns"), MU, atol=tolerance_ns)
    assert_allclose(fit.value("sigma_ns"), SIGMA, atol=tolerance_ns)


def test_a_free_direct_lifetime_is_fitted_too():
    pps, direct, ops = standard_components()
    free = Component(name="direct", tau_ns=0.35, free=True, bounds_ns=(0.2, 0.6))
    model = LifetimeModel(components=(pps, free, ops)).with_response(MU, SIGMA)

    fit = fit_spectrum(expected_counts(1e6, 1e5), EDGES, model=model)

    assert direct.tau_ns == 0.388
    assert_allclose(fit.value("tau_direct_ns"), 0.388, atol=2e-3)
    assert_allclose(fit.tau_ops_ns, 2.0, atol=5e-3)
    assert fit.value("tau_pps_ns") == 0.125
    assert fit.error("tau_pps_ns") == 0.0


def test_too_few_events_are_a_status_and_no_number():
    counts = np.zeros(300)
    counts[110] = 10

    fit = fit_spectrum(counts, EDGES, model=KNOWN, options=FitOptions(min_counts=11))

    assert fit.status == FitStatus.TOO_FEW_COUNTS
    assert np.isnan(fit.tau_ops_ns)
    assert np.isnan(fit.tau_ops_error_ns)


def test_a_spectrum_without_o_ps_gives_no_confident_lifetime():
    truth = {"direct": (0.388, 1.0)}

    fit = fit_spectrum(np.round(expected_counts(1e4, 1e3, truth)), EDGES, model=KNOWN)

    assert fit.status != FitStatus.OK or fit.intensity_ops < 2 * fit.intensity_ops_error


def test_no_background_is_a_background_of_zero():
    fit = fit_spectrum(np.floor(expected_counts(1e5, 0.0)), EDGES, model=KNOWN)

    assert fit.status == FitStatus.OK
    assert abs(fit.value("background")) < 30
    assert abs(fit.tau_ops_ns - 2.0) < 3 * fit.tau_ops_error_ns


@pytest.mark.parametrize(
    ("counts", "edges", "match"),
    [
        (np.full(300, -1.0), EDGES, "counts must be finite and not negative"),
        (np.full(300, np.nan), EDGES, "counts must be finite and not negative"),
        (np.ones(299), EDGES, r"edges_ns has shape \(301,\) and there are 299 counts"),
        (np.ones(3), EDGES[:4], "3 bins cannot fix 4 free parameters"),
    ],
)
def test_a_spectrum_that_cannot_be_fitted_is_an_error(counts, edges, match):
    with pytest.raises(DataError, match=match):
        fit_spectrum(counts, edges, model=KNOWN)


def test_a_delayed_background_without_delayed_windows_is_an_error():
    with pytest.raises(SettingsError, match="needs delayed windows and there are none"):
        fit_spectrum(np.ones(300), EDGES, model=LifetimeModel(background="delayed"))


def test_options_below_one_are_errors():
    with pytest.raises(SettingsError, match="min_counts = 0: expected 1 or more"):
        FitOptions(min_counts=0)


def test_regions_keep_their_order_and_names():
    rng = np.random.default_rng(1)
    spectra = spectra_of(rng.poisson(expected_counts(5e3, 1e3), size=(3, 300)))
    calls = []

    fits = fit_regions(
        spectra, model=KNOWN, progress=lambda done, total: calls.append((done, total))
    )

    assert [fit.name for fit in fits] == ["r0", "r1", "r2"]
    assert calls == [(1, 3), (2, 3), (3, 3)]
