"""The chain: files to events over chunks, then spectra, fits and maps."""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.core.scanner import Scanner
from psimg.core.stage import Stage
from psimg.io.input import InputFile, open_input
from psimg.lifetime.goodness import goodness_of_fit
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.randoms import RandomsSummary
from psimg.lifetime.spectrum_fit import calibrate_response, fit_regions
from psimg.lifetime.values import SpectrumFit, calibrated_model
from psimg.lifetime.voxel_bounds import bound_voxels
from psimg.lifetime.voxel_fit import fit_voxels
from psimg.spectra.levels import RandomLevels, estimate_levels
from psimg.spectra.randoms import measure_shape
from psimg.spectra.signal import SignalSpectrum
from psimg.spectra.values import LifetimeSpectra
from psimg.study.checks import (
    require_candidates,
    require_columns_of_rules,
    require_kept,
)
from psimg.study.config import Study
from psimg.study.imaging import StudyImages, check_images, reconstruct_study
from psimg.study.ledger import complete_counts, path_of_events
from psimg.study.randoms import examine_randoms
from psimg.study.reading import Progress, Tally, read_files, start_tally
from psimg.study.warnings import study_warnings

log = logging.getLogger(__name__)

_SEED = 1
"""Of the toys that a region's goodness of fit is compared with: a run is the same every time."""

