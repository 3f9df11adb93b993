import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import quad

from psimg.core.regions import Sphere
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.simulate import (
    MATERIALS,
    Acquisition,
    Detector,
    LineSource,
    Phantom,
    PhantomRegion,
    Physics,
)
from psimg.simulate._decays import N_TRUTH
from psimg.simulate._photons import (
    AROUND,
    AXIAL,
    DEPTH,
    ELECTRON_KEV,
    ENERGY,
    MAX_DEPOSITS,
    N_DEPOSIT,
    TIME,
    fly,
)
from psimg.simulate._random import isotropic, state_of
from psimg.simulate._readout import HIT_DECAY, HIT_ENERGY, HIT_TIME, HIT_X, HIT_Z
from psimg.simulate.materials import attenuation_tables

RING = Detector(
    inner_radius_mm=200.0, thickness_mm=20.0, length_mm=400.0, crystals_around=400,
    crystals_along=100, crt_ns=1e-9, energy_fwhm=0.0, threshold_kev=0.0, trigger_kev=0.0,
    integration_ns=1e6, block_around=400, block_along=100,
)  # fmt: skip
MODULES = replace(RING, n_modules=10, module_width_mm=120.0)
# Hardly a photon leaves it but through the ends, and those are far away.
ALL_ABSORBING = replace(RING, inner_radius_mm=1.0, thickness_mm=1000.0, length_mm=4000.0)
PLAIN = Physics(
    attenuation=False, positron_range=False, in_flight=False, acollinearity_fwhm_deg=0.0,
    lutetium=False, pile_up=False,
)  # fmt: skip


def mu_of(detector, kev=511):
    compton, photo = attenuation_tables([MATERIALS[detector.material]], 2000)
    return detector.packing * compton[0, kev], detector.packing * photo[0, kev]


def point_source(detector, isotope, place=(0.0, 0.0, 0.0)):
    sphere = Sphere(name="s", centre_mm=place, radius_mm=0.5)
    region = PhantomRegion(name="s", shapes=(sphere,), material="vacuum")
    line = LineSource(name="point", start_mm=place, end_mm=place, activity_mbq=1.0)
    return Acquisition(
        phantom=Phantom(regions=(region,), lines=(line,)),
        isotope=isotope,
        detector=detector,
        duration_s=1.0,
        physics=PLAIN,
    )


@pytest.fixture
def flown(set_up, emitter):
    """Return the deposits of each of so many photons."""

    def flown(detector, energy, n, seed, start=(0.0, 0.0, 0.0), direction=None):
        s = set_up(point_source(detector, emitter(2000.0)))
        state = state_of(np.random.SeedSequence(seed))
        table = np.zeros((MAX_DEPOSITS, N_DEPOSIT))
        found = []
        for _ in range(n):
            unit = isotropic(state) if direction is None else direction
            m, _ = fly(
                state, *start, *unit, energy, 0.0, False, s.table, s.scattering, s.shapes,
                s.density, s.frame, s.ring, table, 0,
            )  # fmt: skip
            found.append(table[:m].copy())
        return found

    return flown


@pytest.mark.parametrize("packing", [1.0, 0.5])
def test_photons_of_a_point_are_detected_by_solid_angle_and_way_in_the_ring(
    set_up, run_block, emitter, packing
):
    n = 100_000
    detector = replace(RING, packing=packing)
    setup = set_up(point_source(detector, emitter(511.0)))

    hits, truth = run_block(setup, n, 70)

    mu = sum(mu_of(detector))

    def interacts(cosine):
        sine = math.sqrt(1 - cosine**2)
        enters = 200.0 * cosine / sine
        way = min(20.0 / sine, (200.0 - enters) / cosine if cosine > 0 else math.inf)
        return 1 - math.exp(-mu * max(way, 0.0))

    edge = 1 / math.sqrt(2.0)
    expected = quad(interacts, 0.0, edge, points=[200.0 / math.hypot(200.0, 220.0)])[0]
    share = len(np.unique(hits[:, HIT_DECAY])) / len(truth)
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / len(truth)))
    # The solid angle alone, where every photon interacts.
    assert share < edge


def test_a_thick_ring_sees_the_share_of_the_solid_angle(set_up, run_block, emitter):
    # 20 half-lengths of attenuation; photons within some 12 mm of the ends leave through them.
    detector = replace(RING, thickness_mm=300.0, length_mm=2400.0)
    setup = set_up(point_source(detector, emitter(511.0)))

    hits, truth = run_block(setup, 50_000, 71)

    share = len(np.unique(hits[:, HIT_DECAY])) / len(truth)
    solid = 1200.0 / math.hypot(1200.0, 200.0)
    error = math.sqrt(solid * (1 - solid) / len(truth))
    assert solid - 12.0 / 1200.0 * 0.03 - 4 * error < share < solid + 4 * error


