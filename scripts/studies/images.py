"""Every way to make an image of lifetimes, on the same acquisitions, beside the truth.

Six spheres of six lifetimes in a cylinder (six_spheres.py), twenty times; 44Sc with all physics.
Writes docs/studies/images.md and its figures.
Usage: python scripts/studies/images.py [--seeds N] [--voxel MM]
"""

import argparse
import json
import os
import time
import tracemalloc
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from six_spheres import (
    ACTIVITY_MBQ,
    BODY,
    BODY_TAU_NS,
    CONTRAST,
    EDGES_NS,
    N_TRIPLETS,
    SHARE_OPS,
    SPHERES,
    TAU_OPS_NS,
    acquire,
)
from six_spheres_images import SIGMA_MM, prepared

from psimg.core.maps import FitStatus
from psimg.events import Origin
from psimg.imaging.values import ReconOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "studies" / "images.md"
CACHE = Path("build/images")
NAMES = ("body", *(s.name for s in SPHERES))
TRUE = np.array([BODY_TAU_NS, *TAU_OPS_NS])
FAST_NS = (SHARE_OPS / 3 * 0.125 + (1 - 4 / 3 * SHARE_OPS) * 0.388, SHARE_OPS)
"""Mean lifetime is the first number plus the second times tau_ops."""
WORDS = {
    "mlem": "activity from pairs (MLEM)",
    "histogram": "fit per voxel of most likely points",
    "rate": "effective rate",
    "simple": "mean lifetime (SIMPLE)",
    "moment": "two moments",
    "split": "an image per time bin",
    "em": "component EM",
    "penalised": "penalised component EM",
    "regions": "region likelihood",
    "inside": "fits to the events located inside",
}
RESOLUTION_MM = 5.0
"""For the region likelihood: crystals, positron range and acollinearity."""


def label_of(grid):
    """Return the row of `NAMES` that each voxel's centre lies in, -1 for none."""
    centres = grid.centres_mm()
    label = np.where(BODY.contains(centres), 0, -1)
    for i, sphere in enumerate(SPHERES):
        label[sphere.contains(centres)] = i + 1
    return label


def truth_of(method):
    return FAST_NS[0] + FAST_NS[1] * TRUE if method == "simple" else TRUE


def methods_of(made):
    """Return a function for each method that makes its maps."""
    from psimg.imaging import (
        reconstruct_components,
        reconstruct_moment,
        reconstruct_rate,
        reconstruct_simple,
        reconstruct_split,
    )
    from psimg.lifetime import fit_voxels
    from psimg.spectra import estimate_levels

    data = made.data
    levels = estimate_levels(made.voxels, pairs=made.pairs_image, with_class_2=True)

    def fit():
        return fit_voxels(
            made.voxels, model=made.model, calibration=made.calibration, levels=levels,
            shape=made.shape,
        )  # fmt: skip

    def components(method):
        options = ReconOptions(method=method)
        return reconstruct_components(data, options=options, penalised=method == "penalised").maps

    return {
        "histogram": fit,
        "rate": lambda: reconstruct_rate(data, options=ReconOptions(method="rate")).maps,
        "simple": lambda: reconstruct_simple(data, options=ReconOptions(method="simple")).maps,
        "moment": lambda: reconstruct_moment(data, options=ReconOptions(method="moment")).maps,
        "split": lambda: reconstruct_split(data, options=ReconOptions(method="split")).maps,
        "em": lambda: components("em"),
        "penalised": lambda: components("penalised"),
    }


def run_seed(arguments):
    """Run every method on one acquisition, in a process of its own."""
    seed, voxel_mm = arguments
    path = CACHE / f"seed_{seed}_{voxel_mm:g}.npz"
    if path.exists():
        return path
    start = time.perf_counter()
    options = ReconOptions(method="penalised")
    made = prepared(seed, voxel_mm=voxel_mm, options=options)
    arrays = {"seconds_prepare": time.perf_counter() - start}
    data = made.data
    label = label_of(data.grid)

    def keep(method, maps, began):
        name = "mean_lifetime" if method == "simple" else "tau_ops"
        arrays[f"seconds_{method}"] = time.perf_counter() - began
        arrays[f"{method}_image"] = maps.image(name).astype(np.float32)
        arrays[f"{method}_error"] = maps.error_image(name).astype(np.float32)

    methods = methods_of(made)
    for method, make in methods.items():
        began = time.perf_counter()
        keep(method, make(), began)
    began = time.perf_counter()
    found = made.region_likelihood(ReconOptions(resolution_mm=RESOLUTION_MM))
    arrays["seconds_regions"] = time.perf_counter() - began
    arrays["regions"] = np.stack([found.tau_ops_ns, found.tau_ops_errors_ns])
    arrays["regions_image"] = found.maps(data.grid).image("tau_ops").astype(np.float32)
    began = time.perf_counter()
    arrays["inside"] = fit_inside(made)
    arrays["seconds_inside"] = time.perf_counter() - began
    # The same with the intensities known.
    made = prepared(seed, voxel_mm=voxel_mm, intensities="fixed", options=options)
    found = made.region_likelihood(ReconOptions(resolution_mm=RESOLUTION_MM))
    arrays["regions_fixed"] = np.stack([found.tau_ops_ns, found.tau_ops_errors_ns])
    arrays["inside_fixed"] = fit_inside(made)
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(path, label=label, **arrays)
    print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return path


