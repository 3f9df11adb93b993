import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import binom, kstest

from psimg.core import DataError
from psimg.spectra import (
    DelayedSpectrum,
    LifetimeSpectra,
    estimate_classes,
    estimate_random_spectrum,
    measure_shape,
)
from psimg.spectra.randoms import flat_shape

EDGES = np.linspace(-10.0, 20.0, 101)
N_BIN = len(EDGES) - 1
X = (0.5 * (EDGES[1:] + EDGES[:-1]) - 5.0) / 15.0
"""Bin centres on -1 to 1."""
FLAT = np.full(N_BIN, 1 / N_BIN)
CLASS_1, CLASS_2, CLASS_3 = 4000.0, 900.0, 1500.0
N_SETS = (4, 2, 3)
SUMS = np.array([4 * (CLASS_1 + CLASS_3), 2 * (CLASS_2 + 2 * CLASS_3), 3 * 2 * CLASS_3])
"""Expected events of the windows of each kind, all windows of a kind together."""
CLASSES = ("class_1", "class_2", "class_3", "unrelated", "total")
TRUTH = np.array([CLASS_1, CLASS_2, CLASS_3, CLASS_1 + CLASS_3, CLASS_1 + CLASS_2 + CLASS_3])


def spectra_of(delayed, n_sets=N_SETS) -> LifetimeSpectra:
    delayed = np.asarray(delayed)
    n = len(delayed)
    return LifetimeSpectra(
        edges_ns=EDGES,
        counts=np.zeros((n, N_BIN)),
        delayed=delayed,
        n_sets=n_sets,
        n_events=0,
        n_outside=0,
        n_outside_dt=0,
        names=tuple(f"r{i}" for i in range(n)),
    )


def peaked(mean, width, n) -> np.ndarray:
    """Expected counts of a Gaussian, the means at ``mean`` and the width of it in units of X."""
    density = np.exp(-0.5 * ((X - mean) / width) ** 2)
    return n * density / density.sum()


def test_the_classes_are_what_makes_the_windows_hold_what_they_hold():
    classes = estimate_classes(SUMS, N_SETS)

    assert_allclose([getattr(classes, name) for name in CLASSES], TRUTH, rtol=1e-12)


def test_class_errors_are_the_spread_of_poisson_counts():
    n = 20_000
    rng = np.random.default_rng(20261125)
    draws = [estimate_classes(row, N_SETS) for row in rng.poisson(SUMS, size=(n, 3))]

    classes = estimate_classes(SUMS, N_SETS)

    for name, truth in zip(CLASSES, TRUTH, strict=True):
        estimates = np.array([getattr(draw, name) for draw in draws])
        error = getattr(classes, f"{name}_error")
        assert_allclose(estimates.std(), error, rtol=4 / np.sqrt(2 * n))
        assert_allclose(estimates.mean(), truth, atol=4 * error / np.sqrt(n))


@pytest.mark.parametrize(
    ("n_sets", "known"),
    [
        ((2, 0, 0), {"unrelated"}),
        ((0, 2, 2), {"class_2", "class_3"}),
        ((2, 0, 2), {"unrelated", "class_1", "class_3"}),
        ((0, 0, 0), set()),
    ],
)
def test_a_class_whose_windows_are_missing_is_nan(n_sets, known):
    delayed = np.where(np.array(n_sets) > 0, 100.0, 0.0)

    classes = estimate_classes(delayed, n_sets)

    for name in CLASSES:
        for field in (name, f"{name}_error"):
            assert np.isfinite(getattr(classes, field)) == (name in known)


def test_no_counts_are_no_randoms_without_an_error():
    classes = estimate_classes(np.zeros(3), (1, 1, 1))

    for name in CLASSES:
        assert getattr(classes, name) == 0.0
        assert getattr(classes, f"{name}_error") == 0.0


def test_the_random_spectrum_is_the_sum_of_the_windows_in_each_bin():
    rng = np.random.default_rng(3)
    delayed = rng.poisson(SUMS[:, None] * FLAT, size=(2, 3, N_BIN))

    randoms, variance = estimate_random_spectrum(spectra_of(delayed), 1)

    p, a, b = delayed[1] / np.array(N_SETS)[:, None]
    assert_allclose(randoms, p + a - b)
    classes = estimate_classes(delayed[1].sum(axis=1), N_SETS)
    assert_allclose(randoms.sum(), classes.total)
    assert_allclose(np.sqrt(variance.sum()), classes.total_error)


def test_the_random_spectrum_varies_as_it_says():
    n = 2000
    rng = np.random.default_rng(4)
    expected = SUMS[:, None] * FLAT
    draws = spectra_of(rng.poisson(expected, size=(n, 3, N_BIN)))
    mean = (SUMS / np.array(N_SETS) @ [1, 1, -1]) / N_BIN
    variance = (SUMS / np.array(N_SETS) ** 2).sum() / N_BIN

    randoms = np.stack([estimate_random_spectrum(draws, row)[0] for row in range(n)])

    # All bins alike: one mean and one variance of n N_BIN numbers.
    assert_allclose(randoms.mean(), mean, atol=4 * np.sqrt(variance / randoms.size))
    assert_allclose(randoms.var(), variance, rtol=4 * np.sqrt(2 / randoms.size))


@pytest.mark.parametrize("n_sets", [(0, 2, 2), (2, 0, 2), (2, 2, 0)])
def test_the_random_spectrum_needs_every_kind_of_window(n_sets):
    spectra = spectra_of(np.zeros((1, 3, N_BIN)), n_sets)

    with pytest.raises(DataError, match=r"set select\.delays_ns and select\.photon_delays_ns"):
        estimate_random_spectrum(spectra, 0)


