"""The six-sphere acquisition prepared for images, as ``psimg run`` does it."""

from dataclasses import dataclass

import numpy as np
from six_spheres import BODY, CRT_NS, EDGES_NS, SELECT, SPHERES, acquire

from psimg.core import FitStatus, Scanner, VoxelGrid
from psimg.imaging.collect import LineCollector
from psimg.imaging.prepare import prepare_images
from psimg.imaging.values import ImageData, ReconOptions
from psimg.lifetime import (
    Gaussian,
    LifetimeModel,
    Response,
    SpectrumFit,
    calibrate_response,
    calibrated_model,
)
from psimg.spectra import (
    LifetimeSpectra,
    RegionCounter,
    VoxelCounter,
    measure_shape,
)

SIGMA_MM = Scanner(
    name="own", radius_mm=410.0, length_mm=1060.0, crt_ns=CRT_NS, energy_fwhm=0.1
).sigma_point_mm
REGIONS = (BODY, *SPHERES)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Prepared:
    """An acquisition, ready for every method."""

    data: ImageData
    voxels: LifetimeSpectra
    """Spectra of the voxels."""
    regions: LifetimeSpectra
    """Spectra of the events located inside each of `REGIONS`."""
    calibration: SpectrumFit
    model: LifetimeModel
    shape: np.ndarray
    """(B,) of the unrelated randoms."""
    pairs_image: np.ndarray
    """(n_voxel,) pairs located in each voxel."""

    def region_likelihood(self, options):
        """Return what the likelihood of `REGIONS` finds."""
        from psimg.imaging.regions import reconstruct_regions

        return reconstruct_regions(self.data, regions=REGIONS, options=options)


def grid_of(voxel_mm):
    """Return the grid around the body."""
    n, nz = round(208 / voxel_mm), round(112 / voxel_mm)
    return VoxelGrid.centred(shape=(n, n, nz), voxel_mm=(voxel_mm,) * 3)


def prepared(seed, *, voxel_mm=4.0, background="four-set", intensities="ps-ratio", options=None):
    """Return an acquisition, ready for every method."""
    acquired = acquire(seed)
    events = acquired.events
    grid = grid_of(voxel_mm)
    counter = VoxelCounter(grid=grid, edges_ns=EDGES_NS, windows=SELECT.windows)
    counter.add(events)
    voxels, total = counter.spectra(), counter.total()
    inside = RegionCounter(regions=REGIONS, edges_ns=EDGES_NS, windows=SELECT.windows)
    inside.add(events)
    shape = measure_shape(total.delayed[0, 0].astype(float), EDGES_NS).shares
    # Photons that scattered are located beside where they came from, and their dt spreads more.
    for more in ((Gaussian(),), ()):
        model = LifetimeModel(
            background=background, intensities=intensities, response=Response(more=more)
        )
        calibration = calibrate_response(total, model=model, shape=shape)
        if calibration.status == FitStatus.OK:
            break
    known = calibrated_model(calibration)
    triplets = LineCollector(grid=grid, sigma_mm=SIGMA_MM)
    triplets.add_events(events)
    lines = LineCollector(grid=grid, sigma_mm=SIGMA_MM, most=20_000_000)
    lines.add_pairs(acquired.pair_position_mm, acquired.pair_direction)
    voxel = grid.voxel_of(acquired.pair_position_mm.astype(float))
    data = prepare_images(
        triplets.lines(),
        lines.lines(),
        voxels=voxels,
        edges_ns=EDGES_NS,
        model=known,
        calibration=calibration,
        unrelated=shape,
        sigma_mm=SIGMA_MM,
        options=options or ReconOptions(),
    )
    return Prepared(
        data=data,
        voxels=voxels,
        regions=inside.spectra(),
        calibration=calibration,
        model=known,
        shape=shape,
        pairs_image=np.bincount(voxel[voxel >= 0], minlength=grid.n_voxel),
    )
