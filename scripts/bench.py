"""Time the stages against straightforward versions of themselves, in one process.

Prints a JSON line per stage: name, n, seconds, rate [1/s], baseline [1/s], ratio; best of five
after a warm-up. Usage: python scripts/bench.py [NAME ...]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numba as nb
import numpy as np

from psimg.core import NUCLIDES, Cylinder, Region, Sphere, VoxelGrid
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events import (
    LifetimeEvents,
    SelectOptions,
    Singles,
    Triplets,
    find_triplets,
    locate_triplets,
    sort_chunks,
)
from psimg.imaging.component_maps import reconstruct_components
from psimg.imaging.components import maximise_components
from psimg.imaging.list_mode import sort_events
from psimg.imaging.moment import reconstruct_moment
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.rate import reconstruct_rate
from psimg.imaging.simple import reconstruct_simple
from psimg.imaging.split import reconstruct_split
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ImageData, ReconOptions
from psimg.io import open_input
from psimg.io.quadra import BAD_TIME_NS
from psimg.lifetime import (
    FitOptions,
    LifetimeModel,
    Response,
    bound_voxels,
    fit_spectrum,
    fit_voxels,
)
from psimg.lifetime._emg import bin_shares
from psimg.lifetime._likelihood import poisson_deviance
from psimg.simulate import (
    Acquisition,
    Detector,
    Phantom,
    PhantomRegion,
    Physics,
    ps_channels,
    simulate_acquisition,
)
from psimg.simulate.phantoms import nema_iq
from psimg.spectra import LifetimeSpectra, RegionCounter, SpectrumOptions, VoxelCounter

REPEATS = 5
GEANT4_DECAYS_PER_S = 110_000
"""Of Geant4 on two cores for this acquisition: a quoted figure, not measured here."""


def best(action: Callable[[], object]) -> float:
    """Return the shortest of five times after a warm-up [s]."""
    action()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def report(
    name: str, n: int, seconds: float, baseline_n: int, baseline_seconds: float, **more: float
) -> None:
    rate, baseline = n / seconds, baseline_n / baseline_seconds
    line = {
        "name": name,
        "n": n,
        "seconds": round(seconds, 4),
        "rate": round(rate),
        "baseline": round(baseline),
        "ratio": round(rate / baseline, 2),
        **more,
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


@nb.njit
def voxel_deviance(p, counts, edges, fast, fellow, flat, shares):
    """Deviance of the four-parameter model of a voxel, for iminuit."""
    bin_shares(edges, p[3], 0.1, 0.0, shares)
    return poisson_deviance(counts, p[0] * fast + p[1] * (fellow + shares) + p[2] * flat)


def minuit_fits(counts, edges, fast, fellow) -> None:
    """Fit each spectrum with Migrad and Hesse on a compiled likelihood."""
    from iminuit import Minuit

    flat, shares = np.full(len(edges) - 1, 1.0 / (len(edges) - 1)), np.empty(len(edges) - 1)
    for row in counts:
        n = row.sum()
        data = {"edges": edges, "fast": fast, "fellow": fellow, "flat": flat, "shares": shares}
        deviance = partial(voxel_deviance, counts=row, **data)
        minuit = Minuit(deviance, np.array([0.5 * n, 0.3 * n, 0.2 * n, 2.0]))
        minuit.errordef = Minuit.LEAST_SQUARES
        minuit.limits = [(0, None), (0, None), (0, None), (0.5, 20.0)]
        minuit.migrad()
        minuit.hesse()


def cost_fits(counts, edges, cdf) -> None:
    """Fit each spectrum as iminuit's tutorial does: its binned cost function on a distribution."""
    from iminuit import Minuit
    from iminuit.cost import ExtendedBinnedNLL

    def expected(x, fast, ops, background, tau):
        flat = (x - x[0]) / (x[-1] - x[0])
        return fast * cdf(x, 0.388) + ops * (cdf(x, 0.125) / 3 + cdf(x, tau)) + background * flat

    for row in counts:
        n = row.sum()
        cost = ExtendedBinnedNLL(row, edges, expected)
        minuit = Minuit(cost, fast=0.5 * n, ops=0.3 * n, background=0.2 * n, tau=2.0)
        minuit.limits = [(0, None), (0, None), (0, None), (0.5, 20.0)]
        minuit.migrad()
        minuit.hesse()


