"""A simulation as rows of its files, and how large these will be."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import FileError
from psimg.events.values import Singles
from psimg.io.gate9 import TREE, gate9_rows
from psimg.io.table_writer import TableWriter, table_writer
from psimg.simulate.acquisition import simulate_acquisition
from psimg.simulate.detector import Detector
from psimg.simulate.values import Acquisition, Decays, Simulated
from psimg.study.simulation_file import Simulation

Rows = dict[str, NDArray[Any]]

TRUTH_TREE = "Decays"
LUTETIUM = 255
"""Channel of the truth for decays of 176Lu."""
DECIMALS: Mapping[str, int] = {"time_ns": 4, "energy_kev": 3, "tot_ns": 4, "life_ns": 4} | {
    f"{what}{axis}_mm": 3 for what in ("", "emission_", "annihilation_") for axis in "xyz"
}
"""Digits of a text table."""

PILOT_DECAYS = 20_000
"""Decays simulated to learn how many bytes a decay makes."""
_SPARE = 1.02
"""Room to leave for what the pilot does not show."""


@contextmanager
def simulated(
    acquisition: Acquisition, *, rng: np.random.Generator, threads: int | None = None
) -> Iterator[Iterator[Simulated]]:
    """Simulate an acquisition; its threads end with the block."""
    pieces = simulate_acquisition(acquisition, rng=rng, threads=threads)
    try:
        yield pieces
    finally:
        pieces.close()  # type: ignore[attr-defined]


def is_gate9(path: Path, detector: Detector) -> bool:
    """Whether singles go to this file in the layout of GATE 9, which has energies only."""
    return path.suffix.lower() == ".root" and detector.tot_ns is None


def singles_rows(singles: Singles, *, gate9: bool) -> Rows:
    """Return singles as the columns of a file."""
    if gate9:
        return gate9_rows(singles)
    position = singles.position_mm.astype(np.float32)
    rows: dict[str, NDArray[Any] | None] = {
        "time_ns": singles.time_ns,
        "energy_kev": _float32(singles.energy_kev),
        "tot_ns": _float32(singles.tot_ns),
        "x_mm": position[:, 0],
        "y_mm": position[:, 1],
        "z_mm": position[:, 2],
        "detector": singles.detector,
        "decay": singles.decay,
    }
    return {name: column for name, column in rows.items() if column is not None}


def _float32(values: NDArray[np.float64] | None) -> NDArray[np.float32] | None:
    return None if values is None else values.astype(np.float32)


def decay_rows(decays: Decays) -> Rows:
    """Return the truth of decays as the columns of a file."""
    rows: Rows = {
        "number": decays.number,
        "time_ns": decays.time_ns,
        "life_ns": decays.life_ns.astype(np.float32),
    }
    for what in ("emission", "annihilation"):
        place = getattr(decays, f"{what}_mm")
        rows |= {f"{what}_{axis}_mm": place[:, k] for k, axis in enumerate("xyz")}
    rows |= {"region": decays.region, "channel": decays.channel}
    for k, what in enumerate(("1", "2", "gammas")):
        rows[f"scatters_{what}"] = decays.scatters[:, k]
    return rows


def open_tables(
    stack: ExitStack, singles: Path, truth: Path | None, *, gate9: bool
) -> tuple[TableWriter, TableWriter | None]:
    """Open the files of a simulation for the length of a stack."""
    tree = TREE if gate9 else "Singles"
    table = stack.enter_context(table_writer(singles, tree=tree, decimals=DECIMALS))
    if truth is None:
        return table, None
    return table, stack.enter_context(table_writer(truth, tree=TRUTH_TREE, decimals=DECIMALS))


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What a simulation will write, from a pilot of a few decays."""

    acquisition: Acquisition
    per_decay: tuple[float, float]
    """Bytes of singles and of truth per decay of the isotope."""
    per_second: tuple[float, float]
    """Bytes of singles and of truth per second of 176Lu."""
    at_work: tuple[float, float]
    """Bytes on the disk while a file is made, over those of the file."""

    def bytes_of(self, seconds: float) -> tuple[float, float]:
        """Return the bytes that singles and truth need for a scan of so many seconds."""
        decays = self.acquisition.isotope.decays(self.acquisition.total_mbq, seconds)
        singles, truth = (
            _SPARE * work * (decay * decays + second * seconds)
            for work, decay, second in zip(
                self.at_work, self.per_decay, self.per_second, strict=True
            )
        )
        return singles, truth