@pytest.mark.kernel
@pytest.mark.parametrize("detector", [RING, MODULES], ids=["ring", "modules"])
@pytest.mark.parametrize("energy", [140.0, 511.0])
def test_photons_straight_into_the_detectors_stop_by_the_exponential_law(flown, detector, energy):
    n = 1500
    deposits = flown(detector, energy, n, 72, direction=(1.0, 0.0, 0.0))

    mu = sum(mu_of(detector, int(energy)))
    expected = 1 - math.exp(-mu * 20.0)
    first = np.array([table[0] for table in deposits if len(table)])
    error = math.sqrt(expected * (1 - expected) / n)
    assert len(first) / n == pytest.approx(expected, abs=4 * error)
    assert stats.kstest(first[:, DEPTH], stats.truncexpon(b=mu * 20, scale=1 / mu).cdf)[1] > 0.01
    assert_allclose(first[:, TIME], (200.0 + first[:, DEPTH]) / SPEED_OF_LIGHT_MM_NS)


@pytest.mark.kernel
def test_photons_between_modules_go_free(flown):
    angle = math.pi / 10
    # Modules of 120 mm leave 5 mm in the corners at the front, and more behind.
    deposits = flown(MODULES, 511.0, 300, 73, direction=(math.cos(angle), math.sin(angle), 0.0))

    assert sum(len(table) for table in deposits) == 0


@pytest.mark.kernel
def test_the_first_interaction_is_photoelectric_by_its_share(flown):
    n = 1500
    # Photons absorbed at once leave one deposit of all their energy.
    deposits = flown(ALL_ABSORBING, 511.0, n, 74)

    compton, photo = mu_of(ALL_ABSORBING)
    share = photo / (compton + photo)
    once = np.mean([len(table) == 1 for table in deposits])
    assert once == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))


@pytest.mark.kernel
@pytest.mark.parametrize("energy", [100.0, 511.0, 1157.0])
def test_what_a_photon_leaves_adds_up_to_its_energy(flown, energy):
    n = 500
    for detector in (RING, MODULES):
        deposits = flown(detector, energy, n, 75)
        left = np.array([table[:, ENERGY].sum() for table in deposits])
        assert left.max() <= energy * (1 + 1e-12)
    deposits = flown(ALL_ABSORBING, energy, n, 76)
    left = np.array([table[:, ENERGY].sum() for table in deposits])
    assert left.max() <= energy * (1 + 1e-12)
    # Of 500 photons in directions within 0.0005 of the axis a few at most leave by the ends.
    assert np.mean(np.abs(left - energy) < 1e-9 * energy) > 0.98
    assert min(table[:, ENERGY].min() for table in deposits if len(table)) >= 0.0


@pytest.mark.kernel
def test_a_scattered_photon_is_followed_at_the_speed_of_light(flown):
    deposits = flown(replace(ALL_ABSORBING, crystals_around=4000), 1157.0, 300, 77)

    several = [table for table in deposits if len(table) > 1]
    assert len(several) > 100
    for table in several:
        angle = 2 * np.pi * (table[:, AROUND] + 0.5) / 4000
        radius = 1.0 + table[:, DEPTH]
        place = np.stack([radius * np.cos(angle), radius * np.sin(angle), table[:, 5]], axis=1)
        steps = np.linalg.norm(np.diff(place, axis=0), axis=1)
        # A crystal's number gives the angle to within half a crystal, at each end.
        blur = np.pi / 4000 * (radius[1:] + radius[:-1]) + 1e-9
        assert np.all(np.abs(np.diff(table[:, TIME]) * SPEED_OF_LIGHT_MM_NS - steps) <= blur)


@pytest.mark.kernel
def test_a_photon_scattered_back_crosses_the_bore(flown):
    # Behind a thin ring of strong scatter the other side sees what comes back across.
    deposits = flown(RING, 511.0, 1500, 78, direction=(1.0, 0.0, 0.0))

    across = [table for table in deposits if np.any(np.abs(table[:, AROUND] - 200) < 100)]
    # 200 mm of flight, and the chord to a quarter of the ring away or farther.
    assert len(across) >= 5
    for table in across:
        far = np.abs(table[:, AROUND] - 200) < 100
        assert table[far, TIME].min() > 200.0 * (1.0 + 2.0**0.5) / SPEED_OF_LIGHT_MM_NS
        assert table[:, ENERGY].sum() <= 511.0 + 1e-9


