"""The layout of the public Vision Quadra lifetime exports: four float64 per event, no header.

Little-endian ``(c0, c1, c2, t)``, mm and ns; events that the export marked as bad carry
``t = +-655360``. The data sets are those of zenodo.org records 11243763, 12636019 and 13443797.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import FileError, SettingsError
from psimg.events.values import LifetimeEvents
from psimg.io import _quadra
from psimg.io.mapping import Column, make_column
from psimg.io.table import Rows, Table

BAD_TIME_NS = 655360.0
"""|t| of events that the export marked as bad [ns]."""
DEFAULT_AXES = ("-c0", "+c2", "-c1")
"""World x, y, z; reproduces the provider's image. The provider's helper says +c0, -c2, -c1."""
_NAMES = ("c0", "c1", "c2", "t")
_RECORD = 8 * len(_NAMES)
_PIECE = 4096
"""Records read at a time: small enough to be turned into events before they leave the cache."""


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


def read_events(
    table: Table, columns: Sequence[Column], n_rows: int
) -> Iterator[tuple[LifetimeEvents, int, int]]:
    """Read the events of a file from `open_quadra`, at most ``n_rows`` rows at a time.

    The memory used is that of the events, whatever the length of the file.

    Yields
    ------
    events : LifetimeEvents
        The good rows in the order of the file.
    n_not_finite, n_marked_bad : int
        Rows left out for a NaN or an infinite number, and because they are marked as bad.

    Raises
    ------
    FileError
        If the file ends before the rows it had when it was opened.
    """
    by_role = {column.role: column for column in columns}
    order = np.array([_NAMES.index(by_role[axis].source) for axis in "xyz"])
    sign = np.array([by_role[axis].factor for axis in "xyz"])
    assert table.n_rows is not None
    records = np.empty((_PIECE, len(_NAMES)), "<f8")
    with table.path.open("rb", buffering=0) as file:
        for start in range(0, table.n_rows, n_rows):
            n = min(n_rows, table.n_rows - start)
            position, dt = np.empty((n, 3)), np.empty(n)
            n_good = n_not_finite = n_bad = 0
            for done in range(0, n, _PIECE):
                piece = records[: min(_PIECE, n - done)]
                if not _fill(file, piece):
                    raise FileError(
                        f"{table.path}: breaks off after {start + done} of {table.n_rows} events; "
                        "it was changed while it was read, or its disk fails"
                    )
                dropped = _quadra.take_good(piece, order, sign, BAD_TIME_NS, n_good, position, dt)
                n_not_finite += dropped[0]
                n_bad += dropped[1]
                n_good += len(piece) - sum(dropped)
            events = LifetimeEvents(
                position_mm=position[:n_good],
                dt_ns=dt[:n_good],
                window=np.zeros(n_good, np.uint8),
            )
            yield events, n_not_finite, n_bad


def _fill(file: FileIO, piece: NDArray[np.float64]) -> bool:
    """Fill ``piece`` from the file; return whether there was enough."""
    buffer = piece.data.cast("B")
    while buffer:
        n_byte = file.readinto(buffer)
        if not n_byte:
            return False
        buffer = buffer[n_byte:]
    return True
