"""The timing calibration: detector offsets and the prompt's time walk from a study's own files."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError, SettingsError
from psimg.core.maps import FitStatus
from psimg.core.regions import Region
from psimg.events.cuts import cut_triplets
from psimg.events.locate import locate_triplets
from psimg.events.offsets import OffsetOptions, Offsets, estimate_offsets
from psimg.events.order import with_last
from psimg.events.pairs import (
    PairOptions,
    PairResiduals,
    ResidualRange,
    measure_pairs,
    require_single_places,
)
from psimg.events.select import Carry, find_triplets
from psimg.events.signal import ENERGY
from psimg.events.timing import TimingTable
from psimg.events.values import Singles
from psimg.events.windows import N_DELAYED_KINDS, kinds_of, n_sets_of
from psimg.io.input import InputFile, open_input
from psimg.io.timing_table import write_timing_table
from psimg.lifetime.values import SpectrumFit
from psimg.lifetime.walk_fit import fit_all_prompts, fit_walk
from psimg.spectra.values import LifetimeSpectra
from psimg.study.config import Study
from psimg.study.reading import Progress
from psimg.study.run import CHUNK_ROWS
from psimg.study.singles import sorted_singles

log = logging.getLogger(__name__)

_N_ENERGY = 200
"""Narrow bins of the prompt window that the walk's bins are merged from."""
_MAX_KEPT = 8_000_000
"""Pairs that are kept from pass to pass (32 bytes each); of more, the files are read again."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Calibration:
    """A timing table, and what it does to the acquisition that it comes from."""

    table: TimingTable
    offsets: Offsets
    region: str
    sigma_dt_before: SpectrumFit
    """The fit of all events with the times as measured."""
    sigma_dt_offsets: SpectrumFit
    """The same with the detectors' offsets taken off."""
    sigma_dt_after: SpectrumFit
    """The same with offsets and walk taken off."""


