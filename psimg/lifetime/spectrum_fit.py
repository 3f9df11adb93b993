"""Fit one spectrum with iminuit: regions, and the calibration of the time response."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.lifetime.likelihood import Minimum, minimise, profile_intervals
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.problem import SpectrumProblem
from psimg.lifetime.values import FitOptions, SpectrumData, SpectrumFit
from psimg.spectra.randoms import DelayedSpectrum
from psimg.spectra.values import LifetimeSpectra

log = logging.getLogger(__name__)

_N_TURN = 3
"""Turns of lifetimes and shifts; the shifts make up for what the lifetimes lack at first."""


def fit_spectrum(
    counts: NDArray[np.float64],
    edges_ns: NDArray[np.float64],
    *,
    model: LifetimeModel | None = None,
    delayed: DelayedSpectrum | None = None,
    exposure: NDArray[np.float64] | None = None,
    template: NDArray[np.float64] | None = None,
    start: Mapping[str, float] | None = None,
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
    exposure : (B,) array, optional
        Share of the events that each bin would have seen; a bin of 0 is left out. Not together
        with delayed windows.
    template : (B,) array, optional
        Expected background up to a factor, for the ``template`` background.
    start : mapping, optional
        Where to start parameters, by name, instead of an automatic guess.
    options : FitOptions, optional
        Smallest number of events, and whether to look for profile intervals.
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
        If counts are negative or not finite, edges do not rise, bins are not more than the free
        parameters, or the response is wider than the spectrum.
    SettingsError
        If the model asks for delayed windows or a template and there are none, or ``start`` names
        a parameter that the model does not have.
    """
    data = SpectrumData(
        name=name, edges_ns=np.asarray(edges_ns, np.float64),
        counts=np.asarray(counts, np.float64), delayed=delayed, exposure=exposure,
        template=template,
    )  # fmt: skip
    return fit_data(data, model=model, start=start, options=options)


def fit_data(
    data: SpectrumData,
    *,
    model: LifetimeModel | None = None,
    start: Mapping[str, float] | None = None,
    options: FitOptions | None = None,
) -> SpectrumFit:
    """Fit a lifetime model to a spectrum; as `fit_spectrum`."""
    options = options or FitOptions()
    problem = SpectrumProblem(data, model or LifetimeModel())
    if data.counts.sum() < options.min_counts:
        return no_fit(problem, FitStatus.TOO_FEW_COUNTS)
    minimum = _fit_in_turns(problem, problem.start(start))
    # Further Gaussians may take more than there is: then the response is none.
    if not minimum.valid or not problem.response(minimum.values)[0, 0] > 0:
        return no_fit(problem, FitStatus.NOT_CONVERGED)
    intervals = profile_intervals(minimum, problem) if options.intervals == "profile" else None
    return read_fit(problem, minimum.values, minimum.covariance, minimum.free, intervals)


def _fit_in_turns(problem: SpectrumProblem, start: NDArray[np.float64]) -> Minimum:
    """Minimise; with class II in turns with the shifts, which follow the fitted lifetimes."""
    if not problem.with_class_2:
        return minimise(problem, start)
    for _ in range(_N_TURN):
        problem.measure_shifts(start)
        minimum = minimise(problem, start)
        if not minimum.valid:
            break
        start = minimum.values
    return minimum


def _on_bounds(
    problem: SpectrumProblem, values: NDArray[np.float64], free: NDArray[np.bool_]
) -> tuple[str, ...]:
    """Return the parameters on a bound: events at zero, mean lives and widths at an end."""
    found = []
    for i, (name, (low, high)) in enumerate(zip(problem.names, problem.limits(), strict=True)):
        margin = 1e-3 * low if name.startswith(("tau_", "sigma_")) else 1e-6 * (high - low)
        inside = low + margin < values[i] < high - margin if np.isfinite(high) else free[i]
        if not inside and not name.startswith(("weight_", "shift_", "spread_")):
            found.append(name)
    return tuple(found)


