"""Compiled halves of an affine-invariant ensemble sampler.

J. Goodman and J. Weare, Comm. App. Math. Comp. Sci. 5 (2010) 65: a walker is stretched towards or
away from one of the other half of the ensemble, so that all of a half can move at once. Random
numbers come in: a kernel draws none.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@nb.njit(cache=True)
def propose(
    walkers: FloatArray,
    first: int,
    other: int,
    partner: NDArray[np.int64],
    u: FloatArray,
    stretch: float,
    log_z: FloatArray,
    proposal: FloatArray,
) -> None:
    """Write the stretch moves of half an ensemble.

    walkers : (W, P); first, other : the first walker of this half and of the other; partner :
    (W/2,) positions in the other half; u : (W/2,) uniform in 0 to 1; stretch : a > 1; log_z :
    (W/2,) log of the stretches, out; proposal : (W/2, P), out. Eq. 7, ``Y = X_j + Z (X_k - X_j)``,
    with Z of the density of eq. 9, ``1/sqrt(z)`` between 1/a and a, by inversion.
    """
    for i in range(len(partner)):
        root = 1.0 + (stretch - 1.0) * u[i]
        z = root * root / stretch
        log_z[i] = math.log(z)
        for p in range(walkers.shape[1]):
            anchor = walkers[other + partner[i], p]
            proposal[i, p] = anchor + z * (walkers[first + i, p] - anchor)


@nb.njit(cache=True)
def accept(
    walkers: FloatArray,
    log_posterior: FloatArray,
    first: int,
    proposal: FloatArray,
    proposed: FloatArray,
    log_z: FloatArray,
    log_u: FloatArray,
    n_accepted: NDArray[np.int64],
) -> None:
    """Move the walkers of half an ensemble whose proposals are accepted, in place.

    walkers : (W, P); log_posterior : (W,); first : the first walker of this half; proposal :
    (W/2, P); proposed : (W/2,) log-posterior of the proposals, minus infinity outside the support;
    log_z, log_u : (W/2,) log of the stretches and of uniform numbers; n_accepted : (W,). The chance
    of a move is ``min(1, Z^(P-1) pi(Y)/pi(X_k))``, below eq. 9.
    """
    n_parameter = walkers.shape[1]
    for i in range(len(proposed)):
        w = first + i
        if log_u[i] < (n_parameter - 1) * log_z[i] + proposed[i] - log_posterior[w]:
            log_posterior[w] = proposed[i]
            n_accepted[w] += 1
            for p in range(n_parameter):
                walkers[w, p] = proposal[i, p]
