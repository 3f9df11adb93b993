"""Compiled likelihood of one voxel: three amplitudes and the o-Ps mean life.

The expected counts of a bin are

    m = A fast + O shape(x) + R flat,    x = ln tau,

and only bins with counts are looked at: the others enter through the sums of the shapes alone,
-2 ln L = 2 (sum m - sum n + sum n ln(n/m)).

What a fit knows of its voxel stands in one array ``state`` (N_ROW, 16), a row for each thing, and
its bins in ``columns`` (4, B): with an array or a tuple for each thing, counting the references to
them took longer than the fit.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.lifetime._likelihood import SMALLEST_COUNT

FloatArray = NDArray[np.float64]

OK, TOO_FEW_COUNTS, NOT_CONVERGED, AT_BOUND = 0, 1, 2, 3
"""Values of `psimg.core.maps.FitStatus`."""

FAST, OPS, BACKGROUND, TAU = 0, 1, 2, 3
"""The parameters: events of the fast group, of the o-Ps group, randoms, and ln of the mean life."""

COUNTS, VARIANCES, FAST_SHAPE, FLAT_SHAPE = 0, 1, 2, 3
"""Rows of ``columns``; the shapes are of the fast group and of randoms."""

(
    THETA, LOWEST, HIGHEST, GRADIENT, STEP, FREE, RIGHT, MOVE, BEFORE, BEST, INFORMATION, CURVE,
    SUMS, TOTALS, FOUND, TABLE, LEVEL, DEVIANCE,
) = range(18)  # fmt: skip
"""Rows of ``state``. Parameters, their bounds, the log-likelihood's gradient, the step, 1 where a
parameter is not held on a bound, the right side of the step's equations, the part of the step that
puts parameters on bounds, parameters before the step and the best so far. Observed information and
what takes its place in a step, (4, 4) in one row. `accumulate`'s sums. Sums over all bins of the
fast, flat and o-Ps shape, of its slope and bend, and of the counts. `survey`'s sums. The table's
first ln tau, cells per unit, cells, and the cell whose rows are at hand. The measured level of the
background, its scale, and 1 where the fast group is free. The deviance of the best."""
N_ROW = 18

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


# Only sums may be reordered, so that they fill the processor's vectors; nothing here is NaN.
@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def accumulate(
    state: FloatArray, columns: FloatArray, rows: FloatArray, t: float, which: int, size: int
) -> None:
    """Sum over the first ``size`` bins what gradient and information are made of.

    With the shape S, its slope D and half its bend E in ``t``, the first five sums are n/m times
    fast, S, flat, D, E and the others n/m^2 times the products of fast, S, flat, D in the order of
    a lower triangle. rows : (6, >= size) cell of the table; ``which`` row of ``columns`` holds n.
    """
    a, o, r = state[THETA, FAST], state[THETA, OPS], state[THETA, BACKGROUND]
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
        fast = columns[FAST_SHAPE, b]
        flat = columns[FLAT_SHAPE, b]
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
    # Slope and bend become those in x.
    h = state[TABLE, 1]
    state[SUMS, 0], state[SUMS, 1], state[SUMS, 2] = s0, s1, s2
    state[SUMS, 3], state[SUMS, 4] = s3 * h, s4 * 2.0 * h * h
    state[SUMS, 5], state[SUMS, 6], state[SUMS, 7], state[SUMS, 8] = q0, q1, q2, q3
    state[SUMS, 9], state[SUMS, 10] = q4, q5
    state[SUMS, 11], state[SUMS, 12], state[SUMS, 13] = q6 * h, q7 * h, q8 * h
    state[SUMS, 14] = q9 * h * h


# The same; math.log would be a call for each bin.
@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def sum_of_logs(
    state: FloatArray, columns: FloatArray, rows: FloatArray, t: float, size: int
) -> float:
    """Return the sum of n ln(n/m) over the first ``size`` bins; see `accumulate`.

    The logarithm is that of FreeBSD's e_log.c (K. C. Ng, Sun Microsystems, 1993): with
    n/m = 2^k (1 + f) and 1 + f within sqrt(2) of 1, ln(1 + f) is a polynomial in f/(2 + f).
    """
    a, o, r = state[THETA, FAST], state[THETA, OPS], state[THETA, BACKGROUND]
    total = 0.0
    for b in range(size):
        shape = (rows[5, b] * t + rows[4, b]) * t + rows[3, b]
        shape = ((shape * t + rows[2, b]) * t + rows[1, b]) * t + rows[0, b]
        m = a * columns[FAST_SHAPE, b] + o * shape + r * columns[FLAT_SHAPE, b]
        if m < SMALLEST_COUNT:
            m = SMALLEST_COUNT
        n = columns[COUNTS, b]
        bits = np.float64(n / m).view(np.uint64) + _HALVES
        power = ((bits >> _MANTISSA) << _FLOAT_BITS) | _TO_FLOAT
        k = np.uint64(power).view(np.float64) - _FLOAT_ZERO
        f = np.uint64((bits & _MANTISSA_MASK) + _SQRT_HALF).view(np.float64) - 1.0
        s = f / (2.0 + f)
        z = s * s
        tail = 0.1479819860511658591 * z + 0.1531383769920937332
        tail = (tail * z + 0.1818357216161805012) * z + 0.2222219843214978396
        tail = ((tail * z + 0.2857142874366239149) * z + 0.3999999999940941908) * z
        tail = (tail + 0.6666666666666735130) * z
        half = 0.5 * f * f
        total += n * (k * 0.6931471805599453094 + (f - (half - s * (half + tail))))
    return total


@nb.njit(cache=True, error_model="numpy")
def turn_to(
    state: FloatArray, rows: FloatArray, bins: NDArray[np.int64], table: FloatArray, size: int
) -> float:
    """Put the cell of the mean life into ``rows``; return the place in it, 0 to 1.

    bins : (B,) bins with counts; table : (6 C, B + 1), see `psimg.lifetime._shape_table`.
    """
    n_bin = table.shape[1] - 1
    place = (state[THETA, TAU] - state[TABLE, 0]) * state[TABLE, 1]
    cell = min(max(int(place), 0), int(state[TABLE, 2]) - 1)
    t = float(place - cell)
    first = 6 * cell
    if cell != int(state[TABLE, 3]):
        state[TABLE, 3] = cell
        for j in range(6):
            if size == n_bin:
                for b in range(n_bin):
                    rows[j, b] = table[first + j, b]
            else:
                for i in range(size):
                    rows[j, i] = table[first + j, bins[i]]
    shape = slope = bend = 0.0
    for j in range(5, -1, -1):
        bend = bend * t + slope
        slope = slope * t + shape
        shape = shape * t + table[first + j, n_bin]
    state[TOTALS, 2] = shape
    state[TOTALS, 3] = slope * state[TABLE, 1]
    state[TOTALS, 4] = 2.0 * bend * state[TABLE, 1] * state[TABLE, 1]
    return t


@nb.njit(cache=True, error_model="numpy")
def fill_products(state: FloatArray, row: int) -> None:
    """Write the sums of products of first derivatives, d(m) d(m)' n/m^2, into a (4, 4) row.

    The level of the background was measured as level ~ Poisson(scale theta[BACKGROUND]).
    """
    ops = state[THETA, OPS]
    at = 5
    for i in range(4):
        for j in range(i + 1):
            value = state[SUMS, at]
            if i == TAU:
                value *= ops
                if j == TAU:
                    value *= ops
            state[row, 4 * i + j] = value
            state[row, 4 * j + i] = value
            at += 1
    if state[LEVEL, 1] > 0:
        background = max(state[THETA, BACKGROUND], SMALLEST_COUNT)
        state[row, 5 * BACKGROUND] += state[LEVEL, 0] / (background * background)


@nb.njit(cache=True, error_model="numpy")
def differentiate(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int,
) -> None:  # fmt: skip
    """Write gradient and observed information of the log-likelihood.

    With m the expected and n the observed counts of a bin, the information is the sum over bins
    of n/m^2 dm dm' - (n/m - 1) d2m. The expected counts are linear in all but the mean life, so
    d2m is not zero only for the mean life with itself and with the o-Ps events.
    """
    t = turn_to(state, rows, bins, table, size)
    accumulate(state, columns, rows, t, COUNTS, size)
    ops = state[THETA, OPS]
    state[GRADIENT, FAST] = state[SUMS, 0] - state[TOTALS, 0]
    state[GRADIENT, OPS] = state[SUMS, 1] - state[TOTALS, 2]
    state[GRADIENT, BACKGROUND] = state[SUMS, 2] - state[TOTALS, 1]
    slope = state[SUMS, 3] - state[TOTALS, 3]
    state[GRADIENT, TAU] = ops * slope
    fill_products(state, INFORMATION)
    state[INFORMATION, 5 * TAU] -= ops * (state[SUMS, 4] - state[TOTALS, 4])
    state[INFORMATION, 4 * TAU + OPS] -= slope
    state[INFORMATION, 4 * OPS + TAU] -= slope
    if state[LEVEL, 1] > 0:
        background = max(state[THETA, BACKGROUND], SMALLEST_COUNT)
        state[GRADIENT, BACKGROUND] += state[LEVEL, 0] / background - state[LEVEL, 1]


@nb.njit(cache=True, error_model="numpy")
def deviance_of(
    state: FloatArray, columns: FloatArray, rows: FloatArray, bins: NDArray[np.int64],
    table: FloatArray, size: int,
) -> float:  # fmt: skip
    """Poisson deviance of the voxel, and of the measured level of its background."""
    t = turn_to(state, rows, bins, table, size)
    total = sum_of_logs(state, columns, rows, t, size)
    total += state[THETA, FAST] * state[TOTALS, 0] + state[THETA, OPS] * state[TOTALS, 2]
    total += state[THETA, BACKGROUND] * state[TOTALS, 1] - state[TOTALS, 5]
    level, scale = state[LEVEL, 0], state[LEVEL, 1]
    if scale > 0:
        m = max(scale * state[THETA, BACKGROUND], SMALLEST_COUNT)
        total += m - level
        if level > 0:
            total += level * math.log(level / m)
    return float(2.0 * total)


@nb.njit(cache=True, error_model="numpy")
def solve(state: FloatArray, row: int, limit: float) -> bool:
    """Solve a symmetric (4, 4) row for the free parameters; False if not positive definite.

    The right side is in RIGHT and the solution goes to STEP, zero for parameters that are not
    free. Its last element is kept within ``limit``, and the others solve their equations with it
    there. Factors L D L', written out: loops over four cost as much as all else in a step.
    """
    f0, f1 = state[FREE, 0] > 0, state[FREE, 1] > 0
    f2, f3 = state[FREE, 2] > 0, state[FREE, 3] > 0
    a00 = state[row, 0] if f0 else 1.0
    a11 = state[row, 5] if f1 else 1.0
    a22 = state[row, 10] if f2 else 1.0
    a33 = state[row, 15] if f3 else 1.0
    a10 = state[row, 4] if f1 and f0 else 0.0
    a20 = state[row, 8] if f2 and f0 else 0.0
    a30 = state[row, 12] if f3 and f0 else 0.0
    a21 = state[row, 9] if f2 and f1 else 0.0
    a31 = state[row, 13] if f3 and f1 else 0.0
    a32 = state[row, 14] if f3 and f2 else 0.0
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
    y0 = state[RIGHT, 0] if f0 else 0.0
    y1 = (state[RIGHT, 1] if f1 else 0.0) - l10 * y0
    y2 = (state[RIGHT, 2] if f2 else 0.0) - l20 * y0 - l21 * y1
    y3 = (state[RIGHT, 3] if f3 else 0.0) - l30 * y0 - l31 * y1 - l32 * y2
    x3 = min(max(y3 / pivot, -limit), limit)
    x2 = y2 * d2 - l32 * x3
    x1 = y1 * d1 - l21 * x2 - l31 * x3
    state[STEP, 0] = y0 * d0 - l10 * x1 - l20 * x2 - l30 * x3
    state[STEP, 1] = x1
    state[STEP, 2] = x2
    state[STEP, 3] = x3
    return True
