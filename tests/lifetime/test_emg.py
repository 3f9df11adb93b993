import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from mpmath import mp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from psimg.lifetime._emg import (
    bin_shares,
    bin_shares_derivatives,
    emg_cdf,
    emg_cdf_dsigma,
    emg_cdf_dtau,
    emg_pdf,
    emg_sf,
    erfcx,
)

pytestmark = pytest.mark.kernel

EPS = np.finfo(float).eps

# exp(-x) doubles the rounding of x into x * eps, 1.4e-13 where the value is 1e-280; F on the
# far left is a difference of two functions that agree to k / (k + |u|), 1/760 at worst.
TOLERANCE = 1e-12
SMALLEST = 1e-280

# tau, sigma [ns]: the spectrum's components, and the corners of the supported range.
WIDTHS = [
    (0.125, 0.1),
    (0.388, 0.1),
    (2.0, 0.1),
    (2.0, 0.0999),
    (142.0, 0.25),
    (0.05, 0.02),
    (0.05, 1.0),
    (200.0, 0.02),
    (200.0, 1.0),
    (20.0, 1.0),
]


@pytest.fixture(autouse=True)
def _many_digits():
    with mp.workdps(60):
        yield


def exact(t, tau, sigma):
    """Return f, F, 1 - F, dF/dtau, dF/dsigma from the textbook formulas, in many digits."""
    t, tau, sigma = mp.mpf(t), mp.mpf(tau), mp.mpf(sigma)
    f = mp.exp(sigma**2 / (2 * tau**2) - t / tau)
    f *= mp.erfc((sigma / tau - t / sigma) / mp.sqrt(2)) / (2 * tau)
    phi = mp.npdf(t, 0, sigma)
    below = mp.erfc(-t / (sigma * mp.sqrt(2))) / 2
    above = mp.erfc(t / (sigma * mp.sqrt(2))) / 2
    d_tau = -((t - sigma**2 / tau) * f + sigma**2 / tau * phi) / tau
    d_sigma = sigma * (phi - f) / tau
    return f, below - tau * f, above + tau * f, d_tau, d_sigma


def exact_share(lower, upper, tau, sigma, mu):
    """Share of a bin, from whichever tail is smaller."""
    lower, upper = mp.mpf(lower) - mp.mpf(mu), mp.mpf(upper) - mp.mpf(mu)
    tail = 1 if lower < tau else 2
    return abs(exact(upper, tau, sigma)[tail] - exact(lower, tau, sigma)[tail])


def awkward_times(tau, sigma):
    """Times over both tails, and both sides of every change of formula."""
    k = sigma / tau
    switches = np.array([0.0, k, k + 9.0, -math.sqrt(32.0), 0.05 / k - 1.0]) * sigma
    parts = [
        np.linspace(-37.5, k + 9.5, 45) * sigma,
        np.geomspace(0.01, 640.0, 12) * tau,
        [-1e4, -10.0, 10.0, 1e3, 1e4],
        switches * (1.0 - 1e-12) - 1e-12 * sigma,
        switches * (1.0 + 1e-12) + 1e-12 * sigma,
    ]
    times = np.concatenate(parts)
    return times[np.abs(times) <= 1e4].tolist()


def shares_of(edges, tau, sigma, mu):
    out = np.full(len(edges) - 1, np.nan)
    bin_shares(edges, tau, sigma, mu, out)
    return out


def derivatives_of(edges, tau, sigma, mu):
    columns = np.full((4, len(edges) - 1), np.nan)
    bin_shares_derivatives(edges, tau, sigma, mu, *columns)
    return columns


def test_erfcx_equals_its_definition():
    xs = np.concatenate([np.linspace(-26.5, 30.0, 400), [0.46875, 4.0, 1e-300, 1e-9]])

    relative = [float(erfcx(x) / (mp.exp(mp.mpf(x) ** 2) * mp.erfc(x)) - 1) for x in xs.tolist()]

    assert_allclose(relative, 0.0, atol=8 * EPS)


def test_erfcx_of_a_large_argument_falls_as_its_inverse():
    for x in (1e8, 1e100, 1e200, 1e300):
        assert_allclose(erfcx(x) * x * math.sqrt(math.pi), 1.0, rtol=4 * EPS)


def test_erfcx_is_infinite_where_it_overflows():
    assert erfcx(-27.0) == math.inf
    assert erfcx(-1e300) == math.inf


