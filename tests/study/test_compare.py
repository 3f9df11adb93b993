import csv
import json
import math

import matplotlib.image
import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import DataError, FileError, SettingsError, Sphere, VoxelGrid
from psimg.io.nifti import read_image, write_map
from psimg.report.comparison_figure import draw_comparison
from psimg.study.compare import as_dict, compare_results, draw_results
from psimg.study.compare_text import describe_comparison

GRID = VoxelGrid.centred(shape=(10, 11, 6), voxel_mm=(8.0, 8.0, 8.0))
BALL = {"name": "ball", "shape": "sphere", "centre_mm": [4.0, 0.0, 4.0], "radius_mm": 20.0}
ORGAN = {"name": "organ", "shape": "mask", "file": "organ.nii.gz", "label": None}
STUDY = """
[input]
files = ["not_here_*.root"]
[[regions]]
name = "small"
shape = "sphere"
centre_mm = [4.0, 0.0, 4.0]
radius_mm = 10.0
[[regions]]
name = "organ"
shape = "mask"
file = "organ.nii.gz"
"""


def write_image(directory, name, image, grid=GRID, **sidecar):
    directory.mkdir(parents=True, exist_ok=True)
    write_map(directory, name, image, grid, sidecar=sidecar)
    return directory / f"{name}.nii.gz"


