"""What a report shows, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import ParameterMaps
from psimg.core.regions import Region
from psimg.core.stage import Stage
from psimg.events.signal import SignalWindows
from psimg.events.windows import Window
from psimg.lifetime.randoms import RandomsSummary
from psimg.lifetime.values import SpectrumFit
from psimg.spectra.signal import SignalSpectrum


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFile:
    """One input file."""

    name: str
    format: str
    content: str
    sha256: str


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ReportContent:
    """Everything on the page. Names come from users and files: the page escapes them."""

    title: str
    isotope: str | None
    version: str
    """Version of psimg."""
    created: str
    """Date and time of the run."""
    files: Sequence[ReportFile]
    settings: Mapping[str, Any]
    """The study's settings as used, nested by section."""
    stages: Sequence[Stage]
    counts: Mapping[str, int]
    """The counts of ``summary.json``."""
    seconds: Mapping[str, float]
    """Wall time by stage [s]."""
    warnings: Sequence[str]
    signals: SignalSpectrum | None
    """Energies or times over threshold of the singles; None where the files hold none."""
    signal_windows: SignalWindows
    """The windows that tell annihilation photons from prompts."""
    calibration: SpectrumFit
    """The fit of all events that gave the time response."""
    randoms: RandomsSummary
    """Random triplets of all events in the grid and of each region."""
    windows: Sequence[Window]
    """The prompt window and the delayed ones."""
    fits: Sequence[SpectrumFit]
    """The fit of each region."""
    p_values: Sequence[float]
    """Chance of a larger deviance of each, if its model is true; NaN without a fit."""
    regions: Sequence[Region]
    """Where the regions are; may be empty."""
    maps: ParameterMaps
    counts_image: NDArray[np.uint32]
    """(nx, ny, nz) events per voxel."""
