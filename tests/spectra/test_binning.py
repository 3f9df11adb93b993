import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core import Box, DataError, Everywhere, SettingsError, Sphere, VoxelGrid
from psimg.events import LifetimeEvents, windows_of
from psimg.spectra import (
    LifetimeSpectra,
    SpectrumOptions,
    VoxelCounter,
    bin_regions,
    bin_voxels,
)
from psimg.spectra._binning import bin_of

pytestmark = pytest.mark.kernel

ONE_DELAY, TWO_DELAYS = windows_of((200.0,), ()), windows_of((200.0, 300.0), ())
EDGES = SpectrumOptions(start_ns=-2.0, stop_ns=4.0, step_ns=0.1).edges_ns
GRID = VoxelGrid.centred(shape=(4, 3, 5), voxel_mm=(5.0, 7.0, 4.0), centre_mm=(1.0, 2.0, 3.0))


def events_of(n: int, seed: int = 1, n_window: int = 1) -> LifetimeEvents:
    rng = np.random.default_rng(seed)
    return LifetimeEvents(
        position_mm=rng.uniform(-14, 16, (n, 3)),
        dt_ns=rng.uniform(-3, 5, n),
        window=rng.integers(0, n_window, n),
    )


def test_voxel_spectra_equal_numpys_histogram():
    events = events_of(3000)

    spectra = bin_voxels(events, grid=GRID, edges_ns=EDGES)

    faces = [
        low + size * np.arange(n + 1)
        for low, size, n in zip(GRID.low_mm, GRID.voxel_mm, GRID.shape, strict=True)
    ]
    sample = np.c_[events.position_mm, events.dt_ns]
    expected, _ = np.histogramdd(sample, [*faces, EDGES])
    dense = np.zeros((GRID.n_voxel, len(EDGES) - 1))
    dense[spectra.voxel] = spectra.counts
    assert_array_equal(dense, expected.reshape(GRID.n_voxel, -1))


def test_every_event_is_binned_or_counted_as_outside():
    events = events_of(3000)

    voxels = bin_voxels(events, grid=GRID, edges_ns=EDGES)
    regions = bin_regions(
        events, regions=[Sphere(name="s", centre_mm=(0.0, 0.0, 0.0), radius_mm=9.0)], edges_ns=EDGES
    )

    for spectra in (voxels, regions):
        assert spectra.n_outside > 0
        assert spectra.n_outside_dt > 0
        total = spectra.counts.sum() + spectra.n_outside + spectra.n_outside_dt
        assert total == spectra.n_events == len(events)


def test_the_order_of_events_does_not_matter():
    events = events_of(500)

    one = bin_voxels(events, grid=GRID, edges_ns=EDGES)
    other = bin_voxels(events.take(slice(None, None, -1)), grid=GRID, edges_ns=EDGES)

    assert_array_equal(one.counts, other.counts)


def test_shifting_grid_and_events_alike_changes_nothing():
    events = events_of(500)
    shift = np.array([16.0, -32.0, 8.0])  # powers of two keep the arithmetic exact enough
    moved = LifetimeEvents(
        position_mm=events.position_mm + shift, dt_ns=events.dt_ns, window=events.window
    )
    grid = VoxelGrid(
        shape=GRID.shape, voxel_mm=GRID.voxel_mm, origin_mm=tuple(GRID.origin_mm + shift)
    )

    one = bin_voxels(events, grid=GRID, edges_ns=EDGES)
    other = bin_voxels(moved, grid=grid, edges_ns=EDGES)

    assert_array_equal(one.voxel, other.voxel)
    assert_array_equal(one.counts, other.counts)


@pytest.mark.parametrize("what", ["voxels", "regions"])
def test_spectra_of_chunks_add_up_to_the_spectrum_of_the_whole(what):
    events = events_of(900, n_window=3)
    parts = [events.take(slice(i, i + 250)) for i in range(0, 900, 250)]

    def binned(some):
        if what == "voxels":
            return bin_voxels(some, grid=GRID, edges_ns=EDGES, windows=TWO_DELAYS)
        return bin_regions(some, regions=[Everywhere()], edges_ns=EDGES, windows=TWO_DELAYS)

    total = binned(parts[0])
    for part in parts[1:]:
        total += binned(part)

    whole = binned(events)
    for name in ("counts", "delayed", "voxel"):
        assert_array_equal(getattr(total, name), getattr(whole, name))
    for name in ("n_events", "n_outside", "n_outside_dt"):
        assert getattr(total, name) == getattr(whole, name)


