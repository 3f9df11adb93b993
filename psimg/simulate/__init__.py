"""Acquisitions with known truth."""

from psimg.simulate.toy_phantom import Phantom, Source, nema_like
from psimg.simulate.toy import ToyDetector, simulate_singles

__all__ = ["Phantom", "Source", "ToyDetector", "nema_like", "simulate_singles"]
