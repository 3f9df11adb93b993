"""44Sc in the NEMA image-quality phantom on the Vision Quadra, beside arXiv:2506.13460.

Simulates the acquisition with all physics, works out which error of tau_ops a sphere or a voxel
allows, and which scan makes it the published one. Writes docs/studies/sc44_nema_quadra.md and its
figures. Usage: python scripts/studies/sc44_nema_quadra.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from nema import (
    ACTIVITY_MBQ,
    EDGES_NS,
    OTHER_TAU_NS,
    SPHERES,
    TAU_OPS_NS,
    concentrations,
    volumes_ml,
)
from nema_expect import (
    CENTRES_NS,
    N_SETS,
    RULES,
    bound,
    calibrated,
    expected_of,
    model_of,
    seconds_for,
    shapes_of,
    stated,
    toys,
    write_page,
)
from nema_runs import QUADRA_SELECT, quadra_runs

from psimg.lifetime import Response, fit_spectrum
from psimg.spectra import DelayedSpectrum

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "studies" / "sc44_nema_quadra.md"
SCANS, SPECTRUM = (DOCS / "images" / f"sc44_nema_quadra_{x}.png" for x in ("scans", "spectrum"))

# Of arXiv:2506.13460, abstract: tau_ops and its error [ns].
PUBLISHED = {
    "sphere_10mm": (2.65, 0.50),
    "sphere_13mm": (1.39, 0.20),
    "sphere_17mm": (1.76, 0.18),
    "voxel": (1.79, 0.57),
}
WORDS = {"voxel": "4 mm voxel"} | {s: f"{s[7:-2]} mm sphere" for s in SPHERES}
CONTRASTS = (1.0, 4.0, 8.0)
ASSUMED_S = 1800.0
"""The scan of the absolute comparison; the published one is not known to us."""
FLAT_NS = -2.7
N_TOY = 1000
COLOURS = {1.0: "#0072B2", 4.0: "#E69F00", 8.0: "#D55E00"}
MARKERS = {1.0: "o", 4.0: "s", 8.0: "D"}


def filling(contrast):
    return "uniform" if contrast == 1 else f"{contrast:g}:1"


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def asimov(expected, shapes, response, seconds, background):
    """Return tau_ops fitted to the expectation itself."""
    counts = expected.spectrum(shapes, seconds)
    unrelated = expected.unrelated(shapes, seconds)
    zero = np.zeros(len(counts))
    delayed = DelayedSpectrum(
        prompt=N_SETS * unrelated, photon=zero, both=zero, n_sets=(N_SETS, 0, 0),
        shape=unrelated / unrelated.sum(),
    )  # fmt: skip
    randoms = counts - seconds * expected.true * shapes.true
    return fit_spectrum(
        counts,
        EDGES_NS,
        model=model_of("ps-ratio", response, background),
        delayed=delayed if background == "delayed" else None,
        template=randoms if background == "template" else None,
    )


def mixed(shapes, longer, own, response):
    """Return what the fit makes of a sphere whose o-Ps lives longer than around it."""
    spectrum = (1.0 - own) * shapes.true + own * longer
    fit = fit_spectrum(1e7 * spectrum, EDGES_NS, model=model_of("ps-ratio", response))
    return fit.tau_ops_ns


def class_row(run, region, name):
    counts = run.origin[run.row(region)].sum(axis=1)
    total = counts.sum()
    shares = [f"{100 * c / total:.1f}" for c in counts]
    error = 100 * np.sqrt(counts[0] * (total - counts[0]) / total**3)
    digits = 1 if error > 0.1 else 2
    true = f"{100 * counts[0] / total:.{digits}f} ± {error:.{digits}f}"
    lutetium = 100 * run.with_lutetium[run.row(region)] / max(counts[1:].sum(), 1)
    return [
        name, f"{total / run.counts['seconds']:,.0f}", true, *shares[1:],
        f"{100 * counts[2] / counts[0]:.1f}", f"{lutetium:.1f}",
    ]  # fmt: skip


def random_share(run):
    return f"{100 * (1 - run.true('body') / run.origin[0].sum()):.0f}"


def lutetium_share(run):
    return f"{100 * run.with_lutetium[0] / run.origin[0, 1:].sum():.0f}"


def scatter_row(run, region, name):
    n = run.scatter[run.row(region)]
    return [name, f"{n.sum():,.0f}"] + [f"{100 * k / n.sum():.1f}" for k in n]


def flat_rate(run, shapes, expected):
    """Return randoms and what else is at dt below FLAT_NS, per ns and second."""
    early = EDGES_NS[1:] <= FLAT_NS + 1e-9
    width = np.diff(EDGES_NS)[early].sum()
    return expected.spectrum(shapes, 1.0)[early].sum() / width


def figure_scans(needed):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for c in CONTRASTS:
        shift = 0.22 * (CONTRASTS.index(c) - 1)
        for axes, rule in ((left, "ps-ratio"), (right, "free")):
            x = np.arange(len(PUBLISHED)) + shift
            y = np.array([needed[c, rule, name] for name in PUBLISHED])
            # A stated error is uncertain by about as much as a tenth: its square by two.
            axes.errorbar(
                x, y, yerr=[0.2 * y, 0.2 * y], fmt=MARKERS[c], color=COLOURS[c], markersize=6,
                capsize=3, linewidth=1.2, label=f"{filling(c)} filling" if c == 1 else
                f"{filling(c)}, spheres to body",
            )  # fmt: skip
            mean = np.exp(np.mean(np.log(y)))
            axes.plot([-0.4, 3.4], [mean, mean], color=COLOURS[c], linewidth=0.9, linestyle=":")
    for axes, letter, rule in ((left, "a", "p-Ps a third of o-Ps"), (right, "b", "all free")):
        axes.set_yscale("log")
        axes.set_xticks(
            range(len(PUBLISHED)),
            ["10 mm\nsphere", "13 mm\nsphere", "17 mm\nsphere", "voxel in\n37 mm sphere"],
        )
        axes.set_title(f"{letter}   intensities: {rule}", loc="left", fontsize=10.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(-0.5, 3.5)
    low = min(needed.values()) * 0.6
    high = max(needed.values()) * 1.6
    ticks = [t for t in (20, 50, 100, 200, 500, 1000) if low < t < high]
    for axes in (left, right):
        axes.set_ylim(low, high)
        axes.set_yticks(ticks, [f"{t}" for t in ticks])
    left.set_ylabel("scan that gives the published error [s]")
    left.legend(frameon=False, fontsize=9)
    figure.savefig(SCANS, dpi=160)


def figure_spectrum(expected, shapes, response, seconds):
    from matplotlib.figure import Figure

    rng = np.random.default_rng(17)
    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    for axes, name, letter in zip(
        figure.subplots(1, 2), ("sphere_17mm", "voxel"), "ab", strict=True
    ):
        one = expected[name]
        counts = rng.poisson(one.spectrum(shapes, seconds)).astype(float)
        fit = fit_spectrum(counts, EDGES_NS, model=model_of("ps-ratio", response))
        bins = 2
        x = CENTRES_NS.reshape(-1, bins).mean(axis=1)
        y = counts.reshape(-1, bins).sum(axis=1)
        parts = fit.expected.reshape(len(fit.expected), -1, bins).sum(axis=2)
        axes.errorbar(
            x, y, yerr=np.sqrt(y), fmt=".", color="#6e6e6e", markersize=3, linewidth=0.6,
            label="simulated counts",
        )  # fmt: skip
        axes.plot(x, parts.sum(axis=0), color="#1a1a1a", linewidth=1.3, label="fit")
        looks = (
            ("p-Ps", "#56B4E9", ":"), ("direct", "#E69F00", "-."), ("o-Ps", "#D55E00", "-"),
            ("randoms", "#0072B2", "--"),
        )  # fmt: skip
        for part, (word, colour, style) in zip(parts, looks, strict=True):
            axes.plot(x, part, color=colour, linestyle=style, linewidth=1.3, label=word)
        axes.set_yscale("log")
        axes.set_ylim(max(0.3, 0.02 * y.max() * 0.05), 3.0 * y.max())
        axes.set_xlim(-6, 12)
        axes.set_xlabel("dt [ns]")
        axes.set_title(
            f"{letter}   {WORDS[name]}: {fit.tau_ops_ns:.2f} ± {fit.tau_ops_error_ns:.2f} ns",
            loc="left", fontsize=10.5,
        )  # fmt: skip
        axes.spines[["top", "right"]].set_visible(False)
        if letter == "a":
            axes.set_ylabel("triplets per 0.2 ns")
            axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    figure.savefig(SPECTRUM, dpi=160)


def geometric(values):
    values = np.log(np.array(values))
    return np.exp(values.mean()), np.exp(values.std(ddof=1))


def main():
    runs = quadra_runs()
    uniform, spheres, hot = runs["uniform"], runs["spheres"], runs["hot"]
    shapes = shapes_of(uniform)
    calibration = calibrated(uniform)
    response = Response(mu_ns=calibration.value("mu_ns"), sigma_ns=calibration.value("sigma_ns"))
    expected = {c: expected_of(uniform, spheres, runs["a tenth"], c) for c in CONTRASTS}

    # The scan whose bound is the published error, at the water value and at the value found.
    needed, needed_found = {}, {}
    for c in CONTRASTS:
        for rule in RULES:
            for name, (tau, error) in PUBLISHED.items():
                of = (expected[c][name], rule, response, error)
                needed[c, rule, name] = seconds_for(*of)
                needed_found[c, rule, name] = seconds_for(*of, tau=tau)
    means = {
        (c, rule, which): geometric([many[c, rule, name] for name in PUBLISHED])
        for c in CONTRASTS
        for rule in RULES
        for which, many in (("water", needed), ("found", needed_found))
    }
    scan_rows = []
    for c in CONTRASTS:
        for rule in RULES:
            for which, many in (("water", needed), ("found", needed_found)):
                mean, spread = means[c, rule, which]
                scan_rows.append(
                    [filling(c), f"`{rule}`", "1.83 ns" if which == "water" else "as published"]
                    + [f"{many[c, rule, name]:,.0f}" for name in PUBLISHED]
                    + [f"{mean:,.0f}", f"{np.sqrt(spread):.2f}"]
                )

    # Absolute errors in the assumed scan, and in the one that fits best.
    error_rows, toy_rows, toy_ratios = [], [], []
    for c in CONTRASTS:
        fitting = means[c, "ps-ratio", "found"][0]
        for name, (tau, error) in PUBLISHED.items():
            one = expected[c][name]
            at = [bound(one, "ps-ratio", response, ASSUMED_S, tau=t) for t in (None, tau)]
            best = bound(one, "ps-ratio", response, fitting, tau=tau)
            events = one.total * seconds_for(one, "ps-ratio", response, error, tau=tau)
            error_rows.append([
                filling(c), WORDS[name], f"{one.true:.2f} ± {100 * one.error:.0f} %",
                f"{100 * one.randoms:.0f}", f"{100 * one.own:.0f}",
                f"{tau} ± {error:.2f}", f"{best:.2f}", f"{best / error:.2f}",
                f"{at[0]:.3f}", f"{at[1]:.3f}", f"{error / at[1]:.1f}", f"{events:,.0f}",
            ])  # fmt: skip
        for name in PUBLISHED:
            one = expected[c][name]
            cells = []
            for seconds in (fitting, ASSUMED_S):
                cells.append(f"{bound(one, 'ps-ratio', response, seconds):.3f}")
                for rule, background in (
                    ("ps-ratio", "flat"), ("ps-ratio", "delayed"), ("fixed", "flat"),
                ):  # fmt: skip
                    middle, spread, fitted = toys(
                        one, shapes, response, seconds, rule=rule, background=background,
                        n=N_TOY, seed=44,
                    )  # fmt: skip
                    if (rule, background) == ("ps-ratio", "flat") and name != "voxel":
                        toy_ratios.append(spread / bound(one, rule, response, seconds))
                    cells.append(
                        f"{middle:.2f} ± {spread:.3f}" + (
                            "" if fitted > 0.995 else f" ({100 * fitted:.0f} %)")
                    )  # fmt: skip
            toy_rows.append([filling(c), WORDS[name], *cells])

    # How much the error that a fit states depends on its luck.
    stated_rows = []
    for c in CONTRASTS:
        cells = []
        for name, (tau, error) in PUBLISHED.items():
            found = stated(
                expected[c][name], shapes, response, means[c, "ps-ratio", "found"][0], tau,
                n=5000, seed=45,
            )  # fmt: skip
            words = "too few"
            if found is not None:
                words = f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"
            cells.append(f"{words} | {error:.2f}")
        stated_rows.append([filling(c), f"{means[c, 'ps-ratio', 'found'][0]:.0f}", *cells])

    # Scaling with the scan.
    scans = (30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
    names = (*SPHERES, "voxel")
    scaling_rows = [
        [filling(c), WORDS[n]]
        + [f"{bound(expected[c][n], 'ps-ratio', response, t):.3f}" for t in scans]
        for c in CONTRASTS
        for n in names
    ]

    # The flat region.
    flat_rows, flat_time = [], {}
    for c in CONTRASTS:
        rate = flat_rate(uniform, shapes, expected[c]["voxel"])
        flat_time[c] = 25.0 / (0.1 * rate)
        flat_rows.append(
            [filling(c), f"{rate:.4f}"]
            + [f"{100 / np.sqrt(rate * 0.1 * t):.0f}" for t in scans]
            + [f"{25.0 / (w * rate) / 60:.0f}" for w in (0.05, 0.1, 0.2)]
        )

    # Bias by class II, from the expectation itself.
    bias_rows = []
    for c in CONTRASTS:
        for name in ("sphere_17mm", "sphere_37mm"):
            one = expected[c][name]
            fits = [
                asimov(one, shapes, response, ASSUMED_S, b) for b in ("flat", "delayed", "template")
            ]
            bias_rows.append(
                [filling(c), WORDS[name], f"{100 * one.classes[1] / one.true:.1f}"]
                + [f"{f.tau_ops_ns:.3f}" for f in fits]
            )

    # What a sphere with another lifetime looks like.
    longer = spheres.longer[[spheres.row(n) for n in SPHERES]].sum(axis=0)
    pure_error = fit_spectrum(
        longer, EDGES_NS, model=model_of("ps-ratio", response)
    ).tau_ops_error_ns
    longer = longer / longer.sum()
    true_only = shapes.true
    base = fit_spectrum(1e7 * true_only, EDGES_NS, model=model_of("ps-ratio", response)).tau_ops_ns
    pure = mixed(shapes, longer, 1.0, response)
    mixing_rows = []
    for c in CONTRASTS:
        cells = []
        for name in names:
            one = expected[c][name]
            cells.append(f"{100 * one.own:.0f} % | {mixed(shapes, longer, one.own, response):.2f}")
        mixing_rows.append([filling(c), *cells])

    # The random classes, and scatter.
    class_rows = [class_row(uniform, "body", "body, uniform")]
    class_rows += [class_row(uniform, n, WORDS[n] + ", uniform") for n in SPHERES]
    class_rows.append(class_row(hot, "body", "body, 8:1"))
    class_rows += [class_row(hot, n, WORDS[n] + ", 8:1") for n in SPHERES]
    change_rows = [
        class_row(runs[name], "body", word)
        for name, word in (
            ("uniform", f"{ACTIVITY_MBQ} MBq"),
            ("no lutetium", f"{ACTIVITY_MBQ} MBq, without 176Lu"),
            ("a tenth", f"{ACTIVITY_MBQ / 10:.2f} MBq"),
        )
    ]
    rate_rows = [
        [
            word, f"{1e-6 * r.counts['n_singles'] / r.counts['seconds']:.1f}",
            f"{1e-6 * r.counts['n_annihilation'] / r.counts['seconds']:.1f}",
            f"{1e-6 * r.counts['n_prompt'] / r.counts['seconds']:.1f}",
            f"{1e3 * r.true('body') / r.counts['n_decays']:.2f}",
        ]
        for word, r in (
            (f"{ACTIVITY_MBQ} MBq", uniform),
            (f"{ACTIVITY_MBQ} MBq, without 176Lu", runs["no lutetium"]),
            (f"{ACTIVITY_MBQ / 10:.2f} MBq", runs["a tenth"]),
        )
    ]  # fmt: skip
    scatter_rows = [scatter_row(uniform, "body", "body")]
    scatter_rows.append(scatter_row(uniform, "sphere_37mm", "37 mm sphere"))
    check_rows = []
    for name in SPHERES:
        direct = hot.true(name)
        want = expected[8.0][name].true * hot.counts["seconds"]
        check_rows.append([
            WORDS[name], f"{direct:.0f}", f"{want:.0f}",
            f"{(direct - want) / np.sqrt(want + (want * expected[8.0][name].error) ** 2):+.1f}",
        ])  # fmt: skip

    figure_scans({k: v for k, v in needed_found.items() if k[1] != "fixed"})
    figure_spectrum(expected[1.0], shapes, response, means[1.0, "ps-ratio", "found"][0])

    mean, spread = means[1.0, "ps-ratio", "found"]
    hotter = means[8.0, "ps-ratio", "found"]
    body, _ = concentrations(1.0)
    true_rate = uniform.true("body") / uniform.counts["seconds"]
    scans_found = [needed_found[1.0, "ps-ratio", n] for n in PUBLISHED]
    worst = max(max(t / mean, mean / t) for t in scans_found)
    # As many true triplets with more randoms.
    hot_17 = expected[8.0]["sphere_17mm"]
    crowded = replace(hot_17, classes=hot_17.classes * 9.0 * hot_17.true / hot_17.classes.sum())
    crowding = seconds_for(crowded, "ps-ratio", response, 0.18) / seconds_for(
        hot_17, "ps-ratio", response, 0.18
    )
    ratios = [
        error / bound(expected[c][n], "ps-ratio", response, ASSUMED_S, tau=tau)
        for c in CONTRASTS
        for n, (tau, error) in PUBLISHED.items()
    ]
    prompts = {k: r.counts["n_prompt"] / r.counts["seconds"] for k, r in runs.items()}
    lutetium_prompts = (prompts["uniform"] - prompts["no lutetium"]) / (
        uniform.counts["n_lutetium"] / uniform.counts["seconds"]
    )
    direct = np.array([hot.true(n) for n in SPHERES])
    want = np.array([expected[8.0][n].true for n in SPHERES]) * hot.counts["seconds"]
    spread_all = np.hypot(np.sqrt(want.sum()), 0.02 * want.sum())
    events_8 = [expected[8.0][n].total * needed_found[8.0, "ps-ratio", n] for n in PUBLISHED]
    two = [PUBLISHED[n] for n in ("sphere_10mm", "sphere_13mm")]
    n_lut = uniform.counts["n_lutetium"] / uniform.counts["seconds"]
    write_page(
        PAGE,
        _PAGE.format(
            activity=ACTIVITY_MBQ,
            volume=f"{1e-3 * volumes_ml().sum():.2f}",
            kbq=f"{1e3 * body:.2f}",
            tau=TAU_OPS_NS,
            other=OTHER_TAU_NS,
            pair=QUADRA_SELECT.pair_window_ns,
            lutetium=f"{1e-6 * n_lut:.1f}",
            seconds=uniform.counts["seconds"],
            mu=f"{1e3 * response.mu_ns:.1f}",
            sigma=f"{1e3 * response.sigma_ns:.1f}",
            sensitivity=f"{1e-3 * true_rate / ACTIVITY_MBQ:.2f}",
            random_share=random_share(uniform),
            mean=f"{mean:.0f}",
            spread=f"{np.sqrt(spread):.2f}",
            worst=f"{np.sqrt(worst):.2f}",
            hot_mean=f"{hotter[0]:.0f}",
            hot_spread=f"{np.sqrt(hotter[1]):.2f}",
            assumed=f"{ASSUMED_S / 60:.0f}",
            ratio=f"{np.sqrt(ASSUMED_S / mean):.1f}",
            hot_ratio=f"{np.sqrt(ASSUMED_S / hotter[0]):.1f}",
            flat_uniform=f"{flat_time[1.0] / 60:.0f}",
            flat_hot=f"{flat_time[8.0] / 60:.0f}",
            four_mean=f"{means[4.0, 'ps-ratio', 'found'][0]:.0f}",
            four_spread=f"{np.sqrt(means[4.0, 'ps-ratio', 'found'][1]):.2f}",
            crowding=f"{crowding:.1f}",
            hot_share=f"{100 * hot_17.randoms:.0f}",
            least_ratio=f"{min(ratios):.1f}",
            most_ratio=f"{max(ratios):.1f}",
            share_without=random_share(runs["no lutetium"]),
            share_tenth=random_share(runs["a tenth"]),
            lutetium_randoms=lutetium_share(uniform),
            tenth_lutetium=lutetium_share(runs["a tenth"]),
            rules=f"{means[8.0, 'free', 'found'][0] / means[8.0, 'fixed', 'found'][0]:.1f}",
            events=", ".join(f"{round(n, -2):,.0f}" for n in events_8),
            pulls=" and ".join(f"{abs(t - TAU_OPS_NS) / e:.1f}" for t, e in two),
            toy_low=f"{min(toy_ratios):.2f}",
            toy_high=f"{max(toy_ratios):.2f}",
            lutetium_prompts=f"{100 * lutetium_prompts:.0f}",
            own_uniform=f"{100 * expected[1.0]['sphere_10mm'].own:.0f}",
            own_hot=f"{100 * expected[8.0]['sphere_10mm'].own:.0f}",
            tau_small=f"{mixed(shapes, longer, expected[8.0]['sphere_10mm'].own, response):.2f}",
            tau_large=f"{mixed(shapes, longer, expected[8.0]['sphere_37mm'].own, response):.2f}",
            direct=f"{direct.sum():,.0f}",
            want=f"{want.sum():,.0f}",
            all_pull=f"{(direct.sum() - want.sum()) / spread_all:+.1f}",
            flat_hot_at=f"{100 / np.sqrt(25.0 * hotter[0] / flat_time[8.0]):.0f}",
            flat_at_mean=f"{100 / np.sqrt(0.1 * mean * 25.0 / (0.1 * flat_time[1.0])):.0f}",
            base=f"{base:.3f}",
            pure=f"{pure:.2f} ± {pure_error:.2f}",
            n_sets=N_SETS,
            scan_table=table(
                ["filling", "intensities", "tau in the bound"]
                + [f"{WORDS[n]}, {e:.2f} ns" for n, (_, e) in PUBLISHED.items()]
                + ["mean", "spread of errors"],
                scan_rows,
            ),
            stated_table=table(
                ["filling", "scan [s]"]
                + [x for n in PUBLISHED for x in (f"{WORDS[n]}: toys", "published")],
                stated_rows,
            ),
            error_table=table(
                [
                    "filling",
                    "where",
                    "true [1/s]",
                    "randoms [%]",
                    "of itself [%]",
                    "published [ns]",
                    "psimg in the best scan",
                    "psimg / published",
                    f"bound in {ASSUMED_S / 60:.0f} min, at 1.83 ns",
                    "at the published value",
                    "published / bound",
                    "events for the published error",
                ],
                error_rows,
            ),
            toy_table=table(
                [
                    "filling",
                    "where",
                    "best scan: bound",
                    "`flat`",
                    "`delayed`",
                    "`fixed`, `flat`",
                    f"{ASSUMED_S / 60:.0f} min: bound",
                    "`flat`",
                    "`delayed`",
                    "`fixed`, `flat`",
                ],
                toy_rows,
            ),
            scaling_table=table(["filling", "where", *(f"{t:g} s" for t in scans)], scaling_rows),
            flat_table=table(
                [
                    "filling",
                    "flat counts per ns and s",
                    *(f"{t:g} s" for t in scans),
                    "25 counts per bin of 0.05 ns after [min]",
                    "0.1 ns",
                    "0.2 ns",
                ],
                flat_rows,
            ),
            bias_table=table(
                [
                    "filling",
                    "where",
                    "class II [% of true]",
                    "`flat`",
                    "`delayed`",
                    "true randoms as template",
                ],
                bias_rows,
            ),
            mixing_table=table(
                ["filling"] + [x for n in names for x in (WORDS[n] + ": own", "tau [ns]")],
                mixing_rows,
            ),
            class_table=table(
                [
                    "where",
                    "triplets [1/s]",
                    "true [%]",
                    "I [%]",
                    "II [%]",
                    "III [%]",
                    "II / true [%]",
                    "randoms with a photon of 176Lu [%]",
                ],
                class_rows,
            ),
            change_table=table(
                [
                    "body, uniform",
                    "triplets [1/s]",
                    "true [%]",
                    "I [%]",
                    "II [%]",
                    "III [%]",
                    "II / true [%]",
                    "randoms with a photon of 176Lu [%]",
                ],
                change_rows,
            ),
            rate_table=table(
                [
                    "",
                    "singles [1e6/s]",
                    "annihilation window",
                    "prompt window",
                    "true triplets per 1000 decays",
                ],
                rate_rows,
            ),
            scatter_table=table(
                [
                    "true triplets in",
                    "number",
                    "no photon scattered [%]",
                    "annihilation photons only [%]",
                    "prompt only [%]",
                    "both [%]",
                ],
                scatter_rows,
            ),
            check_table=table(["8:1", "simulated", "expected", "pull"], check_rows),
        ),
    )


_PAGE = """\
# 44Sc in the NEMA phantom on the Vision Quadra

