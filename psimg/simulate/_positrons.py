"""Compiled loops of the positron: its energy, how far it gets, and how it annihilates in flight."""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.simulate._jit import JIT
from psimg.simulate._photons import ELECTRON_KEV
from psimg.simulate._random import exponential, uniform


class Positrons(NamedTuple):
    """An isotope's positrons in the phantom's materials. Q spectra, M materials."""

    energy: NDArray[np.float64]
    """(U, Q) kinetic energy at equal steps of the cumulative share, from 0 to 1 [keV]."""
    sigma: NDArray[np.float64]
    """(E, M) Gaussian width of the displacement along each axis at each keV [mm]."""
    slowing: NDArray[np.float64]
    """(E, M) time to slow down from each keV [ns]."""
    flight: NDArray[np.float64]
    """(E,) annihilations in flight expected of a positron slowing down from each keV to rest."""


@nb.njit(**JIT)
def energy_in_flight(
    state: NDArray[np.uint64], energy: float, flight: NDArray[np.float64]
) -> float:
    """Draw the kinetic energy [keV] at which a positron annihilates; 0 at rest.

    ``energy`` is what it starts with [keV]; ``flight`` as in `Positrons`.
    """
    top = min(energy, len(flight) - 1.001)
    i = int(top)
    expected = flight[i] + (top - i) * (flight[i + 1] - flight[i])
    # The first of a Poisson process that runs from the start down to rest.
    level = expected - exponential(state)
    if level <= 0.0:
        return 0.0
    low, high = 0, i + 1
    while high - low > 1:
        middle = (low + high) // 2
        if flight[middle] <= level:
            low = middle
        else:
            high = middle
    return float(low + (level - flight[low]) / (flight[high] - flight[low]))


@nb.njit(**JIT)
def photons_in_flight(state: NDArray[np.uint64], energy: float) -> tuple[float, float, float]:
    """Draw the photons of an annihilation in flight on an electron at rest.

    ``energy`` is the positron's kinetic energy [keV]. Returns the energy of one photon [keV], and
    the cosines of its angle and of the other's to the positron. With e the photon's share of all
    energy and g = 1 + energy/mc^2, W. Heitler, The Quantum Theory of Radiation, par. 27, has a
    density in e of (1 - e + (2 g e - 1)/(e (g + 1)^2))/e.
    """
    g = 1.0 + energy / ELECTRON_KEV
    root = math.sqrt((g - 1.0) / (g + 1.0))
    low, high = 0.5 * (1.0 - root), 0.5 * (1.0 + root)
    while True:
        e = low * math.exp(uniform(state) * math.log(high / low))
        if uniform(state) <= 1.0 - e + (2.0 * g * e - 1.0) / (e * (g + 1.0) ** 2):
            break
    momentum = math.sqrt(g * g - 1.0)
    other = 1.0 - e
    cosine = (e * (g + 1.0) - 1.0) / (e * momentum)
    cosine_other = (other * (g + 1.0) - 1.0) / (other * momentum)
    total = energy + 2.0 * ELECTRON_KEV
    return e * total, max(-1.0, min(1.0, cosine)), max(-1.0, min(1.0, cosine_other))
