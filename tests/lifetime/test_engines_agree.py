"""The fit of voxels and that of regions share nothing but the shape of a decay."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import FitStatus, VoxelGrid
from psimg.lifetime import (
    Component,
    Gaussian,
    LifetimeModel,
    Response,
    SpectrumData,
    fit_spectrum,
    fit_voxels,
    standard_components,
)
from psimg.lifetime.problem import SpectrumProblem
from psimg.spectra import LifetimeSpectra

EDGES = np.linspace(-10.0, 20.0, 301)
PPS, DIRECT, OPS = standard_components()
FOIL = Component(name="foil", tau_ns=0.25, intensity=0.15, source=True)
RESPONSE = Response(
    mu_ns=0.02, sigma_ns=0.08, more=(Gaussian(weight=0.3, shift_ns=0.05, sigma_ns=0.2),)
)
N = 3


def drawn(model: LifetimeModel) -> np.ndarray:
    """(N, B) spectra of 2500 events a fifth of them random."""
    empty = SpectrumData(name="a", edges_ns=EDGES, counts=np.zeros(len(EDGES) - 1))
    problem = SpectrumProblem(empty, replace(model, intensities="free"))
    shares = 2000 * (1 - model.source_share) * np.array([0.1, 0.6, 0.3])
    expected = problem.expectation(np.array([*shares, 2.3, 500.0]))
    return np.random.default_rng(0).poisson(expected, size=(N, len(expected)))


def voxels(counts: np.ndarray) -> LifetimeSpectra:
    return LifetimeSpectra(
        edges_ns=EDGES, counts=counts, delayed=np.zeros((N, 3, 1)), n_sets=(0, 0, 0), n_events=0,
        n_outside=0, n_outside_dt=0, voxel=np.arange(N),
        grid=VoxelGrid.centred(shape=(N, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["ps-ratio", "merged", "fixed", "free"])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_voxels_and_regions_agree_for_every_model_that_both_take(rule, spread):
    model = LifetimeModel(
        components=(PPS, DIRECT, replace(OPS, spread=spread), FOIL),
        response=RESPONSE,
        intensities=rule,
    )
    counts = drawn(model)
    # A voxel's fast components are one group of fixed shares: what regions call merged.
    alike = replace(model, intensities="merged") if rule == "free" else model

    maps = fit_voxels(voxels(counts), model=model)

    for v, row in enumerate(counts):
        fit = fit_spectrum(row, EDGES, model=alike)
        assert (maps.status[v], fit.status) == (FitStatus.OK, FitStatus.OK)
        assert_allclose(maps.deviance[v], fit.deviance, atol=1e-3)
        assert_allclose(maps.values[v, 0], fit.tau_ops_ns, atol=0.01 * fit.tau_ops_error_ns)
        assert_allclose(maps.errors[v, 0], fit.tau_ops_error_ns, rtol=2e-3)
        assert_allclose(
            maps.values[v, 1], fit.intensity_ops, atol=0.01 * fit.intensity_ops_error + 1e-12
        )
        assert_allclose(maps.errors[v, 1], fit.intensity_ops_error, rtol=2e-3, atol=1e-9)
