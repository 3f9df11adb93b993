"""The chain: files to events over chunks, then spectra, fits and maps."""

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError, SettingsError
from psimg.core.maps import ParameterMaps
from psimg.core.scanner import Scanner
from psimg.core.stage import Stage
from psimg.events.cuts import cut_pairs, cut_triplets
from psimg.events.locate import locate_pairs, locate_triplets
from psimg.events.order import with_last
from psimg.events.select import Carry, FoundTriplets, find_triplets, within_windows
from psimg.events.values import LifetimeEvents, Origin, Pairs, Singles, Triplets
from psimg.io.input import InputFile, open_input
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.randoms import RandomsSummary
from psimg.lifetime.spectrum_fit import calibrate_response, fit_regions
from psimg.lifetime.values import SpectrumFit, calibrated_model
from psimg.lifetime.voxel_fit import fit_voxels
from psimg.spectra.binning import VoxelCounter
from psimg.spectra.levels import PairCounter, RandomLevels, estimate_levels
from psimg.spectra.randoms import measure_shape
from psimg.spectra.region_binning import RegionCounter
from psimg.spectra.signal import SignalSpectrum
from psimg.spectra.values import LifetimeSpectra
from psimg.study.checks import (
    require_candidates,
    require_columns_of_rules,
    require_kept,
)
from psimg.study.config import Study
from psimg.study.ledger import COUNT_OF_RULE, complete_counts, path_of_events
from psimg.study.randoms import examine_randoms
from psimg.study.singles import sorted_singles
from psimg.study.warnings import study_warnings

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
"""Called as ``progress(stage, done, total)``; the total is None where nobody knows it."""

