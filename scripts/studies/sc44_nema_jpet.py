"""44Sc in the NEMA image-quality phantom on the Modular J-PET, beside the Vision Quadra.

The same acquisition as sc44_nema_quadra.py, with times over threshold; what geometry, material and
selection cost, from detectors that lie between the two. Writes docs/studies/sc44_nema_jpet.md and
its figure. Usage: python scripts/studies/sc44_nema_jpet.py
"""

import math
from pathlib import Path

import numpy as np
from nema import ACTIVITY_MBQ, BALLS, SPHERES, TAU_OPS_NS, phantom, volumes_ml
from nema_expect import (
    N_SETS,
    VOXEL_ML,
    Expected,
    bound,
    calibrated,
    expected_of,
    seconds_for,
    write_page,
)
from nema_runs import JPET, JPET_LOOSE, JPET_SELECT, QUADRA, jpet_runs, quadra_runs
from sc44_nema_quadra import ASSUMED_S, PUBLISHED, WORDS, geometric, table

from psimg.lifetime import Response
from psimg.simulate import find_material
from psimg.simulate.materials import attenuation_tables

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "studies" / "sc44_nema_jpet.md"
FIGURE = DOCS / "images" / "sc44_nema_jpet.png"
PUBLISHED_GAIN = 150.0
"""Kunimmal Venadan et al., abstract: sensitivity of the Quadra over the Modular J-PET."""
PUBLISHED_QUADRA = 9.22
"""The same: 44Sc on the Quadra [cps/kBq]."""
N_SIGMA = 5.0


def coverage(detector):
    """Return how much of the circle the modules cover."""
    if not detector.n_modules:
        return 1.0
    return detector.n_modules * detector.module_width_mm / (2 * math.pi * detector.inner_radius_mm)


def interactions(detector, n=400_000, seed=5):
    """Return the shares of decays in the body whose three photons cross the detector, and interact.

    Straight lines through a shell, nothing in the phantom: 511 keV twice back to back, 1157 keV.
    """
    rng = np.random.default_rng(seed)
    body = phantom().regions[1]
    low, high = body.bounds_mm
    points = rng.uniform(low, high, (4 * n, 3))
    points = points[body.contains(points)][:n]
    n = len(points)
    compton, photo = attenuation_tables((find_material(detector.material),), 1200)
    mu = detector.packing * (compton + photo)[0]
    one, prompt = _directions(n, rng), _directions(n, rng)
    crosses, hits = np.ones(n), np.ones(n)
    for direction, energy in ((one, 511), (-one, 511), (prompt, 1157)):
        near = _to_cylinder(points, direction, detector.inner_radius_mm)
        far = _to_cylinder(points, direction, detector.inner_radius_mm + detector.thickness_mm)
        ahead = points[:, 2] + near * direction[:, 2]
        seen = (np.abs(ahead) <= 0.5 * detector.length_mm) * coverage(detector)
        depth = far - near
        # Not beyond the ends.
        with np.errstate(divide="ignore"):
            to_end = (0.5 * detector.length_mm - np.abs(ahead)) / np.abs(direction[:, 2])
        outwards = ahead * direction[:, 2] > 0
        depth = np.where(outwards, np.minimum(depth, np.maximum(to_end, 0.0)), depth)
        crosses *= seen
        hits *= seen * -np.expm1(-mu[energy] * depth)
    return crosses.mean(), hits.mean()


def _directions(n, rng):
    z = rng.uniform(-1.0, 1.0, n)
    angle = rng.uniform(0.0, 2.0 * math.pi, n)
    across = np.sqrt(1.0 - z * z)
    return np.column_stack([across * np.cos(angle), across * np.sin(angle), z])


def _to_cylinder(point, direction, radius):
    a = (direction[:, :2] ** 2).sum(axis=1)
    b = (point[:, :2] * direction[:, :2]).sum(axis=1)
    c = (point[:, :2] ** 2).sum(axis=1) - radius**2
    return (-b + np.sqrt(b * b - a * c)) / a


