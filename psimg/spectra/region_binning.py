"""The histogram of dt in each region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.core.grid import VoxelGrid
from psimg.core.regions import Box, Cylinder, Mask, Region, Sphere
from psimg.events.values import LifetimeEvents
from psimg.events.windows import (
    N_DELAYED_KINDS,
    PROMPT_ONLY,
    Window,
    WindowKind,
    kinds_of,
    n_sets_of,
)
from psimg.spectra import _regions
from psimg.spectra.binning import require_windows
from psimg.spectra.values import LifetimeSpectra


class RegionCounter:
    """The histogram of each region while chunks of events come in.

    Spheres, cylinders, boxes and masks are looked at in compiled loops; a region of any other type
    is asked with its own ``contains``.
    """

    def __init__(
        self,
        *,
        regions: Sequence[Region],
        edges_ns: NDArray[np.float64],
        windows: Sequence[Window] = PROMPT_ONLY,
    ) -> None:
        self._regions = tuple(regions)
        self._edges = np.ascontiguousarray(edges_ns, dtype=np.float64)
        self._kinds = kinds_of(windows)
        self._n_sets = n_sets_of(windows)
        shapes = {row: _numbers(region) for row, region in enumerate(regions)}
        self._rows = np.array([row for row, s in shapes.items() if s is not None], np.int64)
        numbers = [s for s in shapes.values() if s is not None]
        self._shapes = np.array(numbers, np.float64).reshape(-1, _regions.N_NUMBER)
        self._masks = _combine(regions)
        combined = {row for masks in self._masks for row in masks.rows}
        self._others = [row for row, s in shapes.items() if s is None and row not in combined]
        # A layer for each thread; the bin behind the others is for dt outside the edges.
        layers = (nb.get_num_threads(), len(self._regions), (1 + N_DELAYED_KINDS) * len(edges_ns))
        self._histogram = np.zeros(layers, np.int64)
        self._n_events = self._n_anywhere = self._n_anywhere_in_range = 0

    def add(self, events: LifetimeEvents) -> None:
        """Count the events of one chunk.

        Raises
        ------
        DataError
            If an event is of a window that the counter does not know.
        """
        require_windows(events, self._kinds)
        position, histogram = events.position_mm, self._histogram
        column = np.empty(len(events), np.int32)
        anywhere = np.zeros(len(events), np.bool_)
        _regions.find_columns(events.dt_ns, events.window, self._kinds, self._edges, column)
        if len(self._rows):
            _regions.count_shapes(position, column, self._shapes, self._rows, anywhere, histogram)
        for m in self._masks:
            size = np.asarray(m.grid.voxel_mm, dtype=np.float64)
            _regions.count_masks(
                position, column, m.grid.low_mm, size, m.image, m.first, m.rows, anywhere, histogram
            )
        for row in self._others:
            inside = self._regions[row].contains(position)
            anywhere |= inside
            histogram[0, row] += np.bincount(column[inside], minlength=histogram.shape[2])
        n_bin = len(self._edges) - 1
        self._n_events += int(np.count_nonzero(events.window == 0))
        self._n_anywhere += int(np.count_nonzero(anywhere & (column <= n_bin)))
        self._n_anywhere_in_range += int(np.count_nonzero(anywhere & (column < n_bin)))

    def spectra(self) -> LifetimeSpectra:
        """Return the spectra of the regions so far, one row per region."""
        shape = (len(self._regions), 1 + N_DELAYED_KINDS, len(self._edges))
        histogram = self._histogram.sum(axis=0).reshape(shape)[:, :, :-1].astype(np.uint32)
        return LifetimeSpectra(
            edges_ns=self._edges,
            counts=histogram[:, WindowKind.PROMPT],
            delayed=histogram[:, WindowKind.PROMPT + 1 :],
            n_sets=self._n_sets,
            n_events=self._n_events,
            n_outside=self._n_events - self._n_anywhere,
            n_outside_dt=self._n_anywhere - self._n_anywhere_in_range,
            names=tuple(region.name for region in self._regions),
        )


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
    counter = RegionCounter(regions=regions, edges_ns=edges_ns, windows=windows)
    counter.add(events)
    return counter.spectra()


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Masks:
    """The masks on one grid as one image of the sets of masks that voxels belong to."""

    grid: VoxelGrid
    image: NDArray[np.uint16] | NDArray[np.uint32]
    """(nx, ny, nz) number of each voxel's set; 0 is the empty one."""
    first: NDArray[np.int64]
    """(n_set + 1,) where each set begins in ``rows``."""
    rows: NDArray[np.int64]
    """Rows of the masks of set 0, then those of set 1, and so on."""


def _combine(regions: Sequence[Region]) -> list[_Masks]:
    """Return the masks among the regions, those on the same grid together."""
    on_grid: dict[VoxelGrid, list[int]] = {}
    for row, region in enumerate(regions):
        if type(region) is Mask:
            on_grid.setdefault(region.grid, []).append(row)
    combined = []
    for grid, rows in on_grid.items():
        sets: list[list[int]] = [[]]
        image: NDArray[np.uint16] | NDArray[np.uint32] = np.zeros(grid.shape, np.uint16)
        for row in rows:
            mask = regions[row]
            assert isinstance(mask, Mask)
            before = image[mask.inside]
            renumbered = np.zeros(len(sets), np.uint32)
            for number in np.unique(before):
                renumbered[number] = len(sets)
                sets.append([*sets[number], row])
            if len(sets) > np.iinfo(image.dtype).max:
                image = image.astype(np.uint32)
            image[mask.inside] = renumbered[before]
        first = np.cumsum([0, *(len(members) for members in sets)])
        members = np.array([row for members in sets for row in members], np.int64)
        combined.append(_Masks(grid=grid, image=image, first=first, rows=members))
    return combined


def _numbers(region: Region) -> tuple[float, ...] | None:
    """Return the eight numbers of `_regions.find_inside`; None for what has no such numbers.

    A subclass may mean something else by ``contains``, so that types are compared exactly.
    """
    inf = np.inf
    if type(region) is Sphere:
        return (*region.centre_mm, 1.0, region.radius_mm**2, inf, inf, inf)
    if type(region) is Cylinder:
        return (*region.centre_mm, 0.0, region.radius_mm**2, inf, inf, region.half_length_mm)
    if type(region) is Box:
        return (*region.centre_mm, 0.0, inf, *region.half_length_mm)
    return None
