import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import FileError, SettingsError
from psimg.io import FORMATS, ColumnSpec, InputOptions, open_input


def save(path, columns):
    np.savez(path, **columns)
    return path


@pytest.mark.parametrize(
    ("unit", "factor"), [("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0), ("ps", 1e-3)]
)
def test_times_arrive_in_ns(tmp_path, read_all, singles, unit, factor):
    path = save(tmp_path / "a.npz", singles | {"time": singles["time"] / factor})

    value = read_all(path, columns={"time": ColumnSpec(name="time", unit=unit)}).value

    # The clock reads 2e6 ns, rounded when divided, subtracted and multiplied.
    expected = singles["time"] - singles["time"][0]
    assert_allclose(value.time_ns, expected, atol=2e6 * 2**-51, rtol=0)


@pytest.mark.parametrize(
    ("unit", "factor"), [("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0), ("ps", 1e-3)]
)
def test_dt_arrives_in_ns(tmp_path, read_all, events, unit, factor):
    path = save(tmp_path / "a.npz", events | {"dt": events["dt"] / factor})

    value = read_all(path, columns={"dt": ColumnSpec(name="dt", unit=unit)}).value

    assert_allclose(value.dt_ns, events["dt"], rtol=2**-51)


@pytest.mark.parametrize(("unit", "factor"), [("eV", 1e-3), ("keV", 1.0), ("MeV", 1e3)])
def test_energies_arrive_in_kev(tmp_path, read_all, singles, unit, factor):
    path = save(tmp_path / "a.npz", singles | {"energy": singles["energy"] / factor})

    value = read_all(path, columns={"energy": ColumnSpec(name="energy", unit=unit)}).value

    assert_allclose(value.energy_kev, singles["energy"], rtol=2**-51)


@pytest.mark.parametrize(("unit", "factor"), [("m", 1e3), ("cm", 10.0), ("mm", 1.0)])
def test_lengths_arrive_in_mm(tmp_path, read_all, singles, unit, factor):
    path = save(tmp_path / "a.npz", singles | {"y": singles["y"] / factor})

    value = read_all(path, columns={"y": ColumnSpec(name="y", unit=unit)}).value

    assert_allclose(value.position_mm[:, 1], singles["y"], rtol=2**-51)
    assert_array_equal(value.position_mm[:, 2], singles["z"])


def test_names_with_psimgs_units_are_known(tmp_path, read_all, triplets):
    units = {"time": "ns", "energy": "kev", "x": "mm", "y": "mm", "z": "mm"}
    named = {f"{k}_{units[k.split('_')[0]]}": v for k, v in triplets.items()}
    path = save(tmp_path / "a.npz", named)

    read = read_all(path)

    assert read.file.content == "triplets"
    assert not any(column.assumed for column in read.file.columns)
    assert {c.source for c in read.file.columns} >= {"time_1_ns", "energy_3_kev", "x_2_mm"}
    assert_array_equal(read.value.energy_kev[:, 2], triplets["energy_3"])


def test_names_with_psimgs_units_go_before_plain_ones(tmp_path, read_all, events):
    path = save(tmp_path / "a.npz", events | {"dt_ns": events["dt"] + 1.0})

    read = read_all(path)

    assert_array_equal(read.value.dt_ns, events["dt"] + 1.0)


def test_units_of_plain_names_are_assumed_and_said_to_be(tmp_path, read_all, singles):
    named = {f"{k}_{u}": singles[k] for k, u in (("time", "ns"), ("energy", "kev"))}
    path = save(tmp_path / "a.npz", named | {axis: singles[axis] for axis in "xyz"})

    columns = {c.role: c for c in read_all(path).file.columns}

    assert {role: c.assumed for role, c in columns.items()} == {
        "time": False,
        "energy": False,
        "x": True,
        "y": True,
        "z": True,
    }
    assert columns["x"].unit == "mm"


def test_a_unit_the_user_states_is_not_assumed(tmp_path, read_all, events):
    path = save(tmp_path / "a.npz", events)

    columns = read_all(path, columns={"x": ColumnSpec(name="x", unit="cm"), "y": "y"}).file.columns

    assert {c.role: c.assumed for c in columns} == {"x": False, "y": True, "z": True, "dt": True}


def test_the_users_word_goes_before_names(tmp_path, read_all, events):
    path = save(tmp_path / "a.npz", events | {"dt_ns": events["dt"], "tau": 2 * events["dt"]})

    read = read_all(path, columns={"dt": "tau"})

    assert_array_equal(read.value.dt_ns, 2 * events["dt"])


@pytest.mark.parametrize("content", ["singles", "events"])
def test_content_that_is_named_decides_between_two(tmp_path, read_all, singles, content):
    path = save(tmp_path / "a.npz", singles | {"dt": np.zeros(23)})

    assert read_all(path, content=content).file.content == content


def test_an_unknown_role_names_the_nearest(tmp_path, events):
    path = save(tmp_path / "a.npz", events)

    with pytest.raises(
        SettingsError,
        match=r"input\.columns\.tme is not one of psimg's columns; did you mean 'time'",
    ):
        open_input(path, options=InputOptions(columns={"tme": "x"}))


def test_a_role_like_no_other_lists_all(tmp_path, events):
    path = save(tmp_path / "a.npz", events)

    with pytest.raises(
        SettingsError, match=r"input\.columns\.qqq is not .*; use decay, detector, detector_1"
    ):
        open_input(path, options=InputOptions(columns={"qqq": "x"}))


@pytest.mark.parametrize(
    ("role", "unit", "quantity", "known"),
    [
        ("dt", "mm", "time", "s ms us ns ps"),
        ("dt", "Ns", "time", "s ms us ns ps"),
        ("x", "inch", "length", "m cm mm"),
        ("energy", "kev", "energy", "eV keV MeV"),
    ],
)
def test_a_wrong_unit_names_the_column_and_the_units(tmp_path, events, role, unit, quantity, known):
    path = save(tmp_path / "a.npz", events)

    with pytest.raises(
        SettingsError,
        match=rf"input\.columns\.{role}: unit '{unit}' is no unit of {quantity}; use .* {known}$",
    ):
        open_input(path, options=InputOptions(columns={role: ColumnSpec(name="x", unit=unit)}))


def test_a_missing_column_lists_those_there(tmp_path, events):
    path = save(tmp_path / "a.npz", events)

    with pytest.raises(FileError, match=r"no member 'xx' for 'x'; the file has x, y, z, dt"):
        open_input(path, options=InputOptions(columns={"x": "xx"}))


def test_columns_of_nothing_known_list_those_there(tmp_path):
    path = save(tmp_path / "a.npz", {"a": np.zeros(3), "b": np.zeros(3)})

    with pytest.raises(
        FileError, match=r"a\.npz: cannot tell what a row is from the columns a, b; map psimg's"
    ):
        open_input(path)


def test_times_of_a_triplet_in_different_units_are_refused(tmp_path, triplets):
    path = save(tmp_path / "a.npz", triplets)
    columns = {"time_2": ColumnSpec(name="time_2", unit="ps")}

    with pytest.raises(
        FileError, match=r"different units or types \(time_1 ns, time_2 ps, time_3 ns\); export"
    ):
        open_input(path, options=InputOptions(columns=columns))


def test_times_of_a_triplet_of_different_types_are_refused(tmp_path, triplets):
    path = save(tmp_path / "a.npz", triplets | {"time_3": np.arange(23)})

    with pytest.raises(FileError, match=r"different units or types"):
        open_input(path)


def test_integer_times_of_triplets_keep_exact_steps(tmp_path, read_all, triplets):
    ticks = {f"time_{i}": 2**60 + 1001 * np.arange(23) + i for i in (1, 2, 3)}
    path = save(tmp_path / "a.npz", triplets | ticks)
    columns = {name: ColumnSpec(name=name, unit="ps") for name in ticks}

    value = read_all(path, n_rows=7, columns=columns).value

    expected = 1001 * np.arange(23)[:, None] + np.arange(3)
    assert_array_equal(value.time_ns, expected * 1e-3)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_file_is_an_error_in_every_format(tmp_path, kind):
    with pytest.raises(FileError, match=r"none: no such file; check the path"):
        open_input(tmp_path / "none", options=InputOptions(format=kind))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_file_is_an_error_in_every_format(tmp_path, kind):
    (tmp_path / "a").touch()

    with pytest.raises(FileError, match=r"a: is empty \(0 bytes\); export or copy it again"):
        open_input(tmp_path / "a", options=InputOptions(format=kind))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_directory_is_an_error_in_every_format(tmp_path, kind):
    with pytest.raises(FileError, match=r"is a directory, expected a file"):
        open_input(tmp_path, options=InputOptions(format=kind))


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.parquet"])
def test_an_unknown_format_lists_the_known_ones(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"PAR1 and more")

    with pytest.raises(
        FileError, match=r"unknown format .*psimg reads quadra-xyzt, gate9, root, csv, npz; name"
    ):
        open_input(path)


def test_a_negative_disorder_is_an_error():
    with pytest.raises(SettingsError, match=r"max_disorder_ns = -1 is negative"):
        InputOptions(max_disorder_ns=-1.0)


def test_triplets_may_carry_the_detectors_of_their_photons(tmp_path, read_all, triplets):
    labels = np.arange(3 * len(triplets["x_1"])).reshape(-1, 3)
    columns = triplets | {f"detector_{i + 1}": labels[:, i] for i in range(3)}

    value = read_all(save(tmp_path / "a.npz", columns)).value

    assert_array_equal(value.detector, labels)


def test_detectors_of_some_photons_only_are_an_error(tmp_path, triplets):
    path = save(tmp_path / "a.npz", triplets | {"detector_2": np.zeros(len(triplets["x_1"]))})

    with pytest.raises(FileError, match=r"there is detector_2 but no detector_1, detector_3; map"):
        open_input(path)


def test_times_over_threshold_stand_in_for_energies(tmp_path, read_all, singles):
    columns = singles | {"tot": singles["energy"] / 25.0}
    del columns["energy"]

    value = read_all(save(tmp_path / "a.npz", columns)).value

    assert_array_equal(value.tot_ns, singles["energy"] / 25.0)
    assert value.energy_kev is None


def test_times_over_threshold_are_no_times_of_the_clock(tmp_path, read_all, singles):
    # In another unit and type than the times, with nothing taken off.
    columns = singles | {"T": (40.0 * singles["energy"]).astype(np.float32)}

    value = read_all(
        save(tmp_path / "a.npz", columns), columns={"tot": ColumnSpec(name="T", unit="ps")}
    ).value

    assert_allclose(value.tot_ns, singles["energy"] / 25.0)
    assert_array_equal(value.energy_kev, singles["energy"])


def test_triplets_may_have_times_over_threshold_in_place_of_energies(tmp_path, read_all, triplets):
    columns = {name.replace("energy", "tot"): column for name, column in triplets.items()}

    value = read_all(save(tmp_path / "a.npz", columns)).value

    assert_array_equal(value.tot_ns[:, 1], triplets["energy_2"])
    assert value.energy_kev is None


def test_photons_with_neither_are_an_error_that_names_both(tmp_path, singles, triplets):
    for content, columns, names in (
        ("singles", singles, r"'energy' \(or 'tot'\)"),
        ("triplets", triplets, r"'energy_1' \(or 'tot_1'\)"),
    ):
        rest = {name: column for name, column in columns.items() if "energy" not in name}
        path = save(tmp_path / f"{content}.npz", rest)

        with pytest.raises(FileError, match=rf"for {names} of {content}; the file has"):
            open_input(path, options=InputOptions(content=content))
