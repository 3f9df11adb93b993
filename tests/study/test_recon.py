import csv
import json

import nibabel as nib
import numba as nb
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core import FileError, FitStatus, SettingsError
from psimg.study import memory, read_study, run_and_write, run_study
from psimg.study.compare_input import read_region_table, region_table_of

NAMES = {
    "mlem": {"activity"},
    "rate": {"tau_ops"},
    "simple": {"mean_lifetime"},
    "moment": {"tau_ops", "intensity_ops"},
    "split": {"tau_ops", "intensity_ops"},
    "em": {"tau_ops", "intensity_ops"},
    "penalised": {"tau_ops", "intensity_ops"},
    "regions": {"tau_ops", "intensity_ops"},
}
QUICK = "iterations = 3\nactivity_iterations = 2\nmin_counts = 5\n"


def recon(study_file, method, *, more=QUICK, **changes):
    """Give a study a method and voxels that are fine enough, and read it."""
    text = study_file.read_text().replace("voxel_mm = 20.0", "voxel_mm = 12.0")
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    study_file.write_text(f'{text}[recon]\nmethod = "{method}"\n{more}')
    return read_study(study_file)


def with_report(study_file, method, **further):
    return recon(study_file, method, formats=('"npz"]', '"npz", "report"]'), **further)


def numbers(result):
    images = result.images
    return [
        result.maps.voxel,
        result.maps.values,
        result.maps.errors,
        result.maps.status,
        images.counts,
        images.trace,
        np.array([images.n_triplets, images.n_pairs, images.n_unrelated]),
    ]


def image_of(folder, name):
    return np.asarray(nib.load(folder / "maps" / f"{name}.nii.gz").dataobj)


@pytest.mark.parametrize("method", NAMES)
def test_each_method_runs_from_singles_to_maps_and_a_report(study_file, tmp_path, method):
    reported = method in ("mlem", "simple", "em", "regions")
    study = (with_report if reported else recon)(study_file, method)

    result = run_and_write(study)

    folder = tmp_path / "results"
    written = {path.name.removesuffix(".nii.gz") for path in (folder / "maps").glob("*.gz")}
    assert NAMES[method] | {"counts", "status"} <= written
    assert "tau_ops_bound" not in written
    assert "deviance" not in written
    counts = image_of(folder, "counts")
    sidecar = json.loads((folder / "maps" / "counts.json").read_text())
    assert sidecar["Description"] == "true triplets expected of the voxel"
    assert sidecar["Method"] == method
    summary = json.loads((folder / "summary.json").read_text())
    said = summary["recon"]
    assert said["method"] == method
    assert 0 < said["n_triplets"] <= summary["n_events"]
    assert said["n_pairs"] > said["n_triplets"]
    assert said["pair_share"] == 1.0
    assert said["seconds"] == summary["seconds"]["images"] > 0
    assert 0 < said["n_unrelated"] < said["n_triplets"]
    # What is no random triplet is true, and most of it lies in the grid.
    expected = said["n_triplets"] - said["n_unrelated"]
    assert 0.5 * expected < counts.sum() < 1.2 * expected
    assert np.any(result.maps.status == FitStatus.OK)
    if reported:
        assert f'recon.method = "{method}"' in (folder / "report.html").read_text()
    assert (folder / "regions.csv").is_file()
    assert (folder / "regions_recon.csv").is_file() == (method == "regions")


def test_the_mean_life_over_an_image_is_that_of_all_events(study_file):
    result = run_study(recon(study_file, "penalised", more="min_counts = 20\n"))

    tau, counts = result.maps.image("tau_ops"), result.images.counts
    known = np.isfinite(tau)
    # Errors of voxels are even in ln tau. The image and the fit share their events: they differ by
    # less than the fit's error, by voxels that have no value and by noise that is not even.
    mean = np.exp(np.average(np.log(tau[known]), weights=counts[known]))
    assert counts[known].sum() > 0.8 * counts.sum()
    assert abs(mean - result.calibration.tau_ops_ns) < 2 * result.calibration.tau_ops_error_ns
    assert np.all(np.diff(result.images.trace) > 0)


@pytest.mark.parametrize("method", ["simple", "moment", "split", "em", "regions"])
def test_numbers_do_not_depend_on_chunks_or_threads(study_file, method):
    study = recon(study_file, method, more=QUICK + "most_pairs = 3000\n")
    before = nb.get_num_threads()
    results = [run_study(study)]
    try:
        nb.set_num_threads(min(2, nb.config.NUMBA_NUM_THREADS))
        results += [run_study(study, chunk_rows=7_001)]
    finally:
        nb.set_num_threads(before)

    one, other = map(numbers, results)
    assert results[0].images.pair_share < 1
    assert results[0].images.n_pairs <= 3000
    for a, b in zip(one, other, strict=True):
        assert_array_equal(a, b)


