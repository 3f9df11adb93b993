import re
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from psimg.core import DataError
from psimg.report.corner import draw_corner, label_of, region_levels
from psimg.report.drawing import VERMILLION, png

NAMES = ("tau_ops_ns", "intensity_ops", "background", "mu_ns")
UNIT = re.compile(r" \[(ns|counts|1)\]$")


def draws(n=4000, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 4)) * [0.1, 0.02, 30.0, 1e-3] + [2.0, 0.3, 1500.0, 0.03]


def of_colour(axes, colour):
    return [line for line in axes.lines if line.get_color() == colour]


def test_a_panel_for_each_parameter_and_each_pair_with_units():
    figure = draw_corner(draws(), NAMES)

    assert len(figure.axes) == 4 * 5 / 2
    labels = [text for a in figure.axes for text in (a.get_xlabel(), a.get_ylabel()) if text]
    assert len(labels) == 4 + 3
    # A share has no unit.
    assert all(UNIT.search(label) or label.startswith("$I$") for label in labels)
    assert png(figure).startswith(b"\x89PNG")


def test_titles_give_median_and_interval_to_two_digits():
    samples = draws()

    titles = [axes.get_title() for axes in draw_corner(samples, NAMES).axes if axes.get_title()]

    low, median, high = np.quantile(samples[:, 0], (0.158655, 0.5, 0.841345))
    assert len(titles) == 4
    decimals = 3 if min(median - low, high - median) < 0.0995 else 2
    assert f"{median:.{decimals}f}^{{+{high - median:.{decimals}f}}}" in titles[0]


def test_intervals_that_are_given_are_those_drawn():
    intervals = np.quantile(draws(), (0.1, 0.8), axis=0).T
    intervals[0] = [1.85, 2.25]

    title = draw_corner(draws(), NAMES, intervals=intervals).axes[0].get_title()

    median = np.median(draws()[:, 0])
    assert f"^{{+{2.25 - median:.2f}}}_{{−{median - 1.85:.2f}}}" in title


def test_truths_are_lines_where_they_are_known():
    figure = draw_corner(draws(), NAMES, truths=np.array([2.0, np.nan, 1500.0, 0.03]))

    first, pair = figure.axes[0], figure.axes[3]
    (line,) = of_colour(first, VERMILLION)
    assert_allclose(line.get_xdata(), 2.0)
    assert len(of_colour(figure.axes[2], VERMILLION)) == 0
    across, along = of_colour(pair, VERMILLION)
    assert_allclose(across.get_xdata(), 2.0)
    assert_allclose(along.get_ydata(), 1500.0)


@pytest.mark.parametrize("mass", [0.68, 0.95])
def test_the_smallest_region_of_a_gaussian_ends_where_chi_square_says(mass):
    x = np.linspace(-6, 6, 601)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x**2))

    (level,) = region_levels(density, (mass,))

    # Two degrees of freedom: the density falls to exp(-q/2), and bins of 0.02 blur that a little.
    assert_allclose(level, np.exp(-0.5 * chi2(2).ppf(mass)), rtol=0.01)


def test_levels_rise_and_hold_the_shares_asked_for():
    density = np.random.default_rng(2).gamma(0.3, size=(40, 40))

    outer, inner = region_levels(density)

    assert outer < inner
    for level, mass in ((outer, 0.95), (inner, 0.68)):
        held = density[density >= level].sum() / density.sum()
        assert mass <= held < mass + density.max() / density.sum()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((50, 4)),
        np.tile([2.0, 0.3, 0.0, -1e-3], (2, 1)),
        draws(2),
        np.abs(draws(200) - draws(200).mean(axis=0)),
        draws(300) * [1, 1, 1e12, 1e-12],
        np.where(np.arange(100)[:, None] == 0, 1e9, draws(100)),
    ],
    ids=["constant", "two equal", "two", "one-sided", "scales", "a stray"],
)
def test_samples_of_any_kind_can_be_drawn(samples):
    assert png(draw_corner(samples, NAMES, truths=np.ones(4)))


def test_one_parameter_is_one_panel():
    assert len(draw_corner(draws()[:, :1], NAMES[:1]).axes) == 1


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("tau_direct_ns", "$\\tau$(direct) [ns]"),
        ("intensity_ops", "$I$(o-Ps)"),
        ("n_pps", "p-Ps [counts]"),
        ("sigma_ns", "$\\sigma$ [ns]"),
        ("n_a$b", "a\\$b [counts]"),
        ("other", "other"),
        ("two_words", "two_words"),
    ],
)
def test_labels_carry_units(name, label):
    assert label_of(name) == label


@pytest.mark.parametrize("name", ["n_$\\bad{", "体模", "x" * 500, "", "tau__ns", "_a_"])
def test_parameters_of_any_name_can_be_drawn(name):
    assert png(draw_corner(draws()[:, :2], (name, "tau_ops_ns")))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"samples": np.zeros((5, 3))}, r"samples has shape \(5, 3\), expected \(2 or more, 4\)"),
        ({"samples": np.zeros((1, 4))}, "expected .2 or more, 4."),
        ({"samples": np.full((5, 4), np.nan)}, "not finite"),
        ({"truths": np.zeros(3)}, r"truths has shape \(3,\), expected \(4,\)"),
        ({"intervals": np.zeros((2, 4))}, r"intervals has shape \(2, 4\), expected \(4, 2\)"),
    ],
)
def test_arrays_that_do_not_fit_together_are_errors(arguments, match):
    with pytest.raises(DataError, match=match):
        draw_corner(**({"samples": draws(50), "names": NAMES} | arguments))


def test_drawing_leaves_pyplot_alone_and_is_the_same_each_time():
    before = "matplotlib.pyplot" in sys.modules

    first, second = (png(draw_corner(draws(200), NAMES)) for _ in range(2))

    assert ("matplotlib.pyplot" in sys.modules) == before
    assert first == second
