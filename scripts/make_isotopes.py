"""Write psimg/core/isotopes.toml: what each positron emitter emits, decay by decay.

    pip install paceENSDF==0.6.3
    python scripts/make_isotopes.py

The level schemes are those of ENSDF as the package paceENSDF 0.6.3 carries them (A. M. Hurst et
al., ENSDF of September 2023): feeding of each level by positrons and by electron capture, gamma
intensities and conversion coefficients. The evaluation behind each nuclide is named in
`EVALUATIONS`. The package has no half-lives for most of the daughters' levels; those that matter
are in `LEVELS_PS`.

How a scheme becomes paths:

* The end point of a positron is the decay's Q minus the level's energy minus two electrons; some
  data sets have measured ones besides, up to 15 keV off.
* Where a level emits gammas, its feeding is what the absolute gamma intensities leave over, out
  minus in with conversion, because those are what is measured; ENSDF's own feeding gives the split
  between positrons and capture, and the feeding of the ground state. Where in is more than out
  (intensities contradict each other within their errors) the feeding is zero. The sum is scaled
  to one.
* Every cascade from every fed level is followed to the ground state or to an isomer. A
  transition emits its gamma with 1 / (1 + alpha), else a conversion electron and no gamma.
* Cascades below `SMALLEST` of all decays are left out. The others are scaled, those with a
  positron and those without apart, until the yield of each gamma is again that of all paths.
"""

import argparse
import importlib.util
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent.parent / "psimg" / "core" / "isotopes.toml"
SMALLEST = 1e-4
RAKES = 200
ISOMER_NS = 1e3
TWO_ELECTRONS_KEV = 2 * 510.99895

