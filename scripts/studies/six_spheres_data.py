"""What images of the six spheres are made from: calibration, shapes, activity and randoms."""

from dataclasses import dataclass

import numpy as np
import six_spheres as spheres
from scipy.ndimage import gaussian_filter

from psimg.core import Box, VoxelGrid
from psimg.core.scanner import Scanner
from psimg.events import Origin
from psimg.imaging.list_mode import ListMode, sort_events
from psimg.imaging.mlem import maximise_activity
from psimg.imaging.projector import Projector, to_image
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ImageData
from psimg.lifetime import LifetimeModel, calibrate_response
from psimg.lifetime.values import calibrated_model
from psimg.spectra import bin_regions
from psimg.spectra.levels import SMOOTHING_MM
from psimg.spectra.randoms import measure_shape

GRID = VoxelGrid.centred(shape=(60, 60, 36), voxel_mm=(4.0, 4.0, 4.0))
EDGES_NS = np.linspace(-10.0, 20.0, 301)
MODEL = LifetimeModel(background="four-set")
SCANNER = Scanner(
    name="quadra", radius_mm=410.0, length_mm=1060.0, crt_ns=spheres.CRT_NS, energy_fwhm=0.1
)
ITERATIONS, SUBSETS = 10, 4


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Prepared:
    """An acquisition, ready for every method."""

    data: ImageData
    pairs: ListMode
    calibration: object
    model: LifetimeModel
    shape: np.ndarray
    """(B,) of the unrelated randoms."""
    events: object
    """All windows in the grid."""
    origin: np.ndarray
    """(N,) truth of the list mode's events."""


def prepare(seed, *, resolution_mm=0.0, grid=GRID, without_randoms=False):
    """Read an acquisition and make what images need.

    ``without_randoms`` takes them off by their truth: an oracle.
    """
    acquired = spheres.acquire(seed)
    events = acquired.events.take(grid.voxel_of(acquired.events.position_mm) >= 0)
    whole = box_of(grid)
    total = bin_regions(events, regions=[whole], edges_ns=EDGES_NS, windows=spheres.SELECT.windows)
    unrelated = measure_shape(total.delayed[0, 0].astype(np.float64), EDGES_NS)
    calibration = calibrate_response(total, model=MODEL, shape=unrelated.shares)
    model = calibrated_model(calibration)
    shapes = make_shapes(EDGES_NS, model=model, calibration=calibration, unrelated=unrelated.shares)
    prompt = events.take(events.window == 0)
    if without_randoms:
        prompt = prompt.take(prompt.origin == Origin.TRUE)
    triplets = sort_events(
        prompt.position_mm, prompt.direction, grid=grid, sigma_mm=SCANNER.sigma_point_mm,
        time_bin=shapes.time_bin(prompt.dt_ns), n_bin=shapes.n_bin,
    )  # fmt: skip
    pairs = sort_events(
        acquired.pair_position_mm, acquired.pair_direction, grid=grid,
        sigma_mm=SCANNER.sigma_point_mm,
    )  # fmt: skip
    field, _ = maximise_activity(
        Projector(pairs, resolution_mm=resolution_mm), iterations=ITERATIONS, subsets=SUBSETS
    )
    activity = to_image(field, grid)
    n_sets = total.n_sets
    levels = total.delayed[0].sum(axis=1) / np.array(n_sets)
    class_2 = levels[1] - levels[2]
    image_2 = _smooth_difference(events, grid, n_sets)
    image_2 *= max(class_2, 0.0) / image_2.sum()
    scale = 0.0 if without_randoms else 1.0
    data = ImageData(
        triplets=triplets,
        dt_ns=prompt.dt_ns[triplets.row],
        shapes=shapes,
        activity=activity,
        unrelated=activity * (scale * levels[0] / activity.sum()),
        class_2=image_2 * scale,
        level_known=True,
    )
    return Prepared(
        data=data,
        pairs=pairs,
        calibration=calibration,
        model=model,
        shape=unrelated.shares,
        events=events,
        origin=prompt.origin[triplets.row],
    )


def box_of(grid):
    centre, half = 0.5 * (grid.low_mm + grid.high_mm), 0.5 * (grid.high_mm - grid.low_mm)
    return Box(name="all", centre_mm=tuple(centre), half_length_mm=tuple(half))


def _smooth_difference(events, grid, n_sets):
    kinds = np.array([window.kind for window in spheres.SELECT.windows])[events.window]
    width = SMOOTHING_MM / np.asarray(grid.voxel_mm)
    images = []
    for kind in (2, 3):
        voxel = grid.voxel_of(events.position_mm[kinds == kind])
        counts = np.bincount(voxel[voxel >= 0], minlength=grid.n_voxel).reshape(grid.shape)
        images.append(gaussian_filter(counts / n_sets[kind - 1], width, mode="constant"))
    return np.maximum(images[0] - images[1], 0.0)
