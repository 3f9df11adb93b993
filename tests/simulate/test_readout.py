import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.simulate import Detector
from psimg.simulate._photons import (
    ALONG,
    AROUND,
    AXIAL,
    DEPTH,
    ELECTRON_KEV,
    ENERGY,
    MAX_DEPOSITS,
    N_DEPOSIT,
    TIME,
    deposit,
)
from psimg.simulate._random import state_of
from psimg.simulate._readout import (
    HIT_ALONG,
    HIT_AROUND,
    HIT_DECAY,
    HIT_ENERGY,
    HIT_TIME,
    HIT_X,
    HIT_Y,
    HIT_Z,
    N_HIT,
    read_out,
)
from psimg.simulate.arrays import faces_of, response_of, ring_of

pytestmark = pytest.mark.kernel

EXACT = Detector(
    inner_radius_mm=100.0, thickness_mm=20.0, length_mm=60.0, crystals_around=24, crystals_along=6,
    block_around=4, block_along=3, crt_ns=1e-9, energy_fwhm=0.0, integration_ns=100.0,
)  # fmt: skip


def electronics(detector, seed=50, lowest_kev=0.0):
    """Return a function from the deposits of a decay, rows of numbers, to its hits."""
    state = state_of(np.random.SeedSequence(seed))
    ring = ring_of(detector, lowest_kev=lowest_kev)
    response = response_of(detector, lowest_kev=lowest_kev)
    offset = np.empty(0) if detector.offset_ns is None else detector.offset_ns
    faces = faces_of(detector)

    def hits_of(rows, decay=7):
        table = np.zeros((MAX_DEPOSITS, N_DEPOSIT))
        for i, (time, energy, around, along) in enumerate(rows):
            table[i, [TIME, ENERGY, AROUND, ALONG]] = time, energy, around, along
            table[i, DEPTH], table[i, AXIAL] = 4.0, -11.0
        hits = np.full((MAX_DEPOSITS, N_HIT), np.nan)
        n = read_out(
            state, table, len(rows), decay, ring, response, faces, offset, hits, 0
        )  # fmt: skip
        return hits[:n]

    return hits_of


def many(detector, energy, n, seed):
    hits_of = electronics(detector, seed)
    return np.concatenate([hits_of([(20.0, energy, 5, 2)]) for _ in range(n)])


def test_two_deposits_in_a_block_make_one_single_in_the_crystal_with_more():
    hit = electronics(EXACT)([(10.0, 100.0, 4, 0), (10.5, 300.0, 6, 2)])

    assert len(hit) == 1
    assert_allclose(hit[0, [HIT_TIME, HIT_ENERGY, HIT_AROUND, HIT_ALONG]], [10, 400, 6, 2])
    assert hit[0, HIT_DECAY] == 7


def test_deposits_of_one_crystal_count_together():
    hit = electronics(EXACT)([(10.0, 150.0, 4, 0), (10.1, 200.0, 5, 0), (10.2, 100.0, 4, 0)])

    assert_allclose(hit[0, [HIT_ENERGY, HIT_AROUND]], [450, 4])


def test_deposits_in_two_blocks_make_two_singles():
    hits = electronics(EXACT)([(10.5, 300.0, 4, 0), (10.0, 100.0, 3, 0), (10.2, 50.0, 4, 3)])

    assert_allclose(hits[:, HIT_ENERGY], [100, 50, 300])
    assert_allclose(hits[:, HIT_TIME], [10, 10.2, 10.5])


def test_a_deposit_after_the_integration_makes_a_second_single():
    hits = electronics(EXACT)([(10.0, 200.0, 4, 0), (109.9, 20.0, 4, 0), (110.1, 300.0, 5, 0)])

    assert_allclose(hits[:, HIT_TIME], [10, 110.1])
    assert_allclose(hits[:, HIT_ENERGY], [220, 300])
    assert_allclose(hits[:, HIT_AROUND], [4, 5])


