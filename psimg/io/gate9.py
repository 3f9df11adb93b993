"""Singles of GATE 9: a ROOT tree ``Singles`` with fixed names and units, read and written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError
from psimg.events.values import Singles
from psimg.io.mapping import Column, make_column
from psimg.io.table import Table
from psimg.io.table_writer import table_writer
from psimg.io.whole_files import whole_files

TREE = "Singles"
_COLUMNS = (
    ("time", "time", "s"),
    ("energy", "energy", "MeV"),
    ("x", "globalPosX", "mm"),
    ("y", "globalPosY", "mm"),
    ("z", "globalPosZ", "mm"),
)
_LABELS = (("detector", "crystalID"), ("decay", "eventID"))
_NONE = Singles(time_ns=np.empty(0), energy_kev=np.empty(0), position_mm=np.empty((0, 3)))


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


def gate9_rows(singles: Singles) -> dict[str, NDArray[Any]]:
    """Return singles as columns of GATE 9; labels they lack are left out.

    Raises
    ------
    DataError
        If the singles have no energies.
    """
    if singles.energy_kev is None:
        raise DataError(
            "GATE 9 singles have energies, and these have only times over threshold; they cannot "
            "be written in this layout"
        )
    columns: dict[str, NDArray[Any]] = {
        "time": singles.time_ns * 1e-9,
        "energy": (singles.energy_kev * 1e-3).astype(np.float32),
        "globalPosX": singles.position_mm[:, 0].astype(np.float32),
        "globalPosY": singles.position_mm[:, 1].astype(np.float32),
        "globalPosZ": singles.position_mm[:, 2].astype(np.float32),
    }
    labels = {source: getattr(singles, role) for role, source in _LABELS}
    return columns | {source: label for source, label in labels.items() if label is not None}


def write_gate9(path: Path, chunks: Iterable[Singles], *, overwrite: bool = False) -> int:
    """Write singles in the layout of GATE 9.

    Parameters
    ----------
    path : Path
        The file to make.
    chunks : iterable of Singles
        Singles in time order; a label that the first chunk lacks gets no branch.
    overwrite : bool
        Whether an earlier file may be replaced.

    Returns
    -------
    int
        Number of singles written.

    Raises
    ------
    FileError
        If the file exists and ``overwrite`` is False, or it cannot be written.
    DataError
        If the singles have no energies.
    """
    n_written = 0
    with (
        whole_files([path], overwrite=overwrite) as (name,),
        table_writer(name, tree=TREE) as table,
    ):
        first: list[str] | None = None
        for singles in chunks:
            columns = gate9_rows(singles)
            first = first or list(columns)
            missing = np.full(len(singles), -1)
            table.append({source: columns.get(source, missing) for source in first})
            n_written += len(singles)
        if first is None:
            table.append(gate9_rows(_NONE))
    return n_written
