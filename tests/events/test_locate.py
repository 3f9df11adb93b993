import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS as C
from psimg.events import (
    CutOptions,
    Pairs,
    Triplets,
    cut_pairs,
    cut_triplets,
    locate_lines,
    locate_pairs,
    locate_triplets,
)


def fly(rng, n=500, sigma_ns=0.0):
    """Photons of known point and time difference, flown straight to a ring."""
    point = rng.uniform(-100, 100, (n, 3))
    heading = rng.standard_normal((n, 2, 3))
    heading /= np.linalg.norm(heading, axis=2, keepdims=True)
    rays = np.stack([heading[:, 0], -heading[:, 0], heading[:, 1]], axis=1)
    a = (rays[..., :2] ** 2).sum(-1)
    b = (point[:, None, :2] * rays[..., :2]).sum(-1)
    c = (point[:, None, :2] ** 2).sum(-1) - 410.0**2
    distance = (-b + np.sqrt(b * b - a * c)) / a
    emission = rng.uniform(0, 1e9, n)
    dt = rng.exponential(2.0, n)
    start = np.stack([emission + dt, emission + dt, emission], axis=1)
    time = start + distance / C + sigma_ns * rng.standard_normal((n, 3))
    triplets = Triplets(
        time_ns=time,
        energy_kev=np.zeros((n, 3)),
        position_mm=point[:, None] + distance[..., None] * rays,
        window=np.zeros(n),
    )
    return triplets, point, dt, rays


pytestmark = pytest.mark.kernel


def test_location_is_that_of_the_formulas_written_out():
    triplets, *_ = fly(np.random.default_rng(9), n=300, sigma_ns=0.1)
    (t1, t2, t3), (r1, r2, r3) = triplets.time_ns.T, np.moveaxis(triplets.position_mm, 1, 0)
    length = np.linalg.norm(r1 - r2, axis=1)
    point = 0.5 * (r1 + r2) + (0.5 * C * (t2 - t1) / length)[:, None] * (r1 - r2)
    annihilation = 0.5 * (t1 + t2) - length / (2 * C)
    emission = t3 - np.linalg.norm(r3 - point, axis=1) / C

    events = locate_triplets(triplets)

    assert_allclose(events.position_mm, point, atol=1e-9)
    assert_allclose(events.dt_ns, annihilation - emission, atol=1e-6)


def test_without_blur_point_and_dt_are_exact():
    triplets, point, dt, rays = fly(np.random.default_rng(1))

    events = locate_triplets(triplets, directions=True)

    # Times of up to 1e9 ns are known to 1e-7 ns, which is 0.04 mm.
    assert_allclose(events.position_mm, point, atol=0.1)
    assert_allclose(events.dt_ns, dt, atol=1e-6)
    assert_allclose(np.abs((events.direction * rays[:, 0]).sum(axis=1)), 1.0, atol=1e-9)


def test_swapping_the_annihilation_photons_changes_the_direction_only():
    triplets, *_ = fly(np.random.default_rng(2), sigma_ns=0.1)
    swapped = Triplets(
        time_ns=triplets.time_ns[:, [1, 0, 2]],
        energy_kev=triplets.energy_kev,
        position_mm=triplets.position_mm[:, [1, 0, 2]],
        window=triplets.window,
    )

    one, other = (locate_triplets(each, directions=True) for each in (triplets, swapped))

    assert_allclose(one.position_mm, other.position_mm, atol=1e-9)
    assert_allclose(one.dt_ns, other.dt_ns, atol=1e-9)
    assert_allclose(one.direction, -other.direction)


def test_directions_are_kept_only_when_asked_for_and_change_nothing_else():
    triplets, *_ = fly(np.random.default_rng(5), n=50)

    without, with_them = locate_triplets(triplets), locate_triplets(triplets, directions=True)

    assert without.direction is None
    assert_array_equal(without.position_mm, with_them.position_mm)
    assert_array_equal(without.dt_ns, with_them.dt_ns)


