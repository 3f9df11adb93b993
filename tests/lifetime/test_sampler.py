import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from psimg.core import DataError, SettingsError
from psimg.lifetime._sampler import accept, propose
from psimg.lifetime.mixing import autocorrelation_times, split_r_hat
from psimg.lifetime.sampler import sample

MEAN = np.array([1.0, -2.0, 30.0, 0.0])
SCALE = np.array([0.1, 1.0, 5.0, 1e-3])
CORRELATION = np.array(
    [[1.0, 0.9, 0.0, 0.3], [0.9, 1.0, 0.1, 0.3], [0.0, 0.1, 1.0, -0.5], [0.3, 0.3, -0.5, 1.0]]
)
COVARIANCE = CORRELATION * np.outer(SCALE, SCALE)
PRECISION = np.linalg.inv(COVARIANCE)


def gaussian(x):
    away = x - MEAN
    return -0.5 * np.einsum("mp,pq,mq->m", away, PRECISION, away)


def gaussian_start(rng, n_walker=40):
    return MEAN + SCALE * rng.standard_normal((n_walker, 4))


def exponential(x):
    return np.where(x[:, 0] >= 0, -x[:, 0], -np.inf)


def banana(x):
    """A standard normal, and a second one about its square."""
    return -0.5 * (x[:, 0] ** 2 + (x[:, 1] - x[:, 0] ** 2) ** 2)


@pytest.mark.kernel
def test_a_proposal_lies_on_the_line_through_walker_and_partner():
    rng = np.random.default_rng(1)
    walkers = rng.standard_normal((8, 3))
    partner, u = np.array([2, 0, 3, 3]), np.array([0.0, 0.3, 0.7, 1.0])
    log_z, proposal = np.empty(4), np.empty((4, 3))

    propose(walkers, 4, 0, partner, u, 2.0, log_z, proposal)

    z = (1 + u) ** 2 / 2
    assert_allclose(np.exp(log_z), z)
    assert_allclose([z[0], z[-1]], [0.5, 2.0])
    anchor = walkers[partner]
    assert_allclose(proposal, anchor + z[:, None] * (walkers[4:] - anchor))


@pytest.mark.kernel
def test_the_stretch_has_the_density_of_goodman_and_weare():
    rng = np.random.default_rng(2)
    log_z, proposal = np.empty(20_000), np.empty((20_000, 1))
    walkers = np.zeros((40_000, 1))

    propose(walkers, 0, 20_000, np.zeros(20_000, int), rng.random(20_000), 2.0, log_z, proposal)

    # g(z) as 1/sqrt(z) on 1/2 to 2, so that sqrt(z) is uniform
    root = stats.uniform(np.sqrt(0.5), np.sqrt(2.0) - np.sqrt(0.5))
    assert stats.kstest(np.exp(0.5 * log_z), root.cdf).pvalue > 1e-3


@pytest.mark.kernel
def test_a_move_is_accepted_by_the_ratio_of_densities_and_the_power_of_the_stretch():
    walkers, density = np.zeros((4, 3)), np.zeros(4)
    proposal, n_accepted = np.ones((2, 3)), np.zeros(4, np.int64)
    log_z = np.log([0.5, 0.5])
    chance = 0.25 * np.exp(-0.1)

    accept(walkers, density, 2, proposal, np.full(2, -0.1), log_z,
           np.log([0.999 * chance, 1.001 * chance]), n_accepted)  # fmt: skip

    assert_array_equal(n_accepted, [0, 0, 1, 0])
    assert_array_equal(walkers, [[0] * 3, [0] * 3, [1] * 3, [0] * 3])
    assert_array_equal(density, [0, 0, -0.1, 0])


@pytest.mark.kernel
def test_a_move_out_of_the_support_is_never_accepted():
    walkers, density, n_accepted = np.zeros((2, 1)), np.zeros(2), np.zeros(2, np.int64)

    accept(walkers, density, 0, np.ones((1, 1)), np.array([-np.inf]), np.zeros(1),
           np.array([-1e300]), n_accepted)  # fmt: skip

    assert n_accepted.sum() == 0
    assert density[0] == 0.0


