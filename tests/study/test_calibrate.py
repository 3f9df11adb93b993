import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import Cylinder, DataError, FileError, Scanner, SettingsError
from psimg.events import OffsetOptions
from psimg.io import open_input, read_timing_table, write_gate9, write_timing_table
from psimg.simulate.toy import ToyDetector, simulate_singles
from psimg.simulate.toy_phantom import Phantom, Source
from psimg.study import (
    calibrate,
    calibrate_and_write,
    calibrate_timing,
    read_study,
    run_and_write,
)

SCANNER = Scanner(name="ring", radius_mm=410.0, length_mm=1060.0, crt_ns=0.228, energy_fwhm=0.1)
BLOCK = 16384
STUDY = """
[study]
isotope = "Sc-44"
[input]
files = ["singles.root"]
[select]
pair_window_ns = 2.0
min_pair_distance_mm = 300.0
delays_ns = [200.0, 300.0]
object = "phantom"
[grid]
voxel_mm = 40.0
extent_mm = [160.0, 160.0, 240.0]
[spectrum]
start_ns = -5.0
stop_ns = 15.0
[output]
formats = []
[[regions]]
name = "phantom"
shape = "cylinder"
centre_mm = [0.0, 0.0, 0.0]
radius_mm = 60.0
half_length_mm = 100.0
[[regions]]
name = "aside"
shape = "sphere"
centre_mm = [0.0, 60.0, 0.0]
radius_mm = 4.0
"""


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory):
    """A short acquisition with offsets per block of crystals and a walk; its folder and truth."""
    folder = tmp_path_factory.mktemp("timing")
    rng = np.random.default_rng(12)
    around, along = ToyDetector().crystals(SCANNER)
    block = np.arange(around * along) // BLOCK
    true = rng.normal(0.0, 0.1, block[-1] + 1)
    region = Cylinder(name="c", centre_mm=(0, 0, 0), radius_mm=60.0, half_length_mm=100.0)
    chunks = simulate_singles(
        Phantom(sources=(Source(region=region, activity_share=1.0, tau_ops_ns=2.0),)),
        scanner=SCANNER,
        activity_mbq=10.0,
        duration_s=0.03,
        rng=rng,
        detector=ToyDetector(offset_ns=true[block], walk_ns=0.5),
    )
    write_gate9(folder / "singles.root", chunks)
    return folder, true


@pytest.fixture
def study_file(acquisition, tmp_path):
    (tmp_path / "singles.root").symlink_to(acquisition[0] / "singles.root")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


@pytest.fixture(scope="module")
def calibration(acquisition):
    folder, _ = acquisition
    (folder / "study.toml").write_text(STUDY)
    return calibrate_timing(read_study(folder / "study.toml"), options=OffsetOptions(block=BLOCK))


def with_timing(study_file):
    text = study_file.read_text().replace("[input]", '[input]\ntiming = "timing.csv"')
    study_file.write_text(text)


def test_the_offsets_that_were_put_in_are_found_again(acquisition, calibration):
    _, true = acquisition

    table = calibration.table
    assert_array_equal(table.detector, np.arange(len(true)))
    pull = (table.offset_ns - (true - true.mean())) / table.error_ns
    assert np.sqrt(np.mean(pull**2)) < 1 + 4 / np.sqrt(2 * len(true))
    assert table.error_ns.max() < 0.02


def test_the_walk_that_was_put_in_is_found_again(calibration):
    walk = calibration.table.walk

    expected = 0.5 * np.sqrt(511.0 / walk.energy_kev)
    # The mean over the events is not that over the bins, and takes one of them.
    difference = walk.walk_ns - walk.walk_ns[-1] - (expected - expected[-1])
    assert np.abs(difference / np.hypot(walk.error_ns, walk.error_ns[-1])).max() < 4
    assert walk.walk_ns[0] > walk.walk_ns[-1] + 0.03


def test_offsets_and_walk_taken_off_narrow_the_spectrum_to_the_scanners_own_width(calibration):
    before, half_way, after = (
        fit.value("sigma_ns")
        for fit in (
            calibration.sigma_dt_before,
            calibration.sigma_dt_offsets,
            calibration.sigma_dt_after,
        )
    )

    assert before > 0.12
    assert half_way > after
    assert_allclose(after, SCANNER.sigma_dt_ns, atol=0.006)


def test_numbers_depend_neither_on_chunks_nor_on_pairs_kept(acquisition, calibration, monkeypatch):
    study = read_study(acquisition[0] / "study.toml")

    monkeypatch.setattr(calibrate, "_MAX_KEPT", 1000)
    other = calibrate_timing(study, options=OffsetOptions(block=BLOCK), chunk_rows=50_000)

    assert_array_equal(calibration.table.offset_ns, other.table.offset_ns)
    assert_array_equal(calibration.table.walk.walk_ns, other.table.walk.walk_ns)


def test_a_study_that_names_the_table_runs_on_corrected_times(study_file, calibration):
    write_timing_table(study_file.parent / "timing.csv", calibration.table)
    with_timing(study_file)

    result = run_and_write(read_study(study_file))

    # The table holds a tenth of a picosecond.
    assert_allclose(
        result.model.response.sigma_ns, calibration.sigma_dt_after.value("sigma_ns"), atol=1e-3
    )
    summary = json.loads((study_file.parent / "results" / "summary.json").read_text())
    assert summary["n_uncorrected"] == 0
    assert summary["timing"]["n_detectors"] == len(calibration.table)
    assert len(summary["timing"]["sha256"]) == 64
    assert summary["settings"]["input"]["timing"] == "timing.csv"
    assert not any("has no offset" in warning for warning in result.warnings)


