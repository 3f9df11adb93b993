"""Compiled loops that fly one photon: through the phantom, across the bore, into the detectors.

Between interactions a photon flies straight. Where it interacts is found by Woodcock's method
(E. Woodcock et al., ANL-7050 (1965) 557): steps are drawn for the densest matter anywhere, and a
stop is kept with the ratio of the true coefficient to the highest, so no surface has to be crossed
one by one. An interaction is Compton scatter on a free electron or photoelectric absorption.
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.simulate._body import (
    KIND,
    MATERIAL,
    OUTSIDE,
    VOXELS,
    Frame,
    crossing,
    shape_at,
    voxel_of,
)
from psimg.simulate._jit import JIT
from psimg.simulate._random import exponential, in_disc, uniform

ELECTRON_KEV = 510.99895
"""Rest energy of the electron (CODATA 2018) [keV]."""
STOP_KEV = 15.0
"""Photons of less are absorbed where they are: their free path in the lightest scintillator is a
few millimetres, in LSO some micrometres [keV]."""
SCATTER_STEP_KEV = 8.0
"""Step of the table of scattering in the energy [keV]."""
MAX_DEPOSITS = 64
"""Places for the interactions of one decay in the detectors; a decay makes four in the mean."""


HIGHEST, DETECTOR_COMPTON, DETECTOR_PHOTO, FIRST_MATERIAL = range(4)
"""Columns of the table of coefficients at each keV [1/mm]: the highest anywhere in the phantom,
Compton and photoelectric effect in the scintillator, and these two in each of the materials."""
TIME, ENERGY, AROUND, ALONG, DEPTH, AXIAL, BLOCK = range(7)
"""Columns of the table of deposits [ns, keV, crystal around and along, mm below the front, mm,
number of the block]."""
N_DEPOSIT = 7


class Ring(NamedTuple):
    """The detectors as numbers, for compiled loops."""

    inner: float
    """Distance of their front from the axis [mm]."""
    outer: float
    """Radius of a cylinder around all of them [mm]."""
    half: float
    """Half of the axial length [mm]."""
    thickness: float
    """Radial depth [mm]."""
    n_module: int
    """Flat modules around the axis; 0 for a closed ring."""
    half_width: float
    """Half of a module's width [mm]."""
    n_around: int
    """Crystals, or strips, around the axis."""
    n_along: int
    """Crystals along the axis."""
    lost: float
    """Photons of less make no hit, and are not followed outside the detectors [keV]."""


@nb.njit(**JIT)
def scatter_angle(
    state: NDArray[np.uint64], energy: float, scattering: NDArray[np.float64]
) -> tuple[float, float]:
    """Draw a Compton scatter: the photon's energy after it [keV] and the cosine of its angle.

    scattering (E, U) : at steps of `SCATTER_STEP_KEV` in the energy and equal steps of the
    cumulative share, where the ratio of the energies lies between its lowest value and 1.
    """
    across = uniform(state) * (scattering.shape[1] - 1)
    down = energy / SCATTER_STEP_KEV
    i, j = int(down), int(across)
    p, q = down - i, across - j
    low = scattering[i, j] * (1.0 - q) + scattering[i, j + 1] * q
    high = scattering[i + 1, j] * (1.0 - q) + scattering[i + 1, j + 1] * q
    lowest = ELECTRON_KEV / (ELECTRON_KEV + 2.0 * energy)
    ratio = lowest + (1.0 - lowest) * (low * (1.0 - p) + high * p)
    return ratio * energy, 1.0 - (1.0 - ratio) * ELECTRON_KEV / (energy * ratio)


@nb.njit(**JIT)
def turned(
    state: NDArray[np.uint64], u: float, v: float, w: float, cosine: float
) -> tuple[float, float, float]:
    """Return a unit vector at this angle to (u, v, w), at a random azimuth."""
    a, b, q = in_disc(state)
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    # Twice the angle of a point in a disc is as uniform as the angle, and takes no root.
    a, b = sine * (a * a - b * b) / q, sine * 2.0 * a * b / q
    across = u * u + v * v
    if across < 1e-16:
        return a, b, cosine if w > 0.0 else -cosine
    across = math.sqrt(across)
    x = u * cosine + (u * w * a - v * b) / across
    y = v * cosine + (v * w * a + u * b) / across
    return x, y, w * cosine - across * a


