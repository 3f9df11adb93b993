"""The images of a study: from the lines that were kept to maps."""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, PsimgError, SettingsError
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.imaging.bootstrap import bootstrap_errors, bootstrap_spread
from psimg.imaging.prepare import prepare_images
from psimg.imaging.resampling import resample_image
from psimg.imaging.sensitivity import pair_sensitivity, prompt_sensitivity, read_attenuation
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction
from psimg.io.nifti import read_image_affine
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import SpectrumFit
from psimg.spectra.values import LifetimeSpectra
from psimg.study.config import Study
from psimg.study.lines import LineKeeper
from psimg.study.reading import Progress
from psimg.study.recon_files import prompt_energy_kev

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]
Passes = Callable[[int, int], None]

_SEED = 1
"""Of the replicates of the list mode: a run is the same every time."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RegionRow:
    """What the likelihood of regions gives for one of them; NaN where there is no value."""

    name: str
    n_triplets: float
    tau_ops_ns: float
    tau_ops_error_ns: float
    intensity_ops: float
    intensity_ops_error: float
    background_fraction: float
    status: FitStatus


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class StudyImages:
    """What a method other than the histogram measured."""

    options: ReconOptions
    """Settings as used: without pairs, the activity is that of the triplets."""
    maps: ParameterMaps
    counts: NDArray[np.float32]
    """(nx, ny, nz) true triplets expected of each voxel."""
    n_triplets: int
    """Triplets of the list mode: their lines reach the grid."""
    n_pairs: int
    """Pairs of the image of activity; 0 where it is of triplets or was given."""
    pair_share: float
    """Share of the pairs that was kept."""
    n_unrelated: float
    """Randoms with a prompt of another decay, expected before the image was made."""
    n_class_2: float
    """Prompt-correlated randoms."""
    random_scale: float | None
    """Factor on the unrelated ones that was found; None where the method looks for none."""
    trace: FloatArray
    """(I,) log-likelihood after each pass, up to a constant; of the image of activity for
    ``mlem``."""
    regions: tuple[RegionRow, ...] = ()
    """For ``regions``."""

    def __post_init__(self) -> None:
        freeze(
            self,
            counts=(np.float32, *self.maps.grid.shape),
            trace=(np.float64, len(self.trace)),
        )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Request:
    """What a method is given."""

    study: Study
    data: ImageData
    options: ReconOptions
    pair_share: float
    guide: NDArray[np.float32] | None
    progress: Passes


_Made = tuple[Reconstruction, tuple[RegionRow, ...]]
"""Maps, and the rows of ``regions``."""


def reconstruct_study(
    study: Study,
    lines: LineKeeper,
    *,
    voxels: LifetimeSpectra,
    edges_ns: FloatArray,
    model: LifetimeModel,
    calibration: SpectrumFit,
    unrelated: FloatArray | None,
    progress: Progress,
) -> StudyImages:
    """Make the images that ``[recon]`` asks for.

    Parameters
    ----------
    study : Study
        The study.
    lines : LineKeeper
        What was kept while its files were read; the lines are taken from it.
    voxels : LifetimeSpectra
        Events of the grid's voxels with their delayed windows.
    edges_ns : (B+1,) array
        Edges of the spectrum of all events [ns].
    model, calibration : LifetimeModel, SpectrumFit
        The model with its response known, and the fit of all events in the grid.
    unrelated : (B,) array, optional
        Shape of the unrelated randoms in dt.
    progress : callable
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    StudyImages
        Maps, and what is to be said of how they came about.

    Raises
    ------
    SettingsError
        If what is known of the randoms is not enough for the method.
    FileError, DataError
        If an image that ``[recon]`` names cannot be used.
    """
    options = study.settings.recon
    pair_share = 1.0 if lines.pairs is None else lines.pairs.share
    pairs = None if lines.pairs is None else lines.pairs.lines()
    if options.activity == "pairs" and (pairs is None or not len(pairs)):
        options, pairs = replace(options, activity="triplets"), None
    scanner = study.scanner
    assert scanner is not None
    activity = _image(study.recon_files.activity, study, "activity")
    guide = _image(study.recon_files.guide, study, "guide")
    sensitivity, of_prompt = _sensitivities(study)
    data = prepare_images(
        lines.triplets.lines(),
        pairs,
        voxels=voxels,
        edges_ns=edges_ns,
        model=model,
        calibration=calibration,
        unrelated=unrelated,
        sigma_mm=scanner.sigma_point_mm,
        options=options,
        activity=activity,
        sensitivity=sensitivity,
        prompt_sensitivity=of_prompt,
        progress=lambda done, total: progress("activity", done, total),
    )
    del pairs
    n_pairs = 0 if data.pairs is None else len(data.pairs)
    if options.method != "regions":
        data = replace(data, pairs=None)  # they take as much memory as the rest
    request = _Request(
        study=study,
        data=data,
        options=options,
        pair_share=pair_share,
        guide=None if guide is None else guide.astype(np.float32),
        progress=lambda done, total: progress("images", done, total),
    )
    found, rows = _METHODS[options.method](request)
    n_ok = int(np.count_nonzero(found.maps.status == FitStatus.OK))
    log.info("%s: %d of %d voxels have a value", options.method, n_ok, study.grid.n_voxel)
    return StudyImages(
        options=options,
        maps=found.maps,
        counts=found.counts,
        n_triplets=len(data.triplets),
        n_pairs=n_pairs,
        pair_share=pair_share,
        n_unrelated=float(data.unrelated.sum(dtype=np.float64)),
        n_class_2=float(data.class_2.sum(dtype=np.float64)),
        random_scale=found.random_scale,
        trace=found.trace,
        regions=rows,
    )


def _image(path: Path | None, study: Study, key: str) -> FloatArray | None:
    """Return an image that ``[recon]`` names on the study's grid."""
    if path is None:
        return None
    try:
        image = resample_image(*read_image_affine(path), study.grid).image
    except PsimgError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: recon.{key}: {error}") from error
    if not np.isfinite(image).all():
        raise DataError(
            f"{path}: recon.{key}: holds voxels that are not finite; set them to a number"
        )
    if key != "guide" and (image.min() < 0 or not image.max() > 0):
        raise DataError(
            f"{path}: recon.{key}: expected numbers from 0 up on the grid, found {image.min():g} "
            f"to {image.max():g}"
        )
    return image


