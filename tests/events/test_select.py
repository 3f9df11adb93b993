import itertools
from dataclasses import replace

import numba as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from psimg.core import DataError, SettingsError
from psimg.events import (
    Origin,
    SelectOptions,
    Singles,
    Triplets,
    WindowKind,
    find_triplets,
    select,
    within_windows,
)

pytestmark = pytest.mark.kernel

OPTIONS = SelectOptions(
    annihilation_kev=(430.0, 600.0),
    prompt_kev=(700.0, 1300.0),
    pair_window_ns=4.0,
    prompt_window_ns=(-6.0, 9.0),
    delays_ns=(40.0, -50.0),
    photon_delays_ns=(21.5, -30.0),
)
RULES = [
    {},
    {"multiples": "first"},
    {"multiples": "reject"},
    {"secondary_ns": 3.0},
    {"exactly_three": True},
    {"multiples": "first", "secondary_ns": 1.0},
    {"multiples": "reject", "exactly_three": True, "secondary_ns": 0.5},
]


def singles_of(time_ns, energy_kev) -> Singles:
    n = len(time_ns)
    rng = np.random.default_rng(n)
    return Singles(
        time_ns=time_ns,
        energy_kev=energy_kev,
        position_mm=rng.uniform(-400, 400, (n, 3)),
        decay=np.arange(n),
    )


def slow_triplets(singles: Singles, options: SelectOptions) -> tuple[list[tuple], int]:
    """Try every pair and every prompt: the definition, and nothing else."""
    low, high = options.annihilation_kev
    pair = [i for i, e in enumerate(singles.energy_kev) if low <= e <= high]
    low, high = options.prompt_kev
    prompts = [i for i, e in enumerate(singles.energy_kev) if low <= e <= high]
    low, high = options.prompt_window_ns
    t = singles.time_ns
    found, n_pairs = [], 0
    for i, j in itertools.permutations(pair, 2):
        n_pairs += i < j and t[j] - t[i] <= options.pair_window_ns
        for label, window in enumerate(options.windows):
            late = t[j] + window.photon_delay_ns
            # Without a delay a pair is a pair whichever comes first.
            if abs(late - t[i]) > options.pair_window_ns or (window.photon_delay_ns == 0 and i > j):
                continue
            for k in prompts:
                if in_prompt_window(0.5 * (t[i] + late), t[k] + window.prompt_delay_ns, options):
                    found.append((i, window.photon_delay_ns, j, label, k))
    found.sort(key=lambda f: (f[0], f[1] != 0, f[1], f[2], f[3], f[4]))
    found = [(i, j, label, k) for i, _, j, label, k in found]
    found = [f for f in found if not is_crowded(f, t, pair, options)]
    if options.exactly_three:
        found = [f for f in found if is_alone(f, t, pair, prompts, options)]
    return [f for n, f in enumerate(found) if survives(n, found, options)], n_pairs


def in_prompt_window(mean: float, prompt: float, options: SelectOptions) -> bool:
    low, high = options.prompt_window_ns
    return low <= mean - prompt <= high


def is_crowded(triplet, t, pair, options) -> bool:
    i, j, _, _ = triplet
    return options.secondary_ns > 0 and any(
        min(abs(t[m] - t[i]), abs(t[m] - t[j])) <= options.secondary_ns
        for m in pair
        if m not in (i, j)
    )


def is_alone(triplet, t, pair, prompts, options) -> bool:
    i, j, label, k = triplet
    window = options.windows[label]
    late = t[j] + window.photon_delay_ns
    seen = t[k] + window.prompt_delay_ns
    near = [
        m
        for m in prompts
        if in_prompt_window(0.5 * (t[i] + late), t[m] + window.prompt_delay_ns, options)
    ]
    delays = {0.0, window.photon_delay_ns}
    others = [
        (m, d)
        for d in delays
        for m in pair
        if in_prompt_window(t[m] + d, seen, options)
        and (m, d) not in ((i, 0.0), (j, window.photon_delay_ns))
    ]
    return near == [k] and not others


