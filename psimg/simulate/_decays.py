"""The compiled loop over decays: from an isotope and a phantom to hits in the detectors."""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from psimg.simulate._body import KIND, MATERIAL, OUTSIDE, REGION, VOXELS, Frame, shape_at, voxel_of
from psimg.simulate._jit import JIT
from psimg.simulate._photons import (
    ELECTRON_KEV,
    MAX_DEPOSITS,
    Ring,
    fly,
    looked_up,
    turned,
)
from psimg.simulate._positrons import Positrons, energy_in_flight, photons_in_flight
from psimg.simulate._random import exponential, isotropic, normals, uniform
from psimg.simulate._readout import Response, read_out

IN_REGION, AT_POINT, ON_LINE, IN_VOXELS = 0, 1, 2, 3
"""Kinds of sources."""
IN_FLIGHT, NO_POSITRON, LUTETIUM = 253, 254, 255
"""Channels of a decay besides its region's components."""


class Sources(NamedTuple):
    """Where decays happen. S sources, V voxels."""

    kind: NDArray[np.int64]
    """(S,) kind of each."""
    cumulative: NDArray[np.float64]
    """(S,) cumulative share of the decays."""
    region: NDArray[np.int64]
    """(S,) region that the decays of a source are in; of no use for points and lines."""
    place: NDArray[np.float64]
    """(S, 6) lowest and highest corner of a box around it, or start and end of a line [mm]."""
    voxel: NDArray[np.float64]
    """(V,) cumulative share of each voxel of the voxelised region."""


class Lifetimes(NamedTuple):
    """How positrons annihilate. R regions, K components, V voxels."""

    share: NDArray[np.float64]
    """(R, K) cumulative share of the components."""
    tau: NDArray[np.float64]
    """(R, K) mean lives [ns]."""
    voxel_ops: NDArray[np.float32]
    """(V,) share of o-Ps in each voxel, the third component of region 0; empty without a map."""
    voxel_tau: NDArray[np.float32]
    """(V,) its mean life [ns]; empty without a map."""


class Paths(NamedTuple):
    """Ways an isotope decays. Q paths, G photons."""

    cumulative: NDArray[np.float64]
    """(Q,) cumulative share."""
    spectrum: NDArray[np.int64]
    """(Q,) row of the positron's spectrum, -1 without a positron."""
    n_gamma: NDArray[np.int64]
    """(Q,) gammas of each path."""
    gamma: NDArray[np.float64]
    """(Q, G) their energies [keV]."""
    delay: NDArray[np.float64]
    """(Q, G) mean lives of the levels that emit them [ns]."""


class Switches(NamedTuple):
    """Physics that can be left out, and its sizes."""

    phantom: bool
    """Whether the phantom attenuates and scatters."""
    range: bool
    """Whether positrons move before they annihilate."""
    flight: bool
    """Whether positrons annihilate in flight."""
    sigma_angle: float
    """Gaussian width of the deviation from 180 degrees, along each direction [rad]."""


(
    DECAY_TIME, LIFE, EMISSION_X, EMISSION_Y, EMISSION_Z, ANNIHILATION_X, ANNIHILATION_Y,
    ANNIHILATION_Z, WHERE, CHANNEL, SCATTER_1, SCATTER_2, SCATTER_PROMPT,
) = range(13)  # fmt: skip
"""Columns of the table of truth, a row per decay: when [ns]; from then to the annihilation [ns] and
where [mm], NaN without a positron; region of the annihilation; component or one of the constants
above; scatters in the phantom of the annihilation photons and of all gammas."""
N_TRUTH = 13
THINNEST = 0.05
"""Lowest density of voxels, over that of their material, that positrons are stopped by."""
FROM_X, FROM_Y, FROM_Z, U, V, W, PHOTON_ENERGY, PHOTON_TIME = range(8)
"""Columns of the table of photons of a decay, the annihilation photons first [mm, keV, ns]."""
N_PHOTON = 8


