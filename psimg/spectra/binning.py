"""Time bins, and the histogram of dt in each voxel of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.events.values import LifetimeEvents
from psimg.events.windows import N_DELAYED_KINDS, PROMPT_ONLY, Window, kinds_of, n_sets_of
from psimg.spectra import _binning
from psimg.spectra.values import LifetimeSpectra


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectrumOptions:
    """Time bins of equal width."""

    start_ns: float = -10.0
    """Lower edge of the first bin [ns]."""
    stop_ns: float = 20.0
    """Upper edge of the last bin [ns]."""
    step_ns: float = 0.1
    """Width of a bin [ns]; the range must be a whole number of them."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        require_window("start_ns, stop_ns", (self.start_ns, self.stop_ns))
        require_positive("step_ns", self.step_ns)
        n_bin = (self.stop_ns - self.start_ns) / self.step_ns
        if round(n_bin) < 1 or abs(n_bin - round(n_bin)) > 1e-6 * n_bin:
            raise SettingsError(
                f"step_ns = {self.step_ns:g} does not divide the range {self.start_ns:g} to "
                f"{self.stop_ns:g} ns into whole bins"
            )

    @property
    def edges_ns(self) -> NDArray[np.float64]:
        """(B+1,) bin edges [ns]."""
        n_bin = round((self.stop_ns - self.start_ns) / self.step_ns)
        return np.linspace(self.start_ns, self.stop_ns, n_bin + 1)


def require_windows(events: LifetimeEvents, kinds: NDArray[np.uint8]) -> None:
    """Raise `DataError` where an event's window is not one of ``kinds``: loops do not look."""
    highest = int(events.window.max(initial=0))
    if highest >= len(kinds):
        raise DataError(
            f"events of window {highest}, but there are {len(kinds)} windows; pass those that the "
            "triplets were found with"
        )


class VoxelCounter:
    """The histogram of a grid while chunks of events come in.

    A dense array of all voxels is kept and added to, since summing one `LifetimeSpectra` a chunk
    would move the whole array each time. Its numbers have 16 bits until one outgrows them, and
    its memory becomes the spectra's, so a counter gives its spectra once and is then closed.
    """

    def __init__(
        self,
        *,
        grid: VoxelGrid,
        edges_ns: NDArray[np.float64],
        windows: Sequence[Window] = PROMPT_ONLY,
        joined: bool = False,
    ) -> None:
        """Start empty; with ``joined``, voxels have one time bin, between the outer edges."""
        n_bin, n_thread = len(edges_ns) - 1, nb.get_num_threads()
        self._grid = grid
        self._edges = np.ascontiguousarray(edges_ns, dtype=np.float64)
        self._voxel_edges = self._edges[[0, -1]] if joined else self._edges
        self._joined = n_bin if joined else 1
        self._kinds = kinds_of(windows)
        self._n_sets = n_sets_of(windows)
        self._width = len(self._voxel_edges) - 1 + (N_DELAYED_KINDS if any(self._n_sets) else 0)
        self._counts: _binning.UintArray | None
        self._counts = np.zeros(grid.n_voxel * self._width, np.uint16)
        self._n_share = 1 << (n_thread - 1).bit_length()
        self._total = np.zeros((n_thread, 1 + N_DELAYED_KINDS, n_bin), np.int64)
        self._outside = np.zeros((n_thread, 2), np.int64)
        self._n_events = 0

    def add(self, events: LifetimeEvents) -> None:
        """Count the events of one chunk.

        Raises
        ------
        DataError
            If an event is of a window that the counter does not know, or the spectra were given.
        """
        counts = self._open_counts()
        require_windows(events, self._kinds)
        cell = np.empty(len(events), np.int64)
        _binning.find_cells(
            events.position_mm,
            events.dt_ns,
            events.window,
            self._kinds,
            self._grid.low_mm,
            np.asarray(self._grid.voxel_mm, dtype=np.float64),
            np.asarray(self._grid.shape, dtype=np.float64),
            self._edges,
            self._joined,
            self._width,
            cell,
            self._total,
            self._outside,
        )
        n_waiting = np.zeros(self._n_share, np.int64)
        _binning.count_cells(cell, np.iinfo(counts.dtype).max, counts, n_waiting)
        if n_waiting.any():
            wide = np.zeros(len(counts), np.uint32)
            _binning.widen(counts, wide)
            _binning.count_waiting(cell, wide)
            self._counts = wide
        self._n_events += int(np.count_nonzero(events.window == 0))

    def spectra(self) -> LifetimeSpectra:
        """Return the spectra of the voxels that hold at least one event, and close the counter.

        Raises
        ------
        DataError
            If the spectra were given before.
        """
        counts, n_bin = self._open_counts(), len(self._voxel_edges) - 1
        self._counts = None
        filled = np.empty(self._grid.n_voxel, np.bool_)
        _binning.find_filled(counts, self._width, filled)
        voxel = np.flatnonzero(filled)
        delayed = np.zeros((len(voxel), N_DELAYED_KINDS), np.uint32)
        _binning.pack(counts, self._width, n_bin, voxel, delayed)
        # Nothing else sees the array; what lies behind the packed rows goes back to the system.
        counts.resize(len(voxel) * n_bin, refcheck=False)
        return LifetimeSpectra(
            edges_ns=self._voxel_edges,
            counts=counts.reshape(len(voxel), n_bin),
            delayed=delayed[:, :, None],
            n_sets=self._n_sets,
            n_events=self._n_events,
            n_outside=int(self._outside[:, 0].sum()),
            n_outside_dt=int(self._outside[:, 1].sum()),
            grid=self._grid,
            voxel=voxel,
        )

    def total(self) -> LifetimeSpectra:
        """Return the spectrum of all events in the grid, as a region named ``all``."""
        total = self._total.sum(axis=0)
        return LifetimeSpectra(
            edges_ns=self._edges,
            counts=total[:1].astype(np.uint32),
            delayed=total[None, 1:].astype(np.uint32),
            n_sets=self._n_sets,
            n_events=self._n_events,
            n_outside=int(self._outside[:, 0].sum()),
            n_outside_dt=int(self._outside[:, 1].sum()),
            names=("all",),
        )

    def _open_counts(self) -> _binning.UintArray:
        if self._counts is None:
            raise DataError("this counter has given its spectra; count further events in a new one")
        return self._counts


def bin_voxels(
    events: LifetimeEvents,
    *,
    grid: VoxelGrid,
    edges_ns: NDArray[np.float64],
    windows: Sequence[Window] = PROMPT_ONLY,
) -> LifetimeSpectra:
    """Histogram dt in each voxel of a grid.

    Parameters
    ----------
    events : LifetimeEvents
        Located events; each one's ``window`` is a position in ``windows``.
    grid : VoxelGrid
        The voxels.
    edges_ns : (B+1,) array
        Rising bin edges of equal width [ns].
    windows : sequence of Window
        The windows that the events come from; `SelectOptions.windows`.

    Returns
    -------
    LifetimeSpectra
        The voxels that hold at least one event.
    """
    counter = VoxelCounter(grid=grid, edges_ns=edges_ns, windows=windows)
    counter.add(events)
    return counter.spectra()
