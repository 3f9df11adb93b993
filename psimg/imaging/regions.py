"""Lifetimes of known regions from list mode, without an image in between."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.core.regions import Region
from psimg.imaging.list_mode import ListMode
from psimg.imaging.projector import Projector, to_field
from psimg.imaging.region_images import (
    RegionImage,
    draw_regions,
    outside_regions,
    project_region,
    volume_rank,
)
from psimg.imaging.region_likelihood import (
    Maximum,
    Mixture,
    build_mixture,
    maximise,
    members,
    spread_events,
    start_values,
)
from psimg.imaging.values import ImageData, ReconOptions

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_FLOOR = 1e-8
"""Density of events that is always there, far below that of any region [per voxel and bin]."""
_LEAST_REST = 0.01
"""Share of the activity outside all regions below which nothing is there."""
_SHARE_EDGE = 1e-4
"""Shares of the o-Ps group end this far from 0 and 1."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RegionLikelihood:
    """Lifetimes of R regions. Values are NaN where ``status`` says that there are none."""

    regions: tuple[Region, ...]
    volume_mm3: FloatArray
    """(R,) what of each belongs to no smaller one [mm3]."""
    n_triplets: FloatArray
    """(R,) detected true triplets, whatever their dt."""
    n_triplets_errors: FloatArray
    """(R,) standard errors."""
    tau_ops_ns: FloatArray
    """(R,) mean life of o-Ps [ns]."""
    tau_ops_errors_ns: FloatArray
    """(R,) standard errors [ns]."""
    intensity_ops: FloatArray
    """(R,) share of positrons that annihilate from o-Ps."""
    intensity_ops_errors: FloatArray
    """(R,) standard errors."""
    covariance: FloatArray
    """(3R, 3R) of triplets, intensity and mean life of the first region, of the second, and so on;
    zero for those that have no error."""
    background: FloatArray
    """(R,) share of randoms among the events that belong to each region."""
    n_rest: float
    """Triplets located outside all regions, scattered ones among them."""
    status: NDArray[np.uint8]
    """(R,) a `FitStatus` per region."""
    trace: FloatArray
    """(I,) log-likelihood after each step, up to a constant."""

    def __post_init__(self) -> None:
        r = len(self.regions)
        names = ("volume_mm3", "n_triplets", "n_triplets_errors", "tau_ops_ns",
                 "tau_ops_errors_ns", "intensity_ops", "intensity_ops_errors",
                 "background")  # fmt: skip
        freeze(
            self,
            **dict.fromkeys(names, (np.float64, r)),
            covariance=(np.float64, 3 * r, 3 * r),
            status=(np.uint8, r),
            trace=(np.float64, len(self.trace)),
        )

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def names(self) -> tuple[str, ...]:
        """R names."""
        return tuple(region.name for region in self.regions)

    def maps(self, grid: VoxelGrid) -> ParameterMaps:
        """Return maps in which each voxel has the numbers of the region that its centre is in.

        The signal is the density of true triplets times the voxel's volume, with the error of the
        region's total.
        """
        centres = grid.centres_mm()
        label = np.full(grid.n_voxel, -1)
        for r in np.argsort(volume_rank(self.volume_mm3))[::-1]:
            label[self.regions[r].contains(centres)] = r
        voxel = np.flatnonzero(label >= 0)
        r = label[voxel]
        part = np.prod(grid.voxel_mm) / self.volume_mm3
        nothing = np.full(len(self), np.nan)
        values = np.stack([self.tau_ops_ns, self.intensity_ops, self.n_triplets * part,
                           self.background])  # fmt: skip
        errors = np.stack([self.tau_ops_errors_ns, self.intensity_ops_errors,
                           self.n_triplets_errors * part, nothing])  # fmt: skip
        return ParameterMaps(
            grid=grid,
            names=("tau_ops", "intensity_ops", "signal", "background"),
            units=("ns", "1", "1", "1"),
            voxel=voxel,
            values=values[:, r].T,
            errors=errors[:, r].T,
            deviance=np.full(len(voxel), np.nan),
            ndf=0,
            status=self.status[r],
        )


