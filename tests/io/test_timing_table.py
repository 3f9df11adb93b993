from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import FileError
from psimg.events import PromptWalk, TimingTable
from psimg.io import read_timing_table, write_timing_table

TABLE = TimingTable(
    block=64,
    detector=np.array([-3, 0, 7]),
    offset_ns=np.array([0.1234, -0.5, 0.0]),
    error_ns=np.array([0.0021, 0.01, 0.005]),
    n_pairs=np.array([2000, 100, 400]),
    left_out=np.array([5, 9]),
    walk=PromptWalk(
        edges_kev=np.array([700.0, 812.5, 1300.0]),
        energy_kev=np.array([750.0, 1100.0]),
        walk_ns=np.array([0.03, -0.015]),
        error_ns=np.array([0.002, 0.001]),
    ),
)
GOOD = """\
# psimg timing table, format 1
# labels per row: 8
detector,offset_ns,error_ns,n_pairs
0,0.1,0.01,100
1,,,
2,-0.1,0.01,120

energy_low_kev,energy_high_kev,energy_mean_kev,walk_ns,error_ns
700,900,800,0.03,0.002
900,1300,1100,-0.01,0.002
"""


def same(one, other):
    for name in ("detector", "left_out", "n_pairs"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("offset_ns", "error_ns"):
        assert_allclose(getattr(one, name), getattr(other, name), atol=5e-5)
    assert one.block == other.block
    assert (one.walk is None) == (other.walk is None)
    if one.walk is not None:
        assert_array_equal(one.walk.edges_kev, other.walk.edges_kev)
        assert_allclose(one.walk.energy_kev, other.walk.energy_kev)
        assert_allclose(one.walk.walk_ns, other.walk.walk_ns, atol=5e-5)
        assert_allclose(one.walk.error_ns, other.walk.error_ns, atol=5e-5)


OPEN = replace(TABLE.walk, edges_kev=np.array([700.0, 812.5, np.inf]))


@pytest.mark.parametrize("walk", [TABLE.walk, OPEN, None])
def test_a_table_comes_back_as_it_was_written(tmp_path, walk):
    table = replace(TABLE, walk=walk)

    write_timing_table(tmp_path / "timing.csv", table)

    same(read_timing_table(tmp_path / "timing.csv"), table)


def test_an_earlier_table_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "timing.csv"
    path.write_text("mine")

    with pytest.raises(FileError, match=r"timing.csv: exists already; use --overwrite"):
        write_timing_table(path, TABLE)
    assert path.read_text() == "mine"
    write_timing_table(path, TABLE, overwrite=True)
    same(read_timing_table(path), TABLE)


def test_a_table_by_hand_is_read(tmp_path):
    (tmp_path / "timing.csv").write_text(GOOD)

    table = read_timing_table(tmp_path / "timing.csv")

    assert table.block == 8
    assert_array_equal(table.detector, [0, 2])
    assert_array_equal(table.left_out, [1])
    assert_array_equal(table.walk.edges_kev, [700, 900, 1300])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format 1", "format 2", "first line is '# psimg timing table, format 2', expected"),
        ("# labels per row: 8\n", "", "no line '# labels per row: N'; add it"),
        ("detector,offset_ns", "detector,offset_ps", "line 3 holds 'detector,offset_ps"),
        ("0,0.1,0.01,100", "0,nan,0.01,100", "line 4 holds 'nan', expected a finite number"),
        ("0,0.1,0.01,100", "0,word,0.01,100", "line 4 holds 'word', expected a finite number"),
        ("0,0.1,0.01,100", "0,0.1,,100", "line 4 holds '', expected a finite number"),
        ("0,0.1,0.01,100", "0,0.1,0.01", "line 4 has 3 columns, expected 4"),
        ("0,0.1,0.01,100", "0.5,0.1,0.01,100", "line 4: label 0.5 is no whole number"),
        ("0,0.1,0.01,100", "4,0.1,0.01,100", "detector of a timing table must rise"),
        ("900,1300", "950,1300", "energy bins of the walk have gaps"),
        ("800,0.03", "800,inf", "line 9 holds 'inf', expected a finite number"),
        ("800,0.03,0.002", "800,0.03", "line 9 has 4 columns, expected 5"),
        ("900,800,", "900,950,", "energy_kev of the walk must lie in its bins"),
        ("row: 8", "row: 0", "block = 0: expected 1 or more"),
    ],
)
def test_a_table_of_another_layout_is_an_error_that_says_where(tmp_path, old, new, message):
    path = tmp_path / "timing.csv"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))

    with pytest.raises(FileError, match=message) as caught:
        read_timing_table(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_empty_or_binary_file_is_an_error(tmp_path):
    with pytest.raises(FileError, match="no such timing table; 'psimg calibrate"):
        read_timing_table(tmp_path / "timing.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(FileError, match="first line is '', expected '# psimg timing table"):
        read_timing_table(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="cannot be read"):
        read_timing_table(tmp_path / "binary.csv")


def test_a_file_of_comments_alone_is_an_error(tmp_path):
    (tmp_path / "timing.csv").write_text("".join(GOOD.splitlines(keepends=True)[:2]))

    with pytest.raises(FileError, match="no column names, expected 'detector,offset_ns"):
        read_timing_table(tmp_path / "timing.csv")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        write_timing_table(tmp_path / "nowhere" / "timing.csv", TABLE)
