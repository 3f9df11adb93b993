"""Images of randoms, and what is expected of an image before its events are looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.imaging.moments import peak_bin
from psimg.imaging.values import ImageData, ReconOptions

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]

_LEAST_TRUE = 0.05
"""Share of true triplets that an image starts with at least."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RandomImages:
    """Expected randoms of the whole spectrum."""

    unrelated: FloatArray
    """(nx, ny, nz) with a prompt of another decay."""
    class_2: FloatArray
    """(nx, ny, nz) prompt-correlated."""


def find_randoms(
    data: ImageData, *, options: ReconOptions, weights: Weights | None = None
) -> RandomImages:
    """Return the images of randoms, from delayed windows or else from dt before the peak.

    Parameters
    ----------
    data : ImageData
        Events and what is known beforehand.
    options : ReconOptions
        With ``randoms = "none"`` there are none.
    weights : (N,) float32 array, optional
        Weight of each event.

    Returns
    -------
    RandomImages
        Images that delayed windows told; or else the image of pairs times one number, from the
        triplets in the time bins before the peak, over their share of the randoms.

    Raises
    ------
    SettingsError
        If there are neither delayed windows nor time bins before the peak.
    """
    nothing = np.zeros(data.grid.shape)
    if options.randoms == "none":
        return RandomImages(unrelated=nothing, class_2=nothing)
    class_2 = data.class_2.astype(np.float64)
    if data.level_known:
        return RandomImages(unrelated=data.unrelated.astype(np.float64), class_2=class_2)
    peak = peak_bin(data.shapes)
    share = float(data.shapes.unrelated[:peak].sum())
    if not share > 0:
        raise SettingsError(
            f"recon.method = {options.method!r} needs an estimate of the randoms and there is "
            "none: set select.delays_ns and a background that uses them, start the spectrum "
            "further before the peak, or set recon.randoms = 'none'"
        )
    rows = slice(data.triplets.span(0).start, data.triplets.span(peak - 1).stop)
    before = float(rows.stop - rows.start if weights is None else weights[rows].sum())
    pairs = data.activity.astype(np.float64)
    total = pairs.sum()
    return RandomImages(
        unrelated=pairs * (before / share / total) if total > 0 else nothing, class_2=class_2
    )


def expected_image(
    data: ImageData, randoms: RandomImages, true: float, unrelated: float, class_2: float
) -> FloatArray:
    """Return what is expected of an image before its events are looked at.

    Parameters
    ----------
    data : ImageData
        The activity, and how many triplets there are.
    randoms : RandomImages
        Randoms of the whole spectrum.
    true, unrelated, class_2 : float
        What a true triplet and each random of the spectrum add.

    Returns
    -------
    (nx, ny, nz) array
        True triplets that lie like the activity, and randoms.
    """
    n, n_random = float(len(data.triplets)), randoms.unrelated.sum() + randoms.class_2.sum()
    pairs = np.maximum(data.activity, 0.0).astype(np.float64)
    per_pair = max(n - n_random, _LEAST_TRUE * n) / max(float(pairs.sum()), 1e-30)
    return np.asarray(
        true * per_pair * pairs + unrelated * randoms.unrelated + class_2 * randoms.class_2
    )
