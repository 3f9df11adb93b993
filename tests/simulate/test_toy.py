import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from psimg.core import Cylinder, DataError, Scanner, SettingsError, Sphere
from psimg.events import SelectOptions, Singles, find_triplets, locate_triplets
from psimg.simulate.toy import ELECTRON_KEV, ToyDetector, compton_deposits, simulate_singles
from psimg.simulate.toy_phantom import Phantom, Source, nema_like

SCANNER = Scanner(name="ring", radius_mm=400.0, length_mm=1000.0, crt_ns=0.2, energy_fwhm=0.1)


def simulate(phantom, *, activity_mbq=1.0, duration_s=0.02, seed=1, **kwargs) -> Singles:
    chunks = list(
        simulate_singles(
            phantom,
            scanner=SCANNER,
            activity_mbq=activity_mbq,
            duration_s=duration_s,
            rng=np.random.default_rng(seed),
            **kwargs,
        )
    )
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole.joined(chunk)
    return whole


def one_source(tau_ops_ns=2.0, **kwargs) -> Phantom:
    region = Sphere(name="ball", centre_mm=(20.0, 0.0, 30.0), radius_mm=10.0)
    return Phantom(
        sources=(Source(region=region, activity_share=1.0, tau_ops_ns=tau_ops_ns, **kwargs),)
    )


def test_singles_rise_in_time_over_chunks():
    singles = simulate(nema_like(), chunk_decays=1000)

    assert np.all(np.diff(singles.time_ns) >= 0)


def test_the_same_seed_gives_the_same_singles():
    one, other = simulate(nema_like()), simulate(nema_like())

    assert_array_equal(one.time_ns, other.time_ns)
    assert_array_equal(one.energy_kev, other.energy_kev)


def test_decays_are_a_poisson_process_of_the_activity():
    singles = simulate(one_source(), activity_mbq=2.0, duration_s=0.05, chunk_decays=7000)

    decays = np.unique(singles.decay)
    n = decays.max() + 1
    assert abs(n - 1e5) < 4 * np.sqrt(1e5)
    first = singles.time_ns[np.unique(singles.decay, return_index=True)[1]]
    gaps = np.diff(np.sort(first))
    # Decays of which no photon was seen thin the process and leave it a Poisson process.
    assert stats.kstest(gaps, "expon", args=(0, gaps.mean())).pvalue > 1e-3


def test_the_photons_of_one_decay_tell_its_point_and_its_lifetimes():
    phantom = one_source(intensity_pps=0.0, intensity_ops=1.0)
    singles = simulate(phantom, activity_mbq=0.2, duration_s=0.4)

    options = SelectOptions(pair_window_ns=3.0, prompt_window_ns=(-5.0, 60.0))
    triplets = find_triplets(singles, options=options).triplets
    same = (triplets.decay == triplets.decay[:, :1]).all(axis=1)
    events = locate_triplets(triplets.take(same))

    n = len(events)
    assert n > 2000
    assert_allclose(events.dt_ns.mean(), 2.0, atol=4 * 2.0 / np.sqrt(n))
    assert_allclose(events.position_mm.mean(axis=0), [20.0, 0.0, 30.0], atol=4 * 15 / np.sqrt(n))


def test_energies_have_a_photopeak_of_the_stated_width_and_a_compton_edge():
    singles = simulate(one_source(), duration_s=0.05)

    energy = singles.energy_kev
    peak = energy[(energy > 450) & (energy < 580)]
    _, sigma = stats.norm.fit(peak[np.abs(peak - ELECTRON_KEV) < 35])
    # A Gaussian cut at +-35 keV looks narrower than it is; the cut is at 1.6 sigma.
    cut = stats.truncnorm(-35 / 21.7, 35 / 21.7).std() * 21.7
    assert_allclose(sigma, cut, rtol=0.05)
    assert energy.min() >= 200.0


