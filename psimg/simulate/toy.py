"""A toy acquisition: straight photons, a ring of crystals, honest randoms.

Decays follow a Poisson process and overlap in time as they do in a scanner, so every class of
random triplet arises by itself. Left out: positron range, acollinearity, attenuation and scatter
in the phantom, depth of interaction, scatter between crystals, and dead time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.scanner import FWHM_PER_SIGMA, SPEED_OF_LIGHT_MM_NS, Scanner
from psimg.events.order import sort_chunks
from psimg.events.values import Singles
from psimg.simulate.toy_phantom import Phantom

ELECTRON_KEV = 510.99895
"""Rest energy of the electron (CODATA 2018) [keV]."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ToyDetector:
    """What a crystal does with a photon; round numbers in the range of 20 mm of LSO."""

    detected_511: float = 0.80
    """Chance that an annihilation photon on a crystal is detected."""
    detected_prompt: float = 0.65
    """Chance that a prompt gamma on a crystal is detected."""
    photopeak_511: float = 0.60
    """Share of detected annihilation photons that leave all their energy."""
    photopeak_prompt: float = 0.40
    """Share of detected prompt gammas that leave all their energy."""
    threshold_kev: float = 200.0
    """Lowest energy recorded [keV]."""
    crystal_mm: float = 3.2
    """Pitch of the crystals; a single is placed at the centre of its crystal's front [mm]."""
    offset_ns: FloatArray | None = None
    """(crystals,) how late each crystal reports a photon; None for a perfect clock [ns]."""
    walk_ns: float = 0.0
    """Delay of a photon of 511 keV against one of infinite energy; it goes as one over the root of
    the energy, as that of a leading edge on noise does [ns]."""

    def __post_init__(self) -> None:
        if self.offset_ns is not None:
            freeze(self, offset_ns=(np.float64, len(self.offset_ns)))

    def crystals(self, scanner: Scanner) -> tuple[int, int]:
        """Return how many crystals the ring has around and along its axis.

        Crystal ``n`` is number ``n % around`` of row ``n // around``.
        """
        around = round(2 * np.pi * scanner.radius_mm / self.crystal_mm)
        return around, round(scanner.length_mm / self.crystal_mm)


def simulate_singles(
    phantom: Phantom,
    *,
    scanner: Scanner,
    activity_mbq: float,
    duration_s: float,
    rng: np.random.Generator,
    prompt_kev: float = 1157.0,
    positron_share: float = 0.943,
    detector: ToyDetector | None = None,
    chunk_decays: int = 200_000,
) -> Iterator[Singles]:
    """Simulate the singles of a short acquisition, in time order.

    Parameters
    ----------
    phantom : Phantom
        Where decays happen, with their lifetimes.
    scanner : Scanner
        Ring, time and energy resolution; needs a photopeak.
    activity_mbq : float
        Activity, constant over the acquisition [MBq].
    duration_s : float
        Length of the acquisition [s].
    rng : numpy.random.Generator
        Source of randomness.
    prompt_kev : float
        Energy of the prompt gamma, emitted in every decay; 44Sc by default [keV].
    positron_share : float
        Share of decays with a positron; that of 44Sc by default (ENSDF).
    detector : ToyDetector, optional
        Chances of detection, time offsets and time walk.
    chunk_decays : int
        Mean number of decays per chunk.

    Yields
    ------
    Singles
        Detected photons with ``decay``, the number of the decay each comes from.

    Raises
    ------
    DataError
        If the detector has time offsets, but not one per crystal.
    """
    detector = detector or ToyDetector()
    around, along = detector.crystals(scanner)
    if detector.offset_ns is not None and len(detector.offset_ns) != around * along:
        raise DataError(
            f"offset_ns has {len(detector.offset_ns)} offsets, and the ring {around * along} "
            "crystals; give one per crystal"
        )
    chunks = _unsorted_chunks(
        phantom,
        scanner=scanner,
        rate_per_ns=activity_mbq * 1e-3,
        duration_ns=duration_s * 1e9,
        rng=rng,
        prompt_kev=prompt_kev,
        positron_share=positron_share,
        detector=detector,
        chunk_decays=chunk_decays,
    )
    # Late annihilations of one chunk lie among the singles of the next: o-Ps may live 100 ns.
    return sort_chunks(chunks, max_disorder_ns=10_000.0)


def _unsorted_chunks(
    phantom: Phantom,
    *,
    scanner: Scanner,
    rate_per_ns: float,
    duration_ns: float,
    rng: np.random.Generator,
    prompt_kev: float,
    positron_share: float,
    detector: ToyDetector,
    chunk_decays: int,
) -> Iterator[Singles]:
    n_chunk = max(1, math.ceil(rate_per_ns * duration_ns / chunk_decays))
    width = duration_ns / n_chunk
    shares = np.array([source.activity_share for source in phantom.sources])
    first_decay = 0
    for chunk in range(n_chunk):
        n = int(rng.poisson(rate_per_ns * width))
        emission = np.sort(rng.uniform(chunk * width, (chunk + 1) * width, n))
        source = rng.choice(len(shares), size=n, p=shares / shares.sum())
        point = phantom.draw_points(source, rng)
        decay = np.arange(first_decay, first_decay + n)
        first_decay += n

        positron = rng.random(n) < positron_share
        annihilation = emission + _lifetimes(phantom, source, rng)
        direction = _isotropic(n, rng)
        photons = [
            (emission, _isotropic(n, rng), prompt_kev, np.ones(n, np.bool_)),
            (annihilation, direction, ELECTRON_KEV, positron),
            (annihilation, -direction, ELECTRON_KEV, positron),
        ]
        parts = [
            _detect(
                time[emitted], point[emitted], heading[emitted], energy, decay[emitted],
                scanner, detector, rng,
            )
            for time, heading, energy, emitted in photons
        ]  # fmt: skip
        singles = parts[0].joined(parts[1]).joined(parts[2])
        yield singles.take(np.argsort(singles.time_ns, kind="stable"))


