"""Materials of phantoms and detectors, and how they attenuate photons.

The materials are in ``materials.toml``, the coefficients of their elements in ``elements.toml``,
which scripts/make_materials.py writes from NIST XCOM.
"""

import difflib
import functools
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError

FloatArray = NDArray[np.float64]

MIN_KEV = 10
"""Lowest energy of the tables [keV]."""
MAX_KEV = 3000
"""Highest energy of the tables [keV]."""

_ROUNDING = 2e-3


@dataclass(frozen=True, eq=False, slots=True)
class Element:
    """An element and its mass attenuation coefficients."""

    symbol: str
    z: int
    """Atomic number."""
    a: float
    """Atomic weight [g/mol]."""
    energy_kev: FloatArray
    """(E,) energies of ``photo``, each edge twice [keV]."""
    photo: FloatArray
    """(E,) photoelectric absorption [cm2/g]."""
    compton_kev: FloatArray
    """(F,) energies of ``compton`` [keV]."""
    compton: FloatArray
    """(F,) incoherent scattering [cm2/g]."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Material:
    """A mixture of elements of one density."""

    name: str
    density_g_cm3: float
    """Density; 0 for vacuum [g/cm3]."""
    mass_fractions: Mapping[str, float] = field(default_factory=dict)
    """Share of the mass of each element, by symbol; they add up to 1, and vacuum has none."""
    source: str = ""
    """Where density and composition come from."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.density_g_cm3) and self.density_g_cm3 >= 0):
            raise SettingsError(
                f"{self.name}: density_g_cm3 = {self.density_g_cm3:g}: expected a number of 0 or "
                "more"
            )
        if not self.mass_fractions and self.density_g_cm3 > 0:
            raise SettingsError(
                f"{self.name} has a density of {self.density_g_cm3:g} g/cm3 and no elements; "
                "give mass_fractions"
            )
        for symbol, fraction in self.mass_fractions.items():
            find_element(symbol)
            if not (math.isfinite(fraction) and fraction > 0):
                raise SettingsError(
                    f"{self.name}: mass_fractions.{symbol} = {fraction:g}: expected a number "
                    "above zero"
                )
        total = math.fsum(self.mass_fractions.values())
        if self.mass_fractions and abs(total - 1.0) > _ROUNDING:
            raise SettingsError(
                f"{self.name}: mass_fractions add up to {total:g}, not to 1; give shares of the "
                "mass, or use mass_fractions('H2O') for a formula"
            )
        shares = {symbol: fraction / total for symbol, fraction in self.mass_fractions.items()}
        object.__setattr__(self, "mass_fractions", MappingProxyType(shares))

    @property
    def z_over_a(self) -> float:
        """Electrons per unit of mass, the sum of w Z / A [mol/g]; 0 for vacuum."""
        return self._mean(lambda element: element.z / element.a)

    @property
    def effective_z(self) -> float:
        """Atomic number in range formulas for electrons, the sum of w Z; 0 for vacuum."""
        return self._mean(lambda element: element.z)

    @property
    def effective_a(self) -> float:
        """Atomic weight that goes with `effective_z`, so that their ratio is `z_over_a` [g/mol].

        The rule for compounds of T. Tabata, R. Ito, S. Okabe, Nucl. Instrum. Methods 103 (1972)
        85; 0 for vacuum.
        """
        return self.effective_z / self.z_over_a if self.mass_fractions else 0.0

    def _mean(self, value: Callable[[Element], float]) -> float:
        return math.fsum(w * value(find_element(s)) for s, w in self.mass_fractions.items())


def mass_fractions(formula: str) -> dict[str, float]:
    """Return the share of the mass of each element of a formula such as ``Lu1.8Y0.2SiO5``.

    Raises
    ------
    SettingsError
        If the text is no formula, or an element is not in the tables.
    """
    atoms = read_formula(formula)
    masses = {symbol: count * find_element(symbol).a for symbol, count in atoms.items()}
    total = math.fsum(masses.values())
    return {symbol: mass / total for symbol, mass in masses.items()}


