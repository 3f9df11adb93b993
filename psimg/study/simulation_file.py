"""The simulation file: TOML to an acquisition and the names of the files to write."""

import hashlib
import logging
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import FileError, PsimgError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import find_isotope
from psimg.io.nifti import read_image
from psimg.io.table_writer import WRITABLE
from psimg.simulate.detector import Detector, find_detector
from psimg.simulate.materials import attenuation_tables, find_material
from psimg.simulate.phantom import (
    WATER_CHANNELS,
    LineSource,
    Phantom,
    VoxelPhantom,
    ps_channels,
)
from psimg.simulate.values import Acquisition
from psimg.study.settings_file import Layout, check_settings, of_file, read_toml
from psimg.study.simulation_parts import (
    ChannelSpec,
    LineSpec,
    PointSpec,
    RegionSpec,
    ShapeSpec,
)
from psimg.study.simulation_sections import (
    PHANTOM_SPECS,
    ScannerSection,
    SimulationFile,
    VoxelSection,
)

log = logging.getLogger(__name__)

_LAYOUT = Layout(
    root=SimulationFile,
    sections={
        "regions": RegionSpec,
        "shapes": ShapeSpec,
        "channels": ChannelSpec,
        "points": PointSpec,
        "lines": LineSpec,
        "voxels": VoxelSection,
    },
    kinds={"phantom": PHANTOM_SPECS},
    kind_key={"phantom": "preset"},
    unions=(
        "float",
        "str",
        "tuple[float, ...]",
        "tuple[float, float, float]",
        "literal[False]",
    ),
)
_SAME_GRID = 1e-3
"""Share of a voxel by which the grids of a phantom's images may differ."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Simulation:
    """A simulation ready to run: settings checked, images read, names of files settled."""

    path: Path
    settings: SimulationFile
    sha256: str
    """Hash of the simulation file."""
    acquisition: Acquisition
    singles: Path
    """File for the singles."""
    summary: Path
    """File for what they are, beside them."""
    truth: Path | None
    """File for the truth of each decay; None to leave it out."""
    study: Path | None
    """File for a study to start from; None to leave it out."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files to write."""
        named = (self.singles, self.truth, self.study, self.summary)
        return tuple(path for path in named if path is not None)


def read_simulation(
    path: Path | str, *, seed: int | None = None, duration_s: float | None = None
) -> Simulation:
    """Read and check a simulation file.

    Parameters
    ----------
    path : Path or str
        The TOML file; paths in it are relative to it.
    seed : int, optional
        Seed in place of the file's.
    duration_s : float, optional
        Length of the scan in place of the file's [s].

    Returns
    -------
    Simulation
        Everything `run_simulation` needs.

    Raises
    ------
    FileError
        If the file is missing or no TOML, or an image that it names cannot be read.
    SettingsError
        If a key is unknown (the nearest known one is named), a value is out of range, or the parts
        do not make an acquisition.
    """
    path = Path(path)
    raw = read_toml(path, missing="no such simulation file; data/nema_quadra.toml is an example")
    own = {"seed": seed, "duration_s": duration_s}
    own = {key: value for key, value in own.items() if value is not None}
    if isinstance(raw.get("simulation"), dict):
        raw["simulation"] = raw["simulation"] | own
    try:
        raw["scanner"] = _scanner(path.parent, raw.get("scanner"))
        return _prepare(path, check_settings(raw, SimulationFile, _LAYOUT))
    except PsimgError as error:
        raise of_file(path, error) from error.__cause__


def _scanner(base: Path, given: Any) -> Any:
    """Return the keys of a detector, with those of the preset where it names one."""
    if given is None:
        raise SettingsError(
            "[scanner] is missing; give it preset, or inner_radius_mm and the other keys of a "
            "detector"
        )
    if not isinstance(given, dict):
        return given
    keys = dict(given)
    if "offset_ns" in keys:
        keys["offset_ns"] = _offsets(base, keys["offset_ns"])
    if isinstance(keys.get("preset"), str):
        preset = find_detector(keys["preset"])
        return {f.name: getattr(preset, f.name) for f in fields(Detector)} | keys
    return keys


def _offsets(base: Path, given: Any) -> NDArray[np.float64]:
    """Return the offsets that a list holds, or a file that is named."""
    if isinstance(given, str):
        try:
            return np.atleast_1d(np.loadtxt(base / given, dtype=np.float64))
        except (OSError, ValueError) as error:
            raise FileError(f"{base / given}: not a text of one offset a line ({error})") from error
    if not isinstance(given, list) or not all(isinstance(x, int | float) for x in given):
        raise SettingsError(
            "scanner.offset_ns: expected a list of numbers, or the name of a file with one a line"
        )
    return np.array(given, dtype=np.float64)


def _prepare(path: Path, settings: SimulationFile) -> Simulation:
    base, simulation = path.parent, settings.simulation
    phantom = _phantom(base, settings)
    find_material(settings.scanner.material)
    for name in (*phantom.names, *(line.name for line in phantom.lines)):
        if not name.strip() or not name.isprintable():
            raise SettingsError(f"name {name!r} of a part of the phantom: expected a word")
    _log_displaced(phantom)
    acquisition = Acquisition(
        phantom=phantom,
        isotope=find_isotope(simulation.isotope),
        detector=_detector(settings.scanner),
        duration_s=simulation.duration_s,
        activity_mbq=simulation.activity_mbq,
        physics=settings.physics,
    )
    output = settings.output
    singles = _table(base, "singles", output.singles)
    return _with_distinct_files(
        Simulation(
            path=path,
            settings=settings,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            acquisition=acquisition,
            singles=singles,
            summary=singles.with_suffix(".json"),
            truth=None if output.truth is False else _table(base, "truth", output.truth),
            study=_normal(base, output.study) if output.study is not None else None,
        )
    )


