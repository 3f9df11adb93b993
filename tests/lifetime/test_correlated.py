import numpy as np
import pytest
from numba_stats import exponnorm
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2

from psimg.core import DataError
from psimg.lifetime.correlated import (
    Shifts,
    measure_shifts,
    n_shift_bins,
    signal_shape,
    wider_edges,
)
from psimg.spectra import DelayedSpectrum

EDGES = np.linspace(-10.0, 20.0, 301)
MU, SIGMA = 0.03, 0.09
REACH = 50
"""Bins of 0.1 ns in 5 ns."""
N_NODE = 51
"""Nodes 0.2 ns apart in twice that."""


def delta(n_bin: int) -> np.ndarray:
    """All events shifted by so many bins."""
    share = np.zeros(2 * REACH + 1)
    share[REACH + n_bin] = 1.0
    return share


def test_the_shape_of_true_events_is_that_of_another_librarys_emg():
    shares, tau = np.array([0.2, 0.5, 0.3]), np.array([0.125, 0.388, 2.0])

    shape = signal_shape(EDGES, shares, tau, MU, SIGMA)

    expected = sum(
        share * np.diff(exponnorm.cdf(EDGES, t / SIGMA, MU, SIGMA))
        for share, t in zip(shares, tau, strict=True)
    )
    assert_allclose(shape, expected, atol=1e-12)


def test_wider_edges_go_on_with_the_same_step_by_the_longest_shift():
    wide = wider_edges(EDGES)

    assert n_shift_bins(EDGES) == REACH
    assert_allclose(wide[REACH:-REACH], EDGES, atol=1e-12)
    assert_allclose(np.diff(wide), 0.1, rtol=1e-9)
    assert_allclose([wide[0], wide[-1]], [-15.0, 25.0], atol=1e-12)


def test_a_step_that_does_not_divide_the_reach_reaches_beyond_it():
    edges = np.arange(0.0, 10.0, 0.3)

    n = n_shift_bins(edges)

    assert n == 17  # 5.1 ns
    assert len(wider_edges(edges)) == len(edges) + 2 * n


def test_without_shifts_class_2_has_the_shape_of_the_true_events(make_truth):
    truth = make_truth(signal=1.0, class_2=0.0, unrelated=1.0, class_3=0.0)

    shape = Shifts(share=delta(0)).spread(truth.wide_signal)

    assert_allclose(shape, truth.signal / truth.signal.sum(), rtol=1e-12)


@pytest.mark.parametrize("n_bin", [-50, -7, 1, 30])
def test_a_shift_by_whole_bins_moves_the_signal(make_truth, n_bin):
    truth = make_truth(signal=1.0, class_2=0.0, unrelated=1.0, class_3=0.0)

    shape = Shifts(share=delta(n_bin)).spread(truth.wide_signal)

    moved = np.roll(truth.wide_signal, n_bin)[REACH:-REACH]
    assert_allclose(shape, moved / moved.sum(), atol=1e-15)


def test_spread_shapes_sum_to_one_and_keep_the_mean_shift(make_truth, make_kernel):
    truth = make_truth(signal=1.0, class_2=0.0, unrelated=1.0, class_3=0.0)
    shifts = Shifts(share=make_kernel())
    centre = 0.5 * (EDGES[1:] + EDGES[:-1])

    shape = shifts.spread(truth.wide_signal)

    assert_allclose(shape.sum(), 1.0, rtol=1e-12)
    mean_shift = make_kernel() @ (0.1 * np.arange(-REACH, REACH + 1))
    # What lies beyond the last edge is below 1e-4 of the events.
    assert_allclose(centre @ shape - centre @ truth.signal, mean_shift, atol=2e-3)


def test_a_signal_of_nothing_spreads_to_nothing():
    assert_array_equal(Shifts(share=delta(0)).spread(np.zeros(300 + 2 * REACH)), np.zeros(300))


@pytest.mark.parametrize("n_sets", [(4, 4, 4), (4, 3, 2)])
@pytest.mark.parametrize("class_3", [0.0, 2000.0])
def test_an_asymmetric_distribution_of_shifts_is_recovered_within_its_statistics(
    make_truth, class_3, n_sets
):
    truth = make_truth(
        signal=1e5, class_2=5000.0, unrelated=4000.0, class_3=class_3, n_sets=n_sets, slope=0.3
    )
    rng = np.random.default_rng(20261130)
    expected = truth.delayed[1]
    total = 0.0

    for _ in range(20):
        _, delayed = truth.draw(rng)
        shape = measure_shifts(delayed, EDGES, truth.wide_signal).spread(truth.wide_signal)
        found = n_sets[1] * truth.class_2.sum() * shape
        known = n_sets[1] * truth.class_2
        # Bins that expect nothing cannot differ by more than the counts of their neighbours.
        total += ((found - known) ** 2 / np.maximum(expected, 1.0)).sum()

    # No more than as many free numbers as there are nodes; positive ones, so fewer.
    assert total < chi2.ppf(0.999, 20 * N_NODE)


