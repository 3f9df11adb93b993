import errno

import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import DataError, FileError, SettingsError
from psimg.events.values import Singles
from psimg.io import ColumnSpec, InputOptions, open_input, write_gate9


def branches_of(singles, **labels):
    return {
        "time": singles["time"] * 1e-9,
        "energy": (singles["energy"] * 1e-3).astype(np.float32),
        "globalPosX": singles["x"].astype(np.float32),
        "globalPosY": singles["y"].astype(np.float32),
        "globalPosZ": singles["z"].astype(np.float32),
    } | labels


def add_tree(file, tree, branches):
    # Plain assignment makes an RNTuple in newer versions of uproot.
    types = {name: values.dtype for name, values in branches.items()}
    file.mktree(tree, types).extend(branches)


def write_tree(path, branches, *, tree="Singles"):
    with uproot.recreate(path) as file:
        add_tree(file, tree, branches)
    return path


def make_singles(n, *, start=0.0, labels=True):
    rng = np.random.default_rng(n)
    return Singles(
        time_ns=start + np.cumsum(rng.exponential(50.0, n)),
        energy_kev=rng.uniform(200.0, 1300.0, n),
        position_mm=rng.uniform(-500.0, 500.0, (n, 3)),
        detector=rng.integers(0, 10_000, n) if labels else None,
        decay=np.arange(n) if labels else None,
    )


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_gate9_seconds_and_mev_arrive_as_ns_and_kev(tmp_path, read_all, singles, chunk):
    labels = {"crystalID": np.arange(23, dtype=np.int32), "eventID": np.arange(23, 46)}
    path = write_tree(tmp_path / "gate.root", branches_of(singles, **labels))

    read = read_all(path, n_rows=chunk)

    assert (read.file.format, read.file.content) == ("gate9", "singles")
    assert max(read.sizes) == chunk
    # A float64 second of 2 ms is good to 2e-19 s; two roundings of 4e-10 ns are the clock's.
    assert_allclose(read.value.time_ns, singles["time"] - singles["time"][0], atol=1e-9, rtol=0)
    assert_allclose(read.value.energy_kev, singles["energy"], rtol=2**-23)
    expected = np.stack([singles[axis] for axis in "xyz"], axis=1)
    assert_array_equal(read.value.position_mm, expected)
    assert_array_equal(read.value.detector, labels["crystalID"])
    assert_array_equal(read.value.decay, labels["eventID"])


@pytest.mark.parametrize(
    ("present", "absent"), [("crystalID", "decay"), ("eventID", "detector"), (None, None)]
)
def test_crystal_and_event_numbers_may_be_absent(tmp_path, read_all, singles, present, absent):
    labels = {present: np.arange(23)} if present else {}
    path = write_tree(tmp_path / "gate.root", branches_of(singles, **labels))

    value = read_all(path).value

    if present is None:
        assert value.detector is None
        assert value.decay is None
    else:
        there = {"crystalID": "detector", "eventID": "decay"}[present]
        assert getattr(value, absent) is None
        assert_array_equal(getattr(value, there), np.arange(23))


def test_not_finite_rows_of_gate9_are_dropped_and_counted(tmp_path, read_all, singles):
    branches = branches_of(singles, eventID=np.arange(23))
    branches["energy"][4] = np.nan
    branches["time"][6] = np.inf
    path = write_tree(tmp_path / "gate.root", branches)

    read = read_all(path, n_rows=5)

    assert read.n_not_finite == 2
    assert_array_equal(read.value.decay, np.delete(np.arange(23), [4, 6]))


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_times_count_from_the_first_finite_row(tmp_path, read_all, singles, chunk):
    branches = branches_of(singles)
    branches["time"][0] = np.nan
    path = write_tree(tmp_path / "gate.root", branches)

    read = read_all(path, n_rows=chunk)

    assert_allclose(read.value.time_ns, singles["time"][1:] - singles["time"][1], atol=1e-9)


def test_coincidences_are_refused_with_the_reason(tmp_path, singles):
    path = write_tree(tmp_path / "gate.root", branches_of(singles), tree="Coincidences")

    with pytest.raises(FileError, match=r"'Coincidences' holds pairs .* export the Singles tree"):
        open_input(path)


def test_the_singles_are_taken_where_coincidences_are_beside_them(tmp_path, read_all, singles):
    path = tmp_path / "gate.root"
    with uproot.recreate(path) as file:
        add_tree(file, "Coincidences", {"time1": np.zeros(3), "time2": np.zeros(3)})
        add_tree(file, "Singles", branches_of(singles))

    read = read_all(path)

    assert read.file.table.tree == "Singles"
    assert len(read.value) == 23


def test_float32_times_of_gate9_are_refused(tmp_path, singles):
    branches = branches_of(singles)
    branches["time"] = branches["time"].astype(np.float32)
    path = write_tree(tmp_path / "gate.root", branches)

    with pytest.raises(FileError, match=r"'time' holds times as float32.*export times as float64"):
        open_input(path)


