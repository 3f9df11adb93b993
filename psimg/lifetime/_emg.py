"""The exponentially modified Gaussian (EMG): a decay seen through a Gaussian response.

With ``u = t / sigma``, ``k = sigma / tau``, ``z = u - k``, the normal density ``phi`` and
distribution ``Phi``, and the ratio ``M = Phi / phi``, everything here is one of

    tau f = exp(k^2 / 2 - k u) Phi(z)           = phi(u) M(z)
    F     = Phi(u) - tau f                      = phi(u) (M(u) - M(z))
    1 - F = Phi(-u) + tau f
    dF/dt = f,   dF/dmu = -f
    dF/dtau = -(k / tau) (z tau f + phi(u))     = -(k / tau) phi(u) M'(z)
    dF/dsigma = (phi(u) - k tau f) / tau        = phi(u) (M'(z) - u M(z)) / tau

where ``M'(x) = 1 + x M(x) > 0``. For negative ``x`` the ratio is a scaled complementary
error function, ``M(x) = sqrt(pi / 2) erfcx(-x / sqrt(2))``, so that nothing overflows.
All times are in ns; ``tau`` and ``sigma`` must be positive and times finite.
"""

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

_SQRT_HALF = math.sqrt(0.5)
_SQRT_PI = math.sqrt(math.pi)
_SQRT_HALF_PI = math.sqrt(0.5 * math.pi)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)

_Z_EXPONENTIAL = 9.0
"""Beyond this ``z`` both ``Phi(-z)`` and ``phi(z) / k`` are below rounding."""
_U_ZERO = -39.0
"""Below this ``u`` the EMG underflows."""
_SMALL_K = 0.05
"""Below this ``k (1 + max(u, 0))`` F is a Taylor series in ``k``; see `_cdf_small_k`."""
_ERFCX_OVERFLOW = -26.6
"""Below this the scaled complementary error function is reported as infinite."""

