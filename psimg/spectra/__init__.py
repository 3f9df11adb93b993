"""Spectra of dt, for voxels and for regions, and of what singles left in detectors."""

from psimg.spectra.binning import SpectrumOptions, VoxelCounter, bin_voxels
from psimg.spectra.channels import guess_channel_ns
from psimg.spectra.levels import PairCounter, RandomLevels, estimate_levels
from psimg.spectra.randoms import (
    DelayedSpectrum,
    RandomClasses,
    SmoothShape,
    estimate_classes,
    estimate_random_spectrum,
    measure_shape,
)
from psimg.spectra.region_binning import RegionCounter, bin_regions
from psimg.spectra.signal import SignalSpectrum
from psimg.spectra.spectrum import Spectrum
from psimg.spectra.values import LifetimeSpectra

__all__ = [
    "DelayedSpectrum",
    "LifetimeSpectra",
    "PairCounter",
    "RandomClasses",
    "RandomLevels",
    "RegionCounter",
    "SignalSpectrum",
    "SmoothShape",
    "Spectrum",
    "SpectrumOptions",
    "VoxelCounter",
    "bin_regions",
    "bin_voxels",
    "estimate_classes",
    "estimate_levels",
    "estimate_random_spectrum",
    "guess_channel_ns",
    "measure_shape",
]
