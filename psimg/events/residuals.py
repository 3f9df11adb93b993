"""Residuals of pairs by the length of their chord: width, share of randoms, weight of a pair."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.events.pairs import PairResiduals, ResidualRange

FloatArray = NDArray[np.float64]

N_CHORD = 32
"""C classes of the length of the chord."""
_N_CUT = 4
"""Times that cut and width of the residuals are made to agree."""


@dataclass(frozen=True, eq=False, slots=True)
class ResidualClasses:
    """What the length of its chord says about a pair's residual, for each of C classes."""

    cut_ns: FloatArray
    """(C,) residuals farther from zero are not used [ns]."""
    weight: FloatArray
    """(C,) factor of a residual, (1 - share of randoms) / variance [1/ns^2]."""
    information: FloatArray
    """(C,) what a pair adds to the inverse variance of a difference of offsets [1/ns^2]."""
    n_true: FloatArray
    """(C,) true pairs within the cut."""
    variance_ns2: FloatArray
    """(C,) variance of the true pairs' residuals [ns^2]."""
    n_inside: FloatArray
    """(C,) pairs within the cut."""
    n_random: FloatArray
    """(C,) random pairs within the cut."""

    def agrees_with(self, other: "ResidualClasses") -> bool:
        """Whether errors would be the same with the other's widths, to half a percent."""
        return bool(np.allclose(self.information, other.information, rtol=0.01, atol=0.0))


def chord_class(pairs: PairResiduals, limits: ResidualRange) -> NDArray[np.int64]:
    """Return the (M,) class of each pair."""
    place = (pairs.chord_mm * (N_CHORD / limits.chord_mm)).astype(np.int64)
    return np.clip(place, 0, N_CHORD - 1)


def measure_classes(
    histogram: NDArray[np.int64], limits: ResidualRange, n_sigma: float
) -> ResidualClasses:
    """Measure width, cut and share of randoms of each class of chords.

    The stretch beyond ``flat_from_ns`` gives the level of the randoms. A class whose true pairs are
    no more than five standard deviations above them is not used: its cut and weight are zero.
    """
    n_bin = histogram.shape[1]
    centre = (np.arange(n_bin) + 0.5) * (2.0 * limits.reach_ns / n_bin) - limits.reach_ns
    outer = np.abs(centre) > limits.flat_from_ns
    level = histogram[:, outer].mean(axis=1)
    cut = np.full(len(histogram), limits.flat_from_ns)
    # Cut and width depend on each other; scattered pairs make the first width too large.
    for _ in range(1 if math.isinf(n_sigma) else _N_CUT):
        inside = np.abs(centre) < cut[:, None]
        n_inside = (histogram * inside).sum(axis=1)
        n_random = np.minimum(level * inside.sum(axis=1), n_inside)
        n_true = n_inside - n_random
        spread = (histogram * inside) @ centre**2
        square = np.maximum(spread - level * (inside @ centre**2), 0.0)
        used = (n_true > 5.0 * np.sqrt(n_inside)) & (square > 0)
        variance = np.where(used, square / np.where(used, n_true, 1.0), 0.0)
        if math.isfinite(n_sigma):
            cut = np.minimum(n_sigma * np.sqrt(variance), limits.flat_from_ns)
    share = n_random / np.maximum(n_inside, 1)
    weight = np.where(used, (1.0 - share) * n_inside / np.where(used, spread, 1.0), 0.0)
    return ResidualClasses(
        cut_ns=np.where(used, cut, 0.0),
        weight=weight,
        information=(1.0 - share) * weight,
        n_true=np.where(used, n_true, 0.0),
        variance_ns2=variance,
        n_inside=n_inside.astype(np.float64),
        n_random=n_random,
    )


def sigma_without_extent(classes: ResidualClasses, chord_square_mm2: FloatArray) -> float:
    """Return the width of the residuals without what a uniformly filled chord gives [ns].

    chord_square_mm2 : (C,) mean square of the chords of each class [mm^2].
    """
    extent = chord_square_mm2 / (3.0 * SPEED_OF_LIGHT_MM_NS**2)
    share = classes.n_true / classes.n_true.sum()
    return math.sqrt(max(float(share @ (classes.variance_ns2 - extent)), 0.0))
