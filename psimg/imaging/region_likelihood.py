"""The likelihood of regions as a function of their parameters, and its maximum."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.imaging import _regions
from psimg.imaging.time_shapes import TimeShapes

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]

_BLOCK = 8192
"""Events that are summed before they are added to others."""
_SLOPE_STEP = 0.02
"""Step in ln tau over which the slope of the o-Ps shape is compared for its second derivative."""
_MOST_TRIES = 12
"""Times that a step is damped further before the maximum is given up."""
_LEAST = 1e-300
_SAME = 1e-9
"""Rise of the log-likelihood, as a share of one event, that a maximum is within."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Mixture:
    """Events and what can send into them: K terms, each with triplets and randoms."""

    blocks: NDArray[np.int64]
    """(L, 3) time bin, first event and the one after the last."""
    first: NDArray[np.int64]
    """(N+1,) where the terms of each event begin."""
    term: NDArray[np.uint16]
    """(E,) terms that reach an event."""
    share: SingleArray
    """(E,) what one triplet of the term sends into its line."""
    base: SingleArray
    """(N,) expected randoms in the line and time bin of each event."""
    weight: SingleArray
    """(N,) weight of each event; (0,) for ones."""
    shapes: TimeShapes
    n_term: int
    """K."""

    @property
    def n_event(self) -> float:
        """Events, or the sum of their weights."""
        return float(self.weight.sum()) if len(self.weight) else float(len(self.base))

    def split(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return (K,) triplets, (K,) unrelated randoms, (K,) shares of the o-Ps group and (K,)
        logarithms of mean lives.
        """
        triplets, randoms, share, log_tau = x.reshape(4, self.n_term)
        return triplets, randoms, share, log_tau


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Sums:
    log_sum: float
    linear: FloatArray
    square: FloatArray
    """(K, K, T)."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Maximum:
    """Where the likelihood is largest."""

    x: FloatArray
    """(P,) parameters."""
    covariance: FloatArray
    """(P, P) inverse of the observed information; zero for parameters at a bound."""
    converged: bool
    """Whether no step raises the likelihood further."""
    trace: FloatArray
    """(I,) log-likelihood after each step, up to a constant."""


def build_mixture(
    projections: list[SingleArray],
    base: SingleArray,
    *,
    spans: list[slice],
    shapes: TimeShapes,
    weight: SingleArray | None = None,
) -> Mixture:
    """Keep what reaches the events.

    Parameters
    ----------
    projections : list of K (N,) arrays
        What one triplet of each term sends into the line of each event.
    base : (N,) array
        Expected randoms.
    spans : list of T slices
        Events of each time bin.
    shapes : TimeShapes
        Shapes in time.
    weight : (N,) array, optional
        Weight of each event.
    """
    n = len(base)
    number = np.zeros(n, np.int64)
    for projection in projections:
        number += projection > 0
    first = np.concatenate([[0], np.cumsum(number)])
    term, share = np.empty(first[-1], np.uint16), np.empty(first[-1], np.float32)
    place = first[:-1].copy()
    for k, projection in enumerate(projections):
        rows = np.flatnonzero(projection > 0)
        term[place[rows]], share[place[rows]] = k, projection[rows]
        place[rows] += 1
    blocks = [
        (t, start, min(start + _BLOCK, span.stop))
        for t, span in enumerate(spans)
        for start in range(span.start, span.stop, _BLOCK)
    ]
    return Mixture(
        blocks=np.array(blocks, np.int64).reshape(-1, 3),
        first=first,
        term=term,
        share=share,
        base=np.ascontiguousarray(base, np.float32),
        weight=np.zeros(0, np.float32) if weight is None else weight,
        shapes=shapes,
        n_term=len(projections),
    )


def coefficients(mixture: Mixture, x: FloatArray) -> FloatArray:
    """Return the (K, T) expected events of each term in each time bin, randoms among them."""
    triplets, randoms, share, log_tau = mixture.split(x)
    ops, _ = mixture.shapes.ops_at(np.exp(log_tau))
    shape = (1.0 - share[:, None]) * mixture.shapes.fast + share[:, None] * ops
    return np.asarray(triplets[:, None] * shape + randoms[:, None] * mixture.shapes.unrelated)


def log_likelihood(mixture: Mixture, x: FloatArray) -> float:
    """Return the extended log-likelihood up to a constant."""
    table = coefficients(mixture, x)
    return _add(mixture, table, squared=False).log_sum - float(table.sum())


def derivatives(
    mixture: Mixture, x: FloatArray
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """Return value, gradient, observed information, and the part of it that is never negative.

    The information is minus the second derivative; the other matrix is the sum of outer products
    of the events' gradients.
    """
    table = coefficients(mixture, x)
    sums = _add(mixture, table, squared=True)
    # Expected events are the sum of the table: one less than each event's share.
    excess = sums.linear - 1.0
    triplets, _, share, log_tau = mixture.split(x)
    shapes, k = mixture.shapes, mixture.n_term
    tau, a, s = np.exp(log_tau), triplets[:, None], share[:, None]
    ops, slope = shapes.ops_at(tau)
    above = shapes.ops_at(tau * np.exp(_SLOPE_STEP))[1]
    bend = (above - shapes.ops_at(tau * np.exp(-_SLOPE_STEP))[1]) / (2.0 * _SLOPE_STEP)
    step = np.concatenate(
        [
            (1.0 - s) * shapes.fast + s * ops,
            np.tile(shapes.unrelated, (k, 1)),
            a * (ops - shapes.fast),
            a * s * slope,
        ]
    )
    owner = np.tile(np.arange(k), 4)
    gradient = (excess[owner] * step).sum(axis=1)
    outer = np.einsum("pt,qt,pqt->pq", step, step, sums.square[owner][:, owner], optimize=True)
    curved = np.zeros_like(outer)
    of_triplets, _, of_share, of_tau = np.arange(4 * k).reshape(4, k)
    for i, j, second in (
        (of_triplets, of_share, ops - shapes.fast),
        (of_triplets, of_tau, s * slope),
        (of_share, of_tau, a * slope),
        (of_tau, of_tau, a * s * bend),
    ):
        curved[i, j] = curved[j, i] = (excess * second).sum(axis=1)
    return sums.log_sum - float(table.sum()), gradient, outer - curved, outer


def spread_events(mixture: Mixture, *, passes: int = 20) -> FloatArray:
    """Return (K,) events of each term by expectation maximisation, whatever their time."""
    count = np.full(mixture.n_term, mixture.n_event / mixture.n_term)
    n_bin = mixture.shapes.n_bin
    for _ in range(passes):
        table = np.tile(count[:, None], (1, n_bin))
        count = count * _add(mixture, table, squared=False).linear.sum(axis=1)
    return count


def start_values(mixture: Mixture, *, randoms: FloatArray, passes: int = 20) -> FloatArray:
    """Return where to start: lifetimes of all events, triplets by expectation maximisation."""
    k, shapes = mixture.n_term, mixture.shapes
    x = np.concatenate(
        [
            np.full(k, max(mixture.n_event - randoms.sum(), 1.0) / k),
            randoms,
            np.full(k, np.clip(shapes.start_share, 0.05, 0.95)),
            np.full(k, np.log(shapes.start_tau_ns)),
        ]
    )
    for _ in range(passes):
        triplets = coefficients(mixture, x) - randoms[:, None] * shapes.unrelated
        linear = _add(mixture, coefficients(mixture, x), squared=False).linear
        seen = np.maximum(triplets.sum(axis=1), _LEAST)
        x[:k] *= (linear * triplets).sum(axis=1) / seen
    return x


def maximise(
    mixture: Mixture,
    x: FloatArray,
    *,
    low: FloatArray,
    high: FloatArray,
    most_steps: int = 100,
) -> Maximum:
    """Find the maximum within bounds.

    Newton's steps, damped as K. Levenberg (Quart. Appl. Math. 2 (1944) 164) and with the sum of
    outer products where the likelihood is not concave, among the parameters that are not held at a
    bound. A pass over all events gives value, slope and curvature at once, which no minimiser of
    scipy with bounds makes use of: those take several times the passes.

    Parameters
    ----------
    mixture : Mixture
        Events and terms.
    x : (P,) array
        Where to start.
    low, high : (P,) array
        Bounds; a parameter between two equal ones is known.
    most_steps : int
        Steps after which it has not converged.
    """
    x, damping, trace = np.clip(x, low, high), 1e-3, []
    value, gradient, information, outer = derivatives(mixture, x)
    for _ in range(most_steps):
        trace.append(value)
        held = ((x <= low) & (gradient <= 0)) | ((x >= high) & (gradient >= 0)) | (low == high)
        free = np.flatnonzero(~held)
        if not len(free):
            return _maximum(x, information, free, trace, converged=True)
        for _ in range(_MOST_TRIES):
            step, gain = _step(gradient, information, outer, free, damping)
            if gain < _SAME:
                return _maximum(x, information, free, trace, converged=True)
            tried = np.clip(x + step, low, high)
            rise = log_likelihood(mixture, tried) - value
            if rise > 0:
                break
            damping = max(4.0 * damping, 1e-6)
        else:
            # Rounding of the sum over events hides a smaller rise.
            return _maximum(x, information, free, trace, converged=bool(gain < 1e-4))
        damping = damping / 8.0 if rise > 0.5 * gain else damping
        x = tried
        value, gradient, information, outer = derivatives(mixture, x)
    return _maximum(x, information, free, trace, converged=False)


def _maximum(
    x: FloatArray,
    information: FloatArray,
    free: NDArray[np.int64],
    trace: list[float],
    *,
    converged: bool,
) -> Maximum:
    """Invert the information of free parameters, scaled so that none is small for its unit."""
    covariance = np.zeros_like(information)
    block = np.ix_(free, free)
    diagonal = np.diag(information)[free]
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, np.inf))
    covariance[block] = np.linalg.pinv(
        information[block] * np.outer(scale, scale), hermitian=True
    ) * np.outer(scale, scale)
    return Maximum(x=x, covariance=covariance, converged=converged, trace=np.array(trace))


