import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import DecayPath, DecayScheme, find_nuclide
from psimg.core.regions import Box, Cylinder, Sphere
from psimg.simulate import (
    Acquisition,
    Channel,
    Detector,
    LineSource,
    Phantom,
    PhantomRegion,
    Physics,
    VoxelPhantom,
    find_material,
    ps_channels,
)
from psimg.simulate._decays import (
    ANNIHILATION_X,
    CHANNEL,
    DECAY_TIME,
    EMISSION_X,
    LIFE,
    NO_POSITRON,
    SCATTER_1,
    SCATTER_PROMPT,
    WHERE,
    life_of,
    picked,
)
from psimg.simulate._photons import ELECTRON_KEV
from psimg.simulate._random import state_of
from psimg.simulate._readout import HIT_DECAY, HIT_ENERGY, HIT_TIME
from psimg.simulate.physics import positron_spectrum, slowing_down_ns

# Nearly all of the sphere, in one block, without errors: it sees a decay's energy as a whole.
ALL_ABSORBING = Detector(
    inner_radius_mm=1.0, thickness_mm=2000.0, length_mm=8000.0, crystals_around=1, crt_ns=1e-9,
    energy_fwhm=0.0, threshold_kev=0.0, trigger_kev=0.0, integration_ns=100.0,
)  # fmt: skip
SMALL = Detector(
    inner_radius_mm=500.0, thickness_mm=1.0, length_mm=1.0, crystals_around=8, crt_ns=0.2,
    energy_fwhm=0.1,
)  # fmt: skip
PLAIN = Physics(
    attenuation=False, positron_range=False, in_flight=False, acollinearity_fwhm_deg=0.0,
    lutetium=False, pile_up=False,
)  # fmt: skip
FAST = (Channel(name="fast", tau_ns=0.4, share=0.7), Channel(name="slow", tau_ns=3.0, share=0.3))
ONE = (Channel(name="one", tau_ns=1.5, share=1.0),)


def ball(name, x, radius_mm, **keys):
    sphere = Sphere(name=name, centre_mm=(x, 0.0, 0.0), radius_mm=radius_mm)
    return PhantomRegion(name=name, shapes=(sphere,), **keys)


def acquisition(phantom, isotope, **keys):
    keys = {"detector": SMALL, "duration_s": 1.0, "physics": PLAIN} | keys
    return Acquisition(phantom=phantom, isotope=isotope, **keys)


def assert_shares(counts, shares):
    assert len(counts) == len(shares)
    if len(counts) > 1:
        assert stats.chisquare(counts, np.sum(counts) * np.asarray(shares)).pvalue > 0.01


@pytest.fixture
def truth_of(set_up, run_block):
    def truth_of(phantom, isotope, n, seed, **keys):
        return run_block(set_up(acquisition(phantom, isotope, **keys)), n, seed)[1]

    return truth_of


POINT = Phantom(
    regions=(ball("b", 0.0, 0.9, channels=ONE),),
    lines=(LineSource(name="p", start_mm=(0, 0, 0), end_mm=(0, 0, 0), activity_mbq=1.0),),
)


def test_decays_are_a_poisson_process(truth_of, emitter):
    n = 100_000
    time = truth_of(POINT, emitter(positron_kev=500.0), n, 110)[:, DECAY_TIME]

    assert np.all(np.diff(time) > 0)
    assert len(time) == pytest.approx(n, abs=4 * math.sqrt(n))
    # 1 MBq: a microsecond in the mean.
    assert stats.kstest(np.diff(time), stats.expon(scale=1000.0).cdf).pvalue > 0.01
    slices = np.histogram(time, np.linspace(0.0, 0.99e8, 2001))[0]
    dispersion = slices.var(ddof=1) / slices.mean()
    assert abs(dispersion - 1) < 4 * math.sqrt(2 / 2000)
    # The number in a slice says nothing of the next.
    assert abs(np.corrcoef(slices[1:], slices[:-1])[0, 1]) < 4 / math.sqrt(2000)