def read_formula(formula: str) -> dict[str, float]:
    """Return how many atoms of each element a formula has; it knows no brackets.

    Raises
    ------
    SettingsError
        If the text is no formula.
    """
    if not re.fullmatch(r"(?:[A-Z][a-z]?(?:\d+(?:\.\d+)?)?)+", formula):
        raise SettingsError(
            f"formula = {formula!r} is not understood; write elements and counts without brackets, "
            "such as 'Lu1.8Y0.2SiO5'"
        )
    atoms: dict[str, float] = {}
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?", formula):
        atoms[symbol] = atoms.get(symbol, 0.0) + float(count or 1.0)
    return atoms


def find_element(symbol: str) -> Element:
    """Return the element of this symbol.

    Raises
    ------
    SettingsError
        If the tables do not have the element.
    """
    try:
        return _elements()[symbol]
    except KeyError:
        raise SettingsError(
            f"element {symbol!r} is not in the tables; they have {', '.join(_elements())}"
        ) from None


def find_material(name: str) -> Material:
    """Return the material of this name.

    Raises
    ------
    SettingsError
        If no material has the name.
    """
    if name in MATERIALS:
        return MATERIALS[name]
    near = difflib.get_close_matches(name.lower(), MATERIALS, 1)
    hint = f"did you mean {near[0]!r}? Known are" if near else "use one of"
    raise SettingsError(f"material = {name!r} is not known; {hint} {', '.join(MATERIALS)}")


def attenuation_tables(
    materials: Sequence[Material], max_kev: int
) -> tuple[FloatArray, FloatArray]:
    """Tabulate how materials scatter and absorb photons.

    Parameters
    ----------
    materials : sequence of Material
        One row of the tables each.
    max_kev : int
        Last energy of the tables; they have one column per keV from 0 on.

    Returns
    -------
    compton : (M, max_kev + 1) float64 array
        Linear coefficient of incoherent scattering [1/mm]; below 10 keV that at 10 keV.
    photo : (M, max_kev + 1) float64 array
        Linear coefficient of photoelectric absorption [1/mm]; the same below 10 keV.

    Raises
    ------
    SettingsError
        If ``max_kev`` is outside the energies of the tables.
    """
    if not MIN_KEV <= max_kev <= MAX_KEV:
        raise SettingsError(
            f"max_kev = {max_kev} is outside the attenuation tables, {MIN_KEV} to {MAX_KEV} keV"
        )
    log_kev = np.log(np.maximum(np.arange(max_kev + 1.0), MIN_KEV))
    compton = np.zeros((len(materials), len(log_kev)))
    photo = np.zeros_like(compton)
    for m, material in enumerate(materials):
        for symbol, fraction in material.mass_fractions.items():
            element = find_element(symbol)
            scale = 0.1 * material.density_g_cm3 * fraction  # 1/cm to 1/mm
            compton[m] += scale * _loglog(log_kev, element.compton_kev, element.compton)
            photo[m] += scale * _loglog(log_kev, element.energy_kev, element.photo)
    return compton, photo


def _loglog(log_x: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    return np.exp(np.interp(log_x, np.log(x), np.log(y)))


@functools.cache
def _elements() -> dict[str, Element]:
    content = _read("elements.toml")
    grid = np.array(content["energy_kev"], dtype=float)
    return {symbol: _element(symbol, entry, grid) for symbol, entry in content["elements"].items()}


def _element(symbol: str, entry: Mapping[str, Any], grid: FloatArray) -> Element:
    energy, photo = list(grid), list(entry["photo"])
    for kev, below, above in entry["edges"]:
        energy += [np.nextafter(kev, 0.0), kev]
        photo += [below, above]
    order = np.argsort(energy, kind="stable")
    return Element(
        symbol=symbol,
        z=entry["z"],
        a=entry["a"],
        energy_kev=np.array(energy)[order],
        photo=np.array(photo)[order],
        compton_kev=grid,
        compton=np.array(entry["compton"]),
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


def _material(name: str, entry: Mapping[str, Any]) -> Material:
    if "formula" in entry:
        shares = mass_fractions(entry["formula"])
    else:
        shares = entry.get("mass_fractions", {})
    return Material(
        name=name,
        density_g_cm3=entry["density_g_cm3"],
        mass_fractions=shares,
        source=entry["source"],
    )


MATERIALS = {name: _material(name, entry) for name, entry in _read("materials.toml").items()}
"""Materials a simulation can name."""
