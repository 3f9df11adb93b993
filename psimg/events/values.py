"""The values between a file and a spectrum: singles, triplets, located events."""

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError


class Origin(IntEnum):
    """What a triplet is made of, where a simulation says so."""

    TRUE = 0
    """Three photons of one decay."""
    CLASS_1 = 1
    """A pair of one decay and the prompt of another."""
    CLASS_2 = 2
    """A prompt and one annihilation photon of one decay, the other photon of another decay."""
    CLASS_3 = 3
    """Three decays."""


class _Rows:
    """Values whose columns have a row each for the same things."""

    __slots__ = ()

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Self:
        """Return the value with these rows only, in the order asked for."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{k: None if c is None else c[rows] for k, c in columns.items()})

    def joined(self, other: Self) -> Self:
        """Return the rows of this value followed by those of ``other``."""
        columns = {}
        for f in fields(self):  # type: ignore[arg-type]
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            missing = mine is None or theirs is None
            columns[f.name] = None if missing else np.concatenate([mine, theirs])
        return type(self)(**columns)


def _require_signal(photons: "Singles | Triplets") -> None:
    """Raise `DataError` where nothing tells annihilation photons from prompts."""
    if photons.energy_kev is None and photons.tot_ns is None:
        raise DataError(
            f"{type(photons).__name__} has neither energy_kev nor tot_ns; give one of them"
        )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Singles(_Rows):
    """Detected photons, one row each."""

    time_ns: NDArray[np.float64]
    """(N,) time since the first single of the acquisition, rising [ns]."""
    position_mm: NDArray[np.float64]
    """(N, 3) detection point, scanner coordinates [mm]."""
    energy_kev: NDArray[np.float64] | None = None
    """(N,) deposited energy; None where only ``tot_ns`` is known [keV]."""
    tot_ns: NDArray[np.float64] | None = None
    """(N,) time over threshold, for scanners without a photopeak [ns]."""
    detector: NDArray[np.int64] | None = None
    """(N,) label of the detector element."""
    decay: NDArray[np.int64] | None = None
    """(N,) truth of a simulation: number of the decay the photon comes from."""

    def __post_init__(self) -> None:
        n = len(self.time_ns)
        freeze(
            self,
            time_ns=(np.float64, n),
            energy_kev=(np.float64, n),
            tot_ns=(np.float64, n),
            position_mm=(np.float64, n, 3),
            detector=(np.int64, n),
            decay=(np.int64, n),
        )
        _require_signal(self)

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Pairs(_Rows):
    """Two annihilation photons in coincidence, one row per pair."""

    time_ns: NDArray[np.float64]
    """(N, 2) detection times [ns]."""
    position_mm: NDArray[np.float64]
    """(N, 2, 3) detection points: pair, photon, coordinate [mm]."""

    def __post_init__(self) -> None:
        n = len(self.time_ns)
        freeze(self, time_ns=(np.float64, n, 2), position_mm=(np.float64, n, 2, 3))

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Triplets(_Rows):
    """Two annihilation photons and one prompt gamma, in that order, one row per triplet."""

    time_ns: NDArray[np.float64]
    """(N, 3) detection times; a delayed prompt's artificial delay is taken off [ns]."""
    position_mm: NDArray[np.float64]
    """(N, 3, 3) detection points: triplet, photon, coordinate [mm]."""
    window: NDArray[np.uint8]
    """(N,) 0 for the prompt window, i for the i-th of the delayed windows."""
    energy_kev: NDArray[np.float64] | None = None
    """(N, 3) deposited energies; None where only ``tot_ns`` is known [keV]."""
    tot_ns: NDArray[np.float64] | None = None
    """(N, 3) times over threshold [ns]."""
    detector: NDArray[np.int64] | None = None
    """(N, 3) labels of the detector elements."""
    decay: NDArray[np.int64] | None = None
    """(N, 3) truth of a simulation: the decay each photon comes from."""

    def __post_init__(self) -> None:
        n = len(self.window)
        freeze(
            self,
            time_ns=(np.float64, n, 3),
            energy_kev=(np.float64, n, 3),
            tot_ns=(np.float64, n, 3),
            position_mm=(np.float64, n, 3, 3),
            window=(np.uint8, n),
            detector=(np.int64, n, 3),
            decay=(np.int64, n, 3),
        )
        _require_signal(self)

    def __len__(self) -> int:
        return len(self.window)

    @property
    def origin(self) -> NDArray[np.uint8] | None:
        """(N,) `Origin` of each triplet; None where truth is unknown."""
        if self.decay is None:
            return None
        first, second, prompt = self.decay.T
        origin = np.full(len(self), Origin.CLASS_3, np.uint8)
        origin[(prompt == first) | (prompt == second)] = Origin.CLASS_2
        origin[first == second] = Origin.CLASS_1
        origin[(first == second) & (prompt == first)] = Origin.TRUE
        return origin


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class LifetimeEvents(_Rows):
    """Annihilation points with their time differences, one row per triplet."""

    position_mm: NDArray[np.float64]
    """(N, 3) most likely annihilation point, scanner coordinates [mm]."""
    dt_ns: NDArray[np.float64]
    """(N,) annihilation time minus prompt emission time, both corrected for flight [ns]."""
    window: NDArray[np.uint8]
    """(N,) 0 for the prompt window, i for the i-th of the delayed windows."""
    direction: NDArray[np.float64] | None = None
    """(N, 3) unit vector along the LOR, from photon 2 to photon 1; None where not recorded."""
    origin: NDArray[np.uint8] | None = None
    """(N,) truth of a simulation: an `Origin` each."""

    def __post_init__(self) -> None:
        n = len(self.dt_ns)
        freeze(
            self,
            position_mm=(np.float64, n, 3),
            dt_ns=(np.float64, n),
            window=(np.uint8, n),
            direction=(np.float64, n, 3),
            origin=(np.uint8, n),
        )

    def __len__(self) -> int:
        return len(self.dt_ns)


def require_energy(singles: Singles) -> NDArray[np.float64]:
    """Return the (N,) energies of singles [keV]; `DataError` where they have times over threshold.

    The timing calibration knows energies only.
    """
    if singles.energy_kev is None:
        raise DataError(
            "the singles have no energy, which a timing calibration needs; map the energy column "
            "(input.columns.energy)"
        )
    return singles.energy_kev