def photons(triplet, options) -> set:
    i, j, label, k = triplet
    return {(i, 0.0), (j, options.windows[label].photon_delay_ns), (k, "prompt")}


def survives(n: int, found: list, options: SelectOptions) -> bool:
    rivals = {"all": [], "first": found[:n], "reject": found[:n] + found[n + 1 :]}
    return not any(
        other[2] == found[n][2] and photons(other, options) & photons(found[n], options)
        for other in rivals[options.multiples]
    )


def labels(triplets: Triplets) -> list[tuple]:
    return [
        (*map(int, d[:2]), int(w), int(d[2]))
        for d, w in zip(triplets.decay, triplets.window, strict=True)
    ]


def chunked(singles: Singles, options: SelectOptions, cuts: list[int]) -> tuple[list[tuple], int]:
    """Find triplets in pieces of the singles, carrying over."""
    edges = [0, *sorted(cuts), len(singles)]
    carry, found, n_pairs = None, [], 0
    for start, stop in itertools.pairwise(edges):
        part = find_triplets(
            singles.take(slice(start, stop)), options=options, carry=carry, last=False
        )
        carry = part.carry
        found += labels(part.triplets)
        n_pairs += part.n_pairs
    part = find_triplets(singles.take(slice(0, 0)), options=options, carry=carry, last=True)
    return found + labels(part.triplets), n_pairs + part.n_pairs


@st.composite
def streams(draw):
    """Singles on a coarse clock, so that equal times and times on a window's edge are common."""
    n = draw(st.integers(0, 40))
    steps = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]), min_size=n, max_size=n))
    energy = draw(
        st.lists(
            st.sampled_from([300.0, 430.0, 511.0, 600.0, 700.0, 1157.0]), min_size=n, max_size=n
        )
    )
    cuts = draw(st.lists(st.integers(0, n), max_size=4))
    return singles_of(np.cumsum(steps), np.array(energy, dtype=float)), cuts


@settings(max_examples=150, deadline=None)
@given(streams(), st.sampled_from(RULES))
def test_triplets_are_those_of_the_definition_in_its_order(stream, rule):
    singles, _ = stream
    options = replace(OPTIONS, **rule)

    found = find_triplets(singles, options=options)

    expected, n_pairs = slow_triplets(singles, options)
    assert labels(found.triplets) == expected
    assert found.n_pairs == n_pairs


@settings(max_examples=150, deadline=None)
@given(streams(), st.sampled_from(RULES))
def test_triplets_are_the_same_for_any_cut_into_chunks(stream, rule):
    singles, cuts = stream
    options = replace(OPTIONS, **rule)

    expected, n_pairs = slow_triplets(singles, options)

    assert chunked(singles, options, cuts) == (expected, n_pairs)


@pytest.mark.parametrize("rule", RULES)
def test_dense_streams_give_the_same_triplets_for_any_block_chunk_and_rule(rule, monkeypatch):
    monkeypatch.setattr(select, "_BLOCK_ROWS", 16)
    rng = np.random.default_rng(3)
    # A clock of half a ns: equal times and times on a window's edge are common.
    time_ns = np.sort(np.round(2 * rng.uniform(0, 900, 260)) / 2)
    singles = singles_of(time_ns, rng.choice([300.0, 511.0, 1157.0], 260, p=[0.2, 0.55, 0.25]))
    options = replace(OPTIONS, **rule)

    expected = slow_triplets(singles, options)

    assert len({label for _, _, label, _ in expected[0]}) > (
        1 if rule else len(options.windows) - 1
    )
    assert labels(find_triplets(singles, options=options).triplets) == expected[0]
    for size in (3, 40, 190):
        assert chunked(singles, options, list(range(0, 260, size))) == expected