def half_width(values):
    """Return half of the central 68 %, and its error as of a Gaussian."""
    low, high = np.quantile(values, [0.1587, 0.8413])
    width = 0.5 * (high - low)
    return width, width * 1.2 / math.sqrt(2 * len(values))


def resolution(run):
    """Return the widths of dt and of the point, and how pure the triplets are."""
    s = run.sample
    offset = s[:, :3] - s[:, 3:6]
    along = np.einsum("ij,ij->i", offset, s[:, 6:9])
    rest = offset - along[:, None] * s[:, 6:9]
    late = s[:, 9] - s[:, 10]
    # Without a positron there is no life, and no annihilation point.
    clean = (s[:, 11:14] == 0).all(axis=1) & np.isfinite(late)
    widths = {
        "dt": half_width(late[clean]),
        "along": half_width(along[clean]),
        "axial": half_width(offset[clean, 2]),
        "across": half_width(rest[clean, 0]),
    }
    middle = np.median(late[clean])
    near = (np.abs(late - middle) < N_SIGMA * widths["dt"][0]) & (
        np.linalg.norm(offset, axis=1) < N_SIGMA * widths["along"][0]
    )
    true = run.true("body")
    everything = run.origin[0].sum()
    return widths | {
        "true": true / everything,
        "clean": true / everything * clean.mean(),
        "near": true / everything * (clean & near).mean(),
        "scattered": 1 - clean.mean(),
        "astray": 1 - near[clean].mean(),
        "mean": float(late[clean].mean()),
    }


def own_share(run, diameter_mm, n=200_000, seed=6):
    """Return which share of the true triplets located in a sphere come from it, uniformly filled.

    As many leave it as enter: the share of its own that the errors of the points leave inside.
    """
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.0, 1.0, (2 * n, 3)) * diameter_mm / 2
    points = points[np.linalg.norm(points, axis=1) <= diameter_mm / 2]
    offset = run.sample[:, :3] - run.sample[:, 3:6]
    offset = offset[np.isfinite(offset).all(axis=1)]
    moved = points + offset[rng.integers(len(offset), size=len(points))]
    return float((np.linalg.norm(moved, axis=1) <= diameter_mm / 2).mean())


def density(run):
    """Return true triplets located per mL and s on the circle of spheres."""
    s = run.sample
    x, y, z = s[:, :3].T
    radius = np.hypot(x, y)
    inside = (radius > 40.0) & (radius < 75.0) & (np.abs(z) < 20.0)
    ml = math.pi * (75.0**2 - 40.0**2) * 40.0 * 1e-3
    fraction = len(s) / run.true("body")
    n = inside.sum()
    return n / ml / run.counts["seconds"] / fraction, math.sqrt(n) / n


def good_share(run):
    found = resolution(run)
    return f"{100 * found['near'] / found['true']:.0f}"


def jpet_expected(run):
    """Return what each sphere and a voxel see in a uniform filling, by name."""
    rate, error = density(run)
    counts = run.origin[0].sum(axis=1)
    # Randoms over true ones where the spheres are.
    balls = np.array([run.origin[run.row(b)].sum(axis=1) for b in BALLS]).sum(axis=0)
    ratio = (balls[1:].sum() / balls[0]) / (counts[1:].sum() / counts[0])
    found = {}
    volumes = dict(zip(SPHERES, volumes_ml()[1:], strict=True)) | {"voxel": VOXEL_ML}
    for name, ml in volumes.items():
        found[name] = Expected(
            name=name, true=rate * ml, classes=rate * ml * counts[1:] / counts[0] * ratio,
            error=error,
        )  # fmt: skip
    return found, ratio


def yield_of(run):
    """Return true triplets in the body per 1e5 decays, and the error."""
    n, decays = run.true("body"), run.counts["n_decays"]
    return 1e5 * n / decays, 1e5 * math.sqrt(n) / decays


def ratio_of(one, other):
    """Return a ratio of two values with errors, as text."""
    if one == other:
        return "1"
    value = one[0] / other[0]
    error = value * math.hypot(one[1] / one[0], other[1] / other[0])
    return _figures(value, error)


def _figures(value, error):
    digits = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 2
    return f"{value:,.{digits}f} ± {error:,.{digits}f}"


