import math
import tomllib
from pathlib import Path

import pytest

import psimg.core.isotopes
from psimg.core import (
    ISOTOPES,
    NUCLIDES,
    DecayPath,
    DecayScheme,
    Isotope,
    SettingsError,
    find_isotope,
    find_nuclide,
)

# Positrons per decay as commonly quoted (DDEP, MIRD); the evaluations behind them differ by about
# 1 % of the value, and by 3 % where only few decays emit one.
POSITRONS = {
    "Na-22": 0.9038,
    "Sc-44": 0.9427,
    "Ga-68": 0.8891,
    "Rb-82": 0.954,
    "I-124": 0.227,
    "F-18": 0.967,
    "C-11": 0.998,
    "N-13": 0.998,
    "O-15": 0.999,
    "Cu-64": 0.175,
    "Zr-89": 0.228,
    "Mn-52": 0.294,
    "Co-55": 0.76,
    "Y-86": 0.319,
    "Cu-60": 0.93,
}

# ENSDF's gammas per decay, intensity times normalisation.
GAMMAS = [
    ("Na-22", 1274.5, 0.9994),
    ("Sc-44", 1157.0, 0.9990),
    ("Sc-44", 1499.4, 0.00909),
    ("Ga-68", 1077.3, 0.0322),
    ("Rb-82", 776.5, 0.1506),
    ("I-124", 602.7, 0.6290),
    ("I-124", 722.8, 0.1036),
    ("I-124", 1691.0, 0.1115),
    ("Mn-52", 744.2, 0.900),
    ("Mn-52", 935.5, 0.945),
    ("Mn-52", 1434.1, 1.000),
    ("Co-55", 477.2, 0.2018),
    ("Co-55", 931.1, 0.750),
    ("Co-55", 1408.5, 0.1688),
    ("Y-86", 1076.6, 0.825),
    ("Y-86", 627.7, 0.3259),
    ("Y-86", 1153.0, 0.3053),
    ("Cu-60", 1332.5, 0.880),
    ("Cu-60", 1791.6, 0.4541),
    ("Cu-60", 826.4, 0.2174),
    ("Zr-89", 909.2, 0.9904),
    ("Cu-64", 1345.8, 0.00472),
]


def energies(path):
    return (path.positron_kev or 0.0) + sum(path.gammas_kev)


@pytest.mark.parametrize("name", NUCLIDES)
def test_a_decay_takes_one_of_its_paths(name):
    paths = NUCLIDES[name].paths

    assert math.fsum(path.share for path in paths) == pytest.approx(1.0, abs=1e-12)
    for path in paths:
        assert path.share > 0
        assert len(path.delays_ns) == len(path.gammas_kev)
        assert all(0 <= delay < 1e3 for delay in path.delays_ns)
        assert all(kev > 0 for kev in path.gammas_kev)
        assert path.positron_kev is None or path.positron_kev > 0


@pytest.mark.parametrize("name", [name for name in NUCLIDES if name not in ("Cu-64", "Zr-89")])
def test_positron_and_gammas_add_up_to_the_energy_of_the_decay(name):
    # What the positron and a full cascade carry away is the same on every path with a positron,
    # but for transitions by a conversion electron and 1 keV of rounding in the level energies.
    sums = [energies(path) for path in NUCLIDES[name].paths if path.positron_kev is not None]
    shares = [path.share for path in NUCLIDES[name].paths if path.positron_kev is not None]

    full = sum(share for total, share in zip(sums, shares, strict=True) if max(sums) - total < 2.0)

    assert full > 0.99 * sum(shares)


@pytest.mark.parametrize("name", NUCLIDES)
def test_the_share_of_positrons_is_the_published_one(name):
    expected = POSITRONS[name]

    assert NUCLIDES[name].positron_share == pytest.approx(expected, rel=0.014)


@pytest.mark.parametrize(("name", "kev", "expected"), GAMMAS)
def test_the_yield_of_a_main_line_is_that_of_ensdf(name, kev, expected):
    assert NUCLIDES[name].gamma_yield(kev - 0.2, kev + 0.2) == pytest.approx(expected, rel=0.01)


def test_the_prompt_shares_are_those_of_the_literature():
    # Per positron: 1.34 % of Ga-68, about 14 % of Rb-82, about half of I-124, all of Sc-44.
    share = {name: each.prompt_share / each.positron_share for name, each in ISOTOPES.items()}

    assert share["Ga-68"] == pytest.approx(0.0134, abs=1e-4)
    assert share["Rb-82"] == pytest.approx(0.14, abs=0.005)
    assert share["I-124"] == pytest.approx(0.52, abs=0.02)
    assert share["Sc-44"] == pytest.approx(1.0, abs=1e-9)
    assert share["Na-22"] == pytest.approx(0.9994, abs=1e-4)
    assert share["Mn-52"] == pytest.approx(1.0, abs=1e-3)