**Found.** With water everywhere and the phantom filled 8:1 (spheres to body), the four published
errors are those that psimg has in one scan of about {hot_mean} s, within a factor of
{hot_spread}; 4:1 does about as well ({four_mean} s, {four_spread}), and a uniform filling less
well ({mean} s, {spread}), because of the voxel. The scan's length is not known to us: in {assumed}
min psimg's errors would be {least_ratio} to {most_ratio} times smaller than the published ones.
{random_share} % of the triplets in the phantom are random; {lutetium_randoms} % of the random
ones hold a photon of 176Lu.

`scripts/studies/sc44_nema_quadra.py` made this page and its figures. It stands beside the first
measurement of this kind, arXiv:2506.13460 (Front. Nucl. Med. 2025, doi
10.3389/fnume.2025.1648621), of which the abstract states: {activity} MBq of 44Sc in water in the
NEMA image-quality phantom; tau_ops = 2.65 ± 0.50, 1.39 ± 0.20 and 1.76 ± 0.18 ns in the three
smallest spheres (10, 13, 17 mm); 1.79 ± 0.57 ns in one 4 mm voxel in the largest (37 mm); and a
relative standard deviation of the flat region (dt < -2.7 ns) above 20 %, even in voxels inside
spheres.

**Not known to us**: the length of the scan, which parts of the phantom held how much activity,
the numbers of triplets, which parameters of the fit were free, and the width of the bins. Nothing
on this page is to be read as a statement of the paper about them.

