"""Compiled random numbers: NumPy's SFC64, inlined.

A call of a `numpy.random.Generator` from a compiled loop goes through a function pointer for each
number, which costs more than the physics drawn with it. The state here is that of NumPy's bit
generator, and the numbers are the same (C. Doty-Humphrey, PractRand; NumPy's SFC64).
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.simulate._jit import JIT

_SHIFT_A, _SHIFT_B, _SHIFT_C = np.uint64(24), np.uint64(40), np.uint64(11)
_SHIFT_3, _ONE = np.uint64(3), np.uint64(1)
_STEP = 2.0**-53


def state_of(seed: np.random.SeedSequence) -> NDArray[np.uint64]:
    """Return the (4,) state of NumPy's SFC64 of this seed."""
    state: NDArray[np.uint64] = np.random.SFC64(seed).state["state"]["state"]
    return state.copy()


@nb.njit(**JIT)
def uniform(state: NDArray[np.uint64]) -> float:
    """Draw a number from 0 up to, not including, 1, as ``Generator.random`` does."""
    drawn = state[0] + state[1] + state[3]
    state[3] += _ONE
    state[0] = state[1] ^ (state[1] >> _SHIFT_C)
    state[1] = state[2] + (state[2] << _SHIFT_3)
    state[2] = ((state[2] << _SHIFT_A) | (state[2] >> _SHIFT_B)) + drawn
    return float(drawn >> _SHIFT_C) * _STEP


@nb.njit(**JIT)
def exponential(state: NDArray[np.uint64]) -> float:
    """Draw from the exponential distribution of mean 1."""
    return -math.log(1.0 - uniform(state))


@nb.njit(**JIT)
def in_disc(state: NDArray[np.uint64]) -> tuple[float, float, float]:
    """Draw a point uniformly in the unit disc, not its centre, and its squared radius."""
    while True:
        a = 2.0 * uniform(state) - 1.0
        b = 2.0 * uniform(state) - 1.0
        q = a * a + b * b
        if 0.0 < q < 1.0:
            return a, b, q


@nb.njit(**JIT)
def normals(state: NDArray[np.uint64]) -> tuple[float, float]:
    """Draw two from the normal distribution of mean 0 and width 1 (G. Marsaglia's polar method)."""
    a, b, q = in_disc(state)
    scale = math.sqrt(-2.0 * math.log(q) / q)
    return a * scale, b * scale


@nb.njit(**JIT)
def isotropic(state: NDArray[np.uint64]) -> tuple[float, float, float]:
    """Draw a unit vector uniformly on the sphere (G. Marsaglia, Ann. Math. Stat. 43 (1972) 645)."""
    a, b, q = in_disc(state)
    across = 2.0 * math.sqrt(1.0 - q)
    return a * across, b * across, 1.0 - 2.0 * q
