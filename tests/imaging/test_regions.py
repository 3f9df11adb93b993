from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import Box, Cylinder, DataError, FitStatus, SettingsError, Sphere, VoxelGrid
from psimg.imaging.list_mode import sort_events
from psimg.imaging.region_images import draw_regions, outside_regions, project_region
from psimg.imaging.region_likelihood import (
    build_mixture,
    coefficients,
    derivatives,
    log_likelihood,
    members,
)
from psimg.imaging.regions import reconstruct_regions
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ImageData, ReconOptions
from psimg.lifetime import LifetimeModel

GRID = VoxelGrid.centred(shape=(24, 24, 16), voxel_mm=(5.0, 5.0, 5.0))
SIGMA_MM = 15.0
MODEL = LifetimeModel().with_response(0.0, 0.1)
SHAPES = make_shapes(np.linspace(-5.0, 15.0, 201), model=MODEL)
BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=40.0, half_length_mm=25.0)
LEFT = Sphere(name="left", centre_mm=(-18.0, 0.0, 0.0), radius_mm=10.0)
RIGHT = Sphere(name="right", centre_mm=(18.0, 3.0, 0.0), radius_mm=14.0)
REGIONS = (BODY, LEFT, RIGHT)
TAU_NS = np.array([2.0, 3.0, 1.5])
SHARE = 0.4
"""Of the o-Ps group."""
N_TRUE = np.array([12000, 2500, 5000])
N_RANDOM = np.array([4000, 800, 1700])
OPTIONS = ReconOptions(method="regions")


def points_in(region, n, rng, *, without=()):
    low, high = region.bounds_mm
    found = np.empty((0, 3))
    while len(found) < n:
        point = rng.uniform(low, high, size=(2 * n + 10, 3))
        keep = region.contains(point)
        for other in without:
            keep &= ~other.contains(point)
        found = np.concatenate([found, point[keep]])
    return found[:n]


def make_data(rng, n_true=N_TRUE, n_random=N_RANDOM, *, level_known=True):
    """Draw events of uniform regions, blurred along random lines, and pairs of the same."""
    points, bins, pairs = [], [], []
    for r, region in enumerate(REGIONS):
        others = REGIONS[1:] if r == 0 else ()
        ops = SHAPES.ops_at(TAU_NS[r : r + 1])[0][0]
        for n, shape in (
            (rng.poisson(n_true[r]), (1 - SHARE) * SHAPES.fast + SHARE * ops),
            (rng.poisson(n_random[r]), SHAPES.unrelated),
        ):
            shape = np.append(shape, max(1.0 - shape.sum(), 0.0))
            points.append(points_in(region, n, rng, without=others))
            bins.append(rng.choice(len(shape), size=n, p=shape / shape.sum()))
        pairs.append(points_in(region, 4 * n_random[r], rng, without=others))
    point, time_bin = np.concatenate(points), np.concatenate(bins)
    order = rng.permutation(len(point))
    triplets = sort(point[order], rng, time_bin=time_bin[order], n_bin=SHAPES.n_bin)
    activity = np.zeros(GRID.shape, np.float32)
    activity[6:18, 6:18, 4:12] = 1.0
    inside = 1.0 - outside_regions(draw_regions(REGIONS, GRID, resolution_mm=0.0), GRID)
    data = ImageData(
        triplets=triplets,
        dt_ns=np.zeros(len(triplets)),
        shapes=SHAPES,
        activity=inside,
        unrelated=inside * (np.sum(n_random) / inside.sum()),
        class_2=np.zeros(GRID.shape),
        level_known=level_known,
    )
    return data, sort(np.concatenate(pairs), rng)


def sort(point, rng, **bins):
    direction = rng.normal(size=point.shape)
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    # Lines of a scanner are not along its axis.
    direction[:, 2] *= 0.3
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    shift = rng.normal(0.0, SIGMA_MM, size=(len(point), 1))
    return sort_events(point + shift * direction, direction, grid=GRID, sigma_mm=SIGMA_MM, **bins)


