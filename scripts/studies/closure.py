"""Whether the chain closes: simulate with all physics, run, compare with the truth.

Ten acquisitions of a uniform water cylinder with 44Sc on the Vision Quadra, about 10^6 triplets
each, randoms and scatter included, and the same with parts of the physics switched off. Writes
docs/studies/closure.md and its figure. Usage: python scripts/studies/closure.py [--seeds N]
"""

import argparse
from pathlib import Path

import numpy as np
from simulated import measure, scaled

from psimg.core import NUCLIDES, Cylinder
from psimg.events import SelectOptions
from psimg.lifetime import LifetimeModel, fit_spectrum
from psimg.simulate import Acquisition, Physics, find_detector, ps_channels
from psimg.simulate.phantoms import cylinder_phantom
from psimg.spectra import SpectrumOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURE = DOCS / "studies" / "closure.md", DOCS / "images" / "closure.png"

TAU_OPS_NS, SHARE_OPS = 2.0, 0.3
ACTIVITY_MBQ = 20.0
BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=70.0, half_length_mm=75.0)
EDGES_NS = SpectrumOptions(start_ns=-10.0, stop_ns=25.0, step_ns=0.1).edges_ns
SELECT = SelectOptions(
    annihilation_kev=(430.0, 600.0),
    prompt_kev=(700.0, 1300.0),
    pair_window_ns=2.0,
    prompt_window_ns=(-25.0, 40.0),
    delays_ns=(150.0, 220.0, 290.0, 360.0),
    photon_delays_ns=(150.0, -150.0, 220.0, -220.0),
    min_pair_distance_mm=300.0,
)
NOTHING = Physics(
    attenuation=False,
    positron_range=False,
    in_flight=False,
    acollinearity_fwhm_deg=0.0,
    lutetium=False,
    pile_up=False,
)
# What is left out.
CASES = {
    "everything": Physics(),
    "176Lu": Physics(lutetium=False),
    "attenuation and scatter": Physics(attenuation=False),
    "all that can be": NOTHING,
}
BACKGROUNDS = ("four-set", "delayed", "flat")


def acquisition(physics, decays):
    made = Acquisition(
        phantom=cylinder_phantom(
            radius_mm=BODY.radius_mm,
            half_length_mm=BODY.half_length_mm,
            activity_mbq=ACTIVITY_MBQ,
            channels=ps_channels(TAU_OPS_NS, share_ops=SHARE_OPS),
        ),
        isotope=NUCLIDES["Sc-44"],
        detector=find_detector("vision-quadra"),
        duration_s=1.0,
        physics=physics,
    )
    return scaled(made, decays=decays)


def run(physics, decays, seed):
    return measure(
        acquisition(physics, decays),
        select=SELECT,
        regions=[BODY],
        edges_ns=EDGES_NS,
        seed=seed,
        label="closure",
    )


def fit(measured, background):
    return fit_spectrum(
        measured.spectra.counts[0],
        EDGES_NS,
        model=LifetimeModel(background=background),
        delayed=measured.delayed(0),
    )


def row_of(runs, background):
    """Return the line of a case: mean, its error, mean and width of the pulls, deviance."""
    fits = [fit(measured, background) for measured in runs]
    tau = np.array([f.tau_ops_ns for f in fits])
    error = np.array([f.tau_ops_error_ns for f in fits])
    pull = (tau - TAU_OPS_NS) / error
    ops = np.array([f.intensity_ops for f in fits])
    return {
        "tau": tau,
        "error": error,
        "mean": tau.mean(),
        "mean_error": np.sqrt(np.sum(error**2)) / len(tau),
        "pull": pull.mean(),
        "width": pull.std(ddof=1) if len(pull) > 1 else np.nan,
        "ops": ops.mean(),
        "ops_error": np.sqrt(np.sum([f.intensity_ops_error**2 for f in fits])) / len(ops),
        "deviance": np.mean([f.deviance / f.ndf for f in fits]),
        "sigma": np.mean([f.response.sigma_ns for f in fits]),
    }


def draw(rows):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    best = rows["everything", "four-set"]
    seeds = np.arange(1, len(best["tau"]) + 1)
    left.axhline(TAU_OPS_NS, color="#1a1a1a", linewidth=0.9)
    left.axhspan(
        best["mean"] - best["mean_error"],
        best["mean"] + best["mean_error"],
        color="#cfe3f1",
        linewidth=0,
    )
    left.errorbar(
        seeds, best["tau"], yerr=best["error"], fmt="D", color="#0072B2", markersize=4.5,
        linewidth=1.2, capsize=2,
    )  # fmt: skip
    left.set_xticks(seeds)
    left.set_xlabel("acquisition")
    left.set_ylabel("fitted mean life of o-Ps [ns]")
    left.set_title("all physics, four-set background", loc="left", fontsize=10)
    looks = {"four-set": ("#0072B2", "D"), "delayed": ("#E69F00", "s"), "flat": ("#D55E00", "o")}
    names = list(CASES)
    right.axvline(0.0, color="#1a1a1a", linewidth=0.9)
    for shift, (background, (colour, marker)) in zip((0.2, 0.0, -0.2), looks.items(), strict=True):
        y = [len(names) - 1 - i + shift for i in range(len(names))]
        bias = [1e3 * (rows[name, background]["mean"] - TAU_OPS_NS) for name in names]
        error = [1e3 * rows[name, background]["mean_error"] for name in names]
        right.errorbar(
            bias, y, xerr=error, fmt=marker, color=colour, markersize=4.5, linewidth=1.2,
            capsize=2, label=background,
        )  # fmt: skip
    labels = ["nothing" if name == "everything" else name for name in names]
    right.set_yticks(range(len(names)), labels[::-1])
    right.set_title("left out", loc="left", fontsize=10)
    right.set_xlabel("mean of fits minus truth [ps]")
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=160)


