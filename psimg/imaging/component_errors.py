"""Errors of component images from the information in the events, blur and penalty included.

Where activity and lifetimes change little over the blur, the information matrix of an image is
that of one voxel times a convolution, and so is the penalty: both are numbers in the frequency
domain (J. A. Fessler and W. L. Rogers, IEEE Trans. Image Process. 5 (1996) 1346; J. Qi and R. M.
Leahy, IEEE Trans. Med. Imaging 19 (2000) 493). With I what the events of one voxel would tell of
(ln tau, g) if each were located exactly, B(f) the transfer of the blur and R(f) P the penalty, the
covariance of the estimate is the mean over frequencies of

    (B I + R P)^-1 B I (B I + R P)^-1.

It is the spread over repeated measurements: what blur and penalty take away from differences
between neighbours is a bias, and not in it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from psimg.core.grid import VoxelGrid
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.imaging import _component_errors, _components
from psimg.imaging.components import edges_of
from psimg.imaging.projector import Field, to_field
from psimg.imaging.values import ImageData, ReconOptions

FloatArray = NDArray[np.float64]

_N_WAVE, _N_GROUP = 24, 40
_LEAST_BLUR = 1e-3
"""Transfer below which a frequency counts as this: it is never restored."""


def component_variances(
    data: ImageData,
    *,
    options: ReconOptions,
    counts: Field,
    share: Field,
    log_tau: Field,
    random_scale: float,
    penalised: bool,
    used: NDArray[np.bool_],
    guide: Field,
) -> tuple[Field, Field]:
    """Return the variances of ln tau and of the o-Ps share in each voxel.

    Parameters
    ----------
    data : ImageData
        What the image was made from.
    options : ReconOptions
        How it was made.
    counts, share, log_tau : Field
        The image: true triplets, share of the o-Ps group, logarithm of the mean life.
    random_scale : float
        Factor on the unrelated randoms.
    penalised : bool
        Whether neighbours were pulled together.
    used : (padded,) array
        The voxels that hold something.
    guide : Field
        The anatomical image; (0,) for none.
    """
    grid = data.grid
    blur, roughness, weight = _frequencies(data, options, used)
    told = _information(data, counts, share, log_tau, random_scale)
    information, complete = told[:3], told[3:]
    if not data.shapes.fast.any():
        # One group: its share is no parameter.
        information[1], information[2] = 0.0, 1.0
    variance = np.zeros((2, len(counts)), np.float32)
    if not penalised:
        with np.errstate(divide="ignore", invalid="ignore"):
            of_share = counts / (share * (1.0 - share))
        _component_errors.propagate_stopped(
            information, np.concatenate([complete, of_share[None]]), blur, weight,
            options.passes * options.subsets, used, variance,
        )  # fmt: skip
    else:
        penalty = np.zeros((2, len(counts)), np.float32)
        shape = np.array([n + 2 for n in grid.shape], np.int64)
        per_axis = float(np.prod(grid.voxel_mm)) / np.square(grid.voxel_mm)
        scale = options.guide_scale or 1.0
        for k, (x, strength, edge) in enumerate(
            (
                (log_tau, options.smooth_tau, options.edge_tau),
                (share, options.smooth_intensity, options.edge_intensity * data.shapes.start_share),
            )
        ):
            _component_errors.mean_weights(
                x, used, shape, strength * per_axis, edges_of(edge, grid.voxel_mm), guide, scale,
                penalty[k],
            )  # fmt: skip
        _component_errors.propagate(information, penalty, blur, roughness, weight, used, variance)
    return variance[0], variance[1]


def _frequencies(
    data: ImageData, options: ReconOptions, used: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return transfer of the blur, eigenvalue of the penalty and weight of groups of frequencies.

    Frequencies are those of cosines in a box of as many voxels as are used, of the extents'
    proportions: what neighbours share over the whole object, its mean, is one of them. A line
    through a point blurs along its own direction only; over all directions the square of its
    transfer is the mean of exp(-(s m)^2), m from 0 to 1 and s = 2 pi sigma |f|, which is
    sqrt(pi) erf(s)/(2 s).
    """
    from scipy.special import erf

    size = np.array(data.grid.voxel_mm)
    inside = np.argwhere(used.reshape([n + 2 for n in data.grid.shape[::-1]]))[:, ::-1]
    extent = np.ptp(inside, axis=0) + 1.0 if len(inside) else np.ones(3)
    extent *= np.cbrt(max(len(inside), 1) / extent.prod())
    waves = [_waves(float(n)) for n in extent]
    f = np.stack(np.meshgrid(*(w[0] for w in waves), indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.einsum("i,j,k->ijk", *(w[1] for w in waves)).reshape(-1)
    s = 2.0 * math.pi * data.triplets.sigma_mm * np.linalg.norm(f / size, axis=1)
    s = np.maximum(s, 1e-9)
    blur = math.sqrt(math.pi) * erf(s) / (2.0 * s)
    resolution = options.resolution_mm / FWHM_PER_SIGMA
    blur *= np.exp(-np.square(2.0 * math.pi * resolution) * np.sum((f / size) ** 2, axis=1))
    # The penalty's weights are already those of each axis: a mean over them is left.
    roughness = np.sum(2.0 - 2.0 * np.cos(2.0 * math.pi * f), axis=1)
    order = np.argsort(roughness, kind="stable")
    # The lowest one by one, the many high ones in groups of equal ratio.
    ends = np.unique(np.geomspace(1, len(order), _N_GROUP).astype(int))
    starts = np.concatenate([[0], ends[:-1]])

    def mean(values: FloatArray) -> FloatArray:
        top = np.add.reduceat((values * weight)[order], starts)
        return np.asarray(top / np.add.reduceat(weight[order], starts))

    total = np.add.reduceat(weight[order], starts)
    return np.maximum(mean(blur), _LEAST_BLUR), mean(roughness), total / total.sum()


def _waves(n: float) -> tuple[FloatArray, FloatArray]:
    """Return frequencies of the cosines on ``n`` voxels [cycles per voxel], and their weights.

    Beyond the first few, some stand for many.
    """
    k = np.arange(max(1, round(n)), dtype=np.float64)
    ends = np.unique(np.geomspace(1, len(k), min(_N_WAVE, len(k))).astype(int))
    starts = np.concatenate([[0], ends[:-1]])
    number = np.diff([*starts, len(k)]).astype(np.float64)
    middle = np.add.reduceat(k, starts) / number
    return middle / (2.0 * max(n, 1.0)), number / number.sum()


def _information(
    data: ImageData, counts: Field, share: Field, log_tau: Field, random_scale: float
) -> NDArray[np.float32]:
    """Return the (4, V) information of each voxel's events on (ln tau, g), had they no blur.

    The last is that on ln tau, were the group of each event known as well.

    They are seen among whatever else is located where they are: the expectation of all voxels,
    blurred.
    """
    from scipy.fft import irfftn, rfftn

    shapes, grid = data.shapes, data.grid
    unrelated, class_2 = to_field(data.unrelated, grid), to_field(data.class_2, grid)
    step = float(shapes.log_tau[1] - shapes.log_tau[0])
    cell, across = np.empty(len(counts), np.int16), np.empty(len(counts), np.float32)
    _components.place(log_tau, float(shapes.log_tau[0]), step, len(shapes.log_tau), cell, across)
    out = np.zeros((4, len(counts)), np.float32)
    expected = np.empty(len(counts), np.float32)
    transfer = _transfer(grid, data.triplets.sigma_mm)
    shape = tuple(n + 2 for n in grid.shape[::-1])
    for t in range(shapes.n_bin):
        ops = np.ascontiguousarray(shapes.ops[:, t])
        d_ops = np.ascontiguousarray(shapes.d_ops[:, t])
        shared = (counts, share, cell, across, float(shapes.fast[t]), ops, d_ops, step)
        _components.expect(
            *shared, unrelated, random_scale * float(shapes.unrelated[t]), class_2,
            float(shapes.class_2[t]), expected,
        )  # fmt: skip
        seen = irfftn(rfftn(expected.reshape(shape)) * transfer, s=shape)
        seen = np.maximum(seen.reshape(-1), 1e-3 * expected).astype(np.float32)
        _components.inform(seen, *shared, *out)
    return out


def _transfer(grid: VoxelGrid, sigma_mm: float) -> NDArray[np.float32]:
    """Return the transfer of the time-of-flight blur on the padded image's frequencies."""
    from scipy.special import erf

    shape = [n + 2 for n in grid.shape[::-1]]
    z, y = (np.fft.fftfreq(n, h) for n, h in zip(shape[:2], grid.voxel_mm[:0:-1], strict=True))
    x = np.fft.rfftfreq(shape[2], grid.voxel_mm[0])
    f = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    s = np.maximum(2.0 * math.pi * sigma_mm * f, 1e-9)
    return np.asarray(math.sqrt(math.pi) * erf(s) / (2.0 * s), np.float32)
