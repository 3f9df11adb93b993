"""The maps of a run as files, with what each of them is."""

import csv
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus
from psimg.io.nifti import write_map
from psimg.study.cells import cells
from psimg.study.recon_methods import RegionRow
from psimg.study.run import StudyResult

MAKER = "psimg"
_MEANINGS = {
    "tau_ops": "mean life of o-Ps",
    "tau_ops_low": "lower end of the 68 % profile interval of tau_ops",
    "tau_ops_high": "upper end of the 68 % profile interval of tau_ops",
    "mean_lifetime": "mean lifetime of all positrons",
    "intensity_ops": "share of positrons in o-Ps",
    "background": "random triplets in the spectrum",
    "activity": "annihilation pairs of the voxel that are seen, random pairs taken off",
}
"""What each parameter is that is written."""
_RELATIVE = {
    "background": "share of random triplets among the events",
    "activity": "annihilations of the voxel on any scale, sensitivity taken out",
}
"""What those are that are no counts."""
_WITH_ERRORS = ("tau_ops", "intensity_ops", "mean_lifetime")
_COUNTS = "events in the spectrum of the voxel"
_EXPECTED_COUNTS = "true triplets expected of the voxel"
_NOT_IN_ERROR = (
    ": the spread over repeated measurements, without what smoothing takes from small regions"
)


def write_maps(result: StudyResult, directory: Path, created: str) -> None:
    """Write every map of a run, each with its unit and provenance beside it.

    Parameters
    ----------
    result : StudyResult
        What was measured.
    directory : Path
        Existing directory.
    created : str
        Date and time of the run.
    """
    study = result.study
    for name, (unit, meaning, image) in _images(result).items():
        sidecar: dict[str, Any] = {
            "Name": name,
            "Units": unit,
            "Description": meaning,
            "Study": study.settings.study.name,
            "Isotope": study.settings.study.isotope,
            "Method": study.settings.recon.method,
            "InputSha256": list(result.input_sha256),
            "Created": created,
            "SoftwareName": MAKER,
            "SoftwareVersion": importlib.metadata.version("psimg"),
        }
        if name == "status":
            sidecar["Levels"] = {str(s.value): s.name.lower() for s in FitStatus}
        write_map(directory, name, image, study.grid, sidecar=sidecar)


def _images(result: StudyResult) -> dict[str, tuple[str, str, NDArray[Any]]]:
    """Return unit, meaning and image of each map by its name."""
    maps = result.maps
    images: dict[str, tuple[str, str, NDArray[Any]]] = {}
    penalised = result.images is not None and result.images.options.method == "penalised"
    for name in maps.names:
        if name not in _MEANINGS:
            continue
        counted = maps.unit(name) == "counts"
        meaning = (_MEANINGS if counted else _MEANINGS | _RELATIVE)[name]
        images[name] = (maps.unit(name), meaning, maps.image(name))
        if name in _WITH_ERRORS:
            images[f"{name}_error"] = (
                maps.unit(name),
                f"standard error of {name}" + (_NOT_IN_ERROR if penalised else ""),
                maps.error_image(name),
            )
    if result.images is None:
        images["counts"] = ("counts", _COUNTS, result.counts_image)
        images["deviance"] = (
            "1",
            f"Poisson deviance of the fit, {maps.ndf} ndf",
            maps.deviance_image(),
        )
    else:
        images["counts"] = ("counts", _EXPECTED_COUNTS, result.images.counts)
    if result.bound_ns is not None:
        meaning = "smallest error of tau_ops that the voxel's events allow (Cramer-Rao)"
        images["tau_ops_bound"] = ("ns", meaning, _bound_image(result, result.bound_ns))
    images["status"] = ("1", "how the fit ended", maps.status_image())
    return images


def _bound_image(result: StudyResult, bound_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    image = np.full(result.study.grid.n_voxel, np.nan)
    image[result.maps.voxel] = bound_ns
    return image.reshape(result.study.grid.shape)


def write_region_likelihood(rows: tuple[RegionRow, ...], path: Path) -> None:
    """Write what the likelihood of regions found as a CSV file.

    Parameters
    ----------
    rows : tuple of RegionRow
        One per region.
    path : Path
        The file.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["region", "n_triplets", "tau_ops_ns", "tau_ops_error_ns", "intensity_ops",
             "intensity_ops_error", "background_fraction", "status"]
        )  # fmt: skip
        for row in rows:
            numbers = cells(
                row.n_triplets,
                row.tau_ops_ns,
                row.tau_ops_error_ns,
                row.intensity_ops,
                row.intensity_ops_error,
                row.background_fraction,
            )
            writer.writerow([row.name, *numbers, row.status.name.lower()])