def bench_voxel_fits() -> None:
    """Voxels of 240 bins, four free parameters with errors, against iminuit and flimlib.

    Baselines, each on one core: iminuit's binned cost function with SciPy's and with numba-stats'
    exponnorm; iminuit on a compiled likelihood; `fit_spectrum`; and flimlib's likelihood fit of a
    mono-exponential with a constant to the tail alone, from 1 ns.
    """
    import scipy.stats
    from numba_stats import exponnorm as numba_exponnorm

    edges = np.linspace(-4.0, 20.0, 241)
    shape = np.empty((3, 240))
    for row, tau in zip(shape, (0.125, 0.388, 2.0), strict=True):
        bin_shares(edges, tau, 0.1, 0.0, row)
    model = LifetimeModel().with_response(0.0, 0.1)
    for name, n_count, n in (("fit_voxels", 3000, 20_000), ("fit_voxels, sparse", 100, 20_000)):
        expected = 0.8 * n_count * (np.array([0.1, 0.6, 0.3]) @ shape) + 0.2 * n_count / 240
        counts = np.random.default_rng(3).poisson(expected, size=(n, 240))
        spectra = voxel_spectra(counts, edges)
        seconds = best(lambda spectra=spectra: fit_voxels(spectra, model=model))
        few, many = counts[:40], counts[:400].astype(np.float64)
        baseline = best(lambda few=few: [fit_spectrum(row, edges, model=model) for row in few])
        report(f"{name} (baseline fit_spectrum)", n, seconds, len(few), baseline)
        makers = {"SciPy": scipy.stats.exponnorm, "numba-stats": numba_exponnorm}
        for maker, exponnorm in makers.items():

            def cdf(x, tau, exponnorm=exponnorm):
                return exponnorm.cdf(x, tau / 0.1, 0.0, 0.1)

            baseline = best(lambda few=few, cdf=cdf: cost_fits(few, edges, cdf))
            report(f"{name} (baseline iminuit, {maker})", n, seconds, len(few), baseline)
        baseline = best(lambda many=many: minuit_fits(many, edges, shape[1], shape[0] / 3))
        report(f"{name} (baseline iminuit, compiled)", n, seconds, len(many), baseline)
        bench_flimlib(name, n, seconds, counts[:, 50:])
        profile = FitOptions(intervals="profile")
        again = best(lambda s=spectra, o=profile: fit_voxels(s, model=model, options=o))
        report(f"{name}, profile intervals (baseline without)", n, again, n, seconds)
        again = best(lambda spectra=spectra: bound_voxels(spectra, model=model))
        report(f"bound_voxels, {n_count} counts (baseline fit_voxels)", n, again, n, seconds)
    bench_weighted_array()


