"""A fast map of the effective o-Ps lifetime: the rate of the tail of dt in each voxel."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.maps import FitStatus
from psimg.imaging.mlem import Progress
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.random_images import find_randoms
from psimg.imaging.time_shapes import TimeShapes
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction
from psimg.imaging.weighted import events_of, maps_of, scatter_of

FloatArray = NDArray[np.float64]

_FAST = 0.01
"""Fast decays per o-Ps decay at which the tail starts; they die out fast, and a tail with 0.2 % of
them is 3 ps too short."""
_PRIOR = 2.0
"""Events that the prior is worth."""
_N_STEP = 30
_LONGEST = 1.0
"""Largest change of the logarithm of the rate in one step."""


def reconstruct_rate(
    data: ImageData,
    *,
    options: ReconOptions,
    weights: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Estimate the mean life of o-Ps from the tail of each voxel, in one pass over the triplets.

    Conjugate Gamma posterior of the decay rate with events shared among voxels by a known
    activity (B. Uluutku et al., arXiv:2604.09804). Beyond a t0 where the fast decays have died, dt
    - t0 is exponential. One expectation step shares each event of the tail among voxels by what is
    expected of them, randoms r included, c_ij = H_ij (x + r)_j / sum_k H_ik (x + r)_k, so that

        n_j = sum_i c_ij - r_j,    S_j = sum_i c_ij (dt_i - t0) - r_j (mean of randoms),

    and with the tail cut off at a length L and a prior of k events of the mean life of all events,

        rate_j = (k + n_j)/(k tau_0 + S_j + n_j L/(exp(rate_j L) - 1)),

    where the last term stands for the time that decays beyond L would have added. It is the
    maximum of the posterior in ln rate. L is the length that tells most in all events.

    The step does not undo the blur: a voxel's mean life is one over what events that may be its
    own come from, and contrasts are too low in anything smaller than the time of flight tells.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        Randoms, resolution and the smallest number of events.
    weights : (N,) float32 array, optional
        Weight of each event in the order of the list mode, for a bootstrap.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.

    Returns
    -------
    Reconstruction
        ``tau_ops`` [ns]; AT_BOUND where the randoms taken off leave nothing, or the mean life is
        beyond the model's range. Errors hold the scatter of dt of the events that a voxel shares
        and the prior; they leave out the blur and the errors of activity and randoms.

    Raises
    ------
    SettingsError
        If the spectrum has no tail, or there is no estimate of the randoms.
    """
    shapes, grid = data.shapes, data.grid
    randoms = find_randoms(data, options=options, weights=weights)
    n_all = float(len(data.triplets) if weights is None else weights.sum(dtype=np.float64))
    n_random = float(randoms.unrelated.sum() + randoms.class_2.sum())
    counts = np.maximum(data.activity, 0.0).astype(np.float64)
    counts *= max(n_all - n_random, 0.0) / max(counts.sum(), 1e-30)
    first, stop = _tail(shapes, n_true=counts.sum(), n_unrelated=float(randoms.unrelated.sum()))
    start_ns, stop_ns = shapes.edges_ns[[first, stop]]
    middle = 0.5 * (shapes.edges_ns[first:stop] + shapes.edges_ns[first + 1 : stop + 1]) - start_ns
    bins = slice(first, stop)
    random = [
        randoms.unrelated * (shapes.unrelated[bins] @ power)
        + randoms.class_2 * (shapes.class_2[bins] @ power)
        for power in (np.ones(stop - first), middle)
    ]
    events = events_of(data, weights, first, stop)
    projector = Projector(events.lines, resolution_mm=options.resolution_mm)
    u = np.maximum(events.dt_ns - start_ns, 0.0)
    field = to_field(counts * _share_in(shapes, bins) + random[0], grid)
    sums = []
    for k in range(2):
        ratio, _ = projector.back_project_ratio(
            field, weights=(events.weights * u**k).astype(np.float32)
        )
        sums.append(to_image(field * ratio, grid) - random[k])
    scatter = scatter_of(projector, field, events, u, 3)
    tau, error = _posterior(
        sums[0], sums[1], scatter, length=float(stop_ns - start_ns), tau_ns=shapes.start_tau_ns
    )
    shortest, longest = np.exp(shapes.log_tau[[0, -1]])
    inside = (sums[0] > 0) & (tau >= shortest) & (tau <= longest)
    status = np.where(inside, FitStatus.OK, FitStatus.AT_BOUND).astype(np.uint8)
    status[~(counts >= options.min_counts)] = FitStatus.TOO_FEW_COUNTS
    if progress is not None:
        progress(1, 1)
    return Reconstruction(
        maps=maps_of(grid, {"tau_ops": ("ns", tau, error)}, status=status, held=counts > 0),
        counts=counts.astype(np.float32),
        trace=np.zeros(0),
    )


