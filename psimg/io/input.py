"""One door to every readable file: find its format, settle its columns, yield psimg's values."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import FileError, SettingsError
from psimg.core.settings import SETTINGS_CONFIG
from psimg.events.values import LifetimeEvents, Singles, Triplets
from psimg.io.csv_table import open_csv
from psimg.io.gate9 import gate9_columns, is_gate9, refuse_coincidences
from psimg.io.mapping import Column, ColumnSpec, map_columns, quantity_of, require_columns
from psimg.io.npz import open_npz
from psimg.io.quadra import DEFAULT_AXES, open_quadra, quadra_columns, read_events
from psimg.io.root import open_root
from psimg.io.table import Table

log = logging.getLogger(__name__)

FORMATS = ("quadra-xyzt", "gate9", "root", "csv", "npz")
"""Names of the readable formats."""

_COARSEST_CLOCK_NS = 0.01
"""Step of the clock above which it would widen dt [ns]."""

Content = Literal["singles", "triplets", "events"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputOptions:
    """How to read the input files."""

    format: Literal["quadra-xyzt", "gate9", "root", "csv", "npz"] | None = None
    """Layout of the files; found from the file when left out."""
    content: Content | None = None
    """What a row is; found from the columns when left out."""
    tree: str | None = None
    """Tree of a ROOT file."""
    columns: Mapping[str, ColumnSpec | str] = field(default_factory=dict)
    """Name and unit in the file of each of psimg's columns."""
    axes: tuple[str, str, str] = DEFAULT_AXES
    """World x, y, z of a ``quadra-xyzt`` file in terms of its c0, c1, c2."""
    max_disorder_ns: float = 10_000.0
    """How far out of time order a single may be; farther is an error [ns]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if not self.max_disorder_ns >= 0:
            raise SettingsError(f"max_disorder_ns = {self.max_disorder_ns:g} is negative")
        quadra_columns(self.axes)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class InputChunk:
    """Some rows of a file, as psimg's value, and what was left out."""

    value: Singles | Triplets | LifetimeEvents
    n_rows: int
    """Rows read."""
    n_not_finite: int
    """Rows dropped for a NaN or an infinite number."""
    n_marked_bad: int
    """Rows dropped because the file itself marks them as bad."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class InputFile:
    """A file ready to be read: its format, what a row is, and where each column comes from."""

    table: Table
    format: str
    content: Content
    columns: tuple[Column, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def n_rows(self) -> int | None:
        """Number of rows; None where it takes a pass over the file to know."""
        return self.table.n_rows

    def chunks(self, n_rows: int = 1_000_000) -> Iterator[InputChunk]:
        """Read the file, at most ``n_rows`` rows at a time.

        Times of singles and triplets count from the file's first row.

        Yields
        ------
        InputChunk
            Rows in the order of the file. Rows with NaN or infinite numbers are dropped and
            counted.

        Raises
        ------
        FileError
            If the file has no row, breaks off, more than half of its rows are not finite, or its
            times are too large for a float64 to hold picoseconds.
        """
        n_read = n_not_finite = 0
        own = self._quadra_chunks if self.format == "quadra-xyzt" else self._table_chunks
        for chunk in own(n_rows):
            n_read += chunk.n_rows
            n_not_finite += chunk.n_not_finite
            yield chunk
        if n_read == 0:
            raise FileError(f"{self.path}: holds no {self.content}; export it again")
        if 2 * n_not_finite > n_read:
            raise FileError(
                f"{self.path}: {n_not_finite} of {n_read} rows hold NaN or infinite numbers, more "
                "than half; check the export and the column map"
            )

    def _quadra_chunks(self, n_rows: int) -> Iterator[InputChunk]:
        for events, n_not_finite, n_bad in read_events(self.table, self.columns, n_rows):
            yield InputChunk(
                value=events,
                n_rows=len(events) + n_not_finite + n_bad,
                n_not_finite=n_not_finite,
                n_marked_bad=n_bad,
            )

    def _table_chunks(self, n_rows: int) -> Iterator[InputChunk]:
        origin: Any = None
        for raw in self.table.read([c.source for c in self.columns], n_rows):
            columns = dict(zip((c.role for c in self.columns), raw, strict=True))
            length = len(raw[0])
            if origin is None and length:
                origin = self._origin(columns)
            yield self._convert(columns, length, origin)

    def _origin(self, columns: dict[str, NDArray[Any]]) -> Any:
        """Return the first finite time of the file, in the file's own unit and type."""
        name = {"singles": "time", "triplets": "time_1"}.get(self.content)
        if name is None:
            return 0
        times = columns[name]
        finite = times[np.isfinite(times)]
        if not len(finite):
            return None
        if times.dtype.kind == "f":
            factor = next(c.factor for c in self.columns if c.role == name)
            step_ns = float(np.spacing(np.abs(finite[0]))) * factor
            if step_ns > _COARSEST_CLOCK_NS:
                raise FileError(
                    f"{self.path}: times start at {finite[0]:.10g}, where a float64 steps by "
                    f"{step_ns:.2g} ns; subtract the start of the acquisition before exporting, or "
                    "export integer picoseconds"
                )
        return finite[0]

    def _convert(self, columns: dict[str, NDArray[Any]], length: int, origin: Any) -> InputChunk:
        good = np.ones(length, np.bool_)
        for values in columns.values():
            if values.dtype.kind == "f":
                good &= np.isfinite(values)
        n_not_finite = length - int(np.count_nonzero(good))
        converted: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            values = columns[column.role]
            if n_not_finite:
                values = values[good]
            if quantity_of(column.role) is None:
                converted[column.role] = values.astype(np.int64)
                continue
            if column.role.startswith("time"):
                # Integers are subtracted as integers: a clock of picoseconds outgrows a float64.
                if values.dtype.kind in "iu":
                    values = values.astype(np.int64)
                    origin = np.int64(origin)
                values = values - origin if len(values) else values
            converted[column.role] = values.astype(np.float64) * column.factor
        return InputChunk(
            value=_as_value(self.content, converted),
            n_rows=length,
            n_not_finite=n_not_finite,
            n_marked_bad=0,
        )


