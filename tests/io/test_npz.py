import io
import os
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core.errors import FileError
from psimg.io import ColumnSpec, InputOptions, open_input

SAVERS = [np.savez, np.savez_compressed]


@pytest.mark.parametrize("chunk", [1, 7, 23])
@pytest.mark.parametrize("save", SAVERS)
def test_npz_singles_are_the_same_for_any_chunk_size(tmp_path, read_all, singles, save, chunk):
    path = tmp_path / "a.npz"
    save(path, **singles, decay=np.arange(23, dtype=np.uint16))

    read = read_all(path, n_rows=chunk)

    assert (read.file.format, read.file.content, read.file.n_rows) == ("npz", "singles", 23)
    assert max(read.sizes) == chunk
    assert_array_equal(read.value.time_ns, singles["time"] - singles["time"][0])
    assert_array_equal(read.value.energy_kev, singles["energy"])
    assert_array_equal(read.value.position_mm.T, [singles[axis] for axis in "xyz"])
    assert_array_equal(read.value.decay, np.arange(23))


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_npz_triplets_are_the_same_for_any_chunk_size(tmp_path, read_all, triplets, chunk):
    path = tmp_path / "a.npz"
    np.savez(path, **triplets)

    read = read_all(path, n_rows=chunk)

    assert read.file.content == "triplets"
    times = np.stack([triplets[f"time_{i}"] for i in (1, 2, 3)], axis=1)
    assert_array_equal(read.value.time_ns, times - times[0, 0])
    assert_array_equal(read.value.energy_kev[:, 0], triplets["energy_1"])
    assert_array_equal(read.value.position_mm[:, 2, 0], triplets["x_3"])


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_npz_events_are_the_same_for_any_chunk_size(tmp_path, read_all, events, chunk):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **events)

    read = read_all(path, n_rows=chunk)

    assert read.file.content == "events"
    assert_array_equal(read.value.dt_ns, events["dt"])


@pytest.mark.parametrize("dtype", [">f8", "<f4", ">i4", "<u2", "f2"])
def test_columns_of_any_number_type_are_read(tmp_path, read_all, events, dtype):
    path = tmp_path / "a.npz"
    events["x"] = np.arange(23).astype(dtype)
    np.savez(path, **events)

    assert_array_equal(read_all(path, n_rows=7).value.position_mm[:, 0], np.arange(23))


@pytest.mark.parametrize("chunk", [1, 7, 23])
@pytest.mark.parametrize("kind", [np.int64, np.uint64, ">i8"])
def test_npz_picosecond_clock_beyond_2_to_53_keeps_exact_steps(
    tmp_path, read_all, singles, kind, chunk
):
    path = tmp_path / "a.npz"
    singles["time"] = (2**60 + np.arange(23) * 12_345).astype(kind)
    np.savez(path, **singles)

    read = read_all(path, n_rows=chunk, columns={"time": ColumnSpec(name="time", unit="ps")})

    assert_array_equal(read.value.time_ns, np.arange(23) * 12_345 * 1e-3)


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_nan_and_inf_rows_of_npz_are_dropped_and_counted(tmp_path, read_all, singles, chunk):
    path = tmp_path / "a.npz"
    singles["x"][[0, 1]] = np.nan, np.inf
    singles["time"][7] = np.nan
    np.savez(path, **singles)

    read = read_all(path, n_rows=chunk)

    good = np.delete(np.arange(23), [0, 1, 7])
    assert (read.n_rows, read.n_not_finite) == (23, 3)
    # Time counts from the first row of the file, whatever chunk it is dropped from.
    assert_array_equal(read.value.time_ns, singles["time"][good] - singles["time"][0])


def test_more_than_half_nan_rows_of_npz_are_an_error(tmp_path, read_all, singles):
    path = tmp_path / "a.npz"
    singles["energy"][:12] = np.nan
    np.savez(path, **singles)

    with pytest.raises(FileError, match=r"a\.npz: 12 of 23 rows hold NaN .* check the export"):
        read_all(path, n_rows=7)


def test_float32_times_of_singles_are_refused(tmp_path, singles):
    path = tmp_path / "a.npz"
    np.savez(path, **(singles | {"time": singles["time"].astype(np.float32)}))

    with pytest.raises(FileError, match=r"a\.npz: 'time' holds times as float32, .* as float64"):
        open_input(path)


def test_float32_times_of_triplets_are_refused(tmp_path, triplets):
    path = tmp_path / "a.npz"
    np.savez(path, **(triplets | {"time_2": triplets["time_2"].astype(np.float32)}))

    with pytest.raises(FileError, match=r"a\.npz: 'time_2' holds times as float32"):
        open_input(path)


def test_float32_dt_of_events_is_read(tmp_path, read_all, events):
    path = tmp_path / "a.npz"
    dt = events["dt"].astype(np.float32)
    np.savez(path, **(events | {"dt": dt}))

    assert_array_equal(read_all(path).value.dt_ns, dt)


