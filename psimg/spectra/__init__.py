"""Spectra of dt, for voxels and for regions, and of what singles left in detectors."""

from psimg.spectra.binning import SpectrumOptions, VoxelCounter, bin_regions, bin_voxels
from psimg.spectra.signal import SignalSpectrum
from psimg.spectra.values import LifetimeSpectra

__all__ = [
    "LifetimeSpectra",
    "SignalSpectrum",
    "SpectrumOptions",
    "VoxelCounter",
    "bin_regions",
    "bin_voxels",
]
