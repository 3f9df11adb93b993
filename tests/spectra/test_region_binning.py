import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core import Box, Cylinder, Everywhere, Mask, Sphere, VoxelGrid
from psimg.events import LifetimeEvents, windows_of
from psimg.spectra import RegionCounter, SpectrumOptions, bin_regions

pytestmark = pytest.mark.kernel

ONE_DELAY = windows_of((200.0,), ())
EDGES = SpectrumOptions(start_ns=-2.0, stop_ns=4.0, step_ns=0.5).edges_ns
GRID = VoxelGrid.centred(shape=(6, 5, 4), voxel_mm=(5.0, 6.0, 7.0))
FINE = VoxelGrid.centred(shape=(9, 9, 9), voxel_mm=(3.0, 3.0, 3.0))


class Half:
    """A user's own region: all of positive x."""

    name = "half"
    bounds_mm = (np.array([0.0, -np.inf, -np.inf]), np.full(3, np.inf))

    def contains(self, position_mm):
        return position_mm[:, 0] >= 0.0


class Shell(Sphere):
    """A user's own subclass, which means something else by inside."""

    def contains(self, position_mm):
        return ~super().contains(position_mm)


def mask_of(name, seed, grid=GRID):
    inside = np.random.default_rng(seed).random(grid.shape) < 0.4
    return Mask(name=name, grid=grid, inside=inside)


def every_kind() -> list:
    return [
        Sphere(name="sphere", centre_mm=(1.0, 2.0, 3.0), radius_mm=8.0),
        mask_of("mask 1", 1),
        Cylinder(name="cylinder", centre_mm=(-2.0, 0.0, 1.0), radius_mm=7.0, half_length_mm=4.0),
        mask_of("mask 2", 2),
        Half(),
        Box(name="box", centre_mm=(0.0, -3.0, 0.0), half_length_mm=(5.0, 6.0, 2.0)),
        mask_of("fine mask", 3, FINE),
        mask_of("mask 3", 4),
        Shell(name="shell", centre_mm=(0.0, 0.0, 0.0), radius_mm=9.0),
    ]


def events_of(n: int, seed: int = 1, n_window: int = 2) -> LifetimeEvents:
    rng = np.random.default_rng(seed)
    return LifetimeEvents(
        position_mm=rng.uniform(-16, 16, (n, 3)),
        dt_ns=rng.uniform(-3, 5, n),
        window=rng.integers(0, n_window, n),
    )


def test_region_spectra_equal_numpys_histogram_of_what_each_region_contains():
    events, regions = events_of(2500), every_kind()

    spectra = bin_regions(events, regions=regions, edges_ns=EDGES, windows=ONE_DELAY)

    prompt = events.window == 0
    anywhere = np.zeros(len(events), np.bool_)
    for row, region in enumerate(regions):
        inside = region.contains(events.position_mm)
        anywhere |= inside
        for counts, of_kind in ((spectra.counts[row], prompt), (spectra.delayed[row, 0], ~prompt)):
            expected, _ = np.histogram(events.dt_ns[inside & of_kind], EDGES)
            assert_array_equal(counts, expected)
    in_range = (events.dt_ns >= EDGES[0]) & (events.dt_ns < EDGES[-1])
    assert spectra.n_events == prompt.sum()
    assert spectra.n_outside == (prompt & ~anywhere).sum()
    assert spectra.n_outside_dt == (prompt & anywhere & ~in_range).sum()
    assert not spectra.delayed[:, 1:].any()


