import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core.errors import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.imaging import _components
from psimg.imaging.component_errors import component_variances
from psimg.imaging.component_maps import reconstruct_components
from psimg.imaging.components import edges_of, maximise_components
from psimg.imaging.list_mode import sort_events
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ImageData, ReconOptions
from psimg.lifetime.model import Component, LifetimeModel, Response, standard_components

SIGMA_MM, SIGMA_NS = 14.6, 0.09
SHAPES = make_shapes(
    np.linspace(-5.0, 15.0, 201),
    model=LifetimeModel(response=Response(mu_ns=0.0, sigma_ns=SIGMA_NS)),
)
SHARE_OPS = 0.3


def blurred(rng, point):
    """Return the points as located, and the directions of their lines."""
    direction = rng.normal(size=point.shape)
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    return point + direction * rng.normal(0.0, SIGMA_MM, len(point))[:, None], direction


def decays(rng, tau_ns):
    """Return dt of annihilations from p-Ps, direct and o-Ps as shared by ``ps-ratio``."""
    u = rng.random(len(tau_ns))
    life = np.where(u < SHARE_OPS, tau_ns, np.where(u < 4 / 3 * SHARE_OPS, 0.125, 0.388))
    return rng.exponential(life) + rng.normal(0.0, SIGMA_NS, len(tau_ns))


def cube(rng, n):
    return rng.uniform(-40.0, 40.0, (n, 3))


def image_data(rng, *, n=20_000, n_random=10_000, tau=lambda point: 2.0, shape=(20, 20, 20),
               known=True):  # fmt: skip
    """Return a cube of 80 mm, uniformly active, on a grid of 5 mm voxels."""
    grid = VoxelGrid.centred(shape=shape, voxel_mm=(5.0, 5.0, 5.0))
    true, random = cube(rng, n), cube(rng, n_random)
    dt = np.concatenate(
        [decays(rng, np.broadcast_to(tau(true), n)), rng.uniform(-5.0, 15.0, n_random)]
    )
    position, direction = blurred(rng, np.concatenate([true, random]))
    events = sort_events(
        position, direction, grid=grid, sigma_mm=SIGMA_MM, time_bin=SHAPES.time_bin(dt),
        n_bin=SHAPES.n_bin,
    )  # fmt: skip
    inside = np.all(np.abs(grid.centres_mm()) < 40.0, axis=1).reshape(grid.shape)
    activity = inside.astype(np.float32)
    return ImageData(
        triplets=events,
        dt_ns=dt[events.row].astype(np.float32),
        shapes=SHAPES,
        activity=activity,
        unrelated=activity * np.float32(n_random * (1.0 if known else 0.5) / activity.sum()),
        class_2=np.zeros(grid.shape, np.float32),
        level_known=known,
    )


