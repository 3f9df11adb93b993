"""Images of weighted triplets in a window, what randoms add to them, and their scatter."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.imaging.list_mode import ListMode
from psimg.imaging.mlem import Progress, maximise_activity
from psimg.imaging.moments import peak_bin
from psimg.imaging.projector import Field, Projector, to_field, to_image
from psimg.imaging.values import ImageData, ReconOptions

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RandomImages:
    """Expected randoms of the whole spectrum."""

    unrelated: FloatArray
    """(nx, ny, nz) with a prompt of another decay."""
    class_2: FloatArray
    """(nx, ny, nz) prompt-correlated."""


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


def find_randoms(
    data: ImageData, *, options: ReconOptions, weights: Weights | None = None
) -> RandomImages:
    """Return the images of randoms, from delayed windows or else from dt before the peak.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        With ``randoms = "none"`` there are none.
    weights : (N,) float32 array, optional
        Weight of each event.

    Returns
    -------
    RandomImages
        Images that delayed windows told; or else the image of pairs times one number, from the
        triplets in the time bins before the peak, over their share of the randoms.

    Raises
    ------
    SettingsError
        If there are neither delayed windows nor time bins before the peak.
    """
    nothing = np.zeros(data.grid.shape)
    if options.randoms == "none":
        return RandomImages(unrelated=nothing, class_2=nothing)
    class_2 = data.class_2.astype(np.float64)
    if data.level_known:
        return RandomImages(unrelated=data.unrelated.astype(np.float64), class_2=class_2)
    peak = peak_bin(data.shapes)
    share = float(data.shapes.unrelated[:peak].sum())
    if not share > 0:
        raise SettingsError(
            f"recon.method = {options.method!r} needs an estimate of the randoms and there is "
            "none: set select.delays_ns and a background that uses them, start the spectrum "
            "further before the peak, or set recon.randoms = 'none'"
        )
    rows = slice(data.triplets.span(0).start, data.triplets.span(peak - 1).stop)
    before = float(rows.stop - rows.start if weights is None else weights[rows].sum())
    pairs = data.activity.astype(np.float64)
    total = pairs.sum()
    return RandomImages(
        unrelated=pairs * (before / share / total) if total > 0 else nothing, class_2=class_2
    )


def image_of(
    projector: Projector,
    weights: Weights,
    *,
    data: ImageData,
    passes: int,
    subsets: int,
    progress: Progress | None = None,
) -> tuple[Field, FloatArray]:
    """Return the field of weighted events by expectation maximisation, and its trace.

    All images of a method take the same passes from the same start, the activity: where all events
    have the same weight, the images then have one ratio, however far they have converged.
    """
    start = to_field(np.maximum(data.activity, 0.0), data.grid)
    if not start.any():
        start = to_field(np.ones(data.grid.shape), data.grid)
    return maximise_activity(
        projector,
        iterations=passes,
        subsets=subsets,
        weights=np.asarray(weights, np.float32),
        start=start,
        progress=progress,
    )


def scatter_of(
    projector: Projector, field: Field, events: WindowEvents, u: FloatArray, n_power: int
) -> list[FloatArray]:
    """Return (nx, ny, nz) sums of c^2 u^k over events, k from 0 up to ``n_power`` - 1.

    c is the share of an event that the voxel has, times its weight: the variance of a sum of c u^k
    over events that came by chance is the sum of c^2 u^2k.
    """
    seen = projector.project(field)
    # An event whose line holds nothing has no share anywhere.
    share = np.where(seen > 0, events.weights / np.where(seen > 0, seen, 1.0), 0.0)
    grid = projector.grid
    own = to_image(projector.blurred(field), grid).astype(np.float64) ** 2
    values = share.astype(np.float64) ** 2
    return [
        own * to_image(projector.back_project_squares((values * u**k).astype(np.float32)), grid)
        for k in range(n_power)
    ]


def steps_of(progress: Progress | None, part: int, n_part: int) -> Progress | None:
    """Return what reports the passes of one of several images as part of all of them."""
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