def test_a_given_activity_takes_the_place_of_the_pairs(study_file, tmp_path):
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = -96.0
    nib.save(nib.Nifti1Image(np.ones((17, 17, 17), np.float32), affine), tmp_path / "a.nii")

    result = run_study(recon(study_file, "em", more=QUICK + 'activity = "a.nii"\n'))

    assert result.images.n_pairs == 0
    used = result.images.counts[result.images.counts > 0]
    assert used.max() < 1.01 * used.min()  # as flat as what was given


def test_geometric_sensitivity_makes_the_activity_a_relative_one(study_file):
    result = run_study(recon(study_file, "mlem", more=QUICK + 'sensitivity = "geometric"\n'))

    assert result.maps.units == ("1",)
    assert np.nanmin(result.maps.values) >= 0


def test_bootstrap_replaces_the_errors_and_leaves_the_values(study_file):
    more = QUICK + 'errors = "bootstrap"\nreplicates = 4\n'
    one = run_study(recon(study_file, "em"))
    study_file.write_text(study_file.read_text().replace(QUICK, more))

    other = run_study(read_study(study_file))

    assert_array_equal(one.maps.values, other.maps.values)
    assert not np.array_equal(one.maps.errors, other.maps.errors, equal_nan=True)
    assert np.isfinite(other.maps.errors[:, 0]).any()


def test_an_image_without_a_fitted_voxel_makes_a_report(study_file, tmp_path):
    more = QUICK.replace("min_counts = 5", "min_counts = 1e9")

    result = run_and_write(with_report(study_file, "em", more=more))

    assert not np.any(result.maps.status == FitStatus.OK)
    assert "recon.min_counts" in result.warnings[-1]
    page = (tmp_path / "results" / "report.html").read_text()
    assert "No voxel has a fitted value" in page


def triplets_study(study_file, tmp_path, *, rng=None):
    """Make the input a file of triplets: points on the axis, seen on a ring."""
    rng = np.random.default_rng(3)
    n, radius, c = 4000, 410.0, 299.792458
    angle, other = rng.uniform(0, 2 * np.pi, (2, n))
    z = rng.uniform(-80.0, 80.0, n)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1) * radius
    third = np.stack([np.cos(other), np.sin(other), np.zeros(n)], axis=1) * radius
    flight = radius / c
    dt = rng.normal(0.0, 0.1, n) + rng.exponential(np.where(rng.random(n) < 0.4, 2.0, 0.3))
    start = np.arange(n) * 1000.0
    columns = {}
    for k, (point, time) in enumerate(
        ((ring, start + flight + dt), (-ring, start + flight + dt), (third, start + flight)), 1
    ):
        columns |= {f"time_{k}": time, f"x_{k}": point[:, 0], f"y_{k}": point[:, 1]}
        columns |= {f"z_{k}": point[:, 2] + z, f"energy_{k}": np.full(n, 511.0 if k < 3 else 1157)}
    np.savez(tmp_path / "triplets.npz", **columns)
    return {
        "files": ('"singles.root"', '"triplets.npz"'),
        "delays": ("delays_ns = [200.0, 300.0]\n", ""),
        "background": ('background = "delayed"', 'background = "flat"'),
    }


def test_triplets_are_their_own_image_of_activity(study_file, tmp_path):
    result = run_study(recon(study_file, "em", **triplets_study(study_file, tmp_path)))

    assert result.images.options.activity == "triplets"
    assert result.images.n_pairs == 0
    assert result.images.n_triplets > 3000
    assert result.images.random_scale != 1
    assert np.any(result.maps.status == FitStatus.OK)


def test_an_image_larger_than_the_memory_is_refused_before_anything_is_read(
    study_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "present_memory", lambda: 500_000)
    study = recon(study_file, "em", **triplets_study(study_file, tmp_path))

    match = r"study\.toml: .* 17 x 17 x 15 voxels with 4000 triplets needs 0\.0 GB .*larger voxels"
    with pytest.raises(SettingsError, match=match):
        run_study(study)


def test_lines_that_outgrow_the_memory_stop_the_run_and_nothing_is_written(
    study_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "present_memory", lambda: 500_000)

    with pytest.raises(SettingsError, match=r"triplets so far .*lower recon\.most_pairs"):
        run_and_write(recon(study_file, "em"), chunk_rows=5_000)

    assert not (tmp_path / "results").exists()


def test_located_events_hold_no_lines(study_file, tmp_path):
    rng = np.random.default_rng(5)
    columns = {axis: rng.normal(0, 30, 500) for axis in "xyz"} | {"dt": rng.exponential(2, 500)}
    np.savez(tmp_path / "events.npz", **columns)
    study = recon(
        study_file,
        "em",
        files=('"singles.root"', '"events.npz"'),
        delays=("delays_ns = [200.0, 300.0]\n", ""),
        background=('background = "delayed"', 'background = "flat"'),
        distance=("min_pair_distance_mm = 300.0\n", ""),
    )

    with pytest.raises(SettingsError, match=r"events\.npz: .* direction of each LOR, and located"):
        run_study(study)


