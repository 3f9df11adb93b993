"""Timing tables as text: the detectors' offsets, and below them the prompt's time walk."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from psimg.core.errors import DataError, FileError
from psimg.events.timing import PromptWalk, TimingTable

_TITLE = "# psimg timing table, format 1"
_BLOCK = "# labels per row: "
_OFFSETS = ("detector", "offset_ns", "error_ns", "n_pairs")
_WALK = ("energy_low_kev", "energy_high_kev", "energy_mean_kev", "walk_ns", "error_ns")
_REMARKS = (
    "# A single of label n belongs to the row whose detector is n divided by the labels per row,",
    "# rounded down. offset_ns is how late the detector is, the mean of all being zero; it is",
    "# subtracted. A detector without an offset was seen in too few annihilation pairs.",
    "# walk_ns, further down, is how late prompts of an energy are against all prompts.",
)


def write_timing_table(path: Path, table: TimingTable, *, overwrite: bool = False) -> None:
    """Write a timing table as commented CSV.

    Parameters
    ----------
    path : Path
        The file to make.
    table : TimingTable
        Offsets and walk; times are written to 0.1 ps.
    overwrite : bool
        Whether an earlier file may be replaced.

    Raises
    ------
    FileError
        If the file exists and ``overwrite`` is False, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise FileError(f"{path}: exists already; use --overwrite to replace it, or another name")
    text = io.StringIO()
    print(_TITLE, f"{_BLOCK}{table.block}", *_REMARKS, sep="\n", file=text)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_OFFSETS)
    rows = [
        (label, f"{offset:.4f}", f"{error:.4f}", n)
        for label, offset, error, n in zip(
            table.detector.tolist(), table.offset_ns, table.error_ns, table.n_pairs, strict=True
        )
    ]
    empty = [(label, "", "", "") for label in table.left_out.tolist()]
    writer.writerows(sorted([*rows, *empty]))
    if table.walk is not None:
        text.write("\n")
        writer.writerow(_WALK)
        walk = table.walk
        for low, high, mean, late, error in zip(
            walk.edges_kev[:-1], walk.edges_kev[1:], walk.energy_kev, walk.walk_ns, walk.error_ns,
            strict=True,
        ):  # fmt: skip
            energies = (f"{low:.10g}", f"{high:.10g}", f"{mean:.10g}")
            writer.writerow((*energies, f"{late:.4f}", f"{error:.4f}"))
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror})") from error


def read_timing_table(path: Path) -> TimingTable:
    """Read a table written by `write_timing_table`, or by hand in the same layout.

    Raises
    ------
    FileError
        If the file is missing, of another layout, or a row is not what it should be; the message
        names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise FileError(
            f"{path}: no such timing table; 'psimg calibrate STUDY.toml' writes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from error
    if not lines or lines[0].strip() != _TITLE:
        found = lines[0][:60] if lines else ""
        raise FileError(f"{path}: first line is {found!r}, expected {_TITLE!r}")
    block = next((m[1] for x in lines if (m := re.fullmatch(_BLOCK + r"(\d+)\s*", x))), None)
    if block is None:
        raise FileError(f"{path}: no line '{_BLOCK}N'; add it, with N = 1 for one row per label")
    rows = _Rows(path, lines)
    rows.expect(_OFFSETS)
    offsets = [_offset(rows, number, row) for number, row in rows.until(_WALK)]
    walk = [_bin_of_walk(rows, number, row) for number, row in rows.until(None)]
    try:
        return _table(int(block), offsets, walk)
    except DataError as error:
        raise FileError(f"{path}: {error}") from error


class _Rows:
    """The lines of a file that hold something, with their numbers."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        used = [
            (number, [word.strip() for word in line.split(",")])
            for number, line in enumerate(lines, start=1)
            if line.strip() and not line.startswith("#")
        ]
        self._rows = iter(used)

    def expect(self, header: tuple[str, ...]) -> None:
        """Take a line of column names."""
        number, row = next(self._rows, (0, []))
        if tuple(row) != header:
            place = f"line {number} holds {','.join(row)!r}" if number else "no column names"
            raise FileError(f"{self.path}: {place}, expected {','.join(header)!r}")

    def until(self, header: tuple[str, ...] | None) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows up to a line of other column names; None for the last table."""
        width = len(_WALK) if header is None else len(_OFFSETS)
        for number, row in self._rows:
            if header is not None and tuple(row) == header:
                return
            if len(row) != width:
                raise FileError(
                    f"{self.path}: line {number} has {len(row)} columns, expected {width}"
                )
            yield number, row

    def number(self, line: int, word: str) -> float:
        """Return a finite number."""
        try:
            value = float(word)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise FileError(f"{self.path}: line {line} holds {word!r}, expected a finite number")
        return value


def _offset(rows: _Rows, line: int, row: list[str]) -> tuple[int, float, float, int] | int:
    """Return a detector's row, or its label alone where it has no offset."""
    label = rows.number(line, row[0])
    if label != int(label):
        raise FileError(f"{rows.path}: line {line}: label {row[0]} is no whole number")
    if not any(row[1:]):
        return int(label)
    offset, error, n = (rows.number(line, word) for word in row[1:])
    return int(label), offset, error, int(n)


def _bin_of_walk(rows: _Rows, line: int, row: list[str]) -> list[float]:
    # Without an end, as the overflow bin of a scanner.
    high = np.inf if row[1] == "inf" else rows.number(line, row[1])
    low, mean, walk, error = (rows.number(line, row[i]) for i in (0, 2, 3, 4))
    return [low, high, mean, walk, error]


def _table(
    block: int, offsets: list[tuple[int, float, float, int] | int], walk: list[list[float]]
) -> TimingTable:
    given = [row for row in offsets if isinstance(row, tuple)]
    left_out = [row for row in offsets if isinstance(row, int)]
    columns = np.array(walk).reshape(-1, 5)
    low, high = columns[:, 0], columns[:, 1]
    if not np.array_equal(low[1:], high[:-1]):
        raise DataError("energy bins of the walk have gaps between them or overlap")
    measured = None
    if len(columns):
        measured = PromptWalk(
            edges_kev=np.append(low, high[-1]),
            energy_kev=columns[:, 2],
            walk_ns=columns[:, 3],
            error_ns=columns[:, 4],
        )
    return TimingTable(
        block=block,
        detector=np.array([row[0] for row in given], np.int64),
        offset_ns=np.array([row[1] for row in given]),
        error_ns=np.array([row[2] for row in given]),
        n_pairs=np.array([row[3] for row in given], np.int64),
        left_out=np.array(left_out, np.int64),
        walk=measured,
    )
