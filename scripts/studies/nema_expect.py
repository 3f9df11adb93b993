"""Expected spectra of the NEMA phantom's regions, and the errors of tau_ops that they allow."""

import hashlib
import textwrap
from dataclasses import dataclass, replace

import numpy as np
from nema import (
    BALLS,
    BIG,
    CACHE,
    CORE_MM,
    EDGES_NS,
    SPHERES,
    TAU_OPS_NS,
    concentrations,
    volumes_ml,
)

from psimg.core import FitStatus, VoxelGrid
from psimg.lifetime import LifetimeModel, calibrate_response, fit_voxels, precision_of
from psimg.spectra import LifetimeSpectra

CENTRES_NS = 0.5 * (EDGES_NS[1:] + EDGES_NS[:-1])
VOXEL_ML = 0.064
N_SETS = 4
"""Delayed windows of the ``delayed`` background."""
RULES = ("fixed", "ps-ratio", "free")


@dataclass(frozen=True, eq=False, kw_only=True)
class Shapes:
    """Spectra over their sums."""

    true: np.ndarray
    classes: np.ndarray
    """(3, B) of classes I, II and III."""


def shapes_of(run):
    """Return the shapes in dt of the body's true triplets and randoms; I and III smoothed."""
    classes = run.origin[0, 1:].copy()
    x = CENTRES_NS / 20.0
    for k in (0, 2):
        total = classes[k].sum()
        weight = 1.0 / np.sqrt(np.maximum(total / len(x), 1.0)) * np.ones(len(x))
        fit = np.polynomial.Polynomial.fit(x, classes[k], 2, w=weight)
        classes[k] = np.maximum(fit(x), 0.0)
    classes /= np.maximum(classes.sum(axis=1, keepdims=True), 1.0)
    return Shapes(true=run.origin[0, 0] / run.origin[0, 0].sum(), classes=classes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Expected:
    """What a region sees per second."""

    name: str
    true: float
    """True triplets [1/s]."""
    classes: np.ndarray
    """(3,) random ones by class [1/s]."""
    own: float = 0.0
    """Share of the true ones that come from the region itself."""
    error: float = 0.0
    """Relative error of the simulated rate of true triplets."""

    @property
    def total(self):
        """All triplets [1/s]."""
        return self.true + self.classes.sum()

    @property
    def randoms(self):
        """Share of random triplets."""
        return self.classes.sum() / self.total

    def spectrum(self, shapes, seconds):
        """Return the expected counts per bin."""
        return seconds * (self.true * shapes.true + self.classes @ shapes.classes)

    def unrelated(self, shapes, seconds):
        """Return the expected randoms whose prompt is unrelated, per bin."""
        return seconds * (self.classes[[0, 2]] @ shapes.classes[[0, 2]])


def yield_of(run):
    """Return true triplets in the body per decay, and the error."""
    n, decays = run.true("body"), run.counts["n_decays"]
    return n / decays, np.sqrt(n) / decays


def expected_of(uniform, spheres, tenth, contrast):
    """Return what each sphere and a voxel in the largest one see at a contrast, by name.

    True triplets, and class I with them, are linear in the activity: those of a uniform filling,
    from the density in balls of 37 mm at the sphere's place, and what the spheres hold beyond,
    from a run with little activity in the spheres alone, less what pile-up and dead time take: the
    yield of the body falls by it from a ``tenth`` of the activity on. Classes II and III are smooth
    over the body and keep their densities.
    """
    seconds = uniform.counts["seconds"]
    flat, _ = concentrations(1.0)
    body, sphere = concentrations(contrast)
    volume = volumes_ml()[1:]
    decays = spheres.counts["n_decays"] / len(SPHERES)
    kept = yield_of(uniform)[0] / yield_of(tenth)[0]
    found = {}
    places = [(name, i, volume[i], name) for i, name in enumerate(SPHERES)]
    places.append(("voxel", len(SPHERES) - 1, VOXEL_ML, "core"))
    core_ml = 4e-3 / 3.0 * np.pi * CORE_MM**3
    for name, i, ml, row in places:
        ball = uniform.origin[uniform.row(BALLS[i])].sum(axis=1) / seconds * ml / BIG
        share = 1.0 if name != "voxel" else VOXEL_ML / core_ml
        # Of decays in the sphere, what is located there; some positrons escape before they
        # annihilate, and as many of the surroundings enter. Other spheres are too far to matter.
        part = spheres.part[uniform.row(row)]
        per_mbq_ml = 1e6 * kept * share * volume[i] / decays
        extra = per_mbq_ml * part.sum() * (sphere - body)
        true = ball[0] * body / flat + extra
        own = per_mbq_ml * (part[i + 1] * sphere + part[0] * body) / true
        classes = ball[1:] * np.array([true / ball[0], body / flat, body / flat])
        errors = (
            ball[0] * body / flat / np.sqrt(uniform.true(BALLS[i])),
            extra / np.sqrt(part.sum()),
        )
        found[name] = Expected(
            name=name, true=true, classes=classes, own=own, error=np.hypot(*errors) / true
        )
    return found


def model_of(rule, response, background="flat", tau=None):
    model = LifetimeModel(intensities=rule, background=background, response=response)
    tau = TAU_OPS_NS if tau is None else tau
    components = tuple(replace(c, tau_ns=tau) if c.name == "ops" else c for c in model.components)
    return replace(model, components=components)


def calibrated(run):
    """Return the response fitted to the body's true triplets and their mean randoms."""
    spectra = LifetimeSpectra(
        edges_ns=EDGES_NS, counts=run.origin[:1, 0],
        delayed=np.zeros((1, 3, len(CENTRES_NS))), n_sets=(0, 0, 0),
        n_events=int(run.origin[0, 0].sum()), n_outside=0, n_outside_dt=0, names=("body",),
    )  # fmt: skip
    return calibrate_response(spectra, model=LifetimeModel())


def bound(expected, rule, response, seconds, *, tau=None, n_sets=0):
    """Return the Cramer-Rao bound of tau_ops [ns]."""
    return precision_of(
        model_of(rule, response, tau=tau), EDGES_NS, n_events=expected.total * seconds,
        background_share=expected.randoms, n_sets=n_sets,
    ).tau_ops_error_ns  # fmt: skip


def seconds_for(expected, rule, response, error, *, tau=None):
    """Return the scan whose bound is an error [s]."""
    return (bound(expected, rule, response, 1.0, tau=tau) / error) ** 2


def stated(expected, shapes, response, seconds, tau, *, n, seed):
    """Return median and central 68 % of the errors that toys with about a lifetime state, and how
    many toys have it.
    """
    _, maps = _fitted(expected, shapes, response, seconds, "ps-ratio", "flat", n, seed)
    of = maps.names.index("tau_ops")
    near = (maps.status == FitStatus.OK) & (np.abs(maps.values[:, of] / tau - 1.0) < 0.1)
    errors = maps.errors[near, of]
    if len(errors) < 20:
        return None
    low, middle, high = np.quantile(errors, [0.1587, 0.5, 0.8413])
    return middle, low, high, len(errors)


def _fitted(expected, shapes, response, seconds, rule, background, n, seed):
    """Return spectra of Poisson toys, and their fits."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected.spectrum(shapes, seconds), size=(n, len(CENTRES_NS)))
    delayed = np.zeros((n, 3, 1))
    delayed[:, 0, 0] = rng.poisson(N_SETS * expected.unrelated(shapes, seconds).sum(), size=n)
    spectra = LifetimeSpectra(
        edges_ns=EDGES_NS, counts=counts.astype(np.uint32), delayed=delayed.astype(np.uint32),
        n_sets=(N_SETS, 0, 0), n_events=int(counts.sum()), n_outside=0, n_outside_dt=0,
        grid=VoxelGrid.centred(shape=(n, 1, 1), voxel_mm=(4.0, 4.0, 4.0)), voxel=np.arange(n),
    )  # fmt: skip
    return spectra, fit_voxels(spectra, model=model_of(rule, response, background))


def write_page(path, text):
    """Write a page with its paragraphs filled; tables, headings and figures stay as they are."""
    blocks = [
        b
        if b.lstrip().startswith(("#", "|", "!"))
        else textwrap.fill(" ".join(b.split()), 100, break_long_words=False, break_on_hyphens=False)
        for b in text.strip().split("\n\n")
    ]
    path.write_text("\n\n".join(blocks) + "\n")


def toys(expected, shapes, response, seconds, *, rule, background, n, seed):
    """Return median, half of the central 68 %, and share fitted, of tau_ops over Poisson toys."""
    what = (expected, shapes.true.sum(), list(shapes.true), list(shapes.classes[1]), response,
            seconds, rule, background, n, seed)  # fmt: skip
    path = CACHE / f"toys_{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}.npy"
    if path.exists():
        return np.load(path).tolist()
    _, maps = _fitted(expected, shapes, response, seconds, rule, background, n, seed)
    tau = maps.values[maps.status == FitStatus.OK, maps.names.index("tau_ops")]
    low, middle, high = np.quantile(tau, [0.1587, 0.5, 0.8413])
    found = [middle, 0.5 * (high - low), len(tau) / n]
    np.save(path, found)
    return found
