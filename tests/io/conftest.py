import functools
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from psimg.io import InputOptions, open_input

N_ROWS = 23
"""Rows of the small tables: not a multiple of the chunks they are read in."""


@pytest.fixture
def singles() -> dict[str, np.ndarray]:
    """Columns of singles in psimg's units, on a clock that starts at 2 ms."""
    rng = np.random.default_rng(20250101)
    return {
        "time": 2e6 + np.cumsum(rng.integers(1, 4000, N_ROWS) / 8.0),
        "energy": rng.integers(200, 1300, N_ROWS) * 1.0,
        "x": rng.integers(-400, 400, N_ROWS) / 2.0,
        "y": rng.integers(-400, 400, N_ROWS) / 2.0,
        "z": rng.integers(-500, 500, N_ROWS) / 2.0,
    }


@pytest.fixture
def events(singles: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of located events in psimg's units."""
    dt = np.linspace(-1.0, 10.0, N_ROWS)
    return {"x": singles["x"], "y": singles["y"], "z": singles["z"], "dt": dt}


@pytest.fixture
def triplets() -> dict[str, np.ndarray]:
    """Columns of triplets in psimg's units."""
    rng = np.random.default_rng(20250102)
    start = 5e5 + 1000.0 * np.arange(N_ROWS)
    columns = {}
    for i in (1, 2, 3):
        columns[f"time_{i}"] = start + rng.integers(0, 32, N_ROWS) / 8.0
        columns[f"energy_{i}"] = rng.integers(200, 1300, N_ROWS) * 1.0
        for axis in "xyz":
            columns[f"{axis}_{i}"] = rng.integers(-400, 400, N_ROWS) / 2.0
    return columns


@pytest.fixture
def read_all() -> Callable[..., SimpleNamespace]:
    """Read a file to its end: the joined value and the sums of what was counted."""

    def read(path: Path, *, n_rows: int = 1000, **settings: object) -> SimpleNamespace:
        file = open_input(path, options=InputOptions(**settings))
        chunks = list(file.chunks(n_rows))
        return SimpleNamespace(
            file=file,
            value=functools.reduce(lambda a, b: a.joined(b), (c.value for c in chunks)),
            sizes=[c.n_rows for c in chunks],
            n_rows=sum(c.n_rows for c in chunks),
            n_not_finite=sum(c.n_not_finite for c in chunks),
            n_marked_bad=sum(c.n_marked_bad for c in chunks),
        )

    return read


@pytest.fixture
def peak_memory() -> Callable[..., int]:
    """Return the largest number of bytes held at once while a file is read in chunks."""

    def measure(path: Path, n_rows: int) -> int:
        for _ in open_input(path).chunks(n_rows):  # imports and caches are not the reader's rows
            break
        tracemalloc.start()
        try:
            for _ in open_input(path).chunks(n_rows):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure
