"""The best possible error of the o-Ps mean life in each voxel."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus
from psimg.lifetime._voxel_bounds import bound_all
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.lifetime.voxel_task import prepare
from psimg.spectra.levels import RandomLevels
from psimg.spectra.values import LifetimeSpectra


def bound_voxels(
    spectra: LifetimeSpectra,
    *,
    model: LifetimeModel,
    calibration: SpectrumFit | None = None,
    levels: RandomLevels | None = None,
    shape: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Compute the smallest error of the o-Ps lifetime that the events of each voxel allow.

    It is the Cramér-Rao bound: from the information that is expected for the voxel's own number of
    true and random events, at the lifetime and the intensities of the fit of all events. It exists
    where the fit gives no value, too, and says what a longer scan would: it falls as one over the
    square root of time.

    Parameters
    ----------
    spectra, model, calibration, levels, shape
        As for `fit_voxels`.

    Returns
    -------
    (V,) float64 array
        Smallest standard error of ``tau_ops`` [ns]; NaN where there is no sign of a true event.
    """
    task = prepare(spectra, model, calibration, levels, shape, FitOptions())
    fitted = calibration is not None and calibration.status == FitStatus.OK
    stated = np.array([c.intensity or 0.0 for c in model.components])
    intensities = calibration.intensities if fitted and calibration is not None else stated
    ops = intensities[model.ops] / task.ops_link[model.ops]
    fast = max(intensities.sum() - ops * task.ops_link.sum(), 0.0)
    amplitudes = np.array([fast if task.with_fast else 0.0, ops])
    errors = np.empty(len(spectra))
    level, scale, share = task.levels_of(slice(None))
    bound_all(
        spectra.counts.astype(np.float64), task.shapes, task.ops_shape, amplitudes,
        task.with_fast, level, scale, share, errors,
    )  # fmt: skip
    return errors
