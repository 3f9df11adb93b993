"""Compiled loops of the detectors' electronics: from deposits to singles."""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.simulate._jit import JIT
from psimg.simulate._photons import (
    ALONG,
    AROUND,
    AXIAL,
    BLOCK,
    DEPTH,
    ELECTRON_KEV,
    ENERGY,
    TIME,
    Ring,
)
from psimg.simulate._random import normals


class Response(NamedTuple):
    """What the electronics make of deposits."""

    block_around: int
    """Crystals of a block around the axis."""
    block_along: int
    """Crystals of a block along the axis."""
    lowest: float
    """Hits of less are not passed on [keV]."""
    energy_fwhm: float
    """FWHM over the energy, at 511 keV."""
    sigma: float
    """Gaussian width of a time [ns]."""
    integration: float
    """Deposits in a block within this time of its first make one hit [ns]."""
    radius: float
    """Where a hit is placed, from the axis; from its depth where 0 [mm]."""
    sigma_depth: float
    """Gaussian width of a measured depth [mm]."""
    sigma_z: float
    """Gaussian width of a measured axial position; 0 places hits at the crystal's centre [mm]."""
    walk: float
    """Delay of 511 keV against infinite energy, as one over the root of the energy [ns]."""


HIT_TIME, HIT_ENERGY, HIT_X, HIT_Y, HIT_Z, HIT_AROUND, HIT_ALONG, HIT_DECAY = range(8)
"""Columns of the table of hits [ns, keV, mm, mm, mm, crystal around and along, number of the
decay]."""
N_HIT = 8


@nb.njit(**JIT)
def block_of(around: float, along: float, ring: Ring, response: Response) -> int:
    """Return the number of the block a crystal belongs to."""
    # Halves keep the quotient off whole numbers; whole ones divide more slowly.
    row = int((around + 0.5) / response.block_around)
    return row * ring.n_along + int((along + 0.5) / response.block_along)


@nb.njit(**JIT, inline="always")
def read_out(
    state: NDArray[np.uint64],
    deposits: NDArray[np.float64],
    n: int,
    decay: int,
    ring: Ring,
    response: Response,
    faces: NDArray[np.float64],
    offset: NDArray[np.float64],
    hits: NDArray[np.float64],
    h: int,
) -> int:
    """Add the hits that ``n`` deposits of one decay make; return how many rows are in use then.

    deposits (D, 7); faces (crystals around, 4): cosine and sine of the direction in which its depth
    is measured, x and y of a point in its middle at depth 0 on the axis [mm]; offset (crystals,)
    how late each reports [ns], or empty; hits (H, 8). The deposits of a block are summed from the
    first on for the integration time, and the hit is placed in the crystal with most of the energy.
    ``deposits`` is used up.
    """
    for i in range(n):
        deposits[i, BLOCK] = block_of(deposits[i, AROUND], deposits[i, ALONG], ring, response)
    while n > 0:
        first = 0
        for i in range(1, n):
            if deposits[i, TIME] < deposits[first, TIME]:
                first = i
        block = deposits[first, BLOCK]
        start = deposits[first, TIME]
        end = start + response.integration
        total, most, best = 0.0, -1.0, first
        for i in range(n):
            if deposits[i, BLOCK] != block or deposits[i, TIME] > end:
                continue
            total += deposits[i, ENERGY]
            here = 0.0
            for j in range(n):
                same = deposits[j, AROUND] == deposits[i, AROUND]
                if same and deposits[j, ALONG] == deposits[i, ALONG] and deposits[j, TIME] <= end:
                    here += deposits[j, ENERGY]
            if here > most:
                most, best = here, i
        h = record(
            state, deposits, best, start, total, decay, ring, response, faces, offset, hits, h
        )
        # What was summed goes; the rest moves up.
        kept = 0
        for i in range(n):
            if deposits[i, BLOCK] != block or deposits[i, TIME] > end:
                for k in range(deposits.shape[1]):
                    deposits[kept, k] = deposits[i, k]
                kept += 1
        n = kept
    return h


@nb.njit(**JIT)
def record(
    state: NDArray[np.uint64],
    deposits: NDArray[np.float64],
    best: int,
    time: float,
    energy: float,
    decay: int,
    ring: Ring,
    response: Response,
    faces: NDArray[np.float64],
    offset: NDArray[np.float64],
    hits: NDArray[np.float64],
    h: int,
) -> int:
    """Blur a hit and write it down if it is above the threshold; return the rows in use."""
    first, second = normals(state)
    # The relative width goes as one over the root of the energy.
    energy += response.energy_fwhm / FWHM_PER_SIGMA * math.sqrt(ELECTRON_KEV * energy) * first
    if energy < response.lowest:
        return h
    around, along = int(deposits[best, AROUND]), int(deposits[best, ALONG])
    label = around * ring.n_along + along
    time += response.sigma * second
    if response.walk != 0.0:
        # Near zero the walk would have no end.
        time += response.walk * math.sqrt(ELECTRON_KEV / max(energy, 1.0))
    if len(offset) > 0:
        time += offset[label]
    radius = response.radius
    z = ((along + 0.5) / ring.n_along - 0.5) * 2.0 * ring.half
    if radius == 0.0 or response.sigma_z > 0.0:
        first, second = normals(state)
        if radius == 0.0:
            depth = deposits[best, DEPTH] + response.sigma_depth * first
            radius = ring.inner + min(max(depth, 0.0), ring.thickness)
        if response.sigma_z > 0.0:
            z = deposits[best, AXIAL] + response.sigma_z * second
    hits[h, HIT_TIME] = time
    hits[h, HIT_ENERGY] = energy
    hits[h, HIT_X] = faces[around, 2] + radius * faces[around, 0]
    hits[h, HIT_Y] = faces[around, 3] + radius * faces[around, 1]
    hits[h, HIT_Z] = z
    hits[h, HIT_AROUND] = around
    hits[h, HIT_ALONG] = along
    hits[h, HIT_DECAY] = decay
    return h + 1
