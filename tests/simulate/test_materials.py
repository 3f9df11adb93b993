import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import psimg.simulate.materials
from psimg.core import SettingsError
from psimg.simulate.materials import (
    MATERIALS,
    MAX_KEV,
    MIN_KEV,
    Material,
    attenuation_tables,
    find_element,
    find_material,
    mass_fractions,
)

AVOGADRO = 0.602214076  # times 1e24
BARN_THOMSON = 0.66524587  # of an electron


def klein_nishina(kev):
    """Total cross-section of a free electron in barn (Heitler, Evans 1955, eq. 23.2.1)."""
    a = kev / 510.99895
    log = math.log1p(2 * a)
    first = (1 + a) / a**2 * (2 * (1 + a) / (1 + 2 * a) - log / a)
    return 0.75 * BARN_THOMSON * (first + log / (2 * a) - (1 + 3 * a) / (1 + 2 * a) ** 2)


def mass_coefficients(name, kev):
    material = MATERIALS[name]
    compton, photo = attenuation_tables([material], kev)
    scale = 10 / material.density_g_cm3
    return scale * compton[0, kev], scale * photo[0, kev]


def test_the_cross_section_of_the_oracle_is_that_of_thomson_for_soft_photons():
    assert klein_nishina(0.5) == pytest.approx(BARN_THOMSON * (1 - 2 * 0.5 / 511), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "kev", "compton", "photo"),
    [
        # NIST XCOM [cm2/g], as xraylib 4.3 has it.
        ("water", 100, 0.16264, 2.762e-3),
        ("water", 511, 0.09577, 1.777e-5),
        ("water", 800, 0.07858, 5.919e-6),
        ("pmma", 511, 0.09308, 1.026e-5),
        ("aluminium", 100, 0.13878, 1.840e-2),
        ("aluminium", 500, 0.08374, 1.344e-4),
        ("lso", 511, 0.07282, 3.792e-2),
        ("bgo", 511, 0.07145, 5.560e-2),
    ],
)
def test_scattering_and_absorption_are_those_of_nist(name, kev, compton, photo):
    # Straight lines between the tabulated energies are right to 0.2 % and 0.4 %; these are at
    # tabulated ones, or next to one.
    found = mass_coefficients(name, kev)

    assert found[0] == pytest.approx(compton, rel=1e-3)
    assert found[1] == pytest.approx(photo, rel=2e-3)


def test_bone_attenuates_as_nist_has_it():
    assert sum(mass_coefficients("bone", 511)) == pytest.approx(0.08891, rel=1e-3)


def test_511_kev_photons_reach_as_far_into_detectors_as_published():
    # Published lengths, LSO 11.4 mm and BGO 10.4 mm, count coherent scattering too: 5.6 % and
    # 5.9 % of the attenuation in XCOM.
    materials = [MATERIALS["lso"], MATERIALS["bgo"]]
    compton, photo = attenuation_tables(materials, 511)

    length = np.array([0.944, 0.941]) / (compton + photo)[:, 511]

    assert_allclose(length, [11.4, 10.4], rtol=0.015)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("water", 0.01), ("pmma", 0.01), ("lso", 0.02), ("bgo", 0.02)]
)
@pytest.mark.parametrize("kev", [511, 1157])
def test_electrons_scatter_as_if_free_above_their_binding(name, tolerance, kev):
    material = MATERIALS[name]

    compton, _ = mass_coefficients(name, kev)

    free = AVOGADRO * material.z_over_a * klein_nishina(kev)
    assert compton == pytest.approx(free, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "edge_kev", "jump"), [("lso", 63.3, 5.0), ("bgo", 90.5, 4.4), ("nai", 33.2, 5.8)]
)
def test_absorption_jumps_at_the_k_edge_and_nowhere_above(name, edge_kev, jump):
    _, photo = attenuation_tables([MATERIALS[name]], MAX_KEV)

    below, above = math.floor(edge_kev), math.ceil(edge_kev)
    # Of the heavy element the jump is its K shell's; falling over the 1 keV takes a little off.
    assert photo[0, above] / photo[0, below] == pytest.approx(jump, rel=0.06)
    rises = np.flatnonzero(np.diff(photo[0, MIN_KEV:]) > 0) + MIN_KEV
    assert rises[-1] == below


def test_absorption_falls_where_there_is_no_edge():
    names = [name for name in MATERIALS if name not in ("vacuum", "lso", "lyso", "bgo", "nai")]
    compton, photo = attenuation_tables([MATERIALS[name] for name in names], MAX_KEV)

    assert np.all(np.diff(photo[:, MIN_KEV:]) < 0)
    assert np.all(np.diff(compton[:, 60:]) < 0)


def test_tables_have_a_column_per_kev_and_stand_still_below_the_lowest():
    materials = [MATERIALS["water"], MATERIALS["lso"], MATERIALS["vacuum"]]

    compton, photo = attenuation_tables(materials, 1500)

    assert compton.shape == photo.shape == (3, 1501)
    assert compton.dtype == photo.dtype == np.float64
    for table in (compton, photo):
        assert np.all(table[:2] > 0)
        assert np.all(table[2] == 0)
        assert_allclose(table[:, :MIN_KEV], table[:, [MIN_KEV] * MIN_KEV])


