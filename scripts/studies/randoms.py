"""What randoms do to a lifetime, and what each background makes of them, against known truth.

A body-sized phantom of one lifetime is simulated at three activities, with overlapping decays, and
fitted with the backgrounds ``flat``, ``delayed`` and ``four-set``. Writes docs/studies/randoms.md
and its figure. Usage: python scripts/studies/randoms.py [--cache FOLDER] [--processes N]
"""

import argparse
import multiprocessing
from pathlib import Path

import numpy as np

from psimg.core import SCANNERS, Cylinder
from psimg.events import (
    SelectOptions,
    cut_triplets,
    find_triplets,
    locate_triplets,
    with_last,
)
from psimg.lifetime import LifetimeModel, fit_spectrum
from psimg.simulate.toy import simulate_singles
from psimg.simulate.toy_phantom import Phantom, Source
from psimg.spectra import (
    DelayedSpectrum,
    LifetimeSpectra,
    SpectrumOptions,
    bin_regions,
    estimate_classes,
    estimate_random_spectrum,
    measure_shape,
)

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURE = DOCS / "studies" / "randoms.md", DOCS / "images" / "randoms_bias.png"

BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=200.0, half_length_mm=400.0)
TAU_OPS_NS = 2.0
SCANNER = SCANNERS["vision-quadra"]
PAIR_WINDOWS_NS = (1.0, 4.7)
EDGES_NS = SpectrumOptions().edges_ns
# Activity [MBq], decays that make about a million triplets in the wider pair window, and seeds
# enough for an error of the mean of 0.5 %.
RUNS = ((3.3, 23_200_000, 4), (12.5, 18_200_000, 4), (42.3, 10_600_000, 8))
BACKGROUNDS = ("flat", "delayed", "four-set")


def select_options(pair_window_ns):
    return SelectOptions(
        pair_window_ns=pair_window_ns,
        prompt_window_ns=(-25.0, 40.0),
        delays_ns=(150.0, 220.0, 290.0, 360.0),
        photon_delays_ns=(150.0, -150.0, 220.0, -220.0),
    )


def simulate(job):
    """Return the spectra of one acquisition for each pair window, as plain arrays."""
    activity_mbq, n_decays, seed = job
    phantom = Phantom(sources=(Source(region=BODY, activity_share=1.0, tau_ops_ns=TAU_OPS_NS),))
    chunks = simulate_singles(
        phantom,
        scanner=SCANNER,
        activity_mbq=activity_mbq,
        duration_s=n_decays / (activity_mbq * 1e6),
        rng=np.random.default_rng([seed, round(10 * activity_mbq)]),
    )
    carry = dict.fromkeys(PAIR_WINDOWS_NS)
    arrays = {}
    for singles, last in with_last(chunks):
        for pair_window in PAIR_WINDOWS_NS:
            options = select_options(pair_window)
            found = find_triplets(singles, options=options, carry=carry[pair_window], last=last)
            carry[pair_window] = found.carry
            triplets = cut_triplets(found.triplets, options=options).triplets
            events = locate_triplets(triplets)
            spectra = bin_regions(
                events, regions=[BODY], edges_ns=EDGES_NS, windows=options.windows
            )
            inside = BODY.contains(events.position_mm) & (events.window == 0)
            truth = [
                np.histogram(events.dt_ns[inside & (events.origin == k)], EDGES_NS)[0]
                for k in range(4)
            ]
            for name, value in (
                ("counts", spectra.counts[0]),
                ("delayed", spectra.delayed[0]),
                ("truth", np.array(truth)),
            ):
                key = f"{name}_{pair_window:g}"
                arrays[key] = arrays.get(key, 0) + value.astype(np.int64)
    return arrays


def simulate_all(cache, n_process):
    """Simulate what the cache does not hold; return results by activity."""
    jobs = [(a, n, seed) for a, n, n_seed in RUNS for seed in range(n_seed)]
    paths = {job: cache / f"randoms_{job[0]:g}_{job[1]}_{job[2]}.npz" for job in jobs}
    missing = [job for job in jobs if not paths[job].exists()]
    with multiprocessing.get_context("spawn").Pool(n_process) as pool:
        for job, arrays in zip(missing, pool.imap(simulate, missing), strict=True):
            np.savez(paths[job], **arrays)
            print("simulated", *job, flush=True)
    return {a: [dict(np.load(paths[job])) for job in jobs if job[0] == a] for a, _, _ in RUNS}


