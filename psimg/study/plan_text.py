"""Plans and forecasts in words, as the command line prints them."""

from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.lifetime.precision import BACKGROUND, EVENTS, MU, SIGMA
from psimg.study.forecast import Forecast
from psimg.study.plan import LOPSIDED, Plan

_WORDS = {EVENTS: "events", BACKGROUND: "background", MU: "mu", SIGMA: "sigma"}
_LOPSIDED = (
    f"note: above {100 * LOPSIDED:g} % of tau_ops these errors are optimistic: the interval of a "
    "fit is not\nsymmetric, and its upper side reaches further than they say"
)


def describe_plan(plan: Plan) -> str:
    """Return a plan as lines of text."""
    lines = []
    if plan.scan is not None:
        scan = plan.scan
        lines.append(
            f"{scan.n_decays:.4g} decays of {scan.isotope} in {scan.minutes:g} min from "
            f"{scan.activity_mbq:g} MBq (half-life {_time(scan.half_life_s)}), "
            f"{scan.triplets_per_decay:g} true triplets per decay"
        )
    lines.append(
        f"{plan.n_events:,.0f} events in the spectrum: {plan.n_true:,.0f} true triplets and "
        f"{100 * plan.background_share:g} % randoms"
        + (f", these measured in {plan.delays} delayed windows" if plan.delays else "")
    )
    assumed = " (assumed)" if plan.response_assumed else ""
    lines.append(
        f"tau_ops {plan.tau_ops_ns:g} ns, intensity_ops {plan.intensity_ops:g}, response "
        f"{1e3 * FWHM_PER_SIGMA * plan.sigma_ns:.0f} ps FWHM{assumed}, {plan.start_ns:g} to "
        f"{plan.stop_ns:g} ns in bins of {plan.step_ns:g} ns"
    )
    remarks = ("all else known", "as psimg fits a region", "with the response unknown")
    lines += ["", f"{'smallest error of tau_ops':<29}{'ns':>9}{'%':>8}  free"]
    for remark, row in zip(remarks, plan.expectations, strict=True):
        lines.append(
            f"  {remark:<27}{row.tau_ops_error_ns:>9.3g}{_percent(row.tau_ops_error_share):>8}  "
            f"{', '.join(_word(name) for name in row.free)}"
        )
    lines += ["", f"{'for an error of':<20}{'events':>18}{'of these':>12}  as psimg fits a region"]
    for goal in plan.goals:
        lines.append(
            f"  {100 * goal.error_share:>4g} %{'':<12}{_rounded(goal.n_events):>18}"
            f"{goal.times:>10.3g} x"
        )
    if plan.is_lopsided:
        lines += ["", _LOPSIDED]
    return "\n".join(lines)


def describe_forecast(forecast: Forecast) -> str:
    """Return a forecast as a table."""
    lines = [
        f"{'':<20}{'':>12}{'':>10}{'':>9}{'error':>9}{'smallest':>10}"
        f"{f'with {forecast.times:g} x the events':>24}",
        f"{'region':<20}{'events':>12}{'randoms %':>10}{'tau_ops':>9}{'found':>9}{'error':>10}"
        f"{'smallest error':>16}{'%':>8}",
    ]
    for r in forecast.regions:
        share = None if r.background_share is None else 100 * r.background_share
        lines.append(
            f"{r.region:<20}{r.n_events:>12,}{_number(share, '.1f'):>10}"
            f"{_number(r.tau_ops_ns, '.3f'):>9}{_number(r.tau_ops_error_ns, '.3g'):>9}"
            f"{_number(r.bound_ns, '.3g'):>10}{_number(r.forecast_ns, '.3g'):>16}"
            f"{'-' if r.forecast_share is None else _percent(r.forecast_share):>8}"
        )
    lines.append("tau_ops and errors in ns; each region with the lifetime and randoms that it had")
    if forecast.is_lopsided:
        lines += ["", _LOPSIDED]
    return "\n".join(lines)


def _word(parameter: str) -> str:
    return _WORDS.get(parameter, parameter.removesuffix("_ns"))


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else f"{value:{style}}"


def _rounded(n: float) -> str:
    """Return a count with three digits: a plan knows no more."""
    return f"{float(f'{n:.3g}'):,.0f}"


def _time(seconds: float) -> str:
    """Return a time in the largest unit that it fills."""
    for unit, length in (("y", 365.2422 * 86400.0), ("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.4g} {unit}"
    return f"{seconds:.4g} s"
