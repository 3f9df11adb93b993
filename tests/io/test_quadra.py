import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core.errors import FileError, SettingsError
from psimg.io import InputOptions, open_input
from psimg.io.quadra import BAD_TIME_NS, DEFAULT_AXES

PROVIDER_AXES = ("+c0", "-c2", "-c1")


def write_quadra(path, rows):
    path.write_bytes(np.asarray(rows, dtype="<f8").tobytes())
    return path


@pytest.fixture
def rows():
    rng = np.random.default_rng(7)
    return np.column_stack([rng.uniform(-200, 200, (23, 3)), rng.uniform(-2, 10, 23)])


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("axes", "column", "sign"),
    [
        (DEFAULT_AXES, [0, 2, 1], [-1, 1, -1]),
        (PROVIDER_AXES, [0, 2, 1], [1, -1, -1]),
        (("c1", "c0", "-c2"), [1, 0, 2], [1, 1, -1]),
    ],
)
def test_axis_map_places_events_in_the_world(tmp_path, read_all, rows, axes, column, sign):
    path = write_quadra(tmp_path / "scan.l", rows)

    read = read_all(path, axes=axes)

    assert read.file.format == "quadra-xyzt"
    assert read.file.content == "events"
    assert_array_equal(read.value.position_mm, rows[:, column] * sign)
    assert_array_equal(read.value.dt_ns, rows[:, 3])
    assert_array_equal(read.value.window, 0)


def test_default_axis_map_is_the_one_that_reproduces_the_providers_image(tmp_path, read_all):
    path = write_quadra(tmp_path / "scan.l", [[1.0, 2.0, 3.0, 4.0]])

    read = read_all(path)

    assert_array_equal(read.value.position_mm, [[-1.0, 3.0, -2.0]])


@pytest.mark.kernel
@pytest.mark.parametrize("chunk", [1, 7, 23])
def test_quadra_rows_do_not_depend_on_the_chunk_size(tmp_path, read_all, rows, chunk):
    rows[11, 3] = BAD_TIME_NS
    path = write_quadra(tmp_path / "scan.l", rows)

    read = read_all(path, n_rows=chunk)

    good = np.delete(rows, 11, axis=0)
    assert max(read.sizes) == chunk
    assert_array_equal(read.value.dt_ns, good[:, 3])
    assert_array_equal(read.value.position_mm, good[:, [0, 2, 1]] * [-1, 1, -1])


@pytest.mark.kernel
def test_events_marked_bad_are_dropped_and_counted_apart_from_nan(tmp_path, read_all, rows):
    rows[[2, 5], 3] = BAD_TIME_NS, -BAD_TIME_NS
    rows[8, 3] = np.nan
    rows[9, 0] = np.inf
    path = write_quadra(tmp_path / "scan.l", rows)

    read = read_all(path)

    assert (read.n_rows, read.n_marked_bad, read.n_not_finite) == (23, 2, 2)
    assert_array_equal(read.value.dt_ns, np.delete(rows[:, 3], [2, 5, 8, 9]))


def test_a_file_of_only_bad_events_has_no_value_and_no_error(tmp_path, read_all):
    path = write_quadra(tmp_path / "scan.l", [[0, 0, 0, BAD_TIME_NS]] * 3)

    read = read_all(path)

    assert len(read.value) == 0
    assert read.n_marked_bad == 3


def test_more_than_half_nan_rows_of_quadra_are_an_error(tmp_path, read_all, rows):
    rows[:12, 1] = np.nan
    path = write_quadra(tmp_path / "scan.l", rows)

    with pytest.raises(FileError, match=r"scan\.l: 12 of 23 rows hold NaN .* more than half"):
        read_all(path)


def test_half_of_the_rows_nan_is_no_error(tmp_path, read_all, rows):
    rows[:11, 1] = np.nan
    path = write_quadra(tmp_path / "scan.l", rows[:22])

    read = read_all(path, n_rows=7)

    assert (len(read.value), read.n_not_finite) == (11, 11)


