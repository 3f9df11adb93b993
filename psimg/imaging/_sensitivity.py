"""Compiled loops over points and directions: which photons reach a cylinder of detectors.

A direction has an azimuth and a cosine of its angle to the axis. At one azimuth the photons that
are detected fill an interval of cosines that is known exactly, so that only the azimuth is summed
over for the geometry, and the directions that attenuation takes are spread inside the intervals:
none is spent on photons that escape, and no share jumps as one slips off the scanner's edge.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_THIN = 1e-9
"""Interval that stands for none, so that a point at the scanner's end still has a mean."""


@nb.njit(cache=True, error_model="numpy")
def way_out(x: float, y: float, u: float, v: float, radius: float) -> float:
    """Return the way from a point inside a circle to the circle.

    x, y, radius in mm; (u, v) a unit vector.
    """
    b = x * u + y * v
    return math.sqrt(max(radius * radius - x * x - y * y + b * b, 0.0)) - b


@nb.njit(cache=True, error_model="numpy")
def cosine(along: float, across: float) -> float:
    """Return the cosine to the axis of a way ``along`` it and ``across`` it; 0 for no way."""
    length = math.sqrt(along * along + across * across)
    return along / length if length > 0.0 else 0.0


@nb.njit(cache=True, error_model="numpy")
def accepted(
    x: float, y: float, z: float, u: float, v: float, radius: float, half: float, pair: bool
) -> tuple[float, float]:
    """Return the lowest and highest cosine to the axis of the photons that are detected.

    x, y, z in mm, inside the radius; (u, v) the azimuth; radius and half length of the scanner in
    mm. Of a pair, one photon flies to (u, v) and the other from it. No interval has its end below
    its start: where nothing is detected, both are the cosine nearest to it.
    """
    ahead = way_out(x, y, u, v, radius)
    low, high = cosine(-half - z, ahead), cosine(half - z, ahead)
    if pair:
        behind = way_out(x, y, -u, -v, radius)
        low = max(low, cosine(z - half, behind))
        high = min(high, cosine(z + half, behind))
        if high < low:
            low = high = 0.0
    return low, high


@nb.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def sum_samples(
    mu: NDArray[np.float32],
    shape: tuple[int, int, int],
    start: tuple[float, float, float],
    way: tuple[float, float, float],
    near: float,
    step: float,
    n_step: int,
) -> float:
    """Sum a flat image at the middles of equal steps; see `line_integral`.

    Sums in any order, which samples several steps at a time: a third of the time. The order is the
    same whatever the number of threads.
    """
    x, y, z = start
    u, v, w = way
    _, n_y, n_z = shape
    total = 0.0
    for m in range(n_step):
        t = near + (m + 0.5) * step
        total += mu[(int(x + t * u) * n_y + int(y + t * v)) * n_z + int(z + t * w)]
    return total


@nb.njit(cache=True, error_model="numpy")
def line_integral(
    start: tuple[float, float, float],
    way: tuple[float, float, float],
    near: float,
    mu: NDArray[np.float32],
    shape: tuple[int, int, int],
    step: float,
) -> float:
    """Integrate an image along a ray from ``near`` on, at the middles of equal steps.

    start : a point in voxels, voxel (i, j, k) from i to i + 1; way : voxels per mm along the ray;
    near and step in mm; mu (nx ny nz,) of this shape [1/mm], 0 in the voxels of its six faces,
    which are left out, so that rounding leads to no voxel that is not there.
    """
    x, y, z = start
    u, v, w = way
    far = math.inf
    for s, d, n in ((x, u, shape[0]), (y, v, shape[1]), (z, w, shape[2])):
        if d != 0.0:
            one, other = (1.0 - s) / d, (n - 1.0 - s) / d
            near = max(near, min(one, other))
            far = min(far, max(one, other))
        elif s < 1.0 or s > n - 1.0:
            return 0.0
    if near >= far:
        return 0.0
    n_step = int((far - near) / step) + 1
    step = (far - near) / n_step
    return step * sum_samples(mu, shape, start, way, near, step, n_step)