@nb.njit(**JIT)
def looked_up(table: NDArray[np.float64], column: int, place: float) -> float:
    """Return the value of a column of a table at a place between its rows."""
    i = int(place)
    rest = place - i
    return float(table[i, column] * (1.0 - rest) + table[i + 1, column] * rest)


@nb.njit(**JIT)
def turn_of(x: float, y: float) -> float:
    """Return the angle of a point about the axis as a share of a full turn, 0 to 1.

    The arc tangent is that of M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions,
    4.4.49, good to 1e-5: at half a metre a hundredth of a crystal at most.
    """
    across, up = abs(x), abs(y)
    t = min(across, up) / max(across, up)
    s = t * t
    angle = t * (0.9998660 + s * (-0.3302995 + s * (0.1801410 + s * (-0.0851330 + s * 0.0208351))))
    angle = 0.5 * math.pi - angle if up > across else angle
    angle = math.pi - angle if x < 0.0 else angle
    angle = 2.0 * math.pi - angle if y < 0.0 else angle
    return angle / (2.0 * math.pi)


@nb.njit(**JIT)
def module_place(x: float, y: float, ring: Ring) -> tuple[int, float, float]:
    """Return the module a point is nearest to, and its place there: across and in depth [mm]."""
    step = 2.0 * math.pi / ring.n_module
    m = math.floor(math.atan2(y, x) / step + 0.5)
    cos, sin = math.cos(m * step), math.sin(m * step)
    return m % ring.n_module, y * cos - x * sin, x * cos + y * sin - ring.inner


@nb.njit(**JIT)
def crystal_of(x: float, y: float, z: float, ring: Ring) -> tuple[int, int, float]:
    """Return the crystal at a point in the detectors, around and along, and the depth there [mm].

    -1 for the crystal around where the point lies between modules.
    """
    along = int((z + ring.half) / (2.0 * ring.half) * ring.n_along)
    along = min(max(along, 0), ring.n_along - 1)
    if ring.n_module == 0:
        around = int(turn_of(x, y) * ring.n_around)
        return min(around, ring.n_around - 1), along, math.sqrt(x * x + y * y) - ring.inner
    module, across, depth = module_place(x, y, ring)
    if abs(across) > ring.half_width or depth < 0.0 or depth > ring.thickness:
        return -1, along, depth
    per_module = ring.n_around // ring.n_module
    strip = int((across + ring.half_width) / (2.0 * ring.half_width) * per_module)
    return module * per_module + min(strip, per_module - 1), along, depth


@nb.njit(**JIT)
def to_bore(x: float, y: float, u: float, v: float, ring: Ring) -> float:
    """Return how far it is from a point in the detectors to the bore; infinite where a ray misses.

    x, y in mm; (u, v) of a unit vector.
    """
    b = x * u + y * v
    if b >= 0.0:
        return math.inf
    a = u * u + v * v
    root = b * b - a * (x * x + y * y - ring.inner * ring.inner)
    if root <= 0.0:
        return math.inf
    return max(0.0, (-b - math.sqrt(root)) / a)


@nb.njit(**JIT)
def is_around(x: float, y: float, z: float, frame: Frame) -> bool:
    """Return whether a point is in the cylinder around the phantom."""
    px, py = x - frame.x, y - frame.y
    return frame.low < z < frame.high and px * px + py * py < frame.radius * frame.radius


@nb.njit(**JIT)
def next_scatter(
    state: NDArray[np.uint64],
    x: float,
    y: float,
    z: float,
    u: float,
    v: float,
    w: float,
    energy: float,
    table: NDArray[np.float64],
    shapes: NDArray[np.float64],
    density: NDArray[np.float32],
    frame: Frame,
) -> tuple[float, bool]:
    """Return how far a photon flies before it interacts in the phantom, and whether it scatters.

    The arguments are those of `fly`. The way is infinite for a photon that leaves the phantom.
    """
    way = 0.0
    if not is_around(x, y, z, frame):
        way, far = crossing(x, y, z, u, v, w, frame)
        if way >= far:
            return math.inf, False
    highest = looked_up(table, HIGHEST, energy)
    if highest <= 0.0:
        return math.inf, False
    while True:
        way += exponential(state) / highest
        px, py, pz = x + way * u, y + way * v, z + way * w
        if not is_around(px, py, pz, frame):
            return math.inf, False
        s = shape_at(px, py, pz, shapes)
        if s == OUTSIDE:
            continue
        column = FIRST_MATERIAL + 2 * int(shapes[s, MATERIAL])
        stop = uniform(state) * highest
        if shapes[s, KIND] == VOXELS and len(density) > 0:
            here = density[voxel_of(px, py, pz, frame)]
            # Thinner matter stops less often: the draw is held against more.
            stop = stop / here if here > 0.0 else math.inf
        compton = looked_up(table, column, energy)
        if stop < compton:
            return way, True
        if stop < compton + looked_up(table, column + 1, energy):
            return way, False


