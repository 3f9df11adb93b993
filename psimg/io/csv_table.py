"""Text tables: one row per line, a header line or none."""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from psimg.core.errors import FileError
from psimg.io.table import Rows, Table

_MAX_HEADER = 100_000


def open_csv(path: Path) -> Table:
    """Open a text table; the separator is a comma, semicolon, tab or white space.

    A first line that holds a word names the columns; without one they are c0, c1, ... Lines that
    start with ``#`` are passed over, but where no other line does, the last one above the numbers
    may name the columns.

    Raises
    ------
    FileError
        If the file is no text or holds no row.
    """
    n_skip, names, delimiter = 0, [], None
    titles: list[str] = []
    remarks: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(_MAX_HEADER):
                text = line.strip()
                delimiter = next((d for d in ",;\t" if d in text), None)
                words = [w.strip().strip('"') for w in text.lstrip("#").split(delimiter)]
                if text and not text.startswith("#") and all(map(_is_number, words)):
                    names = words
                    break
                if text.startswith("#"):
                    remarks = words
                elif text:
                    titles = words
                n_skip += 1
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: not a text table (byte {error.start} is no UTF-8); name its format in "
            "input.format"
        ) from error
    if not names:
        raise FileError(f"{path}: no row of numbers in this table; expected one event a line")
    numbered = [f"c{i}" for i in range(len(names))]
    header = next(h for h in (titles, remarks, numbered) if len(h) == len(names))
    return Table(
        path=path,
        kind="csv",
        columns={name: np.dtype(np.float64) for name in header},
        n_rows=None,
        read=partial(_read, path, n_skip, delimiter, header, [_type_of(word) for word in names]),
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _type_of(word: str) -> type:
    """Return int64 for a column of long integers: clocks and labels that outgrow a float64."""
    whole = word.lstrip("+-").isdecimal()
    return np.int64 if whole and 2**53 <= abs(int(word)) < 2**63 else np.float64


def _read(
    path: Path,
    n_skip: int,
    delimiter: str | None,
    header: list[str],
    types: list[type],
    names: Sequence[str],
    n_rows: int,
) -> Iterator[Rows]:
    # Each source once: loadtxt takes no column twice.
    wanted = list(dict.fromkeys(names))
    use = [header.index(name) for name in wanted]
    dtype = [(f"f{i}", types[column]) for i, column in enumerate(use)]
    done = 0
    with path.open(encoding="utf-8-sig") as file:
        for _ in range(n_skip):
            file.readline(_MAX_HEADER)
        while lines := _next_lines(path, file, n_rows):
            lines = [line for line in lines if not line.lstrip().startswith("#") and line.strip()]
            if lines:
                _require_width(path, lines, delimiter, len(header), done)
                try:
                    rows = np.loadtxt(
                        lines, dtype, delimiter=delimiter, usecols=use, ndmin=1, quotechar='"'
                    )
                except ValueError as error:
                    raise FileError(
                        f"{path}: {_with_row(str(error), done)}; expected {len(header)} numbers a "
                        "line; mend or remove the line"
                    ) from error
                yield [rows[f"f{wanted.index(name)}"] for name in names]
            done += len(lines)


def _next_lines(path: Path, file: IO[str], n_rows: int) -> list[str]:
    try:
        return list(itertools.islice(file, n_rows))
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: holds bytes that are no UTF-8 text ({error.reason}); export it again"
        ) from error


def _require_width(
    path: Path, lines: list[str], delimiter: str | None, n_column: int, done: int
) -> None:
    """Raise `FileError` at a line of another width: a row too long is read without complaint."""
    for i, line in enumerate(lines):
        n = len(line.split()) if delimiter is None else line.strip().count(delimiter) + 1
        if n != n_column:
            raise FileError(
                f"{path}: data row {done + i + 1} has {n} columns, expected {n_column}; mend or "
                "remove the line"
            )


def _with_row(message: str, done: int) -> str:
    """Return NumPy's message with the row counted from the start of the data."""
    text = re.sub(r"at row (\d+)", lambda m: f"at data row {int(m[1]) + done + 1}", message)
    return text.split(";")[0].rstrip(".")