def voxel_spectra(counts, edges) -> LifetimeSpectra:
    """Return spectra of a row of voxels without delayed windows."""
    n = len(counts)
    return LifetimeSpectra(
        edges_ns=edges, counts=counts, delayed=np.zeros((n, 3, 1)), n_sets=(0, 0, 0),
        n_events=0, n_outside=0, n_outside_dt=0, voxel=np.arange(n),
        grid=VoxelGrid.centred(shape=(n, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
    )  # fmt: skip


def bench_flimlib(name: str, n: int, seconds: float, tails) -> None:
    try:
        import flimlib
    except ImportError:
        print(json.dumps({"name": f"{name} (baseline flimlib)", "skipped": "no flimlib"}))
        return
    part = np.ascontiguousarray(tails[:2000], dtype=np.float32)
    start = np.tile(np.array([0.1, 1.0, 2.0], np.float32), (len(part), 1))
    start[:, 1] = part[:, :10].mean(axis=1)

    def fit() -> None:
        flimlib.GCI_marquardt_fitting_engine(
            0.1, part, start.copy(), noise_type="NOISE_MLE", compute_fitted=False,
            compute_residuals=False, compute_covar=False, compute_alpha=False,
            compute_erraxes=False,
        )  # fmt: skip

    report(f"{name} (baseline flimlib, tail)", n, seconds, len(part), best(fit))


def bench_weighted_array() -> None:
    """Fit an array of weighted counts, where it is at hand; the baseline is a copy of it."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "voxel_spectra"
    path = folder / "histsFromGTv8mmFragment.dat"
    if not path.exists():
        print(json.dumps({"name": "fit_voxels, weighted array", "skipped": f"no {path}"}))
        return
    counts = np.fromfile(path, "<f4").reshape(3472, 137, order="F").astype(np.float64)
    edges = -15.125 + 0.25 * np.arange(138)
    whole = fit_spectrum(counts.sum(axis=0), edges)
    model = LifetimeModel().with_response(whole.value("mu_ns"), whole.value("sigma_ns"))
    spectra, options = voxel_spectra(counts, edges), FitOptions(min_counts=10)
    seconds = best(lambda: fit_voxels(spectra, model=model, calibration=whole, options=options))
    report("fit_voxels, weighted array", len(counts), seconds, len(counts), best(counts.copy))


def bench_quadra_file() -> None:
    """Turn a 3 GB export into spectra, against reading and summing the same bytes."""
    n, n_part = 94_000_000, 47
    rng = np.random.default_rng(4)
    grid = VoxelGrid.centred(shape=(32, 32, 32), voxel_mm=(8.0, 8.0, 8.0))
    edges = SpectrumOptions(start_ns=-10.0, stop_ns=20.0, step_ns=0.1).edges_ns
    regions: list[Region] = []
    for i, centre in enumerate(rng.uniform(-80.0, 80.0, (8, 3))):
        x, y, z = (float(c) for c in centre)
        if i % 2:
            regions.append(Sphere(name=f"s{i}", centre_mm=(x, y, z), radius_mm=40.0))
        else:
            regions.append(
                Cylinder(name=f"c{i}", centre_mm=(x, y, z), radius_mm=30.0, half_length_mm=50.0)
            )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "scan.l"
        rows = np.empty((n // n_part, 4))
        with path.open("wb") as file:
            for _ in range(n_part):
                rows[:, :3] = rng.normal(0.0, 60.0, (len(rows), 3))
                rows[:, 3] = rng.normal(0.0, 0.3, len(rows)) + rng.exponential(1.5, len(rows))
                rows[rng.random(len(rows)) < 0.02, 3] = BAD_TIME_NS
                rows.tofile(file)

        def to_spectra() -> None:
            voxels = VoxelCounter(grid=grid, edges_ns=edges)
            balls = RegionCounter(regions=regions, edges_ns=edges)
            for chunk in open_input(path).chunks():
                assert isinstance(chunk.value, LifetimeEvents)
                voxels.add(chunk.value)
                balls.add(chunk.value)
            voxels.spectra()
            balls.spectra()

        seconds = best(to_spectra)
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        baseline = best(lambda: np.fromfile(path).sum())
    report("quadra-xyzt to spectra", n, seconds, n, baseline, peak_gb=round(peak_gb, 2))


def bench_histogram_memory() -> None:
    """Time and memory of a fine grid, in a process of its own."""
    command = [sys.executable, __file__, "histogram-memory-here"]
    subprocess.run(command, check=True)


def histogram_memory_here() -> None:
    """100 million events into 4 mm voxels of a 700 x 700 x 1060 mm field with 150 bins."""
    n_chunk, n = 100, 1_000_000
    rng = np.random.default_rng(5)
    grid = VoxelGrid.centred(shape=(175, 175, 265), voxel_mm=(4.0, 4.0, 4.0))
    edges = SpectrumOptions(step_ns=0.2).edges_ns
    n_bin = len(edges) - 1

    def chunk() -> LifetimeEvents:
        position = rng.uniform(grid.low_mm, grid.high_mm, (n, 3))
        dt = rng.uniform(-9.0, 19.0, n)
        return LifetimeEvents(position_mm=position, dt_ns=dt, window=np.zeros(n, np.uint8))

    counter = VoxelCounter(grid=grid, edges_ns=edges)
    seconds = 0.0
    for _ in range(n_chunk):
        events = chunk()
        start = time.perf_counter()
        counter.add(events)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    spectra = counter.spectra()
    seconds += time.perf_counter() - start
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    assert spectra.counts.sum(dtype=np.int64) == n_chunk * n
    del counter, spectra

    events = chunk()
    dense = np.zeros(grid.n_voxel * n_bin, np.uint16)

    def with_numpy() -> None:
        bins = np.searchsorted(edges, events.dt_ns, side="right") - 1
        cell = grid.voxel_of(events.position_mm) * n_bin + bins
        np.add.at(dense, cell, 1)

    baseline = best(with_numpy)
    report("histogram memory", n_chunk * n, seconds, n, baseline, peak_gb=round(peak_gb, 2))


def bench_sorted_chunks() -> None:
    """Singles already in time order, against joining and sorting every chunk."""
    n, n_chunk = 1_000_000, 8
    rng = np.random.default_rng(6)
    time_ns = np.cumsum(rng.exponential(25.0, n * n_chunk))
    chunks = [
        Singles(
            time_ns=time_ns[i * n : (i + 1) * n],
            energy_kev=np.zeros(n),
            position_mm=np.zeros((n, 3)),
        )
        for i in range(n_chunk)
    ]

    def straightforward() -> None:
        held = chunks[0].take(slice(0, 0))
        for chunk in chunks:
            both = held.joined(chunk)
            both = both.take(np.argsort(both.time_ns, kind="stable"))
            held = both.take(slice(-400, None))

    seconds = best(lambda: [len(c) for c in sort_chunks(chunks, max_disorder_ns=10_000.0)])
    report("sort_chunks, sorted", n * n_chunk, seconds, n * n_chunk, best(straightforward))


def four_inserts() -> Phantom:
    """Return the phantom of the shared Geant4 acquisition."""
    body = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=100.0, half_length_mm=150.0)
    regions = [PhantomRegion(name="body", shapes=(body,))]
    for i, tau in enumerate((1.6, 2.0, 2.5, 3.0)):
        x, y = ((50.0, 0.0), (0.0, 50.0), (-50.0, 0.0), (0.0, -50.0))[i]
        insert = Cylinder(name="i", centre_mm=(x, y, 0.0), radius_mm=20.0, half_length_mm=40.0)
        regions.append(
            PhantomRegion(
                name=f"i{i}", shapes=(insert,), activity_mbq=0.25, channels=ps_channels(tau)
            )
        )
    return Phantom(regions=tuple(regions))


def acquisition(phantom: Phantom, n_decays: float, *, attenuation: bool = True) -> Acquisition:
    """Return an acquisition like the shared Geant4 one, at 1 MBq."""
    return Acquisition(
        phantom=phantom,
        isotope=NUCLIDES["Sc-44"],
        detector=Detector(
            inner_radius_mm=410.0, thickness_mm=20.0, length_mm=1060.0, crystals_around=800,
            crystals_along=331, block_around=8, block_along=8, position_radius_mm=420.0,
            crt_ns=0.25, energy_fwhm=0.1, integration_ns=1e6,
        ),
        duration_s=1e-6 * n_decays,
        activity_mbq=1.0,
        physics=Physics(
            attenuation=attenuation, acollinearity_fwhm_deg=0.0, lutetium=False, pile_up=False
        ),
    )  # fmt: skip


def simulate_through(wanted: Acquisition) -> int:
    """Simulate an acquisition and keep nothing; return the number of singles."""
    pieces = simulate_acquisition(wanted, rng=np.random.default_rng(1))
    return sum(len(piece.singles) for piece in pieces)


def in_child(*arguments: str, **environment: str) -> dict[str, float]:
    """Run a part of this script in a process of its own and return what it prints."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return dict(json.loads(done.stdout))


def bench_simulate() -> None:
    """Decays with their photons from phantom to singles, on all cores.

    Baselines: the same loops as plain Python, on one core; and the quoted figure of Geant4.
    """
    n, inserts = 1_000_000, four_inserts()
    nema = nema_iq(sphere_kbq_ml=8.0, background_kbq_ml=1.0)
    slow = in_child("simulate-plain-here", NUMBA_DISABLE_JIT="1")
    for name, wanted in (
        ("simulate, four inserts", acquisition(inserts, n)),
        ("simulate, no scatter in the phantom", acquisition(inserts, n, attenuation=False)),
        ("simulate, NEMA phantom", acquisition(nema, n)),
    ):
        seconds = best(lambda wanted=wanted: simulate_through(wanted))
        more: dict[str, float] = {"million_per_s": round(1e-6 * n / seconds, 3)}
        if wanted.phantom is inserts and wanted.physics.attenuation:
            more["ratio_to_quoted_geant4"] = round(n / seconds / GEANT4_DECAYS_PER_S, 2)
        report(
            f"{name} (baseline: plain Python)", n, seconds, int(slow["n"]), slow["seconds"], **more
        )
    once, four = (in_child("simulate-memory-here", str(times * n)) for times in (1, 4))
    line = {
        "name": "simulate, peak memory at 1x and 4x the duration",
        "n": n,
        "peak_mb": once["peak_mb"],
        "peak_mb_4x": four["peak_mb"],
    }
    print(json.dumps(line), flush=True)


def simulate_plain_here() -> None:
    """Time a few thousand decays, where NUMBA_DISABLE_JIT is set."""
    n, inserts = 3000, four_inserts()
    simulate_through(acquisition(inserts, 100))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        simulate_through(acquisition(inserts, n))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"n": n, "seconds": min(seconds)}))