@nb.njit(**JIT, inline="always")
def fly(
    state: NDArray[np.uint64],
    x: float,
    y: float,
    z: float,
    u: float,
    v: float,
    w: float,
    energy: float,
    time: float,
    in_phantom: bool,
    table: NDArray[np.float64],
    scattering: NDArray[np.float64],
    shapes: NDArray[np.float64],
    density: NDArray[np.float32],
    frame: Frame,
    ring: Ring,
    deposits: NDArray[np.float64],
    n: int,
) -> tuple[int, int]:
    """Fly a photon until it is absorbed or lost.

    x, y, z : start [mm]; (u, v, w) : unit vector; energy [keV]; time [ns]; in_phantom : whether the
    phantom attenuates and scatters; table (E, 2M + 3) : coefficients at
    each keV [1/mm]; scattering as for `scatter_angle`; shapes (S, 9); density
    (V,) of voxels, or empty; deposits (D, 7), of which ``n`` rows are in use. Returns how many are
    in use then, and how often the photon scattered in the phantom.
    """
    n_scatter = 0
    in_bore = x * x + y * y < ring.inner * ring.inner
    while True:
        if in_bore:
            if in_phantom:
                way, scatters = next_scatter(
                    state, x, y, z, u, v, w, energy, table, shapes, density, frame
                )
                if way < math.inf:
                    if not scatters:
                        return n, n_scatter
                    x, y, z = x + way * u, y + way * v, z + way * w
                    time += way / SPEED_OF_LIGHT_MM_NS
                    energy, cosine = scatter_angle(state, energy, scattering)
                    u, v, w = turned(state, u, v, w, cosine)
                    n_scatter += 1
                    if energy < ring.lost:
                        return n, n_scatter
                    continue
            a = u * u + v * v
            if a < 1e-14:
                return n, n_scatter
            b = x * u + y * v
            c = x * x + y * y - ring.inner * ring.inner
            way = (-b + math.sqrt(max(0.0, b * b - a * c))) / a
            x, y, z = x + way * u, y + way * v, z + way * w
            if abs(z) > ring.half:
                return n, n_scatter
            time += way / SPEED_OF_LIGHT_MM_NS
            in_bore = False
        bore = to_bore(x, y, u, v, ring)
        compton = looked_up(table, DETECTOR_COMPTON, energy)
        total = compton + looked_up(table, DETECTOR_PHOTO, energy)
        way = 0.0
        around, along, depth = -1, 0, 0.0
        while around < 0:
            way += exponential(state) / total
            if way >= bore:
                break
            px, py, pz = x + way * u, y + way * v, z + way * w
            if abs(pz) > ring.half or px * px + py * py > ring.outer * ring.outer:
                return n, n_scatter
            around, along, depth = crystal_of(px, py, pz, ring)
        if around < 0:
            x, y, z = x + bore * u, y + bore * v, z + bore * w
            if abs(z) > ring.half or energy < ring.lost:
                return n, n_scatter
            time += bore / SPEED_OF_LIGHT_MM_NS
            in_bore = True
            continue
        x, y, z = px, py, pz
        time += way / SPEED_OF_LIGHT_MM_NS
        left = 0.0
        if uniform(state) * total < compton:
            left, cosine = scatter_angle(state, energy, scattering)
            if left >= STOP_KEV:
                u, v, w = turned(state, u, v, w, cosine)
            else:
                left = 0.0
        n = deposit(deposits, n, time, energy - left, around, along, depth, z)
        if left == 0.0:
            return n, n_scatter
        energy = left


@nb.njit(**JIT)
def deposit(
    deposits: NDArray[np.float64],
    n: int,
    time: float,
    energy: float,
    around: int,
    along: int,
    depth: float,
    z: float,
) -> int:
    """Write down an interaction and return how many there are; the last place takes the rest."""
    if n == len(deposits):
        deposits[n - 1, ENERGY] += energy
        return n
    deposits[n, TIME] = time
    deposits[n, ENERGY] = energy
    deposits[n, AROUND] = around
    deposits[n, ALONG] = along
    deposits[n, DEPTH] = depth
    deposits[n, AXIAL] = z
    return n + 1