def test_the_gamma_of_an_isomer_has_a_time_of_its_own():
    zirconium = NUCLIDES["Zr-89"]

    ((kev, amount),) = zirconium.delayed_gammas
    assert kev == pytest.approx(909.15)
    assert amount == pytest.approx(0.9903, abs=2e-4)
    assert not any(900 < kev < 920 for path in zirconium.paths for kev in path.gammas_kev)
    assert all(not each.delayed_gammas for name, each in NUCLIDES.items() if name != "Zr-89")


def test_the_delay_of_a_gamma_is_the_mean_life_of_its_level():
    (cascade, *_) = NUCLIDES["Mn-52"].paths

    assert cascade.gammas_kev == pytest.approx((744.23, 935.54, 1434.09))
    # Half-lives 41.4 ps, 6.7 ps, and below the 1 ps that counts as none (mean life 1.13 ps does).
    assert cascade.delays_ns[0] == pytest.approx(0.0414 / math.log(2), rel=0.01)
    assert cascade.delays_ns[1] == pytest.approx(0.0067 / math.log(2), rel=0.01)


@pytest.mark.parametrize("name", ISOTOPES)
def test_the_prompt_line_is_emitted_inside_its_window(name):
    isotope = ISOTOPES[name]
    low, high = isotope.prompt_window_kev

    assert low < isotope.prompt_kev < high
    assert isotope.gamma_yield(isotope.prompt_kev - 0.5, isotope.prompt_kev + 0.5) > 0.01
    assert 0 < isotope.prompt_share <= isotope.positron_share


def test_a_nuclide_without_prompt_has_no_window():
    without = {name for name in NUCLIDES if name not in ISOTOPES}

    assert without == {"Zr-89", "F-18", "C-11", "N-13", "O-15", "Cu-64"}
    for name in without:
        assert NUCLIDES[name].prompt_window_kev is None
        assert NUCLIDES[name].prompt_share is None


def test_a_scheme_of_ones_own_goes_before_the_one_that_ships():
    path = DecayPath(1.0, 1000.0, (1157.0,), (0.0,))
    isotope = Isotope(
        name="Sc-44",
        prompt_kev=1157.0,
        annihilation_window_kev=(430.0, 600.0),
        prompt_window_kev=(700.0, 1300.0),
        source="",
        half_life_s=1.0,
        half_life_source="",
        own_scheme=DecayScheme((path,)),
    )

    assert isotope.paths == (path,)
    assert isotope.positron_share == isotope.prompt_share == 1.0


def test_a_name_without_scheme_is_an_error():
    isotope = Isotope(
        name="Xx-1",
        annihilation_window_kev=(430.0, 600.0),
        source="",
        half_life_s=1.0,
        half_life_source="",
    )

    with pytest.raises(SettingsError, match=r"Xx-1 has no decay scheme; use one of Sc-44, .*own_"):
        _ = isotope.paths


def test_names_are_found():
    assert find_isotope("Sc-44") is ISOTOPES["Sc-44"]
    assert find_nuclide("F-18") is NUCLIDES["F-18"]


@pytest.mark.parametrize("name", ["F-18", "Zr-89", "Cu-64"])
def test_a_nuclide_without_prompt_is_no_isotope_for_lifetimes(name):
    with pytest.raises(SettingsError, match=rf"^{name} emits no prompt gamma with its positron; "):
        find_isotope(name)


@pytest.mark.parametrize("name", ["Sc44", "44Sc", "sc-44", "Sc-43"])
def test_an_unknown_name_names_the_nearest(name):
    with pytest.raises(SettingsError, match=rf"isotope = '{name}' is not known; did you mean 'Sc-"):
        find_isotope(name)


def test_a_name_like_no_other_names_them_all():
    with pytest.raises(SettingsError, match=r"isotope = 'water' is not known; use one of Sc-44, "):
        find_nuclide("water")


def test_the_file_names_a_source_for_every_nuclide():
    path = Path(psimg.core.isotopes.__file__).with_name("isotopes.toml")
    content = tomllib.loads(path.read_text("utf-8"))

    assert list(content) == list(NUCLIDES)
    assert all(entry["source"].startswith("ENSDF, ") for entry in content.values())
