"""Compiled loops between an image and the lines of list-mode events.

A line is sampled where it crosses the planes of its dominant axis, the one that it crosses most
planes of, with bilinear interpolation inside a plane (P. M. Joseph, IEEE Trans. Med. Imaging 1
(1982) 192). A sample's weight is the Gaussian of the time of flight times the distance of two
samples along the line, so that the weights of a line well inside the image sum to one.

Images here are flat and padded: x runs fastest, then y, then z, and there is a border of one voxel
on every side, so that no sample needs a look at the bounds. Events lie in blocks that are the same
for any number of threads; each has its own stretch of ``partial`` to add to.
"""

import math
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

CUT = 3.0
"""Widths of the time of flight to either side beyond which a line is cut off."""
MOST_PLANES = 512
"""Most planes that a line may cross, a multiple of a vector's length."""

_N_WEIGHT = 4 * MOST_PLANES

_f4: Any = np.float32
_i4: Any = np.int32
_HALF_LOG2_E = _f4(0.5 / math.log(2.0))
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
# exp2 on [-1, 0]: Taylor's series, its first omitted term is below float32's rounding.
_C1, _C2, _C3 = _f4(0.693147181), _f4(0.240226507), _f4(0.0555041087)
_C4, _C5, _C6, _C7 = _f4(9.61812911e-3), _f4(1.33335581e-3), _f4(1.54035304e-4), _f4(1.52527338e-5)

_JIT: dict[str, Any] = {"cache": True, "fastmath": True, "error_model": "numpy"}
"""No value here is NaN or infinite: events and images are checked before."""


@nb.njit(inline="always")
def _gauss(u: float) -> float:
    """Return exp(-u^2/2) in float32, in steps that a processor does for many samples at once."""
    y = u * u * _HALF_LOG2_E
    n = _i4(y)
    x = _f4(n) - y
    p = _f4(1.0) + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * (_C6 + x * _C7))))))
    # Two to the power of -n, from the exponent's bits.
    bits = _i4((_i4(127) - n) << _i4(23))
    value: float = p * bits.view(np.float32)
    return value


@nb.njit(inline="always")
def _clip(c: float, m: float, last: float, low: float, high: float) -> tuple[float, float]:
    """Cut the range of t to where ``0 <= c + t m <= last``."""
    if m > 0.0:
        low = max(low, -c / m)
        high = min(high, (last - c) / m)
    elif m < 0.0:
        low = max(low, (last - c) / m)
        high = min(high, -c / m)
    elif c < 0.0 or c > last:
        high = low - 2.0
    return low, high