CHUNK_ROWS = 1_000_000
"""Rows read at a time; results do not depend on it."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class StudyResult:
    """Everything a run measured, before any of it is written."""

    study: Study
    content: str
    formats: tuple[str, ...]
    """Format of each input file."""
    input_sha256: tuple[str, ...]
    """Hash of each input file."""
    counts: dict[str, int]
    """The counts of ``summary.json``."""
    stages: tuple[Stage, ...]
    seconds: dict[str, float]
    """Wall time by stage [s]."""
    signals: SignalSpectrum | None
    """Energies or times over threshold of the singles; None where the input holds none."""
    total: LifetimeSpectra
    """The spectrum of all events in the grid, as a region named ``all``."""
    spectra: LifetimeSpectra
    """Spectra of the regions; that of all events where the study names none."""
    calibration: SpectrumFit
    """The fit of all events in the grid, which gave the response."""
    model: LifetimeModel
    """The model of regions and voxels, its response known."""
    regions: tuple[SpectrumFit, ...]
    maps: ParameterMaps
    counts_per_voxel: NDArray[np.uint32]
    """(V,) events in the spectrum of each voxel of ``maps``."""
    randoms: RandomsSummary
    warnings: tuple[str, ...]
    timing_sha256: str | None = None
    """Hash of the timing table that was applied."""


@dataclass
class _Run:
    """What a run adds up while chunks go by."""

    study: Study
    edges: NDArray[np.float64]
    voxels: VoxelCounter
    regions: RegionCounter
    pairs: PairCounter | None
    """Located pairs per voxel, where the background asks for them."""
    signals: SignalSpectrum | None = None
    truth: NDArray[np.int64] | None = None
    """(4, B) events in the grid by `Origin`, where the singles know their decay."""
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent in the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def run_study(
    study: Study, *, progress: Progress | None = None, chunk_rows: int = CHUNK_ROWS
) -> StudyResult:
    """Run the chain from the input files to fitted regions and maps.

    Parameters
    ----------
    study : Study
        A checked study, from `read_study`.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    chunk_rows : int
        Rows read at a time; changes the memory used and nothing else.

    Returns
    -------
    StudyResult
        Counts, spectra, fits and maps; nothing is written.

    Raises
    ------
    FileError
        If an input file cannot be used.
    DataError
        If the files hold different things, or no event is left to fit.
    SettingsError
        If the histogram of the grid does not fit into the machine's memory.
    """
    progress = progress or (lambda stage, done, total: None)
    files = [open_input(path, options=study.settings.input) for path in study.files]
    contents = {file.content for file in files}
    if len(contents) > 1:
        raise DataError(
            f"the input files hold different things: {', '.join(sorted(contents))}; run them as "
            "studies of their own"
        )
    content = contents.pop()
    require_columns_of_rules(study, files, content)
    if content != "singles" and len(study.settings.select.windows) > 1:
        raise SettingsError(
            f"delayed windows (select.delays_ns, photon_delays_ns) need singles, and the input "
            f"holds {content}; remove them, and use model.background = 'flat'"
        )
    if study.timing is not None and content != "singles":
        raise SettingsError(
            f"input.timing needs singles, and the input holds {content}, whose detectors are not "
            "known; remove it"
        )
    run = _start(study)
    with ThreadPoolExecutor(1) as pool:
        hashes = pool.map(_sha256, study.files)
        try:
            _read_all(run, files, progress, chunk_rows)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        digests = tuple(hashes)
    return _fit(run, files, content, digests, progress)


def _start(study: Study) -> _Run:
    edges = study.settings.spectrum.edges_ns
    windows = study.settings.select.windows
    _require_memory(study.grid.n_voxel * (len(edges) - 1) * 2, study)  # a cell has 16 bits
    return _Run(
        study=study,
        edges=edges,
        voxels=VoxelCounter(grid=study.grid, edges_ns=edges, windows=windows),
        regions=RegionCounter(regions=study.regions, edges_ns=edges, windows=windows),
        pairs=None if study.settings.model.background == "flat" else PairCounter(study.grid),
    )


def _require_memory(n_byte: int, study: Study) -> None:
    try:
        present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if n_byte > present:
        shape = " x ".join(str(n) for n in study.grid.shape)
        raise SettingsError(
            f"{study.path}: a grid of {shape} voxels with "
            f"{len(study.settings.spectrum.edges_ns) - 1} time bins needs "
            f"{n_byte / 1e9:.1f} GB and the machine has {present / 1e9:.1f} GB; use larger "
            "voxels or wider bins"
        )


def _read_all(run: _Run, files: list[InputFile], progress: Progress, chunk_rows: int) -> None:
    known = [file.n_rows for file in files]
    total = None if None in known else sum(n for n in known if n is not None)
    progress("events", 0, total)
    for file in files:

        def report() -> None:
            progress("events", run.counts["n_rows"], total)

        values = _read(run, file, chunk_rows, report)
        if file.content == "singles":
            singles = (value for value in values if isinstance(value, Singles))
            _from_singles(run, file, singles)
        elif file.content == "triplets":
            for value in values:
                assert isinstance(value, Triplets)
                _from_triplets(run, value)
        else:
            for value in values:
                assert isinstance(value, LifetimeEvents)
                run.counts["n_located"] += len(value)
                _from_events(run, value)


def _read(
    run: _Run, file: InputFile, chunk_rows: int, report: Callable[[], None]
) -> Iterator[Singles | Triplets | LifetimeEvents]:
    """Yield the values of a file's chunks and count the rows dropped in reading."""
    chunks = file.chunks(chunk_rows)
    while True:
        with run.timed("read"):
            chunk = next(chunks, None)
        if chunk is None:
            return
        run.counts["n_rows"] += chunk.n_rows
        run.counts["n_not_finite"] += chunk.n_not_finite
        run.counts["n_marked_bad"] += chunk.n_marked_bad
        yield chunk.value
        report()


def _from_singles(run: _Run, file: InputFile, chunks: Iterable[Singles]) -> None:
    options = run.study.settings.select
    carry: Carry | None = None
    try:
        for singles, last in with_last(sorted_singles(run.study, chunks, run.counts)):
            with run.timed("select"):
                values, signal = options.signal.of(singles), options.signal.signal
                signals = SignalSpectrum.of(values, signal=signal)
                run.signals = signals if run.signals is None else run.signals + signals
                found = find_triplets(
                    singles,
                    options=options,
                    carry=carry,
                    last=last,
                    with_pairs=run.pairs is not None,
                )
                carry = found.carry
            run.counts["n_singles"] += len(singles)
            run.counts["n_annihilation"] += found.n_annihilation
            run.counts["n_prompt"] += found.n_prompt
            run.counts["n_pairs"] += found.n_pairs
            _count_dropped(run, found)
            _count_pairs(run, found.pairs)
            _from_windows(run, found.triplets)
    except DataError as error:
        raise FileError(f"{file.path}: {error}") from error


