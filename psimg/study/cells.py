"""Numbers as the cells of a CSV file."""

import math


def cells(*numbers: float) -> list[str]:
    """Return numbers as text; empty where there is no value: a spreadsheet reads NaN as a word."""
    return [f"{x:.8g}" if math.isfinite(x) else "" for x in numbers]
