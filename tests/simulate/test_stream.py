import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from psimg.core.errors import SettingsError
from psimg.core.isotopes import find_nuclide
from psimg.core.regions import Sphere
from psimg.simulate import (
    Acquisition,
    Detector,
    LineSource,
    Phantom,
    PhantomRegion,
    Physics,
    simulate_acquisition,
)
from psimg.simulate._decays import N_TRUTH
from psimg.simulate._readout import (
    HIT_ALONG,
    HIT_AROUND,
    HIT_DECAY,
    HIT_ENERGY,
    HIT_TIME,
    N_HIT,
)
from psimg.simulate._stream import START, keep_free, order_in_time
from psimg.simulate.arrays import response_of, ring_of
from psimg.simulate.stream import Stream

RING = Detector(
    inner_radius_mm=150.0, thickness_mm=20.0, length_mm=200.0, crystals_around=120,
    crystals_along=20, block_around=10, block_along=10, crt_ns=0.3, energy_fwhm=0.1,
    threshold_kev=150.0, integration_ns=50.0, dead_ns=100.0, lutetium_bq_cm3=300.0,
)  # fmt: skip
BALL = Sphere(name="ball", centre_mm=(0.0, 0.0, 0.0), radius_mm=40.0)


def acquisition(activity_mbq=20.0, duration_s=2e-3, detector=RING, physics=None, **keys):
    region = PhantomRegion(name="ball", shapes=(BALL,), activity_mbq=activity_mbq)
    return Acquisition(
        phantom=Phantom(regions=(region,)),
        isotope=find_nuclide("Sc-44"),
        detector=detector,
        duration_s=duration_s,
        physics=Physics() if physics is None else physics,
        **keys,
    )


def same(one, other):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def test_the_stream_does_not_depend_on_the_number_of_threads(simulated):
    one, two, three = (
        simulated(acquisition(), 140, threads=threads, block_decays=3000) for threads in (1, 2, 3)
    )

    assert len(one.time_ns) > 5000
    assert same(one, two)
    assert same(one, three)


def test_the_stream_depends_on_the_seed(simulated):
    one, again, other = (simulated(acquisition(duration_s=2e-4), seed) for seed in (141, 141, 142))

    assert same(one, again)
    assert not np.array_equal(one.time_ns[:10], other.time_ns[:10])


@pytest.mark.parametrize("pile_up", [False, True])
def test_times_rise_through_all_pieces_and_numbers_count_decays(pile_up):
    offset = np.random.default_rng(0).normal(0.0, 200.0, RING.n_crystals)
    detector = replace(RING, offset_ns=offset, walk_ns=0.3)
    scan = acquisition(detector=detector, physics=Physics(pile_up=pile_up))

    rng = np.random.default_rng(143)
    pieces = list(simulate_acquisition(scan, rng=rng, block_decays=700))

    assert len(pieces) == math.ceil(scan.expected_decays / 700)
    time = np.concatenate([piece.singles.time_ns for piece in pieces])
    assert np.all(np.diff(time) >= 0)
    number = np.concatenate([piece.decays.number for piece in pieces])
    assert_array_equal(number, np.arange(len(number)))
    decay = np.concatenate([piece.singles.decay for piece in pieces])
    start = np.concatenate([piece.decays.time_ns for piece in pieces])
    detectors = np.concatenate([piece.singles.detector for piece in pieces])
    # A single comes after its decay, but for the error of its time, 0.09 ns: flight and walk are
    # some ns, and of o-Ps one in e^20 lives for 40 ns.
    wait = time - offset[detectors] - start[decay]
    assert wait.min() > -6 * RING.sigma_single_ns
    assert np.quantile(wait, 0.999) < 40.0


def test_no_hit_is_lost_between_blocks(simulated, run_between, set_up):
    scan = acquisition(physics=Physics(pile_up=False))
    singles = simulated(scan, 144, block_decays=1000)

    setup = set_up(scan)
    seeds = np.random.SeedSequence(int(np.random.default_rng(144).integers(2**63)))
    edges = np.linspace(0.0, setup.expected, math.ceil(setup.expected / 1000) + 1)
    blocks = [
        run_between(setup, low, high, seed)
        for low, high, seed in zip(edges[:-1], edges[1:], seeds.spawn(len(edges) - 1), strict=True)
    ]
    hits = np.concatenate([hits for hits, _ in blocks])
    assert_array_equal(singles.time_ns, np.sort(hits[:, HIT_TIME]))
    assert np.sum(singles.energy_kev) == pytest.approx(hits[:, HIT_ENERGY].sum())
    assert len(singles.decay_time_ns) == sum(len(truth) for _, truth in blocks)