def memory_of_methods(voxel_mm):
    """Return the memory that each method takes beyond its data at its height [MB]."""
    made = prepared(0, voxel_mm=voxel_mm, options=ReconOptions(method="penalised"))
    found = {}
    tracemalloc.start()
    for method, make in methods_of(made).items():
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        make()
        found[method] = 1e-6 * (tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    return found


def fit_inside(made):
    """Return (2, R) mean lives, with errors, of fits to the events located inside each region."""
    from psimg.lifetime import fit_regions

    fits = fit_regions(made.regions, model=made.model, shape=made.shape)
    return np.array(
        [
            (f.tau_ops_ns, f.tau_ops_error_ns) if f.status == FitStatus.OK else (np.nan, np.nan)
            for f in fits
        ]
    ).T


VOXEL_METHODS = ("histogram", "rate", "simple", "moment", "split", "em", "penalised")


OF_REGIONS = ("regions", "inside", "regions_fixed", "inside_fixed")


def per_region(files, method):
    """Return (S, 7) values of regions, their errors, and (S, 7) RMSE over voxels with a value."""
    values, errors, rmse, share = [], [], [], []
    for file in files:
        if method in OF_REGIONS:
            values.append(file[method][0])
            errors.append(file[method][1])
            rmse.append(np.abs(file[method][0] - TRUE))
            share.append(np.isfinite(file[method][0]).astype(float))
            continue
        image, label = file[f"{method}_image"].reshape(-1), file["label"]
        inside = [image[label == r] for r in range(len(NAMES))]
        good = [v[np.isfinite(v)] for v in inside]
        true = truth_of(method)
        values.append([g.mean() if len(g) else np.nan for g in good])
        rmse.append(
            [np.sqrt(np.mean((g - t) ** 2)) if len(g) else np.nan
             for g, t in zip(good, true, strict=True)]
        )  # fmt: skip
        share.append([len(g) / len(v) for g, v in zip(good, inside, strict=True)])
        errors.append([np.nan] * len(NAMES))
    return tuple(np.array(x, dtype=float) for x in (values, errors, rmse, share))


def summary(files, method):
    """Return what the table shows of a method."""
    values, errors, rmse, share = per_region(files, method)
    true = truth_of(method)
    n = np.sum(np.isfinite(values), axis=0)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # A region in which no acquisition gives a value has none here either.
        warnings.simplefilter("ignore", RuntimeWarning)
        bias = 100 * (np.nanmean(values, axis=0) / true - 1)
        spread = np.nanstd(values, axis=0, ddof=1)
        of_mean = 100 * spread / np.sqrt(np.maximum(n, 1)) / true
        pull = (values - true) / errors
        width = np.nanstd(pull, axis=0, ddof=1)
        return {
            "bias": bias,
            "bias_error": of_mean,
            "spread": spread,
            "rmse": np.sqrt(np.nanmean(rmse**2, axis=0)),
            "region_rmse": np.sqrt(np.nanmean((values - true) ** 2, axis=0)),
            "width": width,
            "pull": np.nanmean(pull, axis=0),
            "share": share.mean(axis=0),
            "seconds": np.median([float(f.get(f"seconds_{method}", np.nan)) for f in files]),
            "n": n,
        }


def common_rmse(files, first, second):
    """Return the RMSE of two methods over the voxels in which both have a value."""
    squares = np.zeros(2)
    n = 0
    for file in files:
        label = file["label"]
        a, b = (file[f"{m}_image"].reshape(-1) for m in (first, second))
        both = np.isfinite(a) & np.isfinite(b) & (label >= 0)
        true = TRUE[label[both]]
        squares += [np.sum((a[both] - true) ** 2), np.sum((b[both] - true) ** 2)]
        n += int(both.sum())
    return np.sqrt(squares / n), n / len(files)


def draw_method(method, file, path):
    """Draw the central slice of a method's map beside the truth."""
    import matplotlib.pyplot as plt

    image = file[f"{method}_image"]
    true = truth_of(method)
    truth = np.where(file["label"] >= 0, true[file["label"]], np.nan).reshape(image.shape)
    low, high = (0.6, 1.25) if method == "simple" else (1.2, 3.4)
    z = image.shape[2] // 2
    extent = 0.5 * np.array([-208, 208, -208, 208])
    figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.5), layout="constrained")
    colours = plt.get_cmap("viridis").with_extremes(bad="#ececec")
    for ax, values, title in (
        (axes[0], truth, "truth"),
        (axes[1], image, WORDS[method]),
    ):
        shown = ax.imshow(values[:, :, z].T, origin="lower", extent=extent, vmin=low, vmax=high,
                          cmap=colours, interpolation="nearest")  # fmt: skip
        ax.set_title(title, fontsize=11)
    unit = "mean lifetime [ns]" if method == "simple" else "o-Ps lifetime [ns]"
    figure.colorbar(shown, ax=axes[:2], label=unit, shrink=0.9)
    off = axes[2].imshow((image - truth)[:, :, z].T, origin="lower", extent=extent, vmin=-0.6,
                         vmax=0.6, cmap=plt.get_cmap("RdBu_r").with_extremes(bad="#ececec"),
                         interpolation="nearest")  # fmt: skip
    axes[2].set_title("difference", fontsize=11)
    figure.colorbar(off, ax=axes[2], label="map − truth [ns]", shrink=0.9)
    for ax in axes:
        ax.set_xlabel("x [mm]")
        ax.set_xlim(-95, 95)
        ax.set_ylim(-95, 95)
    axes[0].set_ylabel("y [mm]")
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def draw_activity(data, path):
    """Draw the activity that lifetimes lean on beside the truth, in that of the largest sphere."""
    import matplotlib.pyplot as plt

    label = label_of(data.grid).reshape(data.grid.shape)
    image = data.activity / data.activity[label == len(SPHERES)].mean()
    truth = np.where(label < 0, np.nan, np.where(label == 0, 1.0 / CONTRAST, 1.0))
    z = image.shape[2] // 2
    extent = 0.5 * np.array([-208, 208, -208, 208])
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.5), layout="constrained")
    colours = plt.get_cmap("magma").with_extremes(bad="#ececec")
    for ax, values, title in ((axes[0], truth, "truth"), (axes[1], image, WORDS["mlem"])):
        shown = ax.imshow(values[:, :, z].T, origin="lower", extent=extent, vmin=0,
                          vmax=1.3, cmap=colours, interpolation="nearest")  # fmt: skip
        ax.set_title(title, fontsize=11)
        ax.set_xlabel("x [mm]")
        ax.set_xlim(-95, 95)
        ax.set_ylim(-95, 95)
    axes[0].set_ylabel("y [mm]")
    figure.colorbar(shown, ax=axes, label="activity, mean of the largest sphere is 1", shrink=0.9)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def row(cells):
    return "| " + " | ".join(cells) + " |"