## What is simulated

The phantom of `psimg.simulate.phantoms.nema_iq` ({volume} L of water; uniformly filled, {kbq}
kBq/mL) at {activity} MBq on the detector `vision-quadra`, with attenuation, scatter, positron
range, annihilation in flight, acollinearity, pile-up, dead time, and {lutetium} million decays
of 176Lu per second. o-Ps lives {tau} ns everywhere. Windows: annihilation 435 to 585 keV;
prompt from 720 keV, on an energy scale that ends at 726 keV; pairs within {pair} ns; prompt
within ± 20 ns of their middle, all combinations kept. (A pair window above about 2 ns changes
nothing: pairs farther apart in time are not located in the phantom.) Triplets count where their
most likely point lies. {seconds:g} s of a uniform filling are simulated; to them come 10⁷
decays in the spheres alone, to reach other fillings: true triplets are linear in the activity
of each part, class I follows them, and classes II and III keep their density. A filling of 8:1
simulated as it is agrees (see the end). All fillings hold {activity} MBq in total.

Expected spectra are scaled to the length of a scan. Errors are Cramér-Rao bounds (`precision_of`)
and Poisson toys of the expectation fitted by `fit_voxels`. Response from the body's true
triplets: mu {mu} ps, sigma {sigma} ps. p-Ps and direct annihilation live 0.125 and 0.388 ns.
Intensities: `fixed` 60:10:30, `ps-ratio` p-Ps a third of o-Ps and direct annihilation the rest,
`free` all three. Backgrounds: `flat`, and `delayed` with {n_sets} windows.

