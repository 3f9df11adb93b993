"""Positronium lifetime imaging: from list-mode events to maps of o-Ps lifetime with errors.

The names below are what a script needs; each stage is one function on frozen values:

    singles -> find_triplets -> cut_triplets -> locate_triplets -> bin_regions, bin_voxels
            -> fit_regions, fit_voxels -> ParameterMaps
    read_spectrum -> fit_automatically; plan_measurement before anything is measured
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psimg.core import (
        ISOTOPES,
        SCANNERS,
        Box,
        Cylinder,
        Everywhere,
        FitStatus,
        Mask,
        ParameterMaps,
        PsimgError,
        Scanner,
        Sphere,
        VoxelGrid,
    )
    from psimg.events import (
        LifetimeEvents,
        SelectOptions,
        Singles,
        Triplets,
        cut_triplets,
        find_triplets,
        locate_triplets,
        sort_chunks,
        with_last,
    )
    from psimg.io import (
        InputOptions,
        open_input,
        read_spectrum,
    )
    from psimg.lifetime import (
        Component,
        FitOptions,
        Gaussian,
        LifetimeModel,
        Prior,
        Response,
        SpectrumData,
        SpectrumFit,
        bound_voxels,
        calibrate_response,
        calibrated_model,
        fit_automatically,
        fit_joint,
        fit_regions,
        fit_spectrum,
        fit_voxels,
        goodness_of_fit,
        precision_of,
        profile_likelihood,
        sample_posterior,
    )
    from psimg.report.corner import (
        draw_corner,
    )
    from psimg.spectra import (
        LifetimeSpectra,
        Spectrum,
        SpectrumOptions,
        bin_regions,
        bin_voxels,
    )
    from psimg.study import (
        PlanOptions,
        fit_file,
        inspect_file,
        plan_measurement,
        read_study,
        run_and_write,
        run_study,
    )

_HOMES = {
    "psimg.core": (
        "ISOTOPES",
        "SCANNERS",
        "Box",
        "Cylinder",
        "Everywhere",
        "FitStatus",
        "Mask",
        "ParameterMaps",
        "PsimgError",
        "Scanner",
        "Sphere",
        "VoxelGrid",
    ),
    "psimg.events": (
        "LifetimeEvents",
        "SelectOptions",
        "Singles",
        "Triplets",
        "cut_triplets",
        "find_triplets",
        "locate_triplets",
        "sort_chunks",
        "with_last",
    ),
    "psimg.io": (
        "InputOptions",
        "open_input",
        "read_spectrum",
    ),
    "psimg.lifetime": (
        "Component",
        "FitOptions",
        "Gaussian",
        "LifetimeModel",
        "Prior",
        "Response",
        "SpectrumData",
        "SpectrumFit",
        "bound_voxels",
        "calibrate_response",
        "calibrated_model",
        "fit_automatically",
        "fit_joint",
        "fit_regions",
        "fit_spectrum",
        "fit_voxels",
        "goodness_of_fit",
        "precision_of",
        "profile_likelihood",
        "sample_posterior",
    ),
    "psimg.report.corner": ("draw_corner",),
    "psimg.spectra": (
        "LifetimeSpectra",
        "Spectrum",
        "SpectrumOptions",
        "bin_regions",
        "bin_voxels",
    ),
    "psimg.study": (
        "PlanOptions",
        "fit_file",
        "inspect_file",
        "plan_measurement",
        "read_study",
        "run_and_write",
        "run_study",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ISOTOPES",
    "SCANNERS",
    "Box",
    "Component",
    "Cylinder",
    "Everywhere",
    "FitOptions",
    "FitStatus",
    "Gaussian",
    "InputOptions",
    "LifetimeEvents",
    "LifetimeModel",
    "LifetimeSpectra",
    "Mask",
    "ParameterMaps",
    "PlanOptions",
    "Prior",
    "PsimgError",
    "Response",
    "Scanner",
    "SelectOptions",
    "Singles",
    "Spectrum",
    "SpectrumData",
    "SpectrumFit",
    "SpectrumOptions",
    "Sphere",
    "Triplets",
    "VoxelGrid",
    "bin_regions",
    "bin_voxels",
    "bound_voxels",
    "calibrate_response",
    "calibrated_model",
    "cut_triplets",
    "draw_corner",
    "find_triplets",
    "fit_automatically",
    "fit_file",
    "fit_joint",
    "fit_regions",
    "fit_spectrum",
    "fit_voxels",
    "goodness_of_fit",
    "inspect_file",
    "locate_triplets",
    "open_input",
    "plan_measurement",
    "precision_of",
    "profile_likelihood",
    "read_spectrum",
    "read_study",
    "run_and_write",
    "run_study",
    "sample_posterior",
    "sort_chunks",
    "with_last",
]


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must answer at once."""
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'psimg' has no attribute {name!r}")
