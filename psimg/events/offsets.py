"""Time offsets of detectors from annihilation pairs: robust least squares in a few passes.

The residual r of a true pair of detectors a and b has the mean ``o_b - o_a``. Random pairs are flat
in it, so that a plain mean would be pulled towards zero by their share. Each pass therefore takes
the offsets found so far off and solves, for each detector d,

    sum over pairs of d   +-w psi(r - (o_b - o_a)) = 0,    psi(x) = x (1 - (x/c)^2)^2 for |x| < c

with the biweight score psi and a cut c of a few standard deviations (F. Mosteller and J. W. Tukey,
Data Analysis and Regression, Addison-Wesley 1977, chapter 10). The score is odd: randoms about the
current offsets add nothing to the sum in the mean, whatever their number. Its slope adds up to zero
over the cut: nor do they add to the mean slope A of the score, which takes the step to its end. So
random pairs pull nothing; they only add to the mean square B of the score, and so to the errors.
Pairs of one length of chord have one c, A and B, all measured from the residuals themselves. With
the weight w = A/B a pair carries A^2/B of information, and the covariance is the inverse of the
information matrix, a graph Laplacian (P. J. Huber, Robust Statistics, Wiley 1981, section 6.3).
"""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.settings import require_positive
from psimg.events._timing import add_pairs
from psimg.events.pairs import PairResiduals, ResidualRange
from psimg.events.residuals import (
    N_CHORD,
    ResidualClasses,
    chord_class,
    measure_classes,
    sigma_without_extent,
)

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Passes = Callable[[], Iterable[PairResiduals]]
"""Gives the same pairs, in chunks, each time it is called."""

_BIN_NS = 0.01
_MAX_CELLS = 2048
"""Detectors whose couplings are kept one by one; more are gathered into this many cells."""
_N_PAST = 4
"""Passes whose steps are remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetOptions:
    """Settings of the offsets' estimate."""

    block: int = 1
    """Labels that share an offset: label ``n`` belongs to block ``n // block``."""
    min_pairs: int = 20
    """Detectors with fewer true pairs get no offset."""
    n_sigma: float = 4.7
    """Half width of the cut on residuals, in standard deviations of the true pairs; at 4.7 the
    score has 95 % of the efficiency of the mean where all are true and Gaussian."""
    max_passes: int = 30
    """Largest number of passes over the pairs."""
    tolerance: float = 0.02
    """The passes end when a step is below this share of the errors, root mean square."""

    def __post_init__(self) -> None:
        for name in ("block", "min_pairs", "n_sigma", "max_passes", "tolerance"):
            require_positive(name, getattr(self, name))
        if self.max_passes < 3:
            raise SettingsError(f"max_passes = {self.max_passes}: it takes 3 or more to settle")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Offsets:
    """Offsets of detectors, or of blocks of them, and what the residuals looked like."""

    detector: NDArray[np.int64]
    """(D,) rising labels divided by the block."""
    offset_ns: FloatArray
    """(D,) how late each is; their mean is zero, each counted once [ns]."""
    error_ns: FloatArray
    """(D,) standard error [ns]."""
    n_pairs: NDArray[np.int64]
    """(D,) pairs within the cut, the few random ones among them included."""
    left_out: NDArray[np.int64]
    """(L,) rising labels that got no offset: too few true pairs, or not connected to the rest."""
    edges_ns: FloatArray
    """(H+1,) bin edges of the residuals [ns]."""
    before: NDArray[np.int64]
    """(H,) residuals as measured."""
    after: NDArray[np.int64]
    """(H,) residuals with the offsets taken off."""
    sigma_before_ns: float
    """Width of the true pairs' residuals as measured, the region's own extent taken off [ns]."""
    sigma_after_ns: float
    """The same with the offsets taken off [ns]."""
    random_share: float
    """Share of random pairs within the cut."""
    n_passes: int

    def __post_init__(self) -> None:
        n, n_bin = len(self.detector), len(self.edges_ns) - 1
        freeze(
            self,
            detector=(np.int64, n),
            offset_ns=(np.float64, n),
            error_ns=(np.float64, n),
            n_pairs=(np.int64, n),
            left_out=(np.int64, len(self.left_out)),
            edges_ns=(np.float64, n_bin + 1),
            before=(np.int64, n_bin),
            after=(np.int64, n_bin),
        )


class _Sums:
    """Sums of one pass, added to chunk by chunk.

    Memory: 40 bytes per detector, 8 per class and bin, and 32 MB of couplings between cells; the
    solution takes three more of the latter. None of it grows with the number of pairs.
    """

    def __init__(self, used: NDArray[np.bool_], n_bin: int) -> None:
        n_detector = len(used)
        n_cell = min(n_detector, _MAX_CELLS)
        cell = np.arange(n_detector) * n_cell // max(n_detector, 1)
        self.cell = np.where(used, cell, -1)
        self.histogram = np.zeros((N_CHORD, n_bin), np.int64)
        self.n_inside = np.zeros(n_detector, np.int64)
        self.n_random = np.zeros(n_detector)
        self.diagonal = np.zeros(n_detector)
        self.gradient = np.zeros(n_detector)
        self.coarse = np.zeros((n_cell, n_cell))


