"""Events and pairs kept for images while chunks go by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.events.values import LifetimeEvents
from psimg.imaging._projector import CUT

BYTES_OF_TRIPLET, _BYTES_OF_PAIR = 28, 24


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Lines:
    """Most likely points on LORs."""

    position_mm: NDArray[np.float32]
    """(N, 3) most likely annihilation point [mm]."""
    direction: NDArray[np.float32]
    """(N, 3) unit vector along the LOR."""
    dt_ns: NDArray[np.float32]
    """(N,) time difference of triplets; (0,) for pairs [ns]."""

    def __post_init__(self) -> None:
        n = len(self.position_mm)
        freeze(
            self,
            position_mm=(np.float32, n, 3),
            direction=(np.float32, n, 3),
            dt_ns=(np.float32, len(self.dt_ns)),
        )

    def __len__(self) -> int:
        return len(self.position_mm)


class LineCollector:
    """List mode of an image while chunks of events come in.

    Kept are lines that reach the grid. Where there are more than ``most``, every second of those
    kept so far is dropped and from then on every second is kept, and so on: an even share, the
    same for any size of chunk.
    """

    IN_WORK = 2.3
    """Times the memory of the lines that sorting them takes at its height."""

    def __init__(self, *, grid: VoxelGrid, sigma_mm: float, most: int | None = None) -> None:
        margin = CUT * sigma_mm
        self._low, self._high = grid.low_mm - margin, grid.high_mm + margin
        self._most = most
        self._every = 1
        self._n = 0
        self._kept = 0
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []

    def add_events(self, events: LifetimeEvents) -> None:
        """Keep the triplets of the prompt window of one chunk.

        Raises
        ------
        DataError
            If the events lack the direction of their LOR.
        """
        if events.direction is None:
            raise DataError(
                "images need the direction of each LOR, and these events have none; give singles "
                "or triplets, or use recon.method = 'histogram'"
            )
        rows = np.concatenate(
            [events.position_mm, events.direction, events.dt_ns[:, None]], axis=1, dtype=np.float32
        )
        self._add(rows[events.window == 0])

    def add_pairs(self, position_mm: NDArray[np.float64], direction: NDArray[np.float64]) -> None:
        """Keep the pairs of one chunk, (N, 3) points [mm] and (N, 3) directions."""
        self._add(np.concatenate([position_mm, direction], axis=1, dtype=np.float32))

    @property
    def share(self) -> float:
        """Share of the lines that is kept."""
        return 1.0 / self._every

    @property
    def n_byte(self) -> int:
        """Memory that an image of what is kept so far will take at its height."""
        width = BYTES_OF_TRIPLET if self._most is None else _BYTES_OF_PAIR
        return int(self.IN_WORK * width * self._kept)

    def lines(self) -> Lines:
        """Return what was kept, and let go of it."""
        n, with_dt = self._kept, self._most is None
        position, direction = np.empty((n, 3), np.float32), np.empty((n, 3), np.float32)
        dt = np.empty(n if with_dt else 0, np.float32)
        at = 0
        self._parts.reverse()
        while self._parts:  # each part's memory is free before the next is copied
            part = self._parts.pop()[0]
            rows = slice(at, at + len(part))
            position[rows], direction[rows] = part[:, :3], part[:, 3:6]
            if with_dt:
                dt[rows] = part[:, 6]
            at += len(part)
        self._kept = 0
        return Lines(position_mm=position, direction=direction, dt_ns=dt)

    def _add(self, rows: NDArray[np.float32]) -> None:
        point = rows[:, :3]
        near = np.all((point > self._low) & (point < self._high), axis=1)
        rows = rows[near]
        number = np.arange(self._n, self._n + len(rows))
        self._n += len(rows)
        keep = number % self._every == 0
        # Only where some will be dropped later does it matter which each is.
        self._parts.append((rows[keep], number[keep] if self._most is not None else number[:0]))
        self._kept += int(np.count_nonzero(keep))
        while self._most is not None and self._kept > self._most:
            self._every *= 2
            self._parts = [
                (part[n % self._every == 0], n[n % self._every == 0]) for part, n in self._parts
            ]
            self._kept = sum(len(part) for part, _ in self._parts)
