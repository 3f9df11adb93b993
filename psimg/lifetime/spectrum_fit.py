"""Fit one spectrum with iminuit: regions, and the calibration of the time response."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.lifetime._emg import bin_shares
from psimg.lifetime._likelihood import count_deviance, poisson_deviance
from psimg.lifetime.correlated import Shifts, measure_shifts, n_shift_bins, wider_edges
from psimg.lifetime.model import LifetimeModel, require_windows
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.randoms import DelayedSpectrum, flat_shape
from psimg.spectra.values import LifetimeSpectra

if TYPE_CHECKING:
    from iminuit import Minuit

log = logging.getLogger(__name__)

_MU_RANGE_NS = (-5.0, 5.0)
_SIGMA_RANGE_NS = (0.01, 2.0)
_SIGMA_START_NS = 0.1
_N_TURN = 3
"""Turns of lifetimes and shifts; the shifts make up for what the lifetimes lack at first."""


class _Problem:
    """One spectrum and its model as a function of the free parameters."""

    def __init__(
        self,
        counts: NDArray[np.float64],
        edges_ns: NDArray[np.float64],
        model: LifetimeModel,
        delayed: DelayedSpectrum | None,
    ) -> None:
        self.counts = counts
        self.edges = edges_ns
        self.model = model
        # A flat background takes no word from delayed windows.
        self.delayed = delayed if model.background != "flat" else None
        self.with_class_2 = model.background == "four-set"
        groups, self.link = model.groups
        self.n_group = len(groups)
        self.free_tau = [k for k, c in enumerate(model.components) if c.free]
        self.names = (
            *(f"n_{group}" for group in groups),
            *(f"tau_{model.components[k].name}_ns" for k in self.free_tau),
            "background",
            *(() if model.response.mu_ns is not None else ("mu_ns",)),
            *(() if model.response.sigma_ns is not None else ("sigma_ns",)),
            *(("class_2", "class_3") if self.with_class_2 else ()),
        )
        self.shape = flat_shape(edges_ns) if self.delayed is None else self.delayed.shape
        self.n_beyond = n_shift_bins(edges_ns) if self.with_class_2 else 0
        self.wide_edges = wider_edges(edges_ns) if self.with_class_2 else edges_ns
        self.shifts: Shifts | None = None
        self._shares = np.empty((len(model.components), len(self.wide_edges) - 1))

    @property
    def n_datum(self) -> int:
        """Numbers that the likelihood compares with expectations."""
        if self.delayed is None:
            return len(self.counts)
        return len(self.counts) + 1 + (len(self.counts) + 1 if self.with_class_2 else 0)

    def response(self, p: NDArray[np.float64]) -> tuple[float, float]:
        """Return mu and sigma [ns]."""
        known = self.model.response
        mu = known.mu_ns if known.mu_ns is not None else p[self.names.index("mu_ns")]
        sigma = known.sigma_ns if known.sigma_ns is not None else p[self.names.index("sigma_ns")]
        return float(mu), float(sigma)

    def level(self, p: NDArray[np.float64]) -> float:
        """Return the number of unrelated randoms, of classes I and III."""
        return float(p[self.n_group + len(self.free_tau)])

    def signal(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (K, B + 2 R) true events of each component, R bins beyond the spectrum's ends."""
        mu, sigma = self.response(p)
        tau = [c.tau_ns for c in self.model.components]
        for position, k in enumerate(self.free_tau):
            tau[k] = p[self.n_group + position]
        for k, tau_k in enumerate(tau):
            bin_shares(self.wide_edges, tau_k, sigma, mu, self._shares[k])
        events = self.link @ p[: self.n_group]
        return np.asarray(events[:, None] * self._shares)

    def expected(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (K+2, B) expected events per component, unrelated randoms, and class II."""
        signal = self.signal(p)
        inside = signal[:, self.n_beyond : signal.shape[1] - self.n_beyond]
        class_2 = np.zeros(len(self.counts))
        if self.shifts is not None:
            class_2 = p[-2] * self.shifts.spread(signal.sum(axis=0))
        return np.vstack([inside, self.level(p) * self.shape, class_2])

    def deviance(self, p: NDArray[np.float64]) -> float:
        """Return the Poisson deviance of the spectrum and of the delayed windows."""
        # A minimiser may try any number of events; a deviance of infinity turns it back.
        with np.errstate(over="ignore", invalid="ignore"):
            expected = self.expected(p)
            value = poisson_deviance(self.counts, expected.sum(axis=0))
            if self.delayed is not None:
                n_prompt, n_photon, n_both = self.delayed.n_sets
                value += count_deviance(self.delayed.prompt.sum(), n_prompt * self.level(p))
                if self.with_class_2:
                    class_3 = p[-1]
                    in_photon = n_photon * (expected[-1] + 2.0 * class_3 * self.shape)
                    value += poisson_deviance(self.delayed.photon, in_photon)
                    value += count_deviance(self.delayed.both.sum(), 2.0 * n_both * class_3)
        return float(value)

    def measure_shifts(self, p: NDArray[np.float64]) -> None:
        """Fit the shifts of class II to the windows with a photon delayed, for these lifetimes."""
        assert self.delayed is not None
        self.shifts = measure_shifts(self.delayed, self.edges, self.signal(p).sum(axis=0))

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
            background = float(self.counts[before].sum() / self.shape[before].sum())
        if self.delayed is not None:
            background = self.delayed.prompt.sum() / self.delayed.n_sets[0]
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
        if self.with_class_2:
            assert self.delayed is not None
            _, n_photon, n_both = self.delayed.n_sets
            class_3 = 0.5 * self.delayed.both.sum() / n_both
            class_2 = self.delayed.photon.sum() / n_photon - 2.0 * class_3
            start += [max(class_2, 1.0), max(class_3, 1.0)]
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
        if self.with_class_2:
            ranges += [(0.0, np.inf)] * 2
        return ranges


def fit_spectrum(
    counts: NDArray[np.float64],
    edges_ns: NDArray[np.float64],
    *,
    model: LifetimeModel | None = None,
    delayed: DelayedSpectrum | None = None,
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
    delayed : DelayedSpectrum, optional
        The delayed windows. With the ``delayed`` background, their P events with the prompt
        delayed enter the likelihood as ``P ~ Poisson(n_sets background)``, and the background has
        their shape. With ``four-set``, so do the bins of the windows with a photon delayed, which
        hold class II and twice class III, and the total of those with both delayed.
    options : FitOptions, optional
        Smallest number of events.
    name : str
        Name of the spectrum in tables.

    Returns
    -------
    SpectrumFit
        Values, errors and a status. ``background`` is the number of random triplets within the
        edges whose prompt is unrelated, ``class_2`` that of the prompt-correlated ones and
        ``class_3`` those of ``background`` that are three unrelated photons.

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
    require_windows(model, (0, 0, 0) if delayed is None else delayed.n_sets, where=f"{name}: ")
    problem = _Problem(counts, np.asarray(edges_ns, dtype=np.float64), model, delayed)
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
    """Minimise; with class II in turns with the shifts, which follow the fitted lifetimes."""
    start = problem.start()
    if not problem.with_class_2:
        return _migrad(problem, start)
    for _ in range(_N_TURN):
        problem.measure_shifts(start)
        minuit = _migrad(problem, start)
        if not minuit.valid:
            break
        start = np.array(minuit.values)
    return minuit


def _migrad(problem: _Problem, start: NDArray[np.float64]) -> "Minuit":
    """Run Migrad, put parameters that ended on a bound exactly there, and run Hesse."""
    from iminuit import Minuit

    minuit = Minuit(problem.deviance, start, name=problem.names)
    minuit.errordef = Minuit.LEAST_SQUARES  # the deviance rises by one at one standard error
    minuit.limits = problem.limits()
    minuit.errors = np.where(
        start > 10, np.sqrt(np.maximum(start, 1.0)), 0.05 + 0.05 * np.abs(start)
    )
    minuit.migrad(ncall=5000)
    for parameter in problem.names:
        empty = parameter.startswith(("n_", "class_")) or parameter == "background"
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
        expected=np.vstack([expected[:-2], expected[-2:].sum(axis=0)]),
        class_2=expected[-1],
        deviance=float(minuit.fval),
        ndf=problem.n_datum - int(free.sum()),
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
        class_2=np.full(len(problem.counts), np.nan),
        deviance=np.nan,
        ndf=problem.n_datum - p,
        status=status,
    )


def fit_regions(
    spectra: LifetimeSpectra,
    *,
    model: LifetimeModel | None = None,
    shape: NDArray[np.float64] | None = None,
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
    shape : (B,) array, optional
        Shares of the unrelated randoms in each bin, from `measure_shape`; flat when left out.
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
            delayed=DelayedSpectrum.of(spectra, row, shape=shape),
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
    shape: NDArray[np.float64] | None = None,
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
    shape : (B,) array, optional
        Shares of the unrelated randoms in each bin; flat when left out.
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
        delayed=DelayedSpectrum.of(spectra, row, shape=shape),
        options=options,
        name="calibration",
    )