def test_attenuation_goes_with_density_and_mixes_by_mass():
    thin = Material(name="thin", density_g_cm3=0.5, mass_fractions=mass_fractions("H2O"))
    half = Material(
        name="half", density_g_cm3=1.0, mass_fractions={"H": 0.5 * 0.1119, "O": 0.94405}
    )
    oxygen = Material(name="oxygen", density_g_cm3=1.0, mass_fractions={"O": 1.0})
    water = Material(name="water", density_g_cm3=1.0, mass_fractions={"H": 0.1119, "O": 0.8881})

    compton, photo = attenuation_tables([thin, water, half, oxygen], 700)

    for table in (compton, photo):
        assert_allclose(table[0], 0.5 * table[1], rtol=1e-3)
        assert_allclose(table[2], 0.5 * (table[1] + table[3]), rtol=1e-12)


def test_a_formula_becomes_shares_of_the_mass():
    assert mass_fractions("H2O") == pytest.approx({"H": 0.11190, "O": 0.88810}, abs=1e-5)
    lyso = mass_fractions("Lu1.8Y0.2SiO5")
    assert math.fsum(lyso.values()) == pytest.approx(1.0)
    assert lyso["Lu"] / lyso["Y"] == pytest.approx(9 * 174.967 / 88.90585)
    assert mass_fractions("CHO2") == pytest.approx(mass_fractions("COOH"))


def test_the_constants_of_positron_range_are_those_of_the_mixture():
    water = MATERIALS["water"]

    assert water.z_over_a == pytest.approx(0.55509, rel=1e-4)
    assert water.effective_z == pytest.approx(0.1119 * 1 + 0.8881 * 8, rel=1e-4)
    assert MATERIALS["aluminium"].effective_z == pytest.approx(13)
    assert MATERIALS["aluminium"].effective_a == pytest.approx(26.98, rel=1e-3)
    assert water.effective_z / water.effective_a == pytest.approx(water.z_over_a)
    assert MATERIALS["vacuum"].z_over_a == MATERIALS["vacuum"].effective_a == 0.0


@pytest.mark.parametrize("name", MATERIALS)
def test_shares_of_a_material_add_up(name):
    material = MATERIALS[name]

    assert material.name == name
    assert material.source
    if name == "vacuum":
        assert not material.mass_fractions
    else:
        assert math.fsum(material.mass_fractions.values()) == pytest.approx(1.0, abs=1e-12)
        assert 0.4 < material.z_over_a < 0.6


def test_materials_are_found_by_name():
    assert find_material("lso") is MATERIALS["lso"]
    assert find_element("Lu").z == 71


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: find_material("watre"),
            r"material = 'watre' is not known; did you mean 'water'\?",
        ),
        (lambda: find_material("LSO"), r"did you mean 'lso'\? Known are vacuum, "),
        (
            lambda: find_material("cheese!"),
            r"'cheese!' is not known; use one of vacuum, air, water",
        ),
        (lambda: find_element("Xx"), r"element 'Xx' is not in the tables; they have H, C, N, O, "),
        (lambda: mass_fractions("H2O)"), r"formula = 'H2O\)' is not understood; .*Lu1\.8Y0\.2SiO5"),
        (lambda: mass_fractions("UO2"), r"element 'U' is not in the tables"),
        (
            lambda: attenuation_tables([MATERIALS["water"]], 5000),
            r"max_kev = 5000 is outside the attenuation tables, 10 to 3000 keV",
        ),
        (
            lambda: Material(name="m", density_g_cm3=-1.0),
            r"m: density_g_cm3 = -1: expected a number of 0 or more",
        ),
        (
            lambda: Material(name="m", density_g_cm3=1.0),
            r"m has a density of 1 g/cm3 and no elements; give mass_fractions",
        ),
        (
            lambda: Material(name="m", density_g_cm3=1.0, mass_fractions={"H": 0.0, "O": 1.0}),
            r"m: mass_fractions\.H = 0: expected a number above zero",
        ),
        (
            lambda: Material(name="m", density_g_cm3=1.0, mass_fractions={"H": 2.0, "O": 1.0}),
            r"m: mass_fractions add up to 3, not to 1; give shares of the mass, or use ",
        ),
    ],
)
def test_what_is_wrong_with_a_material_is_said(call, message):
    with pytest.raises(SettingsError, match=message):
        call()


def test_the_data_files_ship_beside_the_code():
    folder = Path(psimg.simulate.materials.__file__).parent
    materials = tomllib.loads((folder / "materials.toml").read_text("utf-8"))
    elements = tomllib.loads((folder / "elements.toml").read_text("utf-8"))

    assert list(materials) == list(MATERIALS)
    n = len(elements["energy_kev"])
    for entry in elements["elements"].values():
        assert len(entry["compton"]) == len(entry["photo"]) == n
        assert all(below < above for _, below, above in entry["edges"])
