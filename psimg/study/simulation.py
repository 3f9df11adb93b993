"""Run a simulation: decays to singles, their truth, and what it all is, in files."""

import importlib.metadata
import json
import logging
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from psimg.core.errors import PsimgError
from psimg.io.whole_files import refuse_existing, whole_files
from psimg.simulate.phantom import Channel, Phantom
from psimg.study.reading import Progress
from psimg.study.settings_file import of_file
from psimg.study.simulation_file import Simulation
from psimg.study.simulation_rows import (
    LUTETIUM,
    decay_rows,
    is_gate9,
    measure_size,
    open_tables,
    require_room,
    simulated,
    singles_rows,
)
from psimg.study.simulation_study import study_text

log = logging.getLogger(__name__)

_FORMAT = "psimg simulation, format 1"
IN_FLIGHT, NO_POSITRON = 253, 254


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationResult:
    """What a simulation wrote."""

    files: tuple[Path, ...]
    expected_decays: float
    """Mean number of the isotope's decays in the scan."""
    n_decays: int
    """Decays of the isotope simulated, transitions of isomers included."""
    n_lutetium: int
    """Decays of 176Lu simulated."""
    n_singles: int
    """Singles written."""
    duration_s: float
    """Length of the scan [s]."""
    seconds: float
    """Time it took [s]."""

    @property
    def singles_per_decay(self) -> float:
        """Singles over decays of the isotope; those of 176Lu are among the singles."""
        return self.n_singles / self.n_decays if self.n_decays else float("nan")


