"""What is known of dt before an image is made: shapes of the groups and of randoms, in time bins.

A voxel tells two groups of decays apart (`psimg.lifetime.groups`): fast decays of one fixed shape,
and o-Ps with what comes along with it. Images need fewer time bins than spectra: where a shape
changes slowly, bins are joined.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import SettingsError
from psimg.core.maps import FitStatus
from psimg.lifetime.groups import class_2_shape, seen_shares, two_groups
from psimg.lifetime.model import LifetimeModel, require_free_ops
from psimg.lifetime.values import SpectrumFit
from psimg.spectra.randoms import flat_shape

FloatArray = NDArray[np.float64]

_N_NODE = 97
"""Mean lives at which the shape of o-Ps is tabulated, equally spaced in the logarithm: over a
factor of 40 the cubic between two of them is right to some 1e-8."""
_PEAK_SIGMA = 5.0
"""Widths of the response about its mean within which bins stay narrow."""
_PEAK_BIN = 1.0
"""Widest bin there, in widths of the response."""
_TAIL_GROWTH = 0.25
"""Share by which bins of the tail grow with the time since the peak: an exponential that is cut
into bins of 0.3 mean lives loses 0.3**2/24 = 0.4 % of its information."""
_RANDOM_BIN_NS = 2.5
"""Widest bin, for times at which there are randoms only [ns]."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TimeShapes:
    """Shares of each group in T time bins."""

    edges_ns: FloatArray
    """(T+1,) rising edges [ns]."""
    fast: FloatArray
    """(T,) of an event of the fast group; sums to what of it is in the spectrum."""
    unrelated: FloatArray
    """(T,) of randoms whose prompt is of another decay; sums to one."""
    class_2: FloatArray
    """(T,) of prompt-correlated randoms; sums to one, or all zero where there are none."""
    log_tau: FloatArray
    """(M,) equally spaced logarithms of the mean life of o-Ps [ln ns]."""
    ops: FloatArray
    """(M, T) of an event of the o-Ps group at each of them."""
    d_ops: FloatArray
    """(M, T) its derivative in ln tau."""
    start_tau_ns: float
    """Mean life of o-Ps over all events [ns]."""
    start_share: float
    """Share of the o-Ps group in the signal of all events."""
    ops_weight: float
    """o-Ps decays in one event of the o-Ps group."""
    model: LifetimeModel
    """The model that the shapes are of, its response known."""
    calibration: SpectrumFit | None = None
    """The fit of all events that the mixture of the fast decays is from."""

    def __post_init__(self) -> None:
        n_bin, n_node = len(self.fast), len(self.log_tau)
        freeze(
            self,
            edges_ns=(np.float64, n_bin + 1),
            fast=(np.float64, n_bin),
            unrelated=(np.float64, n_bin),
            class_2=(np.float64, n_bin),
            log_tau=(np.float64, n_node),
            ops=(np.float64, n_node, n_bin),
            d_ops=(np.float64, n_node, n_bin),
        )

    @property
    def intensity_weight(self) -> float:
        """Share of the sample's positrons in o-Ps for a share of one of the o-Ps group."""
        return self.ops_weight / (1.0 - self.model.source_share)

    @property
    def n_bin(self) -> int:
        """T."""
        return len(self.fast)

    def time_bin(self, dt_ns: NDArray[np.floating]) -> NDArray[np.int16]:
        """Return the (N,) time bin of each dt; -1 or T outside."""
        bins = np.searchsorted(self.edges_ns, dt_ns, side="right").astype(np.int16)
        bins -= 1
        return bins

    def ops_at(self, tau_ns: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (V, T) shape of the o-Ps group at V mean lives, and its slope in ln tau.

        Mean lives beyond the nodes are taken as the last of them.
        """
        step = self.log_tau[1] - self.log_tau[0]
        place = (np.log(np.atleast_1d(tau_ns)) - self.log_tau[0]) / step
        place = np.clip(place, 0.0, len(self.log_tau) - 1.0)
        cell = np.minimum(place.astype(int), len(self.log_tau) - 2)
        t = (place - cell)[:, None]
        p0, p1 = self.ops[cell], self.ops[cell + 1]
        s0, s1 = self.d_ops[cell] * step, self.d_ops[cell + 1] * step
        rise, bend = p1 - p0, s0 + s1 - 2.0 * (p1 - p0)
        value = p0 + t * (s0 + t * (rise - s0 - bend + t * bend))
        slope = s0 + t * (2.0 * (rise - s0 - bend) + t * 3.0 * bend)
        return value, slope / step


def require_two_groups(shapes: TimeShapes) -> None:
    """Raise `SettingsError` where all decays are one group: moments then have nothing to split."""
    if not shapes.fast.any():
        raise SettingsError(
            "model.intensities = 'fixed' leaves one group of decays, and moments need the fast "
            "ones apart; use another rule, or recon.method = 'em', 'penalised' or 'regions'"
        )


def make_shapes(
    edges_ns: FloatArray,
    *,
    model: LifetimeModel,
    calibration: SpectrumFit | None = None,
    unrelated: FloatArray | None = None,
    joined: bool = True,
) -> TimeShapes:
    """Work out the shapes that an image is made with.

    Parameters
    ----------
    edges_ns : (B+1,) array
        Edges of the spectrum's bins [ns].
    model : LifetimeModel
        The model; its response must be known and only the o-Ps lifetime free.
    calibration : SpectrumFit, optional
        A fit of all events, on the same edges: the mixture of the fast decays, the shape of class
        II, and where to start.
    unrelated : (B,) array, optional
        Shares of the unrelated randoms in each bin; flat when left out.
    joined : bool
        Whether bins are joined where shapes change slowly.

    Returns
    -------
    TimeShapes
        Shapes in the joined bins.

    Raises
    ------
    SettingsError
        If the response is not known, or a mean life other than that of o-Ps is free.
    """
    require_free_ops(model)
    if not model.response.known:
        raise SettingsError(
            "images are made with a known response; calibrate it on all events first, or set "
            "model.response"
        )
    if any(c.free for k, c in enumerate(model.components) if k != model.ops):
        raise SettingsError("images are made with only the o-Ps lifetime free; fix the others")
    response = model.response.table
    fast_link, ops_link = two_groups(model, calibration)
    ops = model.components[model.ops]
    edges = join_bins(edges_ns, response) if joined else np.asarray(edges_ns, np.float64)
    of_bin = np.searchsorted(edges, edges_ns[:-1] + 1e-9, side="right") - 1

    def summed(shares: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(of_bin, shares, minlength=len(edges) - 1), np.float64)

    shares = np.stack(
        [seen_shares(edges, c.tau_ns, c.spread, response)[0] for c in model.components]
    )
    shortest, longest = np.log(ops.range_ns)
    log_tau = np.linspace(shortest, longest, _N_NODE)
    total, others = ops_link.sum(), ops_link.copy()
    others[model.ops] = 0.0
    weight = ops_link[model.ops] / total
    nodes = np.stack([seen_shares(edges, t, ops.spread, response) for t in np.exp(log_tau)])
    ok = calibration is not None and calibration.status == FitStatus.OK
    tau, share = ops.tau_ns, 0.5
    if calibration is not None and ok:
        tau = float(np.clip(calibration.tau_ops_ns, *ops.range_ns))
        of_all = calibration.intensity_ops * (1.0 - model.source_share)
        share = float(np.clip(of_all / weight, 0.01, 1.0))
    class_2 = class_2_shape(model, calibration)
    flat = flat_shape(edges_ns) if unrelated is None else np.asarray(unrelated)
    return TimeShapes(
        edges_ns=edges,
        fast=fast_link @ shares,
        unrelated=summed(flat),
        class_2=np.zeros(len(edges) - 1) if class_2 is None else summed(class_2),
        log_tau=log_tau,
        ops=others @ shares / total + weight * nodes[:, 0],
        d_ops=weight * nodes[:, 1] * np.exp(log_tau)[:, None],
        start_tau_ns=tau,
        start_share=share,
        ops_weight=float(weight),
        model=model,
        calibration=calibration,
    )


def join_bins(edges_ns: FloatArray, response: FloatArray) -> FloatArray:
    """Return a subset of edges that tells nearly as much of the mean life of o-Ps.

    Bins stay narrow about the peak and grow with the time since it; before the peak there are only
    randoms.

    Parameters
    ----------
    edges_ns : (B+1,) array
        Rising edges [ns].
    response : (G, 3) array
        Weight, mean and width of the response's Gaussians [ns].
    """
    _, mus, sigmas = response.T
    low, high = (mus - _PEAK_SIGMA * sigmas).min(), (mus + _PEAK_SIGMA * sigmas).max()
    kept = [float(edges_ns[0])]
    for edge, following in pairwise(edges_ns[1:]):
        start = kept[-1]
        if start < low:
            most = min(_RANDOM_BIN_NS, max(low - start, _PEAK_BIN * sigmas.min()))
        else:
            most = max(_PEAK_BIN * sigmas.min(), _TAIL_GROWTH * (start - high))
        # Join on while the next edge still lies within the widest bin from the last one.
        if following - start > most * (1 + 1e-9):
            kept.append(float(edge))
    return np.array([*kept, float(edges_ns[-1])])
