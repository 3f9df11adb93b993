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


def _layers(n: int = 256) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges and heights of the ziggurat of the exponential distribution.

    G. Marsaglia and W. W. Tsang, J. Stat. Softw. 5 (2000) 8: layers of equal area; the lowest takes
    in the tail beyond its edge.
    """
    edge = 7.69711747013104972
    area = (edge + 1.0) * math.exp(-edge)
    x = [area / math.exp(-edge), edge]
    while len(x) < n:
        x.append(-math.log(math.exp(-x[-1]) + area / x[-1]))
    x.append(0.0)
    return np.array(x), np.exp(-np.array(x))


_EDGE, _HEIGHT = _layers()
_TAIL, _LAYER = float(_EDGE[1]), np.uint64(255)


@nb.njit(**JIT)
def bits(state: NDArray[np.uint64]) -> np.uint64:
    """Draw 64 random bits."""
    drawn: np.uint64 = state[0] + state[1] + state[3]
    state[3] += _ONE
    state[0] = state[1] ^ (state[1] >> _SHIFT_C)
    state[1] = state[2] + (state[2] << _SHIFT_3)
    state[2] = ((state[2] << _SHIFT_A) | (state[2] >> _SHIFT_B)) + drawn
    return drawn


@nb.njit(**JIT)
def uniform(state: NDArray[np.uint64]) -> float:
    """Draw a number from 0 up to, not including, 1, as ``Generator.random`` does."""
    return float(bits(state) >> _SHIFT_C) * _STEP


@nb.njit(**JIT)
def exponential(state: NDArray[np.uint64]) -> float:
    """Draw from the exponential distribution of mean 1, by the ziggurat."""
    before = 0.0
    while True:
        drawn = bits(state)
        # The lowest bits choose the layer, the highest the place in it.
        layer = int(drawn & _LAYER)
        x = float(drawn >> _SHIFT_C) * _STEP * _EDGE[layer]
        if x < _EDGE[layer + 1]:
            return float(before + x)
        if layer == 0:
            # The tail is another exponential.
            before += _TAIL
            continue
        height = _HEIGHT[layer] + uniform(state) * (_HEIGHT[layer + 1] - _HEIGHT[layer])
        if height < math.exp(-x):
            return float(before + x)


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