@pytest.mark.parametrize("rule", RULES)
def test_combinations_are_those_kept_and_those_that_each_rule_drops(rule):
    rng = np.random.default_rng(5)
    singles = singles_of(
        np.sort(rng.uniform(0, 3000, 900)), rng.choice([511.0, 1157.0], 900, p=[0.7, 0.3])
    )
    options = replace(OPTIONS, **rule)

    found = find_triplets(singles, options=options)

    every = find_triplets(singles, options=OPTIONS)
    n_window = len(options.windows)
    assert_array_equal(found.n_combinations, np.bincount(every.triplets.window, minlength=n_window))
    dropped = found.n_secondary + found.n_not_alone + found.n_multiple
    kept = np.bincount(found.triplets.window, minlength=n_window)
    assert_array_equal(found.n_combinations, kept + dropped)
    assert kept[0] > 0
    assert (found.n_secondary[0] > 0) == ("secondary_ns" in rule)
    assert (found.n_not_alone[0] > 0) == ("exactly_three" in rule)
    assert (found.n_multiple[0] > 0) == ("multiples" in rule and "exactly_three" not in rule)


def test_pairs_are_listed_where_asked_for():
    rng = np.random.default_rng(6)
    singles = singles_of(np.sort(rng.uniform(0, 600, 300)), np.full(300, 511.0))

    whole = find_triplets(singles, options=OPTIONS, with_pairs=True)

    assert len(whole.pairs) == whole.n_pairs == slow_triplets(singles, OPTIONS)[1]
    gap = whole.pairs.time_ns[:, 1] - whole.pairs.time_ns[:, 0]
    assert np.all((gap >= 0) & (gap <= OPTIONS.pair_window_ns))
    assert find_triplets(singles, options=OPTIONS).pairs is None
    first = find_triplets(singles.take(slice(0, 120)), options=OPTIONS, with_pairs=True, last=False)
    second = find_triplets(
        singles.take(slice(120, None)), options=OPTIONS, with_pairs=True, carry=first.carry
    )
    both = first.pairs.joined(second.pairs)
    assert_array_equal(both.time_ns, whole.pairs.time_ns)
    assert_array_equal(both.position_mm, whole.pairs.position_mm)


@pytest.mark.parametrize("window", [(5.0, 9.0), (-30.0, -12.0), (-3.0, 3.0)])
def test_prompt_windows_on_either_side_of_the_pair_are_carried_over_chunks(window):
    rng = np.random.default_rng(8)
    singles = singles_of(
        np.sort(rng.uniform(0, 400, 120)), rng.choice([511.0, 1157.0], 120).astype(float)
    )
    options = SelectOptions(pair_window_ns=4.0, prompt_window_ns=window, delays_ns=(60.0,))

    expected = slow_triplets(singles, options)

    assert expected[0]
    for size in (1, 7, 50):
        assert chunked(singles, options, list(range(0, 120, size))) == expected


def test_windows_hold_both_their_ends():
    singles = singles_of(np.array([0.0, 10.0, 14.0]), np.array([700.0, 430.0, 600.0]))
    options = SelectOptions(
        annihilation_kev=(430.0, 600.0),
        prompt_kev=(700.0, 1300.0),
        pair_window_ns=4.0,
        prompt_window_ns=(-1.0, 12.0),
    )

    assert labels(find_triplets(singles, options=options).triplets) == [(1, 2, 0, 0)]


def test_a_delayed_prompt_is_given_the_time_it_would_have_had():
    singles = singles_of(np.array([0.0, 100.0, 100.5]), np.array([1157.0, 511.0, 511.0]))
    options = SelectOptions(prompt_window_ns=(-20.0, 20.0), delays_ns=(95.0,))

    triplets = find_triplets(singles, options=options).triplets

    assert_array_equal(triplets.window, [1])
    assert_array_equal(triplets.time_ns, [[100.0, 100.5, 95.0]])


