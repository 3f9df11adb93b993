"""The NEMA image-quality phantom with 44Sc, simulated and tallied, for the two studies of it.

What a run gives is kept in build/nema, and taken from there by the next call with the same
arguments; empty it when the simulator changes.
"""

import hashlib
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from psimg.core import NUCLIDES, Sphere
from psimg.events import cut_triplets, find_triplets, locate_triplets, with_last
from psimg.simulate import Acquisition, Physics, simulate_acquisition
from psimg.simulate.phantoms import NEMA_DIAMETERS_MM, nema_iq
from psimg.spectra import SpectrumOptions

CACHE = Path("build/nema")
ACTIVITY_MBQ = 41.7
TAU_OPS_NS, OTHER_TAU_NS = 1.83, 2.5
EDGES_NS = SpectrumOptions(start_ns=-15.0, stop_ns=18.0, step_ns=0.1).edges_ns
"""Within the +-20 ns of raw times by more than the flight times that dt is corrected for."""
SPHERES = tuple(f"sphere_{d:g}mm" for d in NEMA_DIAMETERS_MM)
BALLS = tuple(f"ball_{i}" for i in range(6))
"""Balls of the largest sphere's size at all six places: the density of events, with less noise."""
CORE_MM = 10.0
"""Radius about the middle of the largest sphere whose voxels stand for its central one."""
PARTS = ("body", *SPHERES)
"""Where positrons annihilate: the parts of the phantom, everything else in the first."""
SCATTERS = ("none", "annihilation", "prompt", "both")
N_SAMPLE = 100_000
"""True triplets of a run of which the truth is kept one by one."""
OPS_CHANNEL, LUTETIUM = 2, 255


def phantom(*, contrast=1.0, spheres_only=False):
    """Return the phantom; with ``spheres_only`` the same activity in each sphere, none around."""
    if not spheres_only:
        return nema_iq(sphere_kbq_ml=contrast, background_kbq_ml=1.0)
    made = nema_iq(sphere_kbq_ml=1.0, background_kbq_ml=0.0)
    regions = [
        replace(r, activity_kbq_ml=None, activity_mbq=1.0) if r.name in SPHERES else r
        for r in made.regions
    ]
    return replace(made, regions=tuple(regions))


def volumes_ml():
    """Return the volumes of the parts that can hold activity, the body first."""
    made = phantom()
    return np.array([made.visible_ml([r.name for r in made.regions].index(p)) for p in PARTS])


def concentrations(contrast):
    """Return what 41.7 MBq makes of body and spheres [MBq/mL]."""
    volume = volumes_ml()
    body = ACTIVITY_MBQ / (volume[0] + contrast * volume[1:].sum())
    return body, contrast * body


def regions():
    """Return (name, region) of where events are counted."""
    made = {r.name: r for r in phantom().regions}
    found = [("body", made["body"])]
    found += [(name, made[name].shapes[0]) for name in SPHERES]
    centres = [made[name].shapes[0].centre_mm for name in SPHERES]
    found += [
        (ball, Sphere(name=ball, centre_mm=c, radius_mm=NEMA_DIAMETERS_MM[-1] / 2))
        for ball, c in zip(BALLS, centres, strict=True)
    ]
    found.append(("core", Sphere(name="core", centre_mm=centres[-1], radius_mm=CORE_MM)))
    return found


REGIONS = ("body", *SPHERES, *BALLS, "core")
BIG = NEMA_DIAMETERS_MM[-1] ** 3 * np.pi / 6e3
"""Volume of the largest sphere [mL]."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Run:
    """Counts of a run. R regions of `REGIONS`, B bins, P parts."""

    counts: dict
    """n_decays, n_lutetium, n_singles, n_annihilation, n_prompt, n_triplets, seconds (of scan)."""
    origin: np.ndarray
    """(R, 4, B) triplets of each `Origin`."""
    part: np.ndarray
    """(R, P) true triplets by the part in which the positron annihilated."""
    scatter: np.ndarray
    """(R, 4) true triplets by `SCATTERS` in the phantom."""
    own: np.ndarray
    """(R, B) true triplets of the region's own part (of spheres)."""
    longer: np.ndarray
    """(R, B) the same, had o-Ps lived OTHER_TAU_NS there."""
    with_lutetium: np.ndarray
    """(R,) random triplets with a photon of 176Lu."""
    sample: np.ndarray
    """(N, 17) true triplets in the body: x, y, z; annihilation point; direction of the LOR; dt;
    life; scatters of the three; part; in flight; photons of different elements."""

    def __add__(self, other):
        arrays = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("origin", "part", "scatter", "own", "longer", "with_lutetium")
        }
        return Run(
            counts={k: v + other.counts[k] for k, v in self.counts.items()},
            sample=np.concatenate([self.sample, other.sample]),
            **arrays,
        )

    def row(self, name):
        """Return the row of a region."""
        return REGIONS.index(name)

    def true(self, name):
        """Return the true triplets of a region."""
        return self.origin[self.row(name), 0].sum()


