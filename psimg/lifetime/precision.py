"""The smallest errors a spectrum allows: the Cramer-Rao bound of its expected counts.

With expected counts m and their slopes in the parameters, the information of Poisson counts is

    F_pq = sum_b (dm_b/dp)(dm_b/dq) / m_b

and no unbiased estimate has a covariance below its inverse. A maximum-likelihood fit comes close to
it where the error is small beside the value; all of it is exactly proportional to the events.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.settings import require_positive
from psimg.lifetime._mixture import mixture_derivatives
from psimg.lifetime.model import DIRECT, OPS, LifetimeModel
from psimg.spectra.randoms import flat_shape

FloatArray = NDArray[np.float64]

EVENTS, BACKGROUND, MU, SIGMA = "events", "background", "mu_ns", "sigma_ns"
TAU_OPS = f"tau_{OPS}_ns"

_SMALLEST_SHARE = 1e-12
"""Bins that expect less than this share of all events are raised to it: where nothing is expected
the information is infinite, and one such bin already says that there is no background."""
_SINGULAR = 1e-12
"""Smallest eigenvalue of the normalised information of parameters that can be told apart."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Precision:
    """The smallest covariance of the parameters of one spectrum."""

    parameters: tuple[str, ...]
    """P free parameters."""
    values: FloatArray
    """(P,) their values."""
    errors: FloatArray
    """(P,) smallest standard errors."""
    covariance: FloatArray
    """(P, P) smallest covariance."""
    n_events: float
    """Events in the spectrum, randoms included."""
    background_share: float
    """Share of random triplets among them."""

    def __post_init__(self) -> None:
        p = len(self.parameters)
        freeze(
            self,
            values=(np.float64, p),
            errors=(np.float64, p),
            covariance=(np.float64, p, p),
        )

    def error(self, parameter: str) -> float:
        """Return the smallest standard error of a parameter; 0 where it is not free."""
        if parameter not in self.parameters:
            return 0.0
        return float(self.errors[self.parameters.index(parameter)])

    @property
    def tau_ops_error_ns(self) -> float:
        """Smallest standard error of the mean life of o-Ps [ns]."""
        return self.error(TAU_OPS)

    def events_for(self, error: float, *, parameter: str = TAU_OPS) -> float:
        """Return how many events the spectrum needs for this standard error of a parameter.

        Of the same model and the same share of random triplets; the square of the error falls as
        one over the events.
        """
        return self.n_events * (self.error(parameter) / error) ** 2


def expected_information(expected: FloatArray, jacobian: FloatArray) -> FloatArray:
    """Return the information that Poisson counts hold about their parameters.

    Parameters
    ----------
    expected : (B,) array
        Expected counts.
    jacobian : (P, B) array
        Their derivative in each parameter.

    Returns
    -------
    (P, P) float64 array
        Fisher information.
    """
    smallest = _SMALLEST_SHARE * float(expected.sum())
    return np.asarray((jacobian / np.maximum(expected, smallest)) @ jacobian.T)


def free_intensities(model: LifetimeModel) -> tuple[str, ...]:
    """Return the intensities that the model's rule leaves free, as `precision_of` names them.

    One fewer than the rule has groups: direct annihilation, or else the first group that is not
    o-Ps, makes up for what the others gain or lose.
    """
    groups, _ = model.groups
    return tuple(f"intensity_{g}" for i, g in enumerate(groups) if i != _rest(groups))


def fitted_parameters(model: LifetimeModel) -> tuple[str, ...]:
    """Return what the fit of a region with a known response leaves free."""
    free_tau = (f"tau_{c.name}_ns" for c in model.components if c.free)
    free_spread = (f"spread_{c.name}" for c in model.components if c.spread_free)
    return (*free_tau, *free_spread, EVENTS, BACKGROUND, *free_intensities(model))


def precision_of(
    model: LifetimeModel,
    edges_ns: FloatArray,
    *,
    n_events: float,
    background_share: float,
    free: tuple[str, ...] | None = None,
    n_sets: float = 0.0,
) -> Precision:
    """Compute the smallest errors with which a spectrum gives its parameters.

    Parameters
    ----------
    model : LifetimeModel
        Mean lives, intensities and response of the spectrum. Intensities of groups that are not
        the rest (see `free_intensities`) must be stated.
    edges_ns : (B+1,) array
        Rising bin edges [ns].
    n_events : float
        Events in the spectrum, randoms included.
    background_share : float
        Share of random triplets among them, flat in dt; 0 or more and below 1.
    free : tuple of str, optional
        Parameters to determine: ``events`` (true triplets at any dt), ``background``,
        ``intensity_ops`` and the others of `free_intensities`, ``tau_ops_ns`` and those of the
        other components, ``spread_ops`` and likewise, ``mu_ns``, ``sigma_ns`` (of the first
        Gaussian). `fitted_parameters` when left out. An intensity
        that is not free is known; what is freed is taken from the rest.
    n_sets : float
        Delayed windows that measure the background: they hold ``P ~ Poisson(n_sets background)``
        events.

    Returns
    -------
    Precision
        Covariance and errors of the free parameters.

    Raises
    ------
    SettingsError
        If a number is out of range, the response is not known, an intensity is not stated, a
        parameter is not one of the model's, or the spectrum does not tell the parameters apart.
    """
    require_positive("n_events", n_events)
    if not 0 <= background_share < 1:
        raise SettingsError(
            f"background_share = {background_share:g}: expected 0 or more and below 1"
        )
    if not (np.isfinite(n_sets) and n_sets >= 0):
        raise SettingsError(f"n_sets = {n_sets:g}: expected 0 or more")
    edges = np.ascontiguousarray(edges_ns, dtype=np.float64)
    if not np.all(np.diff(edges) > 0):
        raise SettingsError("edges_ns must rise from bin to bin")
    free = fitted_parameters(model) if free is None else tuple(free)
    values, expected, slopes = _spectrum(model, edges, n_events, background_share)
    unknown = [name for name in free if name not in slopes]
    if unknown:
        raise SettingsError(f"free = {unknown[0]!r} is no parameter; there are {', '.join(slopes)}")
    if len(set(free)) != len(free):
        raise SettingsError(f"free names a parameter twice: {', '.join(free)}")
    information = expected_information(expected, np.array([slopes[name] for name in free]))
    if BACKGROUND in free and n_sets > 0:
        k = free.index(BACKGROUND)
        information[k, k] += n_sets / max(values[BACKGROUND], _SMALLEST_SHARE * n_events)
    covariance = _inverse(information, free)
    return Precision(
        parameters=free,
        values=np.array([values[name] for name in free]),
        errors=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        n_events=float(n_events),
        background_share=float(background_share),
    )


