"""The figures of ``psimg fit``."""

from pathlib import Path
from typing import Any

import numpy as np

from psimg.core.errors import FileError
from psimg.study.spectrum import FittedFile

_FORMATS = (".png", ".pdf", ".svg")
_SAME = 0.9999
"""Correlation of two parameters that are one."""


def draw_file(fitted: FittedFile, path: Path) -> None:
    """Draw the spectrum, its components and the residuals into a PNG, PDF or SVG file.

    Parameters
    ----------
    fitted : FittedFile
        The fit.
    path : Path
        The file to write.

    Raises
    ------
    FileError
        If the file cannot be written, or its suffix names no format.
    """
    from psimg.report.spectrum_figure import component_label, draw_spectrum_fit
    from psimg.report.words import COMPONENT_WORDS

    fit = fitted.fit
    labels = [
        component_label(
            COMPONENT_WORDS.get(component.name, component.name),
            tau_ns=fit.value(f"tau_{component.name}_ns"),
            tau_error_ns=fit.error(f"tau_{component.name}_ns"),
            intensity=float(fit.intensities[k]),
            intensity_error=float(fit.intensity_errors[k]),
        )
        for k, component in enumerate(fit.model.components)
    ]
    figure = draw_spectrum_fit(
        fit.edges_ns,
        fit.counts,
        fit.expected,
        labels=[*labels, "background"],
        title=_title(fitted),
        time_label="time [ns]",
        subtitle=f"{fit.n_events:,} counts, deviance {fit.deviance:.1f} for {fit.ndf} degrees of "
        f"freedom, p = {fitted.goodness.p_value:.2g}",
    )
    save(figure, path)


def _title(fitted: FittedFile) -> str:
    """Return the file's name, and the spectrum's where it is another."""
    path, name = fitted.path, fitted.spectrum.name
    return path.name if name in path.name else f"{path.name}: {name}"


def check_figure(path: Path) -> None:
    """Refuse a figure that could not be written, before anything is computed.

    Parameters
    ----------
    path : Path
        Where it is to go.

    Raises
    ------
    FileError
        If the folder does not exist, the path is a folder, or its suffix names no format.
    """
    if path.is_dir():
        raise FileError(f"{path}: is a directory; name a file, for example {path / 'fit.png'}")
    if not path.parent.is_dir():
        raise FileError(f"{path}: cannot be written (no directory {path.parent}); make it first")
    if path.suffix.lower() not in _FORMATS:
        raise FileError(f"{path}: no format of that suffix; use one of {', '.join(_FORMATS)}")


def draw_posterior(fitted: FittedFile, path: Path) -> None:
    """Draw the corner plot of the posterior into a file; as `draw_file`.

    Parameters
    ----------
    fitted : FittedFile
        A fit with a posterior.
    path : Path
        The file to write.
    """
    from psimg.report.corner import draw_corner

    posterior = fitted.posterior
    assert posterior is not None
    names = [name for name in posterior.parameters if name.startswith(("tau_", "intensity_"))]
    # A share that the rule or the source fixes has no distribution to draw.
    shown: list[str] = []
    for name in names:
        column = posterior.column(name)
        # Nor has one that is another's multiple a distribution of its own.
        others = (np.corrcoef(column, posterior.column(other))[0, 1] for other in shown)
        if np.ptp(column) > 0 and all(abs(r) < _SAME for r in others):
            shown.append(name)
    samples = np.stack([posterior.column(name) for name in shown], axis=1)
    save(draw_corner(samples, tuple(shown)), path)


def save(figure: Any, path: Path) -> None:
    """Write a figure, in the format that the file's suffix names.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : Path
        Where to.

    Raises
    ------
    FileError
        If the file cannot be written, or its suffix names no format.
    """
    check_figure(path)
    try:
        figure.savefig(path, dpi=200)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error