def test_the_number_of_decays_varies_as_poisson_from_scan_to_scan(run_block, set_up, emitter):
    setup = set_up(acquisition(POINT, emitter(positron_kev=500.0)))
    number = np.array([len(run_block(setup, 50.0, seed)[1]) for seed in range(400)])

    assert number.mean() == pytest.approx(50, abs=4 * math.sqrt(50 / 400))
    assert abs(number.var() / 50 - 1) < 4 * math.sqrt(2 / 400)


def test_a_short_lived_isotope_decays_by_its_half_life(simulated):
    rb82 = find_nuclide("Rb-82")
    scan = acquisition(POINT, rb82, duration_s=3 * rb82.half_life_s, activity_mbq=7e-4)

    decays = simulated(scan, 111)

    time = decays.decay_time_ns * 1e-9
    expected = 700 * rb82.half_life_s / math.log(2) * (1 - 1 / 8)
    assert len(time) == pytest.approx(expected, abs=4 * math.sqrt(expected))
    assert time.max() < 3 * rb82.half_life_s
    edges = np.linspace(0.0, 3.0, 31)
    counts = np.histogram(time / rb82.half_life_s, edges)[0]
    assert_shares(counts, -np.diff(2.0**-edges) / (1 - 1 / 8))


def test_a_long_lived_isotope_decays_evenly(simulated):
    decays = simulated(acquisition(POINT, find_nuclide("Na-22"), duration_s=0.05), 112)

    counts = np.histogram(decays.decay_time_ns, np.linspace(0.0, 0.05e9, 21))[0]
    assert_shares(counts, np.full(20, 1 / 20))
    assert counts.sum() == len(decays.decay_time_ns)


@pytest.mark.kernel
def test_an_index_is_picked_by_its_share():
    shares = np.array([0.1, 0.0, 0.25, 0.6, 0.05, 0.0])
    cumulative = np.cumsum(shares)
    cumulative[-2:] = 1.0
    own = state_of(np.random.SeedSequence(113))

    counts = np.bincount([picked(own, cumulative) for _ in range(5000)], minlength=6)

    assert counts[1] == counts[5] == 0
    assert_shares(counts[shares > 0], shares[shares > 0])
    assert picked(own, np.ones(1)) == 0


def test_regions_have_their_channels_lifetimes_and_activities(truth_of, emitter):
    four = tuple(
        Channel(name=str(k), tau_ns=tau, share=share)
        for k, (tau, share) in enumerate([(0.125, 0.1), (0.388, 0.55), (2.0, 0.3), (90.0, 0.05)])
    )
    regions = (
        ball("a", -50.0, 20.0, channels=FAST, activity_mbq=1.0),
        ball("b", 0.0, 10.0, channels=ONE, activity_mbq=3.0),
        ball("cold", 30.0, 10.0),
        ball("c", 60.0, 15.0, channels=four, activity_kbq_ml=100.0),
    )
    truth = truth_of(Phantom(regions=regions), emitter(positron_kev=500.0), 60_000, 114)

    activity = np.array([1.0, 3.0, 0.0, 0.1 * 4e-3 / 3 * math.pi * 15**3])
    where = truth[:, WHERE].astype(int)
    counts = np.bincount(where, minlength=4)
    assert counts[2] == 0
    assert_shares(counts[activity > 0], activity[activity > 0] / activity.sum())
    for region in (0, 1, 3):
        channel = truth[where == region, CHANNEL].astype(int)
        life = truth[where == region, LIFE]
        assert_shares(np.bincount(channel), [c.share for c in regions[region].channels])
        for k, one in enumerate(regions[region].channels):
            assert stats.kstest(life[channel == k], stats.expon(scale=one.tau_ns).cdf)[1] > 0.01


def voxels(**keys):
    grid = VoxelGrid.centred(
        shape=(3, 2, 2), voxel_mm=(10.0, 14.0, 8.0), centre_mm=(4.0, -3.0, 2.0)
    )
    activity = np.array([0, 1, 2, 3, 4, 5, 0, 1, 1, 2, 2, 3.0])
    return VoxelPhantom(name="v", grid=grid, activity=activity, activity_mbq=1.0, **keys)