def test_a_common_shift_of_all_times_changes_nothing():
    triplets, *_ = fly(np.random.default_rng(3), n=50)
    shifted = Triplets(
        time_ns=triplets.time_ns + 4096.0,
        energy_kev=triplets.energy_kev,
        position_mm=triplets.position_mm,
        window=triplets.window,
    )

    assert_allclose(locate_triplets(shifted).dt_ns, locate_triplets(triplets).dt_ns, atol=1e-6)


def test_the_width_of_dt_follows_the_angle_between_lor_and_prompt():
    sigma = 0.07
    n = 100_000
    triplets, point, dt, rays = fly(np.random.default_rng(4), n=n, sigma_ns=sigma)
    cosine = (rays[:, 0] * rays[:, 2]).sum(axis=1)

    error = locate_triplets(triplets).dt_ns - dt

    for low, high in [(0.0, 0.2), (0.8, 1.0)]:
        band = (np.abs(cosine) >= low) & (np.abs(cosine) < high)
        expected = sigma * np.sqrt(np.mean(1.5 + 0.5 * cosine[band] ** 2))
        assert_allclose(error[band].std(), expected, rtol=4 / np.sqrt(2 * band.sum()))
    along = ((locate_triplets(triplets).position_mm - point) * rays[:, 0]).sum(axis=1)
    assert_allclose(along.std(), C * sigma / np.sqrt(2), rtol=4 / np.sqrt(2 * n))


def test_two_photons_in_one_place_are_an_error():
    triplets = Triplets(
        time_ns=np.zeros((1, 3)),
        energy_kev=np.zeros((1, 3)),
        position_mm=np.zeros((1, 3, 3)),
        window=[0],
    )

    with pytest.raises(DataError, match="1 triplets have both annihilation photons in one place"):
        locate_triplets(triplets)


def test_a_pair_is_located_where_a_triplet_of_it_is():
    rng = np.random.default_rng(4)
    position = rng.uniform(-400, 400, (50, 3, 3))
    time_ns = rng.uniform(0, 3, (50, 3))
    triplets = Triplets(
        time_ns=time_ns, energy_kev=time_ns, position_mm=position, window=np.zeros(50)
    )

    point = locate_pairs(Pairs(time_ns=time_ns[:, :2], position_mm=position[:, :2]))

    assert_allclose(point, locate_triplets(triplets).position_mm, rtol=1e-12)


def test_lines_of_pairs_have_the_points_and_directions_of_triplets():
    rng = np.random.default_rng(6)
    position, time_ns = rng.uniform(-400, 400, (50, 3, 3)), rng.uniform(0, 3, (50, 3))
    triplets = Triplets(
        time_ns=time_ns, energy_kev=time_ns, position_mm=position, window=np.zeros(50)
    )

    point, direction = locate_lines(Pairs(time_ns=time_ns[:, :2], position_mm=position[:, :2]))

    events = locate_triplets(triplets, directions=True)
    assert_allclose(point, events.position_mm, rtol=1e-12)
    assert_allclose(direction, events.direction, rtol=1e-12, atol=1e-15)


def test_rules_for_annihilation_photons_drop_the_same_pairs_as_triplets():
    rng = np.random.default_rng(5)
    position = rng.uniform(-400, 400, (300, 3, 3))
    time_ns = rng.uniform(0, 3, (300, 3))
    triplets = Triplets(
        time_ns=time_ns, energy_kev=time_ns, position_mm=position, window=np.zeros(300)
    )
    options = CutOptions(min_pair_distance_mm=300.0, min_opening_deg=60.0, max_tof_excess_ns=0.2)

    kept = cut_pairs(Pairs(time_ns=time_ns[:, :2], position_mm=position[:, :2]), options=options)

    expected = cut_triplets(triplets, options=options).triplets
    assert 20 < len(kept) < 280
    assert_array_equal(kept.time_ns, expected.time_ns[:, :2])
    assert_array_equal(kept.position_mm, expected.position_mm[:, :2])
