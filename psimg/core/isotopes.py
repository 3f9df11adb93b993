"""Positron emitters: their prompt gammas, energy windows and decay schemes.

The decay schemes are in ``isotopes.toml`` beside this module, which scripts/make_isotopes.py
writes from ENSDF. It is read when the first scheme is asked for.
"""

import difflib
import functools
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psimg.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class DecayPath:
    """One way in which a nuclide decays, from the parent to the ground state or an isomer."""

    share: float
    """Share of all decays."""
    positron_kev: float | None
    """End-point kinetic energy of the positron; None for a decay without one [keV]."""
    gammas_kev: tuple[float, ...]
    """Gammas emitted together, in the order of the cascade [keV]."""
    delays_ns: tuple[float, ...]
    """Mean life of the level that emits each gamma; 0 below 1 ps or where not known [ns]."""


@dataclass(frozen=True, slots=True)
class DecayScheme:
    """What a nuclide emits."""

    paths: tuple[DecayPath, ...]
    """Every way to decay; the shares add up to 1."""
    delayed_gammas: tuple[tuple[float, float], ...] = ()
    """Gammas of isomers that outlive the coincidence: energy [keV] and yield per decay."""
    source: str = ""
    """The evaluation it comes from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Isotope:
    """A positron emitter, with a prompt gamma where it has a usable one."""

    name: str
    prompt_kev: float | None = None
    """Energy of the prompt gamma; None where there is none to use [keV]."""
    annihilation_window_kev: tuple[float, float]
    """Default energy window of the annihilation photons [keV]."""
    prompt_window_kev: tuple[float, float] | None = None
    """Default energy window of the prompt gamma; None where there is none to use [keV]."""
    source: str
    """Where the prompt's energy and the windows come from."""
    half_life_s: float
    """Half-life of the positron emitter [s]."""
    half_life_source: str
    """Where the half-life comes from."""
    own_scheme: DecayScheme | None = None
    """Decay scheme in place of the one that ships for this name."""

    def decays(self, activity_mbq: float, seconds: float) -> float:
        """Return the mean number of decays of an activity that falls for this long."""
        mean_life_s = self.half_life_s / math.log(2.0)
        return 1e6 * activity_mbq * mean_life_s * -math.expm1(-seconds / mean_life_s)

    @property
    def scheme(self) -> DecayScheme:
        """What a decay emits."""
        return _scheme(self.name) if self.own_scheme is None else self.own_scheme

    @property
    def paths(self) -> tuple[DecayPath, ...]:
        """Every way to decay; the shares add up to 1."""
        return self.scheme.paths

    @property
    def delayed_gammas(self) -> tuple[tuple[float, float], ...]:
        """Gammas of isomers, at a time of their own: energy [keV] and yield per decay."""
        return self.scheme.delayed_gammas

    @property
    def positron_share(self) -> float:
        """Share of decays that emit a positron."""
        return math.fsum(path.share for path in self.paths if path.positron_kev is not None)

    @property
    def prompt_share(self) -> float | None:
        """Share of decays with a positron and a gamma in the prompt window; None without one."""
        if self.prompt_window_kev is None:
            return None
        low, high = self.prompt_window_kev
        return math.fsum(
            path.share
            for path in self.paths
            if path.positron_kev is not None and any(low <= kev <= high for kev in path.gammas_kev)
        )

    def gamma_yield(self, kev_lo: float, kev_hi: float) -> float:
        """Return how many gammas a decay emits between two energies, those of isomers too."""
        paths = (
            path.share for path in self.paths for kev in path.gammas_kev if kev_lo <= kev <= kev_hi
        )
        isomers = (amount for kev, amount in self.delayed_gammas if kev_lo <= kev <= kev_hi)
        return math.fsum((*paths, *isomers))


_WIDE = (430.0, 600.0)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_YEAR = 365.2422 * _DAY
_NO_PROMPT = "no prompt gamma; annihilation window: photopeak +-17 %"


def _without_prompt(name: str, half_life_s: float) -> Isotope:
    return Isotope(
        name=name,
        annihilation_window_kev=_WIDE,
        source=_NO_PROMPT,
        half_life_s=half_life_s,
        half_life_source="ENSDF",
    )


