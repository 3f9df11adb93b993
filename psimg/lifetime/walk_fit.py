"""Time walk of the prompt: the shift of the dt spectrum with the prompt's energy."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.events.timing import PromptWalk
from psimg.lifetime.model import OPS, LifetimeModel, Response
from psimg.lifetime.spectrum_fit import fit_spectrum
from psimg.lifetime.values import FitOptions, SpectrumFit

_MIN_EVENTS = 2000
"""Events that a bin of the energy needs: mu is then good to about 5 ps."""


def fit_walk(
    counts: NDArray[np.int64],
    edges_ns: NDArray[np.float64],
    edges_kev: NDArray[np.float64],
    *,
    model: LifetimeModel | None = None,
    delayed: NDArray[np.int64] | None = None,
    n_delays: int = 0,
    n_bins: int = 8,
    options: FitOptions | None = None,
) -> tuple[PromptWalk | None, SpectrumFit]:
    """Measure how late prompts are seen, by their energy.

    The spectrum of all events gives intensities and mean lives; in each bin of the energy mu,
    sigma, the o-Ps lifetime and the numbers of events and randoms are then free. A late prompt
    makes dt shorter: the walk is the mean of mu over all bins, weighted by their events, minus mu
    of the bin.

    Parameters
    ----------
    counts : (E, B) array
        Events by the prompt's energy and dt, in narrow bins of the energy.
    edges_ns : (B+1,) array
        Edges of dt [ns].
    edges_kev : (E+1,) array
        Edges of the energy [keV].
    model : LifetimeModel, optional
        Components, intensity rule and background; mu and sigma are fitted whatever it says.
    delayed : (E,) array, optional
        Events of the delayed windows, for the ``delayed`` background.
    n_delays : int
        Number of delayed windows.
    n_bins : int
        Number of bins to merge the energy into, of about equally many events; fewer where events
        are few.
    options : FitOptions, optional
        Smallest number of events.

    Returns
    -------
    walk : PromptWalk or None
        None where there are events for one bin only.
    total : SpectrumFit
        The fit of all events.

    Raises
    ------
    DataError
        If the spectrum of all events cannot be fitted.
    """
    model = replace(model or LifetimeModel(), response=Response())
    delayed = np.zeros(len(counts), np.int64) if delayed is None else delayed
    total = fit_spectrum(
        counts.sum(axis=0), edges_ns, model=model, n_delayed=float(delayed.sum()),
        n_delays=n_delays, options=options, name="all prompts",
    )  # fmt: skip
    if total.status != FitStatus.OK:
        raise DataError(
            f"the dt spectrum of all {total.n_events} events could not be fitted "
            f"({total.status.name.lower()}), so that no time walk can be measured; check [select] "
            "and [spectrum], or use a longer acquisition"
        )
    fixed = _with_fitted_shape(model, total)
    for n in range(min(n_bins, total.n_events // _MIN_EVENTS), 1, -1):
        first = _equal_bins(counts.sum(axis=1), n)
        fits = [
            fit_spectrum(
                part, edges_ns, model=fixed, n_delayed=float(late), n_delays=n_delays,
                options=options, name=f"prompts in bin {i}",
            )
            for i, (part, late) in enumerate(
                zip(np.add.reduceat(counts, first), np.add.reduceat(delayed, first), strict=True)
            )
        ]  # fmt: skip
        if all(np.isfinite(fit.error("mu_ns")) for fit in fits):
            return _walk_of(fits, edges_kev[np.append(first, len(counts))]), total
    return None, total


def _with_fitted_shape(model: LifetimeModel, fit: SpectrumFit) -> LifetimeModel:
    """Return the model with the intensities and lives of a fit; o-Ps still free to follow."""
    components = tuple(
        replace(component, tau_ns=fit.value(f"tau_{component.name}_ns"), intensity=float(share))
        for component, share in zip(model.components, fit.intensities, strict=True)
    )
    only_ops = tuple(replace(c, free=c.name == OPS) for c in components)
    return replace(model, components=only_ops, intensities="fixed")


def _equal_bins(n_events: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the (n,) first narrow bin of each of ``n`` bins of about equally many events."""
    filled = np.cumsum(n_events) / n_events.sum()
    first = np.searchsorted(filled, np.arange(1, n) / n) + 1
    return np.unique(np.concatenate([[0], np.minimum(first, len(n_events) - 1)]))


def _walk_of(fits: list[SpectrumFit], edges_kev: NDArray[np.float64]) -> PromptWalk:
    mu = np.array([fit.value("mu_ns") for fit in fits])
    error = np.array([fit.error("mu_ns") for fit in fits])
    weight = np.array([fit.n_events for fit in fits], dtype=np.float64)
    weight /= weight.sum()
    # The bin's own mu is part of the mean that it is compared to.
    difference = np.broadcast_to(weight, (len(mu), len(mu))) - np.eye(len(mu))
    return PromptWalk(
        edges_kev=edges_kev,
        walk_ns=difference @ mu,
        error_ns=np.sqrt(difference**2 @ error**2),
    )
