from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import DataError, FitStatus
from psimg.lifetime import Component, Gaussian, LifetimeModel, Response, fit_automatically
from psimg.lifetime._mixture import mixture_shares
from psimg.lifetime.automatic import (
    rise_width,
    runs_backwards,
    water_like_components,
    working_range,
)
from psimg.spectra import Spectrum

STEP_NS = 0.025
N_BIN = 2000
EDGES = STEP_NS * np.arange(N_BIN + 1)
PPS, DIRECT, OPS = water_like_components()
LIVES = (PPS, DIRECT, replace(OPS, tau_ns=1.83))
SHARES = (0.26 / 3, 0.74 - 0.26 / 3, 0.26)


def expectation(
    n=1e6, background=2e5, more=(), lives=LIVES, shares=SHARES, mu=16.0, sigma=0.12
) -> np.ndarray:
    response = Response(mu_ns=mu, sigma_ns=sigma, more=more).table
    total, out, work = np.full(N_BIN, background / N_BIN), np.empty(N_BIN), np.empty(N_BIN)
    for component, share in zip(lives, shares, strict=True):
        mixture_shares(EDGES, component.tau_ns, 0.0, response, work, out)
        total += n * share * out
    return total


def spectrum(counts, edges=EDGES) -> Spectrum:
    return Spectrum(edges_ns=edges, counts=counts, name="water", origin="made")


def drawn(seed=1, **change) -> np.ndarray:
    return np.random.default_rng(seed).poisson(expectation(**change)).astype(float)


def test_a_water_spectrum_is_fitted_without_being_told_anything():
    found = fit_automatically(spectrum(drawn()))

    fit = found.fit
    assert fit.status == FitStatus.OK
    assert abs(fit.tau_ops_ns - 1.83) < 4 * fit.tau_ops_error_ns
    assert abs(fit.value("tau_direct_ns") - 0.388) < 4 * fit.error("tau_direct_ns")
    assert np.all(np.abs(fit.intensities - SHARES) < 4 * fit.intensity_errors)
    assert found.notes == ("response of 1 Gaussian",)
    assert found.trials[0].description == (
        "1 Gaussian, intensities free, free mean lives direct, ops"
    )


def test_the_counts_decide_how_many_gaussians_the_response_has():
    more = (Gaussian(weight=0.25, shift_ns=0.0, sigma_ns=0.3),)
    counts = drawn(more=more)

    found = fit_automatically(spectrum(counts))

    assert_allclose(found.fit.response.table[:, 2], [0.12, 0.3], atol=0.02)
    assert "response of 2 Gaussians" in found.notes
    assert abs(found.fit.tau_ops_ns - 1.83) < 4 * found.fit.tau_ops_error_ns
    # Without the second the fit is far off; that is what decided.
    one = fit_automatically(spectrum(counts), n_gaussian=1).fit
    assert one.deviance > found.fit.deviance + 100


def test_channels_where_the_instrument_was_off_are_left_out():
    counts = drawn()
    counts[:200] = 0.0
    counts[200:230] *= 0.2
    counts[1900:] = 0.0

    found = fit_automatically(spectrum(counts))

    first, last = found.fit.edges_ns[[0, -1]] / STEP_NS
    assert 225 <= first < 260
    assert 1860 < last <= 1900
    assert "the instrument counted less than half its background" in found.notes[0]
    assert abs(found.fit.tau_ops_ns - 1.83) < 4 * found.fit.tau_ops_error_ns


@pytest.mark.parametrize("background", [0.0, 20.0, 2e5])
def test_an_instrument_that_was_always_on_keeps_all_channels(background):
    for seed in range(20):
        first, last = working_range(drawn(seed, n=1e4, background=background))

        assert (first, last) == (0, N_BIN)


