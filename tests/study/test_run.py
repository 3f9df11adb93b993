import csv
import json

import nibabel as nib
import numba as nb
import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError, FitStatus, SettingsError
from psimg.events import cut_pairs, cut_triplets, find_triplets, locate_pairs, locate_triplets
from psimg.io import open_input
from psimg.spectra import estimate_levels
from psimg.study import read_study, run, run_and_write, run_study


def changed(study_file, *pairs):
    """Rewrite a study with some of its text replaced, and read it."""
    text = study_file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    study_file.write_text(text)
    return read_study(study_file)


def numbers(result):
    """Everything measured, as arrays to compare bit by bit."""
    return [
        result.total.counts,
        result.spectra.counts,
        result.spectra.delayed,
        result.maps.voxel,
        result.maps.values,
        result.maps.errors,
        result.maps.status,
        result.signals.counts,
        np.array([fit.values for fit in result.regions]),
        np.array([fit.errors for fit in result.regions]),
        np.array([result.counts[name] for name in sorted(result.counts)]),
    ]


def test_events_in_are_events_out_plus_events_dropped_at_every_stage(study_file):
    result = run_study(read_study(study_file))

    assert len(result.stages) == 5
    for stage in result.stages:
        assert stage.n_in == stage.n_out + sum(stage.dropped.values()), stage.name
        assert stage.n_out > 0
        assert min(stage.dropped.values()) >= 0
    counts = result.counts
    assert counts["n_rows"] == counts["n_singles"] + counts["n_bad"]
    assert counts["n_triplets"] == counts["n_located"] + counts["n_close_pairs"]
    assert counts["n_located"] == counts["n_events"] + counts["n_outside_object"]
    assert counts["n_events"] == counts["n_binned"] + counts["n_outside"] + counts["n_outside_dt"]
    assert counts["n_binned"] == result.counts_per_voxel.sum()
    assert 0 < counts["n_true_triplets"] < counts["n_triplets"]


CUTS = (
    "min_opening_deg = 90\nmin_prompt_distance_mm = 20\nmin_prompt_crystals = 5\n"
    'lor_through = "sphere_37mm"\nmax_tof_excess_ns = 0.5\nscatter_margin_ns = 0.05\n'
)


def test_each_geometric_rule_that_is_set_is_a_line_in_the_book(study_file, tmp_path):
    study = changed(
        study_file,
        ('preset = "vision-quadra"', 'preset = "vision-quadra"\ncrystals_around = 805'),
        ("min_pair_distance_mm = 300.0\n", "min_pair_distance_mm = 300.0\n" + CUTS),
    )

    result = run_and_write(study)

    names = ["n_close_pairs", "n_small_opening", "n_prompt_close", "n_prompt_neighbour",
             "n_lor_misses", "n_tof_excess", "n_scatter"]  # fmt: skip
    counts = result.counts
    (stage,) = [stage for stage in result.stages if stage.name == "geometry"]
    assert list(stage.dropped.values()) == [counts[name] for name in names]
    assert stage.n_in == stage.n_out + sum(stage.dropped.values())
    assert counts["n_lor_misses"] > counts["n_close_pairs"] > 0
    # A LOR through the sphere, to the crystal's size, is all that is left.
    assert 0 < counts["n_located"] < 0.5 * counts["n_triplets"]
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert [summary[name] for name in names] == list(stage.dropped.values())
    assert any("scatter_margin_ns = 0.05 drops good triplets too" in w for w in result.warnings)


def test_a_geometric_rule_that_is_not_set_has_no_count(study_file):
    counts = run_study(read_study(study_file)).counts

    assert "n_close_pairs" in counts
    assert "n_lor_misses" not in counts


def test_neighbouring_crystals_need_a_column_of_labels(study_file, tmp_path):
    study = changed(
        study_file,
        ("singles.root", singles_file(tmp_path, "singles.npz")),
        ('preset = "vision-quadra"', 'preset = "vision-quadra"\ncrystals_around = 805'),
        ("pair_window_ns = 2.0", "pair_window_ns = 2.0\nmin_prompt_crystals = 2"),
    )

    with pytest.raises(SettingsError, match=r"singles\.npz: .* the file has no column for it"):
        run_study(study)


