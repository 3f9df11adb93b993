import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import SettingsError
from psimg.core.maps import FitStatus
from psimg.imaging.moments import window_moments
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.simple import reconstruct_simple
from psimg.imaging.values import ReconOptions
from psimg.imaging.weighted import events_of, power_images

OPTIONS = ReconOptions(method="simple", iterations=2)


@pytest.mark.parametrize(("tau", "truth"), [(1.5, 0.6953), (2.0, 0.8453), (2.5, 0.9953)])
def test_simple_gives_the_mean_of_all_components(draw_list_mode, ball, mean_within, tau, truth):
    # All events together fix the mean to 1.5 ns / sqrt(4e5) = 2.4 ps, drawn at equal steps less.
    data = draw_list_mode(np.random.default_rng(1), ball(400_000, tau, 24.0))

    rec = reconstruct_simple(data, options=OPTIONS)

    assert mean_within(rec, "mean_lifetime", 40.0) == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("level_known", [True, False])
def test_randoms_are_taken_off_by_delayed_windows_or_the_events_before_the_peak(
    draw_list_mode, ball, mean_within, level_known
):
    # Without delayed windows the guess that stands in their place is not used.
    data = draw_list_mode(
        np.random.default_rng(2), ball(200_000, 2.0, 24.0), n_random=100_000,
        level_known=level_known, random_shown=100_000 if level_known else 1_000,
    )  # fmt: skip

    rec = reconstruct_simple(data, options=OPTIONS)
    none = ReconOptions(method="simple", randoms="none", iterations=1)
    kept = reconstruct_simple(data, options=none)

    assert mean_within(rec, "mean_lifetime", 40.0) == pytest.approx(0.8453, abs=0.03)
    assert mean_within(kept, "mean_lifetime", 40.0) > 1.5
    assert_allclose(rec.counts.sum(), 200_000, rtol=0.01)


def test_a_short_window_is_made_up_for(draw_list_mode, ball, mean_within):
    data = draw_list_mode(np.random.default_rng(3), ball(400_000, 2.0, 24.0), window_ns=(-2.0, 8.0))

    rec = reconstruct_simple(data, options=OPTIONS)

    # Without it the mean were 0.3 * exp(-4) * 10 ns = 0.05 ns short.
    assert mean_within(rec, "mean_lifetime", 40.0) == pytest.approx(0.8453, abs=0.015)


def test_errors_are_the_spread_of_repeats(draw_list_mode, ball):
    values, errors = [], []
    for seed in range(8):
        data = draw_list_mode(np.random.default_rng(seed), ball(30_000, 2.0, 24.0), n_random=10_000)
        rec = reconstruct_simple(data, options=OPTIONS)
        values.append(rec.maps.image("mean_lifetime")[2:6, 2:6, 2:6].ravel())
        errors.append(rec.maps.error_image("mean_lifetime")[2:6, 2:6, 2:6].ravel())

    pull = (np.array(values) - np.mean(values, axis=0)) / np.array(errors)

    # Neighbours are correlated: 64 voxels are some ten values.
    assert np.sqrt(np.nanmean(pull**2) * 8 / 7) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 70))


def test_two_balls_differ_as_they_do(draw_list_mode, ball, mean_within):
    here, there = (-30.0, 0.0, 0.0), (30.0, 0.0, 0.0)
    data = draw_list_mode(
        np.random.default_rng(5), ball(150_000, 1.5, 18.0, here), ball(150_000, 3.0, 18.0, there),
        n_voxel=14,
    )  # fmt: skip

    rec = reconstruct_simple(data, options=ReconOptions(method="simple", iterations=4))

    short, long = (mean_within(rec, "mean_lifetime", 14.0, centre) for centre in (here, there))
    assert long - short == pytest.approx(0.45, abs=0.05)


def test_a_shift_of_the_weights_is_taken_off_exactly(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(6), ball(20_000, 2.0, 24.0))
    events = events_of(data, None, 0, data.shapes.n_bin)
    projector = Projector(events.lines)
    start = np.full(data.grid.shape, 0.9)
    field = to_field(data.activity, data.grid)

    def image(shift):
        return power_images(
            projector, field, events, events.dt_ns + shift, starts=[start + shift], passes=3
        )[0]

    assert_allclose(image(2.0) - 2.0 * to_image(field, data.grid), image(0.0), atol=2e-3)