def test_a_correlated_gaussian_is_recovered():
    rng = np.random.default_rng(20261125)

    chain = sample(gaussian, gaussian_start(rng), n_step=4000, n_burn=500, rng=rng)

    assert chain.samples.shape == (4000, 40, 4)
    assert 0.3 < chain.acceptance < 0.8
    # The means of 80 half chains of 2000 steps scatter by tau/2000 of the variance.
    assert np.all(chain.r_hat**2 - 1 < (1 + 4 * np.sqrt(2 / 79)) * chain.autocorrelation / 2000)
    pull = (chain.flat.mean(axis=0) - MEAN) / (SCALE / np.sqrt(chain.effective_size))
    assert np.all(np.abs(pull) < 4)
    # Errors of a covariance: sqrt((1 + rho^2) / n) of the product of the widths.
    n = chain.effective_size.min()
    off = (np.cov(chain.flat.T) - COVARIANCE) / np.outer(SCALE, SCALE)
    assert np.all(np.abs(off) < 4 * np.sqrt((1 + CORRELATION**2) / n))
    assert_allclose(chain.log_posterior[-1], gaussian(chain.samples[-1]), rtol=1e-12)


def test_a_density_that_ends_at_zero_is_recovered():
    rng = np.random.default_rng(3)

    chain = sample(exponential, rng.exponential(size=(20, 1)), n_step=4000, n_burn=200, rng=rng)

    assert chain.flat.min() > 0
    n = chain.effective_size[0]
    assert abs(chain.flat.mean() - 1) < 4 / np.sqrt(n)
    # The fourth moment of an exponential about its mean is 9: var(s^2) = 8/n.
    assert abs(chain.flat.var() - 1) < 4 * np.sqrt(8 / n)