def test_a_delayed_photon_is_given_the_time_it_would_have_had():
    singles = singles_of(np.array([0.0, 0.5, 100.0]), np.array([1157.0, 511.0, 511.0]))
    options = SelectOptions(prompt_window_ns=(-20.0, 20.0), photon_delays_ns=(-99.0,))

    triplets = find_triplets(singles, options=options).triplets

    assert_array_equal(triplets.window, [1])
    assert options.windows[1].kind == WindowKind.DELAYED_PHOTON
    assert_array_equal(triplets.time_ns, [[0.5, 1.0, 0.0]])


def test_the_decays_of_its_photons_say_what_a_triplet_is():
    decay = [[4, 4, 4], [4, 4, 5], [4, 5, 4], [4, 5, 5], [4, 5, 6]]
    triplets = Triplets(
        time_ns=np.zeros((5, 3)),
        energy_kev=np.zeros((5, 3)),
        position_mm=np.zeros((5, 3, 3)),
        window=np.zeros(5),
        decay=decay,
    )

    assert_array_equal(
        triplets.origin,
        [Origin.TRUE, Origin.CLASS_1, Origin.CLASS_2, Origin.CLASS_2, Origin.CLASS_3],
    )
    assert triplets.take(slice(0, 0)).origin.shape == (0,)


def test_a_list_of_triplets_is_cut_by_the_windows_that_would_have_found_it():
    good_time, good_energy = [10.0, 12.0, 5.0], [511.0, 500.0, 1157.0]
    time = np.array([good_time] * 5)
    energy = np.array([good_energy] * 5)
    energy[1, 0], energy[2, 2], time[3, 1], time[4, 2] = 650.0, 650.0, 15.0, -30.0
    triplets = Triplets(
        time_ns=time, energy_kev=energy, position_mm=np.zeros((5, 3, 3)), window=[0] * 5
    )

    kept = within_windows(triplets, options=OPTIONS)

    assert_array_equal(kept.time_ns, [good_time])


def test_times_over_threshold_choose_photons_as_energies_would():
    rng = np.random.default_rng(9)
    n = 500
    energy = rng.choice([300.0, 511.0, 1157.0], n)
    by_energy = singles_of(np.sort(rng.uniform(0, 2000, n)), energy)
    by_tot = Singles(
        time_ns=by_energy.time_ns,
        tot_ns=energy / 25.0,
        position_mm=by_energy.position_mm,
        decay=by_energy.decay,
    )
    windows = {"pair_window_ns": 4.0, "prompt_window_ns": (-6.0, 9.0), "delays_ns": (40.0,)}
    options = SelectOptions(annihilation_tot_ns=(17.0, 24.0), prompt_tot_ns=(30.0, 50.0), **windows)

    found = find_triplets(by_tot, options=options).triplets

    expected = find_triplets(by_energy, options=SelectOptions(**windows)).triplets
    assert len(found) > 10
    assert labels(found) == labels(expected)
    assert found.energy_kev is None
    assert_array_equal(found.tot_ns, expected.energy_kev / 25.0)
    prompt = found.take(found.window == 0)
    assert labels(within_windows(prompt, options=options)) == labels(prompt)


def test_a_prompt_window_without_an_end_takes_in_all_that_is_above():
    singles = singles_of(np.array([0.0, 1.0, 2.0, 3.0]), np.array([511.0, 500.0, 726.0, 9e9]))
    options = SelectOptions(prompt_kev=(720.0, np.inf))

    assert labels(find_triplets(singles, options=options).triplets) == [(0, 1, 0, 2), (0, 1, 0, 3)]


def test_photons_without_what_the_windows_look_at_are_an_error():
    by_energy = singles_of(np.zeros(1), np.full(1, 511.0))
    by_tot = Singles(time_ns=np.zeros(1), tot_ns=np.ones(1), position_mm=np.zeros((1, 3)))
    tot = SelectOptions(annihilation_tot_ns=(10.0, 25.0), prompt_tot_ns=(30.0, 50.0))

    with pytest.raises(DataError, match="only the time over threshold; set annihilation_tot_ns"):
        find_triplets(by_tot)
    with pytest.raises(DataError, match="only the energy; set annihilation_kev and prompt_kev"):
        find_triplets(by_energy, options=tot)


