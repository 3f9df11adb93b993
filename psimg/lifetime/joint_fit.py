"""Fit several spectra at once, with some parameters in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.maps import FitStatus
from psimg.lifetime.likelihood import PoissonProblem, minimise
from psimg.lifetime.model import DIRECT, LifetimeModel
from psimg.lifetime.problem import SpectrumProblem, response_parameters
from psimg.lifetime.spectrum_fit import no_fit, read_fit
from psimg.lifetime.values import SpectrumData, SpectrumFit

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class JointFit:
    """The fit of several spectra with parameters in common."""

    fits: tuple[SpectrumFit, ...]
    """One for each spectrum; a shared parameter has the same value and error in all."""
    shared: tuple[str, ...]
    """Parameters in common."""
    parameters: tuple[str, ...]
    """Q free parameters: the shared ones, then ``<spectrum>: <parameter>`` for the others."""
    values: FloatArray
    """(Q,) best values; NaN where the fit did not converge."""
    covariance: FloatArray
    """(Q, Q) covariance; zero rows for parameters that ended on a bound."""
    deviance: float
    """Of all spectra."""
    ndf: int
    """Data minus free parameters, of all spectra."""

    def __post_init__(self) -> None:
        q = len(self.parameters)
        freeze(self, values=(np.float64, q), covariance=(np.float64, q, q))


class _Joint(PoissonProblem):
    """Several problems as one; each parameter is shared or of one spectrum."""

    def __init__(self, problems: Sequence[SpectrumProblem], shared: tuple[str, ...]) -> None:
        self.problems = problems
        names = list(shared)
        self.places: list[NDArray[np.int64]] = []
        """Position in the joint vector of each parameter of each problem."""
        for problem in problems:
            place = []
            for name in problem.names:
                place.append(shared.index(name) if name in shared else len(names))
                if name not in shared:
                    names.append(f"{problem.data.name}: {name}")
            self.places.append(np.array(place))
        self.names = tuple(names)
        self.observed = np.concatenate([problem.observed for problem in problems])

    def expectation(self, p: FloatArray) -> FloatArray:
        """Return the (D,) expected counts of all spectra."""
        pairs = zip(self.problems, self.places, strict=True)
        return np.concatenate([problem.expectation(p[place]) for problem, place in pairs])

    def slopes(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (D,) expected counts of all spectra and their (Q, D) derivatives."""
        jacobian = np.zeros((len(p), len(self.observed)))
        found, first = [], 0
        for problem, place in zip(self.problems, self.places, strict=True):
            expected, own = problem.slopes(p[place])
            jacobian[place, first : first + len(expected)] = own
            first += len(expected)
            found.append(expected)
        return np.concatenate(found), jacobian

    def priors(self) -> list[tuple[int, float, float]]:
        """Return the priors of all spectra."""
        pairs = zip(self.problems, self.places, strict=True)
        return [(int(at[i]), m, s) for one, at in pairs for i, m, s in one.priors()]

    def limits(self) -> list[tuple[float, float]]:
        """Return the range of each parameter; of shared ones what all spectra allow."""
        low, high = np.full(len(self.names), -np.inf), np.full(len(self.names), np.inf)
        for problem, place in zip(self.problems, self.places, strict=True):
            ends = np.array(problem.limits())
            np.maximum.at(low, place, ends[:, 0])
            np.minimum.at(high, place, ends[:, 1])
        return list(zip(low.tolist(), high.tolist(), strict=True))

    def start(self, given: Mapping[str, float]) -> FloatArray:
        """Start shared parameters at the mean of the spectra's own starts, weighted by events."""
        total, weight = np.zeros(len(self.names)), np.zeros(len(self.names))
        for problem, place in zip(self.problems, self.places, strict=True):
            n = problem.data.counts.sum() + 1.0
            own = {name: x for name, x in given.items() if name in problem.names}
            total[place] += n * problem.start(own)
            weight[place] += n
        return np.asarray(total / weight)


def fit_joint(
    data: Sequence[SpectrumData],
    *,
    model: LifetimeModel | None = None,
    shared: Sequence[str] | None = None,
    start: Mapping[str, float] | None = None,
) -> JointFit:
    """Fit one model to several spectra with some parameters in common.

    Parameters
    ----------
    data : sequence of SpectrumData
        The spectra, each with a name of its own; their bins and backgrounds may differ.
    model : LifetimeModel, optional
        The model of all.
    shared : sequence of str, optional
        Parameters in common; by default the unknown numbers of the response and, where it is free,
        the mean life of direct annihilation.
    start : mapping, optional
        Where to start parameters, by name.

    Returns
    -------
    JointFit
        The fit of each spectrum and the covariance of all parameters.

    Raises
    ------
    DataError
        If there is no spectrum, or two have the same name.
    SettingsError
        If a shared parameter is not free in the model, or the background is ``four-set``.
    """
    model = model or LifetimeModel()
    names = [spectrum.name for spectrum in data]
    if not names or len(set(names)) < len(names):
        raise DataError(
            "a joint fit needs spectra with different names; there are "
            f"{', '.join(names) or 'none'}"
        )
    if model.background == "four-set":
        raise SettingsError(
            "a joint fit takes no background = 'four-set', whose shape of class II is of one "
            "spectrum; use 'delayed' or 'flat'"
        )
    free_names = SpectrumProblem(data[0], model).names
    if shared is None:
        shared = (f"tau_{DIRECT}_ns", *response_parameters(model))
        shared = [name for name in shared if name in free_names]
    unknown = [name for name in shared if name not in free_names]
    if unknown:
        raise SettingsError(
            f"shared = {unknown[0]!r} is no free parameter of the model; there are "
            f"{', '.join(free_names)}"
        )
    later = _without_priors(model, shared)
    problems = [SpectrumProblem(d, later if i else model) for i, d in enumerate(data)]
    joint = _Joint(problems, tuple(shared))
    minimum = minimise(joint, joint.start(start or {}))
    values, covariance = minimum.values, minimum.covariance
    fits = tuple(
        read_fit(problem, values[place], covariance[np.ix_(place, place)], minimum.free[place])
        if minimum.valid
        else no_fit(problem, FitStatus.NOT_CONVERGED)
        for problem, place in zip(problems, joint.places, strict=True)
    )
    return JointFit(
        fits=fits,
        shared=tuple(shared),
        parameters=joint.names,
        values=values if minimum.valid else np.full_like(values, np.nan),
        covariance=covariance,
        deviance=minimum.deviance,
        ndf=sum(problem.n_datum for problem in problems) - int(minimum.free.sum()),
    )


def _without_priors(model: LifetimeModel, shared: Sequence[str]) -> LifetimeModel:
    """Return the model without the priors of shared mean lives, which count once in a joint fit."""
    components = tuple(
        replace(c, prior_ns=None) if f"tau_{c.name}_ns" in shared else c for c in model.components
    )
    return replace(model, components=components)
