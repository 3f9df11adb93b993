"""Fit one spectrum with iminuit: regions, and the calibration of the time response."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.maps import FitStatus
from psimg.lifetime._emg import bin_shares
from psimg.lifetime._likelihood import count_deviance, poisson_deviance
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.values import LifetimeSpectra

if TYPE_CHECKING:
    from iminuit import Minuit

log = logging.getLogger(__name__)

_MU_RANGE_NS = (-5.0, 5.0)
_SIGMA_RANGE_NS = (0.01, 2.0)
_SIGMA_START_NS = 0.1


class _Problem:
    """One spectrum and its model as a function of the free parameters."""

    def __init__(
        self,
        counts: NDArray[np.float64],
        edges_ns: NDArray[np.float64],
        model: LifetimeModel,
        n_delayed: float,
        n_delays: int,
    ) -> None:
        self.counts = counts
        self.edges = edges_ns
        self.model = model
        self.n_delayed = n_delayed
        self.n_delays = n_delays if model.background == "delayed" else 0
        groups, self.link = model.groups
        self.n_group = len(groups)
        self.free_tau = [k for k, c in enumerate(model.components) if c.free]
        self.names = (
            *(f"n_{group}" for group in groups),
            *(f"tau_{model.components[k].name}_ns" for k in self.free_tau),
            "background",
            *(() if model.response.mu_ns is not None else ("mu_ns",)),
            *(() if model.response.sigma_ns is not None else ("sigma_ns",)),
        )
        width = np.diff(edges_ns)
        self.flat = width / width.sum()
        self._shares = np.empty((len(model.components), len(width)))

    def response(self, p: NDArray[np.float64]) -> tuple[float, float]:
        """Return mu and sigma [ns]."""
        known = self.model.response
        mu = known.mu_ns if known.mu_ns is not None else p[self.names.index("mu_ns")]
        sigma = known.sigma_ns if known.sigma_ns is not None else p[self.names.index("sigma_ns")]
        return float(mu), float(sigma)

    def expected(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (K+1, B) expected events per component, and of the background."""
        mu, sigma = self.response(p)
        tau = [c.tau_ns for c in self.model.components]
        for position, k in enumerate(self.free_tau):
            tau[k] = p[self.n_group + position]
        for k, tau_k in enumerate(tau):
            bin_shares(self.edges, tau_k, sigma, mu, self._shares[k])
        events = self.link @ p[: self.n_group]
        background = p[self.n_group + len(self.free_tau)]
        return np.vstack([events[:, None] * self._shares, background * self.flat])

    def deviance(self, p: NDArray[np.float64]) -> float:
        """Return the Poisson deviance, with the delayed windows' total as one more count."""
        # A minimiser may try any number of events; a deviance of infinity turns it back.
        with np.errstate(over="ignore", invalid="ignore"):
            value = poisson_deviance(self.counts, self.expected(p).sum(axis=0))
        if self.n_delays:
            background = p[self.n_group + len(self.free_tau)]
            value += count_deviance(self.n_delayed, self.n_delays * background)
        return float(value)

    def start(self) -> NDArray[np.float64]:
        """Guess the parameters from the spectrum's peak and its part before the peak."""
        centre = 0.5 * (self.edges[1:] + self.edges[:-1])
        mu, sigma = self.model.response.mu_ns, self.model.response.sigma_ns
        if mu is None:
            smooth = np.convolve(self.counts, np.ones(3) / 3, mode="same")
            # The peak of a fast decay lies about its mean life after the shift.
            mu = float(np.clip(centre[np.argmax(smooth)] - 0.1, *_MU_RANGE_NS))
        if sigma is None:
            sigma = _SIGMA_START_NS
        before = self.edges[1:] < mu - 5 * sigma - 0.5
        total = float(self.counts.sum())
        background = 0.2 * total
        if before.any():
            background = float(self.counts[before].sum() / self.flat[before].sum())
        if self.n_delays:
            background = self.n_delayed / self.n_delays
        background = float(np.clip(background, 1.0, max(0.95 * total, 1.0)))
        signal = max(total - background, 1.0)
        shares = [c.intensity or 1 / len(self.model.components) for c in self.model.components]
        amplitude, *_ = np.linalg.lstsq(self.link, np.array(shares), rcond=None)
        amplitude = np.maximum(amplitude, 0.02)
        amplitude *= signal / (self.link @ amplitude).sum()
        start = [*amplitude, *(self.model.components[k].tau_ns for k in self.free_tau), background]
        if self.model.response.mu_ns is None:
            start.append(mu)
        if self.model.response.sigma_ns is None:
            start.append(sigma)
        return np.array(start)

    def limits(self) -> list[tuple[float, float]]:
        """Return the range of each parameter."""
        ranges = [(0.0, np.inf)] * self.n_group
        ranges += [self.model.components[k].bounds_ns for k in self.free_tau]
        ranges.append((0.0, np.inf))
        if self.model.response.mu_ns is None:
            ranges.append(_MU_RANGE_NS)
        if self.model.response.sigma_ns is None:
            ranges.append(_SIGMA_RANGE_NS)
        return ranges