_PAGE = """\
# The chain closes

`scripts/studies/closure.py` made this page and its figure. A water cylinder of {diameter:g} mm
diameter and {length:g} mm length, filled uniformly with {activity:g} MBq of 44Sc, o-Ps mean life
{tau} ns and share {share}, in the Vision Quadra of `psimg simulate` with its block readout,
saturated energy scale, pile-up, dead time and 176Lu. Windows {annihilation} and {prompt} keV,
pairs within {pair:g} ns; four delayed windows of each kind; response, intensities (`ps-ratio`) and
lifetime are fitted.

{verdict}

![Fitted lifetimes](../images/closure.png)

## All physics

Mean over {n} acquisitions of {triplets:,} triplets in the cylinder each, {random:.0f} % of them
random, most with a photon of 176Lu: without it there are {without:.0f} %.

| background | mean tau_ops [ns] | bias / its error | mean pull | width of pulls \
| mean intensity_ops | deviance / ndf |
|---|---|---|---|---|---|---|
{all}

## Parts of the physics left out

Acquisitions of about as many triplets: {n_case} for each line but the first.

| left out | true triplets per decay | randoms [%] | four-set [ns] | delayed [ns] | flat [ns] \
| sigma of dt [ps] | deviance / ndf |
|---|---|---|---|---|---|---|---|
{cases}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--case-seeds", type=int, default=2)
    parser.add_argument("--triplets", type=float, default=1e6)
    arguments = parser.parse_args()
    runs = {}
    for name, physics in CASES.items():
        pilot = run(physics, 3e5, 0)
        n_decay = 3e5 * arguments.triplets / pilot.spectra.counts[0].sum()
        n_seed = arguments.seeds if name == "everything" else arguments.case_seeds
        runs[name] = []
        for seed in range(1, n_seed + 1):
            runs[name].append(run(physics, round(n_decay, -5), seed))
            print(name, seed, runs[name][-1].counts, flush=True)
    rows = {(c, b): row_of(runs[c], b) for c in CASES for b in BACKGROUNDS}
    draw(rows)
    PAGE.write_text(page(runs, rows))


def page(runs, rows):
    best = rows["everything", "four-set"]
    bias = (best["mean"] - TAU_OPS_NS) / best["mean_error"]
    closes = abs(bias) < 2.0 and abs(best["width"] - 1.0) < 0.25
    truth = {c: np.sum([m.truth[0].sum(axis=1) for m in some], axis=0) for c, some in runs.items()}
    decays = {c: sum(m.counts["n_decays"] for m in some) for c, some in runs.items()}
    share = {c: 100.0 * (1.0 - t[0] / t.sum()) for c, t in truth.items()}
    lines = []
    for background in BACKGROUNDS:
        row = rows["everything", background]
        lines.append(
            f"| {background} | {row['mean']:.4f} ± {row['mean_error']:.4f} "
            f"| {(row['mean'] - TAU_OPS_NS) / row['mean_error']:+.1f} | {row['pull']:+.2f} "
            f"| {row['width']:.2f} | {row['ops']:.4f} ± {row['ops_error']:.4f} "
            f"| {row['deviance']:.2f} |"
        )
    cases = []
    for name in CASES:
        values = [
            f"{rows[name, b]['mean']:.3f} ± {rows[name, b]['mean_error']:.3f}" for b in BACKGROUNDS
        ]
        row = rows[name, "four-set"]
        cases.append(
            f"| {'nothing' if name == 'everything' else name} "
            f"| {truth[name][0] / decays[name]:.4f} | {share[name]:.1f} | {' | '.join(values)} "
            f"| {1e3 * row['sigma']:.1f} | {row['deviance']:.2f} |"
        )
    return _PAGE.format(
        activity=ACTIVITY_MBQ,
        diameter=2 * BODY.radius_mm,
        length=2 * BODY.half_length_mm,
        tau=TAU_OPS_NS,
        share=SHARE_OPS,
        annihilation="{:g} to {:g}".format(*SELECT.annihilation_kev),
        prompt="{:g} to {:g}".format(*SELECT.prompt_kev),
        pair=SELECT.pair_window_ns,
        verdict=(
            f"The four-set background gives {best['mean']:.4f} ± {best['mean_error']:.4f} ns for "
            f"{TAU_OPS_NS} ns, {abs(bias):.1f} of its errors away; the pulls of "
            f"{len(best['tau'])} acquisitions have a width of {best['width']:.2f}. "
            + ("It closes." if closes else "It does not close.")
        ),
        n=len(runs["everything"]),
        n_case=len(runs["all that can be"]),
        triplets=round(truth["everything"].sum() / len(runs["everything"])),
        random=share["everything"],
        without=share["176Lu"],
        all="\n".join(lines),
        cases="\n".join(cases),
    )


if __name__ == "__main__":
    main()
