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
_N_CUT = 10
"""Times that cut and width of the residuals are made to agree."""


@dataclass(frozen=True, eq=False, slots=True)
class ResidualClasses:
    """What the length of its chord says about a pair's residual, for each of C classes."""

    cut_ns: FloatArray
    """(C,) residuals farther from zero are not used [ns]."""
    weight: FloatArray
    """(C,) factor of a pair's score [1/ns^2]."""
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
        """Whether all pairs together carry as much information as in the other, to a percent."""
        mine, theirs = (float(c.n_inside @ c.information) for c in (self, other))
        return abs(mine - theirs) < 0.01 * theirs


def chord_class(pairs: PairResiduals, limits: ResidualRange) -> NDArray[np.int64]:
    """Return the (M,) class of each pair."""
    place = (pairs.chord_mm * (N_CHORD / limits.chord_mm)).astype(np.int64)
    return np.clip(place, 0, N_CHORD - 1)


def measure_classes(
    histogram: NDArray[np.int64],
    limits: ResidualRange,
    n_sigma: float,
    among: ResidualClasses | None = None,
) -> ResidualClasses:
    """Measure width, cut and share of randoms of each class of chords.

    The stretch beyond ``flat_from_ns`` gives the level of the randoms. A class whose true pairs are
    no more than five standard deviations above them is not used: its cut and weight are zero.

    Parameters
    ----------
    histogram : (C, H) array
        Residuals of each class from ``-reach_ns`` to ``reach_ns``.
    limits : ResidualRange
        The range of the residuals.
    n_sigma : float
        Half width of the cut in standard deviations; infinite for the widest one.
    among : ResidualClasses, optional
        Classes not used there are not used here: none comes and goes from pass to pass.
    """
    n_bin = histogram.shape[1]
    centre = (np.arange(n_bin) + 0.5) * (2.0 * limits.reach_ns / n_bin) - limits.reach_ns
    level = histogram[:, np.abs(centre) > limits.flat_from_ns].mean(axis=1)
    cut = np.full(len(histogram), limits.flat_from_ns)
    # Cut and width depend on each other: scattered pairs make the first width too large, and among
    # many randoms it has no meaning.
    for _ in range(_N_CUT):
        within = cut
        inside = np.abs(centre) < within[:, None]
        n_inside = (histogram * inside).sum(axis=1)
        n_true = n_inside - level * inside.sum(axis=1)
        spread = (histogram * inside) @ centre**2
        square = spread - level * (inside @ centre**2)
        found = (square > 0) & (n_true > 0)
        variance = np.where(found, square, 0.0) / np.where(found, n_true, 1.0)
        if math.isinf(n_sigma):
            break
        wanted = np.where(found, n_sigma * np.sqrt(variance), 0.5 * within)
        cut = np.minimum(wanted, limits.flat_from_ns)
    used = found & (n_true > 5.0 * np.sqrt(n_inside))
    if among is not None:
        used &= among.weight > 0
    n_random = np.clip(n_inside - n_true, 0.0, n_inside)
    slope, square = _score_means(histogram, centre, within)
    used &= (slope > 0) & (square > 0)
    weight = np.where(used, slope, 0.0) / np.where(used, square, 1.0)
    return ResidualClasses(
        cut_ns=np.where(used, within, 0.0),
        weight=weight,
        information=weight * np.where(used, slope, 0.0),
        n_true=np.where(used, n_true, 0.0),
        variance_ns2=variance,
        n_inside=np.where(used, n_inside, 0.0),
        n_random=np.where(used, n_random, 0.0),
    )


def _score_means(
    histogram: NDArray[np.int64], centre: FloatArray, cut: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the (C,) means of the score's slope and of its square, over the pairs in the cut."""
    u = np.clip(centre / cut[:, None], -1.0, 1.0)
    n = np.maximum((histogram * (np.abs(u) < 1.0)).sum(axis=1), 1)
    slope = (histogram * (1.0 - u**2) * (1.0 - 5.0 * u**2)).sum(axis=1) / n
    square = (histogram * (centre * (1.0 - u**2) ** 2) ** 2).sum(axis=1) / n
    return slope, square


def sigma_without_extent(classes: ResidualClasses, chord_square_mm2: FloatArray) -> float:
    """Return the width of the residuals without what a uniformly filled chord gives [ns].

    chord_square_mm2 : (C,) mean square of the chords of each class [mm^2].
    """
    extent = chord_square_mm2 / (3.0 * SPEED_OF_LIGHT_MM_NS**2)
    share = classes.n_true / classes.n_true.sum()
    return math.sqrt(max(float(share @ (classes.variance_ns2 - extent)), 0.0))