def test_voxels_decay_by_their_activity_at_uniform_points(truth_of, emitter):
    phantom = Phantom(voxels=voxels())
    grid = phantom.voxels.grid

    truth = truth_of(phantom, emitter(positron_kev=500.0), 40_000, 115)

    point = truth[:, EMISSION_X : EMISSION_X + 3]
    voxel = grid.voxel_of(point)
    active = phantom.voxels.activity > 0
    counts = np.bincount(voxel, minlength=12)
    assert not counts[~active].any()
    assert_shares(counts[active], phantom.voxels.activity[active] / phantom.voxels.activity.sum())
    for k in range(3):
        place = (point[:, k] - grid.low_mm[k]) / grid.voxel_mm[k] % 1.0
        assert stats.kstest(place, "uniform").pvalue > 0.01


def test_maps_give_each_voxel_its_lifetime_and_share(truth_of, emitter):
    tau = np.linspace(1.0, 4.0, 12)
    share = np.linspace(0.05, 0.75, 12)
    phantom = Phantom(voxels=voxels(tau_ops_ns=tau, share_ops=share))

    truth = truth_of(phantom, emitter(positron_kev=500.0), 60_000, 116)

    voxel = phantom.voxels.grid.voxel_of(truth[:, EMISSION_X : EMISSION_X + 3])
    for v in (1, 5, 7, 11):
        channel = truth[voxel == v, CHANNEL].astype(int)
        life = truth[voxel == v, LIFE]
        # A third of o-Ps as p-Ps, as the default channels have it, as long as there is room.
        pps = min(share[v] / 3, 1 - share[v])
        direct = max(0.0, 1 - share[v] - pps)
        counts = np.bincount(channel, minlength=3)
        expected = np.array([pps, direct, share[v]])
        assert not counts[expected == 0].any()
        assert_shares(counts[expected > 0], expected[expected > 0] / expected.sum())
        for k, mean in enumerate((0.125, 0.388, tau[v])):
            if counts[k]:
                assert stats.kstest(life[channel == k], stats.expon(scale=mean).cdf)[1] > 0.01


def test_one_map_leaves_the_rest_to_the_channels(truth_of, emitter):
    channels = ps_channels(2.0, share_ops=0.24, share_pps=0.16)
    for keys, share, tau in [
        ({"tau_ops_ns": np.full(12, 5.0)}, 0.24, 5.0),
        ({"share_ops": np.full(12, 0.6)}, 0.6, 2.0),
    ]:
        phantom = Phantom(voxels=voxels(channels=channels, **keys))
        truth = truth_of(phantom, emitter(positron_kev=500.0), 10_000, 117)

        pps = min(share * 0.16 / 0.24, 1 - share)
        counts = np.bincount(truth[:, CHANNEL].astype(int), minlength=3)
        expected = np.array([pps, max(0.0, 1 - share - pps), share])
        assert_shares(counts[expected > 1e-9], expected[expected > 1e-9])
        ops = truth[truth[:, CHANNEL] == 2, LIFE]
        assert stats.kstest(ops, stats.expon(scale=tau).cdf).pvalue > 0.01


@pytest.mark.kernel
def test_regions_upon_voxels_have_their_own_channels(set_up, emitter):
    maps = voxels(tau_ops_ns=np.full(12, 50.0), share_ops=np.full(12, 0.7))
    phantom = Phantom(voxels=maps, regions=(ball("b", 4.0, 2.0, channels=ONE),))
    setup = set_up(acquisition(phantom, emitter(positron_kev=500.0)))
    own = state_of(np.random.SeedSequence(118))

    lives = [life_of(own, 4.0, 0.0, 0.0, 1, *setup.lifetimes, setup.frame) for _ in range(1000)]

    channel, life = np.array(lives).T
    assert not channel.any()
    assert stats.kstest(life, stats.expon(scale=1.5).cdf).pvalue > 0.01


