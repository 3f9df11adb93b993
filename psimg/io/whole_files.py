"""Files that are there whole or not at all: written aside, then put in place together."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from psimg.core.errors import FileError


def refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raise `FileError` for a path that cannot be made a file, or may not be replaced."""
    for path in paths:
        if path.is_dir():
            raise FileError(f"{path}: is a directory, expected the name of a file to make")
        if path.exists() and not overwrite:
            raise FileError(
                f"{path}: exists already; use --overwrite to replace it, or choose another name"
            )


@contextlib.contextmanager
def whole_files(paths: Sequence[Path], *, overwrite: bool = False) -> Iterator[list[Path]]:
    """Give names to write files under, and put them in place only when the block ends well.

    The names end like the files' own. A name that nothing was written under is passed over.

    Parameters
    ----------
    paths : sequence of Path
        The files to make; their directories are made where they are missing.
    overwrite : bool
        Whether files of these names may be replaced.

    Yields
    ------
    list of Path
        A name for each file, on the same disk.

    Raises
    ------
    FileError
        If a file exists and ``overwrite`` is False, the disk is full or the place cannot be written
        to; nothing is left behind.
    """
    refuse_existing(paths, overwrite=overwrite)
    made: list[Path] = []
    aside: dict[Path, Path] = {}
    done = False
    try:
        for folder in dict.fromkeys(path.parent for path in paths):
            missing = [p for p in (folder, *folder.parents) if not p.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            made += missing
            aside[folder] = Path(tempfile.mkdtemp(prefix=".psimg-", dir=folder))
        names = [aside[path.parent] / path.name for path in paths]
        yield names
        refuse_existing(paths, overwrite=overwrite)
        for name, path in zip(names, paths, strict=True):
            if name.exists():
                name.replace(path)
        done = True
    except OSError as error:
        raise FileError(
            f"{_who(error, paths)}: cannot be written ({error.strerror or error}); make room or "
            "choose another place"
        ) from error
    finally:
        for folder in aside.values():
            shutil.rmtree(folder, ignore_errors=True)
        if not done:
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _who(error: OSError, paths: Sequence[Path]) -> str:
    """Return the file that an error is about; the first where the error does not say."""
    name = Path(str(error.filename)).name if error.filename else ""
    return str(next((path for path in paths if path.name == name), paths[0]))