_UNITS_NS = {"as": 1e-9, "fs": 1e-6, "ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


@dataclass(frozen=True)
class Nuclide:
    """A positron emitter, its daughters in the package, and the evaluation behind them."""

    name: str
    schemes: tuple[str, ...]
    evaluation: str


NUCLIDES = (
    Nuclide("Sc-44", ("Sc44_Ca44",), "J. Chen, B. Singh, Nucl. Data Sheets 190 (2023) 1"),
    Nuclide("Na-22", ("Na22_Ne22",), "M. S. Basunia, Nucl. Data Sheets 127 (2015) 69"),
    Nuclide("Ga-68", ("Ga68_Zn68",), "E. A. McCutchan, Nucl. Data Sheets 113 (2012) 1735"),
    Nuclide("Rb-82", ("Rb82_Kr82",), "J. K. Tuli, E. Browne, Nucl. Data Sheets 157 (2019) 260"),
    Nuclide("I-124", ("I124_Te124",), "J. Katakura, Z. D. Wu, Nucl. Data Sheets 109 (2008) 1655"),
    Nuclide("Mn-52", ("Mn52_Cr52",), "Y. Dong, H. Junde, Nucl. Data Sheets 128 (2015) 185"),
    Nuclide("Co-55", ("Co55_Fe55",), "H. Junde, Nucl. Data Sheets 109 (2008) 787"),
    Nuclide("Y-86", ("Y86_Sr86",), "A. Negret, B. Singh, Nucl. Data Sheets 124 (2015) 1"),
    Nuclide("Cu-60", ("Cu60_Ni60",), "E. Browne, J. K. Tuli, Nucl. Data Sheets 114 (2013) 1849"),
    Nuclide("Zr-89", ("Zr89_Y89",), "B. Singh, Nucl. Data Sheets 114 (2013) 1"),
    Nuclide("F-18", ("F18_O18",), "D. R. Tilley et al., Nucl. Phys. A 595 (1995) 1"),
    Nuclide("C-11", ("C11_B11",), "J. H. Kelley et al., Nucl. Phys. A 880 (2012) 88"),
    Nuclide("N-13", ("N13_C13",), "F. Ajzenberg-Selove, Nucl. Phys. A 523 (1991) 1"),
    Nuclide("O-15", ("O15_N15",), "F. Ajzenberg-Selove, Nucl. Phys. A 523 (1991) 1"),
    Nuclide(
        "Cu-64",
        ("Cu64_Ni64", "Cu64_Zn64"),
        "B. Singh, J. Chen, Nucl. Data Sheets 178 (2021) 41",
    ),
)

LEVELS_PS = {
    # Half-lives [ps] by daughter and level energy [keV]. RIPL: the discrete levels of RIPL-3 (R.
    # Capote et al., Nucl. Data Sheets 110 (2009) 3107), which are ENSDF's, as TALYS carries them.
    ("Cr52", 2369.63): 6.7,  # RIPL
    ("Cr52", 2767.77): 1.9,  # RIPL
    ("Cr52", 3113.86): 41.4,  # RIPL
    ("Fe55", 411.42): 6.0,  # RIPL
    ("Fe55", 931.29): 8.0,  # RIPL
    ("Fe55", 1316.54): 2.1,  # RIPL
    ("Fe55", 1408.45): 37.9,  # RIPL
    ("Sr86", 1076.68): 1.46,  # RIPL
    ("Sr86", 2229.81): 1.73,  # RIPL
    ("Sr86", 2481.96): 0.90,  # RIPL
    # From B(E2) of the first 2+ states, S. Raman, C. W. Nestor, P. Tikkanen, At. Data Nucl. Data
    # Tables 78 (2001) 1: half-life = ln 2 40.81e13 / (E^5 B(E2) (1 + alpha)), E [keV], B [e2 b2].
    ("Ne22", 1274.54): 3.66,  # B(E2) 0.0230
    ("Zn68", 1077.37): 1.57,  # B(E2) 0.124
    ("Kr82", 776.52): 4.49,  # B(E2) 0.223
    ("Te124", 602.73): 6.23,  # B(E2) 0.568
    # 89mY, ENSDF.
    ("Y89", 908.97): 15.663e12,
}


@dataclass(frozen=True)
class Gamma:
    """A transition: level it ends on, energy, intensity per decay, conversion coefficient."""

    final: int
    kev: float
    intensity: float
    alpha: float

    @property
    def transitions(self) -> float:
        """Gammas and conversion electrons per decay."""
        return self.intensity * (1.0 + self.alpha)


@dataclass
class Level:
    """A level of the daughter, its feeding per decay and its mean life."""

    kev: float
    positron: float
    positron_kev: float
    capture: float
    gammas: list[Gamma]
    mean_life_ns: float


@dataclass(frozen=True)
class Branch:
    """A piece of a cascade: its probability and the gammas in order, with their delays."""

    probability: float
    gammas: tuple[tuple[float, float], ...]


def package_folder() -> Path:
    found = importlib.util.find_spec("paceENSDF")
    if found is None or found.origin is None:
        raise SystemExit("paceENSDF is not installed; pip install paceENSDF==0.6.3")
    return Path(found.origin).parent / "ENSDF_JSON"


def read_scheme(folder: Path, scheme: str) -> dict[str, Any]:
    (path,) = folder.glob(f"j_input_{scheme}_*_0keV.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def half_lives(folder: Path, daughter: str) -> dict[float, float]:
    """Half-lives [ns] of a daughter's levels that any decay to it in the package gives."""
    found = {}
    for path in sorted(folder.glob(f"j_input_*_{daughter}_*.json")):
        for level in json.loads(path.read_text())["levelScheme"]:
            for record in level["isomerDecay"]:
                unit = _UNITS_NS.get(record["unitHalfLifeBest"])
                if unit is not None and level["levelEnergy"] is not None:
                    found[float(level["levelEnergy"])] = record["halfLifeBest"] * unit
    for (name, kev), value in LEVELS_PS.items():
        if name == daughter:
            found[kev] = 1e-3 * value
    return found


def mean_life(kev: float, known: dict[float, float]) -> float:
    near = [
        (abs(kev - energy), value) for energy, value in known.items() if abs(kev - energy) < 0.5
    ]
    return min(near)[1] / math.log(2.0) if near else 0.0


def levels_of(folder: Path, scheme: str) -> list[Level]:
    content = read_scheme(folder, scheme)
    known = half_lives(folder, content["daughterID"])
    norm = content["decaySchemeNormalization"][0]["normalizationRecord"][0]
    # Gamma intensities times NR times BR are per 100 decays of the parent; feedings are so already.
    scale = 0.01 * norm["multiplerPhotonIntensity"] * norm["multiplerBranchingRatio"]
    energy = content["parentDecay"][0]["valueQ"] - TWO_ELECTRONS_KEV
    levels = []
    for record in content["levelScheme"]:
        positron, capture = 0.0, 0.0
        for beta in record.get("betaPlusDecay", ()):
            positron += 0.01 * (beta["betaPlusIntensity"] or 0.0)
            capture += 0.01 * (beta["electronCaptureIntensity"] or 0.0)
        for beta in record.get("betaMinusDecay", ()):
            capture += 0.01 * (beta["betaMinusIntensity"] or 0.0)
        gammas = [
            Gamma(
                gamma["levelIndexFinal"],
                gamma["gammaEnergy"],
                scale * (gamma["gammaIntensity"] or 0.0),
                gamma["experimentalTotalInternalConversionCoefficient"]
                or gamma["calculatedTotalInternalConversionCoefficient"]
                or 0.0,
            )
            for gamma in record["gammaDecay"]
        ]
        levels.append(
            Level(
                record["levelEnergy"],
                positron,
                energy - record["levelEnergy"],
                capture,
                [gamma for gamma in gammas if gamma.intensity > 0.0],
                mean_life(record["levelEnergy"], known),
            )
        )
    return levels


def balance(levels: list[Level]) -> float:
    """Set the feeding of the levels that emit gammas from these; return the feeding in all."""
    into = [0.0] * len(levels)
    for level in levels:
        for gamma in level.gammas:
            into[gamma.final] += gamma.transitions
    for level, incoming in zip(levels, into, strict=True):
        if not level.gammas:
            continue
        net = max(sum(gamma.transitions for gamma in level.gammas) - incoming, 0.0)
        fed = level.positron + level.capture
        share = level.positron / fed if fed > 0.0 else 0.0
        level.positron, level.capture = share * net, (1.0 - share) * net
    return sum(level.positron + level.capture for level in levels)


def branches(levels: list[Level], index: int, waiting_ns: float = 0.0) -> Iterator[Branch]:
    """Yield every cascade from a level down, to the ground state or an isomer.

    The delay of a gamma is the mean life of the level that emits it, and of those before it that
    were left by a conversion electron.
    """
    level = levels[index]
    if not level.gammas or level.mean_life_ns > ISOMER_NS:
        yield Branch(1.0, ())
        return
    total = sum(gamma.transitions for gamma in level.gammas)
    delay = waiting_ns + level.mean_life_ns
    for gamma in level.gammas:
        emitted = gamma.intensity / total
        for rest in branches(levels, gamma.final):
            yield Branch(emitted * rest.probability, ((gamma.kev, delay), *rest.gammas))
        converted = emitted * gamma.alpha
        if converted > 0.0:
            for rest in branches(levels, gamma.final, delay):
                yield Branch(converted * rest.probability, rest.gammas)


Key = tuple[float | None, tuple[tuple[float, float], ...]]


def paths_of(levels: list[Level]) -> dict[Key, float]:
    shares: dict[Key, float] = {}
    for index, level in enumerate(levels):
        if level.positron + level.capture <= 0.0:
            continue
        for branch in branches(levels, index):
            for fed, end_point in ((level.positron, level.positron_kev), (level.capture, None)):
                if fed > 0.0:
                    key = (end_point, branch.gammas)
                    shares[key] = shares.get(key, 0.0) + fed * branch.probability
    return shares


def yields(shares: dict[Key, float]) -> dict[float, float]:
    """Gammas of each energy per decay."""
    found: dict[float, float] = {}
    for (_, gammas), share in shares.items():
        for kev, _ in gammas:
            found[kev] = found.get(kev, 0.0) + share
    return found


def rake(shares: dict[Key, float], wanted: dict[float, float], total: float) -> dict[Key, float]:
    """Scale the paths until gammas and sum are as wanted (iterative proportional fitting)."""
    for _ in range(RAKES):
        for kev, amount in wanted.items():
            has = {key: any(kev == energy for energy, _ in key[1]) for key in shares}
            made = math.fsum(share for key, share in shares.items() if has[key])
            rest = math.fsum(share for key, share in shares.items() if not has[key])
            if made <= 0.0 or rest <= 0.0 or amount >= total:
                continue
            scale = {True: amount / made, False: (total - amount) / rest}
            shares = {key: share * scale[has[key]] for key, share in shares.items()}
    scale_all = total / math.fsum(shares.values())
    return {key: share * scale_all for key, share in shares.items()}


def prune(shares: dict[Key, float]) -> tuple[dict[Key, float], float]:
    """Leave out the rare paths, scale the others of their kind; return the share left out."""
    kept: dict[Key, float] = {}
    for kind in (True, False):
        these = {key: share for key, share in shares.items() if (key[0] is not None) is kind}
        large = {key: share for key, share in these.items() if share >= SMALLEST}
        if large:
            wanted = {kev: share for kev, share in yields(these).items() if share >= 10 * SMALLEST}
            kept |= rake(large, wanted, math.fsum(these.values()))
    total = math.fsum(kept.values())
    left_out = math.fsum(share for key, share in shares.items() if key not in kept)
    return {key: share / total for key, share in kept.items()}, left_out


def isomers(levels: list[Level]) -> list[tuple[float, float, float]]:
    """Energy, yield and mean life [s] of the gammas of isomers."""
    population = [level.positron + level.capture for level in levels]
    found = []
    for index in range(len(levels) - 1, -1, -1):
        level = levels[index]
        total = sum(gamma.transitions for gamma in level.gammas)
        for gamma in level.gammas:
            population[gamma.final] += population[index] * gamma.transitions / total
            if level.mean_life_ns > ISOMER_NS:
                amount = population[index] * gamma.intensity / total
                found.append((gamma.kev, amount, 1e-9 * level.mean_life_ns))
    return found


def compare(levels: list[Level], shares: dict[Key, float]) -> list[tuple[float, float, float]]:
    """Energy, yield of the paths and ENSDF's, of the gammas that ENSDF has above 0.1 %."""
    made = yields(shares)
    given: dict[float, float] = {}
    for level in levels:
        for gamma in level.gammas if level.mean_life_ns <= ISOMER_NS else ():
            given[gamma.kev] = given.get(gamma.kev, 0.0) + gamma.intensity
    rows = [(kev, made.get(kev, 0.0), value) for kev, value in given.items() if value >= 1e-3]
    return sorted(rows, key=lambda row: -row[2])


def number(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}" if value else "0.0"
    return text if "." in text or "e" in text else text + ".0"


def kev_text(value: float) -> str:
    return number(round(value, 2), 7)


def array(values: Iterator[str]) -> str:
    return "[" + ", ".join(values) + "]"


def path_line(key: Key, share: float) -> str:
    end_point, gammas = key
    fields = [f"share = {share:.7f}"]
    if end_point is not None:
        fields.append(f"positron_kev = {kev_text(end_point)}")
    if gammas:
        fields.append(f"gammas_kev = {array(kev_text(kev) for kev, _ in gammas)}")
    if any(delay >= 1e-3 for _, delay in gammas):
        delays = (number(delay, 3) if delay >= 1e-3 else "0.0" for _, delay in gammas)
        fields.append(f"delays_ns = {array(delays)}")
    return "    {" + ", ".join(fields) + "},"


def comment(rows: list[tuple[float, float, float]]) -> Iterator[str]:
    main = [row for row in rows if row[2] >= 0.01]
    if not main:
        return
    yield "# Gammas per decay, here against ENSDF:"
    cells = [f"{kev:.1f} {made:.4f}/{given:.4f}" for kev, made, given in main[:8]]
    for first in range(0, len(cells), 4):
        yield "#   " + ", ".join(cells[first : first + 4])
    worst = max(main, key=lambda row: abs(row[1] / row[2] - 1.0))
    yield (
        f"# Worst of the {len(main)} above 1 %: {worst[0]:.1f} keV, "
        f"{round(100 * (worst[1] / worst[2] - 1.0), 1) + 0.0:+.1f} %."
    )


def block(folder: Path, nuclide: Nuclide) -> Iterator[str]:
    shares: dict[Key, float] = {}
    rows: list[tuple[float, float, float]] = []
    delayed: list[tuple[float, float, float]] = []
    schemes = [levels_of(folder, scheme) for scheme in nuclide.schemes]
    fed = sum(balance(levels) for levels in schemes)
    for levels in schemes:
        for key, share in paths_of(levels).items():
            shares[key] = shares.get(key, 0.0) + share / fed
        delayed += [(kev, amount / fed, life) for kev, amount, life in isomers(levels)]
    kept, left_out = prune(shares)
    for levels in schemes:
        rows += compare(levels, kept)
    positrons = math.fsum(share for (end_point, _), share in kept.items() if end_point is not None)

    yield f"[{nuclide.name}]"
    yield f"# Positrons per decay {positrons:.4f}; feeding added up to {fed:.4f} before scaling."
    yield f"# Paths below {SMALLEST:g}, {100 * left_out:.2f} % of decays, are left out."
    yield from comment(rows)
    yield f'source = "ENSDF, {nuclide.evaluation}"'
    for kev, amount, life in delayed:
        yield f"# Isomer of mean life {life:.3g} s."
        yield f"delayed_gammas = [[{kev_text(kev)}, {number(amount, 5)}]]"
    yield "paths = ["
    for key, share in sorted(kept.items(), key=lambda item: -item[1]):
        yield path_line(key, share)
    yield "]"
    yield ""


HEADER = """\
# Positrons and gammas of one decay, path by path. Written by scripts/make_isotopes.py, which says
# how, from ENSDF as paceENSDF 0.6.3 carries it; not to be edited by hand.
#
#   share         share of all decays; the shares of a nuclide add up to 1
#   positron_kev  end-point energy of the positron; left out where there is none (electron capture,
#                 and the beta minus decay of Cu-64)
#   gammas_kev    gammas emitted with it, in the order of the cascade
#   delays_ns     mean life of the level that emits each gamma; left out where all are below 1 ps
#                 or not known
#   delayed_gammas  [keV, gammas per decay] of an isomer, at a time of its own
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write psimg/core/isotopes.toml.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    folder = package_folder()
    lines = [HEADER]
    for nuclide in NUCLIDES:
        lines += block(folder, nuclide)
    output.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
