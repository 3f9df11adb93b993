"""Plan a measurement: the error of the o-Ps lifetime that counts, or a scan, allow."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from psimg.core.errors import SettingsError
from psimg.core.isotopes import ISOTOPES, Isotope
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.core.settings import require_positive
from psimg.events.windows import n_sets_of
from psimg.lifetime.model import DIRECT, OPS, Component, LifetimeModel
from psimg.lifetime.precision import (
    EVENTS,
    MU,
    SIGMA,
    TAU_OPS,
    Precision,
    fitted_parameters,
    precision_of,
)
from psimg.spectra.binning import SpectrumOptions
from psimg.study.config import read_settings
from psimg.study.sections import StudyFile

_FWHM_NS = 0.25
"""Response where neither the user nor the study states one; the o-Ps lifetime hardly feels it."""
_GOALS = (0.10, 0.05, 0.02, 0.01)
LOPSIDED = 0.10
"""Relative error above which the likelihood of the lifetime is visibly not a parabola."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOptions:
    """What is to be measured. What is None comes from the study, or else is as psimg has it."""

    counts: float | None = None
    """Events in the spectrum, randoms included; or give all of the next four."""
    isotope: str | None = None
    """Positron emitter, for its half-life."""
    activity_mbq: float | None = None
    """Activity at the start of the scan [MBq]."""
    minutes: float | None = None
    """Length of the scan."""
    triplets_per_decay: float | None = None
    """True triplets in the spectrum per decay of that activity."""
    background: float = 0.5
    """Share of random triplets in the spectrum."""
    delays: int | None = None
    """Delayed windows that measure the background; 0 where the spectrum itself tells it."""
    tau_ops_ns: float | None = None
    intensity_ops: float | None = None
    fwhm_ps: float | None = None
    """FWHM of the time response [ps]; or give ``sigma_ns``."""
    sigma_ns: float | None = None
    window_ns: tuple[float, float] | None = None
    """Ends of the spectrum [ns]."""
    step_ns: float | None = None
    study: Path | None = None
    """Study file for the model, the spectrum and the isotope."""

    def __post_init__(self) -> None:
        for name in ("counts", "activity_mbq", "minutes", "triplets_per_decay", "tau_ops_ns",
                     "fwhm_ps", "sigma_ns"):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                require_positive(name, value)
        if not 0 <= self.background < 1:
            raise SettingsError(
                f"background = {self.background:g}: expected a share, 0 or more and below 1"
            )
        if self.delays is not None and self.delays < 0:
            raise SettingsError(f"delays = {self.delays}: expected 0 or more")
        if self.fwhm_ps is not None and self.sigma_ns is not None:
            raise SettingsError("fwhm_ps and sigma_ns are both given; keep one")
        if self.isotope is not None and self.isotope not in ISOTOPES:
            raise SettingsError(
                f"isotope = {self.isotope!r} is not known; use one of {', '.join(ISOTOPES)}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """An activity, watched for a while."""

    isotope: str
    half_life_s: float
    activity_mbq: float
    minutes: float
    n_decays: float
    triplets_per_decay: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """The error of the o-Ps lifetime where these parameters are free."""

    free: tuple[str, ...]
    tau_ops_error_ns: float
    tau_ops_error_share: float
    """The error over the lifetime."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What an error of the lifetime asks for."""

    error_share: float
    n_events: float
    """Events in the spectrum, randoms included."""
    times: float
    """As a multiple of the plan's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The errors to expect of one spectrum."""

    n_events: float
    """Events in the spectrum, randoms included."""
    n_true: float
    """True triplets among them."""
    background_share: float
    delays: int
    tau_ops_ns: float
    intensity_ops: float
    mu_ns: float
    sigma_ns: float
    response_assumed: bool
    """Whether neither the user nor the study stated the response."""
    start_ns: float
    stop_ns: float
    step_ns: float
    scan: Scan | None
    expectations: tuple[Expectation, ...]
    """With a known background, as psimg fits a region, and with the response unknown too."""
    goals: tuple[Goal, ...]
    """What smaller errors ask for, as psimg fits a region."""

    @property
    def is_lopsided(self) -> bool:
        """Whether a bound is so large that a fit will do worse."""
        return any(row.tau_ops_error_share > LOPSIDED for row in self.expectations)


def plan_measurement(options: PlanOptions) -> Plan:
    """Compute the error of the o-Ps lifetime to expect of a measurement.

    Parameters
    ----------
    options : PlanOptions
        Counts, or activity and time; background, lifetime, response and bins.

    Returns
    -------
    Plan
        Cramer-Rao bounds for three sets of free parameters, and the events for smaller errors.

    Raises
    ------
    SettingsError
        If both counts and a scan are given, or neither, or the model cannot be computed.
    FileError
        If the study file cannot be read.
    """
    study = None if options.study is None else read_settings(options.study)
    model, assumed = _model(options, study)
    spectrum = _spectrum(options, study)
    scan = _scan(options, study)
    n_true = None if scan is None else scan.n_decays * scan.triplets_per_decay
    if n_true is None:
        assert options.counts is not None
        n_true = options.counts * (1.0 - options.background)
    n_events = n_true / (1.0 - options.background)
    delays = _delays(options, study)
    rows = [
        precision_of(
            model,
            spectrum.edges_ns,
            n_events=n_events,
            background_share=options.background,
            free=free,
            n_sets=delays,
        )
        for free in free_sets(model)
    ]
    tau = model.components[model.ops].tau_ns
    return Plan(
        n_events=n_events,
        n_true=n_true,
        background_share=options.background,
        delays=delays,
        tau_ops_ns=tau,
        intensity_ops=model.components[model.ops].intensity or 0.0,
        mu_ns=model.response.mu_ns or 0.0,
        sigma_ns=model.response.sigma_ns or 0.0,
        response_assumed=assumed,
        start_ns=spectrum.start_ns,
        stop_ns=spectrum.stop_ns,
        step_ns=spectrum.step_ns,
        scan=scan,
        expectations=tuple(_expectation(row, tau) for row in rows),
        goals=tuple(_goal(rows[1], share, tau) for share in _GOALS),
    )


def free_sets(model: LifetimeModel) -> tuple[tuple[str, ...], ...]:
    """Return three sets of free parameters, each larger than the one before.

    The lifetime and the events; what the fit of a region frees; with it the response and the mean
    life of direct annihilation.
    """
    fitted = fitted_parameters(model)
    direct = f"tau_{DIRECT}_ns"
    more = (direct,) if DIRECT in model.names and direct not in fitted else ()
    return (TAU_OPS, EVENTS), fitted, (*fitted, *more, MU, SIGMA)


def with_ops(
    model: LifetimeModel, *, tau_ns: float | None = None, intensity: float | None = None
) -> LifetimeModel:
    """Return the model with another o-Ps lifetime and intensity, where they are given."""

    def changed(component: Component) -> Component:
        if component.name != OPS:
            return component
        return replace(
            component,
            tau_ns=component.tau_ns if tau_ns is None else tau_ns,
            intensity=component.intensity if intensity is None else intensity,
        )

    return replace(model, components=tuple(changed(c) for c in model.components))


def _expectation(precision: Precision, tau: float) -> Expectation:
    error = precision.tau_ops_error_ns
    return Expectation(
        free=precision.parameters, tau_ops_error_ns=error, tau_ops_error_share=error / tau
    )


def _goal(precision: Precision, share: float, tau: float) -> Goal:
    n = precision.events_for(share * tau)
    return Goal(error_share=share, n_events=n, times=n / precision.n_events)


def _model(options: PlanOptions, study: StudyFile | None) -> tuple[LifetimeModel, bool]:
    """Return the model with a response, and whether the response is assumed."""
    model = LifetimeModel() if study is None else study.model
    if options.intensity_ops is not None and model.intensities == "fixed":
        raise SettingsError(
            "intensity_ops with a study whose intensities are 'fixed': change them in its model"
        )
    model = with_ops(model, tau_ns=options.tau_ops_ns, intensity=options.intensity_ops)
    sigma = model.response.sigma_ns
    if options.fwhm_ps is not None:
        sigma = 1e-3 * options.fwhm_ps / FWHM_PER_SIGMA
    if options.sigma_ns is not None:
        sigma = options.sigma_ns
    known = replace(
        model.response,
        mu_ns=model.response.mu_ns or 0.0,
        sigma_ns=sigma or _FWHM_NS / FWHM_PER_SIGMA,
    )
    if not known.known:
        # Further Gaussians that nobody stated change nothing that can be planned with.
        known = replace(known, more=())
    return replace(model, response=known), sigma is None


def _spectrum(options: PlanOptions, study: StudyFile | None) -> SpectrumOptions:
    given = SpectrumOptions() if study is None else study.spectrum
    start, stop = options.window_ns or (given.start_ns, given.stop_ns)
    return SpectrumOptions(
        start_ns=start,
        stop_ns=stop,
        step_ns=given.step_ns if options.step_ns is None else options.step_ns,
    )


def _delays(options: PlanOptions, study: StudyFile | None) -> int:
    if options.delays is not None:
        return options.delays
    if study is None or study.model.background == "flat":
        return 0
    return n_sets_of(study.select.windows)[0]


def _scan(options: PlanOptions, study: StudyFile | None) -> Scan | None:
    """Return the scan; None where the counts are given."""
    given = {
        "activity_mbq": options.activity_mbq,
        "minutes": options.minutes,
        "triplets_per_decay": options.triplets_per_decay,
    }
    named = [name for name, value in given.items() if value is not None]
    if options.counts is not None:
        if named:
            raise SettingsError(f"counts and {', '.join(named)} are both given; keep one of them")
        return None
    if not named:
        raise SettingsError(
            "nothing to plan with; give counts, or isotope, activity_mbq, minutes and "
            "triplets_per_decay"
        )
    isotope = _isotope(options, study)
    missing = [name for name, value in given.items() if value is None]
    if isotope is None:
        missing.insert(0, "isotope")
    if missing:
        raise SettingsError(f"{', '.join(named)} without {', '.join(missing)}; give them all")
    assert isotope is not None
    activity, minutes, triplets = (float(value or math.nan) for value in given.values())
    return Scan(
        isotope=isotope.name,
        half_life_s=isotope.half_life_s,
        activity_mbq=activity,
        minutes=minutes,
        n_decays=isotope.decays(activity, 60.0 * minutes),
        triplets_per_decay=triplets,
    )


def _isotope(options: PlanOptions, study: StudyFile | None) -> Isotope | None:
    name = options.isotope or (None if study is None else study.study.isotope)
    return None if name is None else ISOTOPES[name]
