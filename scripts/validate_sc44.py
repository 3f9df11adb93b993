"""Compare psimg with the truth of a Geant4 acquisition and write docs/validation.md.

Usage: python scripts/validate_sc44.py FOLDER, with the folder of the sc44_four_inserts acquisition.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import uproot

from psimg import Everywhere, LifetimeModel, SpectrumOptions, bin_regions, fit_spectrum
from psimg.events import LifetimeEvents
from psimg.study import read_study, run_study

STUDIES = Path(__file__).parent / "studies"
PAGE = Path(__file__).parents[1] / "docs" / "validation.md"


_COUNTS = ("n_singles", "n_pairs", "n_triplets", "n_true_triplets", "n_events")
_PAGE = """\
# Validation against a Geant4 acquisition

`scripts/validate_sc44.py` made this page from an acquisition whose photons Geant4 transported: 44Sc
in four inserts of a water cylinder inside a long LSO ring, with different o-Ps lifetimes and 10, 60
and 30 % of the positrons in p-Ps, direct annihilation and o-Ps.

## True events of each insert

Events whose photons come from one decay in the insert, annihilation in flight left out; response
and background are fitted in each.

| insert | intensities | events | true [ns] | fitted [ns] | pull | o-Ps share (0.30) | pull |
|---|---|---|---|---|---|---|---|
{true_events}

## Singles through the whole chain

`scripts/studies/sc44_singles.toml`: {n_singles} singles of {seconds:g} s, {n_pairs} pairs,
{n_triplets} triplets, {n_true_triplets} of them of one decay, {n_events} located in the phantom.
Response: mu {mu:.1f} ps, sigma {sigma:.1f} ps. The time resolution of the detectors alone would
give {sigma_true:.0f} ps: a single is placed at its crystal's front whatever the depth, and that
adds to the width and shifts the mean.

| region | events | true [ns] | fitted [ns] | pull | o-Ps share (0.30) | pull | background [%] |
|---|---|---|---|---|---|---|---|
{singles}

## Located events

`scripts/studies/sc44_events.toml`: {n_located} events of {event_seconds:g} s. An insert's region
holds some of its neighbours' events, since time of flight blurs the point along the
LOR. The phantom mixes four lifetimes and is fitted with one, so its o-Ps share is not to be
expected at the true one.

| region | events | true [ns] | fitted [ns] | pull | o-Ps share (0.30) | pull | background [%] |
|---|---|---|---|---|---|---|---|
{events}

`scripts/studies/sc44_xyzt.toml` reads the same events from the Vision Quadra layout ({n_marked}
marked bad); its maps are {same}.
"""


def run_kept_study(name: str, folder: Path):
    """Run one of the kept studies where the data are."""
    with TemporaryDirectory() as work:
        path = Path(work) / f"{name}.toml"
        path.write_text((STUDIES / f"{name}.toml").read_text())
        (Path(work) / "sc44_four_inserts").symlink_to(folder.resolve())
        start = time.perf_counter()
        result = run_study(read_study(path))
        return result, time.perf_counter() - start


def true_events_rows(folder: Path, truth: dict) -> list[str]:
    """Fit the true events of each insert, whatever their located point."""
    columns = uproot.open(folder / "events.root")["events"].arrays(library="np")
    rows = []
    for insert in truth["inserts"]:
        mine = (columns["is_true"] == 1) & (columns["mc_insert"] == insert["id"])
        mine &= columns["mc_channel"] < 3
        n = int(mine.sum())
        events = LifetimeEvents(
            position_mm=np.zeros((n, 3)), dt_ns=columns["dt"][mine], window=np.zeros(n)
        )
        spectra = bin_regions(events, regions=[Everywhere()], edges_ns=SpectrumOptions().edges_ns)
        for rule in ("ps-ratio", "free"):
            fit = fit_spectrum(
                spectra.counts[0], spectra.edges_ns, model=LifetimeModel(intensities=rule)
            )
            tau, error = fit.tau_ops_ns, fit.tau_ops_error_ns
            share, share_error = fit.intensity_ops, fit.intensity_ops_error
            pull = (tau - insert["tau_ops_ns"]) / error
            share_pull = (share - truth["intensity"]["ops"]) / share_error
            rows.append(
                f"| {insert['id']} | `{rule}` | {n} | {insert['tau_ops_ns']:.2f} "
                f"| {tau:.3f} ± {error:.3f} | {pull:+.2f} "
                f"| {share:.3f} ± {share_error:.3f} | {share_pull:+.2f} |"
            )
    return rows


def region_rows(result, truth: dict) -> list[str]:
    tau = {f"insert_{insert['id']}": insert["tau_ops_ns"] for insert in truth["inserts"]}
    share = truth["intensity"]["ops"]
    rows = []
    for fit in result.regions:
        true = tau.get(fit.name)
        pull = "–" if true is None else f"{(fit.tau_ops_ns - true) / fit.tau_ops_error_ns:+.2f}"
        share_pull = (fit.intensity_ops - share) / fit.intensity_ops_error
        rows.append(
            f"| {fit.name} | {fit.n_events} | {'mixed' if true is None else true} "
            f"| {fit.tau_ops_ns:.3f} ± {fit.tau_ops_error_ns:.3f} | {pull} "
            f"| {fit.intensity_ops:.3f} ± {fit.intensity_ops_error:.3f} | {share_pull:+.2f} "
            f"| {100 * fit.background_fraction:.1f} |"
        )
    return rows


def main(folder: Path) -> None:
    truth = json.loads((folder / "truth.json").read_text())
    singles, _ = run_kept_study("sc44_singles", folder)
    events, _ = run_kept_study("sc44_events", folder)
    xyzt, _ = run_kept_study("sc44_xyzt", folder)
    same = all(
        np.array_equal(getattr(xyzt.maps, name), getattr(events.maps, name), equal_nan=True)
        for name in ("voxel", "values", "errors", "deviance", "status")
    )
    counts = singles.counts
    response = singles.model.response
    text = _PAGE.format(
        true_events="\n".join(true_events_rows(folder, truth)),
        seconds=truth["duration_s"]["singles"],
        mu=1e3 * response.mu_ns,
        sigma=1e3 * response.sigma_ns,
        sigma_true=1e3 * truth["sigma_dt_ns"],
        singles="\n".join(region_rows(singles, truth)),
        n_located=events.counts["n_events"],
        event_seconds=truth["duration_s"]["events"],
        events="\n".join(region_rows(events, truth)),
        n_marked=xyzt.counts["n_marked_bad"],
        same="identical, bit by bit" if same else "NOT the same",
        **{name: counts[name] for name in _COUNTS},
    )
    PAGE.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