def test_decays_are_uniform_in_what_later_regions_leave(truth_of, emitter):
    cylinder = Cylinder(name="c", centre_mm=(0.0, 0.0, 0.0), radius_mm=40.0, half_length_mm=30.0)
    body = PhantomRegion(name="body", shapes=(cylinder,), activity_mbq=1.0)
    hole = ball("hole", 20.0, 15.0)
    phantom = Phantom(regions=(body, hole))

    truth = truth_of(phantom, emitter(positron_kev=500.0), 40_000, 119)

    point = truth[:, EMISSION_X : EMISSION_X + 3]
    assert not hole.contains(point).any()
    assert body.contains(point).all()
    assert not truth[:, WHERE].any()
    # Volumes of boxes of a grid by the centres of small boxes, 40 times as many as the points.
    fine = (np.arange(120) + 0.5) / 60 - 1
    mesh = np.stack(np.meshgrid(40 * fine, 40 * fine, 30 * fine), -1)
    mesh = mesh.reshape(-1, 3)
    mesh = mesh[body.contains(mesh) & ~hole.contains(mesh)]
    edges = [np.linspace(-40, 40, 6), np.linspace(-40, 40, 5), np.linspace(-30, 30, 4)]
    volume = np.histogramdd(mesh, edges)[0].ravel()
    counts = np.histogramdd(point, edges)[0].ravel()
    assert_shares(counts, volume / volume.sum())


def test_decays_of_overlapping_shapes_of_one_region_are_uniform(truth_of, emitter):
    left = Box(name="l", centre_mm=(-10.0, 0.0, 0.0), half_length_mm=(20.0, 10.0, 10.0))
    right = Box(name="r", centre_mm=(10.0, 0.0, 0.0), half_length_mm=(20.0, 10.0, 10.0))
    region = PhantomRegion(name="b", shapes=(left, right), activity_mbq=1.0)

    truth = truth_of(Phantom(regions=(region,)), emitter(positron_kev=500.0), 20_000, 120)

    for k, half in enumerate((30.0, 10.0, 10.0)):
        place = truth[:, EMISSION_X + k]
        assert stats.kstest(place, stats.uniform(-half, 2 * half).cdf).pvalue > 0.01


def test_lines_and_points_have_their_share_of_the_decays(truth_of, emitter):
    line = LineSource(name="l", start_mm=(-20, 5, 0), end_mm=(30, 0, 10), activity_mbq=2.0)
    point = LineSource(name="p", start_mm=(1, 2, 3), end_mm=(1, 2, 3), activity_mbq=1.0)
    body = ball("b", 0.0, 60.0, activity_mbq=1.0, channels=ONE)
    truth = truth_of(
        Phantom(regions=(body,), lines=(line, point)), emitter(positron_kev=500.0), 20_000, 121
    )

    place = truth[:, EMISSION_X : EMISSION_X + 3]
    at_point = np.all(place == [1.0, 2.0, 3.0], axis=1)
    start, way = np.array(line.start_mm), np.subtract(line.end_mm, line.start_mm)
    part = (place - start) @ way / (way @ way)
    on_line = np.linalg.norm(place - start - part[:, None] * way, axis=1) < 1e-9
    assert_shares(
        [at_point.sum(), on_line.sum(), np.sum(~at_point & ~on_line)], [1 / 4, 1 / 2, 1 / 4]
    )
    assert stats.kstest(part[on_line], "uniform").pvalue > 0.01
    assert not truth[:, WHERE].any()


