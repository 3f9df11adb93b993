import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import DataError
from psimg.lifetime import fit_walk
from psimg.spectra import LifetimeSpectra

EDGES = np.linspace(-5.0, 15.0, 201)
EDGES_KEV = np.linspace(700.0, 1300.0, 61)


def draw(n, rng, *, slope=0.0, n_random=0):
    """Counts by energy and dt of water-like decays; prompts of 700 keV are late by ``slope``."""
    energy = 700.0 + 600.0 * rng.beta(2.0, 1.0, n)
    share = rng.random(n)
    tau = np.where(share < 0.1, 0.125, np.where(share < 0.7, 0.388, 2.0))
    dt = rng.exponential(tau) + 0.09 * rng.standard_normal(n)
    dt -= slope * (1300.0 - energy) / 600.0
    energy = np.append(energy, rng.uniform(700.0, 1300.0, n_random))
    dt = np.append(dt, rng.uniform(EDGES[0], EDGES[-1], n_random))
    counts, *_ = np.histogram2d(energy, dt, bins=(EDGES_KEV, EDGES))
    return counts.astype(np.int64)


def as_spectra(counts):
    return LifetimeSpectra(
        edges_ns=EDGES,
        counts=counts,
        delayed=np.zeros((len(counts), 3, counts.shape[1])),
        n_sets=(0, 0, 0),
        n_events=int(counts.sum()),
        n_outside=0,
        n_outside_dt=0,
        names=tuple(f"{low:g} keV" for low in EDGES_KEV[:-1]),
    )


def test_the_walk_is_the_delay_of_prompts_by_their_energy():
    rng = np.random.default_rng(1)
    counts = draw(400_000, rng, slope=0.1, n_random=100_000)

    walk = fit_walk(as_spectra(counts), EDGES_KEV)

    assert len(walk) == 8
    # The truth of a bin is the mean over its true events; randoms add none, but have weights.
    fine = 0.5 * (EDGES_KEV[1:] + EDGES_KEV[:-1])
    early = counts[:, EDGES[1:] < -1.0].sum(axis=1) * len(EDGES) / np.sum(EDGES[1:] < -1.0)
    true = np.maximum(counts.sum(axis=1) - early, 0.0)
    late = 0.1 * (1300.0 - fine) / 600.0
    rows = np.searchsorted(walk.edges_kev, fine) - 1
    expected = np.bincount(rows, true * late) / np.bincount(rows, true)
    weight = np.bincount(rows, counts.sum(axis=1)) / counts.sum()
    expected -= weight @ expected
    assert np.abs((walk.walk_ns - expected) / walk.error_ns).max() < 4
    assert_allclose(weight @ walk.walk_ns, 0.0, atol=1e-12)
    assert walk.error_ns.max() < 0.004
    mean = np.bincount(rows, counts.sum(axis=1) * fine) / np.bincount(rows, counts.sum(axis=1))
    assert_allclose(walk.energy_kev, mean)


def test_a_prompt_window_without_an_end_ends_in_a_bin_without_one():
    counts = draw(20_000, np.random.default_rng(4))
    open_ended = np.append(EDGES_KEV[:-1], np.inf)

    walk = fit_walk(as_spectra(counts), open_ended, n_bins=3)

    assert np.isinf(walk.edges_kev[-1])
    assert np.isfinite(walk.energy_kev).all()


def test_without_a_walk_the_pulls_have_width_one():
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(20):
        walk = fit_walk(as_spectra(draw(40_000, rng, n_random=10_000)), EDGES_KEV, n_bins=5)
        pulls.append(walk.walk_ns / walk.error_ns)

    pulls = np.concatenate(pulls)
    # Of five values with a common mean taken off, four are free.
    assert_allclose(pulls.std(), 1.0, atol=4 / np.sqrt(2 * 80))


def test_few_events_make_fewer_bins_and_very_few_none():
    rng = np.random.default_rng(3)

    some = fit_walk(as_spectra(draw(6_500, rng)), EDGES_KEV)
    few = fit_walk(as_spectra(draw(3_000, rng)), EDGES_KEV)

    assert len(some) == 3
    assert some.edges_kev[0] == 700.0
    assert some.edges_kev[-1] == 1300.0
    assert few is None


def test_no_events_are_an_error():
    with pytest.raises(DataError, match="spectrum of all 0 events could not be fitted"):
        fit_walk(as_spectra(np.zeros((60, 200))), EDGES_KEV)
