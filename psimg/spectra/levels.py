"""How many randoms each voxel holds, from smooth information.

A voxel's own delayed events are few. An unrelated prompt falls on any pair with the same chance, so
that the unrelated randoms of a voxel are its pairs times one number for the whole image,

    I_v + III_v = rho pairs_v,    rho = (delayed-prompt events per window) / (pairs),

and there are tens of pairs for each triplet. Class II joins photons of two decays and has no sharp
features: it is the smoothed image of the windows that tell it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.columns import freeze
from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.core.settings import require_positive
from psimg.spectra.values import LifetimeSpectra

FloatArray = NDArray[np.float64]

SMOOTHING_MM = 20.0
"""Gaussian width of the smoothing of class II: of the order of the time-of-flight blur [mm]."""


class PairCounter:
    """Located pairs per voxel while chunks go by."""

    def __init__(self, grid: VoxelGrid) -> None:
        self._grid = grid
        self._counts = np.zeros(grid.n_voxel, np.int64)

    def add(self, position_mm: FloatArray) -> None:
        """Count (N, 3) annihilation points; those outside the grid are left out."""
        voxel = self._grid.voxel_of(position_mm)
        np.add.at(self._counts, voxel[voxel >= 0], 1)

    def image(self) -> NDArray[np.int64]:
        """Return (n_voxel,) pairs of each voxel."""
        return self._counts.copy()


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RandomLevels:
    """Expected randoms of each voxel, as a Poisson measurement: ``count ~ Poisson(scale R)``."""

    count: FloatArray
    """(V,) what was counted; need not be whole."""
    scale: FloatArray
    """(V,) counts per random triplet of the spectrum; 0 where nothing is known."""
    class_2_share: FloatArray
    """(V,) share of class II among the randoms, 0 to 1."""

    def __post_init__(self) -> None:
        n = len(self.count)
        freeze(
            self,
            count=(np.float64, n),
            scale=(np.float64, n),
            class_2_share=(np.float64, n),
        )

    @property
    def expected(self) -> FloatArray:
        """(V,) randoms in the spectrum; NaN where nothing is known."""
        known = self.scale > 0
        return np.where(known, self.count / np.where(known, self.scale, 1.0), np.nan)

    @classmethod
    def unknown(cls, n_voxel: int) -> "RandomLevels":
        """Return levels that the spectra themselves must tell."""
        nothing = np.zeros(n_voxel)
        return cls(count=nothing, scale=nothing, class_2_share=nothing)


def estimate_levels(
    spectra: LifetimeSpectra,
    *,
    pairs: NDArray[np.int64] | None = None,
    with_class_2: bool = False,
    smoothing_mm: float = SMOOTHING_MM,
) -> RandomLevels:
    """Estimate the randoms of each voxel.

    Parameters
    ----------
    spectra : LifetimeSpectra
        Spectra of voxels with delayed windows.
    pairs : (n_voxel,) array, optional
        Located pairs of every voxel of the grid; without them the voxel's own delayed events tell
        its level.
    with_class_2 : bool
        Whether class II is added, from the windows with a photon delayed.
    smoothing_mm : float
        Gaussian width of the smoothing of class II [mm].

    Returns
    -------
    RandomLevels
        Levels with the counts that their errors are worth: a level R of variance S counts as
        ``R**2 / S`` events at a scale of ``R / S``.

    Raises
    ------
    DataError
        If the spectra are not of voxels or lack the windows.
    """
    if spectra.grid is None or spectra.voxel is None:
        raise DataError("levels of randoms are estimated for voxels; these spectra are of regions")
    n_prompt, n_photon, n_both = spectra.n_sets
    if not n_prompt or (with_class_2 and not (n_photon and n_both)):
        raise DataError("no delayed windows to estimate the randoms from; set select.delays_ns")
    require_positive("smoothing_mm", smoothing_mm)
    delayed = spectra.delayed[:, :, 0].astype(np.float64)
    if pairs is None or not pairs.sum():
        count, scale = delayed[:, 0], np.full(len(spectra), float(n_prompt))
    else:
        count = pairs[spectra.voxel].astype(np.float64)
        rho = delayed[:, 0].sum() / n_prompt / pairs.sum()
        scale = np.full(len(spectra), 1.0 / rho if rho > 0 else 0.0)
    if not with_class_2:
        return RandomLevels(count=count, scale=scale, class_2_share=np.zeros(len(spectra)))
    support = np.zeros(spectra.grid.n_voxel)
    support[spectra.voxel] = 1.0
    if pairs is not None:
        support[pairs > 0] = 1.0
    photon, both, noise = _smooth(delayed[:, 1:].T, support, spectra, smoothing_mm)
    class_2 = np.maximum(photon / n_photon - both / n_both, 0.0)
    variance_2 = noise * (photon / n_photon**2 + both / n_both**2)
    unrelated = np.where(scale > 0, count / np.where(scale > 0, scale, 1.0), 0.0)
    variance = np.where(scale > 0, count / np.where(scale > 0, scale, 1.0) ** 2, 0.0) + variance_2
    total = unrelated + class_2
    safe = np.where(variance > 0, variance, 1.0)
    return RandomLevels(
        count=np.where(variance > 0, total**2 / safe, 0.0),
        scale=np.where(variance > 0, total / safe, 0.0),
        class_2_share=np.where(total > 0, class_2 / np.where(total > 0, total, 1.0), 0.0),
    )


def _smooth(
    counts: FloatArray, support: FloatArray, spectra: LifetimeSpectra, smoothing_mm: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (2, V) counts smoothed within the support, and the share of noise that is left."""
    from scipy.ndimage import gaussian_filter

    grid, voxel = spectra.grid, spectra.voxel
    assert grid is not None
    assert voxel is not None
    width = smoothing_mm / np.array(grid.voxel_mm)

    def blurred(values: FloatArray, width: FloatArray) -> FloatArray:
        smooth = gaussian_filter(values.reshape(grid.shape), width, mode="constant", truncate=3.0)
        return np.asarray(smooth.reshape(-1)[voxel])

    reached = np.maximum(blurred(support, width), 1e-12)
    # A weighted mean of n equal counts has a variance of the sum of squared weights. The square of
    # a Gaussian is one of 1/sqrt(2) its width; near the support's edges there is less of it.
    whole = np.prod(np.minimum(1.0, 1.0 / (2.0 * np.sqrt(np.pi) * width)))
    noise = np.minimum(whole * blurred(support, width / np.sqrt(2.0)) / reached**2, 1.0)
    images = np.zeros((len(counts), grid.n_voxel))
    images[:, voxel] = counts
    photon, both = (blurred(image, width) / reached for image in images)
    return photon, both, noise
