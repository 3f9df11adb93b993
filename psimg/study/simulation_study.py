"""A study file to start from, for the singles of a simulation."""

import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psimg.core.isotopes import Isotope
from psimg.core.regions import Box, Cylinder, Sphere
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.simulate.detector import Detector
from psimg.simulate.materials import attenuation_tables, find_material
from psimg.simulate.phantom import Channel, HalfCylinder, LineSource, Shape
from psimg.simulate.values import Acquisition
from psimg.study.simulation_file import Simulation
from psimg.study.toml_text import quoted

_ELECTRON_KEV = 511.0
_MARGIN_MM = 20.0
"""What time of flight and positron range carry out of a phantom."""
_SOURCE_MM = 15.0
"""Radius of the region about a point or a line."""


def study_text(simulation: Simulation) -> str:
    """Return a study file for the singles of a simulation.

    Parameters
    ----------
    simulation : Simulation
        Its names of files, and what is in them.

    Returns
    -------
    str
        The study: scanner, windows, a grid about the phantom, and a region for each part of the
        phantom with activity.
    """
    acquisition = simulation.acquisition
    low, high = _bounds(acquisition)
    assert simulation.study is not None
    singles = os.path.relpath(simulation.singles, simulation.study.parent)
    title = simulation.settings.simulation.name or simulation.path.stem
    channels = _channels(acquisition)
    scanner = acquisition.detector.scanner()
    lines = [
        f"# Written by 'psimg simulate'; run it with: psimg run {simulation.study.name}",
        "",
        "[study]",
        f"name = {quoted(title)}",
        f"isotope = {quoted(acquisition.isotope.name)}",
        "",
        "[input]",
        f"files = [{quoted(singles)}]",
        'content = "singles"',
        "",
        "[scanner]",
        f"radius_mm = {scanner.radius_mm:g}",
        f"length_mm = {scanner.length_mm:g}",
        f"crt_ns = {scanner.crt_ns:g}",
    ]
    if scanner.energy_fwhm is not None:
        lines.append(f"energy_fwhm = {scanner.energy_fwhm:g}")
    lines += _select(acquisition, low, high, channels)
    lines += _regions(acquisition, low, high)
    return "\n".join(lines) + "\n"


def _channels(acquisition: Acquisition) -> list[tuple[Channel, ...]]:
    """Return the channels of every part of the phantom."""
    phantom = acquisition.phantom
    voxels = [] if phantom.voxels is None else [phantom.voxels.channels]
    return voxels + [region.channels for region in phantom.regions]


