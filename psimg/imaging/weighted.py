"""Images of weighted triplets in a window, what randoms add to them, and their scatter."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.imaging.list_mode import ListMode
from psimg.imaging.mlem import Progress, maximise_activity
from psimg.imaging.projector import Field, Projector, to_field, to_image
from psimg.imaging.values import ImageData

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]

_LEAST_SEEN = 1e-9
"""Share of the largest sum along a line below which a line holds nothing: rounding, and squares of
its inverse would overflow."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class WindowEvents:
    """The triplets of some time bins."""

    lines: ListMode
    dt_ns: FloatArray
    """(n,) [ns]."""
    weights: Weights
    """(n,) one, or a replicate's."""


def events_of(data: ImageData, weights: Weights | None, first: int, stop: int) -> WindowEvents:
    """Return the triplets of the time bins from ``first`` up to the one before ``stop``."""
    if weights is not None and np.shape(weights) != (len(data.triplets),):
        raise DataError(f"{np.shape(weights)} weights for {len(data.triplets)} triplets")
    lines, index = data.triplets.of_bins(first, stop)
    n = len(index)
    return WindowEvents(
        lines=lines,
        dt_ns=data.dt_ns[index].astype(np.float64),
        weights=np.ones(n, np.float32) if weights is None else np.asarray(weights[index]),
    )


def image_of(
    projector: Projector,
    weights: NDArray[np.floating],
    *,
    start: FloatArray,
    passes: int,
    subsets: int,
    progress: Progress | None = None,
) -> tuple[Field, FloatArray]:
    """Return the field of weighted events by expectation maximisation, and its trace.

    All images of a method take the same passes, and start from what is expected of each: where a
    voxel's dt is that of all events, images have the right ratio however far they have converged.
    Where nothing is expected there will be nothing.
    """
    return maximise_activity(
        projector,
        iterations=passes,
        subsets=subsets,
        weights=weights.astype(np.float32),
        start=to_field(start if start.any() else np.ones(start.shape), projector.grid),
        progress=progress,
    )


def power_images(
    projector: Projector,
    field: Field,
    events: WindowEvents,
    u: FloatArray,
    *,
    starts: list[FloatArray],
    passes: int,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    """Return the (nx, ny, nz) images of events weighted by u, u^2 and so on.

    Expectation maximisation with weights is W <- W H'(u/H W). Its noise is that of the weights,
    those of late randoms most of all, and is turned into a bias as W is updated by a factor. Its
    linear form about the image A of what is expected of the events,

        W <- W + A H'[(u - H W/H A)/H A],

    has the same fixed point for expected events and converges as fast, but what it makes of noise
    is zero in the mean, and a shift of u adds that much of A, exactly. With A from the triplets
    themselves its noise would bias W, too: in a hot ball with 60 % of randoms a mean lifetime of
    0.88 ns came out as 1.10 after five passes.

    Parameters
    ----------
    projector : Projector
        The events.
    field : Field
        A, what is expected of them.
    events : WindowEvents
        The same, with the weights of a replicate.
    u : (n,) array
        The weights' base [ns].
    starts : list of (nx, ny, nz) arrays
        Where the mean of u, u^2, ... in each voxel starts.
    passes : int
        Passes over the events.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.
    """
    grid = projector.grid
    seen = projector.project(field)
    seen = np.where(seen > _LEAST_SEEN * seen.max(initial=0.0), seen, 0.0)
    per_seen = np.where(seen > 0, 1.0 / np.where(seen > 0, seen, 1.0), 0.0).astype(np.float32)
    # A voxel of which more is seen than A holds takes shorter steps, or they would not converge.
    excess = projector.back_project(events.weights * per_seen)
    pace = field / np.maximum(excess, np.float32(1.0))
    images = []
    for k, start in enumerate(starts):
        image = field * to_field(start, grid)
        powers = (u ** (k + 1)).astype(np.float32)
        for done in range(passes):
            mean = projector.project(image) * per_seen
            step = projector.back_project(events.weights * (powers - mean) * per_seen)
            image += pace * step
            if progress is not None:
                progress(k * passes + done + 1, len(starts) * passes)
        images.append(to_image(image, grid))
    return images


def scatter_of(
    projector: Projector, field: Field, events: WindowEvents, u: FloatArray, n_power: int
) -> list[FloatArray]:
    """Return (nx, ny, nz) sums of c^2 u^k over events, k from 0 up to ``n_power`` - 1.

    c is the share of an event that the voxel has, times its weight: the variance of a sum of c u^k
    over events that came by chance is the sum of c^2 u^2k.
    """
    seen = projector.project(field)
    # An event whose line holds nothing has no share anywhere.
    seen = np.where(seen > _LEAST_SEEN * seen.max(initial=0.0), seen, 0.0)
    share = np.where(seen > 0, events.weights / np.where(seen > 0, seen, 1.0), 0.0)
    grid = projector.grid
    own = to_image(projector.blurred(field), grid).astype(np.float64) ** 2
    values = share.astype(np.float64) ** 2
    return [
        own
        * to_image(projector.back_project((values * u**k).astype(np.float32), squared=True), grid)
        for k in range(n_power)
    ]


def steps_of(progress: Progress | None, part: int, n_part: int) -> Progress | None:
    """Return what reports the passes of one of several equal parts as those of all."""
    if progress is None:
        return None
    report: Callable[[int, int], None] = progress

    def of_all(done: int, total: int) -> None:
        report(part * total + done, n_part * total)

    return of_all


def maps_of(
    grid: VoxelGrid,
    columns: dict[str, tuple[str, FloatArray, FloatArray]],
    *,
    status: NDArray[np.uint8],
    held: NDArray[np.bool_],
) -> ParameterMaps:
    """Return maps from images.

    Parameters
    ----------
    grid : VoxelGrid
        The voxels.
    columns : dict
        Unit, (nx, ny, nz) values and errors of each parameter.
    status : (nx, ny, nz) uint8 array
        A `FitStatus` of each voxel; others than OK have no value.
    held : (nx, ny, nz) bool array
        Voxels that hold events.
    """
    voxel = np.flatnonzero(held)
    kept = status.reshape(-1)[voxel]
    values, errors = (
        np.stack([image.reshape(-1)[voxel] for image in images], axis=1)
        for images in (
            [value for _, value, _ in columns.values()],
            [error for _, _, error in columns.values()],
        )
    )
    values[kept != FitStatus.OK] = np.nan
    errors[kept != FitStatus.OK] = np.nan
    log.info(
        "voxels: %d with events, %s",
        len(voxel),
        ", ".join(f"{np.count_nonzero(kept == s)} {s.name.lower()}" for s in FitStatus),
    )
    return ParameterMaps(
        grid=grid,
        names=tuple(columns),
        units=tuple(unit for unit, _, _ in columns.values()),
        voxel=voxel,
        values=values,
        errors=errors,
        deviance=np.full(len(voxel), np.nan),
        ndf=0,
        status=kept,
    )