def run(detector, select, *, seconds, seed, activity_mbq=ACTIVITY_MBQ, contrast=1.0,
        spheres_only=False, physics=None, label="run"):  # fmt: skip
    """Simulate and tally an acquisition, or read what an earlier call kept."""
    acquisition = Acquisition(
        phantom=phantom(contrast=contrast, spheres_only=spheres_only),
        isotope=NUCLIDES["Sc-44"],
        detector=detector,
        duration_s=seconds,
        activity_mbq=activity_mbq,
        physics=physics or Physics(),
    )
    key = hashlib.sha256(repr((acquisition, select, seed, list(EDGES_NS))).encode()).hexdigest()
    path = CACHE / f"{label}_{key[:16]}.npz"
    if path.exists():
        return _read(path)
    start = time.perf_counter()
    tally = _Tally([p.name for p in acquisition.phantom.regions])
    counts = dict.fromkeys(
        ("n_decays", "n_lutetium", "n_singles", "n_annihilation", "n_prompt", "n_triplets"), 0
    )
    decays, carry = deque(maxlen=2), None
    for (chunk, truth), last in with_last(_thicker(_pieces(acquisition, seed))):
        n_lutetium = int(np.count_nonzero(truth[2] == LUTETIUM))
        counts["n_lutetium"] += n_lutetium
        counts["n_decays"] += len(truth[0]) - n_lutetium
        counts["n_singles"] += len(chunk)
        decays.append(truth)
        found = find_triplets(chunk, options=select, carry=carry, last=last)
        carry = found.carry
        counts["n_annihilation"] += found.n_annihilation
        counts["n_prompt"] += found.n_prompt
        triplets = cut_triplets(found.triplets, options=select).triplets
        counts["n_triplets"] += len(triplets)
        tally.add(triplets, [np.concatenate(columns) for columns in zip(*decays, strict=True)])
    counts["seconds"] = seconds
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{f"count_{k}": v for k, v in counts.items()}, **tally.arrays())
    took = time.perf_counter() - start
    print(f"{label}: {counts}, body {tally.origin[0].sum(axis=1)}, {took:.0f} s", flush=True)
    return _read(path)


def several(*what, seeds, **how):
    """Return the sum of runs that differ in their seed."""
    total, *others = [run(*what, seed=seed, **how) for seed in seeds]
    for one in others:
        total = total + one
    return total


def _read(path):
    with np.load(path) as file:
        arrays = dict(file)
    counts = {k.removeprefix("count_"): v.item() for k, v in arrays.items() if k[:6] == "count_"}
    return Run(counts=counts, **{k: v for k, v in arrays.items() if k[:6] != "count_"})


def _pieces(acquisition, seed):
    """Yield singles with the truth of their decays: number, part, channel, life, point, scatters"""
    for piece in simulate_acquisition(acquisition, rng=np.random.default_rng(seed)):
        d = piece.decays
        yield (
            piece.singles,
            (d.number, d.region, d.channel, d.life_ns.astype(np.float32), d.annihilation_mm,
             d.scatters),
        )  # fmt: skip


def _thicker(pieces, n=400_000):
    """Join pieces to at least ``n`` decays: each call downstream has its price."""
    singles, truths, held = [], [], 0
    for one, truth in pieces:
        singles.append(one)
        truths.append(truth)
        held += len(truth[0])
        if held >= n:
            yield _join(singles, truths)
            singles, truths, held = [], [], 0
    if singles:
        yield _join(singles, truths)