def figure(gains, quadra, jpet):
    from matplotlib.figure import Figure

    page = Figure(figsize=(8.4, 3.9), layout="constrained")
    left, right = page.subplots(1, 2, width_ratios=(1.0, 1.1))
    names = list(gains)
    values = [gains[n][0] for n in names]
    left.barh(
        range(len(names)), values, xerr=[gains[n][1] for n in names],
        color=["#0072B2", "#56B4E9", "#E69F00", "#9a9a9a"], height=0.62,
        error_kw={"linewidth": 1.1, "capsize": 3},
    )  # fmt: skip
    for i, value in enumerate(values):
        left.text(value * 1.25, i, f"{value:.3g}", va="center", fontsize=9.5)
    left.axvline(PUBLISHED_GAIN, color="#D55E00", linestyle="--", linewidth=1.2)
    left.text(
        PUBLISHED_GAIN * 1.15, 1.95, "published,\nanother object", color="#D55E00", fontsize=8.5
    )
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xscale("log")
    left.set_xlim(1, max(values) * 6)
    left.set_xlabel("Quadra / Modular J-PET, true triplets per decay")
    left.set_title("a", loc="left", fontsize=10.5)
    times = np.geomspace(30, 1e5, 60)
    for expected, response, colour, word in (
        (*quadra, "#0072B2", "Vision Quadra"), (*jpet, "#D55E00", "Modular J-PET"),
    ):  # fmt: skip
        for name, style in (("sphere_37mm", "-"), ("sphere_17mm", "--"), ("sphere_10mm", ":")):
            y = np.array([bound(expected[name], "ps-ratio", response, t) for t in times])
            right.plot(times / 60, np.where(y < 2, y, np.nan), style, color=colour, linewidth=1.5,
                       label=f"{word}, {name[7:-2]} mm")  # fmt: skip
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(0.003, 40)
    right.set_xlabel("scan [min]")
    right.set_ylabel("smallest error of tau_ops [ns]")
    right.legend(frameon=False, fontsize=7.6, loc="upper left", ncols=2, columnspacing=1.0)
    right.set_title("b", loc="left", fontsize=10.5)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    page.savefig(FIGURE, dpi=160)


