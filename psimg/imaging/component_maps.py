"""Component reconstructions as parameter maps with errors."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus, ParameterMaps
from psimg.imaging.component_errors import component_variances
from psimg.imaging.components import maximise_components
from psimg.imaging.mlem import Progress
from psimg.imaging.projector import to_field, to_image
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction

_MOST_ERROR = 1.0
"""Error of a lifetime, in lifetimes, from which on it says nothing."""


def reconstruct_components(
    data: ImageData,
    *,
    options: ReconOptions,
    penalised: bool,
    weights: NDArray[np.float32] | None = None,
    guide: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct maps of o-Ps lifetime and intensity by component EM.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        Passes, subsets and penalty.
    penalised : bool
        Whether neighbours are pulled together.
    weights : (N,) float32 array, optional
        Weight of each event in the order of the list mode, for a bootstrap.
    guide : (nx, ny, nz) array, optional
        An anatomical image for the penalty.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.

    Returns
    -------
    Reconstruction
        ``tau_ops``, ``intensity_ops``, ``signal`` (true triplets) and ``background`` (randoms) of
        voxels with at least ``min_counts`` true triplets; where penalised, the 125 voxels
        around must have them together. Errors are the spread over repeated measurements
        (`psimg.imaging.component_errors`), and hold where the image changes little over the blur.
    """
    from scipy.ndimage import uniform_filter

    if guide is not None and options.guide_scale is None:
        guide = guide / (0.1 * max(float(np.ptp(guide)), 1e-30))
    found = maximise_components(
        data, options=options, penalised=penalised, weights=weights, guide=guide, progress=progress
    )
    grid, weight = data.grid, data.shapes.intensity_weight
    counts = to_image(found.counts, grid)
    leant_on = 125.0 * uniform_filter(counts, 5, mode="constant") if penalised else counts
    used = to_image(found.used.astype(np.float32), grid) > 0
    enough = (leant_on >= options.min_counts) & used
    var_tau, var_share = component_variances(
        data,
        options=options,
        counts=found.counts,
        share=found.share,
        log_tau=found.log_tau,
        random_scale=found.random_scale,
        penalised=penalised,
        used=found.used,
        guide=np.zeros(0, np.float32) if guide is None else to_field(guide, grid),
    )
    tau = np.exp(to_image(found.log_tau, grid))
    values = np.stack(
        [
            tau,
            to_image(found.share, grid) * np.float32(weight),
            counts,
            data.unrelated * found.random_scale + data.class_2,
        ],
        axis=-1,
    )
    with np.errstate(invalid="ignore"):
        errors = np.stack(
            [
                tau * np.sqrt(to_image(var_tau, grid)),
                np.sqrt(to_image(var_share, grid)) * weight,
                np.full(grid.shape, np.nan),
                np.full(grid.shape, np.nan),
            ],
            axis=-1,
        )
    voxel = np.flatnonzero((counts > 0).reshape(-1))
    good = enough.reshape(-1)[voxel]
    if not data.shapes.fast.any():
        errors[..., 1] = 0.0
    values = values.reshape(-1, 4)[voxel].astype(np.float64)
    errors = errors.reshape(-1, 4)[voxel].astype(np.float64)
    with np.errstate(invalid="ignore"):
        good &= errors[:, 0] < _MOST_ERROR * values[:, 0]
    values[~good, :2] = np.nan
    errors[~good] = np.nan
    errors[~np.isfinite(errors)] = np.nan
    return Reconstruction(
        maps=ParameterMaps(
            grid=grid,
            names=("tau_ops", "intensity_ops", "signal", "background"),
            units=("ns", "1", "counts", "counts"),
            voxel=voxel,
            values=values,
            errors=errors,
            deviance=np.full(len(voxel), np.nan),
            ndf=0,
            status=np.where(good, FitStatus.OK, FitStatus.TOO_FEW_COUNTS).astype(np.uint8),
        ),
        counts=counts,
        trace=found.trace,
        random_scale=found.random_scale,
    )
