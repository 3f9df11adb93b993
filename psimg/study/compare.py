"""Two results side by side: their maps voxel by voxel, and the fits of their regions."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from psimg.core.errors import DataError
from psimg.core.regions import Region
from psimg.imaging.comparison import MapComparison, compare_maps
from psimg.study.compare_input import (
    LoadedMap,
    load_map,
    read_region_table,
    region_table_of,
    regions_of_run,
    regions_of_study,
)
from psimg.study.spectrum_figures import save

TAU_OPS = "tau_ops"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitPair:
    """The fits of one region in two runs. What has no value is None."""

    region: str
    n_events_a: int | None
    n_events_b: int | None
    tau_ops_a_ns: float | None
    tau_ops_b_ns: float | None
    error_a_ns: float | None
    error_b_ns: float | None

    @property
    def difference_ns(self) -> float | None:
        """A - B."""
        if self.tau_ops_a_ns is None or self.tau_ops_b_ns is None:
            return None
        return self.tau_ops_a_ns - self.tau_ops_b_ns

    @property
    def pull(self) -> float | None:
        """The difference over its error, as if the two were independent."""
        if self.difference_ns is None or self.error_a_ns is None or self.error_b_ns is None:
            return None
        error = math.hypot(self.error_a_ns, self.error_b_ns)
        return self.difference_ns / error if error > 0 else None


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ResultsComparison:
    """Two results side by side."""

    a: LoadedMap
    b: LoadedMap
    maps: MapComparison
    """Voxel by voxel, in all and in each region."""
    regions: tuple[Region, ...]
    fits: tuple[FitPair, ...]
    """Of the tables of both runs; empty unless both are output directories."""
    notes: tuple[str, ...]
    """What a reader should know of the numbers."""

    @property
    def unit(self) -> str | None:
        """Unit of both maps, where a sidecar says it."""
        return self.a.unit or self.b.unit


def compare_results(
    a: Path, b: Path, *, map_name: str = TAU_OPS, regions: Path | None = None
) -> ResultsComparison:
    """Compare a map of two results.

    Parameters
    ----------
    a, b : Path
        Output directories of `run_and_write`, or NIfTI files, such as a true map. The errors of a
        file ``NAME.nii.gz`` are those of ``NAME_error.nii.gz`` beside it, where that exists.
    map_name : str
        Which map of a directory.
    regions : Path, optional
        Study file whose regions to compare; when left out, those of A's run, else of B's.

    Returns
    -------
    ResultsComparison
        The comparison, on A's grid.

    Raises
    ------
    FileError
        If a map is missing or no NIfTI image.
    SettingsError
        If the study file has no regions.
    DataError
        If the maps are of two quantities or units, their grids do not overlap, or no voxel has a
        value in both.
    """
    first, second = load_map(a, map_name), load_map(b, map_name)
    _require_same(first, second)
    places, notes = _regions(first, second, regions)
    try:
        maps = compare_maps(
            first.image,
            second.image,
            grid=first.grid,
            grid_b=second.grid,
            error_a=first.error,
            error_b=second.error,
            regions=places,
        )
    except DataError as error:
        raise DataError(f"A = {first.path}, B = {second.path}: {error}") from None
    return ResultsComparison(
        a=first,
        b=second,
        maps=maps,
        regions=places,
        fits=_fits(first, second),
        notes=(*notes, *_notes(first, second, maps)),
    )


def _require_same(a: LoadedMap, b: LoadedMap) -> None:
    if a.named and b.named and a.name != b.name:
        raise DataError(
            f"{a.path} is a map of {a.name} and {b.path} one of {b.name}; compare maps of one "
            "quantity, or choose it with --map"
        )
    if a.unit is not None and b.unit is not None and a.unit != b.unit:
        raise DataError(
            f"{a.path} is in {a.unit!r} and {b.path} in {b.unit!r}; bring both to one unit"
        )


def _regions(
    a: LoadedMap, b: LoadedMap, study: Path | None
) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """Return the regions, and a note on those that are left out."""
    if study is not None:
        return regions_of_study(study), ()
    for directory in (a.directory, b.directory):
        if directory is None:
            continue
        found, masks = regions_of_run(directory)
        if masks:
            names = ", ".join(masks)
            note = f"left out: {names}, from files; give the study file with --regions to have them"
            return found, (note,)
        if found:
            return found, ()
    return (), ()


def _notes(a: LoadedMap, b: LoadedMap, maps: MapComparison) -> tuple[str, ...]:
    notes = []
    if maps.resampled:
        notes.append(
            "B is on another grid: interpolated linearly at A's voxels, which smooths its noise "
            "and its edges; draw a truth with edges on A's grid"
        )
    for letter, one in (("A", a), ("B", b)):
        if one.n_zero:
            notes.append(f"{one.n_zero:,} voxels of {letter} are 0 and count as without a value")
    if a.input_sha256 & b.input_sha256:
        notes.append(
            "A and B are from the same data: their errors are common in part, and pulls are "
            "smaller than those of independent maps"
        )
    return tuple(notes)


def _fits(a: LoadedMap, b: LoadedMap) -> tuple[FitPair, ...]:
    """Return the rows of both tables of regions, in A's order, then those of B alone."""
    if a.directory is None or b.directory is None:
        return ()
    paths = [region_table_of(directory) for directory in (a.directory, b.directory)]
    if not all(path.is_file() for path in paths):
        return ()
    first, second = (read_region_table(path) for path in paths)
    pairs = []
    for name in (*first, *(name for name in second if name not in first)):
        one, two = first.get(name), second.get(name)
        pairs.append(
            FitPair(
                region=name,
                n_events_a=None if one is None else one.n_events,
                n_events_b=None if two is None else two.n_events,
                tau_ops_a_ns=None if one is None else one.tau_ops_ns,
                tau_ops_b_ns=None if two is None else two.tau_ops_ns,
                error_a_ns=None if one is None else one.tau_ops_error_ns,
                error_b_ns=None if two is None else two.tau_ops_error_ns,
            )
        )
    return tuple(pairs)


