"""Spectra of dt, for voxels and for regions, and of energy."""

from psimg.spectra.binning import SpectrumOptions, VoxelCounter, bin_voxels
from psimg.spectra.region_binning import RegionCounter, bin_regions
from psimg.spectra.values import EnergySpectrum, LifetimeSpectra

__all__ = [
    "EnergySpectrum",
    "LifetimeSpectra",
    "RegionCounter",
    "SpectrumOptions",
    "VoxelCounter",
    "bin_regions",
    "bin_voxels",
]
