"""What a run learns about its random triplets: classes, shapes, and whether class II matters."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.maps import FitStatus
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.randoms import RandomsSummary, Sideband
from psimg.lifetime.spectrum_fit import calibrate_response
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.randoms import SmoothShape, estimate_classes, measure_shape
from psimg.spectra.values import LifetimeSpectra

_CLASS_2_MATTERS = 0.01
"""Class II over true triplets from which a background without it is warned of."""
_TOO_UNLIKELY = 1e-3
"""Chance below which a flat spectrum is not believed."""


def examine_randoms(
    total: LifetimeSpectra,
    regions: LifetimeSpectra,
    *,
    truth: NDArray[np.int64] | None,
    shape: SmoothShape | None,
    calibration: SpectrumFit,
    model: LifetimeModel,
    options: FitOptions,
) -> RandomsSummary:
    """Summarise the randoms of a run.

    Parameters
    ----------
    total, regions : LifetimeSpectra
        Spectrum of all events in the grid, and those of the regions.
    truth : (4, B) array, optional
        Events in the grid by `Origin`.
    shape : SmoothShape, optional
        Measured shape of the unrelated randoms.
    calibration : SpectrumFit
        The fit of all events with the study's background.
    model : LifetimeModel
        The study's model.
    options : FitOptions
        Smallest number of events.
    """
    fitted = calibration.status == FitStatus.OK
    four_set = _four_set(total, shape, calibration, model, options)
    apart = regions is not total
    names = ("all", *(regions.names or ())) if apart else ("all",)
    rows = [total.delayed[0], *(regions.delayed if apart else ())]
    counts = [total.counts[0], *(regions.counts if apart else ())]
    windows = np.maximum(np.array(total.n_sets, dtype=np.float64), 1.0)
    return RandomsSummary(
        names=names,
        n_events=tuple(int(row.sum()) for row in counts),
        classes=tuple(estimate_classes(row.sum(axis=1), total.n_sets) for row in rows),
        edges_ns=total.edges_ns,
        counts=total.counts[0].astype(np.float64),
        delayed=total.delayed[0] / windows[:, None],
        n_sets=total.n_sets,
        truth=truth,
        shape=shape,
        sideband=_sideband(total, calibration),
        signal=float(calibration.expected[:-1].sum()) if fitted else np.nan,
        tau_ops_ns=calibration.tau_ops_ns if fitted else np.nan,
        tau_ops_error_ns=calibration.tau_ops_error_ns if fitted else np.nan,
        tau_ops_four_set_ns=np.nan if four_set is None else four_set.tau_ops_ns,
        tau_ops_four_set_error_ns=np.nan if four_set is None else four_set.tau_ops_error_ns,
    )


def _four_set(
    total: LifetimeSpectra,
    shape: SmoothShape | None,
    calibration: SpectrumFit,
    model: LifetimeModel,
    options: FitOptions,
) -> SpectrumFit | None:
    """Return the fit of all events with all classes in the background; None without windows."""
    if calibration.status != FitStatus.OK or not all(total.n_sets):
        return None
    if model.background == "four-set":
        return calibration
    return calibrate_response(
        total,
        model=replace(model, background="four-set"),
        shape=None if shape is None else shape.shares,
        options=options,
    )


def _sideband(total: LifetimeSpectra, calibration: SpectrumFit) -> Sideband | None:
    mu, sigma = 0.0, 0.1
    if calibration.status == FitStatus.OK:
        mu, sigma = calibration.value("mu_ns"), calibration.value("sigma_ns")
    stop = mu - 5 * sigma - 0.5
    n_bin = int(np.count_nonzero(total.edges_ns[1:] < stop))
    if n_bin < 10:
        return None
    counts = total.counts[0, :n_bin].astype(np.float64)
    return Sideband(
        stop_ns=float(total.edges_ns[n_bin]),
        n_events=int(counts.sum()),
        shape=measure_shape(counts, total.edges_ns[: n_bin + 1]),
    )


def random_warnings(randoms: RandomsSummary, background: str) -> list[str]:
    """Say where the background of the study leaves out what the windows show."""
    warnings = []
    share, classes = randoms.class_2_share, randoms.classes[0]
    significant = classes.class_2 > 3 * classes.class_2_error
    if background != "four-set" and share > _CLASS_2_MATTERS and significant:
        text = (
            f"prompt-correlated randoms (class II) are {100 * share:.1f} % of the true triplets "
            f"and background = {background!r} leaves them out"
        )
        if np.isfinite(randoms.tau_ops_four_set_ns):
            text += (
                f": with 'four-set' tau_ops of all events is {randoms.tau_ops_four_set_ns:.3f} "
                f"instead of {randoms.tau_ops_ns:.3f} ns"
            )
        warnings.append(f"{text}; set model.background = 'four-set'")
    sideband = randoms.sideband
    if sideband is not None and sideband.shape.p_flat < _TOO_UNLIKELY and background == "flat":
        warnings.append(
            f"the spectrum before {sideband.stop_ns:.1f} ns is not flat (chance "
            f"{sideband.shape.p_flat:.1g}), and background = 'flat' takes its level from there: "
            "class-II randoms or a prompt window that cuts into the spectrum do that; with "
            "singles, use delayed windows and background = 'four-set'"
        )
    return warnings
