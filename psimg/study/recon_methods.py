"""The methods of ``[recon]``: from prepared list mode to maps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus, ParameterMaps
from psimg.core.regions import Region
from psimg.imaging.bootstrap import bootstrap_errors, bootstrap_spread
from psimg.imaging.component_maps import reconstruct_components
from psimg.imaging.moment import reconstruct_moment
from psimg.imaging.rate import reconstruct_rate
from psimg.imaging.regions import RegionLikelihood, reconstruct_regions
from psimg.imaging.simple import reconstruct_simple
from psimg.imaging.split import reconstruct_split
from psimg.imaging.values import ImageData, ReconOptions, Reconstruction

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]
Passes = Callable[[int, int], None]

_SEED = 1
"""Of the replicates of the list mode: a run is the same every time."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RegionRow:
    """What the likelihood of regions gives for one of them; NaN where there is no value."""

    name: str
    n_triplets: float
    tau_ops_ns: float
    tau_ops_error_ns: float
    intensity_ops: float
    intensity_ops_error: float
    background_fraction: float
    status: FitStatus


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Request:
    """What a method is given."""

    data: ImageData
    options: ReconOptions
    regions: tuple[Region, ...]
    pair_share: float
    """Share of the pairs that was kept."""
    guide: NDArray[np.float32] | None
    progress: Passes


Made = tuple[Reconstruction, tuple[RegionRow, ...]]
"""Maps, and the rows of ``regions``."""


def _activity(request: Request) -> Made:
    """Return the image of annihilations, which was made on the way to the others."""
    data, grid = request.data, request.data.grid
    seen = data.activity.astype(np.float64) / request.pair_share
    unit, activity = "counts", seen
    if data.sensitivity is not None:
        # On the scale of what is seen: only ratios of voxels mean something.
        chance = data.sensitivity.astype(np.float64)
        activity = np.where(chance > 0, seen / np.where(chance > 0, chance, 1.0), np.nan)
        activity *= seen.sum() / np.nansum(activity)
        unit = "1"
    randoms = float(data.unrelated.sum(dtype=np.float64) + data.class_2.sum(dtype=np.float64))
    n_true = max(len(data.triplets) - randoms, 0.0)
    flat = activity.reshape(-1, 1)
    found = Reconstruction(
        maps=ParameterMaps(
            grid=grid,
            names=("activity",),
            units=(unit,),
            voxel=np.arange(grid.n_voxel),
            values=flat,
            errors=np.full(flat.shape, np.nan),
            deviance=np.full(grid.n_voxel, np.nan),
            ndf=0,
            status=np.where(np.isfinite(flat[:, 0]), FitStatus.OK, FitStatus.TOO_FEW_COUNTS).astype(
                np.uint8
            ),
        ),
        counts=(seen * (n_true / max(float(seen.sum()), 1e-30))).astype(np.float32),
        trace=np.zeros(0) if data.activity_trace is None else data.activity_trace,
    )
    return found, ()


def _lifetimes(request: Request) -> Made:
    """Return what one of the methods gives that reconstruct lifetimes voxel by voxel."""
    options = request.options
    reconstruct = _LIFETIMES[options.method]
    if options.method == "penalised":
        reconstruct = partial(reconstruct, guide=request.guide)

    def once(weights: Weights | None, progress: Passes | None) -> Reconstruction:
        found: Reconstruction = reconstruct(
            request.data, options=options, weights=weights, progress=progress
        )
        return found

    if options.errors == "information":
        return once(None, request.progress), ()
    found = bootstrap_errors(
        lambda weights: once(weights, None),
        len(request.data.triplets),
        replicates=options.replicates,
        rng=np.random.default_rng(_SEED),
        progress=request.progress,
    )
    return found, ()


def _of_regions(request: Request) -> Made:
    """Return the likelihood of regions, as maps and as rows."""
    data, options, regions = request.data, request.options, request.regions

    def once(weights: Weights | None) -> RegionLikelihood:
        return reconstruct_regions(data, regions=regions, options=options, weights=weights)

    found = once(None)
    if options.errors == "bootstrap":
        names = {"n_triplets": "n_triplets_errors", "tau_ops_ns": "tau_ops_errors_ns",
                 "intensity_ops": "intensity_ops_errors"}  # fmt: skip
        spread = bootstrap_spread(
            lambda weights: _columns(once(weights), names),
            len(data.triplets),
            replicates=options.replicates,
            rng=np.random.default_rng(_SEED),
            progress=request.progress,
        )
        spread = np.where(np.isfinite(_columns(found, names)), spread, np.nan)
        found = replace(found, **dict(zip(names.values(), spread, strict=True)))
    rows = tuple(
        RegionRow(
            name=region.name,
            n_triplets=float(found.n_triplets[r]),
            tau_ops_ns=float(found.tau_ops_ns[r]),
            tau_ops_error_ns=float(found.tau_ops_errors_ns[r]),
            intensity_ops=float(found.intensity_ops[r]),
            intensity_ops_error=float(found.intensity_ops_errors[r]),
            background_fraction=float(found.background[r]),
            status=FitStatus(int(found.status[r])),
        )
        for r, region in enumerate(regions)
    )
    maps: ParameterMaps = found.maps(data.grid)
    made = Reconstruction(
        maps=maps,
        counts=np.nan_to_num(maps.image("signal")).astype(np.float32),
        trace=found.trace,
    )
    return made, rows


def _columns(found: RegionLikelihood, names: dict[str, str]) -> FloatArray:
    return np.stack([getattr(found, name) for name in names])


_LIFETIMES: dict[str, Callable[..., Reconstruction]] = {
    "rate": reconstruct_rate,
    "simple": reconstruct_simple,
    "moment": reconstruct_moment,
    "split": reconstruct_split,
    "em": partial(reconstruct_components, penalised=False),
    "penalised": partial(reconstruct_components, penalised=True),
}
METHODS: dict[str, Callable[[Request], Made]] = {
    "mlem": _activity,
    "regions": _of_regions,
    **dict.fromkeys(_LIFETIMES, _lifetimes),
}
"""By name; each takes a `Request`."""
