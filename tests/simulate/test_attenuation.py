import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from psimg.core.grid import VoxelGrid
from psimg.core.regions import Box, Sphere
from psimg.simulate import (
    MATERIALS,
    Acquisition,
    Detector,
    LineSource,
    Material,
    Phantom,
    PhantomRegion,
    Physics,
    VoxelPhantom,
)
from psimg.simulate._decays import SCATTER_1, SCATTER_PROMPT
from psimg.simulate._photons import next_scatter
from psimg.simulate._random import isotropic, state_of
from psimg.simulate.materials import attenuation_tables

DETECTOR = Detector(
    inner_radius_mm=300.0, thickness_mm=20.0, length_mm=1000.0, crystals_around=300,
    crystals_along=200, crt_ns=0.2, energy_fwhm=0.0, threshold_kev=0.0, trigger_kev=0.0,
)  # fmt: skip
PLAIN = Physics(
    positron_range=False, in_flight=False, acollinearity_fwhm_deg=0.0, lutetium=False, pile_up=False
)
CENTRE = LineSource(name="point", start_mm=(0, 0, 0), end_mm=(0, 0, 0), activity_mbq=1.0)


def ball(material="water", radius_mm=70.0, name="ball", centre_mm=(0.0, 0.0, 0.0)):
    sphere = Sphere(name=name, centre_mm=centre_mm, radius_mm=radius_mm)
    return PhantomRegion(name=name, shapes=(sphere,), material=material)


def box(low, high, material="water", name="box"):
    low, high = np.array(low), np.array(high)
    shape = Box(
        name=name, centre_mm=tuple(0.5 * (low + high)), half_length_mm=tuple(0.5 * (high - low))
    )
    return PhantomRegion(name=name, shapes=(shape,), material=material)


def coefficients(kev, material="water"):
    compton, photo = attenuation_tables([MATERIALS[material]], 2000)
    return compton[0, kev], photo[0, kev]


def point_source(phantom, isotope):
    phantom = replace(phantom, lines=(CENTRE,))
    return Acquisition(
        phantom=phantom, isotope=isotope, detector=DETECTOR, duration_s=1.0, physics=PLAIN
    )


@pytest.fixture
def ways(set_up, emitter):
    """Return how far photons fly in a phantom before they interact, and whether they scatter."""

    def ways(phantom, energy, n, seed, start=(0.0, 0.0, 0.0), direction=None):
        s = set_up(point_source(phantom, emitter(2000.0)))
        state = state_of(np.random.SeedSequence(seed))
        found = []
        for _ in range(n):
            unit = isotropic(state) if direction is None else direction
            found.append(
                next_scatter(state, *start, *unit, energy, s.table, s.shapes, s.density, s.frame)
            )
        way, scatters = np.array(found).T
        return way, scatters.astype(bool)

    return ways


def test_water_attenuates_511_kev_by_what_nist_has_without_coherent_scatter():
    # NIST XCOM: 0.0958 cm2/g, water of 0.998 g/cm3 at 20 C.
    assert 0.0957 < 10 * sum(coefficients(511)) / 0.998 < 0.0960


@pytest.mark.parametrize("radius", [30.0, 70.0])
def test_primaries_leave_a_ball_of_water_by_the_exponential_law(set_up, run_block, emitter, radius):
    isotope = emitter(1157.0, positron_kev=500.0)
    setup = set_up(point_source(Phantom(regions=(ball(radius_mm=radius),)), isotope))

    _, truth = run_block(setup, 100_000, 60)

    for kev, columns in [(511, [SCATTER_1, SCATTER_1 + 1]), (1157, [SCATTER_PROMPT])]:
        compton, photo = coefficients(kev)
        out = math.exp(-(compton + photo) * radius)
        # Photons absorbed before they scatter do not scatter either: 1e-4 of the interactions.
        expected = out + (1 - out) * photo / (compton + photo)
        scatters = truth[:, columns]
        error = math.sqrt(out * (1 - out) / scatters.size)
        assert 4 * error < 0.01 * out
        assert np.mean(scatters == 0) == pytest.approx(expected, abs=4 * error)


@pytest.mark.kernel
@pytest.mark.parametrize("energy", [60.0, 511.0, 1157.0])
def test_free_ways_in_water_are_exponential(ways, energy):
    way, scatters = ways(Phantom(regions=(ball(radius_mm=300.0),)), energy, 2000, 61)

    compton, photo = coefficients(int(energy))
    mu = compton + photo
    stopped = way < math.inf
    assert way[stopped].max() <= 300.0
    inside = stats.truncexpon(b=mu * 300.0, scale=1 / mu)
    assert stats.kstest(way[stopped], inside.cdf).pvalue > 0.01
    share = compton / mu
    error = math.sqrt(share * (1 - share) / stopped.sum())
    assert abs(scatters[stopped].mean() - share) < max(4 * error, 1e-3)
    out = math.exp(-mu * 300.0)
    assert abs(np.mean(~stopped) - out) < 4 * math.sqrt(out * (1 - out) / 2000)