def test_a_pass_equals_a_slow_one():
    rng = np.random.default_rng(1)
    data = image_data(rng, n=60, n_random=30, shape=(4, 4, 4))
    # Lifetimes and shares differ from voxel to voxel after two passes.
    options = ReconOptions(iterations=2, activity="triplets")
    start = maximise_components(data, options=options, penalised=False)
    after = maximise_components(
        data, options=dataclasses.replace(options, iterations=3), penalised=False
    )

    projector = Projector(data.triplets)
    n_voxel = data.grid.n_voxel
    units = np.eye(n_voxel).reshape(n_voxel, *data.grid.shape)
    h = np.stack([projector.project(to_field(u, data.grid)) for u in units], axis=1)
    a, g, log_tau = (
        to_image(x, data.grid).reshape(-1).astype(float)
        for x in (start.counts, start.share, start.log_tau)
    )
    ops, slope = SHAPES.ops_at(np.exp(log_tau))
    bins = SHAPES.time_bin(data.dt_ns)
    fast = a * (1 - g) * SHAPES.fast[bins][:, None] * h
    slow = (a * g * ops[:, bins].T) * h
    randoms = h @ data.unrelated.reshape(-1) * SHAPES.unrelated[bins]
    seen = np.maximum(fast.sum(1) + slow.sum(1) + randoms, 1e-30)
    n_fast = (fast / seen[:, None]).sum(0) / SHAPES.fast.sum()
    n_slow = (slow / seen[:, None]).sum(0) / ops.sum(1)
    score = (a * g * slope[:, bins].T * h / seen[:, None]).sum(0) - (a * g)[:] * slope.sum(1)
    information = (a * g) * (slope**2 / ops).sum(1)
    total = n_fast + n_slow
    step = np.clip(score / np.maximum(information, 1e-30), -0.3, 0.3)
    low, high = SHAPES.log_tau[[0, -1]]

    assert_allclose(to_image(after.counts, data.grid).reshape(-1), total, rtol=2e-4, atol=1e-6)
    held = total > 1e-3
    assert_allclose(
        to_image(after.share, data.grid).reshape(-1)[held],
        np.clip(n_slow / np.maximum(total, 1e-30), 1e-3, 1 - 1e-3)[held],
        rtol=1e-3,
    )
    assert_allclose(
        to_image(after.log_tau, data.grid).reshape(-1)[held],
        np.clip(log_tau + step, low, high)[held],
        atol=2e-3,
    )


@pytest.mark.parametrize("activity", ["pairs", "triplets"])
def test_the_likelihood_rises_with_every_pass(activity):
    data = image_data(np.random.default_rng(2), n=4000, n_random=4000)

    found = maximise_components(
        data, options=ReconOptions(iterations=12, activity=activity), penalised=False
    )

    assert np.all(np.diff(found.trace) > -1e-3 * np.ptp(found.trace))


def test_true_triplets_are_those_that_randoms_leave():
    data = image_data(np.random.default_rng(3))
    options = ReconOptions(iterations=20, activity="triplets", smooth_tau=20, smooth_intensity=100)

    found = maximise_components(data, options=options, penalised=True)

    # Poisson errors of events and of the randoms' share among them.
    assert_allclose(found.counts.sum(), 20_000, atol=4 * np.sqrt(30_000 + 10_000))


def test_a_level_of_randoms_that_nobody_measured_is_found():
    data = image_data(np.random.default_rng(4), known=False)

    found = maximise_components(data, options=ReconOptions(iterations=40), penalised=True)

    assert_allclose(found.random_scale, 2.0, atol=4 * 2.0 * np.sqrt(2.0 / 10_000))


def test_lifetime_and_intensity_of_a_uniform_object_are_recovered():
    data = image_data(np.random.default_rng(5), n=60_000, n_random=30_000)

    made = reconstruct_components(data, options=ReconOptions(iterations=30), penalised=True)

    inside = np.all(np.abs(data.grid.centres_mm()) < 35.0, axis=1)
    tau = made.maps.image("tau_ops").reshape(-1)[inside]
    share = made.maps.image("intensity_ops").reshape(-1)[inside]
    # One fit of all events would have an error of some 4 tau / sqrt(N).
    assert_allclose(np.mean(tau), 2.0, atol=4 * 4 * 2.0 / np.sqrt(90_000))
    assert_allclose(np.mean(share), SHARE_OPS, atol=4 * 0.005)


def test_an_edge_of_lifetime_is_kept_and_a_guide_keeps_it_better():
    def tau(point):
        return np.where(point[:, 0] < 0.0, 1.6, 2.6)

    data = image_data(np.random.default_rng(6), n=200_000, n_random=50_000, tau=tau)
    guide = (data.grid.centres_mm()[:, 0] < 0).astype(np.float32).reshape(data.grid.shape)
    options = ReconOptions(iterations=30, smooth_tau=5.0, edge_tau=0.05, guide_scale=0.05)

    def contrast(made):
        tau = made.maps.image("tau_ops")
        return np.nanmean(tau[10:12, 4:-4, 4:-4]) - np.nanmean(tau[8:10, 4:-4, 4:-4])

    plain = contrast(reconstruct_components(data, options=options, penalised=True))
    guided = contrast(reconstruct_components(data, options=options, penalised=True, guide=guide))

    assert 0.2 < plain < guided
    assert guided > 0.8


