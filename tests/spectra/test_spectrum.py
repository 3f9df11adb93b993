import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError
from psimg.spectra import Spectrum, guess_channel_ns


def spectrum(**changes):
    fields = {
        "edges_ns": np.linspace(0.0, 1.0, 11),
        "counts": np.arange(10.0),
        "name": "water",
        "origin": "made here",
    }
    return Spectrum(**(fields | changes))


def peak(n: int, width_ns: float, range_ns: float = 50.0) -> np.ndarray:
    """Counts of a Gaussian peak of this full width at half height on a level of random pairs."""
    t = (np.arange(n) + 0.5) * range_ns / n
    return np.round(2000 * np.exp(-4 * np.log(2) * ((t - 0.3 * range_ns) / width_ns) ** 2) + 20)


def test_bins_between_two_times_lie_wholly_inside():
    part = spectrum().between(0.3, 0.75)

    # 0.3 is an edge, though 3 * 0.1 is a little more; the bin from 0.7 to 0.8 reaches out.
    assert_allclose(part.edges_ns, [0.3, 0.4, 0.5, 0.6, 0.7])
    assert_array_equal(part.counts, [3, 4, 5, 6])
    assert (part.name, part.origin) == ("water", "made here")


def test_merged_bins_hold_all_counts_but_those_of_the_bins_left_over():
    merged = spectrum(axis_assumed=True).merged(3)

    assert_allclose(merged.edges_ns, [0.0, 0.3, 0.6, 0.9])
    assert_array_equal(merged.counts, [3, 12, 21])
    assert merged.axis_assumed
    assert_array_equal(spectrum().merged(1).counts, spectrum().counts)
    assert_array_equal(spectrum().merged(10).counts, [45])


def test_centres_are_the_middles_of_uneven_bins():
    value = spectrum(edges_ns=[0.0, 1.0, 4.0], counts=[1, 2])

    assert_allclose(value.centres_ns, [0.5, 2.5])
    assert len(value) == 2


def test_arrays_are_read_only():
    value = spectrum()

    with pytest.raises(ValueError, match="read-only"):
        value.counts[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": [], "edges_ns": [0.0]}, "a spectrum of no bins"),
        ({"counts": np.zeros(10)}, r"no counts in 10 bins from 0 to 1 ns; take another"),
        ({"counts": [1.0, -2.0], "edges_ns": [0, 1, 2]}, r"bin 1 holds -2 counts, expected 0 or"),
        ({"counts": [1.0, np.nan], "edges_ns": [0, 1, 2]}, "bin 1 holds nan counts"),
        ({"counts": [np.inf, 1.0], "edges_ns": [0, 1, 2]}, "bin 0 holds inf counts"),
        ({"counts": [1, 1], "edges_ns": [0, 1, 1]}, "rise, but bin 1 reaches from 1 to 1 ns"),
        ({"counts": [1, 1], "edges_ns": [0, np.nan, 1]}, "bin 0 reaches from 0 to nan ns"),
        ({"counts": [1, 1], "edges_ns": [0, 1, np.inf]}, "bin 1 reaches from 1 to inf ns"),
        ({"counts": [1, 1], "edges_ns": [0, 1]}, r"edges_ns has shape \(2,\), expected \(3,\)"),
    ],
)
def test_a_spectrum_that_cannot_be_is_an_error(changes, message):
    with pytest.raises(DataError, match=message):
        spectrum(**changes)


@pytest.mark.parametrize("n", [0, -1, 11])
def test_merging_no_bins_or_more_than_there_are_is_an_error(n):
    with pytest.raises(DataError, match=f"{n} bins to merge; expected 1 to 10"):
        spectrum().merged(n)


@pytest.mark.parametrize("window", [(2.0, 3.0), (0.51, 0.59), (0.8, 0.2)])
def test_a_range_without_a_bin_is_an_error(window):
    with pytest.raises(DataError, match=r"no bin lies wholly between .*reaches from 0 to 1 ns"):
        spectrum().between(*window)


def test_a_range_without_counts_is_an_error():
    with pytest.raises(DataError, match=r"no counts in 1 bins from 0 to 0.1 ns"):
        spectrum().between(0.0, 0.1)


@pytest.mark.parametrize("n", [512, 1024, 8192, 16384])
def test_the_usual_range_is_assumed_over_a_power_of_two_of_channels(n):
    channel_ns, origin = guess_channel_ns(peak(n, 0.5))

    assert channel_ns == 50.0 / n
    assert "assumed: 50 ns" in origin
    assert "--channel-ns" in origin


@pytest.mark.parametrize("range_ns", [100.0, 200.0, 20.0])
def test_a_peak_taken_with_another_range_is_refused(range_ns):
    with pytest.raises(DataError, match=r"with the usual 50 ns over 8192 channels its peak would"):
        guess_channel_ns(peak(8192, 0.5, range_ns))


@pytest.mark.parametrize("n", [1, 256, 1000, 7402])
def test_channels_that_are_no_full_range_are_refused(n):
    with pytest.raises(DataError, match=f"its {n} channels are no full range of an analyser"):
        guess_channel_ns(np.ones(n))


@pytest.mark.parametrize(
    ("level", "match"), [(0.0, "no counts in its 1024 channels"), (7.0, "its peak would be")]
)
def test_a_spectrum_without_a_peak_is_refused(level, match):
    with pytest.raises(DataError, match=match):
        guess_channel_ns(np.full(1024, level))
