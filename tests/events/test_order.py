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


def test_a_single_too_far_out_of_order_is_an_error_that_says_how_far():
    chunks = [singles_of([0.0, 500.0]), singles_of([200.0])]

    with pytest.raises(DataError, match=r"300 ns earlier than one before it, more than the 100 ns"):
        list(sort_chunks(chunks, max_disorder_ns=100.0))