## The error of tau_ops, and the scan that explains it

The last column but one: geometric mean of the four scans. Spread of errors: the factor by which
the four published errors scatter about those of that one scan (1 for perfect agreement). The
bound depends on the lifetime: it is worked out at the water value, and at the value that the
paper found in each place, which is what its stated error belongs to.

{scan_table}

![The scan that each published error asks for](../images/sc44_nema_quadra_scans.png)

The scan [s] in which the smallest error, at the published value, is the published one; the bars
are ± 20 %, for a stated error good to 10 %; dotted, their mean. One scan explains all four where
the points of a colour lie on one line.

With a uniform filling the voxel asks for a scan several times as long as the spheres do. It holds
as much of the 37 mm sphere as of its surroundings, so that hotter spheres help it most: at 4:1 and
8:1 the four errors are consistent to within a factor of {four_spread} and {hot_spread}. The 17 mm
sphere is the odd one in every filling: its stated error is larger than the others make expect. From
`fixed` to `free` intensities the scan is {rules} times as long; the pattern stays.

How much a stated error depends on luck: toys of the best scan that find a lifetime within 10 % of
the published one, and the errors that their fits state (median, and 68 % of them) [ns]:

{stated_table}

So much an error scatters by itself. A prior, as a Bayesian fit has it, makes the error of a voxel
smaller still, and what is known does not exclude a uniform filling.

