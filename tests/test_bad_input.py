"""What the command line does with input that it cannot use: one line, exit status 1, no files."""

import errno
import sys

import numpy as np
import pytest
import uproot

from psimg.cli import main

STUDY = """
[input]
files = ["{file}"]
{input}

[select]
pair_window_ns = 4.0
{select}

[grid]
voxel_mm = 20.0
shape = [2, 2, 2]

[spectrum]
step_ns = 0.5

[output]
formats = ["nifti", "root", "npz"]
{more}
"""
SINGLES = ("time", "energy", "x", "y", "z")


def make_singles(n=300, *, dtype=np.float64):
    """Photons of one place, as a table without units in its names."""
    rng = np.random.default_rng(4)
    columns = {"time": np.sort(rng.uniform(0, 1e6, n)), "energy": np.full(n, 511.0)}
    columns |= {axis: rng.uniform(-100, 100, n) for axis in "xyz"}
    return columns | {"time": columns["time"].astype(dtype)}


def make_events(n=400):
    """Events of two decays, half the fast one, with a response of 0.1 ns."""
    rng = np.random.default_rng(8)
    dt = rng.normal(0, 0.1, n) + rng.exponential(np.where(np.arange(n) % 2, 0.4, 2.0))
    return {"dt": dt} | {axis: rng.uniform(-20, 20, n) for axis in "xyz"}


def write_csv(path, columns):
    rows = np.stack(list(columns.values()), axis=1)
    np.savetxt(path, rows, fmt="%.17g", delimiter=",", header=",".join(columns), comments="")


def write_tree(path, tree, columns):
    with uproot.recreate(path) as file:
        file.mktree(tree, {k: v.dtype for k, v in columns.items()}).extend(columns)


def write_study(folder, *, file="events.csv", input="", select="", more=""):  # noqa: A002
    text = STUDY.format(file=file, input=input, select=select, more=more)
    (folder / "study.toml").write_text(text)


