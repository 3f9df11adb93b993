"""The book of a run: how many came in at each stage, how many stayed, and why the rest went."""

from collections.abc import Mapping, Sequence

from psimg.core.stage import Stage
from psimg.events.signal import ENERGY, Signal
from psimg.spectra.values import LifetimeSpectra

_LONELINESS = ["n_secondary", "n_not_alone", "n_multiple"]
"""Triplets dropped for photons nearby."""
COUNT_OF_RULE = {
    "min_pair_distance_mm": "n_close_pairs",
    "min_opening_deg": "n_small_opening",
    "min_prompt_distance_mm": "n_prompt_close",
    "min_prompt_crystals": "n_prompt_neighbour",
    "lor_through": "n_lor_misses",
    "max_tof_excess_ns": "n_tof_excess",
    "scatter_margin_ns": "n_scatter",
}
"""The count of the triplets that each geometric rule drops."""
_REASONS = {
    "n_close_pairs": "annihilation photons too close",
    "n_small_opening": "angle between annihilation photons too small",
    "n_prompt_close": "prompt too close to an annihilation photon",
    "n_prompt_neighbour": "prompt in a neighbouring crystal",
    "n_lor_misses": "LOR misses the region",
    "n_tof_excess": "time of flight too long",
    "n_scatter": "times of one scattered photon",
}


def complete_counts(
    own: Mapping[str, int],
    content: str,
    *,
    rules: Sequence[str],
    voxels: LifetimeSpectra,
    regions: LifetimeSpectra,
    truth_known: bool,
    timing_applied: bool = False,
) -> dict[str, int]:
    """Return the counts of ``summary.json`` from those added up while chunks went by.

    Parameters
    ----------
    own : mapping
        Counts of the reading, selecting and locating stages.
    content : {"singles", "triplets", "events"}
        What the files hold; stages that do not apply are left out.
    rules : sequence of str
        The geometric rules that are set.
    voxels, regions : LifetimeSpectra
        The histograms of all events.
    truth_known : bool
        Whether the singles carry the number of their decay.
    timing_applied : bool
        Whether time offsets were taken off the singles.
    """
    names = ["n_rows", "n_not_finite", "n_marked_bad"]
    if content == "singles":
        names += ["n_singles", "n_annihilation", "n_prompt", "n_pairs"]
        names += ["n_true_triplets"] if truth_known else []
        names += ["n_uncorrected"] if timing_applied else []
    if content == "triplets":
        names += ["n_triplets_read", "n_outside_windows"]
    if content != "events":
        names += ["n_triplets"]
    if content == "singles":
        names += _LONELINESS
    names += ["n_located", "n_events"]
    if any(voxels.n_sets):
        names += ["n_delayed_triplets", "n_delayed_located", "n_delayed_events"]
    counts = {name: own[name] for name in names}
    counts["n_bad"] = own["n_not_finite"] + own["n_marked_bad"]
    if content != "events":
        counts |= {COUNT_OF_RULE[rule]: own[COUNT_OF_RULE[rule]] for rule in rules}
    counts["n_outside_object"] = own["n_located"] - own["n_events"]
    counts["n_outside"] = voxels.n_outside
    counts["n_outside_dt"] = voxels.n_outside_dt
    counts["n_binned"] = int(voxels.counts.sum())
    counts["n_outside_regions"] = regions.n_outside
    return counts


def path_of_events(
    counts: Mapping[str, int], content: str, *, signal: Signal = ENERGY
) -> tuple[Stage, ...]:
    """Return the stages that events of this content pass, with what each of them dropped.

    ``signal`` is what tells annihilation photons from prompts.
    """
    stages = [
        Stage(
            name="read",
            unit="rows",
            n_in=counts["n_rows"],
            n_out=counts["n_rows"] - counts["n_bad"],
            dropped={
                "NaN or infinite": counts["n_not_finite"],
                "marked as bad in the file": counts["n_marked_bad"],
            },
        )
    ]
    if content == "singles":
        n_used = counts["n_annihilation"] + counts["n_prompt"]
        stages.append(
            Stage(
                name=f"{signal.name} windows",
                unit="singles",
                n_in=counts["n_singles"],
                n_out=n_used,
                dropped={"in neither window": counts["n_singles"] - n_used},
            )
        )
    if content == "triplets":
        stages.append(
            Stage(
                name="windows",
                unit="triplets",
                n_in=counts["n_triplets_read"],
                n_out=counts["n_triplets"],
                dropped={"outside the windows": counts["n_outside_windows"]},
            )
        )
    n_dropped = sum(counts.get(name, 0) for name in _LONELINESS)
    if n_dropped:
        stages.append(
            Stage(
                name="photons nearby",
                unit="triplets",
                n_in=counts["n_triplets"],
                n_out=counts["n_triplets"] - n_dropped,
                dropped={
                    "further annihilation photon": counts["n_secondary"],
                    "not exactly three photons": counts["n_not_alone"],
                    "photon in several triplets": counts["n_multiple"],
                },
            )
        )
    if content != "events":
        stages.append(
            Stage(
                name="geometry",
                unit="triplets",
                n_in=counts["n_triplets"] - n_dropped,
                n_out=counts["n_located"],
                dropped={why: counts[name] for name, why in _REASONS.items() if name in counts},
            )
        )
    stages.append(
        Stage(
            name="object",
            unit="events",
            n_in=counts["n_located"],
            n_out=counts["n_events"],
            dropped={"located outside the object": counts["n_outside_object"]},
        )
    )
    stages.append(
        Stage(
            name="histogram",
            unit="events",
            n_in=counts["n_events"],
            n_out=counts["n_binned"],
            dropped={
                "outside the grid": counts["n_outside"],
                "dt outside the spectrum": counts["n_outside_dt"],
            },
        )
    )
    return tuple(stages)