def test_events_of_a_window_are_those_of_its_time_bins(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(7), ball(5_000, 2.0, 24.0))
    edges = data.shapes.edges_ns

    events = events_of(data, None, 3, 9)

    inside = (data.dt_ns >= edges[3]) & (data.dt_ns < edges[9])
    assert_allclose(np.sort(events.dt_ns), np.sort(data.dt_ns[inside]), rtol=0)
    assert int(np.diff(events.lines.starts, axis=-1).sum()) == len(events.dt_ns)
    part = Projector(events.lines).back_project(np.ones(len(events.dt_ns), np.float32))
    whole = Projector(data.triplets).back_project(inside.astype(np.float32))
    assert_allclose(part, whole, atol=1e-3)


@pytest.mark.kernel
def test_squares_of_weights_are_those_of_the_lines(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(8), ball(12, 2.0, 24.0))
    projector = Projector(events_of(data, None, 0, data.shapes.n_bin).lines)
    values = np.arange(1.0, 1.0 + len(data.triplets), dtype=np.float32)

    found = projector.back_project(values, squared=True)

    expected = np.zeros(projector.n_cell)
    for i, value in enumerate(values):
        one = np.zeros(len(values), np.float32)
        one[i] = 1.0
        expected += value * projector.back_project(one).astype(float) ** 2
    assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_moments_of_a_wide_window_are_those_of_the_components(draw_list_mode, ball):
    shapes = draw_list_mode(np.random.default_rng(9), ball(10, 2.0, 24.0)).shapes
    tau, sigma, mu = 1.7, 0.09, 0.03

    found = window_moments(shapes, first=0, stop=shapes.n_bin, tau_ns=np.array([tau]))

    u = mu - found.start_ns
    pps, direct, ops = (
        np.array([1.0, u + t, (u + t) ** 2 + t**2 + sigma**2]) for t in (0.125, 0.388, tau)
    )
    assert_allclose(found.fast[:3], direct, rtol=2e-6)
    # A third as much p-Ps comes along; 8e-6 of o-Ps decay beyond 20 ns.
    assert_allclose(found.ops[0, :3], 0.75 * ops + 0.25 * pps, rtol=1e-4)
    assert_allclose(found.unrelated[:3], [1.0, 15.0, 300.0], rtol=1e-6)


def test_a_voxel_with_few_counts_has_no_value(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(10), ball(3_000, 2.0, 16.0))

    rec = reconstruct_simple(data, options=ReconOptions(method="simple", min_counts=1e6))

    assert np.all(rec.maps.status == FitStatus.TOO_FEW_COUNTS)
    assert np.isnan(rec.maps.values).all()
    assert rec.maps.status_image()[0, 0, 0] == FitStatus.TOO_FEW_COUNTS


def test_a_window_without_randoms_or_delayed_windows_is_refused(draw_list_mode, ball):
    data = draw_list_mode(
        np.random.default_rng(11), ball(1_000, 2.0, 24.0), window_ns=(-0.2, 10.0),
        level_known=False,
    )  # fmt: skip

    with pytest.raises(SettingsError, match="needs an estimate of the randoms and there is none"):
        reconstruct_simple(data, options=OPTIONS)

    reconstruct_simple(data, options=ReconOptions(method="simple", randoms="none", iterations=1))


def test_no_events_give_no_values(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(12), ball(0, 2.0, 24.0))

    rec = reconstruct_simple(data, options=OPTIONS)

    assert rec.counts.sum() == 0
    assert np.all(rec.maps.status_image() == FitStatus.TOO_FEW_COUNTS)


def test_progress_runs_to_its_end(draw_list_mode, ball):
    data = draw_list_mode(np.random.default_rng(13), ball(2_000, 2.0, 24.0))
    steps = []

    reconstruct_simple(data, options=OPTIONS, progress=lambda *step: steps.append(step))

    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
