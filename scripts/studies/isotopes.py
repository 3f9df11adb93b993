"""The isotopes side by side on the Vision Quadra: triplets, randoms, range, error of a lifetime.

A water cylinder is simulated with each isotope at two activities, all physics included. Writes
docs/studies/isotopes.md and its figure; what was counted is kept in build/simulated. Usage:
python scripts/studies/isotopes.py
"""

import hashlib
import time
from pathlib import Path

import numpy as np
from simulated import CACHE

from psimg.core import NUCLIDES, Cylinder
from psimg.events import (
    Origin,
    SelectOptions,
    cut_triplets,
    find_triplets,
    locate_triplets,
    with_last,
)
from psimg.simulate import Acquisition, find_detector, ps_channels, simulate_acquisition
from psimg.simulate.phantoms import cylinder_phantom
from psimg.spectra import SpectrumOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURE = DOCS / "studies" / "isotopes.md", DOCS / "images" / "isotopes.png"

BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=100.0, half_length_mm=150.0)
CORE = Cylinder(name="core", centre_mm=(0.0, 0.0, 0.0), radius_mm=60.0, half_length_mm=90.0)
"""Where the density of events is that of a sphere at the centre."""
TAU_OPS_NS, SHARE_OPS = 1.83, 0.3
EDGES_NS = SpectrumOptions(start_ns=-20.0, stop_ns=20.0, step_ns=0.1).edges_ns
OVERFLOW = ((435.0, 585.0), (720.0, 950.0))
"""Windows of the Vision Quadra for prompts that end in its overflow bin [keV]."""
ACTIVITIES_MBQ = (10.0, 40.0)
# Decays at each activity: those with few prompts get more.
DECAYS = {
    "Na-22": (5e6, 1e7),
    "Sc-44": (5e6, 1e7),
    "Ga-68": (7e6, 2.4e7),
    "Rb-82": (6e6, 1.4e7),
    "I-124": (6e6, 1.4e7),
    "Mn-52": (3e6, 6e6),
    "Co-55": (3e6, 6e6),
    "Y-86": (3e6, 6e6),
}
BACK_TO_BACK = -np.cos(np.radians(3.0))
GOOD, SWAPPED, OTHER = range(3)
"""True triplets: pair back to back about the annihilation; prompt back to back with one of the
pair instead; neither."""
LUTETIUM = 255


def windows(name):
    if name == "I-124":
        isotope = NUCLIDES[name]
        return isotope.annihilation_window_kev, isotope.prompt_window_kev
    return OVERFLOW


def acquisition(name, activity_mbq, decays):
    isotope = NUCLIDES[name]
    mean_life = isotope.half_life_s / np.log(2.0)
    made = {
        "phantom": cylinder_phantom(
            radius_mm=BODY.radius_mm,
            half_length_mm=BODY.half_length_mm,
            activity_mbq=activity_mbq,
            channels=ps_channels(TAU_OPS_NS, share_ops=SHARE_OPS),
        ),
        "isotope": isotope,
        "detector": find_detector("vision-quadra"),
    }
    seconds = -mean_life * np.log1p(-decays / (1e6 * activity_mbq * mean_life))
    return Acquisition(**made, duration_s=float(seconds))


class Truth:
    """Recent decays, by number."""

    def __init__(self):
        self.pieces = []

    def add(self, decays):
        if len(decays):
            self.pieces.append(decays)

    def drop_before(self, number):
        while len(self.pieces) > 1 and self.pieces[0].number[-1] < number:
            self.pieces.pop(0)

    def columns(self):
        first = self.pieces[0].number[0]
        names = ("channel", "emission_mm", "annihilation_mm", "scatters")
        return first, {n: np.concatenate([getattr(p, n) for p in self.pieces]) for n in names}