def test_the_size_of_blocks_changes_nothing_but_the_draw(simulated):
    some = [
        simulated(acquisition(), seed, block_decays=size)
        for seed, size in [(145, 200), (146, 5_000), (147, 10**9)]
    ]

    for one, other in itertools.pairwise(some):
        assert stats.ks_2samp(one.energy_kev, other.energy_kev).pvalue > 0.01
        assert stats.ks_2samp(one.time_ns, other.time_ns).pvalue > 0.01
        n, m = len(one.decay_time_ns), len(other.decay_time_ns)
        assert abs(n - m) < 4 * math.sqrt(n + m)
        # Singles of a decay come in groups of some two: their number varies a bit more.
        n, m = len(one.time_ns), len(other.time_ns)
        assert abs(n - m) < 4 * math.sqrt(2.5 * (n + m))


@pytest.mark.kernel
def test_hits_come_in_the_order_of_their_times_and_equal_ones_as_they_are():
    hits = np.zeros((200, N_HIT))
    hits[:, HIT_TIME] = np.random.default_rng(148).integers(0, 50, 200)
    hits[:, HIT_DECAY] = np.arange(200)
    out = np.empty_like(hits)

    order_in_time(hits, np.empty(200, np.int64), out)

    assert_array_equal(out, hits[np.argsort(hits[:, HIT_TIME], kind="stable")])
    order_in_time(hits[:0], np.empty(0, np.int64), out[:0])


PILE = replace(
    RING, crystals_around=8, crystals_along=4, block_around=4, block_along=2, threshold_kev=0.0,
    integration_ns=10.0, dead_ns=25.0, crt_ns=1e-9, trigger_kev=0.0, lutetium_bq_cm3=0.0,
)  # fmt: skip
EVENTS = st.lists(st.tuples(st.integers(0, 150), st.integers(0, 7), st.integers(0, 3)), max_size=40)


def table_of(events):
    """Hits with times that are never one integration or dead time apart, and sums all different."""
    hits = np.zeros((len(events), N_HIT))
    for i, (time, around, along) in enumerate(sorted(events)):
        hits[i, [HIT_TIME, HIT_AROUND, HIT_ALONG]] = time + 1e-3 * i, around, along
        hits[i, HIT_ENERGY], hits[i, HIT_DECAY] = 2.0**i, i
    return hits


def slow_reference(hits, integration, dead):
    kept, last = [], {}
    for hit in hits:
        block = hit[HIT_AROUND] // 4, hit[HIT_ALONG] // 2
        if block in last and hit[HIT_TIME] - last[block][HIT_TIME] <= integration:
            last[block][HIT_ENERGY] += hit[HIT_ENERGY]
        elif block not in last or hit[HIT_TIME] - last[block][HIT_TIME] > dead:
            last[block] = hit.copy()
            kept.append(last[block])
    return np.array(kept).reshape(-1, N_HIT)


@pytest.mark.kernel
@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from([0.0, 3.0, 10.0]), st.sampled_from([0.0, 5.0, 25.0]))
def test_busy_blocks_are_those_of_a_slow_reference(events, integration, dead):
    hits = table_of(events)
    detector = replace(PILE, integration_ns=integration)
    blocks = np.zeros((PILE.n_crystals, 2))
    blocks[:, START] = -np.inf
    found = hits.copy()

    n = keep_free(
        found, 0, 0, dead, blocks, ring_of(detector, lowest_kev=0.0),
        response_of(detector, lowest_kev=0.0),
    )  # fmt: skip

    assert_array_equal(found[:n], slow_reference(hits, integration, dead))


def assert_pieces_are_one(hits, cuts, late):
    scan = acquisition(detector=PILE)
    stream = Stream(scan, ring_of(PILE, lowest_kev=0.0), response_of(PILE, lowest_kev=0.0))
    truth = np.zeros((1, N_TRUTH))

    # Hits of a block lie after its start, and up to a while after its end.
    pieces, left = [], hits
    for cut in sorted(cuts):
        taken = (left[:, HIT_TIME] < cut) | (
            (left[:, HIT_TIME] < cut + late) & (left[:, HIT_AROUND] % 2 == 0)
        )
        pieces.append(stream.take(left[taken].copy(), truth, float(cut)))
        left = left[~taken]
    pieces.append(stream.take(left.copy(), truth, np.inf))

    expected = slow_reference(hits, 10.0, 25.0)
    singles = [piece.singles for piece in pieces]
    assert_array_equal(np.concatenate([s.time_ns for s in singles]), expected[:, HIT_TIME])
    assert_array_equal(np.concatenate([s.energy_kev for s in singles]), expected[:, HIT_ENERGY])
    label = expected[:, HIT_AROUND] * 4 + expected[:, HIT_ALONG]
    assert_array_equal(np.concatenate([s.detector for s in singles]), label)