def simulate_memory_here(n_decays: float) -> None:
    simulate_through(acquisition(four_inserts(), n_decays))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"peak_mb": round(peak, 1)}))


@nb.njit
def em_straightforward(image, position, direction, low, size, sigma, n_sample, seen, back):
    """Trilinear samples of each line within three widths, along it and back."""
    step = 6.0 * sigma / (n_sample - 1)
    norm = step / (np.sqrt(2.0 * np.pi) * sigma)
    for n in range(len(position)):
        seen[n] = 0.0
        for back_again in range(2):
            if back_again and not seen[n] > 0.0:
                break
            for j in range(n_sample):
                t = -3.0 * sigma + j * step
                x = (position[n, 0] + t * direction[n, 0] - low[0]) / size[0] - 0.5
                y = (position[n, 1] + t * direction[n, 1] - low[1]) / size[1] - 0.5
                z = (position[n, 2] + t * direction[n, 2] - low[2]) / size[2] - 0.5
                ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
                if not (
                    0 <= ix < image.shape[0] - 1
                    and 0 <= iy < image.shape[1] - 1
                    and 0 <= iz < image.shape[2] - 1
                ):
                    continue
                fx, fy, fz = x - ix, y - iy, z - iz
                g = norm * np.exp(-0.5 * (t / sigma) ** 2)
                for a in range(2):
                    wx = g * (fx if a else 1.0 - fx)
                    for b in range(2):
                        wy = wx * (fy if b else 1.0 - fy)
                        for c in range(2):
                            w = wy * (fz if c else 1.0 - fz)
                            if back_again:
                                back[ix + a, iy + b, iz + c] += w / seen[n]
                            else:
                                seen[n] += w * image[ix + a, iy + b, iz + c]