def fit_spectrum(
    counts: NDArray[np.float64],
    edges_ns: NDArray[np.float64],
    *,
    model: LifetimeModel | None = None,
    n_delayed: float = 0.0,
    n_delays: int = 0,
    options: FitOptions | None = None,
    name: str = "spectrum",
) -> SpectrumFit:
    """Fit a lifetime model to one spectrum by Poisson likelihood.

    Parameters
    ----------
    counts : (B,) array
        Observed events per bin.
    edges_ns : (B+1,) array
        Rising bin edges [ns].
    model : LifetimeModel, optional
        Components, intensity rule, response and background.
    n_delayed : float
        Events of the delayed windows within the edges; used by the ``delayed`` background, where
        ``n_delayed ~ Poisson(n_delays * background)`` enters the likelihood.
    n_delays : int
        Number of delayed windows.
    options : FitOptions, optional
        Smallest number of events.
    name : str
        Name of the spectrum in tables.

    Returns
    -------
    SpectrumFit
        Values, errors and a status; the background is the number of random triplets in the
        window of the edges.

    Raises
    ------
    DataError
        If counts are negative or not finite, or fewer than the free parameters.
    SettingsError
        If the model asks for delayed windows and there are none.
    """
    model = model or LifetimeModel()
    options = options or FitOptions()
    counts = np.asarray(counts, dtype=np.float64)
    if counts.shape != (len(edges_ns) - 1,):
        raise DataError(f"{name}: {counts.shape} counts for {len(edges_ns)} edges")
    if not np.all(np.isfinite(counts)) or np.any(counts < 0):
        raise DataError(f"{name}: counts must be finite and not negative")
    if model.background == "delayed" and n_delays < 1:
        raise SettingsError(
            f"{name}: background = 'delayed' needs delayed windows and there are none; set "
            "select.delays_ns, or use background = 'flat'"
        )
    problem = _Problem(counts, np.asarray(edges_ns, dtype=np.float64), model, n_delayed, n_delays)
    if len(counts) <= len(problem.names):
        raise DataError(
            f"{name}: {len(counts)} bins cannot fix {len(problem.names)} free parameters; use "
            "narrower bins"
        )
    if counts.sum() < options.min_counts:
        return _no_fit(problem, name, FitStatus.TOO_FEW_COUNTS)
    minuit = _minimise(problem)
    if not (minuit.valid and minuit.accurate):
        return _no_fit(problem, name, FitStatus.NOT_CONVERGED)
    return _read(problem, minuit, name)


def _minimise(problem: _Problem) -> "Minuit":
    """Run Migrad, put parameters that ended on a bound exactly there, and run Hesse."""
    from iminuit import Minuit

    start = problem.start()
    minuit = Minuit(problem.deviance, start, name=problem.names)
    minuit.errordef = Minuit.LEAST_SQUARES  # the deviance rises by one at one standard error
    minuit.limits = problem.limits()
    minuit.errors = np.where(
        start > 10, np.sqrt(np.maximum(start, 1.0)), 0.05 + 0.05 * np.abs(start)
    )
    minuit.migrad(ncall=5000)
    for parameter in problem.names:
        empty = parameter.startswith("n_") or parameter == "background"
        if empty and minuit.values[parameter] < 1e-2:
            minuit.values[parameter] = 0.0
            minuit.fixed[parameter] = True
    minuit.migrad(ncall=5000)
    # Limits bend the parameters that Hesse differentiates in, and have done their work by now.
    if minuit.valid:
        minuit.limits = [(-np.inf, np.inf)] * len(problem.names)
    minuit.strategy = 2  # the default leaves errors good to some percent only
    minuit.hesse()
    return minuit


def _at_bound(problem: _Problem, values: NDArray[np.float64]) -> bool:
    """Whether the o-Ps lifetime means nothing.

    It does on a bound, without events in o-Ps, and without events in anything else: o-Ps has taken
    them over then, and its lifetime comes out short with an error that is far too small.
    """
    for position, k in enumerate(problem.free_tau):
        tau = values[problem.n_group + position]
        low, high = problem.model.components[k].bounds_ns
        if tau - low < 1e-3 * low or high - tau < 1e-3 * high:
            return True
    carries_ops = problem.link[problem.model.ops] > 0
    amplitude = values[: problem.n_group]
    others = amplitude[~carries_ops]
    return bool(amplitude[carries_ops].sum() <= 0 or (len(others) and others.sum() <= 0))


