"""The model of a dt spectrum as data: components, their intensities, response, background."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window

PPS, DIRECT, OPS = "pps", "direct", "ops"
"""Names of para-positronium, direct annihilation and ortho-positronium."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One exponential decay of the spectrum."""

    name: str
    """``pps``, ``direct``, ``ops``, or another of the user's."""
    tau_ns: float
    """Mean life; where it is free, the start of the fit [ns]."""
    free: bool = False
    """Whether the fit may change the mean life."""
    bounds_ns: tuple[float, float] = (0.5, 20.0)
    """Range of a free mean life [ns]."""
    intensity: float | None = None
    """Share of all positrons; used by the ``fixed`` rule, and as the start of the others."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        require_positive(f"tau_ns of component {self.name}", self.tau_ns)
        require_window(f"bounds_ns of component {self.name}", self.bounds_ns)
        require_positive(f"bounds_ns of component {self.name}", self.bounds_ns[0])
        if self.free and not self.bounds_ns[0] <= self.tau_ns <= self.bounds_ns[1]:
            raise SettingsError(
                f"tau_ns = {self.tau_ns:g} of component {self.name} lies outside its bounds_ns "
                f"{self.bounds_ns[0]:g} to {self.bounds_ns[1]:g}"
            )
        if self.intensity is not None and not 0 <= self.intensity <= 1:
            raise SettingsError(
                f"intensity = {self.intensity:g} of component {self.name}: expected 0 to 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """Gaussian time response; a field that is None is fitted once, to all events."""

    mu_ns: float | None = None
    """Shift of the spectrum [ns]."""
    sigma_ns: float | None = None
    """Gaussian width [ns]."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        if self.sigma_ns is not None:
            require_positive("sigma_ns", self.sigma_ns)

    @property
    def known(self) -> bool:
        """Whether nothing is left to fit."""
        return self.mu_ns is not None and self.sigma_ns is not None


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
    """K decays, one of them named ``ops``."""
    intensities: Literal["free", "ps-ratio", "fixed"] = "ps-ratio"
    """``free``: each its own; ``ps-ratio``: p-Ps a third of o-Ps, the rest free; ``fixed``: as the
    components state."""
    response: Response = Response()
    background: Literal["flat", "delayed", "four-set"] = "flat"
    """Random triplets. ``flat``: the level of the spectrum itself. ``delayed``: level and shape
    also from windows with the prompt delayed. ``four-set``: all classes, also from windows with an
    annihilation photon delayed."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        names = [component.name for component in self.components]
        if len(set(names)) != len(names):
            raise SettingsError(f"two components have the same name among {', '.join(names)}")
        if OPS not in names:
            raise SettingsError(f"no component is named {OPS!r}; there are {', '.join(names)}")
        if not self.components[names.index(OPS)].free:
            raise SettingsError(f"the mean life of component {OPS!r} must be free = true")
        if self.intensities == "ps-ratio" and PPS not in names:
            raise SettingsError(f"intensities = 'ps-ratio' needs a component named {PPS!r}")
        if self.intensities == "fixed":
            given = [c.intensity for c in self.components]
            if None in given:
                raise SettingsError("intensities = 'fixed' needs an intensity of each component")
            total = sum(x for x in given if x is not None)
            if abs(total - 1) > 1e-6:
                raise SettingsError(f"the components' intensities sum to {total:g}, expected 1")

    @property
    def names(self) -> tuple[str, ...]:
        """K names of the components."""
        return tuple(component.name for component in self.components)

    @property
    def ops(self) -> int:
        """Position of the o-Ps component."""
        return self.names.index(OPS)

    @property
    def groups(self) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Names of the A free amplitudes, and the (K, A) matrix from them to events per component.

        The intensity rule is this matrix: the identity when all are free, one column when all are
        fixed, and a third of the o-Ps amplitude in the row of p-Ps for ``ps-ratio``.
        """
        n = len(self.components)
        if self.intensities == "fixed":
            shares = np.array([c.intensity for c in self.components], dtype=np.float64)
            return ("signal",), shares[:, None]
        link = np.eye(n)
        if self.intensities == "free":
            return self.names, link
        pps = self.names.index(PPS)
        link[pps, self.ops] = 1.0 / 3.0
        keep = [k for k in range(n) if k != pps]
        return tuple(self.names[k] for k in keep), link[:, keep]

    def with_response(self, mu_ns: float, sigma_ns: float) -> "LifetimeModel":
        """Return the model with its response known."""
        return replace(self, response=Response(mu_ns=mu_ns, sigma_ns=sigma_ns))


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
    keys = {"flat": (), "delayed": ("delays_ns",), "four-set": ("delays_ns", "photon_delays_ns")}
    missing = [
        f"select.{key}"
        for key, n in zip(("delays_ns", "photon_delays_ns"), n_sets, strict=False)
        if key in keys[model.background] and not n
    ]
    if missing:
        raise SettingsError(
            f"{where}background = {model.background!r} needs delayed windows and there are none; "
            f"set {' and '.join(missing)}, or use background = 'flat'"
        )
