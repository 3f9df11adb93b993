import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from psimg.core.regions import Sphere
from psimg.simulate import (
    Acquisition,
    Detector,
    LineSource,
    Phantom,
    PhantomRegion,
    Physics,
    find_material,
)
from psimg.simulate._decays import LUTETIUM
from psimg.simulate.acquisition import (
    LUTETIUM_EMITTED,
    LUTETIUM_END_KEV,
    LUTETIUM_GAMMAS_KEV,
)
from psimg.simulate.physics import electron_spectrum

RING = Detector(
    inner_radius_mm=200.0, thickness_mm=20.0, length_mm=400.0, crystals_around=400,
    crystals_along=100, crt_ns=1e-6, energy_fwhm=0.0, threshold_kev=0.0, trigger_kev=0.0,
    integration_ns=100.0, lutetium_bq_cm3=300.0,
)  # fmt: skip
MODULES = replace(
    RING, n_modules=12, module_width_mm=100.0, crystals_around=240, crystals_along=1, packing=0.8
)
CASCADE = math.fsum(LUTETIUM_GAMMAS_KEV)
PHYSICS = Physics(attenuation=False, pile_up=False)


def acquisition(emitter, detector, n):
    """An acquisition with so many decays of 176Lu expected, and one of an isotope."""
    rate = detector.lutetium_bq_cm3 * detector.scintillator_cm3
    sphere = Sphere(name="s", centre_mm=(0.0, 0.0, 0.0), radius_mm=1.0)
    duration_s = n / rate
    line = LineSource(
        name="p", start_mm=(0, 0, 0), end_mm=(0, 0, 0), activity_mbq=1e-6 / duration_s
    )
    region = PhantomRegion(name="s", shapes=(sphere,), material="vacuum")
    return Acquisition(
        phantom=Phantom(regions=(region,), lines=(line,)), isotope=emitter(20.0),
        detector=detector, duration_s=duration_s, physics=PHYSICS,
    )  # fmt: skip


def lutetium_of(found):
    own = found.channel == LUTETIUM
    return own, own[found.decay]


@pytest.mark.parametrize("detector", [RING, MODULES], ids=["ring", "modules"])
def test_lutetium_decays_by_the_volume_of_scintillator(simulated, emitter, detector):
    n = 20_000
    scan = acquisition(emitter, detector, n)

    found = simulated(scan, 160)

    own, _ = lutetium_of(found)
    assert own.sum() == pytest.approx(n, abs=4 * math.sqrt(n))
    time = found.decay_time_ns[own]
    assert stats.kstest(time, stats.uniform(0, 1e9 * scan.duration_s).cdf).pvalue > 0.01
    assert np.all(found.region[own] == -1)
    assert np.isnan(found.life_ns[own]).all()
    assert np.isnan(found.annihilation_mm[own]).all()


def test_the_volume_of_scintillator_is_that_of_its_shape():
    ring = math.pi * (22.0**2 - 20.0**2) * 40.0
    assert pytest.approx(ring) == RING.scintillator_cm3
    assert pytest.approx(12 * 10.0 * 2.0 * 40.0 * 0.8) == MODULES.scintillator_cm3


def test_it_decays_everywhere_in_a_ring(simulated, emitter):
    # Thick against its radius: uniform in the radius is far from uniform.
    thick = replace(RING, inner_radius_mm=50.0, thickness_mm=50.0)
    found = simulated(acquisition(emitter, thick, 20_000), 161)

    own, _ = lutetium_of(found)
    x, y, z = found.emission_mm[own].astype(float).T
    square = (x * x + y * y - 50.0**2) / (100.0**2 - 50.0**2)
    assert stats.kstest(square, "uniform").pvalue > 0.01
    assert stats.kstest(z, stats.uniform(-200, 400).cdf).pvalue > 0.01
    angle = np.arctan2(y, x)
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01


