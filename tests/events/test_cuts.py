import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psimg.core import Cylinder, DataError, SettingsError, Sphere
from psimg.events import CutOptions, Triplets, cut_triplets

C = 299.792458
N_AROUND = 60
INNER = Sphere(name="inner", centre_mm=(20.0, -30.0, 10.0), radius_mm=120.0)
RULES = {
    "min_pair_distance_mm": 150.0,
    "min_opening_deg": 61.0,
    "min_prompt_distance_mm": 40.0,
    "min_prompt_crystals": 3,
    "lor_through": "inner",
    "max_tof_excess_ns": 0.4,
    "scatter_margin_ns": 0.15,
}
EVERY_RULE = CutOptions(**RULES)


def triplets_of(n=3000, seed=3) -> Triplets:
    """Triplets anywhere on a ring of crystals, with times of no meaning."""
    rng = np.random.default_rng(seed)
    around, along = rng.integers(0, N_AROUND, (n, 3)), rng.integers(0, 40, (n, 3))
    angle = 2 * np.pi * (around + 0.5) / N_AROUND
    position = np.stack([300 * np.cos(angle), 300 * np.sin(angle), 15.0 * (along - 20)], axis=-1)
    return Triplets(
        time_ns=rng.uniform(0.0, 3.0, (n, 3)),
        energy_kev=np.full((n, 3), 511.0),
        position_mm=position,
        window=rng.integers(0, 3, n),
        detector=along * N_AROUND + around,
        decay=np.arange(3 * n).reshape(n, 3),
    )


def cut(triplets, options, **changes):
    return cut_triplets(
        triplets, options=options, **({"through": INNER, "crystals_around": N_AROUND} | changes)
    )


def crosses_inner(start, end) -> bool:
    """The point of the segment nearest the centre is in the ball."""
    slope, centre = end - start, np.array(INNER.centre_mm)
    share = min(max(np.dot(centre - start, slope) / np.dot(slope, slope), 0.0), 1.0)
    return math.dist(start + share * slope, centre) <= INNER.radius_mm


