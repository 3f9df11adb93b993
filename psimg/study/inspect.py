"""What is in a file: format, columns, ranges, spectra, and a study to start from."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError
from psimg.core.isotopes import ISOTOPES
from psimg.core.units import OWN_UNIT
from psimg.events.cuts import cut_triplets
from psimg.events.locate import locate_triplets
from psimg.events.order import sort_chunks
from psimg.events.select import SelectOptions, find_triplets, within_windows
from psimg.events.signal import TOT
from psimg.events.values import LifetimeEvents, Singles, Triplets
from psimg.io.input import InputFile, InputOptions, open_input
from psimg.io.mapping import REQUIRED, SIGNALS, UnmappedError, quantity_of
from psimg.io.quadra import DEFAULT_AXES
from psimg.io.table import Table
from psimg.spectra.signal import SignalSpectrum
from psimg.study.toml_text import quoted

SAMPLE_ROWS = 2_000_000
"""Rows looked at, from the start of the file."""
_NO_BOX = (0.0, 0.0, 0.0), (250.0, 250.0, 250.0)
"""Centre and size of the grid to start from when events are too few to tell."""
_TOT_WINDOWS = SelectOptions(annihilation_tot_ns=(10.0, 25.0), prompt_tot_ns=(30.0, 50.0))
"""Windows in use for images at the J-PET, where plastic has no photopeak."""
DT_EDGES_NS = np.linspace(-10.0, 20.0, 301)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnRange:
    """One column: its name in the file, and its range in psimg's unit."""

    role: str
    source: str
    file_unit: str
    unit: str
    assumed: bool
    """Whether the unit is a guess."""
    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Inspection:
    """What a look at the start of a file showed."""

    path: Path
    format: str
    content: str
    tree: str | None
    n_rows: int | None
    """Rows in the file; None where it takes a pass over the file to know."""
    n_looked_at: int
    n_bad: int
    """Rows among those looked at that would be dropped."""
    columns: tuple[ColumnRange, ...]
    time_span_ns: float | None
    """Time from the first to the last row looked at [ns]; None for located events."""
    signals: SignalSpectrum | None
    """Energies of the photons looked at, or times over threshold where there are no energies."""
    n_events: int | None
    """Located events among the rows looked at; None where the times cannot be sorted."""
    dt_counts: NDArray[np.int64]
    """(300,) events per 0.1 ns of dt from -10 to 20 ns."""
    centre_mm: tuple[float, float, float]
    """Middle of a box about the events, to 10 mm."""
    extent_mm: tuple[float, float, float]
    """Size of that box, to 10 mm."""
    axes: tuple[str, str, str] | None
    """Axis map in use, for ``quadra-xyzt``."""
    note: str
    """What kept the look from being complete; empty if nothing did."""