@pytest.mark.kernel
def test_a_photon_from_outside_crosses_a_slab_by_the_exponential_law(ways):
    slab = box((20.0, -50.0, -50.0), (60.0, 50.0, 50.0))
    source = ball("vacuum", radius_mm=5.0, name="source")
    phantom = Phantom(regions=(source, slab))

    way, _ = ways(phantom, 511.0, 2000, 62, start=(-180.0, 10.0, -3.0), direction=(1.0, 0.0, 0.0))

    mu = sum(coefficients(511))
    out = math.exp(-mu * 40.0)
    stopped = way < math.inf
    assert abs(np.mean(~stopped) - out) < 4 * math.sqrt(out * (1 - out) / len(way))
    inside = stats.truncexpon(b=mu * 40.0, scale=1 / mu)
    assert stats.kstest(way[stopped] - 200.0, inside.cdf).pvalue > 0.01


@pytest.mark.kernel
def test_a_photon_that_misses_or_flies_away_never_interacts(ways):
    phantom = Phantom(regions=(ball(radius_mm=70.0),))
    for start, unit in [
        ((-200.0, 71.0, 0.0), (1.0, 0.0, 0.0)),
        ((-200.0, 0.0, 0.0), (-1.0, 0.0, 0.0)),
        ((0.0, 0.0, 71.0), (0.0, 0.0, 1.0)),
        ((80.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
        ((0.0, 0.0, 71.0), (0.0, 1.0, 0.0)),
    ]:
        way, _ = ways(phantom, 60.0, 100, 63, start=start, direction=unit)
        assert np.all(way == math.inf)


@pytest.mark.kernel
def test_a_photon_in_vacuum_never_scatters(ways):
    vacuum = ball("vacuum", radius_mm=250.0, name="vacuum")
    # With water elsewhere the photon still takes steps.
    water = box((-200.0, -200.0, 100.0), (200.0, 200.0, 150.0))
    for regions in [(vacuum,), (vacuum, water)]:
        way, _ = ways(Phantom(regions=regions), 60.0, 500, 64, direction=(0.6, -0.8, 0.0))
        assert np.all(way == math.inf)
    way, _ = ways(Phantom(regions=(vacuum, water)), 60.0, 500, 64, direction=(0.0, 0.0, 1.0))
    assert np.all(way[way < math.inf] >= 100.0)
    out = math.exp(-sum(coefficients(60)) * 50.0)
    assert abs(np.mean(way == math.inf) - out) < 4 * math.sqrt(out * (1 - out) / 500)


@pytest.mark.kernel
def test_the_last_region_is_the_one_a_photon_meets(ways):
    water, vacuum = ball(), ball("vacuum", name="vacuum")

    way, _ = ways(Phantom(regions=(water, vacuum)), 511.0, 300, 65)
    assert np.all(way == math.inf)
    way, _ = ways(Phantom(regions=(vacuum, water)), 511.0, 300, 65)
    # 49 % leave 70 mm of water.
    assert 90 < np.sum(way < math.inf) < 210


def halves(density):
    """Voxels of which the half at positive x has this density."""
    grid = VoxelGrid.centred(shape=(8, 4, 4), voxel_mm=(20.0, 40.0, 40.0))
    relative = np.ones(grid.shape)
    relative[4:] = density
    return VoxelPhantom(
        name="v", grid=grid, activity=np.ones(128), activity_mbq=0.0, density=relative.ravel()
    )


@pytest.mark.kernel
@pytest.mark.parametrize("density", [0.5, 2.0, 0.0])
def test_voxels_attenuate_by_their_density(ways, density):
    for unit, relative in [((1.0, 0.0, 0.0), density), ((-1.0, 0.0, 0.0), 1.0)]:
        way, _ = ways(Phantom(voxels=halves(density)), 511.0, 1500, 66, direction=unit)

        out = math.exp(-sum(coefficients(511)) * relative * 80.0)
        assert abs(np.mean(way == math.inf) - out) <= 4 * math.sqrt(out * (1 - out) / 1500)


def test_voxels_of_half_density_are_a_box_of_half_density(set_up, run_block, emitter, monkeypatch):
    half = Material(name="half", density_g_cm3=0.499, mass_fractions=dict(
        MATERIALS["water"].mass_fractions
    ))  # fmt: skip
    monkeypatch.setitem(MATERIALS, "half", half)
    low, high = (-80.0, -80.0, -80.0), (80.0, 80.0, 80.0)
    boxes = (box(low, high), box((0.0, -80.0, -80.0), high, "half", "half"))
    isotope = emitter(300.0, positron_kev=500.0)

    found = []
    for seed, phantom in [(67, Phantom(voxels=halves(0.5))), (68, Phantom(regions=boxes))]:
        hits, truth = run_block(set_up(point_source(phantom, isotope)), 40_000, seed)
        found.append((hits, truth))

    for column in range(SCATTER_1, SCATTER_PROMPT + 1):
        counts = [np.bincount(np.minimum(t[:, column], 5).astype(int), minlength=6)
                  for _, t in found]  # fmt: skip
        assert stats.chi2_contingency(counts).pvalue > 0.01
    for column in (1, 2, 4):
        sample = [hits[:, column] for hits, _ in found]
        assert stats.ks_2samp(*sample).pvalue > 0.01
    # Photons come out of the thin half more often.
    assert np.sum(found[0][0][:, 2] > 0) > 1.1 * np.sum(found[0][0][:, 2] < 0)


def test_without_attenuation_no_photon_scatters_in_the_phantom(set_up, run_block, emitter):
    acquisition = point_source(Phantom(regions=(ball(),)), emitter(300.0, positron_kev=500.0))
    physics = replace(PLAIN, attenuation=False)

    _, truth = run_block(set_up(replace(acquisition, physics=physics)), 1000, 69)

    assert not truth[:, SCATTER_1 : SCATTER_PROMPT + 1].any()
