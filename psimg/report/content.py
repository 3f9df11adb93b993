"""What a report shows, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus, ParameterMaps
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRegion:
    """One region as the likelihood of regions sees it; NaN where there is no value."""

    name: str
    n_triplets: float
    tau_ops_ns: float
    tau_ops_error_ns: float
    intensity_ops: float
    intensity_ops_error: float
    background_fraction: float
    status: FitStatus


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ReportRecon:
    """How an image was made that is no histogram."""

    method: str
    """A name of ``[recon]``."""
    n_triplets: int
    """Triplets whose lines reach the grid."""
    iterations: int
    """Passes over them."""
    subsets: int
    activity: str
    """``pairs``, ``triplets`` or the name of a file."""
    activity_iterations: int
    activity_subsets: int
    n_pairs: int
    pair_share: float
    """Share of the pairs that was kept."""
    sensitivity: str
    """``uniform``, ``geometric`` or the name of a file."""
    n_unrelated: float
    """Randoms with a prompt of another decay, expected beforehand."""
    n_class_2: float
    random_scale: float | None
    """Factor on the former that was found; None where none was looked for."""
    replicates: int
    """Of the bootstrap that the errors are from; 0 without one."""
    min_counts: float
    """True triplets below which a voxel or region gets no lifetime."""
    trace: NDArray[np.float64]
    """(I,) log-likelihood after each pass, up to a constant."""
    triplets_image: NDArray[np.float32]
    """(nx, ny, nz) true triplets expected of each voxel."""
    regions: Sequence[ReportRegion] = ()
    """For the likelihood of regions."""


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
    """(nx, ny, nz) events located in each voxel."""
    recon: ReportRecon | None = None
    """How the maps were made, where they are not of these events."""
