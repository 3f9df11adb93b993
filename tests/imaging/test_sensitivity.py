import logging

import nibabel as nib
import numba as nb
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import DataError, FileError, SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.scanner import SCANNERS, Scanner
from psimg.imaging import _sensitivity, sensitivity
from psimg.imaging.sensitivity import (
    pair_sensitivity,
    prompt_sensitivity,
    read_attenuation,
    water_ratio,
)

QUADRA = SCANNERS["vision-quadra"]
SMALL = Scanner(name="small", radius_mm=100.0, length_mm=150.0, crt_ns=0.2, energy_fwhm=None)
WATER = 0.0096
PAIR, PROMPT = True, False


def find(kind, grid, scanner, mu=None, prompt_kev=511.0):
    if kind == PAIR:
        return pair_sensitivity(grid, scanner, attenuation_per_mm=mu)
    return prompt_sensitivity(grid, scanner, prompt_kev=prompt_kev, attenuation_per_mm=mu)


def water_cylinder(grid, radius_mm, half_mm, n=5):
    """Attenuation of a cylinder, voxels on its side by the share of them that is inside."""
    x, y, z = (grid.axis_mm(axis) for axis in range(3))
    part = ((np.arange(n) + 0.5) / n - 0.5) * grid.voxel_mm[0]
    xs, ys = x[:, None, None, None] + part[:, None], y[None, :, None, None] + part
    inside = np.mean(xs**2 + ys**2 <= radius_mm**2, axis=(2, 3))
    return WATER * inside[:, :, None] * (np.abs(z) <= half_mm)


@pytest.fixture
def fewer_directions(monkeypatch):
    monkeypatch.setattr(sensitivity, "N_DIRECTION", 13)
    monkeypatch.setattr(sensitivity, "GENERATOR", 8)
    monkeypatch.setattr(sensitivity, "N_AZIMUTH", 12)


def random_directions(n, seed):
    rng = np.random.default_rng(seed)
    way = rng.standard_normal((n, 3))
    return way / np.linalg.norm(way, axis=1, keepdims=True)


def hits(point, way, scanner):
    """Whether photons from a point inside the radius meet the cylinder of detectors."""
    a = (way[:, :2] ** 2).sum(1)
    b = way[:, :2] @ point[:2]
    t = (-b + np.sqrt(b * b + a * (scanner.radius_mm**2 - point[:2] @ point[:2]))) / a
    return np.abs(point[2] + t * way[:, 2]) <= 0.5 * scanner.length_mm


@pytest.mark.kernel
def test_a_point_on_the_axis_sees_what_the_closed_form_says(fewer_directions):
    grid = VoxelGrid.centred(shape=(1, 1, 9), voxel_mm=(5.0, 5.0, 130.0))
    z, half = grid.axis_mm(2), 530.0
    one = (half - z) / np.hypot(half - z, 410.0) + (half + z) / np.hypot(half + z, 410.0)
    both = (half - np.abs(z)) / np.hypot(half - np.abs(z), 410.0)

    assert_allclose(find(PROMPT, grid, QUADRA)[0, 0], 0.5 * one, atol=1e-6)
    assert_allclose(find(PAIR, grid, QUADRA)[0, 0], np.maximum(both, 0.0), atol=1e-6)


@pytest.mark.parametrize("kind", [PAIR, PROMPT])
@pytest.mark.parametrize("point", [(60.0, 30.0, 20.0), (0.0, -95.0, -60.0), (-50.0, 70.0, 0.0)])
def test_the_share_off_the_axis_is_that_of_random_directions(kind, point):
    grid = VoxelGrid(shape=(1, 1, 1), voxel_mm=(1.0, 1.0, 1.0), origin_mm=point)
    n = 400_000
    way = random_directions(n, 3)
    hit = hits(np.array(point), way, SMALL)
    if kind == PAIR:
        hit &= hits(np.array(point), -way, SMALL)

    share = float(find(kind, grid, SMALL)[0, 0, 0])

    error = np.sqrt(hit.mean() * (1 - hit.mean()) / n)
    assert share == pytest.approx(hit.mean(), abs=4 * error)


