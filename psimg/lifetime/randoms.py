"""Random triplets of a run as values: their classes, their shape, and what they do to a fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.spectra.randoms import RandomClasses, SmoothShape

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sideband:
    """The part of a spectrum before the peak, where a flat background can be looked at."""

    stop_ns: float
    """It ends here, well before the peak [ns]."""
    n_events: int
    shape: SmoothShape
    """Shape of its bins; ``p_flat`` is the chance of it if flat."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RandomsSummary:
    """Random triplets of all events in the grid and of each region."""

    names: tuple[str, ...]
    """``all``, and the regions."""
    n_events: tuple[int, ...]
    """Prompt-window events in the spectrum of each."""
    classes: tuple[RandomClasses, ...]
    """Estimates for each; NaN for what no delayed window tells."""
    edges_ns: FloatArray
    """(B+1,) bin edges [ns]."""
    counts: FloatArray
    """(B,) prompt-window events in the grid."""
    delayed: FloatArray
    """(3, B) events per window with the prompt, a photon, and both delayed, in the grid."""
    n_sets: tuple[int, int, int]
    """Number of windows of each kind."""
    truth: NDArray[np.int64] | None
    """(4, B) events in the grid by `Origin`, where a simulation says so."""
    shape: SmoothShape | None
    """Shape of the unrelated randoms; None without delayed prompts."""
    sideband: Sideband | None
    """None where the spectrum has no bins before the peak."""
    signal: float
    """Fitted true events in the grid; NaN where nothing was fitted."""
    tau_ops_ns: float
    """Fitted mean life of all events with the background of the study [ns]."""
    tau_ops_error_ns: float
    tau_ops_four_set_ns: float
    """The same with all classes; NaN where they are not measured [ns]."""
    tau_ops_four_set_error_ns: float

    def __post_init__(self) -> None:
        n_bin = len(self.edges_ns) - 1
        freeze(
            self,
            edges_ns=(np.float64, n_bin + 1),
            counts=(np.float64, n_bin),
            delayed=(np.float64, 3, n_bin),
            truth=(np.int64, 4, n_bin),
        )
        if not len(self.names) == len(self.n_events) == len(self.classes):
            raise DataError(
                f"{len(self.names)} names, {len(self.n_events)} numbers of events and "
                f"{len(self.classes)} estimates; give one of each for every spectrum"
            )

    @property
    def class_2_share(self) -> float:
        """Class II over true triplets; NaN where it is not measured."""
        return self.classes[0].class_2 / self.signal if self.signal > 0 else np.nan