def lines_in_ball(n: int, rng: np.random.Generator):
    """Return points in a ball of 100 mm, and directions."""
    position, direction = rng.standard_normal((2, n, 3))
    position *= 100.0 * rng.random((n, 1)) ** (1 / 3) / np.linalg.norm(position, axis=1)[:, None]
    return position, direction / np.linalg.norm(direction, axis=1, keepdims=True)


def blobs(place):
    """Return a smooth image's values at places (..., 3): blobs 15 mm wide."""
    centres = np.array([[0.0, 0.0, 0.0], [60.0, 10.0, -20.0], [-30.0, 50.0, 40.0], [5.0, -60.0, 9]])
    far = ((place[..., None, :] - centres) ** 2).sum(axis=-1)
    return np.exp(-0.5 * far / 15.0**2).sum(axis=-1) + 0.1


def bench_projector() -> None:
    """One step of expectation maximisation, against 29 trilinear samples of each line.

    The baseline runs on one core, as a prototype does. The errors are those of the sum along a
    line, root mean square as a share of the mean, against 601 samples of the smooth image itself.
    """
    n, sigma, n_sample = 1_000_000, 14.6, 29
    grid = VoxelGrid.centred(shape=(64, 64, 64), voxel_mm=(4.0, 4.0, 4.0))
    position, direction = lines_in_ball(n, np.random.default_rng(9))
    image = blobs(grid.centres_mm()).reshape(grid.shape).astype(np.float32)
    events = sort_events(position, direction, grid=grid, sigma_mm=sigma)
    projector, field = Projector(events), to_field(image, grid)
    seen, back = np.zeros(n), np.zeros(grid.shape, np.float32)
    low, size = grid.low_mm, np.array(grid.voxel_mm)

    def straightforward() -> None:
        back[:] = 0.0
        em_straightforward(image, position, direction, low, size, sigma, n_sample, seen, back)

    threads = nb.get_num_threads()
    seconds, baseline = best(lambda: projector.back_project_ratio(field)), best(straightforward)
    nb.set_num_threads(1)
    alone = best(lambda: projector.back_project_ratio(field))
    nb.set_num_threads(threads)
    ratio = to_image(projector.back_project_ratio(field)[0], grid)

    few = slice(0, 20_000)
    t = np.linspace(-5.0, 5.0, 601)
    weight = np.exp(-0.5 * t**2)
    weight /= weight.sum()
    exact = np.zeros(20_000)
    for t_, w in zip(t, weight, strict=True):
        exact += w * blobs(position[few] + t_ * sigma * direction[few])
    ours = np.zeros(n)
    ours[events.row] = projector.project(field)

    def error(values) -> float:
        return round(float(100 * np.sqrt(np.mean((values[few] - exact) ** 2)) / exact.mean()), 3)

    report(
        "projector, EM step (baseline: 29 trilinear samples on one thread)",
        n,
        seconds,
        n,
        baseline,
        ns_per_event=round(1e9 * seconds / n, 1),
        ns_per_event_one_thread=round(1e9 * alone / n, 1),
        ns_per_event_baseline=round(1e9 * baseline / n, 1),
        error_percent=error(ours),
        error_percent_baseline=error(seen),
        ratio_images_differ_percent=round(float(100 * np.abs(ratio - back).sum() / back.sum()), 2),
    )
    sorting = best(lambda: sort_events(position, direction, grid=grid, sigma_mm=sigma))
    report("projector, sorting (baseline: EM step)", n, sorting, n, seconds)
    bench_time_bins(position, direction, grid, sigma, seconds)


