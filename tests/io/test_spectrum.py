import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import FileError, SettingsError
from psimg.io import read_spectrum, write_spectra_npz, write_spectra_root

COUNTS = np.array([0.0, 12.0, 345.0, 78.0, 9.0, 1.0])
CENTRES = 0.05 * (np.arange(6) + 0.5)
EDGES_NS = 0.05 * np.arange(7)

LT = """\
water, 20 C
0.05
-1.23457e+006
0.27
0 12 345
78
9 1
"""
SPE = """\
$SPEC_ID:
No sample description was entered.
$MEAS_TIM:
3600 3606
$DATA:
0 5
       0
      12
     345
      78
       9
       1
$ROI:
1
2 4
$ENER_FIT:
0.000000 1.000000
$MCA_CAL:
3
0.000000E+000 1.000000E+000 0.000000E+000 keV
$SHAPE_CAL:
3
0.0 0.0 0.0
"""
KEV = "0.000000E+000 1.000000E+000 0.000000E+000 keV"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str, name: str = "water.txt", newline: str = "\n") -> Path:
        path = tmp_path / name
        path.write_bytes(text.replace("\n", newline).encode())
        return path

    return to_file


def columns(first, counts=COUNTS, *, separator: str = "  ", head: str = "") -> str:
    return head + "".join(f"{t:.6g}{separator}{n:g}\n" for t, n in zip(first, counts, strict=True))


def spe_of(n: int) -> str:
    """A Maestro file of n channels with a peak of 0.5 ns, were its range 50 ns."""
    t = (np.arange(n) - 0.3 * n) * 50.0 / n
    counts = np.round(3000 * np.exp(-4 * np.log(2) * (t / 0.5) ** 2) + 30)
    rows = "\n".join(f"{int(c):8d}" for c in counts)
    return f"$DATA:\n0 {n - 1}\n{rows}\n$MCA_CAL:\n3\n{KEV}\n"


# Columns


@pytest.mark.parametrize("separator", ["  ", "\t", ",", "; "])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_two_columns_are_bin_centres_in_ns_and_counts(write, separator, newline):
    path = write(columns(CENTRES, separator=separator), newline=newline)

    spectrum = read_spectrum(path)

    assert_allclose(spectrum.edges_ns, EDGES_NS, atol=1e-12)
    assert_array_equal(spectrum.counts, COUNTS)
    assert spectrum.name == "water"
    assert spectrum.origin == "bin centres in the first column, taken as ns, 0.05 ns apart"
    assert not spectrum.axis_assumed


@pytest.mark.parametrize(
    ("head", "factor"),
    [
        ("time_ns,counts\n", 1.0),
        ("# remark\n\n# t [ps], counts\n", 1e3),
        ("t (ps),N\n", 1e3),
        ("\ufefft / \u00b5s,N\n", 1e-3),
        ("bin centre [us],events\n", 1e-3),
    ],
)
def test_the_name_of_the_first_column_states_its_unit(write, head, factor):
    path = write(columns(CENTRES * factor, separator=",", head=head))

    assert_allclose(read_spectrum(path).edges_ns, EDGES_NS, atol=1e-9)


def test_rounded_times_are_even_steps(write):
    times = np.arange(300) * 0.006186 - 0.4
    path = write("".join(f"{t:.3f} 5\n" for t in times))

    spectrum = read_spectrum(path)

    assert_allclose(spectrum.centres_ns, times, atol=5e-4)


def test_one_column_counts_channels(write):
    path = write("# water\ncounts\n" + "\n".join(f"{n:g}" for n in COUNTS) + "\n\n# end\n")

    spectrum = read_spectrum(path, channel_ns=0.05)

    assert_allclose(spectrum.edges_ns, EDGES_NS)
    assert_array_equal(spectrum.counts, COUNTS)
    assert spectrum.origin == "0.05 ns per channel"


@pytest.mark.parametrize("head", ["", "channel counts\n", "Ch, N\n"])
def test_a_first_column_of_whole_numbers_counts_channels(write, head):
    separator = "," if "," in head else " "
    path = write(columns(np.arange(6) + 3, separator=separator, head=head))

    spectrum = read_spectrum(path, channel_ns=0.05)

    assert_allclose(spectrum.edges_ns, EDGES_NS + 0.15)


