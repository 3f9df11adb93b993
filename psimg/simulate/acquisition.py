"""The simulation of an acquisition: blocks of decays over threads, singles in time order."""

import logging
import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.isotopes import Isotope
from psimg.core.settings import require_positive
from psimg.events.values import Singles
from psimg.simulate._body import Frame
from psimg.simulate._decays import (
    ANNIHILATION_X,
    CHANNEL,
    DECAY_TIME,
    EMISSION_X,
    LIFE,
    N_TRUTH,
    SCATTER_1,
    WHERE,
    Lifetimes,
    Paths,
    Sources,
    Switches,
    simulate_decays,
)
from psimg.simulate._lutetium import simulate_lutetium
from psimg.simulate._photons import MAX_DEPOSITS, Ring
from psimg.simulate._positrons import Positrons
from psimg.simulate._random import state_of
from psimg.simulate._readout import (
    HIT_ALONG,
    HIT_AROUND,
    HIT_DECAY,
    HIT_ENERGY,
    HIT_TIME,
    HIT_X,
    N_HIT,
    Response,
)
from psimg.simulate._stream import ROW, START, keep_free, order_in_time
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
from psimg.simulate.detector import Detector
from psimg.simulate.phantom import Phantom
from psimg.simulate.physics import Physics, daughter_protons, electron_spectrum, paths_of, positrons_of

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

LUTETIUM_END_KEV = 593.0
"""End point of the beta of 176Lu; nearly all of it goes to one level (ENSDF) [keV]."""
LUTETIUM_GAMMAS_KEV = (306.8, 201.8, 88.3)
"""The cascade behind it (ENSDF) [keV]."""
LUTETIUM_EMITTED = (0.936, 0.780, 0.145)
"""Photons of each per decay (ENSDF); the rest is internal conversion."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Acquisition:
    """What is to be simulated."""

    phantom: Phantom
    isotope: Isotope
    detector: Detector
    duration_s: float
    """Length of the scan [s]."""
    activity_mbq: float | None = None
    """Activity of the phantom at the start, divided as its parts' activities are; the sum of these
    when left out [MBq]."""
    physics: Physics = Physics()

    def __post_init__(self) -> None:
        require_positive("duration_s", self.duration_s)
        if self.activity_mbq is not None:
            require_positive("activity_mbq", self.activity_mbq)
        activities = self.phantom.activities_mbq()
        if not activities.sum() > 0:
            raise SettingsError(
                "no part of the phantom has activity; give a region activity_mbq or activity_kbq_ml"
            )
        for i, region in enumerate(self.phantom.regions):
            wanted = activities[i + (self.phantom.voxels is not None)]
            if wanted > 0 and not self.phantom.visible_ml(i) > 0:
                raise SettingsError(
                    f"region {region.name!r} has activity, and lies wholly inside later regions; "
                    "name it after them"
                )

    @property
    def total_mbq(self) -> float:
        """Activity at the start of the scan [MBq]."""
        if self.activity_mbq is not None:
            return self.activity_mbq
        return float(self.phantom.activities_mbq().sum())

    @property
    def expected_decays(self) -> float:
        """Mean number of the isotope's decays in the scan."""
        return self.isotope.decays(self.total_mbq, self.duration_s)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Decays:
    """The truth of each decay, one row per decay, in the order of their numbers."""

    number: NDArray[np.int64]
    """(N,) number of the decay, as in ``Singles.decay``."""
    time_ns: NDArray[np.float64]
    """(N,) when the positron and the prompt gamma were emitted [ns]."""
    life_ns: NDArray[np.float64]
    """(N,) how long the positron lived; NaN without one [ns]."""
    emission_mm: NDArray[np.float32]
    """(N, 3) where the nucleus decayed [mm]."""
    annihilation_mm: NDArray[np.float32]
    """(N, 3) where the positron annihilated; NaN without one [mm]."""
    region: NDArray[np.int16]
    """(N,) index into ``Phantom.names`` of where it annihilated; -1 for 176Lu."""
    channel: NDArray[np.uint8]
    """(N,) index into the region's channels; 253 in flight, 254 no positron, 255 176Lu."""
    scatters: NDArray[np.uint8]
    """(N, 3) scatters in the phantom of the two annihilation photons, and of all gammas."""

    def __post_init__(self) -> None:
        n = len(self.number)
        freeze(
            self,
            number=(np.int64, n),
            time_ns=(np.float64, n),
            life_ns=(np.float64, n),
            emission_mm=(np.float32, n, 3),
            annihilation_mm=(np.float32, n, 3),
            region=(np.int16, n),
            channel=(np.uint8, n),
            scatters=(np.uint8, n, 3),
        )

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Simulated:
    """A piece of an acquisition: singles in time order, and the truth of decays.

    A late single can be of a decay in an earlier piece.
    """

    singles: Singles
    decays: Decays


