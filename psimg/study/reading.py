"""From files to counts: a study's events, chunk by chunk, into spectra of voxels and regions."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError
from psimg.events.cuts import cut_pairs, cut_triplets
from psimg.events.locate import locate_lines, locate_triplets
from psimg.events.order import with_last
from psimg.events.select import Carry, FoundTriplets, find_triplets, within_windows
from psimg.events.values import LifetimeEvents, Origin, Pairs, Singles, Triplets
from psimg.io.input import InputFile
from psimg.spectra.binning import VoxelCounter
from psimg.spectra.levels import PairCounter
from psimg.spectra.region_binning import RegionCounter
from psimg.spectra.signal import SignalSpectrum
from psimg.study.config import Study
from psimg.study.ledger import COUNT_OF_RULE
from psimg.study.lines import LineKeeper, keep_lines
from psimg.study.memory import require_memory
from psimg.study.singles import sorted_singles

Progress = Callable[[str, int, int | None], None]
"""Called as ``progress(stage, done, total)``; the total is None where nobody knows it."""


@dataclass
class Tally:
    """What a run adds up while chunks go by."""

    study: Study
    edges: NDArray[np.float64]
    voxels: VoxelCounter
    regions: RegionCounter
    pairs: PairCounter | None
    """Located pairs per voxel, where the background asks for them."""
    lines: LineKeeper | None = None
    """List mode, where an image is made of it."""
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


def start_tally(study: Study, files: list[InputFile]) -> Tally:
    """Return an empty tally; `SettingsError` if what the study asks for exceeds the memory."""
    edges = study.settings.spectrum.edges_ns
    windows = study.settings.select.windows
    lines = keep_lines(study, files)
    if lines is None:
        n_bin = len(edges) - 1
        require_memory(
            study.grid.n_voxel * n_bin * 2,  # a cell has 16 bits
            study,
            what=f"{n_bin} time bins",
            remedy="use larger voxels or wider bins",
        )
    return Tally(
        study=study,
        edges=edges,
        # An image is made of lines: of voxels it needs to know how many events there are.
        voxels=VoxelCounter(
            grid=study.grid, edges_ns=edges, windows=windows, joined=lines is not None
        ),
        regions=RegionCounter(regions=study.regions, edges_ns=edges, windows=windows),
        pairs=None if study.settings.model.background == "flat" else PairCounter(study.grid),
        lines=lines,
    )


def read_files(run: Tally, files: list[InputFile], progress: Progress, chunk_rows: int) -> None:
    """Read all files in chunks and add their events to the tally."""
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
    run: Tally, file: InputFile, chunk_rows: int, report: Callable[[], None]
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


def _from_singles(run: Tally, file: InputFile, chunks: Iterable[Singles]) -> None:
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
                    with_pairs=_wants_pairs(run),
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


def _count_dropped(run: Tally, found: FoundTriplets) -> None:
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


def _wants_pairs(run: Tally) -> bool:
    return run.pairs is not None or (run.lines is not None and run.lines.pairs is not None)


def _count_pairs(run: Tally, pairs: Pairs | None) -> None:
    if pairs is None:
        return
    with run.timed("locate"):
        rules = run.study.settings.select
        point, direction = locate_lines(cut_pairs(pairs, options=rules, through=run.study.through))
        target = run.study.object
        if target is not None:
            inside = target.contains(point)
            point, direction = point[inside], direction[inside]
        if run.pairs is not None:
            run.pairs.add(point)
        if run.lines is not None:
            run.lines.add_pairs(point, direction)


def _count_truth(run: Tally, events: LifetimeEvents) -> None:
    if run.truth is None or events.origin is None:
        return
    counted = (events.window == 0) & (run.study.grid.voxel_of(events.position_mm) >= 0)
    for origin in Origin:
        dt_ns = events.dt_ns[counted & (events.origin == origin)]
        bins = np.searchsorted(run.edges, dt_ns, side="right") - 1
        good = (bins >= 0) & (bins < run.truth.shape[1])
        run.truth[origin] += np.bincount(bins[good], minlength=run.truth.shape[1])


def _from_triplets(run: Tally, triplets: Triplets) -> None:
    with run.timed("select"):
        kept = within_windows(triplets, options=run.study.settings.select)
    run.counts["n_triplets_read"] += len(triplets)
    run.counts["n_outside_windows"] += len(triplets) - len(kept)
    run.counts["n_triplets"] += len(kept)
    _from_windows(run, kept)


def _from_windows(run: Tally, triplets: Triplets) -> None:
    """Take triplets that passed the windows through the geometric cuts."""
    scanner = run.study.scanner
    with run.timed("locate"):
        cut = cut_triplets(
            triplets,
            options=run.study.settings.select,
            through=run.study.through,
            crystals_around=None if scanner is None else scanner.crystals_around,
        )
        events = locate_triplets(cut.triplets, directions=run.lines is not None)
    _count(run, "n_located", "n_delayed_located", cut.triplets.window)
    for rule, n in cut.n_dropped.items():
        run.counts[COUNT_OF_RULE[rule]] += n
    _from_events(run, events)


def _from_events(run: Tally, events: LifetimeEvents) -> None:
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
    if run.lines is not None:
        with run.timed("locate"):
            run.lines.add_events(kept)


def _count(run: Tally, prompt: str, delayed: str, window: NDArray[np.uint8]) -> None:
    n_prompt = int(np.count_nonzero(window == 0))
    run.counts[prompt] += n_prompt
    run.counts[delayed] += len(window) - n_prompt