@pytest.mark.parametrize("name", ["Sc-44", "Ga-68", "Mn-52", "I-124", "Zr-89"])
def test_gammas_come_with_their_yields(set_up, run_block, name):
    isotope = find_nuclide(name)
    phantom = Phantom(regions=(ball("b", 0.0, 0.9, material="vacuum"),), lines=POINT.lines)
    setup = set_up(acquisition(phantom, isotope, detector=ALL_ABSORBING))

    hits, truth = run_block(setup, 20_000, 122)

    # All of a decay is absorbed at once; what o-Ps delays beyond 100 ns is none.
    energy = np.bincount(hits[:, HIT_DECAY].astype(int), hits[:, HIT_ENERGY], len(truth))
    positron = truth[:, CHANNEL] != NO_POSITRON
    found = Counter()
    for kev, has in zip(energy, positron, strict=True):
        found[bool(has), round(kev - 2 * ELECTRON_KEV * has, 2)] += 1
    expected = Counter()
    for path in isotope.paths:
        has = path.positron_kev is not None
        expected[has, round(sum(path.gammas_kev), 2)] += path.share
    for kev, share in isotope.delayed_gammas:
        expected[False, round(kev, 2)] += share
    total = sum(expected.values())
    common = [key for key in expected if expected[key] / total * len(truth) > 10]
    counts = np.array([found[key] for key in common])
    shares = np.array([expected[key] / total for key in common])
    # A photon or two in a thousand leave by the ends or stop in part.
    assert counts.sum() > 0.99 * shares.sum() * len(truth)
    assert_shares(counts, shares / shares.sum())
    assert positron.mean() == pytest.approx(
        isotope.positron_share / total, abs=4 * math.sqrt(0.25 / len(truth))
    )


def test_a_decay_without_a_positron_has_no_annihilation(truth_of, emitter):
    truth = truth_of(POINT, emitter(1157.0), 1000, 123)

    assert np.all(truth[:, CHANNEL] == NO_POSITRON)
    assert np.isnan(truth[:, LIFE]).all()
    assert np.isnan(truth[:, ANNIHILATION_X : ANNIHILATION_X + 3]).all()
    assert np.all(truth[:, WHERE] == 0)


def test_gammas_wait_for_the_levels_above_them(set_up, run_block, emitter):
    # Three gammas of energies of their own, in blocks of their own time.
    isotope = emitter(300.0, 400.0, 700.0, delays_ns=(0.0, 2000.0, 300.0))
    detector = replace(ALL_ABSORBING, integration_ns=1e-3, threshold_kev=299.0, trigger_kev=299.0)
    detector = replace(detector, integration_ns=40.0)
    phantom = Phantom(regions=(ball("b", 0.0, 0.9, material="vacuum"),), lines=POINT.lines)
    setup = set_up(acquisition(phantom, isotope, detector=detector))

    hits, truth = run_block(setup, 20_000, 124)

    start = truth[hits[:, HIT_DECAY].astype(int), DECAY_TIME]
    wait = hits[:, HIT_TIME] - start
    first = np.abs(hits[:, HIT_ENERGY] - 300.0) < 1e-6
    # A flight of some centimetres in the detector.
    assert wait[first].max() < 5.0
    second = np.abs(hits[:, HIT_ENERGY] - 400.0) < 1e-6
    # Alone in its 40 ns: after them, and the third not within; the third's wait is independent.
    law = stats.expon(loc=40.0, scale=2000.0)
    assert stats.kstest(wait[second][wait[second] > 45.0] - 5.0, law.cdf).pvalue > 0.01
    third = np.abs(hits[:, HIT_ENERGY] - 700.0) < 1e-6
    both = np.intersect1d(hits[second, HIT_DECAY], hits[third, HIT_DECAY])
    t2 = dict(zip(hits[second, HIT_DECAY], hits[second, HIT_TIME], strict=True))
    t3 = dict(zip(hits[third, HIT_DECAY], hits[third, HIT_TIME], strict=True))
    apart = np.array([t3[d] - t2[d] for d in both])
    late = apart[apart > 45.0] - 45.0
    assert len(late) > 1000
    assert stats.kstest(late, stats.expon(scale=300.0).cdf).pvalue > 0.01


def test_gammas_of_isomers_come_at_times_of_their_own(set_up, run_block):
    zr89 = find_nuclide("Zr-89")
    phantom = Phantom(regions=(ball("b", 0.0, 0.9, material="vacuum"),), lines=POINT.lines)
    setup = set_up(acquisition(phantom, zr89, detector=ALL_ABSORBING))

    _, truth = run_block(setup, 40_000, 125)

    (kev, share), *_ = zr89.delayed_gammas
    assert 900 < kev < 920
    positron = truth[:, CHANNEL] != NO_POSITRON
    # The waiting time from a positron to the next event is that of all events.
    after = np.diff(truth[:, DECAY_TIME])[positron[:-1]]
    per_decay = 1 + sum(amount for _, amount in zr89.delayed_gammas)
    assert stats.kstest(after, stats.expon(scale=1000.0 / per_decay).cdf).pvalue > 0.01
    # And whether that is one with a positron does not depend on it.
    table = [[np.sum(positron[1:][positron[:-1] == a] == b) for a in (0, 1)] for b in (0, 1)]
    assert stats.chi2_contingency(table).pvalue > 0.01
    assert share > 0.9