class _Kept:
    """Pairs that are read once where they are few, and anew for each pass where they are many."""

    def __init__(self, read: Callable[[], Iterator[PairResiduals]]) -> None:
        self._read = read
        self._kept: list[PairResiduals] | None = None
        self._too_many = False

    def __call__(self) -> Iterator[PairResiduals]:
        """Yield all pairs."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[PairResiduals] = []
        n = 0
        for pairs in self._read():
            n += len(pairs)
            self._too_many |= n > _MAX_KEPT
            if self._too_many:
                kept.clear()
            else:
                kept.append(pairs)
            yield pairs
        self._kept = None if self._too_many else kept


def calibrate_timing(
    study: Study,
    *,
    region: str | None = None,
    options: OffsetOptions | None = None,
    progress: Progress | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Calibration:
    """Measure time offsets of the detectors and the prompt's time walk.

    The files are read in chunks, and several times where they hold more than 8 million pairs: the
    memory for pairs stays below 256 MB.

    Parameters
    ----------
    study : Study
        Its files hold singles with detector labels; a timing table that it names is left aside.
    region : str, optional
        Name of the region that holds the activity, filled uniformly or small; the study's
        ``select.object`` when left out.
    options : OffsetOptions, optional
        Labels per offset, cuts and stopping rule.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    chunk_rows : int
        Rows read at a time; changes the memory used and nothing else.

    Returns
    -------
    Calibration
        The table, for `correct_times`, and how far it narrows the spectra.

    Raises
    ------
    FileError
        If an input file cannot be used.
    SettingsError
        If there is no such region, or no region at all.
    DataError
        If the files hold no singles, no detector labels, labels that repeat round the scanner, or
        too few pairs.
    """
    study = replace(study, timing=None, timing_path=None)
    target = _region_of(study, region)
    study = replace(study, object=target)
    options = options or OffsetOptions()
    progress = progress or (lambda stage, done, total: None)
    files = [open_input(path, options=study.settings.input) for path in study.files]
    _require_labels(files)
    select = study.settings.select
    pairs = PairOptions(signal=select.signal, min_distance_mm=select.min_pair_distance_mm)

    def read() -> Iterator[PairResiduals]:
        for file in files:
            singles = _singles(study, file, chunk_rows)
            yield from measure_pairs(singles, region=target, options=pairs)

    offsets = estimate_offsets(
        _Kept(read),
        limits=ResidualRange.of(target, pairs),
        options=options,
        progress=lambda done: progress("offsets", done, None),
    )
    progress("walk", 0, 3)
    model, fit = study.settings.model, study.settings.fit
    as_measured = _prompt_spectra(study, files, chunk_rows)
    before = fit_all_prompts(as_measured, model=model, options=fit)
    progress("walk", 1, 3)
    table = _table_of(offsets, options)
    half_way = replace(study, timing=table)
    spectra = _prompt_spectra(half_way, files, chunk_rows)
    progress("walk", 2, 3)
    walk = None
    after = with_offsets = fit_all_prompts(spectra, model=model, options=fit)
    if select.signal.signal is ENERGY:
        walk = fit_walk(spectra, _prompt_edges(study), model=model, options=fit)
    if walk is not None:
        table = replace(table, walk=walk)
        corrected = _prompt_spectra(replace(study, timing=table), files, chunk_rows)
        after = fit_all_prompts(corrected, model=model, options=fit)
    progress("walk", 3, 3)
    return Calibration(
        table=table,
        offsets=offsets,
        region=target.name,
        sigma_dt_before=before,
        sigma_dt_offsets=with_offsets,
        sigma_dt_after=after,
    )


def calibrate_and_write(
    study: Study,
    path: Path,
    *,
    region: str | None = None,
    options: OffsetOptions | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Calibration:
    """Calibrate as `calibrate_timing` does and write the table; an existing file is kept."""
    if path.exists() and not overwrite:
        raise FileError(f"{path}: exists already; use --overwrite to replace it, or another name")
    try:
        calibration = calibrate_timing(study, region=region, options=options, progress=progress)
    except (DataError, SettingsError) as error:
        # Stages know no files: say whose data or setting it is.
        if str(study.path) in str(error):
            raise
        raise type(error)(f"{study.path}: {error}") from error
    write_timing_table(path, calibration.table, overwrite=overwrite)
    return calibration


def _region_of(study: Study, name: str | None) -> Region:
    names = [region.name for region in study.regions]
    if name is not None:
        if name not in names:
            raise SettingsError(
                f"no region {name!r}; the study has {', '.join(names) or 'none'} (--region)"
            )
        return study.regions[names.index(name)]
    if study.object is None:
        raise SettingsError(
            "the calibration must know where the activity is: name its region with --region or "
            f"select.object; the study has {', '.join(names) or 'no [[regions]]'}"
        )
    return study.object


def _require_labels(files: list[InputFile]) -> None:
    for file in files:
        if file.content != "singles":
            raise DataError(
                f"{file.path}: holds {file.content}, and the calibration needs singles with the "
                "label of their detector"
            )
        if "detector" not in {column.role for column in file.columns}:
            raise DataError(
                f"{file.path}: the singles have no detector labels, which the calibration needs; "
                "export them too (input.columns.detector)"
            )


def _singles(study: Study, file: InputFile, chunk_rows: int) -> Iterator[Singles]:
    """Yield the singles of one file in order of their times, corrected by the study's table."""

    def values() -> Iterator[Singles]:
        for i, chunk in enumerate(file.chunks(chunk_rows)):
            assert isinstance(chunk.value, Singles)
            if i == 0:
                require_single_places(chunk.value)
            yield chunk.value

    try:
        yield from sorted_singles(study, values(), Counter())
    except DataError as error:
        raise FileError(f"{file.path}: {error}") from error


def _prompt_edges(study: Study) -> NDArray[np.float64]:
    """Return narrow bins of the prompts' signal; a window without an end has one bin more."""
    low, high = study.settings.select.signal.prompt
    if np.isfinite(high):
        return np.linspace(low, high, _N_ENERGY + 1)
    return np.append(np.linspace(low, 3.0 * low, _N_ENERGY), np.inf)


