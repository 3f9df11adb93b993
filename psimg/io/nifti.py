"""Maps as NIfTI with a JSON sidecar, and masks from NIfTI."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import FileError
from psimg.core.grid import VoxelGrid


def write_map(
    directory: Path,
    name: str,
    image: NDArray[Any],
    grid: VoxelGrid,
    *,
    sidecar: Mapping[str, Any],
) -> None:
    """Write ``name.nii.gz`` and ``name.json`` into a directory.

    The affine takes voxel indices to the centre of the voxel in scanner coordinates [mm], as RAS+
    world coordinates; floats are stored as float32, NaN where there is no value.

    Parameters
    ----------
    directory : Path
        Existing directory.
    name : str
        Stem of both files.
    image : (nx, ny, nz) array
        The map.
    grid : VoxelGrid
        Where its voxels are.
    sidecar : mapping
        Units and provenance; NIfTI itself has no code for ns.
    """
    import nibabel as nib

    stored = image if image.dtype == np.uint8 else image.astype(np.float32)
    nifti = nib.Nifti1Image(stored, grid.affine)
    nifti.header.set_xyzt_units("mm")
    nifti.set_sform(grid.affine, code="scanner")
    nifti.set_qform(grid.affine, code="scanner")
    nib.save(nifti, directory / f"{name}.nii.gz")
    (directory / f"{name}.json").write_text(json.dumps(sidecar, indent=2) + "\n")


def read_mask(path: Path, *, label: int | None = None) -> tuple[VoxelGrid, NDArray[np.bool_]]:
    """Read a region from a NIfTI image along the scanner's axes.

    Parameters
    ----------
    path : Path
        The image.
    label : int, optional
        The value of the region's voxels; all that are not zero when left out.

    Returns
    -------
    grid : VoxelGrid
        The image's voxels.
    inside : (nx, ny, nz) bool array
        Whether each is part of the region.

    Raises
    ------
    FileError
        If the file is no NIfTI image, has other than three axes, or is turned against the scanner.
    """
    grid, data = _read(path, "a mask of three")
    return grid, (data != 0 if label is None else data == label)


def read_image(path: Path) -> tuple[VoxelGrid, NDArray[np.float64]]:
    """Read a NIfTI image along the scanner's axes.

    Parameters
    ----------
    path : Path
        The image.

    Returns
    -------
    grid : VoxelGrid
        The image's voxels.
    values : (nx, ny, nz) float64 array
        What it holds.

    Raises
    ------
    FileError
        If the file is no NIfTI image, has other than three axes, or is turned against the scanner.
    """
    grid, data = _read(path, "an image of three")
    return grid, data.astype(np.float64)


def read_image_affine(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a NIfTI image of any orientation.

    Parameters
    ----------
    path : Path
        The image; one frame of a fourth axis is taken for the image itself.

    Returns
    -------
    image : (nx, ny, nz) float64 array
        Its values, NaN where it has NaN.
    affine : (4, 4) float64 array
        From voxel indices to the centre of the voxel [mm]; may flip, swap and turn axes.

    Raises
    ------
    FileError
        If the file is no NIfTI image, has more frames than one, holds no real numbers, or does not
        say where its voxels are.
    """
    data, affine = _load(path, canonical=False)
    if data.ndim > 3 and set(data.shape[3:]) == {1}:
        data = data.reshape(data.shape[:3])
    if data.ndim > 3:
        n_frame = int(np.prod(data.shape[3:]))
        raise FileError(f"{path}: has {n_frame} frames, expected one image; extract one frame")
    if data.ndim < 3 or data.size == 0:
        shape = " x ".join(map(str, data.shape))
        raise FileError(f"{path}: has shape {shape}, expected an image of three axes")
    if data.dtype.kind not in "biuf":
        raise FileError(f"{path}: its voxels are {data.dtype}, expected real numbers")
    affine = affine.astype(np.float64)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise FileError(
            f"{path}: its affine does not say where the voxels are; mend the header's sform"
        )
    return data.astype(np.float64), affine


def _load(path: Path, *, canonical: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an image's values and affine, turned as near to x, y, z as can be if ``canonical``."""
    import nibabel as nib

    try:
        image = nib.load(path)
        if canonical:
            image = nib.as_closest_canonical(image)
        return np.asarray(image.dataobj), np.asarray(image.affine)  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; check the path") from None
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(f"{path}: not a readable NIfTI image ({reason})") from error


def _read(path: Path, wanted: str) -> tuple[VoxelGrid, NDArray[Any]]:
    data, affine = _load(path, canonical=True)
    if data.ndim != 3:
        raise FileError(f"{path}: has {data.ndim} axes, expected {wanted}")
    size = np.diag(affine)[:3]
    turned = np.abs(affine[:3, :3] - np.diag(size)).max()
    if turned > 1e-3 * size.min():
        raise FileError(
            f"{path}: its axes are turned against the scanner's; resample it along x, y, z"
        )
    grid = VoxelGrid(
        shape=data.shape,
        voxel_mm=tuple(float(s) for s in size),  # type: ignore[arg-type]
        origin_mm=tuple(float(o) for o in affine[:3, 3]),  # type: ignore[arg-type]
    )
    return grid, data
