"""Singles of GATE 9: a ROOT tree ``Singles`` with fixed names and units, read and written."""

import contextlib
import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError
from psimg.events.values import Singles
from psimg.io.mapping import Column, make_column
from psimg.io.table import Table

TREE = "Singles"
_COLUMNS = (
    ("time", "time", "s"),
    ("energy", "energy", "MeV"),
    ("x", "globalPosX", "mm"),
    ("y", "globalPosY", "mm"),
    ("z", "globalPosZ", "mm"),
)
_LABELS = (("detector", "crystalID"), ("decay", "eventID"))


def is_gate9(table: Table) -> bool:
    """Whether the table looks like singles of GATE 9."""
    return table.tree == TREE and {"time", "globalPosX"} <= set(table.columns)


def gate9_columns(table: Table) -> tuple[Column, ...]:
    """Return where psimg's columns are in a tree of GATE 9 singles.

    ``eventID`` counts decays and is the truth of each single; it and ``crystalID`` may be absent.
    """
    columns = [make_column(role, source, unit) for role, source, unit in _COLUMNS]
    columns += [make_column(role, name, None) for role, name in _LABELS if name in table.columns]
    return tuple(columns)


def refuse_coincidences(table: Table) -> None:
    """Raise `FileError` for a tree of coincidences: pairs hold no prompt gamma."""
    if table.tree is not None and table.tree.lower().startswith("coincidences"):
        raise FileError(
            f"{table.path}: tree {table.tree!r} holds pairs of photons, and a lifetime needs the "
            "prompt gamma too; export the Singles tree (input.tree = 'Singles')"
        )


def write_gate9(path: Path, chunks: Iterable[Singles]) -> int:
    """Write singles in the layout of GATE 9.

    Parameters
    ----------
    path : Path
        The file to make; it must not exist.
    chunks : iterable of Singles
        Singles in time order; a label that the first chunk lacks gets no branch.

    Returns
    -------
    int
        Number of singles written.

    Raises
    ------
    FileError
        If the file exists or cannot be written.
    DataError
        If the singles have no energies.
    """
    import uproot

    if path.exists():
        raise FileError(f"{path}: exists already; remove it or choose another name")
    branches: dict[str, type[np.generic]] = {source: np.float32 for _, source, _ in _COLUMNS}
    chunks = iter(chunks)
    first = next(chunks, None)
    labels = [(role, source) for role, source in _LABELS if getattr(first, role, None) is not None]
    branches |= {"time": np.float64} | {source: np.int64 for _, source in labels}
    n_written = 0
    try:
        with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
            tree = file.mktree(TREE, branches)
            for singles in itertools.chain([] if first is None else [first], chunks):
                n = len(singles)
                if singles.energy_kev is None:
                    raise DataError(
                        f"{path}: GATE 9 singles have energies, and these have only times over "
                        "threshold; they cannot be written in this layout"
                    )
                tree.extend(
                    {
                        "time": singles.time_ns * 1e-9,
                        "energy": (singles.energy_kev * 1e-3).astype(np.float32),
                        "globalPosX": singles.position_mm[:, 0].astype(np.float32),
                        "globalPosY": singles.position_mm[:, 1].astype(np.float32),
                        "globalPosZ": singles.position_mm[:, 2].astype(np.float32),
                    }
                    | {source: _label(getattr(singles, role), n) for role, source in labels}
                )
                n_written += n
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise FileError(
            f"{path}: cannot be written ({error.strerror or error}); make room or choose another "
            "place"
        ) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return n_written


def _label(given: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    return np.full(n, -1) if given is None else given
