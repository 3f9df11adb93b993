"""Random triplets from the delayed windows: how many of each class, and how they lie in dt.

The delayed windows of each kind hold, in the mean and per window (see `psimg.events.windows`),

    P = I + III,    A = II + 2 III,    B = 2 III

so that the classes and the randoms of the prompt window are

    I = P - B/2,    II = A - B,    III = B/2,    R = P + A - B.

This is the four-set estimator of triple coincidences in three sets: which photon of a pair is the
delayed one makes no difference, so the two sets with one photon delayed are one here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.spectra.values import LifetimeSpectra

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class DelayedSpectrum:
    """The delayed windows of one spectrum. Kinds without a window have zeros."""

    prompt: FloatArray
    """(B,) events of the windows with the prompt delayed."""
    photon: FloatArray
    """(B,) events of the windows with one annihilation photon delayed."""
    both: FloatArray
    """(B,) events of the windows with both delayed."""
    n_sets: tuple[int, int, int]
    """Number of windows of each kind."""
    shape: FloatArray
    """(B,) share of the unrelated randoms expected in each bin; sums to one."""

    def __post_init__(self) -> None:
        n_bin = len(self.shape)
        freeze(
            self,
            prompt=(np.float64, n_bin),
            photon=(np.float64, n_bin),
            both=(np.float64, n_bin),
            shape=(np.float64, n_bin),
        )

    @classmethod
    def of(
        cls, spectra: LifetimeSpectra, row: int, *, shape: FloatArray | None = None
    ) -> "DelayedSpectrum":
        """Return the delayed windows of one region; flat where no shape is given."""
        prompt, photon, both = spectra.delayed[row].astype(np.float64)
        flat = flat_shape(spectra.edges_ns)
        return cls(
            prompt=prompt,
            photon=photon,
            both=both,
            n_sets=spectra.n_sets,
            shape=flat if shape is None else shape,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomClasses:
    """Random triplets of one spectrum by class, as the delayed windows tell them.

    A class is NaN where its windows are missing: with delayed prompts alone, I and III cannot be
    told apart and ``unrelated`` holds their sum.
    """

    class_1: float
    class_2: float
    class_3: float
    unrelated: float
    """Classes I and III: the prompt shares no decay with either photon."""
    total: float
    class_1_error: float
    class_2_error: float
    class_3_error: float
    unrelated_error: float
    total_error: float


def flat_shape(edges_ns: FloatArray) -> FloatArray:
    """Return (B,) shares of a flat spectrum."""
    width = np.diff(edges_ns)
    return np.asarray(width / width.sum())


def estimate_classes(delayed: FloatArray, n_sets: tuple[int, int, int]) -> RandomClasses:
    """Estimate the random triplets of each class from the delayed windows.

    Parameters
    ----------
    delayed : (3,) array
        Events of the windows with the prompt, one annihilation photon, and both delayed.
    n_sets : (3,) tuple of int
        Number of windows of each kind.

    Returns
    -------
    RandomClasses
        Numbers with Poisson errors of the windows' counts; estimates may come out below zero.
    """
    n = np.array([k if k else np.nan for k in n_sets])
    p, a, b = np.asarray(delayed, dtype=np.float64) / n
    # Variances of the three means.
    vp, va, vb = np.asarray(delayed, dtype=np.float64) / n**2
    return RandomClasses(
        class_1=float(p - b / 2),
        class_2=float(a - b),
        class_3=float(b / 2),
        unrelated=float(p),
        total=float(p + a - b),
        class_1_error=float(np.sqrt(vp + vb / 4)),
        class_2_error=float(np.sqrt(va + vb)),
        class_3_error=float(np.sqrt(vb / 4)),
        unrelated_error=float(np.sqrt(vp)),
        total_error=float(np.sqrt(vp + va + vb)),
    )


def estimate_random_spectrum(spectra: LifetimeSpectra, row: int) -> tuple[FloatArray, FloatArray]:
    """Estimate the spectrum of all randoms of a region, bin by bin.

    Parameters
    ----------
    spectra : LifetimeSpectra
        Spectra of regions with all three kinds of delayed windows.
    row : int
        The region.

    Returns
    -------
    randoms, variance : (B,) float64 arrays
        ``P + A - B`` per window and bin, and its variance. For looking at: fits take the delayed
        counts themselves.

    Raises
    ------
    DataError
        If a kind of delayed window is missing.
    """
    if not all(spectra.n_sets):
        raise DataError(
            "the spectrum of all randoms needs windows with the prompt, a photon and both delayed; "
            "set select.delays_ns and select.photon_delays_ns"
        )
    n = np.array(spectra.n_sets, dtype=np.float64)[:, None]
    p, a, b = spectra.delayed[row] / n
    return p + a - b, (spectra.delayed[row] / n**2).sum(axis=0)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SmoothShape:
    """A smooth shape in dt, of as few terms as the counts ask for."""

    shares: FloatArray
    """(B,) share expected in each bin; sums to one."""
    order: int
    """Highest power of dt in the logarithm of the density; 0 is flat."""
    flat_deviance: float
    """Poisson deviance of a flat shape."""
    deviance: float
    """Poisson deviance of this shape."""
    ndf_flat: int
    """Bins minus one."""
    p_flat: float
    """Chance of a likelihood gain as large as that of a sloping and bending shape, if flat."""

    def __post_init__(self) -> None:
        freeze(self, shares=(np.float64, len(self.shares)))


_MAX_ORDER = 4
_LEAST_CHANCE = 1e-3
"""A further term is used where a flat spectrum would call for it less often than this."""
_LEAST_COUNTS = 30
"""Fewer counts tell no shape: a polynomial can gather at two or three of them."""


def measure_shape(counts: FloatArray, edges_ns: FloatArray) -> SmoothShape:
    """Measure the shape of the unrelated randoms in dt.

    Flat by construction where the prompt window is wider than the spectrum; a window that cuts
    into it, or a detector that is blind after a hit, makes it otherwise. The logarithm of the
    density is a polynomial whose order rises as long as the likelihood ratio says so.

    Parameters
    ----------
    counts : (B,) array
        Events of the windows with a delayed prompt.
    edges_ns : (B+1,) array
        Rising bin edges [ns].

    Returns
    -------
    SmoothShape
        Flat where there are fewer than 30 counts.
    """
    from scipy.stats import chi2

    counts = np.asarray(counts, dtype=np.float64)
    width = np.diff(edges_ns)
    x = (0.5 * (edges_ns[1:] + edges_ns[:-1]) - edges_ns[0]) / (edges_ns[-1] - edges_ns[0]) * 2 - 1
    fits = [_fit_log_polynomial(counts, width, x, order) for order in range(_MAX_ORDER + 1)]
    order = 0
    enough = counts.sum() >= _LEAST_COUNTS
    for higher in range(1, _MAX_ORDER + 1 if enough else 1):
        gain = fits[order][1] - fits[higher][1]
        if chi2.sf(gain, higher - order) < _LEAST_CHANCE:
            order = higher
    return SmoothShape(
        shares=fits[order][0],
        order=order,
        flat_deviance=fits[0][1],
        deviance=fits[order][1],
        ndf_flat=len(counts) - 1,
        p_flat=float(chi2.sf(fits[0][1] - fits[2][1], 2)) if enough else 1.0,
    )


def _fit_log_polynomial(
    counts: FloatArray, width: FloatArray, x: FloatArray, order: int
) -> tuple[FloatArray, float]:
    """Return (B,) shares and the Poisson deviance of ``exp(polynomial)``, by Newton's method.

    The likelihood has one maximum, but a full step may overshoot it: it is halved until it gains.
    """
    total = counts.sum()
    if not total:
        return width / width.sum(), 0.0
    basis = np.polynomial.legendre.legvander(x, order)
    coefficients = np.zeros(order + 1)
    coefficients[0] = np.log(total / width.sum())

    def expected_and_deviance(at: FloatArray) -> tuple[FloatArray, float]:
        power = basis @ at
        with np.errstate(over="ignore"):
            expected = width * np.exp(power)
        # n ln(n/m), with the logarithm of m from the polynomial: m itself may vanish.
        log_ratio = np.log(np.where(counts > 0, counts, 1.0) / width) - power
        return expected, float(2.0 * np.sum(expected - counts + counts * log_ratio))

    expected, deviance = expected_and_deviance(coefficients)
    for _ in range(100):
        information = basis.T @ (expected[:, None] * basis)
        # Least squares: counts in one bin alone leave nothing that fixes the higher terms.
        step = np.linalg.lstsq(information, basis.T @ (counts - expected))[0]
        while True:
            trial, trial_deviance = expected_and_deviance(coefficients + step)
            if trial_deviance <= deviance or np.abs(step).max() < 1e-10:
                break
            step *= 0.5
        if not trial_deviance <= deviance:
            break
        gain = deviance - trial_deviance
        coefficients, expected, deviance = coefficients + step, trial, trial_deviance
        if gain < 1e-9 * (1.0 + deviance):
            break
    return expected / expected.sum(), deviance