def test_whole_numbers_that_are_called_ns_are_times(write):
    path = write(columns(np.arange(6), head="t_ns counts\n"))

    assert_allclose(read_spectrum(path).edges_ns, np.arange(7) - 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1 3\n0.2 x\n", "line 2 holds 'x', expected a number; mend or remove"),
        ("0.1 3\n0.2 nan\n", "line 2 holds 'nan', expected a number"),
        ("0.1 3\ninf 4\n", "line 2 holds 'inf', expected a number"),
        ("0.1 3\n\n0.2 -4\n", "line 3 holds -4 counts, expected 0 or more; do not subtract"),
        ("0.1 3\n0.2\n", "line 2 has 1 columns, expected 2"),
        ("3\n4 5\n", "line 2 has 2 columns, expected 1"),
        ("0.1,3\n0.2,\n", "line 2 holds '', expected a number"),
        ("0.1 3 5\n0.2 4 5\n", r"line 1 has 3 columns, expected one \(counts\) or two"),
        ("0.1 3\n0.2 4\n0.2 5\n0.3 4\n", "line 3 steps by 0 where others step by 0.1"),
        ("0.1 3\n0.2 4\n\n0.4 5\n0.5 4\n", "line 4 steps by 0.2 where others step by 0.1"),
        ("0.2 3\n0.1 4\n", "first column goes from 0.2 to 0.1 in 2 lines"),
        ("0.2 3\n", "first column goes from 0.2 to 0.2 in 1 lines"),
        ("time counts\nns 1\n0.1 3\n0.2 4\n", "line 2 holds 'ns 1', expected numbers"),
        ("time counts\n[ns] [1]\n0.1 3\n", r"line 2 holds '\[ns\] \[1\]', expected numbers"),
        ("detector 1\n3\n4\n", "line 1 holds 'detector 1', expected numbers.*remarks with '#'"),
        ("1_000 3\n", "line 1 holds '1_000 3', expected numbers"),
        ("E [keV], counts\n0.1,3\n0.2,4\n", r"axis 'E \[keV\]' is in keV, expected a time"),
        ("position/mm counts\n0.1 3\n0.2 4\n", "is in mm, expected a time in ns, ps or us"),
        ("# only remarks\n\n", "no line of numbers; expected one column"),
        ("0.1 0\n0.2 0\n", "no counts in 2 bins from 0.05 to 0.25 ns"),
    ],
)
def test_a_table_that_is_no_spectrum_is_an_error_that_says_where(write, text, message):
    path = write(text)

    with pytest.raises(FileError, match=message) as caught:
        read_spectrum(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# LT


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lt_states_its_channel_and_holds_counts_one_or_several_a_line(write, newline):
    spectrum = read_spectrum(write(LT, newline=newline))

    assert_allclose(spectrum.edges_ns, EDGES_NS)
    assert_array_equal(spectrum.counts, COUNTS)
    assert spectrum.origin == "0.05 ns per channel, line 2 of the file (LT)"


def test_a_width_that_is_given_replaces_that_of_the_file(write):
    spectrum = read_spectrum(write(LT), channel_ns=0.1)

    assert_allclose(spectrum.edges_ns, 2 * EDGES_NS)
    assert spectrum.origin == (
        "0.1 ns per channel, in place of 0.05 ns per channel, line 2 of the file (LT)"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("78", "7x", "line 6 holds '7x', expected a number"),
        ("78", "nan", "line 6 holds 'nan', expected a number"),
        ("12 345", "12 -345", "line 5 holds -345 counts"),
        ("0 12 345\n78\n9 1\n", "\n", r"four header lines \(LT\) and no counts below"),
    ],
)
def test_lt_with_junk_is_an_error_that_says_where(write, old, new, message):
    with pytest.raises(FileError, match=message):
        read_spectrum(write(LT.replace(old, new)))


# ORTEC Maestro


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r\r\n"])
def test_maestro_channels_take_the_width_that_is_given(write, newline):
    spectrum = read_spectrum(write(SPE, "water.Spe", newline), channel_ns=0.05)

    assert_allclose(spectrum.edges_ns, EDGES_NS)
    assert_array_equal(spectrum.counts, COUNTS)
    assert spectrum.origin == "0.05 ns per channel"


def test_maestro_channels_may_begin_later_and_stand_several_a_line(write):
    text = SPE.replace("0 5\n", "4 9\n", 1).replace("     345\n      78\n", "345 78\n")

    spectrum = read_spectrum(write(text), channel_ns=0.05)

    assert_allclose(spectrum.edges_ns, EDGES_NS + 0.2)
    assert_array_equal(spectrum.counts, COUNTS)


