"""Prompt-correlated randoms: the shape of class II.

Prompt and one annihilation photon of a decay at X, with a photon of another decay, are located at
a wrong point Y. With d the distances of their hits from X and rho those from Y, flight times are
taken off for Y where they were those of X, and the positron's age t comes out as

    dt = t + (d_1 - rho_1)/c + (rho_3 - d_3)/c,     |dt - t| <= 2 |X - Y| / c

(photon 1 the prompt's fellow, 3 the prompt). So class II has the lifetime spectrum of the true
events, spread by a distribution of shifts that the geometry makes: narrow in a small object, a ns
wide in a body, cusped at zero, and not symmetric. The shifts are measured here from the windows in
which one photon is delayed, as the positive weights that make those windows' spectrum most likely.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.lifetime._emg import bin_shares
from psimg.spectra.randoms import DelayedSpectrum

FloatArray = NDArray[np.float64]

_REACH_NS = 5.0
"""Largest shift: more than the flight through a scanner, less than any prompt window."""
_NODE_NS = 0.2
"""Distance of the nodes of the distribution of shifts; the time response blurs finer detail."""
_N_UPDATE = 300


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Shifts:
    """How far class II is moved in dt against the true events it has its prompt from."""

    share: FloatArray
    """(2 R + 1,) share moved by -R to R bins; sums to one."""

    def __post_init__(self) -> None:
        freeze(self, share=(np.float64, len(self.share)))

    @property
    def n_bin(self) -> int:
        """R, the bins that spectra are wider on each side before they are spread."""
        return len(self.share) // 2

    def spread(self, signal: FloatArray) -> FloatArray:
        """Return the (B,) class-II shape, summing to one, of a (B + 2 R,) signal shape."""
        shape = np.convolve(signal, self.share, mode="valid")
        total = shape.sum()
        return np.asarray(shape / total if total > 0 else shape)

    def spread_slopes(self, signal: FloatArray, slopes: FloatArray) -> FloatArray:
        """Return the (Q, B) slopes of `spread` for (Q, B + 2 R) slopes of the signal."""
        shape = np.convolve(signal, self.share, mode="valid")
        total = shape.sum()
        moved = np.stack([np.convolve(row, self.share, mode="valid") for row in slopes])
        if total <= 0:
            return moved
        return np.asarray((moved - moved.sum(axis=1)[:, None] * (shape / total)) / total)


def n_shift_bins(edges_ns: FloatArray) -> int:
    """Return R for these bins.

    Raises
    ------
    DataError
        If the bins are not of equal width.
    """
    width = np.diff(edges_ns)
    if not np.allclose(width, width[0], rtol=1e-6):
        raise DataError(
            "background = 'four-set' needs time bins of equal width; bin the spectrum with "
            "SpectrumOptions, or use background = 'delayed'"
        )
    # A step of 0.1 ns goes into 5 ns 50 times, whatever rounding has made of the edges.
    return int(np.ceil(_REACH_NS / width.mean() - 1e-6))


def wider_edges(edges_ns: FloatArray) -> FloatArray:
    """Return (B + 2 R + 1,) edges: those given and R bins more on each side [ns]."""
    n = n_shift_bins(edges_ns)
    step = (edges_ns[-1] - edges_ns[0]) / (len(edges_ns) - 1)
    return np.asarray(edges_ns[0] + step * np.arange(-n, len(edges_ns) + n))


def signal_shape(
    edges_ns: FloatArray, shares: FloatArray, tau_ns: FloatArray, mu_ns: float, sigma_ns: float
) -> FloatArray:
    """Return (B,) events per bin of true events, for (K,) shares of components of mean life tau."""
    total = np.zeros(len(edges_ns) - 1)
    component = np.empty_like(total)
    for share, tau in zip(shares, tau_ns, strict=True):
        bin_shares(edges_ns, float(tau), sigma_ns, mu_ns, component)
        total += share * component
    return total


def measure_shifts(delayed: DelayedSpectrum, edges_ns: FloatArray, signal: FloatArray) -> Shifts:
    """Measure the distribution of shifts from the windows with one photon delayed.

    Parameters
    ----------
    delayed : DelayedSpectrum
        The delayed windows of the spectrum.
    edges_ns : (B+1,) array
        Bin edges of equal width [ns].
    signal : (B + 2 R,) array
        Shape of the true events on `wider_edges`.

    Returns
    -------
    Shifts
        Most likely weights of triangular nodes, found by expectation maximisation, which keeps
        them positive. Without events all shifts are zero.
    """
    n = n_shift_bins(edges_ns)
    offset = np.arange(-n, n + 1)
    if delayed.photon.sum() <= 0:
        return Shifts(share=(offset == 0).astype(np.float64))
    step = (edges_ns[-1] - edges_ns[0]) / (len(edges_ns) - 1)
    spacing = max(1, round(_NODE_NS / step))
    nodes = np.arange(-(n // spacing), n // spacing + 1) * spacing
    triangle = np.maximum(0.0, 1.0 - np.abs(offset - nodes[:, None]) / spacing)
    triangle /= triangle.sum(axis=1, keepdims=True)
    moved = np.stack([np.convolve(signal, kernel, mode="valid") for kernel in triangle])
    reached = moved.sum(axis=1)
    # Class III in these windows, as the windows with both delayed tell it.
    unrelated = delayed.both.sum() * delayed.n_sets[1] / max(delayed.n_sets[2], 1) * delayed.shape
    weight = np.full(len(nodes), delayed.photon.sum() / len(nodes))
    for _ in range(_N_UPDATE):
        expected = np.maximum(weight @ moved + unrelated, 1e-300)
        weight *= (moved @ (delayed.photon / expected)) / np.maximum(reached, 1e-300)
    if weight.sum() <= 0:
        return Shifts(share=(offset == 0).astype(np.float64))
    share = weight @ triangle
    return Shifts(share=share / share.sum())
