"""The study file: TOML to the options of each stage."""

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psimg.core.errors import FileError, PsimgError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import ISOTOPES
from psimg.core.regions import Mask, Region
from psimg.core.scanner import Scanner
from psimg.events.signal import ENERGY, TOT
from psimg.events.timing import TimingTable
from psimg.events.windows import n_sets_of
from psimg.io.mapping import ColumnSpec
from psimg.io.nifti import read_mask
from psimg.io.timing_table import read_timing_table
from psimg.lifetime.model import Component, Response, require_free_ops, require_windows
from psimg.study.recon_files import ReconFiles, find_recon_files, require_recon
from psimg.study.sections import REGION_SPECS, MaskSpec, StudyFile
from psimg.study.settings_file import Layout, check_settings, of_file, read_toml

_LAYOUT = Layout(
    root=StudyFile,
    sections={"columns": ColumnSpec, "components": Component, "response": Response},
    kinds={"regions": REGION_SPECS},
    kind_key={"regions": "shape"},
    unions=("ColumnSpec", "float"),
)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Study:
    """A study ready to run: settings checked, files found, regions loaded."""

    path: Path
    settings: StudyFile
    files: tuple[Path, ...]
    scanner: Scanner | None
    grid: VoxelGrid
    regions: tuple[Region, ...]
    object: Region | None
    """The region that ``select.object`` names."""
    through: Region | None
    """The region that ``select.lor_through`` names."""
    directory: Path
    timing_path: Path | None = None
    """The timing table, where the study names one."""
    timing: TimingTable | None = None
    """What the timing table holds."""
    recon_files: ReconFiles = field(default_factory=ReconFiles)
    """The files that ``[recon]`` names."""


def read_study(path: Path | str, *, with_timing: bool = True) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    path : Path or str
        The TOML file; paths in it are relative to it.
    with_timing : bool
        False to leave the timing table aside that the study names, and that may not exist yet.

    Returns
    -------
    Study
        Everything `run_study` needs.

    Raises
    ------
    FileError
        If the file is missing or no TOML, or one that it names is missing.
    SettingsError
        If a key is unknown (the nearest known one is named), a value is out of range, two settings
        contradict each other, or a region lies outside the grid.
    """
    path = Path(path)
    settings = read_settings(path)
    try:
        return _prepare(path, settings, with_timing)
    except PsimgError as error:
        raise of_file(path, error) from error.__cause__


def read_settings(path: Path | str) -> StudyFile:
    """Read the settings of a study file, whose inputs need not be there yet.

    Parameters
    ----------
    path : Path or str
        The TOML file.

    Returns
    -------
    StudyFile
        The settings, each in its range.

    Raises
    ------
    FileError
        If the file is missing or no TOML.
    SettingsError
        If a key is unknown (the nearest known one is named) or a value is out of range.
    """
    path = Path(path)
    raw = read_toml(path, missing="no such study file; 'psimg inspect FILE --study' writes one")
    try:
        _refuse_two_signals(raw)
        return check_settings(_with_isotope(raw), StudyFile, _LAYOUT)
    except PsimgError as error:
        raise of_file(path, error) from error.__cause__


def _refuse_two_signals(raw: dict[str, Any]) -> None:
    """Raise `SettingsError` where a study chooses its photons in two ways."""
    select = raw.get("select")
    keys = list(select) if isinstance(select, dict) else []
    by_energy = [key for key in keys if key in (ENERGY.annihilation_key, ENERGY.prompt_key)]
    by_tot = [key for key in keys if key in (TOT.annihilation_key, TOT.prompt_key)]
    if by_energy and by_tot:
        raise SettingsError(
            f"select.{by_energy[0]} and select.{by_tot[0]}: photons are told apart by energy or by "
            "time over threshold; remove the windows on one of them"
        )


def _with_isotope(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill energy windows that the study leaves out with those of its isotope."""
    section = raw.get("study")
    isotope = ISOTOPES.get(section.get("isotope", "")) if isinstance(section, dict) else None
    select = raw.get("select", {})
    if isotope is None or isotope.prompt_window_kev is None or not isinstance(select, dict):
        return raw
    windows = {
        "annihilation_kev": list(isotope.annihilation_window_kev),
        "prompt_kev": list(isotope.prompt_window_kev),
    }
    return {**raw, "select": {**windows, **select}}