@pytest.mark.kernel
def test_photons_that_start_outside_the_ends_miss(flown):
    for z, direction in [
        (250.0, (1.0, 0.0, 0.0)),
        (250.0, (0.0, 0.6, 0.8)),
        (0.0, (0.28, 0.0, 0.96)),
    ]:
        deposits = flown(RING, 511.0, 50, 79, start=(0.0, 0.0, z), direction=direction)
        assert sum(len(table) for table in deposits) == 0


def slow_ring(detector, energy, n, seed):
    """Return the energies that photons of its centre leave in a ring, by NumPy alone.

    Steps are drawn as if the bore were full, and those that end there do not count; scatter is by
    H. Kahn's rejection, AECU-3259 (1954).
    """
    rng = np.random.default_rng(seed)
    tables = np.array(attenuation_tables([MATERIALS[detector.material]], int(energy)))[:, 0]
    unit = rng.normal(size=(n, 3))
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    place, kev, left = np.zeros((n, 3)), np.full(n, energy), np.zeros(n)
    active = np.arange(n)
    while len(active):
        compton, photo = (np.interp(kev[active], np.arange(len(t)), t) for t in tables)
        way = rng.exponential(size=len(active)) / (compton + photo)
        place[active] += way[:, None] * unit[active]
        radius = np.hypot(place[active, 0], place[active, 1])
        here = (radius < detector.outer_radius_mm) & (np.abs(place[active, 2]) < 200.0)
        active, radius, share = active[here], radius[here], (compton / (compton + photo))[here]
        stopped = radius > detector.inner_radius_mm
        scatters = rng.random(len(active)) < share
        absorbed = active[stopped & ~scatters]
        left[absorbed] += kev[absorbed]
        turned = active[stopped & scatters]
        cosine = np.array([kahn(k / ELECTRON_KEV, rng) for k in kev[turned]]).reshape(-1)
        after = kev[turned] / (1 + kev[turned] / ELECTRON_KEV * (1 - cosine))
        left[turned] += kev[turned] - after
        kev[turned] = after
        across = np.cross(unit[turned], rng.normal(size=(len(turned), 3)))
        across /= np.linalg.norm(across, axis=1)[:, None]
        sine = np.sqrt(1 - cosine**2)
        unit[turned] = cosine[:, None] * unit[turned] + sine[:, None] * across
        active = active[~(stopped & ~scatters)]
    return left


def kahn(k, rng):
    while True:
        one, two, three = rng.random(3)
        if one <= (1 + 2 * k) / (9 + 2 * k):
            ratio = 1 + 2 * k * two
            if three <= 4 * (1 / ratio - 1 / ratio**2):
                return 1 - (ratio - 1) / k
        else:
            ratio = (1 + 2 * k) / (1 + 2 * k * two)
            cosine = 1 - (ratio - 1) / k
            if three <= 0.5 * (cosine**2 + 1 / ratio):
                return cosine


def test_what_photons_leave_in_a_ring_is_what_a_slow_simulation_says(set_up, run_block, emitter):
    n = 20_000
    setup = set_up(point_source(RING, emitter(511.0)))

    hits, truth = run_block(setup, 100_000, 80)

    slow = slow_ring(RING, 511.0, n, 80)
    energy = np.zeros(len(truth))
    energy[hits[:, HIT_DECAY].astype(int)] = hits[:, HIT_ENERGY]
    # None, up to the Compton edge, above it, all.
    counts = [np.histogram(one, [0, 1, 100, 200, 300, 341, 510.9, 512])[0]
              for one in (energy, slow)]  # fmt: skip
    assert stats.chi2_contingency(counts).pvalue > 0.01
    # The peak is more than what the photoelectric effect makes at once.
    compton, photo = mu_of(RING)
    assert photo / (compton + photo) < np.mean(energy[energy > 0] > 510.9) < 1.0


