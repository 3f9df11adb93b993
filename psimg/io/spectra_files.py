"""Spectra of regions with their fitted curves, as npz and as ROOT histograms."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Curves = Mapping[str, NDArray[np.float64]]
"""Counts per bin by name: ``counts``, the delayed windows, each component, ``background``..."""


def write_spectra_npz(
    path: Path, spectra: Mapping[str, Curves], edges_ns: NDArray[np.float64]
) -> None:
    """Write ``edges_ns``, ``regions`` and, for each curve, an (R, B) array over the regions.

    Parameters
    ----------
    path : Path
        The file to make.
    spectra : mapping of region to curves
        The same curves for each region, each (B,) counts per bin.
    edges_ns : (B+1,) array
        Bin edges [ns].
    """
    names = list(spectra)
    curves = list(spectra[names[0]]) if names else []
    arrays = {curve: np.stack([spectra[name][curve] for name in names]) for curve in curves}
    np.savez_compressed(path, edges_ns=edges_ns, regions=np.array(names, dtype=np.str_), **arrays)  # type: ignore[arg-type, unused-ignore]


def write_spectra_root(
    path: Path, spectra: Mapping[str, Curves], edges_ns: NDArray[np.float64]
) -> None:
    """Write one TH1D per region and curve, named ``region/curve``, against dt in ns.

    Parameters
    ----------
    path : Path
        The file to make.
    spectra : mapping of region to curves
        Each curve is (B,) counts per bin.
    edges_ns : (B+1,) array
        Bin edges [ns].
    """
    import uproot

    with uproot.recreate(path) as file:
        for name, curves in spectra.items():
            for curve, counts in curves.items():
                # A slash would open a folder of its own.
                folder = name.replace("/", "_")
                file[f"{folder}/{curve}"] = np.asarray(counts, dtype=np.float64), edges_ns
