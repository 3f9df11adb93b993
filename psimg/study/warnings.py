"""What a run warns of: where its numbers may mislead."""

from collections.abc import Mapping, Sequence

import numpy as np

from psimg.core.grid import VoxelGrid
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.core.regions import Region
from psimg.lifetime.randoms import RandomsSummary
from psimg.lifetime.values import SpectrumFit
from psimg.spectra.signal import SignalSpectrum
from psimg.study.checks import overflow_warnings, rule_warnings
from psimg.study.config import Study
from psimg.study.randoms import random_warnings
from psimg.study.sections import StudyFile

_FLIGHT_NS = 3.0
"""How much flight times may move dt against the raw times, in a scanner of 0.9 m diameter [ns]."""


def study_warnings(
    study: Study,
    *,
    content: str,
    counts: Mapping[str, int],
    signals: SignalSpectrum | None,
    calibration: SpectrumFit,
    randoms: RandomsSummary,
    fits: Sequence[SpectrumFit],
    maps: ParameterMaps,
) -> list[str]:
    """Return the warnings of a run, in the order of its stages.

    Parameters
    ----------
    study : Study
        What was asked for.
    content : {"singles", "triplets", "events"}
        What the files hold.
    counts : mapping
        The counts of ``summary.json``.
    signals : SignalSpectrum, optional
        What the singles left in the detectors.
    calibration : SpectrumFit
        The fit of all events.
    randoms : RandomsSummary
        Random triplets by class.
    fits : sequence of SpectrumFit
        The fits of the regions.
    maps : ParameterMaps
        The fits of the voxels.
    """
    settings = study.settings
    warnings: list[str] = []
    if counts["n_not_finite"]:
        warnings.append(
            f"{counts['n_not_finite']} of {counts['n_rows']} rows held NaN or infinite numbers and "
            "were dropped"
        )
    warnings += overflow_warnings(signals, settings.select)
    warnings += rule_warnings(settings.select)
    if counts.get("n_uncorrected"):
        warnings.append(
            f"{counts['n_uncorrected']} of {counts['n_singles']} singles are of detectors that "
            f"{study.timing_path} has no offset for; their times were left as they are"
        )
    if calibration.is_poor:
        hint = "" if study.object else ": restrict the events to an object (select.object)"
        warnings.append(
            "the model does not describe the spectrum of all events (deviance "
            f"{calibration.deviance:.0f} for {calibration.ndf} degrees of freedom), so the time "
            f"response and with it all fits may be off by more than their errors{hint}"
        )
    warnings += random_warnings(randoms, settings.model.background)
    poor = [fit.name for fit in fits if fit.is_poor]
    if poor:
        warnings.append(f"the model does not describe the spectrum of {', '.join(poor)}")
    if content != "events" and _window_cuts_spectrum(settings):
        low, high = settings.select.prompt_window_ns
        warnings.append(
            f"prompt_window_ns = [{low:g}, {high:g}] cuts raw times, and photons fly for up to "
            f"{_FLIGHT_NS:g} ns: the spectrum from {settings.spectrum.start_ns:g} to "
            f"{settings.spectrum.stop_ns:g} ns loses randoms at its ends and looks less flat than "
            "it is; widen the window or narrow [spectrum]"
        )
    leaving = [region.name for region in study.regions if _leaves(region, study.grid)]
    if leaving:
        warnings.append(
            f"{', '.join(leaving)}: reaches beyond the grid, so that its spectrum holds events "
            "that no voxel does"
        )
    failed = [fit.name for fit in fits if fit.status != FitStatus.OK]
    if failed:
        warnings.append(f"no value for {', '.join(failed)}: see status in regions.csv")
    if not np.any(maps.status == FitStatus.OK):
        section = "fit" if settings.recon.method == "histogram" else "recon"
        warnings.append(
            "no voxel has a fitted lifetime: larger voxels (grid.voxel_mm) or a smaller "
            f"{section}.min_counts would change that"
        )
    return warnings


def _window_cuts_spectrum(settings: StudyFile) -> bool:
    low, high = settings.select.prompt_window_ns
    start, stop = settings.spectrum.start_ns, settings.spectrum.stop_ns
    return low > start - _FLIGHT_NS or high < stop + _FLIGHT_NS


def _leaves(region: Region, grid: VoxelGrid) -> bool:
    low, high = region.bounds_mm
    return bool((low < grid.low_mm - 1e-6).any() or (high > grid.high_mm + 1e-6).any())
