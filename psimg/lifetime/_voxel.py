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
    bins: NDArray[np.int64]
    """(B,) which bins those are."""
    rows: FloatArray
    """(6, B) cell of the table at those bins."""
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
    matrix: FloatArray
    """(4, 4) scratch of the solver."""
    step: FloatArray
    """(4,)."""
    free: NDArray[np.bool_]
    """(4,) parameters not held on a bound."""
    trial: FloatArray
    """(4,) scratch for parameters."""
    best: FloatArray
    """(4,) scratch for parameters."""


@nb.njit(cache=True)
def empty_voxel(n_bin: int) -> Voxel:
    """Return scratch for voxels of ``n_bin`` bins."""
    return Voxel(
        np.empty((4, n_bin)), np.empty(n_bin, np.int64), np.empty((6, n_bin)),
        np.empty(6), np.empty(15), np.empty(4), np.empty(4), np.empty(4), np.empty(4),
        np.empty((4, 4)), np.empty((4, 4)), np.empty(4), np.empty(4, np.bool_), np.empty(4),
        np.empty(4),
    )  # fmt: skip


# Only sums may be reordered, so that they fill the processor's vectors; nothing here is NaN.
@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def accumulate(
    rows: FloatArray, t: float, theta: FloatArray, n: FloatArray, fast: FloatArray,
    flat: FloatArray, size: int, sums: FloatArray,
) -> None:  # fmt: skip
    """Sum over the first ``size`` bins what gradient and information are made of.

    With the shape S, its slope D and half its bend E in ``t``, the first five sums are n/m times
    fast, S, flat, D, E and the others n/m^2 times the products of fast, S, flat, D in the order of
    a lower triangle. rows : (6, >= size) cell of the table; the others : (>= size,).
    """
    a, o, r = theta[0], theta[1], theta[2]
    r0, r1, r2, r3, r4, r5 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    s0 = s1 = s2 = s3 = s4 = 0.0
    q0 = q1 = q2 = q3 = q4 = q5 = q6 = q7 = q8 = q9 = 0.0
    for b in range(size):
        shape = r5[b] * t + r4[b]
        slope = r5[b] * t + shape
        bend = r5[b] * t + slope
        shape = shape * t + r3[b]
        slope = slope * t + shape
        bend = bend * t + slope
        shape = shape * t + r2[b]
        slope = slope * t + shape
        bend = bend * t + slope
        shape = shape * t + r1[b]
        slope = slope * t + shape
        shape = shape * t + r0[b]
        m = a * fast[b] + o * shape + r * flat[b]
        if m < SMALLEST_COUNT:
            m = SMALLEST_COUNT
        inverse = 1.0 / m
        p = n[b] * inverse
        q = p * inverse
        s0 += p * fast[b]
        s1 += p * shape
        s2 += p * flat[b]
        s3 += p * slope
        s4 += p * bend
        q_fast = q * fast[b]
        q_shape = q * shape
        q_flat = q * flat[b]
        q0 += q_fast * fast[b]
        q1 += q_fast * shape
        q2 += q_shape * shape
        q3 += q_fast * flat[b]
        q4 += q_shape * flat[b]
        q5 += q_flat * flat[b]
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
    rows: FloatArray, t: float, theta: FloatArray, n: FloatArray, fast: FloatArray,
    flat: FloatArray, size: int,
) -> float:  # fmt: skip
    """Return the sum of n ln(n/m) over the first ``size`` bins; see `accumulate`.

    The logarithm is that of FreeBSD's e_log.c (K. C. Ng, Sun Microsystems, 1993): with
    n/m = 2^k (1 + f) and 1 + f within sqrt(2) of 1, ln(1 + f) is a polynomial in f/(2 + f).
    """
    a, o, r = theta[0], theta[1], theta[2]
    r0, r1, r2, r3, r4, r5 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    total = 0.0
    for b in range(size):
        shape = ((((r5[b] * t + r4[b]) * t + r3[b]) * t + r2[b]) * t + r1[b]) * t + r0[b]
        m = a * fast[b] + o * shape + r * flat[b]
        if m < SMALLEST_COUNT:
            m = SMALLEST_COUNT
        bits = np.float64(n[b] / m).view(np.uint64) + _HALVES
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
        total += n[b] * (k * 0.6931471805599453094 + (f - (half - s * (half + tail))))
    return total


@nb.njit(cache=True)
def gather(
    table: ShapeTable, cell: int, bins: NDArray[np.int64], size: int, rows: FloatArray
) -> None:
    """Copy a cell's six rows at the first ``size`` of ``bins``."""
    for j in range(6):
        source = table.rows[6 * cell + j]
        target = rows[j]
        for i in range(size):
            target[i] = source[bins[i]]