def small_mixture(rng, n=60):
    share = rng.random((3, n)).astype(np.float32) * (rng.random((3, n)) < 0.7)
    share = share.astype(np.float32)
    stops = np.sort(rng.integers(0, n, size=SHAPES.n_bin - 1))
    edges = np.concatenate([[0], stops, [n]])
    spans = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    base = (0.02 * rng.random(n)).astype(np.float32)
    weight = rng.random(n).astype(np.float32)
    mixture = build_mixture(list(share), base, spans=spans, shapes=SHAPES, weight=weight)
    time_bin = np.repeat(np.arange(SHAPES.n_bin), np.diff(edges))
    x = np.concatenate(
        [[20.0, 5.0, 9.0], [4.0, 2.0, 8.0], [0.4, 0.3, 0.6], np.log([2.0, 3.1, 1.5])]
    )
    return mixture, share, base, weight, time_bin, x


@pytest.mark.kernel
def test_likelihood_is_that_of_a_sum_over_events():
    mixture, share, base, weight, time_bin, x = small_mixture(np.random.default_rng(1))
    a, n, g, log_tau = x.reshape(4, 3)

    value = log_likelihood(mixture, x)

    expected = 0.0
    for i, t in enumerate(time_bin):
        density = float(base[i])
        for r in range(3):
            ops = SHAPES.ops_at(np.exp(log_tau[r : r + 1]))[0][0, t]
            signal = (1 - g[r]) * SHAPES.fast[t] + g[r] * ops
            density += share[r, i] * (a[r] * signal + n[r] * SHAPES.unrelated[t])
        expected += weight[i] * np.log(density)
    expected -= coefficients(mixture, x).sum()
    assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.kernel
def test_derivatives_are_those_of_differences():
    mixture, _, _, _, _, x = small_mixture(np.random.default_rng(2))
    step = 1e-4 * np.maximum(np.abs(x), 0.1)

    value, gradient, information, outer = derivatives(mixture, x)

    assert_allclose(value, log_likelihood(mixture, x), rtol=1e-12)
    for p, h in enumerate(step):
        up, down = x.copy(), x.copy()
        up[p] += h
        down[p] -= h
        slope = (log_likelihood(mixture, up) - log_likelihood(mixture, down)) / (2 * h)
        assert_allclose(gradient[p], slope, rtol=1e-5, atol=1e-6)
        row = (derivatives(mixture, up)[1] - derivatives(mixture, down)[1]) / (2 * h)
        # The second derivative of the o-Ps shape is a difference over a wider step.
        assert_allclose(-information[p], row, rtol=2e-3, atol=1e-3 * np.abs(row).max())
    assert np.linalg.eigvalsh(outer).min() > -1e-9 * np.abs(outer).max()


@pytest.mark.kernel
def test_members_are_the_weights_of_events_that_regions_reach():
    mixture, share, _, weight, _, x = small_mixture(np.random.default_rng(3))

    found, noise = members(mixture, x)

    assert_allclose(found.sum(), weight[share.sum(axis=0) > 0].sum(), rtol=1e-6)
    assert np.all((noise > 0) & (noise < found))


def test_regions_share_space_by_size():
    body, left, right = draw_regions(REGIONS, GRID, resolution_mm=0.0)

    ball = 4.0 / 3.0 * np.pi
    assert_allclose(left.volume_mm3, ball * LEFT.radius_mm**3, rtol=0.01)
    assert_allclose(right.volume_mm3, ball * RIGHT.radius_mm**3, rtol=0.01)
    whole = np.pi * BODY.radius_mm**2 * 2.0 * BODY.half_length_mm
    assert_allclose(body.volume_mm3, whole - left.volume_mm3 - right.volume_mm3, rtol=0.003)
    outside = outside_regions([body, left, right], GRID)
    assert_allclose((1.0 - outside).sum() * 125.0, whole, rtol=0.003)


def test_a_region_of_the_grid_is_projected_as_the_same_image():
    from psimg.imaging.projector import Projector, to_field

    box = Box(name="box", centre_mm=(5.0, -5.0, 0.0), half_length_mm=(20.0, 15.0, 10.0))
    rng = np.random.default_rng(4)
    events = sort(points_in(box, 500, rng), rng)
    (drawn,) = draw_regions([box], GRID, resolution_mm=0.0)
    image = (1.0 - outside_regions([drawn], GRID)) / 48.0 / 2.0

    finer = project_region(drawn, events, resolution_mm=0.0)

    coarse = Projector(events).project(to_field(image / image.sum(), GRID))
    # The interpolation rounds edges by half a voxel, and those of finer voxels less.
    assert_allclose(finer.sum(), coarse.sum(), rtol=0.05)
    assert np.corrcoef(finer, coarse)[0, 1] > 0.97


