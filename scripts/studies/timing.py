"""How well the timing calibration works: simulated offsets and walk, measured and taken off.

Writes docs/studies/timing.md and its figure. Usage: python scripts/studies/timing.py [SCALE]
SCALE multiplies the number of decays (1 for the page; less for a look).
"""

import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

from psimg.core import SCANNERS, Cylinder, DataError
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events import OffsetOptions
from psimg.io import write_gate9, write_timing_table
from psimg.report.drawing import finish_axes
from psimg.simulate.toy import ELECTRON_KEV, ToyDetector, simulate_singles
from psimg.simulate.toy_phantom import Phantom, Source, nema_like
from psimg.study import calibrate_timing, read_study, run_study

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURE = DOCS / "studies" / "timing.md", DOCS / "images" / "timing.png"
SPREAD_NS, WALK_NS, TAU_NS = 0.1, 0.4, 2.0
RING = SCANNERS["vision-quadra"]
SHORT_RING = replace(RING, name="short ring", length_mm=128.0)
LONG = Cylinder(name="phantom", centre_mm=(0.0, 0.0, 0.0), radius_mm=60.0, half_length_mm=400.0)
SHIFT_MM = 5.0
FIFTH = 161  # crystals, a fifth of the 805 of a ring
MOVED = replace(LONG, centre_mm=(SHIFT_MM, 0.0, 0.0))
SHORT = replace(LONG, radius_mm=20.0, half_length_mm=20.0)
BODY = nema_like().sources[0].region
BLUE, ORANGE, GREY = "#2166ac", "#d95f02", "#9a9a9a"

STUDY = """
[study]
isotope = "Sc-44"
[input]
files = ["{file}"]
{timing}
[select]
pair_window_ns = 2.0
min_pair_distance_mm = 300.0
delays_ns = [200.0, 300.0, 400.0, 500.0]
object = "phantom"
[grid]
voxel_mm = 200.0
extent_mm = [200.0, 200.0, 800.0]
[spectrum]
start_ns = -10.0
stop_ns = 25.0
[model]
background = "delayed"
[[regions]]
name = "phantom"
shape = "cylinder"
centre_mm = [0.0, 0.0, 0.0]
radius_mm = {region.radius_mm}
half_length_mm = {region.half_length_mm}
"""


def uniform(region):
    return Phantom(sources=(Source(region=region, activity_share=1.0, tau_ops_ns=TAU_NS),))


def offsets_of(scanner, block, rng):
    """Draw an offset per block; return those of the blocks and of the crystals."""
    around, along = ToyDetector().crystals(scanner)
    block_of = np.arange(around * along) // block
    true = rng.normal(0.0, SPREAD_NS, block_of[-1] + 1)
    return true, true[block_of]


def simulate(path, phantom, scanner, n_decays, activity_mbq, detector):
    chunks = simulate_singles(
        phantom,
        scanner=scanner,
        activity_mbq=activity_mbq,
        duration_s=n_decays / (activity_mbq * 1e6),
        rng=np.random.default_rng(7),
        detector=detector,
    )
    return write_gate9(path, chunks)


def study_in(folder, file, region, timing=None):
    line = "" if timing is None else f'timing = "{timing}"'
    path = folder / "study.toml"
    path.write_text(STUDY.format(file=file, region=region, timing=line))
    return read_study(path)


