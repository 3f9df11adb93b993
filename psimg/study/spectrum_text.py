"""The fit of a spectrum in words, as the command line prints it."""

import math

from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.study.spectrum import FittedFile

_UNLIKELY = 1e-3


def describe_fit(fitted: FittedFile) -> str:
    """Return the fit as lines of text."""
    fit, spectrum = fitted.fit, fitted.spectrum
    lines = [
        f"{fitted.path}: {spectrum.counts.sum():,.10g} counts; time axis: {spectrum.origin}",
        f"fitted: {fit.edges_ns[0]:.4g} to {fit.edges_ns[-1]:.4g} ns, {fit.data.n_bin} bins, "
        f"{fit.counts.sum():,.10g} counts, intensities {fit.model.intensities}, background "
        f"{fit.model.background}",
        *(f"note: {note}" for note in fitted.automatic.notes),
        "",
        f"{'component':<12}{'mean life [ns]':>24}{'intensity [%]':>22}",
    ]
    for k, component in enumerate(fit.model.components):
        name = f"{component.name}*" if component.source else component.name
        tau = f"tau_{component.name}_ns"
        life = measured(fit.value(tau), fit.error(tau))
        share = measured(100 * float(fit.intensities[k]), 100 * float(fit.intensity_errors[k]))
        lines.append(f"{name:<12}{life:>24}{share:>22}{_spread(fitted, component.name)}")
    if any(component.source for component in fit.model.components):
        lines.append("* of the source: a share of all positrons; the others are shares of the rest")
    lines.append("")
    for i, (weight, mean, sigma) in enumerate(fit.response.table, start=1):
        error = fit.error("sigma_ns" if i == 1 else f"sigma_{i}_ns")
        fwhm = measured(1e3 * FWHM_PER_SIGMA * sigma, 1e3 * FWHM_PER_SIGMA * error)
        lines.append(f"response {i:<3}{100 * weight:>8.1f} % at {mean:.4f} ns, FWHM {fwhm} ps")
    level = measured(
        fit.value("background") / fit.data.n_bin, fit.error("background") / fit.data.n_bin
    )
    lines.append(
        f"background  {level} counts per bin, {100 * fit.background_fraction:.1f} % of all"
    )
    by = "toys" if fitted.goodness.method == "toys" else "chi-square"
    lines.append(
        f"deviance    {fit.deviance:.1f} for {fit.ndf} degrees of freedom "
        f"({fit.deviance / fit.ndf:.3f}), p = {fitted.goodness.p_value:.2g} ({by})"
    )
    if fitted.goodness.p_value < _UNLIKELY:
        lines.append(
            "warning: the model does not describe the spectrum; the errors above are too small"
        )
    lines += _intervals(fitted)
    lines += _posterior(fitted)
    return "\n".join(lines)


def _spread(fitted: FittedFile, name: str) -> str:
    spread = fitted.fit.value(f"spread_{name}")
    if not spread:
        return ""
    return f"   spread {measured(spread, fitted.fit.error(f'spread_{name}'))}"


def _intervals(fitted: FittedFile) -> list[str]:
    fit = fitted.fit
    rows = [
        f"  {name:<18}{low:>12.5g} to {high:.5g}"
        for name, (low, high) in zip(fit.parameters, fit.intervals, strict=True)
        if math.isfinite(low) or math.isfinite(high)
    ]
    return ["", "68 % intervals by likelihood profile", *rows] if rows else []


def _posterior(fitted: FittedFile) -> list[str]:
    posterior = fitted.posterior
    if posterior is None:
        return []
    lines = ["", f"{'posterior':<20}{'mean':>10}{'sd':>10}{'68 % interval':>24}  prior"]
    for i, name in enumerate(posterior.parameters):
        low, high = posterior.interval(name)
        prior = str(posterior.priors[i]) if i < len(posterior.priors) else "from the events"
        lines.append(
            f"{name:<20}{posterior.mean(name):>10.4g}{posterior.error(name):>10.2g}"
            f"{f'{low:.4g} to {high:.4g}':>24}  {prior}"
        )
    if not posterior.is_mixed:
        lines.append(
            "warning: the chain has not mixed, and its intervals are rough; sample_posterior in "
            "Python takes more steps"
        )
    return lines


def measured(value: float, error: float) -> str:
    """Return ``value +- error`` with two digits of the error.

    Parameters
    ----------
    value, error : float
        The number. An error of zero marks one that was fixed, NaN one that ended on a bound.
    """
    if math.isnan(error):
        return f"{value:.5g} (on a bound)"
    if error <= 1e-9 * abs(value):
        return f"{value:.5g} (fixed)"
    decimals = min(max(1 - math.floor(math.log10(float(f"{error:.1e}"))), 0), 9)
    return f"{value:.{decimals}f} +- {error:.{decimals}f}"
