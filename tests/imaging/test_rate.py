import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import SettingsError
from psimg.core.maps import FitStatus
from psimg.imaging.rate import _posterior, reconstruct_rate
from psimg.imaging.values import ReconOptions

OPTIONS = ReconOptions(method="rate")


@pytest.mark.parametrize("tau", [1.5, 2.0, 2.5])
@pytest.mark.parametrize("window_ns", [(-10.0, 20.0), (-2.0, 7.0)])
def test_the_rate_is_that_of_the_tail(draw_list_mode, ball, mean_within, tau, window_ns):
    data = draw_list_mode(
        np.random.default_rng(1), ball(400_000, tau, 24.0), window_ns=window_ns, voxel_mm=13.0,
        n_voxel=6,
    )  # fmt: skip

    rec = reconstruct_rate(data, options=OPTIONS)

    # Some 2e4 events of the tail: 1.4 ns / sqrt(2e4) and more where the window cuts them off.
    assert mean_within(rec, "tau_ops", 30.0) == pytest.approx(tau, abs=0.05 * tau)


def test_randoms_are_taken_off_the_tail(draw_list_mode, ball, mean_within):
    data = draw_list_mode(
        np.random.default_rng(2), ball(400_000, 2.0, 24.0), n_random=200_000, voxel_mm=6.0,
        n_voxel=10,
    )  # fmt: skip

    rec = reconstruct_rate(data, options=OPTIONS)

    assert mean_within(rec, "tau_ops", 30.0) == pytest.approx(2.0, abs=0.08)


def test_the_posterior_is_the_maximum_of_its_density():
    n, s, length, tau_0 = 30.0, 45.0, 4.0, 2.0
    rate = np.linspace(0.05, 3.0, 300_001)
    log_density = (
        (2.0 + n) * np.log(rate) - rate * (2.0 * tau_0 + s) - n * np.log(-np.expm1(-rate * length))
    )

    tau, _ = _posterior(
        np.array([n]), np.array([s]), [np.zeros(1)] * 3, length=length, tau_ns=tau_0
    )

    assert tau[0] == pytest.approx(1.0 / rate[np.argmax(log_density)], rel=1e-4)


def test_events_of_one_voxel_have_the_error_of_an_exponential():
    rng = np.random.default_rng(3)
    length, tau, n = 5.0, 1.6, 4_000
    # A cut-off exponential by its quantiles.
    t = -tau * np.log1p(rng.random((400, n)) * np.expm1(-length / tau))
    sums = [np.full(400, float(n)), t.sum(axis=1), (t**2).sum(axis=1)]

    found, errors = _posterior(sums[0], sums[1], sums, length=length, tau_ns=1.6)

    pull = (found - tau) / errors
    assert pull.mean() == pytest.approx(0.0, abs=4 / np.sqrt(400))
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * 400))


def test_nothing_in_the_tail_gives_back_the_prior():
    zero = np.zeros(3)

    tau, errors = _posterior(zero, zero, [zero] * 3, length=10.0, tau_ns=1.9)

    assert_allclose(tau, 1.9)
    assert_allclose(errors, 1.9 / np.sqrt(2.0))


def test_two_balls_apart_have_their_own_rates(draw_list_mode, ball, mean_within):
    here, there = (-45.0, 0.0, 0.0), (45.0, 0.0, 0.0)
    data = draw_list_mode(
        np.random.default_rng(4), ball(200_000, 1.5, 18.0, here), ball(200_000, 3.0, 18.0, there),
        n_voxel=18,
    )  # fmt: skip

    rec = reconstruct_rate(data, options=OPTIONS)

    short, long = (mean_within(rec, "tau_ops", 14.0, centre) for centre in (here, there))
    assert long - short > 1.0


def test_a_spectrum_without_a_tail_is_refused(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(5), ball(500, 2.0, 24.0), window_ns=(-2.0, 2.0))

    with pytest.raises(SettingsError, match="ends before its fast decays have died"):
        reconstruct_rate(data, options=OPTIONS)


def test_no_events_give_no_values(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(6), ball(0, 2.0, 24.0))

    rec = reconstruct_rate(data, options=OPTIONS)

    assert np.all(rec.maps.status_image() == FitStatus.TOO_FEW_COUNTS)
