"""Time walk of the prompt: the shift of the dt spectrum with the prompt's energy."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.events.timing import PromptWalk
from psimg.lifetime.model import OPS, LifetimeModel, Response
from psimg.lifetime.spectrum_fit import fit_spectrum
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.randoms import DelayedSpectrum, measure_shape
from psimg.spectra.values import LifetimeSpectra

_MIN_EVENTS = 2000
"""Events that a bin of the energy needs: mu is then good to about 5 ps."""


def fit_walk(
    spectra: LifetimeSpectra,
    edges_kev: NDArray[np.float64],
    *,
    model: LifetimeModel | None = None,
    n_bins: int = 8,
    options: FitOptions | None = None,
) -> PromptWalk | None:
    """Measure how late prompts are seen, by their energy.

    The spectrum of all events gives intensities and mean lives; in each bin of the energy mu,
    sigma, the o-Ps lifetime and the numbers of events and randoms are then free. A late prompt
    makes dt shorter: the walk is the mean of mu over all bins, weighted by their events, minus mu
    of the bin.

    Parameters
    ----------
    spectra : LifetimeSpectra
        One row per narrow bin of the prompt's energy, as if it were a region.
    edges_kev : (E+1,) array
        Edges of these bins; the last one may be infinite [keV].
    model : LifetimeModel, optional
        Components, intensity rule and background; mu and sigma are fitted whatever it says.
    n_bins : int
        Number of bins to merge the energy into, of about equally many events; fewer where events
        are few.
    options : FitOptions, optional
        Smallest number of events.

    Returns
    -------
    PromptWalk or None
        None where there are events for one bin only.

    Raises
    ------
    DataError
        If the spectrum of all events cannot be fitted.
    """
    model = replace(model or LifetimeModel(), response=Response())
    total = fit_all_prompts(spectra, model=model, options=options)
    if total.status != FitStatus.OK:
        raise DataError(
            f"the dt spectrum of all {total.n_events} events could not be fitted "
            f"({total.status.name.lower()}), so that no time walk can be measured; check [select] "
            "and [spectrum], or use a longer acquisition"
        )
    fixed = _with_fitted_shape(model, total)
    for n in range(min(n_bins, total.n_events // _MIN_EVENTS), 1, -1):
        first = _equal_bins(spectra.counts.sum(axis=1), n)
        fits = _fit_rows(spectra, first, fixed, options)
        if all(np.isfinite(fit.error("mu_ns")) for fit in fits):
            return _walk_of(spectra, fits, edges_kev, first)
    return None


def fit_all_prompts(
    spectra: LifetimeSpectra,
    *,
    model: LifetimeModel | None = None,
    options: FitOptions | None = None,
) -> SpectrumFit:
    """Fit the sum of the spectra of all energies, mu and sigma free."""
    model = replace(model or LifetimeModel(), response=Response())
    return _fit_rows(spectra, np.zeros(1, np.int64), model, options)[0]


def _fit_rows(
    spectra: LifetimeSpectra,
    first: NDArray[np.int64],
    model: LifetimeModel,
    options: FitOptions | None,
) -> list[SpectrumFit]:
    """Fit the sums of the rows from each of ``first`` up to the next."""
    counts = np.add.reduceat(spectra.counts.astype(np.int64), first)
    delayed = np.add.reduceat(spectra.delayed.astype(np.float64), first)
    # Unrelated randoms know nothing of the prompt's energy: all rows together give their shape.
    shape = measure_shape(delayed[:, 0].sum(axis=0), spectra.edges_ns).shares
    return [
        fit_spectrum(
            row,
            spectra.edges_ns,
            model=model,
            delayed=DelayedSpectrum(
                prompt=prompt, photon=photon, both=both, n_sets=spectra.n_sets, shape=shape
            ),
            options=options,
            name=f"prompts in bin {i}",
        )
        for i, (row, (prompt, photon, both)) in enumerate(zip(counts, delayed, strict=True))
    ]


def _with_fitted_shape(model: LifetimeModel, fit: SpectrumFit) -> LifetimeModel:
    """Return the model with the intensities and lives of a fit; o-Ps still free to follow."""
    components = tuple(
        replace(component, tau_ns=fit.value(f"tau_{component.name}_ns"), intensity=float(share))
        for component, share in zip(model.components, fit.intensities, strict=True)
    )
    only_ops = tuple(replace(c, free=c.name == OPS) for c in components)
    return replace(model, components=only_ops, intensities="fixed")


def _equal_bins(n_events: NDArray[np.integer[Any]], n: int) -> NDArray[np.int64]:
    """Return the (n,) first narrow bin of each of ``n`` bins of about equally many events."""
    filled = np.cumsum(n_events) / n_events.sum()
    first = np.searchsorted(filled, np.arange(1, n) / n) + 1
    return np.unique(np.concatenate([[0], np.minimum(first, len(n_events) - 1)]))


def _walk_of(
    spectra: LifetimeSpectra,
    fits: list[SpectrumFit],
    edges_kev: NDArray[np.float64],
    first: NDArray[np.int64],
) -> PromptWalk:
    mu = np.array([fit.value("mu_ns") for fit in fits])
    error = np.array([fit.error("mu_ns") for fit in fits])
    n_events = spectra.counts.sum(axis=1).astype(np.float64)
    merged = np.add.reduceat(n_events, first)
    low, high = edges_kev[:-1], edges_kev[1:]
    middle = np.where(np.isfinite(high), 0.5 * (low + high), low)
    weight = merged / merged.sum()
    # The bin's own mu is part of the mean that it is compared to.
    difference = np.broadcast_to(weight, (len(mu), len(mu))) - np.eye(len(mu))
    return PromptWalk(
        edges_kev=edges_kev[np.append(first, len(spectra))],
        energy_kev=np.add.reduceat(n_events * middle, first) / merged,
        walk_ns=difference @ mu,
        error_ns=np.sqrt(difference**2 @ error**2),
    )
