"""Errors from replicates of the list mode, for any estimate."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus, ParameterMaps
from psimg.imaging.mlem import Progress
from psimg.imaging.values import Reconstruction

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]

_LEAST_SHARE = 0.5
"""Share of the replicates that must give a value, or there is no error."""


def bootstrap_spread(
    estimate: Callable[[Weights], FloatArray],
    n_events: int,
    *,
    replicates: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> FloatArray:
    """Return the standard deviation of an estimate over replicates of its events.

    Each event has a weight of Poisson distribution with mean one, which stands for drawing as many
    events from those that were measured (B. Efron, Ann. Stat. 7 (1979) 1; with Poisson weights the
    total varies as that of a measurement does).

    Parameters
    ----------
    estimate : callable
        Called with (N,) float32 weights; returns an array of one shape, NaN where there is no
        value.
    n_events : int
        N.
    replicates : int
        Number of replicates, two or more.
    rng : Generator
        Source of the weights.
    progress : callable, optional
        Called as ``progress(replicates_done, replicates_total)``.

    Returns
    -------
    array
        Standard deviations; NaN where fewer than half of the replicates have a value.
    """
    # Sums about a running mean, so that no more than one replicate is kept (B. P. Welford,
    # Technometrics 4 (1962) 419).
    n, mean, squares = np.zeros(()), np.zeros(()), np.zeros(())
    for done in range(replicates):
        value = np.asarray(estimate(rng.poisson(1.0, n_events).astype(np.float32)), np.float64)
        known = np.isfinite(value)
        n = n + known
        apart = np.where(known, value - mean, 0.0)
        mean = mean + apart / np.maximum(n, 1)
        squares = squares + apart * np.where(known, value - mean, 0.0)
        if progress is not None:
            progress(done + 1, replicates)
    enough = n >= max(2.0, _LEAST_SHARE * replicates)
    return np.where(enough, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)


def bootstrap_errors(
    reconstruct: Callable[[Weights | None], Reconstruction],
    n_events: int,
    *,
    replicates: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct with errors from replicates of the list mode.

    Parameters
    ----------
    reconstruct : callable
        Called with the weight of each event in the order of the list mode, or None for ones.
    n_events : int
        Events of the list mode.
    replicates : int
        Number of replicates, two or more.
    rng : Generator
        Source of the weights.
    progress : callable, optional
        Called as ``progress(replicates_done, replicates_total)``.

    Returns
    -------
    Reconstruction
        Of all events, its errors replaced in every voxel that has a value; NaN where fewer than
        half of the replicates have one too.
    """
    found = reconstruct(None)
    maps = found.maps

    def estimate(weights: Weights) -> FloatArray:
        return _values_at(reconstruct(weights).maps, maps)

    spread = bootstrap_spread(estimate, n_events, replicates=replicates, rng=rng, progress=progress)
    errors = np.where(np.isfinite(maps.values), spread, np.nan)
    log.info(
        "errors: from %d replicates, in %d of %d voxels",
        replicates,
        np.count_nonzero(np.isfinite(errors).any(axis=1)),
        np.count_nonzero(maps.status == FitStatus.OK),
    )
    return replace(found, maps=replace(maps, errors=errors))


def _values_at(maps: ParameterMaps, wanted: ParameterMaps) -> FloatArray:
    """Return the (V, P) values of one at the voxels of the other, NaN where it has none."""
    row = np.full(maps.grid.n_voxel, -1)
    row[maps.voxel] = np.arange(len(maps))
    at = row[wanted.voxel]
    values = np.full((len(wanted), len(wanted.names)), np.nan)
    values[at >= 0] = maps.values[at[at >= 0]]
    return values
