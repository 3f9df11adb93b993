import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import FitStatus, ParameterMaps, VoxelGrid
from psimg.imaging.bootstrap import bootstrap_errors, bootstrap_spread
from psimg.imaging.values import Reconstruction

GRID = VoxelGrid.centred(shape=(3, 1, 1), voxel_mm=(4.0, 4.0, 4.0))


def maps_of(values, voxel=(0, 1, 2)):
    """Maps of a mean life, NaN where it has no value."""
    values = np.asarray(values, float)[:, None]
    n = len(values)
    maps = ParameterMaps(
        grid=GRID,
        names=("tau_ops",),
        units=("ns",),
        voxel=np.array(voxel),
        values=values,
        errors=np.full((n, 1), 9.0),
        deviance=np.full(n, np.nan),
        ndf=0,
        status=np.where(np.isfinite(values[:, 0]), FitStatus.OK, FitStatus.TOO_FEW_COUNTS),
    )
    return Reconstruction(maps=maps, counts=np.zeros(GRID.shape), trace=np.zeros(0))


def test_the_spread_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(20250201)
    n, n_replicate = 400, 500
    dt = rng.exponential(2.0, n)

    spread = bootstrap_spread(
        lambda w: np.array([w @ dt / w.sum(), w.sum()]), n, replicates=n_replicate, rng=rng
    )

    expected = np.array([dt.std() / np.sqrt(n), np.sqrt(n)])
    # An error from R replicates is off by one over the root of 2 R, and more by 1/n for the ratio.
    assert_allclose(spread, expected, rtol=4 / np.sqrt(2 * n_replicate) + 2 / n)


def test_errors_are_replaced_and_values_kept():
    n = 100
    rng = np.random.default_rng(7)

    def reconstruct(weights):
        total = n if weights is None else weights.sum()
        return maps_of([1.0, 0.01 * total, 5.0 * total])

    found = bootstrap_errors(reconstruct, n, replicates=300, rng=rng)

    assert_array_equal(found.maps.values[:, 0], [1.0, 1.0, 500.0])
    assert_allclose(found.maps.errors[:, 0], [0.0, 0.1, 50.0], rtol=4 / np.sqrt(600))


def test_a_voxel_without_a_value_in_half_of_the_replicates_has_no_error():
    calls = []

    def estimate(weights):
        if weights is None:
            return maps_of([1.0, 2.0, np.nan])
        calls.append(weights)
        if len(calls) % 3 == 0:
            return maps_of([3.0, 4.0, 5.0])
        return maps_of([5.0], voxel=[0])

    found = bootstrap_errors(estimate, 10, replicates=9, rng=np.random.default_rng(1))

    assert len(calls) == 9
    values = np.array([5.0, 5.0, 3.0] * 3)
    assert_allclose(found.maps.errors[0, 0], values.std(ddof=1))
    assert np.isnan(found.maps.errors[1:]).all()


def test_the_same_generator_gives_the_same_errors():
    def spread(seed):
        dt = np.arange(50.0)
        return bootstrap_spread(lambda w: w @ dt, 50, replicates=5, rng=np.random.default_rng(seed))

    assert spread(1) == spread(1) != spread(2)
