"""Forecast a longer scan from the results of an earlier one, region by region."""

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from psimg.core.errors import FileError, SettingsError
from psimg.core.settings import require_positive
from psimg.lifetime.model import LifetimeModel, Response
from psimg.lifetime.precision import precision_of
from psimg.spectra.binning import SpectrumOptions
from psimg.study.outputs import SUMMARY
from psimg.study.plan import LOPSIDED, with_ops

_REGIONS = "regions.csv"
_COLUMNS = ("region", "n_events", "tau_ops_ns", "tau_ops_error_ns", "intensity_ops",
            "background_fraction")  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionForecast:
    """One region of an earlier run, and of a scan like it. What has no value is None."""

    region: str
    n_events: int
    """Events in the spectrum of the earlier run."""
    background_share: float | None
    tau_ops_ns: float | None
    tau_ops_error_ns: float | None
    """The error that the earlier run found."""
    bound_ns: float | None
    """The smallest error its events allow."""
    forecast_ns: float | None
    """The smallest error of the longer scan."""

    @property
    def forecast_share(self) -> float | None:
        """The forecast over the lifetime."""
        if self.forecast_ns is None or self.tau_ops_ns is None:
            return None
        return self.forecast_ns / self.tau_ops_ns

    @property
    def is_lopsided(self) -> bool:
        """Whether the bound is so large that a fit will do worse."""
        return (self.forecast_share or 0.0) > LOPSIDED


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a scan some times as long would give."""

    directory: str
    times: float
    """Events of the scan over those of the earlier one."""
    regions: tuple[RegionForecast, ...]

    @property
    def is_lopsided(self) -> bool:
        """Whether a bound is so large that a fit will do worse."""
        return any(region.is_lopsided for region in self.regions)


def forecast_scan(directory: Path, *, times: float = 1.0) -> Forecast:
    """Compute the errors to expect of a scan like an earlier one.

    Parameters
    ----------
    directory : Path
        The output directory of `run_and_write`.
    times : float
        Events of the scan over those of the earlier one, at the same share of randoms.

    Returns
    -------
    Forecast
        The bound for each region with the lifetime, intensity and background that it had.

    Raises
    ------
    FileError
        If the directory holds no results of psimg.
    SettingsError
        If ``times`` is not above zero, or the earlier run found no time response.
    """
    require_positive("times", times)
    summary = _read_summary(directory / SUMMARY)
    rows = _read_regions(directory / _REGIONS)
    model, spectrum, n_sets = _settings(summary, directory / SUMMARY)
    return Forecast(
        directory=str(directory),
        times=times,
        regions=tuple(_region(row, model, spectrum, n_sets, times) for row in rows),
    )


def _region(
    row: dict[str, Any], model: LifetimeModel, spectrum: SpectrumOptions, n_sets: int, times: float
) -> RegionForecast:
    tau, share = row["tau_ops_ns"], row["background_fraction"]
    bound = None
    if tau is not None and share is not None:
        bound = _bound(row, model, spectrum, n_sets)
    return RegionForecast(
        region=row["region"],
        n_events=row["n_events"],
        background_share=share,
        tau_ops_ns=tau,
        tau_ops_error_ns=row["tau_ops_error_ns"],
        bound_ns=bound,
        forecast_ns=None if bound is None else bound / math.sqrt(times),
    )


def _bound(
    row: dict[str, Any], model: LifetimeModel, spectrum: SpectrumOptions, n_sets: int
) -> float | None:
    """Return the bound for a region; None where its numbers make no spectrum."""
    intensity = None if model.intensities == "fixed" else row["intensity_ops"]
    try:
        return precision_of(
            with_ops(model, tau_ns=row["tau_ops_ns"], intensity=intensity),
            spectrum.edges_ns,
            n_events=row["n_events"],
            background_share=row["background_fraction"],
            n_sets=n_sets,
        ).tau_ops_error_ns
    except SettingsError:
        return None


def _settings(summary: dict[str, Any], path: Path) -> tuple[LifetimeModel, SpectrumOptions, int]:
    """Return model, bins and delayed windows of the earlier run."""
    try:
        settings = summary["settings"]
        model = TypeAdapter(LifetimeModel).validate_python(settings["model"])
        spectrum = TypeAdapter(SpectrumOptions).validate_python(settings["spectrum"])
        calibration = summary["calibration"]
        response = Response.of_table(calibration["gaussians"])
        n_sets = summary["randoms"]["n_windows"]["delayed_prompt"]
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: not a summary of this version of psimg ({error!r})") from error
    known = replace(model, response=response)
    return known, spectrum, 0 if model.background == "flat" else n_sets


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileError(
            f"{path}: no such file; name the output directory of an earlier 'psimg run'"
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from error
    if not isinstance(summary, dict):
        raise FileError(f"{path}: holds no summary of a run")
    return summary


def _read_regions(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise FileError(f"{path}: no column {missing[0]}; expected a table of 'psimg run'")
            return [_row(line, f"{path}: line {reader.line_num}") for line in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from error


def _row(line: dict[str, str], where: str) -> dict[str, Any]:
    numbers: dict[str, float | None] = {}
    for name in _COLUMNS[1:]:
        try:
            numbers[name] = float(line[name]) if line[name] else None
        except ValueError:
            raise FileError(f"{where}: {name} = {line[name]!r}, expected a number") from None
    return {**numbers, "region": line["region"], "n_events": int(numbers["n_events"] or 0)}
