"""Images of activity: list-mode expectation maximisation with subsets."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from psimg.imaging.projector import Field, Projector, clear_border, to_field

Progress = Callable[[int, int], None]


def maximise_activity(
    projector: Projector,
    *,
    iterations: int,
    subsets: int = 1,
    additive: Field | None = None,
    weights: NDArray[np.float32] | None = None,
    start: Field | None = None,
    progress: Progress | None = None,
) -> tuple[Field, NDArray[np.float64]]:
    """Reconstruct what each voxel sends into the events.

    List-mode ordered-subsets expectation maximisation (L. Parra and H. H. Barrett, IEEE Trans.
    Med. Imaging 17 (1998) 228, eq. 12; H. M. Hudson and R. S. Larkin, ibid. 13 (1994) 601),

        x_j <- x_j sum_i w_i H_ij / (sum_k H_ik (x_k + r_k))

    where x counts *detected* events: with a sensitivity s, the activity is x/s, and whatever makes
    some lines likelier than others than H says is a factor of all terms of a line and cancels, as
    long as the additive term is subject to it too.

    Parameters
    ----------
    projector : Projector
        The events.
    iterations, subsets : int
        Passes over the events, and the parts of them that update the image in turn.
    additive : Field, optional
        Expected events of other kinds, as an image.
    weights : (N,) float32 array, optional
        Weight of each event, not negative.
    start : Field, optional
        Where to start; the same everywhere when left out.
    progress : callable, optional
        Called as ``progress(passes_done, passes_total)``.

    Returns
    -------
    image : Field
        Detected events of each voxel; sums to the weights less the additive term's.
    trace : (iterations,) float64 array
        Log-likelihood after each pass, up to a constant: sum of ``w ln(H (x + r))`` less the sum
        of x. It rises with every pass of one subset.
    """
    grid = projector.grid
    n_events = float(len(projector.events) if weights is None else weights.sum())
    if start is None:
        start = to_field(np.full(grid.shape, max(n_events, 1.0) / grid.n_voxel), grid)
    image = start.copy()
    trace = np.zeros(iterations)
    for iteration in range(iterations):
        log_sum = 0.0
        for subset in range(subsets):
            expected = image if additive is None else image + additive
            ratio, part = projector.back_project_ratio(
                expected, weights=weights, subset=(subset, subsets)
            )
            log_sum += part - float(image.sum(dtype=np.float64)) / subsets
            image *= np.float32(subsets) * ratio
            clear_border(image, grid)
        trace[iteration] = log_sum
        if progress is not None:
            progress(iteration + 1, iterations)
    return image, trace
