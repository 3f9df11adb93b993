import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from psimg.core import DataError
from psimg.events import Singles, sort_chunks


def singles_of(time_ns, first=0) -> Singles:
    n = len(time_ns)
    return Singles(
        time_ns=time_ns,
        energy_kev=np.zeros(n),
        position_mm=np.zeros((n, 3)),
        decay=np.arange(first, first + n),
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 20))
def test_a_bounded_disorder_is_sorted_and_ties_keep_their_order(jitter, size):
    time = np.arange(len(jitter)) * 2.0 - np.array(jitter)
    chunks = [singles_of(time[i : i + size], i) for i in range(0, len(time), size)]

    parts = list(sort_chunks(chunks, max_disorder_ns=9.0))

    order = np.argsort(time, kind="stable")
    found = np.concatenate([part.decay for part in parts]) if parts else np.empty(0)
    assert_array_equal(found, order)


def test_little_is_held_back_at_a_time():
    time = np.arange(10_000.0)
    chunks = [singles_of(time[i : i + 100]) for i in range(0, 10_000, 100)]

    sizes = [len(part) for part in sort_chunks(chunks, max_disorder_ns=50.0)]

    assert max(sizes) <= 150


def test_chunks_in_order_are_passed_on_without_a_copy():
    chunks = [singles_of(np.arange(100.0 * i, 100.0 * (i + 1)), 100 * i) for i in range(4)]

    parts = list(sort_chunks(chunks, max_disorder_ns=5.0))

    assert_array_equal(np.concatenate([part.decay for part in parts]), np.arange(400))
    for chunk in chunks:
        assert any(np.shares_memory(chunk.time_ns, part.time_ns) for part in parts)


def test_a_chunk_in_order_behind_one_out_of_order_is_sorted_with_what_was_held():
    times = [[0.0, 3.0, 2.0, 4.0], [4.0, 6.0], [5.0, 20.0, 30.0]]

    parts = list(sort_chunks([singles_of(t) for t in times], max_disorder_ns=3.0))

    assert_array_equal(
        np.concatenate([part.time_ns for part in parts]), np.sort(np.concatenate(times))
    )


def test_a_single_too_far_out_of_order_is_an_error_that_says_how_far():
    chunks = [singles_of([0.0, 500.0]), singles_of([200.0])]

    with pytest.raises(DataError, match=r"300 ns earlier than one before it, more than the 100 ns"):
        list(sort_chunks(chunks, max_disorder_ns=100.0))
