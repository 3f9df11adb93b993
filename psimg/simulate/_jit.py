"""How the compiled loops of the simulation are compiled."""

from typing import Any

JIT: dict[str, Any] = {
    "cache": True,
    # Blocks of decays run in threads side by side.
    "nogil": True,
    # Users of arrays are not counted: the atomic counters of a call took a sixth of the time, and
    # threads wait for each other's. The caller holds the arrays, and such a loop can make none.
    "_nrt": False,
    # No check for division by zero, and none of NaN or infinity is given up: they have meanings.
    "error_model": "numpy",
    "fastmath": {"contract", "arcp", "reassoc", "nsz"},
}
"""Keywords of ``numba.njit``."""