def _share_in(shapes: TimeShapes, bins: slice) -> float:
    """Return the share of all decays in some time bins, as all events have it."""
    g = shapes.start_share
    ops = shapes.ops_at(np.array([shapes.start_tau_ns]))[0][0]
    return float((1.0 - g) * shapes.fast[bins].sum() + g * ops[bins].sum())


def _tail(shapes: TimeShapes, *, n_true: float, n_unrelated: float) -> tuple[int, int]:
    """Return the first time bin of the tail, and the one after the last that helps."""
    tau = shapes.start_tau_ns
    ops = shapes.start_share * shapes.ops_at(np.array([tau]))[0][0]
    fast = (1.0 - shapes.start_share) * shapes.fast
    _, mus, sigmas = shapes.model.response.table.T
    late = shapes.edges_ns[:-1] > (mus + 5.0 * sigmas).max()
    tail = late & (fast < _FAST * ops)
    if not tail.any():
        raise SettingsError(
            "the spectrum ends before its fast decays have died, and recon.method = 'rate' needs "
            "what comes then; lengthen [spectrum]"
        )
    first = int(np.argmax(tail))
    length = (shapes.edges_ns[first + 1 :] - shapes.edges_ns[first]) / tau
    n = n_true * np.cumsum(ops[first:])
    r = n_unrelated * np.cumsum(shapes.unrelated[first:])
    mean = 1.0 - length / np.expm1(length)
    told = n * (1.0 - _lost(length))
    told = np.maximum(told, 1e-30)
    variance = (told + r * (length**2 / 12.0 + (0.5 * length - mean) ** 2)) / told**2
    return first, first + 1 + int(np.argmin(variance))


def _lost(x: FloatArray) -> FloatArray:
    """Return the share of an event's information on its rate that a tail of length x cuts off."""
    half = np.minimum(0.5 * x, 300.0)
    return np.asarray((half / np.sinh(half)) ** 2)


def _posterior(
    n: FloatArray, s: FloatArray, scatter: list[FloatArray], *, length: float, tau_ns: float
) -> tuple[FloatArray, FloatArray]:
    """Return the mean life of each voxel and its error.

    n, s : events and sum of times; scatter : sums of c^2 u^k, k = 0 to 2. In z = ln rate the
    posterior's slope is k + n - rate (k tau_0 + s) - n x/(e^x - 1), x = rate length, and falls by
    k + n (1 - lost(x)) at the maximum: Newton's steps, held short.
    """
    a, b = _PRIOR + np.maximum(n, 0.0), _PRIOR * tau_ns + np.maximum(s, 0.0)
    n = np.maximum(n, 0.0)
    z = np.full(n.shape, -np.log(tau_ns))
    for _ in range(_N_STEP):
        x = np.minimum(np.exp(z) * length, 600.0)
        missing = n * x / np.expm1(x)
        rise = a - np.exp(z) * b - missing
        # Never below the prior's part: the steps are held short where the curve is flat.
        bend = np.maximum(np.exp(z) * b + missing - n * _lost(x), 0.5 * _PRIOR)
        step = np.clip(rise / bend, -_LONGEST, _LONGEST)
        z += step
        if np.abs(step).max(initial=0.0) < 1e-6:
            break
    tau = np.exp(-z)
    x = np.minimum(length / tau, 600.0)
    mean = tau - length / np.expm1(x)
    information = _PRIOR + n * (1.0 - _lost(x))
    spread = scatter[2] - 2.0 * mean * scatter[1] + mean**2 * scatter[0]
    return tau, tau * np.sqrt(np.maximum(spread, 0.0) / tau**2 + _PRIOR) / information