@pytest.fixture(scope="module")
def toy():
    return make_data(np.random.default_rng(11))


def test_weights_of_two_are_twice_the_events():
    pure, _ = make_data(np.random.default_rng(12), n_random=np.zeros_like(N_RANDOM))

    one = reconstruct_regions(pure, regions=REGIONS, options=OPTIONS)
    two = reconstruct_regions(
        pure, regions=REGIONS, options=OPTIONS, weights=np.full(len(pure.triplets), 2.0, np.float32)
    )

    assert_allclose(two.tau_ops_ns, one.tau_ops_ns, rtol=1e-4)
    assert_allclose(two.n_triplets, 2.0 * one.n_triplets, rtol=1e-4)
    assert_allclose(two.tau_ops_errors_ns, one.tau_ops_errors_ns / np.sqrt(2.0), rtol=1e-3)


def test_the_order_of_regions_does_not_matter(toy):
    data, pairs = toy

    forth = reconstruct_regions(replace(data, pairs=pairs), regions=REGIONS, options=OPTIONS)
    back = reconstruct_regions(replace(data, pairs=pairs), regions=REGIONS[::-1], options=OPTIONS)

    assert_allclose(back.tau_ops_ns[::-1], forth.tau_ops_ns, rtol=1e-4)
    assert_allclose(back.background[::-1], forth.background, rtol=1e-3)


def test_pulls_of_lifetimes_are_standard_with_pairs_and_without():
    pulls = {True: [], False: []}
    for seed in range(20):
        data, pairs = make_data(np.random.default_rng(100 + seed))
        for known in (True, False)[: 1 + seed % 2]:
            found = reconstruct_regions(
                replace(data, pairs=pairs if known else None), regions=REGIONS, options=OPTIONS
            )
            assert np.all(found.status == FitStatus.OK)
            pulls[known].append((np.log(found.tau_ops_ns / TAU_NS))
                                / (found.tau_ops_errors_ns / found.tau_ops_ns))  # fmt: skip

    for pull in pulls.values():
        n = len(pull)
        assert_allclose(np.mean(pull, axis=0), 0.0, atol=4 / np.sqrt(n))
        assert_allclose(np.std(pull, axis=0), 1.0, atol=4 / np.sqrt(2 * n))


def test_numbers_of_a_region_are_those_of_the_truth(toy):
    data, pairs = toy

    found = reconstruct_regions(replace(data, pairs=pairs), regions=REGIONS, options=OPTIONS)

    assert np.all(np.abs(found.n_triplets - N_TRUE) < 4 * found.n_triplets_errors + 0.02 * N_TRUE)
    share = SHARE * SHAPES.ops_weight
    assert np.all(np.abs(found.intensity_ops - share) < 4 * found.intensity_ops_errors)
    assert_allclose(found.background, N_RANDOM / (N_TRUE + N_RANDOM), atol=0.03)
    assert_allclose(np.sqrt(np.diag(found.covariance)[2::3]), found.tau_ops_errors_ns)
    assert np.all(np.diff(found.trace) >= 0)


def test_maps_give_each_voxel_its_regions_numbers(toy):
    data, pairs = toy
    found = reconstruct_regions(replace(data, pairs=pairs), regions=REGIONS, options=OPTIONS)

    maps = found.maps(GRID)

    tau = maps.image("tau_ops").reshape(-1)
    centres = GRID.centres_mm()
    assert_allclose(tau[LEFT.contains(centres)], found.tau_ops_ns[1])
    assert_allclose(tau[RIGHT.contains(centres)], found.tau_ops_ns[2])
    assert not np.isfinite(tau[~BODY.contains(centres)]).any()
    assert_allclose(np.nansum(maps.image("signal")), found.n_triplets.sum(), rtol=0.05)


def test_a_region_without_events_has_a_status():
    data, pairs = make_data(np.random.default_rng(12))
    far = Sphere(name="far", centre_mm=(0.0, 0.0, 33.0), radius_mm=4.0)

    found = reconstruct_regions(
        replace(data, pairs=pairs), regions=(*REGIONS, far), options=OPTIONS
    )

    assert found.status.tolist() == [FitStatus.OK] * 3 + [FitStatus.TOO_FEW_COUNTS]
    assert np.isnan(found.tau_ops_ns[3])
    assert found.n_triplets[3] < OPTIONS.min_counts