def estimate_offsets(
    passes: Passes,
    *,
    limits: ResidualRange,
    options: OffsetOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Offsets:
    """Estimate the time offset of each detector, or block of detectors, from annihilation pairs.

    The couplings of up to 2048 blocks are solved exactly in each pass. More are gathered into 2048
    cells of neighbouring labels: the cells are solved exactly and each detector within its cell by
    its own pairs, which is exact in the limit of passes since detectors of one cell face many.

    Parameters
    ----------
    passes : callable
        ``passes()`` yields the pairs in chunks, from `measure_pairs`; called several times.
    limits : ResidualRange
        The range of the residuals, from the same region and options.
    options : OffsetOptions, optional
        Blocks, cuts and stopping rule.
    progress : callable, optional
        Called as ``progress(passes_done)``; nobody knows how many it takes.

    Returns
    -------
    Offsets
        The offsets of the largest connected set of detectors, their mean zero, each detector
        counted once: a constant common to all cancels in every time difference.

    Raises
    ------
    DataError
        If there are no pairs, none of them true, or the passes do not settle.
    """
    options = options or OffsetOptions()
    label, first, chord_square = _survey(passes, limits, options)
    if progress is not None:
        progress(1)
    # The first cut is wide, for offsets far out.
    classes = measure_classes(first, limits, math.inf)
    if not classes.weight.any():
        raise DataError(
            "no annihilation pairs stand out from the random ones on LORs through the region; "
            "check the region, the energy window (select.annihilation_kev), and that the activity "
            "is there"
        )
    iteration = _Iteration(len(label))
    narrow = False
    for n_pass in range(2, options.max_passes + 1):
        sums = _Sums(iteration.used, first.shape[1])
        _add_all(sums, passes, label, iteration.offset, classes, limits, options)
        # While the cut is still on its way, true pairs may lie beside it and seem missing.
        enough = sums.diagonal > 0
        if narrow:
            enough &= _has_true_pairs(sums, options)
        good = _connected(sums, enough)
        if not good.any():
            break
        step, error = _solve(sums, good)
        size = math.sqrt(float(np.mean((step[good] / error[good]) ** 2)))
        log.info("offsets: pass %d, step %.3g of the errors, root mean square", n_pass, size)
        if progress is not None:
            progress(n_pass)
        settled = narrow and size < options.tolerance
        iteration.advance(step, error, good, final=settled)
        if settled:
            break
        # The cut follows the offsets until it is narrow; then it stays, so that the steps can end.
        if not narrow:
            among = classes if n_pass > 2 else None
            corrected = measure_classes(sums.histogram, limits, options.n_sigma, among)
            narrow = n_pass > 2 and corrected.agrees_with(classes)
            classes = corrected
    else:
        raise DataError(
            f"the offsets did not settle in {options.max_passes} passes (the last step was "
            f"{size:.2g} of their errors); the activity must fill the region evenly, or be small; "
            "otherwise give more labels one offset (block), or use a longer acquisition"
        )
    if not good.any():
        raise DataError(
            f"no detector of {len(label)} has the {options.min_pairs} true pairs an offset needs; "
            "use a longer acquisition, or give more labels one offset (block)"
        )
    measured = measure_classes(first, limits, options.n_sigma)
    corrected = measure_classes(sums.histogram, limits, options.n_sigma)
    return Offsets(
        detector=label[good],
        offset_ns=iteration.offset[good] - iteration.offset[good].mean(),
        error_ns=error[good],
        n_pairs=sums.n_inside[good],
        left_out=label[~good],
        edges_ns=np.linspace(-limits.reach_ns, limits.reach_ns, first.shape[1] + 1),
        before=first.sum(axis=0),
        after=sums.histogram.sum(axis=0),
        sigma_before_ns=sigma_without_extent(measured, chord_square),
        sigma_after_ns=sigma_without_extent(corrected, chord_square),
        random_share=float(corrected.n_random.sum() / corrected.n_inside.sum()),
        n_passes=n_pass,
    )


class _Iteration:
    """The offsets from pass to pass, with the last few steps to choose the next one from.

    Each pass proposes a step; where detectors face only few others the steps alone settle slowly.
    The combination of the last positions whose steps nearly cancel is where the steps lead to
    (D. G. Anderson, J. ACM 12 (1965) 547).
    """

    def __init__(self, n_detector: int) -> None:
        self.offset = np.zeros(n_detector)
        self.used = np.ones(n_detector, np.bool_)
        self._past: list[tuple[FloatArray, FloatArray]] = []

    def advance(
        self, step: FloatArray, error: FloatArray, good: NDArray[np.bool_], *, final: bool
    ) -> None:
        """Move the offsets on; detectors that are not good any more are left out from here on."""
        if not np.array_equal(self.used, good):
            self._past.clear()
            self.used = good
        here = self.offset.copy()
        self.offset = here + step
        if self._past and not final:
            scale = error[good]
            moved = np.stack([here - there for there, _ in self._past], axis=1)
            change = np.stack([step - earlier for _, earlier in self._past], axis=1)
            share, *_ = np.linalg.lstsq(change[good] / scale[:, None], step[good] / scale)
            self.offset = self.offset - (moved + change) @ share
        self.offset[~good] = 0.0
        self._past = [*self._past[-(_N_PAST - 1) :], (here, step)]


def _survey(
    passes: Passes, limits: ResidualRange, options: OffsetOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return labels over block, (C, H) residuals as measured, (C,) mean squares of the chords."""
    n_bin = 2 * math.ceil(limits.reach_ns / _BIN_NS)
    label = np.empty(0, np.int64)
    histogram = np.zeros(N_CHORD * n_bin, np.int64)
    n_chord, square = np.zeros((2, N_CHORD))
    for pairs in passes():
        label = np.union1d(label, pairs.detector // options.block)
        place = np.floor((pairs.residual_ns / limits.reach_ns + 1.0) * (0.5 * n_bin))
        good = (place >= 0) & (place < n_bin)
        chord = chord_class(pairs, limits)
        n_chord += np.bincount(chord, minlength=N_CHORD)
        square += np.bincount(chord, pairs.chord_mm**2, N_CHORD)
        cell = chord[good] * n_bin + place[good].astype(np.int64)
        histogram += np.bincount(cell, minlength=len(histogram))
    return label, histogram.reshape(N_CHORD, n_bin), square / np.maximum(n_chord, 1.0)


def _add_all(
    sums: _Sums,
    passes: Passes,
    label: NDArray[np.int64],
    offset: FloatArray,
    classes: ResidualClasses,
    limits: ResidualRange,
    options: OffsetOptions,
) -> None:
    for pairs in passes():
        add_pairs(
            np.searchsorted(label, pairs.detector // options.block),
            pairs.residual_ns,
            chord_class(pairs, limits),
            offset,
            sums.cell,
            classes.cut_ns,
            classes.weight,
            classes.information,
            limits.reach_ns,
            limits.flat_from_ns,
            sums.histogram,
            sums.n_inside,
            sums.n_random,
            sums.diagonal,
            sums.gradient,
            sums.coarse,
        )


def _has_true_pairs(sums: _Sums, options: OffsetOptions) -> NDArray[np.bool_]:
    """Whether a detector's pairs are more than the randoms beside the cut account for."""
    n_true = sums.n_inside - sums.n_random
    return (n_true >= options.min_pairs) & (n_true > 5.0 * np.sqrt(sums.n_random))


def _connected(sums: _Sums, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a detector belongs to the largest set of those that pairs tie together."""
    n_member = np.bincount(sums.cell[among], minlength=len(sums.coarse))
    linked = (sums.coarse > 0) & (n_member > 0)
    waiting = n_member > 0
    largest = np.zeros(len(linked), np.bool_)
    while waiting.any():
        found = np.zeros(len(linked), np.bool_)
        edge = found.copy()
        edge[np.argmax(waiting)] = True
        while edge.any():
            found |= edge
            edge = linked[edge].any(axis=0) & ~found
        waiting &= ~found
        if n_member[found].sum() > n_member[largest].sum():
            largest = found
    return np.asarray(largest[sums.cell] & among)


def _solve(sums: _Sums, good: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Return the step of each detector's offset and its standard error [ns].

    Cells are coupled; within its cell a detector follows its own pairs, the cell's mean taken off.
    """
    n_cell = len(sums.coarse)
    own = np.bincount(sums.cell[good], sums.diagonal[good], n_cell)
    pull = np.bincount(sums.cell[good], sums.gradient[good], n_cell)
    active = np.flatnonzero(own > 0)
    covariance = _inverse_laplacian(sums.coarse[np.ix_(active, active)])
    step_of, variance_of, mean_of = np.zeros((3, n_cell))
    step_of[active] = covariance @ pull[active]
    variance_of[active] = np.diag(covariance) - 1.0 / own[active]
    mean_of[active] = pull[active] / own[active]
    cell, diagonal = sums.cell[good], sums.diagonal[good]
    step, error = np.zeros((2, len(good)))
    step[good] = step_of[cell] + sums.gradient[good] / diagonal - mean_of[cell]
    error[good] = np.sqrt(np.maximum(variance_of[cell] + 1.0 / diagonal, 0.0))
    return step, error


def _inverse_laplacian(coupling: FloatArray) -> FloatArray:
    """Return the pseudo-inverse of the Laplacian of a connected graph: solutions of mean zero."""
    n = len(coupling)
    laplacian = np.diag(coupling.sum(axis=1)) - coupling
    if n < 2:
        return np.zeros((n, n))
    # The constant vector has eigenvalue zero: give it that of a typical detector for the while.
    scale = float(np.trace(laplacian)) / n
    constant = np.full((n, n), 1.0 / n)
    return np.asarray(np.linalg.inv(laplacian + scale * constant) - constant / scale)
