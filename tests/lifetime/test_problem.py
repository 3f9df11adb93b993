from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import DataError, SettingsError
from psimg.lifetime import Component, Gaussian, LifetimeModel, Response, SpectrumData
from psimg.lifetime.problem import SpectrumProblem

EDGES = np.linspace(-5.0, 15.0, 101)
N_BIN = len(EDGES) - 1
PPS = Component(name="pps", tau_ns=0.125, intensity=0.1)
DIRECT = Component(name="direct", tau_ns=0.388, intensity=0.6, free=True, prior_ns=(0.38, 0.02))
OPS = Component(name="ops", tau_ns=2.0, intensity=0.3, free=True, spread=0.2, spread_free=True)
FOIL = Component(name="foil", tau_ns=0.25, intensity=0.15, source=True)
WIDE = Response(more=(Gaussian(), Gaussian(weight=0.1, sigma_ns=0.3)))
RICH = LifetimeModel(components=(PPS, DIRECT, OPS, FOIL), response=WIDE)


def data(**more) -> SpectrumData:
    counts = np.random.default_rng(1).poisson(20.0, N_BIN) + 1000.0 * np.exp(
        -(((np.arange(N_BIN) - 27) / 6) ** 2)
    )
    return SpectrumData(name="a", edges_ns=EDGES, counts=counts, **more)


def central_difference(function, p) -> np.ndarray:
    found = []
    for i, x in enumerate(p):
        h = 1e-5 * max(abs(x), 0.1)
        up, down = p.copy(), p.copy()
        up[i] += h
        down[i] -= h
        found.append((function(up) - function(down)) / (2 * h))
    return np.array(found)


@pytest.mark.parametrize("rule", ["free", "ps-ratio", "fixed", "merged"])
def test_slopes_of_every_rule_are_those_of_differences(rule):
    components = tuple(replace(c, intensity=0.1 if c is FOIL else c.intensity)
                       for c in RICH.components)  # fmt: skip
    exposure = np.linspace(0.5, 1.0, N_BIN)
    problem = SpectrumProblem(
        data(exposure=exposure), replace(RICH, intensities=rule, components=components)
    )
    p = problem.start()

    expected, jacobian = problem.slopes(p)

    assert_allclose(expected, problem.expectation(p), rtol=1e-12)
    numeric = central_difference(problem.expectation, p)
    scale = np.abs(jacobian).max(axis=1, keepdims=True)
    assert_allclose(jacobian / scale, numeric / scale, atol=1e-6)
    assert_allclose(problem.gradient(p), central_difference(problem.deviance, p), rtol=1e-5)
    residuals, slopes = problem.residuals(p)
    assert_allclose(residuals @ residuals, problem.deviance(p), rtol=1e-12)
    assert_allclose(2 * residuals @ slopes, problem.gradient(p), rtol=1e-9)


def test_slopes_with_class_two_are_those_of_differences(make_truth):
    truth = make_truth(signal=5000, class_2=900, unrelated=2000, class_3=300)
    spectrum = SpectrumData(
        name="a", edges_ns=np.linspace(-10.0, 20.0, 301), counts=truth.counts,
        delayed=truth.windows(truth.delayed),
    )  # fmt: skip
    problem = SpectrumProblem(spectrum, replace(RICH, background="four-set"))
    p = problem.start()
    problem.measure_shifts(p)
    p *= 1.03

    gradient = problem.gradient(p)

    numeric = central_difference(problem.deviance, p)
    assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max())


def test_the_known_response_changes_no_expectation():
    problem = SpectrumProblem(data(), RICH)
    p = problem.start()
    table = problem.response(p)
    more = tuple(Gaussian(weight=w, shift_ns=m - table[0, 1], sigma_ns=s) for w, m, s in table[1:])
    known = replace(RICH, response=Response(mu_ns=table[0, 1], sigma_ns=table[0, 2], more=more))
    fixed = SpectrumProblem(data(), known)
    keep = [problem.names.index(name) for name in fixed.names]

    for _ in range(2):  # the second time from what was kept of the first
        assert_allclose(fixed.expected(p[keep]), problem.expected(p), rtol=1e-12, atol=1e-12)


def test_a_bin_without_exposure_plays_no_part():
    exposure = np.ones(N_BIN)
    exposure[40:45] = 0.0
    spectrum = data(exposure=exposure)
    counts = np.where(exposure > 0, spectrum.counts, 0.0)
    problem = SpectrumProblem(replace(spectrum, counts=counts), RICH)

    assert np.all(problem.expected(problem.start())[:, 40:45] == 0.0)
    assert np.all(np.isfinite(problem.gradient(problem.start())))


def test_a_template_has_a_level_and_not_a_size():
    template = np.linspace(1.0, 3.0, N_BIN)
    model = replace(RICH, background="template")
    a, b = (SpectrumProblem(data(template=f * template), model) for f in (1.0, 7.0))

    p = a.start()

    assert_allclose(a.expected(p)[-2], p[a.level_at] * template / template.sum())
    assert_allclose(a.expected(p), b.expected(p))


def test_starts_can_be_given_by_name():
    problem = SpectrumProblem(data(), RICH)

    p = problem.start({"tau_ops_ns": 3.0, "weight_2": 5.0})

    assert p[problem.names.index("tau_ops_ns")] == 3.0
    assert p[problem.names.index("weight_2")] == 0.9  # its limit
    with pytest.raises(SettingsError, match="a: no free parameter is named 'tau_pps_ns'; there"):
        problem.start({"tau_pps_ns": 0.1})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"counts": np.full(N_BIN, -1.0)}, "a: counts must be finite and not negative; bin 0"),
        ({"counts": np.full(N_BIN, np.nan)}, "bin 0 holds nan"),
        ({"edges_ns": EDGES[::-1]}, "a: edges_ns must be two or more rising numbers"),
        ({"edges_ns": EDGES[1:]}, r"edges_ns has shape \(100,\) and there are 100 counts"),
        ({"exposure": np.zeros(N_BIN)}, "a: the exposure is zero in every bin"),
        ({"template": np.full(3, 1.0)}, r"template has shape \(3,\)"),
        ({"template": np.zeros(N_BIN)}, "a: the template is zero in every bin"),
    ],
)
def test_data_that_make_no_sense_are_an_error(change, match):
    with pytest.raises(DataError, match=match):
        replace(data(), **change)


def test_an_exposure_does_not_go_with_delayed_windows(make_truth):
    truth = make_truth(signal=10, class_2=0, unrelated=2, class_3=0)

    with pytest.raises(DataError, match="an exposure goes with a flat or a template background"):
        SpectrumData(
            name="a", edges_ns=np.linspace(-10.0, 20.0, 301), counts=truth.counts,
            delayed=truth.windows(truth.delayed), exposure=np.ones(300),
        )  # fmt: skip


def test_a_template_background_needs_a_template():
    with pytest.raises(SettingsError, match="a: background = 'template' needs a template"):
        SpectrumProblem(data(), replace(RICH, background="template"))


def test_a_response_wider_than_the_spectrum_is_an_error():
    with pytest.raises(DataError, match="response is 90 ns wide and the spectrum 20 ns long"):
        SpectrumProblem(data(), RICH.with_response(0.0, 90.0))
