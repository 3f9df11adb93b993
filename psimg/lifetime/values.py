"""Settings and results of the fits."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.maps import FitStatus
from psimg.core.settings import SETTINGS_CONFIG, require_positive
from psimg.lifetime.model import OPS, LifetimeModel


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """Settings of the fits."""

    method: Literal["likelihood"] = "likelihood"
    """Poisson maximum likelihood on bin-integrated expectations."""
    min_counts: int = 50
    """Voxels and regions with fewer events in the spectrum are not fitted."""
    max_iter: int = 100
    """Largest number of steps per voxel."""
    intervals: Literal["hesse", "profile"] = "hesse"
    """``profile``: also the two mean lives of o-Ps in each voxel at which the deviance, lowest in
    all else, has risen by ``interval_rise``."""
    interval_rise: float = 1.0
    """Rise of the deviance at the ends of an interval: 1 for 68 %, 3.841 for 95 %."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        for name in ("min_counts", "max_iter"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: expected 1 or more")
        require_positive("interval_rise", self.interval_rise)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SpectrumFit:
    """The fit of one spectrum. Values are NaN where ``status`` says that there are none."""

    name: str
    model: LifetimeModel
    edges_ns: NDArray[np.float64]
    """(B+1,) bin edges [ns]."""
    counts: NDArray[np.float64]
    """(B,) observed events."""
    parameters: tuple[str, ...]
    """P free parameters."""
    values: NDArray[np.float64]
    """(P,) best values."""
    errors: NDArray[np.float64]
    """(P,) standard errors from the likelihood's second derivative."""
    covariance: NDArray[np.float64]
    """(P, P) covariance; zero rows for parameters that ended on a bound."""
    intensities: NDArray[np.float64]
    """(K,) share of the positrons in each component of the model."""
    intensity_errors: NDArray[np.float64]
    """(K,) standard errors."""
    expected: NDArray[np.float64]
    """(K+1, B) expected events of each component, and of all randoms last."""
    class_2: NDArray[np.float64]
    """(B,) prompt-correlated randoms among them; zero unless the background is ``four-set``."""
    deviance: float
    """Poisson deviance, the delayed windows' terms included."""
    ndf: int
    """Data minus free parameters."""
    status: FitStatus

    def __post_init__(self) -> None:
        n_bin, p, k = len(self.edges_ns) - 1, len(self.parameters), len(self.model.components)
        freeze(
            self,
            edges_ns=(np.float64, n_bin + 1),
            counts=(np.float64, n_bin),
            values=(np.float64, p),
            errors=(np.float64, p),
            covariance=(np.float64, p, p),
            intensities=(np.float64, k),
            intensity_errors=(np.float64, k),
            expected=(np.float64, k + 1, n_bin),
            class_2=(np.float64, n_bin),
        )

    def value(self, parameter: str) -> float:
        """Return the best value of a parameter, or what the model fixes it to."""
        if parameter in self.parameters:
            return float(self.values[self.parameters.index(parameter)])
        return self._fixed()[parameter]

    def error(self, parameter: str) -> float:
        """Return the standard error of a parameter; 0 where the model fixes it."""
        if parameter in self.parameters:
            return float(self.errors[self.parameters.index(parameter)])
        self._fixed()[parameter]
        return 0.0

    @property
    def tau_ops_ns(self) -> float:
        """Mean life of o-Ps [ns]."""
        return self.value(f"tau_{OPS}_ns")

    @property
    def tau_ops_error_ns(self) -> float:
        """Standard error of the mean life of o-Ps [ns]."""
        return self.error(f"tau_{OPS}_ns")

    @property
    def intensity_ops(self) -> float:
        """Share of positrons that annihilate from o-Ps."""
        return float(self.intensities[self.model.ops])

    @property
    def intensity_ops_error(self) -> float:
        """Standard error of `intensity_ops`."""
        return float(self.intensity_errors[self.model.ops])

    @property
    def n_events(self) -> int:
        """Events in the spectrum."""
        return int(self.counts.sum())

    @property
    def background_fraction(self) -> float:
        """Share of random triplets among the events expected in the spectrum."""
        return float(self.expected[-1].sum() / self.expected.sum())

    @property
    def is_poor(self) -> bool:
        """Whether the model does not describe the spectrum; False where nothing was fitted.

        The deviance of bins that expect one or two events is up to 1.2 a bin; beyond that, five of
        its standard deviations ``sqrt(2 ndf)`` are no chance.
        """
        return self.deviance > 1.2 * self.ndf + 5.0 * math.sqrt(2.0 * self.ndf)

    def _fixed(self) -> dict[str, float]:
        known = {f"tau_{c.name}_ns": c.tau_ns for c in self.model.components}
        response = self.model.response
        if response.mu_ns is not None:
            known["mu_ns"] = response.mu_ns
        if response.sigma_ns is not None:
            known["sigma_ns"] = response.sigma_ns
        return known