def test_singles_of_detectors_that_the_table_lacks_are_counted_with_a_warning(
    study_file, calibration
):
    table = calibration.table
    shorter = replace(
        table,
        detector=table.detector[1:],
        offset_ns=table.offset_ns[1:],
        error_ns=table.error_ns[1:],
        n_pairs=table.n_pairs[1:],
    )
    write_timing_table(study_file.parent / "timing.csv", shorter)
    with_timing(study_file)

    result = run_and_write(read_study(study_file))

    (chunk,) = open_input(study_file.parent / "singles.root").chunks(10_000_000)
    n = np.count_nonzero(chunk.value.detector < BLOCK)
    assert result.counts["n_uncorrected"] == n > 0
    assert any(f"{n} of {result.counts['n_singles']} singles are of" in w for w in result.warnings)


def test_a_study_without_a_table_counts_nothing_of_it(study_file):
    run_and_write(read_study(study_file))

    summary = json.loads((study_file.parent / "results" / "summary.json").read_text())
    assert summary["timing"] is None
    assert "n_uncorrected" not in summary


def test_a_calibration_leaves_the_table_of_its_study_aside(study_file, calibration):
    with_timing(study_file)

    study = read_study(study_file, with_timing=False)
    made = calibrate_and_write(
        study, study_file.parent / "timing.csv", options=OffsetOptions(block=BLOCK)
    )

    assert_array_equal(made.table.offset_ns, calibration.table.offset_ns)
    written = read_timing_table(study_file.parent / "timing.csv")
    assert_allclose(written.offset_ns, made.table.offset_ns, atol=5e-5)


def test_a_table_that_is_missing_is_an_error_that_names_the_command(study_file):
    with_timing(study_file)

    with pytest.raises(FileError, match=r"timing.csv: no such timing table; 'psimg calibrate"):
        read_study(study_file)


def test_an_earlier_table_is_not_replaced(study_file):
    path = study_file.parent / "timing.csv"
    path.write_text("mine")

    with pytest.raises(FileError, match="exists already; use --overwrite"):
        calibrate_and_write(read_study(study_file), path)
    assert path.read_text() == "mine"


def test_a_region_that_is_not_there_is_an_error(study_file):
    with pytest.raises(SettingsError, match="no region 'x'; the study has phantom, aside"):
        calibrate_timing(read_study(study_file), region="x")


def test_a_study_that_says_not_where_the_activity_is_is_an_error(study_file):
    study_file.write_text(study_file.read_text().replace('object = "phantom"', ""))

    with pytest.raises(SettingsError, match=r"name its region with --region or select.object"):
        calibrate_timing(read_study(study_file))


def csv_study(tmp_path, header, row):
    (tmp_path / "singles.csv").write_text(f"{header}\n" + f"{row}\n" * 50)
    text = STUDY.replace("singles.root", "singles.csv")
    (tmp_path / "study.toml").write_text(text.replace("delays_ns = [200.0, 300.0]", ""))
    return tmp_path / "study.toml"


def test_singles_without_labels_cannot_be_calibrated_or_corrected(tmp_path, calibration):
    path = csv_study(tmp_path, "time,energy,x,y,z", "0,511,0,0,0")

    with pytest.raises(DataError, match="no detector labels, which the calibration needs"):
        calibrate_timing(read_study(path))
    write_timing_table(tmp_path / "timing.csv", calibration.table)
    with_timing(path)
    with pytest.raises(FileError, match=r"singles.csv: the singles have no detector labels"):
        run_and_write(read_study(path))
    assert not (tmp_path / "results").exists()


def test_files_of_located_events_cannot_be_calibrated_or_corrected(tmp_path, calibration):
    path = csv_study(tmp_path, "x,y,z,dt", "0,0,0,0.5")

    with pytest.raises(DataError, match="holds events, and the calibration needs singles"):
        calibrate_timing(read_study(path))
    write_timing_table(tmp_path / "timing.csv", calibration.table)
    with_timing(path)
    with pytest.raises(SettingsError, match=r"input.timing needs singles, and the input holds ev"):
        run_and_write(read_study(path))


def test_a_file_without_pairs_is_an_error_that_names_the_study(tmp_path):
    path = csv_study(tmp_path, "time,energy,x,y,z,detector", "0,900,0,0,0,1")

    with pytest.raises(DataError, match=r"study.toml: no annihilation pairs stand out"):
        calibrate_and_write(read_study(path), tmp_path / "timing.csv")
    assert not (tmp_path / "timing.csv").exists()


def test_the_command_prints_what_it_measured_and_writes_beside_the_study(
    study_file, monkeypatch, capsys
):
    import sys

    from psimg.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["psimg", "calibrate", str(study_file), *arguments])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    status, out, _ = run("--block", str(BLOCK))

    assert status == 0
    assert "17 with an offset of 16384 labels each" in out
    assert "ps before" in out
    assert f"timing table: {study_file.parent / 'timing.csv'}" in out
    status, _, err = run()
    assert status == 1
    assert err.splitlines()[-1].startswith(f"psimg: {study_file.parent / 'timing.csv'}: exists")
    status, _, err = run("--output", "other.csv", "--region", "nowhere")
    assert status == 1
    assert "no region 'nowhere'" in err
