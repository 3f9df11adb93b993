"""The Geant4 acquisition of four inserts with known truth; skipped where it is not at hand."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import uproot
from numpy.testing import assert_array_equal

from psimg import Everywhere, LifetimeModel, SpectrumOptions, bin_regions, fit_spectrum
from psimg.core import FitStatus
from psimg.events import LifetimeEvents, find_triplets
from psimg.io import open_input
from psimg.study import read_study, run_study

STUDIES = Path(__file__).parents[2] / "scripts" / "studies"


def study_of(name: str, folder: Path, tmp_path: Path):
    """The study as kept, with its input where the data are."""
    text = (STUDIES / f"{name}.toml").read_text()
    (tmp_path / "sc44_four_inserts").symlink_to(folder)
    (tmp_path / f"{name}.toml").write_text(text)
    return read_study(tmp_path / f"{name}.toml")


def test_triplets_in_the_singles_are_those_of_a_slow_obvious_finder(sc44, tmp_path):
    study = study_of("sc44_singles", sc44, tmp_path)
    options = study.settings.select
    (chunk,) = open_input(study.files[0]).chunks(10_000_000)
    singles = chunk.value

    found = find_triplets(singles, options=options)

    # For each pair of annihilation photons within reach, look at every prompt within reach.
    low, high = options.annihilation_kev
    pair = np.flatnonzero((singles.energy_kev >= low) & (singles.energy_kev <= high))
    low, high = options.prompt_kev
    prompt = np.flatnonzero((singles.energy_kev >= low) & (singles.energy_kev <= high))
    low, high = options.prompt_window_ns
    t = singles.time_ns
    expected, n_pairs = [], 0
    for a, i in enumerate(pair):
        for j in pair[a + 1 :]:
            if t[j] - t[i] > options.pair_window_ns:
                break
            n_pairs += 1
            mean = 0.5 * (t[i] + t[j])
            for k in prompt[np.searchsorted(t[prompt], mean - high - 1.0) :]:
                if t[k] > mean - low + 1.0:
                    break
                if low <= mean - t[k] <= high:
                    expected.append((t[i], t[j], t[k]))
    assert found.n_pairs == n_pairs
    assert_array_equal(found.triplets.time_ns, expected)


def test_the_l_file_and_the_root_file_give_the_same_maps(sc44, tmp_path):
    results = []
    for name in ("sc44_xyzt", "sc44_events"):
        (tmp_path / name).mkdir()
        results.append(run_study(study_of(name, sc44, tmp_path / name)))

    xyzt, events = results
    assert xyzt.counts["n_marked_bad"] == 300
    assert xyzt.counts["n_events"] == events.counts["n_events"] == 74_528
    assert_array_equal(xyzt.maps.voxel, events.maps.voxel)
    assert_array_equal(xyzt.maps.values, events.maps.values)
    assert_array_equal(xyzt.maps.errors, events.maps.errors)
    for one, other in zip(xyzt.regions, events.regions, strict=True):
        assert_array_equal(one.values, other.values)


def test_singles_give_the_events_per_second_of_the_event_file(sc44, tmp_path):
    result = run_study(study_of("sc44_singles", sc44, tmp_path))

    # 0.5 s against 6 s of the same source; the event file was cut in the same way.
    assert abs(result.counts["n_events"] - 74_528 / 12) < 4 * np.sqrt(74_528 / 12)
    assert all(fit.status == FitStatus.OK for fit in result.regions)


@pytest.mark.parametrize("insert", range(4))
@pytest.mark.parametrize("intensities", ["ps-ratio", "free"])
def test_the_true_events_of_an_insert_give_its_lifetime(sc44, insert, intensities):
    truth = json.loads((sc44 / "truth.json").read_text())
    columns = uproot.open(sc44 / "events.root")["events"].arrays(library="np")
    mine = (
        (columns["is_true"] == 1) & (columns["mc_insert"] == insert) & (columns["mc_channel"] < 3)
    )
    events = LifetimeEvents(
        position_mm=np.zeros((mine.sum(), 3)),
        dt_ns=columns["dt"][mine],
        window=np.zeros(mine.sum()),
    )
    spectra = bin_regions(events, regions=[Everywhere()], edges_ns=SpectrumOptions().edges_ns)

    fit = fit_spectrum(
        spectra.counts[0], spectra.edges_ns, model=LifetimeModel(intensities=intensities)
    )

    assert fit.status == FitStatus.OK
    true_tau = truth["inserts"][insert]["tau_ops_ns"]
    assert abs(fit.tau_ops_ns - true_tau) < 2 * fit.tau_ops_error_ns
    assert abs(fit.intensity_ops - truth["intensity"]["ops"]) < 2 * fit.intensity_ops_error


def test_the_kept_studies_name_one_file_each():
    for name in ("sc44_singles", "sc44_xyzt", "sc44_events"):
        study = tomllib.loads((STUDIES / f"{name}.toml").read_text())
        assert len(study["input"]["files"]) == 1
