import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import FileError
from psimg.io import ColumnSpec, InputOptions, open_input


def lines_of(columns, separator=","):
    return [
        separator.join(repr(float(v)) for v in row) for row in zip(*columns.values(), strict=True)
    ]


def write_table(path, columns, *, separator=",", newline="\n", header=None):
    if header is None:
        header = separator.join(columns)
    text = newline.join([*([header] if header else []), *lines_of(columns, separator), ""])
    path.write_bytes(text.encode())
    return path


def assert_same_events(value, events):
    assert_array_equal(value.dt_ns, events["dt"])
    assert_array_equal(value.position_mm.T, [events[axis] for axis in "xyz"])


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_csv_singles_are_the_same_for_any_chunk_size(tmp_path, read_all, singles, chunk):
    path = write_table(tmp_path / "a.csv", singles | {"detector": np.arange(23)})

    read = read_all(path, n_rows=chunk)

    assert (read.file.format, read.file.content, read.file.n_rows) == ("csv", "singles", None)
    assert max(read.sizes) == chunk
    assert_array_equal(read.value.time_ns, singles["time"] - singles["time"][0])
    assert_array_equal(read.value.energy_kev, singles["energy"])
    assert_array_equal(read.value.position_mm.T, [singles[axis] for axis in "xyz"])
    assert_array_equal(read.value.detector, np.arange(23))


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_csv_triplets_are_the_same_for_any_chunk_size(tmp_path, read_all, triplets, chunk):
    path = write_table(tmp_path / "a.csv", triplets)

    read = read_all(path, n_rows=chunk)

    assert read.file.content == "triplets"
    times = np.stack([triplets[f"time_{i}"] for i in (1, 2, 3)], axis=1)
    assert_array_equal(read.value.time_ns, times - times[0, 0])
    assert_array_equal(read.value.energy_kev[:, 2], triplets["energy_3"])
    assert_array_equal(read.value.position_mm[:, 1, 2], triplets["z_2"])


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", ", "   "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_separators_and_line_ends_are_found(tmp_path, read_all, events, separator, newline):
    path = write_table(tmp_path / "a.csv", events, separator=separator, newline=newline)

    assert_same_events(read_all(path, n_rows=7).value, events)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".dat", ".CSV"])
def test_text_endings_are_known(tmp_path, read_all, events, suffix):
    path = write_table(tmp_path / f"a{suffix}", events)

    assert_same_events(read_all(path).value, events)


@pytest.mark.parametrize(
    "header",
    [
        "# x, y, z, dt",
        "#x,y,z,dt",
        "# written by hand\n# x,y,z,dt",
        "written by hand\nx,y,z,dt",
        '"x","y","z","dt"',
        "x,y,z,dt\n\n",
        "\n\nx,y,z,dt",
    ],
)
def test_csv_headers_name_the_columns(tmp_path, read_all, events, header):
    path = write_table(tmp_path / "a.csv", events, header=header)

    assert_same_events(read_all(path).value, events)


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_comments_and_blank_lines_among_the_rows_are_passed_over(tmp_path, read_all, events, chunk):
    lines = lines_of(events)
    lines[3:3] = ["# a remark", "", "   ", "  # another, with, commas"]
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\n" + "\n".join(lines))

    assert_same_events(read_all(path, n_rows=chunk).value, events)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, read_all, events):
    path = write_table(tmp_path / "a.csv", events)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert_same_events(read_all(path).value, events)


def test_columns_without_a_header_are_named_by_number(tmp_path, read_all, events):
    path = write_table(tmp_path / "a.csv", events, header="")
    columns = {"x": "c0", "y": "c1", "z": "c2", "dt": ColumnSpec(name="c3", unit="ps")}

    value = read_all(path, columns=columns).value

    assert_allclose(value.dt_ns, events["dt"] * 1e-3, rtol=2**-51)
    assert_array_equal(value.position_mm[:, 0], events["x"])


def test_a_table_without_header_or_column_map_is_an_error_that_lists_the_columns(tmp_path, events):
    path = write_table(tmp_path / "a.csv", events, header="")

    with pytest.raises(
        FileError, match=r"cannot tell what a row is from the columns c0, c1, c2, c3; map psimg's"
    ):
        open_input(path)


def test_one_column_may_stand_for_two(tmp_path, read_all, events):
    path = write_table(tmp_path / "a.csv", events)

    value = read_all(path, columns={"y": "x"}).value

    assert_array_equal(value.position_mm[:, 0], value.position_mm[:, 1])
    assert_array_equal(value.dt_ns, events["dt"])


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_a_word_among_the_numbers_is_named_by_its_row(tmp_path, read_all, events, chunk):
    lines = lines_of(events)
    lines[12] = "1.0,twelve,3.0,4.0"
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\n# first\n" + "\n".join(lines))

    with pytest.raises(
        FileError,
        match=r"a\.csv: could not convert string 'twelve' to float64 at data row 13, column 2; "
        r"expected 4 numbers a line",
    ):
        read_all(path, n_rows=chunk)