def test_compton_deposits_follow_klein_and_nishina_up_to_the_edge():
    e0 = 1157.0
    deposit = compton_deposits(e0, 50_000, np.random.default_rng(2))

    edge = e0 * (1 - 1 / (1 + 2 * e0 / ELECTRON_KEV))
    assert deposit.min() >= 0
    assert deposit.max() <= edge
    ratio = 1 - deposit / e0
    cosine = 1 - ELECTRON_KEV / e0 * (1 / ratio - 1)
    grid = np.linspace(-1, 1, 2001)
    p = 1 / (1 + e0 / ELECTRON_KEV * (1 - grid))
    density = p**2 * (p + 1 / p - (1 - grid**2))
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    assert stats.kstest(cosine, lambda x: np.interp(x, grid, cdf / cdf[-1])).pvalue > 1e-3


def test_the_share_of_decays_with_a_positron_is_kept():
    few = simulate(one_source(), positron_share=0.0, seed=3)

    _, per_decay = np.unique(few.decay, return_counts=True)
    assert per_decay.max() == 1


def test_a_source_named_later_displaces_the_one_before():
    body = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=20.0, half_length_mm=20.0)
    ball = Sphere(name="ball", centre_mm=(0.0, 0.0, 0.0), radius_mm=15.0)
    phantom = Phantom(
        sources=(
            Source(region=body, activity_share=0.5, tau_ops_ns=2.0),
            Source(region=ball, activity_share=0.5, tau_ops_ns=3.0),
        )
    )

    source = np.repeat([0, 1], 500)
    point = phantom.draw_points(source, np.random.default_rng(1))

    assert_array_equal(ball.contains(point), source == 1)
    assert body.contains(point).all()


def test_activity_shares_that_do_not_sum_to_one_are_an_error():
    region = Sphere(name="ball", centre_mm=(0.0, 0.0, 0.0), radius_mm=1.0)

    with pytest.raises(SettingsError, match=r"activity shares sum to 0.5, expected 1"):
        Phantom(sources=(Source(region=region, activity_share=0.5, tau_ops_ns=2.0),))


def test_the_nema_like_phantom_has_the_published_spheres():
    spheres = [s.region for s in nema_like().sources[1:]]

    assert [2 * s.radius_mm for s in spheres] == [10, 13, 17, 22, 28, 37]
    centres = np.array([s.centre_mm for s in spheres])
    assert_allclose(np.hypot(*centres[:, :2].T), 57.2)
    assert_allclose(np.linalg.norm(np.diff(centres, axis=0), axis=1), 57.2)


def by_detector(singles):
    """Rows of the singles in an order that small shifts of the times do not change."""
    return singles.take(np.lexsort([singles.energy_kev, singles.detector, singles.decay]))


def test_each_crystal_is_late_by_its_offset_and_nothing_else_changes():
    around, along = ToyDetector().crystals(SCANNER)
    offset = np.random.default_rng(5).normal(0.0, 0.1, around * along)

    plain = by_detector(simulate(one_source()))
    late = by_detector(simulate(one_source(), detector=ToyDetector(offset_ns=offset)))

    assert_array_equal(late.detector, plain.detector)
    assert_array_equal(late.energy_kev, plain.energy_kev)
    assert_allclose(late.time_ns - plain.time_ns, offset[plain.detector], atol=1e-6)


def test_the_walk_falls_as_one_over_the_root_of_the_energy():
    plain = by_detector(simulate(one_source()))
    late = by_detector(simulate(one_source(), detector=ToyDetector(walk_ns=0.2)))

    assert_array_equal(late.energy_kev, plain.energy_kev)
    expected = 0.2 * np.sqrt(ELECTRON_KEV / plain.energy_kev)
    assert_allclose(late.time_ns - plain.time_ns, expected, atol=1e-6)


def test_singles_with_offsets_still_rise_in_time():
    around, along = ToyDetector().crystals(SCANNER)
    offset = np.random.default_rng(6).normal(0.0, 1.0, around * along)

    singles = simulate(one_source(), detector=ToyDetector(offset_ns=offset), chunk_decays=1000)

    assert np.all(np.diff(singles.time_ns) >= 0)


def test_offsets_for_another_number_of_crystals_are_an_error():
    around, along = ToyDetector().crystals(SCANNER)

    with pytest.raises(DataError, match=f"3 offsets, and the ring {around * along} crystals"):
        simulate(one_source(), detector=ToyDetector(offset_ns=np.zeros(3)))
