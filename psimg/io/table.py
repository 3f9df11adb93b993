"""A file as a flat table: what every reader gives, before names and units are settled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = list[NDArray[Any]]
"""One array per column asked for, all of the same length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A file of named columns that can be read chunk by chunk."""

    path: Path
    kind: str
    """How the file is laid out: ``root``, ``csv``, ``npz``, ``quadra-xyzt``."""
    columns: Mapping[str, np.dtype[Any]]
    """Type of each column in the file."""
    n_rows: int | None
    """Number of rows; None where it takes a pass over the file to know."""
    read: Callable[[Sequence[str], int], Iterator[Rows]]
    """``read(names, n_rows)`` yields the named columns, at most ``n_rows`` rows at a time."""
    tree: str | None = None
    """The tree the columns come from, for ROOT."""
    where: str = "column"
    """What this format calls a column."""
