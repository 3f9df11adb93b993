"""o-Ps lifetime of each voxel from an image per time bin, and a fit per voxel: SPLIT."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus, ParameterMaps
from psimg.events.windows import N_DELAYED_KINDS
from psimg.imaging.halves import with_grown_errors
from psimg.imaging.mlem import Progress
from psimg.imaging.moments import peak_bin
from psimg.imaging.projector import Projector, to_image
from psimg.imaging.random_images import RandomImages, expected_image, find_randoms
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction
from psimg.imaging.weighted import events_of, image_of, scatter_of
from psimg.lifetime.values import FitOptions
from psimg.lifetime.voxel_fit import fit_voxels
from psimg.spectra.levels import RandomLevels
from psimg.spectra.values import LifetimeSpectra

FloatArray = NDArray[np.float64]

_MOST_BINS = 20
"""Images that the time bins are joined to at most."""
_WORTH = 1e4
"""Counts for each random triplet that its expectation is taken to be worth: it is known."""


def reconstruct_split(
    data: ImageData,
    *,
    options: ReconOptions,
    weights: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct an image of each time bin, and fit the spectrum that they make of each voxel.

    SPLIT, statistical positronium lifetime image reconstruction via time-thresholding (B. Huang
    et al., IEEE Trans. Med. Imaging (2024)), with images of the bins between thresholds rather
    than of what lies beyond each: their noise is independent, as a Poisson fit takes it to be. The
    fit is that of a histogram image, on joined bins, with the expected randoms of the voxel.
    Subsets are not used, as a time bin holds too few events for them; as many updates are made.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        Passes, randoms and the smallest number of events.
    weights : (N,) float32 array, optional
        Weight of each event in the order of the list mode, for a bootstrap.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.

    Returns
    -------
    Reconstruction
        ``tau_ops``, ``intensity_ops``, ``signal`` and ``background`` as `fit_voxels` gives them.
        The variance of a bin's count is the sum of squares of the shares that the voxel has of its
        events; errors from these are raised by one factor for the noise that the passes build up
        as they undo the blur (`with_grown_errors`; not for a replicate). They leave out the errors
        of the randoms and of what all events tell, and that the factor differs from voxel to
        voxel. Prompt-correlated randoms are the same share of the randoms everywhere.

    Raises
    ------
    SettingsError
        If there is no estimate of the randoms.
    """
    return with_grown_errors(_reconstruct, data, options, weights, progress)


def _reconstruct(
    data: ImageData,
    options: ReconOptions,
    weights: NDArray[np.float32] | None,
    progress: Progress | None,
) -> Reconstruction:
    shapes, grid = data.shapes, data.grid
    randoms = find_randoms(data, options=options, weights=weights)
    first = peak_bin(shapes)
    stride = -(-(shapes.n_bin - first) // _MOST_BINS)
    limits = [*range(first, shapes.n_bin, stride), shapes.n_bin]
    n_image = len(limits) - 1
    ops = shapes.ops_at(np.array([shapes.start_tau_ns]))[0][0]
    true = (1.0 - shapes.start_share) * shapes.fast + shapes.start_share * ops
    counts, variances = np.zeros((2, n_image, *grid.shape))
    passes = options.passes * options.subsets
    trace = np.zeros(passes)
    for b in range(n_image):
        events = events_of(data, weights, limits[b], limits[b + 1])
        if len(events.weights):
            projector = Projector(events.lines, resolution_mm=options.resolution_mm)
            bins = slice(limits[b], limits[b + 1])
            start = expected_image(
                data, randoms, true[bins].sum(), shapes.unrelated[bins].sum(),
                shapes.class_2[bins].sum(),
            )  # fmt: skip
            field, found = image_of(
                projector, events.weights, start=start,
                passes=passes, subsets=1,
            )  # fmt: skip
            counts[b] = to_image(field, grid)
            variances[b] = scatter_of(projector, field, events, events.dt_ns, 1)[0]
            trace += found
        if progress is not None:
            progress(b + 1, n_image)
    shape, expected = _randoms(data, randoms, limits)
    signal = np.maximum(counts.sum(axis=0) - expected, 0.0)
    voxel = np.flatnonzero(signal >= options.min_counts)
    spectra = LifetimeSpectra(
        edges_ns=shapes.edges_ns[limits],
        counts=counts.reshape(n_image, -1).T[voxel],
        variances=variances.reshape(n_image, -1).T[voxel],
        delayed=np.zeros((len(voxel), N_DELAYED_KINDS, 1), np.uint32),
        n_sets=(1, 0, 0),
        n_events=len(data.triplets),
        n_outside=0,
        n_outside_dt=0,
        grid=grid,
        voxel=voxel,
    )
    levels = RandomLevels(
        count=_WORTH * expected.reshape(-1)[voxel],
        scale=np.full(len(voxel), _WORTH),
        class_2_share=np.zeros(len(voxel)),
    )
    maps = fit_voxels(
        spectra,
        # Levels and one shape are all that a fit needs of any kind of randoms.
        model=replace(shapes.model, background="delayed"),
        calibration=shapes.calibration,
        levels=levels,
        shape=shape,
        options=FitOptions(min_counts=1),
    )
    return Reconstruction(
        maps=_with_others(maps, np.flatnonzero(counts.any(axis=0))),
        counts=signal.astype(np.float32),
        trace=trace,
    )


def _randoms(
    data: ImageData, randoms: RandomImages, limits: list[int]
) -> tuple[FloatArray, FloatArray]:
    """Return the (B,) shares of the randoms in the joined bins, and the image of their number."""
    shares = [
        np.add.reduceat(shares, limits[:-1])
        for shares in (data.shapes.unrelated, data.shapes.class_2)
    ]
    images = (randoms.unrelated, randoms.class_2)
    total = sum(image.sum() * share for image, share in zip(images, shares, strict=True))
    expected = sum(image * share.sum() for image, share in zip(images, shares, strict=True))
    if not total.sum() > 0:
        total = np.diff(data.shapes.edges_ns[limits])
    return np.asarray(total / total.sum()), np.asarray(expected)


def _with_others(maps: ParameterMaps, voxel: NDArray[np.int64]) -> ParameterMaps:
    """Return the maps with the voxels that hold events and were not fitted."""
    rows = np.searchsorted(voxel, maps.voxel)
    n = len(voxel)
    values, errors = np.full((2, n, len(maps.names)), np.nan)
    status = np.full(n, FitStatus.TOO_FEW_COUNTS, np.uint8)
    values[rows], errors[rows], status[rows] = maps.values, maps.errors, maps.status
    return replace(
        maps,
        voxel=voxel,
        values=values,
        errors=errors,
        deviance=np.full(n, np.nan),
        ndf=0,
        status=status,
        iterations=None,
    )
