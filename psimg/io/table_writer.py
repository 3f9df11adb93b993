"""Flat tables written chunk by chunk, as ROOT, CSV or npz, in memory that does not grow."""

import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError
from psimg.io.whole_files import whole_files

Columns = Mapping[str, NDArray[Any]]
"""One array per column, all of the same length."""

WRITABLE = (".root", ".csv", ".npz")
"""Endings of the tables that can be written."""

_MERGED_ROWS = 25_000
"""Least rows of a ROOT basket: each costs the file a few hundred bytes."""


class TableWriter(Protocol):
    """Takes the rows of a table."""

    def append(self, columns: Columns) -> None:
        """Write rows; every call brings the same columns."""
        ...


def require_writable(path: Path) -> None:
    """Raise `FileError` for a file whose ending is none of `WRITABLE`."""
    if path.suffix.lower() not in WRITABLE:
        raise FileError(
            f"{path}: ending {path.suffix or 'none'} is no table psimg writes; use one of "
            f"{', '.join(WRITABLE)}"
        )


def write_table(
    path: Path,
    chunks: Iterable[Columns],
    *,
    tree: str = "Events",
    decimals: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> int:
    """Write a table whose format is that of the file's ending.

    Parameters
    ----------
    path : Path
        The file to make: ``.root``, ``.csv`` or ``.npz``.
    chunks : iterable of mapping
        Rows, as arrays by the name of the column; all chunks have the same columns.
    tree : str
        Name of the tree in a ROOT file.
    decimals : mapping, optional
        Digits behind the point of a column in a CSV file; as many as its type holds when left out.
    overwrite : bool
        Whether an earlier file may be replaced.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    FileError
        If the file exists and ``overwrite`` is False, its ending is unknown, or it cannot be
        written; nothing is left behind.
    DataError
        If a chunk has other columns than the first, or columns of unequal length.
    """
    require_writable(path)
    n_rows = 0
    with (
        whole_files([path], overwrite=overwrite) as (name,),
        table_writer(name, tree=tree, decimals=decimals) as table,
    ):
        for columns in chunks:
            table.append(columns)
            n_rows += len(next(iter(columns.values())))
    return n_rows


@contextmanager
def table_writer(
    path: Path, *, tree: str = "Events", decimals: Mapping[str, int] | None = None
) -> Iterator[TableWriter]:
    """Open a table to append rows to; the file is complete when the block ends.

    Parameters are those of `write_table`; the file is made under its name at once.
    """
    require_writable(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield _Checked(_Csv(file, decimals or {}))
    elif suffix == ".npz":
        with _npz(path) as table:
            yield _Checked(table)
    else:
        with _root(path, tree) as table:
            yield _Checked(table)


class _Checked:
    """Rows of the same columns, equally long."""

    def __init__(self, table: TableWriter) -> None:
        self._table = table
        self._names: list[str] | None = None

    def append(self, columns: Columns) -> None:
        names = list(columns)
        if self._names is None:
            self._names = names
        if names != self._names:
            raise DataError(
                f"rows have the columns {', '.join(names)}, and those before them "
                f"{', '.join(self._names)}; write them to a table of their own"
            )
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise DataError(f"columns of unequal length: {listed}")
        self._table.append(columns)


class _Csv:
    """Lines of text, below one of names."""

    def __init__(self, file: IO[str], decimals: Mapping[str, int]) -> None:
        self._file = file
        self._decimals = decimals
        self._line = ""

    def append(self, columns: Columns) -> None:
        if not self._line:
            self._file.write(",".join(columns) + "\n")
            self._line = ",".join(self._format(n, c.dtype) for n, c in columns.items()) + "\n"
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        self._file.writelines(map(self._line.__mod__, rows))

    def _format(self, name: str, dtype: np.dtype[Any]) -> str:
        if dtype.kind in "iub":
            return "%d"
        if name in self._decimals:
            return f"%.{self._decimals[name]}f"
        return "%.9g" if dtype.itemsize <= 4 else "%.17g"


@contextmanager
def _root(path: Path, name: str) -> Iterator["_Root"]:
    import uproot

    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        table = _Root(file, name)
        yield table
        table.flush()


class _Root:
    """Baskets of a tree; rows are gathered to some that are worth a basket."""

    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name
        self._tree: Any = None
        self._waiting: list[Columns] = []
        self._n_waiting = 0

    def append(self, columns: Columns) -> None:
        if self._tree is None:
            types = {name: column.dtype for name, column in columns.items()}
            self._tree = self._file.mktree(self._name, types)
        n = len(next(iter(columns.values())))
        if n:
            self._waiting.append(columns)
            self._n_waiting += n
        if self._n_waiting >= _MERGED_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._waiting:
            return
        names = self._waiting[0]
        rows = {name: np.concatenate([c[name] for c in self._waiting]) for name in names}
        self._tree.extend(rows)
        self._waiting, self._n_waiting = [], 0


@contextmanager
def _npz(path: Path) -> Iterator["_Npz"]:
    folder = path.with_name(f".{path.name}-columns")
    try:
        with ExitStack() as stack:
            table = _Npz(folder, stack)
            yield table
        table.pack(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Npz:
    """Columns in files of their own until their length is known, then members of an archive."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._types: dict[str, np.dtype[Any]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._n_rows = 0

    def append(self, columns: Columns) -> None:
        if not self._files:
            self._folder.mkdir()
            for i, (name, column) in enumerate(columns.items()):
                file = (self._folder / f"{i}").open("wb")
                self._files[name] = self._stack.enter_context(file)
                self._types[name] = column.dtype
        for name, column in columns.items():
            self._files[name].write(np.ascontiguousarray(column, self._types[name]).data)
        self._n_rows += len(next(iter(columns.values())))

    def pack(self, path: Path) -> None:
        """Make the archive, and drop each column's own file when it is in."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for i, (name, dtype) in enumerate(self._types.items()):
                header = {
                    "descr": npy_format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self._n_rows,),
                }
                own = self._folder / f"{i}"
                with (
                    archive.open(f"{name}.npy", "w", force_zip64=True) as member,
                    own.open("rb") as file,
                ):
                    npy_format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(file, member, 1 << 20)
                own.unlink()
