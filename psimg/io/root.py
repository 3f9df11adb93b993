"""ROOT files as flat tables, through uproot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from psimg.core.errors import FileError
from psimg.io.table import Rows, Table


def open_root(path: Path, *, tree: str | None = None) -> Table:
    """Open a tree of a ROOT file.

    Parameters
    ----------
    path : Path
        The file.
    tree : str, optional
        The tree; may be left out when the file has one, or one named ``Singles``.

    Raises
    ------
    FileError
        If the file is no ROOT file, has no such tree, or several and none was named.
    """
    with open_root_file(path) as file:
        trees = {
            name.split(";")[0]: kind
            for name, kind in file.classnames().items()
            if kind in ("TTree", "TNtuple", "TNtupleD")
        }
        if not trees:
            raise FileError(
                f"{path}: holds no tree ({_contents(file)}); export the events as a TTree"
            )
        tree = _choose(path, trees, tree)
        branches = {name: _dtype(branch) for name, branch in file[tree].iteritems(recursive=True)}
        n_rows = int(file[tree].num_entries)
    return Table(
        path=path,
        kind="root",
        columns=branches,
        n_rows=n_rows,
        read=partial(_read, path, tree),
        tree=tree,
        where="branch",
    )


@contextmanager
def open_root_file(path: Path) -> Iterator[Any]:
    """Open a ROOT file; whatever a broken one raises while it is open becomes a `FileError`."""
    import uproot

    try:
        with uproot.open(path) as file:
            yield file
    except FileError:
        raise
    except Exception as error:  # uproot raises whatever a broken file makes its parser raise
        raise FileError(
            f"{path}: not a readable ROOT file ({type(error).__name__}: {_first_line(error)}); "
            "copy or export it again"
        ) from error


def _choose(path: Path, trees: dict[str, str], tree: str | None) -> str:
    listed = ", ".join(trees) or "none"
    if tree is not None:
        if tree not in trees:
            raise FileError(f"{path}: no tree {tree!r}; the file has {listed}; set input.tree")
        return tree
    if "Singles" in trees:
        return "Singles"
    if len(trees) == 1:
        return next(iter(trees))
    raise FileError(f"{path}: expected one tree and found {listed}; name it in input.tree")


def _contents(file: Any) -> str:
    listed = [f"{name.split(';')[0]}: {kind}" for name, kind in file.classnames().items()]
    return ", ".join(listed[:10]) or "it is empty"


def _dtype(branch: Any) -> np.dtype[Any]:
    """Return the type of a branch of one number per row; object for all else."""
    from uproot.interpretation.numerical import AsDtype

    interpretation = branch.interpretation
    if isinstance(interpretation, AsDtype) and not interpretation.inner_shape:
        dtype: np.dtype[Any] = np.dtype(interpretation.to_dtype).newbyteorder("=")
        return dtype
    return np.dtype(object)


def _read(path: Path, tree: str, names: Sequence[str], n_rows: int) -> Iterator[Rows]:
    import uproot

    try:
        with uproot.open(path) as file:
            for chunk in file[tree].iterate(list(names), step_size=n_rows, library="np"):
                yield [chunk[name] for name in names]
    except Exception as error:
        raise FileError(
            f"{path}: tree {tree!r} cannot be read to its end ({type(error).__name__}: "
            f"{_first_line(error)}); copy or export it again"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")
