import numpy as np
import pytest

from psimg.core import FileError
from psimg.events import TOT
from psimg.io import InputOptions, open_input
from psimg.study import inspect_file, read_study, run_study, write_study
from psimg.study.inspect import study_text


def events_file(path, n=2000):
    rng = np.random.default_rng(1)
    point = rng.normal([30.0, -10.0, 100.0], 20.0, (n, 3))
    np.savetxt(path, np.c_[point, rng.exponential(1.0, n)], delimiter=",", header="x,y,z,dt")
    return path


def test_singles_show_their_columns_span_and_spectra(acquisition):
    found = inspect_file(acquisition / "singles.root")

    assert (found.format, found.content, found.tree) == ("gate9", "singles", "Singles")
    assert found.n_rows == found.n_looked_at
    assert found.n_bad == 0
    columns = {column.role: column for column in found.columns}
    assert columns["time"].file_unit == "s"
    assert columns["time"].low == 0.0
    assert 0.9 * 0.02 < found.time_span_ns * 1e-9 <= 0.021
    assert 200 <= columns["energy"].low < columns["energy"].high < 1500
    assert abs(columns["z"].high) <= 530
    assert found.signals.counts.sum() == found.n_rows
    assert found.n_events > 1000
    assert 100 <= np.argmax(found.dt_counts) <= 103  # the bins that start at 0 ns


def tot_singles_file(acquisition, path):
    """The acquisition as a plastic scanner would have it: 20 ns at 511 keV."""
    (chunk,) = open_input(acquisition / "singles.root").chunks(10_000_000)
    singles = chunk.value
    columns = {f"{axis}_mm": singles.position_mm[:, k] for k, axis in enumerate("xyz")}
    np.savez(path, time_ns=singles.time_ns, tot_ns=singles.energy_kev * 20 / 511, **columns)
    return path


def test_singles_with_times_over_threshold_show_their_spectrum_and_windows_for_it(
    acquisition, tmp_path
):
    found = inspect_file(tot_singles_file(acquisition, tmp_path / "plastic.npz"))

    assert found.signals.signal is TOT
    assert abs(found.signals.edges[np.argmax(found.signals.counts)] - 20) < 1.5
    columns = {column.role: column for column in found.columns}
    assert columns["tot"].unit == "ns"
    assert 5 < columns["tot"].low < columns["tot"].high < 60
    assert found.n_events > 1000
    text = study_text(found, "plastic.npz")
    assert "annihilation_tot_ns = [10.0, 25.0]\nprompt_tot_ns = [30.0, 50.0]\n" in text
    assert "_kev" not in text


def test_located_events_show_the_box_that_holds_them(tmp_path):
    found = inspect_file(events_file(tmp_path / "events.csv"))

    assert found.content == "events"
    assert found.n_rows is None
    assert found.centre_mm == (30.0, -10.0, 100.0)
    assert all(80 <= size <= 110 for size in found.extent_mm)
    assert all(column.assumed for column in found.columns)


def test_the_axis_map_of_a_quadra_file_is_shown(tmp_path):
    np.zeros((5, 4)).tofile(tmp_path / "events.l")

    found = inspect_file(tmp_path / "events.l", options=InputOptions(axes=("+c0", "-c2", "-c1")))

    assert found.axes == ("+c0", "-c2", "-c1")


def test_singles_far_out_of_order_are_said_and_no_dt_is_shown(tmp_path):
    n = 100
    columns = {"time_ns": np.arange(n)[::-1] * 1e6, "energy_kev": np.full(n, 511.0)}
    columns |= {f"{axis}_mm": np.zeros(n) for axis in "xyz"}
    np.savez(tmp_path / "singles.npz", **columns)

    found = inspect_file(tmp_path / "singles.npz")

    assert found.n_events is None
    assert "times do not rise" in found.note


@pytest.mark.parametrize("kind", ["singles", "tot", "csv", "quadra"])
def test_the_study_that_inspect_writes_runs_as_it_is(acquisition, tmp_path, kind):
    if kind == "singles":
        path = acquisition / "singles.root"
    elif kind == "tot":
        path = tot_singles_file(acquisition, tmp_path / "plastic.npz")
    elif kind == "csv":
        path = events_file(tmp_path / 'odd "name".csv')
    else:
        path = tmp_path / "events.l"
        np.random.default_rng(2).normal(0, 20.0, (2000, 4)).tofile(path)

    write_study(inspect_file(path), tmp_path / "study.toml")
    result = run_study(read_study(tmp_path / "study.toml"))

    assert result.counts["n_events"] > 500


def test_an_existing_study_is_not_replaced(tmp_path):
    found = inspect_file(events_file(tmp_path / "events.csv"))
    (tmp_path / "study.toml").write_text("mine")

    with pytest.raises(FileError, match=r"study\.toml: exists already"):
        write_study(found, tmp_path / "study.toml")

    assert (tmp_path / "study.toml").read_text() == "mine"


def test_a_study_that_cannot_be_written_is_an_error(tmp_path):
    found = inspect_file(events_file(tmp_path / "events.csv"))

    with pytest.raises(FileError, match="cannot be written"):
        write_study(found, tmp_path / "nowhere" / "study.toml")


def test_columns_of_unknown_meaning_are_shown_as_they_are(tmp_path):
    (tmp_path / "a.csv").write_text("X,Y,Z,DT\n1,2,3,400\n-1,nan,3,500\n")

    found = inspect_file(tmp_path / "a.csv")
    write_study(found, tmp_path / "study.toml")

    assert found.content == "unknown"
    assert [(c.source, c.low, c.high) for c in found.columns] == [
        ("X", -1.0, 1.0), ("Y", 2.0, 2.0), ("Z", 3.0, 3.0), ("DT", 400.0, 500.0),
    ]  # fmt: skip
    assert "input.columns" in found.note
    text = (tmp_path / "study.toml").read_text()
    assert '# the file has: "X", "Y", "Z", "DT"' in text
    assert '# dt = { name = "...", unit = "ns" }' in text
    # The study is one to fill in: as it stands, it says what is missing.
    with pytest.raises(FileError, match="cannot tell what a row is from the columns X, Y, Z, DT"):
        run_study(read_study(tmp_path / "study.toml"))
