"""Draw from a posterior with an ensemble of walkers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.lifetime._sampler import accept, propose
from psimg.lifetime.mixing import autocorrelation_times, split_r_hat

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_STRETCH = 2.0
"""The paper's choice of a."""
_LEAST_KEPT = 4
"""Steps that a comparison of the chains' halves needs."""
_FLAT = 1e-10
"""Smallest extent of the starting points in any direction, over their largest."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Chain:
    """S steps of W walkers in P parameters, after the first were dropped and others thinned out."""

    samples: FloatArray
    """(S, W, P) positions."""
    log_posterior: FloatArray
    """(S, W) logarithm of the posterior density there, up to a constant."""
    acceptance: float
    """Share of the proposals that were accepted, the dropped steps' left out."""
    thin: int
    """Steps of the sampler for each step that is kept."""
    autocorrelation: FloatArray
    """(P,) integrated autocorrelation time in kept steps; see `autocorrelation_times`."""
    effective_size: FloatArray
    """(P,) independent samples that the mean of the chain is worth."""
    r_hat: FloatArray
    """(P,) agreement of the chains' halves; see `split_r_hat`."""

    def __post_init__(self) -> None:
        s, w, p = self.samples.shape
        freeze(
            self,
            samples=(np.float64, s, w, p),
            log_posterior=(np.float64, s, w),
            autocorrelation=(np.float64, p),
            effective_size=(np.float64, p),
            r_hat=(np.float64, p),
        )

    @property
    def flat(self) -> FloatArray:
        """(S W, P) all samples."""
        return self.samples.reshape(-1, self.samples.shape[2])


def sample(
    log_posterior: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    *,
    n_step: int,
    rng: np.random.Generator,
    n_burn: int = 0,
    thin: int = 1,
) -> Chain:
    """Draw from a density with the stretch move.

    J. Goodman and J. Weare, Comm. App. Math. Comp. Sci. 5 (2010) 65. The steps are the same for
    parameters of any scale and correlation.

    Parameters
    ----------
    log_posterior : callable
        From (M, P) parameters to (M,) logarithms of the density, up to a constant; minus infinity
        outside its support.
    start : (W, P) array
        Where the walkers begin: an even number of them, at least 2 P, inside the support and
        scattered in every parameter.
    n_step : int
        Steps after the burn-in; W samples each.
    rng : numpy.random.Generator
        Source of all randomness.
    n_burn : int
        Steps to drop beforehand.
    thin : int
        Keep the last of so many steps.

    Returns
    -------
    Chain
        The samples, and how well they have mixed.

    Raises
    ------
    DataError
        If a walker starts outside the support, if they do not span the parameters, or if the
        density is NaN or infinite somewhere.
    SettingsError
        If fewer than four steps would be kept.
    """
    if thin < 1 or n_burn < 0 or n_step // thin < _LEAST_KEPT:
        raise SettingsError(
            f"n_step = {n_step}, n_burn = {n_burn}, thin = {thin}: these keep fewer than "
            f"{_LEAST_KEPT} steps; raise n_step"
        )
    walkers = np.array(start, dtype=np.float64, order="C")
    _require_spread(walkers)
    n_walker, n_parameter = walkers.shape
    density = _evaluate(log_posterior, walkers)
    outside = np.flatnonzero(np.isneginf(density))
    if len(outside):
        raise DataError(
            f"{len(outside)} of {n_walker} walkers start outside the support, the first at "
            f"{walkers[outside[0]]}; start them closer to the best fit"
        )
    n_accepted = np.zeros(n_walker, np.int64)
    for _ in range(n_burn):
        _step(log_posterior, walkers, density, n_accepted, rng)
    n_accepted[:] = 0
    n_kept = n_step // thin
    samples = np.empty((n_kept, n_walker, n_parameter))
    kept = np.empty((n_kept, n_walker))
    for s in range(n_kept):
        for _ in range(thin):
            _step(log_posterior, walkers, density, n_accepted, rng)
        samples[s] = walkers
        kept[s] = density
    acceptance = float(n_accepted.sum() / (n_kept * thin * n_walker))
    autocorrelation = autocorrelation_times(samples)
    log.info("sampler: %d walkers, %d steps, %.0f %% accepted, autocorrelation time up to %.1f",
             n_walker, n_kept * thin, 100 * acceptance, thin * autocorrelation.max())  # fmt: skip
    return Chain(
        samples=samples,
        log_posterior=kept,
        acceptance=acceptance,
        thin=thin,
        autocorrelation=autocorrelation,
        effective_size=n_kept * n_walker / autocorrelation,
        r_hat=split_r_hat(samples),
    )


def _step(
    log_posterior: Callable[[FloatArray], FloatArray],
    walkers: FloatArray,
    density: FloatArray,
    n_accepted: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Move each half of the walkers once, in place."""
    half = len(walkers) // 2
    proposal = np.empty((half, walkers.shape[1]))
    log_z = np.empty(half)
    for first, other in ((0, half), (half, 0)):
        partner = rng.integers(half, size=half)
        propose(walkers, first, other, partner, rng.random(half), _STRETCH, log_z, proposal)
        proposed = _evaluate(log_posterior, proposal)
        # 1 - random() lies in (0, 1], whose logarithm is finite.
        log_u = np.log1p(-rng.random(half))
        accept(walkers, density, first, proposal, proposed, log_z, log_u, n_accepted)


def _evaluate(log_posterior: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
    value = np.ascontiguousarray(log_posterior(at), dtype=np.float64)
    if value.shape != (len(at),):
        raise DataError(f"log_posterior gave {value.shape} values for {len(at)} points")
    bad = np.flatnonzero(np.isnan(value) | np.isposinf(value))
    if len(bad):
        raise DataError(
            f"log_posterior is {value[bad[0]]} at {at[bad[0]]}; outside its support it must be "
            "minus infinity"
        )
    return value


def _require_spread(start: FloatArray) -> None:
    """Raise `DataError` unless there are enough walkers, finite, and not all in one plane.

    The stretch move cannot leave a plane that holds all walkers.
    """
    if start.ndim != 2 or not start.size:
        raise DataError(f"start has shape {start.shape}, expected (walkers, parameters)")
    n_walker, n_parameter = start.shape
    if n_walker % 2 or n_walker < 2 * n_parameter:
        raise DataError(
            f"{n_walker} walkers for {n_parameter} parameters; start an even number, at least "
            f"{2 * n_parameter}"
        )
    if not np.all(np.isfinite(start)):
        raise DataError("start holds values that are not finite")
    centred = start - start.mean(axis=0)
    extent = np.abs(centred).max(axis=0)
    singular = np.linalg.svd(centred / np.where(extent > 0, extent, 1.0), compute_uv=False)
    if singular[-1] <= _FLAT * singular[0]:
        raise DataError(
            "the walkers start in a line or plane, which they cannot leave; scatter them in every "
            "parameter"
        )
