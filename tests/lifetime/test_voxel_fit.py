from dataclasses import replace
from pathlib import Path

import numba as nb
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError, FitStatus, SettingsError, VoxelGrid
from psimg.lifetime import (
    Component,
    FitOptions,
    LifetimeModel,
    _voxel,
    bound_voxels,
    fit_spectrum,
    fit_voxels,
    standard_components,
)
from psimg.lifetime._emg import bin_shares
from psimg.lifetime._likelihood import count_deviance, poisson_deviance
from psimg.lifetime._shape_table import make_table, shares_in_tau
from psimg.spectra import LifetimeSpectra

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ARRAY = _SHARED / "voxel_spectra" / "histsFromGTv8mmFragment.dat"
EDGES = np.linspace(-5.0, 15.0, 201)
N_BIN = len(EDGES) - 1
MU, SIGMA = 0.02, 0.1
KNOWN = LifetimeModel().with_response(MU, SIGMA)
DELAYED = LifetimeModel(background="delayed").with_response(MU, SIGMA)


def shape(tau: float) -> np.ndarray:
    out = np.empty(N_BIN)
    bin_shares(EDGES, tau, SIGMA, MU, out)
    return out


def expected_counts(n, background, tau=2.0) -> np.ndarray:
    signal = 0.1 * shape(0.125) + 0.6 * shape(0.388) + 0.3 * shape(tau)
    return n * signal + background / N_BIN