@pytest.mark.parametrize(
    ("kernel", "column"),
    [(emg_pdf, 0), (emg_cdf, 1), (emg_sf, 2), (emg_cdf_dtau, 3)],
    ids=["pdf", "cdf", "sf", "cdf_dtau"],
)
def test_emg_keeps_relative_accuracy_in_both_tails(kernel, column):
    for tau, sigma in WIDTHS:
        for t in awkward_times(tau, sigma):
            truth = exact(t, tau, sigma)[column]
            value = kernel(t, tau, sigma)

            if abs(truth) > SMALLEST:
                assert abs(value / truth - 1) < TOLERANCE, (t, tau, sigma)
            else:
                assert abs(value) < 1.01 * SMALLEST


def test_derivative_in_sigma_is_accurate_relative_to_its_two_terms():
    for tau, sigma in WIDTHS:
        for t in awkward_times(tau, sigma):
            f, _, _, _, truth = exact(t, tau, sigma)
            scale = abs(truth) + mp.mpf(sigma) * f / tau  # it has a zero at the mode

            if scale > SMALLEST:
                assert abs(emg_cdf_dsigma(t, tau, sigma) - truth) < TOLERANCE * scale, (t, tau)


def test_oracle_derivatives_are_those_of_the_oracle_cdf():
    for t, tau, sigma in [(-0.3, 0.388, 0.1), (0.2, 2.0, 0.1), (3.0, 2.0, 1.0), (-8.0, 0.05, 1.0)]:
        _, _, _, d_tau, d_sigma = exact(t, tau, sigma)
        # Bound now: mpmath calls back after the loop variables of a closure could have moved.
        by_tau = mpmath.diff(lambda x, t=t, s=sigma: exact(t, x, s)[1], mp.mpf(tau))
        by_sigma = mpmath.diff(lambda x, t=t, tau=tau: exact(t, tau, x)[1], mp.mpf(sigma))

        assert abs(d_tau / by_tau - 1) < 1e-15
        assert abs(d_sigma / by_sigma - 1) < 1e-15


@pytest.mark.parametrize(("tau", "sigma"), [(0.125, 0.1), (0.388, 0.1), (2.0, 0.1), (2.0, 1.0)])
def test_emg_equals_exponnorm_of_scipy(tau, sigma):
    t = np.linspace(-3.0 * sigma, 3.0 * sigma + 4.0 * tau, 60)
    reference = stats.exponnorm(tau / sigma, scale=sigma)

    # SciPy's CDF is a difference of terms of order one.
    for kernel, truth in [
        (emg_pdf, reference.pdf),
        (emg_cdf, reference.cdf),
        (emg_sf, reference.sf),
    ]:
        assert_allclose([kernel(x, tau, sigma) for x in t.tolist()], truth(t), rtol=0, atol=1e-13)


def test_cdf_and_density_make_up_the_gaussian():
    for tau, sigma in WIDTHS:
        for t in awkward_times(tau, sigma):
            whole = emg_cdf(t, tau, sigma) + tau * emg_pdf(t, tau, sigma)
            gauss = 0.5 * math.erfc(-t / (sigma * math.sqrt(2.0)))

            assert_allclose(whole, gauss, rtol=TOLERANCE, atol=SMALLEST)


def test_cdf_and_survival_add_to_one():
    for tau, sigma in WIDTHS:
        for t in awkward_times(tau, sigma):
            assert abs(emg_cdf(t, tau, sigma) + emg_sf(t, tau, sigma) - 1.0) <= 4 * EPS


def test_density_integrates_to_one():
    for tau, sigma in WIDTHS:
        lower, upper = -9.0 * sigma, 9.0 * sigma + sigma**2 / tau
        middle, _ = integrate.quad(emg_pdf, lower, upper, (tau, sigma), epsabs=1e-13, limit=200)
        tail, _ = integrate.quad(
            emg_pdf, upper, upper + 40.0 * tau, (tau, sigma), epsabs=1e-13, limit=200
        )

        assert_allclose(middle + tail, 1.0, rtol=0, atol=1e-12)


