"""The simulator against an acquisition whose photons Geant4 transported."""

from dataclasses import replace

import numpy as np
import pytest
import uproot

from psimg.core import NUCLIDES, Cylinder
from psimg.core.isotopes import DecayPath, DecayScheme
from psimg.events import SelectOptions, find_triplets, with_last
from psimg.io import open_input
from psimg.simulate import (
    Acquisition,
    Detector,
    Phantom,
    PhantomRegion,
    Physics,
    ps_channels,
    simulate_acquisition,
)

GEANT4_DECAYS = 500_000
WINDOWS_KEV = {
    "singles": (200.0, np.inf),
    "photopeak": (460.0, 560.0),
    "annihilation window": (430.0, 600.0),
    "prompt window": (700.0, 1300.0),
    "below": (200.0, 430.0),
}
INSERTS = (
    ((50.0, 0.0, 0.0), 1.6),
    ((0.0, 50.0, 0.0), 2.0),
    ((-50.0, 0.0, 0.0), 2.5),
    ((0.0, -50.0, 0.0), 3.0),
)


def cylinder(centre, radius, half):
    return Cylinder(name="shape", centre_mm=centre, radius_mm=radius, half_length_mm=half)


@pytest.fixture(scope="module")
def simulated():
    """The acquisition of the file, with its single prompt line."""
    scheme = DecayScheme(
        paths=(
            DecayPath(0.9427693, 1473.66, (1157.02,), (0.0,)),
            DecayPath(1.0 - 0.9427693, None, (1157.02,), (0.0,)),
        )
    )
    inserts = [
        PhantomRegion(
            name=f"insert {i}",
            shapes=(cylinder(centre, 20.0, 40.0),),
            activity_mbq=0.25,
            channels=ps_channels(tau),
        )
        for i, (centre, tau) in enumerate(INSERTS)
    ]
    body = PhantomRegion(name="body", shapes=(cylinder((0.0, 0.0, 0.0), 100.0, 150.0),))
    acquisition = Acquisition(
        phantom=Phantom(regions=(body, *inserts)),
        isotope=replace(NUCLIDES["Sc-44"], own_scheme=scheme),
        detector=Detector(
            inner_radius_mm=410.0,
            thickness_mm=20.0,
            length_mm=1060.0,
            crystals_around=800,
            crystals_along=331,
            block_around=8,
            block_along=8,
            position_radius_mm=420.0,
            crt_ns=0.25,
            energy_fwhm=0.1,
            integration_ns=1e6,
        ),
        duration_s=0.3,
        physics=Physics(acollinearity_fwhm_deg=0.0, lutetium=False, pile_up=False),
    )
    pieces = list(simulate_acquisition(acquisition, rng=np.random.default_rng(7)))
    energy = np.concatenate([piece.singles.energy_kev for piece in pieces])
    decay = np.concatenate([piece.singles.decay for piece in pieces])
    chunks = (piece.singles for piece in pieces)
    return energy, decay, n_triplets(chunks), sum(len(piece.decays) for piece in pieces)


def n_triplets(chunks):
    carry, n = None, 0
    for singles, last in with_last(chunks):
        found = find_triplets(singles, options=SelectOptions(), carry=carry, last=last)
        carry = found.carry
        n += int(found.n_combinations[0])
    return n


def per_decay(energy, decay, window, n_decay):
    """Return singles in a window per decay, and the error: those of one decay go together."""
    counts = np.unique(decay[(energy >= window[0]) & (energy <= window[1])], return_counts=True)[1]
    return counts.sum() / n_decay, np.sqrt((counts.astype(float) ** 2).sum()) / n_decay


def require_close(one, one_error, other, other_error):
    assert abs(one - other) < max(0.05 * other, 4.0 * np.hypot(one_error, other_error))


@pytest.mark.parametrize("name", WINDOWS_KEV)
def test_a_decay_leaves_as_many_singles_as_with_geant4(sc44, simulated, name):
    tree = uproot.open(sc44 / "singles_gate9.root")["Singles"]
    columns = tree.arrays(["energy", "eventID"], library="np")
    energy, decay, _, n_decay = simulated

    ours = per_decay(energy, decay, WINDOWS_KEV[name], n_decay)
    theirs = per_decay(
        1e3 * columns["energy"], columns["eventID"], WINDOWS_KEV[name], GEANT4_DECAYS
    )

    require_close(*ours, *theirs)


def test_a_decay_leaves_as_many_triplets_as_with_geant4(sc44, simulated):
    chunks = (chunk.value for chunk in open_input(sc44 / "singles_gate9.root").chunks())
    _, _, ours, n_decay = simulated

    theirs = n_triplets(chunks)

    require_close(
        ours / n_decay, np.sqrt(ours) / n_decay,
        theirs / GEANT4_DECAYS, np.sqrt(theirs) / GEANT4_DECAYS,
    )  # fmt: skip