def test_a_spectrum_that_runs_backwards_is_turned_round():
    counts = drawn()

    found = fit_automatically(spectrum(counts[::-1]))

    assert "the axis was turned round" in found.notes[0]
    straight = fit_automatically(spectrum(counts)).fit
    assert_allclose(found.fit.tau_ops_ns, straight.tau_ops_ns, rtol=1e-4)


def test_the_direction_is_told_by_few_counts_too():
    for seed in range(10):
        counts = drawn(seed, n=2000, background=500)

        assert not runs_backwards(spectrum(counts))
        assert runs_backwards(spectrum(counts[::-1], -EDGES[::-1]))


def test_few_counts_are_fitted_with_a_simpler_model():
    found = fit_automatically(spectrum(drawn(n=400, background=50)))

    assert found.fit.status == FitStatus.OK
    assert found.fit.model.intensities == "ps-ratio"
    assert "too few counts for free intensities" in found.notes[0]
    assert abs(found.fit.tau_ops_ns - 1.83) < 4 * found.fit.tau_ops_error_ns


def test_a_model_that_is_given_is_kept():
    model = LifetimeModel(
        components=(Component(name="x", tau_ns=0.3, free=True), replace(OPS, tau_ns=2.2)),
        intensities="free",
    )

    fit = fit_automatically(spectrum(drawn()), model=model).fit

    assert fit.model.names == ("x", "ops")


def test_a_range_is_kept_to_whole_bins():
    fit = fit_automatically(spectrum(drawn()), range_ns=(10.0, 40.01)).fit

    assert_allclose(fit.edges_ns[[0, -1]], [10.0, 40.0])
    with pytest.raises(DataError, match="no bin lies wholly between 60 and 70 ns"):
        fit_automatically(spectrum(drawn()), range_ns=(60.0, 70.0))


def test_a_template_is_cut_and_turned_with_its_spectrum():
    slope = np.linspace(2.0, 0.5, N_BIN)
    counts = expectation(background=0.0) + 3e5 * slope / slope.sum()
    model = LifetimeModel(
        components=water_like_components(), intensities="free", background="template"
    )

    found = fit_automatically(
        spectrum(counts[::-1]), model=model, template=slope[::-1], range_ns=(5.0, 45.0)
    )

    assert_allclose(found.fit.tau_ops_ns, 1.83, rtol=1e-3)


def test_the_start_of_the_width_is_of_the_right_size():
    for sigma in (0.06, 0.12, 0.4):
        assert 0.5 < rise_width(spectrum(expectation(sigma=sigma))) / sigma < 2


def test_the_end_of_a_decay_is_no_end_of_the_instrument():
    # A range that ends 3.5 ns after the peak, over a background of 10 counts per bin.
    for seed in range(5):
        counts = drawn(seed, background=2e4)[560:780]

        assert working_range(counts) == (0, len(counts))


def test_a_range_that_ends_too_soon_is_no_reason_to_assume_lifetimes():
    counts = drawn()[600:700]

    found = fit_automatically(spectrum(counts, EDGES[600:701]))

    assert found.fit.model.intensities == "free"
    if found.fit.status == FitStatus.OK:
        pull = (found.fit.tau_ops_ns - 1.83) / found.fit.tau_ops_error_ns
        assert abs(pull) < 4
        assert any("tau_ops is uncertain by more than a quarter" in n for n in found.notes)


def test_a_peak_without_its_rise_gives_no_numbers():
    counts = drawn()[648:]

    fit = fit_automatically(spectrum(counts, EDGES[648:])).fit

    assert fit.status in (FitStatus.AT_BOUND, FitStatus.NOT_CONVERGED)


def test_too_much_p_ps_is_a_doubt_that_is_told():
    four = (*LIVES, Component(name="void", tau_ns=0.8))
    counts = drawn(lives=four, shares=(0.08, 0.58, 0.24, 0.1))

    found = fit_automatically(spectrum(counts))

    if found.fit.intensities[0] > 0.15:
        assert any("a third of o-Ps would be" in note for note in found.notes)
    else:
        assert found.fit.tau_ops_error_ns < 0.1