def test_a_counter_fed_in_chunks_gives_the_spectra_of_the_whole():
    events = events_of(900, n_window=2)
    counter = VoxelCounter(grid=GRID, edges_ns=EDGES, windows=ONE_DELAY)

    for i in range(0, 900, 70):
        counter.add(events.take(slice(i, i + 70)))

    whole = bin_voxels(events, grid=GRID, edges_ns=EDGES, windows=ONE_DELAY)
    assert_array_equal(counter.spectra().counts, whole.counts)
    assert_array_equal(counter.spectra().delayed, whole.delayed)
    assert counter.spectra().n_outside == whole.n_outside


def test_delayed_events_are_counted_apart():
    events = events_of(2000, n_window=2)

    spectra = bin_regions(events, regions=[Everywhere()], edges_ns=EDGES, windows=ONE_DELAY)

    prompt = events.take(events.window == 0)
    delayed = events.take(events.window == 1)
    assert_array_equal(spectra.counts[0], np.histogram(prompt.dt_ns, EDGES)[0])
    assert_array_equal(spectra.delayed[0, 0], np.histogram(delayed.dt_ns, EDGES)[0])


def test_an_event_in_two_regions_is_counted_in_both():
    events = LifetimeEvents(position_mm=[[0.0, 0.0, 0.0]], dt_ns=[1.0], window=[0])
    box = Box(name="b", centre_mm=(0.0, 0.0, 0.0), half_length_mm=(1.0, 1.0, 1.0))

    spectra = bin_regions(events, regions=[box, Everywhere()], edges_ns=EDGES)

    assert_array_equal(spectra.counts.sum(axis=1), [1, 1])
    assert spectra.region("all") == 1


def test_an_event_on_a_face_belongs_to_the_voxel_above():
    inner = GRID.low_mm + np.array(GRID.voxel_mm)
    events = LifetimeEvents(
        position_mm=[inner, GRID.low_mm, GRID.high_mm], dt_ns=[0.0, 0.0, 0.0], window=[0, 0, 0]
    )

    spectra = bin_voxels(events, grid=GRID, edges_ns=EDGES)

    assert_array_equal(spectra.voxel, [0, np.ravel_multi_index((1, 1, 1), GRID.shape)])
    assert spectra.n_outside == 1


def test_a_bin_holds_its_lower_edge_exactly():
    for b, edge in enumerate(EDGES[:-1]):
        assert bin_of(edge, EDGES) == b
        assert bin_of(np.nextafter(edge, -np.inf), EDGES) == b - 1
    assert bin_of(EDGES[-1], EDGES) == len(EDGES) - 1
    assert bin_of(np.nan, EDGES) == -1


def test_no_events_give_no_voxels():
    spectra = bin_voxels(events_of(0), grid=GRID, edges_ns=EDGES)

    assert len(spectra) == 0
    assert spectra.n_events == 0


def test_spectra_of_different_bins_do_not_add():
    one = bin_regions(events_of(5), regions=[Everywhere()], edges_ns=EDGES)
    other = bin_regions(events_of(5), regions=[Everywhere()], edges_ns=EDGES[:-1])

    with pytest.raises(DataError, match="spectra add only on the same edges"):
        one + other


def test_an_unknown_region_is_an_error_that_lists_those_there_are():
    spectra = bin_regions(events_of(5), regions=[Everywhere()], edges_ns=EDGES)

    with pytest.raises(DataError, match="no region 'x'; there are all"):
        spectra.region("x")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"edges_ns": [0.0, 0.0]}, "two or more rising numbers"),
        ({"names": None}, "either of regions"),
        ({"names": ("a", "b")}, "1 spectra but 2 names"),
    ],
)
def test_spectra_that_contradict_themselves_are_errors(change, match):
    good = {
        "edges_ns": [0.0, 1.0], "counts": [[1]], "delayed": np.zeros((1, 3, 1)),
        "n_sets": (0, 0, 0), "n_events": 1, "n_outside": 0, "n_outside_dt": 0, "names": ("a",),
    }  # fmt: skip

    with pytest.raises(DataError, match=match):
        LifetimeSpectra(**(good | change))


def test_a_step_that_does_not_divide_the_range_is_an_error():
    with pytest.raises(SettingsError, match=r"step_ns = 0\.7 does not divide the range"):
        SpectrumOptions(step_ns=0.7)
