import logging
import subprocess
import sys

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


@pytest.mark.parametrize("command", ["demo", "run", "inspect", "calibrate"])
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