psimg against published. The best scan is the mean of the four with `ps-ratio`, at the published
values. Of itself: share of true triplets located there that come from there.

{error_table}

**Absolute.** We assume {assumed} min, because the same group scanned 124I for 15 and 40 min
(abstract of arXiv:2501.04145) and nothing else is known; all bounds go as T^(-1/2). Then the
published errors are {least_ratio} to {most_ratio} times the bounds. A scan that short, or that
few usable triplets, would explain it: less activity where it counts, losses of singles in the
prototype readout, a higher share of randoms than simulated (90 % instead of {hot_share} % at the
same true triplets asks for {crowding} times the scan), or more free parameters. The number of
triplets behind the published errors, last column, does not depend on the scan: {events} in the
order of the table, if {hot_share} % are random. It would settle the question.

The error goes as one over the root of the scan, `ps-ratio`, {tau} ns [ns]:

{scaling_table}

Toys (median ± half of the central 68 %; in brackets the share with a value, where some have
none):

{toy_table}

In spheres the width of the fits is {toy_low} to {toy_high} times the bound, so that the bound
stands for the fit. In a voxel, in the best scan, some toys have no lifetime at all.

![Spectra of the 17 mm sphere and of a voxel](../images/sc44_nema_quadra_spectrum.png)

A toy of the uniform filling in the best scan ({mean} s): **a** the 17 mm sphere, **b** one 4 mm
voxel in the 37 mm sphere.