def bench_time_bins(position, direction, grid, sigma, seconds) -> None:
    """Step through 40 time bins in turn, as lifetimes need it; the baseline takes all at once."""
    n, n_bin = len(position), 40
    time_bin = np.random.default_rng(10).integers(0, n_bin, n)
    projector = Projector(
        sort_events(position, direction, grid=grid, sigma_mm=sigma, time_bin=time_bin, n_bin=n_bin)
    )
    field = to_field(np.ones(grid.shape), grid)

    def every_bin() -> None:
        for b in range(n_bin):
            projector.back_project_ratio(field, time_bin=b)

    split = best(every_bin)
    report("projector, 40 time bins in turn (baseline: all at once)", n, split, n, seconds)


def image_data(n: int, grid: VoxelGrid, chunk: int = 5_000_000) -> ImageData:
    """Return events of a large cylinder, four lines in ten of them random, ready for images."""
    rng = np.random.default_rng(12)
    model = LifetimeModel(response=Response(mu_ns=0.0, sigma_ns=0.09))
    shapes = make_shapes(np.linspace(-10.0, 20.0, 301), model=model)
    half = 0.4 * np.array(grid.shape) * np.array(grid.voxel_mm)
    position, direction = np.empty((n, 3), np.float32), np.empty((n, 3), np.float32)
    dt = np.empty(n, np.float32)
    for start in range(0, n, chunk):
        m = min(chunk, n - start)
        u = rng.normal(size=(m, 3))
        u /= np.linalg.norm(u, axis=1)[:, None]
        r, angle = np.sqrt(rng.random(m)), 2.0 * np.pi * rng.random(m)
        x = np.stack([r * np.cos(angle), r * np.sin(angle), rng.uniform(-1.0, 1.0, m)], axis=1)
        rows = slice(start, start + m)
        position[rows] = x * half + u * rng.normal(0.0, 14.6, m)[:, None]
        direction[rows] = u
        kind = rng.random(m)
        life = np.where(kind < 0.3, 2.0, np.where(kind < 0.4, 0.125, 0.388))
        dt[rows] = rng.exponential(life) + rng.normal(0.0, 0.09, m)
        random = rng.random(m) < 0.4
        dt[rows][random] = rng.uniform(-10.0, 20.0, np.count_nonzero(random))
    events = sort_events(
        position, direction, grid=grid, sigma_mm=14.6, time_bin=shapes.time_bin(dt),
        n_bin=shapes.n_bin,
    )  # fmt: skip
    del position, direction
    x, y, z = (grid.axis_mm(k) / half[k] for k in range(3))
    activity = (x[:, None, None] ** 2 + y[:, None] ** 2 <= 1) & (np.abs(z) <= 1)
    activity = activity.astype(np.float32)
    return ImageData(
        triplets=events,
        dt_ns=dt[events.row],
        shapes=shapes,
        activity=activity,
        unrelated=activity * np.float32(0.4 * n / activity.sum(dtype=np.float64)),
        class_2=np.zeros_like(activity),
        level_known=True,
    )


