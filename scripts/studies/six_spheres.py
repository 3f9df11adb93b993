"""The acquisition of the studies of lifetime images: six spheres, six lifetimes, all physics.

The spheres of the NEMA image-quality phantom, each with a mean life of o-Ps of its own, in a
cylinder of water; 44Sc on the Vision Quadra. What an acquisition gives is kept in
build/six_spheres, and taken from there by the next call with the same arguments; empty it when the
simulator changes.
Usage, to make them beforehand: python scripts/studies/six_spheres.py [--seeds N]
"""

import argparse
import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from psimg.core import NUCLIDES, Cylinder, Sphere
from psimg.events import (
    LifetimeEvents,
    SelectOptions,
    cut_triplets,
    find_triplets,
    locate_pairs,
    locate_triplets,
    with_last,
)
from psimg.events.cuts import cut_pairs
from psimg.simulate import (
    Acquisition,
    Phantom,
    PhantomRegion,
    find_detector,
    ps_channels,
    simulate_acquisition,
)
from psimg.simulate.phantoms import NEMA_CIRCLE_MM, NEMA_DIAMETERS_MM
from psimg.spectra import SpectrumOptions

CACHE = Path("build/six_spheres")
ACTIVITY_MBQ = 20.0
CRT_NS = 0.230
N_TRIPLETS = 300_000
"""Triplets of an acquisition with dt in the spectrum, located near the body, randoms included."""
EDGES_NS = SpectrumOptions(start_ns=-4.0, stop_ns=12.0, step_ns=0.1).edges_ns
"""Randoms are measured in delayed windows: the spectrum needs no stretch of them alone."""
SHARE_OPS = 0.3
TAU_OPS_NS = (1.5, 1.8, 2.1, 2.4, 2.8, 3.2)
"""Mean life of o-Ps in each sphere, the smallest first."""
BODY_TAU_NS = 2.0
CONTRAST = 100.0
"""Concentration of activity in the spheres over that around them."""
BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=90.0, half_length_mm=40.0)
SPHERES = tuple(
    Sphere(
        name=f"sphere_{d:g}mm",
        centre_mm=(
            float(NEMA_CIRCLE_MM * np.cos(np.pi / 3 * i)),
            float(NEMA_CIRCLE_MM * np.sin(np.pi / 3 * i)),
            0.0,
        ),
        radius_mm=d / 2,
    )
    for i, d in enumerate(NEMA_DIAMETERS_MM)
)
WITHIN = replace(BODY, name="within", radius_mm=120.0, half_length_mm=70.0)
"""Where triplets and pairs must be located."""
SELECT = SelectOptions(
    annihilation_kev=(435.0, 585.0),
    prompt_kev=(700.0, 1300.0),
    pair_window_ns=2.0,
    prompt_window_ns=(-5.5, 13.5),
    delays_ns=(150.0, 220.0, 290.0, 360.0),
    photon_delays_ns=(150.0, -150.0, 220.0, -220.0),
    min_pair_distance_mm=300.0,
)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Acquired:
    """What an acquisition gives."""

    events: LifetimeEvents
    """Prompt and delayed windows, with directions and truth."""
    pair_position_mm: np.ndarray
    """(M, 3) most likely points of pairs."""
    pair_direction: np.ndarray
    """(M, 3) directions of their LORs."""
    seconds: float
    """Of scan."""


def phantom():
    regions = [
        PhantomRegion(
            name="body",
            shapes=(BODY,),
            channels=ps_channels(BODY_TAU_NS, share_ops=SHARE_OPS),
            activity_kbq_ml=1.0,
        )
    ]
    regions += [
        PhantomRegion(
            name=sphere.name,
            shapes=(sphere,),
            channels=ps_channels(tau, share_ops=SHARE_OPS),
            activity_kbq_ml=CONTRAST,
        )
        for sphere, tau in zip(SPHERES, TAU_OPS_NS, strict=True)
    ]
    return Phantom(regions=tuple(regions))


def acquire(seed):
    """Simulate an acquisition, or read what an earlier call kept."""
    detector = replace(find_detector("vision-quadra"), crt_ns=CRT_NS)
    acquisition = Acquisition(
        phantom=phantom(),
        isotope=NUCLIDES["Sc-44"],
        detector=detector,
        duration_s=60.0,  # cut short when there are triplets enough
        activity_mbq=ACTIVITY_MBQ,
    )
    key = repr((acquisition, SELECT, WITHIN, N_TRIPLETS, seed))
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        _simulate(acquisition, seed, path)
    with np.load(path) as file:
        return Acquired(
            events=LifetimeEvents(
                position_mm=file["position"].astype(np.float64),
                dt_ns=file["dt"].astype(np.float64),
                window=file["window"],
                direction=file["direction"].astype(np.float64),
                origin=file["origin"],
            ),
            pair_position_mm=file["pair_position"],
            pair_direction=file["pair_direction"],
            seconds=float(file["seconds"]),
        )


def _simulate(acquisition, seed, path):
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    held, pairs, n_prompt, carry, seconds, n_decays = [], [], 0, None, 0.0, 0
    for piece, last in with_last(_thicker(simulate_acquisition(acquisition, rng=rng))):
        singles, n = piece
        n_decays += n
        found = find_triplets(singles, options=SELECT, carry=carry, last=last, with_pairs=True)
        carry = found.carry
        events = locate_triplets(
            cut_triplets(found.triplets, options=SELECT).triplets, directions=True
        )
        events = events.take(WITHIN.contains(events.position_mm))
        held.append(events)
        good = (events.dt_ns >= EDGES_NS[0]) & (events.dt_ns < EDGES_NS[-1])
        n_prompt += int(np.count_nonzero(good & (events.window == 0)))
        kept = cut_pairs(found.pairs, options=SELECT)
        point = locate_pairs(kept)
        inside = WITHIN.contains(point)
        offset = kept.position_mm[inside, 0] - kept.position_mm[inside, 1]
        pairs.append(
            np.concatenate(
                [point[inside], offset / np.linalg.norm(offset, axis=1)[:, None]], axis=1
            ).astype(np.float32)
        )
        seconds = float(singles.time_ns[-1]) * 1e-9
        if n_prompt >= N_TRIPLETS:
            break
    events = held[0]
    for more in held[1:]:
        events = events.joined(more)
    pair = np.concatenate(pairs)
    np.savez(
        path,
        position=events.position_mm.astype(np.float32),
        direction=events.direction.astype(np.float32),
        dt=events.dt_ns.astype(np.float32),
        window=events.window,
        origin=events.origin,
        pair_position=pair[:, :3],
        pair_direction=pair[:, 3:],
        seconds=seconds,
    )
    n_true = int(np.count_nonzero((events.window == 0) & (events.origin == 0)))
    print(
        f"seed {seed}: {n_decays} decays, {n_prompt} triplets, {n_true} true, "
        f"{len(pair)} pairs, {seconds:.2f} s of scan in {time.perf_counter() - start:.0f} s",
        flush=True,
    )


def _thicker(pieces, n=400_000):
    """Join pieces to at least ``n`` singles, and count their decays."""
    singles, n_decays = None, 0
    for piece in pieces:
        singles = piece.singles if singles is None else singles.joined(piece.singles)
        n_decays += int(np.count_nonzero(piece.decays.channel != 255))
        if len(singles) >= n:
            yield singles, n_decays
            singles, n_decays = None, 0
    if singles is not None:
        yield singles, n_decays


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    for seed in range(parser.parse_args().seeds):
        acquire(seed)


if __name__ == "__main__":
    main()