def test_it_decays_in_the_modules_and_not_between(simulated, emitter):
    found = simulated(acquisition(emitter, MODULES, 10_000), 162)

    own, _ = lutetium_of(found)
    x, y, z = found.emission_mm[own].astype(float).T
    angle = 2 * np.pi / 12 * np.round(np.arctan2(y, x) / (2 * np.pi / 12))
    across = y * np.cos(angle) - x * np.sin(angle)
    depth = x * np.cos(angle) + y * np.sin(angle) - 200.0
    assert stats.kstest(across, stats.uniform(-50, 100).cdf).pvalue > 0.01
    assert stats.kstest(depth, stats.uniform(0, 20).cdf).pvalue > 0.01
    assert stats.kstest(z, stats.uniform(-200, 400).cdf).pvalue > 0.01


def test_all_energy_is_the_beta_and_the_cascade(simulated, emitter):
    thick = replace(
        RING, inner_radius_mm=1.0, thickness_mm=800.0, length_mm=4000.0, crystals_around=1,
        crystals_along=1, lutetium_bq_cm3=1e-3,
    )  # fmt: skip

    found = simulated(acquisition(emitter, thick, 20_000), 163)

    own, of_own = lutetium_of(found)
    energy = found.energy_kev[of_own]
    # Gammas of decays in the outer 20 mm or so of 800 and the ends can leave.
    radius = np.hypot(*found.emission_mm[own, :2].T)
    inner = (radius < 600.0) & (np.abs(found.emission_mm[own, 2]) < 1800.0)
    number = np.flatnonzero(own)[inner]
    energy = found.energy_kev[np.isin(found.decay, number)]
    assert len(energy) == inner.sum()
    assert energy.min() >= CASCADE - 1e-6
    assert energy.max() <= CASCADE + LUTETIUM_END_KEV
    assert pytest.approx(597, abs=0.5) == CASCADE
    beta = electron_spectrum(LUTETIUM_END_KEV, 72)
    level = np.linspace(0.0, 1.0, len(beta))
    law = stats.kstest(energy - CASCADE, lambda kev: np.interp(kev, beta, level))
    assert law.pvalue > 0.01


def test_gammas_leave_as_often_as_they_are_emitted(simulated, emitter):
    # A foil that hardly stops gammas: a decay's single there has the beta and what was converted.
    thin = replace(
        RING, thickness_mm=0.01, packing=1e-3, length_mm=4e4, lutetium_bq_cm3=1e3,
        crystals_around=1, crystals_along=1,
    )  # fmt: skip

    found = simulated(acquisition(emitter, thin, 20_000), 164)

    _, of_own = lutetium_of(found)
    energy = found.energy_kev[of_own]
    mean = np.trapezoid(beta := electron_spectrum(LUTETIUM_END_KEV, 72), dx=1 / 512)
    kept = np.array(LUTETIUM_GAMMAS_KEV) * (1 - np.array(LUTETIUM_EMITTED))
    assert energy.min() < 20.0
    variance = np.var(beta) + kept @ LUTETIUM_GAMMAS_KEV
    error = math.sqrt(variance / len(energy))
    assert energy.mean() == pytest.approx(mean + kept.sum(), abs=4 * error)


def test_gammas_of_lutetium_reach_the_other_side(simulated, emitter):
    found = simulated(acquisition(emitter, RING, 20_000), 165)

    own, of_own = lutetium_of(found)
    place, energy, decay = (a[of_own] for a in (found.position_mm, found.energy_kev, found.decay))
    start = found.emission_mm[decay]
    far = np.linalg.norm(place - start, axis=1) > 300.0
    # Back to back pairs, as randoms and blank scans use them: 3 % and more of the decays here.
    assert np.sum(far) > 0.03 * own.sum()
    wait = found.time_ns[of_own] - found.decay_time_ns[decay]
    # Singles are placed in the middle of the depth, up to 10 mm from where they are.
    assert wait[far].min() > 288.0 / 299.8
    assert wait[far].max() < 5.0
    # The far side sees the full gammas.
    for kev in LUTETIUM_GAMMAS_KEV[:2]:
        assert np.sum(np.abs(energy[far] - kev) < 1e-3) > 50
    assert find_material("lso").mass_fractions["Lu"] > 0.7


def test_lutetium_can_be_left_out(simulated, emitter):
    scan = acquisition(emitter, RING, 1000)
    found = simulated(replace(scan, physics=replace(PHYSICS, lutetium=False)), 166)

    assert not np.any(found.channel == LUTETIUM)
