"""How likely a worse fit than this is, if the model is true."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.lifetime.problem import problem_of
from psimg.lifetime.values import SpectrumFit

FloatArray = NDArray[np.float64]

_ENOUGH = 25.0
"""Expected counts m from which a bin's deviance is one of chi-square; its mean is 1 + 1/(6 m)."""
_BLOCK = 2_000_000
"""Numbers drawn at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goodness:
    """The chance of a deviance at least as large as that of a fit, its model being true."""

    p_value: float
    p_value_error: float
    """Of the finite number of toys; 0 for chi-square."""
    method: Literal["chi2", "toys"]
    """``chi2`` where every bin expects enough counts, ``toys`` where not."""
    n_toy: int
    """Simulated spectra; 0 for chi-square."""


def goodness_of_fit(fit: SpectrumFit, *, rng: np.random.Generator, n_toy: int = 2000) -> Goodness:
    """Compare a fit's deviance with what its model gives by chance.

    The Poisson deviance of a bin follows chi-square only where it expects many counts: at 0.1, 1
    and 3 expected it is 0.5, 1.15 and 1.07 in the mean. Where any bin expects less than 25 the fit
    is compared with toys: spectra drawn from the fitted expectation, each fitted to first order. A
    fit of P parameters lowers the deviance of a toy by ``g' F^-1 g``, with ``g`` the gradient of
    its log-likelihood at the truth and ``F`` the expected information (S. Wilks, Ann. Math. Stat. 9
    (1938) 60), which saves the fits themselves.

    Parameters
    ----------
    fit : SpectrumFit
        A fit with values.
    rng : numpy.random.Generator
        Draws the toys.
    n_toy : int
        Number of toys.

    Returns
    -------
    Goodness
        A chance below a thousandth says that the model does not describe the spectrum.

    Raises
    ------
    DataError
        If the fit has no values.
    """
    from scipy.stats import chi2

    if fit.status != FitStatus.OK:
        raise DataError(
            f"{fit.name}: a fit without values ({fit.status.name.lower()}) has no goodness of fit"
        )
    expected = problem_of(fit).expectation(fit.values)
    if expected[expected > 0].min() >= _ENOUGH:
        return Goodness(
            p_value=float(chi2.sf(fit.deviance, fit.ndf)), p_value_error=0.0, method="chi2", n_toy=0
        )
    deviances = toy_deviances(fit, rng=rng, n_toy=n_toy)
    p_value = float(np.count_nonzero(deviances >= fit.deviance) + 1) / (n_toy + 1)
    return Goodness(
        p_value=p_value,
        p_value_error=float(np.sqrt(p_value * (1 - p_value) / n_toy)),
        method="toys",
        n_toy=n_toy,
    )


def toy_deviances(fit: SpectrumFit, *, rng: np.random.Generator, n_toy: int) -> FloatArray:
    """Return (n_toy,) deviances of spectra drawn from a fit and fitted to first order.

    Parameters
    ----------
    fit : SpectrumFit
        The fit.
    rng : numpy.random.Generator
        Draws them.
    n_toy : int
        Number of toys.
    """
    problem = problem_of(fit)
    expected, jacobian = problem.slopes(fit.values)
    free = np.isfinite(fit.errors)
    seen = expected > 0
    expected, jacobian = expected[seen], jacobian[:, seen][free]
    information = (jacobian / expected) @ jacobian.T
    priors = [(np.flatnonzero(free).tolist().index(i), sigma) for i, _, sigma in problem.priors()]
    for i, sigma in priors:
        information[i, i] += 1.0 / sigma**2
    inverse = np.linalg.pinv(information, hermitian=True)
    log_expected = np.log(expected)
    found = []
    block = max(1, _BLOCK // len(expected))
    for first in range(0, n_toy, block):
        n = min(block, n_toy - first)
        counts = rng.poisson(expected, size=(n, len(expected))).astype(np.float64)
        logarithm = np.log(np.maximum(counts, 1.0)) - log_expected
        deviance = 2.0 * (expected - counts + counts * logarithm).sum(axis=1)
        score = (counts / expected - 1.0) @ jacobian.T
        for i, sigma in priors:
            pull = rng.standard_normal(n)
            deviance += pull**2
            score[:, i] += pull / sigma
        found.append(deviance - np.einsum("tp,pq,tq->t", score, inverse, score))
    return np.concatenate(found)