def _sensitivities(study: Study) -> tuple[FloatArray | None, FloatArray | None]:
    """Return the relative chances of a triplet and of a prompt, None where they are uniform."""
    options, scanner = study.settings.recon, study.scanner
    if options.sensitivity == "uniform" or scanner is None:
        return None, None
    if options.sensitivity != "geometric":
        return _image(study.recon_files.sensitivity, study, "sensitivity"), None
    path = study.recon_files.attenuation
    per_mm = None if path is None else read_attenuation(path, study.grid)
    prompt_kev = prompt_energy_kev(study.settings)
    assert prompt_kev is not None
    of_pair = pair_sensitivity(study.grid, scanner, attenuation_per_mm=per_mm)
    of_prompt = prompt_sensitivity(
        study.grid, scanner, prompt_kev=prompt_kev, attenuation_per_mm=per_mm
    )
    if not (of_pair * of_prompt).any():
        raise SettingsError(
            "recon.sensitivity = 'geometric': no voxel of the grid lies within the scanner; check "
            "grid.centre_mm and [scanner]"
        )
    return (of_pair * of_prompt).astype(np.float64), of_prompt.astype(np.float64)


def _activity(request: _Request) -> _Made:
    """Return the image of annihilations, which was made on the way to the others."""
    data, grid = request.data, request.data.grid
    seen = data.activity.astype(np.float64) / request.pair_share
    unit, activity = "counts", seen
    if data.sensitivity is not None:
        # On the scale of what is seen: only ratios of voxels mean something.
        chance = data.sensitivity.astype(np.float64)
        activity = np.where(chance > 0, seen / np.where(chance > 0, chance, 1.0), np.nan)
        activity *= seen.sum() / np.nansum(activity)
        unit = "1"
    randoms = float(data.unrelated.sum(dtype=np.float64) + data.class_2.sum(dtype=np.float64))
    n_true = max(len(data.triplets) - randoms, 0.0)
    flat = activity.reshape(-1, 1)
    found = Reconstruction(
        maps=ParameterMaps(
            grid=grid,
            names=("activity",),
            units=(unit,),
            voxel=np.arange(grid.n_voxel),
            values=flat,
            errors=np.full(flat.shape, np.nan),
            deviance=np.full(grid.n_voxel, np.nan),
            ndf=0,
            status=np.where(np.isfinite(flat[:, 0]), FitStatus.OK, FitStatus.TOO_FEW_COUNTS).astype(
                np.uint8
            ),
        ),
        counts=(seen * (n_true / max(float(seen.sum()), 1e-30))).astype(np.float32),
        trace=np.zeros(0) if data.activity_trace is None else data.activity_trace,
    )
    return found, ()


