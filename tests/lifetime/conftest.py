"""Spectra of known expectations with every class of randoms."""

from dataclasses import dataclass

import numpy as np
import pytest

from psimg.lifetime._emg import bin_shares
from psimg.lifetime.correlated import n_shift_bins, wider_edges
from psimg.spectra import DelayedSpectrum

EDGES = np.linspace(-10.0, 20.0, 301)
MU, SIGMA = 0.03, 0.09
COMPONENTS = ((0.125, 0.1), (0.388, 0.6), (2.0, 0.3))
"""Mean life [ns] and share of p-Ps, direct annihilation and o-Ps."""


@dataclass(frozen=True)
class Truth:
    """Expected events of a spectrum and of its delayed windows."""

    signal: np.ndarray
    class_2: np.ndarray
    unrelated: np.ndarray
    class_3: np.ndarray
    n_sets: tuple[int, int, int]
    wide_signal: np.ndarray
    """(B + 2 R,) shape of the true events on `wider_edges`."""

    @property
    def delayed(self) -> np.ndarray:
        """(3, B) expected events of the windows of each kind."""
        n_prompt, n_photon, n_both = self.n_sets
        return np.stack(
            [
                n_prompt * self.unrelated,
                n_photon * (self.class_2 + 2 * self.class_3),
                n_both * 2 * self.class_3,
            ]
        )

    @property
    def counts(self) -> np.ndarray:
        """(B,) expected events of the prompt window."""
        return self.signal + self.class_2 + self.unrelated

    @property
    def shape(self) -> np.ndarray:
        """(B,) shares of the unrelated randoms."""
        return self.unrelated / self.unrelated.sum()

    def windows(self, delayed: np.ndarray) -> DelayedSpectrum:
        """Return (3, B) counts as the delayed windows of a fit, their shape known."""
        prompt, photon, both = delayed
        return DelayedSpectrum(
            prompt=prompt, photon=photon, both=both, n_sets=self.n_sets, shape=self.shape
        )

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, DelayedSpectrum]:
        """Draw the prompt window and the delayed windows."""
        return rng.poisson(self.counts), self.windows(rng.poisson(self.delayed))


def kernel_of_shifts(below: float = 0.15, above: float = 0.35) -> np.ndarray:
    """(2 R + 1,) shifts as a body makes them: a cusp at zero, and longer above it."""
    n = n_shift_bins(EDGES)
    offset = 0.1 * np.arange(-n, n + 1)
    kernel = np.exp(-np.abs(offset) / np.where(offset < 0, below, above))
    return kernel / kernel.sum()


def truth_of(
    *,
    signal: float,
    class_2: float,
    unrelated: float,
    class_3: float,
    n_sets: tuple[int, int, int] = (4, 3, 2),
    slope: float = 0.0,
    kernel: np.ndarray | None = None,
) -> Truth:
    """Return the expectations of these numbers of events between the edges.

    ``slope`` is the logarithm of the unrelated randoms' density at the last edge over the first.
    """
    wide = wider_edges(EDGES)
    shape = np.zeros(len(wide) - 1)
    for tau, share in COMPONENTS:
        part = np.empty(len(wide) - 1)
        bin_shares(wide, tau, SIGMA, MU, part)
        shape += share * part
    spread = np.convolve(shape, kernel_of_shifts() if kernel is None else kernel, mode="valid")
    n_beyond = n_shift_bins(EDGES)
    flat = np.exp(slope * np.linspace(0, 1, len(EDGES) - 1))
    flat /= flat.sum()
    return Truth(
        signal=signal * shape[n_beyond:-n_beyond],
        class_2=class_2 * spread / spread.sum(),
        unrelated=unrelated * flat,
        class_3=class_3 * flat,
        n_sets=n_sets,
        wide_signal=shape,
    )


@pytest.fixture(scope="session")
def make_truth():
    return truth_of


@pytest.fixture(scope="session")
def make_kernel():
    return kernel_of_shifts