# tau, sigma, mu, edges: narrow and wide bins, uneven bins, one bin over everything.
SPECTRA = [
    (2.0, 0.1, 0.03, np.arange(-40, 81) / 10.0),
    (0.125, 0.1, -0.2, np.arange(-40, 81) / 10.0),
    (0.05, 1.0, 0.0, np.arange(-40, 41) / 1.0),
    (
        0.388,
        0.1,
        0.0,
        np.concatenate([[-1e4], -np.geomspace(3.0, 0.01, 20), [0.3, 2.0, 90.0, 1e4]]),
    ),
    (200.0, 0.1, 0.0, np.array([-1.0, 0.0, 0.1, 0.2, 1.0, 5.0, 5.1, 900.0, 900.1])),
    (2.0, 0.1, 0.0, np.array([-1e4, 1e4])),
]


@pytest.mark.parametrize(("tau", "sigma", "mu", "edges"), SPECTRA)
def test_shares_keep_relative_accuracy_in_both_tails(tau, sigma, mu, edges):
    shares = shares_of(edges, tau, sigma, mu)

    for share, (lower, upper) in zip(shares, pairwise(edges.tolist()), strict=True):
        truth = exact_share(lower, upper, tau, sigma, mu)
        if truth > SMALLEST:
            assert abs(float(share) / truth - 1) < TOLERANCE, (lower, upper)
        else:
            assert 0.0 <= share < 1.01 * SMALLEST


@pytest.mark.parametrize(("tau", "sigma", "mu", "edges"), SPECTRA)
def test_shares_sum_to_the_difference_of_the_cdf(tau, sigma, mu, edges):
    shares = shares_of(edges, tau, sigma, mu)

    first, last = (emg_cdf(float(t - mu), tau, sigma) for t in edges[[0, -1]])
    assert_allclose(shares.sum(), last - first, rtol=0, atol=len(edges) * EPS)


def test_shares_of_a_window_that_holds_everything_sum_to_one():
    for tau, sigma in WIDTHS:
        edges = np.concatenate([np.linspace(-40.0, 40.0, 300) * sigma, [1e4]])
        missed = math.exp(-1e4 / tau)

        shares = shares_of(edges, tau, sigma, 0.0)

        assert_allclose(shares.sum(), 1.0 - missed, rtol=0, atol=len(edges) * EPS)


def numerical_derivative(lower, upper, values, which):
    """Central difference of a share; the step's error is 1e-30 relative and the digits allow it."""
    step = mp.mpf(10) ** -15
    plus, minus = list(map(mp.mpf, values)), list(map(mp.mpf, values))
    plus[which] += step * plus[1]
    minus[which] -= step * plus[1]
    change = exact_share(lower, upper, *plus) - exact_share(lower, upper, *minus)
    return change / (plus[which] - minus[which])


@pytest.mark.parametrize(
    ("tau", "sigma", "mu", "edges"),
    [
        (2.0, 0.1, 0.03, np.arange(-20, 41) / 10.0),
        (0.125, 0.1, -0.2, np.arange(-20, 21) / 10.0),
        (0.388, 0.5, 0.1, np.concatenate([np.arange(-12, 13) / 4.0, [6.0, 20.0]])),
        (0.05, 1.0, 0.0, np.arange(-20, 21) / 1.0),
        (200.0, 0.1, 0.0, np.array([-1.0, 0.0, 0.1, 0.2, 1.0, 5.0, 5.1, 200.0, 900.0])),
    ],
)
def test_derivatives_of_shares_equal_finite_differences(tau, sigma, mu, edges):
    _, *slopes = derivatives_of(edges, tau, sigma, mu)

    for which, slope in enumerate(slopes):
        truth = np.array(
            [
                float(numerical_derivative(lower, upper, (tau, sigma, mu), which))
                for lower, upper in pairwise(edges.tolist())
            ]
        )
        # A bin's derivative may vanish; elsewhere it is good to the rounding of its edges.
        assert_allclose(slope, truth, rtol=1e-9, atol=0.0)
        assert_allclose(slope, truth, rtol=0.0, atol=1e-11 * np.abs(truth).max())


@pytest.mark.parametrize(("tau", "sigma", "mu", "edges"), SPECTRA)
def test_shares_do_not_depend_on_whether_derivatives_are_wanted(tau, sigma, mu, edges):
    assert_array_equal(derivatives_of(edges, tau, sigma, mu)[0], shares_of(edges, tau, sigma, mu))


def test_derivatives_sum_to_zero_over_a_window_that_holds_everything():
    edges = np.concatenate([[-1e4], np.arange(-20, 60) / 10.0, [1e4]])

    _, *slopes = derivatives_of(edges, 2.0, 0.1, 0.0)

    for slope in slopes:
        assert_allclose(slope.sum(), 0.0, atol=len(edges) * EPS * np.abs(slope).max())


