"""What voxels tell apart: one group of fast decays of fixed shape, and o-Ps with its fellows."""

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.lifetime._mixture import mixture_derivatives
from psimg.lifetime.model import LifetimeModel
from psimg.lifetime.values import SpectrumFit

FloatArray = NDArray[np.float64]

_LEAST_FAST = 0.01
"""Share of positrons in the fast group below which its mixture is noise."""


def seen_shares(
    edges: FloatArray, tau_ns: float, spread: float, response: FloatArray
) -> FloatArray:
    """Return the share of a decay in each bin and its derivative in tau, (2, B)."""
    n_bin, n_gaussian = len(edges) - 1, len(response)
    shares, d_tau, d_spread = np.empty((3, n_bin))
    mixture_derivatives(
        edges, tau_ns, spread, response, np.empty((4, n_bin)), shares, d_tau, d_spread,
        np.empty((n_gaussian, 3, n_bin)),
    )  # fmt: skip
    return np.stack([shares, d_tau])


def class_2_shape(model: LifetimeModel, calibration: SpectrumFit | None) -> FloatArray | None:
    """Return the (B,) shape of class II as the fit of all events found it; None if it did not."""
    if model.background != "four-set" or calibration is None:
        return None
    total = calibration.class_2.sum()
    return calibration.class_2 / total if np.isfinite(total) and total > 0 else None


def two_groups(
    model: LifetimeModel, calibration: SpectrumFit | None
) -> tuple[FloatArray, FloatArray]:
    """Return (K,) events per component for one event of the fast and of the o-Ps group."""
    groups, link = model.groups
    if len(groups) == 1:
        return np.zeros(len(link)), link[:, 0]
    ops = link[:, groups.index(model.names[model.ops])]
    own = np.array([c.intensity or 0.0 for c in model.components])
    fitted = own if calibration is None else calibration.intensities
    # Shares of all positrons: those of the sample are stated without the source.
    source = np.array([c.source for c in model.components])
    of_all = np.where(source, 1.0, 1.0 - model.source_share)
    for shares in (fitted * of_all, own * of_all):
        # What the o-Ps group brings along is not the fast group's.
        fast = np.maximum(shares - ops * shares[model.ops] / ops[model.ops], 0.0)
        fast[model.ops] = 0.0
        # A calibration without a value, or with next to no fast components, has no mixture to give.
        if fast.sum() > _LEAST_FAST:
            return fast / fast.sum(), ops
    raise SettingsError("the components' intensities leave nothing beside o-Ps; state them")
