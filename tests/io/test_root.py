import numpy as np
import pytest
import uproot
from numpy.testing import assert_array_equal

from psimg.core.errors import FileError
from psimg.io import ColumnSpec, InputOptions, open_input


def add_tree(file, tree, branches):
    # Plain assignment makes an RNTuple in newer versions of uproot.
    types = {
        name: np.dtype((values.dtype, values.shape[1:]))
        if isinstance(values, np.ndarray)
        else "var * float64"
        for name, values in branches.items()
    }
    file.mktree(tree, types).extend(branches)


def write_tree(path, branches, *, tree="hits"):
    with uproot.recreate(path) as file:
        add_tree(file, tree, branches)
    return path


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_root_singles_are_the_same_for_any_chunk_size(tmp_path, read_all, singles, chunk):
    path = write_tree(tmp_path / "a.root", singles | {"detector": np.arange(23)})

    read = read_all(path, n_rows=chunk)

    assert (read.file.format, read.file.content, read.file.n_rows) == ("root", "singles", 23)
    assert max(read.sizes) == chunk
    assert_array_equal(read.value.time_ns, singles["time"] - singles["time"][0])
    assert_array_equal(read.value.energy_kev, singles["energy"])
    assert_array_equal(read.value.position_mm.T, [singles[axis] for axis in "xyz"])
    assert_array_equal(read.value.detector, np.arange(23))
    assert read.value.decay is None


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_root_triplets_are_the_same_for_any_chunk_size(tmp_path, read_all, triplets, chunk):
    path = write_tree(tmp_path / "a.root", triplets)

    read = read_all(path, n_rows=chunk)

    assert read.file.content == "triplets"
    for i in (1, 2, 3):
        expected = triplets[f"time_{i}"] - triplets["time_1"][0]
        assert_array_equal(read.value.time_ns[:, i - 1], expected)
        assert_array_equal(read.value.energy_kev[:, i - 1], triplets[f"energy_{i}"])
        for j, axis in enumerate("xyz"):
            assert_array_equal(read.value.position_mm[:, i - 1, j], triplets[f"{axis}_{i}"])
    assert_array_equal(read.value.window, 0)


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_root_events_are_the_same_for_any_chunk_size(tmp_path, read_all, events, chunk):
    path = write_tree(tmp_path / "a.root", events)

    read = read_all(path, n_rows=chunk)

    assert read.file.content == "events"
    assert_array_equal(read.value.dt_ns, events["dt"])
    assert_array_equal(read.value.position_mm.T, [events[axis] for axis in "xyz"])


@pytest.mark.parametrize("chunk", [1, 7, 23])
@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_root_picosecond_clock_beyond_2_to_53_keeps_exact_steps(
    tmp_path, read_all, singles, chunk, kind
):
    ticks = 2**60 + np.arange(23) * 12_345
    singles["time"] = ticks.astype(kind)
    path = write_tree(tmp_path / "a.root", singles)

    read = read_all(path, n_rows=chunk, columns={"time": ColumnSpec(name="time", unit="ps")})

    assert_array_equal(read.value.time_ns, np.arange(23) * 12_345 * 1e-3)


def test_root_column_map_takes_names_and_units(tmp_path, read_all, singles):
    path = write_tree(
        tmp_path / "a.root",
        {
            "t": singles["time"] * 1e-3,
            "e": singles["energy"] * 1e3,
            "px": singles["x"] / 10,
            "py": singles["y"] / 1000,
            "pz": singles["z"],
        },
    )
    columns = {
        "time": ColumnSpec(name="t", unit="us"),
        "energy": ColumnSpec(name="e", unit="eV"),
        "x": ColumnSpec(name="px", unit="cm"),
        "y": ColumnSpec(name="py", unit="m"),
        "z": "pz",
    }

    read = read_all(path, columns=columns)

    # Two roundings of a relative 2**-53 at 2e6 ns and 500 mm.
    np.testing.assert_allclose(
        read.value.time_ns, singles["time"] - singles["time"][0], atol=2e6 * 2**-51
    )
    np.testing.assert_allclose(read.value.energy_kev, singles["energy"], rtol=2**-51)
    expected = np.stack([singles[axis] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(read.value.position_mm, expected, rtol=2**-51)


def test_a_missing_tree_is_an_error_that_lists_the_trees(tmp_path, singles):
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        add_tree(file, "first", singles)
        add_tree(file, "folder/second", singles)

    with pytest.raises(
        FileError, match=r"a\.root: no tree 'third'; the file has first, folder/second; set input"
    ):
        open_input(path, options=InputOptions(tree="third"))


def test_several_trees_without_a_choice_are_an_error_that_lists_them(tmp_path, singles):
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        add_tree(file, "first", singles)
        add_tree(file, "second", singles)

    with pytest.raises(FileError, match=r"expected one tree and found first, second; name it in"):
        open_input(path)


def test_the_tree_named_is_the_one_read(tmp_path, read_all, singles):
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        add_tree(file, "first", {"other": np.arange(4)})
        add_tree(file, "folder/second", singles)

    read = read_all(path, tree="folder/second")

    assert len(read.value) == 23


def test_a_file_without_any_tree_is_an_error_that_says_what_is_there(tmp_path):
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1.0, 2.0])

    with pytest.raises(
        FileError, match=r"a\.root: holds no tree \(h: TH1D\); export the events as a TTree"
    ):
        open_input(path)