def _bounds(acquisition: Acquisition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a box about all activity."""
    boxes = [_box(shapes) for _, shapes, _ in _active(acquisition)]
    lows, highs = zip(*boxes, strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _box(shapes: Sequence[Shape]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lows, highs = zip(*(shape.bounds_mm for shape in shapes), strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _active(acquisition: Acquisition) -> list[tuple[str, tuple[Shape, ...], str]]:
    """Return the parts with activity: name, shapes, and a remark."""
    phantom = acquisition.phantom
    activity = iter(phantom.activities_mbq())
    displaced = phantom.displaced()
    parts: list[tuple[str, tuple[Shape, ...], str]] = []
    if phantom.voxels is not None and next(activity) > 0:
        grid = phantom.voxels.grid
        index = np.argwhere(phantom.voxels.activity.reshape(grid.shape) > 0)
        size = np.asarray(grid.voxel_mm)
        low, high = grid.low_mm + index.min(0) * size, grid.low_mm + (index.max(0) + 1) * size
        parts.append((phantom.voxels.name, (_as_box(phantom.voxels.name, low, high),), ""))
    for region in phantom.regions:
        if next(activity) > 0:
            inner = [above for below, above in displaced if below == region.name]
            remark = f"holds {', '.join(inner)} too" if inner else ""
            parts.append((region.name, region.shapes, remark))
    parts += [
        (line.name, (_about(line),), "")
        for line, mbq in zip(phantom.lines, activity, strict=True)
        if mbq > 0
    ]
    return parts


def _as_box(name: str, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    x, y, z = (float(c) for c in 0.5 * (low + high))
    dx, dy, dz = (float(c) for c in 0.5 * (high - low))
    return Box(name=name, centre_mm=(x, y, z), half_length_mm=(dx, dy, dz))


def _about(line: LineSource) -> Shape:
    """Return a region about a point or a line."""
    if line.start_mm == line.end_mm:
        return Sphere(name=line.name, centre_mm=line.start_mm, radius_mm=_SOURCE_MM)
    ends = np.array([line.start_mm, line.end_mm])
    return _as_box(line.name, ends.min(0) - _SOURCE_MM, ends.max(0) + _SOURCE_MM)


def _select(
    acquisition: Acquisition,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    channels: list[tuple[Channel, ...]],
) -> list[str]:
    """Return the sections that choose and bin events."""
    detector = acquisition.detector
    reach = float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high))))
    across = float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high))[:2]))
    pair_ns = 2.0 * reach / SPEED_OF_LIGHT_MM_NS + 3.0 * detector.crt_ns
    # Half of the shortest chord through the phantom: scatter from crystal to crystal is closer.
    radius = detector.placed_radius_mm
    apart = math.sqrt(max(radius**2 - across**2, 0.0))
    longest = max(channel.tau_ns for own in channels for channel in own)
    stop = max(20.0, 5.0 * math.ceil(10.0 * longest / 5.0))
    window = (-20.0, stop + 20.0)
    step = 50.0 * math.ceil((window[1] - window[0] + 40.0) / 50.0)
    annihilation, prompt, key = windows_of(detector, acquisition.isotope)
    extent = [
        8.0 * math.ceil((b - a + 2.0 * _MARGIN_MM) / 8.0) for a, b in zip(low, high, strict=True)
    ]
    centre = [round(float(c), 1) + 0.0 for c in 0.5 * (low + high)]
    whole = all(_is_ps(own) for own in channels)
    return [
        "",
        "[select]",
        f"annihilation_{key} = [{_number(annihilation[0])}, {_number(annihilation[1])}]",
        f"prompt_{key} = [{_number(prompt[0])}, {_number(prompt[1])}]",
        f"pair_window_ns = {math.ceil(10.0 * pair_ns) / 10.0}",
        f"prompt_window_ns = [{window[0]}, {window[1]}]",
        f"min_pair_distance_mm = {10.0 * math.floor(apart / 10.0)}",
        f"delays_ns = {[i * step for i in (2, 3, 4, 5)]}",
        'object = "phantom"',
        "",
        "[grid]",
        "voxel_mm = 8.0",
        f"extent_mm = {extent}",
        f"centre_mm = {centre}",
        "",
        "[spectrum]",
        "start_ns = -10.0",
        f"stop_ns = {stop}",
        "step_ns = 0.1",
        "",
        "[model]",
        f'intensities = "{"ps-ratio" if whole else "free"}"',
        'background = "delayed"',
        "",
        "[output]",
        'directory = "results"',
    ]


def _number(value: float) -> str:
    return "inf" if value == math.inf else f"{value:.4g}" if value < 100 else f"{value:.1f}"


def _is_ps(channels: tuple[Channel, ...]) -> bool:
    """Whether p-Ps is a third of o-Ps."""
    shares = {channel.name: channel.share for channel in channels}
    return set(shares) == {"pps", "direct", "ops"} and math.isclose(
        3.0 * shares["pps"], shares["ops"]
    )


def windows_of(
    detector: Detector, isotope: Isotope
) -> tuple[tuple[float, float], tuple[float, float], str]:
    """Return windows of annihilation photons and prompts, and the unit of their keys.

    Those of the isotope where the scintillator has a photopeak; else, as in plastic, the upper part
    of the Compton spectrum of 511 keV and what lies between its edge and that of the prompt.

    Parameters
    ----------
    detector : Detector
        What records the photons.
    isotope : Isotope
        What emits them; it has a prompt.

    Returns
    -------
    annihilation, prompt : tuple of float
        Ends of the windows, in keV or, for times over threshold, in ns.
    unit : str
        ``kev`` or ``tot_ns``.
    """
    assert isotope.prompt_kev is not None
    assert isotope.prompt_window_kev is not None
    compton, photo = attenuation_tables([find_material(detector.material)], 511)
    if photo[0, -1] > 0.05 * compton[0, -1]:
        annihilation, prompt = isotope.annihilation_window_kev, isotope.prompt_window_kev
    else:
        edge, top = _compton_edge(_ELECTRON_KEV), _compton_edge(isotope.prompt_kev)
        blur = 1.0 + detector.energy_fwhm
        lowest = min(max(0.5 * edge, detector.threshold_kev), 0.9 * edge)
        annihilation = lowest, edge * blur
        prompt = 1.05 * annihilation[1], max(top * blur, 1.2 * annihilation[1])
    saturation = detector.saturation_kev
    if saturation is not None and annihilation[1] < saturation <= prompt[1]:
        # All that is above the end of the scale is recorded there.
        prompt = min(prompt[0], 0.999 * saturation), math.inf
    if detector.tot_ns is None:
        return annihilation, prompt, "kev"
    ends = np.array([*annihilation, *prompt])
    a, b, c, d = (float(t) for t in detector.time_over_threshold(ends))
    # Where the curve has become flat, the window is open.
    return (a, b), (c, d if d > 1.05 * c else math.inf), "tot_ns"


def _compton_edge(kev: float) -> float:
    """Return the largest energy that a photon leaves in one Compton scatter [keV]."""
    k = 2.0 * kev / _ELECTRON_KEV
    return kev * k / (1.0 + k)


def _regions(
    acquisition: Acquisition, low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[str]:
    """Return a region about the whole phantom, and one for each part with activity."""
    lines = _region("phantom", (_as_box("phantom", low - _MARGIN_MM, high + _MARGIN_MM),), "")
    for name, shapes, remark in _active(acquisition):
        plain = "".join(" " if c in "/;" or not c.isprintable() else c for c in name)
        lines += _region("phantom_" if plain == "phantom" else plain, shapes, remark)
    return lines


def _region(name: str, shapes: Sequence[Shape], remark: str) -> list[str]:
    """Return a region of a study, which knows balls, cylinders and boxes."""
    shape = shapes[0]
    if len(shapes) > 1 or isinstance(shape, HalfCylinder):
        shape = _as_box(name, *_box(shapes))
        remark = "; ".join(filter(None, ["the box around it", remark]))
    lines = [""] + ([f"# {remark}"] if remark else [])
    lines += ["[[regions]]", f"name = {quoted(name)}"]
    centre = f"centre_mm = {[round(float(c), 4) for c in shape.centre_mm]}"
    if isinstance(shape, Sphere):
        return [*lines, 'shape = "sphere"', centre, f"radius_mm = {shape.radius_mm}"]
    if isinstance(shape, Cylinder):
        size = [f"radius_mm = {shape.radius_mm}", f"half_length_mm = {shape.half_length_mm}"]
        return [*lines, 'shape = "cylinder"', centre, *size]
    half = f"half_length_mm = {[round(float(c), 4) for c in shape.half_length_mm]}"
    return [*lines, 'shape = "box"', centre, half]