def open_input(path: Path | str, *, options: InputOptions | None = None) -> InputFile:
    """Open a file of singles, triplets or located events.

    Parameters
    ----------
    path : Path or str
        The file.
    options : InputOptions, optional
        Format, content, tree, columns; what is left out is found from the file.

    Returns
    -------
    InputFile
        The file, ready to be read in chunks.

    Raises
    ------
    FileError
        If the file is missing, empty, of unknown format, holds pairs instead of triplets, lacks a
        column, or keeps absolute times in float32.
    """
    path = Path(path)
    options = options or InputOptions()
    require_file(path)
    kind = options.format or _guess_format(path)
    table = _open_table(path, kind, options)
    refuse_coincidences(table)
    content: str | None = options.content
    if options.columns and kind in ("quadra-xyzt", "gate9"):
        raise SettingsError(
            f"{path}: input.columns is set, but {kind} files have fixed columns; leave it out, or "
            "choose another input.format"
        )
    if kind == "quadra-xyzt":
        content, columns = "events", quadra_columns(options.axes)
    elif kind == "gate9" or (kind == "root" and is_gate9(table) and not options.columns):
        kind, content, columns = "gate9", "singles", gate9_columns(table)
    else:
        content, columns = map_columns(table, options.columns, content)
    if options.content is not None and options.content != content:
        raise SettingsError(
            f"{path}: input.content = {options.content!r}, but {kind} files hold {content}"
        )
    require_columns(table, columns, content)
    if table.n_rows == 0:
        raise FileError(f"{path}: holds no {content}; export it again")
    return InputFile(table=table, format=kind, content=content, columns=columns)  # type: ignore[arg-type]


def require_file(path: Path) -> None:
    """Raise `FileError` unless ``path`` is a file that can be read and holds something."""
    if path.is_dir():
        raise FileError(f"{path}: is a directory, expected a file")
    try:
        size = path.stat().st_size
        path.open("rb").close()
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be opened ({error.strerror})") from error
    if size == 0:
        raise FileError(f"{path}: is empty (0 bytes); export or copy it again")


def _guess_format(path: Path) -> str:
    """Return the format by the first bytes of the file, else by its ending."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"root":
        return "root"
    if start[:2] == b"PK":
        return "npz"
    suffix = path.suffix.lower()
    if suffix == ".l":
        return "quadra-xyzt"
    if suffix in (".csv", ".tsv", ".txt", ".dat"):
        return "csv"
    raise FileError(
        f"{path}: unknown format (ending {suffix or 'none'}, first bytes {start!r}); psimg reads "
        f"{', '.join(FORMATS)}; name the one it is in input.format"
    )


def _open_table(path: Path, kind: str, options: InputOptions) -> Table:
    if kind in ("gate9", "root"):
        return open_root(path, tree=options.tree)
    return {"quadra-xyzt": open_quadra, "csv": open_csv, "npz": open_npz}[kind](path)


def _as_value(
    content: str, columns: dict[str, NDArray[Any]]
) -> Singles | Triplets | LifetimeEvents:
    def point(suffix: str = "") -> NDArray[np.float64]:
        return np.stack([columns[f"{axis}{suffix}"] for axis in "xyz"], axis=1)

    if content == "singles":
        return Singles(
            time_ns=columns["time"],
            position_mm=point(),
            energy_kev=columns.get("energy"),
            tot_ns=columns.get("tot"),
            detector=columns.get("detector"),
            decay=columns.get("decay"),
        )
    if content == "events":
        dt = columns["dt"]
        return LifetimeEvents(position_mm=point(), dt_ns=dt, window=np.zeros(len(dt), np.uint8))

    def photons(stem: str) -> NDArray[Any] | None:
        if f"{stem}_1" not in columns:
            return None
        return np.stack([columns[f"{stem}_{i}"] for i in (1, 2, 3)], axis=1)

    time_ns = np.stack([columns[f"time_{i}"] for i in (1, 2, 3)], axis=1)
    return Triplets(
        time_ns=time_ns,
        position_mm=np.stack([point(f"_{i}") for i in (1, 2, 3)], axis=1),
        energy_kev=photons("energy"),
        tot_ns=photons("tot"),
        detector=photons("detector"),
        window=np.zeros(len(time_ns), np.uint8),
    )