def write_results(directory, seed, *, regions=(BALL,), sha256="0", rows=(("ball", 900, 2.5, 0.1),)):
    """Write what a run leaves of its maps and regions; return the directory."""
    rng = np.random.default_rng(seed)
    error = rng.uniform(0.1, 0.3, GRID.shape)
    image = 2.5 + error * rng.normal(size=GRID.shape)
    image[rng.random(GRID.shape) < 0.1] = np.nan
    maps = directory / "maps"
    write_image(maps, "tau_ops", image, Name="tau_ops", Units="ns", InputSha256=[sha256])
    write_image(maps, "tau_ops_error", error, Name="tau_ops_error", Units="ns")
    write_image(maps, "intensity_ops", image / 10, Name="intensity_ops", Units="1")
    counts = rng.poisson(400, GRID.shape).astype(float)
    write_image(maps, "counts", counts, Name="counts", Units="counts")
    (directory / "summary.json").write_text(json.dumps({"settings": {"regions": list(regions)}}))
    with (directory / "regions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["region", "n_events", "tau_ops_ns", "tau_ops_error_ns", "intensity_ops"])
        writer.writerows([*row, ""] for row in rows)
    return directory


@pytest.fixture
def two(tmp_path):
    a = write_results(tmp_path / "a", 1, rows=[("ball", 900, 2.5, 0.3), ("only a", 5, "", "")])
    b = write_results(
        tmp_path / "b", 2, sha256="1", rows=[("ball", 800, 2.0, 0.4), ("only b", 70, 1.9, "")]
    )
    return a, b


def test_two_runs_are_compared_in_all_voxels_and_the_regions_of_the_first(two):
    found = compare_results(*two)

    a, b = (read_image(d / "maps" / "tau_ops.nii.gz")[1] for d in two)
    both = np.isfinite(a) & np.isfinite(b)
    assert found.maps.names == ("all voxels", "ball")
    assert found.maps.n_both[0] == both.sum()
    assert_allclose(found.maps.difference[0], np.mean((a - b)[both]))
    assert found.maps.with_errors == ("A", "B")
    n = int(found.maps.n_pull[0])
    assert abs(found.maps.pull_width[0] - 1.0) < 4 / math.sqrt(2 * n)
    assert found.notes == ()
    assert found.unit == "ns"


def test_the_tables_of_regions_stand_side_by_side(two):
    ball, only_a, only_b = compare_results(*two).fits

    assert (ball.region, ball.n_events_a, ball.n_events_b) == ("ball", 900, 800)
    assert_allclose([ball.difference_ns, ball.pull], [0.5, 1.0])
    assert (only_a.n_events_b, only_a.difference_ns, only_a.pull) == (None, None, None)
    assert (only_b.n_events_a, only_b.tau_ops_b_ns, only_b.error_b_ns) == (None, 1.9, None)


def test_a_run_compared_with_itself_differs_nowhere_and_says_that_the_data_are_the_same(two):
    found = compare_results(two[0], two[0])

    assert not found.maps.difference.any()
    assert not found.maps.rmse.any()
    assert [pair.difference_ns for pair in found.fits] == [0.0, None]
    (note,) = found.notes
    assert note.startswith("A and B are from the same data")


def test_exchanging_the_runs_changes_signs(two):
    one, two_ = compare_results(two[0], two[1]), compare_results(two[1], two[0])

    assert_allclose(one.maps.difference, -two_.maps.difference)
    assert one.fits[0].pull == -two_.fits[0].pull


def test_a_truth_may_be_on_either_side_and_on_a_grid_of_its_own(two, tmp_path):
    fine = VoxelGrid.centred(shape=(40, 40, 30), voxel_mm=(2.5, 2.5, 2.5))
    image = np.full(fine.shape, 2.5)
    image[:, :, :3] = 0.0
    truth = write_image(tmp_path, "truth", image, fine, Name="tau_ops", Units="ns")

    found = compare_results(two[0], truth)
    other = compare_results(truth, two[0])

    assert found.maps.resampled
    assert found.maps.with_errors == ("A",)
    assert_allclose(found.maps.mean_b, 2.5, rtol=1e-6)
    assert found.notes == (
        "B is on another grid: interpolated linearly at A's voxels, which smooths its noise "
        "and its edges; draw a truth with edges on A's grid",
        "4,800 voxels of B are 0 and count as without a value",
    )
    assert found.fits == other.fits == ()
    assert other.maps.grid.shape == fine.shape
    assert other.maps.names == ("all voxels", "ball")


def test_files_of_their_own_have_the_errors_beside_them(two, tmp_path):
    a = two[0] / "maps" / "tau_ops.nii.gz"
    bare = write_image(tmp_path / "bare", "other", np.full(GRID.shape, 2.0))
    bare.with_name("other.json").unlink()

    found = compare_results(a, bare)
    alone = compare_results(bare, bare)

    assert found.maps.with_errors == ("A",)
    assert found.maps.names == ("all voxels",)
    assert (found.unit, alone.unit) == ("ns", None)
    assert "no pulls: neither map has a map of its errors" in describe_comparison(alone)
    assert describe_comparison(alone).startswith("other\n")


def test_another_map_of_the_runs(two):
    found = compare_results(*two, map_name="intensity_ops")

    assert found.a.name == "intensity_ops"
    assert found.maps.with_errors == ()
    assert describe_comparison(found).startswith("intensity_ops\nA  ")


def test_regions_of_a_study_file_need_no_input(two, tmp_path):
    organ = np.zeros(GRID.shape, np.uint8)
    organ[2:4, 2:4, 2:4] = 1
    write_image(tmp_path, "organ", organ)
    (tmp_path / "study.toml").write_text(STUDY)

    found = compare_results(*two, regions=tmp_path / "study.toml")

    assert found.maps.names == ("all voxels", "small", "organ")
    n = found.maps.n_both[2] + found.maps.n_only_a[2] + found.maps.n_only_b[2]
    assert 6 <= n <= 8


def test_masks_of_a_summary_are_left_out_with_a_note(two):
    write_results(two[0], 1, regions=(BALL, ORGAN))

    found = compare_results(*two)

    assert found.maps.names == ("all voxels", "ball")
    assert found.notes == (
        "left out: organ, from files; give the study file with --regions to have them",
    )


def test_results_without_regions_or_summary_have_one_row(two):
    (two[0] / "summary.json").unlink()
    (two[0] / "regions.csv").unlink()
    write_results(two[1], 2, regions=())

    found = compare_results(*two)

    assert found.maps.names == ("all voxels",)
    assert found.fits == ()


def test_the_text_has_a_line_for_each_region(two):
    lines = describe_comparison(compare_results(*two)).splitlines()

    assert lines[0] == "tau_ops [ns]"
    assert any(line.startswith("voxels with a value: ") for line in lines)
    (ball,) = (line for line in lines if line.startswith("ball") and "+-" in line)
    assert " ".join(ball.split()) == "ball 900 800 2.500 +- 0.300 2.000 +- 0.400 +0.500 +1.0"
    (only_a,) = (line for line in lines if line.startswith("only a"))
    assert " ".join(only_a.split()) == "only a 5 - - - - -"
    (only_b,) = (line for line in lines if line.startswith("only b"))
    assert " ".join(only_b.split()) == "only b - 70 - 1.900 - -"
    assert max(map(len, lines)) <= 100 + len(str(two[0]))


def test_the_values_for_json_have_none_for_nan(two):
    far = {**BALL, "name": "far", "centre_mm": [900.0, 0.0, 0.0]}
    write_results(two[0], 1, regions=(BALL, far))

    values = json.loads(json.dumps(as_dict(compare_results(*two)), allow_nan=False))

    assert values["map"] == "tau_ops"
    assert [row["region"] for row in values["voxels"]] == ["all voxels", "ball", "far"]
    assert values["voxels"][2]["n_both"] == 0
    assert values["voxels"][2]["difference"] is None
    assert values["regions"][0]["difference_ns"] == 0.5
    assert values["regions"][1]["pull"] is None


def test_the_figure_is_drawn_for_runs_and_for_a_truth(two, tmp_path):
    truth = write_image(tmp_path, "truth", np.full(GRID.shape, 2.5), Name="tau_ops", Units="ns")

    for n, b in enumerate((two[1], truth)):
        path = tmp_path / f"{n}.png"
        draw_results(compare_results(two[0], b), path)
        height, width = matplotlib.image.imread(path).shape[:2]
        assert width == 1680
        assert height > 1000


def test_the_figure_of_many_voxels_is_their_density_and_names_are_cut_at_the_front():
    grid = VoxelGrid.centred(shape=(20, 20, 20), voxel_mm=(2.0, 2.0, 2.0))
    rng = np.random.default_rng(1)
    a, b = rng.normal(2.0, 0.1, (2, *grid.shape))
    ball = Sphere(name="ball", centre_mm=(0.0, 0.0, 0.0), radius_mm=8.0)

    figure = draw_comparison(
        a, b, grid=grid, quantity="x", titles=("A: " + "long/" * 20 + "end", "B: short"),
        regions=(ball,), voxel=(10, 10, 10),
    )  # fmt: skip

    titles = [axes.get_title() for axes in figure.get_axes()]
    assert titles[0].startswith("A: …")
    assert titles[0].endswith("long/end")
    assert titles[1:3] == ["B: short", "A − B"]
    rights = [axes.get_title(loc="right") for axes in figure.get_axes()]
    assert sum("8,000 voxels" in title for title in rights) == 2


def test_the_figure_of_one_voxel_is_drawn():
    a = np.full(GRID.shape, np.nan)
    a[4, 4, 3] = 2.0

    figure = draw_comparison(a, a, grid=GRID, quantity="x", voxel=(4, 4, 3))

    assert len(figure.get_axes()) == 7


def test_a_directory_without_the_map_names_those_it_has(two, tmp_path):
    with pytest.raises(
        FileError,
        match=r"a: has no map 'tau_pps'; choose one with --map: counts, intensity_ops, tau_ops",
    ):
        compare_results(*two, map_name="tau_pps")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"empty: has no maps/\*\.nii\.gz; name the output"):
        compare_results(tmp_path / "empty", two[0])


