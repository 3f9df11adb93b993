"""Isotopes with a usable prompt gamma, and the energy windows that go with them."""

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


_WIDE = (430.0, 600.0)

ISOTOPES = {
    isotope.name: isotope
    for isotope in (
        Isotope(
            name="Sc-44",
            prompt_kev=1157.0,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1300.0),
            source="line: ENSDF; windows: photopeak +-17 %, prompt down into its Compton part",
        ),
        Isotope(
            name="Na-22",
            prompt_kev=1274.5,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1450.0),
            source="line: ENSDF; windows as for Sc-44, up to above the line",
        ),
        Isotope(
            name="Ga-68",
            prompt_kev=1077.3,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(700.0, 1250.0),
            source="line: ENSDF; windows as for Sc-44, up to above the line",
        ),
        Isotope(
            name="Rb-82",
            prompt_kev=776.5,
            annihilation_window_kev=_WIDE,
            prompt_window_kev=(680.0, 900.0),
            source="line: ENSDF; prompt window about its photopeak",
        ),
        Isotope(
            name="I-124",
            prompt_kev=602.7,
            annihilation_window_kev=(460.0, 545.0),
            prompt_window_kev=(568.0, 639.0),
            source="line: ENSDF; windows in use on the Vision Quadra for this isotope",
        ),
    )
}
"""Isotopes a study can name."""