def test_the_error_on_nan_rows_counts_the_whole_file_and_not_one_chunk(tmp_path, read_all, rows):
    rows[:5, 1] = np.nan
    path = write_quadra(tmp_path / "scan.l", rows)

    read = read_all(path, n_rows=5)

    assert len(read.value) == 18


@pytest.mark.parametrize("extra", [1, 8, 31])
def test_a_size_that_is_no_multiple_of_32_is_an_error(tmp_path, rows, extra):
    path = write_quadra(tmp_path / "scan.l", rows)
    with path.open("ab") as file:
        file.write(b"\0" * extra)

    with pytest.raises(FileError, match=rf"scan\.l: {736 + extra} bytes .* {extra} are left over"):
        open_input(path)


@pytest.mark.parametrize(
    "axes",
    [
        ("c0", "c0", "c1"),
        ("c0", "c1"),
        ("c0", "c1", "c3"),
        ("x", "y", "z"),
        ("c0", "c1", "c2", "t"),
    ],
)
def test_an_axis_map_that_is_no_permutation_is_an_error(axes):
    with pytest.raises(SettingsError, match=r"input\.axes = \[.*expected c0, c1 and c2 once each"):
        InputOptions(axes=axes)


def test_quadra_holds_events_and_nothing_else(tmp_path, rows):
    path = write_quadra(tmp_path / "scan.l", rows)

    with pytest.raises(
        SettingsError, match=r"input\.content = 'singles', but quadra-xyzt files hold events"
    ):
        open_input(path, options=InputOptions(content="singles"))


def test_a_column_map_for_quadra_is_an_error_and_not_passed_over(tmp_path, rows):
    path = write_quadra(tmp_path / "scan.l", rows)

    with pytest.raises(SettingsError, match=r"input\.columns is set, but quadra-xyzt files have"):
        open_input(path, options=InputOptions(columns={"x": "c1"}))


def test_quadra_of_another_ending_is_read_when_the_format_is_named(tmp_path, read_all, rows):
    path = write_quadra(tmp_path / "scan.bin", rows)

    read = read_all(path, format="quadra-xyzt")

    assert_array_equal(read.value.dt_ns, rows[:, 3])


@pytest.mark.kernel
def test_events_of_many_pieces_keep_their_order(tmp_path, read_all):
    rows = np.arange(4 * 9000.0).reshape(-1, 4)
    rows[::7, 3] = BAD_TIME_NS
    rows[3::11, 2] = np.nan
    path = write_quadra(tmp_path / "scan.l", rows)

    read = read_all(path, n_rows=8500)

    bad, nan = (rows[:, 3] == BAD_TIME_NS), np.isnan(rows[:, 2])
    assert_array_equal(read.value.dt_ns, rows[~bad & ~nan, 3])
    assert_array_equal(read.value.position_mm, rows[~bad & ~nan][:, [0, 2, 1]] * [-1, 1, -1])
    assert (read.n_not_finite, read.n_marked_bad) == (nan.sum(), (bad & ~nan).sum())
    assert read.n_rows == len(rows)


def test_a_file_cut_short_after_it_was_opened_is_an_error_and_not_a_shorter_file(tmp_path, rows):
    path = write_quadra(tmp_path / "scan.l", rows)
    file = open_input(path)
    write_quadra(path, rows[:10])

    with pytest.raises(FileError, match=r"scan\.l: breaks off .* of 23 events"):
        list(file.chunks(5))


def test_memory_of_quadra_does_not_grow_with_the_file(tmp_path, peak_memory):
    small = write_quadra(tmp_path / "small.l", np.ones((100_000, 4)))
    large = write_quadra(tmp_path / "large.l", np.ones((800_000, 4)))

    peaks = [peak_memory(path, 20_000) for path in (small, large)]

    # Same chunks, same peak; one column of a chunk is allowed for the order they are freed in.
    assert peaks[1] <= peaks[0] + 20_000 * 8
