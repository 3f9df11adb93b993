"""Binned values: spectra of dt. Spectra of chunks add up."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.events.windows import N_DELAYED_KINDS


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class LifetimeSpectra:
    """Counts against dt for the voxels of a grid or for named regions."""

    edges_ns: NDArray[np.float64]
    """(B+1,) bin edges, rising [ns]; a bin holds its lower edge."""
    counts: NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.float64]
    """(V, B) prompt-window events; uint16 where that holds them all, so add them up in a wider
    type. Sums of the events' weights, where they have such, are float64."""
    delayed: NDArray[np.uint32]
    """(V, 3, D) events of the windows with the prompt, an annihilation photon, or both delayed, in
    the order of `WindowKind`; D is B, or 1 for voxels, where the bins are summed."""
    n_sets: tuple[int, int, int]
    """Number of windows of each kind summed in ``delayed``."""
    n_events: int
    """Prompt-window events looked at."""
    n_outside: int
    """Prompt-window events in no voxel or region, whatever their dt."""
    n_outside_dt: int
    """Prompt-window events inside, but with dt below the first edge or not below the last."""
    grid: VoxelGrid | None = None
    """The grid, for spectra of voxels."""
    voxel: NDArray[np.int64] | None = None
    """(V,) rising flat index of the voxels that hold a count, for spectra of voxels."""
    names: tuple[str, ...] | None = None
    """V names, for spectra of regions."""
    variances: NDArray[np.float64] | None = None
    """(V, B) sums of the events' squared weights; None where the counts are their own variances,
    as those of events without weights are."""

    def __post_init__(self) -> None:
        n, n_bin = len(self.counts), len(self.edges_ns) - 1
        n_delayed_bin = n_bin if self.voxel is None else 1
        for name in ("counts", "variances"):
            _require_not_negative(name, getattr(self, name))
        freeze(
            self,
            edges_ns=(np.float64, n_bin + 1),
            counts=(_type_of(self.counts, self.variances), n, n_bin),
            variances=(np.float64, n, n_bin),
            delayed=(np.uint32, n, N_DELAYED_KINDS, n_delayed_bin),
            voxel=(np.int64, n),
        )
        if n_bin < 1 or not np.all(np.diff(self.edges_ns) > 0):
            raise DataError("edges_ns must be two or more rising numbers")
        if (self.names is None) == (self.voxel is None) or (self.grid is None) != (
            self.voxel is None
        ):
            raise DataError("spectra are either of regions (names) or of voxels (grid and voxel)")
        if self.names is not None and len(self.names) != n:
            raise DataError(f"{n} spectra but {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.counts)

    def __add__(self, other: "LifetimeSpectra") -> "LifetimeSpectra":
        """Return the spectra of the events of both."""
        same = (
            np.array_equal(self.edges_ns, other.edges_ns)
            and self.n_sets == other.n_sets
            and self.names == other.names
            and self.grid == other.grid
        )
        if not same:
            raise DataError(
                "spectra add only on the same edges, delays, regions and grid; bin both alike"
            )
        total = replace(
            self,
            n_events=self.n_events + other.n_events,
            n_outside=self.n_outside + other.n_outside,
            n_outside_dt=self.n_outside_dt + other.n_outside_dt,
        )
        weighted = np.float64 in (self.counts.dtype, other.counts.dtype)
        kind = np.float64 if weighted else np.uint32
        if self.voxel is None or other.voxel is None:
            return replace(
                total,
                counts=np.add(self.counts, other.counts, dtype=kind),
                delayed=self.delayed + other.delayed,
                variances=self._spread() + other._spread() if weighted else None,
            )
        voxel = np.union1d(self.voxel, other.voxel)
        counts = np.zeros((len(voxel), *self.counts.shape[1:]), kind)
        variances = np.zeros(counts.shape) if weighted else None
        delayed = np.zeros((len(voxel), *self.delayed.shape[1:]), np.uint32)
        for part in (self, other):
            assert part.voxel is not None
            rows = np.searchsorted(voxel, part.voxel)
            counts[rows] += part.counts
            delayed[rows] += part.delayed
            if variances is not None:
                variances[rows] += part._spread()
        return replace(total, voxel=voxel, counts=counts, delayed=delayed, variances=variances)

    def _spread(self) -> NDArray[np.float64]:
        """Return the (V, B) variances of the counts."""
        return self.counts.astype(np.float64) if self.variances is None else self.variances

    def region(self, name: str) -> int:
        """Return the row of region ``name``; `DataError` if there is none."""
        if self.names is None or name not in self.names:
            raise DataError(f"no region {name!r}; there are {', '.join(self.names or ())}")
        return self.names.index(name)


def _type_of(
    counts: NDArray[np.generic], variances: NDArray[np.float64] | None
) -> type[np.generic]:
    """Return the type that counts are kept in; events without weights are whole numbers."""
    given = np.asarray(counts)
    if given.dtype == np.uint16 and variances is None:
        return np.uint16
    if variances is None and (given.dtype.kind != "f" or np.array_equal(given, np.floor(given))):
        return np.uint32
    return np.float64


def _require_not_negative(name: str, values: NDArray[np.generic] | None) -> None:
    given = np.asarray(0 if values is None else values)
    if given.dtype.kind == "u" or not given.size:
        return
    # The smallest is NaN where one of them is.
    if not (given.min() >= 0 and given.max() < np.inf):
        raise DataError(f"{name} must be finite and not negative")