def calibrate(folder, name, phantom, region, scanner, n_decays, *, block, activity_mbq=40.0):
    """Simulate with offsets and walk, and calibrate; return the calibration and the truth."""
    true, per_crystal = offsets_of(scanner, block, np.random.default_rng(11))
    detector = ToyDetector(offset_ns=per_crystal, walk_ns=WALK_NS)
    simulate(folder / name, phantom, scanner, n_decays, activity_mbq, detector)
    start = time.perf_counter()
    study = study_in(folder, name, region)
    found = calibrate_timing(study, options=OffsetOptions(block=block))
    print(f"{name}: calibrated in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return found, true


def compare(found, true):
    """Return recovered minus true offsets and their pulls; both have a mean of zero."""
    table = found.table
    expected = true[table.detector]
    difference = table.offset_ns - (expected - expected.mean())
    return expected - expected.mean(), difference, difference / table.error_ns


def shift_of(found, true):
    """Fit offsets that vary round the ring as those of a shift along x; return d / c [ps]."""
    around, along = ToyDetector().crystals(RING)
    crystal = np.arange(around * along)
    cosine = np.cos(2 * np.pi * (crystal % around + 0.5) / around)
    block = crystal // FIFTH
    regressor = (np.bincount(block, cosine) / np.bincount(block))[found.table.detector]
    _, difference, _ = compare(found, true)
    weight = 1.0 / found.table.error_ns**2
    norm = (weight * regressor) @ regressor
    return 1e3 * ((weight * regressor) @ difference) / norm, 1e3 / np.sqrt(norm)


def row(name, found, true):
    """One line of the table of offsets."""
    expected, difference, pull = compare(found, true)
    weight = 1.0 / found.table.error_ns**2
    slope = (weight * expected) @ (expected + difference) / ((weight * expected) @ expected)
    slope_error = 1.0 / np.sqrt((weight * expected) @ expected)
    n = len(pull)
    return (
        f"| {name} | {n:,} | {np.median(found.table.n_pairs):,.0f} | "
        f"{100 * found.offsets.random_share:.1f} | {1e3 * expected.std():.1f} | "
        f"{1e3 * difference.std():.2f} | "
        f"{1e3 * np.sqrt(np.mean(found.table.error_ns**2)):.2f} | "
        f"{pull.std():.3f} ± {1 / np.sqrt(2 * n):.3f} | {slope:.4f} ± {slope_error:.4f} |"
    )


def spheres_sentence(folder, n_decays):
    """Say what comes of a phantom that is not filled evenly."""
    start = (
        "Activity that does not fill the region evenly breaks the method: the demonstration's hot "
        "spheres, calibrated as if their body were filled evenly, "
    )
    try:
        found, true = calibrate(
            folder, "spheres.root", nema_like(), BODY, RING, n_decays, block=FIFTH
        )
    except DataError as error:
        return f"{start}end in an error: *{str(error).split(': ', 1)[-1]}*."
    _, difference, pull = compare(found, true)
    return (
        f"{start}give offsets that are off by {1e3 * difference.std():.0f} ps rms, with pulls of "
        f"width {pull.std():.0f}."
    )


def spectrum_rows(folder, found, files, region):
    """Fit the phantom's spectrum uncorrected, corrected, and with perfect clocks."""
    write_timing_table(folder / "timing.csv", found.table)
    rows = []
    for name, file, timing in (
        ("as measured", files[0], None),
        ("corrected", files[0], "timing.csv"),
        ("perfect clocks", files[1], None),
    ):
        result = run_study(study_in(folder, file, region, timing))
        fit, response = result.regions[0], result.calibration
        rows.append(
            f"| {name} | {1e3 * response.value('sigma_ns'):.2f} ± "
            f"{1e3 * response.error('sigma_ns'):.2f} | {1e3 * response.value('mu_ns'):.2f} ± "
            f"{1e3 * response.error('mu_ns'):.2f} | {fit.tau_ops_ns:.3f} ± "
            f"{fit.tau_ops_error_ns:.3f} | {fit.deviance:.0f} / {fit.ndf} |"
        )
    return rows


def true_walk(walk):
    """Return the simulated delay at the mean energies, with the mean of the measured ones."""
    delay = WALK_NS * np.sqrt(ELECTRON_KEV / walk.energy_kev)
    weight = 1.0 / walk.error_ns**2
    return delay - (weight @ (delay - walk.walk_ns)) / weight.sum()


def walk_rows(found):
    walk = found.table.walk
    truth = true_walk(walk)
    return [
        f"| {low:.0f} to {high:.0f} | {1e3 * w:+.1f} ± {1e3 * e:.1f} | {1e3 * t:+.1f} |"
        for low, high, w, e, t in zip(
            walk.edges_kev[:-1], walk.edges_kev[1:], walk.walk_ns, walk.error_ns, truth, strict=True
        )
    ]


def draw(found, true):
    """Draw offsets, their residuals, the pairs' residuals and the walk."""
    expected, difference, pull = compare(found, true)
    figure = Figure(figsize=(9.0, 7.2), layout="constrained")
    (scatter, spread), (pairs, walk) = figure.subplots(2, 2)

    limit = 1.05e3 * np.abs(expected).max()
    scatter.plot([-limit, limit], [-limit, limit], color=GREY, lw=0.8)
    scatter.plot(1e3 * expected, 1e3 * (expected + difference), ".", ms=2.5, color=BLUE, alpha=0.5)
    scatter.set(xlabel="true offset [ps]", ylabel="recovered offset [ps]")
    scatter.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")

    edges = np.linspace(-4.5, 4.5, 46)
    centre = np.linspace(-4.5, 4.5, 300)
    spread.hist(pull, edges, color=BLUE, alpha=0.75)
    normal = len(pull) * (edges[1] - edges[0]) * np.exp(-0.5 * centre**2) / np.sqrt(2 * np.pi)
    spread.plot(centre, normal, color=ORANGE, label="unit normal")
    spread.set(xlabel="(recovered − true) / stated error", ylabel="blocks")
    spread.legend(frameon=False)
    ps = 1e3 * difference.std()
    spread.text(0.03, 0.95, f"recovered − true:\n{ps:.1f} ps rms", transform=spread.transAxes,
                va="top")  # fmt: skip

    offsets = found.offsets
    middle = 0.5 * (offsets.edges_ns[1:] + offsets.edges_ns[:-1])
    shown = np.abs(middle) < 1.0
    for counts, colour, name in (
        (offsets.before, GREY, "as measured"), (offsets.after, BLUE, "offsets taken off"),
    ):  # fmt: skip
        pairs.step(middle[shown], counts[shown] / 1e3, where="mid", color=colour, label=name)
    pairs.set(xlabel="residual of annihilation pairs [ns]", ylabel="pairs / 10 ps [thousand]")
    pairs.set(ylim=(0, None), xticks=np.linspace(-1.0, 1.0, 5))
    pairs.legend(frameon=False, loc="upper right", fontsize=9)

    table = found.table.walk
    energy = np.linspace(table.edges_kev[0], table.edges_kev[-1], 200)
    level = true_walk(table)[0] - WALK_NS * np.sqrt(ELECTRON_KEV / table.energy_kev[0])
    curve = 1e3 * (WALK_NS * np.sqrt(ELECTRON_KEV / energy) + level)
    beside = np.stack([table.energy_kev - table.edges_kev[:-1],
                       table.edges_kev[1:] - table.energy_kev])  # fmt: skip
    walk.plot(energy, curve, color=ORANGE, label="simulated")
    walk.errorbar(
        table.energy_kev, 1e3 * table.walk_ns, 1e3 * table.error_ns, beside,
        fmt="o", ms=4, color=BLUE, label="measured",
    )  # fmt: skip
    walk.set(xlabel="energy of the prompt [keV]", ylabel="delay against all prompts [ps]")
    walk.legend(frameon=False)
    for axes, letter in zip((scatter, spread, pairs, walk), "abcd", strict=True):
        finish_axes(axes)
        axes.set_title(letter, loc="left", fontweight="bold", fontsize=12)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=160, metadata={"Software": None})


