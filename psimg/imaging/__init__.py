"""Lifetime images from list mode: projector, reconstruction, comparison of maps."""

from psimg.imaging.bootstrap import bootstrap_errors
from psimg.imaging.collect import LineCollector, Lines
from psimg.imaging.component_maps import reconstruct_components
from psimg.imaging.evaluation import (
    compare_maps,
    contrast_recovery,
    edge_resolution,
    evaluate_regions,
    over_replicates,
)
from psimg.imaging.list_mode import ListMode, sort_events
from psimg.imaging.mlem import maximise_activity
from psimg.imaging.moment import reconstruct_moment
from psimg.imaging.prepare import prepare_images
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.rate import reconstruct_rate
from psimg.imaging.regions import RegionLikelihood, reconstruct_regions
from psimg.imaging.resampling import resample_image
from psimg.imaging.sensitivity import pair_sensitivity, prompt_sensitivity
from psimg.imaging.simple import reconstruct_simple
from psimg.imaging.split import reconstruct_split
from psimg.imaging.time_shapes import TimeShapes, make_shapes
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction

__all__ = [
    "ImageData",
    "LineCollector",
    "Lines",
    "ListMode",
    "Projector",
    "ReconOptions",
    "Reconstruction",
    "RegionLikelihood",
    "TimeShapes",
    "bootstrap_errors",
    "compare_maps",
    "contrast_recovery",
    "edge_resolution",
    "evaluate_regions",
    "make_shapes",
    "maximise_activity",
    "over_replicates",
    "pair_sensitivity",
    "prepare_images",
    "prompt_sensitivity",
    "reconstruct_components",
    "reconstruct_moment",
    "reconstruct_rate",
    "reconstruct_regions",
    "reconstruct_simple",
    "reconstruct_split",
    "resample_image",
    "sort_events",
    "to_field",
    "to_image",
]