NUCLIDES = {
    isotope.name: isotope
    for isotope in (
        Isotope(
            name="Sc-44",
            prompt_kev=1157.0,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1300.0),
            source="line: ENSDF; windows: photopeak +-17 %, prompt down into its Compton part",
            half_life_s=4.042 * _HOUR,
            half_life_source="E. Garcia-Torano et al., Appl. Radiat. Isot. 109 (2016) 314",
        ),
        Isotope(
            name="Na-22",
            prompt_kev=1274.5,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1450.0),
            source="line: ENSDF; windows as for Sc-44, up to above the line",
            half_life_s=2.6029 * _YEAR,
            half_life_source="DDEP",
        ),
        Isotope(
            name="Ga-68",
            prompt_kev=1077.3,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1250.0),
            source="line: ENSDF; windows as for Sc-44, up to above the line",
            half_life_s=67.83 * _MINUTE,
            half_life_source="DDEP",
        ),
        Isotope(
            name="Rb-82",
            prompt_kev=776.5,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(680.0, 900.0),
            source="line: ENSDF; prompt window about its photopeak",
            half_life_s=1.2575 * _MINUTE,
            half_life_source="ENSDF",
        ),
        Isotope(
            name="I-124",
            prompt_kev=602.7,
            annihilation_window_kev=(460.0, 545.0),
            prompt_window_kev=(568.0, 639.0),
            source="line: ENSDF; windows in use on the Vision Quadra for this isotope",
            half_life_s=4.1760 * _DAY,
            half_life_source="ENSDF",
        ),
        Isotope(
            name="Mn-52",
            prompt_kev=1434.1,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1600.0),
            source="lines: ENSDF, 744, 936 and 1434 keV in one cascade; windows as for Sc-44, up "
            "to above the highest",
            half_life_s=5.591 * _DAY,
            half_life_source="ENSDF",
        ),
        Isotope(
            name="Co-55",
            prompt_kev=931.1,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1550.0),
            source="lines: ENSDF, 931, 1317 and 1408 keV; windows as for Sc-44, up to above the "
            "highest; the line at 477 keV falls among the annihilation photons",
            half_life_s=17.53 * _HOUR,
            half_life_source="ENSDF",
        ),
        Isotope(
            name="Y-86",
            prompt_kev=1076.6,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1300.0),
            source="lines: ENSDF, 1077, 1153 and 777 keV among many; windows as for Sc-44; lines "
            "at 443, 515 and 581 keV fall among the annihilation photons",
            half_life_s=14.74 * _HOUR,
            half_life_source="ENSDF",
        ),
        Isotope(
            name="Cu-60",
            prompt_kev=1332.5,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1500.0),
            source="line: ENSDF; windows as for Sc-44, up to above the line; the line at 1792 keV "
            "is above, and comes with that at 1332 keV",
            half_life_s=23.7 * _MINUTE,
            half_life_source="ENSDF",
        ),
        _without_prompt("Zr-89", 78.41 * _HOUR),
        _without_prompt("F-18", 109.77 * _MINUTE),
        _without_prompt("C-11", 1221.8),
        _without_prompt("N-13", 9.965 * _MINUTE),
        _without_prompt("O-15", 122.24),
        _without_prompt("Cu-64", 12.7006 * _HOUR),
    )
}
"""All nuclides with a decay scheme, by name."""

ISOTOPES = {name: isotope for name, isotope in NUCLIDES.items() if isotope.prompt_kev is not None}
"""Isotopes a study can name: those with a prompt gamma to use."""


def find_nuclide(name: str) -> Isotope:
    """Return the positron emitter of this name, with or without a prompt gamma.

    Raises
    ------
    SettingsError
        If no nuclide has the name.
    """
    if name in NUCLIDES:
        return NUCLIDES[name]
    keys = {_letters_first(known): known for known in NUCLIDES}
    near = difflib.get_close_matches(_letters_first(name), keys, 1, cutoff=0.5)
    hint = f"did you mean {keys[near[0]]!r}? Known are" if near else "use one of"
    raise SettingsError(f"isotope = {name!r} is not known; {hint} {', '.join(NUCLIDES)}")


def find_isotope(name: str) -> Isotope:
    """Return the isotope of this name, which has a prompt gamma.

    Raises
    ------
    SettingsError
        If no nuclide has the name, or the nuclide has no prompt gamma to use.
    """
    isotope = find_nuclide(name)
    if isotope.prompt_kev is None:
        raise SettingsError(
            f"{name} emits no prompt gamma with its positron; use one of {', '.join(ISOTOPES)}"
        )
    return isotope


def _letters_first(name: str) -> str:
    """Return ``44Sc``, ``sc44`` and ``Sc-44`` as one text."""
    return "".join(re.findall("[a-z]+", name.lower()) + re.findall("[0-9]+", name))


@functools.cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("isotopes.toml").read_text("utf-8"))


@functools.cache
def _scheme(name: str) -> DecayScheme:
    try:
        entry = _file()[name]
    except KeyError:
        raise SettingsError(
            f"{name} has no decay scheme; use one of {', '.join(_file())}, or give own_scheme"
        ) from None
    total = math.fsum(path["share"] for path in entry["paths"])
    return DecayScheme(
        paths=tuple(_path(path, total) for path in entry["paths"]),
        delayed_gammas=tuple((kev, amount) for kev, amount in entry.get("delayed_gammas", ())),
        source=entry["source"],
    )


def _path(entry: Mapping[str, Any], total: float) -> DecayPath:
    gammas = tuple(entry.get("gammas_kev", ()))
    return DecayPath(
        share=entry["share"] / total,  # the file's digits leave a few 1e-7
        positron_kev=entry.get("positron_kev"),
        gammas_kev=gammas,
        delays_ns=tuple(entry.get("delays_ns", (0.0,) * len(gammas))),
    )
