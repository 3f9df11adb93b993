from collections.abc import Callable, Iterator

import numba as nb
import pytest


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads of the compiled loops, where the machine has as many."""
    before = nb.get_num_threads()

    def use(n: int) -> None:
        if n > nb.config.NUMBA_NUM_THREADS:
            pytest.skip(f"needs {n} threads")
        nb.set_num_threads(n)

    yield use
    nb.set_num_threads(before)
