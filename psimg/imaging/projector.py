"""Between images and list mode: sums along lines, and their transpose.

An image here is a *field*: flat float32, x fastest, with a border of one voxel around the grid that
holds nothing. `to_field` and `to_image` go between it and the (nx, ny, nz) images of everyone else.
With H the weights of `psimg.imaging._projector`, ``project`` is H and ``back_project`` its exact
transpose; a resolution kernel R, a symmetric blur, goes in as H R and R H'.
"""

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.core.grid import VoxelGrid
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.imaging import _projector
from psimg.imaging.list_mode import ListMode

Field = NDArray[np.float32]

_NO_WEIGHTS = np.zeros(0, np.float32)


def to_field(image: NDArray[np.floating], grid: VoxelGrid) -> Field:
    """Return an (nx, ny, nz) image as a field.

    Raises
    ------
    DataError
        If the image is not of the grid's shape.
    """
    if np.shape(image) != grid.shape:
        raise DataError(f"an image of shape {np.shape(image)} on a grid of shape {grid.shape}")
    field = np.zeros([n + 2 for n in grid.shape[::-1]], np.float32)
    field[1:-1, 1:-1, 1:-1] = np.asarray(image).T
    return field.reshape(-1)


def to_image(field: Field, grid: VoxelGrid) -> NDArray[np.float32]:
    """Return a field as an (nx, ny, nz) image; what lies in its border is left out."""
    padded = field.reshape([n + 2 for n in grid.shape[::-1]])
    return np.ascontiguousarray(padded[1:-1, 1:-1, 1:-1].T)


def clear_border(field: Field, grid: VoxelGrid) -> None:
    """Set the border of a field to zero, in place."""
    padded = field.reshape([n + 2 for n in grid.shape[::-1]])
    for axis in range(3):
        ends = np.moveaxis(padded, axis, 0)
        ends[0] = ends[-1] = 0.0


class Projector:
    """The weights H of some events, with the memory that their transpose needs.

    Events are the same for its life; sums do not depend on the number of threads.
    """

    def __init__(self, events: ListMode, *, resolution_mm: float = 0.0) -> None:
        """Take the events.

        Parameters
        ----------
        events : ListMode
            The events.
        resolution_mm : float
            Full width at half maximum of the Gaussian resolution in image space, for crystals,
            positron range and whatever else blurs across LORs [mm].
        """
        grid = events.grid
        self.events = events
        self._shape = np.array([n + 2 for n in grid.shape], np.int64)
        self._size = np.array(grid.voxel_mm, np.float64)
        plane = int(self._shape[0] * self._shape[1])
        used = (events.stop_plane - events.first_plane) * plane
        self._plane = plane
        self._offset = np.cumsum(used) - used - events.first_plane * plane
        self._partial = np.zeros(int(used.sum()), np.float32)
        self._blur = tuple(resolution_mm / FWHM_PER_SIGMA / size for size in grid.voxel_mm[::-1])

    @property
    def grid(self) -> VoxelGrid:
        """The voxels."""
        return self.events.grid

    @property
    def n_cell(self) -> int:
        """Numbers of a field."""
        return int(self._shape.prod())

    def project(self, field: Field, *, time_bin: int | None = None) -> NDArray[np.float32]:
        """Return (N,) sums along the lines of events, zero for those of other time bins."""
        out = np.zeros(len(self.events), np.float32)
        # Events write only their own sums, so that the blocks of all time bins go at once.
        starts = self.events.starts if time_bin is None else self.events.starts[time_bin]
        _projector.project(
            self.blurred(field), self._shape, self._size, self.events.sigma_mm,
            starts.reshape(-1, 3, 2), self.events.point, self.events.slope, out,
        )  # fmt: skip
        return out

    def back_project(
        self, values: NDArray[np.float32], *, time_bin: int | None = None, squared: bool = False
    ) -> Field:
        """Return the field of the sum over events of each one's value along its line.

        Parameters
        ----------
        values : (N,) float32 array
            A value of each event.
        time_bin : int, optional
            The time bin whose events are used; all when left out.
        squared : bool
            Whether each weight is squared, as for variances: those of the lines alone, without
            the resolution kernel.
        """
        values = self._one_each(values, "values")
        for starts in self._starts(time_bin):
            _projector.back_project(
                values, self._shape, self._size, self.events.sigma_mm, starts, self.events.point,
                self.events.slope, self._offset, self._partial, squared,
            )  # fmt: skip
        return self._merge() if squared else self._merged()

    def back_project_ratio(
        self,
        field: Field,
        *,
        time_bin: int | None = None,
        weights: NDArray[np.float32] | None = None,
        subset: tuple[int, int] = (0, 1),
    ) -> tuple[Field, float]:
        """Return H' (w / H field), and the sum of ``w ln(H field)``.

        Parameters
        ----------
        field : Field
            What is expected of each voxel, everything included.
        time_bin : int, optional
            The time bin whose events are used; all when left out.
        weights : (N,) float32 array, optional
            Weight of each event in the order of the list mode; one when left out.
        subset : tuple of int
            Which of how many subsets: every so-manieth event of a block.

        Raises
        ------
        DataError
            If there is not one weight for each event.
        """
        each = _NO_WEIGHTS if weights is None else self._one_each(weights, "weights")
        seen, total = self.blurred(field), 0.0
        for starts in self._starts(time_bin):
            log_sum = np.zeros(len(starts))
            _projector.back_project_ratio(
                seen, self._shape, self._size, self.events.sigma_mm, starts, *subset,
                self.events.point, self.events.slope, each, self._offset, self._partial, log_sum,
            )  # fmt: skip
            total += float(log_sum.sum())
        return self._merged(), total

    def blurred(self, field: Field) -> Field:
        """Return the field seen through the resolution kernel."""
        if not any(self._blur):
            return field
        from scipy.ndimage import gaussian_filter

        padded = field.reshape(self._shape[::-1])
        blurred = gaussian_filter(padded, self._blur, mode="constant", truncate=3.5)
        return np.asarray(blurred, np.float32).reshape(-1)

    def _one_each(self, values: NDArray[np.floating], name: str) -> NDArray[np.float32]:
        """Return a number for each event as the loops want it; raise `DataError` otherwise."""
        if values.shape != (len(self.events),):
            raise DataError(f"{values.shape} {name} for {len(self.events)} events")
        return np.ascontiguousarray(values, np.float32)

    def _starts(self, time_bin: int | None) -> NDArray[np.int64]:
        starts = self.events.starts
        return starts if time_bin is None else starts[time_bin : time_bin + 1]

    def _merged(self) -> Field:
        return self.blurred(self._merge())

    def _merge(self) -> Field:
        out = np.empty(self.n_cell, np.float32)
        _projector.merge(
            self._partial, self.events.first_plane, self.events.stop_plane, self._offset,
            self._plane, out,
        )  # fmt: skip
        return out