def main():
    quadra, runs = quadra_runs(), jpet_runs()
    uniform, jpet = quadra["uniform"], runs["jpet"]
    fits = calibrated(uniform)
    quadra_response = Response(mu_ns=fits.value("mu_ns"), sigma_ns=fits.value("sigma_ns"))
    quadra_expected = expected_of(uniform, quadra["spheres"], quadra["a tenth"], 1.0)
    both = {"Vision Quadra": resolution(uniform), "Modular J-PET": resolution(jpet)}
    of_jpet = both["Modular J-PET"]
    jpet_response = Response(mu_ns=of_jpet["mean"], sigma_ns=of_jpet["dt"][0])
    expected, local = jpet_expected(jpet)

    # The scan that suits the published errors of the Quadra.
    best, _ = geometric([
        seconds_for(quadra_expected[n], "ps-ratio", quadra_response, e, tau=t)
        for n, (t, e) in PUBLISHED.items()
    ])  # fmt: skip

    yields = {name: yield_of(run) for name, run in runs.items() if name != "jpet"}
    n_low = runs["jpet loose"]
    yields["jpet"] = yield_of(jpet)
    chances = {"quadra": interactions(QUADRA), "jpet": interactions(JPET)}
    shares = {}
    for name, key in (("quadra", "quadra low"), ("jpet", "jpet")):
        cross, hit = chances[name]
        shares[name] = (cross, hit / cross, 1e-5 * yields[key][0] / hit)
    geometry, detection, selection = (shares["quadra"][i] / shares["jpet"][i] for i in range(3))
    total = yields["quadra low"][0] / yields["jpet"][0]
    total_error = total * math.hypot(
        yields["quadra low"][1] / yields["quadra low"][0], yields["jpet"][1] / yields["jpet"][0]
    )
    gains = {
        "geometry": (geometry, 0.0),
        "interaction in\nthe scintillator": (detection, 0.0),
        "windows": (selection, selection * total_error / total),
        "product": (total, total_error),
    }
    figure(gains, (quadra_expected, quadra_response), (expected, jpet_response))

    two_rows = []
    for word, key, cylinder, matter in (
        ("Vision Quadra", "quadra low", "820 x 1060 mm", "LSO, photopeak windows"),
        ("hybrid", "lso short", "739 x 500 mm", "LSO, photopeak windows"),
        ("hybrid", "plastic long", "820 x 1060 mm", "plastic, times over threshold"),
        ("Modular J-PET", "jpet", "739 x 500 mm", "plastic, times over threshold"),
        ("Modular J-PET, loosest windows", "jpet loose", "739 x 500 mm",
         "plastic, any deposit below and above 24 ns"),
    ):  # fmt: skip
        two_rows.append([
            word, cylinder, matter, _figures(*yields[key]),
            ratio_of(yields["quadra low"], yields[key]),
        ])  # fmt: skip

    part_rows = [
        [word, f"{shares['quadra'][i]:.4f}", f"{shares['jpet'][i]:.5f}", f"{ratio:.1f}"]
        for i, (word, ratio) in enumerate((
            ("all three photons cross the detector", geometry),
            ("and interact there, once they cross", detection),
            ("and are in the windows, located in the body", selection),
        ))
    ]  # fmt: skip
    part_rows.append([
        "true triplets per decay", f"{1e-5 * yields['quadra low'][0]:.2e}",
        f"{1e-5 * yields['jpet'][0]:.2e}", _figures(total, total_error),
    ])  # fmt: skip

    quality_rows = []
    for name, run in (("Vision Quadra", uniform), ("Modular J-PET", jpet)):
        r = both[name]
        counts = run.origin[0].sum(axis=1)
        rate = run.true("body") / run.counts["seconds"] / ACTIVITY_MBQ
        quality_rows.append([
            name, f"{rate:,.1f}", _figures(*yield_of(run)),
            *(f"{100 * c / counts.sum():.1f}" for c in counts),
            f"{100 * r['clean']:.1f}", f"{100 * r['near']:.1f}",
        ])  # fmt: skip
    width_rows = [
        [
            name, *(f"{1e3 * x:.1f}" for x in r["dt"][:1]), f"{r['along'][0]:.1f}",
            f"{r['axial'][0]:.1f}", f"{r['across'][0]:.1f}", f"{100 * r['scattered']:.0f}",
            f"{100 * r['astray']:.1f}",
        ]
        for name, r in both.items()
    ]  # fmt: skip

    error_rows = []
    for name in (*SPHERES, "voxel"):
        one, other = quadra_expected[name], expected[name]
        cells = [WORDS[name], f"{other.true:.3f}", f"{100 * other.randoms:.0f}"]
        if name == "voxel":
            cells += ["–", "–"]
        else:
            cells += [f"{100 * one.own:.0f}", f"{100 * own_share(jpet, float(name[7:-2])):.0f}"]
        for seconds in (best, ASSUMED_S):
            a = bound(one, "ps-ratio", quadra_response, seconds)
            b = bound(other, "ps-ratio", jpet_response, seconds)
            cells += [f"{a:.3f}", f"{b:.2f}" if b < TAU_OPS_NS else f"none ({b:.1f})"]
        cells.append(f"{b / a:.1f}")
        cells.append(
            f"{seconds_for(other, 'ps-ratio', jpet_response, 0.05 * TAU_OPS_NS) / 3600:,.1f}"
        )
        cells.append(
            f"{seconds_for(one, 'ps-ratio', quadra_response, 0.05 * TAU_OPS_NS) / 60:,.1f}"
        )
        error_rows.append(cells)

    write_page(
        PAGE,
        _PAGE.format(
            activity=ACTIVITY_MBQ,
            quadra_cps=f"{1e-2 * yields['quadra low'][0]:.2f}",
            jpet_cps=f"{1e-2 * yields['jpet'][0]:.4f}",
            jpet_published=f"{PUBLISHED_QUADRA / PUBLISHED_GAIN:.3f}",
            published_quadra=PUBLISHED_QUADRA,
            published_gain=f"{PUBLISHED_GAIN:.0f}",
            total=_figures(total, total_error),
            geometry=f"{geometry:.1f}",
            detection=f"{detection:.0f}",
            selection=f"{selection:.1f}",
            loose=ratio_of(yields["quadra low"], yields["jpet loose"]),
            loose_gain=ratio_of(yields["jpet loose"], yields["jpet"]),
            geometry_lso=ratio_of(yields["quadra low"], yields["lso short"]),
            geometry_plastic=ratio_of(yields["plastic long"], yields["jpet"]),
            material_long=ratio_of(yields["quadra low"], yields["plastic long"]),
            material_short=ratio_of(yields["lso short"], yields["jpet"]),
            seconds=jpet.counts["seconds"],
            n_true=f"{jpet.true('body'):,.0f}",
            dt=f"{1e3 * of_jpet['dt'][0]:.0f}",
            along=f"{of_jpet['along'][0]:.0f}",
            axial=f"{of_jpet['axial'][0]:.0f}",
            clean=f"{100 * of_jpet['clean']:.0f}",
            randoms=f"{100 * (1 - of_jpet['true']):.0f}",
            quadra_randoms=f"{100 * (1 - both['Vision Quadra']['true']):.0f}",
            local=f"{local:.2f}",
            best=f"{best:.0f}",
            assumed=f"{ASSUMED_S / 60:.0f}",
            tau=TAU_OPS_NS,
            good=good_share(jpet),
            good_loose=good_share(runs["jpet loose"]),
            n_sigma=f"{N_SIGMA:g}",
            n_sets=N_SETS,
            pair=f"{JPET_SELECT.pair_window_ns:g}",
            loose_windows=f"{JPET_LOOSE.annihilation_tot_ns[1]:g}",
            n_loose=f"{n_low.true('body'):,.0f}",
            smallest=f"{bound(expected['sphere_10mm'], 'ps-ratio', jpet_response, ASSUMED_S):.2f}",
            largest=f"{bound(expected['sphere_37mm'], 'ps-ratio', jpet_response, ASSUMED_S):.2f}",
            two_table=table(
                [
                    "",
                    "inner diameter x length",
                    "detector",
                    "true triplets per 1e5 decays",
                    "Quadra over it",
                ],
                two_rows,
            ),
            part_table=table(["share of decays", "Quadra", "Modular J-PET", "ratio"], part_rows),
            quality_table=table(
                [
                    "body",
                    "true triplets per MBq and s",
                    "per 1e5 decays",
                    "true [%]",
                    "I [%]",
                    "II [%]",
                    "III [%]",
                    "true and unscattered [%]",
                    f"and within {N_SIGMA:g} widths [%]",
                ],
                quality_rows,
            ),
            width_table=table(
                [
                    "",
                    "dt [ps]",
                    "point along the LOR [mm]",
                    "axially [mm]",
                    "along x [mm]",
                    "scattered of true [%]",
                    "beyond 5 widths of unscattered [%]",
                ],
                width_rows,
            ),
            error_table=table(
                [
                    "where",
                    "true [1/s]",
                    "randoms [%]",
                    "of itself: Quadra [%]",
                    "J-PET",
                    f"{best:.0f} s: Quadra [ns]",
                    "J-PET",
                    f"{ASSUMED_S / 60:.0f} min: Quadra",
                    "J-PET",
                    "ratio",
                    "5 % after: J-PET [h]",
                    "Quadra [min]",
                ],
                error_rows,
            ),
        ),
    )


