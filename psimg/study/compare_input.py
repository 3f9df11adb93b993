"""What ``psimg compare`` reads: a map of a run or of a file, its errors, regions and table."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from psimg.core.errors import FileError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Mask, Region
from psimg.io.nifti import read_image, read_mask
from psimg.study.config import read_settings
from psimg.study.outputs import REGIONS, REGIONS_RECON, SUMMARY
from psimg.study.sections import REGION_SPECS, MaskSpec

MAPS = "maps"
_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class LoadedMap:
    """A map with what its folder says of it."""

    path: Path
    """The file of the map."""
    directory: Path | None
    """The results it is from; None for a file that was named itself."""
    name: str
    """What the map is of, from its sidecar, else from its file's name."""
    named: bool
    """Whether the name is from a sidecar."""
    unit: str | None
    """From the sidecar; None where there is none."""
    grid: VoxelGrid
    image: NDArray[np.float64]
    """(nx, ny, nz) NaN where there is no value."""
    error: NDArray[np.float64] | None
    """(nx, ny, nz) standard errors, where there is a map of them beside it."""
    counts: NDArray[np.float64] | None
    """(nx, ny, nz) events, where there is a map of them beside it."""
    input_sha256: frozenset[str]
    """Of the files that it was made from, where the sidecar names them."""
    n_zero: int
    """Voxels of a map of mean lives that were 0, and are without a value."""


def load_map(path: Path, name: str) -> LoadedMap:
    """Load a map from the output directory of a run or from a NIfTI file.

    Parameters
    ----------
    path : Path
        The directory or the file.
    name : str
        Which map of a directory.

    Returns
    -------
    LoadedMap
        The map, and its errors where ``NAME_error`` is beside it.

    Raises
    ------
    FileError
        If the file is no NIfTI image, the directory has no such map, or the errors have another
        shape.
    """
    directory = path if path.is_dir() else None
    file = path if directory is None else _map_file(path, name)
    grid, image = read_image(file)
    stem, suffix = _split(file)
    sidecar = _sidecar(file.parent / f"{stem}.json")
    called = sidecar.get("Name", stem)
    # A mean life is never 0: where a map of one is, its maker had no other word for no value.
    is_zero = (image == 0) if str(called).startswith("tau") else np.zeros(grid.shape, np.bool_)
    return LoadedMap(
        path=file,
        directory=directory,
        name=called,
        named="Name" in sidecar,
        unit=sidecar.get("Units"),
        grid=grid,
        image=np.where(is_zero, np.nan, image),
        error=_beside(file, f"{stem}_error{suffix}", grid),
        counts=None if directory is None else _beside(file, f"counts{suffix}", grid),
        input_sha256=frozenset(sidecar.get("InputSha256", ())),
        n_zero=int(np.count_nonzero(is_zero)),
    )


def _map_file(directory: Path, name: str) -> Path:
    folder = directory / MAPS
    for suffix in _SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    files = [file.name for suffix in _SUFFIXES for file in folder.glob(f"*{suffix}")]
    held = ", ".join(sorted(_split(Path(file))[0] for file in files))
    if not held:
        raise FileError(
            f"{directory}: has no {MAPS}/*.nii.gz; name the output directory of a 'psimg run' with "
            "'nifti' in output.formats, or a NIfTI file"
        )
    raise FileError(f"{directory}: has no map {name!r}; choose one with --map: {held}")


def _split(file: Path) -> tuple[str, str]:
    for suffix in _SUFFIXES:
        if file.name.endswith(suffix):
            return file.name.removesuffix(suffix), suffix
    return file.stem, file.suffix


def _sidecar(path: Path) -> Mapping[str, Any]:
    """Return what a sidecar says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: not a readable sidecar ({error})") from error
    return found if isinstance(found, dict) else {}


def _beside(file: Path, name: str, grid: VoxelGrid) -> NDArray[np.float64] | None:
    """Return the image of another file in the folder, if it is there."""
    path = file.parent / name
    if not path.is_file() or path == file:
        return None
    own, image = read_image(path)
    if own.shape != grid.shape:
        raise FileError(
            f"{path}: has {list(own.shape)} voxels but {file.name} has {list(grid.shape)}; they "
            "are not of one run"
        )
    return image


def regions_of_study(path: Path) -> tuple[Region, ...]:
    """Read the regions of a study file, whose inputs need not be there.

    Parameters
    ----------
    path : Path
        The study file; masks are relative to it.

    Raises
    ------
    FileError, SettingsError
        If the file cannot be read, or a mask has no voxel set.
    """
    regions: list[Region] = []
    for spec in read_settings(path).regions:
        if isinstance(spec, MaskSpec):
            grid, inside = read_mask(path.parent / spec.file, label=spec.label)
            regions.append(Mask(name=spec.name, grid=grid, inside=inside))
        else:
            regions.append(spec)
    if not regions:
        raise SettingsError(f"{path}: has no [[regions]]; add one, or leave --regions out")
    return tuple(regions)


def regions_of_run(directory: Path) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """Read the regions of a run from its summary.

    Parameters
    ----------
    directory : Path
        The output directory.

    Returns
    -------
    regions : tuple of Region
        Those that the summary describes in full.
    masks : tuple of str
        Names of those that are files, whose folder the summary does not know.

    Raises
    ------
    FileError
        If there is a summary that is not one of psimg.
    """
    path = directory / SUMMARY
    if not path.is_file():
        return (), ()
    regions: list[Region] = []
    masks = []
    try:
        for settings in json.loads(path.read_text())["settings"]["regions"]:
            kind = REGION_SPECS[settings["shape"]]
            spec: Any = TypeAdapter(kind).validate_python(settings)
            if isinstance(spec, MaskSpec):
                masks.append(spec.name)
            else:
                regions.append(spec)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: not a summary of this version of psimg ({error!r})") from error
    return tuple(regions), tuple(masks)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionRow:
    """A row of ``regions.csv`` or ``regions_recon.csv``. What has no value is None."""

    n_events: int
    tau_ops_ns: float | None
    tau_ops_error_ns: float | None


def region_table_of(directory: Path) -> Path:
    """Return the table of a run's regions: that of the region likelihood where it made one."""
    recon = directory / REGIONS_RECON
    return recon if recon.exists() else directory / REGIONS


def read_region_table(path: Path) -> dict[str, RegionRow]:
    """Read the fits of a run's regions by the regions' names.

    Parameters
    ----------
    path : Path
        Its ``regions.csv``, or ``regions_recon.csv``.

    Raises
    ------
    FileError
        If it is no such table.
    """
    rows = {}
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            # That of the region likelihood counts true triplets.
            counted = "n_triplets" if path.name == REGIONS_RECON else "n_events"
            columns = ("region", counted, "tau_ops_ns", "tau_ops_error_ns")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise FileError(f"{path}: no column {missing[0]}; expected a table of 'psimg run'")
            for line in reader:
                try:
                    rows[line["region"]] = RegionRow(
                        n_events=round(float(line[counted])),
                        tau_ops_ns=_number(line["tau_ops_ns"]),
                        tau_ops_error_ns=_number(line["tau_ops_error_ns"]),
                    )
                except (TypeError, ValueError) as error:
                    raise FileError(f"{path}: line {reader.line_num}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from error
    return rows


def _number(cell: str | None) -> float | None:
    return float(cell) if cell else None