def test_bad_regions_are_errors(toy):
    data, pairs = toy
    away = Sphere(name="away", centre_mm=(500.0, 0.0, 0.0), radius_mm=10.0)
    same = replace(LEFT, name="same")

    with pytest.raises(SettingsError, match="region 'away' lies outside the grid"):
        reconstruct_regions(data, regions=(away,), options=OPTIONS)
    with pytest.raises(SettingsError, match="nothing is left of region 'same'"):
        reconstruct_regions(data, regions=(LEFT, same), options=OPTIONS)
    with pytest.raises(SettingsError, match="no region"):
        reconstruct_regions(data, regions=(), options=OPTIONS)
    with pytest.raises(DataError, match="weights of shape"):
        reconstruct_regions(data, regions=REGIONS, options=OPTIONS, weights=np.ones(3, np.float32))
    other = replace(GRID, origin_mm=(0.0, 0.0, 0.0))
    with pytest.raises(DataError, match="pairs are on another grid"):
        replace(data, pairs=replace(pairs, grid=other))


def test_an_event_that_nothing_explains_does_not_break_the_fit(toy):
    data, _ = toy
    pure = replace(data, unrelated=np.zeros(GRID.shape))

    # Randoms before the peak, and none in the model.
    found = reconstruct_regions(pure, regions=REGIONS, options=OPTIONS)

    assert np.isfinite(found.n_triplets).all()


def test_randoms_outside_all_regions_are_not_put_inside():
    rng = np.random.default_rng(31)
    data, pairs = make_data(rng)
    # Many random pairs, everywhere, with their share of random triplets; activity only inside.
    n_far, n_pairs = 3 * len(pairs), len(pairs)
    n_extra = round(n_far * float(data.unrelated.sum()) / n_pairs)
    half = 0.5 * (GRID.high_mm - GRID.low_mm)
    everywhere = GRID.low_mm + 2.0 * half * rng.random((n_far + n_extra, 3))
    with_far = merged(pairs, sort(everywhere[:n_far], rng))
    bins = rng.choice(SHAPES.n_bin, size=n_extra, p=SHAPES.unrelated)
    with_extra = merged(
        data.triplets, sort(everywhere[n_far:], rng, time_bin=bins, n_bin=SHAPES.n_bin)
    )
    flat = np.full(GRID.shape, n_extra / GRID.n_voxel)
    # Activity from a file: none outside the regions, where only randoms lie.
    outside = outside_regions(draw_regions(REGIONS, GRID, resolution_mm=0.0), GRID)
    extra = replace(
        data,
        activity=np.where(outside > 0, 0.0, data.activity),
        triplets=with_extra,
        dt_ns=np.zeros(len(with_extra)),
        unrelated=data.unrelated + flat,
        pairs=with_far,
    )

    found = reconstruct_regions(extra, regions=REGIONS, options=OPTIONS)

    pull = np.log(found.tau_ops_ns / TAU_NS) / (found.tau_ops_errors_ns / found.tau_ops_ns)
    assert np.all(np.abs(pull) < 4.0)
    # The counts that were drawn vary as Poisson numbers.
    spread = np.hypot(found.n_triplets_errors, np.sqrt(N_TRUE))
    assert np.all(np.abs(found.n_triplets - N_TRUE) < 4.0 * spread)


def merged(one, other):
    """Return the list mode of both, from the points and directions that they came from."""
    parts, size = [], np.array(GRID.voxel_mm)
    for events in (one, other):
        direction = np.empty((len(events), 3))
        bins = np.empty(len(events), np.int64)
        for t, blocks in enumerate(events.starts):
            for axes in blocks:
                for axis, (start, stop) in enumerate(axes):
                    others = [k for k in range(3) if k != axis]
                    direction[start:stop, axis] = 1.0
                    direction[start:stop, others] = events.slope[start:stop]
                    bins[start:stop] = t
        direction *= size
        direction /= np.linalg.norm(direction, axis=1)[:, None]
        position = np.array(GRID.origin_mm) + (events.point - 1.0) * size
        parts.append((position, direction, bins))
    position, direction, bins = (np.concatenate(x) for x in zip(*parts, strict=True))
    return sort_events(
        position, direction, grid=GRID, sigma_mm=SIGMA_MM, time_bin=bins, n_bin=one.n_bin
    )
