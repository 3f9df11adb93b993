import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from psimg.core import FitStatus, ParameterMaps, Sphere, Stage, VoxelGrid
from psimg.events import SelectOptions
from psimg.events.windows import windows_of
from psimg.lifetime import LifetimeModel, Response, SpectrumFit, fit_spectrum
from psimg.lifetime._emg import bin_shares
from psimg.lifetime.randoms import RandomsSummary, Sideband
from psimg.report.content import ReportContent, ReportFile
from psimg.spectra.randoms import estimate_classes, measure_shape
from psimg.spectra.signal import SignalSpectrum

EDGES_NS = np.linspace(-5.0, 15.0, 101)
KNOWN = LifetimeModel(response=Response(mu_ns=0.0, sigma_ns=0.1))
GRID = VoxelGrid.centred(shape=(6, 5, 4), voxel_mm=(8.0, 8.0, 10.0))


def expected_events(n_events: float, *, tau_ops_ns: float = 2.0) -> np.ndarray:
    """Events per bin of 10, 60 and 30 % p-Ps, direct and o-Ps on a flat background of 5 %."""
    shares = np.empty((3, len(EDGES_NS) - 1))
    for row, tau in zip(shares, (0.125, 0.388, tau_ops_ns), strict=True):
        bin_shares(EDGES_NS, tau, 0.1, 0.0, row)
    signal = np.array([0.1, 0.6, 0.3]) @ shares
    return n_events * (0.95 * signal + 0.05 / len(signal))


@functools.cache
def make_fit(name: str, n_events: float = 20_000, model: LifetimeModel = KNOWN) -> SpectrumFit:
    rng = np.random.default_rng(20250130)
    counts = rng.poisson(expected_events(n_events)).astype(float)
    return fit_spectrum(counts, EDGES_NS, model=model, name=name)


def make_maps(*, fitted: bool = True) -> ParameterMaps:
    rng = np.random.default_rng(7)
    voxel = np.arange(20, 80)
    n = len(voxel)
    status = np.full(n, FitStatus.OK if fitted else FitStatus.TOO_FEW_COUNTS, np.uint8)
    status[::4] = FitStatus.TOO_FEW_COUNTS
    none = (status != FitStatus.OK)[:, None]
    values = np.column_stack(
        [rng.normal(2.0, 0.2, n), rng.normal(0.3, 0.03, n), np.full(n, 90.0), np.full(n, 9.0)]
    )
    errors = np.broadcast_to([0.2, 0.03, 10.0, 3.0], values.shape)
    return ParameterMaps(
        grid=GRID,
        names=("tau_ops", "intensity_ops", "signal", "background"),
        units=("ns", "1", "counts", "counts"),
        voxel=voxel,
        values=np.where(none, np.nan, values),
        errors=np.where(none, np.nan, errors),
        deviance=np.where(none[:, 0], np.nan, 96.0),
        ndf=96,
        status=status,
    )


