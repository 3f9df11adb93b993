"""The page of a report: one HTML file that needs nothing else, and its figures as files."""

import base64
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from psimg.core.maps import FitStatus
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.report.content import ReportContent
from psimg.report.randoms import (
    class_rows,
    flat_rows,
    is_flat,
    region_rows,
    window_words,
)
from psimg.report.recon import METHOD_WORDS, made_from, recon_rows
from psimg.report.words import (
    NO_VALUE,
    STATUS_MEANING,
    STATUS_WORDS,
    number,
    percent,
    share_of,
    with_error,
)

if TYPE_CHECKING:
    from psimg.report.pictures import Picture

log = logging.getLogger(__name__)

_QUANTITIES = {
    "tau_ops": "mean life of o-Ps",
    "mean_lifetime": "mean lifetime of positrons",
    "activity": "value of the activity",
}
"""What voxels have a value of, by the name of the map."""


def write_report(
    directory: Path,
    content: ReportContent,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``report.html``, and its figures as ``figures/*.png`` for use elsewhere.

    Parameters
    ----------
    directory : Path
        Existing directory; files of these names are replaced.
    content : ReportContent
        What to show.
    progress : callable, optional
        Called as ``progress(figures_done, figures_total)``.
    """
    # matplotlib is heavy, and this package is imported to learn what it needs.
    from psimg.report.pictures import draw_all

    pictures = draw_all(content, progress=progress)
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    page = render_page(content, pictures)
    # What no encoding can hold, such as half of a surrogate pair from a file's name, is replaced.
    (directory / "report.html").write_bytes(page.encode("utf-8", errors="replace"))
    log.info("report: %d figures on one page", len(pictures))


def render_page(content: ReportContent, pictures: "tuple[Picture, ...]") -> str:
    """Return the page as text.

    Parameters
    ----------
    content : ReportContent
        What to show.
    pictures : tuple of Picture
        Its figures, embedded where they belong.

    Returns
    -------
    str
        A whole HTML document; every name of a user or a file is escaped.
    """
    environment = Environment(
        loader=PackageLoader("psimg.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "json": _as_json,
        "number": number,
        "percent": percent,
        "thousands": lambda n: f"{n:,}",
    }
    return environment.get_template("page.html.jinja").render(
        content=content,
        pictures=pictures,
        fitted_voxels=_fitted_voxels(content),
        recon=content.recon,
        method=None if content.recon is None else METHOD_WORDS[content.recon.method],
        made_from="" if content.recon is None else made_from(content.recon),
        recon_rows=[] if content.recon is None else recon_rows(content.recon),
        response=_response(content),
        class_rows=class_rows(content.randoms),
        region_rows=region_rows(content.randoms),
        flat_rows=flat_rows(content.randoms),
        windows=window_words(content.windows),
        is_flat=is_flat,
        background=content.calibration.model.background,
        share_of=share_of,
        with_error=with_error,
        words=STATUS_WORDS,
        meaning=STATUS_MEANING,
        no_value=NO_VALUE,
        ok=FitStatus.OK,
        status_of=FitStatus,
        voxels_by_status=_voxels_by_status(content),
        warnings=content.warnings,
        settings=_sections(content.settings),
    )


def _fitted_voxels(content: ReportContent) -> dict[str, Any]:
    """Return how many voxels have a value, and the middle of the values and of their errors."""
    maps = content.maps
    fitted = maps.status == FitStatus.OK
    found: dict[str, Any] = {
        "n_fitted": int(np.count_nonzero(fitted)),
        # Not len(maps): a voxel may hold events of the delayed windows alone.
        "n_with_events": int(np.count_nonzero(content.counts_image)),
        "n_empty": maps.grid.n_voxel
        - (len(maps) if content.recon else int(np.count_nonzero(content.counts_image))),
        "n_voxel": maps.grid.n_voxel,
    }
    name = next((name for name in _QUANTITIES if name in maps.names), None)
    found["what"] = _QUANTITIES.get(name or "", "value")
    if name is not None and name != "activity" and fitted.any():
        values, errors = (a[fitted, maps.column(name)] for a in (maps.values, maps.errors))
        found["median_ns"] = float(np.median(values))
        known = errors[np.isfinite(errors)]
        found["median_error_ns"] = float(np.median(known)) if len(known) else np.nan
    return found


def _response(content: ReportContent) -> dict[str, Any]:
    """Return the response that regions and voxels were fitted with, and where it is from."""
    fit = content.calibration
    given = fit.model.response
    # Regions hold what was used, also where the calibration gave nothing.
    used = content.fits[0].model.response if content.fits else given
    ends: dict[str, Any] = {"n_events": fit.n_events, "status": STATUS_WORDS[fit.status]}
    for name in ("mu_ns", "sigma_ns"):
        if getattr(given, name) is not None:
            source, value, error = "given", getattr(given, name), 0.0
        elif fit.status == FitStatus.OK:
            source, value, error = "fitted", fit.value(name), fit.error(name)
        else:
            value = getattr(used, name)
            source, error = ("assumed", 0.0) if value is not None else ("unknown", 0.0)
        ends[name] = {
            "source": source,
            # A calibrated mu is some picoseconds, and so is the error of both.
            "words": NO_VALUE if value is None else with_error(1e3 * value, 1e3 * error),
        }
        if name == "sigma_ns":
            ends["fwhm"] = NO_VALUE if value is None else number(1e3 * FWHM_PER_SIGMA * value)
    return ends


def _voxels_by_status(content: ReportContent) -> list[tuple[FitStatus, int]]:
    status = content.maps.status
    if content.recon is None:
        # A voxel may hold events of the delayed windows alone.
        status = status[content.counts_image.reshape(-1)[content.maps.voxel] > 0]
    found = Counter(status.tolist())
    return [(status, found[status]) for status in FitStatus]


def _sections(settings: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the sections of a study; what is no table stands under its own name."""
    return [
        (name, dict(value) if isinstance(value, Mapping) else {"": value})
        for name, value in settings.items()
    ]


def _as_json(value: Any) -> str:
    """Return a setting as JSON: on one line where it is short, a list of tables by line."""
    short = json.dumps(value, ensure_ascii=False, default=str)
    if len(short) <= 90:
        return short
    if isinstance(value, (list, tuple)):
        rows = ",\n  ".join(json.dumps(v, ensure_ascii=False, default=str) for v in value)
        return f"[\n  {rows}\n]"
    return json.dumps(value, ensure_ascii=False, default=str, indent=2)