def test_a_missing_branch_is_an_error_that_lists_the_branches(tmp_path, singles):
    path = write_tree(tmp_path / "a.root", singles)

    with pytest.raises(
        FileError, match=r"no branch 'tau' for 'dt'; the file has time, energy, x, y, z"
    ):
        open_input(path, options=InputOptions(columns={"dt": "tau"}, content="events"))


def test_content_without_its_branches_is_an_error_that_lists_the_branches(tmp_path, singles):
    path = write_tree(tmp_path / "a.root", singles)

    with pytest.raises(
        FileError, match=r"no branch for 'dt' of events; the file has time, energy, x, y, z; map"
    ):
        open_input(path, options=InputOptions(content="events"))


def test_a_long_list_of_branches_is_cut(tmp_path):
    path = write_tree(tmp_path / "a.root", {f"b{i:02}": np.zeros(2) for i in range(25)})

    with pytest.raises(FileError, match=r"b00, b01, .*b19 and 5 more; map psimg's columns"):
        open_input(path)


def test_a_jagged_branch_is_refused(tmp_path, singles):
    awkward = pytest.importorskip("awkward")
    path = write_tree(
        tmp_path / "a.root",
        singles | {"e": awkward.Array([[1.0], [2.0, 3.0]] * 11 + [[]])},
    )

    with pytest.raises(FileError, match=r"branch 'e' holds object, expected one number a row"):
        open_input(path, options=InputOptions(columns={"energy": "e"}))


def test_a_branch_of_vectors_is_refused(tmp_path, singles):
    singles["x"] = np.zeros((23, 3))
    path = write_tree(tmp_path / "a.root", singles)

    with pytest.raises(FileError, match=r"branch 'x' holds object, expected one number a row"):
        open_input(path)


def test_branches_that_are_not_asked_for_may_be_jagged(tmp_path, read_all, singles):
    awkward = pytest.importorskip("awkward")
    path = write_tree(tmp_path / "a.root", singles | {"trace": awkward.Array([[1.0]] * 23)})

    assert len(read_all(path).value) == 23


def test_a_truncated_root_file_is_an_error(tmp_path, read_all, singles):
    rng = np.random.default_rng(3)
    many = {name: rng.normal(size=20_000) for name in singles}
    path = write_tree(tmp_path / "a.root", many)
    path.write_bytes(path.read_bytes()[:100_000])

    with pytest.raises(FileError, match=r"a\.root: .*(readable|read to its end).*export it again"):
        read_all(path)


def test_a_root_file_damaged_in_its_data_is_an_error(tmp_path, read_all, singles):
    rng = np.random.default_rng(3)
    path = write_tree(tmp_path / "a.root", {name: rng.normal(size=5000) for name in singles})
    content = bytearray(path.read_bytes())
    content[20_000:60_000] = bytes(40_000)
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"a\.root: .*(readable|read to its end).*export it again"):
        read_all(path)


@pytest.mark.parametrize("start", [b"root", b"PAR1", b"CDF\x01"])
def test_a_file_that_is_no_root_file_is_an_error(tmp_path, start):
    path = tmp_path / "a.root"
    path.write_bytes(start + b"\1\2\3\4" * 50)

    with pytest.raises(FileError, match=r"a\.root: (not a readable ROOT file|unknown format)"):
        open_input(path)


def test_text_named_as_root_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\n1,2,3,4\n")

    with pytest.raises(FileError, match=r"a\.csv: not a readable ROOT file"):
        open_input(path, options=InputOptions(format="root"))


def test_a_tree_without_rows_is_an_error(tmp_path, singles):
    path = write_tree(tmp_path / "a.root", {k: v[:0] for k, v in singles.items()})

    with pytest.raises(FileError, match=r"a\.root: holds no singles; export it again"):
        open_input(path)


def test_a_root_file_is_known_by_its_first_bytes(tmp_path, read_all, events):
    path = write_tree(tmp_path / "a.dat", events)

    assert read_all(path).file.format == "root"


def test_memory_of_root_does_not_grow_with_the_file(tmp_path, peak_memory):
    chunk = {name: np.arange(25_000.0) for name in ("x", "y", "z", "dt")}
    for name, n in (("small.root", 4), ("large.root", 24)):
        with uproot.recreate(tmp_path / name) as file:
            tree = file.mktree("events", dict.fromkeys(chunk, np.float64))
            for _ in range(n):
                tree.extend(chunk)

    peaks = [peak_memory(tmp_path / name, 25_000) for name in ("small.root", "large.root")]

    # Same chunks, same peak, but for one column and the list of 4 x 20 more baskets (< 2 kB each).
    assert peaks[1] <= peaks[0] + 25_000 * 8 + 80 * 2000
