"""Errors of images whose noise grows with the passes, from a second image of half of the events."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psimg.imaging.mlem import Progress
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction
from psimg.imaging.weighted import steps_of

log = logging.getLogger(__name__)

_NORMAL = 1.4826
"""Standard deviations in a normal distribution's median absolute deviation."""
_LEAST = 8
"""Voxels that a median is taken over at least."""


def with_grown_errors(
    reconstruct: Callable[
        [ImageData, ReconOptions, NDArray[np.float32] | None, Progress | None], Reconstruction
    ],
    data: ImageData,
    options: ReconOptions,
    weights: NDArray[np.float32] | None,
    progress: Progress | None,
) -> Reconstruction:
    """Reconstruct with errors that hold the noise which the passes build up.

    Every second event with twice the weight is a sample whose estimate differs from that of all
    events by a chance of the same variance as theirs from the truth (half-samples, P. J. McCarthy,
    Rev. Int. Stat. Inst. 37 (1969) 239). One such difference tells nothing of a single voxel, but
    their median over all voxels, in units of the errors at hand, tells one factor for all.

    Parameters
    ----------
    reconstruct : callable
        Called as ``reconstruct(data, options, weights, progress)``, for all events and for half.
    data, options : ImageData, ReconOptions
        Passed on.
    weights : (N,) float32 array, optional
        Weight of each event: a replicate, whose errors nobody asks for, is made once.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)`` over both.

    Returns
    -------
    Reconstruction
        Of all events; errors of each parameter times its factor, which is at least one.
    """
    if weights is not None:
        return reconstruct(data, options, weights, progress)
    whole = reconstruct(data, options, None, steps_of(progress, 0, 2))
    every_second = np.zeros(len(data.triplets), np.float32)
    every_second[::2] = 2.0
    half = reconstruct(data, options, every_second, steps_of(progress, 1, 2))
    errors = whole.maps.errors.copy()
    for column, name in enumerate(whole.maps.names):
        other = half.maps.image(name).reshape(-1)[whole.maps.voxel]
        apart = np.abs(other - whole.maps.values[:, column])
        used = np.isfinite(apart) & (errors[:, column] > 0)
        if np.count_nonzero(used) >= _LEAST:
            growth = _NORMAL * float(np.median(apart[used] / errors[used, column]))
            errors[:, column] *= max(growth, 1.0)
            log.info("errors of %s: times %.2f, from half of the events", name, growth)
    return replace(whole, maps=replace(whole.maps, errors=errors))
