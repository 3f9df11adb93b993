"""How well chains have mixed: autocorrelation time, effective size, and agreement of chains."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_WINDOW = 5.0
"""Lags are summed up to this many autocorrelation times."""


def autocorrelation_times(samples: FloatArray) -> FloatArray:
    """Estimate the integrated autocorrelation time of each parameter.

    ``tau = 1 + 2 sum_t rho(t)``, the sum up to the smallest lag M with ``M >= 5 tau(M)`` (A. Sokal,
    Monte Carlo Methods in Statistical Mechanics, 1996). The autocovariance is the mean over the
    walkers, each about the mean of all, so that walkers that stay apart are not taken for mixed.

    Parameters
    ----------
    samples : (S, W, P) array
        Chains of W walkers.

    Returns
    -------
    (P,) float64 array
        Steps between independent samples; trustworthy where S is above some 50 of them. Infinite
        for a parameter that never moves.
    """
    n_step = len(samples)
    times = np.empty(samples.shape[2])
    for p in range(samples.shape[2]):
        centred = samples[:, :, p] - samples[:, :, p].mean()
        if not centred.any():
            times[p] = np.inf
            continue
        # Padded to twice the length, the transform's circle does not close on itself.
        power = np.abs(np.fft.rfft(centred, n=2 * n_step, axis=0)) ** 2
        covariance = np.fft.irfft(power.mean(axis=1))[:n_step]
        sums = 2.0 * np.cumsum(covariance / covariance[0]) - 1.0
        enough = np.arange(n_step) >= _WINDOW * sums
        times[p] = sums[np.argmax(enough)] if enough.any() else sums[-1]
    return times


def split_r_hat(samples: FloatArray) -> FloatArray:
    """Compare the halves of all chains by ranks.

    A. Vehtari et al., Bayesian Anal. 16 (2021) 667: chains are cut in two, their values replaced by
    normal scores of their ranks, and the variance of all is compared with that within (eq. 3 and
    14); the larger of this for the values and for their distance from the median. The walkers of
    one ensemble draw on each other, so that independent ensembles test more.

    Parameters
    ----------
    samples : (S, W, P) array
        Chains of W walkers, S of 4 or more.

    Returns
    -------
    (P,) float64 array
        1 where the chains agree; 1.01 is the paper's limit. Chains that agree have about
        ``1 + tau/S``, tau their autocorrelation time: below 1.01 takes S of 100 tau. NaN for a
        parameter that never moves.
    """
    half = len(samples) // 2
    result = np.empty(samples.shape[2])
    for p in range(samples.shape[2]):
        # (2 W, S/2), a middle step left out of an odd number
        chains = np.concatenate([samples[:half, :, p], samples[-half:, :, p]], axis=1).T
        folded = np.abs(chains - np.median(chains))
        result[p] = max(_r_hat(_normal_scores(chains)), _r_hat(_normal_scores(folded)))
    return result


def _normal_scores(chains: FloatArray) -> FloatArray:
    from scipy.special import ndtri
    from scipy.stats import rankdata

    rank = rankdata(chains, axis=None).reshape(chains.shape)
    return np.asarray(ndtri((rank - 0.375) / (chains.size + 0.25)))


def _r_hat(chains: FloatArray) -> float:
    n = chains.shape[1]
    within = float(chains.var(axis=1, ddof=1).mean())
    between = float(chains.mean(axis=1).var(ddof=1))
    if within == 0.0:
        return np.inf if between > 0 else np.nan
    return float(np.sqrt((n - 1) / n + between / within))
