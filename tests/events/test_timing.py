from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError
from psimg.events import PromptWalk, Singles, TimingTable, correct_times, count_uncorrected

WALK = PromptWalk(
    edges_kev=np.array([700.0, 900.0, 1100.0, 1300.0]),
    energy_kev=np.array([800.0, 1000.0, 1200.0]),
    walk_ns=np.array([0.06, 0.0, -0.03]),
    error_ns=np.full(3, 0.002),
)


def make_table(detector=(2, 5), offset_ns=(0.1, -0.1), *, block=1, walk=None, left_out=()):
    n = len(detector)
    return TimingTable(
        block=block,
        detector=np.array(detector, np.int64),
        offset_ns=np.array(offset_ns),
        error_ns=np.full(n, 0.01),
        n_pairs=np.full(n, 100),
        left_out=np.array(left_out, np.int64),
        walk=walk,
    )


def make_singles(detector, energy=511.0):
    n = len(detector)
    return Singles(
        time_ns=10.0 * np.arange(n),
        energy_kev=np.broadcast_to(energy, n),
        position_mm=np.zeros((n, 3)),
        detector=np.array(detector),
    )


def test_offsets_are_taken_off_the_times_and_nothing_else_changes():
    singles = make_singles([5, 2, 2])

    corrected = correct_times(singles, make_table())

    assert_allclose(corrected.time_ns - singles.time_ns, [0.1, -0.1, -0.1], atol=1e-12)
    assert_array_equal(corrected.detector, singles.detector)
    assert_array_equal(corrected.energy_kev, singles.energy_kev)


@pytest.mark.parametrize("label", [-1, 0, 1, 3, 6, 10**15, -(10**15)])
def test_a_label_that_is_not_in_the_table_keeps_its_time_and_is_counted(label):
    singles = make_singles([label, 5])

    corrected = correct_times(singles, make_table())

    assert corrected.time_ns[0] == singles.time_ns[0]
    assert count_uncorrected(singles, make_table()) == 1


def test_a_table_without_detectors_changes_nothing():
    singles = make_singles([1, 2])
    table = make_table((), ())

    assert_array_equal(correct_times(singles, table).time_ns, singles.time_ns)
    assert count_uncorrected(singles, table) == 2


def test_labels_of_a_wide_range_are_found_as_those_of_a_narrow_one():
    far = 10**12
    table = make_table((-far, 2, far), (0.1, 0.2, 0.3))

    corrected = correct_times(make_singles([far, 2, -far, 3]), table)

    assert_allclose(corrected.time_ns, [-0.3, 9.8, 19.9, 30.0])


def test_a_block_of_labels_shares_its_offset():
    corrected = correct_times(make_singles([15, 16, 23, 24]), make_table(block=8))

    # Labels 16 to 23 belong to row 2; 1 and 3 are not there.
    assert_allclose(corrected.time_ns, [0.0, 9.9, 19.9, 30.0])


def test_the_walk_is_taken_off_prompts_only_and_runs_straight_between_mean_energies():
    energy = np.array([699.9, 700.0, 800.0, 900.0, 1000.0, 1300.0, 1300.1, 511.0])

    corrected = correct_times(make_singles([3] * 8, energy), make_table(walk=WALK))

    shift = corrected.time_ns - 10.0 * np.arange(8)
    assert_allclose(shift, [0, -0.06, -0.06, -0.03, 0, 0.03, 0, 0], atol=1e-12)


def test_the_largest_shift_bounds_every_change_of_a_time():
    table = make_table(walk=WALK)

    assert_allclose(table.largest_shift_ns, 0.16)


def test_singles_without_labels_are_an_error():
    bare = replace(make_singles([1]), detector=None)

    with pytest.raises(DataError, match="no detector labels, so that no detector's time offset"):
        correct_times(bare, make_table())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 0}, "block = 0: expected 1 or more"),
        ({"detector": np.array([5, 2])}, "detector of a timing table must rise"),
        ({"detector": np.array([5, 5])}, "detector of a timing table must rise"),
        ({"left_out": np.array([5])}, "both has an offset and is left out"),
        ({"offset_ns": np.array([0.1, np.nan])}, "offset_ns and its errors must be finite"),
        ({"error_ns": np.array([0.1, -0.1])}, "offset_ns and its errors must be finite"),
        ({"n_pairs": np.array([1])}, r"n_pairs has shape \(1,\), expected \(2,\)"),
    ],
)
def test_a_table_that_contradicts_itself_is_an_error(change, message):
    with pytest.raises(DataError, match=message):
        replace(make_table(), **change)


def test_a_walk_whose_energies_do_not_rise_is_an_error():
    with pytest.raises(DataError, match="edges_kev of the walk must be two or more rising"):
        replace(WALK, edges_kev=np.array([700.0, 900.0, 900.0, 1300.0]))


def test_a_mean_energy_outside_its_bin_is_an_error():
    with pytest.raises(DataError, match="energy_kev of the walk must lie in its bins"):
        replace(WALK, energy_kev=np.array([800.0, 1000.0, 900.0]))


def test_above_the_last_mean_energy_the_walk_stays_even_without_an_end():
    open_ended = replace(WALK, edges_kev=np.array([700.0, 900.0, 1100.0, np.inf]))

    corrected = correct_times(make_singles([3], 5000.0), make_table(walk=open_ended))

    assert_allclose(corrected.time_ns, [0.03])


def test_a_walk_needs_energies():
    singles = replace(make_singles([2]), energy_kev=None, tot_ns=np.array([20.0]))

    with pytest.raises(DataError, match="energy"):
        correct_times(singles, make_table(walk=WALK))
    assert_allclose(correct_times(singles, make_table()).time_ns, [-0.1])