def _log_displaced(phantom: Phantom) -> None:
    pairs = phantom.displaced()
    for above in dict.fromkeys(above for _, above in pairs):
        below = ", ".join(repr(name) for name, other in pairs if other == above)
        log.info("region %r displaces a part of %s", above, below)


def _detector(section: ScannerSection) -> Detector:
    """Return the section as a plain detector."""
    return Detector(**{f.name: getattr(section, f.name) for f in fields(Detector)})


def _table(base: Path, key: str, name: str) -> Path:
    path = _normal(base, name)
    if path.suffix.lower() not in WRITABLE:
        raise SettingsError(f"output.{key} = {name!r}: expected an ending of {', '.join(WRITABLE)}")
    return path


def _normal(base: Path, name: str) -> Path:
    return Path(os.path.normpath(base / name))


def _with_distinct_files(simulation: Simulation) -> Simulation:
    """Return the simulation; `SettingsError` where one file would take the place of another."""
    names = [os.path.abspath(path) for path in simulation.files]  # noqa: PTH100
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"two files to write are {name}; give each its own name in [output]"
            )
    if os.path.abspath(simulation.path) in names:  # noqa: PTH100
        raise SettingsError(
            f"[output] would replace {simulation.path}, the simulation file itself; rename it"
        )
    return simulation


def _phantom(base: Path, settings: SimulationFile) -> Phantom:
    section = settings.phantom
    regions = section.regions() + tuple(spec.region() for spec in settings.regions)
    ends = [(spec, spec.position_mm, spec.position_mm) for spec in settings.points]
    ends += [(spec, spec.start_mm, spec.end_mm) for spec in settings.lines]  # type: ignore[misc]
    lines = tuple(
        LineSource(name=spec.name, start_mm=start, end_mm=end, activity_mbq=spec.activity_mbq)
        for spec, start, end in ends
    )
    voxels = None
    if section.voxels is not None:
        alone = not lines and not any(r.activity_mbq or r.activity_kbq_ml for r in regions)
        total = settings.simulation.activity_mbq if alone else None
        voxels = _voxels(base, section.voxels, total)
    elif not regions:
        raise SettingsError(
            "there is no phantom; give [phantom] a preset or voxels, or add [[regions]]"
        )
    return Phantom(regions=regions, lines=lines, voxels=voxels)


def _voxels(base: Path, section: VoxelSection, total_mbq: float | None) -> VoxelPhantom:
    """Read a phantom's images; ``total_mbq`` is its activity where it does not say itself."""
    activity_mbq = total_mbq if section.activity_mbq is None else section.activity_mbq
    if activity_mbq is None:
        raise SettingsError("phantom.voxels.activity_mbq is missing; add it")
    grid, activity = read_image(base / section.activity)

    def image(name: str) -> NDArray[np.float64]:
        return _on_grid(base / name, grid, base / section.activity)

    density = None
    if section.density is not None:
        density = image(section.density)
    elif section.attenuation is not None:
        material = find_material(section.material)
        compton, photo = attenuation_tables([material], 511)
        density = image(section.attenuation) / (10.0 * float(compton[0, -1] + photo[0, -1]))
    maps = {
        key: image(value)
        for key in ("tau_ops_ns", "share_ops")
        if isinstance(value := getattr(section, key), str)
    }
    tau, share = (
        value if isinstance(value, float) else None
        for value in (section.tau_ops_ns, section.share_ops)
    )
    return VoxelPhantom(
        name=section.name,
        grid=grid,
        activity=activity.reshape(-1),
        activity_mbq=activity_mbq,
        density=None if density is None else density.reshape(-1).astype(np.float32),
        material=section.material,
        channels=ps_channels(
            WATER_CHANNELS[-1].tau_ns if tau is None else tau,
            share_ops=WATER_CHANNELS[-1].share if share is None else share,
        ),
        **{key: values.reshape(-1).astype(np.float32) for key, values in maps.items()},
    )


def _on_grid(path: Path, grid: VoxelGrid, first: Path) -> NDArray[np.float64]:
    """Read an image on a grid; `SettingsError` where it is on another."""
    own, values = read_image(path)
    apart = np.abs(own.affine - grid.affine).max() if own.shape == grid.shape else np.inf
    if apart > _SAME_GRID * min(grid.voxel_mm):
        raise SettingsError(
            f"{path} has {_described(own)}, and {first} {_described(grid)}; resample all images of "
            "a phantom to one grid"
        )
    return values


def _described(grid: VoxelGrid) -> str:
    shape = " x ".join(str(n) for n in grid.shape)
    size = " x ".join(f"{s:g}" for s in grid.voxel_mm)
    origin = ", ".join(f"{x:g}" for x in grid.origin_mm)
    return f"{shape} voxels of {size} mm from ({origin})"