@pytest.mark.parametrize("chunk_rows", [7_001, 50_000])
def test_numbers_do_not_depend_on_the_chunk_size(study_file, chunk_rows):
    study = read_study(study_file)

    one, other = run_study(study), run_study(study, chunk_rows=chunk_rows)

    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert_array_equal(a, b)


def test_numbers_do_not_depend_on_the_number_of_threads(study_file):
    study = read_study(study_file)
    before = nb.get_num_threads()
    results = []
    try:
        for n_thread in (1, min(2, nb.config.NUMBA_NUM_THREADS)):
            nb.set_num_threads(n_thread)
            results.append(run_study(study))
    finally:
        nb.set_num_threads(before)

    for a, b in zip(*map(numbers, results), strict=True):
        assert_array_equal(a, b)


def test_the_fitted_background_is_the_number_of_unrelated_prompts(study_file):
    study = read_study(study_file)
    options = study.settings.select
    (chunk,) = open_input(study.files[0]).chunks(10_000_000)
    triplets = find_triplets(chunk.value, options=options).triplets
    triplets = cut_triplets(triplets, options=options).triplets
    events = locate_triplets(triplets)
    edges = study.settings.spectrum.edges_ns
    counted = study.object.contains(events.position_mm) & (triplets.window == 0)
    counted &= (events.dt_ns >= edges[0]) & (events.dt_ns < edges[-1])
    # Of the randoms these are flat in dt: the prompt shares its decay with neither photon.
    unrelated = (triplets.decay[:, 2:] != triplets.decay[:, :2]).all(axis=1)
    n_flat = np.count_nonzero(counted & unrelated)

    phantom = run_study(study).regions[0]

    assert phantom.status == FitStatus.OK
    assert n_flat > 1000
    # Both are Poisson: the truth itself, and the estimate from two delayed windows and the fit.
    spread = np.hypot(np.sqrt(n_flat), phantom.error("background"))
    assert abs(phantom.value("background") - n_flat) < 3 * spread


def test_a_response_from_the_study_is_not_fitted(study_file):
    study = changed(
        study_file, ("[output]", "[model.response]\nmu_ns = 0.0\nsigma_ns = 0.09\n[output]")
    )

    result = run_study(study)

    assert result.model.response.mu_ns == 0.0
    assert result.model.response.sigma_ns == 0.09
    assert "sigma_ns" not in result.calibration.parameters


def test_a_study_without_regions_fits_all_events_as_one(study_file):
    text = study_file.read_text().split("[[regions]]")[0]
    study_file.write_text(text.replace('object = "phantom"\n', ""))

    result = run_study(read_study(study_file))

    assert [fit.name for fit in result.regions] == ["all"]
    assert result.regions[0].n_events == result.total.counts.sum()
    assert result.regions[0].n_events == result.counts["n_binned"]
    assert result.counts["n_outside_regions"] == result.counts["n_outside"]


def test_too_few_events_for_the_response_are_said_and_the_scanners_width_is_used(study_file):
    study = changed(study_file, ("[grid]", "[fit]\nmin_counts = 1000000\n[grid]"))

    result = run_study(study)

    assert result.calibration.status == FitStatus.TOO_FEW_COUNTS
    assert_allclose(result.model.response.sigma_ns, study.scanner.sigma_dt_ns)
    assert any("time response could not be fitted" in text for text in result.warnings)
    assert any("no voxel has a fitted lifetime" in text for text in result.warnings)
    assert any("no value for phantom, sphere_37mm" in text for text in result.warnings)


def test_files_are_acquisitions_of_their_own(study_file, tmp_path):
    (tmp_path / "again.root").symlink_to(tmp_path / "singles.root")
    one = run_study(read_study(study_file))

    two = run_study(changed(study_file, ('["singles.root"]', '["singles.root", "again.root"]')))

    for name in ("n_rows", "n_pairs", "n_triplets", "n_events"):
        assert two.counts[name] == 2 * one.counts[name]


def test_files_of_different_content_are_an_error(study_file, tmp_path):
    (tmp_path / "events.csv").write_text("x,y,z,dt\n0,0,0,1\n")
    study = changed(study_file, ('["singles.root"]', '["singles.root", "events.csv"]'))

    with pytest.raises(DataError, match="the input files hold different things: events, singles"):
        run_study(study)