def bench_images() -> None:
    """Make maps of 234,375 voxels from a million triplets; baseline: component EM, 20 passes."""
    grid = VoxelGrid.centred(shape=(75, 125, 25), voxel_mm=(4.0, 4.0, 4.0))
    data, options = image_data(1_000_000, grid), ReconOptions()
    methods = {
        "em": lambda: reconstruct_components(data, options=options, penalised=False),
        "penalised": lambda: reconstruct_components(data, options=options, penalised=True),
        "rate": lambda: reconstruct_rate(data, options=options),
        "simple": lambda: reconstruct_simple(data, options=options),
        "moment": lambda: reconstruct_moment(data, options=options),
        "split": lambda: reconstruct_split(data, options=options),
    }
    n, base = grid.n_voxel, 0.0
    for name, action in methods.items():
        action()
        start = time.perf_counter()
        action()
        seconds = time.perf_counter() - start
        base = base or seconds
        report(f"images, {name} (baseline: em)", n, seconds, n, base, seconds_here=seconds)


def bench_images_memory() -> None:
    """Peak memory and speed of component EM with 10^8 triplets in 8.1 million voxels."""
    found = in_child("images-memory-here", "1e8")
    print(json.dumps({"name": "images, 1e8 triplets, 175 x 175 x 265 voxels", **found}), flush=True)


def images_memory_here(n_event: float) -> None:
    grid = VoxelGrid.centred(shape=(175, 175, 265), voxel_mm=(4.0, 4.0, 4.0))
    start = time.perf_counter()
    data = image_data(int(n_event), grid)
    sorted_after = time.perf_counter() - start
    start = time.perf_counter()
    maximise_components(data, options=ReconOptions(iterations=1), penalised=True)
    one = time.perf_counter() - start
    print(
        json.dumps(
            {
                "n": int(n_event),
                "n_voxel": grid.n_voxel,
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                "seconds_made_and_sorted": round(sorted_after, 1),
                "seconds_per_pass": round(one, 1),
            }
        )
    )


BENCHES = {
    "triplets": bench_triplets,
    "locate": bench_locate_and_bin,
    "voxels": bench_voxel_fits,
    "quadra": bench_quadra_file,
    "histogram-memory": bench_histogram_memory,
    "sorted-chunks": bench_sorted_chunks,
    "simulate": bench_simulate,
    "projector": bench_projector,
    "images": bench_images,
    "images-memory": bench_images_memory,
}


if __name__ == "__main__":
    if sys.argv[1:] == ["histogram-memory-here"]:
        histogram_memory_here()
        sys.exit()
    if sys.argv[1:] == ["simulate-plain-here"]:
        simulate_plain_here()
        sys.exit()
    if sys.argv[1:2] == ["images-memory-here"]:
        images_memory_here(float(sys.argv[2]))
        sys.exit()
    if sys.argv[1:2] == ["simulate-memory-here"]:
        simulate_memory_here(float(sys.argv[2]))
        sys.exit()
    for chosen in sys.argv[1:] or BENCHES:
        BENCHES[chosen]()
