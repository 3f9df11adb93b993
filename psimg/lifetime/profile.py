"""The likelihood profile of one parameter, all others at their best."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.lifetime.likelihood import minimise
from psimg.lifetime.model import OPS
from psimg.lifetime.problem import problem_of
from psimg.lifetime.values import SpectrumFit

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Profile:
    """How the deviance rises away from the best value of a parameter."""

    parameter: str
    values: FloatArray
    """(S,) values of the parameter."""
    rise: FloatArray
    """(S,) lowest deviance at each value, minus the lowest of all; NaN where none was found."""

    def __post_init__(self) -> None:
        freeze(self, values=(np.float64, len(self.values)), rise=(np.float64, len(self.values)))


def profile_likelihood(
    fit: SpectrumFit,
    parameter: str = f"tau_{OPS}_ns",
    *,
    values: FloatArray | None = None,
    n_errors: float = 3.0,
    n_value: int = 41,
) -> Profile:
    """Minimise over all parameters but one, at values of that one.

    Parameters
    ----------
    fit : SpectrumFit
        A fit with values.
    parameter : str
        One of its free parameters.
    values : (S,) array, optional
        Where to look; by default evenly over ``n_errors`` standard errors to both sides, within the
        limits.
    n_errors : float
        Reach of the default values.
    n_value : int
        Number of the default values.

    Returns
    -------
    Profile
        The rise of the deviance: 1 at the ends of a 68 % interval, 3.84 at those of a 95 % one.

    Raises
    ------
    DataError
        If the fit has no values, or the parameter is not free or ended on a bound.
    """
    if fit.status != FitStatus.OK or parameter not in fit.parameters:
        raise DataError(
            f"{fit.name}: no profile of {parameter!r}: status {fit.status.name.lower()}, free "
            f"parameters {', '.join(fit.parameters)}"
        )
    error = fit.error(parameter)
    if not np.isfinite(error):
        raise DataError(f"{fit.name}: no profile of {parameter!r}, which ended on a bound")
    problem = problem_of(fit)
    at = fit.parameters.index(parameter)
    low, high = problem.limits()[at]
    if values is None:
        reach = fit.value(parameter) + n_errors * error * np.linspace(-1.0, 1.0, n_value)
        values = reach[(reach >= low) & (reach <= high)]
    rise = np.full(len(values), np.nan)
    middle = int(np.argmin(np.abs(values - fit.value(parameter))))
    # Outwards from the best value, each minimum the start of the next.
    for side in (range(middle, len(values)), range(middle - 1, -1, -1)):
        start = np.array(fit.values)
        for i in side:
            start[at] = values[i]
            minimum = minimise(problem, start, fixed=(parameter,))
            if not minimum.valid:
                break
            start = minimum.values.copy()
            rise[i] = minimum.deviance
    return Profile(
        parameter=parameter, values=values, rise=rise - np.nanmin(np.append(rise, fit.deviance))
    )