@pytest.mark.parametrize(
    ("old", "new", "factor", "origin"),
    [
        (KEV, "1.0 0.05 0.0 ns", 1.0, "0.05 ns per channel, $MCA_CAL of the file"),
        (KEV, "1000 50 PS", 1.0, "50 ps per channel, $MCA_CAL of the file"),
        ("0.000000 1.000000\n", "0.001 0.00005 us\n", 1.0, "5e-05 us per channel, $ENER_FIT"),
    ],
)
def test_a_calibration_in_time_is_used(write, old, new, factor, origin):
    spectrum = read_spectrum(write(SPE.replace(old, new)))

    assert_allclose(spectrum.edges_ns, 1.0 + EDGES_NS * factor)
    assert spectrum.origin.startswith(origin)
    assert not spectrum.axis_assumed


def test_a_calibration_with_a_curve_is_used(write):
    spectrum = read_spectrum(write(SPE.replace(KEV, "0.0 0.05 0.001 ns")))

    x = np.arange(7)
    assert_allclose(spectrum.edges_ns, 0.05 * x + 0.001 * x**2)


def test_an_energy_is_no_time_axis_and_the_usual_range_is_assumed(write):
    spectrum = read_spectrum(write(spe_of(1024)))

    assert spectrum.axis_assumed
    assert_allclose(spectrum.edges_ns[[0, -1]], [0.0, 50.0])
    assert "assumed: 50 ns" in spectrum.origin
    assert "--channel-ns" in spectrum.origin
    assert not read_spectrum(write(spe_of(1024)), channel_ns=0.05).axis_assumed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0 5\n", "0 6\n", "line 6 says channels 0 to 6, 7 of them, but 6 counts follow"),
        ("0 5\n", "0 4\n", "line 6 says channels 0 to 4, 5 of them, but 6 counts follow"),
        ("0 5\n", "5 0\n", "line 6 holds '5 0', expected the first and last channel"),
        ("0 5\n", "", "line 6 holds '0', expected the first and last channel"),
        ("$DATA:", "$DATUM:", r"no block \$DATA, found SPEC_ID, MEAS_TIM, DATUM"),
        ("$ROI:", "$DATA:", r"line 13 begins a second \$DATA"),
        ("345", "3x5", "line 9 holds '3x5', expected a number"),
        ("345", "-345", "line 9 holds -345 counts, expected 0 or more"),
        ("345", "nan", "line 9 holds 'nan', expected a number"),
        (KEV, "0.0 zero ns", "line 20 holds 'zero', expected a number"),
        (KEV, "0.05 ns", r"line 20 calibrates with \[0.05\], expected an offset and"),
        (KEV, "0.0 -0.05 ns", r"line 20 calibrates with \[0.0, -0.05\], expected an offset"),
        (KEV, "0.0 0.05 -0.01 ns", "edges_ns must be finite and rise, but bin 3"),
    ],
)
def test_a_maestro_file_with_junk_is_an_error_that_says_where(write, old, new, message):
    path = write(SPE.replace(old, new, 1))

    with pytest.raises(FileError, match=message) as caught:
        read_spectrum(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_maestro_file_that_breaks_off_at_data_is_an_error(write):
    with pytest.raises(FileError, match="line 6 holds '', expected the first and last channel"):
        read_spectrum(write(SPE[: SPE.index("0 5\n")]))


# ROOT


def write_th1(path: Path, **histograms) -> Path:
    """Write TH1D: counts with under- and overflow, edges, title of the axis."""
    with uproot.recreate(path) as file:
        for name, (counts, edges, title) in histograms.items():
            axis = uproot.writing.identify.to_TAxis(
                "xaxis", title, len(edges) - 1, edges[0], edges[-1], edges
            )
            n = counts[1:-1]
            file[name] = uproot.writing.identify.to_TH1x(
                name, "", counts, n.sum(), n.sum(), n.sum(), 0.0, 0.0, counts, axis
            )
    return path


FLOWS = np.concatenate([[7.0], COUNTS, [11.0]])


@pytest.mark.parametrize(
    ("title", "factor"),
    [
        ("", 1.0),
        ("#Deltat [ns]", 1.0),
        ("t (ps)", 1e3),
        ("time, #mus", 1e-3),
        ("bin centre [us]", 1e-3),
    ],
)
def test_a_root_histogram_is_read_without_what_lies_outside(tmp_path, title, factor):
    path = write_th1(tmp_path / "h.root", water=(FLOWS, EDGES_NS * factor, title))

    spectrum = read_spectrum(path)

    assert_allclose(spectrum.edges_ns, EDGES_NS, atol=1e-12)
    assert_array_equal(spectrum.counts, COUNTS)
    assert spectrum.name == "water"
    assert "water" in spectrum.origin


@pytest.mark.parametrize("title", ["", "channel"])
def test_a_root_histogram_may_count_channels(tmp_path, title):
    path = write_th1(tmp_path / "h.root", water=(FLOWS, np.arange(7.0), title))

    assert_allclose(read_spectrum(path, channel_ns=0.05).edges_ns, EDGES_NS)
    with pytest.raises(FileError, match="counts against channels without a time axis, and its 6"):
        read_spectrum(path)


def test_merged_channels_are_not_guessed_at(tmp_path):
    path = write_th1(tmp_path / "h.root", water=(FLOWS, 2 * np.arange(7.0), "channel"))

    with pytest.raises(FileError, match="its bins are not one channel wide; give the width"):
        read_spectrum(path)


def test_a_weighted_histogram_is_read_with_a_warning(tmp_path, caplog):
    with uproot.recreate(tmp_path / "h.root") as file:
        axis = uproot.writing.identify.to_TAxis("xaxis", "", 6, 0.0, 0.3, EDGES_NS)
        file["w"] = uproot.writing.identify.to_TH1x(
            "w", "", FLOWS, 1.0, 1.0, 1.0, 0.0, 0.0, 4 * FLOWS, axis
        )

    read_spectrum(tmp_path / "h.root")

    assert "w is weighted" in caplog.text


def test_one_of_several_histograms_is_named(tmp_path):
    one, other = (FLOWS, EDGES_NS, ""), (2 * FLOWS, EDGES_NS, "")
    path = write_th1(tmp_path / "h.root", one=one, other=other)

    assert_array_equal(read_spectrum(path, object="other").counts, 2 * COUNTS)
    with pytest.raises(FileError, match="holds 2 spectra, expected one: name one of one, other"):
        read_spectrum(path)
    with pytest.raises(FileError, match="no spectrum 'third'; the file has one, other"):
        read_spectrum(path, object="third")


def test_a_folder_with_counts_hides_no_histogram_of_another(tmp_path):
    one = (FLOWS, EDGES_NS, "")
    path = write_th1(tmp_path / "h.root", **{"first/counts": one, "second/h": one})

    with pytest.raises(FileError, match="name one of first/counts, second/h"):
        read_spectrum(path)


def test_a_root_file_of_many_histograms_lists_some(tmp_path):
    many = {f"h{i}": (FLOWS, EDGES_NS, "") for i in range(23)}

    with pytest.raises(FileError, match=r"holds 23 spectra.* h19 and 3 more"):
        read_spectrum(write_th1(tmp_path / "h.root", **many))


def test_a_root_file_of_something_else_is_an_error(tmp_path):
    with uproot.recreate(tmp_path / "tree.root") as file:
        file["events"] = {"dt": np.arange(3.0)}
    with uproot.recreate(tmp_path / "empty.root"):
        pass
    energies = write_th1(tmp_path / "e.root", e=(FLOWS, EDGES_NS, "energy [keV]"))
    negative = write_th1(tmp_path / "n.root", n=(5 - FLOWS, EDGES_NS, ""))
    (tmp_path / "broken.root").write_bytes(b"root and no more")

    for path, message in (
        (tmp_path / "tree.root", r"holds no TH1 histogram \(events: "),
        (tmp_path / "empty.root", r"holds no TH1 histogram \(it is empty\)"),
        (energies, r"e: axis 'energy \[keV\]' is in keV, expected a time"),
        (negative, "bin 1 holds -7 counts, expected 0 or more"),
        (tmp_path / "broken.root", "not a readable ROOT file"),
    ):
        with pytest.raises(FileError, match=message) as caught:
            read_spectrum(path)
        assert str(caught.value).startswith(f"{path}: ")


# The files of a run


RUNS = pytest.mark.parametrize(
    ("write_run", "ending"), [(write_spectra_root, "root"), (write_spectra_npz, "npz")]
)


@RUNS
def test_the_measured_spectrum_of_a_region_of_a_run_is_read(tmp_path, write_run, ending):
    path = tmp_path / f"spectra.{ending}"
    curves = {"counts": COUNTS, "ops": 0.5 * COUNTS, "background": 0.1 * COUNTS}
    write_run(path, {"liver": curves, "a/b": curves | {"counts": 3 * COUNTS}}, EDGES_NS)

    spectrum = read_spectrum(path, object="a/b")

    assert_array_equal(spectrum.counts, 3 * COUNTS)
    assert_allclose(spectrum.edges_ns, EDGES_NS)
    with pytest.raises(FileError, match=r"holds 2 spectra, expected one: name one of liver, a.b$"):
        read_spectrum(path)
    with pytest.raises(FileError, match=r"no spectrum 'kidney'; the file has liver, a.b$"):
        read_spectrum(path, object="kidney")
    with pytest.raises(FileError, match=r"has a time axis of its own .*leave --channel-ns out"):
        read_spectrum(path, object="liver", channel_ns=0.05)


@RUNS
def test_the_only_region_of_a_run_needs_no_name(tmp_path, write_run, ending):
    path = tmp_path / f"spectra.{ending}"
    write_run(path, {"all": {"counts": COUNTS, "ops": COUNTS}}, EDGES_NS)

    spectrum = read_spectrum(path)

    assert spectrum.name == "all"
    assert_array_equal(spectrum.counts, COUNTS)


def test_an_archive_of_edges_and_counts_is_a_spectrum(tmp_path):
    np.savez(tmp_path / "water.npz", edges_ns=EDGES_NS, counts=COUNTS)

    spectrum = read_spectrum(tmp_path / "water.npz")

    assert spectrum.name == "water"
    assert_array_equal(spectrum.counts, COUNTS)


def test_an_archive_of_something_else_is_an_error(tmp_path):
    np.savez(tmp_path / "events.npz", x=EDGES_NS, dt=EDGES_NS)
    np.savez(tmp_path / "odd.npz", edges_ns=EDGES_NS, counts=COUNTS[:-1])
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "objects.npz", edges_ns=np.array([{}], object), counts=COUNTS)

    for name, message in (
        ("events", "no member 'edges_ns', found x, dt; expected edges_ns and counts"),
        ("odd", r"counts has shape \(5,\) for 1 regions and 7 edges"),
        ("broken", "not a readable npz archive"),
        ("objects", "not a readable npz archive"),
    ):
        with pytest.raises(FileError, match=message):
            read_spectrum(tmp_path / f"{name}.npz")


