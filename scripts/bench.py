"""Time the stages against straightforward versions of themselves, in one process.

Prints a JSON line per stage: name, n, seconds, rate [1/s], baseline [1/s], ratio; best of five
after a warm-up. Usage: python scripts/bench.py [NAME ...]
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numba as nb
import numpy as np

from psimg.core import VoxelGrid
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events import SelectOptions, Singles, Triplets, find_triplets, locate_triplets
from psimg.lifetime import LifetimeModel, fit_spectrum, fit_voxels
from psimg.lifetime._emg import bin_shares
from psimg.spectra import LifetimeSpectra, SpectrumOptions, VoxelCounter

REPEATS = 5


def best(action: Callable[[], object]) -> float:
    """Return the shortest of five times after a warm-up [s]."""
    action()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def report(name: str, n: int, seconds: float, baseline_n: int, baseline_seconds: float) -> None:
    rate, baseline = n / seconds, baseline_n / baseline_seconds
    line = {
        "name": name,
        "n": n,
        "seconds": round(seconds, 4),
        "rate": round(rate),
        "baseline": round(baseline),
        "ratio": round(rate / baseline, 2),
    }
    print(json.dumps(line), flush=True)


@nb.njit
def list_straightforward(time_ns, energy, pair, prompt, window, low, high, start, stop, row):
    """Two pointers over all singles, energies looked at on the way; list what fits into ``row``."""
    n_triplet, first = 0, max(start - 64, 0)
    n = len(time_ns)
    while first > 0 and time_ns[start] - time_ns[first] <= high:
        first -= 1
    for i in range(start, stop):
        if not pair[0] <= energy[i] <= pair[1]:
            continue
        while time_ns[i] - time_ns[first] > high:
            first += 1
        j = i + 1
        while j < n and time_ns[j] - time_ns[i] <= window:
            if pair[0] <= energy[j] <= pair[1]:
                mean = 0.5 * (time_ns[i] + time_ns[j])
                k = first
                while k < n and mean - time_ns[k] >= low:
                    if mean - time_ns[k] <= high and prompt[0] <= energy[k] <= prompt[1]:
                        if n_triplet < len(row):
                            row[n_triplet, 0], row[n_triplet, 1], row[n_triplet, 2] = i, j, k
                        n_triplet += 1
                    k += 1
            j += 1
    return n_triplet


@nb.njit(parallel=True)
def list_in_halves(time_ns, energy, pair, prompt, window, low, high, row, n_found):
    """Run the same loop on two halves of the singles, a core each."""
    for half in nb.prange(2):
        start, stop = half * len(time_ns) // 2, (half + 1) * len(time_ns) // 2
        n_found[half] = list_straightforward(
            time_ns, energy, pair, prompt, window, low, high, start, stop, row[half]
        )


def bench_triplets() -> None:
    """Singles at 40 Mcps, 41 % in the annihilation and 13 % in the prompt window.

    The baseline lists the rows of its triplets; psimg fetches their columns as well.
    """
    n = 8_000_000
    rng = np.random.default_rng(1)
    energy = rng.choice([300.0, 511.0, 1000.0], n, p=[0.46, 0.41, 0.13])
    decay = np.arange(n)
    singles = Singles(
        time_ns=np.cumsum(rng.exponential(25.0, n)),
        energy_kev=energy,
        position_mm=np.zeros((n, 3)),
        decay=decay,
    )
    options = SelectOptions(pair_window_ns=1.0, prompt_window_ns=(-20.0, 20.0))
    seconds = best(lambda: find_triplets(singles, options=options))
    arguments = (
        singles.time_ns, singles.energy_kev, options.annihilation_kev, options.prompt_kev, 1.0,
        -20.0, 20.0,
    )  # fmt: skip
    row, n_found = np.empty((2, 100_000, 3), np.int64), np.zeros(2, np.int64)
    one = best(lambda: list_straightforward(*arguments, 0, n, row[0]))
    two = best(lambda: list_in_halves(*arguments, row, n_found))
    listed = np.concatenate([row[half, : n_found[half]] for half in range(2)])
    assert np.array_equal(find_triplets(singles, options=options).triplets.decay, listed)
    report("find_triplets (baseline: two pointers on one core)", n, seconds, n, one)
    report("find_triplets (baseline: two pointers on two cores)", n, seconds, n, two)
    delays = (150.0, 200.0, 250.0, 300.0)
    for name, more in (
        ("4 prompt delays", {"delays_ns": delays}),
        (
            "4 prompt and 2 photon delays",
            {"delays_ns": delays, "photon_delays_ns": (150.0, -150.0)},
        ),
        ("multiples rejected", {"multiples": "reject"}),
    ):
        other = replace(options, **more)
        seconds = best(lambda other=other: find_triplets(singles, options=other))
        report(f"find_triplets, {name} (baseline: the same loop, one core)", n, seconds, n, one)


def bench_locate_and_bin() -> None:
    """Triplets to voxel spectra, against vectorised NumPy with histogramdd."""
    n = 1_000_000
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, (n, 3))
    position = np.stack(
        [410 * np.cos(angle), 410 * np.sin(angle), rng.uniform(-500, 500, (n, 3))], axis=-1
    )
    triplets = Triplets(
        time_ns=rng.uniform(0, 2, (n, 3)),
        energy_kev=np.zeros((n, 3)),
        position_mm=position,
        window=np.zeros(n),
    )
    grid = VoxelGrid.centred(shape=(64, 64, 64), voxel_mm=(8.0, 8.0, 8.0))
    edges = SpectrumOptions(step_ns=0.2).edges_ns
    counter = VoxelCounter(grid=grid, edges_ns=edges)
    seconds = best(lambda: counter.add(locate_triplets(triplets)))

    def with_numpy() -> None:
        r1, r2, r3 = (position[:, i] for i in range(3))
        t1, t2, t3 = triplets.time_ns.T
        length = np.linalg.norm(r1 - r2, axis=1)
        c = SPEED_OF_LIGHT_MM_NS
        point = 0.5 * (r1 + r2) + (0.5 * c * (t2 - t1) / length)[:, None] * (r1 - r2)
        dt = 0.5 * (t1 + t2) - 0.5 * length / c - t3 + np.linalg.norm(r3 - point, axis=1) / c
        faces = [low + 8.0 * np.arange(65) for low in grid.low_mm]
        np.histogramdd(np.c_[point, dt], [*faces, edges])

    report("locate_triplets and VoxelCounter.add", n, seconds, n, best(with_numpy))


def bench_voxel_fits() -> None:
    """Voxels of 240 bins and 3000 counts, four free parameters with errors, against iminuit."""
    edges = np.linspace(-4.0, 20.0, 241)
    shape = np.empty((3, 240))
    for row, tau in zip(shape, (0.125, 0.388, 2.0), strict=True):
        bin_shares(edges, tau, 0.1, 0.0, row)
    model = LifetimeModel().with_response(0.0, 0.1)
    for name, n_count, n in (("fit_voxels", 3000, 20_000), ("fit_voxels, sparse", 100, 20_000)):
        expected = 0.8 * n_count * (np.array([0.1, 0.6, 0.3]) @ shape) + 0.2 * n_count / 240
        counts = np.random.default_rng(3).poisson(expected, size=(n, 240))
        spectra = LifetimeSpectra(
            edges_ns=edges, counts=counts, delayed=np.zeros((n, 3, 1)), n_sets=(0, 0, 0),
            n_events=0, n_outside=0, n_outside_dt=0, voxel=np.arange(n),
            grid=VoxelGrid.centred(shape=(n, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
        )  # fmt: skip
        seconds = best(lambda spectra=spectra: fit_voxels(spectra, model=model))
        few = counts[:40]
        baseline = best(lambda few=few: [fit_spectrum(row, edges, model=model) for row in few])
        report(f"{name} (baseline iminuit)", n, seconds, len(few), baseline)


BENCHES = {
    "triplets": bench_triplets,
    "locate": bench_locate_and_bin,
    "voxels": bench_voxel_fits,
}


if __name__ == "__main__":
    for chosen in sys.argv[1:] or BENCHES:
        BENCHES[chosen]()
