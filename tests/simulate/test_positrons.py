import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import cumulative_trapezoid, quad

from psimg.core import SettingsError
from psimg.core.isotopes import NUCLIDES, find_nuclide
from psimg.core.regions import Sphere
from psimg.simulate import (
    MATERIALS,
    Acquisition,
    Detector,
    LineSource,
    Phantom,
    PhantomRegion,
    Physics,
)
from psimg.simulate._decays import IN_FLIGHT, PHOTON_ENERGY, U, W, emit_pair
from psimg.simulate._photons import ELECTRON_KEV
from psimg.simulate._positrons import energy_in_flight, photons_in_flight
from psimg.simulate._random import state_of
from psimg.simulate.physics import (
    annihilations_in_flight,
    daughter_protons,
    electron_spectrum,
    paths_of,
    positron_spectrum,
    positrons_of,
    range_sigma_mm,
)

DETECTOR = Detector(
    inner_radius_mm=400.0, thickness_mm=1.0, length_mm=1.0, crystals_around=8, crt_ns=0.2,
    energy_fwhm=0.1,
)  # fmt: skip


def state(seed):
    return state_of(np.random.SeedSequence(seed))


def fermi_shape(end_kev, charge):
    """Density of the kinetic energy of allowed beta decay, W in units of mc^2, with Fermi's F."""
    z = charge / 137.035999
    g = math.sqrt(1 - z * z)

    def density(kinetic):
        w = 1 + kinetic / ELECTRON_KEV
        p = math.sqrt(w * w - 1)
        gamma = abs(complex(mpmath.gamma(complex(g, z * w / p)))) ** 2
        fermi = p ** (2 * g - 2) * math.exp(math.pi * z * w / p) * gamma
        return p * w * (end_kev - kinetic) ** 2 * fermi

    return density


@pytest.mark.parametrize(
    ("table", "mean_kev"),
    [
        (positron_spectrum(633.5, 8), 249.8),
        (positron_spectrum(1473.66, 20), 632.0),
        (positron_spectrum(1899.1, 30), 836.0),
        (positron_spectrum(3382.0, 36), 1534.6),
        (electron_spectrum(593.0, 72), 182.1),
    ],
)
def test_mean_energies_of_betas_are_those_of_the_tables(table, mean_kev):
    # ENSDF's of 18F, 44Sc, 68Ga, 82Rb and 176Lu, whose own end points differ by up to 0.1 %.
    assert np.trapezoid(table, dx=1 / (len(table) - 1)) == pytest.approx(mean_kev, rel=3e-3)


@pytest.mark.parametrize(
    ("end_kev", "table", "charge"),
    [
        (633.5, positron_spectrum(633.5, 8), -8),
        (1473.66, positron_spectrum(1473.66, 20), -20),
        (3382.0, positron_spectrum(3382.0, 36), -36),
        (593.0, electron_spectrum(593.0, 72), 72),
    ],
)
def test_the_spectrum_of_a_beta_is_the_allowed_shape_with_its_fermi_function(
    end_kev, table, charge
):
    density = fermi_shape(end_kev, charge)
    total = quad(density, 1e-6, end_kev)[0]
    mean = quad(lambda t: t * density(t), 1e-6, end_kev)[0] / total

    assert table[0] == 0.0
    assert table[-1] == pytest.approx(end_kev)
    assert np.all(np.diff(table) > 0)
    # Straight lines between quantiles are off where the density goes to zero, at the ends: there
    # one step of 512 is a few percent of the energies.
    found = np.trapezoid(table, dx=1 / (len(table) - 1))
    assert found == pytest.approx(mean, abs=0.05 * end_kev / 512)
    for level in (0.1, 0.5, 0.9):
        kev = np.interp(level, np.linspace(0, 1, len(table)), table)
        assert quad(density, 1e-6, kev)[0] / total == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize(("name", "mean_kev"), [("F-18", 249.8), ("C-11", 385.7), ("O-15", 735.3)])