def first_failing(time, position, detector, options) -> str | None:
    """The rules one by one, as they are said."""
    r1, r2, r3 = position

    def flight(i, j):
        return abs(time[j] - time[i]) - math.dist(position[i], position[j]) / C

    def neighbours(a, b):
        turn = abs(a % N_AROUND - b % N_AROUND)
        n = options.min_prompt_crystals
        return min(turn, N_AROUND - turn) <= n and abs(a // N_AROUND - b // N_AROUND) <= n

    turn = abs(math.degrees(math.atan2(r1[1], r1[0]) - math.atan2(r2[1], r2[0])))
    excess = [flight(i, j) for i, j in ((0, 1), (0, 2), (1, 2))]
    fails = {
        "min_pair_distance_mm": lambda least: math.dist(r1, r2) < least or math.dist(r1, r2) == 0,
        "min_opening_deg": lambda least: min(turn, 360 - turn) < least,
        "min_prompt_distance_mm": lambda least: min(math.dist(r1, r3), math.dist(r2, r3)) < least,
        "min_prompt_crystals": lambda _: any(neighbours(a, detector[2]) for a in detector[:2]),
        "lor_through": lambda _: not crosses_inner(r1, r2),
        "max_tof_excess_ns": lambda most: excess[0] > most,
        "scatter_margin_ns": lambda margin: min(map(abs, excess)) < margin,
    }
    return next((name for name in options.rules if fails[name](getattr(options, name))), None)


@pytest.mark.parametrize("names", [*([name] for name in RULES), list(RULES)], ids=" ".join)
def test_rules_drop_what_a_slow_reading_of_them_drops(names):
    triplets = triplets_of()
    options = CutOptions(**{name: RULES[name] for name in names})

    found = cut(triplets, options)

    failed = [
        first_failing(*row, options)
        for row in zip(triplets.time_ns, triplets.position_mm, triplets.detector, strict=True)
    ]
    kept = [i for i, rule in enumerate(failed) if rule is None]
    assert 0 < len(kept) < len(triplets)
    assert_array_equal(found.triplets.decay, triplets.decay[kept])
    assert tuple(found.n_dropped) == tuple(found.n_dropped_delayed) == options.rules
    for rule in options.rules:
        delayed = triplets.window[[name == rule for name in failed]] > 0
        assert found.n_dropped[rule] == np.count_nonzero(~delayed)
        assert found.n_dropped_delayed[rule] == np.count_nonzero(delayed)
    for name in names:
        assert found.n_dropped[name] > 0


def test_triplets_in_are_triplets_kept_plus_triplets_dropped_in_either_kind_of_window():
    triplets = triplets_of()

    found = cut(triplets, EVERY_RULE)

    prompt, kept = triplets.window == 0, found.triplets.window == 0
    assert prompt.sum() == kept.sum() + sum(found.n_dropped.values())
    assert (~prompt).sum() == (~kept).sum() + sum(found.n_dropped_delayed.values())


def test_the_annihilation_photons_may_be_swapped():
    triplets = triplets_of()
    order = [1, 0, 2]
    swapped = Triplets(
        time_ns=triplets.time_ns[:, order],
        energy_kev=triplets.energy_kev[:, order],
        position_mm=triplets.position_mm[:, order],
        window=triplets.window,
        detector=triplets.detector[:, order],
        decay=triplets.decay[:, order],
    )

    one, other = cut(triplets, EVERY_RULE), cut(swapped, EVERY_RULE)

    assert_array_equal(one.triplets.decay[:, order], other.triplets.decay)
    assert one.n_dropped == other.n_dropped
    assert one.n_dropped_delayed == other.n_dropped_delayed


def test_rules_that_are_not_set_drop_nothing():
    triplets = triplets_of()

    found = cut_triplets(triplets, options=CutOptions(min_pair_distance_mm=0.0))

    together = (triplets.position_mm[:, 0] == triplets.position_mm[:, 1]).all(axis=1)
    assert list(found.n_dropped) == ["min_pair_distance_mm"]
    assert len(found.triplets) == len(triplets) - np.count_nonzero(together)


def test_photons_in_one_place_have_no_lor_and_are_dropped():
    position = np.zeros((3, 3, 3))
    position[1, 0, 0] = 50.0
    position[2, 0, 0] = 100.0
    triplets = Triplets(
        time_ns=np.zeros((3, 3)), energy_kev=np.zeros((3, 3)), position_mm=position, window=[0] * 3
    )

    at_all = cut_triplets(triplets, options=CutOptions(min_pair_distance_mm=0.0))
    far = cut_triplets(triplets, options=CutOptions(min_pair_distance_mm=100.0))

    assert len(at_all.triplets) == 2
    assert len(far.triplets) == 1
    assert far.n_dropped == {"min_pair_distance_mm": 2}


def test_crystals_on_either_side_of_the_seam_of_a_ring_are_neighbours():
    last, first = N_AROUND - 1, 0
    triplets = Triplets(
        time_ns=np.zeros((3, 3)),
        energy_kev=np.zeros((3, 3)),
        position_mm=np.random.default_rng(1).uniform(-300, 300, (3, 3, 3)),
        window=[0] * 3,
        # Side by side over the seam; the same with a ring between; a whole ring further along.
        detector=[[last, 30, first], [last, 30, first + 2 * N_AROUND], [last, 30, last + N_AROUND]],
    )

    found = cut(triplets, CutOptions(min_pair_distance_mm=0.0, min_prompt_crystals=1))

    assert_array_equal(found.triplets.detector, triplets.detector[1:2])


def test_photons_scattered_from_detector_to_detector_are_dropped_and_true_ones_kept():
    # A decay in the middle; then its first photon seen again where the prompt should be.
    ring = np.array([[300.0, 0.0, 0.0], [-300.0, 0.0, 0.0], [0.0, 300.0, 0.0]])
    flown = 300.0 / C
    scattered = flown + math.hypot(300.0, 300.0) / C
    triplets = Triplets(
        time_ns=[[flown + 1.0, flown + 1.0, flown], [flown, flown, scattered]],
        energy_kev=np.full((2, 3), 511.0),
        position_mm=[ring, ring],
        window=[0, 0],
    )

    found = cut_triplets(triplets, options=CutOptions(scatter_margin_ns=0.2))

    assert found.n_dropped["scatter_margin_ns"] == 1
    assert_array_equal(found.triplets.time_ns, triplets.time_ns[:1])


def test_the_scatter_rule_drops_good_triplets_by_their_dt():
    # One decay in the middle of a ring, the o-Ps of which lives as long as light takes across.
    ring = np.array([[300.0, 0.0, 0.0], [-300.0, 0.0, 0.0], [0.0, 300.0, 0.0]])
    age = np.array([0.0, math.hypot(300.0, 300.0) / C, 5.0])
    time = np.stack([age, age, np.zeros(3)], axis=1)
    triplets = Triplets(
        time_ns=time, energy_kev=np.full((3, 3), 511.0), position_mm=[ring] * 3, window=[0] * 3
    )

    found = cut_triplets(triplets, options=CutOptions(scatter_margin_ns=0.25))

    assert_array_equal(found.triplets.time_ns, time[[0, 2]])


def test_no_triplets_pass_every_rule_and_none_is_dropped():
    found = cut(triplets_of(0), EVERY_RULE)

    assert len(found.triplets) == 0
    assert set(found.n_dropped.values()) == {0}


def test_the_region_that_the_lor_must_cross_may_have_any_shape():
    triplets = triplets_of(500)
    rod = Cylinder(name="rod", centre_mm=(0, 0, 0), radius_mm=60.0, half_length_mm=400.0)

    found = cut(triplets, CutOptions(min_pair_distance_mm=0.0, lor_through="rod"), through=rod)

    # Of the LORs of a ring, those whose middle is near the axis are those that cross the rod.
    middle = 0.5 * (found.triplets.position_mm[:, 0] + found.triplets.position_mm[:, 1])
    assert 0 < len(found.triplets) < 500
    assert np.all(np.hypot(middle[:, 0], middle[:, 1]) <= 60.0 + 1e-9)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"min_pair_distance_mm": -1.0}, "min_pair_distance_mm = -1 is negative"),
        ({"min_opening_deg": 200.0}, "min_opening_deg = 200: two directions are at most 180"),
        ({"scatter_margin_ns": math.nan}, "scatter_margin_ns = nan is not finite"),
        ({"min_prompt_distance_mm": math.inf}, "min_prompt_distance_mm = inf is not finite"),
        ({"min_prompt_crystals": -2}, "min_prompt_crystals = -2 is negative"),
    ],
)
def test_rules_that_make_no_sense_are_errors(change, match):
    with pytest.raises(SettingsError, match=match):
        CutOptions(**change)


def test_rules_that_lack_what_they_need_are_errors():
    triplets = triplets_of(5)
    crystals = CutOptions(min_pair_distance_mm=0.0, min_prompt_crystals=2)
    unlabelled = Triplets(
        time_ns=triplets.time_ns,
        energy_kev=triplets.energy_kev,
        position_mm=triplets.position_mm,
        window=triplets.window,
    )
    unknown = Triplets(
        time_ns=triplets.time_ns,
        energy_kev=triplets.energy_kev,
        position_mm=triplets.position_mm,
        window=triplets.window,
        detector=np.full((5, 3), -1),
    )

    with pytest.raises(SettingsError, match=r"in a ring; set scanner\.crystals_around"):
        cut_triplets(triplets, options=crystals)
    with pytest.raises(DataError, match=r"detector of each photon, and the triplets have none"):
        cut_triplets(unlabelled, options=crystals, crystals_around=N_AROUND)
    with pytest.raises(DataError, match=r"some labels are negative \(lowest -1\)"):
        cut_triplets(unknown, options=crystals, crystals_around=N_AROUND)
    with pytest.raises(SettingsError, match="lor_through = 'x' names a region that was not given"):
        cut_triplets(triplets, options=CutOptions(lor_through="x"))