def as_dict(found: ResultsComparison) -> dict[str, Any]:
    """Return a comparison as plain values for JSON; None where there is no value."""
    maps = found.maps
    names = ("n_both", "n_only_a", "n_only_b", "mean_a", "mean_b", "difference",
             "relative_difference", "spread", "rmse", "correlation", "n_pull", "pull_mean",
             "pull_width")  # fmt: skip
    columns = {name: getattr(maps, name).tolist() for name in names}
    return {
        "a": str(found.a.path),
        "b": str(found.b.path),
        "map": found.a.name if found.a.named else found.b.name,
        "unit": found.unit,
        "resampled": maps.resampled,
        "errors_of": list(maps.with_errors),
        "notes": list(found.notes),
        "voxels": [
            {"region": name} | {key: _plain(column[row]) for key, column in columns.items()}
            for row, name in enumerate(maps.names)
        ],
        "regions": [
            {key: getattr(pair, key) for key in FitPair.__slots__}
            | {"difference_ns": pair.difference_ns, "pull": pair.pull}
            for pair in found.fits
        ],
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def draw_results(found: ResultsComparison, path: Path) -> None:
    """Draw slices of both maps and of their difference, and their values against each other.

    Parameters
    ----------
    found : ResultsComparison
        The comparison.
    path : Path
        PNG, PDF or SVG file to write.

    Raises
    ------
    FileError
        If the file cannot be written, or its suffix names no format.
    """
    from psimg.report.comparison_figure import draw_comparison
    from psimg.report.slices import find_slices

    both = np.isfinite(found.a.image) & np.isfinite(found.maps.b)
    counts = both.astype(np.uint32)
    if found.a.counts is not None:
        counts = np.where(both, np.nan_to_num(found.a.counts), 0).astype(np.uint32)
    unit = f" [{found.unit}]" if found.unit not in (None, "1") else ""
    name = found.a.name if found.a.named else found.b.name
    figure = draw_comparison(
        found.a.image,
        found.maps.b,
        grid=found.a.grid,
        quantity="$\\tau_\\mathrm{oPs}$" if name == TAU_OPS else name,
        unit=unit,
        titles=_titles(found.a, found.b),
        regions=found.regions,
        voxel=find_slices(counts),
        b_is_exact=found.maps.with_errors == ("A",),
    )
    save(figure, path)


def _titles(a: LoadedMap, b: LoadedMap) -> tuple[str, str]:
    """Return the shortest ends of the two paths that differ."""
    given = [(one.directory or one.path).resolve().parts for one in (a, b)]
    for n in range(1, max(map(len, given)) + 1):
        ends = ["/".join(parts[-n:]) for parts in given]
        if ends[0] != ends[1]:
            return f"A: {ends[0]}", f"B: {ends[1]}"
    return "A", "B"