def main() -> None:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    n_block, n_crystal, n_random = (int(scale * n) for n in (12e6, 60e6, 4e6))
    with TemporaryDirectory() as name:
        folder = Path(name)
        found, true = calibrate(folder, "blocks.root", uniform(LONG), LONG, RING, n_block, block=64)
        simulate(folder / "perfect.root", uniform(LONG), RING, n_block, 40.0, ToyDetector())
        spectra = spectrum_rows(folder, found, ("blocks.root", "perfect.root"), LONG)
        for file in ("blocks.root", "perfect.root"):
            (folder / file).unlink()
        draw(found, true)
        rows = [row("uniform, arcs of 64 crystals", found, true)]
        for activity in (4.0, 40.0, 400.0):
            wide = calibrate(folder, f"{activity:g}.root", uniform(LONG), LONG, RING, n_random,
                             block=FIFTH, activity_mbq=activity)  # fmt: skip
            rows.append(row(f"uniform, fifths of a ring, {activity:g} MBq", *wide))
            (folder / f"{activity:g}.root").unlink()
        moved = calibrate(folder, "moved.root", uniform(MOVED), LONG, RING, n_random, block=FIFTH)
        rows.append(row(f"{SHIFT_MM:g} mm beside the region, fifths of a ring", *moved))
        (folder / "moved.root").unlink()
        spheres = spheres_sentence(folder, n_random)
        single = calibrate(
            folder, "crystals.root", uniform(SHORT), SHORT, SHORT_RING, n_crystal, block=1
        )
        rows.append(row("uniform, short ring, each crystal", *single))
    numbers = n_block, n_crystal, n_random
    text = page(rows, spectra, walk_rows(found), spheres, shift_of(*moved), numbers)
    PAGE.write_text(text)


