"""Compiled best possible error of the o-Ps mean life in each voxel."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._likelihood import SMALLEST_COUNT
from psimg.lifetime._voxel import CURVE, FREE, N_ROW, RIGHT, STEP, TAU, solve

FloatArray = NDArray[np.float64]

_BLOCK = 64
_TURNS = 50
_NOTHING = 1e-9
"""Share of the counts that is none of them."""


@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def slopes_of_split(
    counts: FloatArray, signal: FloatArray, flat: FloatArray, a: float, r: float
) -> tuple[float, float, float, float, float]:
    """Return the sums of n/m times signal and flat, and of n/m^2 times their products.

    counts, signal, flat : (B,); m = a signal + r flat.
    """
    s0 = s1 = q0 = q1 = q2 = 0.0
    for b in range(len(signal)):
        m = a * signal[b] + r * flat[b]
        if m < SMALLEST_COUNT:
            m = SMALLEST_COUNT
        p = counts[b] / m
        q = p / m
        s0 += p * signal[b]
        s1 += p * flat[b]
        q0 += q * signal[b] * signal[b]
        q1 += q * signal[b] * flat[b]
        q2 += q * flat[b] * flat[b]
    return s0, s1, q0, q1, q2


@nb.njit(cache=True, error_model="numpy")
def split_counts(
    counts: FloatArray, signal: FloatArray, flat: FloatArray, level: float, scale: float
) -> tuple[float, float]:
    """Return the signal and the randoms that a voxel's counts are most likely made of.

    counts, signal, flat : (B,). Newton steps on a likelihood that is concave in both; a step goes
    at most nine tenths of the way to zero, and a number that ends there is zero.
    """
    sum_signal = sum_flat = total = 0.0
    for b in range(len(signal)):
        sum_signal += signal[b]
        sum_flat += flat[b]
        total += counts[b]
    a = r = 0.5 * total
    least = _NOTHING * total
    for _ in range(_TURNS):
        s0, s1, q0, q1, q2 = slopes_of_split(counts, signal, flat, a, r)
        g0, g1 = s0 - sum_signal, s1 - sum_flat
        if scale > 0:
            g1 += level / r - scale
            q2 += level / (r * r)
        determinant = q0 * q2 - q1 * q1
        if determinant > 1e-12 * q0 * q2:
            step_a, step_r = (q2 * g0 - q1 * g1) / determinant, (q0 * g1 - q1 * g0) / determinant
        else:
            step_a, step_r = a * g0 / sum_signal, r * g1 / sum_flat
        step_a, step_r = max(step_a, -0.9 * a), max(step_r, -0.9 * r)
        a, r = a + step_a, r + step_r
        if abs(step_a) + abs(step_r) < 1e-6 * total or a < least:
            break
        r = max(r, least)
    return (a if a > 10.0 * least else 0.0), (r if r > 10.0 * least else 0.0)


@nb.njit(cache=True, error_model="numpy")
def fill_information(
    state: FloatArray, jacobian: FloatArray, expected: FloatArray, information: float
) -> None:
    """Write the expected information into CURVE, with that of a level on the background."""
    for i in range(4):
        for j in range(i + 1):
            total = 0.0
            for b in range(len(expected)):
                total += jacobian[i, b] * jacobian[j, b] / max(expected[b], SMALLEST_COUNT)
            state[CURVE, 4 * i + j] = total
            state[CURVE, 4 * j + i] = total
    state[CURVE, 10] += information


@nb.njit(cache=True, parallel=True, error_model="numpy")
def bound_all(
    counts: FloatArray, shapes: FloatArray, ops: FloatArray, amplitudes: FloatArray,
    with_fast: bool, level: FloatArray, scale: FloatArray, class_2_share: FloatArray,
    errors: FloatArray,
) -> None:  # fmt: skip
    """Write the smallest error of the mean life that each voxel's counts allow.

    counts : (V, B); shapes : (3, B) of the fast group and of unrelated and prompt-correlated
    randoms; ops : (2, B) shape of the o-Ps group and its derivative in tau; amplitudes : (2,) of
    the groups for one true event; level, scale, class_2_share : (V,) as for the fit; errors : (V,)
    in the unit of tau, NaN where there are no counts or no signal.
    """
    n_voxel, n_bin = counts.shape
    for block in nb.prange((n_voxel + _BLOCK - 1) // _BLOCK):  # a voxel writes only its own row
        state, jacobian = np.zeros((N_ROW, 16)), np.zeros((4, n_bin))
        expected, signal = np.zeros(n_bin), np.zeros(n_bin)
        for b in range(n_bin):
            signal[b] = amplitudes[0] * shapes[0, b] + amplitudes[1] * ops[0, b]
            jacobian[0, b] = shapes[0, b]
            jacobian[1, b] = ops[0, b]
        for v in range(block * _BLOCK, min((block + 1) * _BLOCK, n_voxel)):
            share = class_2_share[v]
            for b in range(n_bin):
                jacobian[2, b] = (1.0 - share) * shapes[1, b] + share * shapes[2, b]
            n_signal, n_flat = split_counts(counts[v], signal, jacobian[2], level[v], scale[v])
            errors[v] = np.nan
            if not n_signal > 0:
                continue
            for b in range(n_bin):
                jacobian[3, b] = n_signal * amplitudes[1] * ops[1, b]
                expected[b] = n_signal * signal[b] + n_flat * jacobian[2, b]
            known = scale[v] / n_flat if scale[v] > 0 and n_flat > 0 else 0.0
            fill_information(state, jacobian, expected, known)
            for i in range(4):
                state[FREE, i] = 1.0
                state[RIGHT, i] = 0.0
            state[FREE, 0] = 1.0 if with_fast else 0.0
            # Randoms of which there are none are known.
            state[FREE, 2] = 1.0 if n_flat > 1e-9 * n_signal else 0.0
            state[RIGHT, TAU] = 1.0
            if solve(state, CURVE, np.inf):
                errors[v] = math.sqrt(state[STEP, TAU])
