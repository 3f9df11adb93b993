"""What all figures share: sizes, greys, axes and text that comes from users."""

import functools
import io

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE = "#1a1a1a", "#ececec"
TITLE_SIZE, TEXT_SIZE, TICK_SIZE = 12.0, 10.5, 9.5
_DOTS_PER_INCH = 160


def finish_axes(axes: Axes) -> None:
    """Set the look of axes that hold curves."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TICK_SIZE)
    axes.xaxis.label.set_fontsize(TEXT_SIZE)
    axes.yaxis.label.set_fontsize(TEXT_SIZE)


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