def test_gate9_named_without_its_branches_lists_those_there(tmp_path, singles):
    branches = branches_of(singles)
    del branches["globalPosZ"]
    path = write_tree(tmp_path / "gate.root", branches)

    with pytest.raises(
        FileError, match=r"no branch 'globalPosZ' for 'z'; the file has time, energy, globalPosX"
    ):
        open_input(path)


def test_gate9_holds_singles_and_nothing_else(tmp_path, singles):
    path = write_tree(tmp_path / "gate.root", branches_of(singles))

    with pytest.raises(SettingsError, match=r"input\.content = 'events', but gate9 files hold"):
        open_input(path, options=InputOptions(content="events"))


def test_a_column_map_goes_before_the_names_of_gate9(tmp_path, read_all, singles):
    path = write_tree(
        tmp_path / "gate.root", branches_of(singles, sourceX=singles["x"], energy2=singles["x"])
    )
    columns = {
        "time": ColumnSpec(name="time", unit="s"),
        "energy": ColumnSpec(name="energy", unit="MeV"),
        "x": "sourceX",
        "y": "globalPosY",
        "z": "globalPosZ",
    }

    read = read_all(path, columns=columns)

    assert read.file.format == "root"
    assert_array_equal(read.value.position_mm[:, 0], singles["x"])
    with pytest.raises(SettingsError, match=r"input\.columns is set, but gate9 files have fixed"):
        open_input(path, options=InputOptions(format="gate9", columns=columns))


def test_written_singles_come_back(tmp_path, read_all):
    first, second = make_singles(200), make_singles(150, start=3.6e12)
    path = tmp_path / "out.root"

    n_written = write_gate9(path, iter([first, second]))
    value = read_all(path, n_rows=64).value

    expected = first.joined(second)
    assert n_written == len(value) == 350
    # An hour in float64 seconds has steps of 4.5e-13 s.
    assert_allclose(value.time_ns, expected.time_ns - expected.time_ns[0], atol=1e-3, rtol=0)
    assert_array_equal(value.position_mm, expected.position_mm.astype(np.float32))
    assert_allclose(value.energy_kev, expected.energy_kev, rtol=2**-23)
    assert_array_equal(value.detector, expected.detector)
    assert_array_equal(value.decay, expected.decay)


def test_singles_without_labels_come_back_without(tmp_path, read_all):
    path = tmp_path / "out.root"

    write_gate9(path, [make_singles(20, labels=False)])
    value = read_all(path).value

    assert value.detector is None
    assert value.decay is None


def test_write_gate9_refuses_to_replace_a_file(tmp_path):
    path = tmp_path / "out.root"
    path.write_bytes(b"mine")

    with pytest.raises(
        FileError, match=r"out\.root: exists already; use --overwrite to replace it"
    ):
        write_gate9(path, [make_singles(5)])

    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_half_file_is_left_when_the_singles_break_off(tmp_path, error):
    def broken():
        yield make_singles(50)
        raise error

    with pytest.raises(error):
        write_gate9(tmp_path / "out.root", broken())

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_file_error_and_leaves_nothing(tmp_path):
    def broken():
        yield make_singles(50)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match=r"out\.root: cannot be written \(No space left on device"):
        write_gate9(tmp_path / "out.root", broken())

    assert list(tmp_path.iterdir()) == []


def test_writing_below_a_file_is_a_file_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(FileError, match=r"out\.root: cannot be written \(.*; make room or choose"):
        write_gate9(tmp_path / "file" / "out.root", [make_singles(5)])


def test_no_singles_make_a_file_that_reads_as_empty(tmp_path):
    path = tmp_path / "out.root"

    assert write_gate9(path, []) == 0

    with pytest.raises(FileError, match=r"out\.root: holds no singles"):
        open_input(path)


def test_memory_of_gate9_does_not_grow_with_the_file(tmp_path, peak_memory):
    chunk = make_singles(25_000)
    write_gate9(tmp_path / "small.root", [chunk] * 4)
    write_gate9(tmp_path / "large.root", [chunk] * 24)

    peaks = [peak_memory(tmp_path / name, 25_000) for name in ("small.root", "large.root")]

    # Same chunks, same peak, but for one column and the list of 7 x 20 more baskets (< 2 kB each).
    assert peaks[1] <= peaks[0] + 25_000 * 8 + 140 * 2000


def test_singles_without_energies_cannot_be_written(tmp_path):
    singles = Singles(time_ns=np.zeros(1), tot_ns=np.ones(1), position_mm=np.zeros((1, 3)))

    with pytest.raises(DataError, match="GATE 9 singles have energies, and these have only times"):
        write_gate9(tmp_path / "a.root", [singles])

    assert not (tmp_path / "a.root").exists()