## The flat region

Counts per bin of width w in a voxel are (flat rate) w T, and their relative standard deviation is
one over its root. In a 4 mm voxel of the 37 mm sphere, in bins of 0.1 ns [%], and after how long
a bin holds 25 counts (20 %):

{flat_table}

A relative deviation above 20 % in bins of 0.1 ns means a scan below {flat_uniform} min in a
uniform filling and below {flat_hot} min at 8:1, so that it allows the best scans above
({flat_at_mean} % and {flat_hot_at} % there), and {assumed} min only in a filling that is nearly
uniform. The width of the published bins is not known to us; all this holds for Poisson counts
alone.

## Randoms

True and random triplets; errors of the true share from the counts. The phantom gives {sensitivity}
true triplets per s and kBq; a published simulation has 9.22(3) for 44Sc in the organs of a patient
model (Kunimmal Venadan et al., abstract).

{class_table}

{change_table}

{rate_table}

The random share of a sphere does not depend on the filling: class I, nearly all of the randoms,
follows the pairs. 176Lu matters twice. {lutetium_prompts} % of its decays leave more than 720 keV
in one block of the detector (beta and cascade add up there) and pass for prompts; without it
{share_without} % would be random, and at a tenth of the activity, where {tenth_lutetium} % of the
randoms hold a photon of 176Lu, still {share_tenth} % are. That number rests on an assumption:
blocks of 5 x 5 crystals that add up energies. Read out crystal by crystal, fewer would reach 720
keV.