def test_the_measured_photopeak_has_the_fwhm_and_the_time_its_sigma(set_up, run_block, emitter):
    detector = replace(ALL_ABSORBING, energy_fwhm=0.1, crt_ns=0.3)
    setup = set_up(point_source(detector, emitter(511.0)))

    hits, truth = run_block(setup, 20_000, 81)

    n = len(hits)
    # All energy of every photon is in one block.
    assert n > 0.99 * len(truth)
    assert np.std(hits[:, HIT_ENERGY]) * 2.3548 == pytest.approx(51.1, rel=5 / math.sqrt(2 * n))
    order = np.argsort(hits[:, HIT_DECAY])
    delay = hits[order, HIT_TIME] - truth[hits[order, HIT_DECAY].astype(int), 0]
    # The photon's flight, some 40 ps at 12 mm a free way, adds its own width.
    flight = 12.2 / SPEED_OF_LIGHT_MM_NS
    sigma = 0.3 / 2.3548 / math.sqrt(2)
    assert sigma * (1 - 4 / math.sqrt(2 * n)) < delay.std() < math.hypot(sigma, flight) * 1.1


@pytest.mark.parametrize("detector", [RING, MODULES], ids=["ring", "modules"])
def test_both_photons_of_a_pair_point_back_at_their_source(set_up, run_block, emitter, detector):
    place = (40.0, -25.0, 30.0)
    sharp = replace(detector, block_around=1, block_along=1, depth_fwhm_mm=1e-9)
    setup = set_up(point_source(sharp, emitter(positron_kev=500.0), place))

    hits, truth = run_block(setup, 5_000, 82)

    hits = hits[np.argsort(hits[:, HIT_DECAY], kind="stable")]
    full = hits[np.abs(hits[:, HIT_ENERGY] - ELECTRON_KEV) < 1e-3]
    same = np.flatnonzero(np.diff(full[:, HIT_DECAY]) == 0)
    one, other = full[same], full[same + 1]
    assert len(same) > 100
    # Crystals of 3.3 and 4 mm: two ends are off by up to half of each, the line no more.
    line = other[:, HIT_X : HIT_Z + 1] - one[:, HIT_X : HIT_Z + 1]
    line /= np.linalg.norm(line, axis=1)[:, None]
    away = np.linalg.norm(np.cross(line, np.array(place) - one[:, HIT_X : HIT_Z + 1]), axis=1)
    assert away.max() < 0.5 * math.hypot(3.5, 4.0)
    # And times are those of the flight from there.
    for hit in (one, other):
        life = truth[hit[:, HIT_DECAY].astype(int), 1]
        way = np.linalg.norm(hit[:, HIT_X : HIT_Z + 1] - place, axis=1)
        flown = hit[:, HIT_TIME] - truth[hit[:, HIT_DECAY].astype(int), 0] - life
        assert np.abs(flown * SPEED_OF_LIGHT_MM_NS - way).max() < 0.5 * math.hypot(3.5, 4.0)
    assert truth.shape[1] == N_TRUTH


@pytest.mark.kernel
def test_a_photon_scattered_in_the_phantom_takes_its_detour(set_up, emitter):
    detector = replace(
        ALL_ABSORBING, inner_radius_mm=100.0, crystals_around=1_000_000, crystals_along=1
    )
    sphere = Sphere(name="s", centre_mm=(0.0, 0.0, 0.0), radius_mm=80.0)
    water = PhantomRegion(name="s", shapes=(sphere,), activity_mbq=1.0)
    scan = point_source(detector, emitter(2000.0))
    s = set_up(replace(scan, phantom=Phantom(regions=(water,))))
    state = state_of(np.random.SeedSequence(83))
    table = np.zeros((MAX_DEPOSITS, N_DEPOSIT))

    off = []
    for _ in range(500):
        n, n_scatter = fly(
            state, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 511.0, 0.0, True, s.table, s.scattering,
            s.shapes, s.density, s.frame, s.ring, table, 0,
        )  # fmt: skip
        if n_scatter != 1 or n == 0:
            continue
        # All that is left after the scatter is absorbed, and tells its angle.
        left = table[:n, ENERGY].sum()
        angle = math.acos(1 - ELECTRON_KEV * (1 / left - 1 / 511.0))
        turn = 2 * math.pi * (table[0, AROUND] + 0.5) / 1e6
        radius = 100.0 + table[0, DEPTH]
        x, across = radius * math.cos(turn), math.hypot(radius * math.sin(turn), table[0, AXIAL])
        # Along the beam to where it scatters, and from there to the detector.
        way = x + across * math.tan(0.5 * angle)
        off.append(table[0, TIME] * SPEED_OF_LIGHT_MM_NS - way)
    assert len(off) > 100
    # The turn is good to 1e-5 rad. Of photons that come back out of the detector some few are
    # absorbed in the water, or wait below its threshold.
    assert np.mean(np.abs(off) < 0.05) > 0.95
