"""The page of a report: one HTML file that needs nothing else, and its figures as files."""

import base64
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from psimg.core.maps import FitStatus
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.core.stage import Stage
from psimg.lifetime.spectrum_fit import SpectrumFit
from psimg.report.content import ReportContent
from psimg.report.words import (
    NO_VALUE,
    STATUS_MEANING,
    STATUS_WORDS,
    number,
    percent,
    with_error,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from psimg.report.slices import MapImage

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Picture:
    """One figure on the page."""

    name: str
    alternative: str
    """Said where the picture cannot be shown."""
    data: bytes

    @property
    def base64(self) -> str:
        """The PNG as text."""
        return base64.b64encode(self.data).decode("ascii")


def write_report(
    directory: Path,
    content: ReportContent,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``report.html`` and its figures as ``figures/*.png``.

    Parameters
    ----------
    directory : Path
        Existing directory; files of these names are replaced.
    content : ReportContent
        What to show.
    progress : callable, optional
        Called as ``progress(figures_done, figures_total)``.
    """
    maps = _maps(content)
    plan = list(_plan(content, maps))
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    pictures: dict[str, _Picture] = {}
    from psimg.report.drawing import png

    for done, (name, alternative, draw) in enumerate(plan, start=1):
        picture = _Picture(name=name, alternative=alternative, data=png(draw()))
        (folder / f"{name}.png").write_bytes(picture.data)
        pictures[name] = picture
        if progress is not None:
            progress(done, len(plan))
    page = _environment().get_template("page.html.jinja").render(_words(content, pictures))
    (directory / "report.html").write_text(page, encoding="utf-8")
    log.info("report: %d figures on one page", len(plan))


def file_name(kind: str, position: int, name: str) -> str:
    """Return a safe, unique name for a figure's file from a name that may hold anything."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return "-".join(part for part in (kind, f"{position:02d}", slug) if part)


def _plan(
    content: ReportContent, maps: Sequence["MapImage"]
) -> Iterator[tuple[str, str, Callable[[], "Figure"]]]:
    """Yield name, description and drawer of each figure."""
    # matplotlib is heavy, and reading about reports does not need it.
    from psimg.report.figures import draw_energy, draw_slices, draw_spectrum, find_slices

    energy = content.energy
    if energy is not None:

        def of_energy() -> "Figure":
            return draw_energy(
                energy,
                annihilation_kev=content.annihilation_kev,
                prompt_kev=content.prompt_kev,
            )

        yield "energy", "Energies of the singles with the two windows", of_energy
    named = [("calibration", content.calibration)]
    named += [
        (file_name("region", n, fit.name), fit) for n, fit in enumerate(content.fits, start=1)
    ]
    for name, fit in named:
        description = f"Spectrum of dt of {fit.name}: {STATUS_WORDS[fit.status]}"
        yield name, description, lambda fit=fit: draw_spectrum(fit)
    voxel = find_slices(_weights(content))
    for drawn in maps:

        def of_map(drawn: "MapImage" = drawn) -> "Figure":
            return draw_slices(
                drawn,
                grid=content.maps.grid,
                regions=content.regions,
                voxel=voxel,
                number_regions=drawn.name == "counts",
            )

        yield f"map-{drawn.name}", f"Three slices: {drawn.title}", of_map