Class II, which `flat` and `delayed` know nothing of, moves the lifetime. Fits of the expectation
itself, {tau} ns:

{bias_table}

## Scatter

True triplets by what happened in the phantom. The point of a pair with a scattered photon is
wrong; a scattered prompt is only late.

{scatter_table}

## How much of a sphere is in a sphere

Time of flight blurs the point by 34 mm FWHM along the LOR. If o-Ps lived {other} ns in the
spheres and {tau} ns around, the fit to the true triplets located in a sphere (`ps-ratio`) would
give these values; own: share of these triplets that come from the sphere. The same fit gives
{base} ns where all is {tau} ns and {pure} ns where all is {other} ns: its single Gaussian does
not know the tails that scatter adds.

{mixing_table}

So a lifetime in a small sphere is mostly that of its surroundings: of the true triplets
located in the 10 mm sphere {own_uniform} % are its own in a uniform filling and {own_hot} % at 8:1,
where a true {other} ns would show as {tau_small} ns, against {tau_large} ns in the 37 mm sphere.
The published values of the two smallest spheres, which held water like all
around them, are {pulls} of their own errors away from {tau} ns.

## Check

True triplets located in spheres at 8:1, simulated as they are and expected from the two other
runs; all together {direct} and {want}, a pull of {all_pull}:

{check_table}
"""


if __name__ == "__main__":
    main()
