"""What a run leaves behind: written beside, then put in place whole."""

import csv
import importlib.metadata
import json
import logging
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import FileError
from psimg.core.maps import FitStatus
from psimg.events.values import Origin
from psimg.io.spectra_files import write_spectra_npz, write_spectra_root
from psimg.lifetime.randoms import RandomsSummary
from psimg.lifetime.values import SpectrumFit
from psimg.study.cells import cells
from psimg.study.imaging import StudyImages
from psimg.study.map_files import write_maps, write_region_likelihood
from psimg.study.run import StudyResult

if TYPE_CHECKING:
    from psimg.report import ReportRecon

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
REGIONS, REGIONS_RECON = "regions.csv", "regions_recon.csv"
OUTPUTS = frozenset(
    (SUMMARY, REGIONS, REGIONS_RECON, "maps", "spectra.npz", "spectra.root", "report.html",
     "psimg.log")
)  # fmt: skip
"""What a run leaves, all or some of it; of an earlier run, what this one does not replace goes."""
_DELAYED = ("delayed_prompt", "delayed_photon", "delayed_both")
"""The kinds of delayed windows, in the order of `WindowKind`."""


def check_directory(directory: Path, *, overwrite: bool) -> None:
    """Refuse an output directory that holds something, before anything is computed.

    Parameters
    ----------
    directory : Path
        Where the results are to go.
    overwrite : bool
        Whether the results of an earlier run may be replaced.

    Raises
    ------
    FileError
        If it is a file, is not empty and ``overwrite`` is False, or holds no results of psimg.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise FileError(f"{directory}: is a file, expected a directory; change output.directory")
    if not any(directory.iterdir()):
        return
    if not overwrite:
        raise FileError(
            f"{directory}: output directory is not empty; use --overwrite to replace the results "
            "in it, or change output.directory"
        )
    if not (directory / SUMMARY).is_file():
        raise FileError(
            f"{directory}: output directory holds files but no {SUMMARY} of an earlier run, so "
            "nothing in it is replaced; change output.directory"
        )


@contextmanager
def whole_directory(directory: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a directory to write in, and put it in place only when the block ends well.

    Files of an earlier run are replaced; files that are not psimg's stay.

    Raises
    ------
    FileError
        If the disk is full or the place cannot be written to; nothing is left behind.
    """
    check_directory(directory, overwrite=overwrite)
    beside: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        yield beside
        # mkdtemp makes a directory for its owner alone; results are as open as any new file.
        beside.chmod(0o777 & ~_umask())
        _put_in_place(beside, directory)
    except OSError as error:
        raise FileError(
            f"{directory}: cannot be written ({error.strerror or error}); nothing was left there; "
            "make room or change output.directory"
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _put_in_place(new: Path, directory: Path) -> None:
    if not directory.exists():
        new.rename(directory)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    old.rmdir()
    directory.rename(old)
    new.rename(directory)
    for entry in old.iterdir():
        if entry.name not in OUTPUTS and not (directory / entry.name).exists():
            entry.rename(directory / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def write_outputs(result: StudyResult, directory: Path, *, log_text: str) -> None:
    """Write everything the contract of ``psimg run`` names into an existing directory.

    Parameters
    ----------
    result : StudyResult
        What was measured.
    directory : Path
        Existing directory.
    log_text : str
        The run's log.
    """
    formats = result.study.settings.output.formats
    created = datetime.now(UTC).isoformat(timespec="seconds")
    if "nifti" in formats:
        (directory / "maps").mkdir()
        write_maps(result, directory / "maps", created)
    curves = {fit.name: _curves(result, row, fit) for row, fit in enumerate(result.regions)}
    if "npz" in formats:
        write_spectra_npz(directory / "spectra.npz", curves, result.spectra.edges_ns)
    if "root" in formats:
        write_spectra_root(directory / "spectra.root", curves, result.spectra.edges_ns)
    _write_regions(result, directory / REGIONS)
    if result.images is not None and result.images.regions:
        write_region_likelihood(result.images.regions, directory / REGIONS_RECON)
    if "report" in formats:
        _write_report(result, directory, created)
    summary = _summary(result, created)
    (directory / SUMMARY).write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    (directory / "psimg.log").write_text(log_text)


def _write_report(result: StudyResult, directory: Path, created: str) -> None:
    from psimg.report import ReportContent, ReportFile, write_report

    study = result.study
    files = [
        ReportFile(name=str(path), format=kind, content=result.content, sha256=digest)
        for path, kind, digest in zip(study.files, result.formats, result.input_sha256, strict=True)
    ]
    content = ReportContent(
        title=study.settings.study.name or study.path.stem,
        isotope=study.settings.study.isotope,
        version=importlib.metadata.version("psimg"),
        created=created,
        files=files,
        settings=settings_as_used(result),
        stages=result.stages,
        counts=result.counts,
        seconds=result.seconds,
        warnings=result.warnings,
        signals=result.signals,
        signal_windows=study.settings.select.signal,
        calibration=result.calibration,
        randoms=result.randoms,
        windows=study.settings.select.windows,
        fits=result.regions,
        p_values=result.p_values,
        regions=study.regions,
        maps=result.maps,
        counts_image=result.counts_image,
        recon=None if result.images is None else _report_recon(result.images),
    )
    write_report(directory, content)


def _report_recon(images: StudyImages) -> "ReportRecon":
    """Return what the report says of how an image was made."""
    from psimg.report import ReportRecon, ReportRegion

    options = images.options
    return ReportRecon(
        method=options.method,
        n_triplets=images.n_triplets,
        n_pairs=images.n_pairs,
        pair_share=images.pair_share,
        iterations=options.passes,
        subsets=options.subsets,
        activity=options.activity,
        sensitivity=options.sensitivity,
        activity_iterations=options.activity_iterations,
        activity_subsets=options.activity_subsets,
        n_unrelated=images.n_unrelated,
        n_class_2=images.n_class_2,
        random_scale=images.random_scale,
        replicates=options.replicates if options.errors == "bootstrap" else 0,
        min_counts=options.min_counts,
        trace=images.trace,
        triplets_image=images.counts,
        regions=[ReportRegion(**asdict(row)) for row in images.regions],
    )


def _curves(result: StudyResult, row: int, fit: SpectrumFit) -> dict[str, NDArray[np.float64]]:
    delayed = result.spectra.delayed[row].astype(np.float64)
    curves = {"counts": fit.counts} | dict(zip(_DELAYED, delayed, strict=True))
    names = (*(component.name for component in fit.model.components), "background")
    return curves | dict(zip(names, fit.expected, strict=True)) | {"class_2": fit.class_2}


def _write_regions(result: StudyResult, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["region", "n_events", "tau_ops_ns", "tau_ops_error_ns", "intensity_ops",
             "intensity_ops_error", "background_fraction", "deviance", "ndf", "status", "p_value",
             "tau_ops_low_ns", "tau_ops_high_ns"]
        )  # fmt: skip
        for fit, p_value in zip(result.regions, result.p_values, strict=True):
            numbers = (
                fit.tau_ops_ns,
                fit.tau_ops_error_ns,
                fit.intensity_ops,
                fit.intensity_ops_error,
                fit.background_fraction,
                fit.deviance,
            )
            row = [fit.name, fit.n_events, *cells(*numbers), fit.ndf, fit.status.name.lower()]
            writer.writerow([*row, *cells(p_value, *fit.interval("tau_ops_ns"))])


def settings_as_used(result: StudyResult) -> dict[str, Any]:
    """Return the study's settings with every default filled in, as plain values.

    An infinite end of a window is the word ``inf``: JSON has no number for it.
    """
    settings: dict[str, Any] = _with_inf_as_word(asdict(result.study.settings))
    # A mapping from the file, not a dataclass: asdict leaves its values as they are.
    columns = result.study.settings.input.columns
    settings["input"]["columns"] = {
        role: spec if isinstance(spec, str) else asdict(spec) for role, spec in columns.items()
    }
    return settings


def _with_inf_as_word(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_inf_as_word(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_inf_as_word(item) for item in value]
    return "inf" if value == math.inf else value


def _summary(result: StudyResult, created: str) -> dict[str, Any]:
    calibration = result.calibration
    response = result.model.response
    packages = ("psimg", "numpy", "numba", "scipy", "iminuit", "uproot", "nibabel")
    n_voxel = int(np.count_nonzero(result.counts_image))
    summary = {
        "study": result.study.settings.study.name,
        "created": created,
        "content": result.content,
        **result.counts,
        "n_voxels_with_events": n_voxel,
        "n_voxels_fitted": int(np.count_nonzero(result.maps.status == FitStatus.OK)),
        "stages": [asdict(stage) for stage in result.stages],
        "calibration": {
            "status": calibration.status.name.lower(),
            "n_events": calibration.n_events,
            "mu_ns": response.mu_ns,
            "mu_error_ns": _error(calibration, "mu_ns"),
            "sigma_ns": response.sigma_ns,
            "sigma_error_ns": _error(calibration, "sigma_ns"),
            "gaussians": response.table.tolist(),
            "deviance": calibration.deviance,
            "ndf": calibration.ndf,
        },
        "randoms": _randoms(result.randoms),
        "recon": _recon(result),
        "warnings": list(result.warnings),
        "seconds": result.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in packages},
        "inputs": [
            {"file": str(path), "format": kind, "sha256": digest}
            for path, kind, digest in zip(
                result.study.files, result.formats, result.input_sha256, strict=True
            )
        ],
        "timing": _timing(result),
        "settings": settings_as_used(result),
    }
    clean: dict[str, Any] = _without_nan(summary)
    return clean


def _randoms(randoms: RandomsSummary) -> dict[str, Any]:
    shape, sideband, truth = randoms.shape, randoms.sideband, randoms.truth
    spectra = zip(randoms.names, randoms.n_events, randoms.classes, strict=True)
    return {
        "n_windows": dict(zip(_DELAYED, randoms.n_sets, strict=True)),
        "spectra": [
            {"name": name, "n_events": n_events} | asdict(classes)
            for name, n_events, classes in spectra
        ],
        "truth": None
        if truth is None
        else {origin.name.lower(): int(truth[origin].sum()) for origin in Origin},
        "class_2_share": randoms.class_2_share,
        "shape": None if shape is None else {"order": shape.order, "p_flat": shape.p_flat},
        "sideband": None
        if sideband is None
        else {
            "stop_ns": sideband.stop_ns,
            "n_events": sideband.n_events,
            "p_flat": sideband.shape.p_flat,
        },
        "tau_ops_ns": randoms.tau_ops_ns,
        "tau_ops_error_ns": randoms.tau_ops_error_ns,
        "tau_ops_four_set_ns": randoms.tau_ops_four_set_ns,
        "tau_ops_four_set_error_ns": randoms.tau_ops_four_set_error_ns,
    }


def _recon(result: StudyResult) -> dict[str, Any]:
    """Return how the maps were made; of a histogram there is nothing else to say."""
    images = result.images
    if images is None:
        return {"method": result.study.settings.recon.method}
    options = images.options
    of_activity = options.method == "mlem"
    return {
        "method": options.method,
        "iterations": len(images.trace) or options.passes,
        "subsets": options.activity_subsets if of_activity else options.subsets,
        "activity": options.activity,
        "n_triplets": images.n_triplets,
        "n_pairs": images.n_pairs,
        "pair_share": images.pair_share,
        "n_unrelated": images.n_unrelated,
        "n_class_2": images.n_class_2,
        "random_scale": images.random_scale,
        "log_likelihood": images.trace.tolist(),
        "seconds": result.seconds["images"],
    }


def _timing(result: StudyResult) -> dict[str, Any] | None:
    table = result.study.timing
    if table is None:
        return None
    return {
        "file": str(result.study.timing_path),
        "sha256": result.timing_sha256,
        "n_detectors": len(table),
        "labels_per_detector": table.block,
        "walk": table.walk is not None,
    }


def _error(fit: SpectrumFit, parameter: str) -> float | None:
    return fit.error(parameter) if parameter in fit.parameters else None


def _without_nan(value: Any) -> Any:
    """Return the value with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def peak_memory_mb() -> float | None:
    """Return the largest resident memory of this process so far [MB]; None where not known."""
    try:
        import resource
    except ImportError:  # Windows has no such count
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