def _join(singles, truths):
    names = ("time_ns", "position_mm", "energy_kev", "tot_ns", "detector", "decay")
    columns = {
        name: None
        if getattr(singles[0], name) is None
        else np.concatenate([getattr(s, name) for s in singles])
        for name in names
    }
    return type(singles[0])(**columns), tuple(
        np.concatenate(column) for column in zip(*truths, strict=True)
    )


class _Tally:
    """Counts of `Run`, chunk by chunk."""

    def __init__(self, names):
        n_region, n_bin = len(REGIONS), len(EDGES_NS) - 1
        self.regions = regions()
        # Walls and the lung insert count as the body.
        self.part_of = np.array([PARTS.index(n) if n in PARTS else 0 for n in names])
        self.origin = np.zeros((n_region, 4, n_bin))
        self.part = np.zeros((n_region, len(PARTS)))
        self.scatter = np.zeros((n_region, 4))
        self.own = np.zeros((n_region, n_bin))
        self.longer = np.zeros((n_region, n_bin))
        self.with_lutetium = np.zeros(n_region)
        self.sample, self.n_sample = [], 0

    def arrays(self):
        arrays = {
            name: getattr(self, name)
            for name in ("origin", "part", "scatter", "own", "longer", "with_lutetium")
        }
        return arrays | {"sample": np.concatenate(self.sample).astype(np.float32)}

    def add(self, triplets, truth):
        events = locate_triplets(triplets, directions=True)
        body = self.regions[0][1].contains(events.position_mm)
        for _, region in self.regions[1:]:
            body |= region.contains(events.position_mm)
        events, triplets = events.take(body), triplets.take(body)
        if not len(events):
            return
        number, region, channel, life, point, scatters = truth
        row = np.searchsorted(number, triplets.decay)
        if not np.array_equal(number[row], triplets.decay):
            raise RuntimeError("a triplet's decay is of an earlier chunk than those kept")
        own = row[:, 0]
        part = self.part_of[np.maximum(region[own], 0)]
        s = scatters[own] > 0
        kind = (s[:, 0] | s[:, 1]) + 2 * s[:, 2]
        factor = np.where(channel[own] == OPS_CHANNEL, OTHER_TAU_NS / TAU_OPS_NS - 1.0, 0.0)
        lutetium = (channel[row] == LUTETIUM).any(axis=1)
        bins = np.searchsorted(EDGES_NS, events.dt_ns, side="right") - 1
        n_bin = len(EDGES_NS) - 1
        in_bins = (bins >= 0) & (bins < n_bin)
        true = events.origin == 0
        moved = np.searchsorted(EDGES_NS, events.dt_ns + factor * life[own], side="right") - 1
        for r, (name, shape) in enumerate(self.regions):
            inside = shape.contains(events.position_mm) & in_bins
            code = events.origin[inside].astype(np.int64) * n_bin + bins[inside]
            self.origin[r] += np.bincount(code, minlength=4 * n_bin).reshape(4, n_bin)
            self.with_lutetium[r] += np.count_nonzero(inside & ~true & lutetium)
            good = inside & true
            self.part[r] += np.bincount(part[good], minlength=len(PARTS))
            self.scatter[r] += np.bincount(kind[good], minlength=4)
            if name in SPHERES:
                mine = good & (part == PARTS.index(name))
                self.own[r] += np.bincount(bins[mine], minlength=n_bin)
                late = moved[mine]
                self.longer[r] += np.bincount(late[late < n_bin], minlength=n_bin)
        good = true & in_bins
        if self.n_sample < N_SAMPLE and good.any():
            at = own[good]
            flying = channel[at] >= 253
            labels = triplets.detector[good]
            apart = (labels[:, 0] != labels[:, 2]) & (labels[:, 1] != labels[:, 2])
            columns = np.column_stack([
                events.position_mm[good], point[at], events.direction[good], events.dt_ns[good],
                life[at], scatters[at], part[good], flying, apart,
            ])  # fmt: skip
            self.sample.append(columns)
            self.n_sample += len(columns)
