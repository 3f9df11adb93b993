"""The simulation of an acquisition: blocks of decays over threads, singles in time order."""

import itertools
import logging
import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.simulate._body import Frame
from psimg.simulate._decays import (
    N_PHOTON,
    N_TRUTH,
    Lifetimes,
    Paths,
    Sources,
    Switches,
    simulate_decays,
)
from psimg.simulate._lutetium import simulate_lutetium
from psimg.simulate._photons import MAX_DEPOSITS, N_DEPOSIT, Ring
from psimg.simulate._positrons import Positrons
from psimg.simulate._random import state_of
from psimg.simulate._readout import (
    N_HIT,
    Response,
)
from psimg.simulate.arrays import (
    coefficients_of,
    density_of,
    faces_of,
    frame_of,
    lifetimes_of,
    materials_of,
    response_of,
    ring_of,
    shapes_of,
    sources_of,
    switches_of,
)
from psimg.simulate.physics import (
    daughter_protons,
    electron_spectrum,
    paths_of,
    positrons_of,
    scatter_table,
)
from psimg.simulate.stream import Stream, in_order, merged
from psimg.simulate.values import Acquisition, Simulated

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

LUTETIUM_END_KEV = 593.0
"""End point of the beta of 176Lu; nearly all of it goes to one level (ENSDF) [keV]."""
LUTETIUM_GAMMAS_KEV = (306.8, 201.8, 88.3)
"""The cascade behind it (ENSDF) [keV]."""
LUTETIUM_EMITTED = (0.936, 0.780, 0.145)
"""Photons of each per decay (ENSDF); the rest is internal conversion."""


def simulate_acquisition(
    acquisition: Acquisition,
    *,
    rng: np.random.Generator,
    threads: int | None = None,
    block_decays: int = 20_000,
) -> Iterator[Simulated]:
    """Simulate an acquisition, piece by piece.

    Memory does not grow with the duration, and the result does not depend on the number of threads.

    Parameters
    ----------
    acquisition : Acquisition
        What is to be simulated.
    rng : numpy.random.Generator
        Seeds the generators of the blocks.
    threads : int, optional
        Blocks simulated at the same time; as many as there are processors when left out.
    block_decays : int
        Mean number of decays simulated at a time; the random numbers depend on it.

    Raises
    ------
    SettingsError
        If ``threads`` or ``block_decays`` is below one.

    Yields
    ------
    Simulated
        Singles in time order, and the decays of about the same time.
    """
    threads = (os.cpu_count() or 1) if threads is None else threads
    setup = _set_up(acquisition)
    if block_decays < 1 or threads < 1:
        raise SettingsError(
            f"block_decays = {block_decays}, threads = {threads}: expected at least one of each"
        )
    n_block = math.ceil(setup.expected / block_decays)
    parent = np.random.SeedSequence(int(rng.integers(2**63)))
    log.info(
        "simulating %.4g decays of %s and %.4g of 176Lu in %s, %d blocks over %d threads",
        acquisition.expected_decays, acquisition.isotope.name,
        setup.lutetium_rate * acquisition.duration_s * 1e9, acquisition.detector.name,
        n_block, threads,
    )  # fmt: skip
    stream = Stream(acquisition, setup.ring, setup.response)
    # One by one: a list of them would grow with the duration.
    step = setup.expected / n_block
    edges = (step * block if block < n_block else setup.expected for block in itertools.count())
    pairs = itertools.islice(itertools.pairwise(edges), n_block)
    blocks = ((low, high, parent.spawn(1)[0]) for low, high in pairs)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[float, Future[tuple[FloatArray, FloatArray]]]] = deque()
        try:
            for low, high, seed in blocks:
                waiting.append((high, pool.submit(_run_block, setup, low, high, seed)))
                if len(waiting) > 2 * threads:
                    high, done = waiting.popleft()
                    yield stream.take(*done.result(), setup.time_of(high))
            while waiting:
                high, done = waiting.popleft()
                end = setup.time_of(high) if waiting else np.inf
                yield stream.take(*done.result(), end)
        finally:
            for _, future in waiting:
                future.cancel()


