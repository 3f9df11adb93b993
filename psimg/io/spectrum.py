"""One door to every file that holds a single spectrum: find its layout and its time axis."""

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError, SettingsError
from psimg.core.units import unit_factor
from psimg.io.input import require_file
from psimg.io.root import open_root_file
from psimg.io.spectrum_text import RawSpectrum, axis_unit, read_text
from psimg.spectra.channels import guess_channel_ns
from psimg.spectra.spectrum import Spectrum

log = logging.getLogger(__name__)

_MOST_LISTED = 20
_COUNTS = "counts"
"""Curve of a region's measured events in the files of a run."""


def read_spectrum(
    path: Path | str,
    *,
    channel_ns: float | None = None,
    object: str | None = None,  # noqa: A002
) -> Spectrum:
    """Read one spectrum, whatever the layout of the file.

    The layout is found by what the file holds: text of one column (counts) or two (time or
    channel, and counts), LT, ORTEC Maestro ``.Spe``, a ROOT histogram (TH1), or the
    ``spectra.npz`` and ``spectra.root`` of a run.

    Parameters
    ----------
    path : Path or str
        The file.
    channel_ns : float, optional
        Width of a channel [ns], for files that count channels; it takes the place of a
        calibration in the file. Where neither states it, `guess_channel_ns` does, and
        ``axis_assumed`` of the spectrum is True.
    object : str, optional
        Histogram or region, for files of several.

    Raises
    ------
    FileError
        If the file is missing, of no known layout, holds something else than a spectrum, several
        and none is named, or channels whose width nobody knows.
    """
    path = Path(path)
    if channel_ns is not None and not (np.isfinite(channel_ns) and channel_ns > 0):
        raise SettingsError(f"channel_ns = {channel_ns:g}: expected a positive number of ns")
    require_file(path)
    with path.open("rb") as file:
        start = file.read(4)
    name = path.stem
    if start == b"root":
        name, raw = _read_root(path, object)
    elif start[:2] == b"PK":
        name, raw = _read_npz(path, object)
    elif object is not None:
        raise FileError(f"{path}: holds one spectrum as text; leave {object!r} out")
    else:
        raw = read_text(path)
    try:
        spectrum = _with_axis(name, raw, channel_ns)
    except DataError as error:
        raise FileError(f"{path}: {error}") from error
    log.info(
        "%s: %d bins, %.10g counts; %s", path, len(spectrum), spectrum.counts.sum(), spectrum.origin
    )
    return spectrum


def _with_axis(name: str, raw: RawSpectrum, channel_ns: float | None) -> Spectrum:
    """Return the spectrum on the axis that is given, else the file's own, else an assumed one."""
    assumed = False
    edges_ns, origin = raw.edges_ns, raw.origin
    if channel_ns is not None:
        if raw.channels is None:
            raise DataError(
                f"has a time axis of its own ({origin}), which has no channels; leave --channel-ns "
                "out"
            )
        instead = f", in place of {origin}" if edges_ns is not None else ""
        edges_ns, origin = raw.channels * channel_ns, f"{channel_ns:g} ns per channel{instead}"
    elif edges_ns is None:
        assert raw.channels is not None
        try:
            if not np.all(np.diff(raw.channels) == 1.0):
                raise DataError("its bins are not one channel wide")
            channel_ns, origin = guess_channel_ns(raw.counts)
        except DataError as error:
            raise DataError(
                f"counts against channels without a time axis, and {error}; give the width of a "
                "channel with --channel-ns"
            ) from error
        edges_ns, assumed = raw.channels * channel_ns, True
    return Spectrum(
        edges_ns=edges_ns, counts=raw.counts, name=name, origin=origin, axis_assumed=assumed
    )


