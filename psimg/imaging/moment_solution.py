"""From three moments of dt in a window to the mean life of o-Ps and its share, in each voxel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.imaging.moments import WindowMoments, quadratic_squared

FloatArray = NDArray[np.float64]

LEAST_APART_NS = 0.05
"""Least difference of the mean of u of o-Ps and of the fast group at which they are told apart."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Table:
    """What fixes tau and the share in the window, at M mean lives with a rising ratio."""

    tau_ns: FloatArray
    ratio: FloatArray
    """(M,) (o2 - f2)/(o1 - f1) [ns]."""
    o1: FloatArray
    """(M,) mean of u of the o-Ps group [ns]."""
    seen: FloatArray
    """(M,) share of the o-Ps group that the window holds."""
    f1: float
    f2: float
    seen_fast: float


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Solved:
    """Images of what moments tell; NaN where they tell nothing."""

    tau_ns: FloatArray
    tau_error_ns: FloatArray
    share: FloatArray
    """Of the o-Ps group among all decays."""
    share_error: FloatArray
    counts: FloatArray
    """True triplets, those beyond the window included."""
    inside: NDArray[np.bool_]


def make_table(window: WindowMoments, tau_ns: float) -> Table:
    """Tabulate a window about the mean life of all events."""
    f1, f2 = window.fast[1:3] / window.fast[0]
    o1, o2 = window.ops[:, 1] / window.ops[:, 0], window.ops[:, 2] / window.ops[:, 0]
    apart = o1 - f1
    ratio = (o2 - f2) / np.where(apart > LEAST_APART_NS, apart, np.nan)
    # The stretch about the mean life of all events on which the ratio rises. What comes along with
    # o-Ps makes it fall for the shortest lives, and the window's end for lives far beyond it.
    rises = np.diff(ratio) > 0
    cell = int(np.clip(np.searchsorted(window.tau_ns, tau_ns) - 1, 0, len(rises) - 1))
    falls = np.flatnonzero(~rises)
    low = int(falls[falls < cell].max(initial=-1)) + 1
    part = slice(low, int(falls[falls > cell].min(initial=len(rises))) + 1)
    return Table(
        tau_ns=window.tau_ns[part],
        ratio=ratio[part],
        o1=o1[part],
        seen=window.ops[part, 0],
        f1=float(f1),
        f2=float(f2),
        seen_fast=float(window.fast[0]),
    )


def solve(table: Table, moments: FloatArray, scatter: FloatArray) -> Solved:
    """Solve for tau and share in each voxel; moments and scatter are images of u^0, u^1, ..."""
    with np.errstate(all="ignore"):  # voxels with nothing true become NaN, and a status
        m0 = np.where(moments[0] > 0, moments[0], np.nan)
        m1, m2 = moments[1:] / m0
        apart = np.where(m1 > table.f1, m1 - table.f1, np.nan)
        ratio = (m2 - table.f2) / apart

        def at(column: FloatArray) -> FloatArray:
            found = np.interp(ratio, table.ratio, column, left=np.nan, right=np.nan)
            return np.asarray(found)

        tau, o1, e = at(table.tau_ns), at(table.o1), table.seen_fast / at(table.seen)
        per_ratio = at(np.gradient(table.tau_ns, table.ratio))
        far = o1 - table.f1
        p = apart / far
        inside = p <= 1.0
        d_tau = tau_influence(moments, table.f1, table.f2, ratio, per_ratio)
        o1_slope = at(np.gradient(table.o1, table.tau_ns))
        of_m1 = (-m1 / m0, 1.0 / m0, np.zeros_like(m0))
        d_p = [(x - p * o1_slope * y) / far for x, y in zip(of_m1, d_tau, strict=True)]
        # From the share in the window to that of all decays: e is the fast group's chance to be
        # in the window over that of o-Ps.
        norm = 1.0 - p + p * e
        e_slope = at(np.gradient(table.seen_fast / table.seen, table.tau_ns))
        d_share = [
            (e * x + p * (1.0 - p) * e_slope * y) / norm**2 for x, y in zip(d_p, d_tau, strict=True)
        ]
        return Solved(
            tau_ns=tau,
            tau_error_ns=_spread(d_tau, scatter),
            share=p * e / norm,
            share_error=_spread(d_share, scatter),
            counts=m0 * norm / table.seen_fast,
            inside=inside,
        )


def tau_influence(
    moments: FloatArray, f1: float, f2: float, ratio: FloatArray, per_ratio: FloatArray
) -> list[FloatArray]:
    """Return what an event at u adds to tau, as the coefficients of u^0, u^1 and u^2.

    The ratio is (M2 - f2 M0)/(M1 - f1 M0): an event adds u^2 - f2 above and u - f1 below.
    """
    scale = per_ratio / (moments[1] - f1 * moments[0])
    return [scale * (ratio * f1 - f2), -scale * ratio, scale]


def _spread(influence: list[FloatArray], scatter: FloatArray) -> FloatArray:
    """Return the error of what events add ``influence`` to."""
    variance = sum(q * s for q, s in zip(quadratic_squared(*influence), scatter, strict=True))
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
