import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import DataError
from psimg.lifetime._emg import bin_shares
from psimg.report.drawing import png
from psimg.report.merging import MergedBins
from psimg.report.spectrum_figure import component_label, draw_spectrum_fit

N_BIN = 4096
EDGES_NS = np.linspace(-5.0, 45.0, N_BIN + 1)
LABELS = ("p-Ps", "direct", "o-Ps", "background")


def expected_of(n_events: float) -> np.ndarray:
    """Events per bin of p-Ps, direct, o-Ps and a background of a fifth."""
    shares = np.empty((3, N_BIN))
    for row, tau in zip(shares, (0.125, 0.388, 1.9), strict=True):
        bin_shares(EDGES_NS, tau, 0.1, 0.0, row)
    signal = np.array([[0.1], [0.45], [0.25]]) * shares
    return n_events * np.vstack([signal, np.full(N_BIN, 0.2 / N_BIN)])


def draw(n_events: float = 1e6, labels=LABELS, title="water", **changes):
    expected = expected_of(n_events)
    counts = np.random.default_rng(20250214).poisson(expected.sum(axis=0)).astype(float)
    return draw_spectrum_fit(EDGES_NS, counts, expected, labels=labels, title=title, **changes)


def residuals_of(figure):
    return figure.axes[1].lines[-1].get_ydata()


def test_curves_are_those_of_the_fit_bin_for_bin():
    lines = {line.get_label(): line.get_ydata() for line in draw().axes[0].lines}

    expected = expected_of(1e6)
    for label, row in zip(LABELS, expected, strict=True):
        assert_allclose(lines[label], row)
    assert_allclose(lines["fit"], expected.sum(axis=0))


def test_every_row_has_its_own_look_and_its_label_in_the_legend():
    figure = draw(labels=["a $x_{", "b", "c", "flat"])

    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["events", "fit", "a $x_{", "b", "c", "flat"]
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines[-5:]}
    assert len(looks) == 5


@pytest.mark.parametrize("n_events", [2e3, 1e5, 1e7])
def test_residuals_of_a_true_model_are_standard_normal(n_events):
    residuals = residuals_of(draw(n_events))

    n = len(residuals)
    assert 10 < n <= 400
    # The square of (n - m) / sqrt(m) has mean 1 and variance 2 + 1/m, m being 25 or more.
    assert abs(np.mean(residuals**2) - 1) < 4 * np.sqrt((2 + 1 / 25) / n)
    assert abs(np.mean(residuals)) < 4 / np.sqrt(n)


def test_merged_bins_hold_all_events_and_each_enough():
    total = expected_of(1e5).sum(axis=0)

    merged = MergedBins.by_expected(EDGES_NS, total, least=25.0, most_bins=400)

    assert_allclose(merged.sum(total).sum(), total.sum())
    assert merged.sum(total).min() >= 25.0
    assert len(merged.start) <= 400
    assert_allclose((merged.edges_ns[0], merged.edges_ns[-1]), (-5.0, 45.0))
    # Single bins hold a hundred and more events at the peak, and one in twenty outside.
    assert merged.n_merged.min() == 1
    assert merged.n_merged.max() > 20


def test_bins_full_enough_stay_as_they_are():
    merged = MergedBins.by_expected(np.arange(11.0), np.full(10, 30.0), least=25.0, most_bins=400)

    assert_allclose(merged.edges_ns, np.arange(11.0))


@pytest.mark.parametrize("total", [0.0, 3.0])
def test_fewer_events_than_a_residual_needs_are_one_bin(total):
    merged = MergedBins.by_expected(
        np.arange(11.0), np.full(10, total / 10), least=25.0, most_bins=400
    )

    assert_allclose(merged.edges_ns, [0.0, 10.0])


def test_axes_carry_units_and_titles_are_as_given():
    figure = draw(title="H₂O at $20", subtitle="deviance/ndf = 1/2")

    top, bottom = figure.axes
    assert figure.get_suptitle() == "H₂O at $20"
    assert top.get_title(loc="left") == "deviance/ndf = 1/2"
    assert top.get_ylabel() == "counts per 0.01221 ns"
    assert bottom.get_xlabel().endswith("[ns]")
    assert bottom.get_ylabel().endswith(r"[$\sigma$]")
    assert png(figure)


@pytest.mark.parametrize("title", ["$\\bad{", "_hidden", "体模\n\x00", "x" * 500, ""])
def test_a_spectrum_of_any_title_can_be_drawn(title):
    assert png(draw(title=title))


def test_few_counts_many_components_and_no_background_can_be_drawn():
    expected = np.vstack([np.full((8, 4), 0.1), np.zeros((1, 4))])

    figure = draw_spectrum_fit(
        np.arange(5.0), np.array([0.0, 1.0, 0.0, 2.0]), expected, labels=["x"] * 9, title="t"
    )

    assert png(figure)


def test_arrays_that_do_not_fit_or_are_not_finite_are_an_error():
    edges, counts, expected = np.arange(5.0), np.ones(4), np.ones((2, 4))

    for given, message in (
        ((edges, counts[:3], expected), r"4 bins and 2 labels, but counts of shape \(3,\)"),
        ((edges, counts, expected[:1]), r"expected of \(1, 4\); expected \(B,\) and a row"),
        ((edges, counts, expected * np.nan), "a fit that failed has no curves to draw"),
    ):
        with pytest.raises(DataError, match=message):
            draw_spectrum_fit(*given, labels=["x", "background"], title="t")


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ((1.83, 0.019, 0.26, 0.0026), "o-Ps: τ = (1.830 ± 0.019) ns, I = (26.00 ± 0.26) %"),
        ((0.125, 0.0, 0.14, np.nan), "o-Ps: τ = 0.125 ns, I = 14.0 %"),
        ((np.nan, np.nan, np.nan, np.nan), "o-Ps: no mean life"),
    ],
)
def test_a_label_says_mean_life_and_intensity_with_errors(values, label):
    tau, tau_error, share, share_error = values

    assert label == component_label(
        "o-Ps", tau_ns=tau, tau_error_ns=tau_error, intensity=share, intensity_error=share_error
    )


def test_equal_figures_are_equal_files():
    assert png(draw()) == png(draw())
