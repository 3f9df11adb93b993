from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import SettingsError
from psimg.imaging.time_shapes import join_bins, make_shapes
from psimg.lifetime import LifetimeModel, fit_spectrum
from psimg.lifetime._emg import bin_shares

EDGES = np.linspace(-10.0, 20.0, 301)
MU, SIGMA = 0.03, 0.1
MODEL = LifetimeModel().with_response(MU, SIGMA)


def shares_of(edges, tau):
    out = np.empty(len(edges) - 1)
    bin_shares(edges, tau, SIGMA, MU, out)
    return out


def group_of_ops(edges, tau):
    """p-Ps of a third of o-Ps comes with it."""
    return 0.25 * shares_of(edges, 0.125) + 0.75 * shares_of(edges, tau)


def fit_of_all(seed=1, n=200_000):
    shapes = [shares_of(EDGES, tau) for tau in (0.125, 0.388, 2.3)]
    expected = n * (np.array([0.1, 0.6, 0.3]) @ np.stack(shapes)) + 20.0
    return fit_spectrum(np.random.default_rng(seed).poisson(expected), EDGES, model=MODEL)


@pytest.mark.kernel
@pytest.mark.parametrize("joined", [False, True])
def test_the_table_gives_the_shares_of_any_mean_life(joined):
    shapes = make_shapes(EDGES, model=MODEL, joined=joined)
    low, high = np.exp(shapes.log_tau[[0, -1]])
    tau = np.concatenate([[low, high], np.exp(np.random.default_rng(1).uniform(-0.6, 2.9, 30))])

    shares, slope = shapes.ops_at(tau)

    expected = np.stack([group_of_ops(shapes.edges_ns, t) for t in tau])
    assert_allclose(shares, expected, atol=1e-7)
    # Central differences of the shares themselves: a step of h leaves h^2/6 of the third
    # derivative and eps/h of rounding.
    h = 1e-4
    up, down = (np.stack([group_of_ops(shapes.edges_ns, t * np.exp(s)) for t in tau])
                for s in (h, -h))  # fmt: skip
    assert_allclose(slope, (up - down) / (2 * h), atol=1e-5)
    assert shapes.ops_weight == pytest.approx(0.75)


def test_mean_lives_beyond_the_table_are_its_ends():
    shapes = make_shapes(EDGES, model=MODEL)

    shares, _ = shapes.ops_at(np.array([1e-3, 1e3]))

    assert_allclose(shares, shapes.ops[[0, -1]], rtol=1e-12, atol=1e-15)


def test_shares_sum_to_what_the_spectrum_holds():
    shapes = make_shapes(EDGES, model=MODEL)

    assert shapes.unrelated.sum() == pytest.approx(1.0)
    assert shapes.fast.sum() == pytest.approx(1.0, abs=1e-9)
    # o-Ps that outlives the window is not in it.
    tau = np.exp(shapes.log_tau)
    expected = 1.0 - 0.75 * np.exp(-(20.0 - MU - 0.5 * SIGMA**2 / tau) / tau)
    assert_allclose(shapes.ops.sum(axis=1), expected, atol=1e-9)
    assert_allclose(shapes.d_ops.sum(axis=1), np.gradient(expected, shapes.log_tau), atol=2e-3)
    assert not shapes.class_2.any()


def test_joined_bins_hold_the_sums_of_those_that_they_are_made_of():
    unrelated = np.random.default_rng(2).uniform(1.0, 2.0, len(EDGES) - 1)
    unrelated /= unrelated.sum()

    fine = make_shapes(EDGES, model=MODEL, unrelated=unrelated, joined=False)
    joined = make_shapes(EDGES, model=MODEL, unrelated=unrelated)

    assert_array_equal(fine.edges_ns, EDGES)
    assert_array_equal(fine.unrelated, unrelated)
    first = np.searchsorted(EDGES, joined.edges_ns[:-1])
    for name in ("fast", "unrelated", "ops", "d_ops"):
        summed = np.add.reduceat(getattr(fine, name), first, axis=-1)
        assert_allclose(getattr(joined, name), summed, atol=1e-12)


@pytest.mark.parametrize("step", [0.05, 0.1, 0.25])
@pytest.mark.parametrize("sigma", [0.1, 0.2])
def test_joined_edges_are_some_of_the_edges(step, sigma):
    edges = np.arange(-10.0, 20.0 + 0.5 * step, step)

    joined = join_bins(edges, np.array([[1.0, MU, sigma]]))

    assert np.isin(joined, edges).all()
    assert (joined[0], joined[-1]) == (edges[0], edges[-1])
    assert np.all(np.diff(joined) > 0)
    width = np.diff(joined)
    assert width.max() < 5.0
    about_peak = (joined[1:] > MU - 4.0 * sigma) & (joined[:-1] < MU + 4.0 * sigma)
    assert np.all(width[about_peak] < max(1.01 * sigma, 1.01 * step))
    assert len(joined) < 70


@pytest.mark.parametrize("tau", [1.4, 2.0, 3.0])
@pytest.mark.parametrize("background", [0.02, 0.5])
def test_joined_bins_make_the_error_of_tau_larger_by_less_than_a_hundredth(tau, background):
    errors = []
    for joined in (False, True):
        shapes = make_shapes(EDGES, model=MODEL, joined=joined)
        ops, slope = shapes.ops_at(np.array([tau]))
        expected = 0.6 * shapes.fast + 0.4 * ops[0] + background * shapes.unrelated
        gradient = np.stack([shapes.fast, ops[0], shapes.unrelated, 0.4 * slope[0]])
        fisher = (gradient / expected) @ gradient.T
        errors.append(np.sqrt(np.linalg.inv(fisher)[-1, -1]))

    assert 1.0 <= errors[1] / errors[0] < 1.01


def test_times_go_into_the_bins_that_hold_them():
    shapes = make_shapes(EDGES, model=MODEL)
    edges = shapes.edges_ns
    dt = np.concatenate([edges[:-1], 0.5 * (edges[:-1] + edges[1:]), [-11.0, edges[-1], 25.0]])

    bins = shapes.time_bin(dt)

    n = shapes.n_bin
    assert_array_equal(bins, [*range(n), *range(n), -1, n, n])


def test_a_fit_of_all_events_gives_the_start_and_the_mixture():
    fit = fit_of_all()

    shapes = make_shapes(EDGES, model=MODEL, calibration=fit)
    without = make_shapes(EDGES, model=MODEL)

    assert shapes.start_tau_ns == pytest.approx(fit.tau_ops_ns)
    # The o-Ps group is o-Ps and a third of it.
    assert shapes.start_share == pytest.approx(0.4, abs=0.03)
    assert without.start_share == 0.5
    # With p-Ps a third of o-Ps, direct annihilation is the only fast group.
    assert_allclose(shapes.fast, shares_of(shapes.edges_ns, 0.388), atol=1e-9)


def test_models_without_a_response_or_with_other_free_lives_are_errors():
    fast = MODEL.components[1]
    freed = replace(MODEL, components=(MODEL.components[0], replace(fast, free=True),
                                       MODEL.components[2]))  # fmt: skip
    fixed = replace(MODEL, components=(*MODEL.components[:2],
                                       replace(MODEL.components[2], free=False)))  # fmt: skip

    with pytest.raises(SettingsError, match="images are made with a known response"):
        make_shapes(EDGES, model=LifetimeModel())
    with pytest.raises(SettingsError, match="with only the o-Ps lifetime free"):
        make_shapes(EDGES, model=freed)
    with pytest.raises(SettingsError, match="components need one named 'ops' with free = true"):
        make_shapes(EDGES, model=fixed)