def measure_size(simulation: Simulation) -> Size:
    """Simulate about `PILOT_DECAYS` decays and write them, to see how large the files will be."""
    try:
        return _measured(simulation)
    except OSError as error:
        raise FileError(
            f"{tempfile.gettempdir()}: cannot be written ({error.strerror or error}); make room"
        ) from error


def _measured(simulation: Simulation) -> Size:
    whole = simulation.acquisition
    share = min(1.0, PILOT_DECAYS / whole.expected_decays)
    pilot = replace(whole, duration_s=share * whole.duration_s)
    rng = np.random.default_rng(simulation.settings.simulation.seed)
    gate9 = is_gate9(simulation.singles, whole.detector)
    is_lutetium: list[NDArray[np.bool_]] = []
    of_decay: list[NDArray[np.int64]] = []
    with tempfile.TemporaryDirectory(prefix="psimg-") as folder:
        singles = Path(folder) / simulation.singles.name
        # Twice the same name is two files here, one after the other in the folder's own folder.
        truth = simulation.truth and Path(folder) / f"truth{simulation.truth.suffix}"
        with ExitStack() as stack:
            pieces = stack.enter_context(simulated(pilot, rng=rng))
            table, decays = open_tables(stack, singles, truth, gate9=gate9)
            for piece in pieces:
                # Times as long as those of the whole scan have as many digits as these.
                table.append(_later(singles_rows(piece.singles, gate9=gate9), share))
                if decays is not None:
                    decays.append(_later(decay_rows(piece.decays), share))
                is_lutetium.append(piece.decays.channel == LUTETIUM)
                if piece.singles.decay is not None:
                    of_decay.append(piece.singles.decay)
        n_bytes = [0.0 if p is None else float(p.stat().st_size) for p in (singles, truth)]
    lutetium = np.concatenate(is_lutetium) if is_lutetium else np.zeros(1, np.bool_)
    seen = np.concatenate(of_decay) if of_decay else np.zeros(0, np.int64)
    from_lutetium = [
        float(part.mean()) if part.size else 0.0 for part in (lutetium[seen], lutetium)
    ]
    pairs = list(zip(n_bytes, from_lutetium, strict=True))
    per_decay = [n * (1.0 - part) / pilot.expected_decays for n, part in pairs]
    per_second = [n * part / pilot.duration_s for n, part in pairs]
    suffixes = [p.suffix.lower() if p else "" for p in (simulation.singles, simulation.truth)]
    # An npz takes in its columns one by one, and each is twice on the disk while it is.
    work = [1.25 if suffix == ".npz" else 1.0 for suffix in suffixes]
    return Size(
        acquisition=whole,
        per_decay=(per_decay[0], per_decay[1]),
        per_second=(per_second[0], per_second[1]),
        at_work=(work[0], work[1]),
    )


def _later(rows: Rows, share: float) -> Rows:
    """Return rows whose times are as far apart as the ends of the whole scan."""
    names = ("time", "time_ns")
    return {name: c / share if name in names else c for name, c in rows.items()}


def require_room(simulation: Simulation, size: Size) -> None:
    """Raise `FileError` where the files do not fit on their disks."""
    seconds = simulation.acquisition.duration_s
    disks: dict[int, tuple[Path, list[int]]] = {}
    for i, path in enumerate((simulation.singles, simulation.truth)):
        if path is not None:
            folder = next(p for p in path.absolute().parents if p.exists())
            disks.setdefault(folder.stat().st_dev, (folder, []))[1].append(i)
    for folder, files in disks.values():
        free = shutil.disk_usage(folder).free

        def wanted(s: float, files: list[int] = files) -> float:
            return sum(size.bytes_of(s)[i] for i in files)

        if wanted(seconds) > free:
            low, high = 0.0, seconds
            for _ in range(50):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if wanted(middle) <= free else (low, middle)
            raise FileError(
                f"{simulation.path}: {seconds:g} s would write {wanted(seconds) / 1e9:.3g} GB, and "
                f"{folder} has {free / 1e9:.3g} GB free; simulate at most {low:.3g} s "
                "(--duration-s), or write elsewhere ([output])"
            )
