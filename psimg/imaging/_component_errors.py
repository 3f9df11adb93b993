"""Compiled loop over voxels: errors of lifetime and intensity seen through blur and penalty."""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]

_JIT: dict[str, Any] = {"cache": True, "error_model": "numpy"}


@nb.njit(parallel=True, **_JIT)
def propagate(
    information: SingleArray,
    penalty: SingleArray,
    blur: FloatArray,
    roughness: FloatArray,
    weight: FloatArray,
    used: NDArray[np.bool_],
    variance: SingleArray,
) -> None:
    """Write the variances of ln tau and of the o-Ps share of each voxel.

    information : (3, V) tau tau, tau g and g g elements of what one voxel's events would tell
    without blur; penalty : (2, V) its weights; blur, roughness : (S,) transfer of the blur and
    eigenvalue of the penalty in each group of spatial frequencies, with weights (S,) that sum to
    one; used : (V,) voxels to look at; variance : (2, V), infinite where nothing is told, of

        sum_s w_s (B_s I + R_s P)^-1 B_s I (B_s I + R_s P)^-1.
    """
    for v in nb.prange(information.shape[1]):  # a voxel writes only its own elements
        tt = float(information[0, v])
        tg = float(information[1, v])
        gg = float(information[2, v])
        first, second = np.inf, np.inf
        # Float32 leaves determinants of next to no information below zero.
        if used[v] and tt > 0.0 and tt * gg - tg * tg > 1e-6 * tt * gg:
            first, second = 0.0, 0.0
            for s in range(len(weight)):
                a = blur[s] * tt + roughness[s] * penalty[0, v]
                b = blur[s] * tg
                c = blur[s] * gg + roughness[s] * penalty[1, v]
                determinant = a * c - b * b
                # Rows of the inverse, and of it times the information.
                i11, i12, i22 = c / determinant, -b / determinant, a / determinant
                m11, m12 = i11 * tt + i12 * tg, i11 * tg + i12 * gg
                m21, m22 = i12 * tt + i22 * tg, i12 * tg + i22 * gg
                first += weight[s] * blur[s] * (m11 * i11 + m12 * i12)
                second += weight[s] * blur[s] * (m21 * i12 + m22 * i22)
        variance[0, v] = first
        variance[1, v] = second


@nb.njit(parallel=True, **_JIT)
def propagate_stopped(
    information: SingleArray,
    complete: SingleArray,
    blur: FloatArray,
    weight: FloatArray,
    n_pass: int,
    used: NDArray[np.bool_],
    variance: SingleArray,
) -> None:
    """Write the variances of ln tau and of the o-Ps share after so many passes without a penalty.

    A pass takes the share q = B i/c of what is still missing at a frequency, with i what a voxel
    tells of one parameter while the other is free and c the information were the origin and the
    group of each event known, so that n of them let through 1 - (1 - q)^n (H. H. Barrett, D. W.
    Wilson and B. M. W. Tsui, Phys. Med. Biol. 39 (1994) 833, for constant images).

    complete : (2, V) c of ln tau and g; the others as of `propagate`.
    """
    for v in nb.prange(information.shape[1]):  # a voxel writes only its own elements
        tt = float(information[0, v])
        tg = float(information[1, v])
        gg = float(information[2, v])
        told = tt * gg - tg * tg
        for k in range(2):
            total = np.inf
            if used[v] and tt > 0.0 and told > 1e-6 * tt * gg:
                own = told / gg if k == 0 else told / tt
                total = 0.0
                for s in range(len(weight)):
                    rate = min(blur[s] * own / complete[k, v], 1.0)
                    passed = 1.0 - (1.0 - rate) ** n_pass
                    total += weight[s] * passed * passed / (blur[s] * own)
            variance[k, v] = total


@nb.njit(parallel=True, **_JIT)
def mean_weights(
    x: SingleArray, used: NDArray[np.bool_], shape: NDArray[np.int64], strength: FloatArray,
    edge: FloatArray, guide: SingleArray, guide_scale: float, out: SingleArray,
) -> None:  # fmt: skip
    """Write the mean weight of the penalty towards a voxel's neighbours; see `smooth`."""
    nx, ny, nz = shape[0], shape[1], shape[2]
    guided = len(guide) > 0
    for z in nb.prange(1, nz - 1):
        for y in range(1, ny - 1):
            for x_index in range(1, nx - 1):
                j = (z * ny + y) * nx + x_index
                total = 0.0
                if used[j]:
                    for n in range(6):
                        axis = n // 2
                        hop = 1 if axis == 0 else (nx if axis == 1 else nx * ny)
                        k = j + hop if n % 2 else j - hop
                        if not used[k]:
                            continue
                        d = (x[j] - x[k]) / edge[axis]
                        w = strength[axis] / np.sqrt(1.0 + d * d)
                        if guided:
                            e = (guide[j] - guide[k]) / guide_scale
                            w /= 1.0 + e * e
                        total += w
                out[j] = total / 6.0