def _read_root(path: Path, wanted: str | None) -> tuple[str, RawSpectrum]:
    with open_root_file(path) as file:
        kinds = {name.split(";")[0]: kind for name, kind in file.classnames().items()}
        histograms = [name for name, kind in kinds.items() if kind.startswith("TH1")]
        if not histograms:
            listed = ", ".join(f"{name}: {kind}" for name, kind in list(kinds.items())[:10])
            raise FileError(
                f"{path}: holds no TH1 histogram ({listed or 'it is empty'}); export the spectrum "
                "as a TH1"
            )
        regions = _regions_of_run(histograms)
        known = {name: name for name in histograms} | regions
        if wanted is not None and wanted.replace("/", "_") in regions:
            wanted = wanted.replace("/", "_")  # as a run writes the name of a region
        name = _choose(path, list(regions or known), known, wanted)
        return name, _from_histogram(path, name, file[known[name]])


def _regions_of_run(histograms: list[str]) -> dict[str, str]:
    """Return the measured histogram of each region, in a file where each has a folder with one.

    The fitted curves beside it are no spectra to choose from.
    """
    end = f"/{_COUNTS}"
    regions = {name.removesuffix(end): name for name in histograms if name.endswith(end)}
    folders = {name.rpartition("/")[0] for name in histograms}
    return regions if folders == set(regions) else {}


def _choose(path: Path, listed: list[str], known: dict[str, Any], wanted: str | None) -> str:
    names = ", ".join(listed[:_MOST_LISTED]) or "none"
    if len(listed) > _MOST_LISTED:
        names += f" and {len(listed) - _MOST_LISTED} more"
    if wanted is not None:
        if wanted not in known:
            raise FileError(f"{path}: no spectrum {wanted!r}; the file has {names}")
        return wanted
    if len(listed) != 1:
        raise FileError(f"{path}: holds {len(listed)} spectra, expected one: name one of {names}")
    return listed[0]


def _from_histogram(path: Path, name: str, histogram: Any) -> RawSpectrum:
    edges = np.asarray(histogram.axis().edges(), np.float64)
    counts = np.asarray(histogram.values(), np.float64)
    title = str(histogram.axis().member("fTitle") or "")
    try:
        unit = axis_unit(title)
    except DataError as error:
        raise FileError(f"{path}: {name}: {error}") from error
    outside = float(np.sum(histogram.values(flow=True)) - np.sum(counts))
    if outside:
        log.info("%s: %s: %g counts of under- and overflow left out", path, name, outside)
    if histogram.weighted and not np.allclose(histogram.variances(), counts):
        log.warning("%s: %s is weighted; errors of a fit take its contents for counts", path, name)
    whole = np.all(np.diff(edges) == 1.0) and float(edges[0]).is_integer()
    if unit == "channel" or (unit is None and whole):
        return RawSpectrum(counts=counts, channels=edges)
    factor = unit_factor("time", unit or "ns")
    stated = f"axis {title!r} of {name}" if unit else f"axis of {name}, taken as ns"
    return RawSpectrum(counts=counts, edges_ns=edges * factor, origin=stated)


def _read_npz(path: Path, wanted: str | None) -> tuple[str, RawSpectrum]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in ("edges_ns", _COUNTS) if name not in file]
            if missing:
                raise FileError(
                    f"{path}: no member {missing[0]!r}, found {', '.join(file) or 'none'}; "
                    "expected edges_ns and counts, as in the spectra.npz of a run"
                )
            edges, counts = (np.asarray(file[k], np.float64) for k in ("edges_ns", _COUNTS))
            regions = [str(x) for x in file["regions"]] if "regions" in file else [path.stem]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
        raise FileError(
            f"{path}: not a readable npz archive ({error}); save it again with numpy.savez"
        ) from error
    rows: NDArray[np.float64] = np.atleast_2d(counts)
    if rows.shape != (len(regions), edges.size - 1):
        raise FileError(
            f"{path}: counts has shape {counts.shape} for {len(regions)} regions and {edges.size} "
            "edges; expected a row per region and one edge more than bins"
        )
    name = _choose(path, regions, dict.fromkeys(regions), wanted)
    row = rows[regions.index(name)]
    return name, RawSpectrum(counts=row, edges_ns=edges, origin="edges_ns of the file")
