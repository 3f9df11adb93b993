"""Isotopes with a usable prompt gamma, and the energy windows that go with them."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Isotope:
    """A positron emitter whose daughter emits a prompt gamma."""

    name: str
    prompt_kev: float
    """Energy of the prompt gamma [keV]."""
    annihilation_window_kev: tuple[float, float]
    """Default energy window of the annihilation photons [keV]."""
    prompt_window_kev: tuple[float, float]
    """Default energy window of the prompt gamma [keV]."""
    source: str
    """Where the prompt's energy and the windows come from."""
    half_life_s: float
    """Half-life of the positron emitter [s]."""
    half_life_source: str
    """Where the half-life comes from."""

    def decays(self, activity_mbq: float, seconds: float) -> float:
        """Return the mean number of decays of an activity that falls for this long."""
        mean_life_s = self.half_life_s / math.log(2.0)
        return 1e6 * activity_mbq * mean_life_s * -math.expm1(-seconds / mean_life_s)


_WIDE = (430.0, 600.0)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_YEAR = 365.2422 * _DAY

ISOTOPES = {
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
    )
}
"""Isotopes a study can name."""
