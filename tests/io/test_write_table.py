import errno

import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import DataError, FileError
from psimg.io import InputOptions, open_input, write_table
from psimg.io.whole_files import whole_files

ENDINGS = (".root", ".csv", ".npz")


def make_rows(n, *, start=0.0):
    rng = np.random.default_rng(7)
    return {
        "time_ns": start + np.cumsum(rng.exponential(40.0, n)),
        "tot_ns": rng.uniform(10.0, 50.0, n),
        "x_mm": rng.normal(0.0, 300.0, n).astype(np.float32),
        "y_mm": rng.normal(0.0, 300.0, n).astype(np.float32),
        "z_mm": rng.normal(0.0, 300.0, n).astype(np.float32),
        "detector": rng.integers(0, 250_000, n),
        "decay": np.arange(n) + 2**40,
    }


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_back(tmp_path, read_all, ending):
    first, second = make_rows(70), make_rows(50, start=1e5)
    path = tmp_path / f"singles{ending}"

    n_rows = write_table(path, iter([first, second]))
    value = read_all(path, n_rows=33).value

    rows = {name: np.concatenate([first[name], second[name]]) for name in first}
    assert n_rows == len(value) == 120
    assert_allclose(value.time_ns, rows["time_ns"] - rows["time_ns"][0], atol=1e-9, rtol=0)
    assert_allclose(value.tot_ns, rows["tot_ns"], rtol=1e-15)
    assert_array_equal(value.position_mm[:, 2].astype(np.float32), rows["z_mm"])
    assert_array_equal(value.detector, rows["detector"])
    assert_array_equal(value.decay, rows["decay"])
    assert [path.name for path in tmp_path.iterdir()] == [f"singles{ending}"]


def test_small_types_and_nan_are_kept(tmp_path):
    rows = {
        "region": np.array([-1, 3], np.int16),
        "channel": np.array([0, 255], np.uint8),
        "life_ns": np.array([np.nan, 1.5]),
    }
    for ending in ENDINGS:
        write_table(tmp_path / f"truth{ending}", [rows], tree="Decays")

    with uproot.open(tmp_path / "truth.root") as file:
        assert file["Decays"].typenames() == {
            "region": "int16_t",
            "channel": "uint8_t",
            "life_ns": "double",
        }
        assert_array_equal(file["Decays"]["life_ns"].array(library="np"), rows["life_ns"])
    with np.load(tmp_path / "truth.npz") as file:
        assert {name: file[name].dtype for name in file} == {k: v.dtype for k, v in rows.items()}
    text = (tmp_path / "truth.csv").read_text()
    assert text == "region,channel,life_ns\n-1,0,nan\n3,255,1.5\n"


def test_decimals_shorten_a_column_of_text(tmp_path):
    rows = {"time_ns": np.array([1.0 / 3.0]), "energy_kev": np.array([511.123456])}

    write_table(tmp_path / "a.csv", [rows], decimals={"time_ns": 4})

    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("0.3333,511.12345")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_when_the_rows_break_off(tmp_path, ending, error):
    def broken():
        yield make_rows(50)
        raise error

    with pytest.raises(error):
        write_table(tmp_path / "new" / f"a{ending}", broken())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_what_was_there(tmp_path, ending):
    def broken():
        yield make_rows(50)
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / f"a{ending}"
    path.write_bytes(b"earlier")
    with pytest.raises(FileError, match=rf"a\{ending}: cannot be written \(No space left"):
        write_table(path, broken(), overwrite=True)

    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("mine")

    with pytest.raises(FileError, match=r"a\.csv: exists already; use --overwrite"):
        write_table(path, [make_rows(5)])
    assert path.read_text() == "mine"
    write_table(path, [make_rows(5)], overwrite=True)

    assert open_input(path, options=InputOptions(content="singles")).columns


def test_an_unknown_ending_lists_the_known(tmp_path):
    with pytest.raises(FileError, match=r"ending \.h5 is no table psimg writes; use one of \.root"):
        write_table(tmp_path / "a.h5", [make_rows(5)])


def test_rows_of_other_columns_are_refused(tmp_path):
    rows = make_rows(5)
    with pytest.raises(DataError, match="rows have the columns x, and those before them time_ns"):
        write_table(tmp_path / "a.npz", [rows, {"x": rows["x_mm"]}])
    with pytest.raises(DataError, match="columns of unequal length: x 5, y 4"):
        write_table(tmp_path / "a.npz", [{"x": rows["x_mm"], "y": rows["y_mm"][:4]}])

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_memory_does_not_grow_with_the_rows(tmp_path, ending):
    import tracemalloc

    def peak(n_chunk):
        chunk = make_rows(5_000)
        tracemalloc.start()
        try:
            write_table(tmp_path / f"{n_chunk}{ending}", (chunk for _ in range(n_chunk)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # imports

    # 20 chunks more are 4.4 MB; npz copies by the megabyte, and ROOT lists its baskets.
    assert peak(25) <= peak(5) + 1_200_000


def test_files_are_put_in_place_together(tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "new" / "b.txt", tmp_path / "c.txt"]

    with whole_files(paths) as names:
        names[0].write_text("a")
        names[1].write_text("b")
        assert not paths[0].exists()

    assert paths[0].read_text() == "a"
    assert paths[1].read_text() == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "new"]


def test_a_folder_is_no_file(tmp_path):
    with (
        pytest.raises(FileError, match="is a directory, expected the name of a file"),
        whole_files([tmp_path], overwrite=True),
    ):
        pass