def _step(
    gradient: FloatArray,
    information: FloatArray,
    outer: FloatArray,
    free: NDArray[np.int64],
    damping: float,
) -> tuple[FloatArray, float]:
    """Return a step among free parameters, and the rise that it promises."""
    diagonal = np.diag(outer)[free]
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    block = np.ix_(free, free)
    slope = gradient[free] * scale
    for matrix in (information, outer):
        scaled = matrix[block] * np.outer(scale, scale)
        scaled[np.diag_indices_from(scaled)] += damping + 1e-10
        try:
            factor = np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            continue
        break
    else:
        factor = np.sqrt(np.diag(np.abs(np.diag(scaled)) + 1.0))
    half = np.linalg.solve(factor, slope)
    step = np.zeros(len(gradient))
    step[free] = scale * np.linalg.solve(factor.T, half)
    return step, 0.5 * float(half @ half)


def _add(mixture: Mixture, table: FloatArray, *, squared: bool) -> _Sums:
    n_block, k, n_bin = len(mixture.blocks), mixture.n_term, mixture.shapes.n_bin
    log_sum, linear = np.zeros(n_block), np.zeros((n_block, k))
    square = np.zeros((n_block, k, k) if squared else (n_block, 0, 0))
    _regions.add_events(
        mixture.blocks, mixture.first, mixture.term, mixture.share, mixture.base, mixture.weight,
        table, log_sum, linear, square,
    )  # fmt: skip
    of_bin = mixture.blocks[:, 0]
    total = np.zeros((k, n_bin))
    np.add.at(total.T, of_bin, linear)
    lower = np.zeros((n_bin, k, k) if squared else (0, 0, 0))
    if squared:
        np.add.at(lower, of_bin, square)
        lower += np.tril(lower, -1).transpose(0, 2, 1)
    return _Sums(log_sum=float(log_sum.sum()), linear=total, square=lower.transpose(1, 2, 0))


def members(mixture: Mixture, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (K,) events that belong to each term, and the randoms expected among them.

    An event belongs to terms in the shares in which they send events into its line at any time.
    """
    triplets, randoms, _, _ = mixture.split(x)
    found, noise = np.zeros((2, len(mixture.blocks), mixture.n_term))
    _regions.add_members(
        mixture.blocks, mixture.first, mixture.term, mixture.share, mixture.base, mixture.weight,
        coefficients(mixture, x), triplets + randoms, randoms[:, None] * mixture.shapes.unrelated,
        found, noise,
    )  # fmt: skip
    return found.sum(axis=0), noise.sum(axis=0)