def _prepare(path: Path, settings: StudyFile, with_timing: bool) -> Study:
    base = path.parent
    files = tuple(file for pattern in settings.input.files for file in _expand(base, pattern))
    if not files:
        raise SettingsError("input.files is empty; name at least one file")
    twice = sorted({str(file) for file in files if files.count(file) > 1})
    if twice:
        raise SettingsError(f"input.files names {', '.join(twice)} more than once")
    require_free_ops(settings.model)
    if settings.model.background == "template":
        raise SettingsError(
            "model.background = 'template' is for single spectra (fit_spectrum); a study measures "
            "its background: use 'flat', 'delayed' or 'four-set'"
        )
    require_windows(settings.model, n_sets_of(settings.select.windows))
    _refuse_rules_with_delays(settings)
    grid = settings.grid.grid()
    regions = tuple(_load(base, spec) for spec in settings.regions)
    names = [region.name for region in regions]
    for name in names:
        if not name.strip() or not name.isprintable() or set("/;") & set(name):
            raise SettingsError(
                f"region name {name!r}: expected a name without slash, semicolon or line break"
            )
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"two regions are named {name!r}; give each its own name")
    for region in regions:
        low, high = region.bounds_mm
        if not ((low < grid.high_mm) & (high > grid.low_mm)).all():
            raise SettingsError(
                f"region {region.name!r} spans {_box(low, high)} mm and lies outside the grid, "
                f"which spans {_box(grid.low_mm, grid.high_mm)} mm; move it, or enlarge [grid]"
            )
    _require_crystals(settings)
    scanner = settings.scanner.scanner()
    require_recon(settings, grid, scanner)
    timing = settings.input.timing if with_timing else None
    timing_path = None if timing is None else base / timing
    return Study(
        path=path,
        settings=settings,
        files=files,
        scanner=scanner,
        grid=grid,
        regions=regions,
        object=_named("object", settings, regions),
        through=_named("lor_through", settings, regions),
        directory=Path(os.path.normpath(base / settings.output.directory)),
        timing_path=timing_path,
        timing=None if timing_path is None else read_timing_table(timing_path),
        recon_files=find_recon_files(base, settings.recon),
    )


def _named(key: str, settings: StudyFile, regions: tuple[Region, ...]) -> Region | None:
    """Return the region that a key of ``[select]`` names; None where it names none."""
    name = getattr(settings.select, key)
    if name is None:
        return None
    for region in regions:
        if region.name == name:
            return region
    names = ", ".join(region.name for region in regions)
    raise SettingsError(f"select.{key} = {name!r} is no region; there are {names or 'none'}")


def _require_crystals(settings: StudyFile) -> None:
    scanner = settings.scanner.scanner()
    known = scanner is not None and scanner.crystals_around is not None
    if settings.select.min_prompt_crystals is not None and not known:
        raise SettingsError(
            "select.min_prompt_crystals needs the number of crystals in a ring; set "
            "scanner.crystals_around"
        )


def _refuse_rules_with_delays(settings: StudyFile) -> None:
    """Raise `SettingsError` for rules that drop other shares of random than of delayed triplets."""
    select, background = settings.select, settings.model.background
    rules = {
        "multiples": select.multiples != "all",
        "secondary_ns": select.secondary_ns > 0,
        "exactly_three": select.exactly_three,
    }
    used = [f"select.{name}" for name, is_set in rules.items() if is_set]
    if used and background != "flat":
        raise SettingsError(
            f"{', '.join(used)} with model.background = {background!r}: such a rule drops random "
            "triplets for the true ones near them, which delayed windows do not hold, and the "
            "randoms would come out too many; leave the rule out, or use background = 'flat'"
        )


def _expand(base: Path, pattern: str) -> list[Path]:
    """Return the files a name or pattern stands for; a name that exists is never a pattern."""
    if (base / pattern).exists() or not glob.has_magic(pattern):
        return [base / pattern]
    found = sorted(Path(name) for name in glob.glob(str(base / pattern), recursive=True))  # noqa: PTH207
    if not found:
        raise FileError(f"{base / pattern}: no file matches; check input.files")
    return found


def _load(base: Path, spec: Any) -> Region:
    if isinstance(spec, MaskSpec):
        grid, inside = read_mask(base / spec.file, label=spec.label)
        if not inside.any():
            wanted = "set" if spec.label is None else f"equal to {spec.label}"
            raise SettingsError(f"region {spec.name!r}: no voxel of {base / spec.file} is {wanted}")
        return Mask(name=spec.name, grid=grid, inside=inside)
    region: Region = spec
    return region


def _box(low: Any, high: Any) -> str:
    return ", ".join(f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True))