def page(rows, spectra, walk, spheres, shift, numbers):
    n_block, n_crystal, n_random = numbers
    around, _ = ToyDetector().crystals(RING)
    assert around == 5 * FIFTH
    paragraphs = [
        f"""`scripts/studies/timing.py` made this page and its figure. It simulates 44Sc in a
        uniform cylinder of {2 * LONG.radius_mm:g} mm diameter and {2 * LONG.half_length_mm:g} mm
        length in a ring like the Vision Quadra ({RING.radius_mm:g} mm radius, {RING.length_mm:g} mm
        long, coincidence resolving time {1e3 * RING.crt_ns:g} ps), with a time offset per block of
        crystals of {1e3 * SPREAD_NS:g} ps spread and a time walk of {1e3 * WALK_NS:g} ps times the
        root of 511 keV over the energy, and calibrates it with what `psimg calibrate` runs.""",
        "![Recovered against true offsets, pulls, residuals of pairs, prompt walk]"
        "(../images/timing.png)",
        f"""Arcs of 64 crystals, {n_block:,} decays at 40 MBq. **a** Offsets recovered and
        simulated. **b** Their differences over the stated errors. **c** Residuals of the pairs
        against the middle of the chord, before and after. **d** Walk of the prompt.""",
        "## Offsets",
        f"""Slope: of recovered against true offsets, weighted by the stated errors; random pairs
        that dilute would make it less than one. Decays: as above for arcs of 64 crystals,
        {n_random:,} for fifths of a ring ({FIFTH} crystals), {n_crystal:,} for each crystal of a
        ring of {SHORT_RING.length_mm:g} mm length around a cylinder of {2 * SHORT.radius_mm:g} mm
        diameter and {2 * SHORT.half_length_mm:g} mm length; random: share among the pairs within
        the cut.""",
        [
            "| phantom, labels per offset | offsets | pairs each | random [%] | true spread [ps] | "
            "recovered - true, rms [ps] | stated error, rms [ps] | width of pulls | slope |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
        ],
        f"""A phantom {SHIFT_MM:g} mm beside the region it is said to fill is taken for offsets that
        move the image towards the region, and vary round the ring. Their amplitude would be the
        distance over c, {1e3 * SHIFT_MM / SPEED_OF_LIGHT_MM_NS:.1f} ps, for LORs across the axis;
        along an LOR at an angle theta to the axis the middle of the chord is off by the distance
        over sin(theta), so that it is more in a long scanner: fitted to the differences of that
        row, {abs(shift[0]):.1f} ± {shift[1]:.1f} ps.""",
        spheres,
        "## The dt spectrum",
        f"""The phantom's spectrum, o-Ps of {TAU_NS:g} ns, from the same decays: with the times as
        measured, with offsets and walk taken off, and with the same photons seen by perfect clocks.
        The resolving time alone gives {1e3 * RING.sigma_dt_ns:.2f} ps.""",
        [
            "| times | sigma_dt [ps] | mu [ps] | tau_ops [ns] | deviance / ndf |",
            "|---|---|---|---|---|",
            *spectra,
        ],
        "## Walk of the prompt",
        """Delay against the mean over all prompts. The simulated delay is that of the mean energy
        of the bin, its mean over the bins made equal to the measured one.""",
        [
            "| energy [keV] | measured [ps] | simulated [ps] |",
            "|---|---|---|",
            *walk,
        ],
    ]
    blocks = [
        "\n".join(p) if isinstance(p, list) else textwrap.fill(" ".join(p.split()), 100)
        for p in paragraphs
    ]
    return "\n\n".join(["# Timing calibration against truth", *blocks]) + "\n"


if __name__ == "__main__":
    main()
