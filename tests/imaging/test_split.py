import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import SettingsError
from psimg.core.maps import FitStatus
from psimg.imaging.component_maps import reconstruct_components
from psimg.imaging.split import reconstruct_split
from psimg.imaging.values import ReconOptions

OPTIONS = ReconOptions(method="split", iterations=2)


@pytest.mark.parametrize("tau", [1.5, 2.5])
def test_the_fit_of_images_of_time_bins_gives_the_lifetime(draw_list_mode, ball, mean_within, tau):
    data = draw_list_mode(
        np.random.default_rng(1), ball(300_000, tau, 24.0), n_random=75_000, voxel_mm=6.0,
        n_voxel=10,
    )  # fmt: skip

    rec = reconstruct_split(data, options=OPTIONS)

    # 4.5 tau / sqrt(3e5), with the intensity free and a fifth of randoms: 0.8 %.
    assert mean_within(rec, "tau_ops", 30.0) == pytest.approx(tau, rel=0.03)
    assert mean_within(rec, "intensity_ops", 30.0) == pytest.approx(0.3, abs=0.01)
    assert_allclose(rec.counts.sum(), 300_000, rtol=0.02)
    assert np.isnan(rec.maps.deviance).all()
    assert rec.maps.ndf == 0


def test_errors_are_the_spread_of_repeats(draw_list_mode, ball):
    values, errors = [], []
    for seed in range(6):
        data = draw_list_mode(np.random.default_rng(seed), ball(30_000, 2.0, 24.0))
        rec = reconstruct_split(data, options=ReconOptions(method="split", iterations=1))
        values.append(rec.maps.image("tau_ops")[2:6, 2:6, 2:6].ravel())
        errors.append(rec.maps.error_image("tau_ops")[2:6, 2:6, 2:6].ravel())

    pull = (np.array(values) - np.nanmean(values, axis=0)) / np.array(errors)

    # Neighbours are correlated: 64 voxels are some ten values.
    assert np.sqrt(np.nanmean(pull**2) * 6 / 5) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 50))


def test_two_balls_differ_as_they_do(draw_list_mode, ball, mean_within):
    here, there = (-30.0, 0.0, 0.0), (30.0, 0.0, 0.0)
    data = draw_list_mode(
        np.random.default_rng(2), ball(150_000, 1.5, 18.0, here), ball(150_000, 3.0, 18.0, there),
        n_voxel=14,
    )  # fmt: skip

    rec = reconstruct_split(data, options=ReconOptions(method="split", iterations=4))

    short, long = (mean_within(rec, "tau_ops", 14.0, centre) for centre in (here, there))
    assert long - short == pytest.approx(1.5, abs=0.2)


def test_randoms_without_an_estimate_are_refused(draw_list_mode, ball):
    data = draw_list_mode(
        np.random.default_rng(3), ball(1_000, 2.0, 24.0), window_ns=(-0.2, 10.0),
        level_known=False,
    )  # fmt: skip

    with pytest.raises(SettingsError, match="needs an estimate of the randoms and there is none"):
        reconstruct_split(data, options=OPTIONS)


def test_voxels_with_few_counts_and_no_events_have_no_values(draw_list_mode, ball):
    few = draw_list_mode(np.random.default_rng(4), ball(500, 2.0, 24.0))
    none = draw_list_mode(np.random.default_rng(5), ball(0, 2.0, 24.0))

    for data in (few, none):
        rec = reconstruct_split(
            data, options=ReconOptions(method="split", iterations=1, min_counts=1e4)
        )

        assert np.all(rec.maps.status_image() == FitStatus.TOO_FEW_COUNTS)
        assert np.isnan(rec.maps.values).all()


@pytest.mark.parametrize("n_random", [0, 20_000])
def test_images_of_time_bins_and_component_em_agree(draw_list_mode, ball, n_random):
    # With more randoms the images of late time bins, which cannot fall below zero, keep some.
    here, there = (-30.0, 0.0, 0.0), (30.0, 0.0, 0.0)
    data = draw_list_mode(
        np.random.default_rng(4), ball(200_000, 1.6, 20.0, here), ball(200_000, 2.6, 20.0, there),
        n_random=n_random, n_voxel=14,
    )  # fmt: skip

    split = reconstruct_split(data, options=ReconOptions(method="split", iterations=3)).maps
    em = reconstruct_components(data, options=ReconOptions(method="em"), penalised=False).maps

    for name in ("tau_ops", "intensity_ops"):
        a, b = split.image(name), em.image(name)
        both = np.isfinite(a) & np.isfinite(b)
        error = np.hypot(split.error_image(name)[both], em.error_image(name)[both])
        pull = (a - b)[both] / error
        assert np.count_nonzero(both) > 100
        # From the same events: closer to each other than two measurements would be.
        assert np.sqrt(np.mean(pull**2)) < 1.0
        assert abs(np.median(pull)) < 0.5
