"""What all figures share: sizes, colours, axes, bins and text that comes from users."""

import functools
import io

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

INK, PALE, GREY = "#1a1a1a", "#ececec", "#8c8c8c"
# M. Okabe and K. Ito, Color Universal Design (2008): told apart with any colour vision.
BLUE, GREEN, VERMILLION, ORANGE = "#0072B2", "#009E73", "#D55E00", "#E69F00"
SKY, YELLOW, PURPLE = "#56B4E9", "#F0E442", "#CC79A7"
# Dark beside PURPLE, which it is a part of.
PLUM = "#7A2A6B"
RANDOMS, CLASS_2 = PURPLE, PLUM
"""All random triplets, and the prompt-correlated ones among them, in every figure."""
DT_LABEL = "annihilation time − prompt time, $\\Delta t$ [ns]"
TITLE_SIZE, TEXT_SIZE, TICK_SIZE = 12.0, 10.5, 9.5
_DOTS_PER_INCH = 160


def finish_axes(axes: Axes) -> None:
    """Set the look of axes that hold curves."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TICK_SIZE)
    axes.xaxis.label.set_fontsize(TEXT_SIZE)
    axes.yaxis.label.set_fontsize(TEXT_SIZE)


def centres(edges: FloatArray) -> FloatArray:
    """Return the middle of each bin."""
    return np.asarray(0.5 * (edges[1:] + edges[:-1]))


def width_label(edges: FloatArray, unit: str) -> str:
    """Return the width of the bins, for a label that ends in ``per ...``."""
    width = np.diff(edges)
    return f"{width[0]:.4g} {unit}" if np.allclose(width, width[0]) else f"bin [{unit}]"


def drawable(text: str, longest: int) -> str:
    """Return a text as the font can draw it, on one line and cut to a length.

    A leading underscore goes, since matplotlib leaves out what is labelled so.
    """
    known = _letters()
    line = "".join(c if ord(c) in known else "□" for c in " ".join(text.split())).lstrip("_")
    return line if len(line) <= longest else line[: longest - 1] + "…"


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file, equal for equal figures."""
    file = io.BytesIO()
    # No name of the software: its version would differ and its address is a link.
    figure.savefig(file, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


@functools.cache
def _letters() -> frozenset[int]:
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return frozenset(font.get_charmap())