def _count_dropped(run: _Run, found: FoundTriplets) -> None:
    """Count what the rules for triplets that are not alone dropped, delayed windows apart."""
    for name in ("n_secondary", "n_not_alone", "n_multiple"):
        dropped = getattr(found, name)
        run.counts[name] += int(dropped[0])
    run.counts["n_triplets"] += int(found.n_combinations[0])
    run.counts["n_delayed_triplets"] += int(found.n_combinations[1:].sum())
    origin = found.triplets.origin
    if origin is not None:
        true = (origin == Origin.TRUE) & (found.triplets.window == 0)
        run.counts["n_true_triplets"] += int(np.count_nonzero(true))
        if run.truth is None:
            run.truth = np.zeros((len(Origin), len(run.edges) - 1), np.int64)


def _count_pairs(run: _Run, pairs: Pairs | None) -> None:
    if pairs is None or run.pairs is None:
        return
    with run.timed("locate"):
        rules = run.study.settings.select
        point = locate_pairs(cut_pairs(pairs, options=rules, through=run.study.through))
        target = run.study.object
        run.pairs.add(point if target is None else point[target.contains(point)])


def _count_truth(run: _Run, events: LifetimeEvents) -> None:
    if run.truth is None or events.origin is None:
        return
    counted = (events.window == 0) & (run.study.grid.voxel_of(events.position_mm) >= 0)
    for origin in Origin:
        dt_ns = events.dt_ns[counted & (events.origin == origin)]
        bins = np.searchsorted(run.edges, dt_ns, side="right") - 1
        good = (bins >= 0) & (bins < run.truth.shape[1])
        run.truth[origin] += np.bincount(bins[good], minlength=run.truth.shape[1])


def _from_triplets(run: _Run, triplets: Triplets) -> None:
    with run.timed("select"):
        kept = within_windows(triplets, options=run.study.settings.select)
    run.counts["n_triplets_read"] += len(triplets)
    run.counts["n_outside_windows"] += len(triplets) - len(kept)
    run.counts["n_triplets"] += len(kept)
    _from_windows(run, kept)


def _from_windows(run: _Run, triplets: Triplets) -> None:
    """Take triplets that passed the windows through the geometric cuts."""
    scanner = run.study.scanner
    with run.timed("locate"):
        cut = cut_triplets(
            triplets,
            options=run.study.settings.select,
            through=run.study.through,
            crystals_around=None if scanner is None else scanner.crystals_around,
        )
        events = locate_triplets(cut.triplets)
    _count(run, "n_located", "n_delayed_located", cut.triplets.window)
    for rule, n in cut.n_dropped.items():
        run.counts[COUNT_OF_RULE[rule]] += n
    _from_events(run, events)


def _from_events(run: _Run, events: LifetimeEvents) -> None:
    target = run.study.object
    kept = events
    if target is not None:
        with run.timed("locate"):
            kept = events.take(target.contains(events.position_mm))
    _count(run, "n_events", "n_delayed_events", kept.window)
    with run.timed("histogram"):
        run.voxels.add(kept)
        if run.study.regions:
            run.regions.add(kept)
        _count_truth(run, kept)


def _count(run: _Run, prompt: str, delayed: str, window: NDArray[np.uint8]) -> None:
    n_prompt = int(np.count_nonzero(window == 0))
    run.counts[prompt] += n_prompt
    run.counts[delayed] += len(window) - n_prompt