@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_attenuation_is_that_of_random_directions(kind):
    grid = VoxelGrid.centred(shape=(15, 15, 15), voxel_mm=(8.0, 8.0, 8.0))
    rng = np.random.default_rng(11)
    mu = rng.uniform(0.0, 0.02, grid.shape)
    at = (10, 4, 9)
    point = grid.centres_mm().reshape(*grid.shape, 3)[at]
    n = 10_000
    way = random_directions(n, 5)
    hit = hits(point, way, SMALL)
    t = np.arange(0.25, 130.0, 0.5)
    voxel = grid.voxel_of((point + t[:, None] * way[:, None]).reshape(-1, 3))
    path = 0.5 * np.where(voxel < 0, 0.0, mu.reshape(-1)[voxel]).reshape(n, -1).sum(1)
    if kind == PAIR:
        hit &= hits(point, -way, SMALL)
        voxel = grid.voxel_of((point - t[:, None] * way[:, None]).reshape(-1, 3))
        path += 0.5 * np.where(voxel < 0, 0.0, mu.reshape(-1)[voxel]).reshape(n, -1).sum(1)
    chance = hit * np.exp(-path)

    share = float(find(kind, grid, SMALL, mu)[at])

    # The directions of a voxel are a fixed set: their own error of 1 % comes on top.
    tolerance = 4 * chance.std() / np.sqrt(n) + 0.01 * chance.mean()
    assert share == pytest.approx(chance.mean(), abs=tolerance)


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_attenuation_lies_between_the_shortest_and_the_longest_way_out_of_a_box(
    kind, fewer_directions
):
    grid = VoxelGrid.centred(shape=(3, 3, 3), voxel_mm=(20.0, 20.0, 20.0))
    mu = np.full(grid.shape, WATER)
    ways = 2 if kind == PAIR else 1

    share = find(kind, grid, SMALL, mu)[1, 1, 1] / find(kind, grid, SMALL)[1, 1, 1]

    assert np.exp(-ways * WATER * 30.0 * np.sqrt(3)) < share < np.exp(-ways * WATER * 30.0)


@pytest.mark.parametrize("kind", [PAIR, PROMPT])
@pytest.mark.parametrize("half_mm", [100.0, np.inf])
def test_a_water_cylinder_agrees_with_many_more_directions(kind, half_mm, monkeypatch):
    grid = VoxelGrid.centred(shape=(24, 24, 20), voxel_mm=(10.0, 10.0, 12.0))
    mu = water_cylinder(grid, 100.0, half_mm)

    share = find(kind, grid, QUADRA, mu)

    monkeypatch.setattr(sensitivity, "N_DIRECTION", 987)
    monkeypatch.setattr(sensitivity, "GENERATOR", 610)
    monkeypatch.setattr(sensitivity, "N_AZIMUTH", 300)
    monkeypatch.setattr(sensitivity, "MAX_STEP_MM", 1.5)
    error = share / find(kind, grid, QUADRA, mu) - 1
    assert abs(error.mean()) < 0.005
    assert np.abs(error).max() < 0.015


@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_a_grid_of_many_voxels_is_interpolated_between_some(kind, monkeypatch):
    grid = VoxelGrid.centred(shape=(26, 25, 22), voxel_mm=(5.0, 5.0, 6.0))
    x, y, z = (grid.axis_mm(axis) for axis in range(3))
    square = (x**2)[:, None, None] + (y**2)[:, None] + z**2
    mu = WATER * np.exp(-square / (2 * 30.0**2))
    every = find(kind, grid, QUADRA, mu)

    monkeypatch.setattr(sensitivity, "MAX_POINTS", 3000)
    some = find(kind, grid, QUADRA, mu)

    assert sensitivity._stride(grid.shape) == 2
    # Linear between points 10 mm apart: h**2 / 8 times a curvature of at most 3 mu sigma / sigma**2
    # along each of three axes.
    bound = 3 * 10.0**2 / 8 * 3 * WATER * 2.5 / 30.0
    assert np.abs(some / every - 1).max() < bound
    assert np.abs(some / every - 1).max() > 0.0


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_attenuation_only_lowers_and_none_of_it_changes_nothing(kind, fewer_directions):
    grid = VoxelGrid.centred(shape=(4, 3, 5), voxel_mm=(30.0, 40.0, 30.0))
    rng = np.random.default_rng(2)
    mu = rng.uniform(0.001, 0.02, grid.shape)
    free = find(kind, grid, SMALL)

    assert_array_equal(find(kind, grid, SMALL, np.zeros(grid.shape)), free)
    attenuated, more = find(kind, grid, SMALL, mu), find(kind, grid, SMALL, 1.5 * mu)

    assert np.all((attenuated < free) & (more < attenuated) | (free == 0))
    assert free.min() >= 0
    assert free.max() <= 1
    assert free.dtype == attenuated.dtype == np.float32


