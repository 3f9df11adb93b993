"""Figures: energies, spectra of dt and slices of maps. Nothing here knows files or pages."""

import numpy as np
from numpy.typing import NDArray

from psimg.lifetime.model import DIRECT, OPS, PPS

FloatArray = NDArray[np.float64]

# M. Okabe and K. Ito, Color Universal Design (2008): told apart with any colour vision.
_BLUE, _GREEN, _VERMILLION = "#0072B2", "#009E73", "#D55E00"
_OTHERS = ("#CC79A7", "#E69F00", "#56B4E9")
_INK, _GREY, _PALE = "#1a1a1a", "#6b6b6b", "#ededed"

_LINES = {PPS: (_BLUE, "-."), DIRECT: (_GREEN, "--"), OPS: (_VERMILLION, "-")}
_TITLE_SIZE, _TEXT_SIZE, _TICK_SIZE = 12, 10.5, 9.5
_RASTER = 200
"""Points across a region's outline."""