def make_randoms(
    *,
    n_sets: tuple[int, int, int] = (2, 2, 2),
    names: tuple[str, ...] = ("small", "large"),
    scale: float = 1.0,
    with_truth: bool = True,
    **changes: Any,
) -> RandomsSummary:
    """The randoms of 40,000 events: class I 4000, class II 400, class III 300."""
    rng = np.random.default_rng(20250131)
    n_bin = len(EDGES_NS) - 1
    flat = np.full(n_bin, 1.0 / n_bin)
    peak = np.exp(-0.5 * ((EDGES_NS[1:] - 0.5) / 0.8) ** 2)
    classes = scale * np.array([4000 * flat, 400 * peak / peak.sum(), 300 * flat])
    mean = np.array([classes[0] + classes[2], classes[1] + 2 * classes[2], 2 * classes[2]])
    n_window = np.array(n_sets)[:, None]
    delayed = rng.poisson(mean * n_window)
    truth = np.vstack([rng.poisson(expected_events(scale * 40_000)), rng.poisson(classes)])
    counts = truth.sum(axis=0).astype(float)
    estimates = estimate_classes(delayed.sum(axis=1), n_sets)
    fields: dict[str, Any] = {
        "names": ("all", *names),
        "n_events": (int(counts.sum()),) * (1 + len(names)),
        "classes": (estimates,) * (1 + len(names)),
        "edges_ns": EDGES_NS,
        "counts": counts,
        "delayed": delayed / np.maximum(n_window, 1),
        "n_sets": n_sets,
        "truth": truth if with_truth else None,
        "shape": measure_shape(delayed[0], EDGES_NS) if n_sets[0] else None,
        "sideband": Sideband(
            stop_ns=-1.0,
            n_events=int(counts[:20].sum()),
            shape=measure_shape(counts[:20], EDGES_NS[:21]),
        ),
        "signal": scale * 38_000.0,
        "tau_ops_ns": 1.9,
        "tau_ops_error_ns": 0.02,
        "tau_ops_four_set_ns": 2.0 if all(n_sets) else np.nan,
        "tau_ops_four_set_error_ns": 0.03 if all(n_sets) else np.nan,
    }
    return RandomsSummary(**(fields | changes))


def make_content(**changes: Any) -> ReportContent:
    maps = changes.get("maps") or make_maps()
    counts = np.zeros(GRID.n_voxel, np.uint32)
    counts[maps.voxel] = 100
    rng = np.random.default_rng(3)
    fields: dict[str, Any] = {
        "title": "Two spheres",
        "isotope": "Sc-44",
        "version": "0.1.0",
        "created": "2025-01-30T12:00:00+00:00",
        "files": [
            ReportFile(name="a.root", format="gate9", content="singles", sha256="0123456789ab" * 5)
        ],
        "settings": {
            "study": {"name": "Two spheres"},
            "grid": {"voxel_mm": (8.0, 8.0, 10.0), "shape": None},
            "regions": [{"name": "small", "shape": "sphere"}],
        },
        "stages": [
            Stage(
                name="read",
                unit="rows",
                n_in=1_234_567,
                n_out=1_234_560,
                dropped={"NaN or infinite": 7},
            ),
            Stage(name="object", unit="events", n_in=0, n_out=0, dropped={}),
        ],
        "counts": {"n_rows": 1_234_567, "n_events": 40_000, "n_binned": 39_000},
        "seconds": {"read": 1.25, "fit_voxels": 0.0},
        "warnings": [],
        "signals": SignalSpectrum.of(rng.normal(511.0, 20.0, 2000)),
        "signal_windows": SelectOptions().signal,
        "calibration": make_fit("calibration", 40_000, LifetimeModel()),
        "randoms": make_randoms(),
        "windows": windows_of((200.0, 300.0), (200.0, -200.0)),
        "fits": [make_fit("small"), make_fit("large", 30_000)],
        "regions": [
            Sphere(name="small", centre_mm=(-10.0, 0.0, 0.0), radius_mm=8.0),
            Sphere(name="large", centre_mm=(10.0, 0.0, 0.0), radius_mm=12.0),
        ],
        "maps": maps,
        "counts_image": counts.reshape(GRID.shape),
    }
    known = fields | changes
    return ReportContent(p_values=[0.25] * len(known["fits"]), **known)


@pytest.fixture
def content() -> ReportContent:
    return make_content()


@pytest.fixture(scope="session", name="make_content")
def _make_content() -> Callable[..., ReportContent]:
    return make_content


@pytest.fixture(scope="session", name="make_fit")
def _make_fit() -> Callable[..., SpectrumFit]:
    return make_fit


@pytest.fixture(scope="session", name="make_randoms")
def _make_randoms() -> Callable[..., RandomsSummary]:
    return make_randoms


@pytest.fixture(scope="session", name="make_maps")
def _make_maps() -> Callable[..., ParameterMaps]:
    return make_maps