def number(x, digits=1, sign=False):
    return "–" if not np.isfinite(x) else f"{x:{'+' if sign else ''}.{digits}f}"


def region_table(heads, regions, inside):
    lines = [
        row([*heads, "regions: bias [%]", "RMSE [ns]", "pull width", "inside: bias [%]",
             "RMSE [ns]", "ratio of RMSE"]),
        "|" + "---|" * 8,
    ]  # fmt: skip
    for r, name in enumerate(NAMES):
        lines.append(
            row(
                [
                    name,
                    f"{TRUE[r]:g}",
                    f"{number(regions['bias'][r], 1, True)} ± {number(regions['bias_error'][r])}",
                    number(regions["region_rmse"][r], 3),
                    number(regions["width"][r], 2),
                    f"{number(inside['bias'][r], 1, True)} ± {number(inside['bias_error'][r])}",
                    number(inside["region_rmse"][r], 3),
                    number(regions["region_rmse"][r] / inside["region_rmse"][r], 2),
                ]
            )
        )
    return lines


def write_page(files, voxel_mm):
    n_seed = len(files)
    events = acquire(0).events
    prompt = events.take((events.window == 0) & (events.dt_ns >= EDGES_NS[0])
                         & (events.dt_ns < EDGES_NS[-1]))  # fmt: skip
    random = 100 * np.mean(prompt.origin != Origin.TRUE)
    memory = memory_of_methods(voxel_mm)
    stats = {m: summary(files, m) for m in (*VOXEL_METHODS, *OF_REGIONS)}
    images = DOCS / "images"
    for method in (*VOXEL_METHODS, "regions"):
        draw_method(method, files[0], images / f"images_{method}.png")
    first = prepared(0, voxel_mm=voxel_mm, options=ReconOptions(method="mlem"))
    draw_activity(first.data, images / "images_mlem.png")
    both, n_both = common_rmse(files, "histogram", "penalised")
    heads = ["region", "truth [ns]"]
    lines = [
        "# Ways to make an image of lifetimes",
        "",
        "Made by `python scripts/studies/images.py`; do not edit.",
        "",
        f"{n_seed} simulated acquisitions with all physics: 44Sc, {ACTIVITY_MBQ:g} MBq, on the "
        "Vision Quadra with a CTR of 230 ps; the six spheres of the NEMA phantom, each with an "
        "o-Ps lifetime of its own, in a cylinder of water "
        f"({BODY.radius_mm:g} mm radius, {2 * BODY.half_length_mm:g} mm long) with "
        f"{CONTRAST:g} times less activity per volume. Each has {N_TRIPLETS:,} triplets or a few "
        f"more, {random:.0f} % of them random; voxels of {voxel_mm:g} mm, spectra from "
        f"{EDGES_NS[0]:g} to {EDGES_NS[-1]:g} ns, "
        f"time of flight {SIGMA_MM:.1f} mm (Gaussian width). Every method has its default "
        "settings, `four-set` randoms and a response of two Gaussians fitted to all events, as "
        "`psimg run` does it.",
        "",
        "## Choosing",
        "",
        "* Regions are known: `regions`. It takes away what neighbours spill and is more precise "
        "than the events located inside, most so where regions are small; see the pulls below "
        "for its errors.",
        "* A map: `penalised`. It is the one map here whose voxels mean something at these "
        "counts; small spheres are pulled towards what surrounds them.",
        "* `rate` is the fastest look; `simple` needs no model of the decays and gives the mean "
        "lifetime; `moment`, `split` and `em` are for high counts and for comparison with "
        "published work.",
        "* `histogram` stays the default of a study: it needs no directions, pairs or scanner, "
        "and its voxels are independent. It is blurred by the time of flight.",
        "",
        "## Known regions",
        "",
        f"Mean bias over {n_seed} acquisitions with its error, the root mean square error, and "
        "the width of the pulls; `inside` fits the events whose most likely point lies inside.",
        "",
    ]
    lines += region_table(heads, stats["regions"], stats["inside"])
    lines += [
        "",
        'The same with the intensities known, `model.intensities = "fixed"` at 60, 10 and 30 %:',
        "",
    ]
    lines += region_table(heads, stats["regions_fixed"], stats["inside_fixed"])
    lines += [
        "",
        "## Maps",
        "",
        "Bias of the mean over a region's voxels [%], spread of that mean between acquisitions "
        "[ns], and root mean square error over voxels [ns], all over the voxels that a method "
        "gives a value. The mean lifetime of `simple` is "
        "compared with the mean over all decays. Seconds are the median of one run with "
        f"{os.environ.get('NUMBA_NUM_THREADS', 'all')} thread(s), beside "
        f"{np.median([float(f['seconds_prepare']) for f in files]):.1f} s for sorting, activity "
        "and calibration; memory is what a method takes beside its data at its height.",
        "",
        row(
            [
                "method",
                "seconds",
                "memory [MB]",
                "share of body's voxels",
                *(f"{n}: bias, spread, RMSE" for n in NAMES),
            ]
        ),
        "|" + "---|" * (4 + len(NAMES)),
    ]
    for method in VOXEL_METHODS:
        s = stats[method]
        cells = [
            f"{number(b, 1, True)}, {number(d, 2)}, {number(e, 2)}"
            for b, d, e in zip(s["bias"], s["spread"], s["rmse"], strict=True)
        ]
        lines.append(
            row(
                [
                    f"`{method}`",
                    f"{s['seconds']:.1f}",
                    f"{memory[method]:.0f}",
                    f"{100 * s['share'][0]:.0f} %",
                    *cells,
                ]
            )
        )
    lines += [
        "",
        f"Over the voxels in which both have a value ({n_both:.0f} in the mean), the RMSE is "
        f"{both[1]:.3f} ns for `penalised` and {both[0]:.3f} ns for independent fits.",
        "",
        "## Figures",
        "",
        "The first acquisition, the slice through the spheres' centres; grey where there is no "
        "value.",
        "",
    ]
    for method in ("mlem", *VOXEL_METHODS, "regions"):
        lines += [f"![{WORDS[method]}](../images/images_{method}.png)", ""]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    CACHE.joinpath("summary.json").write_text(
        json.dumps({m: {k: np.asarray(v).tolist() for k, v in s.items()}
                    for m, s in stats.items()}, indent=1)
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--voxel", type=float, default=4.0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    jobs = [(seed, arguments.voxel) for seed in range(arguments.seeds)]
    if arguments.processes > 1:
        with get_context("spawn").Pool(arguments.processes) as pool:
            paths = pool.map(run_seed, jobs, chunksize=1)
    else:
        paths = [run_seed(job) for job in jobs]
    files = [dict(np.load(path)) for path in paths]
    write_page(files, arguments.voxel)


if __name__ == "__main__":
    main()