def test_events_of_weight_two_are_two_events():
    data = image_data(np.random.default_rng(7), n=500, n_random=200)
    twice = dataclasses.replace(data, unrelated=2 * data.unrelated)
    options = ReconOptions(iterations=5, smooth_tau=0.0, smooth_intensity=0.0)

    one = maximise_components(data, options=options, penalised=False)
    two = maximise_components(
        twice, options=options, penalised=False,
        weights=np.full(len(data.triplets), 2.0, np.float32),
    )  # fmt: skip

    assert_allclose(two.counts, 2 * one.counts, rtol=1e-4)
    assert_allclose(two.log_tau, one.log_tau, atol=1e-4)


@pytest.mark.parametrize("penalised", [False, True])
def test_one_event_and_no_lifetime(penalised):
    data = image_data(np.random.default_rng(8), n=1, n_random=0)

    made = reconstruct_components(data, options=ReconOptions(), penalised=penalised)

    assert np.isnan(made.maps.image("tau_ops")).all()
    assert not np.any(made.maps.status == 0)


def test_errors_are_the_spread_of_repeated_measurements():
    options = ReconOptions(iterations=40, smooth_tau=2.0)
    rng = np.random.default_rng(9)
    made = [
        reconstruct_components(
            image_data(rng, n=20_000, n_random=10_000), options=options, penalised=True
        ).maps
        for _ in range(24)
    ]

    inside = np.all(np.abs(made[0].grid.centres_mm()) < 25.0, axis=1)
    for name in ("tau_ops", "intensity_ops"):
        values = np.stack([m.image(name).reshape(-1)[inside] for m in made])
        errors = np.stack([m.error_image(name).reshape(-1)[inside] for m in made])
        spread = np.sqrt(values.var(axis=0, ddof=1).mean())
        # Neighbours move together, in the worst case all voxels: three errors of one variance.
        assert_allclose(spread, np.sqrt(np.mean(errors**2)), rtol=3 / np.sqrt(2 * 23))


def test_errors_without_a_penalty_follow_the_number_of_passes():
    data = image_data(np.random.default_rng(10), n=20_000)
    zero = np.zeros(0, np.float32)

    def error(passes):
        options = ReconOptions(iterations=passes)
        found = maximise_components(data, options=options, penalised=False)
        variance, _ = component_variances(
            data, options=options, counts=found.counts, share=found.share,
            log_tau=np.full_like(found.log_tau, np.log(2.0)), random_scale=1.0, penalised=False,
            used=found.used, guide=zero,
        )  # fmt: skip
        return np.sqrt(np.median(variance[found.used]))

    assert error(1) < error(5) < error(40)


@pytest.mark.kernel
def test_the_penalty_is_minimised():
    from scipy.optimize import minimize

    rng = np.random.default_rng(11)
    n, edge = 5, 0.3
    strength = np.array([1.0, 2.0, 0.5])
    used = np.zeros((n, n, n), bool)
    used[1:-1, 1:-1, 1:-1] = True
    used[2, 2, 2] = False
    wanted = rng.normal(size=(n, n, n)).astype(np.float32)
    information = rng.uniform(0.0, 3.0, (n, n, n)).astype(np.float32)
    guide = rng.normal(size=(n, n, n)).astype(np.float32)

    def objective(x):
        full = np.zeros((n, n, n))
        full[used] = x
        total = np.sum(0.5 * information[used] * (x - wanted[used]) ** 2)
        # Axis 2 of the array is x.
        for axis, s in zip((2, 1, 0), strength, strict=True):
            a, b = np.take(full, range(n - 1), axis), np.take(full, range(1, n), axis)
            both = np.take(used, range(n - 1), axis) & np.take(used, range(1, n), axis)
            e = np.diff(guide, axis=axis) / 0.7
            phi = edge**2 * (np.sqrt(1.0 + ((a - b) / edge) ** 2) - 1.0) / (1.0 + e * e)
            total += s * phi[both].sum()
        return total

    best = minimize(objective, wanted[used].astype(float), method="BFGS", options={"gtol": 1e-7})
    out = wanted.reshape(-1).copy()
    _components.smooth(
        wanted.reshape(-1), information.reshape(-1), used.reshape(-1), np.array([n, n, n]),
        strength, np.full(3, edge), guide.reshape(-1), 0.7, -9.0, 9.0, 300, out,
    )  # fmt: skip

    assert_allclose(out.reshape(n, n, n)[used], best.x, atol=2e-4)