def inspect_file(path: Path | str, *, options: InputOptions | None = None) -> Inspection:
    """Look at the first two million rows of a file.

    Parameters
    ----------
    path : Path or str
        Any readable file.
    options : InputOptions, optional
        Format, tree, columns; found from the file when left out.

    Returns
    -------
    Inspection
        Format, columns with ranges, energy and dt spectra with default windows.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    options = options or InputOptions()
    try:
        file = open_input(path, options=options)
    except UnmappedError as error:
        return _inspect_unmapped(error.table)
    chunk = next(file.chunks(SAMPLE_ROWS))
    value = chunk.value
    signals, note = None, ""
    span: float | None = None
    if isinstance(value, LifetimeEvents):
        events: LifetimeEvents | None = value
    else:
        select = _default_windows(value)
        values = select.signal.of(value).ravel()
        signals = SignalSpectrum.of(values, signal=select.signal.signal)
        span = float(np.ptp(value.time_ns)) if len(value) else 0.0
        try:
            events = _locate(value, select, options)
        except DataError as error:
            events, note = None, str(error)
    centre, extent = _box(events)
    return Inspection(
        path=Path(path),
        format=file.format,
        content=file.content,
        tree=file.table.tree,
        n_rows=file.n_rows,
        n_looked_at=chunk.n_rows,
        n_bad=chunk.n_not_finite + chunk.n_marked_bad,
        columns=_ranges(file, value),
        time_span_ns=span,
        signals=signals,
        n_events=None if events is None else len(events),
        dt_counts=np.histogram([] if events is None else events.dt_ns, DT_EDGES_NS)[0],
        centre_mm=centre,
        extent_mm=extent,
        axes=options.axes if file.format == "quadra-xyzt" else None,
        note=note,
    )


def _inspect_unmapped(table: Table) -> Inspection:
    """Look at the columns of a table as they are, for the user to say what they mean."""
    names = [name for name, dtype in table.columns.items() if dtype.kind in "fiub"]
    rows = next(table.read(names, SAMPLE_ROWS)) if names else []
    columns = []
    for name, values in zip(names, rows, strict=True):
        finite = values[np.isfinite(values)]
        columns.append(
            ColumnRange(
                role="",
                source=name,
                file_unit="",
                unit="",
                assumed=False,
                low=float(finite.min()) if len(finite) else np.nan,
                high=float(finite.max()) if len(finite) else np.nan,
            )
        )
    return Inspection(
        path=table.path,
        format=table.kind,
        content="unknown",
        tree=table.tree,
        n_rows=table.n_rows,
        n_looked_at=len(rows[0]) if rows else 0,
        n_bad=0,
        columns=tuple(columns),
        time_span_ns=None,
        signals=None,
        n_events=None,
        dt_counts=np.zeros(len(DT_EDGES_NS) - 1, np.int64),
        centre_mm=_NO_BOX[0],
        extent_mm=_NO_BOX[1],
        axes=None,
        note="psimg does not know these columns; say in [input.columns] which is which",
    )


def _default_windows(value: Singles | Triplets) -> SelectOptions:
    """Return windows to start from: on energies where there are any."""
    return SelectOptions() if value.energy_kev is not None else _TOT_WINDOWS


def _locate(
    value: Singles | Triplets, select: SelectOptions, options: InputOptions
) -> LifetimeEvents:
    """Find and locate triplets with windows to start from."""
    if isinstance(value, Singles):
        if not len(value):
            return LifetimeEvents(
                position_mm=np.empty((0, 3)), dt_ns=np.empty(0), window=np.empty(0, np.uint8)
            )
        (*early, singles) = sort_chunks([value], max_disorder_ns=options.max_disorder_ns)
        for part in reversed(early):
            singles = part.joined(singles)
        value = find_triplets(singles, options=select).triplets
    else:
        value = within_windows(value, options=select)
    return locate_triplets(cut_triplets(value, options=select).triplets)


def _ranges(file: InputFile, value: Singles | Triplets | LifetimeEvents) -> tuple[ColumnRange, ...]:
    columns = []
    for column in file.columns:
        data = _column(value, column.role)
        quantity = quantity_of(column.role)
        columns.append(
            ColumnRange(
                role=column.role,
                source=column.source,
                file_unit=column.unit,
                unit=OWN_UNIT[quantity] if quantity else "",
                assumed=column.assumed,
                low=float(data.min()) if len(data) else np.nan,
                high=float(data.max()) if len(data) else np.nan,
            )
        )
    return tuple(columns)


_COLUMNS = {"time": "time_ns", "energy": "energy_kev", "tot": "tot_ns"}


def _column(value: Singles | Triplets | LifetimeEvents, role: str) -> NDArray[np.float64]:
    """Return one of psimg's columns by its name in the column map."""
    stem, _, photon = role.partition("_")
    if stem in "xyz":
        column = value.position_mm[..., "xyz".index(stem)]
    elif stem == "dt":
        column = getattr(value, "dt_ns")  # noqa: B009 -- only events have it
    elif stem in _COLUMNS:
        column = getattr(value, _COLUMNS[stem])
    else:
        column = getattr(value, stem)
    return np.asarray(column[:, int(photon) - 1] if photon else column)


