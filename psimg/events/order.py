"""The order of a stream of chunks: a bounded sort in time, and which chunk is the last."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from psimg.core.errors import DataError
from psimg.events.values import Singles

_T = TypeVar("_T")


def sort_chunks(chunks: Iterable[Singles], *, max_disorder_ns: float) -> Iterator[Singles]:
    """Put nearly sorted singles in time order, holding back only the newest of them.

    Parameters
    ----------
    chunks : iterable of Singles
        Singles in the order of the file, of one clock.
    max_disorder_ns : float
        How much earlier a single may be than the latest one before it [ns].

    Yields
    ------
    Singles
        All singles in time order; equal times keep the order of the file.

    Raises
    ------
    DataError
        If a single is out of order by more than ``max_disorder_ns``.
    """
    held: Singles | None = None
    latest = -np.inf
    for chunk in chunks:
        if not len(chunk):
            continue
        newest = float(chunk.time_ns[-1])
        n_ready = int(np.searchsorted(chunk.time_ns, newest - max_disorder_ns, side="left"))
        if n_ready and _rises(chunk.time_ns, latest):
            # As in most files: what was held comes first, and only what is held now is moved.
            if held is not None:
                yield held
            yield chunk.take(slice(None, n_ready))
            held, latest = chunk.take(np.arange(n_ready, len(chunk))), newest
            continue
        highest = np.maximum(np.maximum.accumulate(chunk.time_ns), latest)
        lag = float(np.max(highest - chunk.time_ns))
        if lag > max_disorder_ns:
            raise DataError(
                f"times do not rise: a single is {lag:.6g} ns earlier than one before it, more "
                f"than the {max_disorder_ns:g} ns that are sorted; sort the file by time, or raise "
                "input.max_disorder_ns"
            )
        both = chunk if held is None else held.joined(chunk)
        if lag > 0 or held is not None:
            both = both.take(np.argsort(both.time_ns, kind="stable"))
        latest = float(highest[-1])
        # What comes may be earlier than the latest time, but not by more than the bound.
        n_ready = int(np.searchsorted(both.time_ns, latest - max_disorder_ns, side="left"))
        held = both.take(slice(n_ready, None))
        if n_ready:
            yield both.take(slice(None, n_ready))
    if held is not None and len(held):
        yield held


def _rises(time_ns: NDArray[np.float64], latest_ns: float) -> bool:
    """Return whether the times rise from ``latest_ns`` on."""
    return bool(time_ns[0] >= latest_ns and np.all(time_ns[1:] >= time_ns[:-1]))


def with_last(chunks: Iterable[_T]) -> Iterator[tuple[_T, bool]]:
    """Yield each chunk with whether it is the last, for `find_triplets`."""
    iterator = iter(chunks)
    try:
        held = next(iterator)
    except StopIteration:
        return
    for chunk in iterator:
        yield held, False
        held = chunk
    yield held, True
