"""What the options of all stages share: how they are checked."""

import math

from psimg.core.errors import SettingsError

SETTINGS_CONFIG = {"extra": "forbid"}
"""``__pydantic_config__`` of every options dataclass: an unknown key in a study is an error."""


def require_window(name: str, window: tuple[float, float], *, open_end: bool = False) -> None:
    """Raise `SettingsError` unless ``window`` is a finite (low, high) with low below high.

    With ``open_end`` the high end may be infinite.
    """
    low, high = window
    if not (math.isfinite(low) and (math.isfinite(high) or (open_end and high == math.inf))):
        raise SettingsError(f"{name} = [{low:g}, {high:g}] is not finite")
    if low >= high:
        raise SettingsError(
            f"{name} = [{low:g}, {high:g}]: the low end is not below the high end; swap them"
        )


def require_positive(name: str, value: float) -> None:
    """Raise `SettingsError` unless ``value`` is finite and above zero."""
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(f"{name} = {value:g}: expected a number above zero")
