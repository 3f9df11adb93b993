"""How an image was made, in words and rows for the page."""

from dataclasses import dataclass

from psimg.report.content import ReportRecon
from psimg.report.words import number, percent


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodWords:
    """One method in words."""

    name: str
    """As a noun, in the text."""
    does: str
    """What it does, in a sentence."""
    leaves: str
    """What its voxels still have of the blur, in a sentence."""
    errors: str = ""
    """What errors are from, where they are of no bootstrap."""
    step: str = "pass"


_PASSES = (
    "The passes undo the blur of the time of flight only in part: structures below its width keep "
    "less than their contrast, and more passes trade this for noise, which neighbouring voxels "
    "share."
)
METHOD_WORDS = {
    "mlem": MethodWords(
        name="list-mode MLEM",
        does="The activity is the image that makes the lines of all events most likely, randoms "
        "taken off. It says nothing of lifetimes.",
        leaves=_PASSES,
    ),
    "rate": MethodWords(
        name="rate of the tail",
        does="The late part of the spectrum, where only o-Ps is left, is shared among voxels in "
        "one pass; one over its rate is the mean life.",
        leaves="One pass does not undo the blur of the time of flight: a voxel holds what events "
        "that may be its own come from, and its mean life is drawn towards that of its neighbours.",
        errors="scatter of the events of a voxel",
    ),
    "simple": MethodWords(
        name="SIMPLE: weighted image over image",
        does="Events weighted by Δt make one image, events without weight another; their ratio, "
        "randoms taken off, is the mean lifetime of all positrons.",
        leaves=_PASSES,
        errors="scatter of the events of a voxel, with the noise that the passes build up",
    ),
    "moment": MethodWords(
        name="moments of Δt",
        does="Images of events weighted by powers of Δt give the moments of each voxel, and these "
        "its mean life and intensity of o-Ps.",
        leaves=_PASSES,
        errors="scatter of the events of a voxel, with the noise that the passes build up",
    ),
    "split": MethodWords(
        name="an image per time bin",
        does="Each time bin has an image of its own; the spectrum that these make of a voxel is "
        "fitted as that of a region is.",
        leaves=_PASSES,
        errors="scatter of the events of a voxel, with the noise that the passes build up",
    ),
    "em": MethodWords(
        name="component EM",
        does="Activity, intensity and mean life of o-Ps of all voxels are raised together towards "
        "the likelihood of all lines and times by expectation maximisation, randoms a term of "
        "the model.",
        leaves=_PASSES,
        errors="curvature of the likelihood, with the blur and the passes made",
    ),
    "penalised": MethodWords(
        name="penalised component EM",
        does="Activity, intensity and mean life of o-Ps of all voxels are raised together towards "
        "the likelihood of all lines and times, less a penalty on differences of neighbours, "
        "randoms a term of the model.",
        leaves="The penalty smooths what the data do not tell apart: a structure of few events is "
        "drawn towards its surroundings, and errors are those of the smoothed image.",
        errors="curvature of the likelihood, with the blur, the penalty and the passes made",
    ),
    "regions": MethodWords(
        name="likelihood of regions",
        does="Triplets, intensity and mean life of o-Ps of each region are fitted to the lines and "
        "times of all events at once, without an image in between; each region is taken to be "
        "uniform.",
        leaves="A region that is not where it is said to be, or not uniform, is fitted all the "
        "same: look at the image of the activity.",
        step="step",
        errors="curvature of the likelihood",
    ),
}
"""By the name in ``[recon]``."""


def recon_rows(recon: ReportRecon) -> list[tuple[str, str]]:
    """Return what is to be said of an image as pairs of a heading and words."""
    words = METHOD_WORDS[recon.method]
    rows = [
        ("Method", words.name),
        ("Triplets", f"{recon.n_triplets:,} whose lines reach the grid"),
    ]
    if recon.method in ("em", "penalised", "simple", "moment", "split"):
        rows.append(("Image", _passes(recon.iterations, recon.subsets)))
    if recon.method == "regions":
        rows.append(("Steps", f"{len(recon.trace):,}"))
    rows.append(("Activity", _activity(recon)))
    if recon.sensitivity != "uniform":
        rows.append(("Sensitivity", recon.sensitivity))
    rows.append(("Randoms expected", _randoms(recon)))
    if recon.method != "mlem":
        rows.append(("Errors", _errors(recon)))
    return rows


def _passes(iterations: int, subsets: int) -> str:
    passes = f"{iterations} pass{'' if iterations == 1 else 'es'}"
    return passes if subsets == 1 else f"{passes} of {subsets} subsets each"


def _activity(recon: ReportRecon) -> str:
    passes = _passes(recon.activity_iterations, recon.activity_subsets)
    if recon.activity == "pairs":
        share = "" if recon.pair_share == 1 else f" ({percent(recon.pair_share)} % of them kept)"
        return f"from {recon.n_pairs:,} annihilation pairs{share}, {passes}"
    if recon.activity == "triplets":
        return f"from the triplets, {passes}"
    return f"given: {recon.activity}"


def _randoms(recon: ReportRecon) -> str:
    text = f"{number(recon.n_unrelated)} with an unrelated prompt"
    if recon.n_class_2 > 0:
        text += f", {number(recon.n_class_2)} prompt-correlated (class II)"
    if recon.random_scale is not None and recon.random_scale != 1:
        text += f"; the image found {number(recon.random_scale)} times the former"
    return text


def _errors(recon: ReportRecon) -> str:
    if recon.replicates:
        return f"spread over {recon.replicates} replicates of the list mode"
    return METHOD_WORDS[recon.method].errors


def made_from(recon: ReportRecon) -> str:
    """Return the events that an image is of, in words."""
    if recon.method == "mlem" and recon.n_pairs:
        return f"{recon.n_pairs:,} pairs"
    return f"{recon.n_triplets:,} triplets"


def convergence_title(recon: ReportRecon) -> str:
    """Return the title of the figure of convergence."""
    steps = "steps" if recon.method == "regions" else "passes"
    return f"Convergence: {len(recon.trace):,} {steps} over {made_from(recon)}"
