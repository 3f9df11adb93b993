"""The compiled loop over decays of 176Lu in the scintillator."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.simulate._body import Frame
from psimg.simulate._decays import (
    ANNIHILATION_X,
    CHANNEL,
    DECAY_TIME,
    EMISSION_X,
    EMISSION_Y,
    EMISSION_Z,
    LIFE,
    LUTETIUM,
    SCATTER_1,
    SCATTER_PROMPT,
    WHERE,
)
from psimg.simulate._jit import JIT
from psimg.simulate._photons import (
    ENERGY,
    MAX_DEPOSITS,
    Ring,
    crystal_of,
    deposit,
    fly,
    looked_up,
)
from psimg.simulate._random import exponential, isotropic, uniform
from psimg.simulate._readout import Response, read_out


@nb.njit(**JIT)
def simulate_lutetium(
    state: NDArray[np.uint64],
    start: float,
    stop: float,
    rate: float,
    electron: NDArray[np.float64],
    gamma: NDArray[np.float64],
    emitted: NDArray[np.float64],
    in_phantom: bool,
    table: NDArray[np.float64],
    scattering: NDArray[np.float64],
    shapes: NDArray[np.float64],
    density: NDArray[np.float32],
    frame: Frame,
    ring: Ring,
    response: Response,
    faces: NDArray[np.float64],
    offset: NDArray[np.float64],
    deposits: NDArray[np.float64],
    hits: NDArray[np.float64],
    h: int,
    truth: NDArray[np.float64],
    d: int,
) -> tuple[int, int]:
    """Simulate the decays of 176Lu from ``start`` to ``stop`` [ns].

    rate : decays of all the scintillator [1/ns]; electron : (U, 1) energy of the beta at equal
    steps of its cumulative share [keV]; gamma, emitted : (G,) energies of the cascade [keV] and the
    chance of each to leave as a photon rather than as an electron. The beta and the electrons stop
    where they are. ``d`` rows of ``truth`` and ``h`` of ``hits`` are in use; returns how many then
    are, -1 for either if it has no room.
    """
    time = start
    while True:
        time += exponential(state) / rate
        if time >= stop:
            return d, h
        if d == len(truth):
            return -1, h
        if h + MAX_DEPOSITS > len(hits):
            return d, -1
        around, along, depth, x, y, z = -1, 0, 0.0, 0.0, 0.0, 0.0
        while around < 0:
            radius = math.sqrt(ring.inner**2 + uniform(state) * (ring.outer**2 - ring.inner**2))
            angle = 2.0 * math.pi * uniform(state)
            x, y = radius * math.cos(angle), radius * math.sin(angle)
            z = (2.0 * uniform(state) - 1.0) * ring.half
            around, along, depth = crystal_of(x, y, z, ring)
        stopped = looked_up(electron, 0, uniform(state) * (len(electron) - 1))
        n_scatter = 0
        n = deposit(deposits, 0, time, stopped, around, along, depth, z)
        for g in range(len(gamma)):
            if uniform(state) < emitted[g]:
                u, v, w = isotropic(state)
                n, k = fly(
                    state, x, y, z, u, v, w, gamma[g], time, in_phantom,
                    table, scattering, shapes, density, frame, ring, deposits, n,
                )  # fmt: skip
                n_scatter += k
            else:
                deposits[0, ENERGY] += gamma[g]
        truth[d, DECAY_TIME] = time
        truth[d, LIFE] = np.nan
        truth[d, EMISSION_X], truth[d, EMISSION_Y], truth[d, EMISSION_Z] = x, y, z
        truth[d, ANNIHILATION_X : ANNIHILATION_X + 3] = np.nan
        truth[d, WHERE] = -1
        truth[d, CHANNEL] = LUTETIUM
        truth[d, SCATTER_1:SCATTER_PROMPT] = 0
        truth[d, SCATTER_PROMPT] = n_scatter
        h = read_out(state, deposits, n, d, ring, response, faces, offset, hits, h)
        d += 1
