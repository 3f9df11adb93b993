"""The Bayesian fit of one spectrum: what is known of each parameter, given the counts."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.lifetime import _posterior
from psimg.lifetime.likelihood import minimise
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.problem import SpectrumProblem
from psimg.lifetime.sampler import Chain, sample
from psimg.lifetime.values import SpectrumData

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

ONE_SIGMA = (0.158655, 0.841345)
"""Quantiles at the ends of a central interval of 68.27 %."""
TWO_SIGMA = (0.025, 0.975)
"""Quantiles at the ends of a central interval of 95 %."""
_KINDS = {
    "uniform": _posterior.UNIFORM,
    "normal": _posterior.NORMAL,
    "log-uniform": _posterior.LOG_UNIFORM,
}
_MOST_EVENTS = 2.0
"""Default range of a number of events: up to this many times the counts of the spectrum."""
_STEPS, _BURN = 500, 200
"""Steps for each parameter; a chain forgets where it was in some ten for each."""
_R_HAT, _LEAST_SIZE = 1.1, 400
"""Agreement of the halves, and independent draws, of a chain that may be used."""
_TRIES = 200
_MANY = 20_000
"""Bins of all points together from which sharing them among cores is worth the wait for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """What is known of a parameter beforehand."""

    kind: Literal["uniform", "normal", "log-uniform"] = "uniform"
    """Density: even, a Gaussian, or even in the logarithm."""
    low: float | None = None
    """Lowest value; that of the parameter's range when left out."""
    high: float | None = None
    """Highest value; that of the parameter's range when left out."""
    mean: float | None = None
    """Of a ``normal`` prior, before it is cut at ``low`` and ``high``."""
    sigma: float | None = None
    """Standard deviation of a ``normal`` prior, likewise."""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise SettingsError(f"a prior of kind {self.kind!r}: use one of {', '.join(_KINDS)}")
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        if not low < high:
            raise SettingsError(f"a prior from {low:g} to {high:g}: expected two rising numbers")
        if self.kind == "log-uniform" and self.low is not None and not low > 0:
            raise SettingsError(f"a log-uniform prior from {low:g}: expected above zero")
        if self.kind != "normal":
            return
        if self.mean is None or self.sigma is None or not self.sigma > 0:
            raise SettingsError("a normal prior needs a mean and a sigma above zero")
        if not low <= self.mean <= high:
            raise SettingsError(
                f"a normal prior of mean {self.mean:g} cut to {low:g} to {high:g}: the mean must "
                "lie inside"
            )

    def within(self, low: float, high: float) -> "Prior":
        """Return the prior with these ends where it states none."""
        return replace(
            self,
            low=low if self.low is None else self.low,
            high=high if self.high is None else self.high,
        )

    @property
    def row(self) -> tuple[float, float, float, float]:
        """Lowest and highest value, mean and standard deviation, for the compiled density."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high, self.mean or 0.0, self.sigma or 1.0

    def __str__(self) -> str:
        low, high = (f"{x:.6g}" if x is not None else "its limit" for x in (self.low, self.high))
        if self.kind == "normal":
            return f"normal {self.mean:.6g} +- {self.sigma:.6g}, from {low} to {high}"
        return f"{self.kind} from {low} to {high}"


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Posterior:
    """Samples of the parameters of a spectrum's model, given its counts and priors."""

    data: SpectrumData
    model: LifetimeModel
    parameters: tuple[str, ...]
    """P sampled parameters, then ``intensity_<component>`` of K components."""
    priors: tuple[Prior, ...]
    """Those of the P sampled ones."""
    samples: FloatArray
    """(S, P + K) draws."""
    chain: Chain
    """The chain, with its autocorrelation and agreement, of the P sampled parameters."""

    def __post_init__(self) -> None:
        freeze(self, samples=(np.float64, len(self.samples), len(self.parameters)))

    def column(self, parameter: str) -> FloatArray:
        """Return the (S,) draws of a parameter."""
        if parameter not in self.parameters:
            raise DataError(
                f"no parameter {parameter!r} was sampled; there are {', '.join(self.parameters)}"
            )
        return np.asarray(self.samples[:, self.parameters.index(parameter)])

    def mean(self, parameter: str) -> float:
        """Return the posterior mean."""
        return float(self.column(parameter).mean())

    def error(self, parameter: str) -> float:
        """Return the posterior standard deviation."""
        return float(self.column(parameter).std())

    def interval(
        self, parameter: str, quantiles: tuple[float, float] = ONE_SIGMA
    ) -> tuple[float, float]:
        """Return the ends of the central credible interval, of 68 % unless said otherwise."""
        low, high = np.quantile(self.column(parameter), quantiles)
        return float(low), float(high)

    @property
    def is_mixed(self) -> bool:
        """Whether the chain has forgotten its start; if not, sample with more ``n_step``.

        Its halves agree, with a split R-hat below 1.1, and it is worth 400 independent draws (A.
        Vehtari et al., Bayesian Analysis 16 (2021) 667).
        """
        enough = self.chain.effective_size.min() >= _LEAST_SIZE
        return bool(enough and self.chain.r_hat.max() < _R_HAT)


