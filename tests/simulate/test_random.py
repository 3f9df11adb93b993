import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from psimg.simulate._random import (
    exponential,
    in_disc,
    isotropic,
    normals,
    state_of,
    uniform,
)

N = 5000


def state(seed):
    return state_of(np.random.SeedSequence(seed))


def draws(draw, seed):
    own = state(seed)
    return np.array([draw(own) for _ in range(N)])


def assert_moments(values, mean, variance, fourth):
    """Mean and variance within four of their errors; ``fourth`` is the fourth central moment."""
    n = len(values)
    assert_allclose(values.mean(axis=0), mean, atol=4 * np.sqrt(variance / n))
    spread = np.mean((values - mean) ** 2, axis=0)
    assert_allclose(spread, variance, atol=4 * np.sqrt((fourth - variance**2) / n))


@pytest.mark.kernel
@pytest.mark.parametrize("seed", [0, 1, 20240611])
def test_uniform_numbers_are_those_of_numpy(seed):
    expected = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed))).random(N)

    assert_array_equal(draws(uniform, seed), expected)


@pytest.mark.kernel
def test_a_state_is_the_callers_own():
    seed = np.random.SeedSequence(3)
    first, second = state_of(seed), state_of(seed)

    uniform(first)

    assert_array_equal(second, state_of(seed))
    assert not np.array_equal(first, second)


@pytest.mark.kernel
def test_waiting_times_are_exponential():
    t = draws(exponential, 11)

    assert t.min() >= 0.0
    assert_moments(t, 1.0, 1.0, 9.0)
    assert stats.kstest(t, "expon").pvalue > 0.01


@pytest.mark.kernel
def test_normal_numbers_come_in_independent_pairs():
    pair = draws(normals, 12)

    assert_moments(pair, 0.0, 1.0, 3.0)
    for one in pair.T:
        assert stats.kstest(one, "norm").pvalue > 0.01
    # Products of independent normal numbers, and of their squares less one.
    assert abs(np.mean(pair[:, 0] * pair[:, 1])) < 4 / np.sqrt(N)
    assert abs(np.mean((pair[:, 0] ** 2 - 1) * (pair[:, 1] ** 2 - 1))) < 4 * 2 / np.sqrt(N)


@pytest.mark.kernel
def test_directions_are_uniform_on_the_sphere():
    unit = draws(isotropic, 13)

    assert_allclose(np.sum(unit**2, axis=1), 1.0, rtol=1e-12)
    # Each component is uniform from -1 to 1: variance 1/3, fourth moment 1/5.
    assert_moments(unit, 0.0, 1 / 3, 1 / 5)
    for one in unit.T:
        assert stats.kstest(one, stats.uniform(-1, 2).cdf).pvalue > 0.01
    azimuth = np.arctan2(unit[:, 1], unit[:, 0])
    assert stats.kstest(azimuth, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01
    octant = (unit > 0) @ np.array([1, 2, 4])
    assert stats.chisquare(np.bincount(octant, minlength=8)).pvalue > 0.01


@pytest.mark.kernel
def test_points_are_uniform_in_the_disc():
    x, y, q = draws(in_disc, 14).T

    assert_allclose(q, x * x + y * y)
    assert q.min() > 0
    assert q.max() < 1
    assert stats.kstest(q, "uniform").pvalue > 0.01
    angle = np.arctan2(y, x)
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01