def test_mean_energies_of_positrons_are_the_evaluated_ones(name, mean_kev):
    # ENSDF; shape factors and screening that are left out here are worth some 0.5 %.
    (path,) = (p for p in find_nuclide(name).paths if p.positron_kev is not None)
    table = positron_spectrum(path.positron_kev, daughter_protons(find_nuclide(name)))

    assert np.trapezoid(table, dx=1 / (len(table) - 1)) == pytest.approx(mean_kev, rel=5e-3)


def test_the_nucleus_pushes_positrons_up_and_holds_electrons_back():
    none, light, heavy = (positron_spectrum(1000.0, z) for z in (0.001, 8, 40))

    assert np.all(np.diff([none[1:-1], light[1:-1], heavy[1:-1]], axis=0) > 0)
    assert np.all(electron_spectrum(1000.0, 40)[1:-1] < none[1:-1])


@pytest.mark.parametrize("name", NUCLIDES)
def test_every_nuclide_has_a_daughter_and_tables(name):
    isotope = NUCLIDES[name]
    paths, ends, per_decay = paths_of(isotope)
    tables = positrons_of(ends, daughter_protons(isotope), (MATERIALS["water"],))

    assert tables.energy.shape[1] == len(ends) > 0
    assert_allclose(tables.energy[-1], ends)
    # A looked-up energy stays inside the tables of range and flight.
    assert max(ends) + 1 < min(len(tables.sigma), len(tables.flight))
    assert np.all(np.isfinite(tables.energy))
    assert per_decay == pytest.approx(1 + sum(share for _, share in isotope.delayed_gammas))
    assert paths.cumulative[-1] == 1.0


def test_a_nuclide_of_no_known_element_is_an_error(emitter):
    with pytest.raises(SettingsError, match=r"isotope '44Sc': '44Sc' is no element .* like Sc-44"):
        daughter_protons(replace(emitter(), name="44Sc"))


def test_the_width_of_the_range_is_that_of_palmer_and_brownell():
    # R = 0.1 b1 T^2/(b2 + T) g/cm2, and the width R/(2 rho): with water as they have it, Z = 7.22
    # and A = 13 so that Z/A is water's, a 1 MeV positron's R is some 0.4 g/cm2.
    sigma = range_sigma_mm(MATERIALS["water"], 1000)

    b1 = 4.569 * (7.2167 / 0.55509) / 7.2167**1.209
    b2 = 1 / (2.873 - 0.02309 * 7.2167)
    assert sigma[1000] == pytest.approx(10 * 0.1 * b1 / (b2 + 1) / (2 * 0.998), rel=2e-3)
    assert sigma[0] == 0.0
    assert np.all(np.diff(sigma) > 0)
    assert not range_sigma_mm(MATERIALS["vacuum"], 1000).any()
    assert not range_sigma_mm(MATERIALS["air"], 1000).any()
    # Half the density is twice the way.
    lung, tissue = (range_sigma_mm(MATERIALS[m], 1000)[1000] for m in ("lung", "soft-tissue"))
    assert lung / tissue == pytest.approx(1.06 / 0.3, rel=0.01)


def source(isotope, physics, material="water", radius_mm=300.0):
    sphere = Sphere(name="s", centre_mm=(0.0, 0.0, 0.0), radius_mm=radius_mm)
    line = LineSource(name="p", start_mm=(0, 0, 0), end_mm=(0, 0, 0), activity_mbq=1.0)
    region = PhantomRegion(name="s", shapes=(sphere,), material=material)
    return Acquisition(
        phantom=Phantom(regions=(region,), lines=(line,)),
        isotope=isotope, detector=DETECTOR, duration_s=1.0, physics=physics,
    )  # fmt: skip


RANGE = Physics(attenuation=False, in_flight=False, lutetium=False, pile_up=False)


@pytest.mark.parametrize(("name", "mean_mm"), [("F-18", 0.6), ("Ga-68", 2.9), ("Rb-82", 5.9)])
def test_mean_ranges_in_water_are_within_a_quarter_of_the_published(
    set_up, run_block, name, mean_mm
):
    _, truth = run_block(set_up(source(find_nuclide(name), RANGE)), 30_000, 90)

    way = np.linalg.norm(truth[:, 5:8] - truth[:, 2:5], axis=1)
    assert np.nanmean(way) == pytest.approx(mean_mm, rel=0.25)