@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_a_centred_scanner_sees_mirrored_voxels_alike(kind):
    grid = VoxelGrid.centred(shape=(12, 12, 10), voxel_mm=(14.0, 14.0, 14.0))
    mu = water_cylinder(grid, 60.0, 50.0)

    free, share = find(kind, grid, SMALL), find(kind, grid, SMALL, mu)

    for flipped in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)):
        turn = tuple(slice(None, None, step) for step in flipped)
        assert_allclose(free, free[turn], rtol=2e-3, atol=1e-6)
        assert_allclose(share, share[turn], rtol=0.025)  # twice the error of the directions
    assert_allclose(free, free.transpose(1, 0, 2), rtol=2e-3, atol=1e-6)


@pytest.mark.kernel
def test_outside_the_detectors_nothing_is_seen(fewer_directions):
    grid = VoxelGrid.centred(shape=(5, 3, 5), voxel_mm=(60.0, 60.0, 50.0))
    mu = np.full(grid.shape, WATER)
    x, y, z = (grid.axis_mm(axis) for axis in range(3))
    beyond = (x[:, None] ** 2 + y**2 >= 100.0**2)[:, :, None] & np.ones(5, bool)
    past_end = np.abs(z) > 75.0

    pair, prompt = find(PAIR, grid, SMALL, mu), find(PROMPT, grid, SMALL, mu)

    assert np.all(pair[beyond] == 0)
    assert np.all(prompt[beyond] == 0)
    assert np.all(pair[:, :, past_end] == 0)
    assert np.all(pair[2, 1, ~past_end] > 0)
    # From beyond the end, one photon alone still meets the detectors.
    assert np.all(prompt[2, 1] > 0)


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_one_voxel_has_a_sensitivity(kind, fewer_directions):
    grid = VoxelGrid.centred(shape=(1, 1, 1), voxel_mm=(20.0, 20.0, 20.0))

    share = find(kind, grid, SMALL, np.full((1, 1, 1), WATER)) / find(kind, grid, SMALL)

    ways = 2 if kind == PAIR else 1
    assert np.exp(-ways * WATER * 10.0 * np.sqrt(3)) < share[0, 0, 0] < np.exp(-ways * WATER * 10)


@pytest.mark.kernel
def test_a_ray_sums_its_way_through_each_voxel():
    mu = np.zeros((5, 4, 3), np.float32)
    mu[1:-1, 1:-1, 1] = [[0.5, 1.0], [2.0, 4.0], [8.0, 16.0]]
    args = (mu.reshape(-1), mu.shape, 0.01)
    back = -np.inf
    # Voxels of 2 mm: 0.5 voxels per mm.
    along = _sensitivity.line_integral((2.5, 1.5, 1.5), (0.5, 0.0, 0.0), back, *args)
    half = _sensitivity.line_integral((2.5, 1.5, 1.5), (0.5, 0.0, 0.0), 0.0, *args)
    missed = _sensitivity.line_integral((2.5, 0.5, 1.5), (0.5, 0.0, 0.0), back, *args)
    away = _sensitivity.line_integral((4.5, 1.5, 1.5), (0.5, 0.0, 0.0), 0.0, *args)

    assert along == pytest.approx(2 * (0.5 + 2.0 + 8.0), rel=0.01)
    assert half == pytest.approx(1 * 2.0 + 2 * 8.0, rel=0.01)
    assert missed == away == 0.0


@pytest.mark.parametrize("kind", [PAIR, PROMPT])
def test_any_number_of_threads_gives_the_same_shares(kind):
    grid = VoxelGrid.centred(shape=(13, 11, 9), voxel_mm=(10.0, 10.0, 10.0))
    mu = water_cylinder(grid, 45.0, 40.0)
    n = nb.get_num_threads()
    try:
        nb.set_num_threads(1)
        one = find(kind, grid, SMALL, mu)
    finally:
        nb.set_num_threads(n)

    assert_array_equal(find(kind, grid, SMALL, mu), one)


def test_prompts_are_attenuated_less_by_the_ratio_of_water():
    # NIST XCOM without coherent scattering: 0.0705 and 0.0958 cm2/g at 1 MeV and 511 keV.
    assert water_ratio(511.0) == 1.0
    assert water_ratio(1000.0) == pytest.approx(0.0707 / 0.0958, rel=5e-3)
    assert water_ratio(1157.02) < water_ratio(1157.0)
    grid = VoxelGrid.centred(shape=(9, 9, 9), voxel_mm=(10.0, 10.0, 10.0))
    mu = water_cylinder(grid, 40.0, 40.0)

    share = find(PROMPT, grid, SMALL, mu, prompt_kev=1157.0)

    assert_array_equal(share, find(PROMPT, grid, SMALL, water_ratio(1157.0) * mu))