def test_shifting_edges_and_response_together_changes_nothing():
    edges = np.arange(-64, 257) / 32.0  # exact in binary, and so is the shift
    before = derivatives_of(edges, 0.388, 0.1, 0.125)

    after = derivatives_of(edges + 3.0, 0.388, 0.1, 3.125)

    assert_array_equal(after, before)


def test_the_unit_of_time_does_not_matter():
    edges = np.arange(-30, 61) / 10.0
    shares, *slopes = derivatives_of(edges, 0.388, 0.1, 0.125)

    scaled_shares, *scaled_slopes = derivatives_of(4.0 * edges, 4.0 * 0.388, 4.0 * 0.1, 0.5)

    assert_array_equal(scaled_shares, shares)
    assert_array_equal(4.0 * np.array(scaled_slopes), slopes)


def test_a_short_life_gives_the_gaussian():
    sigma, tau = 0.3, 1e-9
    for t in np.linspace(-5.0 * sigma, 5.0 * sigma, 21).tolist():
        u = t / (sigma * math.sqrt(2.0))

        # The next order is the shift of the mean: tau times the density or its slope.
        gauss = math.exp(-u * u) / (sigma * math.sqrt(2.0 * math.pi))
        assert_allclose(emg_cdf(t, tau, sigma), 0.5 * math.erfc(-u), rtol=0, atol=2.0 * tau / sigma)
        assert_allclose(emg_sf(t, tau, sigma), 0.5 * math.erfc(u), rtol=0, atol=2.0 * tau / sigma)
        assert_allclose(emg_pdf(t, tau, sigma), gauss, rtol=0, atol=2.0 * tau / sigma**2)


def test_a_sharp_response_gives_the_exponential():
    tau, sigma = 2.0, 1e-9
    for t in (-1.0, -1e-6):
        assert emg_pdf(t, tau, sigma) == 0.0
        assert emg_cdf(t, tau, sigma) == 0.0
        assert emg_sf(t, tau, sigma) == 1.0
    for t in (1e-6, 0.1, 1.0, 10.0, 100.0):
        # The next order is (sigma / tau)^2 / 2 of the survival.
        assert_allclose(emg_pdf(t, tau, sigma), math.exp(-t / tau) / tau, rtol=4 * EPS)
        assert_allclose(emg_cdf(t, tau, sigma), -math.expm1(-t / tau), rtol=4 * EPS, atol=1e-18)
        assert_allclose(emg_sf(t, tau, sigma), math.exp(-t / tau), rtol=4 * EPS)


def test_far_times_and_extreme_widths_give_finite_values():
    for tau in (1e-6, 0.05, 2.0, 200.0, 1e6):
        for sigma in (1e-6, 0.02, 1.0, 1e3):
            for t in (-1e6, -1e4, -1.0, -1e-12, 0.0, 1e-12, 1.0, 1e4, 1e6):
                cdf, sf = emg_cdf(t, tau, sigma), emg_sf(t, tau, sigma)

                assert 0.0 <= cdf <= 1.0
                assert 0.0 <= sf <= 1.0
                assert 0.0 <= emg_pdf(t, tau, sigma) < math.inf
                assert -math.inf < emg_cdf_dtau(t, tau, sigma) <= 0.0
                assert math.isfinite(emg_cdf_dsigma(t, tau, sigma))


def test_bins_out_of_reach_are_empty_and_bins_without_width_too():
    edges = np.array([-1e4, -9e3, -8e3, 0.0, 0.0, 5.0, 5.0, 9e3, 1e4])

    columns = derivatives_of(edges, 2.0, 0.1, 0.0)

    for b in (0, 1, 3, 5, 7):
        assert_array_equal(columns[:, b], 0.0)
    assert np.all(columns[0] >= 0.0)


def test_spectrum_that_starts_far_right_is_a_pure_exponential():
    edges = np.arange(100, 200) / 10.0
    tau, sigma, mu = 2.0, 0.1, 0.05

    shares = shares_of(edges, tau, sigma, mu)

    start = np.exp(0.5 * (sigma / tau) ** 2 - (edges - mu) / tau)
    # exp(-x) carries x * eps.
    assert_allclose(shares, start[:-1] * -np.expm1(-np.diff(edges) / tau), rtol=20 * EPS)
