"""Compiled fit of one voxel: Newton steps on three amplitudes and the o-Ps mean life.

The expected counts of a bin are

    m = A fast + O shape(x) + R flat,    x = ln tau,

and only bins with counts are looked at: the others enter through the sums of the shapes alone,
-2 ln L = 2 (sum m - sum n + sum n ln(n/m)).
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._likelihood import SMALLEST_COUNT
from psimg.lifetime._shape_table import ShapeTable, cell_of

FloatArray = NDArray[np.float64]

OK, TOO_FEW_COUNTS, NOT_CONVERGED, AT_BOUND = 0, 1, 2, 3
"""Values of `psimg.core.maps.FitStatus`."""

FAST, OPS, BACKGROUND, TAU = 0, 1, 2, 3
"""Rows of the parameters: events of the fast group, of the o-Ps group, randoms, ln of mean life."""

COUNTS, VARIANCE, _FAST, _FLAT = 0, 1, 2, 3
"""Columns of a voxel: counts, their variance, the shapes of the fast group and of randoms."""

# A double's 52 bits of mantissa; the bits of sqrt(1/2); what moves the exponent of numbers from
# there to sqrt(2) to a whole; the bits of 2^12, where bit 40 counts one; 2^12 plus the exponent
# of 1.
_MANTISSA = np.uint64(52)
_MANTISSA_MASK = np.uint64(0x000FFFFFFFFFFFFF)
_SQRT_HALF = np.uint64(0x3FE6A09E667F3BCD)
_HALVES = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_TO_FLOAT = np.uint64(0x40B0000000000000)
_FLOAT_BITS = np.uint64(40)
_FLOAT_ZERO = 4096.0 + 1023.0


class Voxel(NamedTuple):
    """Scratch for one voxel: what it holds, and the state of its fit."""

    columns: FloatArray
    """(4, B) counts, variances, fast and flat shape of the bins with counts."""
    found: FloatArray
    """(5,) counts before the peak, in it, after it, where only randoms reach; bins with counts."""
    bins: NDArray[np.int64]
    """(B,) which bins those are."""
    cell: NDArray[np.int64]
    """(1,) cell of the table, and"""
    rows: FloatArray
    """(6, B) its coefficients at those bins."""
    totals: FloatArray
    """(6,) sums over all bins: fast, flat, o-Ps shape, its slope, its bend; and counts."""
    sums: FloatArray
    """(15,) sums over the bins with counts; see `accumulate`."""
    theta: FloatArray
    """(4,) parameters."""
    lowest: FloatArray
    """(4,) lower bounds."""
    highest: FloatArray
    """(4,) upper bounds."""
    gradient: FloatArray
    """(4,) of the log-likelihood."""
    information: FloatArray
    """(4, 4) observed information."""
    curve: FloatArray
    """(4, 4) what takes its place in a step."""
    matrix: FloatArray
    """(4, 4) scratch."""
    right: FloatArray
    """(4,) right side of its equations."""
    move: FloatArray
    """(4,) part of the step that puts parameters on their bounds."""
    step: FloatArray
    """(4,)."""
    free: NDArray[np.bool_]
    """(4,) parameters not held on a bound."""
    trial: FloatArray
    """(4,) scratch for parameters."""
    best: FloatArray
    """(4,) scratch for parameters."""


@nb.njit(cache=True, error_model="numpy")
def empty_voxel(n_bin: int) -> Voxel:
    """Return scratch for voxels of ``n_bin`` bins."""
    return Voxel(
        np.empty((4, n_bin)), np.empty(5), np.empty(n_bin, np.int64),
        np.empty(1, np.int64), np.empty((6, n_bin)),
        np.empty(6), np.empty(15), np.empty(4), np.empty(4), np.empty(4), np.empty(4),
        np.empty((4, 4)), np.empty((4, 4)), np.empty((4, 4)), np.empty(4), np.empty(4),
        np.empty(4), np.empty(4, np.bool_), np.empty(4),
        np.empty(4),
    )  # fmt: skip


# Only sums may be reordered, so that they fill the processor's vectors; nothing here is NaN.
@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def accumulate(
    rows: FloatArray, t: float, theta: FloatArray, columns: FloatArray, which: int, size: int,
    sums: FloatArray,
) -> None:  # fmt: skip
    """Sum over the first ``size`` bins what gradient and information are made of.

    With the shape S, its slope D and half its bend E in ``t``, the first five sums are n/m times
    fast, S, flat, D, E and the others n/m^2 times the products of fast, S, flat, D in the order of
    a lower triangle. rows : (6, >= size) cell of the table; columns : (4, >= size) as in `Voxel`,
    of which ``which`` holds n.
    """
    a, o, r = theta[0], theta[1], theta[2]
    s0 = s1 = s2 = s3 = s4 = 0.0
    q0 = q1 = q2 = q3 = q4 = q5 = q6 = q7 = q8 = q9 = 0.0
    for b in range(size):
        shape = rows[5, b] * t + rows[4, b]
        slope = rows[5, b] * t + shape
        bend = rows[5, b] * t + slope
        shape = shape * t + rows[3, b]
        slope = slope * t + shape
        bend = bend * t + slope
        shape = shape * t + rows[2, b]
        slope = slope * t + shape
        bend = bend * t + slope
        shape = shape * t + rows[1, b]
        slope = slope * t + shape
        shape = shape * t + rows[0, b]
        fast = columns[_FAST, b]
        flat = columns[_FLAT, b]
        m = a * fast + o * shape + r * flat
        if m < SMALLEST_COUNT:
            m = SMALLEST_COUNT
        inverse = 1.0 / m
        p = columns[which, b] * inverse
        q = p * inverse
        s0 += p * fast
        s1 += p * shape
        s2 += p * flat
        s3 += p * slope
        s4 += p * bend
        q_fast = q * fast
        q_shape = q * shape
        q_flat = q * flat
        q0 += q_fast * fast
        q1 += q_fast * shape
        q2 += q_shape * shape
        q3 += q_fast * flat
        q4 += q_shape * flat
        q5 += q_flat * flat
        q6 += q_fast * slope
        q7 += q_shape * slope
        q8 += q_flat * slope
        q9 += q * slope * slope
    sums[0], sums[1], sums[2], sums[3], sums[4] = s0, s1, s2, s3, s4
    sums[5], sums[6], sums[7], sums[8], sums[9] = q0, q1, q2, q3, q4
    sums[10], sums[11], sums[12], sums[13], sums[14] = q5, q6, q7, q8, q9


# The same; math.log would be a call for each bin.
@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def sum_of_logs(
    rows: FloatArray, t: float, theta: FloatArray, columns: FloatArray, size: int,
) -> float:  # fmt: skip
    """Return the sum of n ln(n/m) over the first ``size`` bins; see `accumulate`.

    The logarithm is that of FreeBSD's e_log.c (K. C. Ng, Sun Microsystems, 1993): with
    n/m = 2^k (1 + f) and 1 + f within sqrt(2) of 1, ln(1 + f) is a polynomial in f/(2 + f).
    """
    a, o, r = theta[0], theta[1], theta[2]
    total = 0.0
    for b in range(size):
        shape = (rows[5, b] * t + rows[4, b]) * t + rows[3, b]
        shape = ((shape * t + rows[2, b]) * t + rows[1, b]) * t + rows[0, b]
        fast = columns[_FAST, b]
        flat = columns[_FLAT, b]
        m = a * fast + o * shape + r * flat
        if m < SMALLEST_COUNT:
            m = SMALLEST_COUNT
        n = columns[COUNTS, b]
        bits = np.float64(n / m).view(np.uint64) + _HALVES
        k = (
            np.uint64(((bits >> _MANTISSA) << _FLOAT_BITS) | _TO_FLOAT).view(np.float64)
            - _FLOAT_ZERO
        )
        f = np.uint64((bits & _MANTISSA_MASK) + _SQRT_HALF).view(np.float64) - 1.0
        s = f / (2.0 + f)
        z = s * s
        tail = (((0.1479819860511658591 * z + 0.1531383769920937332) * z
                 + 0.1818357216161805012) * z + 0.2222219843214978396)  # fmt: skip
        tail = ((tail * z + 0.2857142874366239149) * z + 0.3999999999940941908) * z
        tail = (tail + 0.6666666666666735130) * z
        half = 0.5 * f * f
        total += n * (k * 0.6931471805599453094 + (f - (half - s * (half + tail))))
    return total


@nb.njit(cache=True, error_model="numpy")
def turn_to(voxel: Voxel, table: ShapeTable, size: int, log_tau: float) -> float:
    """Make rows and totals those of a mean life; return its place in the cell."""
    n_bin = table.rows.shape[1]
    cell, t = cell_of(table, log_tau)
    if cell != voxel.cell[0]:
        voxel.cell[0] = cell
        for j in range(6):
            if size == n_bin:
                for b in range(n_bin):
                    voxel.rows[j, b] = table.rows[6 * cell + j, b]
            else:
                for i in range(size):
                    voxel.rows[j, i] = table.rows[6 * cell + j, voxel.bins[i]]
    shape = slope = bend = 0.0
    for j in range(5, -1, -1):
        bend = bend * t + slope
        slope = slope * t + shape
        shape = shape * t + table.totals[6 * cell + j]
    voxel.totals[2] = shape
    voxel.totals[3] = slope * table.per_step
    voxel.totals[4] = 2.0 * bend * table.per_step * table.per_step
    return t


@nb.njit(cache=True, error_model="numpy")
def sums_at(voxel: Voxel, table: ShapeTable, size: int, t: float, which: int) -> None:
    """Call `accumulate` on the counts, or on their variances; slope and bend become those in x."""
    sums = voxel.sums
    accumulate(voxel.rows, t, voxel.theta, voxel.columns, which, size, sums)
    scale = table.per_step
    sums[3] *= scale
    sums[4] *= 2.0 * scale * scale
    for k in range(11, 15):
        sums[k] *= scale
    sums[14] *= scale


@nb.njit(cache=True, error_model="numpy")
def fill_products(voxel: Voxel, level: float, scale: float, matrix: FloatArray) -> None:
    """Write the sums of products of first derivatives, d(m) d(m)' n/m^2, into (4, 4).

    The level of the background was measured as ``level`` ~ Poisson(scale theta[BACKGROUND]).
    """
    at = 5
    for i in range(4):
        for j in range(i + 1):
            value = voxel.sums[at]
            if i == TAU:
                value *= voxel.theta[OPS]
                if j == TAU:
                    value *= voxel.theta[OPS]
            matrix[i, j] = value
            matrix[j, i] = value
            at += 1
    if scale > 0:
        background = max(voxel.theta[BACKGROUND], SMALLEST_COUNT)
        matrix[BACKGROUND, BACKGROUND] += level / (background * background)


@nb.njit(cache=True, error_model="numpy")
def differentiate(voxel: Voxel, table: ShapeTable, size: int, level: float, scale: float) -> None:
    """Write gradient and observed information of the log-likelihood at ``theta``.

    With m the expected and n the observed counts of a bin, the information is the sum over bins
    of n/m^2 dm dm' - (n/m - 1) d2m. The expected counts are linear in all but the mean life, so
    d2m is not zero only for the mean life with itself and with the o-Ps events.
    """
    t = turn_to(voxel, table, size, voxel.theta[TAU])
    sums_at(voxel, table, size, t, COUNTS)
    sums, totals, gradient, information = (
        voxel.sums, voxel.totals, voxel.gradient, voxel.information,
    )  # fmt: skip
    ops = voxel.theta[OPS]
    gradient[FAST] = sums[0] - totals[0]
    gradient[OPS] = sums[1] - totals[2]
    gradient[BACKGROUND] = sums[2] - totals[1]
    slope = sums[3] - totals[3]
    gradient[TAU] = ops * slope
    fill_products(voxel, level, scale, information)
    information[TAU, TAU] -= ops * (sums[4] - totals[4])
    information[TAU, OPS] -= slope
    information[OPS, TAU] -= slope
    if scale > 0:
        background = max(voxel.theta[BACKGROUND], SMALLEST_COUNT)
        gradient[BACKGROUND] += level / background - scale


@nb.njit(cache=True, error_model="numpy")
def deviance_of(
    voxel: Voxel, table: ShapeTable, size: int, level: float, scale: float, theta: FloatArray
) -> float:
    """Poisson deviance of the voxel, and of the measured level of its background."""
    t = turn_to(voxel, table, size, theta[TAU])
    total = sum_of_logs(voxel.rows, t, theta, voxel.columns, size)
    total += theta[FAST] * voxel.totals[0] + theta[OPS] * voxel.totals[2]
    total += theta[BACKGROUND] * voxel.totals[1] - voxel.totals[5]
    if scale > 0:
        m = max(scale * theta[BACKGROUND], SMALLEST_COUNT)
        total += m - level
        if level > 0:
            total += level * math.log(level / m)
    return float(2.0 * total)


@nb.njit(cache=True, error_model="numpy")
def solve(
    matrix: FloatArray, right: FloatArray, free: NDArray[np.bool_], limit: float, step: FloatArray
) -> bool:
    """Solve the symmetric (4, 4) system for the free parameters; False if not positive definite.

    ``step`` is zero for parameters that are not free. Its last element is kept within ``limit``,
    and the others solve their equations with it there. Factors L D L', written out: loops over
    four cost as much as all else in a step.
    """
    f0, f1, f2, f3 = free[0], free[1], free[2], free[3]
    a00 = matrix[0, 0] if f0 else 1.0
    a11 = matrix[1, 1] if f1 else 1.0
    a22 = matrix[2, 2] if f2 else 1.0
    a33 = matrix[3, 3] if f3 else 1.0
    a10 = matrix[1, 0] if f1 and f0 else 0.0
    a20 = matrix[2, 0] if f2 and f0 else 0.0
    a30 = matrix[3, 0] if f3 and f0 else 0.0
    a21 = matrix[2, 1] if f2 and f1 else 0.0
    a31 = matrix[3, 1] if f3 and f1 else 0.0
    a32 = matrix[3, 2] if f3 and f2 else 0.0
    # Relative to the diagonal: a pivot of rounding errors is no information.
    if not a00 > 0:
        return False
    d0 = 1.0 / a00
    l10, l20, l30 = a10 * d0, a20 * d0, a30 * d0
    pivot = a11 - l10 * a10
    if not pivot > 1e-13 * a11:
        return False
    d1 = 1.0 / pivot
    a21 -= l20 * a10
    a31 -= l30 * a10
    l21, l31 = a21 * d1, a31 * d1
    pivot = a22 - l20 * a20 - l21 * a21
    if not pivot > 1e-13 * a22:
        return False
    d2 = 1.0 / pivot
    a32 -= l30 * a20 + l31 * a21
    l32 = a32 * d2
    pivot = a33 - l30 * a30 - l31 * a31 - l32 * a32
    if not pivot > 1e-13 * a33 or not math.isfinite(pivot):
        return False
    y0 = right[0] if f0 else 0.0
    y1 = (right[1] if f1 else 0.0) - l10 * y0
    y2 = (right[2] if f2 else 0.0) - l20 * y0 - l21 * y1
    y3 = (right[3] if f3 else 0.0) - l30 * y0 - l31 * y1 - l32 * y2
    x3 = min(max(y3 / pivot, -limit), limit)
    x2 = y2 * d2 - l32 * x3
    x1 = y1 * d1 - l21 * x2 - l31 * x3
    step[0] = y0 * d0 - l10 * x1 - l20 * x2 - l30 * x3
    step[1] = x1
    step[2] = x2
    step[3] = x3
    return True
