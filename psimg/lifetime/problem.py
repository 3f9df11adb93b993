"""A spectrum and its model as a function of the free parameters: expectation, slopes, deviance."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, SettingsError
from psimg.lifetime._mixture import mixture_derivatives, mixture_shares
from psimg.lifetime.correlated import Shifts, measure_shifts, n_shift_bins, wider_edges
from psimg.lifetime.likelihood import PoissonProblem
from psimg.lifetime.model import LifetimeModel, require_windows
from psimg.lifetime.values import SpectrumData, SpectrumFit
from psimg.spectra.randoms import flat_shape

FloatArray = NDArray[np.float64]

_SIGMA_RANGE_NS = (0.005, 5.0)
_SIGMA_START_NS = 0.1
_SHIFT_RANGE_NS = (-2.0, 2.0)
_WEIGHT_START = 0.2
_SPREAD_START = 0.2
_BEFORE_PEAK_NS = 0.5
"""Bins that end this and five widths before the peak hold next to no signal."""


class _Signal(NamedTuple):
    """True events and how they change."""

    parts: FloatArray
    """(K, B + 2 R) events of each component."""
    slopes: FloatArray
    """(Q, B + 2 R) slopes of their sum in the Q parameters that shape the signal."""


class SpectrumProblem(PoissonProblem):
    """One spectrum and its model as a function of the free parameters.

    The parameters are, in this order: events of each group, free mean lives, free spreads,
    unrelated randoms, the unknown numbers of the response, and, with class II in the background,
    the events of classes II and III.

    Parameters
    ----------
    data : SpectrumData
        The spectrum and what was measured with it.
    model : LifetimeModel
        What it is made of.

    Raises
    ------
    DataError
        If there are no more bins than free parameters, the response is wider than the spectrum, or
        the time bins are not of equal width and class II is asked for.
    SettingsError
        If the model asks for delayed windows or a template and there are none.
    """

    def __init__(self, data: SpectrumData, model: LifetimeModel) -> None:
        name = data.name
        n_sets = (0, 0, 0) if data.delayed is None else data.delayed.n_sets
        require_windows(model, n_sets, where=f"{name}: ")
        if model.background == "template" and data.template is None:
            raise SettingsError(
                f"{name}: background = 'template' needs a template; give one, or use "
                "background = 'flat'"
            )
        self.data, self.model = data, model
        # A flat background takes no word from delayed windows.
        measured = model.background in ("delayed", "four-set")
        self.delayed = data.delayed if measured else None
        self.with_class_2 = model.background == "four-set"
        self.shape = self._shape()
        self.exposure = np.ones(data.n_bin) if data.exposure is None else data.exposure
        groups, self.link = model.groups
        self.n_group = len(groups)
        self.free_tau = [k for k, c in enumerate(model.components) if c.free]
        self.free_spread = [k for k, c in enumerate(model.components) if c.spread_free]
        self.names = (
            *(f"n_{group}" for group in groups),
            *(f"tau_{model.components[k].name}_ns" for k in self.free_tau),
            *(f"spread_{model.components[k].name}" for k in self.free_spread),
            "background",
            *response_parameters(model),
            *(("class_2", "class_3") if self.with_class_2 else ()),
        )
        self.level_at = self.n_group + len(self.free_tau) + len(self.free_spread)
        self.n_beyond = n_shift_bins(data.edges_ns) if self.with_class_2 else 0
        self.wide_edges = wider_edges(data.edges_ns) if self.with_class_2 else data.edges_ns
        self.shifts: Shifts | None = None
        self._known: dict[int, FloatArray] = {}
        self.observed = self._observed()
        self._require_possible()

    def _shape(self) -> FloatArray:
        if self.model.background == "template":
            assert self.data.template is not None
            return self.data.template
        return flat_shape(self.data.edges_ns) if self.delayed is None else self.delayed.shape

    def _observed(self) -> FloatArray:
        found: list[FloatArray | list[float]] = [self.data.counts]
        if self.delayed is not None:
            found.append([self.delayed.prompt.sum()])
            if self.with_class_2:
                found += [self.delayed.photon, [self.delayed.both.sum()]]
        return np.concatenate(found)

    def _require_possible(self) -> None:
        name, n_bin = self.data.name, self.data.n_bin
        if n_bin <= len(self.names):
            raise DataError(
                f"{name}: {n_bin} bins cannot fix {len(self.names)} free parameters; use "
                "narrower bins"
            )
        length = float(self.data.edges_ns[-1] - self.data.edges_ns[0])
        widest = np.nanmax(self.model.response.table[:, 2], initial=0.0)
        if widest > length:
            raise DataError(
                f"{name}: the response is {widest:g} ns wide and the spectrum {length:g} ns long; "
                "correct sigma_ns (in ns), or the range of the spectrum"
            )

    def response(self, p: FloatArray) -> FloatArray:
        """Return the (G, 3) weight, mean and width of the response's Gaussians [ns]."""
        known = self.model.response

        def number(given: float | None, name: str) -> float:
            return given if given is not None else float(p[self.names.index(name)])

        mu = number(known.mu_ns, "mu_ns")
        table = [[1.0, mu, number(known.sigma_ns, "sigma_ns")]]
        for i, gaussian in enumerate(known.more, start=2):
            weight = number(gaussian.weight, f"weight_{i}")
            shift = number(gaussian.shift_ns, f"shift_{i}_ns")
            table.append([weight, mu + shift, number(gaussian.sigma_ns, f"sigma_{i}_ns")])
            table[0][0] -= weight
        return np.array(table)

    def level(self, p: FloatArray) -> float:
        """Return the number of unrelated randoms, of classes I and III."""
        return float(p[self.level_at])

    def _lives(self, p: FloatArray) -> tuple[list[float], list[float]]:
        """Return the K mean lives [ns] and spreads."""
        tau = [c.tau_ns for c in self.model.components]
        spread = [c.spread for c in self.model.components]
        for position, k in enumerate(self.free_tau):
            tau[k] = float(p[self.n_group + position])
        for position, k in enumerate(self.free_spread):
            spread[k] = float(p[self.n_group + len(self.free_tau) + position])
        return tau, spread

    def signal(self, p: FloatArray) -> FloatArray:
        """Return (K, B + 2 R) true events of each component, R bins beyond the spectrum's ends."""
        response, (tau, spread) = self.response(p), self._lives(p)
        events = self.link @ p[: self.n_group]
        parts = np.empty((len(tau), len(self.wide_edges) - 1))
        work = np.empty(parts.shape[1])
        for k, part in enumerate(parts):
            constant = (
                self.model.response.known and k not in self.free_tau and k not in self.free_spread
            )
            if k not in self._known:
                mixture_shares(self.wide_edges, tau[k], spread[k], response, work, part)
                if constant:
                    self._known[k] = part.copy()
            else:
                part[:] = self._known[k]
        return np.asarray(events[:, None] * parts)

    def _signal_with_slopes(self, p: FloatArray) -> _Signal:
        response, (tau, spread) = self.response(p), self._lives(p)
        n_bin = len(self.wide_edges) - 1
        events = self.link @ p[: self.n_group]
        work, parts = np.empty((4, n_bin)), np.empty((len(tau), n_bin))
        d_tau, d_spread = np.empty_like(parts), np.empty_like(parts)
        d_response, one = np.zeros((len(response), 3, n_bin)), np.empty((len(response), 3, n_bin))
        for k in range(len(tau)):
            mixture_derivatives(
                self.wide_edges, tau[k], spread[k], response, work, parts[k], d_tau[k],
                d_spread[k], one,
            )  # fmt: skip
            d_response += events[k] * one
        slopes = [
            self.link.T @ parts,
            *(events[k] * d_tau[k : k + 1] for k in self.free_tau),
            *(events[k] * d_spread[k : k + 1] for k in self.free_spread),
        ]
        by_name = {"mu_ns": d_response[:, 1].sum(axis=0), "sigma_ns": d_response[0, 2]}
        for g in range(1, len(response)):
            by_name[f"weight_{g + 1}"] = d_response[g, 0] - d_response[0, 0]
            by_name[f"shift_{g + 1}_ns"] = d_response[g, 1]
            by_name[f"sigma_{g + 1}_ns"] = d_response[g, 2]
        slopes += [by_name[name][None, :] for name in response_parameters(self.model)]
        return _Signal(events[:, None] * parts, np.concatenate(slopes))

    def _inside(self, wide: FloatArray) -> FloatArray:
        return wide[:, self.n_beyond : wide.shape[1] - self.n_beyond]

    def expected(self, p: FloatArray) -> FloatArray:
        """Return (K+2, B) expected events per component, unrelated randoms, and class II."""
        signal = self.signal(p)
        class_2 = np.zeros(self.data.n_bin)
        if self.shifts is not None:
            class_2 = p[-2] * self.shifts.spread(signal.sum(axis=0))
        parts = np.vstack([self._inside(signal), self.level(p) * self.shape, class_2])
        return np.asarray(self.exposure * parts)

    def expectation(self, p: FloatArray) -> FloatArray:
        """Return the (D,) expected counts: the spectrum's, and those of the delayed windows."""
        parts = self.expected(p)
        found: list[FloatArray | list[float]] = [parts.sum(axis=0)]
        if self.delayed is not None:
            n_prompt, n_photon, n_both = self.delayed.n_sets
            found.append([n_prompt * self.level(p)])
            if self.with_class_2:
                found += [n_photon * (parts[-1] + 2.0 * p[-1] * self.shape), [2.0 * n_both * p[-1]]]
        return np.concatenate(found)

    def slopes(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (D,) expected counts and their (P, D) derivatives."""
        signal = self._signal_with_slopes(p)
        n_response = len(response_parameters(self.model))
        shaping = [i for i in range(self.level_at + 1 + n_response) if i != self.level_at]
        inside, class_2 = np.zeros((2, len(p), self.data.n_bin))
        inside[shaping] = self._inside(signal.slopes)
        inside[self.level_at] = self.shape
        total = signal.parts.sum(axis=0)
        expected = self._inside(total[None, :])[0] + self.level(p) * self.shape
        if self.shifts is not None:
            class_2[shaping] = p[-2] * self.shifts.spread_slopes(total, signal.slopes)
            class_2[-2] = self.shifts.spread(total)
            expected = expected + p[-2] * class_2[-2]
        found: list[FloatArray | list[float]] = [self.exposure * expected]
        jacobian = [self.exposure * (inside + class_2)]
        if self.delayed is not None:
            n_prompt, n_photon, n_both = self.delayed.n_sets
            unit = np.eye(len(p))
            found.append([n_prompt * self.level(p)])
            jacobian.append(n_prompt * unit[:, [self.level_at]])
            if self.with_class_2:
                photon = class_2 + 2.0 * np.outer(unit[-1], self.shape)
                found += [n_photon * (p[-2] * class_2[-2] + 2.0 * p[-1] * self.shape)]
                found += [[2.0 * n_both * p[-1]]]
                jacobian += [n_photon * photon, 2.0 * n_both * unit[:, [-1]]]
        return np.concatenate(found), np.hstack(jacobian)

    def priors(self) -> list[tuple[int, float, float]]:
        """Return position, mean and standard deviation of the parameters with a prior."""
        found = []
        for position, k in enumerate(self.free_tau):
            prior = self.model.components[k].prior_ns
            if prior is not None:
                found.append((self.n_group + position, *prior))
        return found

    def measure_shifts(self, p: FloatArray) -> None:
        """Fit the shifts of class II to the windows with a photon delayed, for these lifetimes."""
        assert self.delayed is not None
        self.shifts = measure_shifts(self.delayed, self.data.edges_ns, self.signal(p).sum(axis=0))

    def start(self, given: Mapping[str, float] | None = None) -> FloatArray:
        """Guess the parameters from the spectrum's peak and its part before the peak.

        Parameters
        ----------
        given : mapping, optional
            Parameters that are known better.

        Returns
        -------
        (P,) array
            A start inside the limits.

        Raises
        ------
        SettingsError
            If a parameter of ``given`` is not one of this model's.
        """
        counts, known = self.data.counts, self.model.response
        mu, sigma = known.mu_ns, known.sigma_ns
        if mu is None:
            smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
            # The peak of a fast decay lies about its mean life after the shift.
            mu = float(self.data.centres_ns[np.argmax(smooth)] - 0.1)
        sigma = _SIGMA_START_NS if sigma is None else sigma
        background = self._level_start(mu, sigma)
        signal = max(float(counts.sum()) - background, 1.0)
        start = dict(zip(self.names, self._amplitude_start(signal), strict=False))
        start |= {"background": background, "mu_ns": mu, "sigma_ns": sigma}
        start |= {f"tau_{c.name}_ns": c.tau_ns for c in self.model.components}
        start |= {f"spread_{c.name}": c.spread or _SPREAD_START for c in self.model.components}
        for i in range(2, len(known.more) + 2):
            start |= {f"weight_{i}": _WEIGHT_START / (i - 1), f"shift_{i}_ns": 0.0}
            start[f"sigma_{i}_ns"] = sigma * (1.0 + 0.8 * (i - 1))
        if self.with_class_2:
            assert self.delayed is not None
            _, n_photon, n_both = self.delayed.n_sets
            class_3 = 0.5 * self.delayed.both.sum() / n_both
            class_2 = self.delayed.photon.sum() / n_photon - 2.0 * class_3
            start |= {"class_2": max(class_2, 1.0), "class_3": max(class_3, 1.0)}
        for name, value in (given or {}).items():
            if name not in self.names:
                raise SettingsError(
                    f"{self.data.name}: no free parameter is named {name!r}; there are "
                    f"{', '.join(self.names)}"
                )
            start[name] = value
        low, high = np.array(self.limits()).T
        return np.asarray(np.clip([start[name] for name in self.names], low, high))

    def _level_start(self, mu: float, sigma: float) -> float:
        total = float(self.data.counts.sum())
        background = 0.2 * total
        before = self.data.edges_ns[1:] < mu - 5 * sigma - _BEFORE_PEAK_NS
        if (self.exposure * self.shape)[before].sum() > 0:
            share = (self.exposure * self.shape)[before].sum()
            background = float(self.data.counts[before].sum() / share)
        if self.delayed is not None:
            background = self.delayed.prompt.sum() / self.delayed.n_sets[0]
        return float(np.clip(background, 1.0, max(0.95 * total, 1.0)))

    def _amplitude_start(self, signal: float) -> FloatArray:
        shares = [c.intensity or 1 / len(self.model.components) for c in self.model.components]
        amplitude, *_ = np.linalg.lstsq(self.link, np.array(shares), rcond=None)
        amplitude = np.maximum(amplitude, 0.02)
        return np.asarray(amplitude * signal / (self.link @ amplitude).sum())

    def limits(self) -> list[tuple[float, float]]:
        """Return the range of each parameter."""
        edges = self.data.edges_ns
        ranges = {f"tau_{c.name}_ns": c.range_ns for c in self.model.components}
        ranges |= {f"spread_{c.name}": (0.0, 1.0) for c in self.model.components}
        ranges["mu_ns"] = (float(edges[0]), float(edges[-1]))
        for name in response_parameters(self.model):
            kind = name.split("_")[0]
            by_kind = {"sigma": _SIGMA_RANGE_NS, "weight": (0.0, 0.9), "shift": _SHIFT_RANGE_NS}
            if kind in by_kind:
                ranges[name] = by_kind[kind]
        return [ranges.get(name, (0.0, np.inf)) for name in self.names]


def response_parameters(model: LifetimeModel) -> tuple[str, ...]:
    """Return the names of the numbers of the response that are not known."""
    known = model.response
    names = [("mu_ns", known.mu_ns), ("sigma_ns", known.sigma_ns)]
    for i, g in enumerate(known.more, start=2):
        names += [
            (f"weight_{i}", g.weight),
            (f"shift_{i}_ns", g.shift_ns),
            (f"sigma_{i}_ns", g.sigma_ns),
        ]
    return tuple(name for name, value in names if value is None)


def problem_of(fit: SpectrumFit) -> SpectrumProblem:
    """Return the problem that a fit with values has solved."""
    problem = SpectrumProblem(fit.data, fit.model)
    if problem.with_class_2:
        problem.measure_shifts(fit.values)
    return problem
