"""Histograms of dt: one per voxel, one per region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.regions import Region
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.events.values import LifetimeEvents
from psimg.events.windows import (
    N_DELAYED_KINDS,
    PROMPT_ONLY,
    Window,
    WindowKind,
    kinds_of,
    n_sets_of,
)
from psimg.spectra._binning import add_events
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


class VoxelCounter:
    """The histogram of a grid while chunks of events come in.

    A dense array of all voxels is kept and added to, since summing one `LifetimeSpectra` a chunk
    would move the whole array each time.
    """

    def __init__(
        self,
        *,
        grid: VoxelGrid,
        edges_ns: NDArray[np.float64],
        windows: Sequence[Window] = PROMPT_ONLY,
    ) -> None:
        n_bin = len(edges_ns) - 1
        self._grid = grid
        self._edges = np.ascontiguousarray(edges_ns, dtype=np.float64)
        self._kinds = kinds_of(windows)
        self._n_sets = n_sets_of(windows)
        self._counts = np.zeros((grid.n_voxel, n_bin), np.uint32)
        self._delayed = np.zeros((grid.n_voxel, N_DELAYED_KINDS), np.uint32)
        self._total = np.zeros((1 + N_DELAYED_KINDS, n_bin), np.int64)
        self._outside = np.zeros(2, np.int64)
        self._n_events = 0

    def add(self, events: LifetimeEvents) -> None:
        """Count the events of one chunk."""
        add_events(
            events.position_mm,
            events.dt_ns,
            self._kinds[events.window],
            self._grid.low_mm,
            np.asarray(self._grid.voxel_mm, dtype=np.float64),
            np.asarray(self._grid.shape, dtype=np.int64),
            self._edges,
            self._counts,
            self._delayed,
            self._total,
            self._outside,
        )
        self._n_events += int(np.count_nonzero(events.window == 0))

    def spectra(self) -> LifetimeSpectra:
        """Return the spectra of the voxels that hold at least one event."""
        voxel = np.flatnonzero(self._counts.any(axis=1) | self._delayed.any(axis=1))
        return LifetimeSpectra(
            edges_ns=self._edges,
            counts=self._counts[voxel],
            delayed=self._delayed[voxel][:, :, None],
            n_sets=self._n_sets,
            n_events=self._n_events,
            n_outside=int(self._outside[0]),
            n_outside_dt=int(self._outside[1]),
            grid=self._grid,
            voxel=voxel,
        )

    def total(self) -> LifetimeSpectra:
        """Return the spectrum of all events in the grid, as a region named ``all``."""
        return LifetimeSpectra(
            edges_ns=self._edges,
            counts=self._total[:1].astype(np.uint32),
            delayed=self._total[None, 1:].astype(np.uint32),
            n_sets=self._n_sets,
            n_events=self._n_events,
            n_outside=int(self._outside[0]),
            n_outside_dt=int(self._outside[1]),
            names=("all",),
        )


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


def bin_regions(
    events: LifetimeEvents,
    *,
    regions: Sequence[Region],
    edges_ns: NDArray[np.float64],
    windows: Sequence[Window] = PROMPT_ONLY,
) -> LifetimeSpectra:
    """Histogram dt in each region; an event in several regions is counted in each.

    Parameters
    ----------
    events : LifetimeEvents
        Located events; each one's ``window`` is a position in ``windows``.
    regions : sequence of Region
        The regions, in the order of the rows of the result.
    edges_ns : (B+1,) array
        Rising bin edges [ns].
    windows : sequence of Window
        The windows that the events come from; `SelectOptions.windows`.

    Returns
    -------
    LifetimeSpectra
        One row per region.
    """
    n_bin = len(edges_ns) - 1
    n_kind = 1 + N_DELAYED_KINDS
    bins = np.searchsorted(edges_ns, events.dt_ns, side="right") - 1
    in_range = (bins >= 0) & (bins < n_bin)
    kind = kinds_of(windows)[events.window]
    cell = kind.astype(np.int64) * n_bin + bins
    histogram = np.zeros((len(regions), n_kind, n_bin), np.uint32)
    anywhere = np.zeros(len(events), np.bool_)
    for row, region in enumerate(regions):
        inside = region.contains(events.position_mm)
        anywhere |= inside
        counted = np.bincount(cell[inside & in_range], minlength=n_kind * n_bin)
        histogram[row] = counted.reshape(n_kind, n_bin)
    prompt = kind == WindowKind.PROMPT
    return LifetimeSpectra(
        edges_ns=edges_ns,
        counts=histogram[:, 0],
        delayed=histogram[:, 1:],
        n_sets=n_sets_of(windows),
        n_events=int(np.count_nonzero(prompt)),
        n_outside=int(np.count_nonzero(prompt & ~anywhere)),
        n_outside_dt=int(np.count_nonzero(prompt & anywhere & ~in_range)),
        names=tuple(region.name for region in regions),
    )
