from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import SettingsError
from psimg.core.maps import FitStatus
from psimg.imaging.moment import best_window, reconstruct_moment
from psimg.imaging.moment_solution import make_table, solve
from psimg.imaging.moments import window_moments
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ReconOptions
from psimg.lifetime import LifetimeModel

OPTIONS = ReconOptions(method="moment", iterations=2)
MODEL = LifetimeModel().with_response(0.03, 0.09)


def shapes_of(start_ns, stop_ns):
    return make_shapes(np.linspace(start_ns, stop_ns, round((stop_ns - start_ns) / 0.1) + 1),
                       model=MODEL)  # fmt: skip


@pytest.mark.parametrize("window_ns", [(-2.0, 10.0), (-10.0, 20.0), (-1.0, 6.0), (-5.0, 40.0)])
@pytest.mark.parametrize("tau", [1.5, 2.0, 2.5])
def test_moments_of_any_window_give_back_lifetime_and_share(window_ns, tau):
    rng = np.random.default_rng(1)
    shapes = shapes_of(*window_ns)
    window = window_moments(shapes, first=0, stop=shapes.n_bin)
    # The moments of drawn decays: 3e6 events at equal steps of probability.
    n, response = 1_000_000, rng.normal(0.03, 0.09, 1_000_000)
    sums = np.zeros(3)
    for life, share in ((0.388, 0.6), (0.125, 0.1), (tau, 0.3)):
        t = -life * np.log1p(-(np.arange(n) + 0.5) / n) + response
        u = (t[(t >= window_ns[0]) & (t < window_ns[1])]) - window.start_ns
        sums += share / n * np.array([len(u), u.sum(), (u**2).sum()])

    found = solve(make_table(window, 2.0), sums[:, None], np.zeros((5, 1)))

    assert found.tau_ns[0] == pytest.approx(tau, abs=0.006)
    # o-Ps with its third of p-Ps.
    assert found.share[0] == pytest.approx(0.4, abs=0.002)
    assert found.counts[0] == pytest.approx(1.0, abs=0.001)


def test_the_ratio_of_moments_rises_over_lives_of_interest():
    for window_ns in ((-2.0, 10.0), (-10.0, 20.0)):
        shapes = shapes_of(*window_ns)
        table = make_table(window_moments(shapes, first=0, stop=shapes.n_bin), 2.0)

        assert table.tau_ns[0] < 0.8
        assert table.tau_ns[-1] > 8.0
        assert np.all(np.diff(table.ratio) > 0)


@pytest.mark.parametrize(("tau", "window_ns"), [(1.5, (-10, 20)), (2.0, (-2, 10)), (2.5, (-2, 10))])
def test_images_of_moments_give_the_lifetime(draw_list_mode, ball, mean_within, tau, window_ns):
    data = draw_list_mode(
        np.random.default_rng(2), ball(600_000, tau, 24.0), window_ns=window_ns, voxel_mm=13.0,
        n_voxel=6,
    )  # fmt: skip

    rec = reconstruct_moment(data, options=OPTIONS)

    assert mean_within(rec, "tau_ops", 30.0) == pytest.approx(tau, abs=0.01 + 0.01 * (tau > 2))
    assert mean_within(rec, "intensity_ops", 30.0) == pytest.approx(0.3, abs=0.005)


def test_randoms_are_taken_off_all_moments(draw_list_mode, ball, mean_within):
    data = draw_list_mode(
        np.random.default_rng(3), ball(400_000, 2.0, 24.0), n_random=100_000, voxel_mm=13.0,
        n_voxel=6,
    )  # fmt: skip

    rec = reconstruct_moment(data, options=OPTIONS)

    # 4e5 decays with a fifth of randoms fix tau to some 4.5 * 2 ns / sqrt(4e5) = 14 ps.
    assert mean_within(rec, "tau_ops", 30.0) == pytest.approx(2.0, abs=0.06)


def test_the_window_is_shorter_where_there_are_randoms():
    shapes = shapes_of(-10.0, 20.0)

    without = best_window(shapes, 1e5, (0.0, 0.0))
    with_many = best_window(shapes, 1e5, (5e4, 0.0))

    assert with_many.stop < without.stop
    assert shapes.edges_ns[with_many.stop] > 5.0


def test_errors_are_the_spread_of_repeats(draw_list_mode, ball):
    values, errors = [], []
    for seed in range(8):
        data = draw_list_mode(np.random.default_rng(seed), ball(40_000, 2.0, 24.0))
        rec = reconstruct_moment(data, options=ReconOptions(method="moment", iterations=1))
        kept = (slice(2, 6),) * 3
        values.append([rec.maps.image(name)[kept].ravel() for name in rec.maps.names])
        errors.append([rec.maps.error_image(name)[kept].ravel() for name in rec.maps.names])

    pull = (np.array(values) - np.nanmean(values, axis=0)) / np.array(errors)

    # Neighbours are correlated: 64 voxels are some ten values, and a ratio is not normal.
    width = np.sqrt(np.nanmean(pull**2, axis=(0, 2)) * 8 / 7)
    assert_allclose(width, 1.0, atol=4 / np.sqrt(2 * 70))


def test_moments_beyond_the_range_are_at_a_bound(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(4), ball(2_000, 2.0, 24.0))
    # All at one time, which no mixture has.
    data = replace(data, dt_ns=np.full(len(data.triplets), 0.1, np.float32))

    rec = reconstruct_moment(data, options=ReconOptions(method="moment", min_counts=0.1))

    ok = rec.maps.status == FitStatus.OK
    assert np.count_nonzero(rec.maps.status == FitStatus.AT_BOUND) > 10 * np.count_nonzero(ok)
    assert np.isnan(rec.maps.values[~ok]).all()
    assert np.isfinite(rec.maps.values[ok]).all()


def test_a_spectrum_too_short_for_moments_is_refused(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(5), ball(1_000, 2.0, 24.0), window_ns=(-1.0, 0.4))

    with pytest.raises(SettingsError, match="too short, or its fast components live too long"):
        reconstruct_moment(data, options=OPTIONS)


def test_no_events_give_no_values(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(6), ball(0, 2.0, 24.0))

    rec = reconstruct_moment(data, options=OPTIONS)

    assert np.all(rec.maps.status_image() == FitStatus.TOO_FEW_COUNTS)