def reconstruct_regions(
    data: ImageData,
    *,
    regions: Sequence[Region],
    options: ReconOptions,
    weights: NDArray[np.float32] | None = None,
) -> RegionLikelihood:
    """Fit triplets, o-Ps intensity and lifetime of regions to the lines of all events at once.

    The density of an event i in time bin t is

        sum_r P_ir (a_r [(1 - g_r) fast_t + g_r ops_t(tau_r)] + n_r u_t) + C_i c_t

    with P_ir what one triplet of a uniformly active region sends into its line, a_r triplets, g_r
    the share of the o-Ps group, n_r unrelated randoms, and C_i the prompt-correlated randoms of
    the data. What the image of activity shows outside all regions, scattered pairs among it, is
    one more region. The extended likelihood of all is maximised at once; a region is not blurred
    by the time of flight, and what a neighbour sends into its lines is the neighbour's.

    Unrelated randoms are pairs: where ``data.level_known``, the pairs of the data tell their shares
    among regions. Without pairs the time before the peak tells the randoms of each region, with
    larger errors.

    Parameters
    ----------
    data : ImageData
        Triplets and what is known of them.
    regions : sequence of Region
        R regions with uniform activity; where they overlap, space belongs to the smallest.
    options : ReconOptions
        ``resolution_mm`` and ``min_counts`` are used. The resolution is that of pairs across their
        lines: for 3.2 mm crystals and positrons of 44Sc, of 0, 2, 4 and 6 mm 4 have the largest
        likelihood. Lifetimes of spheres of 17 mm and more move by less than a percent between 0
        and 6 mm; what moves is the number of triplets of small ones.
    weights : (N,) float32 array, optional
        Weight of each event in the order of the list mode, for a bootstrap.

    Returns
    -------
    RegionLikelihood
        Values, with errors from the second derivative of the likelihood.

    Raises
    ------
    DataError
        If no event is there, or weights or pairs do not go with the data.
    SettingsError
        If there is no region, one is outside the grid, or smaller ones hold all of it.
    """
    if not regions:
        raise SettingsError("no region to find a lifetime of; name some in [regions]")
    if not len(data.triplets):
        raise DataError("no triplet's line reaches the grid; check [grid] and the cuts")
    if weights is not None and np.shape(weights) != (len(data.triplets),):
        raise DataError(
            f"weights of shape {np.shape(weights)} for {len(data.triplets)} events; give one each"
        )
    pairs = data.pairs
    images = draw_regions(regions, data.grid, resolution_mm=options.resolution_mm)
    outside = _outside(data, images)
    mixture = _mix(data.triplets, data, images, outside, options, weights)
    x, low, high = _start(data, mixture, options, pairs, images, outside)
    best = maximise(mixture, x, low=low, high=high)
    few = best.x[: len(images)] < options.min_counts
    if few.any():
        # A lifetime that nothing tells is held where it starts, and out of the covariance.
        for part in (2, 3):
            at = part * mixture.n_term + np.flatnonzero(few)
            low[at] = high[at] = x[at]
        best = maximise(mixture, best.x, low=low, high=high)
    found = _read(regions, images, mixture, best, low, high, few)
    log.info(
        "regions: %d lifetimes of %d from %d events in %d steps",
        np.count_nonzero(found.status == FitStatus.OK), len(found), len(data.triplets),
        len(found.trace),
    )  # fmt: skip
    return found


def _outside(data: ImageData, images: Sequence[RegionImage]) -> FloatArray | None:
    """Return an image of what lies outside all regions; None where nothing to speak of does.

    Randoms lie where all pairs do, random pairs among them, and are no less in the way than
    activity: where there are some, the image is that of all pairs.
    """
    free = outside_regions(images, data.grid)
    outside, randoms = data.activity * free, data.unrelated * free
    if randoms.sum() > _LEAST_REST * data.unrelated.sum():
        return randoms
    return outside if outside.sum() > _LEAST_REST * data.activity.sum() else None


def _mix(
    events: ListMode,
    data: ImageData,
    images: Sequence[RegionImage],
    outside: FloatArray | None,
    options: ReconOptions,
    weights: NDArray[np.float32] | None = None,
) -> Mixture:
    """Project all terms into the lines of triplets or pairs."""
    projections = [
        project_region(image, events, resolution_mm=options.resolution_mm,
                       sensitivity=data.sensitivity)
        for image in images
    ]  # fmt: skip
    # Images of events are as blurred as the events are, unlike regions.
    projector = Projector(events)
    if outside is not None:
        projections.append(projector.project(to_field(outside / outside.sum(), data.grid)))
    # An event that nothing explains must not count for more than all others.
    base = np.full(len(events), _FLOOR, np.float32)
    spans = [events.span(t) for t in range(events.n_bin)]
    if events is data.triplets and options.randoms == "model" and data.class_2.any():
        seen = projector.project(to_field(data.class_2, data.grid))
        for span, share in zip(spans, data.shapes.class_2, strict=True):
            base[span] += np.float32(share) * seen[span]
    return build_mixture(projections, base, spans=spans, shapes=data.shapes, weight=weights)


