"""Data, settings and results of the fits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.maps import FitStatus
from psimg.core.settings import SETTINGS_CONFIG, require_positive
from psimg.lifetime.model import OPS, Gaussian, LifetimeModel, Response
from psimg.spectra.randoms import DelayedSpectrum


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
class SpectrumData:
    """One spectrum and what was measured with it."""

    name: str
    """What tables and messages call it."""
    edges_ns: NDArray[np.float64]
    """(B+1,) rising bin edges [ns]."""
    counts: NDArray[np.float64]
    """(B,) observed events."""
    delayed: DelayedSpectrum | None = None
    """The delayed windows, for the backgrounds that use them."""
    exposure: NDArray[np.float64] | None = None
    """(B,) share of the events that each bin would have seen, of signal and background; 0 takes a
    bin out."""
    template: NDArray[np.float64] | None = None
    """(B,) expected background up to a factor, for ``background = "template"``; sums to one once
    here."""

    def __post_init__(self) -> None:
        n_bin = len(self.counts)
        for name in ("edges_ns", "counts", "exposure", "template"):
            given = getattr(self, name)
            expected = n_bin + (name == "edges_ns")
            if given is not None and np.shape(given) != (expected,):
                raise DataError(
                    f"{self.name}: {name} has shape {np.shape(given)} and there are {n_bin} "
                    f"counts; expected ({expected},)"
                )
        freeze(
            self,
            edges_ns=(np.float64, n_bin + 1),
            counts=(np.float64, n_bin),
            exposure=(np.float64, n_bin),
            template=(np.float64, n_bin),
        )
        if n_bin < 1 or not np.all(np.diff(self.edges_ns) > 0):
            raise DataError(
                f"{self.name}: edges_ns must be two or more rising numbers; sort them, or "
                "make them from the first bin and the step"
            )
        for name in ("counts", "exposure", "template"):
            given = getattr(self, name)
            if given is None:
                continue
            bad = np.flatnonzero(~np.isfinite(given) | (given < 0))
            if len(bad):
                raise DataError(
                    f"{self.name}: {name} must be finite and not negative; bin {bad[0]} holds "
                    f"{given[bad[0]]:g}"
                )
            if name != "counts" and not given.sum() > 0:
                raise DataError(f"{self.name}: the {name} is zero in every bin")
        if self.exposure is not None and self.delayed is not None:
            raise DataError(
                f"{self.name}: an exposure goes with a flat or a template background; delayed "
                "windows would need one of their own"
            )
        if self.template is not None:
            share = self.template / self.template.sum()
            share.flags.writeable = False
            object.__setattr__(self, "template", share)

    @property
    def n_bin(self) -> int:
        """B."""
        return len(self.counts)

    @property
    def centres_ns(self) -> NDArray[np.float64]:
        """(B,) middle of each bin [ns]."""
        return np.asarray(0.5 * (self.edges_ns[1:] + self.edges_ns[:-1]))


@dataclass(frozen=True, eq=False, kw_only=True, slots=True, repr=False)
class SpectrumFit:
    """The fit of one spectrum. Values are NaN where ``status`` says that there are none."""

    data: SpectrumData
    model: LifetimeModel
    parameters: tuple[str, ...]
    """P free parameters."""
    values: NDArray[np.float64]
    """(P,) best values."""
    errors: NDArray[np.float64]
    """(P,) standard errors from the likelihood's second derivative."""
    covariance: NDArray[np.float64]
    """(P, P) covariance; zero rows for parameters that ended on a bound."""
    intervals: NDArray[np.float64]
    """(P, 2) ends of the 68 % intervals by likelihood profile (MINOS); NaN where none was asked
    for or found."""
    intensities: NDArray[np.float64]
    """(K,) share of the sample's positrons in each component; of all positrons for components of
    the source."""
    intensity_errors: NDArray[np.float64]
    """(K,) standard errors; NaN for a component that ended without events."""
    expected: NDArray[np.float64]
    """(K+1, B) expected events of each component, and of all randoms last."""
    class_2: NDArray[np.float64]
    """(B,) prompt-correlated randoms among them; zero unless the background is ``four-set``."""
    on_bounds: tuple[str, ...]
    """Parameters that ended on a bound of their range, and have no error."""
    deviance: float
    """Poisson deviance, the delayed windows' terms and the squared pulls of priors included."""
    ndf: int
    """Data minus free parameters."""
    status: FitStatus

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{name} = {value:.5g} +- {error:.2g}"
            for name, value, error in zip(self.parameters, self.values, self.errors, strict=True)
        )
        return (
            f"SpectrumFit({self.name!r}: {self.status.name.lower()}, {numbers}; deviance "
            f"{self.deviance:.1f} / {self.ndf})"
        )

    def __post_init__(self) -> None:
        n_bin, p, k = self.data.n_bin, len(self.parameters), len(self.model.components)
        freeze(
            self,
            values=(np.float64, p),
            errors=(np.float64, p),
            covariance=(np.float64, p, p),
            intervals=(np.float64, p, 2),
            intensities=(np.float64, k),
            intensity_errors=(np.float64, k),
            expected=(np.float64, k + 1, n_bin),
            class_2=(np.float64, n_bin),
        )

    @property
    def name(self) -> str:
        """Name of the spectrum."""
        return self.data.name

    @property
    def edges_ns(self) -> NDArray[np.float64]:
        """(B+1,) bin edges [ns]."""
        return self.data.edges_ns

    @property
    def counts(self) -> NDArray[np.float64]:
        """(B,) observed events."""
        return self.data.counts

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

    def interval(self, parameter: str) -> tuple[float, float]:
        """Return the ends of a free parameter's 68 % interval by likelihood profile."""
        low, high = self.intervals[self.parameters.index(parameter)]
        return float(low), float(high)

    @property
    def correlation(self) -> NDArray[np.float64]:
        """(P, P) correlation; NaN in the rows of parameters without an error."""
        errors = np.sqrt(np.diag(self.covariance))
        errors[errors == 0] = np.nan
        return np.asarray(self.covariance / np.outer(errors, errors))

    @property
    def response(self) -> Response:
        """The response, its fitted numbers filled in."""

        def number(given: float | None, name: str) -> float:
            return self.value(name) if given is None else given

        given = self.model.response
        return Response(
            mu_ns=number(given.mu_ns, "mu_ns"),
            sigma_ns=number(given.sigma_ns, "sigma_ns"),
            more=tuple(
                Gaussian(
                    weight=number(gaussian.weight, f"weight_{i}"),
                    shift_ns=number(gaussian.shift_ns, f"shift_{i}_ns"),
                    sigma_ns=number(gaussian.sigma_ns, f"sigma_{i}_ns"),
                )
                for i, gaussian in enumerate(given.more, start=2)
            ),
        )

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

    def _fixed(self) -> Mapping[str, float]:
        known = {f"tau_{c.name}_ns": c.tau_ns for c in self.model.components}
        known |= {f"spread_{c.name}": c.spread for c in self.model.components}
        response = self.model.response
        given = {"mu_ns": response.mu_ns, "sigma_ns": response.sigma_ns}
        for i, gaussian in enumerate(response.more, start=2):
            given |= {
                f"weight_{i}": gaussian.weight,
                f"shift_{i}_ns": gaussian.shift_ns,
                f"sigma_{i}_ns": gaussian.sigma_ns,
            }
        return known | {name: value for name, value in given.items() if value is not None}


def calibrated_model(fit: SpectrumFit) -> LifetimeModel:
    """Return the model of a fit with what was calibrated known: response and other mean lives.

    Parameters
    ----------
    fit : SpectrumFit
        A fit of many events.

    Returns
    -------
    LifetimeModel
        The response, and mean lives and spreads other than those of o-Ps, fixed at their fitted
        values. Where the fit has no values, the response is what the model says and the others are
        fixed where they start.
    """
    ok = fit.status == FitStatus.OK
    components = tuple(
        component
        if component.name == OPS
        else replace(
            component,
            tau_ns=fit.value(f"tau_{component.name}_ns") if ok else component.tau_ns,
            spread=fit.value(f"spread_{component.name}") if ok else component.spread,
            free=False,
            spread_free=False,
            prior_ns=None,
        )
        for component in fit.model.components
    )
    return replace(
        fit.model, components=components, response=fit.response if ok else fit.model.response
    )