def _log_stages(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        reasons = ", ".join(f"{n} {reason}" for reason, n in stage.dropped.items() if n)
        log.info(
            "%s: %d %s in, %d stayed%s",
            stage.name,
            stage.n_in,
            stage.unit,
            stage.n_out,
            f"; dropped: {reasons}" if reasons else "",
        )


def _fit(
    run: _Run,
    files: list[InputFile],
    content: str,
    digests: tuple[str, ...],
    progress: Progress,
) -> StudyResult:
    settings = run.study.settings
    warnings: list[str] = []
    voxels = run.voxels.spectra()
    _require_events(run, voxels)
    total = run.voxels.total()
    spectra = run.regions.spectra() if run.study.regions else total
    with run.timed("fit_regions"):
        unrelated = None
        if total.n_sets[0]:
            unrelated = measure_shape(total.delayed[0, 0].astype(np.float64), run.edges)
        shape = None if unrelated is None else unrelated.shares
        calibration = calibrate_response(
            total, model=settings.model, shape=shape, options=settings.fit
        )
        model = _with_known_response(calibration, settings.model, run.study.scanner, warnings)
        fits = fit_regions(
            spectra,
            model=model,
            shape=shape,
            options=settings.fit,
            progress=lambda done, total: progress("regions", done, total),
        )
        randoms = examine_randoms(
            total,
            spectra,
            truth=run.truth,
            shape=unrelated,
            calibration=calibration,
            model=settings.model,
            options=settings.fit,
        )
    with run.timed("fit_voxels"):
        maps = fit_voxels(
            voxels,
            model=model,
            calibration=calibration,
            levels=_levels(run, voxels),
            shape=shape,
            options=settings.fit,
            progress=lambda done, total: progress("voxels", done, total),
        )
    counts = complete_counts(
        run.counts,
        content,
        rules=settings.select.rules,
        voxels=voxels,
        regions=spectra,
        truth_known=run.truth is not None,
        timing_applied=run.study.timing is not None,
    )
    stages = path_of_events(counts, content, signal=settings.select.signal.signal)
    _log_stages(stages)
    warnings += study_warnings(
        run.study,
        content=content,
        counts=counts,
        signals=run.signals,
        calibration=calibration,
        randoms=randoms,
        fits=fits,
        maps=maps,
    )
    for warning in warnings:
        log.warning("%s", warning)
    return StudyResult(
        study=run.study,
        content=content,
        formats=tuple(file.format for file in files),
        input_sha256=digests,
        counts=counts,
        stages=stages,
        seconds=run.seconds,
        signals=run.signals,
        total=total,
        spectra=spectra,
        calibration=calibration,
        model=model,
        regions=fits,
        maps=maps,
        counts_per_voxel=voxels.counts.sum(axis=1, dtype=np.uint32),
        randoms=randoms,
        warnings=tuple(warnings),
        timing_sha256=_sha256(run.study.timing_path) if run.study.timing_path else None,
    )


def _levels(run: _Run, voxels: LifetimeSpectra) -> RandomLevels | None:
    if run.pairs is None or not voxels.n_sets[0]:
        return None
    with_class_2 = run.study.settings.model.background == "four-set"
    return estimate_levels(voxels, pairs=run.pairs.image(), with_class_2=with_class_2)


def _require_events(run: _Run, voxels: LifetimeSpectra) -> None:
    """Raise `DataError` when nothing is left to fit: a unit or a window is wrong then."""
    if voxels.counts.any():
        return
    require_candidates(run.counts, run.study.settings.select, run.signals)
    require_kept(run.counts, run.study.settings.select)
    n_located, n_events = run.counts["n_located"], run.counts["n_events"]
    if not n_located:
        raise DataError(
            "no triplet was found; check the windows in [select] against the energies and times "
            "that psimg inspect shows"
        )
    raise DataError(
        f"no event is left of {n_located}: {n_located - n_events} lie outside the object, "
        f"{voxels.n_outside} outside the grid, and {voxels.n_outside_dt} have dt outside the "
        "spectrum; check units (input.columns), [grid] and [spectrum]"
    )


def _with_known_response(
    calibration: SpectrumFit, model: LifetimeModel, scanner: Scanner | None, warnings: list[str]
) -> LifetimeModel:
    """Return the model with what was calibrated, or a stated guess where that failed."""
    known = calibrated_model(calibration)
    if known.response.known:
        return known
    mu = model.response.mu_ns if model.response.mu_ns is not None else 0.0
    sigma = model.response.sigma_ns or (scanner.sigma_dt_ns if scanner is not None else 0.1)
    warnings.append(
        f"the time response could not be fitted to all {calibration.n_events} events "
        f"({calibration.status.name.lower()}); mu = {mu:g} ns and sigma = {sigma:.3g} ns were "
        "used; set model.response to change that"
    )
    return known.with_response(mu, sigma)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