@pytest.mark.parametrize("chunk", [1, 7, 23])
@pytest.mark.parametrize(("line", "n"), [("1,2,3", 3), ("1,2,3,4,5", 5), ("1", 1)])
def test_a_ragged_line_is_named_by_its_row(tmp_path, read_all, events, chunk, line, n):
    lines = lines_of(events)
    lines[12] = line
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\n" + "\n".join(lines))

    with pytest.raises(FileError, match=rf"a\.csv: data row 13 has {n} columns, expected 4; mend"):
        read_all(path, n_rows=chunk)


def test_a_ragged_line_of_a_table_apart_by_spaces_is_named_by_its_row(tmp_path, read_all, events):
    lines = lines_of(events, " ")
    lines[4] = "1 2 3 4 5"
    path = tmp_path / "a.txt"
    path.write_text("x y z dt\n" + "\n".join(lines))

    with pytest.raises(FileError, match=r"data row 5 has 5 columns, expected 4"):
        read_all(path)


def test_a_missing_value_is_named_by_its_row(tmp_path, read_all, events):
    lines = lines_of(events)
    lines[2] = "1.0,,3.0,4.0"
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\n" + "\n".join(lines))

    with pytest.raises(FileError, match=r"string '' to float64 at data row 3, column 2"):
        read_all(path)


@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_nan_and_inf_rows_of_csv_are_dropped_and_counted(tmp_path, read_all, events, chunk):
    events["x"][4] = np.nan
    events["dt"][9] = -np.inf
    path = write_table(tmp_path / "a.csv", events)

    read = read_all(path, n_rows=chunk)

    assert (read.n_rows, read.n_not_finite) == (23, 2)
    assert_array_equal(read.value.dt_ns, np.delete(events["dt"], [4, 9]))


def test_more_than_half_nan_rows_of_csv_are_an_error(tmp_path, read_all, events):
    events["x"][:12] = np.nan
    path = write_table(tmp_path / "a.csv", events)

    with pytest.raises(FileError, match=r"a\.csv: 12 of 23 rows hold NaN"):
        read_all(path, n_rows=5)


@pytest.mark.parametrize("chunk", [1, 7, 23])
@pytest.mark.parametrize("start", [2**53 + 1, 1_700_000_000_000_000_001])
def test_csv_clock_of_long_integers_keeps_exact_steps(tmp_path, read_all, chunk, start):
    lines = [f"{start + 12_345 * i},511,1,2,3" for i in range(23)]
    path = tmp_path / "a.csv"
    path.write_text("time,energy,x,y,z\n" + "\n".join(lines))

    read = read_all(path, n_rows=chunk, columns={"time": ColumnSpec(name="time", unit="ps")})

    assert_array_equal(read.value.time_ns, np.arange(23) * 12_345 * 1e-3)


def test_a_table_of_words_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y,z,dt\none,two,three,four\n")

    with pytest.raises(FileError, match=r"a\.csv: no row of numbers in this table; expected one"):
        open_input(path)


@pytest.mark.parametrize("text", ["x,y,z,dt\n", "\n\n\n", "# only a remark\n"])
def test_a_table_without_rows_is_an_error(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)

    with pytest.raises(FileError, match=r"a\.csv: no row of numbers in this table"):
        open_input(path)


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y,\xff\xfe\n1,2,3\n")

    with pytest.raises(FileError, match=r"a\.csv: not a text table \(byte 4 is no UTF-8\); name"):
        open_input(path)


def test_bytes_that_are_no_text_far_into_the_file_are_an_error(tmp_path, read_all):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y,z,dt\n" + b"1,2,3,4\n" * 20_000 + b"1,2,3,\xff\n")

    with pytest.raises(FileError, match=r"a\.csv: holds bytes that are no UTF-8 text"):
        read_all(path)


def test_the_time_of_a_table_may_start_anywhere(tmp_path, read_all, singles):
    path = write_table(tmp_path / "a.csv", singles | {"time": singles["time"] - 1e9})

    value = read_all(path, format="csv").value

    assert value.time_ns[0] == 0.0
    # Steps of float64 at 1e9 ns are 1.2e-7 ns.
    assert_allclose(value.time_ns, singles["time"] - singles["time"][0], atol=3e-7)


def test_a_csv_of_unknown_ending_is_read_when_the_format_is_named(tmp_path, read_all, events):
    path = write_table(tmp_path / "a.asc", events)

    assert_same_events(read_all(path, format="csv").value, events)
    with pytest.raises(FileError, match=r"a\.asc: unknown format \(ending \.asc, first bytes b'x,"):
        open_input(path, options=InputOptions())


def test_memory_of_csv_does_not_grow_with_the_file(tmp_path, peak_memory):
    for name, n in (("small.csv", 20_000), ("large.csv", 120_000)):
        (tmp_path / name).write_text("x,y,z,dt\n" + "1.25,2.25,3.25,4.25\n" * n)

    peaks = [peak_memory(tmp_path / name, 5_000) for name in ("small.csv", "large.csv")]

    # Same chunks, same peak; one column of a chunk is allowed for the order they are freed in.
    assert peaks[1] <= peaks[0] + 5_000 * 8