def default_priors(data: SpectrumData, model: LifetimeModel) -> dict[str, Prior]:
    """Return a prior for each free parameter of a model.

    Events are uniform up to twice the counts, which makes the intensities uniform over all that sum
    to one; mean lives, spreads and the response are uniform over the range that a fit allows them,
    or as their ``prior_ns`` says.

    Parameters
    ----------
    data : SpectrumData
        The spectrum.
    model : LifetimeModel
        The model.
    """
    problem = SpectrumProblem(data, model)
    most = _MOST_EVENTS * max(float(data.counts.sum()), 10.0)
    priors = {}
    known = {problem.names[i]: (mean, sigma) for i, mean, sigma in problem.priors()}
    for name, (low, high) in zip(problem.names, problem.limits(), strict=True):
        end = min(high, most)
        if name in known:
            mean, sigma = known[name]
            priors[name] = Prior(kind="normal", low=low, high=end, mean=mean, sigma=sigma)
        else:
            priors[name] = Prior(low=low, high=end)
    return priors


def sample_posterior(
    data: SpectrumData,
    *,
    model: LifetimeModel | None = None,
    priors: Mapping[str, Prior] | None = None,
    rng: np.random.Generator,
    n_walker: int = 32,
    n_step: int | None = None,
    n_burn: int | None = None,
) -> Posterior:
    """Sample the posterior density of a spectrum's parameters.

    The likelihood is the Poisson likelihood of `fit_spectrum`. Where counts are few it is not a
    Gaussian in the mean life, and what is known beforehand matters: the result depends on the
    priors, which it carries.

    Parameters
    ----------
    data : SpectrumData
        The spectrum.
    model : LifetimeModel, optional
        What it is made of; any background but ``four-set``.
    priors : mapping, optional
        Priors of parameters, by name; of the others `default_priors`.
    rng : numpy.random.Generator
        Source of all randomness.
    n_walker : int
        Walkers of the ensemble, an even number of at least twice the parameters.
    n_step, n_burn : int, optional
        Steps of each walker that are kept, and that are dropped before them; 500 and 200 for each
        parameter when left out.

    Returns
    -------
    Posterior
        Draws of every parameter and of the intensities. ``is_mixed`` is False where the chain was
        too short.

    Raises
    ------
    SettingsError
        If a prior is for a parameter that is not free, a walker finds no place within the priors,
        or the background is ``four-set``.
    """
    model = model or LifetimeModel()
    if model.background == "four-set":
        raise SettingsError(
            f"{data.name}: a posterior takes no background = 'four-set', whose shape of class II "
            "follows the fitted lifetimes; use 'delayed' or 'flat'"
        )
    problem = SpectrumProblem(data, model)
    known = default_priors(data, model)
    unknown = [name for name in priors or {} if name not in known]
    if unknown:
        raise SettingsError(
            f"{data.name}: a prior for {unknown[0]!r}, which is not free; there are "
            f"{', '.join(known)}"
        )
    for name, prior in (priors or {}).items():
        low, high = known[name].low, known[name].high
        assert low is not None
        assert high is not None
        known[name] = prior.within(low, high)
    density = _Density(problem, [known[name] for name in problem.names])
    start = _start(problem, density, n_walker, rng)
    n = len(problem.names)
    chain = sample(
        density,
        start,
        n_step=_STEPS * n if n_step is None else n_step,
        n_burn=_BURN * n if n_burn is None else n_burn,
        rng=rng,
    )
    draws = chain.flat
    events = draws[:, : problem.n_group] @ problem.link.T
    source = np.array([component.source for component in model.components])
    total = events[:, ~source].sum(axis=1, keepdims=True)
    shares = np.where(source, [c.intensity or 0.0 for c in model.components], events / total)
    posterior = Posterior(
        data=data,
        model=model,
        parameters=(*problem.names, *(f"intensity_{name}" for name in model.names)),
        priors=tuple(known[name] for name in problem.names),
        samples=np.hstack([draws, shares]),
        chain=chain,
    )
    log.info(
        "%s: %d draws, worth %.0f independent ones, R-hat %.3f",
        data.name, len(draws), chain.effective_size.min(), chain.r_hat.max(),
    )  # fmt: skip
    return posterior


