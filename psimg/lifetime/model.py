"""The model of a dt spectrum as data: components, their intensities, response, background."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window

PPS, DIRECT, OPS = "pps", "direct", "ops"
"""Names of para-positronium, direct annihilation and ortho-positronium."""

_OPS_RANGE_NS = (0.5, 20.0)
_RANGE_FACTOR = 4.0
"""Other free mean lives may become this many times shorter or longer than their start."""
_SPREAD_RANGE = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One exponential decay of the spectrum, or a log-normal distribution of them."""

    name: str
    """``pps``, ``direct``, ``ops``, or another of the user's."""
    tau_ns: float
    """Mean life; where it is free, the start of the fit [ns]."""
    free: bool = False
    """Whether the fit may change the mean life."""
    bounds_ns: tuple[float, float] | None = None
    """Range of a free mean life; when left out 0.5 to 20 for o-Ps and a quarter to four times
    ``tau_ns`` for others [ns]."""
    prior_ns: tuple[float, float] | None = None
    """Mean and standard deviation of what is known of a free mean life beforehand [ns]."""
    intensity: float | None = None
    """Share of all positrons; used by the ``fixed`` and ``merged`` rules, and as the start of the
    others."""
    source: bool = False
    """Whether these positrons annihilate in the source or its foil: a known ``intensity`` of all
    positrons, outside the intensities of the sample, which sum to one without it."""
    spread: float = 0.0
    """Standard deviation of the logarithm of the mean life; ``tau_ns`` is then the mean over the
    distribution."""
    spread_free: bool = False
    """Whether the fit may change the spread, between 0 and 1."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        require_positive(f"tau_ns of component {self.name}", self.tau_ns)
        low, high = self.range_ns
        require_window(f"bounds_ns of component {self.name}", (low, high))
        require_positive(f"bounds_ns of component {self.name}", low)
        if self.free and not low <= self.tau_ns <= high:
            raise SettingsError(
                f"tau_ns = {self.tau_ns:g} of component {self.name} lies outside its bounds_ns "
                f"{low:g} to {high:g}"
            )
        if self.prior_ns is not None:
            require_positive(f"the second number of prior_ns of component {self.name}",
                             self.prior_ns[1])  # fmt: skip
            if not self.free:
                raise SettingsError(
                    f"component {self.name} has a prior_ns and a fixed mean life; set free = true"
                )
        if self.intensity is not None and not 0 <= self.intensity <= 1:
            raise SettingsError(
                f"intensity = {self.intensity:g} of component {self.name}: expected 0 to 1"
            )
        if self.source and (self.intensity is None or self.intensity >= 1):
            raise SettingsError(
                f"component {self.name} is of the source and needs an intensity below 1"
            )
        low, high = _SPREAD_RANGE
        if not low <= self.spread <= high:
            raise SettingsError(
                f"spread = {self.spread:g} of component {self.name}: expected {low:g} to {high:g}"
            )

    @property
    def range_ns(self) -> tuple[float, float]:
        """Range of the mean life where it is free [ns]."""
        if self.bounds_ns is not None:
            return self.bounds_ns
        if self.name == OPS:
            return _OPS_RANGE_NS
        return self.tau_ns / _RANGE_FACTOR, self.tau_ns * _RANGE_FACTOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaussian:
    """A further Gaussian of the response; a field that is None is fitted."""

    weight: float | None = None
    """Share of the response; the first Gaussian has what the others leave."""
    shift_ns: float | None = None
    """Its mean minus that of the first Gaussian [ns]."""
    sigma_ns: float | None = None
    """Its width [ns]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 <= self.weight < 1:
            raise SettingsError(
                f"weight = {self.weight:g} of a Gaussian of the response: expected 0 to 1"
            )
        if self.sigma_ns is not None:
            require_positive("sigma_ns", self.sigma_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """Time response, a sum of Gaussians; a field that is None is fitted once, to all events."""

    mu_ns: float | None = None
    """Mean of the first Gaussian: the shift of the spectrum [ns]."""
    sigma_ns: float | None = None
    """Width of the first Gaussian [ns]."""
    more: tuple[Gaussian, ...] = ()
    """Further Gaussians."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.sigma_ns is not None:
            require_positive("sigma_ns", self.sigma_ns)
        weight = sum(gaussian.weight or 0.0 for gaussian in self.more)
        if not weight < 1:
            raise SettingsError(
                f"the weights of the response's further Gaussians sum to {weight:g}; they must "
                "leave something for the first"
            )

    @classmethod
    def of_table(cls, table: Sequence[Sequence[float]] | NDArray[np.float64]) -> "Response":
        """Return the known response of a (G, 3) `table`."""
        (_, mu, sigma), *rest = np.asarray(table, dtype=np.float64).tolist()
        more = tuple(Gaussian(weight=w, shift_ns=m - mu, sigma_ns=s) for w, m, s in rest)
        return cls(mu_ns=mu, sigma_ns=sigma, more=more)

    @property
    def table(self) -> NDArray[np.float64]:
        """(G, 3) weight, mean and width of each Gaussian [ns]; NaN for what is not known.

        The first weight is what the others leave, and the other means are sums with a shift: they
        are NaN where a number that they depend on is.
        """
        mu = math.nan if self.mu_ns is None else self.mu_ns
        rows = [[1.0, mu, math.nan if self.sigma_ns is None else self.sigma_ns]]
        for gaussian in self.more:
            weight, shift, sigma = (
                math.nan if x is None else x
                for x in (gaussian.weight, gaussian.shift_ns, gaussian.sigma_ns)
            )
            rows.append([weight, mu + shift, sigma])
            rows[0][0] -= weight
        return np.array(rows, dtype=np.float64)

    @property
    def known(self) -> bool:
        """Whether nothing is left to fit."""
        return bool(np.isfinite(self.table).all())


def standard_components() -> tuple[Component, ...]:
    """Return p-Ps, direct annihilation and o-Ps with the values used for water-like matter.

    p-Ps lives 0.125 ns in vacuum (A. H. Al-Ramadhan and D. W. Gidley, Phys. Rev. Lett. 72 (1994)
    1632: a rate of 7.9909 per ns). In tissue direct annihilation takes about 0.388 ns, and 10, 60
    and 30 % of the positrons go each way (P. Moskal et al., EJNMMI Phys. 7 (2020) 44).
    """
    return (
        Component(name=PPS, tau_ns=0.125, intensity=0.1),
        Component(name=DIRECT, tau_ns=0.388, intensity=0.6),
        Component(name=OPS, tau_ns=2.0, intensity=0.3, free=True),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LifetimeModel:
    """What a spectrum of dt is made of."""

    components: tuple[Component, ...] = standard_components()
    """K decays. Regions and voxels of a study need one of them named ``ops``, its mean life
    free."""
    intensities: Literal["free", "ps-ratio", "fixed", "merged"] = "ps-ratio"
    """``free``: each its own; ``ps-ratio``: p-Ps a third of o-Ps, the rest free; ``fixed``: as the
    components state; ``merged``: o-Ps free, the others one group that shares as they state."""
    response: Response = Response()
    background: Literal["flat", "delayed", "four-set", "template"] = "flat"
    """Random triplets. ``flat``: the level of the spectrum itself. ``delayed``: level and shape
    also from windows with the prompt delayed. ``four-set``: all classes, also from windows with an
    annihilation photon delayed. ``template``: the level of the spectrum, a shape that is given with
    it."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        names = [component.name for component in self.components]
        if not any(not c.source for c in self.components):
            raise SettingsError("a model needs a component that is not of the source")
        if len(set(names)) != len(names):
            raise SettingsError(f"two components have the same name among {', '.join(names)}")
        self._require_different_lives()
        if self.intensities == "ps-ratio":
            self._require(PPS, "intensities = 'ps-ratio'")
        if self.intensities in ("ps-ratio", "merged"):
            self._require(OPS, f"intensities = {self.intensities!r}")
        if self.source_share >= 1:
            raise SettingsError(
                f"the source's intensities sum to {self.source_share:g}; they must leave "
                "something for the sample"
            )
        if self.intensities in ("fixed", "merged"):
            self._require_intensities()

    def _require(self, name: str, what: str) -> None:
        if name not in self.names or self.components[self.names.index(name)].source:
            raise SettingsError(f"{what} needs a component named {name!r}, not of the source")

    def _require_different_lives(self) -> None:
        """Two sample components of one mean life share their events in any way."""
        seen: dict[float, str] = {}
        for component in self.components:
            if component.source or component.spread or component.spread_free:
                continue
            other = seen.setdefault(component.tau_ns, component.name)
            if other != component.name and self.intensities != "fixed":
                raise SettingsError(
                    f"components {other} and {component.name} have the same mean life "
                    f"tau_ns = {component.tau_ns:g}: no spectrum tells them apart; change one, or "
                    "remove it"
                )

    def _require_intensities(self) -> None:
        rule = f"intensities = {self.intensities!r}"
        sample = [c for c in self.components if not c.source]
        if self.intensities == "merged":
            sample = [c for c in sample if c.name != OPS]
        given = [c.intensity for c in sample if c.intensity is not None]
        if len(given) < len(sample):
            which = " but o-Ps" if self.intensities == "merged" else ""
            raise SettingsError(f"{rule} needs an intensity of each component{which}")
        total = sum(given)
        if self.intensities == "fixed" and abs(total - 1) > 1e-6:
            raise SettingsError(
                f"the components' intensities sum to {total:g}, expected 1 (without the source's)"
            )
        if not total > 0:
            raise SettingsError(f"{rule}: the intensities of the components but o-Ps are zero")

    @property
    def names(self) -> tuple[str, ...]:
        """K names of the components."""
        return tuple(component.name for component in self.components)

    @property
    def has_ops(self) -> bool:
        """Whether one of the components is o-Ps."""
        return OPS in self.names

    @property
    def ops(self) -> int:
        """Position of the o-Ps component."""
        if not self.has_ops:
            raise SettingsError(f"no component is named {OPS!r}; there are {', '.join(self.names)}")
        return self.names.index(OPS)

    @property
    def source_share(self) -> float:
        """Share of all positrons that annihilate in the source."""
        return sum(c.intensity or 0.0 for c in self.components if c.source)

    @property
    def groups(self) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Names of the A free amplitudes, and the (K, A) matrix from them to events per component.

        The intensity rule is this matrix: the identity when all are free, one column when all are
        fixed, two when all but o-Ps are merged, and a third of the o-Ps amplitude in the row of
        p-Ps for ``ps-ratio``. With a share S of all positrons in the source, a component of the
        source has ``s / (1 - S)`` of the sample's events.
        """
        n = len(self.components)
        link = np.eye(n)
        sample = [k for k, c in enumerate(self.components) if not c.source]
        keep, names = sample, self.names
        shares = np.array([c.intensity or 0.0 for c in self.components])
        if self.intensities == "ps-ratio":
            link[self.names.index(PPS), self.ops] = 1.0 / 3.0
            keep = [k for k in sample if k != self.names.index(PPS)]
        elif self.intensities == "fixed":
            link[:, sample[0]] = np.where([c.source for c in self.components], 0.0, shares)
            keep, names = sample[:1], ("signal",) * n
        elif self.intensities == "merged":
            first = next(k for k in sample if k != self.ops)
            others = [c.source or c.name == OPS for c in self.components]
            fast = np.where(others, 0.0, shares)
            link[:, first] = fast / fast.sum()
            keep = [first, self.ops]
            names = tuple("fast" if k == first else name for k, name in enumerate(names))
        link = link[:, keep]
        per_sample = link[sample].sum(axis=0) / (1.0 - self.source_share)
        for k, component in enumerate(self.components):
            if component.source:
                link[k] = shares[k] * per_sample
        return tuple(names[k] for k in keep), link

    def with_response(
        self, mu_ns: float, sigma_ns: float, more: tuple[Gaussian, ...] = ()
    ) -> "LifetimeModel":
        """Return the model with its response known."""
        return replace(self, response=Response(mu_ns=mu_ns, sigma_ns=sigma_ns, more=more))


def require_free_ops(model: LifetimeModel, *, where: str = "model.") -> None:
    """Raise `SettingsError` unless the model has an o-Ps component whose mean life is free."""
    if not model.has_ops or not model.components[model.ops].free:
        raise SettingsError(
            f"{where}components need one named {OPS!r} with free = true; there are "
            f"{', '.join(model.names)}"
        )


def require_windows(
    model: LifetimeModel, n_sets: tuple[int, int, int], *, where: str = "model."
) -> None:
    """Raise `SettingsError` if the background asks for delayed windows that are not there.

    Parameters
    ----------
    model : LifetimeModel
        The model.
    n_sets : (3,) tuple of int
        Windows with the prompt, an annihilation photon, and both delayed.
    where : str
        Start of the message.
    """
    keys = {
        "flat": (),
        "delayed": ("delays_ns",),
        "four-set": ("delays_ns", "photon_delays_ns"),
        "template": (),
    }
    missing = [
        f"select.{key}"
        for key, n in zip(("delays_ns", "photon_delays_ns"), n_sets, strict=False)
        if key in keys.get(model.background, ()) and not n
    ]
    if missing:
        raise SettingsError(
            f"{where}background = {model.background!r} needs delayed windows and there are none; "
            f"set {' and '.join(missing)}, or use background = 'flat'"
        )