@pytest.mark.kernel
@settings(max_examples=60, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 170), max_size=6), st.integers(0, 30))
def test_pieces_of_a_stream_are_the_same_as_one(events, cuts, late):
    assert_pieces_are_one(table_of(events), cuts, late)


@pytest.mark.kernel
@pytest.mark.parametrize("late", [0, 20])
def test_pieces_of_a_busy_stream_are_the_same_as_one(late):
    rng = np.random.default_rng(159)
    for _ in range(10):
        events = rng.integers(0, [400, 8, 4], size=(50, 3))
        # A hit in one of the four blocks each 32 ns: many add to one before a cut.
        assert_pieces_are_one(table_of(events.tolist()), rng.integers(0, 400, 20), late)


def one_block(emitter, rate_mbq, dead_ns, physics, **keys):
    """A source of single gammas all absorbed in one block."""
    detector = Detector(
        inner_radius_mm=2.0, thickness_mm=2000.0, length_mm=8000.0, crystals_around=1,
        crt_ns=1e-6, energy_fwhm=0.0, threshold_kev=0.0, trigger_kev=0.0, integration_ns=20.0,
        dead_ns=dead_ns, **keys,
    )  # fmt: skip
    sphere = Sphere(name="s", centre_mm=(0.0, 0.0, 0.0), radius_mm=1.0)
    region = PhantomRegion(name="s", shapes=(sphere,), material="vacuum")
    line = LineSource(name="p", start_mm=(0, 0, 0), end_mm=(0, 0, 0), activity_mbq=rate_mbq)
    return Acquisition(
        phantom=Phantom(regions=(region,), lines=(line,)), isotope=emitter(511.0),
        detector=detector, duration_s=50_000 / (1e6 * rate_mbq), physics=physics,
    )  # fmt: skip


@pytest.mark.parametrize(("rate_mbq", "dead_ns"), [(1.0, 300.0), (5.0, 400.0), (5.0, 0.0)])
def test_a_dead_block_loses_singles_as_a_counter_that_is_not_paralysed(
    simulated, emitter, rate_mbq, dead_ns
):
    physics = Physics(lutetium=False, attenuation=False)
    scan = one_block(emitter, rate_mbq, dead_ns, physics)

    found = simulated(scan, 150)

    seen = simulated(replace(scan, physics=replace(physics, pile_up=False)), 150)
    n = len(seen.time_ns) / len(seen.decay_time_ns) * rate_mbq * 1e-3
    tau = max(dead_ns, 20.0)
    expected = len(seen.time_ns) / (1 + n * tau)
    # Waiting times are a fixed part and an exponential one: the number varies less than Poisson.
    assert len(found.time_ns) == pytest.approx(expected, abs=4 * math.sqrt(expected))
    wait = np.diff(found.time_ns) - tau
    assert wait.min() > -1e-3
    assert stats.kstest(wait, stats.expon(scale=1 / n).cdf).pvalue > 0.01
    # What comes within the integration time is added: a share n t of the singles, and more of one.
    energy = found.energy_kev
    added = np.mean(energy > 511.5)
    share = -math.expm1(-n * 20.0)
    assert added == pytest.approx(share, abs=4 * math.sqrt(share / len(energy)))


def test_without_pile_up_every_hit_is_a_single(simulated, emitter):
    physics = Physics(lutetium=False, attenuation=False, pile_up=False)

    found = simulated(one_block(emitter, 5.0, 400.0, physics), 151)

    assert len(found.time_ns) > 0.99 * len(found.decay_time_ns)
    assert found.energy_kev.max() < 511.0 + 1e-6


SIMPLE = Physics(pile_up=False)