def test_the_distribution_of_a_bent_density_is_right_as_a_whole():
    rng = np.random.default_rng(4)

    chain = sample(banana, rng.standard_normal((40, 2)), n_step=6000, n_burn=500, rng=rng)

    every = int(np.ceil(2 * chain.autocorrelation.max()))
    apart = chain.samples[::every].reshape(-1, 2)
    assert len(apart) > 1500
    assert stats.kstest(apart[:, 0], stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(apart[:, 1] - apart[:, 0] ** 2, stats.norm.cdf).pvalue > 1e-3


def test_a_move_leaves_the_target_as_it_is():
    # Walkers that start as exact draws must stay exact draws: a wrong power of the stretch in the
    # acceptance shows at once.
    rng = np.random.default_rng(5)
    target = stats.gamma(2.5)

    def density(x):
        return np.where(x[:, 0] > 0, target.logpdf(np.abs(x[:, 0])), -np.inf)

    ends = [
        sample(density, target.rvs((100, 1), random_state=rng), n_step=8, rng=rng).samples[-1, :, 0]
        for _ in range(60)
    ]

    assert stats.kstest(np.concatenate(ends), target.cdf).pvalue > 1e-3


def test_the_chain_is_the_same_in_any_units():
    # A power of two scales without rounding.
    scale = np.array([2.0**20, 2.0**-20, 1.0, 2.0])
    start = gaussian_start(np.random.default_rng(6), 16)

    one = sample(gaussian, start, n_step=200, rng=np.random.default_rng(7))
    other = sample(
        lambda x: gaussian(x / scale), start * scale, n_step=200, rng=np.random.default_rng(7)
    )

    assert_array_equal(other.samples, one.samples * scale)


def test_the_chain_is_the_same_in_mixed_coordinates():
    turn = np.array([[1e6, 2.0, 0.0, 0.0], [0.0, 1.0, 3.0, 0.0], [0.0, 0.0, 1e-3, 1.0],
                     [1.0, 0.0, 0.0, 1.0]])  # fmt: skip
    back = np.linalg.inv(turn)
    start = gaussian_start(np.random.default_rng(6), 16)

    one = sample(gaussian, start, n_step=100, rng=np.random.default_rng(7))
    other = sample(
        lambda x: gaussian(x @ back.T), start @ turn.T, n_step=100, rng=np.random.default_rng(7)
    )

    # Rounding in the mixed coordinates, 1e-16 of the largest, over 100 steps.
    assert_allclose(other.samples @ back.T, one.samples, rtol=1e-6, atol=1e-6)


def test_the_same_generator_gives_the_same_chain():
    start = gaussian_start(np.random.default_rng(8))

    one, again, other = (
        sample(gaussian, start, n_step=50, rng=np.random.default_rng(seed)).samples
        for seed in (1, 1, 2)
    )

    assert_array_equal(one, again)
    assert np.any(one != other)


def test_thinning_keeps_every_so_many_steps_and_burn_in_drops_the_first():
    start = gaussian_start(np.random.default_rng(9))

    whole = sample(gaussian, start, n_step=60, rng=np.random.default_rng(1))
    part = sample(gaussian, start, n_step=50, n_burn=10, thin=5, rng=np.random.default_rng(1))

    assert_array_equal(part.samples, whole.samples[14::5])
    assert_array_equal(part.log_posterior, whole.log_posterior[14::5])


def test_the_callers_start_is_left_alone_and_the_chain_is_read_only():
    start = gaussian_start(np.random.default_rng(9))
    before = start.copy()

    chain = sample(gaussian, start, n_step=10, rng=np.random.default_rng(1))

    assert_array_equal(start, before)
    assert not chain.samples.flags.writeable


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_of_a_first_order_process_is_known(rho):
    rng = np.random.default_rng(10)
    n_step, n_walker = 4000, 20
    x = np.empty((n_step, n_walker, 1))
    x[0] = rng.standard_normal((n_walker, 1))
    for s in range(1, n_step):
        x[s] = rho * x[s - 1] + np.sqrt(1 - rho**2) * rng.standard_normal((n_walker, 1))

    (tau,) = autocorrelation_times(x)

    known = (1 + rho) / (1 - rho)
    # Sokal: a window of 5 tau leaves out exp(-5 * 2) of the sum at worst; relative error
    # sqrt(2 (2 M + 1) / N) with M = 5 tau.
    error = np.sqrt(2 * (10 * known + 1) / (n_step * n_walker))
    assert_allclose(tau, known, rtol=4 * error + 0.01)


def test_r_hat_is_one_for_chains_that_agree_and_large_for_those_that_do_not():
    rng = np.random.default_rng(11)
    same = rng.standard_normal((1000, 8, 1))
    shifted = same + np.arange(8)[:, None]
    wider = same * np.array([1.0] * 4 + [3.0] * 4)[:, None]
    drifting = same + np.linspace(0, 2, 1000)[:, None, None]

    r_hat = split_r_hat(np.concatenate([same, shifted, wider, drifting, 0 * same], axis=2))

    assert abs(r_hat[0] - 1) < 5e-3
    assert np.all(r_hat[1:4] > 1.05)
    assert np.isnan(r_hat[4])


def test_walkers_outside_the_support_are_an_error_with_advice():
    start = np.linspace(-0.05, 1.0, 20)[:, None]

    with pytest.raises(DataError, match=r"1 of 20 walkers start outside .* \[-0\.05\]; start them"):
        sample(exponential, start, n_step=10, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("start", "match"),
    [
        (np.ones(4), "expected .walkers, parameters."),
        (np.ones((5, 1)), "5 walkers for 1 parameters; start an even number"),
        (np.ones((4, 3)), "4 walkers for 3 parameters; start an even number, at least 6"),
        (np.full((4, 1), np.nan), "not finite"),
        (np.ones((8, 2)), "start in a line or plane"),
        (np.outer(np.arange(8.0), [1.0, 2.0]), "start in a line or plane"),
    ],
)
def test_walkers_that_cannot_explore_are_an_error(start, match):
    with pytest.raises(DataError, match=match):
        sample(exponential, start, n_step=10, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("density", "match"),
    [
        (lambda x: np.full(len(x), np.nan), "log_posterior is nan at"),
        (lambda x: np.full(len(x), np.inf), "log_posterior is inf at"),
        (lambda x: np.zeros(3), r"gave \(3,\) values for 20 points"),
    ],
)
def test_a_density_that_is_no_density_is_an_error(density, match):
    with pytest.raises(DataError, match=match):
        sample(density, np.arange(20.0)[:, None], n_step=10, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    "settings", [{"n_step": 3}, {"n_step": 30, "thin": 10}, {"n_step": 9, "thin": 0}]
)
def test_too_few_steps_are_an_error(settings):
    with pytest.raises(SettingsError, match="these keep fewer than 4 steps; raise n_step"):
        sample(exponential, np.arange(1.0, 21.0)[:, None], rng=np.random.default_rng(1), **settings)
