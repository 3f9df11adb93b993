"""Numbers and outcomes in words, as tables and figures print them."""

import math

from psimg.core.maps import FitStatus

NO_VALUE = "–"
"""What stands where there is no value."""

STATUS_WORDS = {
    FitStatus.OK: "fitted",
    FitStatus.TOO_FEW_COUNTS: "too few events",
    FitStatus.NOT_CONVERGED: "did not converge",
    FitStatus.AT_BOUND: "no o-Ps lifetime found",
}
"""Each `FitStatus` in a table cell."""

STATUS_MEANING = {
    FitStatus.OK: "The fit converged inside its bounds; values and errors are given.",
    FitStatus.TOO_FEW_COUNTS: "Fewer events than fit.min_counts, or in an image fewer "
    "true triplets than recon.min_counts; nothing was fitted.",
    FitStatus.NOT_CONVERGED: "The fit stopped before the best values were found; none are given.",
    FitStatus.AT_BOUND: "The data fit best with the o-Ps mean life at a bound of its range, "
    "without o-Ps or without anything else; a mean life would mean nothing, and none is given.",
}
"""Each `FitStatus` in a sentence."""

COMPONENT_WORDS = {"pps": "p-Ps", "direct": "direct", "ops": "o-Ps"}
"""The components of the standard model; others keep the user's name."""


def number(value: float, digits: int = 3) -> str:
    """Return a number with this many significant digits, or a dash for NaN."""
    if not math.isfinite(value):
        return NO_VALUE
    if value == 0:
        return "0"
    # Not %g: it writes whole numbers of more digits than asked for as powers of ten.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{min(max(digits - 1 - exponent, 0), 9)}f}"


def with_error(value: float, error: float) -> str:
    """Return ``value ± error``, the error with two digits and the value with as many decimals.

    A value whose error is NaN or zero was fixed and stands alone.
    """
    if not math.isfinite(value):
        return NO_VALUE
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}"
    # The exponent after rounding: 0.0996 is 0.10, not 0.100.
    exponent = int(f"{error:.1e}".partition("e")[2])
    decimals = min(max(1 - exponent, 0), 9)
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}".replace("-", "−")


def percent(share: float, error: float = math.nan) -> str:
    """Return a share as per cent, without the sign; with its error where there is one."""
    if math.isfinite(error) and error > 0:
        return with_error(100 * share, 100 * error)
    return number(100 * share)


def share_of(part: int, whole: int) -> str:
    """Return a part of a whole as per cent, without the sign and with at most two decimals."""
    if not whole:
        return NO_VALUE
    if 0 < part < 1e-4 * whole:
        return "< 0.01"
    return percent(part / whole)


def chance(probability: float) -> str:
    """Return a probability, without the digits of a very small one."""
    if not math.isfinite(probability):
        return NO_VALUE
    return "< 0.0001" if probability < 1e-4 else number(probability, 2)
