"""The estimates of each class of randoms against the truth of simulated acquisitions."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.stats import chi2, ks_2samp, norm

from psimg.core import SCANNERS, Cylinder
from psimg.events import (
    LifetimeEvents,
    Origin,
    SelectOptions,
    Triplets,
    cut_triplets,
    find_triplets,
    locate_triplets,
    with_last,
)
from psimg.events.windows import WindowKind, kinds_of
from psimg.simulate.toy import simulate_singles
from psimg.simulate.toy_phantom import Phantom, Source
from psimg.spectra import bin_regions, estimate_classes, estimate_random_spectrum, measure_shape
from psimg.study import read_study, run_study

BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=200.0, half_length_mm=400.0)
EDGES = np.linspace(-10.0, 20.0, 301)
COARSE = EDGES[np.r_[0:80:20, 80:130:5, 130:301:17]]
"""Bins of half a ns where class II lies, wider ones elsewhere: tens of randoms in each."""
PAIR_WINDOWS_NS = (1.0, 4.7)
ACQUISITIONS = ((3.3, 1_200_000, 0.1), (12.5, 500_000, 0.3), (42.3, 250_000, 0.6))
"""Activity [MBq], decays, and the share of randoms among the triplets."""
SEED = 1


@dataclass(frozen=True)
class Found:
    """Triplets of an acquisition inside the body and the spectrum, with their truth."""

    triplets: Triplets
    events: LifetimeEvents
    options: SelectOptions

    @property
    def kind(self) -> np.ndarray:
        return kinds_of(self.options.windows)[self.triplets.window]

    @property
    def truth(self) -> np.ndarray:
        """(4,) triplets of the prompt window by `Origin`."""
        prompt = self.triplets.window == 0
        return np.bincount(self.triplets.origin[prompt], minlength=4)


def options_of(pair_window_ns: float) -> SelectOptions:
    return SelectOptions(
        pair_window_ns=pair_window_ns,
        prompt_window_ns=(-25.0, 40.0),
        delays_ns=(150.0, 220.0, 290.0, 360.0),
        photon_delays_ns=(150.0, -150.0, 220.0, -220.0),
    )


def find_all(chunks, options: SelectOptions) -> Found:
    carry, parts = None, []
    for singles, last in with_last(iter(chunks)):
        found = find_triplets(singles, options=options, carry=carry, last=last)
        carry = found.carry
        parts.append(cut_triplets(found.triplets, options=options).triplets)
    triplets = parts[0]
    for part in parts[1:]:
        triplets = triplets.joined(part)
    events = locate_triplets(triplets)
    inside = BODY.contains(events.position_mm)
    inside &= (events.dt_ns >= EDGES[0]) & (events.dt_ns < EDGES[-1])
    return Found(triplets=triplets.take(inside), events=events.take(inside), options=options)


@pytest.fixture(scope="module")
def acquisitions():
    """What is found in each acquisition with each pair window."""
    phantom = Phantom(sources=(Source(region=BODY, activity_share=1.0, tau_ops_ns=2.0),))
    result = {}
    for activity, n_decays, _ in ACQUISITIONS:
        chunks = list(
            simulate_singles(
                phantom,
                scanner=SCANNERS["vision-quadra"],
                activity_mbq=activity,
                duration_s=n_decays / (activity * 1e6),
                rng=np.random.default_rng([SEED, round(10 * activity)]),
            )
        )
        for pair_window in PAIR_WINDOWS_NS:
            result[activity, pair_window] = find_all(chunks, options_of(pair_window))
    return result


@pytest.fixture(
    scope="module",
    params=[(a, w) for a, _, _ in ACQUISITIONS for w in PAIR_WINDOWS_NS],
    ids=lambda case: f"{case[0]:g} MBq, {case[1]:g} ns",
)
def found(request, acquisitions) -> Found:
    return acquisitions[request.param]


def weights_of(found: Found, classes: set[Origin]) -> np.ndarray:
    """(N,) weight of each triplet in the estimate of some classes minus their true number.

    With P, A and B the means of the windows of each kind, I = P - B/2, II = A - B, III = B/2.
    """
    one, two, three = (Origin(k) in classes for k in (1, 2, 3))
    n_sets = np.bincount(kinds_of(found.options.windows), minlength=4)
    weight = np.array([0.0, one, two, (three - one) / 2 - two])[found.kind] / n_sets[found.kind]
    true = (found.triplets.window == 0) & np.isin(found.triplets.origin, list(classes))
    return np.where(true, -1.0, weight)


def covariance_of(triplets: Triplets, weight: np.ndarray, cell: np.ndarray, n_cell: int):
    """(C, C) covariance of the weighted sums over the triplets of each cell.

    Decays are a Poisson process, and a sum over pairs and triples of its points has the covariance
    that is expected of the sum of products over all that have a decay in common, themselves
    included: triplets that share a decay come and go together, and with them estimate and truth.
    Those with any decay in common are those with one, less those with two, and three again.
    """
    used = weight != 0
    decay, weight, cell = np.sort(triplets.decay[used], axis=1), weight[used], cell[used]
    new = np.c_[np.ones(len(decay), bool), np.diff(decay, axis=1) > 0]
    total = np.zeros((n_cell, n_cell))
    for n_shared in (1, 2, 3):
        rows, keys = [], []
        for place in combinations(range(3), n_shared):
            good = np.flatnonzero(new[:, place].all(axis=1))
            rows.append(good)
            keys.append(decay[np.ix_(good, place)])
        row = np.concatenate(rows)
        _, key = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        sums = csr_array((weight[row], (key.reshape(-1), cell[row])), (key.max() + 1, n_cell))
        total += (1 if n_shared != 2 else -1) * (sums.T @ sums).toarray()
    return total


def pull_of(found: Found, classes: set[Origin]) -> float:
    """Estimate of some classes minus their true number, in standard deviations of that."""
    weight = weights_of(found, classes)
    cell = np.zeros(len(weight), int)
    return weight.sum() / np.sqrt(covariance_of(found.triplets, weight, cell, 1)[0, 0])


def spectra_of(found: Found, edges_ns=EDGES):
    return bin_regions(
        found.events, regions=[BODY], edges_ns=edges_ns, windows=found.options.windows
    )


@pytest.mark.parametrize(("activity", "n_decays", "share"), ACQUISITIONS)
def test_acquisitions_hold_the_shares_of_randoms_they_are_made_for(
    acquisitions, activity, n_decays, share
):
    for pair_window in PAIR_WINDOWS_NS:
        truth = acquisitions[activity, pair_window].truth

        assert_allclose(truth[1:].sum() / truth.sum(), share, atol=0.02)
        assert truth.min() >= 10


def test_delayed_windows_hold_the_classes_they_are_meant_to_hold(found):
    held = {
        WindowKind.PROMPT: {0, 1, 2, 3},
        WindowKind.DELAYED_PROMPT: {1, 3},
        WindowKind.DELAYED_PHOTON: {2, 3},
        WindowKind.DELAYED_BOTH: {3},
    }

    for kind, classes in held.items():
        assert set(found.triplets.origin[found.kind == kind]) == classes


def test_the_estimates_are_the_weighted_sums_whose_spread_is_known(found):
    spectra = spectra_of(found)

    classes = estimate_classes(spectra.delayed[0].sum(axis=1), spectra.n_sets)

    for k, name in enumerate(("class_1", "class_2", "class_3"), start=1):
        difference = weights_of(found, {Origin(k)}).sum()
        assert_allclose(getattr(classes, name) - found.truth[k], difference, atol=1e-6)


@pytest.mark.parametrize(
    "classes",
    [{Origin(1)}, {Origin(2)}, {Origin(3)}, {Origin(1), Origin(3)}, {Origin(k) for k in (1, 2, 3)}],
    ids=["I", "II", "III", "I + III", "all"],
)
def test_the_estimate_of_a_class_agrees_with_its_true_number(found, classes):
    # One of the 30 lies outside with a chance of a hundredth.
    assert abs(pull_of(found, classes)) < norm.isf(0.01 / 30 / 2)


def test_stated_errors_are_short_of_the_true_ones_by_no_more_than_shared_photons(found):
    spectra = spectra_of(found)
    classes = estimate_classes(spectra.delayed[0].sum(axis=1), spectra.n_sets)
    cell = np.zeros(len(found.triplets), int)
    ratios = []

    for k, name in enumerate(("class_1", "class_2", "class_3"), start=1):
        weight = weights_of(found, {Origin(k)})
        error = np.sqrt(covariance_of(found.triplets, weight, cell, 1)[0, 0])
        # The true number is a draw as well; the rest is what triplets that share photons add.
        stated = np.hypot(getattr(classes, f"{name}_error"), np.sqrt(found.truth[k]))
        ratios.append(error / stated)

    # Class I shares its pairs with the windows that tell it, so that they fluctuate together.
    assert 0.9 < ratios[0] < 1.1
    assert max(ratios[1:]) < 1.5


def test_the_estimated_spectrum_of_randoms_agrees_with_the_true_one(found):
    cell = np.searchsorted(COARSE, found.events.dt_ns, side="right") - 1
    n_cell = len(COARSE) - 1
    true = (found.triplets.window == 0) & (found.triplets.origin != Origin.TRUE)
    truth = np.bincount(cell[true], minlength=n_cell)

    randoms, _ = estimate_random_spectrum(spectra_of(found, COARSE), 0)

    weight = weights_of(found, {Origin(k) for k in (1, 2, 3)})
    covariance = covariance_of(found.triplets, weight, cell, n_cell)
    difference = randoms - truth
    assert_allclose(difference, np.bincount(cell, weight, n_cell), atol=1e-6)
    value = difference @ np.linalg.solve(covariance, difference)
    assert chi2.sf(value, n_cell) > 0.01 / 6


def test_class_2_has_the_same_shape_in_its_delayed_windows(found):
    class_2 = found.triplets.origin == Origin.CLASS_2
    dt_ns = found.events.dt_ns

    prompt = dt_ns[class_2 & (found.kind == WindowKind.PROMPT)]
    delayed = dt_ns[class_2 & (found.kind == WindowKind.DELAYED_PHOTON)]

    assert ks_2samp(prompt, delayed).pvalue > 0.01 / 6


def test_unrelated_randoms_are_flat_in_a_window_wider_than_the_spectrum(found):
    shape = measure_shape(spectra_of(found).delayed[0, 0], EDGES)

    assert shape.p_flat > 0.01 / 6
    assert shape.order == 0


def test_a_window_that_cuts_into_the_spectrum_gives_its_shape_to_the_background(study_file):
    text = study_file.read_text().replace("[select]", "[select]\nprompt_window_ns = [-4.0, 12.0]")
    study_file.write_text(text)

    result = run_study(read_study(study_file))

    shape = result.randoms.shape
    assert shape.order > 0
    assert shape.p_flat < 1e-6
    for fit in (result.calibration, *result.regions):
        background = fit.expected[-1]
        assert_allclose(background / background.sum(), shape.shares, rtol=1e-9)
    assert_array_equal(result.randoms.n_sets, (2, 0, 0))
