"""Lines to project along, and list mode of balls with known lifetimes, drawn without a scanner."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from psimg.core import VoxelGrid
from psimg.imaging.list_mode import sort_events
from psimg.imaging.time_shapes import make_shapes
from psimg.imaging.values import ImageData
from psimg.lifetime import LifetimeModel

MU, SIGMA, TOF_MM = 0.03, 0.09, 14.6
SHARES, LIVES = (0.6, 0.1), (0.388, 0.125)
MODEL = LifetimeModel().with_response(MU, SIGMA)


@dataclass(frozen=True)
class Ball:
    """Decays of one o-Ps lifetime."""

    n: int
    tau_ns: float
    radius_mm: float
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def points(self, rng, n):
        u = rng.normal(size=(n, 3))
        u *= (self.radius_mm * rng.random(n) ** (1 / 3) / np.linalg.norm(u, axis=1))[:, None]
        return u + np.array(self.centre_mm)

    def times(self, rng):
        """Draw lifetimes at equal steps of probability: their mean has next to no noise."""
        n_fast, n_pps = (round(share * self.n) for share in SHARES)
        numbers = (n_fast, n_pps, self.n - n_fast - n_pps)
        parts = [
            -tau * np.log1p(-(np.arange(n) + 0.5) / n)
            for tau, n in zip((*LIVES, self.tau_ns), numbers, strict=True)
        ]
        return rng.permutation(np.concatenate(parts)) + rng.normal(MU, SIGMA, self.n)


def list_mode(
    rng, *balls, window_ns=(-10.0, 20.0), n_random=0, voxel_mm=8.0, n_voxel=8, level_known=True,
    random_shown=None,
):  # fmt: skip
    """Draw triplets; flat randoms lie like the activity, which is known exactly."""
    grid = VoxelGrid.centred(shape=(n_voxel,) * 3, voxel_mm=(voxel_mm,) * 3)
    total = max(sum(ball.n for ball in balls), 1)
    point, dt, activity = [], [], np.zeros(grid.n_voxel)
    for ball in balls:
        n_own = round(n_random * ball.n / total)
        point.append(ball.points(rng, ball.n + n_own))
        flat = rng.permutation((np.arange(n_own) + 0.5) / max(n_own, 1))
        dt += [ball.times(rng), window_ns[0] + (window_ns[1] - window_ns[0]) * flat]
        voxel = grid.voxel_of(ball.points(rng, 200_000))
        activity += np.bincount(voxel[voxel >= 0], minlength=grid.n_voxel) * (ball.n / 200_000)
    dt = np.concatenate(dt)
    direction = rng.normal(size=(len(dt), 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    seen = np.concatenate(point) + direction * rng.normal(0.0, TOF_MM, len(dt))[:, None]
    edges = window_ns[0] + 0.1 * np.arange(round((window_ns[1] - window_ns[0]) / 0.1) + 1)
    # What the fit of all events would tell: 40 % are of o-Ps and the p-Ps that comes along.
    shapes = replace(make_shapes(edges, model=MODEL), start_share=0.4)
    lines = sort_events(
        seen, direction, grid=grid, sigma_mm=TOF_MM, time_bin=shapes.time_bin(dt),
        n_bin=shapes.n_bin,
    )  # fmt: skip
    activity = activity.reshape(grid.shape)
    shown = n_random if random_shown is None else random_shown
    return ImageData(
        triplets=lines,
        dt_ns=dt[lines.row],
        shapes=shapes,
        activity=activity,
        unrelated=activity * (shown / total),
        class_2=np.zeros(grid.shape),
        level_known=level_known,
    )


@pytest.fixture(scope="session")
def draw_list_mode():
    return list_mode


@pytest.fixture(scope="session")
def ball():
    return Ball


@pytest.fixture(scope="session")
def mean_within():
    """Return the mean of a map over a ball, weighted by counts."""

    def mean(rec, name, radius_mm, centre_mm=(0.0, 0.0, 0.0)):
        apart = rec.maps.grid.centres_mm() - np.array(centre_mm)
        image = rec.maps.image(name).reshape(-1)
        inside = (np.linalg.norm(apart, axis=1) < radius_mm) & np.isfinite(image)
        return np.average(image[inside], weights=rec.counts.reshape(-1)[inside])

    return mean


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