@nb.njit(cache=True, error_model="numpy")
def acceptance(
    x: float, y: float, z: float, azimuth: FloatArray, radius: float, half: float, pair: bool
) -> float:
    """Return the share of all directions in which a pair or one photon is detected.

    x, y, z in mm; azimuth (A, 2) unit vectors, over half a turn for a pair; radius and half length
    of the scanner in mm.
    """
    if x * x + y * y >= radius * radius:
        return 0.0
    total = 0.0
    for a in range(len(azimuth)):
        low, high = accepted(x, y, z, azimuth[a, 0], azimuth[a, 1], radius, half, pair)
        total += high - low
    return 0.5 * total / len(azimuth)


@nb.njit(cache=True, error_model="numpy")
def transmission(
    x: float,
    y: float,
    z: float,
    azimuth: FloatArray,
    polar: FloatArray,
    radius: float,
    half: float,
    pair: bool,
    mu: NDArray[np.float32],
    shape: tuple[int, int, int],
    low: FloatArray,
    size: FloatArray,
    step: float,
) -> float:
    """Return the mean chance that what would be detected passes the image of attenuation.

    azimuth (A, 2) as above and polar (A,) where in the interval of cosines each direction lies, 0
    to 1; others as in the loops above. A point outside the scanner gets the value of the nearest
    one in it, which interpolation needs.
    """
    r = math.sqrt(x * x + y * y)
    if r > 0.999 * radius:
        x, y = 0.999 * radius / r * x, 0.999 * radius / r * y
    if pair:
        z = min(max(z, -half), half)
    start = ((x - low[0]) / size[0], (y - low[1]) / size[1], (z - low[2]) / size[2])
    near = -math.inf if pair else 0.0
    total = norm = 0.0
    for a in range(len(azimuth)):
        u, v = azimuth[a, 0], azimuth[a, 1]
        first, last = accepted(x, y, z, u, v, radius, half, pair)
        width = max(last - first, _THIN)
        w = first + width * polar[a]
        across = math.sqrt(max(1.0 - w * w, 0.0))
        way = (across * u / size[0], across * v / size[1], w / size[2])
        passed = line_integral(start, way, near, mu, shape, step)
        total += width * math.exp(-passed)
        norm += width
    return total / norm


@nb.njit(cache=True, parallel=True, error_model="numpy")
def accept_points(
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    azimuth: FloatArray,
    radius: float,
    half: float,
    pair: bool,
    out: FloatArray,
) -> None:
    """Fill in `acceptance` of every point of a lattice.

    x (X,), y (Y,), z (Z,) in mm; out (X, Y, Z).
    """
    n_y, n_z = len(y), len(z)
    for n in nb.prange(len(x) * n_y):  # a row of points writes only its own elements
        i, j = n // n_y, n % n_y
        for k in range(n_z):
            out[i, j, k] = acceptance(x[i], y[j], z[k], azimuth, radius, half, pair)


@nb.njit(cache=True, parallel=True, error_model="numpy")
def transmit_points(
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    azimuth: FloatArray,
    polar: FloatArray,
    radius: float,
    half: float,
    pair: bool,
    mu: NDArray[np.float32],
    shape: tuple[int, int, int],
    low: FloatArray,
    size: FloatArray,
    step: float,
    out: FloatArray,
) -> None:
    """Fill in `transmission` of every point of a lattice.

    x (X,), y (Y,), z (Z,) in mm; out (X, Y, Z).
    """
    n_y, n_z = len(y), len(z)
    for n in nb.prange(len(x) * n_y):  # a row of points writes only its own elements
        i, j = n // n_y, n % n_y
        for k in range(n_z):
            out[i, j, k] = transmission(
                x[i], y[j], z[k], azimuth, polar, radius, half, pair, mu, shape, low, size, step
            )