def test_exact_expectations_give_the_shifts_back(make_truth, make_kernel):
    truth = make_truth(signal=1e5, class_2=1e5, unrelated=4e4, class_3=2e4)
    delayed = truth.windows(truth.delayed)

    shifts = measure_shifts(delayed, EDGES, truth.wide_signal)

    offset = 0.1 * np.arange(-REACH, REACH + 1)
    for power in (1, 2):
        # Triangles of 0.2 ns and 300 updates blur the cusp a little.
        expected = make_kernel() @ offset**power
        assert_allclose(shifts.share @ offset**power, expected, rtol=0.05, atol=0.002)
    shape = shifts.spread(truth.wide_signal)
    # Less than one event in a hundred lies in a wrong bin.
    assert 0.5 * np.abs(shape - truth.class_2 / truth.class_2.sum()).sum() < 0.01


def test_shifts_are_found_in_bins_wider_than_the_nodes_distance():
    edges = np.linspace(-10.0, 20.0, 76)  # 0.4 ns, wider than the nodes' distance
    wide = wider_edges(edges)
    signal = signal_shape(wide, np.array([0.7, 0.3]), np.array([0.388, 2.0]), MU, SIGMA)
    n = n_shift_bins(edges)
    share = np.zeros(2 * n + 1)
    share[n + 2] = 1.0
    class_2 = 1e6 * Shifts(share=share).spread(signal)
    delayed = DelayedSpectrum(
        prompt=class_2, photon=class_2, both=np.zeros(75), n_sets=(1, 1, 1), shape=np.ones(75) / 75
    )

    shifts = measure_shifts(delayed, edges, signal)

    assert shifts.n_bin == n == 13
    assert_allclose(shifts.share[n + 2], 1.0, atol=0.01)


def test_shifts_that_carry_events_out_of_the_spectrum_count_with_them():
    edges = np.linspace(-1.0, 2.0, 31)
    signal = signal_shape(
        wider_edges(edges), np.array([0.7, 0.3]), np.array([0.388, 2.0]), MU, SIGMA
    )
    n = n_shift_bins(edges)
    share = np.zeros(2 * n + 1)
    share[n - 6], share[n], share[n + 14] = 0.3, 0.4, 0.3
    class_2 = 1e6 * np.convolve(signal, share, mode="valid")
    nothing = np.zeros(30)
    delayed = DelayedSpectrum(
        prompt=nothing, photon=class_2, both=nothing, n_sets=(1, 1, 1), shape=np.ones(30) / 30
    )

    shifts = measure_shifts(delayed, edges, signal)

    assert_allclose(shifts.share[[n - 6, n, n + 14]].sum(), 0.5, atol=0.05)  # of triangles: half
    near = [shifts.share[n + m - 2 : n + m + 3].sum() for m in (-6, 0, 14)]
    assert_allclose(near, [0.3, 0.4, 0.3], atol=0.02)


def test_without_events_nothing_is_shifted(make_truth):
    truth = make_truth(signal=1e4, class_2=0.0, unrelated=1000.0, class_3=0.0)
    delayed = truth.windows(np.zeros((3, 300)))

    shifts = measure_shifts(delayed, EDGES, truth.wide_signal)

    assert_array_equal(shifts.share, delta(0))


@pytest.mark.parametrize("seed", range(3))
def test_windows_of_class_3_alone_give_shifts_that_are_a_distribution(make_truth, seed):
    truth = make_truth(signal=1e4, class_2=0.0, unrelated=1000.0, class_3=800.0)
    _, delayed = truth.draw(np.random.default_rng(seed))

    shifts = measure_shifts(delayed, EDGES, truth.wide_signal)

    assert np.all(shifts.share >= 0)
    assert_allclose(shifts.share.sum(), 1.0)


def test_one_event_gives_shifts_that_are_a_distribution(make_truth):
    truth = make_truth(signal=1e4, class_2=0.0, unrelated=1000.0, class_3=0.0)
    for b in (0, 100, 299):
        counts = np.zeros((3, 300))
        counts[1, b] = 1

        shifts = measure_shifts(truth.windows(counts), EDGES, truth.wide_signal)

        assert np.all(shifts.share >= 0)
        assert_allclose(shifts.share.sum(), 1.0)


def test_bins_of_unequal_width_are_an_error():
    with pytest.raises(DataError, match="'four-set' needs time bins of equal width; bin the"):
        n_shift_bins(np.array([0.0, 1.0, 3.0]))
