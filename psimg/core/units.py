"""Units of the columns users bring, as factors to psimg's own: ns, keV, mm."""

from psimg.core.errors import SettingsError

_FACTORS = {
    "time": {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "ps": 1e-3},
    "energy": {"eV": 1e-3, "keV": 1.0, "MeV": 1e3},
    "length": {"m": 1e3, "cm": 10.0, "mm": 1.0},
}

OWN_UNIT = {"time": "ns", "energy": "keV", "length": "mm"}
"""The unit psimg uses inside, by quantity."""


def unit_factor(quantity: str, unit: str) -> float:
    """Return the factor that takes a number in ``unit`` to psimg's own unit.

    Parameters
    ----------
    quantity : {"time", "energy", "length"}
        What the number measures.
    unit : str
        One of s ms us ns ps, eV keV MeV, m cm mm; capitals count.

    Raises
    ------
    SettingsError
        If the unit is not one of the quantity's.
    """
    factors = _FACTORS[quantity]
    if unit not in factors:
        raise SettingsError(
            f"unit {unit!r} is no unit of {quantity}; use one of {' '.join(factors)}"
        )
    return factors[unit]