def test_photons_need_an_energy_or_a_time_over_threshold():
    with pytest.raises(DataError, match="Singles has neither energy_kev nor tot_ns"):
        Singles(time_ns=np.zeros(1), position_mm=np.zeros((1, 3)))
    with pytest.raises(DataError, match="Triplets has neither energy_kev nor tot_ns"):
        Triplets(time_ns=np.zeros((1, 3)), position_mm=np.zeros((1, 3, 3)), window=[0])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"annihilation_kev": (430.0, 750.0)}, "overlap from 700 to 750 keV"),
        ({"delays_ns": (60.0,)}, "delays_ns holds 60 ns, not longer than the prompt window's 60"),
        ({"pair_window_ns": 0.0}, "pair_window_ns = 0: expected a number above zero"),
        ({"min_pair_distance_mm": -1.0}, "min_pair_distance_mm = -1 is negative"),
        ({"delays_ns": tuple(range(100, 30_000, 100))}, "make 299 delayed windows; at most 255"),
        ({"photon_delays_ns": (63.0,)}, r"holds 63 ns, not longer than the prompt and pair .* 64"),
        ({"delays_ns": (100.0, 150.0)}, "holds 100 and 150 ns, whose windows of 60 ns overlap"),
        ({"photon_delays_ns": (100.0, 107.0)}, "100 and 107 ns, whose windows of 8 ns overlap"),
        ({"secondary_ns": -1.0}, "secondary_ns = -1 is negative"),
        ({"prompt_tot_ns": (30.0, 50.0)}, "annihilation_tot_ns and prompt_tot_ns go together"),
        (
            {"annihilation_tot_ns": (10.0, 35.0), "prompt_tot_ns": (30.0, np.inf)},
            "annihilation_tot_ns and prompt_tot_ns overlap from 30 to 35 ns",
        ),
        ({"annihilation_kev": (430.0, np.inf)}, r"annihilation_kev = \[430, inf\] is not finite"),
        ({"prompt_kev": (np.nan, 900.0)}, r"prompt_kev = \[nan, 900\] is not finite"),
        ({"prompt_window_ns": (5.0, -5.0)}, "the low end is not below the high end"),
    ],
)
def test_windows_that_make_no_sense_are_errors(change, match):
    with pytest.raises(SettingsError, match=match):
        SelectOptions(**change)


def test_a_photon_on_an_edge_that_both_windows_share_is_an_annihilation_photon():
    options = SelectOptions(
        annihilation_kev=(430.0, 700.0), prompt_kev=(700.0, 1300.0), prompt_window_ns=(-9.0, 9.0)
    )
    singles = singles_of(np.array([0.0, 1.0, 2.0]), np.array([700.0, 511.0, 900.0]))

    found = find_triplets(singles, options=options)

    assert (found.n_annihilation, found.n_prompt) == (2, 1)
    assert labels(found.triplets) == [(0, 1, 0, 2)]


def test_triplets_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(12)
    n = 3000
    singles = singles_of(
        np.sort(rng.uniform(0, 10_000, n)), rng.choice([300.0, 511.0, 1157.0], n).astype(float)
    )
    before = nb.get_num_threads()
    found = []
    try:
        for n_thread in (1, min(2, nb.config.NUMBA_NUM_THREADS)):
            nb.set_num_threads(n_thread)
            found.append(find_triplets(singles, options=OPTIONS).triplets)
    finally:
        nb.set_num_threads(before)

    assert len(found[0]) > 100
    assert labels(found[0]) == labels(found[1]) == slow_triplets(singles, OPTIONS)[0]