@nb.njit(cache=True)
def turn_to(voxel: Voxel, table: ShapeTable, size: int, log_tau: float) -> tuple[int, float]:
    """Make totals and rows those of a mean life; return its cell and the place in it."""
    cell, t = cell_of(table, log_tau)
    c = table.totals[6 * cell : 6 * cell + 6]
    shape = slope = bend = 0.0
    for j in range(5, -1, -1):
        bend = bend * t + slope
        slope = slope * t + shape
        shape = shape * t + c[j]
    voxel.totals[2] = shape
    voxel.totals[3] = slope / table.step
    voxel.totals[4] = 2.0 * bend / (table.step * table.step)
    if size < table.rows.shape[1]:
        gather(table, cell, voxel.bins, size, voxel.rows)
    return cell, t


@nb.njit(cache=True)
def rows_of(voxel: Voxel, table: ShapeTable, size: int, cell: int) -> FloatArray:
    """Return the (6, size) rows of a cell at the voxel's bins."""
    if size < table.rows.shape[1]:
        return voxel.rows
    return table.rows[6 * cell : 6 * cell + 6]


@nb.njit(cache=True)
def sums_at(voxel: Voxel, table: ShapeTable, size: int, cell: int, t: float, column: int) -> None:
    """Call `accumulate` on the counts, or on their variances; slope and bend become those in x."""
    columns, sums = voxel.columns, voxel.sums
    accumulate(
        rows_of(voxel, table, size, cell), t, voxel.theta, columns[column], columns[_FAST],
        columns[_FLAT], size, sums,
    )  # fmt: skip
    scale = 1.0 / table.step
    sums[3] *= scale
    sums[4] *= 2.0 * scale * scale
    for k in range(11, 15):
        sums[k] *= scale
    sums[14] *= scale


@nb.njit(cache=True)
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


@nb.njit(cache=True)
def differentiate(voxel: Voxel, table: ShapeTable, size: int, level: float, scale: float) -> None:
    """Write gradient and observed information of the log-likelihood at ``theta``.

    With m the expected and n the observed counts of a bin, the information is the sum over bins
    of n/m^2 dm dm' - (n/m - 1) d2m. The expected counts are linear in all but the mean life, so
    d2m is not zero only for the mean life with itself and with the o-Ps events.
    """
    cell, t = turn_to(voxel, table, size, voxel.theta[TAU])
    sums_at(voxel, table, size, cell, t, COUNTS)
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


@nb.njit(cache=True)
def deviance_of(
    voxel: Voxel, table: ShapeTable, size: int, level: float, scale: float, theta: FloatArray
) -> float:
    """Poisson deviance of the voxel, and of the measured level of its background."""
    cell, t = turn_to(voxel, table, size, theta[TAU])
    columns = voxel.columns
    total = sum_of_logs(
        rows_of(voxel, table, size, cell), t, theta, columns[COUNTS], columns[_FAST],
        columns[_FLAT], size,
    )  # fmt: skip
    total += theta[FAST] * voxel.totals[0] + theta[OPS] * voxel.totals[2]
    total += theta[BACKGROUND] * voxel.totals[1] - voxel.totals[5]
    if scale > 0:
        m = max(scale * theta[BACKGROUND], SMALLEST_COUNT)
        total += m - level
        if level > 0:
            total += level * math.log(level / m)
    return float(2.0 * total)


@nb.njit(cache=True)
def factorise(matrix: FloatArray, free: NDArray[np.bool_]) -> bool:
    """Replace the free part of a symmetric (4, 4) matrix by its Cholesky factor; False if none.

    The diagonal becomes one over that of the factor.
    """
    for i in range(4):
        if not free[i]:
            for j in range(4):
                matrix[i, j] = 0.0
                matrix[j, i] = 0.0
            matrix[i, i] = 1.0
    for i in range(4):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                # Relative to the diagonal: a pivot of rounding errors is no information.
                if not total > 1e-13 * matrix[i, i] or not math.isfinite(total):
                    return False
                matrix[i, i] = 1.0 / math.sqrt(total)
            else:
                matrix[i, j] = total * matrix[j, j]
    return True


@nb.njit(cache=True)
def substitute(
    factor: FloatArray, right: FloatArray, free: NDArray[np.bool_], limit: float, step: FloatArray
) -> None:
    """Solve the system that `factorise` was given; ``step`` is zero where not free.

    The last element is kept within ``limit``, and the others solve their equations with it there.
    """
    for i in range(4):
        total = right[i] if free[i] else 0.0
        for k in range(i):
            total -= factor[i, k] * step[k]
        step[i] = total * factor[i, i]
    for i in range(3, -1, -1):
        total = step[i]
        for k in range(i + 1, 4):
            total -= factor[k, i] * step[k]
        step[i] = total * factor[i, i]
        if i == 3:
            step[i] = min(max(step[i], -limit), limit)


@nb.njit(cache=True)
def solve(
    matrix: FloatArray, right: FloatArray, free: NDArray[np.bool_], limit: float, step: FloatArray
) -> bool:
    """Solve a symmetric (4, 4) system, overwriting it; False if it is not positive definite."""
    if not factorise(matrix, free):
        return False
    substitute(matrix, right, free, limit, step)
    return True
