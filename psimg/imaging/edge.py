"""How sharp an image is: the blur of a ball's surface."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.core.maps import FitStatus
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.core.settings import require_positive
from psimg.imaging.region_values import checked_image

FloatArray = NDArray[np.float64]
Vector = tuple[float, float, float]

_N_START = 60
"""Widths tried before the fit."""
_SHARPEST = 0.05
"""Smallest sigma, in voxels: below, the voxels next to the surface are all inside or outside."""
_WIDEST = 3.0
"""Largest sigma, in reaches of the voxels from the centre."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeResolution:
    """The blur of a ball's surface in an image."""

    fwhm_mm: float
    """FWHM of the Gaussian that blurs the ball; NaN unless the fit is OK."""
    fwhm_error_mm: float
    """Its standard error; NaN unless the fit is OK."""
    inside: float
    """Value inside the ball without the blur."""
    outside: float
    """Value around it without the blur."""
    n_voxel: int
    """Voxels in the fit."""
    chi_square: float
    """Sum of squared residuals, over the squared errors where there are any."""
    status: FitStatus
    """``AT_BOUND`` where the edge is sharper than the voxels can tell, or flat."""


def blurred_ball(distance_mm: ArrayLike, *, radius_mm: float, sigma_mm: float) -> FloatArray:
    r"""Compute a ball of height 1 that is blurred by an isotropic Gaussian.

    For a function g of the radius, r times its Gaussian blur is the blur in one dimension of the
    odd function rho g(abs(rho)): the angles integrate to a sinh, which is the difference of two
    Gaussians. For a ball of radius R, with rho = r - (r - rho), it follows that

    .. math:: f(r) = \Phi(a) - \Phi(-b) - \frac{\sigma}{r} [\varphi(a) - \varphi(b)],
              \quad a = (R - r) / \sigma, \; b = (R + r) / \sigma

    with the normal density and its integral. An error function alone, the first term, is the limit
    of R much larger than sigma.

    Parameters
    ----------
    distance_mm : array
        Distances from the centre [mm].
    radius_mm : float
        Radius of the ball [mm].
    sigma_mm : float
        Standard deviation of the Gaussian along each axis [mm].

    Returns
    -------
    float64 array of the same shape
        Between 0 and 1.
    """
    r = np.asarray(distance_mm, dtype=np.float64)
    a, b = (radius_mm - r) / sigma_mm, (radius_mm + r) / sigma_mm
    middle = 0.5 * (erf(a / math.sqrt(2.0)) + erf(b / math.sqrt(2.0)))
    # phi(a) - phi(b) = phi(a) (1 - exp(-u)), u = 2 r R / sigma^2, over r: it tends to u / r.
    u = 2.0 * r * radius_mm / sigma_mm**2
    share = np.divide(-np.expm1(-u), u, out=np.ones_like(u), where=u > 0)
    density = np.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)
    return np.asarray(middle - density * share * 2.0 * radius_mm / sigma_mm)