def run_simulation(
    simulation: Simulation,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> SimulationResult:
    """Simulate an acquisition and write singles, truth, a summary and a study to start from.

    Parameters
    ----------
    simulation : Simulation
        A checked simulation, from `read_simulation`.
    overwrite : bool
        Whether files of an earlier simulation may be replaced.
    progress : callable, optional
        Called as ``progress(stage, decays_done, decays_expected)``.
    threads : int, optional
        Threads to use, as many as there are processors when left out; changes no number.

    Returns
    -------
    SimulationResult
        Counts, and the files written.

    Raises
    ------
    PsimgError
        If a file exists and ``overwrite`` is False, the disk has no room for the files, or the
        parts of the simulation do not go together. Nothing is left behind.
    """
    refuse_existing(simulation.files, overwrite=overwrite)
    start = time.perf_counter()
    try:
        if progress is not None:
            progress("pilot", 0, 1)
        require_room(simulation, measure_size(simulation))
        if progress is not None:
            progress("pilot", 1, 1)
        with whole_files(simulation.files, overwrite=overwrite) as names:
            aside = dict(zip(simulation.files, names, strict=True))
            counts = _write_tables(simulation, aside, progress, threads)
            result = SimulationResult(
                files=simulation.files,
                expected_decays=simulation.acquisition.expected_decays,
                **counts,
                duration_s=simulation.acquisition.duration_s,
                seconds=time.perf_counter() - start,
            )
            text = json.dumps(summary_of(simulation, result), indent=2, allow_nan=False)
            aside[simulation.summary].write_text(text + "\n", encoding="utf-8")
            if simulation.study is not None:
                text = study_text(simulation)
                aside[simulation.study].write_text(text, encoding="utf-8")
    except PsimgError as error:
        known = any(str(path) in str(error) for path in simulation.files)
        raise error if known else of_file(simulation.path, error) from error.__cause__
    log.info(
        "%d singles of %d decays of %s and %d of 176Lu in %.1f s",
        result.n_singles, result.n_decays, simulation.acquisition.isotope.name,
        result.n_lutetium, result.seconds,
    )  # fmt: skip
    return result


def _write_tables(
    simulation: Simulation,
    aside: dict[Path, Path],
    progress: Progress | None,
    threads: int | None,
) -> dict[str, int]:
    """Simulate, write singles and truth, and return their counts."""
    acquisition = simulation.acquisition
    gate9 = is_gate9(simulation.singles, acquisition.detector)
    rng = np.random.default_rng(simulation.settings.simulation.seed)
    n_decays = n_lutetium = n_singles = 0
    total = max(1, round(acquisition.expected_decays))
    with ExitStack() as stack:
        pieces = stack.enter_context(simulated(acquisition, rng=rng, threads=threads))
        truth = None if simulation.truth is None else aside[simulation.truth]
        singles, decays = open_tables(stack, aside[simulation.singles], truth, gate9=gate9)
        for piece in pieces:
            singles.append(singles_rows(piece.singles, gate9=gate9))
            if decays is not None:
                decays.append(decay_rows(piece.decays))
            lutetium = int(np.count_nonzero(piece.decays.channel == LUTETIUM))
            n_lutetium += lutetium
            n_decays += len(piece.decays) - lutetium
            n_singles += len(piece.singles)
            if progress is not None and len(piece.decays):
                seconds = 1e-9 * float(piece.decays.time_ns.max())
                done = acquisition.isotope.decays(acquisition.total_mbq, seconds)
                progress("simulate", min(round(done), total), total)
    if progress is not None:
        progress("simulate", total, total)
    return {"n_decays": n_decays, "n_lutetium": n_lutetium, "n_singles": n_singles}


def summary_of(simulation: Simulation, result: SimulationResult) -> dict[str, Any]:
    """Return what the files of a simulation are, as plain values."""
    acquisition = simulation.acquisition
    activity = acquisition.phantom.activities_mbq()
    scale = acquisition.total_mbq / activity.sum()
    parts = acquisition.phantom.names
    sources = [*parts, *(line.name for line in acquisition.phantom.lines)]
    packages = ("psimg", "numpy", "numba", "scipy", "uproot")
    return {
        "format": _FORMAT,
        "name": simulation.settings.simulation.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {
            "singles": simulation.singles.name,
            "truth": _relative(simulation, simulation.truth),
            "study": _relative(simulation, simulation.study),
        },
        "isotope": acquisition.isotope.name,
        "scanner": acquisition.detector.name,
        "duration_s": acquisition.duration_s,
        "seed": simulation.settings.simulation.seed,
        "activity_mbq": acquisition.total_mbq,
        "activities_mbq": dict(zip(sources, (scale * activity).tolist(), strict=True)),
        "expected_decays": result.expected_decays,
        "n_decays": result.n_decays,
        "n_lutetium": result.n_lutetium,
        "n_singles": result.n_singles,
        "singles_per_decay": result.singles_per_decay if result.n_decays else None,
        "singles_per_second": result.n_singles / acquisition.duration_s,
        "seconds": result.seconds,
        "regions": _regions(acquisition.phantom),
        "special_channels": {
            str(IN_FLIGHT): "annihilation in flight",
            str(NO_POSITRON): "no positron",
            str(LUTETIUM): "176Lu of the scintillator",
        },
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in packages},
        "spec": {"file": str(simulation.path), "sha256": simulation.sha256},
        "settings": _plain(asdict(simulation.settings)),
    }


def _relative(simulation: Simulation, path: Path | None) -> str | None:
    """Return a file's name as seen from the summary."""
    if path is None:
        return None
    folder = simulation.summary.parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _regions(phantom: Phantom) -> list[dict[str, Any]]:
    """Return, by their number in the truth, the regions and their channels."""
    voxels = phantom.voxels
    parts = [] if voxels is None else [(voxels.name, voxels.material, voxels.channels)]
    parts += [(region.name, region.material, region.channels) for region in phantom.regions]
    rows = []
    for i, (name, material, channels) in enumerate(parts):
        own = [_channel(channel) for channel in channels]
        if i == 0 and voxels is not None:
            _from_maps(
                own, has_tau=voxels.tau_ops_ns is not None, has_share=voxels.share_ops is not None
            )
        rows.append({"number": i, "name": name, "material": material, "channels": own})
    return rows


def _channel(channel: Channel) -> dict[str, Any]:
    return {"name": channel.name, "tau_ns": channel.tau_ns, "share": round(channel.share, 12)}


def _from_maps(channels: list[dict[str, Any]], *, has_tau: bool, has_share: bool) -> None:
    """Put None where a map gives the number of each voxel."""
    if has_tau:
        channels[-1]["tau_ns"] = None
    if has_share:
        for channel in channels:
            channel["share"] = None


def _plain(value: Any) -> Any:
    """Return settings as values that JSON knows."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value