def _means_nothing(problem: SpectrumProblem, on_bounds: tuple[str, ...]) -> bool:
    """Whether the o-Ps lifetime means nothing.

    It does where a mean life, or the first Gaussian of the response, is on a bound; without events
    in o-Ps; and without events in anything else: o-Ps has taken them over then, and its lifetime
    comes out short with an error that is far too small.
    """
    if any(name.startswith(("tau_", "mu_", "sigma_ns")) for name in on_bounds):
        return True
    if not problem.model.has_ops:
        return False
    carries_ops = problem.link[problem.model.ops] > 0
    empty = np.array([name in on_bounds for name in problem.names[: problem.n_group]])
    return bool(
        empty[carries_ops].all() or (len(empty[~carries_ops]) and empty[~carries_ops].all())
    )


def read_fit(
    problem: SpectrumProblem,
    values: NDArray[np.float64],
    covariance: NDArray[np.float64],
    free: NDArray[np.bool_],
    intervals: NDArray[np.float64] | None = None,
) -> SpectrumFit:
    """Turn a minimum into a `SpectrumFit`.

    Parameters
    ----------
    problem : SpectrumProblem
        What was minimised.
    values : (P,) array
        The minimum.
    covariance : (P, P) array
        Covariance, zero where a parameter is not free.
    free : (P,) array of bool
        Parameters that did not end on a bound.
    intervals : (P, 2) array, optional
        Profile intervals.
    """
    values, n_group = values.copy(), problem.n_group
    intensities, jacobian = _intensities(problem, values)
    variance = np.einsum("ka,ab,kb->k", jacobian, covariance[:n_group, :n_group], jacobian)
    on_bounds = _on_bounds(problem, values, free)
    at_bound = _means_nothing(problem, on_bounds)
    errors = np.where(free, np.sqrt(np.diag(covariance)), np.nan)
    expected, deviance = problem.expected(values), problem.deviance(values)
    intervals = np.full((len(values), 2), np.nan) if intervals is None else intervals
    empty = problem.link @ ~free[:n_group] > 0
    variance[empty & (intensities <= 0)] = np.nan
    if at_bound:
        tau = slice(n_group, n_group + len(problem.free_tau))
        values[tau] = errors[tau] = intervals[tau] = np.nan
        intensities = np.full_like(intensities, np.nan)
        variance = np.full_like(variance, np.nan)
    return SpectrumFit(
        data=problem.data,
        model=problem.model,
        parameters=problem.names,
        values=values,
        errors=errors,
        covariance=covariance,
        intervals=intervals,
        intensities=intensities,
        intensity_errors=np.sqrt(np.where(variance < 0.0, 0.0, variance)),
        expected=np.vstack([expected[:-2], expected[-2:].sum(axis=0)]),
        class_2=expected[-1],
        on_bounds=on_bounds,
        deviance=deviance,
        ndf=problem.n_datum - int(free.sum()),
        status=FitStatus.AT_BOUND if at_bound else FitStatus.OK,
    )


def _intensities(
    problem: SpectrumProblem, values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (K,) intensities and their (K, A) derivatives in the amplitudes.

    With S the events of the sample, ``dI_k/da = (L_ka - I_k sum_j L_ja) / S``, the sum over the
    sample. The share of a source is known and does not change.
    """
    source = np.array([component.source for component in problem.model.components])
    sample_link = problem.link * ~source[:, None]
    amplitude = values[: problem.n_group]
    total = (sample_link @ amplitude).sum()
    intensities = sample_link @ amplitude / total
    jacobian = (sample_link - np.outer(intensities, sample_link.sum(axis=0))) / total
    known = [component.intensity or 0.0 for component in problem.model.components]
    return np.where(source, known, intensities), jacobian


def no_fit(problem: SpectrumProblem, status: FitStatus) -> SpectrumFit:
    """Return a fit without values and the status that says why."""
    p, k, n_bin = len(problem.names), len(problem.model.components), problem.data.n_bin
    return SpectrumFit(
        data=problem.data,
        model=problem.model,
        parameters=problem.names,
        values=np.full(p, np.nan),
        errors=np.full(p, np.nan),
        covariance=np.full((p, p), np.nan),
        intervals=np.full((p, 2), np.nan),
        intensities=np.full(k, np.nan),
        intensity_errors=np.full(k, np.nan),
        expected=np.full((k + 1, n_bin), np.nan),
        class_2=np.full(n_bin, np.nan),
        on_bounds=(),
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
