"""Poisson likelihood of counts whose expectation and its slopes are known, and its minimum."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._likelihood import SMALLEST_COUNT, poisson_deviance

if TYPE_CHECKING:
    from iminuit import Minuit

FloatArray = NDArray[np.float64]

_N_CALL = 5000
_EMPTY = 1e-2
"""Events below this are none: the parameter ended on its bound."""
_STEP = 1e-3
"""Step of the differences of the gradient, in standard errors."""
_SINGULAR = 1e-9
"""Smallest eigenvalue of the scaled information that is not rounding of the differences."""
_CLOSE = 1e-6
"""Relative distance of counts and expectation at which a residual is taken to first order."""


class PoissonProblem(ABC):
    """Counts, their expectation as a function of P parameters, and what is known of these."""

    names: tuple[str, ...]
    """P names."""
    observed: FloatArray
    """(D,) counts."""

    @abstractmethod
    def expectation(self, p: FloatArray) -> FloatArray:
        """Return the (D,) expected counts."""

    @abstractmethod
    def slopes(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (D,) expected counts and their (P, D) derivatives."""

    @abstractmethod
    def limits(self) -> list[tuple[float, float]]:
        """Return the range of each parameter."""

    @abstractmethod
    def priors(self) -> list[tuple[int, float, float]]:
        """Return position, mean and standard deviation of the parameters with a Gaussian prior."""

    @property
    def n_datum(self) -> int:
        """Numbers that the likelihood compares with expectations, priors included."""
        return len(self.observed) + len(self.priors())

    def deviance(self, p: FloatArray) -> float:
        """Return the Poisson deviance and the squared pulls of the priors."""
        # A minimiser may try any number of events; a deviance of infinity turns it back.
        with np.errstate(over="ignore", invalid="ignore"):
            value = poisson_deviance(self.observed, self.expectation(p))
            return float(value + sum(((p[i] - mean) / s) ** 2 for i, mean, s in self.priors()))

    def gradient(self, p: FloatArray) -> FloatArray:
        """Return the (P,) derivative of `deviance`."""
        with np.errstate(over="ignore", invalid="ignore"):
            expected, jacobian = self.slopes(p)
            total = 2.0 * jacobian @ (1.0 - self.observed / np.maximum(expected, SMALLEST_COUNT))
            for i, mean, sigma in self.priors():
                total[i] += 2.0 * (p[i] - mean) / sigma**2
            return np.asarray(total)

    def residuals(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the signed roots of the deviance's terms and their (D', P) derivatives.

        With d the deviance of a count n where m are expected, r = sign(m - n) sqrt(d) has the
        derivative (1 - n/m) / r, and 1/sqrt(m) where n and m are close.
        """
        expected, jacobian = self.slopes(p)
        m, n = np.maximum(expected, SMALLEST_COUNT), self.observed
        deviance = 2.0 * (m - n + np.where(n > 0, n * np.log(np.maximum(n, 1e-300) / m), 0.0))
        root = np.sign(m - n) * np.sqrt(np.maximum(deviance, 0.0))
        close = np.abs(m - n) < _CLOSE * m
        slope = np.where(close, 1.0 / np.sqrt(m), (1.0 - n / m) / np.where(close, 1.0, root))
        pulls, rows = [], []
        for i, mean, sigma in self.priors():
            pulls.append((p[i] - mean) / sigma)
            rows.append(np.eye(len(p))[i] / sigma)
        return (
            np.concatenate([root, pulls]),
            np.concatenate([(slope * jacobian).T, np.reshape(rows, (-1, len(p)))]),
        )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Minimum:
    """Where the deviance is lowest."""

    values: FloatArray
    """(P,) parameters."""
    free: NDArray[np.bool_]
    """(P,) which of them did not end on a bound or were held."""
    covariance: FloatArray
    """(P, P) inverse of the observed information; zero where a parameter is not free."""
    deviance: float
    valid: bool
    """Whether it is a minimum: found, and curved upwards in every direction."""
    minuit: "Minuit"
    """Minuit at the minimum, for MINOS."""


def minimise(problem: PoissonProblem, start: FloatArray, *, fixed: tuple[str, ...] = ()) -> Minimum:
    """Find the minimum, and put parameters that ended on a bound exactly there.

    Least squares on the deviance's roots (trust region, SciPy) comes close in a few steps from far
    away, and says how large the errors are; Migrad ends at the minimum. The covariance is the
    inverse of the observed information, from central differences of the exact gradient: Hesse takes
    second differences of the deviance, and its errors were seen half a percent off.

    Parameters
    ----------
    problem : PoissonProblem
        What to minimise.
    start : (P,) array
        Where to start.
    fixed : tuple of str
        Parameters that stay where they start.

    Returns
    -------
    Minimum
        With the covariance of the free parameters.
    """
    from iminuit import Minuit

    start, errors = _approach(problem, start, np.isin(problem.names, fixed))
    minuit = Minuit(problem.deviance, start, grad=problem.gradient, name=problem.names)
    minuit.errordef = Minuit.LEAST_SQUARES  # the deviance rises by one at one standard error
    minuit.limits = problem.limits()
    minuit.errors = errors
    for parameter in fixed:
        minuit.fixed[parameter] = True
    minuit.migrad(ncall=_N_CALL)
    empty = [
        name
        for name in problem.names
        if name.split(": ")[-1].startswith(("n_", "class_", "background"))
        and minuit.values[name] < _EMPTY
        and not minuit.fixed[name]
    ]
    for parameter in empty:
        minuit.values[parameter] = 0.0
        minuit.fixed[parameter] = True
    if empty:
        minuit.migrad(ncall=_N_CALL)
    values, free = np.array(minuit.values), ~np.array(minuit.fixed)
    covariance = np.zeros((len(values), len(values)))
    valid = bool(minuit.valid)
    if valid and not fixed:
        inverse = _inverse(_observed_information(problem, values, free, errors))
        valid = inverse is not None
        covariance[np.ix_(free, free)] = np.nan if inverse is None else inverse
    return Minimum(
        values=values,
        free=free,
        covariance=covariance,
        deviance=float(minuit.fval),
        valid=valid,
        minuit=minuit,
    )


def _observed_information(
    problem: PoissonProblem, values: FloatArray, free: NDArray[np.bool_], errors: FloatArray
) -> FloatArray:
    """Return half the second derivative of the deviance in the free parameters."""
    at = np.flatnonzero(free)
    rows = np.empty((len(at), len(at)))
    for row, i in enumerate(at):
        step = np.zeros(len(values))
        step[i] = _STEP * errors[i]
        difference = problem.gradient(values + step) - problem.gradient(values - step)
        rows[row] = 0.25 * difference[at] / step[i]
    return 0.5 * (rows + rows.T)


def _inverse(information: FloatArray) -> FloatArray | None:
    """Return the inverse; None unless the matrix is positive definite beyond rounding."""
    scale = np.diag(information)
    if not (np.all(np.isfinite(information)) and np.all(scale > 0)):
        return None
    root = np.sqrt(scale)
    correlation = information / np.outer(root, root)
    if np.linalg.eigvalsh(correlation).min() < _SINGULAR:
        return None
    return np.asarray(np.linalg.inv(correlation) / np.outer(root, root))


def _approach(
    problem: PoissonProblem, start: FloatArray, held: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Return a point near the minimum and the size of its errors."""
    from scipy.optimize import least_squares

    free = np.flatnonzero(~held)
    low, high = np.array(problem.limits())[free].T

    def whole(q: FloatArray) -> FloatArray:
        p = start.copy()
        p[free] = q
        return p

    # The method needs a start off the bounds; a millionth of the value is no change.
    room = np.minimum(1e-6 * np.maximum(np.abs(start[free]), 1.0), 0.25 * (high - low))
    found = least_squares(
        lambda q: problem.residuals(whole(q))[0],
        np.clip(start[free], low + room, high - room),
        jac=lambda q: problem.residuals(whole(q))[1][:, free],
        bounds=(low, high),
        x_scale="jac",
        max_nfev=200,
    )
    point = whole(found.x)
    errors = np.full(len(start), 1e-3)
    information = found.jac.T @ found.jac
    variance = np.diag(np.linalg.pinv(information, hermitian=True))
    errors[free] = np.maximum(np.sqrt(np.maximum(variance, 0.0)), 1e-6 * np.abs(found.x) + 1e-9)
    return point, errors