def spectra_of(arrays, pair_window):
    n_delay = len(select_options(pair_window).delays_ns)
    n_photon = len(select_options(pair_window).photon_delays_ns)
    counts = arrays[f"counts_{pair_window:g}"][None]
    return LifetimeSpectra(
        edges_ns=EDGES_NS,
        counts=counts,
        delayed=arrays[f"delayed_{pair_window:g}"][None],
        n_sets=(n_delay, n_photon, n_photon),
        n_events=int(counts.sum()),
        n_outside=0,
        n_outside_dt=0,
        names=("body",),
    )


def measure(arrays, pair_window):
    """Return class estimates against truth, and the lifetime of each background."""
    spectra = spectra_of(arrays, pair_window)
    truth = arrays[f"truth_{pair_window:g}"]
    shape = measure_shape(spectra.delayed[0, 0], EDGES_NS)
    delayed = DelayedSpectrum.of(spectra, 0, shape=shape.shares)
    classes = estimate_classes(spectra.delayed[0].sum(axis=1), spectra.n_sets)
    randoms, variance = estimate_random_spectrum(spectra, 0)
    true_randoms = truth[1:].sum(axis=0)
    fits = {
        background: fit_spectrum(
            spectra.counts[0],
            EDGES_NS,
            model=LifetimeModel(background=background),
            delayed=delayed,
        )
        for background in BACKGROUNDS
    }
    true_only = fit_spectrum(truth[0].astype(float), EDGES_NS, model=LifetimeModel())
    numbers = truth.sum(axis=1)
    return {
        "n": numbers,
        "estimate": np.array([classes.class_1, classes.class_2, classes.class_3]),
        "error": np.array([classes.class_1_error, classes.class_2_error, classes.class_3_error]),
        # The truth is one draw from what the windows estimate the mean of.
        "chi2": float(((randoms - true_randoms) ** 2 / (variance + true_randoms)).sum()),
        "tau": {b: (f.tau_ops_ns, f.tau_ops_error_ns) for b, f in fits.items()},
        "true_only": (true_only.tau_ops_ns, true_only.tau_ops_error_ns),
        "deviance": {b: (f.deviance, f.ndf) for b, f in fits.items()},
    }


def mean_of(results, background):
    """Return mean lifetime, its error from the spread, the mean stated error, and pulls' width."""
    tau = np.array(
        [r["true_only"] if background == "true" else r["tau"][background] for r in results]
    )
    mean = tau[:, 0].mean()
    stated = np.sqrt(np.mean(tau[:, 1] ** 2))
    return mean, stated / np.sqrt(len(tau)), tau[:, 0].std(ddof=1), stated


def draw(table):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    panels = figure.subplots(1, len(PAIR_WINDOWS_NS), sharey=True)
    looks = {
        "flat": ("#D55E00", "o"), "delayed": ("#E69F00", "s"), "four-set": ("#0072B2", "D"),
        "true": ("#6e6e6e", "^"),
    }  # fmt: skip
    words = {"true": "true triplets alone"}
    for axes, pair_window in zip(panels, PAIR_WINDOWS_NS, strict=True):
        axes.axhline(TAU_OPS_NS, color="#1a1a1a", linewidth=0.9)
        axes.axhspan(0.995 * TAU_OPS_NS, 1.005 * TAU_OPS_NS, color="#ececec", linewidth=0)
        for shift, (background, (colour, marker)) in zip(
            (-1.2, -0.4, 0.4, 1.2), looks.items(), strict=True
        ):
            rows = [row for row in table if row["pair_window"] == pair_window]
            x = [100 * row["random_share"] + shift for row in rows]
            y = [row[background][0] for row in rows]
            axes.errorbar(
                x, y, yerr=[row[background][1] for row in rows], fmt=marker, color=colour,
                markersize=5, linewidth=1.2, capsize=2, label=words.get(background, background),
            )  # fmt: skip
        axes.set_title(f"pair window {pair_window:g} ns", loc="left", fontsize=10.5)
        axes.set_xlabel("random triplets [% of all]")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("fitted mean life of o-Ps [ns]")
    panels[0].legend(frameon=False, fontsize=9.5, loc="lower left")
    figure.savefig(FIGURE, dpi=160)