def all_paths(folder):
    """Every path below a folder with its content, to see that nothing was left or changed."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def psimg(tmp_path, monkeypatch, capsys):
    """Run a command in the folder; return status, standard output and the lines of the error.

    Progress bars rewrite their line with carriage returns and are left out.
    """

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["psimg", *map(str, arguments)])
        status = main()
        out, err = capsys.readouterr()
        lines = [line for line in err.split("\n") if line and not line.startswith("\r")]
        return status, out, lines

    return run


# Each makes what it needs in a folder and returns what the message must name.


def missing_input_file(folder):
    write_study(folder)
    return ["events.csv", "no such file"]


def no_file_that_matches(folder):
    write_study(folder, file="run*.csv")
    return ["run*.csv", "input.files"]


def empty_file(folder):
    (folder / "events.csv").touch()
    write_study(folder)
    return ["events.csv", "is empty"]


def unknown_format(folder):
    (folder / "events.xyz").write_bytes(b"\1\2\3\4\5")
    write_study(folder, file="events.xyz")
    return ["events.xyz", "unknown format", "input.format"]


def root_without_the_tree(folder):
    write_tree(folder / "a.root", "hits", make_singles())
    write_study(folder, file="a.root", input='tree = "Singles"')
    return ["a.root", "no tree 'Singles'", "the file has hits"]


def root_without_a_tree(folder):
    with uproot.recreate(folder / "a.root") as file:
        file["h"] = np.histogram([1.0])
    write_study(folder, file="a.root")
    return ["a.root", "holds no tree"]


def root_without_the_branch(folder):
    columns = make_singles()
    del columns["energy"]
    write_tree(folder / "a.root", "hits", columns)
    write_study(folder, file="a.root", input='content = "singles"')
    return ["a.root", "'energy'", "the file has time, x, y, z"]


def coincidences(folder):
    write_tree(folder / "a.root", "Coincidences", {"time1": np.zeros(5), "time2": np.zeros(5)})
    write_study(folder, file="a.root")
    return ["a.root", "Coincidences", "Singles"]


def a_root_file_cut_short(folder):
    write_tree(folder / "a.root", "hits", make_singles(20_000))
    content = (folder / "a.root").read_bytes()
    (folder / "a.root").write_bytes(content[: len(content) // 2])
    write_study(folder, file="a.root")
    return ["a.root", "export it again"]


def quadra_of_a_bad_size(folder):
    (folder / "scan.l").write_bytes(bytes(32 * 10 + 5))
    write_study(folder, file="scan.l")
    return ["scan.l", "325 bytes"]


def more_than_half_nan(folder):
    columns = make_events()
    columns["x"][:201] = np.nan
    write_csv(folder / "events.csv", columns)
    write_study(folder)
    return ["events.csv", "201 of 400 rows"]


def a_word_in_the_table(folder):
    write_csv(folder / "events.csv", make_events())
    with (folder / "events.csv").open("a") as file:
        file.write("1,2,three,4\n")
    write_study(folder)
    return ["events.csv", "'three'", "data row 401"]


def float32_times(folder):
    np.savez(folder / "a.npz", **make_singles(dtype=np.float32))
    write_study(folder, file="a.npz")
    return ["a.npz", "float32"]


def times_out_of_order(folder):
    columns = make_singles()
    columns["time"][150:] -= 1e6
    write_csv(folder / "singles.csv", columns)
    write_study(folder, file="singles.csv")
    return ["singles.csv", "times do not rise", "input.max_disorder_ns"]


def unknown_study_key(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder, select="prompt_kve = [700, 900]")
    return ["study.toml", "select.prompt_kve", "'prompt_kev'"]


def unknown_column_role(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder, input='columns = { tau = "dt" }')
    return ["input.columns.tau"]


def unknown_unit(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder, input='columns = { dt = { name = "dt", unit = "sec" } }')
    return ["input.columns.dt", "'sec'"]


def window_reversed(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder, select="prompt_kev = [900, 700]")
    return ["study.toml", "prompt_kev = [900, 700]"]


def region_outside_the_grid(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(
        folder,
        more='[[regions]]\nname = "far"\nshape = "sphere"\ncentre_mm = [90, 0, 0]\nradius_mm = 5',
    )
    return ["study.toml", "region 'far'", "outside the grid"]


def missing_mask(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder, more='[[regions]]\nname = "m"\nshape = "mask"\nfile = "none.nii"')
    return ["none.nii", "no such file"]


def files_of_different_content(folder):
    write_csv(folder / "events.csv", make_events())
    np.savez(folder / "a.npz", **make_singles())
    write_study(folder, file='events.csv", "a.npz')
    return ["different things", "events, singles"]


def output_directory_not_empty(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder)
    (folder / "results").mkdir()
    (folder / "results" / "notes.txt").write_text("mine")
    return ["results", "--overwrite"]


def output_directory_is_a_file(folder):
    write_csv(folder / "events.csv", make_events())
    write_study(folder)
    (folder / "results").write_text("mine")
    return ["results", "is a file", "output.directory"]


def no_study_file(folder):
    return ["study.toml", "no such study file"]


def study_that_is_no_toml(folder):
    (folder / "study.toml").write_text("[input\n")
    return ["study.toml", "not TOML"]


BAD_STUDIES = [
    missing_input_file,
    no_file_that_matches,
    empty_file,
    unknown_format,
    root_without_the_tree,
    root_without_a_tree,
    root_without_the_branch,
    coincidences,
    a_root_file_cut_short,
    quadra_of_a_bad_size,
    more_than_half_nan,
    a_word_in_the_table,
    float32_times,
    times_out_of_order,
    unknown_study_key,
    unknown_column_role,
    unknown_unit,
    window_reversed,
    region_outside_the_grid,
    missing_mask,
    files_of_different_content,
    output_directory_not_empty,
    output_directory_is_a_file,
    no_study_file,
    study_that_is_no_toml,
]


@pytest.mark.parametrize("make", BAD_STUDIES, ids=lambda make: make.__name__)
def test_a_study_that_cannot_run_is_one_line_and_leaves_nothing(tmp_path, psimg, make):
    named = make(tmp_path)
    before = all_paths(tmp_path)

    status, out, lines = psimg("run", "study.toml")

    assert status == 1
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith("psimg: ")
    assert [word for word in named if word not in lines[0]] == []
    assert all_paths(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "file"),
    [
        (missing_input_file, "events.csv"),
        (empty_file, "events.csv"),
        (unknown_format, "events.xyz"),
        (root_without_a_tree, "a.root"),
        (coincidences, "a.root"),
        (quadra_of_a_bad_size, "scan.l"),
        (a_root_file_cut_short, "a.root"),
        (float32_times, "a.npz"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_that_cannot_be_inspected_is_one_line_and_leaves_nothing(
    tmp_path, psimg, make, file
):
    make(tmp_path)
    before = all_paths(tmp_path)

    status, out, lines = psimg("inspect", file, "--study", "new.toml")

    assert status == 1
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith(f"psimg: {file}: ")
    assert all_paths(tmp_path) == before


def test_inspect_does_not_replace_a_study(tmp_path, psimg):
    write_csv(tmp_path / "events.csv", make_events())
    (tmp_path / "mine.toml").write_text("mine")

    status, _, lines = psimg("inspect", "events.csv", "--study", "mine.toml")

    assert status == 1
    assert lines == ["psimg: mine.toml: exists already; remove it or choose another name"]
    assert (tmp_path / "mine.toml").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments", [["--format", "cvs"], ["--tree"], ["--no-such-option"], ["two", "files"]]
)
def test_a_wrong_option_has_exit_status_1(tmp_path, psimg, arguments):
    write_csv(tmp_path / "events.csv", make_events())

    status, _, lines = psimg("inspect", "events.csv", *arguments)

    assert status == 1
    assert lines


def test_overwrite_replaces_nothing_that_is_not_psimgs(tmp_path, psimg):
    output_directory_not_empty(tmp_path)
    before = all_paths(tmp_path)

    status, _, lines = psimg("run", "study.toml", "--overwrite")

    assert status == 1
    assert len(lines) == 1
    assert "no summary.json of an earlier run" in lines[0]
    assert all_paths(tmp_path) == before


def test_a_good_study_leaves_its_results_and_no_other_file(tmp_path, psimg):
    write_csv(tmp_path / "events.csv", make_events())
    write_study(tmp_path)

    status, out, lines = psimg("run", "study.toml")

    assert status == 0
    assert all(line.startswith("psimg: warning: ") for line in lines)
    assert "tau_ops" in out
    assert {p.name for p in tmp_path.iterdir()} == {"events.csv", "study.toml", "results"}
    assert {p.name for p in (tmp_path / "results").iterdir()} == {
        "maps",
        "psimg.log",
        "regions.csv",
        "spectra.npz",
        "spectra.root",
        "summary.json",
    }


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "writer", ["write_spectra_npz", "write_spectra_root", "write_map", "_write_regions"]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path, psimg, monkeypatch, writer, overwrite
):
    write_csv(tmp_path / "events.csv", make_events())
    write_study(tmp_path)
    before = all_paths(tmp_path)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    home = "map_files" if writer == "write_map" else "outputs"
    monkeypatch.setattr(f"psimg.study.{home}.{writer}", full)
    status, out, lines = psimg("run", "study.toml", *overwrite)

    assert status == 1
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith("psimg: results: cannot be written (No space left on device)")
    assert all_paths(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_earlier_run_is_untouched_where_its_replacement_fails(
    tmp_path, psimg, monkeypatch, error
):
    write_csv(tmp_path / "events.csv", make_events())
    write_study(tmp_path)
    assert psimg("run", "study.toml")[0] == 0
    before = all_paths(tmp_path)

    def fails(_result, directory, **_kwargs):
        (directory / "half").write_text("half")
        raise error

    monkeypatch.setattr("psimg.study.record.write_outputs", fails)
    status, _, lines = psimg("run", "study.toml", "--overwrite")

    assert status == (1 if isinstance(error, OSError) else 130)
    assert len(lines) == 1
    assert lines[0].startswith("psimg: ")
    assert all_paths(tmp_path) == before


@pytest.mark.parametrize(
    "stage",
    [
        "psimg.study.run.open_input",
        "psimg.study.reading.RegionCounter",
        "psimg.study.run.calibrate_response",
        "psimg.study.run.fit_voxels",
        "psimg.study.record.write_outputs",
    ],
)
def test_an_interrupt_at_any_stage_exits_130_and_leaves_nothing(
    tmp_path, psimg, monkeypatch, stage
):
    write_csv(tmp_path / "events.csv", make_events())
    write_study(tmp_path)
    before = all_paths(tmp_path)

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, interrupted)
    status, out, lines = psimg("run", "study.toml")

    assert status == 130
    assert out == ""
    assert lines == ["psimg: interrupted; no results were written"]
    assert all_paths(tmp_path) == before
