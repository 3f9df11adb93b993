import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.events.values import LifetimeEvents
from psimg.imaging.collect import LineCollector
from psimg.imaging.prepare import prepare_images
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ReconOptions
from psimg.lifetime import LifetimeModel, Response, calibrate_response
from psimg.lifetime.model import Component, standard_components
from psimg.spectra.values import LifetimeSpectra

GRID = VoxelGrid.centred(shape=(12, 12, 12), voxel_mm=(8.0, 8.0, 8.0))
EDGES = np.linspace(-5.0, 15.0, 201)
SIGMA_MM = 14.6
SETS = (2, 4, 4)
N_PROMPT, N_PHOTON, N_BOTH = 4_000, 3_000, 2_000
"""Events of the delayed windows of each kind."""


def lines(rng, n, *, with_dt, half_mm=40.0):
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    point = rng.uniform(-half_mm, half_mm, (n, 3))
    point += direction * rng.normal(0.0, SIGMA_MM, (n, 1))
    collector = LineCollector(grid=GRID, sigma_mm=SIGMA_MM, most=None if with_dt else 10**9)
    if with_dt:
        life = np.where(rng.random(n) < 0.3, 2.0, 0.35)
        dt = rng.exponential(life) + rng.normal(0.0, 0.09, n)
        collector.add_events(
            LifetimeEvents(
                position_mm=point, dt_ns=dt, window=np.zeros(n, np.uint8), direction=direction
            )
        )
    else:
        collector.add_pairs(point, direction)
    return collector.lines()


def prepared(background, *, pairs=True):
    rng = np.random.default_rng(1)
    triplets, all_pairs = lines(rng, 20_000, with_dt=True), lines(rng, 60_000, with_dt=False)
    voxel = GRID.voxel_of(triplets.position_mm.astype(float))
    counts = np.bincount(voxel[voxel >= 0], minlength=GRID.n_voxel)
    delayed = np.stack(
        [rng.multinomial(n, np.full(GRID.n_voxel, 1 / GRID.n_voxel))
         for n in (N_PROMPT, N_PHOTON, N_BOTH)], axis=1,
    )  # fmt: skip
    voxels = LifetimeSpectra(
        edges_ns=EDGES[[0, -1]],
        counts=counts[:, None].astype(np.uint32),
        delayed=delayed[:, :, None].astype(np.uint32),
        n_sets=SETS,
        n_events=len(triplets),
        n_outside=int(np.count_nonzero(voxel < 0)),
        n_outside_dt=0,
        grid=GRID,
        voxel=np.arange(GRID.n_voxel),
    )
    total = LifetimeSpectra(
        edges_ns=EDGES,
        counts=np.histogram(triplets.dt_ns, EDGES)[0][None].astype(np.uint32),
        delayed=np.zeros((1, 3, 200), np.uint32),
        n_sets=(0, 0, 0),
        n_events=len(triplets),
        n_outside=0,
        n_outside_dt=0,
        names=("all",),
    )
    calibration = calibrate_response(total, model=LifetimeModel())
    model = LifetimeModel(response=Response(mu_ns=0.0, sigma_ns=0.09), background=background)
    data = prepare_images(
        triplets, all_pairs if pairs else None, voxels=voxels, edges_ns=EDGES, model=model,
        calibration=calibration, unrelated=None, sigma_mm=SIGMA_MM, options=ReconOptions(),
    )  # fmt: skip
    inside = np.count_nonzero(GRID.voxel_of(all_pairs.position_mm.astype(float)) >= 0)
    return data, len(data.pairs) / inside if pairs else 1.0


def test_the_level_of_randoms_is_that_of_the_delayed_windows_for_all_lines_that_reach():
    data, reach = prepared("four-set")

    assert reach > 1.02
    assert_allclose(data.unrelated.sum(), reach * N_PROMPT / SETS[0], rtol=1e-3)
    # The photon windows hold class II and twice III, those of both twice III.
    class_2 = N_PHOTON / SETS[1] - N_BOTH / SETS[2]
    assert_allclose(data.class_2.sum(), reach * class_2, rtol=0.02)


def test_random_pairs_are_taken_off_the_activity():
    data, _ = prepared("four-set")

    # Class III is half of what both-delayed windows hold, of classes I and III.
    share = (N_BOTH / SETS[2] / 2) / (N_PROMPT / SETS[0])
    pairs = float(len(data.pairs))
    # Air beside the object has fewer pairs than random ones are thought to be there.
    assert 1.0 - share <= data.activity.sum() / pairs < 1.0


def test_delayed_alone_has_no_class_2_and_flat_leaves_the_level_to_the_method():
    assert not prepared("delayed")[0].class_2.any()
    assert prepared("delayed")[0].level_known
    assert not prepared("flat")[0].level_known


def test_without_pairs_the_triplets_stand_for_them():
    data, _ = prepared("four-set", pairs=False)

    assert data.pairs is None
    assert data.unrelated.sum() > 0


def test_lines_outside_the_grid_are_an_error():
    collector = LineCollector(grid=GRID, sigma_mm=SIGMA_MM)
    with pytest.raises(DataError, match="need the direction of each LOR"):
        collector.add_events(
            LifetimeEvents(
                position_mm=np.zeros((1, 3)), dt_ns=np.zeros(1), window=np.zeros(1, np.uint8)
            )
        )


def test_an_even_share_of_lines_is_kept_whatever_the_chunks():
    rng = np.random.default_rng(2)
    point, direction = rng.uniform(-40, 40, (1000, 3)), np.tile([1.0, 0.0, 0.0], (1000, 1))
    kept = []
    for chunk in (1000, 77):
        collector = LineCollector(grid=GRID, sigma_mm=SIGMA_MM, most=300)
        for start in range(0, 1000, chunk):
            rows = slice(start, start + chunk)
            collector.add_pairs(point[rows], direction[rows])
        kept.append(collector.lines().position_mm)
        assert collector.share == 0.25

    np.testing.assert_array_equal(*kept)
    assert len(kept[0]) == 250


def test_the_start_is_the_share_of_all_positrons_beside_a_source():
    source = Component(name="foil", tau_ns=0.388, intensity=0.2, source=True)
    model = LifetimeModel(
        components=(*standard_components(), source),
        response=Response(mu_ns=0.0, sigma_ns=0.09),
    )
    rng = np.random.default_rng(3)
    u = rng.random(400_000)
    # A fifth in the foil; of the rest 30 % o-Ps, 10 % p-Ps, 60 % direct.
    life = np.select([u < 0.24, u < 0.32], [2.0, 0.125], 0.388)
    dt = rng.exponential(life) + rng.normal(0.0, 0.09, len(u))
    total = LifetimeSpectra(
        edges_ns=EDGES,
        counts=np.histogram(dt, EDGES)[0][None].astype(np.uint32),
        delayed=np.zeros((1, 3, 200), np.uint32),
        n_sets=(0, 0, 0),
        n_events=len(dt),
        n_outside=0,
        n_outside_dt=0,
        names=("all",),
    )
    shapes = make_shapes(EDGES, model=model, calibration=calibrate_response(total, model=model))

    assert_allclose(shapes.start_share * shapes.intensity_weight, 0.3, atol=0.01)