@pytest.mark.parametrize("kev", [5.0, 4000.0, np.nan])
def test_a_prompt_outside_the_tables_is_an_error(kev):
    grid = VoxelGrid.centred(shape=(1, 1, 1), voxel_mm=(1.0, 1.0, 1.0))

    with pytest.raises(
        SettingsError, match=r"prompt_kev = \S+ is outside the attenuation tables, 10 to 3000 keV"
    ):
        prompt_sensitivity(grid, SMALL, prompt_kev=kev)


def test_attenuation_of_another_shape_is_an_error():
    grid = VoxelGrid.centred(shape=(2, 3, 4), voxel_mm=(1.0, 1.0, 1.0))

    with pytest.raises(
        DataError, match=r"has shape \(4, 3, 2\) but the grid has \(2, 3, 4\); resample it"
    ):
        pair_sensitivity(grid, SMALL, attenuation_per_mm=np.zeros((4, 3, 2)))


@pytest.mark.parametrize("value", [np.nan, -0.001, np.inf])
def test_attenuation_that_is_none_is_an_error(value):
    grid = VoxelGrid.centred(shape=(2, 3, 4), voxel_mm=(1.0, 1.0, 1.0))
    mu = np.full(grid.shape, WATER)
    mu[0, 1, 1:3] = value

    with pytest.raises(DataError, match="has 2 values that are negative or not finite; set them"):
        pair_sensitivity(grid, SMALL, attenuation_per_mm=mu)


GRID = VoxelGrid.centred(shape=(4, 4, 4), voxel_mm=(4.0, 4.0, 4.0))


def save(path, values, affine=GRID.affine):
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), affine), path)
    return path


def test_a_map_in_per_cm_is_read_per_mm(tmp_path):
    values = np.random.default_rng(1).uniform(0.0, 0.17, GRID.shape).astype(np.float32)

    mu = read_attenuation(save(tmp_path / "mu.nii.gz", values), GRID)

    assert_allclose(mu, 0.1 * values, rtol=1e-6)


def test_what_a_map_does_not_cover_is_air_and_logged(tmp_path, caplog):
    path = save(tmp_path / "mu.nii", np.full((4, 4, 2), 0.096))

    with caplog.at_level(logging.INFO):
        mu = read_attenuation(path, GRID)

    assert_allclose(mu[:, :, :2], 0.0096, rtol=1e-6)
    assert np.all(mu[:, :, 2:] == 0)
    assert "attenuation covers 50.0 % of the grid, the rest is air; highest 0.096" in caplog.text


@pytest.mark.parametrize(
    ("highest", "message"),
    [
        (1200.0, r"mu\.nii: attenuation up to 1200, expected 1/cm at 511 keV .* Hounsfield"),
        (9.6, r"mu\.nii: attenuation up to 9\.6, .*units or 1/m, convert it"),
        (0.0096, r"mu\.nii: attenuation only up to 0\.0096, .*looks like 1/mm or an empty image"),
        (0.0, r"mu\.nii: attenuation only up to 0, "),
    ],
)
def test_a_map_of_other_units_is_an_error(tmp_path, highest, message):
    values = np.zeros(GRID.shape)
    values[1, 1, 1] = highest
    with pytest.raises(SettingsError, match=message):
        read_attenuation(save(tmp_path / "mu.nii", values), GRID)


def test_hounsfield_units_are_named_before_their_negative_values(tmp_path):
    values = np.full(GRID.shape, -1000.0)
    values[1] = 40.0

    with pytest.raises(SettingsError, match="looks like Hounsfield units"):
        read_attenuation(save(tmp_path / "mu.nii", values), GRID)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.01, r"mu\.nii: 3 of 64 attenuation coefficients are negative, down to -0\.01; set"),
        (np.nan, r"mu\.nii: 3 of 64 attenuation coefficients are not finite; fill them"),
    ],
)
def test_a_map_of_impossible_values_is_an_error(tmp_path, value, message):
    values = np.full(GRID.shape, 0.096)
    values[2, 2, 1:] = value

    with pytest.raises(FileError, match=message):
        read_attenuation(save(tmp_path / "mu.nii", values), GRID)


def test_a_map_beside_the_grid_is_an_error_that_names_the_file(tmp_path):
    affine = GRID.affine.copy()
    affine[2, 3] += 500.0

    with pytest.raises(DataError, match=r"mu\.nii: the image and the grid do not overlap"):
        read_attenuation(save(tmp_path / "mu.nii", np.full((4, 4, 4), 0.096), affine), GRID)