class _Setup(NamedTuple):
    """All that a block needs."""

    rate: float
    """Events at the start [1/ns]: decays, and transitions of isomers."""
    loss: float
    """Decay constant [1/ns]."""
    expected: float
    """Events expected in the scan."""
    lutetium_rate: float
    """Decays of 176Lu [1/ns]."""
    electron: FloatArray
    """(U, 1) energies of its beta [keV]."""
    paths: Paths
    sources: Sources
    lifetimes: Lifetimes
    positrons: Positrons
    switches: Switches
    table: FloatArray
    scattering: FloatArray
    shapes: FloatArray
    density: NDArray[np.float32]
    frame: Frame
    ring: Ring
    response: Response
    faces: FloatArray
    offset: FloatArray

    def time_of(self, expected: float) -> float:
        """Return the time by which so many events are expected [ns]."""
        return -math.log1p(-expected * self.loss / self.rate) / self.loss


def _set_up(acquisition: Acquisition) -> _Setup:
    phantom, detector, physics = acquisition.phantom, acquisition.detector, acquisition.physics
    paths, ends, per_decay = paths_of(acquisition.isotope)
    max_kev = int(max(paths.gamma.max(), 511.0 + max(ends, default=0.0) + 512.0)) + 2
    materials = materials_of(phantom)
    lowest = detector.threshold_kev
    if physics.pile_up:
        lowest = min(lowest, detector.trigger_kev)
    lutetium = 0.0
    if physics.lutetium:
        lutetium = 1e-9 * detector.lutetium_bq_cm3 * detector.scintillator_cm3
    return _Setup(
        rate=1e-3 * acquisition.total_mbq * per_decay,
        loss=1e-9 * math.log(2.0) / acquisition.isotope.half_life_s,
        expected=acquisition.expected_decays * per_decay,
        lutetium_rate=lutetium,
        electron=electron_spectrum(LUTETIUM_END_KEV, 72)[:, None],
        paths=paths,
        sources=sources_of(phantom, phantom.activities_mbq()),
        lifetimes=lifetimes_of(phantom),
        positrons=positrons_of(ends, daughter_protons(acquisition.isotope), materials),
        switches=switches_of(physics),
        table=coefficients_of(phantom, materials, detector, max_kev),
        scattering=scatter_table(max_kev),
        shapes=shapes_of(phantom, materials),
        density=density_of(phantom),
        frame=frame_of(phantom),
        ring=ring_of(detector, lowest_kev=lowest),
        response=response_of(detector, lowest_kev=lowest),
        faces=faces_of(detector),
        offset=np.empty(0) if detector.offset_ns is None else detector.offset_ns.copy(),
    )


def _run_block(
    setup: _Setup, low: float, high: float, seed: np.random.SeedSequence
) -> tuple[FloatArray, FloatArray]:
    """Simulate the events from the ``low``-th to the ``high``-th expected one: hits and truth."""
    start, stop = setup.time_of(low), setup.time_of(high)
    mean = high - low + setup.lutetium_rate * (stop - start)
    n_decay = int(mean + 8.0 * math.sqrt(mean) + 10.0)
    n_hit = 2 * n_decay + 2 * MAX_DEPOSITS
    matter = setup.table, setup.scattering, setup.shapes, setup.density, setup.frame
    detectors = setup.ring, setup.response, setup.faces, setup.offset
    photons = np.empty((2 + setup.paths.gamma.shape[1], N_PHOTON))
    deposits = np.empty((MAX_DEPOSITS, N_DEPOSIT))
    while True:
        # Where there is no room the block is done again, with the same random numbers.
        state = state_of(seed)
        hits, truth = np.empty((n_hit, N_HIT)), np.empty((n_decay, N_TRUTH))
        d, h = simulate_decays(
            state, low, high, setup.rate, setup.loss, setup.paths, setup.sources, setup.lifetimes,
            setup.positrons, setup.switches, *matter, *detectors, photons, deposits, hits, truth,
        )  # fmt: skip
        n_own = h
        if d >= 0 and h >= 0 and setup.lutetium_rate > 0.0:
            d, h = simulate_lutetium(
                state, start, stop, setup.lutetium_rate, setup.electron,
                np.array(LUTETIUM_GAMMAS_KEV), np.array(LUTETIUM_EMITTED), setup.switches.phantom,
                *matter, *detectors, deposits, hits, h, truth, d,
            )  # fmt: skip
        if d >= 0 and h >= 0:
            # Each part is nearly in order; both together are not.
            return merged(in_order(hits[:n_own]), in_order(hits[n_own:h])), truth[:d]
        n_hit, n_decay = n_hit * (1 + (h < 0)), n_decay * (1 + (d < 0))
