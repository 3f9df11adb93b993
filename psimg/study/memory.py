"""Whether a study fits into the machine's memory, before it is read and while it is."""

import os
from pathlib import Path

from psimg.core.errors import SettingsError
from psimg.study.config import Study


def present_memory() -> int | None:
    """Return the memory that the machine has free, in bytes; None where it does not say.

    Where only the whole is told, as outside Linux, that.
    """
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(n_byte: int, study: Study, *, what: str, remedy: str) -> None:
    """Raise `SettingsError` where the machine has less memory than something needs.

    Parameters
    ----------
    n_byte : int
        What it needs.
    study : Study
        The study, to name it and its grid.
    what : str
        What the grid is with, such as "300 time bins".
    remedy : str
        What to do, in the imperative.
    """
    present = present_memory()
    if present is None or n_byte <= present:
        return
    shape = " x ".join(str(n) for n in study.grid.shape)
    raise SettingsError(
        f"{study.path}: a grid of {shape} voxels with {what} needs {n_byte / 1e9:.1f} GB and the "
        f"machine has {present / 1e9:.1f} GB free; {remedy}"
    )
