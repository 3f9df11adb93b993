"""Where straight segments cross slabs, balls and masks, in fractions of their length."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK_CROSSINGS = 1_000_000
"""Crossings of voxel faces looked at together."""


def slab_chord(
    start: NDArray[np.float64], end: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    """Return (N, 2) where lines lie between two planes, from one coordinate of their ends.

    A line along the planes is between them all the way, -inf to inf, or nowhere, inf to -inf.
    """
    slope = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.stack([(low - start) / slope, (high - start) / slope], axis=1)
    chord = np.sort(crossing, axis=1)
    along = slope == 0
    between = (start >= low) & (start <= high)
    chord[along & between] = -np.inf, np.inf
    chord[along & ~between] = np.inf, -np.inf
    return chord


def ball_chord(
    start: NDArray[np.float64], end: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return (N, 2) where lines lie within ``radius`` of the origin, in any number of dimensions.

    The point nearest the origin comes first: b**2 - 4 a c would cancel for far ends.
    """
    slope = end - start
    square = np.einsum("ij,ij->i", slope, slope)
    length = np.where(square > 0, square, 1.0)
    middle = -np.einsum("ij,ij->i", start, slope) / length
    nearest = start + middle[:, None] * slope
    depth = radius**2 - np.einsum("ij,ij->i", nearest, nearest)
    half = np.sqrt(np.maximum(depth, 0.0) / length)
    chord = np.stack([middle - half, middle + half], axis=1)
    chord[square == 0] = -np.inf, np.inf
    chord[depth < 0] = np.inf, -np.inf
    return chord


def on_segment(*chords: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 2) what the chords of lines have in common between 0 and 1; NaN where nothing."""
    enter = np.maximum.reduce([chord[:, 0] for chord in chords])
    leave = np.minimum.reduce([chord[:, 1] for chord in chords])
    common = np.stack([np.maximum(enter, 0.0), np.minimum(leave, 1.0)], axis=1)
    common[~(common[:, 0] <= common[:, 1])] = np.nan
    return common


def voxel_chord(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    limits: NDArray[np.float64],
    planes: Sequence[NDArray[np.float64]],
    contains: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Return (N, 2) where segments enter the first voxel that is set and leave the last one.

    limits : (N, 2) part of each segment to look at, NaN for none; planes : the places of the
    voxels' faces along x, y, z. Between two faces a segment is in one voxel, which the point
    halfway tells.
    """
    chord = np.full_like(limits, np.nan)
    rows = np.flatnonzero(~np.isnan(limits[:, 0]))
    n_block = max(1, _BLOCK_CROSSINGS // (2 + sum(len(faces) for faces in planes)))
    for block in np.split(rows, range(n_block, len(rows), n_block)):
        first, slope = start[block], end[block] - start[block]
        low, high = limits[block, :1], limits[block, 1:]
        crossings = [low, high]
        for axis, faces in enumerate(planes):
            with np.errstate(divide="ignore", invalid="ignore"):
                fraction = (faces - first[:, axis, None]) / slope[:, axis, None]
            # A segment in the plane of a face never crosses it: 0/0.
            crossings.append(np.clip(np.where(np.isnan(fraction), low, fraction), low, high))
        cut = np.sort(np.concatenate(crossings, axis=1), axis=1)
        middle = 0.5 * (cut[:, :-1] + cut[:, 1:])
        point = first[:, None] + middle[:, :, None] * slope[:, None]
        inside = contains(point.reshape(-1, 3)).reshape(middle.shape)
        hit = inside.any(axis=1)
        row, n_part = np.arange(len(block)), middle.shape[1]
        enter = cut[row, inside.argmax(axis=1)]
        leave = cut[row, n_part - inside[:, ::-1].argmax(axis=1)]
        chord[block[hit]] = np.stack([enter, leave], axis=1)[hit]
    return chord
