"""Moments of dt in a window: what decays and randoms have, and images of what events have.

All moments are of u = dt - start of the window, which is never negative, so that images of events
weighted by powers of u can be made by expectation maximisation like any image of activity.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.imaging.time_shapes import TimeShapes
from psimg.lifetime.groups import seen_shares, two_groups

FloatArray = NDArray[np.float64]

N_MOMENT = 5
"""Powers 0 to 4: the squares of second moments are in their errors."""
_FINE_NS = 0.01
"""Widest bin that moments are summed over: taking its events as spread evenly is wrong by
w^2 f'/12, 1e-5 ns, and the rises and falls of a peak cancel [ns]."""
_N_NODE = 193
_PEAK_SIGMA = 5.0
"""Widths of the response before its mean at which the window of decays starts."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class WindowMoments:
    """Sums of u^k, k = 0 to 4, over what of one event of the spectrum falls in a window."""

    first: int
    """First time bin of the window."""
    stop: int
    """Time bin after the last."""
    start_ns: float
    """Where u is zero [ns]."""
    tau_ns: FloatArray
    """(M,) rising mean lives of o-Ps [ns]."""
    ops: FloatArray
    """(M, 5) of the o-Ps group at each."""
    fast: FloatArray
    """(5,) of the fast group."""
    unrelated: FloatArray
    """(5,) of unrelated randoms."""
    class_2: FloatArray
    """(5,) of prompt-correlated randoms."""

    def __post_init__(self) -> None:
        freeze(
            self,
            tau_ns=(np.float64, len(self.tau_ns)),
            ops=(np.float64, len(self.tau_ns), N_MOMENT),
            fast=(np.float64, N_MOMENT),
            unrelated=(np.float64, N_MOMENT),
            class_2=(np.float64, N_MOMENT),
        )

    def of_all(self, shapes: TimeShapes) -> FloatArray:
        """Return the (5,) moments of a true triplet, as all events have them."""
        g, at = shapes.start_share, shapes.start_tau_ns
        ops = [np.interp(at, self.tau_ns, column) for column in self.ops.T]
        return np.asarray((1.0 - g) * self.fast + g * np.array(ops))


def peak_bin(shapes: TimeShapes) -> int:
    """Return the first time bin that holds decays; those before it hold randoms only."""
    _, mus, sigmas = shapes.model.response.table.T
    low = float((mus - _PEAK_SIGMA * sigmas).min())
    return max(int(np.searchsorted(shapes.edges_ns, low + 1e-9, side="right")) - 1, 0)


def window_moments(
    shapes: TimeShapes, *, first: int, stop: int, tau_ns: FloatArray | None = None
) -> WindowMoments:
    """Work out the moments of decays and randoms in some time bins.

    Parameters
    ----------
    shapes : TimeShapes
        The model, and the shapes of randoms, which are taken as even within a time bin.
    first, stop : int
        First time bin, and the one after the last.
    tau_ns : (M,) array, optional
        Mean lives of o-Ps; over the range of the model when left out [ns].

    Returns
    -------
    WindowMoments
        Moments, right to 1e-4 ns.
    """
    if tau_ns is None:
        tau_ns = np.exp(np.linspace(shapes.log_tau[0], shapes.log_tau[-1], _N_NODE))
    edges = shapes.edges_ns[first : stop + 1]
    n_fine = np.maximum(np.ceil(np.diff(edges) / _FINE_NS).astype(int), 1)
    fine = np.concatenate(
        [np.linspace(a, b, n, endpoint=False)
         for a, b, n in zip(edges[:-1], edges[1:], n_fine, strict=True)]
        + [edges[-1:]]
    )  # fmt: skip
    u = 0.5 * (fine[:-1] + fine[1:]) - edges[0]
    powers = u[:, None] ** np.arange(N_MOMENT)
    model = shapes.model
    response = model.response.table
    fast_link, ops_link = two_groups(model, shapes.calibration)
    decays = np.stack(
        [seen_shares(fine, c.tau_ns, c.spread, response)[0] @ powers for c in model.components]
    )
    fellows = ops_link.copy()
    fellows[model.ops] = 0.0
    spread = model.components[model.ops].spread
    ops = np.stack([seen_shares(fine, t, spread, response)[0] @ powers for t in tau_ns])
    even = np.add.reduceat(powers, np.cumsum(n_fine) - n_fine) / n_fine[:, None]
    return WindowMoments(
        first=first,
        stop=stop,
        start_ns=float(edges[0]),
        tau_ns=tau_ns,
        ops=fellows @ decays / ops_link.sum() + shapes.ops_weight * ops,
        fast=fast_link @ decays,
        unrelated=shapes.unrelated[first:stop] @ even,
        class_2=shapes.class_2[first:stop] @ even,
    )


def group_means(shapes: TimeShapes, tau_ns: FloatArray) -> tuple[float, FloatArray]:
    """Return the mean life of the fast group, and (M,) of the o-Ps group, without a window [ns]."""
    model = shapes.model
    fast_link, ops_link = two_groups(model, shapes.calibration)
    lives = np.array([c.tau_ns for c in model.components])
    fellows = ops_link.copy()
    fellows[model.ops] = 0.0
    ops = fellows @ lives / ops_link.sum() + shapes.ops_weight * tau_ns
    return float(fast_link @ lives), ops


def quadratic_squared(a: FloatArray, b: FloatArray, c: FloatArray) -> list[FloatArray]:
    """Return the coefficients of (a + b u + c u^2)^2, of u^0 to u^4."""
    return [a * a, 2.0 * a * b, b * b + 2.0 * a * c, 2.0 * b * c, c * c]