def _box(
    events: LifetimeEvents | None,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return centre and size of a box about the events, to 10 mm.

    Randoms and scatter lie anywhere in the scanner, so the box is at most three times as wide as
    the middle half of the events.
    """
    if events is None or len(events) < 10:
        return _NO_BOX
    first, lower, upper, last = np.percentile(events.position_mm, [0.1, 25, 75, 99.9], axis=0)
    low = np.maximum(first, 0.5 * (lower + upper) - 1.5 * (upper - lower))
    high = np.minimum(last, 0.5 * (lower + upper) + 1.5 * (upper - lower))
    centre = np.round(0.5 * (low + high), -1) + 0.0
    extent = np.maximum(np.ceil((high - low) / 10) * 10, 10.0)
    x, y, z = (float(c) for c in centre)
    dx, dy, dz = (float(e) for e in extent)
    return (x, y, z), (dx, dy, dz)


def write_study(inspection: Inspection, path: Path) -> None:
    """Write a study file to start from.

    Parameters
    ----------
    inspection : Inspection
        A look at the file.
    path : Path
        The study file to make; it names the input relative to itself.

    Raises
    ------
    FileError
        If the study file exists or cannot be written.
    """
    try:
        name = os.path.relpath(inspection.path.resolve(), path.resolve().parent)
        with path.open("x", encoding="utf-8") as file:
            file.write(study_text(inspection, name))
    except FileExistsError:
        raise FileError(f"{path}: exists already; remove it or choose another name") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror})") from error


def study_text(inspection: Inspection, file_name: str) -> str:
    """Return a study file to start from, with what the inspection could tell filled in.

    Parameters
    ----------
    inspection : Inspection
        A look at the file.
    file_name : str
        How the study is to name the file.
    """
    lines = [
        "[study]",
        f"name = {quoted(inspection.path.stem)}",
        f'# isotope = "Sc-44"    # one of {", ".join(ISOTOPES)}; sets the energy windows',
        "",
        "[input]",
        f"files = [{quoted(file_name)}]",
        f'format = "{inspection.format}"',
    ]
    if inspection.content != "unknown":
        lines.append(f'content = "{inspection.content}"')
    if inspection.tree is not None:
        lines.append(f"tree = {quoted(inspection.tree)}")
    if inspection.axes is not None:
        axes = ", ".join(f'"{axis}"' for axis in inspection.axes)
        lines.append(f"axes = [{axes}]    # world x, y, z; check it on an image")
    if inspection.content == "unknown":
        lines += _columns_to_fill_in(inspection)
    elif inspection.format not in ("gate9", "quadra-xyzt"):
        lines += ["", "[input.columns]"]
        for column in inspection.columns:
            unit = f', unit = "{column.file_unit}"' if column.file_unit else ""
            remark = "    # unit assumed: check it" if column.assumed and unit else ""
            lines.append(f"{column.role} = {{ name = {quoted(column.source)}{unit} }}{remark}")
    if inspection.content != "events":
        by_tot = inspection.signals is not None and inspection.signals.signal is TOT
        select = _TOT_WINDOWS if by_tot else SelectOptions()
        windows = select.signal
        lines += [
            "",
            "[select]",
            f"{windows.signal.annihilation_key} = {list(windows.annihilation)}",
            f"{windows.signal.prompt_key} = {list(windows.prompt)}",
            f"pair_window_ns = {select.pair_window_ns}",
            f"prompt_window_ns = {list(select.prompt_window_ns)}",
            f"min_pair_distance_mm = {select.min_pair_distance_mm}",
        ]
    lines += [
        "",
        "[grid]",
        "voxel_mm = 8.0",
        f"extent_mm = {list(inspection.extent_mm)}",
        f"centre_mm = {list(inspection.centre_mm)}",
        "",
        "[spectrum]",
        "start_ns = -10.0",
        "stop_ns = 20.0",
        "step_ns = 0.1",
        "",
        "[model]",
        'intensities = "ps-ratio"',
        'background = "flat"',
        "",
        "[output]",
        'directory = "results"',
        "",
        "# [[regions]]",
        '# name = "insert"',
        '# shape = "sphere"',
        f"# centre_mm = {list(inspection.centre_mm)}",
        "# radius_mm = 20.0",
        "",
    ]
    return "\n".join(lines)


def _columns_to_fill_in(inspection: Inspection) -> list[str]:
    """Return a column map whose names and units are the user's to fill in."""
    lines = ["", "[input.columns]"]
    lines.append(f"# the file has: {', '.join(quoted(c.source) for c in inspection.columns)}")
    lines.append("# units: s ms us ns ps, eV keV MeV, m cm mm")
    for content, roles in REQUIRED.items():
        lines.append(f"# {content}:")
        for role in (*roles, *(role for group in SIGNALS[content] for role in group)):
            own = OWN_UNIT[quantity_of(role) or "length"]
            remark = "    # energy or tot" if role.startswith(("energy", "tot")) else ""
            lines.append(f'# {role} = {{ name = "...", unit = "{own}" }}{remark}')
    return lines


def describe_axes(axes: tuple[str, str, str]) -> str:
    """Say which axis map is in use, and that it is disputed."""
    said = f"world (x, y, z) = ({', '.join(axes)})"
    if axes == DEFAULT_AXES:
        said += "; the provider's helper says (+c0, -c2, -c1): set input.axes to change it"
    return said
