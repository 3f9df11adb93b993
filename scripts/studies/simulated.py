"""A simulated acquisition through event building into spectra, for the studies: no file between."""

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from psimg.events import cut_triplets, find_triplets, locate_triplets, with_last
from psimg.simulate import simulate_acquisition
from psimg.spectra import (
    DelayedSpectrum,
    LifetimeSpectra,
    RegionCounter,
    VoxelCounter,
    measure_shape,
)

CACHE = Path("build/simulated")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Measured:
    """What an acquisition gives."""

    spectra: LifetimeSpectra
    """A row per region."""
    truth: np.ndarray
    """(R, 4, B) prompt-window counts of each `Origin`."""
    counts: dict
    """n_decays, n_singles, n_triplets in all windows, n_events kept, seconds."""
    voxels: LifetimeSpectra | None = None

    def delayed(self, row, windows_row=None):
        """Return the delayed spectrum of a region, shaped by that of another with more events."""
        if not any(self.spectra.n_sets):
            return None
        shape_row = row if windows_row is None else windows_row
        shape = measure_shape(self.spectra.delayed[shape_row, 0], self.spectra.edges_ns)
        return DelayedSpectrum.of(self.spectra, row, shape=shape.shares)

    def row(self, name):
        return self.spectra.names.index(name)


def measure(acquisition, *, select, regions, edges_ns, seed, within=None, grid=None, label=""):
    """Simulate, find triplets, locate and bin; ``within`` keeps annihilation points in a region.

    What was measured is kept in build/simulated, and taken from there by the next call with the
    same arguments; empty it when the simulator changes.
    """
    arguments = repr((acquisition, select, regions, list(edges_ns), seed, within, grid))
    key = hashlib.sha256(arguments.encode()).hexdigest()[:16]
    path = CACHE / f"{label or 'run'}_{key}.npz"
    if path.exists():
        return _read(path, grid)
    start = time.perf_counter()
    counter = RegionCounter(regions=regions, edges_ns=edges_ns, windows=select.windows)
    voxels = None
    if grid is not None:
        voxels = VoxelCounter(grid=grid, edges_ns=edges_ns, windows=select.windows)
    truth = np.zeros((len(regions), 4, len(edges_ns) - 1), np.int64)
    counts = dict.fromkeys(("n_decays", "n_singles", "n_triplets", "n_events"), 0)
    carry = None
    pieces = simulate_acquisition(acquisition, rng=np.random.default_rng(seed))

    def singles():
        for piece in pieces:
            counts["n_decays"] += int(np.count_nonzero(piece.decays.channel != 255))
            counts["n_singles"] += len(piece.singles)
            yield piece.singles

    for chunk, last in with_last(_thicker(singles())):
        found = find_triplets(chunk, options=select, carry=carry, last=last)
        carry = found.carry
        counts["n_triplets"] += len(found.triplets)
        events = locate_triplets(cut_triplets(found.triplets, options=select).triplets)
        if within is not None:
            events = events.take(within.contains(events.position_mm))
        counts["n_events"] += len(events)
        counter.add(events)
        if voxels is not None:
            voxels.add(events)
        prompt = events.take(events.window == 0)
        for r, region in enumerate(regions):
            inside = region.contains(prompt.position_mm)
            for k in range(4):
                truth[r, k] += np.histogram(prompt.dt_ns[inside & (prompt.origin == k)], edges_ns)[
                    0
                ]
    counts["seconds"] = time.perf_counter() - start
    measured = Measured(
        spectra=counter.spectra(),
        truth=truth,
        counts=counts,
        voxels=None if voxels is None else voxels.spectra(),
    )
    CACHE.mkdir(parents=True, exist_ok=True)
    _write(path, measured)
    return measured


def _thicker(chunks, n=400_000):
    """Join chunks to at least ``n`` singles: each call downstream has its price."""
    held = None
    for chunk in chunks:
        held = chunk if held is None else held.joined(chunk)
        if len(held) >= n:
            yield held
            held = None
    if held is not None:
        yield held


def _write(path, measured):
    arrays = {"truth": measured.truth}
    arrays |= {f"count_{name}": value for name, value in measured.counts.items()}
    for name, spectra in (("regions", measured.spectra), ("voxels", measured.voxels)):
        if spectra is None:
            continue
        arrays[f"{name}_edges"] = spectra.edges_ns
        arrays[f"{name}_counts"] = spectra.counts
        arrays[f"{name}_delayed"] = spectra.delayed
        numbers = [*spectra.n_sets, spectra.n_events, spectra.n_outside, spectra.n_outside_dt]
        arrays[f"{name}_numbers"] = numbers
    arrays["names"] = np.array(measured.spectra.names)
    if measured.voxels is not None:
        arrays["voxel"] = measured.voxels.voxel
    np.savez(path, **arrays)


def _read(path, grid):
    with np.load(path) as file:
        arrays = dict(file)

    def spectra(name, **what):
        numbers = arrays[f"{name}_numbers"].tolist()
        return LifetimeSpectra(
            edges_ns=arrays[f"{name}_edges"],
            counts=arrays[f"{name}_counts"],
            delayed=arrays[f"{name}_delayed"],
            n_sets=tuple(numbers[:3]),
            n_events=numbers[3],
            n_outside=numbers[4],
            n_outside_dt=numbers[5],
            **what,
        )

    voxels = None
    if "voxel" in arrays:
        voxels = spectra("voxels", grid=grid, voxel=arrays["voxel"])
    counts = {k.removeprefix("count_"): v.item() for k, v in arrays.items() if "count_" in k[:6]}
    return Measured(
        spectra=spectra("regions", names=tuple(arrays["names"].tolist())),
        truth=arrays["truth"],
        counts=counts,
        voxels=voxels,
    )


def scaled(acquisition, *, decays):
    """Return the acquisition with a duration of so many expected decays."""
    rate = 1e6 * acquisition.total_mbq
    return replace(acquisition, duration_s=decays / rate)