def test_the_scale_saturates_where_it_ends(simulated):
    plain = simulated(acquisition(physics=SIMPLE), 152)

    ended = simulated(
        acquisition(detector=replace(RING, saturation_kev=700.0), physics=SIMPLE), 152
    )

    assert_array_equal(ended.energy_kev, np.minimum(plain.energy_kev, 700.0))
    assert np.sum(ended.energy_kev == 700.0) > 100
    assert_array_equal(ended.time_ns, plain.time_ns)


def test_singles_outside_the_limits_are_lost(simulated):
    plain = simulated(acquisition(physics=SIMPLE), 153)

    cut = replace(RING, highest_kev=650.0)
    found = simulated(acquisition(detector=cut, physics=SIMPLE), 153)

    kept = plain.energy_kev <= 650.0
    assert 0 < kept.sum() < len(kept)
    assert_array_equal(found.energy_kev, plain.energy_kev[kept])
    assert_array_equal(found.decay, plain.decay[kept])
    assert plain.energy_kev.min() >= 150.0


def test_what_is_below_the_threshold_still_makes_a_block_busy(simulated):
    low = replace(RING, dead_ns=5000.0, trigger_kev=50.0, threshold_kev=400.0)
    high = replace(low, trigger_kev=400.0)

    one, other = (simulated(acquisition(detector=d), 154) for d in (low, high))

    assert one.energy_kev.min() >= 400.0
    # The blocks are busy for 5 us after each of many more hits.
    assert len(one.time_ns) < len(other.time_ns) - 10 * math.sqrt(len(other.time_ns))


def test_times_over_threshold_are_the_curve_of_the_energies(simulated):
    plain = simulated(acquisition(physics=SIMPLE), 155)
    detector = replace(RING, tot_ns=(1.0, 12.0, 1.0, -0.2))

    found = simulated(acquisition(detector=detector, physics=SIMPLE), 155)

    # The column of energies holds the times over threshold here.
    log = np.log(1 + plain.energy_kev)
    assert_allclose(found.energy_kev, 1.0 + 12.0 * log - 0.2 * log**2, rtol=1e-12)


@pytest.mark.parametrize("offset_ns", [3.0, -500.0])
def test_an_offset_of_all_elements_moves_all_times(simulated, offset_ns):
    plain = simulated(acquisition(physics=SIMPLE), 156, block_decays=2000)
    offset = np.full(RING.n_crystals, offset_ns)

    scan = acquisition(detector=replace(RING, offset_ns=offset), physics=SIMPLE)
    moved = simulated(scan, 156, block_decays=2000)

    assert_allclose(moved.time_ns, plain.time_ns + offset_ns, rtol=0, atol=1e-6)
    assert_array_equal(moved.decay, plain.decay)


def test_walk_and_offsets_move_each_single_by_its_own(simulated):
    plain = simulated(acquisition(physics=SIMPLE), 157)
    offset = np.random.default_rng(157).normal(0.0, 1.0, RING.n_crystals)

    detector = replace(RING, offset_ns=offset, walk_ns=0.5)
    moved = simulated(acquisition(detector=detector, physics=SIMPLE), 157)

    # Energies are drawn before times and are the same: they pair the singles.
    a, b = np.argsort(plain.energy_kev), np.argsort(moved.energy_kev)
    assert_array_equal(moved.energy_kev[b], plain.energy_kev[a])
    assert_array_equal(moved.detector[b], plain.detector[a])
    late = moved.time_ns[b] - plain.time_ns[a]
    walk = 0.5 * np.sqrt(510.99895 / plain.energy_kev[a])
    assert_allclose(late, walk + offset[plain.detector[a]], rtol=0, atol=1e-8)


def test_activity_can_be_given_for_all_parts_together(simulated):
    scan = acquisition(physics=SIMPLE)

    double = simulated(replace(scan, activity_mbq=40.0), 158)

    n = 40e6 * 2e-3
    assert double.region.size - np.sum(double.channel == 255) == pytest.approx(
        n, abs=4 * math.sqrt(n)
    )


@pytest.mark.parametrize("keys", [{"threads": 0}, {"block_decays": 0}])
def test_no_threads_and_no_blocks_are_errors(keys):
    pieces = simulate_acquisition(acquisition(), rng=np.random.default_rng(1), **keys)

    with pytest.raises(SettingsError, match=r"expected at least one of each"):
        next(pieces)


def test_a_scan_of_many_years_begins_at_once():
    long = acquisition(duration_s=1e12)

    piece = next(simulate_acquisition(long, rng=np.random.default_rng(1), threads=1))

    assert len(piece.decays) > 10_000
