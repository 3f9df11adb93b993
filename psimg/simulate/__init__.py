"""Acquisitions with known truth."""

from psimg.simulate.acquisition import simulate_acquisition
from psimg.simulate.detector import Detector, detectors, find_detector
from psimg.simulate.materials import MATERIALS, Material, find_material
from psimg.simulate.phantom import (
    Channel,
    HalfCylinder,
    LineSource,
    Phantom,
    PhantomRegion,
    VoxelPhantom,
    ps_channels,
)
from psimg.simulate.phantoms import REFERENCE_CHANNELS, cylinder_phantom, nema_iq
from psimg.simulate.physics import Physics
from psimg.simulate.values import Acquisition, Decays, Simulated

__all__ = [
    "MATERIALS",
    "REFERENCE_CHANNELS",
    "Acquisition",
    "Channel",
    "Decays",
    "Detector",
    "HalfCylinder",
    "LineSource",
    "Material",
    "Phantom",
    "PhantomRegion",
    "Physics",
    "Simulated",
    "VoxelPhantom",
    "cylinder_phantom",
    "detectors",
    "find_detector",
    "find_material",
    "nema_iq",
    "ps_channels",
    "simulate_acquisition",
]
