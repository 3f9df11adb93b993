"""From what a study collected to what every method starts from."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.imaging.collect import Lines
from psimg.imaging.list_mode import sort_events
from psimg.imaging.mlem import Progress, maximise_activity
from psimg.imaging.projector import Projector, to_image
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ImageData, ReconOptions
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import SpectrumFit
from psimg.spectra.values import LifetimeSpectra

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

_SMOOTHING_MM = 20.0
"""Gaussian width of the smoothing of images of delayed events: of the order of the blur that they
are located with [mm]."""
_FLOOR = 1e-4
"""Share of the mean below which an activity that randoms were taken off is not let fall: a voxel
that starts with nothing never gets anything."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Randoms:
    """Random triplets as images."""

    unrelated: Image
    """(nx, ny, nz) of those with a prompt of another decay."""
    class_2: Image
    """(nx, ny, nz) prompt-correlated."""
    random_pairs: Image
    """(nx, ny, nz) share of random pairs among pairs, times the pairs."""


def prepare_images(
    triplets: Lines,
    pairs: Lines | None,
    *,
    voxels: LifetimeSpectra,
    edges_ns: FloatArray,
    model: LifetimeModel,
    calibration: SpectrumFit,
    unrelated: FloatArray | None,
    sigma_mm: float,
    options: ReconOptions,
    activity: NDArray[np.floating] | None = None,
    sensitivity: NDArray[np.floating] | None = None,
    prompt_sensitivity: NDArray[np.floating] | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Sort list mode, reconstruct the activity, and place the randoms.

    An unrelated prompt falls on any pair with the same chance: unrelated randoms lie where all
    pairs lie, random pairs among them, and their image is that of all pairs times one number.
    Without pairs the triplets stand for them. Class II is the smoothed image of its delayed
    windows.

    Parameters
    ----------
    triplets : Lines
        Triplets of the prompt window.
    pairs : Lines, optional
        Located annihilation pairs.
    voxels : LifetimeSpectra
        Events of the grid's voxels with their delayed windows; one time bin is enough.
    edges_ns : (B+1,) array
        Edges of the spectrum of all events [ns].
    model, calibration : LifetimeModel, SpectrumFit
        The model with its response known, and the fit of all events in the grid.
    unrelated : (B,) array, optional
        Shape of the unrelated randoms in dt.
    sigma_mm : float
        Gaussian width of the annihilation point along the LOR [mm].
    options : ReconOptions
        How images are made.
    activity : (nx, ny, nz) array, optional
        Activity on any scale, in place of a reconstruction.
    sensitivity : (nx, ny, nz) array, optional
        Relative chance that a triplet of each voxel is seen.
    prompt_sensitivity : (nx, ny, nz) array, optional
        Relative chance that the prompt of each voxel is seen: what turns an image of pairs into
        one of triplets.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.

    Returns
    -------
    ImageData
        What every method starts from.

    Raises
    ------
    SettingsError
        If the model asks for delayed windows that are not there.
    DataError
        If no event is left.
    """
    grid = voxels.grid
    if grid is None:
        raise DataError("images are made on a grid; these spectra are of regions")
    shapes = make_shapes(edges_ns, model=model, calibration=calibration, unrelated=unrelated)
    sorted_triplets = sort_events(
        triplets.position_mm,
        triplets.direction,
        grid=grid,
        sigma_mm=sigma_mm,
        time_bin=shapes.time_bin(triplets.dt_ns),
        n_bin=shapes.n_bin,
    )
    if not len(sorted_triplets):
        raise DataError(
            f"no triplet of {len(triplets)} has a line that reaches the grid and a dt within the "
            "spectrum; check [grid] and [spectrum]"
        )
    use_pairs = pairs is not None and len(pairs) > 0 and options.activity != "triplets"
    if use_pairs:
        assert pairs is not None
        events = sort_events(pairs.position_mm, pairs.direction, grid=grid, sigma_mm=sigma_mm)
        inside = int(np.count_nonzero(grid.voxel_of(pairs.position_mm.astype(np.float64)) >= 0))
    else:
        events = sorted_triplets
        inside = int(voxels.counts.sum(dtype=np.int64))
    projector = Projector(events, resolution_mm=options.resolution_mm)
    field, trace = maximise_activity(
        projector,
        iterations=options.activity_iterations,
        subsets=options.activity_subsets,
        progress=progress,
    )
    every = to_image(field, grid)
    randoms, level_known = _place_randoms(
        every, inside, voxels, model=model, calibration=calibration, with_pairs=use_pairs
    )
    if options.randoms == "none":
        nothing = np.zeros(grid.shape, np.float32)
        randoms, level_known = (
            Randoms(unrelated=nothing, class_2=nothing, random_pairs=nothing),
            True,
        )
    if activity is None:
        taken_off = randoms.random_pairs if use_pairs else randoms.unrelated + randoms.class_2
        seen = np.maximum(every - taken_off, _FLOOR * every)
        if use_pairs and prompt_sensitivity is not None:
            seen = seen * prompt_sensitivity / np.mean(prompt_sensitivity)
    else:
        seen = np.array(activity, np.float32)
        if sensitivity is not None:
            seen = seen * sensitivity
    log.info(
        "images: %d triplets and %d %s on %d voxels, %.0f randoms expected",
        len(sorted_triplets), len(events), "pairs" if use_pairs else "triplets (no pairs)",
        grid.n_voxel, float(randoms.unrelated.sum() + randoms.class_2.sum()),
    )  # fmt: skip
    return ImageData(
        triplets=sorted_triplets,
        dt_ns=triplets.dt_ns[sorted_triplets.row],
        shapes=shapes,
        activity=seen.astype(np.float32),
        unrelated=randoms.unrelated,
        class_2=randoms.class_2,
        level_known=level_known,
        activity_trace=trace,
        sensitivity=None if sensitivity is None else np.asarray(sensitivity, np.float32),
        pairs=events if use_pairs else None,
    )


def _place_randoms(
    every: Image,
    inside: int,
    voxels: LifetimeSpectra,
    *,
    model: LifetimeModel,
    calibration: SpectrumFit,
    with_pairs: bool,
) -> tuple[Randoms, bool]:
    """Return randoms as images, and whether delayed windows measured them."""
    n_prompt, n_photon, n_both = voxels.n_sets
    delayed = voxels.delayed[:, :, 0].astype(np.float64)
    known = model.background in ("delayed", "four-set")
    if known and not n_prompt:
        raise SettingsError(
            f"model.background = {model.background!r} needs delayed windows and there are none; "
            "set select.delays_ns, or use background = 'flat'"
        )
    class_2 = np.zeros(every.shape)
    random_pairs = np.zeros(every.shape)
    if n_photon and n_both:
        photon, both = (_smoothed(delayed[:, k], voxels) for k in (1, 2))
        if model.background == "four-set":
            # Counted where they were located inside the grid; the list mode holds all lines that
            # reach it.
            reach = float(every.sum(dtype=np.float64)) / inside if inside else 1.0
            class_2 = reach * np.maximum(photon / n_photon - both / n_both, 0.0)
        if n_prompt and delayed[:, 0].sum() > 0 and with_pairs:
            # Class III has a random pair, class I a true one: their prompts are alike.
            share = (delayed[:, 2].sum() / n_both / 2.0) / (delayed[:, 0].sum() / n_prompt)
            total = both.sum()
            if total > 0:
                random_pairs = both * (share * float(every.sum(dtype=np.float64)) / total)
    if known:
        n_unrelated = delayed[:, 0].sum() / n_prompt
    else:
        n_unrelated = float(np.nansum(calibration.expected[-1]))
    scale = n_unrelated / inside if inside else 0.0
    return (
        Randoms(
            unrelated=(every * scale).astype(np.float32),
            class_2=class_2.astype(np.float32),
            random_pairs=random_pairs.astype(np.float32),
        ),
        known,
    )


def _smoothed(counts: FloatArray, voxels: LifetimeSpectra) -> FloatArray:
    """Return the (nx, ny, nz) smoothed image of counts in voxels; it keeps their sum."""
    from scipy.ndimage import gaussian_filter

    assert voxels.grid is not None
    image = np.zeros(voxels.grid.n_voxel)
    image[voxels.voxel] = counts
    image = image.reshape(voxels.grid.shape)
    width = _SMOOTHING_MM / np.array(voxels.grid.voxel_mm)
    smooth = np.asarray(gaussian_filter(image, width, mode="nearest"))
    total = smooth.sum()
    return smooth * (image.sum() / total) if total > 0 else smooth
