"""What tells annihilation photons from prompts: energy, or time over threshold in its place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.events.values import Singles, Triplets


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """A measure of what a photon left in its detector."""

    column: str
    """Its column in singles and triplets."""
    role: str
    """Its column in ``[input.columns]``."""
    name: str
    names: str
    unit: str
    annihilation_key: str
    """The option that holds its window for annihilation photons."""
    prompt_key: str
    """The option that holds its window for prompts."""


ENERGY = Signal(
    column="energy_kev",
    role="energy",
    name="energy",
    names="energies",
    unit="keV",
    annihilation_key="annihilation_kev",
    prompt_key="prompt_kev",
)
TOT = Signal(
    column="tot_ns",
    role="tot",
    name="time over threshold",
    names="times over threshold",
    unit="ns",
    annihilation_key="annihilation_tot_ns",
    prompt_key="prompt_tot_ns",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalWindows:
    """A signal and the windows on it. Windows hold both their ends."""

    signal: Signal
    annihilation: tuple[float, float]
    prompt: tuple[float, float]
    """The high end may be infinite."""

    def of(self, photons: Singles | Triplets) -> NDArray[np.float64]:
        """Return the column that the windows look at: (N,) of singles, (N, 3) of triplets.

        Raises
        ------
        DataError
            If the photons do not have it.
        """
        column: NDArray[np.float64] | None = getattr(photons, self.signal.column)
        if column is None:
            other = TOT if self.signal is ENERGY else ENERGY
            raise DataError(
                f"{self.signal.annihilation_key} and {self.signal.prompt_key} look at the "
                f"{self.signal.name}, and the photons have only the {other.name}; set "
                f"{other.annihilation_key} and {other.prompt_key}"
            )
        return column