@pytest.mark.parametrize(
    ("method", "more", "changes", "message"),
    [
        ("em", "", {"s": ('preset = "vision-quadra"', "")}, r"'em' needs the resolution of the ti"),
        ("em", "", {"s": ("voxel_mm = 12.0", "voxel_mm = 30.0")}, r"too coarse for a time of fl"),
        ("mlem", 'errors = "bootstrap"', {}, r"'bootstrap' is for images of lifetimes"),
        (
            "em",
            'sensitivity = "geometric"\nattenuation = "x.nii"',
            {},
            r"x\.nii: no such file; .*n",
        ),
        ("em", 'sensitivity = "x.nii"', {}, r"x\.nii: no such file; .*expected 'uniform', 'geome"),
        ("em", 'activity = "pears"', {}, r"pears: no such file; check recon\.activity; expected"),
        ("mlem", 'activity = "x.nii"', {}, r"reconstructs the activity, and recon\.activity ="),
        ("em", 'guide = "x.nii"', {}, r"recon\.guide is used by recon\.method = 'penalised' only"),
        ("penalised", 'guide = "x.nii"', {}, r"x\.nii: no such file; check recon\.guide$"),
    ],
)
def test_a_setting_that_does_not_go_with_the_method_is_an_error(
    study_file, method, more, changes, message
):
    with pytest.raises((SettingsError, FileError), match=message):
        recon(study_file, method, more=more + "\n", **changes)


def test_the_likelihood_of_regions_needs_regions(study_file):
    text = study_file.read_text().replace('object = "phantom"\n', "")
    study_file.write_text(text[: text.index("[[regions]]")])

    with pytest.raises(SettingsError, match=r"'regions' .* the study names none; add \[\[regions"):
        recon(study_file, "regions")


def test_a_free_mean_life_of_another_component_is_an_error(study_file):
    free = (
        'background = "delayed"\n',
        'background = "delayed"\n'
        '[[model.components]]\nname = "pps"\ntau_ns = 0.125\n'
        '[[model.components]]\nname = "direct"\ntau_ns = 0.4\nfree = true\n'
        '[[model.components]]\nname = "ops"\ntau_ns = 2.0\nfree = true\n',
    )

    with pytest.raises(SettingsError, match=r"leaves only the o-Ps lifetime free; fix the others"):
        recon(study_file, "em", free=free)


def test_an_image_that_is_not_finite_is_an_error_that_names_its_key(study_file, tmp_path):
    image = np.full((17, 17, 17), np.nan, np.float32)
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = -96.0
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii")

    with pytest.raises(Exception, match=r"a\.nii: recon\.activity: holds voxels that are not fi"):
        run_study(recon(study_file, "em", more=QUICK + 'activity = "a.nii"\n'))


def test_the_likelihood_of_regions_is_a_table(study_file, tmp_path):
    run_and_write(recon(study_file, "regions"))

    with (tmp_path / "results" / "regions_recon.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["region"] for row in rows] == ["phantom", "sphere_37mm"]
    assert all(float(row["n_triplets"]) > 0 for row in rows)


def test_nothing_of_an_earlier_method_stays_behind(study_file, tmp_path):
    run_and_write(recon(study_file, "regions"))
    (tmp_path / "results" / "notes.txt").write_text("mine")

    study_file.write_text(study_file.read_text().replace('"regions"', '"mlem"'))
    run_and_write(read_study(study_file), overwrite=True)

    assert not (tmp_path / "results" / "regions_recon.csv").exists()
    assert (tmp_path / "results" / "notes.txt").read_text() == "mine"


def test_a_comparison_reads_what_the_likelihood_of_regions_found(study_file, tmp_path):
    run_and_write(recon(study_file, "regions"))
    folder = tmp_path / "results"

    assert region_table_of(folder).name == "regions_recon.csv"
    rows = read_region_table(region_table_of(folder))

    with (folder / "regions_recon.csv").open() as file:
        first = next(csv.DictReader(file))
    assert rows[first["region"]].n_events == round(float(first["n_triplets"]))


def test_a_bad_image_is_found_before_anything_is_read(study_file, tmp_path, monkeypatch):
    write_nifti(tmp_path / "mu.nii.gz", np.full((4, 4, 4), 40.0))
    more = QUICK + 'sensitivity = "geometric"\nattenuation = "mu.nii.gz"\n'
    study = recon(study_file, "em", more=more)
    monkeypatch.setattr("psimg.study.run.read_files", lambda *_: pytest.fail("was read"))

    with pytest.raises(SettingsError, match="Hounsfield"):
        run_study(study)


def write_nifti(path, image):
    nib.save(nib.Nifti1Image(image, np.diag([60.0, 60.0, 60.0, 1.0])), path)