_PAGE = """\
# 44Sc in the NEMA phantom on the Modular J-PET

**Found.** The Modular J-PET locates {jpet_cps} true triplets per s and kBq in the phantom, the
Quadra {quadra_cps}: a factor of {total}, made of {geometry} by geometry, {detection} by what
interacts in the scintillator and {selection} by the windows. The published factor, for another
object, is {published_gain}; it lies between this and the {loose} of windows that take any
deposit. With the same activity the smallest error of tau_ops in {assumed} min is {smallest} ns
in the 10 mm sphere and {largest} ns in the 37 mm sphere.

`scripts/studies/sc44_nema_jpet.py` made this page and its figure. 44Sc was imaged with the
Modular J-PET (arXiv:2506.07230, IEEE TRPMS 2025); activity, filling, length of the scan,
numbers of events and lifetimes of that measurement are **not known to us**, so that nothing
here is compared with them. What is known: windows on the time over threshold of 10 to 25 ns for
annihilation photons and 30 to 50 ns for prompts, pairs within 1 ns; and a simulated sensitivity
to 44Sc of {published_quadra} cps/kBq on the Vision Quadra, {published_gain} times that of the
Modular J-PET (Kunimmal Venadan et al., abstract; another object than here, and windows that we
do not know).

The phantom is that of [the study of the Quadra](sc44_nema_quadra.md), uniformly filled with
{activity} MBq in water; the detector is `jpet-modular` with these windows ({seconds:g} s,
{n_true} true triplets located in the body), prompts within ± 20 ns. The time over threshold as
a function of the energy, the time resolution (500 ps FWHM) and the axial resolution (43 mm
FWHM) of that detector are commonly quoted or remembered, see `psimg/simulate/detectors.toml`.

## What a triplet is

At {activity} MBq, located in the body. Unscattered: no photon of the decay scattered in the
phantom. Within {n_sigma} widths: dt and point as far from the truth as the response explains;
the rest are photons that scattered in the detector, or that were taken for one another.

{quality_table}

Half of the central 68 % of measured minus true, over unscattered true triplets:

{width_table}

At the same activity {randoms} % of the J-PET's triplets are random, against {quadra_randoms} %
on the Quadra: fewer singles, a pair window of {pair} ns, and no 176Lu. Time over threshold lets
more scattered photons pass, since it has no photopeak to tell them by. dt is {dt} ps wide, and
the point {along} mm along the LOR and {axial} mm axially (68 %), so that a sphere of up to 37
mm holds little of itself.

## Why the Quadra sees more

True triplets located in the body per decay, at 4 MBq without 176Lu (Modular J-PET: {activity}
MBq), for the two scanners and two detectors that exchange their parts:

{two_table}

The factor in parts. The first two lines are straight lines through both detectors, nothing
scattering; the third is what the simulation adds: absorption and scatter in the phantom,
energies, windows.

{part_table}

![Factors between the scanners, and errors against scan time](../images/sc44_nema_jpet.png)

**a** The parts of the factor; dashed, the published one. **b** Smallest error of tau_ops
(`ps-ratio`, calibrated response, uniform filling) against the length of the scan.

The hybrids divide the factor in either order. Cylinder: {geometry_lso} with LSO,
{geometry_plastic} with plastic. Scintillator and windows: {material_long} in the long cylinder,
{material_short} in the short one. Windows that take any deposit ({n_loose} true triplets
simulated) give the J-PET {loose_gain} times as many, and leave a factor of {loose}: the windows
in use give triplets away for purity ({good} % of their true triplets are unscattered and within
{n_sigma} widths, against {good_loose} % of the loose ones). Simulated sensitivities beside the
published ones: Quadra {quadra_cps} against {published_quadra} cps/kBq; Modular J-PET {jpet_cps}
against {jpet_published}, which is the published one of the Quadra over {published_gain}. What
differs, as far as is known: the object (organs of a patient model there), the windows of the
J-PET (published feasibility studies need not use those in time over threshold), and what counts
as a true triplet (here also located in the phantom; a photon that scattered is not excluded).

## Errors of tau_ops

Bounds in a uniform filling, {tau} ns, for the scan that suits the published errors of the
Quadra, and for {assumed} min; and how long either takes for 5 %. The J-PET's density of true
triplets is that on the circle of spheres; its randoms are those of the body times {local}, the
excess where the spheres are. Of itself: share of the true triplets located there that come from
there; the J-PET's is worked out from the errors of its points in the whole body, and is an
upper limit for spheres deep inside.

{error_table}

Bounds above about a third of the lifetime say only that there is no measurement. The ratio of
the errors is the root of the factor in true triplets, less what the J-PET gains by fewer
randoms. Larger regions are the way: the errors go as one over the root of the volume.
"""


if __name__ == "__main__":
    main()
