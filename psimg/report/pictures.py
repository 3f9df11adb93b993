"""All figures of a report, drawn one after the other as PNG."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from psimg.core.maps import FitStatus
from psimg.report.content import ReportContent
from psimg.report.drawing import png
from psimg.report.figures import draw_signals, draw_spectrum
from psimg.report.random_figures import draw_delayed, draw_randoms
from psimg.report.recon import METHOD_WORDS, convergence_title
from psimg.report.recon_figures import draw_convergence, has_convergence
from psimg.report.slices import MapImage, draw_slices, find_slices
from psimg.report.words import STATUS_WORDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One figure as a file."""

    kind: str
    """``signals``, ``calibration``, ``randoms``, ``region``, ``convergence`` or ``map``."""
    name: str
    """Of its file, without the suffix; safe whatever the names of the user."""
    description: str
    """Read out where the picture cannot be seen."""
    png: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    kind: str
    name: str
    description: str
    draw: Callable[[], Figure]


def draw_all(
    content: ReportContent, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Picture, ...]:
    """Draw every figure of a report.

    Parameters
    ----------
    content : ReportContent
        What to show.
    progress : callable, optional
        Called as ``progress(figures_done, figures_total)``.

    Returns
    -------
    tuple of Picture
        In the order of the page. A map without any value has none.
    """
    plans = [*_signals(content), *_spectra(content), *_maps(content)]
    pictures = []
    for done, plan in enumerate(plans, start=1):
        pictures.append(
            Picture(
                kind=plan.kind,
                name=plan.name,
                description=plan.description,
                png=png(plan.draw()),
            )
        )
        if progress is not None:
            progress(done, len(plans))
    return tuple(pictures)


def file_name(position: int, name: str) -> str:
    """Return a file's name that is safe and unique, from a name that may hold anything."""
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"region-{position:02d}-{letters}".strip("-")


def map_images(content: ReportContent) -> tuple[MapImage, ...]:
    """Return the maps that hold a value somewhere, that of events or triplets first."""
    maps = content.maps
    images = [*_amounts(content)]
    if "mean_lifetime" in maps.names:
        images += _value_and_error(
            content,
            "mean_lifetime",
            "Mean lifetime of all positrons",
            "mean lifetime [ns]",
            least_span=0.3,
        )
    if "tau_ops" in maps.names:
        images += _value_and_error(
            content, "tau_ops", "Mean life of o-Ps", "$\\tau$(o-Ps) [ns]", least_span=1.0
        )
    if "intensity_ops" in maps.names:
        images += _value_and_error(
            content,
            "intensity_ops",
            "Intensity of o-Ps: share of the positrons",
            "$I$(o-Ps) [%]",
            factor=100.0,
            least_span=20.0,
        )
    if "background" in maps.names:
        images.append(_background(content))
    images.append(
        MapImage(
            name="deviance",
            title="Deviance of the fit per degree of freedom",
            label="deviance/ndf [1]",
            image=maps.deviance_image() / max(maps.ndf, 1),
            scale="ratio",
        )
    )
    return tuple(image for image in images if np.isfinite(image.image).any())


def _amounts(content: ReportContent) -> Iterator[MapImage]:
    maps, recon = content.maps, content.recon
    if "activity" in maps.names:
        counted = maps.unit("activity") == "counts"
        yield MapImage(
            name="activity",
            title="Activity: annihilation pairs of each voxel that are seen"
            if counted
            else "Activity of each voxel, on any scale",
            label="pairs per voxel" if counted else "activity",
            image=maps.image("activity"),
            scale="amount",
        )
    elif recon is not None:
        yield MapImage(
            name="counts",
            title="True triplets expected of each voxel",
            label="triplets per voxel",
            image=recon.triplets_image.astype(np.float64),
            scale="amount",
        )
    else:
        yield MapImage(
            name="counts",
            title="Events in the spectrum of each voxel",
            label="events per voxel [counts]",
            image=content.counts_image.astype(np.float64),
            scale="count",
        )


