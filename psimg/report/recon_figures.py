"""Figures of how images came about."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from psimg.report.drawing import BLUE, GREY, INK, TICK_SIZE, TITLE_SIZE, VERMILLION, finish_axes


def has_convergence(trace: NDArray[np.float64]) -> bool:
    """Return whether a trace tells of any change from one pass to the next."""
    return len(trace) > 1 and bool(np.isfinite(trace).all()) and bool(np.diff(trace).any())


def draw_convergence(
    trace: NDArray[np.float64], *, title: str = "Convergence", step: str = "pass"
) -> Figure:
    """Draw by how much each pass raised the log-likelihood.

    Parameters
    ----------
    trace : (I,) array
        Log-likelihood after each pass, up to a constant; see `has_convergence`.
    title : str
        What converges.
    step : str
        What a pass is called.

    Returns
    -------
    Figure
        Rises on a logarithmic scale; passes that lowered the likelihood are marked apart.
    """
    figure = Figure(figsize=(5.6, 3.1), layout="constrained")
    axes = figure.subplots()
    rise = np.diff(trace)
    number = np.arange(2, len(trace) + 1)
    axes.plot(number, np.where(rise > 0, rise, np.nan), "-", color=GREY, linewidth=0.9, zorder=2)
    for found, marker, colour, label in (
        (rise > 0, "o", BLUE, "rise"),
        (rise < 0, "v", VERMILLION, "fall"),
    ):
        if found.any():
            axes.plot(
                number[found], np.abs(rise[found]), marker, color=colour, markersize=4,
                label=label, zorder=3,
            )  # fmt: skip
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    size = np.abs(rise[rise != 0])
    axes.set_ylim(min(0.4, 0.5 * float(size.min())), max(3.0, 2.0 * float(size.max())))
    axes.set_yscale("log")
    axes.set_xlim(1.5, len(trace) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel(step)
    axes.set_ylabel("change of ln $L$")
    if np.any(rise < 0):
        axes.legend(loc="upper right", frameon=False, fontsize=TICK_SIZE)
    finish_axes(axes)
    figure.suptitle(title, x=0.02, ha="left", fontsize=TITLE_SIZE, fontweight="bold")
    return figure