def test_a_scheme_of_several_paths_is_drawn_by_shares(truth_of, emitter):
    paths = (
        DecayPath(0.5, 500.0, (), ()),
        DecayPath(0.3, None, (100.0,), (0.0,)),
        DecayPath(0.2, 1500.0, (200.0, 300.0), (0.0, 0.0)),
    )
    isotope = replace(emitter(), own_scheme=DecayScheme(paths))
    range_only = replace(PLAIN, positron_range=True)
    phantom = Phantom(regions=(ball("b", 0.0, 90.0),), lines=POINT.lines)

    truth = truth_of(phantom, isotope, 20_000, 126, physics=range_only)

    positron = truth[:, CHANNEL] != NO_POSITRON
    assert_shares([positron.sum(), np.sum(~positron)], [0.7, 0.3])
    # Of the two end points the higher goes farther: 2 of 7 positrons.
    away = truth[positron, ANNIHILATION_X : ANNIHILATION_X + 3]
    way2 = np.sum(away**2, axis=1)
    alone = [
        truth_of(phantom, emitter(positron_kev=kev), 20_000, seed, physics=range_only)
        for kev, seed in [(500.0, 127), (1500.0, 128)]
    ]
    low, high = (np.sum(t[:, ANNIHILATION_X : ANNIHILATION_X + 3] ** 2, axis=1) for t in alone)
    mixed = np.concatenate([low, high[: int(len(low) * 2 / 5)]])
    assert stats.ks_2samp(way2, mixed).pvalue > 0.01


def test_a_positron_takes_the_time_of_the_table_to_slow_down(truth_of, emitter):
    at_once = (Channel(name="one", tau_ns=1e-9, share=1.0),)
    phantom = Phantom(regions=(ball("b", 0.0, 50.0, channels=at_once),), lines=POINT.lines)
    moving = replace(PLAIN, positron_range=True)
    n, end_kev = 20_000, 1473.66

    life = truth_of(phantom, emitter(positron_kev=end_kev), n, 130, physics=moving)[:, LIFE]

    table = slowing_down_ns(find_material("water"), int(end_kev) + 2)
    expected = np.interp(positron_spectrum(end_kev, 20, 20_001), np.arange(len(table)), table)
    assert abs(life.mean() - expected.mean()) < 4 * expected.std() / math.sqrt(n)
    # 11 ps, as the study against Geant4 finds by a calculation of its own.
    assert expected.mean() == pytest.approx(0.0109, rel=0.01)
    still = truth_of(phantom, emitter(positron_kev=end_kev), 1000, 130)[:, LIFE]
    assert still.max() < 1e-7


@pytest.mark.parametrize(
    ("gammas_kev", "positron_kev", "scattered"),
    [((700.0,), None, (False, False, True)), ((), 500.0, (True, True, False))],
)
def test_scatters_are_those_of_each_photon(truth_of, emitter, gammas_kev, positron_kev, scattered):
    phantom = Phantom(regions=(ball("b", 0.0, 100.0, channels=ONE),), lines=POINT.lines)
    isotope = emitter(*gammas_kev, positron_kev=positron_kev)

    truth = truth_of(phantom, isotope, 2000, 131, physics=replace(PLAIN, attenuation=True))

    seen = truth[:, SCATTER_1 : SCATTER_PROMPT + 1].sum(axis=0)
    assert tuple(seen > 0) == scattered
    if positron_kev is not None:
        # The two annihilation photons are alike: their numbers differ by chance.
        assert abs(seen[0] - seen[1]) < 4 * math.sqrt(3 * seen[:2].sum())