# Any file


def test_channels_of_unknown_width_are_an_error_that_says_what_to_give(write):
    path = write("\n".join(f"{n:g}" for n in COUNTS))

    message = (
        f"{path}: counts against channels without a time axis, and its 6 channels are no full "
        "range of an analyser (a power of two, 512 or more) of which a width could be assumed; "
        "give the width of a channel with --channel-ns"
    )
    with pytest.raises(FileError, match=re.escape(message)):
        read_spectrum(path)


@pytest.mark.parametrize("channel_ns", [0.0, -1.0, np.nan, np.inf])
def test_a_width_that_is_none_is_an_error(write, channel_ns):
    with pytest.raises(SettingsError, match=r"channel_ns = .*expected a positive number of ns"):
        read_spectrum(write(LT), channel_ns=channel_ns)


def test_a_name_for_a_text_file_is_an_error(write):
    with pytest.raises(FileError, match="holds one spectrum as text; leave 'water' out"):
        read_spectrum(write(LT), object="water")


def test_a_file_that_is_missing_empty_or_binary_is_an_error(tmp_path):
    (tmp_path / "empty.Spe").touch()
    (tmp_path / "binary.dat").write_bytes(b"\x01\x02\x00\x03")

    for name, message in (
        ("missing.Spe", "no such file"),
        ("empty.Spe", "is empty"),
        ("binary.dat", r"neither text nor ROOT nor npz \(byte 2 is zero\)"),
    ):
        with pytest.raises(FileError, match=message):
            read_spectrum(tmp_path / name)