def test_no_deposits_make_no_single():
    assert len(electronics(EXACT)([])) == 0


def slow_reference(rows):
    """Return (time, energy, around, along) of hits, block by block with Python's own means."""
    hits = []
    blocks = {}
    for row in sorted(rows):
        blocks.setdefault((row[2] // 4, row[3] // 3), []).append(row)
    for left in blocks.values():
        while left:
            start = left[0][0]
            taken = [row for row in left if row[0] <= start + 100.0]
            left = [row for row in left if row[0] > start + 100.0]
            crystals = {}
            for _, energy, *crystal in taken:
                crystals[tuple(crystal)] = crystals.get(tuple(crystal), 0.0) + energy
            hits.append((start, sum(row[1] for row in taken), *max(crystals, key=crystals.get)))
    return sorted(hits)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 23), st.integers(0, 5)), max_size=20))
def test_blocks_sum_as_a_slow_reference_does(places):
    # Energies of which no two sums are the same; times are whole numbers, apart by a little.
    rows = [(t + 1e-3 * i, 2.0**i, a, z) for i, (t, a, z) in enumerate(places)]

    hits = electronics(EXACT)(rows)

    expected = np.array(slow_reference(rows)).reshape(-1, 4)
    order = np.argsort(hits[:, HIT_TIME])
    found = hits[order][:, [HIT_TIME, HIT_ENERGY, HIT_AROUND, HIT_ALONG]]
    assert_allclose(found, expected, rtol=0, atol=1e-7)
    assert hits[:, HIT_ENERGY].sum() == pytest.approx(sum(row[1] for row in rows))


def test_energies_spread_by_the_root_of_the_energy():
    n = 3000
    detector = replace(EXACT, energy_fwhm=0.1)
    for energy in (200.0, 511.0, 1157.0):
        found = many(detector, energy, n, 51)[:, HIT_ENERGY]

        sigma = 0.1 / FWHM_PER_SIGMA * math.sqrt(ELECTRON_KEV * energy)
        assert abs(found.mean() - energy) < 4 * sigma / math.sqrt(n)
        assert abs(found.std() / sigma - 1) < 4 / math.sqrt(2 * n)
        assert stats.kstest(found, stats.norm(energy, sigma).cdf).pvalue > 0.01


def test_the_fwhm_of_the_photopeak_is_the_one_asked_for():
    n = 3000
    low, high = np.quantile(many(replace(EXACT, energy_fwhm=0.1), 511.0, n, 52)[:, 1], [0.25, 0.75])

    # A Gaussian's FWHM is 1.7456 times the distance of its quartiles, whose error is 1.1665 over
    # the root of n.
    assert 1.7456 * (high - low) == pytest.approx(51.1, rel=4 * 1.1665 / math.sqrt(n))


def test_two_times_differ_by_the_coincidence_resolving_time():
    n = 3000
    time = many(replace(EXACT, crt_ns=0.3), 511.0, 2 * n, 53)[:, HIT_TIME]

    sigma = 0.3 / FWHM_PER_SIGMA
    assert abs(np.std(time[:n] - time[n:]) / sigma - 1) < 4 / math.sqrt(2 * n)
    assert stats.kstest(time, stats.norm(20.0, sigma / math.sqrt(2)).cdf).pvalue > 0.01
    energy = many(replace(EXACT, crt_ns=0.3, energy_fwhm=0.1), 511.0, n, 53)
    assert abs(np.corrcoef(energy[:, HIT_TIME], energy[:, HIT_ENERGY])[0, 1]) < 4 / math.sqrt(n)


def test_hits_below_the_threshold_are_dropped():
    hits_of = electronics(EXACT, lowest_kev=50.0)

    assert len(hits_of([(0.0, 49.99, 0, 0)])) == 0
    assert len(hits_of([(0.0, 50.01, 0, 0)])) == 1
    assert len(hits_of([(0.0, 30.0, 0, 0), (0.1, 30.0, 1, 1)])) == 1


