"""Fit one measured spectrum without being told where to start."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.maps import FitStatus
from psimg.lifetime.model import (
    DIRECT,
    PPS,
    Component,
    Gaussian,
    LifetimeModel,
    Response,
    standard_components,
)
from psimg.lifetime.spectrum_fit import fit_spectrum
from psimg.lifetime.values import FitOptions, SpectrumFit
from psimg.spectra.spectrum import Spectrum

FloatArray = NDArray[np.float64]

MOST_GAUSSIANS = 3
"""Gaussians of the response that are tried."""
_N_BLOCK = 160
"""Blocks of bins that the working range is looked for in."""
_FAR = 4.0
"""Standard deviations by which a block is below half the background where nothing counted."""
_N_SIDE = 5
"""Blocks that tell a level."""
_TAIL = 40.0
"""Reach of the stretches that tell the direction, in widths of the steeper side: some ns."""
_STARTS = ((0.2, 1.7), (0.3, 0.7))
"""Weight and relative width that a further Gaussian is tried with."""
_WORTH = 30.66
"""Deviance that a further Gaussian must gain: chi-square of 3 degrees beyond a millionth."""
_BINS_PER_WIDTH = 0.2
"""Bins that models are compared in, in widths of the response."""
_TOO_UNCERTAIN = 0.25
"""Relative error of the o-Ps lifetime at which few counts are fitted with a simpler model."""
_FEW = 20_000
"""Counts below which that is done: with more, it is not for want of counts."""
_EXCESS = 3.0
"""Errors by which p-Ps may exceed a third of o-Ps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One model that was tried."""

    description: str
    status: FitStatus
    deviance: float
    n_parameter: int


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class AutomaticFit:
    """The fit of a spectrum, and what was decided on the way."""

    fit: SpectrumFit
    trials: tuple[Trial, ...]
    """Models tried, in their order."""
    notes: tuple[str, ...]
    """What was decided, a sentence each."""


def water_like_components() -> tuple[Component, ...]:
    """Return p-Ps of a known mean life, direct annihilation and o-Ps of free ones."""
    pps, direct, ops = standard_components()
    return pps, replace(direct, free=True), ops


def fit_automatically(
    spectrum: Spectrum,
    *,
    model: LifetimeModel | None = None,
    n_gaussian: int | None = None,
    range_ns: tuple[float, float] | None = None,
    template: FloatArray | None = None,
    options: FitOptions | None = None,
) -> AutomaticFit:
    """Fit a measured spectrum: find its range, its direction, a start, and the response.

    The number of Gaussians of the response is what the data ask for: a further one must lower the
    deviance by more than its three parameters do by chance once in a million, 30.7 (S. Wilks, Ann.
    Math. Stat. 9 (1938) 60). With a million counts lesser gains are seen from any response that is
    no sum of Gaussians, and following them costs the intensities of the fast components.

    Parameters
    ----------
    spectrum : Spectrum
        Counts on a time axis; its zero may be anywhere.
    model : LifetimeModel, optional
        By default p-Ps of 0.125 ns, direct annihilation and o-Ps of free mean lives, free
        intensities. Where fewer than 20,000 counts leave a component without events or the o-Ps
        lifetime uncertain by more than a quarter, direct annihilation of 0.388 ns and p-Ps a third
        of o-Ps, as for voxels.
    n_gaussian : int, optional
        Gaussians of the response, 1 to 3. A model with a known response keeps it.
    range_ns : (float, float), optional
        Part of the axis to fit; by default where the instrument was counting.
    template : (B,) array, optional
        Background of the whole spectrum up to a factor, for the ``template`` background.
    options : FitOptions, optional
        Smallest number of events, and whether to look for profile intervals.

    Returns
    -------
    AutomaticFit
        The fit and what was decided.

    Raises
    ------
    DataError
        If the range holds no bin or no counts, or there are no more bins than free parameters.
    """
    notes: list[str] = []
    first, last = _range_of(spectrum, range_ns, notes)
    data = replace(
        spectrum,
        edges_ns=spectrum.edges_ns[first : last + 1],
        counts=spectrum.counts[first:last],
    )
    background = None if template is None else np.asarray(template)[first:last]
    if runs_backwards(data):
        notes.append("the decay runs towards earlier times: the axis was turned round")
        data = replace(data, edges_ns=-data.edges_ns[::-1], counts=data.counts[::-1])
        background = None if background is None else background[::-1]
    trials: list[Trial] = []
    fits: list[SpectrumFit] = []
    # Bins much narrower than the response cost time and tell nothing when models are compared.
    step = (data.edges_ns[-1] - data.edges_ns[0]) / len(data)
    n_merged = max(1, int(_BINS_PER_WIDTH * rise_width(data) / step))
    few = data.counts.sum() < _FEW
    for tried in [model] if model is not None else _ladder()[: 2 if few else 1]:
        coarse = data.merged(n_merged)
        shape = None if background is None else _merged(background, len(coarse), n_merged)
        found = _fit_gaussians(coarse, tried, n_gaussian, shape, options, trials)
        for best in reversed(found):
            start = _in_order(best) if best.status == FitStatus.OK else {}
            fit = fit_spectrum(
                data.counts, data.edges_ns, model=best.model, start=start, template=background,
                options=options, name=data.name,
            )  # fmt: skip
            # Gaussians that merged bins could not tell apart, the bins themselves may.
            if fit.status == FitStatus.OK or n_gaussian is not None:
                break
        fits.append(fit)
        if _is_certain(fit):
            break
    fit = next((one for one in reversed(fits) if one.status == FitStatus.OK), fit)
    if model is None and fit.model.intensities == "ps-ratio":
        notes.append(
            "too few counts for free intensities: direct annihilation is fixed at "
            f"{fit.value(f'tau_{DIRECT}_ns'):g} ns and p-Ps is a third of o-Ps"
        )
    if fit.model.response.more or n_gaussian is None:
        n = len(fit.model.response.more) + 1
        notes.append(f"response of {n} Gaussian{'s' if n > 1 else ''}")
    notes += _doubts(fit)
    return AutomaticFit(fit=fit, trials=tuple(trials), notes=tuple(notes))


def _doubts(fit: SpectrumFit) -> list[str]:
    """Say where the fitted numbers contradict what is known of positronium."""
    names = fit.model.names
    if fit.status != FitStatus.OK or not fit.model.has_ops:
        return []
    if fit.tau_ops_error_ns > _TOO_UNCERTAIN * fit.tau_ops_ns:
        return [
            "tau_ops is uncertain by more than a quarter and its error is not symmetric: take a "
            "range that ends later, or more counts; profile intervals (--intervals) say more"
        ]
    if PPS not in names or fit.model.intensities != "free":
        return []
    pps, error = fit.intensities[names.index(PPS)], fit.intensity_errors[names.index(PPS)]
    third = fit.intensity_ops / 3.0
    if not pps - third > _EXCESS * np.hypot(error, fit.intensity_ops_error / 3.0):
        return []
    return [
        f"p-Ps holds {100 * pps:.0f} % where a third of o-Ps would be {100 * third:.0f} %: "
        "response and fast components are not told apart, or a component is missing; tau_ops "
        "depends on it by more than its error"
    ]


def _merged(values: FloatArray, n_bin: int, n: int) -> FloatArray:
    return np.asarray(values[: n_bin * n].reshape(n_bin, n).sum(axis=1))


def _in_order(fit: SpectrumFit) -> dict[str, float]:
    """Return the parameters of a fit, with its Gaussians by rising width where all are fitted."""
    start = dict(zip(fit.parameters, fit.values.tolist(), strict=True))
    given = fit.model.response
    if not given.more or given != Response(more=(Gaussian(),) * len(given.more)):
        return start
    table = fit.response.table
    table = table[np.argsort(table[:, 2])]
    start |= {"mu_ns": table[0, 1], "sigma_ns": table[0, 2]}
    for i, (weight, mean, sigma) in enumerate(table[1:], start=2):
        start |= {
            f"weight_{i}": weight,
            f"shift_{i}_ns": mean - table[0, 1],
            f"sigma_{i}_ns": sigma,
        }
    return start


def _ladder() -> list[LifetimeModel]:
    """Return models from the freest to one for few events."""
    return [
        LifetimeModel(components=water_like_components(), intensities="free"),
        LifetimeModel(),
    ]


def _range_of(
    spectrum: Spectrum, range_ns: tuple[float, float] | None, notes: list[str]
) -> tuple[int, int]:
    """Return the first bin to fit and the one after the last."""
    if range_ns is None:
        first, last = working_range(spectrum.counts)
        if (first, last) != (0, len(spectrum)):
            notes.append(
                f"bins {first} to {last - 1} of 0 to {len(spectrum) - 1} are fitted: outside, the "
                "instrument counted less than half its background"
            )
        return first, last
    part = spectrum.between(*range_ns)
    first = int(np.searchsorted(spectrum.edges_ns, part.edges_ns[0]))
    return first, first + len(part)


def working_range(counts: FloatArray) -> tuple[int, int]:
    """Return the first bin where an instrument counts, and the one after the last.

    Discriminators cut a converter's range off at both ends. Blocks of bins are dropped from either
    end while they hold significantly less than half the background, the lower of the levels before
    the peak and at the end. Where the peak is at the start, nothing tells a cut from a decay, and
    no bin is dropped.

    Parameters
    ----------
    counts : (B,) array
        Counts of all channels.
    """
    size = max(1, len(counts) // _N_BLOCK)
    n_block = len(counts) // size
    blocks = counts[: n_block * size].reshape(n_block, size).sum(axis=1)
    peak = int(np.argmax(blocks))
    before, after = blocks[:peak], blocks[peak + (2 * (n_block - peak)) // 3 :]
    if len(before) < _N_SIDE or len(after) < _N_SIDE:
        return 0, len(counts)
    level = min(float(np.median(before)), float(np.median(after)))
    first, last = 0, n_block
    while first < peak and _is_off(blocks[first], level):
        first += 1
    while last > peak + 1 and _is_off(blocks[last - 1], level):
        last -= 1
    # The level was reached somewhere within the block after the last one that is off.
    first += 1 if 0 < first < peak else 0
    last -= 1 if peak + 2 < last < n_block else 0
    return first * size, len(counts) if last == n_block else last * size


def _is_off(count: float, level: float) -> bool:
    return bool(count < 0.5 * level - _FAR * math.sqrt(0.5 * level + 1.0))


def runs_backwards(spectrum: Spectrum) -> bool:
    """Whether more was counted in a stretch of time before the peak than in one after it.

    Parameters
    ----------
    spectrum : Spectrum
        Counts on a time axis. A background that is the same on both sides plays no part.
    """
    counts, t = spectrum.counts, spectrum.centres_ns
    peak = t[_peak(counts)]
    mirrored = replace(spectrum, edges_ns=-spectrum.edges_ns[::-1], counts=counts[::-1])
    steep = min(rise_width(spectrum), rise_width(mirrored))
    away = np.abs(t - peak)
    reach = min(_TAIL * steep, peak - spectrum.edges_ns[0], spectrum.edges_ns[-1] - peak)
    stretch = (away > 3.0 * steep) & (away < reach)
    before = float(counts[stretch & (t < peak)].sum())
    after = float(counts[stretch & (t > peak)].sum())
    return before - after > 5.0 * math.sqrt(before + after)


def _smooth(counts: FloatArray) -> FloatArray:
    n = max(1, len(counts) // 1000)
    return np.convolve(counts, np.ones(n) / n, mode="same")


def _peak(counts: FloatArray) -> int:
    return int(np.argmax(_smooth(counts)))


def _fit_gaussians(
    data: Spectrum,
    model: LifetimeModel,
    n_gaussian: int | None,
    template: FloatArray | None,
    options: FitOptions | None,
    trials: list[Trial],
) -> list[SpectrumFit]:
    """Fit with as many Gaussians as asked for, or as the data ask for; the last is the best."""
    if model.response.known or model.response.more:
        return [_try(data, model, {}, template, options, trials)]
    start = {} if model.response.sigma_ns is not None else {"sigma_ns": rise_width(data)}
    best = _try(data, model, start, template, options, trials)
    kept = [best]
    for n in range(2, (n_gaussian or MOST_GAUSSIANS) + 1):
        if best.status != FitStatus.OK:
            break
        more = replace(model, response=replace(model.response, more=(Gaussian(),) * (n - 1)))
        found = [
            _try(data, more, _further(best, n, weight, width), template, options, trials)
            for weight, width in _STARTS
        ]
        good = [fit for fit in found if fit.status == FitStatus.OK and _is_sound(fit)]
        if not good:
            break
        better = min(good, key=lambda fit: fit.deviance)
        if n_gaussian is None and best.deviance - better.deviance < _WORTH:
            break
        best = better
        kept.append(best)
    return kept


def _is_certain(fit: SpectrumFit) -> bool:
    """Whether a fit has found all its components, and the o-Ps lifetime not just roughly."""
    if fit.status != FitStatus.OK or np.isnan(fit.errors[: len(fit.model.groups[0])]).any():
        return False
    return not fit.model.has_ops or fit.tau_ops_error_ns < _TOO_UNCERTAIN * fit.tau_ops_ns


def _further(fit: SpectrumFit, n: int, weight: float, width: float) -> dict[str, float]:
    """Return a start for ``n`` Gaussians from a fit with one less."""
    start = dict(zip(fit.parameters, fit.values.tolist(), strict=True))
    return start | {
        f"weight_{n}": weight,
        f"shift_{n}_ns": 0.0,
        f"sigma_{n}_ns": width * fit.value("sigma_ns"),
    }


def _is_sound(fit: SpectrumFit) -> bool:
    """Whether every Gaussian of the response holds something."""
    return bool(np.all(fit.response.table[:, 0] > 1e-3))


def _try(
    data: Spectrum,
    model: LifetimeModel,
    start: dict[str, float],
    template: FloatArray | None,
    options: FitOptions | None,
    trials: list[Trial],
) -> SpectrumFit:
    fit = fit_spectrum(
        data.counts, data.edges_ns, model=model, start=start, template=template, options=options,
        name=data.name,
    )  # fmt: skip
    free = ", ".join(c.name for c in model.components if c.free)
    n = len(model.response.more) + 1
    trials.append(
        Trial(
            description=f"{n} Gaussian{'s' if n > 1 else ''}, intensities {model.intensities}, "
            f"free mean lives {free or 'none'}",
            status=fit.status,
            deviance=fit.deviance,
            n_parameter=len(fit.parameters),
        )
    )
    return fit


def rise_width(spectrum: Spectrum) -> float:
    """Return a Gaussian width from the rising side of the peak, half of its full height [ns].

    Parameters
    ----------
    spectrum : Spectrum
        Counts on a time axis, decaying towards later times.

    Raises
    ------
    DataError
        If the spectrum has no counts.
    """
    counts, t = spectrum.counts, spectrum.centres_ns
    if not counts.any():
        raise DataError(f"{spectrum.name}: no counts")
    smooth, peak = _smooth(counts), _peak(counts)
    level = float(np.median(smooth[:peak])) if peak else 0.0
    half = level + 0.5 * (smooth[peak] - level)
    below = np.flatnonzero(smooth[:peak] < half)
    step = float(np.median(np.diff(spectrum.edges_ns)))
    width = float(t[peak] - t[below[-1]]) if len(below) else step
    # The half width of a Gaussian is 1.18 sigma; of a spectrum's rise, a little more.
    return float(np.clip(width / 1.3, 0.3 * step, 2.0))