def _background(content: ReportContent) -> MapImage:
    maps = content.maps
    if maps.unit("background") == "counts":
        return MapImage(
            name="background",
            title="Background: random triplets in the spectrum of each voxel",
            label="background per voxel [counts]",
            image=maps.image("background"),
            scale="amount",
        )
    return MapImage(
        name="background",
        title="Background: share of random triplets",
        label="background [%]",
        image=100.0 * maps.image("background"),
        scale="amount",
    )


def _value_and_error(
    content: ReportContent,
    name: str,
    title: str,
    label: str,
    *,
    factor: float = 1.0,
    least_span: float,
) -> list[MapImage]:
    values = factor * content.maps.image(name)
    errors = factor * content.maps.error_image(name)
    return [
        MapImage(
            name=name,
            title=title,
            label=label,
            image=values,
            errors=errors,
            scale="value",
            reached=_medians(content, values),
            least_span=least_span,
            by_region=content.recon is not None and content.recon.method == "regions",
        ),
        MapImage(
            name=f"{name}_error",
            title=f"Standard error of the {title[0].lower()}{title[1:].partition(':')[0]}",
            label=f"error of {label}",
            image=errors,
            scale="error",
            reached=_medians(content, errors),
        ),
    ]


def _medians(content: ReportContent, image: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the median in each region of an image that has some; none for a histogram's.

    Voxels of images are smooth enough for the median of a few to mean something.
    """
    if content.recon is None:
        return ()
    flat, centres = image.reshape(-1), content.maps.grid.centres_mm()
    inside = (flat[region.contains(centres)] for region in content.regions)
    return tuple(float(np.nanmedian(v)) for v in inside if np.isfinite(v).any())


def _signals(content: ReportContent) -> Iterator[_Plan]:
    if content.signals is not None:
        names = content.signals.signal.names
        yield _Plan(
            kind="signals",
            name=content.signals.signal.role,
            description=f"{names.capitalize()} of the singles, with the annihilation and the "
            "prompt window",
            draw=partial(draw_signals, content.signals, windows=content.signal_windows),
        )


def _spectra(content: ReportContent) -> Iterator[_Plan]:
    yield _Plan(
        kind="calibration",
        name="calibration",
        description=f"Spectrum of all events: {STATUS_WORDS[content.calibration.status]}",
        draw=partial(draw_spectrum, content.calibration),
    )
    yield from _randoms(content)
    for position, fit in enumerate(content.fits, start=1):
        yield _Plan(
            kind="region",
            name=file_name(position, fit.name),
            description=f"Spectrum of region {fit.name}: {STATUS_WORDS[fit.status]}",
            draw=partial(draw_spectrum, fit),
        )


def _randoms(content: ReportContent) -> Iterator[_Plan]:
    randoms = content.randoms
    if any(randoms.n_sets) or randoms.truth is not None:
        yield _Plan(
            kind="randoms",
            name="randoms",
            description="Spectrum of all events, with the random triplets among them by class",
            draw=partial(draw_randoms, randoms),
        )
    if any(randoms.n_sets):
        yield _Plan(
            kind="randoms",
            name="delayed-windows",
            description="Spectrum of each kind of delayed window",
            draw=partial(draw_delayed, randoms),
        )


def _maps(content: ReportContent) -> Iterator[_Plan]:
    recon = content.recon
    if recon is not None and has_convergence(recon.trace):
        yield _Plan(
            kind="convergence",
            name="convergence",
            description="Change of the log-likelihood in each pass",
            draw=partial(
                draw_convergence,
                recon.trace,
                title=convergence_title(recon),
                step=METHOD_WORDS[recon.method].step,
            ),
        )
    voxel = find_slices(_where_to_cut(content))
    for first, image in enumerate(map_images(content)):
        yield _Plan(
            kind="map",
            name=f"map-{image.name}",
            description=f"{image.title}, in three slices",
            draw=partial(
                draw_slices,
                image,
                grid=content.maps.grid,
                regions=content.regions,
                voxel=voxel,
                number_regions=first == 0,
            ),
        )


def _where_to_cut(content: ReportContent) -> NDArray[np.floating] | NDArray[np.uint32]:
    """Return the events of the voxels that have a value; of all where none has."""
    fitted = content.maps.status_image() == FitStatus.OK
    counts = content.counts_image if content.recon is None else content.recon.triplets_image
    return np.where(fitted, counts, 0) if fitted.any() else counts
