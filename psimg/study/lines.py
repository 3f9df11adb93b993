"""Lines kept for an image while chunks go by, within the machine's memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import SettingsError
from psimg.events.values import LifetimeEvents
from psimg.events.windows import N_DELAYED_KINDS
from psimg.imaging.collect import BYTES_OF_TRIPLET, LineCollector
from psimg.io.input import InputFile
from psimg.study.config import Study
from psimg.study.memory import require_memory

_N_IMAGE = 16
"""Images of float32 that a method works on at a time."""
_N_SPLIT = 80
"""The same on top of them, of the method that keeps one with its variance for each time bin: 20
bins, two images of float64 each."""
_REMEDY = "use larger voxels or a smaller [grid], fewer triplets, or recon.method = 'histogram'"
_FEWER_PAIRS = "lower recon.most_pairs, or "


@dataclass(eq=False, kw_only=True)
class LineKeeper:
    """List mode of the prompt window, and of pairs where the image is of them."""

    study: Study
    triplets: LineCollector
    pairs: LineCollector | None

    def add_events(self, events: LifetimeEvents) -> None:
        """Keep the triplets of a chunk; `SettingsError` where they outgrow the memory."""
        self.triplets.add_events(events)
        self._require_memory()

    def add_pairs(self, position_mm: NDArray[np.float64], direction: NDArray[np.float64]) -> None:
        """Keep the pairs of a chunk; `SettingsError` where they outgrow the memory."""
        if self.pairs is not None:
            self.pairs.add_pairs(position_mm, direction)
            self._require_memory()

    def _require_memory(self) -> None:
        of_pairs = 0 if self.pairs is None else self.pairs.n_byte
        n_byte = _bytes_of_images(self.study) + self.triplets.n_byte + of_pairs
        fewer = _FEWER_PAIRS if of_pairs > self.triplets.n_byte else ""
        require_memory(n_byte, self.study, what="the triplets so far", remedy=fewer + _REMEDY)


def keep_lines(study: Study, files: list[InputFile]) -> LineKeeper | None:
    """Return what keeps the lines of a study, or None where its method needs none.

    Raises
    ------
    SettingsError
        If the input has no lines, or the image does not fit into the machine's memory.
    """
    options, scanner = study.settings.recon, study.scanner
    if options.method == "histogram" or scanner is None:
        return None
    for file in files:
        if file.content == "events":
            raise SettingsError(
                f"{file.path}: recon.method = {options.method!r} needs the direction of each LOR, "
                "and located events hold none; give singles or triplets, or use "
                "recon.method = 'histogram'"
            )
    n_byte = _bytes_of_images(study)
    rows = [file.n_rows for file in files if file.content == "triplets"]
    n_row = sum(n for n in rows if n is not None)
    n_byte += int(LineCollector.IN_WORK * BYTES_OF_TRIPLET * n_row)
    what = f"{n_row} triplets" if n_row else f"recon.method = {options.method!r}"
    require_memory(n_byte, study, what=what, remedy=_REMEDY)
    sigma_mm = scanner.sigma_point_mm
    with_pairs = options.activity == "pairs" and files[0].content == "singles"
    return LineKeeper(
        study=study,
        triplets=LineCollector(grid=study.grid, sigma_mm=sigma_mm),
        pairs=LineCollector(grid=study.grid, sigma_mm=sigma_mm, most=options.most_pairs)
        if with_pairs
        else None,
    )


def _bytes_of_images(study: Study) -> int:
    """Return the memory of images and of the counts of voxels."""
    n_image = _N_IMAGE + (_N_SPLIT if study.settings.recon.method == "split" else 0)
    return study.grid.n_voxel * (4 * n_image + 2 * (1 + N_DELAYED_KINDS))
