"""The images of a study: from the lines that were kept to maps."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, PsimgError, SettingsError
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.imaging.prepare import prepare_images
from psimg.imaging.resampling import resample_image
from psimg.imaging.sensitivity import pair_sensitivity, prompt_sensitivity, read_attenuation
from psimg.imaging.values import ReconOptions
from psimg.io.nifti import read_image_affine
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import SpectrumFit
from psimg.spectra.values import LifetimeSpectra
from psimg.study.config import Study
from psimg.study.lines import LineKeeper
from psimg.study.reading import Progress
from psimg.study.recon_files import prompt_energy_kev
from psimg.study.recon_methods import METHODS, RegionRow, Request

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]


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
    request = Request(
        data=data,
        options=options,
        regions=study.regions,
        pair_share=pair_share,
        guide=None if guide is None else guide.astype(np.float32),
        progress=lambda done, total: progress("images", done, total),
    )
    found, rows = METHODS[options.method](request)
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


def check_images(study: Study) -> None:
    """Read the images that ``[recon]`` names, to find what is wrong with one before a long run.

    Raises
    ------
    FileError, DataError, SettingsError
        As `reconstruct_study` would, once everything else has been read.
    """
    if study.settings.recon.method == "histogram":
        return
    files = study.recon_files
    for key in ("activity", "guide", "sensitivity"):
        _image(getattr(files, key), study, key)
    if files.attenuation is not None:
        read_attenuation(files.attenuation, study.grid)


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