def _lifetimes(request: _Request) -> _Made:
    """Return what one of the methods gives that reconstruct lifetimes voxel by voxel."""
    options = request.options
    module, name = _LIFETIMES[options.method]
    reconstruct = getattr(importlib.import_module(f"psimg.imaging.{module}"), name)
    further: dict[str, Any] = {}
    if options.method in ("em", "penalised"):
        further = {"penalised": options.method == "penalised", "guide": request.guide}

    def once(weights: Weights | None, progress: Passes | None) -> Reconstruction:
        found: Reconstruction = reconstruct(
            request.data, options=options, weights=weights, progress=progress, **further
        )
        return found

    if options.errors == "information":
        return once(None, request.progress), ()
    found = bootstrap_errors(
        lambda weights: once(weights, None),
        len(request.data.triplets),
        replicates=options.replicates,
        rng=np.random.default_rng(_SEED),
        progress=request.progress,
    )
    return found, ()


def _of_regions(request: _Request) -> _Made:
    """Return the likelihood of regions, as maps and as rows."""
    reconstruct = importlib.import_module("psimg.imaging.regions").reconstruct_regions
    data, options, regions = request.data, request.options, request.study.regions

    def once(weights: Weights | None) -> Any:
        return reconstruct(
            data, regions=regions, options=options, pairs=data.pairs, weights=weights
        )

    found = once(None)
    if options.errors == "bootstrap":
        names = {"n_triplets": "n_triplets_errors", "tau_ops_ns": "tau_ops_errors_ns",
                 "intensity_ops": "intensity_ops_errors"}  # fmt: skip
        spread = bootstrap_spread(
            lambda weights: _columns(once(weights), names),
            len(data.triplets),
            replicates=options.replicates,
            rng=np.random.default_rng(_SEED),
            progress=request.progress,
        )
        spread = np.where(np.isfinite(_columns(found, names)), spread, np.nan)
        found = replace(found, **dict(zip(names.values(), spread, strict=True)))
    rows = tuple(
        RegionRow(
            name=region.name,
            n_triplets=float(found.n_triplets[r]),
            tau_ops_ns=float(found.tau_ops_ns[r]),
            tau_ops_error_ns=float(found.tau_ops_errors_ns[r]),
            intensity_ops=float(found.intensity_ops[r]),
            intensity_ops_error=float(found.intensity_ops_errors[r]),
            background_fraction=float(found.background[r]),
            status=FitStatus(int(found.status[r])),
        )
        for r, region in enumerate(regions)
    )
    maps: ParameterMaps = found.maps(data.grid)
    made = Reconstruction(
        maps=maps,
        counts=np.nan_to_num(maps.image("signal")).astype(np.float32),
        trace=found.trace,
    )
    return made, rows


def _columns(found: Any, names: dict[str, str]) -> FloatArray:
    return np.stack([getattr(found, name) for name in names])


_LIFETIMES = {
    "rate": ("rate", "reconstruct_rate"),
    "simple": ("simple", "reconstruct_simple"),
    "moment": ("moment", "reconstruct_moment"),
    "split": ("split", "reconstruct_split"),
    "em": ("component_maps", "reconstruct_components"),
    "penalised": ("component_maps", "reconstruct_components"),
}
"""Module and function of each method that gives lifetimes of voxels; loaded where it is used."""
_METHODS: dict[str, Callable[[_Request], _Made]] = {
    "mlem": _activity,
    "regions": _of_regions,
    **dict.fromkeys(_LIFETIMES, _lifetimes),
}
