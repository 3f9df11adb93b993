"""Time offsets of detectors and time walk of the prompt: what they are, and taking them off."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.events.values import Singles, require_energy

_MAX_SPAN = 1 << 24
"""Range of labels up to which a table indexed by the label itself is made (128 MB)."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PromptWalk:
    """How late prompts are seen, by their energy, against the mean over all of them."""

    edges_kev: NDArray[np.float64]
    """(E+1,) rising edges of the energy bins; the last one may be infinite [keV]."""
    energy_kev: NDArray[np.float64]
    """(E,) mean energy of the prompts of each bin [keV]."""
    walk_ns: NDArray[np.float64]
    """(E,) mean delay of the prompts of each bin [ns]."""
    error_ns: NDArray[np.float64]
    """(E,) standard error of ``walk_ns`` [ns]."""

    def __post_init__(self) -> None:
        n = len(self.walk_ns)
        freeze(
            self,
            edges_kev=(np.float64, n + 1),
            energy_kev=(np.float64, n),
            walk_ns=(np.float64, n),
            error_ns=(np.float64, n),
        )
        if n < 1 or not np.all(np.diff(self.edges_kev) > 0):
            raise DataError("edges_kev of the walk must be two or more rising numbers")
        low, high = self.edges_kev[:-1], self.edges_kev[1:]
        if not np.all((self.energy_kev >= low) & (self.energy_kev <= high)):
            raise DataError("energy_kev of the walk must lie in its bins")
        _require_finite("walk_ns", self.walk_ns, self.error_ns)

    def __len__(self) -> int:
        return len(self.walk_ns)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TimingTable:
    """When each detector reports a photon, against the mean of all detectors."""

    block: int
    """Labels per row: a single of label ``n`` belongs to the row of ``n // block``."""
    detector: NDArray[np.int64]
    """(D,) rising labels divided by ``block``."""
    offset_ns: NDArray[np.float64]
    """(D,) how late the detector is; their mean is zero in a fresh calibration [ns]."""
    error_ns: NDArray[np.float64]
    """(D,) standard error of ``offset_ns`` [ns]."""
    n_pairs: NDArray[np.int64]
    """(D,) annihilation pairs that each offset comes from."""
    left_out: NDArray[np.int64]
    """(L,) rising labels divided by ``block`` that were seen and got no offset."""
    walk: PromptWalk | None = None
    """Time walk of the prompt; None where it was not measured."""

    def __post_init__(self) -> None:
        n = len(self.detector)
        freeze(
            self,
            detector=(np.int64, n),
            offset_ns=(np.float64, n),
            error_ns=(np.float64, n),
            n_pairs=(np.int64, n),
            left_out=(np.int64, len(self.left_out)),
        )
        if self.block < 1:
            raise DataError(f"block = {self.block}: expected 1 or more labels per row")
        for name in ("detector", "left_out"):
            label = getattr(self, name)
            if np.any(np.diff(label) <= 0):
                raise DataError(f"{name} of a timing table must rise, each label once")
        if np.isin(self.left_out, self.detector).any():
            raise DataError("a label of a timing table both has an offset and is left out")
        _require_finite("offset_ns", self.offset_ns, self.error_ns)

    def __len__(self) -> int:
        return len(self.detector)

    @property
    def largest_shift_ns(self) -> float:
        """How far `correct_times` may move a single [ns]."""
        walk = 0.0 if self.walk is None else float(np.abs(self.walk.walk_ns).max())
        return float(np.abs(self.offset_ns).max(initial=0.0)) + walk


def correct_times(singles: Singles, table: TimingTable) -> Singles:
    """Take the detectors' offsets, and the walk of prompts, off the times.

    The walk is taken off singles whose energy lies in the range of its bins, that is in the prompt
    window of its calibration, interpolated between the bins' mean energies. A single of a detector
    without an offset keeps its time; `count_uncorrected` says how many there are. Singles come out
    in the order they went in and may be slightly out of time order: sort them after, not before.

    Parameters
    ----------
    singles : Singles
        Detected photons with the label of their detector.
    table : TimingTable
        Offsets and walk.

    Returns
    -------
    Singles
        The same photons at their corrected times.

    Raises
    ------
    DataError
        If the singles have no detector labels.
    """
    time = singles.time_ns - np.nan_to_num(_offset_of(singles, table))
    walk = table.walk
    if walk is not None:
        energy = require_energy(singles)
        rows = np.flatnonzero((energy >= walk.edges_kev[0]) & (energy <= walk.edges_kev[-1]))
        time[rows] -= np.interp(energy[rows], walk.energy_kev, walk.walk_ns)
    return replace(singles, time_ns=time)


def count_uncorrected(singles: Singles, table: TimingTable) -> int:
    """Return how many singles are of a detector that the table has no offset for."""
    return int(np.count_nonzero(np.isnan(_offset_of(singles, table))))


def _offset_of(singles: Singles, table: TimingTable) -> NDArray[np.float64]:
    """Return (N,) the offset of each single's detector; NaN where the table has none [ns]."""
    if singles.detector is None:
        raise DataError(
            "the singles have no detector labels, so that no detector's time offset can be taken "
            "off; export them too (input.columns.detector), or leave out input.timing"
        )
    label = singles.detector if table.block == 1 else singles.detector // table.block
    if not len(table):
        return np.full(len(label), np.nan)
    first, last = table.detector[0], table.detector[-1]
    if last - first < _MAX_SPAN:
        # A place on either side for the labels outside the table.
        offset = np.full(int(last - first) + 3, np.nan)
        offset[table.detector - first + 1] = table.offset_ns
        return np.asarray(offset[np.clip(label, first - 1, last + 1) - (first - 1)])
    row = np.minimum(np.searchsorted(table.detector, label), len(table) - 1)
    return np.where(table.detector[row] == label, table.offset_ns[row], np.nan)


def _require_finite(name: str, value: NDArray[np.float64], error: NDArray[np.float64]) -> None:
    if not (np.isfinite(value).all() and np.isfinite(error).all() and (error >= 0).all()):
        raise DataError(f"{name} and its errors must be finite, and no error below zero")
