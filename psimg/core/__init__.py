"""What every other package rests on: errors, units, columns, scanner, grid, regions, maps."""

from psimg.core.columns import freeze
from psimg.core.errors import DataError, FileError, PsimgError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import (
    ISOTOPES,
    NUCLIDES,
    DecayPath,
    DecayScheme,
    Isotope,
    find_isotope,
    find_nuclide,
)
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.core.regions import Box, Cylinder, Everywhere, Mask, Region, Sphere
from psimg.core.scanner import SCANNERS, Scanner
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.core.stage import Stage
from psimg.core.units import unit_factor

__all__ = [
    "ISOTOPES",
    "NUCLIDES",
    "SCANNERS",
    "SETTINGS_CONFIG",
    "Box",
    "Cylinder",
    "DataError",
    "DecayPath",
    "DecayScheme",
    "Everywhere",
    "FileError",
    "FitStatus",
    "Isotope",
    "Mask",
    "ParameterMaps",
    "PsimgError",
    "Region",
    "Scanner",
    "SettingsError",
    "Sphere",
    "Stage",
    "VoxelGrid",
    "find_isotope",
    "find_nuclide",
    "freeze",
    "require_positive",
    "require_window",
    "unit_factor",
]
