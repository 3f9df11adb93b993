import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import lognorm

from psimg.lifetime._emg import bin_shares
from psimg.lifetime._mixture import mixture_derivatives, mixture_shares

EDGES = np.linspace(-3.0, 15.0, 91)
N_BIN = len(EDGES) - 1
TWO = np.array([[0.7, 0.1, 0.09], [0.3, -0.05, 0.25]])


def shares(tau=2.0, spread=0.0, response=TWO) -> np.ndarray:
    out, work = np.empty(N_BIN), np.empty(N_BIN)
    mixture_shares(EDGES, tau, spread, np.asarray(response), work, out)
    return out


def slopes(tau, spread, response):
    out, d_tau, d_spread = np.empty(N_BIN), np.empty(N_BIN), np.empty(N_BIN)
    d_response = np.empty((len(response), 3, N_BIN))
    mixture_derivatives(
        EDGES, tau, spread, response, np.empty((4, N_BIN)), out, d_tau, d_spread, d_response
    )
    return out, d_tau, d_spread, d_response


def one(tau, sigma, mu) -> np.ndarray:
    out = np.empty(N_BIN)
    bin_shares(EDGES, tau, sigma, mu, out)
    return out


@pytest.mark.kernel
def test_one_gaussian_and_no_spread_are_the_shares_themselves():
    assert_array_equal(shares(response=[[1.0, 0.1, 0.09]]), one(2.0, 0.09, 0.1))


@pytest.mark.kernel
def test_two_gaussians_are_their_weighted_sum():
    assert_allclose(shares(), 0.7 * one(2.0, 0.09, 0.1) + 0.3 * one(2.0, 0.25, -0.05), rtol=1e-13)


@pytest.mark.kernel
@pytest.mark.parametrize(("tau", "spread"), [(2.0, 0.05), (2.0, 0.3), (1.2, 0.6), (4.0, 1.0)])
def test_a_log_normal_spread_is_the_integral_over_mean_lives(tau, spread):
    # scipy's parameters: the logarithm has mean ln(scale), so that the mean is tau.
    density = lognorm(s=spread, scale=tau * np.exp(-0.5 * spread**2))
    bins = [5, 17, 30, 60, 89]
    low, high = density.ppf(1e-14), density.isf(1e-14)

    found = shares(tau, spread)

    for b in bins:
        edges = EDGES[b : b + 2]

        def integrand(log_life, edges=edges):
            life, out = np.exp(log_life), np.empty(1)
            total = 0.0
            for weight, mu, sigma in TWO:
                bin_shares(edges, life, sigma, mu, out)
                total += weight * out[0]
            return total * density.pdf(life) * life

        expected, _ = quad(integrand, np.log(low), np.log(high), epsabs=1e-13, limit=400)
        # 32 nodes follow the exponential's front over a narrow spread to rounding; over a wide
        # one to a millionth of the component, far below its Poisson noise.
        assert_allclose(found[b], expected, atol=1e-12 if spread <= 0.3 else 1e-6)


@pytest.mark.kernel
@pytest.mark.parametrize("spread", [0.0, 0.25])
def test_slopes_are_those_of_differences(spread):
    out, d_tau, d_spread, d_response = slopes(2.0, spread, TWO)

    assert_allclose(out, shares(2.0, spread), rtol=1e-13)
    h = 1e-5

    def difference(up, down):
        return (up - down) / (2 * h)

    assert_allclose(d_tau, difference(shares(2 + h, spread), shares(2 - h, spread)), atol=1e-9)
    if spread:
        assert_allclose(
            d_spread, difference(shares(2, spread + h), shares(2, spread - h)), atol=1e-9
        )
    for g in range(2):
        for i in range(3):
            up, down = TWO.copy(), TWO.copy()
            up[g, i] += h
            down[g, i] -= h
            numeric = difference(shares(2, spread, up), shares(2, spread, down))
            assert_allclose(d_response[g, i], numeric, atol=1e-7)


@pytest.mark.kernel
def test_a_vanishing_spread_changes_nothing():
    assert_allclose(shares(2.0, 1e-9), shares(2.0, 0.0), rtol=1e-12)
