import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core import DataError, VoxelGrid
from psimg.spectra import LifetimeSpectra

EDGES = np.array([0.0, 1.0, 2.0])


def spectra_of(counts, voxel=(0,), **more) -> LifetimeSpectra:
    return LifetimeSpectra(
        edges_ns=more.pop("edges_ns", EDGES), counts=np.array(counts),
        delayed=np.zeros((len(counts), 3, 1)), n_sets=(0, 0, 0), n_events=0, n_outside=0,
        n_outside_dt=0, voxel=np.array(voxel), **more,
        grid=VoxelGrid.centred(shape=(4, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
    )  # fmt: skip


def test_weighted_counts_stay_as_they_are_and_whole_ones_are_whole_numbers():
    assert spectra_of([[0.5, 2.0]]).counts.dtype == np.float64
    assert spectra_of([[1.0, 2.0]]).counts.dtype == np.uint32
    assert spectra_of(np.array([[1, 2]], np.uint16)).counts.dtype == np.uint16
    assert spectra_of([[1.0, 2.0]], variances=np.ones((1, 2))).counts.dtype == np.float64


def test_variances_add_and_whole_counts_are_their_own():
    one = spectra_of([[0.5, 2.0], [1.5, 0.0]], (0, 2), variances=np.array([[1.0, 4], [3, 0]]))
    other = spectra_of([[3.0, 1.0], [7.0, 8.0]], (1, 2))

    both = one + other

    assert_array_equal(both.voxel, [0, 1, 2])
    assert_array_equal(both.counts, [[0.5, 2.0], [3.0, 1.0], [8.5, 8.0]])
    assert_array_equal(both.variances, [[1.0, 4.0], [3.0, 1.0], [10.0, 8.0]])
    assert_array_equal((other + one).variances, both.variances)
    assert (other + other).variances is None


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_counts_and_variances_are_finite_and_not_negative(bad):
    with pytest.raises(DataError, match="counts must be finite and not negative"):
        spectra_of([[1.0, bad]])
    with pytest.raises(DataError, match="variances must be finite and not negative"):
        spectra_of([[1.0, 1.0]], variances=np.array([[1.0, bad]]))


def test_negative_whole_counts_do_not_wrap():
    with pytest.raises(DataError, match="counts must be finite and not negative"):
        spectra_of([[1, -1]])


@pytest.mark.parametrize("edges", [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, np.nan, 1.0]])
def test_edges_rise(edges):
    with pytest.raises(DataError, match="two or more rising numbers"):
        spectra_of([[1, 1]], edges_ns=np.array(edges))
