"""What a simulation is of, and what it gives."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.isotopes import Isotope
from psimg.core.settings import require_positive
from psimg.events.values import Singles
from psimg.simulate.detector import Detector
from psimg.simulate.phantom import Phantom
from psimg.simulate.physics import Physics


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Acquisition:
    """What is to be simulated."""

    phantom: Phantom
    isotope: Isotope
    detector: Detector
    duration_s: float
    """Length of the scan [s]."""
    activity_mbq: float | None = None
    """Activity of the phantom at the start, divided as its parts' activities are; the sum of these
    when left out [MBq]."""
    physics: Physics = field(default_factory=Physics)

    def __post_init__(self) -> None:
        require_positive("duration_s", self.duration_s)
        if self.activity_mbq is not None:
            require_positive("activity_mbq", self.activity_mbq)
        reach, inner = self.phantom.reach_mm, self.detector.inner_radius_mm
        if reach > inner:
            raise SettingsError(
                f"the phantom reaches {reach:.4g} mm from the axis, into the detectors, which "
                f"begin at {inner:.4g} mm; make it smaller"
            )
        activities = self.phantom.activities_mbq()
        if not activities.sum() > 0:
            raise SettingsError(
                "no part of the phantom has activity; give a region activity_mbq or activity_kbq_ml"
            )
        for i, region in enumerate(self.phantom.regions):
            wanted = activities[i + (self.phantom.voxels is not None)]
            if wanted > 0 and not self.phantom.visible_ml(i) > 0:
                raise SettingsError(
                    f"region {region.name!r} has activity, and lies wholly inside later regions; "
                    "name it after them"
                )
        voxels = self.phantom.voxels
        if voxels is not None and voxels.activity_mbq > 0 and not self.phantom.sees_voxels():
            raise SettingsError(
                f"voxel phantom {voxels.name!r} has activity, and regions cover all of it; leave "
                "its activity out, or the regions"
            )

    @property
    def total_mbq(self) -> float:
        """Activity at the start of the scan [MBq]."""
        if self.activity_mbq is not None:
            return self.activity_mbq
        return float(self.phantom.activities_mbq().sum())

    @property
    def expected_decays(self) -> float:
        """Mean number of the isotope's decays in the scan."""
        return self.isotope.decays(self.total_mbq, self.duration_s)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Decays:
    """The truth of each decay, one row per decay, in the order of their numbers."""

    number: NDArray[np.int64]
    """(N,) number of the decay, as in ``Singles.decay``."""
    time_ns: NDArray[np.float64]
    """(N,) when the positron and the prompt gamma were emitted [ns]."""
    life_ns: NDArray[np.float64]
    """(N,) how long the positron lived, slowing down included; NaN without one [ns]."""
    emission_mm: NDArray[np.float32]
    """(N, 3) where the nucleus decayed [mm]."""
    annihilation_mm: NDArray[np.float32]
    """(N, 3) where the positron annihilated; NaN without one [mm]."""
    region: NDArray[np.int16]
    """(N,) index into ``Phantom.names`` of where it annihilated; -1 for 176Lu."""
    channel: NDArray[np.uint8]
    """(N,) index into the region's channels; 253 in flight, 254 no positron, 255 176Lu."""
    scatters: NDArray[np.uint8]
    """(N, 3) scatters in the phantom of the two annihilation photons, and of all gammas."""

    def __post_init__(self) -> None:
        n = len(self.number)
        freeze(
            self,
            number=(np.int64, n),
            time_ns=(np.float64, n),
            life_ns=(np.float64, n),
            emission_mm=(np.float32, n, 3),
            annihilation_mm=(np.float32, n, 3),
            region=(np.int16, n),
            channel=(np.uint8, n),
            scatters=(np.uint8, n, 3),
        )

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Simulated:
    """A piece of an acquisition: singles in time order, and the truth of decays.

    A late single can be of a decay in an earlier piece.
    """

    singles: Singles
    decays: Decays