@nb.njit(inline="always")
def _trace(
    point: SingleArray,
    slope: SingleArray,
    n: int,
    axis: tuple[int, int, int],
    shape: tuple[int, int, int],
    stride: tuple[int, int, int],
    size: tuple[float, float, float],
    sigma: float,
    index: NDArray[np.int32],
    weight: SingleArray,
) -> int:
    """Write the samples of one event; return how many planes it crosses, none if it misses.

    point : (N, 3) in padded voxels; slope : (N, 2) of the two other axes per plane; axis : the
    dominant one and the two others; shape, stride, size : padded shape, stride and voxel size [mm]
    of those three; sigma : width of the time of flight along the line [mm]; index : (P,) of the
    lowest of four neighbours; weight : (4 P,) of each.
    """
    d, a, b = axis
    centre, c1, c2 = point[n, d], point[n, a], point[n, b]
    m1, m2 = slope[n, 0], slope[n, 1]
    step = math.sqrt(size[0] ** 2 + (m1 * size[1]) ** 2 + (m2 * size[2]) ** 2) / sigma
    reach = CUT / step
    low, high = -reach, reach
    # A thousandth of a voxel short of the border: rounding must not reach over it.
    last1, last2 = shape[1] - 1.001, shape[2] - 1.001
    reach1, reach2 = abs(m1) * reach, abs(m2) * reach
    # Most lines are well inside, and divisions are slow.
    if c1 < reach1 or c1 + reach1 > last1 or c2 < reach2 or c2 + reach2 > last2:
        low, high = _clip(c1, m1, last1, low, high)
        low, high = _clip(c2, m2, last2, low, high)
    first = max(1, math.ceil(centre + low))
    n_plane: int = min(shape[0] - 2, math.floor(centre + high)) - first + 1
    if n_plane <= 0:
        return 0
    t0, step1, norm = _f4(first - centre), _f4(step), _f4(step * _INV_SQRT_2PI)
    base = _i4(first * stride[0])
    s0, s1, s2 = _i4(stride[0]), _i4(stride[1]), _i4(stride[2])
    # Whole vectors; what lies beyond the last plane is not used.
    for j in range((n_plane + 7) // 8 * 8):
        t = t0 + _f4(_i4(j))
        u1, u2 = c1 + t * m1, c2 + t * m2
        i1, i2 = _i4(u1), _i4(u2)
        f1, f2 = u1 - _f4(i1), u2 - _f4(i2)
        g = norm * _gauss(t * step1)
        g1 = g * f1
        g0 = g - g1
        w11, w01 = g1 * f2, g0 * f2
        # Each step back to 32 bits: processors are slow at many products of 64.
        index[j] = _i4(base + _i4(_i4(i1 * s1) + _i4(i2 * s2)))
        base = _i4(base + s0)
        weight[j] = g0 - w01
        weight[MOST_PLANES + j] = g1 - w11
        weight[2 * MOST_PLANES + j] = w01
        weight[3 * MOST_PLANES + j] = w11
    return n_plane


@nb.njit(inline="always")
def _sum(
    image: SingleArray,
    index: NDArray[np.int32],
    weight: SingleArray,
    n_plane: int,
    s1: int,
    s2: int,
) -> float:
    # Unsigned, as a negative index would count from the end, which takes a look at each. Four sums,
    # as the next addition to one waits for the last.
    u1, u2 = np.uint64(s1), np.uint64(s2)
    t0, t1, t2, t3 = _f4(0.0), _f4(0.0), _f4(0.0), _f4(0.0)
    for j in range(n_plane):
        i = np.uint64(index[j])
        t0 += weight[j] * image[i]
        t1 += weight[MOST_PLANES + j] * image[i + u1]
        t2 += weight[2 * MOST_PLANES + j] * image[i + u2]
        t3 += weight[3 * MOST_PLANES + j] * image[i + u1 + u2]
    total: float = (t0 + t1) + (t2 + t3)
    return total


@nb.njit(inline="always")
def _spread(
    value: float,
    partial: SingleArray,
    offset: int,
    index: NDArray[np.int32],
    weight: SingleArray,
    n_plane: int,
    s1: int,
    s2: int,
) -> None:
    u1, u2 = np.uint64(s1), np.uint64(s2)
    for j in range(n_plane):
        i = np.uint64(index[j] + offset)
        partial[i] += value * weight[j]
        partial[i + u1] += value * weight[MOST_PLANES + j]
        partial[i + u2] += value * weight[2 * MOST_PLANES + j]
        partial[i + u1 + u2] += value * weight[3 * MOST_PLANES + j]


@nb.njit(cache=True)
def _axes(
    d: int, shape: IntArray, size: FloatArray
) -> tuple[
    tuple[int, int, int], tuple[int, int, int], tuple[int, int, int], tuple[float, float, float]
]:
    """Return the axes in the order of `_trace` with their shapes, strides and sizes."""
    a, b = (1, 2) if d == 0 else ((0, 2) if d == 1 else (0, 1))
    sx, sy, sz = 1, shape[0], shape[0] * shape[1]
    sd, sa, sb = (sx, sy, sz) if d == 0 else ((sy, sx, sz) if d == 1 else (sz, sx, sy))
    return (
        (d, a, b),
        (shape[d], shape[a], shape[b]),
        (sd, sa, sb),
        (size[d], size[a], size[b]),
    )


@nb.njit(parallel=True, **_JIT)
def project(
    image: SingleArray,
    shape: IntArray,
    size: FloatArray,
    sigma: float,
    starts: IntArray,
    point: SingleArray,
    slope: SingleArray,
    out: SingleArray,
) -> None:
    """Write the sum along each line.

    starts : (L, 3, 2) first and last-plus-one event of each block and dominant axis; out : (N,).
    """
    for block in nb.prange(len(starts)):  # an event writes only its own element
        index = np.empty(MOST_PLANES, np.int32)
        weight = np.empty(_N_WEIGHT, np.float32)
        for d in range(3):
            axis, extent, stride, length = _axes(d, shape, size)
            for n in range(starts[block, d, 0], starts[block, d, 1]):
                n_plane = _trace(
                    point, slope, n, axis, extent, stride, length, sigma, index, weight
                )
                out[n] = _sum(image, index, weight, n_plane, stride[1], stride[2])


@nb.njit(parallel=True, **_JIT)
def back_project(
    values: SingleArray,
    shape: IntArray,
    size: FloatArray,
    sigma: float,
    starts: IntArray,
    point: SingleArray,
    slope: SingleArray,
    offset: IntArray,
    partial: SingleArray,
    squared: bool,
) -> None:
    """Add each event's value along its line, to the stretch of its block.

    values : (N,); offset : (L,) from an image's index to that in ``partial``; squared : whether to
    take the squares of the weights. A voxel lies in one plane of the dominant axis, so that each
    weight is of one sample alone.
    """
    for block in nb.prange(len(starts)):  # a block adds only to its own stretch
        index = np.empty(MOST_PLANES, np.int32)
        weight = np.empty(_N_WEIGHT, np.float32)
        for d in range(3):
            axis, extent, stride, length = _axes(d, shape, size)
            for n in range(starts[block, d, 0], starts[block, d, 1]):
                if values[n] == 0.0:
                    continue
                n_plane = _trace(
                    point, slope, n, axis, extent, stride, length, sigma, index, weight
                )
                if squared:
                    for part in range(4):
                        for m in range(part * MOST_PLANES, part * MOST_PLANES + n_plane):
                            weight[m] *= weight[m]
                _spread(
                    values[n], partial, offset[block], index, weight, n_plane, stride[1], stride[2]
                )


@nb.njit(parallel=True, **_JIT)
def back_project_ratio(
    image: SingleArray,
    shape: IntArray,
    size: FloatArray,
    sigma: float,
    starts: IntArray,
    first: int,
    stride_n: int,
    point: SingleArray,
    slope: SingleArray,
    event_weight: SingleArray,
    offset: IntArray,
    partial: SingleArray,
    log_sum: FloatArray,
) -> None:
    """Add each event's weight over its sum along the line: a step of expectation maximisation.

    first, stride_n : every so-manieth event of each block, from that one on; event_weight : (N,),
    or (0,) for ones; log_sum : (L,) receives the sum of weight times the logarithm of the sum.
    Events whose line holds nothing are left out.
    """
    weighted = len(event_weight) > 0
    for block in nb.prange(len(starts)):  # a block adds only to its own stretch
        index = np.empty(MOST_PLANES, np.int32)
        weight = np.empty(_N_WEIGHT, np.float32)
        total, product = 0.0, 1.0
        for d in range(3):
            axis, extent, stride, length = _axes(d, shape, size)
            for n in range(starts[block, d, 0] + first, starts[block, d, 1], stride_n):
                w = event_weight[n] if weighted else _f4(1.0)
                if w == 0.0:
                    continue
                n_plane = _trace(
                    point, slope, n, axis, extent, stride, length, sigma, index, weight
                )
                seen = _sum(image, index, weight, n_plane, stride[1], stride[2])
                if seen > 0.0:
                    if weighted:
                        total += w * math.log(seen)
                    else:
                        # One logarithm for many events.
                        product *= np.float64(seen)
                        if not 1e-200 < product < 1e200:
                            total += math.log(product)
                            product = 1.0
                    _spread(
                        w / seen, partial, offset[block], index, weight, n_plane, stride[1],
                        stride[2],
                    )  # fmt: skip
        log_sum[block] = total + math.log(product)


@nb.njit(parallel=True, cache=True)
def merge(
    partial: SingleArray,
    first: IntArray,
    stop: IntArray,
    offset: IntArray,
    plane: int,
    out: SingleArray,
) -> None:
    """Add up the stretches of all blocks in their order, and empty them.

    first, stop : (L,) planes that a block reaches; plane : voxels of a plane; out : (padded,).
    """
    for z in nb.prange(len(out) // plane):  # a plane writes only itself
        mine = out[z * plane : (z + 1) * plane]
        mine[:] = 0.0
        for block in range(len(first)):
            if first[block] <= z < stop[block]:
                start = z * plane + offset[block]
                theirs = partial[start : start + plane]
                for i in range(plane):
                    mine[i] += theirs[i]
                    theirs[i] = 0.0
