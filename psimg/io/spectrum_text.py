"""One spectrum as text: a column or two, the LT layout, and ORTEC Maestro ``.Spe``."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError, FileError
from psimg.core.units import unit_factor

_LARGEST = 50_000_000
_TIME_UNITS = ("ns", "ps", "us")
_OTHER_UNITS = ("eV", "keV", "MeV", "mm", "cm")
_CHANNEL_WORDS = ("channel", "channels", "chan", "ch", "chn", "bin", "bins")
_UNEVEN = 0.2
"""Share of a step by which a printed time may miss its place, from rounding."""

Line = tuple[int, str]
"""A line and its number, counted from 1."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RawSpectrum:
    """Counts with the axis a file gives: channels, times, or channels with a calibration."""

    counts: NDArray[np.float64]
    """(B,) counts."""
    channels: NDArray[np.float64] | None = None
    """(B+1,) edges in channels; channel i reaches from i to i + 1."""
    edges_ns: NDArray[np.float64] | None = None
    """(B+1,) edges in time [ns]; None where the file has channels alone."""
    origin: str = ""
    """Where ``edges_ns`` came from."""


def axis_unit(text: str) -> str | None:
    """Return the unit an axis title or column name states: ns, ps, us, channel, or None.

    Raises
    ------
    DataError
        If the axis is an energy or a length.
    """
    plain = re.sub(r"#mu\s*|[\u00b5\u03bc]", "u", text)
    words = re.findall(r"[A-Za-z]+", plain)
    for unit in _TIME_UNITS:
        if unit in words:
            return unit
    if any(word.lower() in _CHANNEL_WORDS for word in words):
        return "channel"
    for unit in _OTHER_UNITS:
        if unit in words:
            raise DataError(f"axis {text!r} is in {unit}, expected a time in ns, ps or us")
    return None


def read_text(path: Path) -> RawSpectrum:
    """Read a spectrum from a text file of any of the known layouts.

    Raises
    ------
    FileError
        If the file is no text, or a line is not what its layout wants there.
    """
    lines = _lines_of(path)
    if next((text for _, text in lines if text), "").startswith("$"):
        return _read_spe(path, lines)
    if _is_lt(lines):
        return _read_lt(path, lines)
    return _read_table(path, lines)


