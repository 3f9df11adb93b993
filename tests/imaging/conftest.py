"""Lines to project along."""

import numpy as np
import pytest


@pytest.fixture
def draw_lines():
    """Draw N points up to ``reach`` times as far from the middle as the faces, and directions."""

    def draw(rng, n, grid, reach=1.3):
        half = 0.5 * (grid.high_mm - grid.low_mm)
        middle = 0.5 * (grid.high_mm + grid.low_mm)
        direction = rng.standard_normal((n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return middle + reach * half * rng.uniform(-1, 1, (n, 3)), direction

    return draw
