"""What every other package rests on: errors, units, columns, scanner, grid, regions, maps."""

from psimg.core.columns import freeze
from psimg.core.errors import DataError, FileError, PsimgError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import ISOTOPES, Isotope
from psimg.core.maps import FitStatus, ParameterMaps
from psimg.core.regions import Box, Cylinder, Everywhere, Mask, Region, Sphere
from psimg.core.scanner import SCANNERS, Scanner
from psimg.core.settings import SETTINGS_CONFIG, require_positive, require_window
from psimg.core.stage import Stage
from psimg.core.units import unit_factor

__all__ = [
    "ISOTOPES",
    "SCANNERS",
    "SETTINGS_CONFIG",
    "Box",
    "Cylinder",
    "DataError",
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
    "freeze",
    "require_positive",
    "require_window",
    "unit_factor",
]