def edge_resolution(
    image: ArrayLike,
    *,
    grid: VoxelGrid,
    centre_mm: Vector,
    radius_mm: float,
    reach_mm: float | None = None,
    error: ArrayLike | None = None,
) -> EdgeResolution:
    """Measure the resolution of an image at the surface of a ball of known place and size.

    Fits `blurred_ball` between two plateaus to the voxels around the ball. The values are taken to
    be the blurred image at the voxels' centres: where a voxel is a mean over its volume, as in a
    histogram of points, the FWHM holds the voxel's own 5.545 voxel^2 / 12 under the root. In a map
    of lifetimes the two sides mix by their events; the FWHM is that of the points if both sides
    have about as many o-Ps events per volume, else the edge is moved and no Gaussian.

    Parameters
    ----------
    image : (nx, ny, nz) array
        The image, NaN where it has no value.
    grid : VoxelGrid
        Where the voxels are.
    centre_mm : (x, y, z)
        Centre of the ball [mm].
    radius_mm : float
        Its radius [mm].
    reach_mm : float, optional
        Voxels up to this far from the surface outside take part; the radius when left out [mm].
    error : (nx, ny, nz) array, optional
        Standard errors; voxels with one that is not above zero take no part. Without them all
        voxels weigh the same, and the residuals give the error of the FWHM.

    Returns
    -------
    EdgeResolution
        FWHM, both plateaus, and how the fit ended.

    Raises
    ------
    DataError
        If the arrays are not of the grid's shape, fewer than five voxels take part, or they are
        all inside, all outside, or all equal.
    """
    from scipy.optimize import least_squares

    require_positive("radius_mm", radius_mm)
    reach = radius_mm if reach_mm is None else reach_mm
    require_positive("reach_mm", reach)
    r, values, errors = _around(image, error, grid, centre_mm, radius_mm + reach)
    _require_edge(r, values, radius_mm)
    low, high = _SHARPEST * min(grid.voxel_mm), _WIDEST * (radius_mm + reach)

    def residuals(p: FloatArray) -> FloatArray:
        f = blurred_ball(r, radius_mm=radius_mm, sigma_mm=p[2])
        return np.asarray((p[0] * f + p[1] * (1.0 - f) - values) / errors)

    start = _best_start(r, values, errors, radius_mm, np.geomspace(low, high, _N_START))
    level = max(float(np.ptp(values)), 1e-300)
    fit = least_squares(
        residuals, start, jac="3-point", x_scale=[level, level, start[2]], xtol=1e-12, ftol=1e-12,
        bounds=([-np.inf, -np.inf, low], [np.inf, np.inf, high]),
    )  # fmt: skip
    sigma = float(fit.x[2])
    chi_square = float(np.sum(fit.fun**2))
    sigma_error = _error_of_last(fit.jac)
    if error is None:
        sigma_error *= math.sqrt(chi_square / (len(r) - 3))
    if not (1.02 * low < sigma < high / 1.02) or not math.isfinite(sigma_error):
        status = FitStatus.AT_BOUND
    else:
        status = FitStatus.OK if fit.success else FitStatus.NOT_CONVERGED
    known = FWHM_PER_SIGMA if status == FitStatus.OK else math.nan
    return EdgeResolution(
        fwhm_mm=known * sigma,
        fwhm_error_mm=known * sigma_error,
        inside=float(fit.x[0]),
        outside=float(fit.x[1]),
        n_voxel=len(r),
        chi_square=chi_square,
        status=status,
    )


def _around(
    image: ArrayLike, error: ArrayLike | None, grid: VoxelGrid, centre_mm: Vector, reach: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return distance from the centre, value and error of the voxels that take part."""
    values = checked_image("image", image, grid).reshape(-1)
    errors = (
        np.ones_like(values) if error is None else checked_image("error", error, grid).reshape(-1)
    )
    r = np.linalg.norm(grid.centres_mm() - np.asarray(centre_mm), axis=1)
    kept = (r <= reach) & np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    return r[kept], values[kept], errors[kept]


def _require_edge(r: FloatArray, values: FloatArray, radius_mm: float) -> None:
    if len(r) < 5:
        raise DataError(
            f"{len(r)} voxels with a value around the ball: a fit of its edge needs at least 5"
        )
    n_inside = int(np.count_nonzero(r <= radius_mm))
    if n_inside in (0, len(r)):
        where = "inside" if n_inside else "outside"
        raise DataError(f"all voxels with a value are {where} the ball: there is no edge to fit")
    if not np.ptp(values) > 0:
        raise DataError(f"all voxels around the ball are {values[0]:g}: there is no edge to fit")


def _best_start(
    r: FloatArray, values: FloatArray, errors: FloatArray, radius_mm: float, sigmas: FloatArray
) -> FloatArray:
    """Return inside, outside and sigma of the best of some widths, plateaus fitted linearly."""
    best, start = math.inf, np.array([values.max(), values.min(), float(sigmas[0])])
    for sigma in sigmas[1:-1]:
        f = blurred_ball(r, radius_mm=radius_mm, sigma_mm=float(sigma))
        shapes = np.stack([f, 1.0 - f], axis=1) / errors[:, None]
        plateaus = np.linalg.lstsq(shapes, values / errors, rcond=None)[0]
        distance = float(np.sum((shapes @ plateaus - values / errors) ** 2))
        if distance < best:
            best, start = distance, np.array([*plateaus, sigma])
    return start


def _error_of_last(jacobian: FloatArray) -> float:
    """Return the standard error of the last parameter; infinite where the data do not fix it."""
    scale = np.linalg.norm(jacobian, axis=0)
    if not np.all(scale > 0):
        return math.inf
    # What counts of the last column is the part that the others cannot mimic.
    columns = jacobian / scale
    mimic = np.linalg.lstsq(columns[:, :-1], columns[:, -1], rcond=None)[0]
    own = float(np.linalg.norm(columns[:, -1] - columns[:, :-1] @ mimic))
    return 1.0 / (own * float(scale[-1])) if own > 1e-7 else math.inf
