"""Fit one spectrum file: what ``psimg fit`` does, as values, text, JSON and a figure."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError, SettingsError
from psimg.core.maps import FitStatus
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.core.settings import require_window
from psimg.io.spectrum import read_spectrum
from psimg.lifetime.automatic import MOST_GAUSSIANS, AutomaticFit, fit_automatically
from psimg.lifetime.goodness import Goodness, goodness_of_fit
from psimg.lifetime.model import Component, LifetimeModel
from psimg.lifetime.posterior import TWO_SIGMA, Posterior, sample_posterior
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.spectrum import Spectrum

_SEED = 20260101
"""Seed of toys and posterior: the same file gives the same numbers."""
_LEAST_COUNTS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectrumFitOptions:
    """What is asked of the fit of one spectrum; what is None is found automatically."""

    channel_ns: float | None = None
    """Width of a channel, where the file does not state it [ns]."""
    object: str | None = None
    """Histogram or region, for files of several."""
    range_ns: tuple[float, float] | None = None
    """Part of the time axis to fit [ns]."""
    channels: tuple[int, int] | None = None
    """Or first and last bin to fit, counted from 0."""
    model: LifetimeModel | None = None
    n_gaussian: int | None = None
    """Gaussians of the response."""
    template: Path | None = None
    """A spectrum of the same bins with the shape of the background."""
    intervals: bool = False
    """Whether to look for profile intervals (MINOS)."""
    posterior: bool = False
    """Whether to sample the posterior."""

    def __post_init__(self) -> None:
        if self.range_ns is not None and self.channels is not None:
            raise SettingsError("a range in ns and one in channels are both given; keep one")
        if self.range_ns is not None:
            require_window("the range", self.range_ns)
        if self.n_gaussian is not None and not 1 <= self.n_gaussian <= MOST_GAUSSIANS:
            raise SettingsError(
                f"{self.n_gaussian} Gaussians of the response: expected 1 to {MOST_GAUSSIANS}"
            )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class FittedFile:
    """The fit of a spectrum file."""

    path: Path
    spectrum: Spectrum
    automatic: AutomaticFit
    goodness: Goodness
    posterior: Posterior | None

    @property
    def fit(self) -> SpectrumFit:
        """The fit."""
        return self.automatic.fit


def fit_file(path: Path | str, *, options: SpectrumFitOptions | None = None) -> FittedFile:
    """Read one spectrum and fit it.

    Parameters
    ----------
    path : Path or str
        Text, LT, Maestro ``.Spe``, a ROOT histogram, or the spectra of a run.
    options : SpectrumFitOptions, optional
        What is known better than the automatic choice.

    Returns
    -------
    FittedFile
        The fit, with values, and its goodness.

    Raises
    ------
    FileError
        If the file cannot be read as a spectrum, or its spectrum gives no fit.
    SettingsError
        If an option is out of range.
    """
    path, options = Path(path), options or SpectrumFitOptions()
    spectrum = read_spectrum(path, channel_ns=options.channel_ns, object=options.object)
    range_ns = options.range_ns
    if options.channels is not None:
        range_ns = _range_of(spectrum, options.channels, path)
    template = None
    if options.template is not None:
        template = _read_template(options.template, spectrum, options)
    fit_options = FitOptions(
        min_counts=_LEAST_COUNTS, intervals="profile" if options.intervals else "hesse"
    )
    try:
        automatic = fit_automatically(
            spectrum,
            model=options.model,
            n_gaussian=options.n_gaussian,
            range_ns=range_ns,
            template=template,
            options=fit_options,
        )
    except DataError as error:
        raise FileError(f"{path}: {error}") from error
    fit = automatic.fit
    if fit.status != FitStatus.OK:
        raise FileError(f"{path}: {fit.n_events} counts, {_what_to_do(fit)}")
    rng = np.random.default_rng(_SEED)
    goodness = goodness_of_fit(fit, rng=rng)
    posterior = None
    if options.posterior:
        posterior = sample_posterior(fit.data, model=fit.model, rng=rng)
    return FittedFile(
        path=path, spectrum=spectrum, automatic=automatic, goodness=goodness, posterior=posterior
    )


def _what_to_do(fit: SpectrumFit) -> str:
    """Say why a fit has no value, and what may help."""
    if fit.status == FitStatus.TOO_FEW_COUNTS:
        return f"a fit needs {_LEAST_COUNTS} or more; take a larger range"
    if fit.status == FitStatus.NOT_CONVERGED:
        return (
            "and the fit did not converge: the spectrum does not tell these components apart; name "
            "fewer (--component ops=2~ ...; without o-Ps leave it out), or take another range"
        )
    ends = ", ".join(fit.on_bounds)
    if any(name.startswith(("mu_", "sigma_")) for name in fit.on_bounds):
        return (
            f"and {ends} ended on a bound: the rise of the peak must lie inside the range "
            "(--range-ns)"
        )
    if any(name.startswith("tau_") for name in fit.on_bounds):
        return (
            f"and {ends} ended on a bound of its range: state another "
            "(--component ops=30~5:100, start and bounds in ns), or leave the component out"
        )
    return f"and {ends} ended at zero: leave such components out (--component ...)"


def _range_of(spectrum: Spectrum, channels: tuple[int, int], path: Path) -> tuple[float, float]:
    first, last = channels
    if not 0 <= first <= last < len(spectrum):
        raise SettingsError(
            f"{path}: channels {first} to {last}: expected two rising numbers from 0 to "
            f"{len(spectrum) - 1}"
        )
    return float(spectrum.edges_ns[first]), float(spectrum.edges_ns[last + 1])


def _read_template(
    path: Path, spectrum: Spectrum, options: SpectrumFitOptions
) -> NDArray[np.float64]:
    template = read_spectrum(path, channel_ns=options.channel_ns)
    if len(template) != len(spectrum):
        raise FileError(
            f"{path}: the template has {len(template)} bins and the spectrum {len(spectrum)}; bin "
            "both alike"
        )
    return template.counts


def parse_component(text: str, *, source: bool = False) -> Component:
    """Return a component from ``NAME=TAU``, ``NAME=TAU~`` (free) or ``NAME=TAU@SHARE``.

    ``NAME=TAU~LOW:HIGH`` states the range of a free mean life.

    Parameters
    ----------
    text : str
        What the user wrote.
    source : bool
        Whether it is of the source, which needs a share.

    Raises
    ------
    SettingsError
        If the text is of no such form.
    """
    name, equals, rest = text.partition("=")
    life, at, share = rest.partition("@")
    tau, free, ends = life.partition("~")
    bounds = ends.split(":") if ends else []
    try:
        if not (name and equals and len(bounds) in (0, 2)):
            raise ValueError
        return Component(
            name=name,
            tau_ns=float(tau),
            free=bool(free),
            bounds_ns=(float(bounds[0]), float(bounds[1])) if bounds else None,
            intensity=float(share) if at else None,
            source=source,
        )
    except SettingsError:
        raise
    except ValueError:
        form = (
            "NAME=TAU@SHARE"
            if source
            else "NAME=TAU, or NAME=TAU~ or NAME=TAU~LOW:HIGH for a free mean life"
        )
        raise SettingsError(f"component {text!r}: expected {form}, in ns") from None


def as_dict(fitted: FittedFile) -> dict[str, Any]:
    """Return the fit as plain numbers and text, for JSON; None stands for no value.

    Parameters
    ----------
    fitted : FittedFile
        The fit.
    """
    fit, posterior = fitted.fit, fitted.posterior
    found: dict[str, Any] = {
        "file": str(fitted.path),
        "spectrum": fitted.spectrum.name,
        "time_axis": fitted.spectrum.origin,
        "time_axis_assumed": fitted.spectrum.axis_assumed,
        "range_ns": [float(fit.edges_ns[0]), float(fit.edges_ns[-1])],
        "n_bins": fit.data.n_bin,
        "n_counts": float(fit.counts.sum()),
        "status": fit.status.name.lower(),
        "components": [
            {
                "name": component.name,
                "tau_ns": fit.value(f"tau_{component.name}_ns"),
                "tau_error_ns": fit.error(f"tau_{component.name}_ns"),
                "tau_fixed": not component.free,
                "intensity": float(fit.intensities[k]),
                "intensity_error": float(fit.intensity_errors[k]),
                "source": component.source,
                "spread": fit.value(f"spread_{component.name}"),
                "spread_error": fit.error(f"spread_{component.name}"),
            }
            for k, component in enumerate(fit.model.components)
        ],
        "response": [
            {"weight": w, "mean_ns": m, "sigma_ns": s, "fwhm_ps": 1e3 * FWHM_PER_SIGMA * s}
            for w, m, s in fit.response.table.tolist()
        ],
        "background": {
            "counts": fit.value("background"),
            "error": fit.error("background"),
            "per_bin": fit.value("background") / fit.data.n_bin,
            "share": fit.background_fraction,
        },
        "deviance": fit.deviance,
        "ndf": fit.ndf,
        "p_value": fitted.goodness.p_value,
        "p_value_method": fitted.goodness.method,
        "parameters": {
            name: {
                "value": float(fit.values[i]),
                "error": float(fit.errors[i]),
                "interval": fit.intervals[i].tolist(),
            }
            for i, name in enumerate(fit.parameters)
        },
        "correlation": {"parameters": list(fit.parameters), "matrix": fit.correlation.tolist()},
        "intensities_rule": fit.model.intensities,
        "background_model": fit.model.background,
        "notes": list(fitted.automatic.notes),
    }
    if posterior is not None:
        found["posterior"] = {
            "priors": {
                name: str(prior)
                for name, prior in zip(posterior.parameters, posterior.priors, strict=False)
            },
            "mixed": posterior.is_mixed,
            "parameters": {
                name: {
                    "mean": posterior.mean(name),
                    "sd": posterior.error(name),
                    "interval_68": list(posterior.interval(name)),
                    "interval_95": list(posterior.interval(name, TWO_SIGMA)),
                }
                for name in posterior.parameters
            },
        }
    plain = _without_nan(found)
    assert isinstance(plain, dict)
    return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