class _Trap:
    """Leaves a directory behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.makedirs, (self.path, 0o777, True))


def test_an_object_array_is_refused_and_none_of_its_code_is_run(tmp_path, events):
    trap = tmp_path / "sprung"
    path = tmp_path / "a.npz"
    array = np.array([_Trap(str(trap))] * 23, dtype=object)
    np.savez(path, allow_pickle=True, **(events | {"x": array}))

    with pytest.raises(FileError, match=r"a\.npz: member 'x' holds Python objects; save plain"):
        open_input(path)

    assert not trap.exists()
    np.load(path, allow_pickle=True)["x"]
    assert trap.exists()  # the trap is a working one


def test_a_member_of_two_axes_is_refused(tmp_path, events):
    path = tmp_path / "a.npz"
    np.savez(path, **(events | {"x": np.zeros((23, 3))}))

    with pytest.raises(FileError, match=r"member 'x' has shape \(23, 3\), expected one number a"):
        open_input(path)


def test_columns_of_unequal_length_are_refused(tmp_path, events):
    path = tmp_path / "a.npz"
    np.savez(path, **(events | {"dt": np.zeros(22)}))

    with pytest.raises(
        FileError, match=r"columns of unequal length: x 23, y 23, z 23, dt 22; save equally long"
    ):
        open_input(path)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_truncated_archive_is_an_error(tmp_path, read_all, events, save, share):
    path = tmp_path / "a.npz"
    save(path, **events)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(FileError, match=r"a\.npz: not a readable npz archive .* numpy\.savez"):
        read_all(path)


@pytest.mark.parametrize("chunk", [100, 5000])
@pytest.mark.parametrize("save", SAVERS)
def test_an_archive_damaged_in_its_data_is_an_error(tmp_path, read_all, save, chunk):
    rng = np.random.default_rng(1)
    path = tmp_path / "a.npz"
    save(path, **{name: rng.normal(size=5000) for name in ("x", "y", "z", "dt")})
    content = bytearray(path.read_bytes())
    content[10_000:12_000] = bytes(2000)
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"a\.npz: member 'x' ends before its 5000 rows; save it"):
        read_all(path, n_rows=chunk)


def test_a_member_shorter_than_its_header_says_is_an_error(tmp_path, read_all, events):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in events.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            data = buffer.getvalue()
            archive.writestr(f"{name}.npy", data[:-8] if name == "z" else data)

    with pytest.raises(FileError, match=r"a\.npz: member 'z' ends before its 23 rows"):
        read_all(path)


@pytest.mark.parametrize("save", SAVERS)
def test_columns_without_rows_are_an_error(tmp_path, singles, save):
    path = tmp_path / "a.npz"
    save(path, **{name: values[:0] for name, values in singles.items()})

    with pytest.raises(FileError, match=r"a\.npz: holds no singles; export it again"):
        open_input(path)


def test_an_archive_of_other_things_is_an_error(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no columns here")

    with pytest.raises(FileError, match=r"a\.npz: not a readable npz archive"):
        open_input(path)


def test_a_column_of_words_is_refused(tmp_path, events):
    path = tmp_path / "a.npz"
    np.savez(path, **(events | {"x": np.array(["one"] * 23)}))

    with pytest.raises(FileError, match=r"member 'x' holds <U3, expected one number a row"):
        open_input(path)


def test_text_named_as_npz_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\n1,2,3,4\n")

    with pytest.raises(FileError, match=r"a\.csv: not a readable npz archive"):
        open_input(path, options=InputOptions(format="npz"))


@pytest.mark.parametrize("save", SAVERS)
def test_memory_of_npz_does_not_grow_with_the_file(tmp_path, peak_memory, save):
    for name, n in (("small.npz", 100_000), ("large.npz", 500_000)):
        rng = np.random.default_rng(n)
        save(tmp_path / name, **{k: rng.normal(size=n) for k in ("x", "y", "z", "dt")})

    peaks = [peak_memory(tmp_path / name, 20_000) for name in ("small.npz", "large.npz")]

    # Same chunks, same peak; one chunk of 4 columns is allowed for what is decompressed ahead.
    assert peaks[1] <= peaks[0] + 20_000 * 4 * 8


def test_a_clock_that_a_float64_cannot_hold_to_picoseconds_is_refused(tmp_path, singles):
    path = tmp_path / "a.npz"
    np.savez(path, **(singles | {"time": 1.7e9 + np.arange(23) * 1e-9}))
    options = InputOptions(columns={"time": ColumnSpec(name="time", unit="s")})

    with pytest.raises(FileError, match=r"times start at 1700000000, where a float64 steps by 2"):
        list(open_input(path, options=options).chunks())
