import json
import logging
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import psimg
from psimg.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return exit status, output and error output."""
    root = logging.getLogger()
    handlers = root.handlers[:]

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["psimg", *arguments])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield call
    root.handlers[:] = handlers


@pytest.mark.parametrize(
    "command", ["demo", "run", "inspect", "calibrate", "plan", "fit", "simulate", "compare"]
)
def test_every_command_has_help_with_an_example(run, command):
    status, out, _ = run(command, "--help")

    assert status == 0
    assert f"Example: psimg {command}" in " ".join(out.split())


def test_the_version_is_that_of_the_package(run):
    import importlib.metadata

    assert run("--version")[:2] == (0, f"psimg {importlib.metadata.version('psimg')}\n")


def test_a_wrong_option_is_exit_status_1(run):
    status, _, err = run("run", "--nonsense")

    assert status == 1
    assert "--nonsense" in err


def test_inspect_prints_columns_and_spectra(run, tmp_path):
    (tmp_path / "events.csv").write_text("x,y,z,dt\n" + "1,2,3,0.5\n" * 30)

    status, out, err = run(
        "inspect", str(tmp_path / "events.csv"), "--study", str(tmp_path / "study.toml")
    )

    assert (status, err) == (0, "")
    assert "format    csv" in out
    assert "dt        dt [ns]" in out
    assert "0 to      1         30 " in out
    assert (tmp_path / "study.toml").exists()


def test_an_unknown_format_is_an_error_that_lists_the_known(run, tmp_path):
    status, _, err = run("inspect", str(tmp_path / "x"), "--format", "nonsense")

    assert status == 1
    assert err.startswith("psimg: --format nonsense: not known; use one of quadra-xyzt")


def test_run_prints_the_table_of_regions_and_where_the_results_are(run, tmp_path):
    import numpy as np

    rng = np.random.default_rng(1)
    dt = np.where(rng.random(5000) < 0.4, rng.exponential(2.0, 5000), rng.exponential(0.388, 5000))
    dt += 0.1 * rng.standard_normal(5000)
    rows = np.c_[rng.normal(0, 5, (5000, 3)), dt]
    np.savetxt(tmp_path / "events.csv", rows, delimiter=",", header="x,y,z,dt")
    (tmp_path / "study.toml").write_text(
        '[input]\nfiles = ["events.csv"]\n[grid]\nvoxel_mm = 16\n[output]\nformats = []\n'
    )

    status, out, _ = run("run", str(tmp_path / "study.toml"))

    assert status == 0
    assert "all" in out
    assert "ok" in out
    assert f"results: {tmp_path / 'results'}" in out
    assert (tmp_path / "results" / "summary.json").exists()


def test_only_verbose_runs_show_the_log(tmp_path):
    (tmp_path / "events.csv").write_text("x,y,z,dt\n" + "1,2,3,0.5\n" * 60)
    (tmp_path / "study.toml").write_text(
        '[input]\nfiles = ["events.csv"]\n[grid]\nshape = [2, 2, 2]\n[output]\nformats = []\n'
    )

    def stderr(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", "import sys, psimg.cli; sys.exit(psimg.cli.main())", *arguments],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        return done.stderr

    assert "INFO" not in stderr("run", "study.toml")
    assert "INFO psimg.study.run: read: 60 rows in" in stderr(
        "--verbose", "run", "study.toml", "--overwrite"
    )


def test_help_loads_no_heavy_library():
    code = (
        "import sys; sys.argv = ['psimg', '--help']\n"
        "import psimg.cli; psimg.cli.main()\n"
        "heavy = {'numpy', 'numba', 'scipy', 'matplotlib', 'uproot', 'pydantic', 'nibabel'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_imported():
    for name in psimg.__all__:
        assert getattr(psimg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        psimg.nonsense  # noqa: B018


@pytest.fixture
def spectrum(tmp_path):
    rng = np.random.default_rng(1)
    t = np.concatenate([rng.exponential(0.35, 60_000), rng.exponential(1.9, 30_000)])
    t += 5.0 + rng.normal(0.0, 0.12, len(t))
    t = np.concatenate([t, rng.uniform(0.0, 25.0, 10_000)])
    counts, _ = np.histogram(t, bins=500, range=(0.0, 25.0))
    path = tmp_path / "water.txt"
    path.write_text("\n".join(str(n) for n in counts))
    return path


def test_fit_prints_a_table_and_draws(run, spectrum, tmp_path):
    status, out, err = run(
        "fit", str(spectrum), "--channel-ns", "0.05", "--component", "fast=0.35~",
        "--component", "ops=2~", "--figure", str(tmp_path / "fit.png"),
    )  # fmt: skip

    assert (status, err) == (0, "")
    assert "mean life [ns]" in out
    assert f"figure: {tmp_path / 'fit.png'}" in out
    assert (tmp_path / "fit.png").exists()


def test_fit_prints_json(run, spectrum, tmp_path):
    template = tmp_path / "flat.txt"
    template.write_text("10\n" * 500)

    status, out, _ = run(
        "fit", str(spectrum), "--channel-ns", "0.05", "--json", "--intensities", "merged",
        "--component", "direct=0.35@0.7", "--component", "ops=2~", "--template", str(template),
        "--source", "foil=0.2@0.05",
    )  # fmt: skip

    assert status == 0
    found = json.loads(out)
    assert found["background_model"] == "template"
    assert [c["source"] for c in found["components"]] == [False, False, True]


def test_fit_takes_the_model_of_a_study(run, spectrum, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        '[input]\nfiles = ["none.root"]\n[model]\nintensities = "free"\n'
        "components = [{name = 'fast', tau_ns = 0.35, free = true},"
        " {name = 'ops', tau_ns = 2.0, free = true}]\n"
    )

    status, out, _ = run("fit", str(spectrum), "--channel-ns", "0.05", "--study", str(study))

    assert status == 0
    assert "fast" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--corner", "x.png"], "--corner draws the posterior; add --posterior"),
        (["--intensities", "some"], "--intensities some: use one of free, ps-ratio, fixed"),
        (["--study", "s.toml", "--source", "a=1@0.1"], "--study brings its [model]; leave"),
        (["--gaussians", "7"], "7 Gaussians of the response: expected 1 to 3"),
        ([], "give the width of a channel with --channel-ns"),
    ],
)
def test_fit_explains_what_is_wrong_in_one_line(run, spectrum, options, message):
    status, out, err = run("fit", str(spectrum), *options)

    assert (status, out) == (1, "")
    assert err.startswith("psimg: ")
    assert err.count("\n") == 1
    assert message in err


SIMULATION = """
[simulation]
isotope = "Sc-44"
duration_s = 100.0
[scanner]
inner_radius_mm = 400.0
thickness_mm = 20.0
length_mm = 1000.0
crystals_around = 700
crt_ns = 0.2
energy_fwhm = 0.1
[phantom]
preset = "cylinder"
activity_mbq = 5.0
"""


def test_simulate_prints_counts_and_files(run, tmp_path):
    spec = tmp_path / "sim.toml"
    spec.write_text(SIMULATION)

    status, out, _ = run("simulate", str(spec), "--duration-s", "0.0002", "--seed", "3")

    assert status == 0
    assert "expected 1,000" in out
    assert "singles per decay" in out
    for name in ("singles.root", "truth.root", "singles.json"):
        assert f"written: {tmp_path / name}" in out
    summary = json.loads((tmp_path / "singles.json").read_text())
    assert (summary["seed"], summary["duration_s"]) == (3, 0.0002)
    assert summary["settings"]["simulation"]["seed"] == 3


def test_simulate_explains_what_is_wrong_in_one_line(run, tmp_path):
    spec = tmp_path / "sim.toml"
    spec.write_text(SIMULATION)
    (tmp_path / "truth.root").touch()

    status, out, err = run("simulate", str(spec), "--duration-s", "0.0002")
    assert (status, out) == (1, "")
    assert err == (
        f"psimg: {tmp_path / 'truth.root'}: exists already; use --overwrite to replace it, or "
        "choose another name\n"
    )
    spec.write_text(SIMULATION.replace("Sc-44", "F-18"))
    status, _, err = run("simulate", str(spec))
    assert status == 1
    assert err.startswith(f"psimg: {spec}: simulation: F-18 emits no prompt gamma")
    assert err.count("\n") == 1


def test_a_simulation_that_is_terminated_leaves_nothing(tmp_path):
    spec = tmp_path / "long.toml"
    spec.write_text(
        '[simulation]\nisotope = "Sc-44"\nduration_s = 2.0\n'
        '[scanner]\npreset = "vision-quadra"\n'
        '[phantom]\npreset = "cylinder"\nactivity_mbq = 5.0\n'
        '[output]\nsingles = "out/singles.root"\ntruth = false\n'
    )
    code = "import sys; from psimg.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "simulate", str(spec)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/.psimg-*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["long.toml"]


@pytest.fixture
def two_maps(tmp_path):
    """Two maps of one voxel size that differ by 0.25 ns everywhere."""
    from psimg.core import VoxelGrid
    from psimg.io.nifti import write_map

    grid = VoxelGrid.centred(shape=(5, 4, 3), voxel_mm=(8.0, 8.0, 8.0))
    for name, value in (("a", 2.25), ("b", 2.0)):
        image = np.full(grid.shape, value)
        write_map(tmp_path, name, image, grid, sidecar={"Name": "tau_ops", "Units": "ns"})
    return tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"


def test_compare_prints_a_table_and_draws(run, two_maps, tmp_path):
    a, b = map(str, two_maps)

    status, out, err = run("compare", a, b, "--figure", str(tmp_path / "compare.png"))

    assert (status, err) == (0, "")
    (row,) = (line for line in out.splitlines() if line.startswith("all voxels"))
    assert " ".join(row.split()) == "all voxels 60 2.250 2.000 +0.250 +12.5 0.000 0.250 - - -"
    assert out.endswith(f"figure: {tmp_path / 'compare.png'}\n")
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_compare_prints_json(run, two_maps):
    status, out, _ = run("compare", *map(str, two_maps), "--json")

    assert status == 0
    found = json.loads(out)
    assert found["voxels"][0]["difference"] == 0.25
    assert found["voxels"][0]["correlation"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["text.nii.gz"], "text.nii.gz: not a readable NIfTI image"),
        (["none.nii.gz"], "none.nii.gz: no such file; check the path"),
        (["."], "has no maps/*.nii.gz; name the output directory of a 'psimg run'"),
        (["b.nii.gz", "--figure", "x.docx"], "x.docx: no format of that suffix"),
        (["b.nii.gz", "--regions", "study.toml"], "study.toml: no such study file"),
    ],
)
def test_compare_explains_what_is_wrong_in_one_line(
    run, two_maps, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.nii.gz").write_text("no image")

    status, out, err = run("compare", "a.nii.gz", *options)

    assert (status, out) == (1, "")
    assert err.startswith("psimg: ")
    assert err.count("\n") == 1
    assert message in err
