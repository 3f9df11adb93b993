import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core import Box, DataError, Everywhere, SettingsError, Sphere, VoxelGrid
from psimg.events import LifetimeEvents, windows_of
from psimg.spectra import (
    LifetimeSpectra,
    RegionCounter,
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
    spectra = counter.spectra()
    assert_array_equal(spectra.counts, whole.counts)
    assert_array_equal(spectra.delayed, whole.delayed)
    assert spectra.n_outside == whole.n_outside


def test_a_joined_counter_has_one_bin_a_voxel_and_the_same_total():
    events = events_of(900, n_window=3)
    one, other = (
        VoxelCounter(grid=GRID, edges_ns=EDGES, windows=TWO_DELAYS, joined=joined)
        for joined in (False, True)
    )
    one.add(events)
    other.add(events)

    total, joined_total = one.total(), other.total()
    spectra, joined = one.spectra(), other.spectra()
    assert_array_equal(joined.edges_ns, EDGES[[0, -1]])
    assert_array_equal(joined.voxel, spectra.voxel)
    assert_array_equal(joined.counts[:, 0], spectra.counts.sum(axis=1))
    assert_array_equal(joined.delayed, spectra.delayed)
    assert_array_equal(joined_total.edges_ns, EDGES)
    for name in ("counts", "delayed"):
        assert_array_equal(getattr(joined_total, name), getattr(total, name))


def test_a_cell_that_outgrows_16_bits_is_widened_and_loses_nothing():
    n, most = 300, np.iinfo(np.uint16).max
    grid = VoxelGrid.centred(shape=(2, 1, 1), voxel_mm=(4.0, 4.0, 4.0))
    counter = VoxelCounter(grid=grid, edges_ns=EDGES, windows=ONE_DELAY)
    events = LifetimeEvents(
        position_mm=np.full((n, 3), 1.0), dt_ns=np.full(n, 0.05), window=np.arange(n) % 2
    )
    counter._counts[-counter._width :] = most - 100  # as many events would do, and take longer

    counter.add(events)

    spectra = counter.spectra()
    assert spectra.counts.dtype == np.uint32
    assert_array_equal(spectra.voxel, [1])
    assert spectra.counts[0, 20] == spectra.delayed[0, 0, 0] == most - 100 + n // 2
    assert_array_equal(np.delete(spectra.counts[0], 20), most - 100)


def test_a_cell_of_more_events_than_16_bits_hold_counts_them_all():
    n = 70_000
    events = LifetimeEvents(
        position_mm=np.zeros((n, 3)), dt_ns=np.zeros(n), window=np.zeros(n, np.uint8)
    )

    spectra = bin_voxels(events, grid=GRID, edges_ns=EDGES)

    assert spectra.counts.sum(dtype=np.int64) == spectra.counts.max() == n


def test_counts_keep_16_bits_while_those_hold_them_and_their_sum_has_32():
    events = events_of(500)

    spectra = bin_voxels(events, grid=GRID, edges_ns=EDGES)

    assert spectra.counts.dtype == np.uint16
    assert (spectra + spectra).counts.dtype == np.uint32
    half = LifetimeSpectra(
        edges_ns=[0.0, 1.0], counts=np.array([[60_000]], np.uint16), delayed=np.zeros((1, 3, 1)),
        n_sets=(0, 0, 0), n_events=0, n_outside=0, n_outside_dt=0, names=("a",),
    )  # fmt: skip
    assert (half + half).counts[0, 0] == 120_000


def test_spectra_hold_no_more_memory_than_their_voxels():
    spectra = bin_voxels(events_of(1), grid=GRID, edges_ns=EDGES)

    owner = spectra.counts
    while owner.base is not None:
        owner = owner.base
    assert owner.nbytes == spectra.counts.nbytes


def test_a_counter_gives_its_spectra_once_and_its_total_at_any_time():
    counter = VoxelCounter(grid=GRID, edges_ns=EDGES)
    counter.add(events_of(300))
    spectra = counter.spectra()

    for again in (counter.spectra, lambda: counter.add(events_of(1))):
        with pytest.raises(DataError, match="this counter has given its spectra"):
            again()
    assert_array_equal(counter.total().counts[0], spectra.counts.sum(axis=0))


@pytest.mark.parametrize("counter_of", [VoxelCounter, RegionCounter])
def test_an_event_of_an_unknown_window_is_an_error(counter_of):
    what = {"grid": GRID} if counter_of is VoxelCounter else {"regions": [Everywhere()]}
    counter = counter_of(edges_ns=EDGES, windows=ONE_DELAY, **what)

    with pytest.raises(DataError, match="events of window 2, but there are 2 windows"):
        counter.add(events_of(50, n_window=3))


@pytest.mark.parametrize("n_thread", [1, 2])
def test_any_number_of_threads_gives_the_same_spectra(n_thread, threads):
    events = events_of(3000, n_window=2)
    grid = VoxelGrid.centred(shape=(30, 30, 30), voxel_mm=(1.0, 1.0, 1.0))  # cells of all shares
    whole = bin_voxels(events, grid=grid, edges_ns=EDGES, windows=ONE_DELAY)
    threads(n_thread)

    spectra = bin_voxels(events, grid=grid, edges_ns=EDGES, windows=ONE_DELAY)

    for name in ("voxel", "counts", "delayed"):
        assert_array_equal(getattr(spectra, name), getattr(whole, name))
    assert (spectra.n_outside, spectra.n_outside_dt) == (whole.n_outside, whole.n_outside_dt)


def test_a_point_that_is_nowhere_is_outside():
    events = LifetimeEvents(position_mm=[[0.0, np.nan, 0.0]], dt_ns=[1.0], window=[0])

    assert bin_voxels(events, grid=GRID, edges_ns=EDGES).n_outside == 1


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
    per_ns = 10.0
    for b, edge in enumerate(EDGES[:-1]):
        assert bin_of(edge, EDGES, per_ns) == b
        assert bin_of(np.nextafter(edge, -np.inf), EDGES, per_ns) == b - 1
    assert bin_of(EDGES[-1], EDGES, per_ns) == len(EDGES) - 1
    assert bin_of(np.nan, EDGES, per_ns) == -1


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