class _Density:
    """The logarithm of the posterior density of many points, compiled."""

    def __init__(self, problem: SpectrumProblem, priors: list[Prior]) -> None:
        model, data, names = problem.model, problem.data, list(problem.names)
        self.kind = np.array([_KINDS[prior.kind] for prior in priors])
        self.prior = np.array([prior.row for prior in priors])

        def at(name: str) -> int:
            return names.index(name) if name in names else -1

        response_names = [["", "mu_ns", "sigma_ns"]] + [
            [f"weight_{i}", f"shift_{i}_ns", f"sigma_{i}_ns"]
            for i in range(2, len(model.response.more) + 2)
        ]
        response = [[1.0, model.response.mu_ns, model.response.sigma_ns]] + [
            [g.weight, g.shift_ns, g.sigma_ns] for g in model.response.more
        ]
        components = model.components
        fixed = [model.response.known and not c.free and not c.spread_free for c in components]
        shares = np.zeros((len(components), data.n_bin))
        if any(fixed):
            unit = np.zeros(len(names))
            for k in np.flatnonzero(fixed):
                unit[: problem.n_group] = problem.link[k] / (problem.link[k] @ problem.link[k])
                unit[problem.n_group : problem.level_at] = problem.start()[
                    problem.n_group : problem.level_at
                ]
                shares[k] = problem.signal(unit)[k]
        delayed = problem.delayed
        level = [0.0, 0.0] if delayed is None else [delayed.prompt.sum(), delayed.n_sets[0]]
        self.arguments = (
            data.edges_ns,
            data.counts,
            problem.exposure,
            problem.shape,
            np.array(level, np.float64),
            np.ascontiguousarray(problem.link),
            np.array([[c.tau_ns, c.spread] for c in components]),
            np.array([[at(f"tau_{c.name}_ns"), at(f"spread_{c.name}")] for c in components]),
            shares,
            np.array(fixed),
            np.array([[np.nan if x is None else x for x in row] for row in response]),
            np.array([[at(name) for name in row] for row in response_names]),
            problem.level_at,
        )

    def __call__(self, thetas: FloatArray) -> FloatArray:
        """Return (M,) logarithms of the density at (M, P) points."""
        out = np.empty(len(thetas))
        points = np.ascontiguousarray(thetas)
        many = points.shape[0] * len(self.arguments[0]) > _MANY
        density = _posterior.log_posterior_on_cores if many else _posterior.log_posterior
        density(points, self.kind, self.prior, *self.arguments, out)
        return out


def _start(
    problem: SpectrumProblem, density: _Density, n_walker: int, rng: np.random.Generator
) -> FloatArray:
    """Scatter the walkers about the best fit by its errors, within the priors."""
    low, high = density.prior[:, 0], density.prior[:, 1]
    minimum = minimise(problem, np.clip(problem.start(), low, high))
    centre = np.clip(minimum.values, low, high)
    variance = np.diag(minimum.covariance)
    width = np.sqrt(np.where(np.isfinite(variance) & (variance > 0), variance, 0.0))
    # Where the fit gives no error, the walkers find the width themselves.
    width = np.where(width > 0, np.minimum(width, 0.2 * (high - low)), 0.02 * (high - low))
    walkers = np.empty((n_walker, len(centre)))
    placed = 0
    for _ in range(_TRIES):
        trial = centre + width * rng.standard_normal((n_walker, len(centre)))
        # A value beyond an end is mirrored into the range.
        trial = np.clip(np.where(trial < low, 2 * low - trial, trial), low, None)
        trial = np.where(trial > high, 2 * high - trial, trial)
        good = trial[np.isfinite(density(trial))][: n_walker - placed]
        walkers[placed : placed + len(good)] = good
        placed += len(good)
        if placed == n_walker:
            return walkers
    raise SettingsError(
        f"{problem.data.name}: no walker finds a place within the priors near "
        + ", ".join(f"{n} = {x:.4g}" for n, x in zip(problem.names, centre, strict=True))
        + "; widen them"
    )