def _lines_of(path: Path) -> list[Line]:
    size = path.stat().st_size
    if size > _LARGEST:
        raise FileError(
            f"{path}: {size / 1e6:,.0f} MB are too many for one spectrum; events are read by "
            "'psimg run' and shown by 'psimg inspect'"
        )
    data = path.read_bytes()
    if b"\0" in data:
        raise FileError(
            f"{path}: neither text nor ROOT nor npz (byte {data.index(0)} is zero); expected a "
            "spectrum as text (columns, LT, .Spe), ROOT histogram or npz"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # remarks in a Windows code page; numbers are the same
    # Maestro ends some lines with two carriage returns and a line feed.
    pieces = re.split(r"\r*\n|\r", text)
    return [(number, piece.strip()) for number, piece in enumerate(pieces, start=1)]


def _number(word: str) -> float | None:
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None


def _counts_in(path: Path, line: int, words: Sequence[str]) -> list[float]:
    return [_count(path, line, word) for word in words]


def _count(path: Path, line: int, word: str) -> float:
    value = _finite(path, line, word)
    if value < 0:
        raise FileError(
            f"{path}: line {line} holds {word} counts, expected 0 or more; do not subtract a "
            "background before the fit"
        )
    return value


def _finite(path: Path, line: int, word: str) -> float:
    value = _number(word)
    if value is None or not math.isfinite(value):
        raise FileError(
            f"{path}: line {line} holds {word[:40]!r}, expected a number; mend or remove the line"
        )
    return value


# LT: a title, ns per channel, a number nobody uses, FWHM of the response in ns, then counts.


def _is_lt(lines: list[Line]) -> bool:
    if len(lines) < 5 or _number(lines[0][1]) is not None:
        return False
    channel, _, fwhm = head = [_number(text) for _, text in lines[1:4]]
    if None in head:
        return False
    assert channel is not None
    assert fwhm is not None
    # Below 1 ns: a title over a column of counts has whole numbers there.
    return 0.0 < channel < 1.0 and fwhm >= 0.0


def _read_lt(path: Path, lines: list[Line]) -> RawSpectrum:
    channel_ns = float(lines[1][1])
    counts = [count for line, text in lines[4:] for count in _counts_in(path, line, text.split())]
    if not counts:
        raise FileError(f"{path}: four header lines (LT) and no counts below; export it again")
    channels = np.arange(len(counts) + 1.0)
    return RawSpectrum(
        counts=np.array(counts),
        channels=channels,
        edges_ns=channels * channel_ns,
        origin=f"{channel_ns:g} ns per channel, line 2 of the file (LT)",
    )


# ORTEC Maestro: blocks that begin with "$NAME:".


def _read_spe(path: Path, lines: list[Line]) -> RawSpectrum:
    blocks = _blocks(path, lines)
    if "DATA" not in blocks:
        raise FileError(f"{path}: no block $DATA, found {', '.join(blocks)}; export it again")
    (line, text), *rest = blocks["DATA"] or [(len(lines), "")]
    ends = re.fullmatch(r"(\d+)[\s,]+(\d+)", text)
    if ends is None or int(ends[1]) > int(ends[2]):
        raise FileError(
            f"{path}: line {line} holds {text[:40]!r}, expected the first and last channel of $DATA"
        )
    first, last = int(ends[1]), int(ends[2])
    counts = [count for n, row in rest for count in _counts_in(path, n, row.split())]
    if len(counts) != last - first + 1:
        raise FileError(
            f"{path}: line {line} says channels {first} to {last}, {last - first + 1} of them, but "
            f"{len(counts)} counts follow; export it again"
        )
    channels = np.arange(first, last + 2.0)
    for name, n_skip in (("MCA_CAL", 1), ("ENER_FIT", 0)):
        calibration = _calibration(path, blocks.get(name, []), n_skip)
        if calibration is not None:
            unit, coefficients = calibration
            edges = np.polynomial.polynomial.polyval(channels, coefficients)
            return RawSpectrum(
                counts=np.array(counts),
                channels=channels,
                edges_ns=edges * unit_factor("time", unit),
                origin=f"{coefficients[1]:g} {unit} per channel, ${name} of the file",
            )
    return RawSpectrum(counts=np.array(counts), channels=channels)


def _blocks(path: Path, lines: list[Line]) -> dict[str, list[Line]]:
    """Return the lines of each block that hold something."""
    blocks: dict[str, list[Line]] = {}
    name = ""
    for line, text in lines:
        if text.startswith("$"):
            name = text[1:].partition(":")[0].strip().upper()
            if name == "DATA" and name in blocks:
                raise FileError(
                    f"{path}: line {line} begins a second $DATA; expected one spectrum a file"
                )
            blocks[name] = []
        elif text:
            blocks[name].append((line, text))
    return blocks


def _calibration(path: Path, block: list[Line], n_skip: int) -> tuple[str, list[float]] | None:
    """Return unit and coefficients if the block states a time; energies are no time axis."""
    words = [(line, word) for line, text in block for word in text.split()][n_skip:]
    if not words or words[-1][1].lower() not in _TIME_UNITS:
        return None
    coefficients = [_finite(path, line, word) for line, word in words[:-1]]
    if len(coefficients) < 2 or coefficients[1] <= 0:
        raise FileError(
            f"{path}: line {words[-1][0]} calibrates with {coefficients}, expected an offset and a "
            f"positive number of {words[-1][1]} per channel"
        )
    return words[-1][1].lower(), coefficients


# Columns: counts alone, or time (or channel) and counts.


def _read_table(path: Path, lines: list[Line]) -> RawSpectrum:
    title, first = _heading(path, lines)
    delimiter = next((d for d in ",;\t" if d in lines[first][1]), None)
    rows: list[list[str]] = []
    places: list[int] = []
    for line, text in lines[first:]:
        if not text or text.startswith("#"):
            continue
        words = [word.strip() for word in text.split(delimiter)]
        expected = len(rows[0]) if rows else min(len(words), 2)
        if len(words) != expected:
            raise FileError(
                f"{path}: line {line} has {len(words)} columns, expected "
                + ("one (counts) or two (time and counts)" if not rows else f"{expected}")
            )
        rows.append(words)
        places.append(line)
    counts = np.array([_count(path, n, row[-1]) for n, row in zip(places, rows, strict=True)])
    if len(rows[0]) == 1:
        return RawSpectrum(counts=counts, channels=np.arange(len(counts) + 1.0))
    time = np.array([_finite(path, n, row[0]) for n, row in zip(places, rows, strict=True)])
    names = [name.strip() for name in title.split(delimiter)]
    try:
        unit = axis_unit(names[0] if len(names) == 2 else title)
    except DataError as error:
        raise FileError(f"{path}: {error}") from error
    return _with_times(path, places, time, counts, unit)


def _heading(path: Path, lines: list[Line]) -> tuple[str, int]:
    """Return the line above the numbers that may name the columns, and the place of the first."""
    title, remark = "", ""
    for i, (line, text) in enumerate(lines):
        if text.startswith("#"):
            remark = text.lstrip("# ")
        elif text:
            numbers = [_number(word) for word in re.split(r"[,;\s]+", text.rstrip(",; "))]
            if all(value is not None for value in numbers):
                return title or remark, i
            if title or any(value is not None for value in numbers):
                raise FileError(
                    f"{path}: line {line} holds {text[:40]!r}, expected numbers: one column of "
                    "counts, or time and counts; begin remarks with '#'"
                )
            title = text
    raise FileError(f"{path}: no line of numbers; expected one column of counts, or two columns")


def _with_times(
    path: Path,
    places: list[int],
    time: NDArray[np.float64],
    counts: NDArray[np.float64],
    unit: str | None,
) -> RawSpectrum:
    n = len(time)
    step = (time[-1] - time[0]) / max(n - 1, 1)
    if not step > 0:
        raise FileError(
            f"{path}: first column goes from {time[0]:g} to {time[-1]:g} in {n} lines; expected "
            "rising bin centres in two lines or more"
        )
    # Neighbours find the line; the distance from the ruler alone would point at the middle.
    uneven = np.abs(time - (time[0] + step * np.arange(n))) > _UNEVEN * step
    if uneven.any():
        typical = float(np.median(np.diff(time)))
        i = int(np.argmax(np.abs(np.diff(time) - typical))) + 1
        raise FileError(
            f"{path}: line {places[i]} steps by {time[i] - time[i - 1]:.6g} where others step by "
            f"{typical:.6g}; expected bin centres at even steps, empty bins included"
        )
    if unit == "channel" or (unit is None and step == 1.0 and float(time[0]).is_integer()):
        return RawSpectrum(counts=counts, channels=time[0] + step * np.arange(n + 1.0))
    factor = unit_factor("time", unit or "ns")
    return RawSpectrum(
        counts=counts,
        edges_ns=(time[0] + step * (np.arange(n + 1.0) - 0.5)) * factor,
        origin=f"bin centres in the first column, taken as {unit or 'ns'}, "
        f"{step * factor:.5g} ns apart",
    )