def _spectrum(
    model: LifetimeModel, edges: FloatArray, n_events: float, background_share: float
) -> tuple[dict[str, float], FloatArray, dict[str, FloatArray]]:
    """Return the value of each parameter, (B,) expected counts, and their slope in each."""
    response, n_bin = model.response.table, len(edges) - 1
    if not model.response.known:
        raise SettingsError("the precision needs a known response; state its mu_ns and sigma_ns")
    shares, d_tau, d_spread = np.empty((3, len(model.components), n_bin))
    d_response = np.empty((len(model.components), len(response), 3, n_bin))
    for k, component in enumerate(model.components):
        mixture_derivatives(
            edges, component.tau_ns, component.spread, response, np.empty((4, n_bin)), shares[k],
            d_tau[k], d_spread[k], d_response[k],
        )  # fmt: skip
    share_of, d_intensity = _mixture(model)
    seen = float((share_of @ shares).sum())
    if seen < _SMALLEST_SHARE:
        raise SettingsError(
            f"the bins from {edges[0]:g} to {edges[-1]:g} ns hold none of the signal; move them"
        )
    n_true = n_events * (1.0 - background_share) / seen
    background = n_events * background_share
    flat = flat_shape(edges)
    events = n_true * share_of
    (_, mu, sigma), *_ = response.tolist()
    values = {EVENTS: n_true, BACKGROUND: background, MU: mu, SIGMA: sigma}
    slopes = {
        EVENTS: share_of @ shares,
        BACKGROUND: flat,
        MU: events @ d_response[:, :, 1].sum(axis=1),
        SIGMA: events @ d_response[:, 0, 2],
    }
    for k, component in enumerate(model.components):
        values[f"tau_{component.name}_ns"] = component.tau_ns
        slopes[f"tau_{component.name}_ns"] = events[k] * d_tau[k]
        values[f"spread_{component.name}"] = component.spread
        slopes[f"spread_{component.name}"] = events[k] * d_spread[k]
    for name, direction in d_intensity.items():
        values[name] = _of_sample(model, share_of, name.removeprefix("intensity_"))
        slopes[name] = n_true * direction @ shares
    return values, events @ shares + background * flat, slopes


def _mixture(model: LifetimeModel) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return (K,) shares of the true events, and their derivative in each free intensity."""
    groups, link = model.groups
    rest = _rest(groups)
    per_unit = link.sum(axis=0)
    # All events in the rest group, before the others take their shares from it.
    filler = link[:, rest] / per_unit[rest]
    share_of = filler
    directions = {}
    for g, group in enumerate(groups):
        if g == rest:
            continue
        k = model.names.index(group)
        stated = model.components[k].intensity
        if stated is None:
            raise SettingsError(
                f"component {group} states no intensity, and the precision depends on it; add one"
            )
        # Stated intensities are shares of the sample; these are of all positrons.
        direction = (link[:, g] - per_unit[g] * filler) / link[k, g] * (1.0 - model.source_share)
        share_of = share_of + stated * direction
        directions[f"intensity_{group}"] = direction
    if share_of.min() < -_SMALLEST_SHARE:
        raise SettingsError(
            f"the components' intensities leave {share_of.min():.3g} for {groups[rest]}; they sum "
            "to more than 1"
        )
    return np.maximum(share_of, 0.0), directions


def _of_sample(model: LifetimeModel, share_of: FloatArray, component: str) -> float:
    """Return a component's share of the positrons in the sample."""
    return float(share_of[model.names.index(component)]) / (1.0 - model.source_share)


def _rest(groups: tuple[str, ...]) -> int:
    """Return the position of the group that makes up for the others."""
    if DIRECT in groups:
        return groups.index(DIRECT)
    return next((i for i, group in enumerate(groups) if group != OPS), 0)


def _inverse(information: FloatArray, free: tuple[str, ...]) -> FloatArray:
    """Invert with a unit diagonal: the parameters differ by orders of magnitude."""
    scale = np.sqrt(np.diag(information))
    if not scale.all():
        raise SettingsError(
            f"the spectrum says nothing about {free[int(np.argmin(scale))]}; leave it out of free"
        )
    normal = information / np.outer(scale, scale)
    if np.linalg.eigvalsh(normal)[0] < _SINGULAR:
        raise SettingsError(
            f"the spectrum does not tell {', '.join(free)} apart; leave some out of free"
        )
    return np.asarray(np.linalg.inv(normal) / np.outer(scale, scale))