@nb.njit(**JIT)
def picked(state: NDArray[np.uint64], cumulative: NDArray[np.float64]) -> int:
    """Draw an index by cumulative shares, of which the last is 1."""
    level = uniform(state)
    low, high = 0, len(cumulative) - 1
    while low < high:
        middle = (low + high) // 2
        if level < cumulative[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@nb.njit(**JIT, inline="always")
def decay_point(
    state: NDArray[np.uint64],
    kinds: NDArray[np.int64],
    cumulative: NDArray[np.float64],
    regions: NDArray[np.int64],
    places: NDArray[np.float64],
    voxels: NDArray[np.float64],
    shapes: NDArray[np.float64],
    frame: Frame,
) -> tuple[float, float, float, int]:
    """Draw where a decay happens [mm], and the row of the shape there; arrays as in `Sources`."""
    s = picked(state, cumulative)
    kind = kinds[s]
    if kind in (AT_POINT, ON_LINE):
        part = 0.0 if kind == AT_POINT else uniform(state)
        x = places[s, 0] + part * (places[s, 3] - places[s, 0])
        y = places[s, 1] + part * (places[s, 4] - places[s, 1])
        z = places[s, 2] + part * (places[s, 5] - places[s, 2])
        return x, y, z, shape_at(x, y, z, shapes)
    while True:
        if kind == IN_VOXELS:
            voxel = picked(state, voxels)
            i, j, k = voxel // (frame.n_y * frame.n_z), voxel // frame.n_z, voxel % frame.n_z
            x = frame.low_x + (i + uniform(state)) * frame.size_x
            y = frame.low_y + (j % frame.n_y + uniform(state)) * frame.size_y
            z = frame.low_z + (k + uniform(state)) * frame.size_z
        else:
            x = places[s, 0] + uniform(state) * (places[s, 3] - places[s, 0])
            y = places[s, 1] + uniform(state) * (places[s, 4] - places[s, 1])
            z = places[s, 2] + uniform(state) * (places[s, 5] - places[s, 2])
        row = shape_at(x, y, z, shapes)
        if row != OUTSIDE and shapes[row, REGION] == regions[s]:
            return x, y, z, row


@nb.njit(**JIT, inline="always")
def life_of(
    state: NDArray[np.uint64],
    x: float,
    y: float,
    z: float,
    region: int,
    share: NDArray[np.float64],
    tau: NDArray[np.float64],
    voxel_ops: NDArray[np.float32],
    voxel_tau: NDArray[np.float32],
    frame: Frame,
) -> tuple[int, float]:
    """Draw the component a positron annihilates from and how long it lives [ns].

    share, tau, voxel_ops, voxel_tau as in `Lifetimes`.
    """
    level = uniform(state)
    if region == 0 and len(voxel_ops) > 0:
        voxel = voxel_of(x, y, z, frame)
        ops = voxel_ops[voxel]
        if level < ops:
            return 2, voxel_tau[voxel] * exponential(state)
        # The region's own shares say how p-Ps goes with o-Ps; direct annihilation is the rest.
        pps = min(ops * share[0, 0] / (1.0 - share[0, 1]), 1.0 - ops)
        component = 0 if level < ops + pps else 1
    else:
        component = 0
        while level >= share[region, component]:
            component += 1
    return component, tau[region, component] * exponential(state)


@nb.njit(**JIT, inline="always")
def emit(
    photons: NDArray[np.float64],
    row: int,
    x: float,
    y: float,
    z: float,
    direction: tuple[float, float, float],
    energy: float,
    time: float,
) -> None:
    """Write down a photon that is to fly: row of ``photons`` (P, 8), mm, keV, ns."""
    photons[row, FROM_X], photons[row, FROM_Y], photons[row, FROM_Z] = x, y, z
    photons[row, U], photons[row, V], photons[row, W] = direction
    photons[row, PHOTON_ENERGY] = energy
    photons[row, PHOTON_TIME] = time


@nb.njit(**JIT, inline="always")
def emit_pair(
    state: NDArray[np.uint64],
    photons: NDArray[np.float64],
    x: float,
    y: float,
    z: float,
    moving: float,
    time: float,
    sigma_angle: float,
) -> None:
    """Write down the two photons of an annihilation as the first rows of ``photons``.

    ``moving`` is the positron's kinetic energy, 0 at rest [keV]; ``sigma_angle`` the Gaussian width
    of the deviation from 180 degrees in each of two directions across [rad].
    """
    u, v, w = isotropic(state)
    one, other = ELECTRON_KEV, ELECTRON_KEV
    u2, v2, w2 = -u, -v, -w
    if moving > 0.0:
        one, cosine, cosine_other = photons_in_flight(state, moving)
        if uniform(state) < 0.5:
            # What is drawn first is the softer one most of the time.
            one = moving + 2.0 * ELECTRON_KEV - one
            cosine, cosine_other = cosine_other, cosine
        other = moving + 2.0 * ELECTRON_KEV - one
        px, py, pz = u, v, w
        u, v, w = turned(state, px, py, pz, cosine)
        # The other lies in the plane of the first and the positron, on its far side.
        sine = math.sqrt(max(1e-30, 1.0 - cosine * cosine))
        sine_other = math.sqrt(max(0.0, 1.0 - cosine_other * cosine_other))
        a, b = cosine_other + sine_other * cosine / sine, -sine_other / sine
        u2, v2, w2 = a * px + b * u, a * py + b * v, a * pz + b * w
    elif sigma_angle > 0.0:
        angle = sigma_angle * math.sqrt(2.0 * exponential(state))
        u2, v2, w2 = turned(state, u2, v2, w2, math.cos(angle))
    emit(photons, 0, x, y, z, (u, v, w), one, time)
    emit(photons, 1, x, y, z, (u2, v2, w2), other, time)


@nb.njit(**JIT)
def simulate_decays(
    state: NDArray[np.uint64],
    start: float,
    stop: float,
    rate: float,
    loss: float,
    paths: Paths,
    sources: Sources,
    lifetimes: Lifetimes,
    positrons: Positrons,
    switches: Switches,
    table: NDArray[np.float64],
    scattering: NDArray[np.float64],
    shapes: NDArray[np.float64],
    density: NDArray[np.float32],
    frame: Frame,
    ring: Ring,
    response: Response,
    faces: NDArray[np.float64],
    offset: NDArray[np.float64],
    photons: NDArray[np.float64],
    deposits: NDArray[np.float64],
    hits: NDArray[np.float64],
    truth: NDArray[np.float64],
) -> tuple[int, int]:
    """Simulate the decays from the ``start``-th to the ``stop``-th expected one of the scan.

    rate : decays at the start of the scan [1/ns]; loss : decay constant [1/ns]; table, scattering,
    shapes, density as for `fly`; faces, offset and hits as for `read_out`; photons (G + 2, 8) and
    deposits (D, 7), room to work in; truth (N, 13). Returns the numbers of decays and of hits
    written, -1 for either if ``truth`` or ``hits`` has no room.
    """
    # Each array is taken out once: doing so counts its users, which threads would wait for.
    cumulative, spectrum_of, n_gamma, gamma, delay = paths
    kinds, source_share, source_region, places, voxels = sources
    share, tau, voxel_ops, voxel_tau = lifetimes
    spectra, sigma, slowing, flight = positrons
    d, h = 0, 0
    expected = start
    while True:
        # Decays are a Poisson process of unit rate in the number expected since the start.
        expected += exponential(state)
        if expected >= stop:
            return d, h
        if d == len(truth):
            return -1, h
        if h + MAX_DEPOSITS > len(hits):
            return d, -1
        time = -math.log1p(-expected * loss / rate) / loss
        x, y, z, row = decay_point(
            state, kinds, source_share, source_region, places, voxels, shapes, frame
        )
        truth[d, DECAY_TIME] = time
        truth[d, EMISSION_X], truth[d, EMISSION_Y], truth[d, EMISSION_Z] = x, y, z
        path = picked(state, cumulative)
        later = time
        for g in range(n_gamma[path]):
            if delay[path, g] > 0.0:
                later += delay[path, g] * exponential(state)
            emit(photons, 2 + g, x, y, z, isotropic(state), gamma[path, g], later)
        spectrum = spectrum_of[path]
        life, channel = np.nan, NO_POSITRON
        ax, ay, az = np.nan, np.nan, np.nan
        if spectrum >= 0:
            energy = looked_up(spectra, spectrum, uniform(state) * (len(spectra) - 1))
            ax, ay, az = x, y, z
            slowed = 0.0
            if switches.range:
                slowed = looked_up(slowing, int(shapes[row, MATERIAL]), energy)
                width = looked_up(sigma, int(shapes[row, MATERIAL]), energy)
                if shapes[row, KIND] == VOXELS and len(density) > 0:
                    # Thinner matter is crossed in longer; as air at least, nothing stops in it.
                    here = max(density[voxel_of(x, y, z, frame)], THINNEST)
                    width, slowed = width / here, slowed / here
                a, b = normals(state)
                c, _ = normals(state)
                there = shape_at(x + width * a, y + width * b, z + width * c, shapes)
                # No air lets a positron come to rest: outside it stays where it was born.
                if there != OUTSIDE:
                    row = there
                    ax, ay, az = x + width * a, y + width * b, z + width * c
            moving = energy_in_flight(state, energy, flight) if switches.flight else 0.0
            life, channel = 0.0, IN_FLIGHT
            if moving == 0.0:
                channel, life = life_of(
                    state, ax, ay, az, int(shapes[row, REGION]),
                    share, tau, voxel_ops, voxel_tau, frame,
                )  # fmt: skip
                life += slowed
            emit_pair(state, photons, ax, ay, az, moving, time + life, switches.sigma_angle)
        truth[d, LIFE] = life
        truth[d, ANNIHILATION_X], truth[d, ANNIHILATION_Y], truth[d, ANNIHILATION_Z] = ax, ay, az
        truth[d, WHERE] = shapes[row, REGION]
        truth[d, CHANNEL] = channel
        truth[d, SCATTER_1], truth[d, SCATTER_2], truth[d, SCATTER_PROMPT] = 0.0, 0.0, 0.0
        n = 0
        for p in range(0 if spectrum >= 0 else 2, 2 + n_gamma[path]):
            n, k = fly(
                state, photons[p, FROM_X], photons[p, FROM_Y], photons[p, FROM_Z],
                photons[p, U], photons[p, V], photons[p, W],
                photons[p, PHOTON_ENERGY], photons[p, PHOTON_TIME], switches.phantom,
                table, scattering, shapes, density, frame, ring, deposits, n,
            )  # fmt: skip
            truth[d, SCATTER_1 + min(p, 2)] += k
        h = read_out(state, deposits, n, d, ring, response, faces, offset, hits, h)
        d += 1
