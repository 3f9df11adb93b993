"""From the hits of blocks of decays to singles in time order."""

import numpy as np
from numpy.typing import NDArray

from psimg.events.values import Singles
from psimg.simulate._decays import (
    ANNIHILATION_X,
    CHANNEL,
    DECAY_TIME,
    EMISSION_X,
    LIFE,
    SCATTER_1,
    WHERE,
)
from psimg.simulate._photons import Ring
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
from psimg.simulate._stream import START, keep_free, merge, order_in_time
from psimg.simulate.values import Acquisition, Decays, Simulated

FloatArray = NDArray[np.float64]


def in_order(hits: FloatArray) -> FloatArray:
    """Return hits in the order of their times."""
    out = np.empty_like(hits)
    order_in_time(hits, np.empty(len(hits), np.int64), out)
    return out


def merged(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return hits of two tables in time order."""
    out = np.empty((len(one) + len(other), N_HIT))
    merge(one, other, out)
    return out


class Stream:
    """Puts the hits of blocks in time order, and their decays in one count."""

    def __init__(self, acquisition: Acquisition, ring: Ring, response: Response) -> None:
        self._detector = acquisition.detector
        self._ring = ring
        self._response = response
        self._pile_up = acquisition.physics.pile_up
        self._n_decay = 0
        self._n_kept = 0
        self._held = np.empty((0, N_HIT))
        self._open = np.empty((0, N_HIT))
        # Hits of later decays are earlier than the decay by no more than this.
        offset = np.zeros(1) if self._detector.offset_ns is None else self._detector.offset_ns
        self._early = 10.0 * response.sigma - min(0.0, float(offset.min()))
        # As many blocks as crystals are more than there are.
        self._blocks = np.zeros((self._detector.n_crystals, 2))
        self._blocks[:, START] = -np.inf

    def take(self, hits: FloatArray, truth: FloatArray, end: float) -> Simulated:
        """Take up a block that ends at a time [ns], and return what is final."""
        hits[:, HIT_DECAY] += self._n_decay
        decays = Decays(
            number=self._n_decay + np.arange(len(truth)),
            time_ns=truth[:, DECAY_TIME],
            life_ns=truth[:, LIFE],
            emission_mm=truth[:, EMISSION_X : EMISSION_X + 3].astype(np.float32),
            annihilation_mm=truth[:, ANNIHILATION_X : ANNIHILATION_X + 3].astype(np.float32),
            region=truth[:, WHERE].astype(np.int16),
            channel=truth[:, CHANNEL].astype(np.uint8),
            scatters=np.minimum(truth[:, SCATTER_1 : SCATTER_1 + 3], 255.0).astype(np.uint8),
        )
        self._n_decay += len(truth)
        if len(self._held):
            hits = merged(self._held, hits)
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
            self._ring, self._response,
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
        label = hits[:, HIT_AROUND] * detector.crystals_along + hits[:, HIT_ALONG]
        has_tot = detector.tot_ns is not None
        return Singles(
            time_ns=hits[:, HIT_TIME],
            position_mm=hits[:, HIT_X : HIT_X + 3],
            energy_kev=None if has_tot else energy,
            tot_ns=detector.time_over_threshold(energy) if has_tot else None,
            detector=label.astype(np.int64),
            decay=hits[:, HIT_DECAY].astype(np.int64),
        )
