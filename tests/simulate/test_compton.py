import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import cumulative_trapezoid

from psimg.simulate._photons import ELECTRON_KEV, SCATTER_STEP_KEV, scatter_angle, turned
from psimg.simulate._random import state_of, uniform
from psimg.simulate.physics import scatter_table

ENERGIES = [100.0, 511.0, 1157.0, 2000.0]
KEV = pytest.mark.parametrize("energy", ENERGIES)


@pytest.fixture(scope="module")
def scattering():
    return scatter_table(2000)


def state(seed):
    return state_of(np.random.SeedSequence(seed))


def drawn(energy, n, seed, scattering):
    own = state(seed)
    return np.array([scatter_angle(own, energy, scattering) for _ in range(n)]).T


def klein_nishina(energy):
    """Cosines and the cumulative share of photons scattered to less, integrated numerically."""
    cosine = np.linspace(-1.0, 1.0, 100_001)
    ratio = 1.0 / (1.0 + energy / ELECTRON_KEV * (1.0 - cosine))
    density = ratio**2 * (ratio + 1.0 / ratio - 1.0 + cosine**2)
    share = cumulative_trapezoid(density, cosine, initial=0.0)
    return cosine, share / share[-1]


def kahn(energy, n, rng):
    """Cosines by H. Kahn's rejection, AECU-3259 (1954)."""
    k = energy / ELECTRON_KEV
    one, two, three = rng.random((3, n))
    first = one <= (1 + 2 * k) / (9 + 2 * k)
    ratio = np.where(first, 1 + 2 * k * two, (1 + 2 * k) / (1 + 2 * k * two))
    cosine = 1 - (ratio - 1) / k
    kept = np.where(first, 4 * (1 / ratio - 1 / ratio**2), 0.5 * (cosine**2 + 1 / ratio)) >= three
    return cosine[kept]


@pytest.mark.kernel
@KEV
def test_energy_and_angle_of_a_scatter_belong_together(energy, scattering):
    after, cosine = drawn(energy, 1000, 21, scattering)

    assert np.all(np.abs(cosine) <= 1.0 + 1e-12)
    assert_allclose(after, energy / (1 + energy / ELECTRON_KEV * (1 - cosine)), rtol=1e-12)
    assert np.all(after <= energy)
    assert np.all(after >= energy / (1 + 2 * energy / ELECTRON_KEV) * (1 - 1e-12))


@pytest.mark.kernel
def test_the_table_is_read_between_its_energies_and_its_shares():
    # Bent along the shares and along the energies, so that each corner counts for itself.
    row, column = np.arange(8.0), np.arange(5.0)
    table = 0.01 * row[:, None] ** 2 + 0.02 * column**2
    own, same = state(27), state(27)
    for energy in (8.0, 13.0, 22.0, 46.0):
        after, _ = scatter_angle(own, energy, table)

        across = 4 * uniform(same)
        j = int(across)
        bend = 0.02 * (j**2 + (across - j) * (2 * j + 1))
        i = int(energy / SCATTER_STEP_KEV)
        place = bend + 0.01 * (i**2 + (energy / SCATTER_STEP_KEV - i) * (2 * i + 1))
        lowest = 1 / (1 + 2 * energy / ELECTRON_KEV)
        assert after == pytest.approx(energy * (lowest + (1 - lowest) * place), rel=1e-12)


@pytest.mark.kernel
@KEV
def test_a_few_scatters_follow_klein_and_nishina(energy, scattering):
    _, cosine = drawn(energy, 2000, 22, scattering)

    assert stats.kstest(cosine, lambda c: np.interp(c, *klein_nishina(energy))).pvalue > 0.01


@KEV
def test_many_scatters_follow_klein_and_nishina(energy, scattering):
    _, cosine = drawn(energy, 200_000, 23, scattering)

    found = stats.kstest(cosine, lambda c: np.interp(c, *klein_nishina(energy)))
    assert found.pvalue > 0.01
    # The level that one in ten thousand samples of a true distribution passes.
    assert found.statistic < stats.kstwo.ppf(0.9999, len(cosine))


@KEV
def test_scatters_are_those_of_kahns_rejection(energy, scattering):
    _, cosine = drawn(energy, 100_000, 24, scattering)
    other = kahn(energy, 300_000, np.random.default_rng(24))

    assert stats.ks_2samp(cosine, other).pvalue > 0.01


@pytest.mark.parametrize("energy", [16.0, 30.0, 100.0, 508.0, 511.0, 1157.0, 2000.0])
def test_the_table_is_the_quantile_of_klein_and_nishina(energy, scattering):
    share = np.linspace(0.0, 1.0, 5000)
    row = energy / SCATTER_STEP_KEV
    i = int(row)
    levels = np.linspace(0.0, 1.0, scattering.shape[1])
    low, high = (np.interp(share, levels, scattering[k]) for k in (i, i + 1))
    lowest = 1 / (1 + 2 * energy / ELECTRON_KEV)
    ratio = lowest + (1 - lowest) * (low + (high - low) * (row - i))

    cosine = 1 - (1 / ratio - 1) * ELECTRON_KEV / energy

    # Straight lines between 64 steps of a quantile Q are off by Q''/(8 64^2), and the share by
    # that times the density f: |f'|/f^2/32768, where |f'|/f^2 stays below 3.5. The lines between
    # two energies come on top.
    assert_allclose(np.interp(cosine, *klein_nishina(energy)), share, atol=4 / 32768)


@pytest.mark.kernel
@pytest.mark.parametrize(
    "axis",
    [(0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.36, -0.48, 0.8), (-0.6, 0.64, -0.48)],
)
@pytest.mark.parametrize("cosine", [-1.0, -0.3, 0.99])
def test_a_direction_is_turned_by_the_angle_asked_for_at_any_azimuth(axis, cosine):
    own = state(25)

    turn = np.array([turned(own, *axis, cosine) for _ in range(500)])

    assert_allclose(np.sum(turn**2, axis=1), 1.0, rtol=1e-12)
    assert_allclose(turn @ axis, cosine, atol=1e-12)
    if abs(cosine) < 1:
        one = np.cross(axis, (0.6, 0.0, 0.8) if axis[0] else (1.0, 0.0, 0.0))
        one /= np.linalg.norm(one)
        azimuth = np.arctan2(turn @ one, turn @ np.cross(axis, one))
        assert stats.kstest(azimuth, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.01


@pytest.mark.kernel
def test_directions_beside_the_axis_turn_as_those_on_it():
    cosine = 0.5
    for tilt in (1e-12, 1e-9, 1e-7, 1e-5):
        axis = np.array([tilt, 0.0, -np.sqrt(1 - tilt**2)])

        turn = np.array([turned(own, *axis, cosine) for own in [state(26)] for _ in range(200)])

        # Below 1e-8 the tilt is left out.
        assert_allclose(turn @ axis, cosine, atol=1e-8)
        assert_allclose(np.sum(turn**2, axis=1), 1.0, rtol=1e-9)
