"""The singles of a study on the way to the triplet finder: corrected and in order."""

from collections import Counter
from collections.abc import Iterable, Iterator

from psimg.events.order import sort_chunks
from psimg.events.timing import correct_times, count_uncorrected
from psimg.events.values import Singles
from psimg.study.config import Study


def sorted_singles(
    study: Study, chunks: Iterable[Singles], counts: Counter[str]
) -> Iterator[Singles]:
    """Take the timing table of a study off the times of one file's singles, and sort them.

    Parameters
    ----------
    study : Study
        Names the table, if any, and how far out of order a single may be.
    chunks : iterable of Singles
        Singles in the order of the file.
    counts : Counter
        ``n_uncorrected`` receives the singles whose detector the table does not know.

    Yields
    ------
    Singles
        The same singles in time order.
    """
    disorder = study.settings.input.max_disorder_ns
    table = study.timing
    if table is None:
        yield from sort_chunks(chunks, max_disorder_ns=disorder)
        return

    def corrected() -> Iterator[Singles]:
        for singles in chunks:
            counts["n_uncorrected"] += count_uncorrected(singles, table)
            yield correct_times(singles, table)

    # One single may move up by as much as another moves down.
    disorder += 2.0 * table.largest_shift_ns
    yield from sort_chunks(corrected(), max_disorder_ns=disorder)