def profile_intervals(minimum: Minimum, problem: PoissonProblem) -> FloatArray:
    """Return the (P, 2) ends of the 68 % intervals by MINOS; a limit where none is found before it.

    Parameters
    ----------
    minimum : Minimum
        The minimum.
    problem : PoissonProblem
        Its names and limits.
    """
    ends = np.full((len(problem.names), 2), np.nan)
    limits, minuit = problem.limits(), minimum.minuit
    for i, name in enumerate(problem.names):
        if minuit.fixed[name]:
            continue
        minuit.minos(name)
        found = minuit.merrors[name]
        sides = ((found.lower, found.lower_valid), (found.upper, found.upper_valid))
        for side, (error, valid) in enumerate(sides):
            limit = limits[i][side]
            if valid:
                ends[i, side] = minimum.values[i] + error
            elif np.isfinite(limit) and _rise_at(problem, minimum, i, limit) < 1.0:
                ends[i, side] = limit
    return ends


def _rise_at(problem: PoissonProblem, minimum: Minimum, i: int, value: float) -> float:
    """Return the rise of the deviance with one parameter held at a value; infinite if not found."""
    start = minimum.values.copy()
    start[i] = value
    found = minimise(problem, start, fixed=(problem.names[i],))
    return found.deviance - minimum.deviance if found.valid else np.inf