def test_a_file_too_large_for_a_spectrum_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("psimg.io.spectrum_text._LARGEST", 10)
    (tmp_path / "events.csv").write_text("1,2\n" * 10)

    with pytest.raises(FileError, match=r"MB are too many for one spectrum; events are read by"):
        read_spectrum(tmp_path / "events.csv")


def test_remarks_in_a_windows_code_page_are_read(tmp_path):
    (tmp_path / "w.txt").write_bytes("# t [\u00b5s], N\n0.001,3\n0.002,4\n".encode("latin-1"))

    assert_allclose(read_spectrum(tmp_path / "w.txt").edges_ns, [0.5, 1.5, 2.5])


# Measured spectra, where they are at hand


def test_water_from_maestro_gets_the_usual_range(measured_spectra):
    assumed = read_spectrum(measured_spectra / "H2O_002.Spe")
    given = read_spectrum(measured_spectra / "H2O_002.Spe", channel_ns=0.006186)

    assert (len(assumed), assumed.counts.sum()) == (8192, 998431)
    assert assumed.axis_assumed
    assert not given.axis_assumed
    assert_allclose(given.edges_ns[-1], 8192 * 0.006186)


def test_the_example_of_pascual_is_lt(measured_spectra):
    spectrum = read_spectrum(measured_spectra / "CPI_A_001.dat")

    assert (len(spectrum), spectrum.counts.max()) == (1024, 42436)
    assert_allclose(spectrum.edges_ns[-1], 51.2)
