"""Acquisitions with known truth."""

from psimg.simulate.materials import MATERIALS, Material, attenuation_tables, find_material
from psimg.simulate.toy import ToyDetector, simulate_singles
from psimg.simulate.toy_phantom import Phantom, Source, nema_like

__all__ = [
    "MATERIALS",
    "Material",
    "Phantom",
    "Source",
    "ToyDetector",
    "attenuation_tables",
    "find_material",
    "nema_like",
    "simulate_singles",
]