_PAGE = """\
# Random triplets and the lifetime

`scripts/studies/randoms.py` made this page and its figure. A cylinder of 400 mm diameter and 800 mm
length, uniformly filled, o-Ps mean life {tau} ns everywhere, is simulated in a ring of Vision
Quadra size (the toy acquisition: overlapping decays, no scatter) at three activities. Triplets are
kept where they are located in the cylinder. Four delayed windows of each kind; response and
intensities are fitted (`ps-ratio`).

## Lifetimes

Mean over seeds and its error from the fits' own errors. The grey band of the figure is ± 0.5 %.

![Fitted lifetime against the share of randoms](../images/randoms_bias.png)

| pair window [ns] | activity [MBq] | randoms [%] | class II [% of true] | seeds \
| triplets each | flat | delayed | four-set | true triplets alone |
|---|---|---|---|---|---|---|---|---|---|
{lifetimes}

Bias in its own errors, and the spread over seeds against the error that the fits state:

| pair window [ns] | randoms [%] | flat | delayed | four-set \
| spread / stated error of `four-set` | deviance / ndf of `four-set` |
|---|---|---|---|---|---|---|
{biases}

`flat` and `delayed` leave class II out: its prompt shares a decay with one of its photons, so that
it piles up near dt = 0 where no flat background goes. `four-set` measures it.

## Each class against its true number

Sums over the seeds: true number, and estimate ± error. The error is that of the delayed windows'
counts as if they were independent; windows share photons, so that the scatter of classes II and III
is some 10 to 30 % larger. The pull adds the Poisson error of the true number. Chi-square of the
estimated spectrum of all randoms against the true one, per bin and averaged over seeds.

| pair window [ns] | randoms [%] | class I | pull | class II | pull | class III | pull \
| chi² / bins |
|---|---|---|---|---|---|---|---|---|
{classes}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("build/randoms"))
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    by_activity = simulate_all(arguments.cache, arguments.processes)
    table, lifetimes, biases, classes = [], [], [], []
    for pair_window in PAIR_WINDOWS_NS:
        for activity, runs in by_activity.items():
            results = [measure(arrays, pair_window) for arrays in runs]
            n = sum(r["n"] for r in results)
            row = {"pair_window": pair_window, "random_share": 1 - n[0] / n.sum()}
            row |= {b: mean_of(results, b) for b in (*BACKGROUNDS, "true")}
            table.append(row)
            share = f"{100 * row['random_share']:.1f}"
            values = [f"{row[b][0]:.3f} ± {row[b][1]:.3f}" for b in (*BACKGROUNDS, "true")]
            lifetimes.append(
                f"| {pair_window:g} | {activity:g} | {share} | {100 * n[2] / n[0]:.1f} "
                f"| {len(runs)} | {n.sum() / len(runs):,.0f} | {' | '.join(values)} |"
            )
            pulls = [f"{(row[b][0] - TAU_OPS_NS) / row[b][1]:+.1f}" for b in BACKGROUNDS]
            deviance = sum(r["deviance"]["four-set"][0] for r in results)
            ndf = sum(r["deviance"]["four-set"][1] for r in results)
            biases.append(
                f"| {pair_window:g} | {share} | {' | '.join(pulls)} "
                f"| {row['four-set'][2] / row['four-set'][3]:.2f} | {deviance / ndf:.3f} |"
            )
            cells = []
            for k in range(3):
                estimate = sum(r["estimate"][k] for r in results)
                error = np.sqrt(sum(r["error"][k] ** 2 for r in results))
                pull = (estimate - n[k + 1]) / np.hypot(error, np.sqrt(n[k + 1]))
                cells.append(f"{n[k + 1]:,} / {estimate:,.0f} ± {error:,.0f} | {pull:+.1f}")
            chi2 = np.mean([r["chi2"] for r in results]) / (len(EDGES_NS) - 1)
            classes.append(f"| {pair_window:g} | {share} | {' | '.join(cells)} | {chi2:.2f} |")
    draw(table)
    PAGE.write_text(
        _PAGE.format(
            tau=TAU_OPS_NS,
            lifetimes="\n".join(lifetimes),
            biases="\n".join(biases),
            classes="\n".join(classes),
        )
    )


if __name__ == "__main__":
    main()
