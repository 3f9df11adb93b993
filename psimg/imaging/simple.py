"""The mean lifetime of each voxel from images of weighted triplets: SIMPLE."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus
from psimg.imaging.halves import with_grown_errors
from psimg.imaging.mlem import Progress
from psimg.imaging.moments import WindowMoments, group_means, peak_bin, window_moments
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.random_images import expected_image, find_randoms
from psimg.imaging.time_shapes import TimeShapes, require_two_groups
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction
from psimg.imaging.weighted import events_of, maps_of, power_images, scatter_of

FloatArray = NDArray[np.float64]

_N_LIFE = 7.0
"""Mean lives of o-Ps after which the window ends: 0.1 % of it is still to come, and later events
are randoms, each of which scatters the mean by its distance from it."""
_MOST_STRETCH = 3.0
"""Largest change of the mean lifetime per change of the mean in the window."""


def reconstruct_simple(
    data: ImageData,
    *,
    options: ReconOptions,
    weights: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct the mean lifetime of each voxel from two images.

    SIMPLE, statistical image reconstruction of positron annihilation lifetime by moment weighting
    (B. Huang et al., Phys. Med. Biol. 69 (2024), doi:10.1088/1361-6560/ad9543, where it is the
    first of the moments). With the image A of the triplets in a window W, the image W1 of the same
    triplets weighted by dt, and randoms g D in W, the image of all pairs D times one number,

        mean lifetime_j = (W1_j - g mean(W) D_j) / (A_j - g D_j) - mu,

    where A is not made from the triplets, as there, but is what the activity and the randoms make
    expected of them, which has tens of times the counts; W1 is the image that has the triplets'
    weights on the lines of A (`power_images`). Delayed windows, where there are such, take the
    place of g, the triplets before the peak over the pairs.

    mu is the mean of the response. W starts where decays do and ends seven mean lives of
    o-Ps later, or with the spectrum. What later decays would have added, 4 ps for 30 % of 2 ns, is
    put back as a linear function of the mean in W, right to first order about the lifetime and the
    share of o-Ps of all events: 3 ns among 2 ns then comes out 0.02 ns short.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        Passes, subsets, randoms and the smallest number of events.
    weights : (N,) float32 array, optional
        Weight of each event in the order of the list mode, for a bootstrap.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.

    Returns
    -------
    Reconstruction
        ``mean_lifetime`` [ns]; counts are those of the activity. Its error is the scatter of dt
        among the events that a voxel shares, times one factor for the noise that the passes build
        up as they undo the blur (`with_grown_errors`; not for a replicate); it leaves out the
        errors of activity, randoms and what all events tell, and that the factor differs from
        voxel to voxel.

    Raises
    ------
    SettingsError
        If there is no estimate of the randoms.
    """
    return with_grown_errors(_reconstruct, data, options, weights, progress)


def _reconstruct(
    data: ImageData,
    options: ReconOptions,
    weights: NDArray[np.float32] | None,
    progress: Progress | None,
) -> Reconstruction:
    shapes = data.shapes
    require_two_groups(shapes)
    randoms = find_randoms(data, options=options, weights=weights)
    first = peak_bin(shapes)
    last_ns = float(shapes.model.response.table[:, 1].max()) + _N_LIFE * shapes.start_tau_ns
    stop = min(int(np.searchsorted(shapes.edges_ns, last_ns)), shapes.n_bin)
    window = window_moments(shapes, first=first, stop=max(stop, first + 1))
    events = events_of(data, weights, first, window.stop)
    projector = Projector(events.lines, resolution_mm=options.resolution_mm)
    u = np.maximum(events.dt_ns - window.start_ns, 0.0)
    true = window.of_all(shapes)
    starts = [
        expected_image(data, randoms, float(true[k]), window.unrelated[k], window.class_2[k])
        for k in range(2)
    ]
    field = to_field(starts[0], data.grid)
    safe = np.where(starts[0] > 0, starts[0], 1.0)
    images = power_images(
        projector, field, events, u, starts=[start / safe for start in starts[1:]],
        passes=options.passes * options.subsets, progress=progress,
    )  # fmt: skip
    a, w1 = (
        image - randoms.unrelated * window.unrelated[k] - randoms.class_2 * window.class_2[k]
        for k, image in enumerate([to_image(field, data.grid), *images])
    )
    safe = np.where(a > 0, a, np.nan)
    in_window = w1 / safe
    q0, q1, q2 = scatter_of(projector, field, events, u, 3)
    variance = (q2 - 2.0 * in_window * q1 + in_window**2 * q0) / safe**2
    mean, slope = _beyond(shapes, window, in_window)
    counts = a / true[0]
    status = np.where(
        np.isfinite(mean) & (counts >= options.min_counts),
        FitStatus.OK,
        FitStatus.TOO_FEW_COUNTS,
    ).astype(np.uint8)
    errors = slope * np.sqrt(np.maximum(variance, 0.0))
    return Reconstruction(
        maps=maps_of(
            data.grid,
            {"mean_lifetime": ("ns", mean, errors)},
            status=status,
            held=to_image(field, data.grid) > 0,
        ),
        counts=np.maximum(counts, 0.0).astype(np.float32),
        trace=np.zeros(0),
    )


def _beyond(
    shapes: TimeShapes, window: WindowMoments, in_window: FloatArray
) -> tuple[FloatArray, float]:
    """Return mean lifetimes for means of u in the window, and how one changes with the other.

    The line that touches the curve at the mean life of all events: the curve itself bends upwards,
    and would turn noise into longer lives.
    """
    g = shapes.start_share
    sums = (1.0 - g) * window.fast + g * window.ops
    seen = sums[:, 1] / sums[:, 0]
    fast, ops = group_means(shapes, window.tau_ns)
    whole = (1.0 - g) * fast + g * ops
    seen_at, whole_at, whole_slope, seen_slope = (
        float(np.interp(shapes.start_tau_ns, window.tau_ns, column))
        for column in (
            seen, whole, np.gradient(whole, window.tau_ns), np.gradient(seen, window.tau_ns),
        )
    )  # fmt: skip
    # A window that hardly tells lives apart is not to stretch what it sees without end.
    slope = min(whole_slope / max(seen_slope, 1e-9), _MOST_STRETCH)
    return whole_at + slope * (in_window - seen_at), slope