def test_with_fixed_intensities_the_lifetime_alone_is_found():
    data = image_data(np.random.default_rng(13), n=60_000, n_random=30_000)
    fixed = LifetimeModel(
        response=Response(mu_ns=0.0, sigma_ns=SIGMA_NS), intensities="fixed",
    )  # fmt: skip
    shapes = make_shapes(np.linspace(-5.0, 15.0, 201), model=fixed)
    data = dataclasses.replace(data, shapes=shapes)

    made = reconstruct_components(data, options=ReconOptions(iterations=30), penalised=True).maps

    inside = np.all(np.abs(data.grid.centres_mm()) < 35.0, axis=1)
    assert_allclose(made.image("intensity_ops").reshape(-1)[inside], 0.3, rtol=1e-5)
    assert_allclose(
        made.image("tau_ops").reshape(-1)[inside].mean(), 2.0, atol=4 * 4 * 2.0 / np.sqrt(90_000)
    )
    assert np.isfinite(made.error_image("tau_ops").reshape(-1)[inside]).all()


def test_intensities_are_of_the_sample_beside_a_source():
    source = Component(name="foil", tau_ns=0.388, intensity=0.2, source=True)
    model = LifetimeModel(
        components=(*standard_components(), source),
        response=Response(mu_ns=0.0, sigma_ns=SIGMA_NS),
    )

    shapes = make_shapes(np.linspace(-5.0, 15.0, 201), model=model)

    # Of all positrons 0.8 are of the sample; a share of one of the o-Ps group, o-Ps and its third
    # of p-Ps, is three quarters of o-Ps among them, and the foil's positrons come along.
    assert_allclose(shapes.intensity_weight, shapes.ops_weight / 0.8)


def test_subsets_that_are_too_small_are_refused():
    data = image_data(np.random.default_rng(14), n=5_000, n_random=1_000)

    with pytest.raises(SettingsError, match=r"recon\.subsets = 4 leaves 1500 triplets in each"):
        maximise_components(data, options=ReconOptions(subsets=4), penalised=False)


def test_an_edge_costs_the_same_on_any_grid():
    costs = []
    for h in (2.0, 4.0, 8.0):
        edge = edges_of(0.1, (h, h, h))[0]
        costs.append(h * edge**2 * (np.sqrt(1 + (2.0 / edge) ** 2) - 1) / h**2)

    assert_allclose(costs, costs[1], rtol=0.15)


def test_what_a_resolution_blurs_away_is_left_to_the_penalty():
    data = image_data(np.random.default_rng(15), n=20_000)

    def error(resolution_mm):
        options = ReconOptions(resolution_mm=resolution_mm, smooth_tau=1.0)
        found = maximise_components(
            data, options=dataclasses.replace(options, iterations=3), penalised=True
        )
        variance, _ = component_variances(
            data, options=options, counts=found.counts, share=np.full_like(found.share, 0.4),
            log_tau=np.full_like(found.log_tau, np.log(2.0)), random_scale=1.0, penalised=True,
            used=found.used, guide=np.zeros(0, np.float32),
        )  # fmt: skip
        return np.sqrt(np.median(variance[found.used]))

    # The penalty takes over the frequencies that are blurred away: less noise, and less contrast.
    assert error(20.0) < 0.95 * error(0.0)