def _lifetimes(phantom: Phantom, source: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """Draw the time from emission to annihilation of each decay [ns]."""
    share = rng.random(len(source))
    life = rng.standard_exponential(len(source))
    pps = np.array([s.intensity_pps for s in phantom.sources])[source]
    ops = np.array([s.intensity_ops for s in phantom.sources])[source]
    tau_pps = np.array([s.tau_pps_ns for s in phantom.sources])[source]
    tau_ops = np.array([s.tau_ops_ns for s in phantom.sources])[source]
    tau_direct = np.array([s.tau_direct_ns for s in phantom.sources])[source]
    tau = np.where(share < pps, tau_pps, np.where(share < pps + ops, tau_ops, tau_direct))
    return np.asarray(life * tau)


def _isotropic(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw (N, 3) unit vectors uniformly on the sphere."""
    z = rng.uniform(-1.0, 1.0, n)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    across = np.sqrt(1.0 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _detect(
    time_ns: FloatArray,
    point_mm: FloatArray,
    direction: FloatArray,
    energy_kev: float,
    decay: NDArray[np.int64],
    scanner: Scanner,
    detector: ToyDetector,
    rng: np.random.Generator,
) -> Singles:
    """Fly photons to the ring and return those that are recorded."""
    is_511 = energy_kev == ELECTRON_KEV
    distance = _distance_to_ring(point_mm, direction, scanner.radius_mm)
    hit = point_mm + distance[:, None] * direction
    chance = detector.detected_511 if is_511 else detector.detected_prompt
    seen = np.abs(hit[:, 2]) < 0.5 * scanner.length_mm
    seen &= rng.random(len(hit)) < chance
    hit, distance, time_ns, decay = hit[seen], distance[seen], time_ns[seen], decay[seen]

    n = len(hit)
    whole = rng.random(n) < (detector.photopeak_511 if is_511 else detector.photopeak_prompt)
    energy = np.where(whole, energy_kev, compton_deposits(energy_kev, n, rng))
    # The relative resolution goes as one over the root of the energy.
    fwhm = (scanner.energy_fwhm or 0.0) * np.sqrt(ELECTRON_KEV * energy)
    energy = energy + fwhm / FWHM_PER_SIGMA * rng.standard_normal(n)
    arrival = time_ns + distance / SPEED_OF_LIGHT_MM_NS
    arrival += scanner.sigma_single_ns * rng.standard_normal(n)
    position, crystal = _crystal_of(hit, scanner, detector)
    if detector.offset_ns is not None:
        arrival += detector.offset_ns[crystal]
    if detector.walk_ns:
        # Energies below the threshold are dropped; near zero the walk would have no end.
        seen_kev = np.maximum(energy, detector.threshold_kev)
        arrival += detector.walk_ns * np.sqrt(ELECTRON_KEV / seen_kev)
    singles = Singles(
        time_ns=arrival, energy_kev=energy, position_mm=position, detector=crystal, decay=decay
    )
    return singles.take(energy >= detector.threshold_kev)


def _distance_to_ring(point: FloatArray, direction: FloatArray, radius: float) -> FloatArray:
    """Return how far from points inside it a ray meets the cylinder about the z axis [mm]."""
    a = direction[:, 0] ** 2 + direction[:, 1] ** 2
    b = point[:, 0] * direction[:, 0] + point[:, 1] * direction[:, 1]
    c = point[:, 0] ** 2 + point[:, 1] ** 2 - radius**2
    return np.asarray((-b + np.sqrt(b * b - a * c)) / np.maximum(a, 1e-12))


def _crystal_of(
    hit: FloatArray, scanner: Scanner, detector: ToyDetector
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the centre of the front of the crystal that was hit, and its number."""
    n_around, n_along = detector.crystals(scanner)
    angle = np.arctan2(hit[:, 1], hit[:, 0]) / (2 * np.pi) * n_around
    around = np.floor(angle).astype(np.int64) % n_around
    along = np.floor((hit[:, 2] / scanner.length_mm + 0.5) * n_along).astype(np.int64)
    along = np.clip(along, 0, n_along - 1)
    centre = 2 * np.pi * (around + 0.5) / n_around
    position = np.stack(
        [
            scanner.radius_mm * np.cos(centre),
            scanner.radius_mm * np.sin(centre),
            ((along + 0.5) / n_along - 0.5) * scanner.length_mm,
        ],
        axis=1,
    )
    return position, along * n_around + around


def compton_deposits(energy_kev: float, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw the energy that one Compton scatter leaves in a crystal [keV].

    The scattering angle follows O. Klein and Y. Nishina, Z. Phys. 52 (1929) 853: with P the ratio
    of the energies after and before, the density in cos(theta) goes as
    P^2 (P + 1/P - sin(theta)^2), which is at most 2.
    """
    deposit = np.empty(n)
    missing = np.arange(n)
    while len(missing):
        cosine = rng.uniform(-1.0, 1.0, len(missing))
        ratio = 1.0 / (1.0 + energy_kev / ELECTRON_KEV * (1.0 - cosine))
        density = ratio**2 * (ratio + 1.0 / ratio - (1.0 - cosine**2))
        good = rng.uniform(0.0, 2.0, len(missing)) < density
        deposit[missing[good]] = energy_kev * (1.0 - ratio[good])
        missing = missing[~good]
    return deposit
