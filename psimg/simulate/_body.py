"""Compiled loops over the phantom: which region a point is in, and what a photon meets there."""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.simulate._jit import JIT

SPHERE, CYLINDER, HALF_CYLINDER, BOX, VOXELS = 0, 1, 2, 3, 4
"""Kinds of shapes."""
OUTSIDE = -1
"""In place of a region: no region is there, and nothing to attenuate a photon."""


KIND, X, Y, Z, A, B, C, REGION, MATERIAL = range(9)
"""Columns of the table of shapes: kind, centre, lengths (radius and half length, or three half
lengths), the region a shape belongs to, and the row of its material. A later shape displaces those
before it; voxels can only be the first."""


class Frame(NamedTuple):
    """Where the phantom is: a cylinder around it all, and its voxels."""

    x: float
    """Axis of the cylinder [mm]."""
    y: float
    radius: float
    """Its radius [mm]."""
    low: float
    """Its ends [mm]."""
    high: float
    n_x: int
    """Voxels along each axis; 0 without any."""
    n_y: int
    n_z: int
    low_x: float
    """Lowest corner of the voxels [mm]."""
    low_y: float
    low_z: float
    size_x: float
    """Size of a voxel [mm]."""
    size_y: float
    size_z: float


@nb.njit(**JIT)
def shape_at(x: float, y: float, z: float, shapes: NDArray[np.float64]) -> int:
    """Return the row of the shape a point is in, `OUTSIDE` where there is none.

    x, y, z in mm; shapes (S, 9). Points on a surface are inside.
    """
    for s in range(len(shapes) - 1, -1, -1):
        dx = x - shapes[s, X]
        dy = y - shapes[s, Y]
        dz = z - shapes[s, Z]
        a, b = shapes[s, A], shapes[s, B]
        kind = shapes[s, KIND]
        if kind == SPHERE:
            inside = dx * dx + dy * dy + dz * dz <= a * a
        elif kind == CYLINDER:
            inside = dx * dx + dy * dy <= a * a and abs(dz) <= b
        elif kind == HALF_CYLINDER:
            inside = dy >= 0.0 and dx * dx + dy * dy <= a * a and abs(dz) <= b
        else:
            inside = abs(dx) <= a and abs(dy) <= b and abs(dz) <= shapes[s, C]
        if inside:
            return s
    return OUTSIDE


@nb.njit(**JIT)
def voxel_of(x: float, y: float, z: float, frame: Frame) -> int:
    """Return the flat index of the voxel that a point among the voxels is in."""
    i = int((x - frame.low_x) / frame.size_x)
    j = int((y - frame.low_y) / frame.size_y)
    k = int((z - frame.low_z) / frame.size_z)
    # A point on the upper face of the box is in the last voxel.
    i = min(max(i, 0), frame.n_x - 1)
    j = min(max(j, 0), frame.n_y - 1)
    k = min(max(k, 0), frame.n_z - 1)
    return (i * frame.n_y + j) * frame.n_z + k


@nb.njit(**JIT)
def crossing(
    x: float, y: float, z: float, u: float, v: float, w: float, frame: Frame
) -> tuple[float, float]:
    """Return how far along a ray it enters and leaves the cylinder around the phantom.

    x, y, z in mm, (u, v, w) a unit vector. The entry is 0 inside; where the ray misses, the way out
    lies before the way in.
    """
    near, far = 0.0, math.inf
    px, py = x - frame.x, y - frame.y
    a = u * u + v * v
    c = px * px + py * py - frame.radius * frame.radius
    if a > 1e-14:
        b = px * u + py * v
        root = b * b - a * c
        if root <= 0.0:
            return 0.0, -1.0
        root = math.sqrt(root)
        near = max(near, (-b - root) / a)
        far = (-b + root) / a
    elif c > 0.0:
        return 0.0, -1.0
    if abs(w) > 1e-14:
        one, other = (frame.low - z) / w, (frame.high - z) / w
        near = max(near, min(one, other))
        far = min(far, max(one, other))
    elif z < frame.low or z > frame.high:
        return 0.0, -1.0
    return near, far
