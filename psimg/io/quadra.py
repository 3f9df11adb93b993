"""The layout of the public Vision Quadra lifetime exports: four float64 per event, no header.

Little-endian ``(c0, c1, c2, t)``, mm and ns; events that the export marked as bad carry
``t = +-655360``. The data sets are those of zenodo.org records 11243763, 12636019 and 13443797.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from psimg.core.errors import FileError, SettingsError
from psimg.io.mapping import Column, make_column
from psimg.io.table import Rows, Table

BAD_TIME_NS = 655360.0
"""|t| of events that the export marked as bad [ns]."""
DEFAULT_AXES = ("-c0", "+c2", "-c1")
"""World x, y, z; reproduces the provider's image. The provider's helper says +c0, -c2, -c1."""
_NAMES = ("c0", "c1", "c2", "t")
_RECORD = 8 * len(_NAMES)


def open_quadra(path: Path) -> Table:
    """Open a file of located events in the Vision Quadra layout.

    Raises
    ------
    FileError
        If the size of the file is no multiple of 32 bytes.
    """
    size = path.stat().st_size
    if size % _RECORD:
        raise FileError(
            f"{path}: {size} bytes are no whole number of events of {_RECORD} bytes (4 float64 "
            f"each); {size % _RECORD} are left over; the copy is not complete, or the format is "
            "another one (input.format)"
        )
    return Table(
        path=path,
        kind="quadra-xyzt",
        columns={name: np.dtype(np.float64) for name in _NAMES},
        n_rows=size // _RECORD,
        read=partial(_read, path),
    )


def quadra_columns(axes: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns for an axis map such as ``("-c0", "+c2", "-c1")``.

    Raises
    ------
    SettingsError
        If the map is not made of c0, c1 and c2, each once, with an optional sign.
    """
    columns = []
    for role, axis in zip("xyz", axes, strict=False):
        source = axis.lstrip("+-")
        sign = -1.0 if axis.startswith("-") else 1.0
        columns.append(make_column(role, source, "mm", sign=sign))
    if len(axes) != 3 or sorted(c.source for c in columns) != ["c0", "c1", "c2"]:
        raise SettingsError(
            f"input.axes = {list(axes)}: expected c0, c1 and c2 once each with a sign, such as "
            f"{list(DEFAULT_AXES)}"
        )
    return (*columns, make_column("dt", "t", "ns"))


def _read(path: Path, names: Sequence[str], n_rows: int) -> Iterator[Rows]:
    index = [_NAMES.index(name) for name in names]
    with path.open("rb") as file:
        while len(block := np.fromfile(file, dtype="<f8", count=n_rows * len(_NAMES))):
            rows = block.reshape(-1, len(_NAMES))
            yield [rows[:, i] for i in index]
