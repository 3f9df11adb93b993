"""Lifetime models and their fits, for regions and for voxels."""

from psimg.lifetime.automatic import AutomaticFit, fit_automatically
from psimg.lifetime.goodness import Goodness, goodness_of_fit
from psimg.lifetime.joint_fit import JointFit, fit_joint
from psimg.lifetime.model import (
    DIRECT,
    OPS,
    PPS,
    Component,
    Gaussian,
    LifetimeModel,
    Response,
    standard_components,
)
from psimg.lifetime.posterior import Posterior, Prior, default_priors, sample_posterior
from psimg.lifetime.precision import Precision, precision_of
from psimg.lifetime.profile import Profile, profile_likelihood
from psimg.lifetime.spectrum_fit import calibrate_response, fit_data, fit_regions, fit_spectrum
from psimg.lifetime.values import FitOptions, SpectrumData, SpectrumFit, calibrated_model
from psimg.lifetime.voxel_bounds import bound_voxels
from psimg.lifetime.voxel_fit import fit_voxels
from psimg.lifetime.walk_fit import fit_walk

__all__ = [
    "DIRECT",
    "OPS",
    "PPS",
    "AutomaticFit",
    "Component",
    "FitOptions",
    "Gaussian",
    "Goodness",
    "JointFit",
    "LifetimeModel",
    "Posterior",
    "Precision",
    "Prior",
    "Profile",
    "Response",
    "SpectrumData",
    "SpectrumFit",
    "bound_voxels",
    "calibrate_response",
    "calibrated_model",
    "default_priors",
    "fit_automatically",
    "fit_data",
    "fit_joint",
    "fit_regions",
    "fit_spectrum",
    "fit_voxels",
    "fit_walk",
    "goodness_of_fit",
    "precision_of",
    "profile_likelihood",
    "sample_posterior",
    "standard_components",
]
