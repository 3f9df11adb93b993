"""Acquisitions with known truth."""

from psimg.simulate.materials import MATERIALS, Material, attenuation_tables, find_material
from psimg.simulate.phantom import Phantom, Source, nema_like
from psimg.simulate.toy import ToyDetector, simulate_singles

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
