"""What ``[recon]`` asks of the rest of a study: files, a scanner, regions, a model."""

from dataclasses import dataclass
from pathlib import Path

from psimg.core.errors import FileError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import ISOTOPES
from psimg.core.scanner import Scanner
from psimg.imaging.list_mode import require_fine_voxels
from psimg.imaging.values import ReconOptions
from psimg.study.sections import StudyFile

_OWN_WORDS = {"activity": ("pairs", "triplets"), "sensitivity": ("uniform", "geometric")}
"""Values of keys that are no file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconFiles:
    """The files that ``[recon]`` names, None where it names none."""

    activity: Path | None = None
    sensitivity: Path | None = None
    attenuation: Path | None = None
    guide: Path | None = None


def find_recon_files(base: Path, options: ReconOptions) -> ReconFiles:
    """Return the files of ``[recon]``, relative to the folder of the study.

    Raises
    ------
    FileError
        If one is missing.
    """
    found: dict[str, Path] = {}
    for key in ("activity", "sensitivity", "attenuation", "guide"):
        value = getattr(options, key)
        own = _OWN_WORDS.get(key, ())
        if value is None or value in own:
            continue
        path = base / value
        if not path.is_file():
            words = "".join(f"{word!r}, " for word in own)
            hint = f"; expected {words}or a NIfTI file" if own else ""
            raise FileError(f"{path}: no such file; check recon.{key}{hint}")
        found[key] = path
    return ReconFiles(**found)


def require_recon(settings: StudyFile, grid: VoxelGrid, scanner: Scanner | None) -> None:
    """Refuse a study whose settings do not go with its method, before anything is read.

    Raises
    ------
    SettingsError
        If an image needs a setting that is missing, or one that contradicts it.
    """
    options, model = settings.recon, settings.model
    method = options.method
    if method == "histogram":
        return
    if scanner is None:
        raise SettingsError(
            f"recon.method = {method!r} needs the resolution of the time of flight; set "
            "scanner.preset, or scanner.crt_ns with radius_mm and length_mm"
        )
    require_fine_voxels(grid, scanner.sigma_point_mm)
    if method == "regions" and not settings.regions:
        raise SettingsError(
            "recon.method = 'regions' fits the lifetimes of regions and the study names none; add "
            "[[regions]]"
        )
    if any(c.free for k, c in enumerate(model.components) if k != model.ops):
        raise SettingsError(
            f"recon.method = {method!r} leaves only the o-Ps lifetime free; fix the others in "
            "[[model.components]]"
        )
    if method == "mlem" and options.activity not in _OWN_WORDS["activity"]:
        raise SettingsError(
            f"recon.method = 'mlem' reconstructs the activity, and recon.activity = "
            f"{options.activity!r} gives it; set 'pairs' or 'triplets'"
        )
    if method == "mlem" and options.errors == "bootstrap":
        raise SettingsError(
            "recon.errors = 'bootstrap' is for images of lifetimes, and recon.method = 'mlem' "
            "makes one of the activity; leave it out"
        )
    if options.guide is not None and method != "penalised":
        raise SettingsError(
            f"recon.guide is used by recon.method = 'penalised' only, and the method is "
            f"{method!r}; remove it"
        )
    if options.sensitivity == "geometric" and prompt_energy_kev(settings) is None:
        raise SettingsError(
            "recon.sensitivity = 'geometric' needs the energy of the prompt; set study.isotope, or "
            "select.prompt_kev with two finite ends"
        )


def prompt_energy_kev(settings: StudyFile) -> float | None:
    """Return the energy of the prompt: the isotope's, or the middle of its window [keV]."""
    isotope = ISOTOPES.get(settings.study.isotope or "")
    if isotope is not None and isotope.prompt_kev is not None:
        return isotope.prompt_kev
    signal = settings.select.signal
    low, high = signal.prompt
    if signal.signal.role != "energy" or high == float("inf"):
        return None
    return 0.5 * (low + high)