def test_maps_of_two_quantities_or_units_are_refused(two, tmp_path):
    other = two[1] / "maps" / "intensity_ops.nii.gz"
    with pytest.raises(DataError, match=r"is a map of tau_ops and .* one of intensity_ops;"):
        compare_results(two[0], other)
    ps = write_image(tmp_path, "truth", np.full(GRID.shape, 2500.0), Name="tau_ops", Units="ps")
    with pytest.raises(DataError, match=r"is in 'ns' and .* in 'ps'; bring both to one unit"):
        compare_results(two[0], ps)


def test_maps_without_a_common_place_or_voxel_are_refused(two, tmp_path):
    far = VoxelGrid.centred(shape=GRID.shape, voxel_mm=GRID.voxel_mm, centre_mm=(0, 0, 900.0))
    away = write_image(tmp_path, "away", np.ones(GRID.shape), far, Name="tau_ops", Units="ns")
    with pytest.raises(DataError, match=r"A = .*, B = .*away.*: the grids do not overlap: A spans"):
        compare_results(two[0], away)
    empty = write_image(tmp_path, "none", np.full(GRID.shape, np.nan), Name="tau_ops", Units="ns")
    with pytest.raises(DataError, match=r"no voxel has a value in both maps"):
        compare_results(two[0], empty)


def test_files_that_cannot_be_read_are_named(two, tmp_path):
    text = tmp_path / "text.nii.gz"
    text.write_text("no image")
    with pytest.raises(FileError, match=r"text\.nii\.gz: not a readable NIfTI image"):
        compare_results(two[0], text)
    with pytest.raises(FileError, match=r"gone\.nii: no such file"):
        compare_results(two[0], tmp_path / "gone.nii")


def test_errors_of_another_shape_are_refused(two):
    small = VoxelGrid.centred(shape=(3, 3, 3), voxel_mm=(8.0, 8.0, 8.0))
    write_image(two[0] / "maps", "tau_ops_error", np.ones(small.shape), small)

    with pytest.raises(
        FileError,
        match=r"tau_ops_error\.nii\.gz: has \[3, 3, 3\] voxels but tau_ops\.nii\.gz has \[10, 11",
    ):
        compare_results(*two)


def test_broken_sidecars_summaries_and_tables_are_named(two):
    (two[0] / "regions.csv").write_text("region,n_events,tau_ops_ns,tau_ops_error_ns\nball,x,,\n")
    with pytest.raises(FileError, match=r"regions\.csv: line 2: could not convert"):
        compare_results(*two)
    (two[0] / "regions.csv").write_text("region,n_events\n")
    with pytest.raises(FileError, match=r"regions\.csv: no column tau_ops_ns; expected a table"):
        compare_results(*two)
    (two[0] / "regions.csv").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FileError, match=r"regions\.csv: cannot be read"):
        compare_results(*two)
    (two[0] / "summary.json").write_text("{}")
    with pytest.raises(FileError, match=r"summary\.json: not a summary of this version of psimg"):
        compare_results(*two)
    (two[0] / "maps" / "tau_ops.json").write_text("{")
    with pytest.raises(FileError, match=r"tau_ops\.json: not a readable sidecar"):
        compare_results(*two)


def test_a_study_file_without_regions_is_refused(two, tmp_path):
    (tmp_path / "study.toml").write_text('[input]\nfiles = ["a.root"]\n')

    with pytest.raises(SettingsError, match=r"study\.toml: has no \[\[regions\]\]; add one"):
        compare_results(*two, regions=tmp_path / "study.toml")
