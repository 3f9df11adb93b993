"""Lifetime models and their fits, for regions and for voxels."""

from psimg.lifetime.model import (
    DIRECT,
    OPS,
    PPS,
    Component,
    LifetimeModel,
    Response,
    standard_components,
)
from psimg.lifetime.spectrum_fit import calibrate_response, fit_regions, fit_spectrum
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.lifetime.voxel_bounds import bound_voxels
from psimg.lifetime.voxel_fit import fit_voxels
from psimg.lifetime.walk_fit import fit_walk

__all__ = [
    "DIRECT",
    "OPS",
    "PPS",
    "Component",
    "FitOptions",
    "LifetimeModel",
    "Response",
    "SpectrumFit",
    "bound_voxels",
    "calibrate_response",
    "fit_regions",
    "fit_spectrum",
    "fit_voxels",
    "fit_walk",
    "standard_components",
]
