"""o-Ps lifetime and intensity of each voxel from the images of three moments of dt."""

import logging

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.maps import FitStatus
from psimg.imaging.halves import with_grown_errors
from psimg.imaging.mlem import Progress
from psimg.imaging.moment_solution import LEAST_APART_NS, make_table, solve, tau_influence
from psimg.imaging.moments import (
    N_MOMENT,
    WindowMoments,
    peak_bin,
    quadratic_squared,
    window_moments,
)
from psimg.imaging.projector import Projector, to_field, to_image
from psimg.imaging.random_images import expected_image, find_randoms
from psimg.imaging.time_shapes import TimeShapes, require_two_groups
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction
from psimg.imaging.weighted import events_of, maps_of, power_images, scatter_of

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_SHORTEST = 2.0
"""Mean lives of o-Ps that a window holds at least, where the spectrum does."""


def reconstruct_moment(
    data: ImageData,
    *,
    options: ReconOptions,
    weights: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct o-Ps lifetime and intensity from images of the moments of dt in a window.

    SIMPLE-Moment (B. Huang et al., Phys. Med. Biol. 69 (2024), doi:10.1088/1361-6560/ad9543),
    with moments that know the window and the response. M_k is the image of the triplets weighted
    by u^k, u = dt less the window's start, less what randoms add to it; M_0 is what the activity
    makes expected, the others have the triplets' weights on its lines (`power_images`). With
    m_k = M_k/M_0 and the
    moments f_k of the fast group and o_k(tau) of the o-Ps group *in the window*, both over their
    zeroth, a share p of o-Ps in the window has m_k = (1 - p) f_k + p o_k(tau), so that

        (m_2 - f_2)/(m_1 - f_1) = (o_2(tau) - f_2)/(o_1(tau) - f_1)

    fixes tau, and then p = (m_1 - f_1)/(o_1(tau) - f_1). The right side, 2 (tau + tau_f) for
    plain exponentials in a window without an end, rises with tau but for lives hardly longer than
    the fast group's or far longer than the window; it is inverted by table where it rises.

    Randoms scatter the second moment by the square of their distance, so that the window ends
    where the error of tau is least for the spectrum of all events.

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
        ``tau_ops`` [ns] and ``intensity_ops``; AT_BOUND where no mean life of the model's range
        has the voxel's moments. Errors are the scatter of dt among the events that the last pass
        gives a voxel, times one factor for the noise that the passes build up as they undo the
        blur (`with_grown_errors`; not for a replicate); they leave out the errors of the randoms
        and of what all events tell, and that the factor differs from voxel to voxel.

    Raises
    ------
    SettingsError
        If there is no estimate of the randoms, or the moments tell no mean life.
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
    n_random = float(randoms.unrelated.sum()), float(randoms.class_2.sum())
    window = best_window(shapes, len(data.triplets), n_random)
    events = events_of(data, weights, window.first, window.stop)
    projector = Projector(events.lines, resolution_mm=options.resolution_mm)
    u = np.maximum(events.dt_ns - window.start_ns, 0.0)
    true = window.of_all(shapes)
    starts = [
        expected_image(data, randoms, float(true[k]), window.unrelated[k], window.class_2[k])
        for k in range(3)
    ]
    field = to_field(starts[0], data.grid)
    safe = np.where(starts[0] > 0, starts[0], 1.0)
    images = power_images(
        projector, field, events, u, starts=[start / safe for start in starts[1:]],
        passes=options.passes * options.subsets, progress=progress,
    )  # fmt: skip
    moments = np.stack(
        [
            image - randoms.unrelated * window.unrelated[k] - randoms.class_2 * window.class_2[k]
            for k, image in enumerate([to_image(field, data.grid), *images])
        ]
    )
    scatter = np.stack(scatter_of(projector, field, events, u, N_MOMENT))
    found = solve(make_table(window, shapes.start_tau_ns), moments, scatter)
    whole = true[0]
    counts = np.where(found.inside, found.counts, moments[0] / whole)
    status = np.where(found.inside, FitStatus.OK, FitStatus.AT_BOUND).astype(np.uint8)
    status[~(counts >= options.min_counts)] = FitStatus.TOO_FEW_COUNTS
    weight = shapes.intensity_weight
    return Reconstruction(
        maps=maps_of(
            data.grid,
            {
                "tau_ops": ("ns", found.tau_ns, found.tau_error_ns),
                "intensity_ops": ("1", weight * found.share, weight * found.share_error),
            },
            status=status,
            held=to_image(field, data.grid) > 0,
        ),
        counts=np.maximum(counts, 0.0).astype(np.float32),
        trace=np.zeros(0),
    )


def best_window(
    shapes: TimeShapes, n_triplets: float, n_random: tuple[float, float]
) -> WindowMoments:
    """Return the moments of the window that tells the mean life of all events best.

    Parameters
    ----------
    shapes : TimeShapes
        What is known of dt.
    n_triplets : float
        Triplets in the spectrum.
    n_random : tuple of float
        Expected unrelated and prompt-correlated randoms among them.

    Raises
    ------
    SettingsError
        If no window tells it.
    """
    first = peak_bin(shapes)
    shortest = float(shapes.model.response.table[:, 1].max()) + _SHORTEST * shapes.start_tau_ns
    least = min(int(np.searchsorted(shapes.edges_ns, shortest)), shapes.n_bin)
    around = shapes.start_tau_ns * np.array([0.97, 1.0, 1.03])
    true = max(n_triplets - sum(n_random), 1.0)
    g = shapes.start_share
    best, best_stop = np.inf, 0
    for stop in range(max(least, first + 1), shapes.n_bin + 1):
        near = window_moments(shapes, first=first, stop=stop, tau_ns=around)
        signal = true * ((1.0 - g) * near.fast + g * near.ops[1])
        every = signal + n_random[0] * near.unrelated + n_random[1] * near.class_2
        f1, f2 = near.fast[1:3] / near.fast[0]
        o1, o2 = near.ops[:, 1] / near.ops[:, 0], near.ops[:, 2] / near.ops[:, 0]
        ratio = (o2 - f2) / (o1 - f1)
        if (o1 - f1).min() < LEAST_APART_NS or not (np.diff(ratio) > 0).all():
            continue
        per_ratio = (around[2] - around[0]) / (ratio[2] - ratio[0])
        tau = tau_influence(signal, f1, f2, ratio[1], per_ratio)
        variance = sum(q * m for q, m in zip(quadratic_squared(*tau), every, strict=True))
        if variance < best:
            best, best_stop = float(variance), stop
    if not best_stop:
        raise SettingsError(
            "the spectrum is too short, or its fast components live too long, for moments to tell "
            "the mean life of o-Ps; lengthen [spectrum], or use another recon.method"
        )
    log.info("moments: dt from %.2f to %.2f ns", shapes.edges_ns[first], shapes.edges_ns[best_stop])
    return window_moments(shapes, first=first, stop=best_stop)