def test_the_delayed_windows_of_a_region_are_its_own_in_the_order_of_their_kinds():
    delayed = np.arange(2 * 3 * N_BIN).reshape(2, 3, N_BIN)
    shape = np.linspace(1.0, 2.0, N_BIN)

    one = DelayedSpectrum.of(spectra_of(delayed), 1)
    other = DelayedSpectrum.of(spectra_of(delayed), 1, shape=shape)

    assert_array_equal(np.stack([one.prompt, one.photon, one.both]), delayed[1])
    assert one.n_sets == N_SETS
    assert_allclose(one.shape, FLAT)
    assert_array_equal(other.shape, shape)


def test_a_shape_of_other_bins_is_an_error():
    with pytest.raises(DataError, match=r"DelayedSpectrum.prompt has shape \(100,\), expected"):
        DelayedSpectrum.of(spectra_of(np.zeros((1, 3, N_BIN))), 0, shape=np.ones(7))


def test_a_flat_shape_goes_as_the_width_of_the_bins():
    assert_allclose(flat_shape(np.array([-1.0, 0.0, 3.0])), [0.25, 0.75])


def test_flat_counts_have_a_flat_shape_and_any_chance_as_often_as_another():
    n = 250
    rng = np.random.default_rng(20261126)

    shapes = [measure_shape(rng.poisson(200.0, N_BIN), EDGES) for _ in range(n)]

    assert kstest([shape.p_flat for shape in shapes], "uniform").pvalue > 1e-3
    # Four orders are tried, each of them at a chance of a thousandth.
    n_sloping = sum(shape.order > 0 for shape in shapes)
    assert n_sloping <= binom.ppf(0.999, n, 4e-3)
    for shape in shapes:
        if shape.order == 0:
            assert_allclose(shape.shares, FLAT)
            assert shape.deviance == shape.flat_deviance
        assert shape.ndf_flat == N_BIN - 1
    # Each deviance is a chi-square of 99 degrees of freedom, up to the 1/(6 m) of Poisson counts.
    mean = np.mean([shape.flat_deviance for shape in shapes])
    assert_allclose(mean, (N_BIN - 1) * (1 + 1 / 1200), atol=4 * np.sqrt(2 * N_BIN / n))


@pytest.mark.parametrize("slope", [0.01, 0.03, 0.1])
def test_a_slope_is_found_once_the_counts_can_tell_it(slope):
    rng = np.random.default_rng(7)
    # The density changes by ``slope`` from end to end: exp(a x) with a half of that. X varies by
    # 1/3, so that n counts know a to sqrt(3/n) and gain n a^2/3 in deviance: 100 with this n.
    a = 0.5 * slope
    n = 300 / a**2
    counts = rng.poisson(n / N_BIN * np.exp(a * X))

    shape = measure_shape(counts, EDGES)

    assert shape.order == 1
    assert shape.p_flat < 1e-10
    fitted = np.log(shape.shares[-1] / shape.shares[0]) / (X[-1] - X[0])
    assert_allclose(fitted, a, atol=4 * np.sqrt(3 / n))
    assert_allclose(shape.shares.sum(), 1.0)


def test_a_slope_that_the_counts_cannot_tell_is_left_out():
    counts = np.random.default_rng(8).poisson(100 * np.exp(0.005 * X))

    assert measure_shape(counts, EDGES).order == 0


@pytest.mark.parametrize("edges", [EDGES, EDGES + 2.0 * X[0] * np.sin(np.linspace(0, np.pi, 101))])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_shape_is_the_most_likely_one_of_its_order(order, edges):
    rng = np.random.default_rng(9)
    width = np.diff(edges)
    x = (0.5 * (edges[1:] + edges[:-1]) - edges[0]) / (edges[-1] - edges[0]) * 2 - 1
    legendre = np.polynomial.legendre.legvander(x, order)
    counts = rng.poisson(3000 * width * np.exp(0.5 * legendre[:, order]))

    shape = measure_shape(counts, edges)

    assert shape.order == order

    def minus_log_likelihood(c):
        expected = width * np.exp(legendre @ c)
        return expected.sum() - counts @ (legendre @ c), legendre.T @ (expected - counts)

    start = np.r_[np.log(counts.sum() / width.sum()), np.zeros(order)]
    best = minimize(minus_log_likelihood, start, jac=True, method="BFGS", options={"gtol": 1e-4})
    expected = width * np.exp(legendre @ best.x)
    assert_allclose(shape.shares, expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("mean", [-1.0, -0.3, 0.0])
def test_no_shape_is_less_likely_than_a_flat_one(mean, width):
    counts = np.round(peaked(mean, width, 2000.0))

    shape = measure_shape(counts, EDGES)

    assert shape.order > 0
    assert shape.deviance < shape.flat_deviance
    assert shape.p_flat < 1e-6
    # A Gaussian is a polynomial of second order: what is left is rounding to whole counts.
    assert shape.deviance < N_BIN
    assert_allclose(shape.shares.sum(), 1.0)
    assert shape.shares.min() >= 0


@pytest.mark.parametrize("n", [0, 1, 2, 29])
def test_few_counts_have_a_flat_shape_wherever_they_lie(n):
    for where in (0, 50, N_BIN - 1):
        counts = np.zeros(N_BIN)
        counts[where] = n

        shape = measure_shape(counts, EDGES)

        assert shape.order == 0
        assert shape.p_flat == 1.0
        assert_allclose(shape.shares, FLAT)


def test_a_window_that_cuts_into_the_spectrum_does_not_look_flat():
    counts = np.random.default_rng(10).poisson(np.where(X < -0.8, 20.0, 100.0))

    shape = measure_shape(counts, EDGES)

    assert shape.p_flat < 1e-6
    assert shape.shares[0] < 0.8 * shape.shares[N_BIN // 2]
