"""Detectors as data: crystals or strips around the axis, and what their electronics record."""

import difflib
import functools
import math
import tomllib
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.scanner import FWHM_PER_SIGMA, Scanner
from psimg.core.settings import SETTINGS_CONFIG, require_positive


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Detector:
    """A cylinder of detectors about the z axis, for simulation.

    A closed ring of ``thickness_mm`` by default; with ``n_modules`` flat boxes around the axis.
    Labels of detector elements are ``around * crystals_along + along``.
    """

    name: str = "user"
    material: str = "lso"
    """What scintillates, one of `MATERIALS`."""
    inner_radius_mm: float
    """Distance of the detectors' front from the axis [mm]."""
    thickness_mm: float
    """Radial depth [mm]."""
    length_mm: float
    """Axial length [mm]."""
    packing: float = 1.0
    """Share of that volume that scintillates; the rest, reflectors and gaps, is taken as spread
    evenly."""
    n_modules: int = 0
    """Flat modules around the axis; 0 for a closed ring."""
    module_width_mm: float = 0.0
    """Width of a module [mm]."""
    crystals_around: int
    """Crystals, or strips, around the axis."""
    crystals_along: int = 1
    """Crystals along the axis."""
    block_around: int = 1
    """Crystals of a block around the axis; what a decay leaves in a block is one single."""
    block_along: int = 1
    """Crystals of a block along the axis."""
    position_radius_mm: float | None = None
    """Where singles are placed; the middle of the depth when left out [mm]."""
    depth_fwhm_mm: float | None = None
    """FWHM of the measured depth; singles are then placed at it. None where it is not measured."""
    axial_fwhm_mm: float | None = None
    """FWHM of the axial position measured along a strip; None for crystals [mm]."""
    crt_ns: float
    """Coincidence resolving time of two photons, FWHM [ns]."""
    energy_fwhm: float
    """FWHM of the energy response at 511 keV over 511 keV; it goes as the root of the energy."""
    threshold_kev: float = 200.0
    """Lowest energy recorded [keV]."""
    trigger_kev: float = 50.0
    """Lowest energy that makes a block busy [keV]."""
    highest_kev: float | None = None
    """Highest energy recorded [keV]; more is lost. None without a limit."""
    saturation_kev: float | None = None
    """End of the energy scale: more is recorded as this. None without an end [keV]."""
    tot_ns: tuple[float, float, float, float] | None = None
    """(a, b, c, d) of the time over threshold that stands in for an energy E [keV], a + b ln(E + c)
    + d ln(E + c)^2, not below 0, and held beyond its maximum; None where energies are measured."""
    integration_ns: float = 200.0
    """What arrives in a block within this time of its first deposit adds to it [ns]."""
    dead_ns: float = 0.0
    """A block takes up nothing for so long after a single, beyond adding to it [ns]."""
    lutetium_bq_cm3: float = 0.0
    """Activity of 176Lu in the scintillator [Bq/cm3]."""
    walk_ns: float = 0.0
    """Delay of a photon of 511 keV against one of infinite energy; it goes as one over the root of
    the energy, as that of a leading edge on noise does [ns]."""
    offset_ns: NDArray[np.float64] | None = None
    """(crystals,) how late each element reports a photon; None for perfect clocks [ns]."""

    __pydantic_config__ = SETTINGS_CONFIG | {"arbitrary_types_allowed": True}

    def __post_init__(self) -> None:
        for name in ("inner_radius_mm", "thickness_mm", "length_mm", "packing"):
            require_positive(name, getattr(self, name))
        for name in ("crystals_around", "crystals_along", "block_around", "block_along"):
            require_positive(name, getattr(self, name))
        require_positive("crt_ns", self.crt_ns)
        for name in (
            "energy_fwhm",
            "threshold_kev",
            "trigger_kev",
            "integration_ns",
            "dead_ns",
            "lutetium_bq_cm3",
        ):
            value = getattr(self, name)
            if not value >= 0:
                raise SettingsError(f"{name} = {value:g}: expected zero or more")
        for name in ("walk_ns", "position_radius_mm", "depth_fwhm_mm", "axial_fwhm_mm"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise SettingsError(f"{name} = {value:g}: expected zero or more")
        for name in ("saturation_kev", "highest_kev"):
            value = getattr(self, name)
            if value is not None and not value > self.threshold_kev:
                raise SettingsError(
                    f"{name} = {value:g} is not above threshold_kev = {self.threshold_kev:g}"
                )
        if self.packing > 1:
            raise SettingsError(f"packing = {self.packing:g}: expected a share, at most 1")
        if self.tot_ns is not None and not (self.tot_ns[1] > 0 and self.tot_ns[2] >= 0):
            raise SettingsError(
                f"tot_ns = {list(self.tot_ns)}: expected a curve that rises from low energies on, "
                "[a, b, c, d] of a + b ln(E + c) + d ln(E + c)^2 with b above zero and c not below"
            )
        if self.n_modules:
            self._check_modules()
        if self.offset_ns is not None:
            freeze(self, offset_ns=(np.float64, len(self.offset_ns)))
            if len(self.offset_ns) != self.n_crystals:
                raise SettingsError(
                    f"offset_ns has {len(self.offset_ns)} offsets, and the detector "
                    f"{self.n_crystals} elements; give one per element"
                )

    def _check_modules(self) -> None:
        require_positive("module_width_mm", self.module_width_mm)
        if self.crystals_around % self.n_modules:
            raise SettingsError(
                f"crystals_around = {self.crystals_around} is no multiple of n_modules = "
                f"{self.n_modules}; a module holds whole strips"
            )
        widest = 2.0 * self.inner_radius_mm * math.tan(math.pi / self.n_modules)
        if self.module_width_mm > widest * (1.0 + 1e-9):
            raise SettingsError(
                f"module_width_mm = {self.module_width_mm:g}: {self.n_modules} modules at "
                f"{self.inner_radius_mm:g} mm from the axis overlap; at most {widest:.4g} fits"
            )

    @property
    def n_crystals(self) -> int:
        """Number of detector elements."""
        return self.crystals_around * self.crystals_along

    @property
    def sigma_single_ns(self) -> float:
        """Gaussian width of one photon's time [ns]."""
        return self.crt_ns / (FWHM_PER_SIGMA * math.sqrt(2.0))

    @property
    def outer_radius_mm(self) -> float:
        """Radius of a cylinder around all detectors [mm]."""
        outer = self.inner_radius_mm + self.thickness_mm
        return math.hypot(outer, 0.5 * self.module_width_mm) if self.n_modules else outer

    @property
    def scintillator_cm3(self) -> float:
        """Volume of all that scintillates [cm3]."""
        if self.n_modules:
            face = self.n_modules * self.module_width_mm * self.thickness_mm
        else:
            face = math.pi * (self.outer_radius_mm**2 - self.inner_radius_mm**2)
        return 1e-3 * self.packing * face * self.length_mm

    @property
    def placed_radius_mm(self) -> float:
        """Distance from the axis at which singles are placed [mm]."""
        if self.position_radius_mm is not None:
            return self.position_radius_mm
        return self.inner_radius_mm + 0.5 * self.thickness_mm

    def time_over_threshold(self, energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N,) times over threshold of energies [ns]."""
        if self.tot_ns is None:
            raise SettingsError(f"detector {self.name!r} measures energies")
        a, b, c, d = self.tot_ns
        log = np.log(np.maximum(energy_kev, 0.0) + max(c, 1e-9))
        if d < 0:
            log = np.minimum(log, -0.5 * b / d)
        return np.asarray(np.maximum(0.0, a + b * log + d * log * log))

    def scanner(self) -> Scanner:
        """Return what a study needs to know of this detector."""
        return Scanner(
            name=self.name,
            radius_mm=self.placed_radius_mm,
            length_mm=self.length_mm,
            crt_ns=self.crt_ns,
            energy_fwhm=None if self.tot_ns is not None else self.energy_fwhm or None,
            crystals_around=None,
            source="the detector of a simulation",
        )


def find_detector(name: str) -> Detector:
    """Return the detector of a scanner.

    Raises
    ------
    SettingsError
        If the name is not known.
    """
    known = detectors()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {near[0]!r}? Known are" if near else "use one of"
        raise SettingsError(
            f"scanner {name!r} is not known; {hint} {', '.join(known)}, or describe it"
        )
    return known[name]


@functools.cache
def detectors() -> dict[str, Detector]:
    """Return the detectors of the known scanners by their names."""
    text = resources.files("psimg.simulate").joinpath("detectors.toml").read_text(encoding="utf-8")
    found = {}
    for name, keys in tomllib.loads(text).items():
        if "tot_ns" in keys:
            keys["tot_ns"] = tuple(keys["tot_ns"])
        found[name] = Detector(name=name, **keys)
    return found
