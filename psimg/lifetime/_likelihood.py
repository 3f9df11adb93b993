"""Compiled Poisson likelihood of one spectrum."""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

SMALLEST_COUNT = 1e-100
"""Expected counts below this are raised to it: a count where none is expected costs much, not
infinitely much, so that a minimiser can find its way back."""


@nb.njit(cache=True)
def count_deviance(n: float, m: float) -> float:
    """Deviance ``2 (m - n + n ln(n/m))`` of ``n`` counts where ``m`` are expected.

    Summed over bins it is the Poisson likelihood-ratio statistic of S. Baker and R. D. Cousins,
    Nucl. Instrum. Meth. 221 (1984) 437.
    """
    m = max(m, SMALLEST_COUNT)
    if n > 0:
        return 2.0 * (m - n + n * math.log(n / m))
    return 2.0 * m


@nb.njit(cache=True)
def poisson_deviance(counts: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Sum of `count_deviance` over (B,) counts and (B,) expected counts."""
    total = 0.0
    for b in range(len(counts)):
        total += count_deviance(counts[b], expected[b])
    return total
