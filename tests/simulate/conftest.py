from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from psimg.core.isotopes import DecayPath, DecayScheme, Isotope, find_nuclide
from psimg.simulate import Acquisition, simulate_acquisition
from psimg.simulate.acquisition import _run_block, _set_up


@pytest.fixture(autouse=True)
def _integers_that_wrap():
    # As plain Python the generator's 64-bit sums are NumPy scalars, which warn where they wrap.
    with np.errstate(over="ignore"):
        yield


class Everything(NamedTuple):
    """All pieces of an acquisition, put together: columns of the singles and of the decays."""

    time_ns: np.ndarray
    position_mm: np.ndarray
    energy_kev: np.ndarray
    detector: np.ndarray
    decay: np.ndarray
    decay_time_ns: np.ndarray
    life_ns: np.ndarray
    emission_mm: np.ndarray
    annihilation_mm: np.ndarray
    region: np.ndarray
    channel: np.ndarray
    scatters: np.ndarray


@pytest.fixture
def simulated() -> Callable[..., Everything]:
    """Simulate an acquisition and put its pieces together."""

    def simulated(acquisition: Acquisition, seed: int, **keys) -> Everything:
        rng = np.random.default_rng(seed)
        pieces = list(simulate_acquisition(acquisition, rng=rng, **keys))
        singles = ("time_ns", "position_mm", "energy_kev", "detector", "decay")
        if pieces[0].singles.energy_kev is None:
            singles = ("time_ns", "position_mm", "tot_ns", "detector", "decay")
        decays = ("time_ns", "life_ns", "emission_mm", "annihilation_mm")
        decays += ("region", "channel", "scatters")
        return Everything(
            *(np.concatenate([getattr(p.singles, name) for p in pieces]) for name in singles),
            *(np.concatenate([getattr(p.decays, name) for p in pieces]) for name in decays),
        )

    return simulated


@pytest.fixture
def set_up() -> Callable:
    """Turn an acquisition into the arrays that the compiled loops take."""
    return _set_up


@pytest.fixture
def run_between() -> Callable:
    """Simulate one block, between two numbers of expected decays: hits and truth."""
    return _run_block


@pytest.fixture
def run_block() -> Callable:
    """Simulate so many expected decays in one block, without a stream: hits and truth."""

    def run_block(setup, n: float, seed: int):
        return _run_block(setup, 0.0, n, np.random.SeedSequence(seed))

    return run_block


@pytest.fixture
def emitter() -> Callable[..., Isotope]:
    """Make an isotope that always decays in one way."""

    def emitter(*gammas_kev, positron_kev=None, delays_ns=None, half_life_s=1e9):
        sc44 = find_nuclide("Sc-44")
        delays = (0.0,) * len(gammas_kev) if delays_ns is None else delays_ns
        path = DecayPath(1.0, positron_kev, gammas_kev, delays)
        return Isotope(
            name=sc44.name,
            annihilation_window_kev=sc44.annihilation_window_kev,
            source="test",
            half_life_s=half_life_s,
            half_life_source="test",
            own_scheme=DecayScheme((path,)),
        )

    return emitter