@pytest.mark.parametrize(
    "region",
    [
        Sphere(name="s", centre_mm=(0.1, -0.2, 0.3), radius_mm=1.1),
        Cylinder(name="c", centre_mm=(0.1, -0.2, 0.3), radius_mm=1.1, half_length_mm=0.7),
        Box(name="b", centre_mm=(0.1, -0.2, 0.3), half_length_mm=(0.7, 1.1, 1.3)),
        mask_of("m", 5, FINE),
    ],
    ids=lambda region: type(region).__name__,
)
def test_a_point_on_the_surface_is_inside_just_where_the_region_contains_it(region):
    rng = np.random.default_rng(6)
    direction = rng.standard_normal((400, 3))
    if isinstance(region, Sphere):
        offset = region.radius_mm * direction / np.linalg.norm(direction, axis=1)[:, None]
    elif isinstance(region, Cylinder):
        offset = region.radius_mm * direction / np.hypot(*direction[:, :2].T)[:, None]
        offset[:, 2] = np.sign(direction[:, 2]) * region.half_length_mm
    elif isinstance(region, Box):
        offset = np.sign(direction) * region.half_length_mm
    else:
        offset = 3.0 * rng.integers(-5, 6, (400, 3)) + 1.5
    surface = offset if isinstance(region, Mask) else np.asarray(region.centre_mm) + offset
    points = np.concatenate(
        [surface, np.nextafter(surface, np.inf), np.nextafter(surface, -np.inf)]
    )
    inside = region.contains(points)
    assert 0 < inside.sum() < len(points)

    for expected in (True, False):
        some = points[inside == expected]
        events = LifetimeEvents(
            position_mm=some, dt_ns=np.zeros(len(some)), window=np.zeros(len(some), np.uint8)
        )
        spectra = bin_regions(events, regions=[region], edges_ns=EDGES)
        assert spectra.counts.sum() == (len(some) if expected else 0)


def test_more_shapes_than_an_integer_has_bits_are_all_counted():
    centres = np.random.default_rng(7).uniform(-10, 10, (130, 3))
    regions = [
        Sphere(name=f"s{i}", centre_mm=tuple(centre), radius_mm=5.0)
        for i, centre in enumerate(centres)
    ]
    events = events_of(60, n_window=1)

    spectra = bin_regions(events, regions=regions, edges_ns=[-10.0, 10.0])

    expected = [region.contains(events.position_mm).sum() for region in regions]
    assert_array_equal(spectra.counts[:, 0], expected)


@pytest.mark.parametrize("n_thread", [1, 2])
def test_any_chunks_and_any_number_of_threads_give_the_same_spectra(n_thread, threads):
    events, regions = events_of(2500), every_kind()
    whole = bin_regions(events, regions=regions, edges_ns=EDGES, windows=ONE_DELAY)
    threads(n_thread)
    counter = RegionCounter(regions=regions, edges_ns=EDGES, windows=ONE_DELAY)

    for i in range(0, 2500, 1100):
        counter.add(events.take(slice(i, i + 1100)))

    spectra = counter.spectra()
    for name in ("counts", "delayed"):
        assert_array_equal(getattr(spectra, name), getattr(whole, name))
    for name in ("n_events", "n_outside", "n_outside_dt"):
        assert getattr(spectra, name) == getattr(whole, name)


def test_no_events_and_no_regions_give_empty_spectra():
    none = bin_regions(events_of(0), regions=every_kind(), edges_ns=EDGES)
    nowhere = bin_regions(events_of(9, n_window=1), regions=[], edges_ns=EDGES)

    assert not none.counts.any()
    assert len(nowhere) == 0
    assert nowhere.n_outside == nowhere.n_events == 9


def test_one_event_everywhere_is_counted_once_in_each_region():
    events = LifetimeEvents(position_mm=[[0.0, 0.0, 0.0]], dt_ns=[1.0], window=[0])
    box = Box(name="b", centre_mm=(0.0, 0.0, 0.0), half_length_mm=(1.0, 1.0, 1.0))

    spectra = bin_regions(events, regions=[box, Everywhere()], edges_ns=EDGES)

    assert_array_equal(spectra.counts.sum(axis=1), [1, 1])
    assert spectra.n_outside == spectra.n_outside_dt == 0


def test_bins_of_unequal_width_are_those_of_numpy():
    edges = np.array([-2.0, -1.9, 0.0, 3.5, 4.0])
    events = events_of(500, n_window=1)

    spectra = bin_regions(events, regions=[Everywhere()], edges_ns=edges)

    assert_array_equal(spectra.counts[0], np.histogram(events.dt_ns, edges)[0])