def _prompt_spectra(study: Study, files: list[InputFile], chunk_rows: int) -> LifetimeSpectra:
    """Histogram dt of the events in the study's object for narrow bins of the prompt's energy."""
    select, edges = study.settings.select, study.settings.spectrum.edges_ns
    prompt_edges, n_bin = _prompt_edges(study), len(edges) - 1
    kind_of = kinds_of(select.windows).astype(np.int64)
    histogram = np.zeros(_N_ENERGY * (1 + N_DELAYED_KINDS) * n_bin, np.int64)
    n_events = n_inside = 0
    assert study.object is not None
    for file in files:
        carry: Carry | None = None
        for singles, last in with_last(_singles(study, file, chunk_rows)):
            found = find_triplets(singles, options=select, carry=carry, last=last)
            carry = found.carry
            scanner = study.scanner
            far = cut_triplets(
                found.triplets,
                options=select,
                through=study.through,
                crystals_around=None if scanner is None else scanner.crystals_around,
            ).triplets
            events = locate_triplets(far)
            inside = study.object.contains(events.position_mm)
            bins = np.searchsorted(edges, events.dt_ns, side="right") - 1
            prompt = select.signal.of(far)[:, 2]
            # The upper end of the window is inside.
            row = np.minimum(np.searchsorted(prompt_edges, prompt, side="right") - 1, _N_ENERGY - 1)
            cell = (row * (1 + N_DELAYED_KINDS) + kind_of[events.window]) * n_bin + bins
            counted = inside & (bins >= 0) & (bins < n_bin)
            histogram += np.bincount(cell[counted], minlength=len(histogram))
            n_events += int(np.count_nonzero(events.window == 0))
            n_inside += int(np.count_nonzero(inside & (events.window == 0)))
    by_kind = histogram.reshape(_N_ENERGY, 1 + N_DELAYED_KINDS, n_bin)
    return LifetimeSpectra(
        edges_ns=edges,
        counts=by_kind[:, 0].astype(np.uint32),
        delayed=by_kind[:, 1:].astype(np.uint32),
        n_sets=n_sets_of(select.windows),
        n_events=n_events,
        n_outside=n_events - n_inside,
        n_outside_dt=n_inside - int(by_kind[:, 0].sum()),
        names=tuple(f"prompts from {low:g}" for low in prompt_edges[:-1]),
    )


def _table_of(offsets: Offsets, options: OffsetOptions) -> TimingTable:
    return TimingTable(
        block=options.block,
        detector=offsets.detector,
        offset_ns=offsets.offset_ns,
        error_ns=offsets.error_ns,
        n_pairs=offsets.n_pairs,
        left_out=offsets.left_out,
    )


def describe(calibration: Calibration) -> str:
    """Return a few lines that say what was measured and what it does."""
    offsets, walk = calibration.offsets, calibration.table.walk
    per = "" if calibration.table.block == 1 else f" of {calibration.table.block} labels each"
    left = f"; {len(offsets.left_out)} without one" if len(offsets.left_out) else ""
    fits = (
        calibration.sigma_dt_before, calibration.sigma_dt_offsets, calibration.sigma_dt_after
    )  # fmt: skip
    widths = [
        f"{1e3 * fit.value('sigma_ns'):.1f}" if fit.status == FitStatus.OK else "-" for fit in fits
    ]
    lines = [
        f"detectors        {len(offsets.detector)} with an offset{per}{left}",
        f"pairs            {offsets.n_pairs.sum() // 2:,} in {calibration.region}, of them "
        f"{100 * offsets.random_share:.1f} % random",
        f"offsets          spread {1e3 * offsets.offset_ns.std():.1f} ps, median error "
        f"{1e3 * np.median(offsets.error_ns):.1f} ps",
        f"pair residual    sigma {1e3 * offsets.sigma_before_ns:.1f} ps before, "
        f"{1e3 * offsets.sigma_after_ns:.1f} ps after (the region's extent taken off)",
        "prompt walk      "
        + (
            f"{1e3 * walk.walk_ns.min():+.1f} to {1e3 * walk.walk_ns.max():+.1f} ps in {len(walk)} "
            f"bins of energy, median error {1e3 * np.median(walk.error_ns):.1f} ps"
            if walk is not None
            else "not measured: too few events, or no energies"
        ),
        f"sigma_dt         {widths[0]} ps before, {widths[1]} ps with offsets, "
        f"{widths[2]} ps after",
    ]
    return "\n".join(lines)
