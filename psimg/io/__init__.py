"""Files in and out: one module per format, `open_input` in front."""

from psimg.io.gate9 import write_gate9
from psimg.io.input import FORMATS, InputChunk, InputFile, InputOptions, open_input
from psimg.io.mapping import REQUIRED, Column, ColumnSpec, UnmappedError
from psimg.io.nifti import read_mask, write_map
from psimg.io.spectra_files import write_spectra_npz, write_spectra_root
from psimg.io.spectrum import read_spectrum
from psimg.io.table_writer import WRITABLE, write_table
from psimg.io.timing_table import read_timing_table, write_timing_table

__all__ = [
    "FORMATS",
    "REQUIRED",
    "WRITABLE",
    "Column",
    "ColumnSpec",
    "InputChunk",
    "InputFile",
    "InputOptions",
    "UnmappedError",
    "open_input",
    "read_mask",
    "read_spectrum",
    "read_timing_table",
    "write_gate9",
    "write_map",
    "write_spectra_npz",
    "write_spectra_root",
    "write_table",
    "write_timing_table",
]