# Rational approximations of W. J. Cody, Math. Comp. 23 (1969) 631, as in netlib's CALERF;
# highest power first.
_ERF_P = (
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_ERF_Q = (
    1.0,
    2.36012909523441209e1,
    2.44024637934444173e2,
    1.28261652607737228e3,
    2.84423683343917062e3,
)
_ERFCX_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_ERFCX_Q = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)
_DEFICIT_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_DEFICIT_Q = (
    1.0,
    2.56852019228982242e0,
    1.87295284992346725e0,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


@nb.njit(cache=True)
def _rational(x: float, p: tuple[float, ...], q: tuple[float, ...]) -> float:
    """Ratio of two polynomials of the same degree, highest power first."""
    top = p[0]
    bottom = q[0]
    for i in range(1, len(p)):
        top = top * x + p[i]
        bottom = bottom * x + q[i]
    return top / bottom


@nb.njit(cache=True)
def _erfcx_and_deficit(x: float) -> tuple[float, float]:
    """Return ``erfcx(x)`` and ``1 - sqrt(pi) x erfcx(x)`` for ``x >= 0``.

    The second is ``M'(-sqrt(2) x)``. It falls as ``1 / (2 x^2)``, so far out it is taken
    from Cody's approximation itself, which is written in terms of it.
    """
    if x > 4.0:
        w = 1.0 / (x * x)
        deficit = _SQRT_PI * w * _rational(w, _DEFICIT_P, _DEFICIT_Q)
        return (1.0 - deficit) / (_SQRT_PI * x), deficit
    if x > 0.46875:
        value = _rational(x, _ERFCX_P, _ERFCX_Q)
    else:
        w = x * x
        value = math.exp(w) * (1.0 - x * _rational(w, _ERF_P, _ERF_Q))
    return value, 1.0 - _SQRT_PI * x * value


@nb.njit(cache=True)
def erfcx(x: float) -> float:
    """Scaled complementary error function ``exp(x^2) erfc(x)``; infinite below -26.6."""
    if x >= 0.0:
        return _erfcx_and_deficit(x)[0]
    if x < _ERFCX_OVERFLOW:
        return math.inf
    # exp magnifies the rounding of x^2, so carry it (Veltkamp's split of x, Dekker's square).
    big = 134217729.0 * x
    head = big - (big - x)
    square = x * x
    lost = (x - head) * (x + head) + (head * head - square)
    return 2.0 * math.exp(square) * (1.0 + lost) - _erfcx_and_deficit(-x)[0]


@nb.njit(cache=True)
def edge_slopes(t: float, tau: float, sigma: float) -> tuple[float, float, float]:
    """Return ``f``, ``dF/dtau`` and ``dF/dsigma``, in the forms of the module's docstring.

    Derivation: ``d/dk [exp(k^2/2 - k u) Phi(u - k)] = -z tau f - phi(u)`` at fixed ``u``, and
    ``dk/dtau = -k / tau``. A Gaussian obeys the heat equation, ``df/dsigma = sigma f''``,
    hence ``dF/dsigma = sigma f'``, and ``tau f' = phi(u) / sigma - f`` from ``F + tau f = Phi``.
    """
    k = sigma / tau
    u = t / sigma
    z = u - k
    if u < _U_ZERO:
        return 0.0, 0.0, 0.0
    if z > _Z_EXPONENTIAL:
        q = math.exp(0.5 * k * k - t / tau)
        return q / tau, -k * z * q / tau, -k * q / tau
    phi = _INV_SQRT_2PI * math.exp(-0.5 * u * u)
    value, deficit = _erfcx_and_deficit(abs(z) * _SQRT_HALF)
    mills = _SQRT_HALF_PI * value
    if z > 0.0:
        q = math.exp(-0.5 * k * (z + u)) - phi * mills
        return q / tau, -k * (z * q + phi) / tau, (phi - k * q) / tau
    return phi * mills / tau, -k * phi * deficit / tau, phi * (deficit - u * mills) / tau


@nb.njit(cache=True)
def emg_pdf(t: float, tau: float, sigma: float) -> float:
    """Density of a decay of mean life ``tau`` seen at ``t`` with response width ``sigma``."""
    return edge_slopes(t, tau, sigma)[0]


@nb.njit(cache=True)
def emg_cdf_dtau(t: float, tau: float, sigma: float) -> float:
    """Differentiate `emg_cdf` in ``tau``; negative everywhere."""
    return edge_slopes(t, tau, sigma)[1]


@nb.njit(cache=True)
def emg_cdf_dsigma(t: float, tau: float, sigma: float) -> float:
    """Differentiate `emg_cdf` in ``sigma``; positive before the mode, negative after."""
    return edge_slopes(t, tau, sigma)[2]


@nb.njit(cache=True)
def _cdf_small_k(u: float, k: float) -> float:
    """F for ``k (1 + max(u, 0)) < _SMALL_K``, where ``M(u) - M(u - k)`` would cancel.

    An odd Taylor series about the middle ``v`` of the two: all derivatives of ``M`` are
    positive and obey ``M_{n+1} = v M_n + n M_{n-1}``. For negative ``v`` that recurrence
    cancels too, but the powers of ``k`` outrun it. The first omitted term is below 2e-16.
    """
    v = u - 0.5 * k
    phi = _INV_SQRT_2PI * math.exp(-0.5 * u * u)
    value, deficit = _erfcx_and_deficit(abs(v) * _SQRT_HALF)
    m0 = phi * _SQRT_HALF_PI * value
    m1 = phi * deficit
    if v > 0.0:
        m0 = math.exp(-0.25 * k * (u + v)) - m0
        m1 = phi + v * m0
    m2 = v * m1 + m0
    m3 = v * m2 + 2.0 * m1
    m4 = v * m3 + 3.0 * m2
    m5 = v * m4 + 4.0 * m3
    m6 = v * m5 + 5.0 * m4
    m7 = v * m6 + 6.0 * m5
    w = 0.25 * k * k
    return k * (m1 + w / 6.0 * (m3 + w / 20.0 * (m5 + w / 42.0 * m7)))


@nb.njit(cache=True)
def _cdf_left(u: float, k: float) -> float:
    """F for ``u <= 0`` and ``k`` not small: ``phi(u) (M(u) - M(u - k))``."""
    near = _erfcx_and_deficit(-u * _SQRT_HALF)[0]
    far = _erfcx_and_deficit((k - u) * _SQRT_HALF)[0]
    return 0.5 * math.exp(-0.5 * u * u) * (near - far)


@nb.njit(cache=True)
def _sf_right(u: float, k: float) -> float:
    """1 - F for ``0 < u`` and ``z`` up to `_Z_EXPONENTIAL`."""
    z = u - k
    half_g = 0.5 * math.exp(-0.5 * u * u)
    gauss = half_g * _erfcx_and_deficit(u * _SQRT_HALF)[0]
    tail = half_g * _erfcx_and_deficit(abs(z) * _SQRT_HALF)[0]
    if z > 0.0:
        tail = math.exp(-0.5 * k * (z + u)) - tail
    return gauss + tail


@nb.njit(cache=True)
def emg_cdf(t: float, tau: float, sigma: float) -> float:
    """Probability that a decay of mean life ``tau`` is seen before ``t``."""
    k = sigma / tau
    u = t / sigma
    if u < _U_ZERO:
        return 0.0
    if u - k > _Z_EXPONENTIAL:
        return -math.expm1(0.5 * k * k - t / tau)
    if k * (1.0 + max(u, 0.0)) < _SMALL_K:
        return _cdf_small_k(u, k)
    if u <= 0.0:
        return _cdf_left(u, k)
    return 1.0 - _sf_right(u, k)


@nb.njit(cache=True)
def emg_sf(t: float, tau: float, sigma: float) -> float:
    """Probability that a decay of mean life ``tau`` is seen after ``t``."""
    k = sigma / tau
    u = t / sigma
    if u - k > _Z_EXPONENTIAL:
        return math.exp(0.5 * k * k - t / tau)
    if u <= 0.0:
        return 1.0 - emg_cdf(t, tau, sigma)
    return _sf_right(u, k)


@nb.njit(cache=True)
def _split(tau: float, sigma: float) -> float:
    """Time up to which `emg_cdf` keeps relative accuracy; `emg_sf` takes over there."""
    k = sigma / tau
    return sigma * min(k + _Z_EXPONENTIAL, max(0.0, _SMALL_K / k - 1.0))


@nb.njit(cache=True)
def _signed_tail(t: float, tau: float, sigma: float, split: float) -> float:
    """F up to ``split`` and F - 1 after it: small, hence accurate, on both sides."""
    if t <= split:
        return emg_cdf(t, tau, sigma)
    return -emg_sf(t, tau, sigma)


@nb.njit(cache=True)
def bin_shares(
    edges: NDArray[np.float64],
    tau: float,
    sigma: float,
    mu: float,
    out: NDArray[np.float64],
) -> None:
    """Write the share of the decays that is seen in each bin.

    edges : (B + 1,) ascending [ns]; mu : mean of the response [ns]; out : (B,).
    """
    k = sigma / tau
    split = _split(tau, sigma)
    exponential = sigma * (k + _Z_EXPONENTIAL)
    lower = edges[0] - mu
    tail = _signed_tail(lower, tau, sigma, split)
    for b in range(out.shape[0]):
        upper = edges[b + 1] - mu
        if lower > exponential:
            # A difference of exponentials would lose a factor tau / width of accuracy.
            q = math.exp(0.5 * k * k - lower / tau)
            out[b] = -q * math.expm1((lower - upper) / tau)
        else:
            before = tail
            tail = _signed_tail(upper, tau, sigma, split)
            out[b] = (emg_cdf(upper, tau, sigma) if lower <= split < upper else tail) - before
        lower = upper


@nb.njit(cache=True)
def bin_shares_derivatives(
    edges: NDArray[np.float64],
    tau: float,
    sigma: float,
    mu: float,
    out: NDArray[np.float64],
    d_tau: NDArray[np.float64],
    d_sigma: NDArray[np.float64],
    d_mu: NDArray[np.float64],
) -> None:
    """Write the shares of `bin_shares` and their derivatives in tau, sigma and mu [1/ns].

    edges : (B + 1,) ascending [ns]; mu : mean of the response [ns]; all others : (B,).
    A bin's derivative is the difference of ``dF/dtau``, ``dF/dsigma`` and ``-f`` between its
    edges. Where only ``q = exp(k^2/2 - t/tau)`` is left these are ``-k z q / tau``,
    ``-k q / tau`` and ``-q / tau``, and ``k z`` grows by ``width / tau`` across the bin.
    """
    k = sigma / tau
    split = _split(tau, sigma)
    exponential = sigma * (k + _Z_EXPONENTIAL)
    lower = edges[0] - mu
    tail = _signed_tail(lower, tau, sigma, split)
    f, by_tau, by_sigma = edge_slopes(lower, tau, sigma)
    for b in range(out.shape[0]):
        upper = edges[b + 1] - mu
        if lower > exponential:
            q = math.exp(0.5 * k * k - lower / tau)
            width = (upper - lower) / tau
            lost = -math.expm1(-width)
            kz = lower / tau - k * k
            out[b] = q * lost
            d_tau[b] = q * (kz * lost - width * (1.0 - lost)) / tau
            d_sigma[b] = k * out[b] / tau
            d_mu[b] = out[b] / tau
        else:
            before, f_before, by_tau_before, by_sigma_before = tail, f, by_tau, by_sigma
            tail = _signed_tail(upper, tau, sigma, split)
            f, by_tau, by_sigma = edge_slopes(upper, tau, sigma)
            out[b] = (emg_cdf(upper, tau, sigma) if lower <= split < upper else tail) - before
            d_tau[b] = by_tau - by_tau_before
            d_sigma[b] = by_sigma - by_sigma_before
            d_mu[b] = f_before - f
        lower = upper