@pytest.mark.parametrize("walk", [0.4, 0.1])
def test_walk_delays_a_hit_as_one_over_the_root_of_its_energy(walk):
    detector = replace(EXACT, walk_ns=walk)
    for energy in (127.75, 511.0, 2044.0):
        (hit,) = electronics(detector)([(20.0, energy, 0, 0)])

        expected = walk * math.sqrt(ELECTRON_KEV / energy)
        assert hit[HIT_TIME] - 20.0 == pytest.approx(expected, abs=1e-7)


def test_an_offset_delays_the_hits_of_its_element():
    offset = np.random.default_rng(54).normal(0.0, 1.0, EXACT.n_crystals)
    hits_of = electronics(replace(EXACT, offset_ns=offset))
    for around, along in [(0, 0), (0, 5), (7, 2), (23, 5)]:
        (hit,) = hits_of([(20.0, 511.0, around, along)])

        # A detector's label is around * crystals_along + along.
        assert hit[HIT_TIME] - 20.0 == pytest.approx(offset[around * 6 + along], abs=1e-7)


def test_a_single_is_placed_in_the_middle_of_its_crystal():
    for detector, radius in [(EXACT, 110.0), (replace(EXACT, position_radius_mm=107.0), 107.0)]:
        (hit,) = electronics(detector)([(0.0, 511.0, 7, 2)])

        angle = 2 * math.pi * 7.5 / 24
        place = [radius * math.cos(angle), radius * math.sin(angle), -5.0]
        assert_allclose(hit[[HIT_X, HIT_Y, HIT_Z]], place)


def test_a_single_of_a_module_is_placed_in_the_middle_of_its_strip():
    detector = replace(EXACT, n_modules=6, module_width_mm=80.0, crystals_along=6)
    (hit,) = electronics(detector)([(0.0, 511.0, 7, 2)])

    # Strip 3 of 4 in the module at 60 degrees.
    angle = math.pi / 3
    out, across = np.array([math.cos(angle), math.sin(angle)]), [-math.sin(angle), math.cos(angle)]
    place = 110.0 * out + 30.0 * np.array(across)
    assert_allclose(hit[[HIT_X, HIT_Y, HIT_Z]], [*place, -5.0])


def test_depth_and_axial_position_are_measured_with_their_errors():
    n = 2000
    detector = replace(EXACT, depth_fwhm_mm=2.0, axial_fwhm_mm=5.0)
    hits = many(detector, 511.0, n, 55)

    depth = np.hypot(hits[:, HIT_X], hits[:, HIT_Y]) - 100.0
    for found, mean, fwhm in [(depth, 4.0, 2.0), (hits[:, HIT_Z], -11.0, 5.0)]:
        sigma = fwhm / FWHM_PER_SIGMA
        # The front is 4.7 widths from the depth: too few are put there to be seen.
        assert abs(found.mean() - mean) < 4 * sigma / math.sqrt(n)
        assert abs(found.std() / sigma - 1) < 4 / math.sqrt(2 * n)


def test_a_measured_depth_stays_in_the_crystal():
    hits = many(replace(EXACT, depth_fwhm_mm=60.0), 511.0, 300, 56)

    depth = np.hypot(hits[:, HIT_X], hits[:, HIT_Y]) - 100.0
    assert depth.min() == pytest.approx(0.0, abs=1e-9)
    assert depth.max() == pytest.approx(20.0)


def test_the_last_place_for_deposits_takes_the_energy_of_the_rest():
    table = np.zeros((3, N_DEPOSIT))
    n = 0
    for i in range(5):
        n = deposit(table, n, float(i), 10.0, i, 0, 1.0, 2.0)

    assert n == 3
    assert_allclose(table[:, ENERGY], [10.0, 10.0, 30.0])
    assert_allclose(table[:, TIME], [0.0, 1.0, 2.0])