def test_a_histogram_larger_than_the_machine_is_an_error_before_anything_is_read(study_file):
    study = changed(study_file, ("voxel_mm = 20.0", "voxel_mm = 0.05"))

    with pytest.raises(SettingsError, match=r"4000 x 4000 x 3600 voxels with 200 time bins needs"):
        run_study(study)


def test_triplets_from_a_table_give_the_events_that_the_singles_gave(study_file, tmp_path):
    result = run_study(read_study(study_file))
    options = read_study(study_file).settings.select
    (chunk,) = open_input(tmp_path / "singles.root").chunks(10_000_000)
    triplets = find_triplets(chunk.value, options=options).triplets
    triplets = triplets.take(triplets.window == 0)
    columns = {}
    for i in range(3):
        columns[f"time_{i + 1}_ns"] = triplets.time_ns[:, i]
        columns[f"energy_{i + 1}_kev"] = triplets.energy_kev[:, i]
        for axis, name in enumerate("xyz"):
            columns[f"{name}_{i + 1}_mm"] = triplets.position_mm[:, i, axis]
    np.savez(tmp_path / "triplets.npz", **columns)

    again = run_study(
        changed(
            study_file,
            ("singles.root", "triplets.npz"),
            ("delays_ns = [200.0, 300.0]", ""),
            ('background = "delayed"', ""),
        )
    )

    assert again.counts["n_triplets"] == result.counts["n_triplets"]
    assert_array_equal(again.total.counts, result.total.counts)


def test_the_output_directory_holds_what_the_contract_names(study_file, tmp_path):
    result = run_and_write(read_study(study_file))

    out = tmp_path / "results"
    maps = ["tau_ops", "tau_ops_error", "tau_ops_bound", "intensity_ops", "intensity_ops_error",
            "counts", "background", "deviance", "status"]  # fmt: skip
    expected = {"summary.json", "regions.csv", "maps", "spectra.root", "spectra.npz", "psimg.log"}
    assert {path.name for path in out.iterdir()} == expected
    assert {path.name for path in (out / "maps").iterdir()} == {
        f"{name}.{ending}" for name in maps for ending in ("nii.gz", "json")
    }
    summary = json.loads((out / "summary.json").read_text())
    for name, value in result.counts.items():
        assert summary[name] == value
    assert summary["settings"]["select"]["prompt_kev"] == [700.0, 1300.0]
    assert len(summary["inputs"][0]["sha256"]) == 64
    assert summary["peak_memory_mb"] > 0
    assert set(summary["seconds"]) >= {"read", "select", "locate", "histogram", "fit_voxels"}
    assert summary["versions"]["psimg"]
    assert "energy windows:" in (out / "psimg.log").read_text()


def test_regions_csv_holds_the_fits(study_file, tmp_path):
    result = run_and_write(read_study(study_file))

    with (tmp_path / "results" / "regions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "region", "n_events", "tau_ops_ns", "tau_ops_error_ns", "intensity_ops",
        "intensity_ops_error", "background_fraction", "deviance", "ndf", "status", "p_value",
        "tau_ops_low_ns", "tau_ops_high_ns",
    ]  # fmt: skip
    for row, fit in zip(rows, result.regions, strict=True):
        assert row["region"] == fit.name
        assert int(row["n_events"]) == fit.n_events
        assert_allclose(float(row["tau_ops_ns"]), fit.tau_ops_ns, rtol=1e-6)
        assert row["status"] == "ok"
        assert 0 < float(row["p_value"]) <= 1
        assert row["tau_ops_low_ns"] == row["tau_ops_high_ns"] == ""


def test_profile_intervals_are_in_the_table_and_in_maps(study_file, tmp_path):
    result = run_and_write(changed(study_file, ("[grid]", '[fit]\nintervals = "profile"\n[grid]')))

    with (tmp_path / "results" / "regions.csv").open() as file:
        for row, fit in zip(csv.DictReader(file), result.regions, strict=True):
            low, high = float(row["tau_ops_low_ns"]), float(row["tau_ops_high_ns"])
            assert low < fit.tau_ops_ns < high
            assert_allclose(high - low, 2 * fit.tau_ops_error_ns, rtol=0.2)
    directory = tmp_path / "results" / "maps"
    images = [
        nib.load(directory / f"{name}.nii.gz").get_fdata()
        for name in ("tau_ops_low", "tau_ops", "tau_ops_high")
    ]
    fitted = np.isfinite(images[1])
    assert fitted.any()
    assert np.all(images[0][fitted] <= images[1][fitted])
    assert np.all(images[1][fitted] <= images[2][fitted])


