"""NumPy archives of one-dimensional columns, streamed member by member."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from psimg.core.errors import FileError
from psimg.io.table import Rows, Table

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError)


def open_npz(path: Path) -> Table:
    """Open an archive whose members are columns of equal length.

    Members are never loaded whole, and nothing in the file can run code: arrays of Python objects
    are refused.

    Raises
    ------
    FileError
        If the archive is broken, or its members are not equally long plain columns.
    """
    columns: dict[str, np.dtype[Any]] = {}
    lengths: dict[str, int] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    shape, dtype = _header(file)
                name = member.removesuffix(".npy")
                if dtype.hasobject:
                    raise FileError(
                        f"{path}: member {name!r} holds Python objects; save plain number arrays"
                    )
                if len(shape) != 1:
                    raise FileError(
                        f"{path}: member {name!r} has shape {shape}, expected one number a row; "
                        "save each coordinate as a column of its own"
                    )
                columns[name], lengths[name] = dtype, shape[0]
    except (*_BROKEN, ValueError, OSError) as error:
        raise FileError(
            f"{path}: not a readable npz archive ({error}); save it again with numpy.savez"
        ) from error
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise FileError(f"{path}: columns of unequal length: {listed}; save equally long columns")
    return Table(
        path=path,
        kind="npz",
        columns=columns,
        n_rows=next(iter(lengths.values()), 0),
        read=partial(_read, path),
        where="member",
    )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy_format.read_magic(file)
    read = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    return shape, dtype


def _read(path: Path, names: Sequence[str], n_rows: int) -> Iterator[Rows]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        streams = []
        for name in names:
            stream = stack.enter_context(archive.open(f"{name}.npy"))
            (length,), dtype = _header(stream)
            streams.append((stream, dtype))
        done = 0
        while done < length:
            n = min(n_rows, length - done)
            chunk = []
            for name, (stream, dtype) in zip(names, streams, strict=True):
                data = _read_exactly(stream, n * dtype.itemsize)
                if len(data) < n * dtype.itemsize:
                    raise FileError(
                        f"{path}: member {name!r} ends before its {length} rows; save it again"
                    )
                chunk.append(np.frombuffer(data, dtype))
            yield chunk
            done += n


def _read_exactly(stream: IO[bytes], n_byte: int) -> bytes:
    try:
        return stream.read(n_byte)
    except _BROKEN:
        return b""
