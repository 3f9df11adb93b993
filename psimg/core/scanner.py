"""Scanners as data: a ring of detectors and its response."""

import math
from dataclasses import dataclass

from psimg.core.settings import SETTINGS_CONFIG, require_positive

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian of unit sigma."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanner:
    """A cylinder of detectors around the z axis."""

    name: str
    radius_mm: float
    """Distance of the detectors' front from the axis [mm]."""
    length_mm: float
    """Axial length [mm]."""
    crt_ns: float
    """Coincidence resolving time of two 511 keV photons, FWHM [ns]."""
    energy_fwhm: float | None
    """FWHM of the 511 keV photopeak over 511 keV; None where there is no photopeak."""
    crystals_around: int | None = None
    """Crystals in a ring, where a detector's label is along * crystals_around + around."""
    source: str = ""
    """Where the figures come from."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        for name in ("radius_mm", "length_mm", "crt_ns"):
            require_positive(name, getattr(self, name))
        if self.energy_fwhm is not None:
            require_positive("energy_fwhm", self.energy_fwhm)
        if self.crystals_around is not None:
            require_positive("crystals_around", self.crystals_around)

    @property
    def sigma_single_ns(self) -> float:
        """Gaussian width of one photon's time [ns]."""
        return self.crt_ns / (FWHM_PER_SIGMA * math.sqrt(2.0))

    @property
    def sigma_dt_ns(self) -> float:
        """Gaussian width of ``dt`` averaged over prompt directions [ns].

        ``sigma_dt**2 = sigma_single**2 (3/2 + cos(theta)**2 / 2)`` with theta between the LOR and
        the prompt; its isotropic mean is 5/3 ``sigma_single**2``. The emission time is traced back
        from the annihilation point, whose error along the LOR is what the cosine carries.
        """
        return math.sqrt(5.0 / 3.0) * self.sigma_single_ns

    @property
    def sigma_point_mm(self) -> float:
        """Gaussian width of the annihilation point along the LOR [mm], c sigma_single / sqrt 2."""
        return SPEED_OF_LIGHT_MM_NS * self.sigma_single_ns / math.sqrt(2.0)


SPEED_OF_LIGHT_MM_NS = 299.792458
"""Speed of light [mm/ns], exact by the definition of the metre."""

SCANNERS = {
    scanner.name: scanner
    for scanner in (
        Scanner(
            name="vision-quadra",
            radius_mm=410.0,
            length_mm=1060.0,
            crt_ns=0.228,
            energy_fwhm=0.10,
            source="Prenosil et al., J Nucl Med 63 (2022) 476, doi:10.2967/jnumed.121.261972; "
            "radius as commonly quoted",
        ),
        Scanner(
            name="neuroexplorer",
            radius_mm=249.5,
            length_mm=500.0,
            crt_ns=0.250,
            energy_fwhm=0.13,
            source="diameter 499 mm; resolutions as assumed in published simulations",
        ),
        Scanner(
            name="pennpet",
            radius_mm=382.0,
            length_mm=1420.0,
            crt_ns=0.273,
            energy_fwhm=0.12,
            source="diameter 764 mm; length of the six-ring configuration as commonly quoted",
        ),
        Scanner(
            name="jpet-modular",
            radius_mm=381.5,
            length_mm=500.0,
            crt_ns=0.5,
            energy_fwhm=None,
            source="24 modules of 13 plastic strips 6 x 25 x 500 mm; time resolution as commonly "
            "quoted",
        ),
    )
}
"""Scanner presets of the study file."""