def test_the_bound_of_a_voxel_is_of_the_size_of_its_errors(study_file):
    result = run_study(read_study(study_file))

    fitted = result.maps.status == FitStatus.OK
    ratio = result.maps.errors[fitted, 0] / result.bound_ns[fitted]
    assert 0.3 < np.median(ratio) < 3
    assert np.all(np.isfinite(result.bound_ns) | ~fitted)


def test_a_region_without_a_fit_has_empty_cells_and_a_status(study_file, tmp_path):
    run_and_write(changed(study_file, ("[grid]", "[fit]\nmin_counts = 1000000\n[grid]")))

    with (tmp_path / "results" / "regions.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["tau_ops_ns"] == ""
    assert row["status"] == "too_few_counts"
    json.loads((tmp_path / "results" / "summary.json").read_text())


def test_spectra_hold_counts_and_fitted_components(study_file, tmp_path):
    result = run_and_write(read_study(study_file))

    with np.load(tmp_path / "results" / "spectra.npz") as arrays:
        assert_array_equal(arrays["regions"], ["phantom", "sphere_37mm"])
        assert_array_equal(arrays["counts"], result.spectra.counts)
        for kind, name in enumerate(("delayed_prompt", "delayed_photon", "delayed_both")):
            assert_array_equal(arrays[name], result.spectra.delayed[:, kind])
        assert not arrays["class_2"].any()  # no windows tell it
        total = sum(arrays[name] for name in ("pps", "direct", "ops", "background"))
    assert_allclose(total[0], result.regions[0].expected.sum(axis=0))
    with uproot.open(tmp_path / "results" / "spectra.root") as file:
        counts, edges = file["sphere_37mm/counts"].to_numpy()
    assert_array_equal(counts, result.spectra.counts[1])
    assert_allclose(edges, result.spectra.edges_ns)


def test_a_sphere_at_plus_x_y_z_appears_there_in_world_coordinates(tmp_path):
    rng = np.random.default_rng(6)
    centre = np.array([40.0, 60.0, 80.0])
    point = centre + rng.uniform(-6, 6, (4000, 3))
    dt = np.where(rng.random(4000) < 0.4, rng.exponential(2.0, 4000), rng.exponential(0.388, 4000))
    dt = dt + 0.1 * rng.standard_normal(4000)
    # As the scanner's export has it: world = (-c0, +c2, -c1).
    records = np.stack([-point[:, 0], -point[:, 2], point[:, 1], dt], axis=1)
    records.astype("<f8").tofile(tmp_path / "events.l")
    (tmp_path / "study.toml").write_text(
        """
        [input]
        files = ["events.l"]
        [grid]
        voxel_mm = [4.0, 5.0, 10.0]
        extent_mm = [200.0, 200.0, 200.0]
        centre_mm = [10.0, 0.0, 0.0]
        [output]
        formats = ["nifti"]
        [[regions]]
        name = "ball"
        shape = "sphere"
        centre_mm = [40.0, 60.0, 80.0]
        radius_mm = 11.0
        """
    )

    result = run_and_write(read_study(tmp_path / "study.toml"))

    image = nib.load(tmp_path / "results" / "maps" / "counts.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    counts = np.asarray(image.dataobj)
    index = np.argwhere(counts > 0)
    world = nib.affines.apply_affine(image.affine, index)
    mean = np.average(world, axis=0, weights=counts[counts > 0])
    # Voxels are centred on multiples of their size; within one the points are uniform.
    assert_allclose(mean, point.mean(axis=0), atol=1.5)
    assert result.regions[0].n_events == result.counts["n_events"] - result.counts["n_outside_dt"]
    sidecar = json.loads((tmp_path / "results" / "maps" / "tau_ops.json").read_text())
    assert sidecar["Units"] == "ns"


def test_overwriting_replaces_results_and_keeps_what_is_not_psimgs(study_file, tmp_path):
    study = read_study(study_file)
    run_and_write(study)
    mine = tmp_path / "results" / "notes.txt"
    mine.write_text("mine")
    (tmp_path / "results" / "regions.csv").write_text("old")

    run_and_write(study, overwrite=True)

    assert mine.read_text() == "mine"
    assert (tmp_path / "results" / "regions.csv").read_text() != "old"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_spectrum_that_the_model_does_not_describe_is_a_warning_with_a_hint(tmp_path):
    rng = np.random.default_rng(1)
    dt = np.concatenate([rng.exponential(1.0, 20_000), rng.uniform(-3, 0, 6_000)])
    np.savez(tmp_path / "events.npz", dt_ns=dt, **{f"{a}_mm": np.zeros(len(dt)) for a in "xyz"})
    (tmp_path / "study.toml").write_text(
        '[input]\nfiles = ["events.npz"]\n[grid]\nshape = [2, 2, 2]\n[output]\nformats = []\n'
    )

    result = run_study(read_study(tmp_path / "study.toml"))

    assert result.calibration.is_poor
    assert any("does not describe" in text and "select.object" in text for text in result.warnings)
    assert any("spectrum of all" in text for text in result.warnings)


def events_study(folder, text="", x_mm=0.0):
    rng = np.random.default_rng(1)
    dt = rng.exponential(1.0, 3000) + 0.1 * rng.standard_normal(3000)
    columns = {f"{axis}_mm": rng.uniform(-9, 9, 3000) for axis in "yz"}
    np.savez(folder / "events.npz", x_mm=x_mm + rng.uniform(-9, 9, 3000), dt_ns=dt, **columns)
    (folder / "study.toml").write_text(
        '[input]\nfiles = ["events.npz"]\n[grid]\nshape = [4, 4, 4]\n[output]\nformats = []\n'
        + text
    )
    return read_study(folder / "study.toml")


def test_delayed_windows_on_anything_but_singles_are_an_error(tmp_path):
    study = events_study(
        tmp_path, '[select]\ndelays_ns = [200.0]\n[model]\nbackground = "delayed"\n'
    )

    with pytest.raises(
        SettingsError, match=r"delayed windows .* need singles, and the input holds events"
    ):
        run_study(study)


def singles_file(tmp_path, name, **changes):
    """The acquisition as a table, with some columns changed (None leaves one out)."""
    (chunk,) = open_input(tmp_path / "singles.root").chunks(10_000_000)
    singles = chunk.value
    columns = {"time_ns": singles.time_ns, "energy_kev": singles.energy_kev}
    columns |= {f"{axis}_mm": singles.position_mm[:, k] for k, axis in enumerate("xyz")}
    columns |= {key: change(singles) if change else None for key, change in changes.items()}
    columns = {key: column for key, column in columns.items() if column is not None}
    np.savez(tmp_path / name, **columns)
    return name


def in_tot(tmp_path):
    def tot(singles):
        return singles.energy_kev / 32.0  # a power of two: windows and values round alike

    return singles_file(tmp_path, "tot.npz", energy_kev=None, tot_ns=tot)


def test_windows_on_time_over_threshold_give_what_those_on_energies_gave(study_file, tmp_path):
    by_energy = run_study(read_study(study_file))
    study = changed(
        study_file,
        ("singles.root", in_tot(tmp_path)),
        (
            "[select]",
            f"[select]\nannihilation_tot_ns = [{430 / 32}, {600 / 32}]\n"
            f"prompt_tot_ns = [{700 / 32}, {1300 / 32}]",
        ),
        ('"npz"]', '"npz", "report"]'),
    )

    by_tot = run_and_write(study)

    for name in ("n_annihilation", "n_prompt", "n_pairs", "n_triplets", "n_events", "n_binned"):
        assert by_tot.counts[name] == by_energy.counts[name]
    assert_array_equal(by_tot.maps.status, by_energy.maps.status)
    assert by_tot.stages[1].name == "time over threshold windows"
    page = (tmp_path / "results" / "report.html").read_text()
    assert "Times over threshold of the singles" in page
    assert "nergies of the singles" not in page
    assert (tmp_path / "results" / "figures" / "tot.png").exists()


def test_energy_windows_of_an_isotope_on_times_over_threshold_are_an_error(study_file, tmp_path):
    study = changed(study_file, ("singles.root", in_tot(tmp_path)))

    with pytest.raises(
        SettingsError, match=r"tot\.npz: .* \(those of Sc-44, where not set\) are on"
    ):
        run_study(study)


def test_windows_on_times_over_threshold_that_a_file_lacks_are_an_error(study_file):
    study = changed(
        study_file,
        ("[select]", "[select]\nannihilation_tot_ns = [10, 25]\nprompt_tot_ns = [30, 50]"),
    )

    with pytest.raises(SettingsError, match=r"singles\.root: .* no column for them; map tot in"):
        run_study(study)


def test_a_window_that_keeps_no_single_is_an_error_that_says_where_they_are(study_file):
    study = changed(study_file, ("[select]", "[select]\nprompt_kev = [1900, 1990]"))

    with pytest.raises(
        DataError,
        match=r"prompt_kev = \[1900, 1990\] keeps none of \d+ singles; their energies have maxima "
        r"at .*51\d.* keV and 99 % lie below 1\d+ keV; move the window, or check the unit",
    ):
        run_study(study)


def test_energies_in_a_wrong_unit_are_an_error_that_shows_it(study_file, tmp_path):
    name = singles_file(tmp_path, "mev.npz", energy_kev=lambda singles: 1e-3 * singles.energy_kev)
    study = changed(study_file, ("singles.root", name))

    with pytest.raises(
        DataError, match=r"annihilation_kev = .* keeps none of .* 99 % lie below 5 keV"
    ):
        run_study(study)


def test_geometric_rules_that_drop_every_triplet_are_an_error_that_names_them(study_file):
    study = changed(study_file, ("min_pair_distance_mm = 300.0", "min_pair_distance_mm = 9999"))

    with pytest.raises(
        DataError, match=r"drop all (\d+) triplets \(min_pair_distance_mm \1\); relax them"
    ):
        run_study(study)


def test_an_overflow_bin_beyond_the_prompt_window_is_a_warning(study_file, tmp_path):
    # The scale of the Quadra ends near 726 keV, and its last bin holds what is above.
    name = singles_file(
        tmp_path, "cut.npz", energy_kev=lambda singles: np.minimum(singles.energy_kev, 726.0)
    )
    below = changed(
        study_file, ("singles.root", name), ("[select]", "[select]\nprompt_kev = [650, 720]")
    )
    low = run_study(below)
    open_end = run_study(changed(study_file, ("[650, 720]", "[720, inf]")))

    assert any(
        "have energies of 725 to 730 keV and none has more" in text
        and "prompt_kev = [650, 720] does not reach it; prompt_kev = [650, inf] would" in text
        for text in low.warnings
    )
    assert not any("overflow" in text for text in open_end.warnings)
    assert open_end.counts["n_prompt"] > low.counts["n_prompt"]


def test_an_open_window_is_a_word_in_the_summary(study_file, tmp_path):
    run_and_write(changed(study_file, ("[select]", "[select]\nprompt_kev = [700, inf]")))

    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["settings"]["select"]["prompt_kev"] == [700.0, "inf"]


def test_geometric_rules_on_located_events_are_an_error(tmp_path):
    study = events_study(tmp_path, "[select]\nscatter_margin_ns = 0.2\n")

    with pytest.raises(SettingsError, match="scatter_margin_ns needs singles or triplets, and the"):
        run_study(study)


def test_a_study_that_leaves_no_event_is_an_error_that_says_where_they_went(tmp_path):
    study = events_study(tmp_path, x_mm=500.0)

    with pytest.raises(
        DataError, match=r"study\.toml: no event is left of 3000: 0 lie outside the object, 3000"
    ):
        run_and_write(study)

    assert not (tmp_path / "results").exists()


def test_windows_that_no_triplet_passes_are_an_error(study_file):
    study = changed(study_file, ("pair_window_ns = 2.0", "pair_window_ns = 1e-9"))

    with pytest.raises(DataError, match=r"no triplet was found; check the windows in \[select\]"):
        run_study(study)


def test_a_region_that_reaches_beyond_the_grid_is_a_warning(tmp_path):
    study = events_study(
        tmp_path,
        '[[regions]]\nname = "big"\nshape = "sphere"\ncentre_mm = [0, 0, 0]\nradius_mm = 50\n',
    )

    result = run_study(study)

    assert any("big: reaches beyond the grid" in text for text in result.warnings)


def test_a_prompt_window_that_cuts_into_the_spectrum_is_a_warning(study_file):
    study = changed(
        study_file, ("pair_window_ns = 2.0", "pair_window_ns = 2.0\nprompt_window_ns = [-5, 15]")
    )

    result = run_study(study)

    assert any("prompt_window_ns = [-5, 15] cuts raw times" in text for text in result.warnings)
    wide = changed(study_file, ("prompt_window_ns = [-5, 15]", "prompt_window_ns = [-20, 40]"))
    assert not any("cuts raw times" in text for text in run_study(wide).warnings)


FOUR_SET = (
    (
        "delays_ns = [200.0, 300.0]",
        "delays_ns = [200.0, 300.0]\nphoton_delays_ns = [200.0, -200.0]",
    ),
    ('background = "delayed"', 'background = "four-set"'),
)


def test_the_summary_holds_the_classes_of_randoms_beside_the_truth(study_file, tmp_path):
    result = run_and_write(changed(study_file, *FOUR_SET))

    randoms = json.loads((tmp_path / "results" / "summary.json").read_text())["randoms"]
    assert randoms["n_windows"] == {"delayed_prompt": 2, "delayed_photon": 2, "delayed_both": 2}
    assert [row["name"] for row in randoms["spectra"]] == ["all", "phantom", "sphere_37mm"]
    every, phantom, _ = randoms["spectra"]
    assert every["n_events"] == sum(randoms["truth"].values()) == result.total.counts.sum()
    assert phantom["n_events"] == result.regions[0].n_events
    truth = randoms["truth"]
    for row, true in (
        ("class_2", truth["class_2"]),
        ("unrelated", truth["class_1"] + truth["class_3"]),
        ("total", truth["class_1"] + truth["class_2"] + truth["class_3"]),
    ):
        assert abs(every[row] - true) < 4 * np.hypot(every[f"{row}_error"], np.sqrt(true))
    assert_allclose(randoms["class_2_share"], every["class_2"] / result.randoms.signal)
    assert randoms["shape"]["order"] == 0
    assert 0 < randoms["shape"]["p_flat"] <= 1
    assert randoms["sideband"]["n_events"] > 0
    assert randoms["sideband"]["stop_ns"] < 0
    assert randoms["tau_ops_four_set_ns"] == randoms["tau_ops_ns"]
    assert randoms["tau_ops_error_ns"] > 0
    with np.load(tmp_path / "results" / "spectra.npz") as arrays:
        assert arrays["class_2"][0].sum() > 0
        assert np.all(arrays["class_2"] <= arrays["background"])


def test_classes_that_no_window_tells_are_null_in_the_summary(study_file, tmp_path):
    run_and_write(read_study(study_file))

    randoms = json.loads((tmp_path / "results" / "summary.json").read_text())["randoms"]
    row = randoms["spectra"][0]
    assert row["unrelated"] > 0
    for name in ("class_1", "class_2", "class_3", "total", "total_error"):
        assert row[name] is None
    assert randoms["class_2_share"] is None
    assert randoms["tau_ops_four_set_ns"] is None


def test_located_events_have_a_sideband_and_no_classes(tmp_path):
    study = events_study(tmp_path)

    run_and_write(study)

    randoms = json.loads((tmp_path / "results" / "summary.json").read_text())["randoms"]
    assert sum(randoms["n_windows"].values()) == 0
    assert randoms["truth"] is None
    assert randoms["shape"] is None
    assert randoms["spectra"][0]["unrelated"] is None
    assert set(randoms["sideband"]) == {"stop_ns", "n_events", "p_flat"}


def test_the_levels_of_voxels_come_from_the_pairs_located_in_the_object(study_file, monkeypatch):
    study = read_study(study_file)
    given = []

    def watched(spectra, *, pairs, with_class_2):
        given.append(pairs)
        return estimate_levels(spectra, pairs=pairs, with_class_2=with_class_2)

    monkeypatch.setattr(run, "estimate_levels", watched)

    run_study(study)

    options = study.settings.select
    (chunk,) = open_input(study.files[0]).chunks(10_000_000)
    pairs = find_triplets(chunk.value, options=options, with_pairs=True).pairs
    point = locate_pairs(cut_pairs(pairs, options=options))
    voxel = study.grid.voxel_of(point[study.object.contains(point)])
    expected = np.bincount(voxel[voxel >= 0], minlength=study.grid.n_voxel)
    assert expected.sum() > 1000
    assert_array_equal(given[0], expected)