@pytest.mark.parametrize("material", ["water", "lung", "aluminium"])
def test_positrons_spread_by_the_width_of_their_energy(set_up, run_block, emitter, material):
    setup = set_up(source(emitter(positron_kev=1473.66), RANGE, material))

    _, truth = run_block(setup, 40_000, 91)

    sigma = range_sigma_mm(MATERIALS[material], 1480)
    width = np.interp(positron_spectrum(1473.66, 20), np.arange(1481), sigma)
    variance, fourth = np.mean(width**2), 3 * np.mean(width**4)
    away = truth[:, 5:8] - truth[:, 2:5]
    assert_allclose(np.mean(away, axis=0), 0.0, atol=4 * math.sqrt(variance / len(away)))
    error = math.sqrt((fourth - variance**2) / len(away))
    # The table of 513 quantiles stands for the spectrum to half a percent of the variance.
    assert_allclose(np.mean(away**2, axis=0), variance, atol=4 * error + 5e-3 * variance)
    correlation = np.corrcoef(away.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 5 / math.sqrt(len(away))


def test_the_range_is_that_of_the_material_and_not_of_the_region(set_up, run_block, emitter):
    scan = source(emitter(positron_kev=1000.0), RANGE, "aluminium")
    # A region of lung before it, and one of aluminium: the third region has the second material.
    far = [
        Sphere(name=n, centre_mm=(x, 0.0, 0.0), radius_mm=5.0) for n, x in (("l", 390), ("a", 370))
    ]
    first = PhantomRegion(name="l", shapes=(far[0],), material="lung")
    second = PhantomRegion(name="a", shapes=(far[1],), material="aluminium")
    regions = (first, second, *scan.phantom.regions)

    one, other = (
        run_block(set_up(replace(scan, phantom=replace(scan.phantom, regions=r))), 5_000, 102)[1]
        for r in (scan.phantom.regions, regions)
    )

    assert np.array_equal(one[:, 5:8], other[:, 5:8])


def test_without_range_positrons_annihilate_where_they_are_born(set_up, run_block, emitter):
    physics = Physics(positron_range=False, lutetium=False)
    _, truth = run_block(set_up(source(emitter(positron_kev=1000.0), physics)), 500, 92)

    assert np.array_equal(truth[:, 5:8], truth[:, 2:5])


def test_a_positron_has_the_region_it_annihilates_in_and_none_in_the_air(
    set_up, run_block, emitter
):
    ball = Sphere(name="small", centre_mm=(0.0, 0.0, 0.0), radius_mm=2.0)
    shell = Sphere(name="big", centre_mm=(0.0, 0.0, 0.0), radius_mm=4.0)
    line = LineSource(name="p", start_mm=(0, 0, 0), end_mm=(0, 0, 0), activity_mbq=1.0)
    regions = tuple(PhantomRegion(name=s.name, shapes=(s,)) for s in (shell, ball))
    acquisition = Acquisition(
        phantom=Phantom(regions=regions, lines=(line,)), isotope=emitter(positron_kev=2000.0),
        detector=DETECTOR, duration_s=1.0, physics=RANGE,
    )  # fmt: skip

    _, truth = run_block(set_up(acquisition), 5_000, 93)

    way = np.linalg.norm(truth[:, 5:8] - truth[:, 2:5], axis=1)
    assert np.array_equal(truth[:, 8], np.where(way <= 2.0, 1, 0))
    assert way.max() <= 4.0
    # Those that would rest outside stay where they are born.
    assert np.sum(way == 0.0) > 100


@pytest.mark.kernel
def test_positrons_annihilate_in_flight_as_a_poisson_process_of_their_way():
    # A straight table: the chance is 1 - exp(-rise), and the energy falls from the start.
    flight = np.linspace(0.0, 1.0, 1002)
    start = 800.5
    own = state(94)
    found = np.array([energy_in_flight(own, start, flight) for _ in range(4000)])

    stopped = found == 0.0
    rest = math.exp(-start / 1001)
    assert abs(stopped.mean() - rest) < 4 * math.sqrt(rest * (1 - rest) / 4000)
    lost = start - found[~stopped]
    assert stats.kstest(lost, stats.truncexpon(b=start / 1001, scale=1001).cdf).pvalue > 0.01


@pytest.mark.kernel
def test_energies_in_flight_follow_a_bent_table():
    flight = annihilations_in_flight(1500)
    assert flight[0] == 0.0
    own = state(95)
    # Enough of them by a hundredfold cross section.
    flight = 40 * flight
    found = np.array([energy_in_flight(own, 1400.0, flight) for _ in range(3000)])

    moving = found[found > 0]
    level = np.interp([1400.0, *moving], np.arange(1501), flight)
    # Annihilations between the start and there are exponential, cut where the positron rests.
    law = stats.truncexpon(b=level[0], scale=1.0)
    assert stats.kstest(level[0] - level[1:], law.cdf).pvalue > 0.01
    share = 1 - math.exp(-level[0])
    assert abs(len(moving) / 3000 - share) < 4 * math.sqrt(share * (1 - share) / 3000)


def dirac_cross_section_cm2(t):
    """P. Dirac's cross section by integrating that of the centre of mass over the angle."""
    beta2 = t / (t + 2)

    def shape(c):
        s2 = 1 - c * c
        return (1 + 2 * beta2 * s2 - beta2**2 - beta2**2 * s2**2) / (1 - beta2 * c * c) ** 2

    # alpha^2/(s beta), with s = 2 m^2 (t + 2), over half of the sphere for equal photons.
    radius2 = 2.8179403e-13**2
    return 2 * math.pi * radius2 / (2 * (t + 2) * math.sqrt(beta2)) * quad(shape, 0.0, 1.0)[0]


def test_the_chance_to_annihilate_in_flight_is_dirac_over_bethe():
    flight = annihilations_in_flight(2000)
    # Collision stopping powers of positrons in water [MeV cm2/g], ICRU 37 within some percent:
    # ESTAR's for electrons, which are 1 to 3 % lower for positrons above 0.5 MeV.
    for kev, stopping in [(500, 2.034), (1000, 1.849), (1500, 1.822)]:
        electrons = 6.02214e23 * 0.55509
        expected = electrons * dirac_cross_section_cm2(kev / ELECTRON_KEV) / (1e3 * stopping)

        found = 0.5 * (flight[kev + 1] - flight[kev - 1])

        assert 0.99 * expected < found < 1.05 * expected


def heitler(kinetic):
    """Cumulative share of one photon's part of all energy, from the centre of mass.

    There dsigma/dcos goes as (1 + 2 b^2 s^2 - b^4 - b^4 s^4)/(1 - b^2 c^2)^2 for both particles at
    the velocity b, and the laboratory, where the electron rests, moves with b.
    """
    beta = math.sqrt(kinetic / (kinetic + 2 * ELECTRON_KEV))
    c = np.linspace(-1.0, 1.0, 20_001)
    s2 = 1 - c * c
    density = (1 + 2 * beta**2 * s2 - beta**4 - beta**4 * s2**2) / (1 - beta**2 * c * c) ** 2
    share = cumulative_trapezoid(density, c, initial=0.0)
    return 0.5 * (1 + beta * c), share / share[-1]


@pytest.mark.kernel
@pytest.mark.parametrize("kinetic", [20.0, 300.0, 1400.0, 3000.0])
def test_photons_of_an_annihilation_in_flight_share_the_energy_as_heitler_has_it(kinetic):
    own = state(96)
    found = np.array([photons_in_flight(own, kinetic) for _ in range(3000)])

    share = found[:, 0] / (kinetic + 2 * ELECTRON_KEV)
    part, cumulative = heitler(kinetic)
    assert part[0] <= share.min()
    assert share.max() <= part[-1]
    # Which of the two comes first means nothing: the softer one's share is half of the law's.
    softer = np.minimum(share, 1 - share)
    assert stats.kstest(softer, lambda e: 2 * np.interp(e, part, cumulative)).pvalue > 0.01


def pairs(moving, sigma, n, seed):
    own = state(seed)
    photons = np.zeros((2, 8))
    found = []
    for _ in range(n):
        emit_pair(own, photons, 1.0, 2.0, 3.0, moving, 4.0, sigma)
        found.append(photons.copy())
    return np.array(found)


@pytest.mark.kernel
@pytest.mark.parametrize("moving", [1e-3, 50.0, 700.0, 2500.0])
def test_annihilation_in_flight_conserves_energy_and_momentum(moving):
    found = pairs(moving, 0.01, 1000, 97)

    energy, unit = found[:, :, PHOTON_ENERGY], found[:, :, U : W + 1]
    assert_allclose(np.linalg.norm(unit, axis=2), 1.0, atol=1e-9)
    assert_allclose(energy.sum(axis=1), moving + 2 * ELECTRON_KEV, rtol=1e-12)
    momentum = np.linalg.norm(np.sum(energy[:, :, None] * unit, axis=1), axis=1)
    positron = math.sqrt(moving * (moving + 2 * ELECTRON_KEV))
    # Cosines lose half the digits where momentum is small against energy.
    assert_allclose(momentum, positron, rtol=1e-7, atol=1e-4)
    # Head-on and backward photons have the limits of the kinematics.
    total = moving + 2 * ELECTRON_KEV
    assert energy.min() >= 0.5 * (total - positron) - 1e-9
    assert energy.max() <= 0.5 * (total + positron) + 1e-9
    assert_allclose(found[:, 0, :3], np.tile([1.0, 2.0, 3.0], (1000, 1)))


@pytest.mark.kernel
def test_positrons_in_flight_go_in_all_directions():
    found = pairs(700.0, 0.0, 3000, 98)

    momentum = np.sum(found[:, :, [PHOTON_ENERGY]] * found[:, :, U : W + 1], axis=1)
    unit = momentum / np.linalg.norm(momentum, axis=1)[:, None]
    for one in unit.T:
        assert stats.kstest(one, stats.uniform(-1, 2).cdf).pvalue > 0.01


@pytest.mark.kernel
def test_without_acollinearity_photons_leave_back_to_back():
    found = pairs(0.0, 0.0, 500, 99)

    assert_allclose(found[:, 0, U : W + 1], -found[:, 1, U : W + 1])
    assert np.all(found[:, :, PHOTON_ENERGY] == ELECTRON_KEV)


@pytest.mark.kernel
def test_acollinearity_has_its_width_in_each_direction_across():
    n = 4000
    sigma = math.radians(0.5) / 2.3548
    found = pairs(0.0, sigma, n, 100)

    first, second = found[:, 0, U : W + 1], found[:, 1, U : W + 1]
    # Two directions across the first photon.
    one = np.cross(first, [0.3, -0.5, 0.8])
    one /= np.linalg.norm(one, axis=1)[:, None]
    other = np.cross(first, one)
    for across in (one, other):
        angle = np.sum(second * across, axis=1)
        assert stats.kstest(angle, stats.norm(0.0, sigma).cdf).pvalue > 0.01
        assert angle.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * n))
    for photons in (first, second):
        for component in photons.T:
            assert stats.kstest(component, stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_a_few_percent_of_the_positrons_of_sc44_annihilate_in_flight(set_up, run_block):
    setup = set_up(source(find_nuclide("Sc-44"), Physics(lutetium=False)))

    _, truth = run_block(setup, 50_000, 101)

    flight = truth[:, 9] == IN_FLIGHT
    positron = np.isfinite(truth[:, 1])
    assert 0.015 < flight.sum() / positron.sum() < 0.03
    # They have no lifetime, and their photons share more than 2 mc^2.
    assert np.all(truth[flight, 1] == 0.0)
    expected = annihilations_in_flight(1480)
    spectrum = positron_spectrum(1473.66, 20)
    share = np.mean(1 - np.exp(-np.interp(spectrum, np.arange(1481), expected)))
    error = math.sqrt(share / positron.sum())
    assert flight.sum() / positron.sum() == pytest.approx(share, abs=4 * error)