CHUNK_ROWS = 1_000_000
"""Rows read at a time; results do not depend on it."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class StudyResult:
    """Everything a run measured, before any of it is written."""

    study: Study
    content: str
    formats: tuple[str, ...]
    """Format of each input file."""
    input_sha256: tuple[str, ...]
    """Hash of each input file."""
    counts: dict[str, int]
    """The counts of ``summary.json``."""
    stages: tuple[Stage, ...]
    seconds: dict[str, float]
    """Wall time by stage [s]."""
    signals: SignalSpectrum | None
    """Energies or times over threshold of the singles; None where the input holds none."""
    total: LifetimeSpectra
    """The spectrum of all events in the grid, as a region named ``all``."""
    spectra: LifetimeSpectra
    """Spectra of the regions; that of all events where the study names none."""
    calibration: SpectrumFit
    """The fit of all events in the grid, which gave the response."""
    model: LifetimeModel
    """The model of regions and voxels, its response known."""
    regions: tuple[SpectrumFit, ...]
    p_values: tuple[float, ...]
    """Chance of a larger deviance of each region, if its model is true; NaN without a fit."""
    maps: ParameterMaps
    bound_ns: NDArray[np.float64] | None
    """(V,) smallest error of ``tau_ops`` that the events of each voxel of ``maps`` allow; None for
    images, whose voxels have no events of their own [ns]."""
    counts_image: NDArray[np.uint32]
    """(nx, ny, nz) events located in each voxel, with dt in the spectrum."""
    images: StudyImages | None
    """What a method other than the histogram measured; its maps are ``maps``."""
    randoms: RandomsSummary
    warnings: tuple[str, ...]
    timing_sha256: str | None = None
    """Hash of the timing table that was applied."""

    @property
    def counts_per_voxel(self) -> NDArray[np.uint32]:
        """(V,) events located in each voxel of ``maps``."""
        return self.counts_image.reshape(-1)[self.maps.voxel]


def run_study(
    study: Study, *, progress: Progress | None = None, chunk_rows: int = CHUNK_ROWS
) -> StudyResult:
    """Run the chain from the input files to fitted regions and maps.

    Parameters
    ----------
    study : Study
        A checked study, from `read_study`.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    chunk_rows : int
        Rows read at a time; changes the memory used and nothing else.

    Returns
    -------
    StudyResult
        Counts, spectra, fits and maps; nothing is written.

    Raises
    ------
    FileError
        If an input file cannot be used.
    DataError
        If the files hold different things, or no event is left to fit.
    SettingsError
        If the histogram of the grid does not fit into the machine's memory.
    """
    progress = progress or (lambda stage, done, total: None)
    files = [open_input(path, options=study.settings.input) for path in study.files]
    contents = {file.content for file in files}
    if len(contents) > 1:
        raise DataError(
            f"the input files hold different things: {', '.join(sorted(contents))}; run them as "
            "studies of their own"
        )
    content = contents.pop()
    require_columns_of_rules(study, files, content)
    if content != "singles" and len(study.settings.select.windows) > 1:
        raise SettingsError(
            f"delayed windows (select.delays_ns, photon_delays_ns) need singles, and the input "
            f"holds {content}; remove them, and use model.background = 'flat'"
        )
    if study.timing is not None and content != "singles":
        raise SettingsError(
            f"input.timing needs singles, and the input holds {content}, whose detectors are not "
            "known; remove it"
        )
    check_images(study)
    run = start_tally(study, files)
    with ThreadPoolExecutor(1) as pool:
        hashes = pool.map(_sha256, study.files)
        try:
            read_files(run, files, progress, chunk_rows)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        digests = tuple(hashes)
    return _fit(run, files, content, digests, progress)


def _log_stages(stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        reasons = ", ".join(f"{n} {reason}" for reason, n in stage.dropped.items() if n)
        log.info(
            "%s: %d %s in, %d stayed%s",
            stage.name,
            stage.n_in,
            stage.unit,
            stage.n_out,
            f"; dropped: {reasons}" if reasons else "",
        )


def _fit(
    run: Tally,
    files: list[InputFile],
    content: str,
    digests: tuple[str, ...],
    progress: Progress,
) -> StudyResult:
    settings = run.study.settings
    warnings: list[str] = []
    voxels = run.voxels.spectra()
    _require_events(run, voxels)
    total = run.voxels.total()
    spectra = run.regions.spectra() if run.study.regions else total
    with run.timed("fit_regions"):
        unrelated = None
        if total.n_sets[0]:
            unrelated = measure_shape(total.delayed[0, 0].astype(np.float64), run.edges)
        shape = None if unrelated is None else unrelated.shares
        calibration = calibrate_response(
            total, model=settings.model, shape=shape, options=settings.fit
        )
        model = _with_known_response(calibration, settings.model, run.study.scanner, warnings)
        fits = fit_regions(
            spectra,
            model=model,
            shape=shape,
            options=settings.fit,
            progress=lambda done, total: progress("regions", done, total),
        )
        rng = np.random.default_rng(_SEED)
        p_values = tuple(
            goodness_of_fit(fit, rng=rng).p_value if fit.status == FitStatus.OK else np.nan
            for fit in fits
        )
        randoms = examine_randoms(
            total,
            spectra,
            truth=run.truth,
            shape=unrelated,
            calibration=calibration,
            model=settings.model,
            options=settings.fit,
        )
    maps, bound_ns, images = _make_maps(
        run, voxels, model=model, calibration=calibration, shape=shape, progress=progress
    )
    counts = complete_counts(
        run.counts,
        content,
        rules=settings.select.rules,
        voxels=voxels,
        regions=spectra,
        truth_known=run.truth is not None,
        timing_applied=run.study.timing is not None,
    )
    stages = path_of_events(counts, content, signal=settings.select.signal.signal)
    _log_stages(stages)
    warnings += study_warnings(
        run.study,
        content=content,
        counts=counts,
        signals=run.signals,
        calibration=calibration,
        randoms=randoms,
        fits=fits,
        maps=maps,
    )
    for warning in warnings:
        log.warning("%s", warning)
    return StudyResult(
        study=run.study,
        content=content,
        formats=tuple(file.format for file in files),
        input_sha256=digests,
        counts=counts,
        stages=stages,
        seconds=run.seconds,
        signals=run.signals,
        total=total,
        spectra=spectra,
        calibration=calibration,
        model=model,
        regions=fits,
        p_values=p_values,
        maps=maps,
        bound_ns=bound_ns,
        counts_image=_counts_image(voxels),
        images=images,
        randoms=randoms,
        warnings=tuple(warnings),
        timing_sha256=_sha256(run.study.timing_path) if run.study.timing_path else None,
    )


def _make_maps(
    run: Tally,
    voxels: LifetimeSpectra,
    *,
    model: LifetimeModel,
    calibration: SpectrumFit,
    shape: NDArray[np.float64] | None,
    progress: Progress,
) -> tuple[ParameterMaps, NDArray[np.float64] | None, StudyImages | None]:
    """Return maps, with the bound on their errors or with the images that they are of."""
    if run.lines is not None:
        with run.timed("images"):
            images = reconstruct_study(
                run.study,
                run.lines,
                voxels=voxels,
                edges_ns=run.edges,
                model=model,
                calibration=calibration,
                unrelated=shape,
                progress=progress,
            )
        return images.maps, None, images
    with run.timed("fit_voxels"):
        levels = _levels(run, voxels)
        bound_ns = bound_voxels(
            voxels, model=model, calibration=calibration, levels=levels, shape=shape
        )
        maps = fit_voxels(
            voxels,
            model=model,
            calibration=calibration,
            levels=levels,
            shape=shape,
            options=run.study.settings.fit,
            progress=lambda done, total: progress("voxels", done, total),
        )
    return maps, bound_ns, None


def _counts_image(voxels: LifetimeSpectra) -> NDArray[np.uint32]:
    assert voxels.grid is not None
    image = np.zeros(voxels.grid.n_voxel, np.uint32)
    image[voxels.voxel] = voxels.counts.sum(axis=1, dtype=np.uint32)
    return image.reshape(voxels.grid.shape)


def _levels(run: Tally, voxels: LifetimeSpectra) -> RandomLevels | None:
    if run.pairs is None or not voxels.n_sets[0]:
        return None
    with_class_2 = run.study.settings.model.background == "four-set"
    return estimate_levels(voxels, pairs=run.pairs.image(), with_class_2=with_class_2)


def _require_events(run: Tally, voxels: LifetimeSpectra) -> None:
    """Raise `DataError` when nothing is left to fit: a unit or a window is wrong then."""
    if voxels.counts.any():
        return
    require_candidates(run.counts, run.study.settings.select, run.signals)
    require_kept(run.counts, run.study.settings.select)
    n_located, n_events = run.counts["n_located"], run.counts["n_events"]
    if not n_located:
        raise DataError(
            "no triplet was found; check the windows in [select] against the energies and times "
            "that psimg inspect shows"
        )
    raise DataError(
        f"no event is left of {n_located}: {n_located - n_events} lie outside the object, "
        f"{voxels.n_outside} outside the grid, and {voxels.n_outside_dt} have dt outside the "
        "spectrum; check units (input.columns), [grid] and [spectrum]"
    )


def _with_known_response(
    calibration: SpectrumFit, model: LifetimeModel, scanner: Scanner | None, warnings: list[str]
) -> LifetimeModel:
    """Return the model with what was calibrated, or a stated guess where that failed."""
    known = calibrated_model(calibration)
    if known.response.known:
        return known
    mu = model.response.mu_ns if model.response.mu_ns is not None else 0.0
    sigma = model.response.sigma_ns or (scanner.sigma_dt_ns if scanner is not None else 0.1)
    warnings.append(
        f"the time response could not be fitted to all {calibration.n_events} events "
        f"({calibration.status.name.lower()}); mu = {mu:g} ns and sigma = {sigma:.3g} ns were "
        "used; set model.response to change that"
    )
    return known.with_response(mu, sigma)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