def _start(
    data: ImageData,
    mixture: Mixture,
    options: ReconOptions,
    pairs: ListMode | None,
    images: Sequence[RegionImage],
    outside: FloatArray | None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return where to start, and the bounds; what is known has two equal ones."""
    k, shapes = mixture.n_term, data.shapes
    level = float(data.unrelated.sum()) if options.randoms == "model" else 0.0
    known = level == 0.0 or (data.level_known and pairs is not None)
    low = np.repeat([0.0, 0.0, _SHARE_EDGE, shapes.log_tau[0]], k)
    high = np.repeat([np.inf, np.inf, 1.0 - _SHARE_EDGE, shapes.log_tau[-1]], k)
    if pairs is not None and known and level > 0:
        of_term = _share_out(_mix(pairs, data, images, outside, options))
        # Pairs that no region and nothing outside explains take their randoms with them.
        n_pairs = float(len(pairs))
    else:
        of_term = spread_events(mixture)
        n_pairs = float(of_term.sum())
    randoms = level * of_term / max(n_pairs, 1.0)
    if not shapes.fast.any():
        # One group: its share is no parameter.
        low[2 * k : 3 * k] = high[2 * k : 3 * k] = 1.0
    x = np.clip(start_values(mixture, randoms=randoms), low, high)
    if known:
        low[k : 2 * k] = high[k : 2 * k] = randoms
    return x, low, high


def _share_out(mixture: Mixture) -> FloatArray:
    """Return (K,) pairs of each term: the maximum for events that are all randoms."""
    k = mixture.n_term
    lifetime = [0.5, np.log(mixture.shapes.start_tau_ns)]
    x = np.concatenate([np.zeros(k), spread_events(mixture), np.repeat(lifetime, k)])
    low, high = np.copy(x), np.copy(x)
    low[k : 2 * k], high[k : 2 * k] = 0.0, np.inf
    return mixture.split(maximise(mixture, x, low=low, high=high).x)[1]


def _read(
    regions: Sequence[Region],
    images: Sequence[RegionImage],
    mixture: Mixture,
    best: Maximum,
    low: FloatArray,
    high: FloatArray,
    few: NDArray[np.bool_],
) -> RegionLikelihood:
    r, k = len(regions), mixture.n_term
    triplets, _, share, log_tau = mixture.split(best.x)
    at_end = (((best.x <= low) | (best.x >= high)) & (low < high)).reshape(4, k)[:, :r]
    status = np.full(r, FitStatus.OK, np.uint8)
    status[at_end[2] | at_end[3]] = FitStatus.AT_BOUND
    status[few] = FitStatus.TOO_FEW_COUNTS
    if not best.converged:
        status[status == FitStatus.OK] = FitStatus.NOT_CONVERGED
    # Triplets, intensity and mean life of the first region, of the second, and so on.
    rows = np.stack([np.arange(r), 2 * k + np.arange(r), 3 * k + np.arange(r)], axis=1).reshape(-1)
    tau, weight = np.exp(log_tau[:r]), mixture.shapes.intensity_weight
    scale = np.stack([np.ones(r), np.full(r, weight), tau], axis=1).reshape(-1)
    covariance = best.covariance[np.ix_(rows, rows)] * np.outer(scale, scale)
    variance = np.diag(covariance).reshape(r, 3)
    errors = np.sqrt(np.where(variance > 0, variance, np.nan))
    if not mixture.shapes.fast.any():
        errors[:, 1] = 0.0
    ok = status == FitStatus.OK
    found, noise = members(mixture, best.x)
    return RegionLikelihood(
        regions=tuple(regions),
        volume_mm3=np.array([image.volume_mm3 for image in images]),
        n_triplets=triplets[:r],
        n_triplets_errors=errors[:, 0],
        tau_ops_ns=np.where(ok, tau, np.nan),
        tau_ops_errors_ns=np.where(ok, errors[:, 2], np.nan),
        intensity_ops=np.where(ok, share[:r] * weight, np.nan),
        intensity_ops_errors=np.where(ok, errors[:, 1], np.nan),
        covariance=covariance,
        background=noise[:r] / np.where(found[:r] > 0, found[:r], np.nan),
        n_rest=float(triplets[r:].sum()),
        status=status,
        trace=best.trace,
    )