def count(name, activity_mbq, decays, seed=1):
    """Simulate and count; the result is kept in build/simulated."""
    made = acquisition(name, activity_mbq, decays)
    annihilation, prompt = windows(name)
    select = SelectOptions(
        annihilation_kev=annihilation,
        prompt_kev=prompt,
        pair_window_ns=4.7,
        prompt_window_ns=(-25.0, 25.0),
        min_pair_distance_mm=300.0,
    )
    arguments = repr((made, select, seed, list(EDGES_NS), BODY, CORE))
    key = hashlib.sha256(arguments.encode()).hexdigest()[:16]
    path = CACHE / f"isotope_{name}_{activity_mbq:g}_{key}.npz"
    if path.exists():
        return dict(np.load(path))
    start = time.perf_counter()
    sums = {
        "spectra": np.zeros((2, 4, len(EDGES_NS) - 1), np.int64),  # body and core, by origin
        "photons": np.zeros((2, 4, 4), np.int64),  # by origin, and how many decays were of 176Lu
        "kinds": np.zeros(3, np.int64),
        "kinds_spectra": np.zeros((3, len(EDGES_NS) - 1), np.int64),
        "scattered": np.zeros(2, np.int64),
        "range_all": np.zeros(3),
        "range_tagged": np.zeros(3),
        "n_decays": 0,
        "n_singles": 0,
    }
    truth, carry = Truth(), None

    def singles():
        held = None
        for piece in simulate_acquisition(made, rng=np.random.default_rng(seed)):
            truth.add(piece.decays)
            own = piece.decays.channel != LUTETIUM
            sums["n_decays"] += int(np.count_nonzero(own))
            sums["n_singles"] += len(piece.singles)
            add_range(sums["range_all"], piece.decays.emission_mm, piece.decays.annihilation_mm)
            held = piece.singles if held is None else held.joined(piece.singles)
            if len(held) >= 400_000:
                yield held
                held = None
        if held is not None:
            yield held

    for chunk, last in with_last(singles()):
        found = find_triplets(chunk, options=select, carry=carry, last=last)
        carry = found.carry
        add_triplets(sums, cut_triplets(found.triplets, options=select).triplets, *truth.columns())
        if len(carry.singles):
            truth.drop_before(carry.singles.decay.min() - 100_000)
    sums |= {"duration_s": made.duration_s, "seconds": time.perf_counter() - start}
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(path, **sums)
    return {k: np.asarray(v) for k, v in sums.items()}


def add_range(total, emission, annihilation):
    """Add the number of positrons, the sum of how far they got and of its square [mm]."""
    r = np.linalg.norm(annihilation - emission, axis=1)
    r = r[np.isfinite(r)]
    total += [len(r), r.sum(), (r * r).sum()]


def add_triplets(sums, triplets, first, decays):
    events = locate_triplets(triplets)
    in_window = (events.dt_ns >= EDGES_NS[0]) & (events.dt_ns < EDGES_NS[-1])
    keep = BODY.contains(events.position_mm) & in_window
    triplets, events = triplets.take(keep), events.take(keep)
    number = triplets.decay - first
    is_lutetium = decays["channel"][number] == LUTETIUM
    # Each decay of a triplet once.
    once = np.ones_like(is_lutetium)
    once[:, 1] = number[:, 1] != number[:, 0]
    once[:, 2] = (number[:, 2] != number[:, 0]) & (number[:, 2] != number[:, 1])
    n_lutetium = (is_lutetium & once).sum(axis=1)
    in_core = CORE.contains(events.position_mm)
    for r, inside in enumerate((np.ones(len(events), bool), in_core)):
        for k in range(4):
            mine = inside & (events.origin == k)
            sums["spectra"][r, k] += np.histogram(events.dt_ns[mine], EDGES_NS)[0]
            sums["photons"][r, k] += np.bincount(n_lutetium[mine], minlength=4)
    true = (events.origin == Origin.TRUE) & (n_lutetium == 0)
    row = number[true, 0]
    where = decays["annihilation_mm"][row]
    add_range(sums["range_tagged"], decays["emission_mm"][row], where)
    ray = triplets.position_mm[true] - where[:, None, :]
    ray /= np.linalg.norm(ray, axis=2, keepdims=True)
    cosine = [np.einsum("ij,ij->i", ray[:, a], ray[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    kind = np.where(np.minimum(cosine[1], cosine[2]) < BACK_TO_BACK, SWAPPED, OTHER)
    kind[cosine[0] < BACK_TO_BACK] = GOOD
    sums["kinds"] += np.bincount(kind, minlength=3)
    for k in range(3):
        sums["kinds_spectra"][k] += np.histogram(events.dt_ns[true][kind == k], EDGES_NS)[0]
    scatters = decays["scatters"][row]
    sums["scattered"] += [(scatters[:, :2].sum(axis=1) > 0).sum(), (scatters[:, 2] > 0).sum()]


if __name__ == "__main__":
    for name, numbers in DECAYS.items():
        for activity, decays in zip(ACTIVITIES_MBQ, numbers, strict=True):
            c = count(name, activity, decays)
            print(name, activity, c["photons"][0].tolist(), c["kinds"], c["scattered"],
                  c["range_all"], c["range_tagged"], c["seconds"], flush=True)  # fmt: skip