def simulate_acquisition(
    acquisition: Acquisition,
    *,
    rng: np.random.Generator,
    threads: int | None = None,
    block_decays: int = 50_000,
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

    Yields
    ------
    Simulated
        Singles in time order, and the decays of about the same time.
    """
    threads = threads or os.cpu_count() or 1
    setup = _set_up(acquisition)
    edges = np.linspace(0.0, setup.expected, math.ceil(setup.expected / block_decays) + 1)
    parent = rng.bit_generator.seed_seq
    log.info(
        "simulating %.4g decays of %s and %.4g of 176Lu in %s, %d blocks over %d threads",
        acquisition.expected_decays, acquisition.isotope.name,
        setup.lutetium_rate * acquisition.duration_s * 1e9, acquisition.detector.name,
        len(edges) - 1, threads,
    )  # fmt: skip
    stream = _Stream(acquisition, setup)
    blocks = ((lo, hi, parent.spawn(1)[0]) for lo, hi in zip(edges[:-1], edges[1:], strict=True))
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
        shapes=shapes_of(phantom, materials),
        density=density_of(phantom),
        frame=frame_of(phantom),
        ring=ring_of(detector, lowest_kev=lowest),
        response=response_of(detector, lowest_kev=lowest),
        faces=faces_of(detector),
        offset=np.empty(0) if detector.offset_ns is None else detector.offset_ns,
    )


def _run_block(
    setup: _Setup, low: float, high: float, seed: np.random.SeedSequence
) -> tuple[FloatArray, FloatArray]:
    """Simulate the events from the ``low``-th to the ``high``-th expected one: hits and truth."""
    start, stop = setup.time_of(low), setup.time_of(high)
    mean = high - low + setup.lutetium_rate * (stop - start)
    n_decay = int(mean + 8.0 * math.sqrt(mean) + 10.0)
    n_hit = 2 * n_decay + 2 * MAX_DEPOSITS
    matter = setup.table, setup.shapes, setup.density, setup.frame
    detectors = setup.ring, setup.response, setup.faces, setup.offset
    while True:
        # Where there is no room the block is done again, with the same random numbers.
        state = state_of(seed)
        hits, truth = np.empty((n_hit, N_HIT)), np.empty((n_decay, N_TRUTH))
        d, h = simulate_decays(
            state, low, high, setup.rate, setup.loss, setup.paths, setup.sources, setup.lifetimes,
            setup.positrons, setup.switches, *matter, *detectors, hits, truth,
        )  # fmt: skip
        if d >= 0 and h >= 0 and setup.lutetium_rate > 0.0:
            d, h = simulate_lutetium(
                state, start, stop, setup.lutetium_rate, setup.electron,
                np.array(LUTETIUM_GAMMAS_KEV), np.array(LUTETIUM_EMITTED), setup.switches.phantom,
                *matter, *detectors, hits, h, truth, d,
            )  # fmt: skip
        if d >= 0 and h >= 0:
            return _in_order(hits[:h]), truth[:d]
        n_hit, n_decay = n_hit * (1 + (h < 0)), n_decay * (1 + (d < 0))


def _in_order(hits: FloatArray) -> FloatArray:
    out = np.empty_like(hits)
    order_in_time(hits, np.empty(len(hits), np.int64), out)
    return out


class _Stream:
    """Puts the hits of blocks in time order, and their decays in one count."""

    def __init__(self, acquisition: Acquisition, setup: _Setup) -> None:
        self._detector = acquisition.detector
        self._setup = setup
        self._pile_up = acquisition.physics.pile_up
        self._n_decay = 0
        self._n_kept = 0
        self._held = np.empty((0, N_HIT))
        self._open = np.empty((0, N_HIT))
        # Hits of later decays are earlier than the decay by no more than this.
        self._early = 10.0 * setup.response.sigma - min(0.0, setup.offset.min(initial=0.0))
        # As many blocks as crystals are more than there are.
        self._blocks = np.zeros((acquisition.detector.n_crystals, 2))
        self._blocks[:, START] = -np.inf

    def take(self, hits: FloatArray, truth: FloatArray, end: float) -> Simulated:
        """Take up a block that ends at a time [ns], and return what is final."""
        hits[:, HIT_DECAY] += self._n_decay
        decays = Decays(
            number=self._n_decay + np.arange(len(truth)),
            time_ns=truth[:, DECAY_TIME],
            life_ns=truth[:, LIFE],
            emission_mm=truth[:, EMISSION_X : EMISSION_X + 3],
            annihilation_mm=truth[:, ANNIHILATION_X : ANNIHILATION_X + 3],
            region=truth[:, WHERE],
            channel=truth[:, CHANNEL],
            scatters=np.minimum(truth[:, SCATTER_1 : SCATTER_1 + 3], 255.0),
        )
        self._n_decay += len(truth)
        if len(self._held):
            hits = _in_order(np.concatenate([self._held, hits]))
        n = int(np.searchsorted(hits[:, HIT_TIME], end - self._early))
        self._held = hits[n:].copy()
        hits = hits[:n]
        if self._pile_up:
            hits = self._free(hits, end - self._early)
        return Simulated(singles=self._recorded(hits), decays=decays)

    def _free(self, hits: FloatArray, end: float) -> FloatArray:
        """Return the hits that find their block free and that nothing can add to any more."""
        first = len(self._open)
        hits = np.concatenate([self._open, hits])
        n = keep_free(
            hits, first, self._n_kept, self._detector.dead_ns, self._blocks,
            self._setup.ring, self._setup.response,
        )  # fmt: skip
        n_final = int(np.searchsorted(hits[:n, HIT_TIME], end - self._detector.integration_ns))
        self._open = hits[n_final:n].copy()
        self._n_kept += n_final
        return hits[:n_final]

    def _recorded(self, hits: FloatArray) -> Singles:
        """Return the singles that the electronics write of hits."""
        detector = self._detector
        seen = hits[:, HIT_ENERGY] >= detector.threshold_kev
        if detector.highest_kev is not None:
            seen &= hits[:, HIT_ENERGY] <= detector.highest_kev
        hits = hits[seen]
        energy = hits[:, HIT_ENERGY]
        if detector.saturation_kev is not None:
            energy = np.minimum(energy, detector.saturation_kev)
        has_tot = detector.tot_scale_ns is not None
        return Singles(
            time_ns=hits[:, HIT_TIME],
            position_mm=hits[:, HIT_X : HIT_X + 3],
            energy_kev=None if has_tot else energy,
            tot_ns=detector.time_over_threshold(energy) if has_tot else None,
            detector=hits[:, HIT_AROUND] * detector.crystals_along + hits[:, HIT_ALONG],
            decay=hits[:, HIT_DECAY],
        )