def spectra_of(counts, delayed=None, n_delays=0, variances=None) -> LifetimeSpectra:
    counts = np.atleast_2d(counts)
    by_kind = np.zeros((len(counts), 3, 1))
    if delayed is not None:
        by_kind[:, 0, 0] = delayed
    return LifetimeSpectra(
        edges_ns=EDGES,
        counts=counts,
        delayed=by_kind,
        n_sets=(n_delays, 0, 0),
        n_events=0,
        n_outside=0,
        n_outside_dt=0,
        grid=VoxelGrid.centred(shape=(len(counts), 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
        voxel=np.arange(len(counts)),
        variances=variances,
    )


@pytest.mark.kernel
@pytest.mark.parametrize("tau", [0.6, 2.0, 9.0])
def test_second_derivatives_in_tau_are_those_of_differences(tau):
    h = 1e-4 * tau
    out, first, second = (np.empty(N_BIN) for _ in range(3))
    sides = []
    for side in (tau + h, tau - h):
        shares_in_tau(EDGES, side, SIGMA, MU, out, first, second)
        sides.append((out.copy(), first.copy()))

    shares_in_tau(EDGES, tau, SIGMA, MU, out, first, second)

    for found, (above, below) in [
        (first, (sides[0][0], sides[1][0])),
        (second, (sides[0][1], sides[1][1])),
    ]:
        # A central difference is good to h^2, and to rounding over h.
        assert_allclose(found, (above - below) / (2 * h), atol=1e-6 * np.abs(found).max())


def table_of(fellow=None, bounds=(0.5, 20.0)):
    fellow = shape(0.125) / 3 if fellow is None else fellow
    response = np.ones(1), np.array([MU]), np.array([SIGMA])
    return make_table(EDGES, bounds, response, fellow=fellow, weight=1.0)


@pytest.mark.kernel
def test_the_table_holds_the_shape_and_its_derivatives_at_any_mean_life():
    table = table_of(bounds=(0.9, 4.0))
    out = np.empty((3, N_BIN))

    for tau in np.geomspace(0.9, 4.0, 37):
        shares_in_tau(EDGES, tau, SIGMA, MU, *out)
        cell, t = divmod((np.log(tau) - table.log_low) * table.per_step, 1.0)
        cell, t = (int(cell), t) if 6 * cell < len(table.rows) else (int(cell) - 1, 1.0)
        rows = table.rows[6 * cell : 6 * cell + 6, :-1]
        power = np.arange(6)
        found = t**power @ rows
        slope = (power * t ** np.maximum(power - 1, 0)) @ rows * table.per_step

        assert_allclose(found, shape(0.125) / 3 + out[0], atol=1e-8)
        assert_allclose(slope, tau * out[1], atol=3e-7)


@pytest.mark.kernel
@pytest.mark.parametrize("dense", [True, False])
def test_gradient_and_information_are_those_of_differences(dense):
    rng = np.random.default_rng(3)
    counts = rng.poisson(expected_counts(500, 200 if dense else 20)).astype(float)
    table = table_of()
    bins = np.arange(N_BIN) if dense else np.flatnonzero(counts)
    size = len(bins)
    columns, rows, state = np.zeros((4, N_BIN)), np.zeros((6, N_BIN)), np.zeros((_voxel.N_ROW, 16))
    columns[_voxel.COUNTS, :size] = counts[bins]
    columns[_voxel.FAST_SHAPE, :size] = shape(0.388)[bins]
    columns[_voxel.FLAT_SHAPE, :size] = 1 / N_BIN
    state[_voxel.TABLE, :4] = table.log_low, table.per_step, len(table.rows) // 6, -1
    state[_voxel.LEVEL, :2] = 790.0, 4.0
    state[_voxel.TOTALS, [0, 1, 5]] = shape(0.388).sum(), 1.0, counts.sum()
    theta = np.array([280.0, 170.0, 190.0, np.log(2.3)])

    def deviance(at):
        state[_voxel.THETA, :4] = at
        return _voxel.deviance_of(state, columns, rows, bins, table.rows, size)

    def slopes(at):
        state[_voxel.THETA, :4] = at
        _voxel.differentiate(state, columns, rows, bins, table.rows, size)
        information = state[_voxel.INFORMATION].reshape(4, 4)
        return state[_voxel.GRADIENT, :4].copy(), information.copy()

    gradient, information = slopes(theta)

    expected = 280 * shape(0.388) + 170 * (shape(0.125) / 3 + shape(2.3)) + 190 / N_BIN
    both = poisson_deviance(counts, expected) + count_deviance(790.0, 4 * 190.0)
    assert_allclose(deviance(theta), both, rtol=1e-6)
    for i, step in enumerate(1e-4 * theta):
        up, down = theta.copy(), theta.copy()
        up[i] += step
        down[i] -= step
        numeric = -0.5 * (deviance(up) - deviance(down)) / (2 * step)
        assert_allclose(gradient[i], numeric, rtol=1e-5, atol=1e-7 * np.abs(gradient).max())
        bend = -(slopes(up)[0] - slopes(down)[0]) / (2 * step)
        assert_allclose(information[i], bend, rtol=1e-5, atol=1e-6 * np.abs(information[i]).max())


def solved(matrix, right, free, limit=np.inf):
    state = np.zeros((_voxel.N_ROW, 16))
    state[_voxel.CURVE] = matrix.reshape(-1)
    state[_voxel.RIGHT, :4] = right
    state[_voxel.FREE, :4] = free
    return _voxel.solve(state, _voxel.CURVE, limit), state[_voxel.STEP, :4]


@pytest.mark.kernel
def test_the_small_solver_agrees_with_numpy_and_reports_singular_systems():
    rng = np.random.default_rng(2)
    root = rng.standard_normal((4, 4))
    matrix, right = root @ root.T, rng.standard_normal(4)

    for free in ([1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1]):
        keep = np.flatnonzero(free)
        done, step = solved(matrix, right, free)

        assert done
        assert_allclose(step[keep], np.linalg.solve(matrix[np.ix_(keep, keep)], right[keep]))
        assert np.all(step[np.array(free) == 0] == 0.0)
    assert not solved(np.ones((4, 4)), right, np.ones(4))[0]
    assert not solved(np.full((4, 4), np.nan), right, np.ones(4))[0]


@pytest.mark.kernel
def test_a_step_that_is_cut_takes_the_others_along():
    rng = np.random.default_rng(2)
    root = rng.standard_normal((4, 4))
    matrix, right = root @ root.T, rng.standard_normal(4)

    done, step = solved(matrix, right, np.ones(4), limit=1e-3)

    assert done
    assert abs(step[3]) == 1e-3
    assert_allclose((matrix @ step)[:3], right[:3])


@pytest.mark.parametrize("background", [0.0, 0.5])
def test_voxels_reach_the_minimum_that_minuit_finds(background):
    rng = np.random.default_rng(11)
    sizes = np.repeat([300.0, 1000.0, 10_000.0, 100_000.0], 10)
    counts = np.stack(
        [rng.poisson(expected_counts(n * (1 - background), n * background)) for n in sizes]
    )

    maps = fit_voxels(spectra_of(counts), model=KNOWN)

    for v, row in enumerate(counts):
        fit = fit_spectrum(row, EDGES, model=KNOWN)
        if fit.status != FitStatus.OK or maps.status[v] != FitStatus.OK:
            assert sizes[v] < 1000
            continue
        assert abs(maps.deviance[v] - fit.deviance) < 1e-3
        assert abs(maps.values[v, 0] - fit.tau_ops_ns) < 0.01 * fit.tau_ops_error_ns
        assert_allclose(maps.errors[v, 0], fit.tau_ops_error_ns, rtol=0.02)
        assert_allclose(maps.errors[v, 1], fit.intensity_ops_error, rtol=0.02)
        assert_allclose(maps.values[v, 3], fit.value("background"), rtol=1e-2, atol=0.2)


@pytest.mark.parametrize("model", [KNOWN, DELAYED], ids=["flat", "delayed"])
def test_pulls_have_mean_0_and_width_1(model):
    rng = np.random.default_rng(20261121)
    n = 1500
    counts = rng.poisson(expected_counts(1e4, 3e3), size=(n, N_BIN))
    delayed = rng.poisson(4 * 3e3, size=n)

    maps = fit_voxels(spectra_of(counts, delayed, 4), model=model)

    assert np.all(maps.status == FitStatus.OK)
    truth = np.array([2.0, 0.3, 1e4, 3e3])
    pull = (maps.values - truth) / maps.errors
    # The lifetime's likelihood is a little skewed still: half a percent of tau, a tenth of sigma.
    assert_allclose(pull.mean(axis=0), 0.0, atol=4 / np.sqrt(n) + 0.1)
    assert_allclose(pull.std(axis=0), 1.0, atol=4 / np.sqrt(2 * n) + 0.03)


@pytest.mark.parametrize("intensities", ["free", "ps-ratio", "fixed"])
def test_every_intensity_rule_recovers_the_truth_from_exact_expectations(intensities):
    model = LifetimeModel(intensities=intensities).with_response(MU, SIGMA)
    counts = np.round(expected_counts(1e7, 1e6))

    maps = fit_voxels(spectra_of(counts), model=model)

    assert maps.status[0] == FitStatus.OK
    assert_allclose(maps.values[0], [2.0, 0.3, 1e7, 1e6], rtol=1e-3)
    assert (maps.errors[0, 1] == 0.0) == (intensities == "fixed")


def test_a_calibration_gives_the_mixture_of_the_fast_components():
    # Twice the p-Ps of the standard mixture: the model's own shares would bias the lifetime.
    counts = 1e6 * (0.25 * shape(0.125) + 0.45 * shape(0.388) + 0.3 * shape(2.0)) + 1e5 / N_BIN
    model = LifetimeModel(intensities="free").with_response(MU, SIGMA)
    calibration = fit_spectrum(np.round(counts), EDGES, model=model)

    with_it = fit_voxels(spectra_of(np.round(counts)), model=model, calibration=calibration)
    without = fit_voxels(spectra_of(np.round(counts)), model=model)

    assert_allclose(with_it.values[0, :2], [2.0, 0.3], rtol=2e-3)
    assert abs(without.values[0, 0] - 2.0) > 0.02


def test_voxels_with_next_to_nothing_get_a_status_and_no_number():
    counts = np.zeros((4, N_BIN), int)
    counts[1, 55] = 1
    counts[2, 50:60] = 1
    counts[3, [20, 51, 52, 53, 57, 60, 70, 90, 130, 180]] = 1

    maps = fit_voxels(spectra_of(counts), model=KNOWN, options=FitOptions(min_counts=1))

    assert maps.status[0] == FitStatus.TOO_FEW_COUNTS
    for v in range(4):
        if maps.status[v] != FitStatus.OK:
            assert np.all(np.isnan(maps.values[v]))
            assert np.all(np.isnan(maps.errors[v]))
        else:
            assert maps.errors[v, 0] > 0.2 * maps.values[v, 0]


def test_a_voxel_without_o_ps_ends_on_a_bound():
    counts = np.round(20_000 * shape(0.388))

    maps = fit_voxels(spectra_of(counts), model=KNOWN)

    assert maps.status[0] != FitStatus.OK or maps.values[0, 1] < 2 * maps.errors[0, 1]


def test_any_number_of_threads_gives_the_same_numbers():
    rng = np.random.default_rng(4)
    spectra = spectra_of(rng.poisson(expected_counts(500, 200), size=(200, N_BIN)))
    before = nb.get_num_threads()
    results = []
    try:
        for n_thread in (1, min(2, nb.config.NUMBA_NUM_THREADS)):
            nb.set_num_threads(n_thread)
            results.append(fit_voxels(spectra, model=KNOWN))
    finally:
        nb.set_num_threads(before)

    assert_array_equal(results[0].values, results[1].values)
    assert_array_equal(results[0].errors, results[1].errors)


def test_the_order_of_voxels_does_not_matter():
    rng = np.random.default_rng(5)
    counts = rng.poisson(expected_counts(500, 200), size=(20, N_BIN))

    one = fit_voxels(spectra_of(counts), model=KNOWN)
    other = fit_voxels(spectra_of(counts[::-1]), model=KNOWN)

    assert_array_equal(one.values, other.values[::-1])


def test_no_voxels_give_empty_maps():
    maps = fit_voxels(
        LifetimeSpectra(
            edges_ns=EDGES, counts=np.zeros((0, N_BIN)), delayed=np.zeros((0, 3, 1)),
            n_sets=(0, 0, 0), n_events=0, n_outside=0, n_outside_dt=0, voxel=np.zeros(0),
            grid=VoxelGrid.centred(shape=(2, 2, 2), voxel_mm=(1.0, 1.0, 1.0)),
        ),
        model=KNOWN,
    )  # fmt: skip

    assert len(maps) == 0
    assert np.all(np.isnan(maps.image("tau_ops")))


def test_progress_is_told_in_blocks():
    calls = []

    fit_voxels(
        spectra_of(np.zeros((5000, N_BIN), int)),
        model=KNOWN,
        progress=lambda done, total: calls.append((done, total)),
    )

    assert calls == [(4096, 5000), (5000, 5000)]


def test_voxels_need_a_known_response_and_only_o_ps_free():
    spectra = spectra_of(np.ones(N_BIN, int))
    pps, _, ops = standard_components()
    free = Component(name="direct", tau_ns=0.35, free=True, bounds_ns=(0.2, 0.6))

    with pytest.raises(SettingsError, match="known response"):
        fit_voxels(spectra, model=LifetimeModel())
    with pytest.raises(SettingsError, match="only the o-Ps lifetime free"):
        fit_voxels(
            spectra, model=LifetimeModel(components=(pps, free, ops)).with_response(MU, SIGMA)
        )
    with pytest.raises(SettingsError, match="needs delayed windows and there are none"):
        fit_voxels(spectra, model=DELAYED)


def test_region_spectra_are_not_fitted_as_voxels():
    spectra = LifetimeSpectra(
        edges_ns=EDGES, counts=np.ones((1, N_BIN)), delayed=np.zeros((1, 3, N_BIN)),
        n_sets=(0, 0, 0), n_events=1, n_outside=0, n_outside_dt=0, names=("a",),
    )  # fmt: skip

    with pytest.raises(DataError, match="fit them with fit_regions"):
        fit_voxels(spectra, model=KNOWN)


def test_a_calibration_without_fast_components_leaves_the_models_mixture():
    model = LifetimeModel(intensities="free").with_response(MU, SIGMA)
    only_ops = fit_spectrum(np.round(1e5 * shape(2.0)), EDGES, model=model)
    spectra = spectra_of(np.round(expected_counts(1e5, 1e4)))

    maps = fit_voxels(spectra, model=model, calibration=only_ops)

    assert_allclose(maps.values, fit_voxels(spectra, model=model).values, rtol=0.05)


def test_a_model_without_fast_components_is_an_error():
    pps, direct, ops = standard_components()
    bare = tuple(Component(name=c.name, tau_ns=c.tau_ns, free=c.free) for c in (pps, direct, ops))

    with pytest.raises(SettingsError, match="leave nothing beside o-Ps; state them"):
        fit_voxels(
            spectra_of(np.ones(N_BIN, int)),
            model=LifetimeModel(components=bare).with_response(MU, SIGMA),
        )


def test_a_voxel_of_o_ps_alone_has_no_lifetime():
    rng = np.random.default_rng(8)
    # Fewer fast events than none at all: the best fit holds them at zero.
    counts = rng.poisson(2000 * shape(1.5) + 0.5, size=(20, N_BIN))

    maps = fit_voxels(spectra_of(counts), model=KNOWN)

    held = maps.status == FitStatus.AT_BOUND
    assert held.any()
    assert np.all(np.isnan(maps.values[held]))
    assert np.all(maps.errors[~held, 1] > 0)
    for v in np.flatnonzero(held):
        assert fit_spectrum(counts[v], EDGES, model=KNOWN).status == FitStatus.AT_BOUND


def test_a_background_of_zero_has_no_error():
    maps = fit_voxels(spectra_of(np.floor(expected_counts(1e4, 0.0))), model=KNOWN)

    assert maps.status[0] == FitStatus.OK
    assert maps.values[0, 3] == 0.0
    assert np.isnan(maps.errors[0, 3])


def test_weighted_counts_have_errors_from_the_variance_of_their_weights():
    rng = np.random.default_rng(20261125)
    n = 800
    events = rng.poisson(expected_counts(4000, 1500), size=(n, N_BIN))
    # Weights of mean 1.05 and mean square 2.0125.
    draws = [rng.choice([0.25, 0.5, 2.5], size=k, p=[0.2, 0.5, 0.3]) for k in events.reshape(-1)]
    counts = np.array([w.sum() for w in draws]).reshape(events.shape)
    variances = np.array([np.square(w).sum() for w in draws]).reshape(events.shape)
    counts, variances = counts / 1.05, variances / 1.05**2

    maps = fit_voxels(spectra_of(counts, variances=variances), model=KNOWN)
    plain = fit_voxels(spectra_of(counts), model=KNOWN)

    done = maps.status == FitStatus.OK
    assert done.mean() > 0.99
    pull = ((maps.values - [2.0, 0.3, 4000, 1500]) / maps.errors)[done]
    assert_allclose(pull.mean(axis=0), 0.0, atol=4 / np.sqrt(n) + 0.15)
    assert_allclose(pull.std(axis=0), 1.0, atol=4 / np.sqrt(2 * n) + 0.05)
    assert_array_equal(maps.values, plain.values)
    ratio = np.median(maps.errors[done, 0] / plain.errors[done, 0])
    assert_allclose(ratio, np.sqrt(2.0125) / 1.05, rtol=0.02)


def test_variances_that_equal_the_counts_change_little():
    rng = np.random.default_rng(6)
    counts = rng.poisson(expected_counts(1e5, 3e4), size=(10, N_BIN)).astype(float)

    with_them = fit_voxels(spectra_of(counts, variances=counts), model=KNOWN)
    without = fit_voxels(spectra_of(counts), model=KNOWN)

    assert_allclose(with_them.errors, without.errors, rtol=0.05)


def profile(counts, taus, level=None, scale=0.0):
    """Deviance at each mean life, lowest in the amplitudes; by expectation maximisation."""
    lowest = []
    for tau in taus:
        shapes = np.stack([shape(0.388), shape(0.125) / 3 + shape(tau), np.full(N_BIN, 1 / N_BIN)])
        sums = shapes.sum(axis=1) + np.array([0, 0, scale])
        theta = np.full(3, counts.sum() / 3)
        for _ in range(4000):
            gain = shapes @ (counts / (theta @ shapes))
            theta = theta * gain / sums + np.array([0, 0, (level or 0.0) / sums[2]])
        value = poisson_deviance(counts, theta @ shapes)
        lowest.append(value + (count_deviance(level, scale * theta[2]) if scale else 0.0))
    return np.array(lowest)


@pytest.mark.parametrize("level", [None, 850.0])
def test_profile_intervals_end_where_the_profiled_deviance_has_risen(level):
    rng = np.random.default_rng(12)
    counts = rng.poisson(expected_counts(700, 200), size=(3, N_BIN)).astype(float)
    delayed, n_delays, model = (None, 0, KNOWN) if level is None else ([level] * 3, 4, DELAYED)
    options = FitOptions(intervals="profile", interval_rise=3.841)

    maps = fit_voxels(spectra_of(counts, delayed, n_delays), model=model, options=options)

    low, high = maps.column("tau_ops_low"), maps.column("tau_ops_high")
    assert np.all(np.isnan(maps.errors[:, [low, high]]))
    for row, values, deviance in zip(counts, maps.values, maps.deviance, strict=True):
        taus = values[[maps.column("tau_ops"), low, high]]
        best, *ends = profile(row, taus, level, float(n_delays))
        assert taus[1] < taus[0] < taus[2]
        assert_allclose(best, deviance, atol=1e-3)
        assert_allclose(np.array(ends) - best, 3.841, atol=5e-3)


def test_profile_intervals_cover_the_truth_at_their_level():
    rng = np.random.default_rng(13)
    n = 1500
    counts = rng.poisson(expected_counts(800, 300), size=(n, N_BIN))

    maps = fit_voxels(spectra_of(counts), model=KNOWN, options=FitOptions(intervals="profile"))

    low, high = (maps.values[:, maps.column(f"tau_ops_{end}")] for end in ("low", "high"))
    has = (maps.status == FitStatus.OK) | (maps.status == FitStatus.AT_BOUND)
    assert_array_equal(np.isfinite(low), has)
    covered = ((low <= 2.0) & (high >= 2.0))[has]
    assert_allclose(covered.mean(), 0.683, atol=4 * np.sqrt(0.683 * 0.317 / n))


def test_an_interval_beyond_a_bound_ends_there_and_voxels_at_a_bound_have_one():
    rng = np.random.default_rng(14)
    counts = rng.poisson(expected_counts(60, 60), size=(300, N_BIN))

    maps = fit_voxels(
        spectra_of(counts), model=KNOWN, options=FitOptions(intervals="profile", min_counts=1)
    )

    low, high = (maps.values[:, maps.column(f"tau_ops_{end}")] for end in ("low", "high"))
    held = maps.status == FitStatus.AT_BOUND
    assert held.any()
    assert np.all(np.isnan(maps.values[held, 0]))
    assert np.all(low[held] <= high[held])
    assert np.all(low >= 0.5 * (1 - 1e-12))
    assert np.all(high <= 20.0 * (1 + 1e-12))
    assert np.any(np.isclose(high, 20.0))


def test_the_start_does_not_matter():
    rng = np.random.default_rng(15)
    spectra = spectra_of(rng.poisson(expected_counts(200, 300), size=(400, N_BIN)))
    pps, direct, ops = standard_components()

    deviances = []
    for tau in (0.7, 2.0, 8.0):
        components = (pps, direct, replace(ops, tau_ns=tau))
        model = LifetimeModel(components=components).with_response(MU, SIGMA)
        deviances.append(fit_voxels(spectra, model=model).deviance)

    worse = np.ptp(deviances, axis=0) > 1e-3
    assert worse.mean() < 0.03


@pytest.mark.parametrize("n", [1e8, 3e9])
def test_huge_counts_are_fitted_to_their_own_precision(n):
    counts = np.round(expected_counts(n, 0.2 * n))

    maps = fit_voxels(spectra_of(counts), model=KNOWN)

    assert maps.status[0] == FitStatus.OK
    assert_allclose(maps.values[0, :2], [2.0, 0.3], rtol=1e-4)
    # The table of shapes is good to 1e-8 of the counts.
    assert maps.deviance[0] < N_BIN + 1e-8 * n


@pytest.mark.parametrize("bin_", [0, 50, 52, 120, 199])
def test_counts_in_one_bin_give_no_lifetime(bin_):
    counts = np.zeros((2, N_BIN))
    counts[:, bin_] = 60, 1e6

    maps = fit_voxels(spectra_of(counts), model=KNOWN, options=FitOptions(intervals="profile"))

    assert np.all(maps.status != FitStatus.OK)
    assert np.all(np.isnan(maps.values[:, :4]))


def test_maps_tell_the_steps_of_each_voxel():
    rng = np.random.default_rng(16)
    counts = rng.poisson(expected_counts(3000, 500), size=(50, N_BIN))
    counts[0] = 0

    maps = fit_voxels(spectra_of(counts), model=KNOWN)

    assert maps.iterations[0] == 0
    assert np.all((maps.iterations[1:] >= 2) & (maps.iterations[1:] < 20))


def test_the_bound_is_that_of_the_expected_information():
    counts = expected_counts(4000, 1000)[None] * np.array([[1.0], [4.0], [0.01], [0.0]])

    bound = bound_voxels(spectra_of(counts), model=KNOWN)

    def expected(p):
        group = shape(0.125) / 3 + shape(p[3])
        return p[0] * shape(0.388) + p[1] * group + p[2] / N_BIN

    truth = np.array([2400.0, 1200.0, 1000.0, 2.0])
    steps = np.diag(1e-4 * truth)
    slopes = np.stack([(expected(truth + h) - expected(truth - h)) / (2 * h.max()) for h in steps])
    inverse = np.linalg.inv(slopes / expected(truth) @ slopes.T)
    assert_allclose(bound[0], np.sqrt(inverse[3, 3]), rtol=1e-4)
    assert_allclose(bound[1:3] / bound[0], [0.5, 10.0], rtol=1e-3)
    assert np.isnan(bound[3])


def test_errors_of_many_events_reach_the_bound():
    rng = np.random.default_rng(17)
    spectra = spectra_of(
        rng.poisson(expected_counts(1e5, 3e4), size=(40, N_BIN)), rng.poisson(12e4, 40), 4
    )

    for model in (KNOWN, DELAYED):
        bound = bound_voxels(spectra, model=model)
        assert_allclose(
            np.median(fit_voxels(spectra, model=model).errors[:, 0] / bound), 1.0, rtol=0.03
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"edges_ns": np.linspace(-1.0, 5.0, 4)}, DataError, "3 time bins cannot fix 4 free"),
        ({"sigma": 30.0}, SettingsError, "sigma_ns = 30 is wider than the spectrum"),
        (
            {"twin": True},
            SettingsError,
            "components pps and direct have the same mean life",
        ),
    ],
)
def test_spectra_that_cannot_tell_the_parameters_are_an_error(change, error, message):
    edges = change.get("edges_ns", EDGES)
    spectra = LifetimeSpectra(
        edges_ns=edges, counts=np.ones((1, len(edges) - 1)), delayed=np.zeros((1, 3, 1)),
        n_sets=(0, 0, 0), n_events=0, n_outside=0, n_outside_dt=0, voxel=np.zeros(1),
        grid=VoxelGrid.centred(shape=(1, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
    )  # fmt: skip
    pps, direct, ops = standard_components()
    if "twin" in change:
        direct = replace(direct, tau_ns=pps.tau_ns)

    with pytest.raises(error, match=message):
        fit_voxels(
            spectra,
            model=LifetimeModel(components=(pps, direct, ops)).with_response(
                MU, change.get("sigma", SIGMA)
            ),
        )


def test_an_interval_needs_a_positive_rise():
    with pytest.raises(SettingsError, match="interval_rise"):
        FitOptions(interval_rise=0.0)


@pytest.mark.skipif(not ARRAY.exists(), reason="shared data are not here")
def test_a_real_array_of_weighted_counts_is_fitted():
    counts = np.fromfile(ARRAY, "<f4").reshape(3472, 137, order="F").astype(float)
    edges = -15.125 + 0.25 * np.arange(138)
    whole = fit_spectrum(counts.sum(axis=0), edges)
    model = LifetimeModel().with_response(whole.value("mu_ns"), whole.value("sigma_ns"))
    spectra = LifetimeSpectra(
        edges_ns=edges, counts=counts, delayed=np.zeros((3472, 3, 1)), n_sets=(0, 0, 0),
        n_events=0, n_outside=0, n_outside_dt=0, voxel=np.arange(3472),
        grid=VoxelGrid.centred(shape=(3472, 1, 1), voxel_mm=(8.0, 8.0, 8.0)),
    )  # fmt: skip

    maps = fit_voxels(spectra, model=model, calibration=whole, options=FitOptions(min_counts=10))

    assert np.mean(maps.status == FitStatus.OK) > 0.9
    # One phantom, hardly any contrast: the voxels scatter about the fit of their sum.
    assert abs(np.median(maps.values[:, 0]) - whole.tau_ops_ns) < 0.3


def profiled(counts: np.ndarray, tau: float) -> float:
    """Lowest deviance at a mean life, by expectation maximisation of the three amplitudes."""
    shapes = np.stack([shape(0.388), shape(0.125) / 3 + shape(tau), np.full(N_BIN, 1 / N_BIN)])
    amplitude = np.full(3, counts.sum() / 3)
    for _ in range(5000):
        amplitude *= shapes @ (counts / (amplitude @ shapes)) / shapes.sum(axis=1)
    m = amplitude @ shapes
    return float(
        2 * (m - counts + np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / m), 0)).sum()
    )


def test_the_interval_of_a_voxel_on_a_bound_is_that_of_two_parameters():
    # A fifth of such voxels have their best fit without fast events or without o-Ps.
    counts = np.random.default_rng(8).poisson(expected_counts(60, 60), size=(60, N_BIN))

    maps = fit_voxels(spectra_of(counts), model=KNOWN, options=FitOptions(intervals="profile"))

    wanted = {FitStatus.OK: 1.0, FitStatus.AT_BOUND: -2 * np.log(1 - 0.6826895)}
    for status, rise in wanted.items():
        inner = 0
        for v in np.flatnonzero(maps.status == status)[:6]:
            for name in ("tau_ops_low", "tau_ops_high"):
                end = maps.values[v, maps.column(name)]
                if 0.51 < end < 19.9:
                    inner += 1
                    assert_allclose(profiled(counts[v], end) - maps.deviance[v], rise, atol=0.02)
        assert inner > 0