def _read(problem: _Problem, minuit: "Minuit", name: str) -> SpectrumFit:
    values = np.array(minuit.values)
    free = ~np.array(minuit.fixed)
    covariance = np.array(minuit.covariance)
    events = problem.link @ values[: problem.n_group]
    intensities = events / events.sum()
    # dI_k/da = (L_ka - I_k sum_j L_ja) / sum of events
    jacobian = (problem.link - np.outer(intensities, problem.link.sum(axis=0))) / events.sum()
    block = covariance[: problem.n_group, : problem.n_group]
    variance = np.einsum("ka,ab,kb->k", jacobian, block, jacobian)
    at_bound = _at_bound(problem, values)
    errors = np.where(free, np.sqrt(np.diag(covariance)), np.nan)
    expected = problem.expected(values)
    if at_bound:
        tau = slice(problem.n_group, problem.n_group + len(problem.free_tau))
        values[tau] = errors[tau] = np.nan
        intensities = np.full_like(intensities, np.nan)
        variance = np.full_like(variance, np.nan)
    return SpectrumFit(
        name=name,
        model=problem.model,
        edges_ns=problem.edges,
        counts=problem.counts,
        parameters=problem.names,
        values=values,
        errors=errors,
        covariance=covariance,
        intensities=intensities,
        intensity_errors=np.sqrt(np.maximum(variance, 0.0)),
        expected=expected,
        deviance=float(minuit.fval),
        ndf=len(problem.counts) + (problem.n_delays > 0) - int(free.sum()),
        status=FitStatus.AT_BOUND if at_bound else FitStatus.OK,
    )


def _no_fit(problem: _Problem, name: str, status: FitStatus) -> SpectrumFit:
    p, k = len(problem.names), len(problem.model.components)
    return SpectrumFit(
        name=name,
        model=problem.model,
        edges_ns=problem.edges,
        counts=problem.counts,
        parameters=problem.names,
        values=np.full(p, np.nan),
        errors=np.full(p, np.nan),
        covariance=np.full((p, p), np.nan),
        intensities=np.full(k, np.nan),
        intensity_errors=np.full(k, np.nan),
        expected=np.full((k + 1, len(problem.counts)), np.nan),
        deviance=np.nan,
        ndf=len(problem.counts) + (problem.n_delays > 0) - p,
        status=status,
    )


def fit_regions(
    spectra: LifetimeSpectra,
    *,
    model: LifetimeModel | None = None,
    options: FitOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SpectrumFit, ...]:
    """Fit the spectrum of each region.

    Parameters
    ----------
    spectra : LifetimeSpectra
        Spectra of named regions.
    model : LifetimeModel, optional
        The same model for all; a response that is not known is fitted in each region.
    options : FitOptions, optional
        Smallest number of events.
    progress : callable, optional
        Called as ``progress(regions_done, regions_total)``.

    Returns
    -------
    tuple of SpectrumFit
        One per region, in the order of ``spectra.names``.
    """
    if spectra.names is None:
        raise DataError("these spectra are of voxels; fit them with fit_voxels")
    fits = []
    for row, name in enumerate(spectra.names):
        fit = fit_spectrum(
            spectra.counts[row],
            spectra.edges_ns,
            model=model,
            n_delayed=float(spectra.delayed[row, 0].sum()),
            n_delays=spectra.n_sets[0],
            options=options,
            name=name,
        )
        fits.append(fit)
        if progress is not None:
            progress(row + 1, len(spectra))
    n_ok = sum(fit.status == FitStatus.OK for fit in fits)
    log.info("regions: %d fitted, %d without a value", n_ok, len(fits) - n_ok)
    return tuple(fits)


def calibrate_response(
    spectra: LifetimeSpectra,
    *,
    model: LifetimeModel,
    row: int = 0,
    options: FitOptions | None = None,
) -> SpectrumFit:
    """Fit the time response to one spectrum of many events, for use in all others.

    The spectrum may mix several o-Ps lifetimes: with the ``ps-ratio`` rule, mixing 1.5 and 3.2 ns
    moves mu and sigma by less than a picosecond (see the tests).

    Parameters
    ----------
    spectra : LifetimeSpectra
        Spectra of regions, one of them of all events.
    model : LifetimeModel
        The model, with the unknown parts of its response None.
    row : int
        The spectrum to use.
    options : FitOptions, optional
        Smallest number of events.

    Returns
    -------
    SpectrumFit
        Its ``value("mu_ns")`` and ``value("sigma_ns")`` are the response, for
        `LifetimeModel.with_response`.
    """
    return fit_spectrum(
        spectra.counts[row],
        spectra.edges_ns,
        model=model,
        n_delayed=float(spectra.delayed[row, 0].sum()),
        n_delays=spectra.n_sets[0],
        options=options,
        name="calibration",
    )
