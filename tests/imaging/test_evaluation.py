import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from psimg.core import Box, DataError, FitStatus, Mask, SettingsError, Sphere, VoxelGrid
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.imaging.evaluation import (
    blurred_ball,
    compare_maps,
    contrast_recovery,
    edge_resolution,
    evaluate_regions,
    over_replicates,
    resample,
)

GRID = VoxelGrid.centred(shape=(12, 10, 8), voxel_mm=(3.0, 4.0, 5.0))
REGIONS = (
    Sphere(name="ball", centre_mm=(0.0, 1.0, 2.0), radius_mm=11.0),
    Box(name="box", centre_mm=(10.0, 0.0, 0.0), half_length_mm=(6.0, 9.0, 11.0)),
)
FAR = Sphere(name="far", centre_mm=(500.0, 0.0, 0.0), radius_mm=5.0)


def noisy_map(seed: int = 1):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1.5, 3.0, GRID.shape)
    error = rng.uniform(0.1, 0.4, GRID.shape)
    image = truth + 0.07 + rng.normal(size=GRID.shape) * error
    image[rng.random(GRID.shape) < 0.2] = np.nan
    error[rng.random(GRID.shape) < 0.1] = np.nan
    truth[rng.random(GRID.shape) < 0.1] = np.nan
    return image, truth, error


def single(name: str, index: tuple[int, int, int]) -> Mask:
    inside = np.zeros(GRID.shape, bool)
    inside[index] = True
    return Mask(name=name, grid=GRID, inside=inside)


def test_regions_equal_a_loop_over_voxels():
    image, truth, error = noisy_map()

    found = evaluate_regions(image, truth, grid=GRID, regions=REGIONS, error=error)

    for row, region in enumerate(REGIONS):
        values, truths, pulls, errors, missing = [], [], [], [], 0
        for index in np.ndindex(GRID.shape):
            centre = np.array(GRID.origin_mm) + np.array(index) * GRID.voxel_mm
            if not region.contains(centre[None])[0]:
                continue
            if math.isnan(image[index]) or math.isnan(truth[index]):
                missing += 1
                continue
            values.append(image[index])
            truths.append(truth[index])
            if not math.isnan(error[index]):
                errors.append(error[index])
                pulls.append((image[index] - truth[index]) / error[index])
        difference = np.array(values) - truths
        assert missing > 0
        assert found.names[row] == region.name
        assert (found.n_voxel[row], found.n_missing[row]) == (len(values), missing)
        assert_allclose(found.mean[row], np.mean(values))
        assert_allclose(found.true_mean[row], np.mean(truths))
        assert_allclose(found.bias[row], difference.mean())
        assert_allclose(found.relative_bias[row], difference.mean() / np.mean(truths))
        assert_allclose(found.spread[row], difference.std())
        assert_allclose(found.mean_error[row], np.mean(errors))
        assert_allclose(found.pull_mean[row], np.mean(pulls))
        assert_allclose(found.pull_width[row], np.std(pulls, ddof=1))
    assert_allclose(found.rmse**2, found.bias**2 + found.spread**2, rtol=1e-13)
    assert len(found) == 2


def test_one_true_number_per_region_is_an_image_of_it():
    image, _, _ = noisy_map()

    numbers = evaluate_regions(image, [2.0, 2.5], grid=GRID, regions=REGIONS)

    for row, number in enumerate((2.0, 2.5)):
        same = evaluate_regions(
            image, np.full(GRID.shape, number), grid=GRID, regions=REGIONS[row : row + 1]
        )
        assert numbers.rmse[row] == same.rmse[0]
        assert numbers.true_mean[row] == number
    assert np.isnan(numbers.pull_mean).all()
    assert np.isnan(numbers.mean_error).all()


def test_a_region_of_one_voxel_has_no_spread_and_one_of_none_no_value():
    image = np.full(GRID.shape, 2.0)
    image[3, 3, 3] = np.nan
    regions = (single("one", (5, 5, 5)), single("empty", (3, 3, 3)), FAR)

    found = evaluate_regions(
        image, [1.5, 1.5, 1.5], grid=GRID, regions=regions, error=np.full(GRID.shape, 0.25)
    )

    assert_array_equal(found.n_voxel, [1, 0, 0])
    assert_array_equal(found.n_missing, [0, 1, 0])
    assert_array_equal(found.bias, [0.5, np.nan, np.nan])
    assert_array_equal(found.rmse, [0.5, np.nan, np.nan])
    assert_array_equal(found.spread, [0.0, np.nan, np.nan])
    assert_array_equal(found.pull_mean, [2.0, np.nan, np.nan])
    assert np.isnan(found.pull_width).all()
    assert len(evaluate_regions(image, [], grid=GRID, regions=())) == 0


def test_arrays_that_do_not_fit_are_errors():
    image = np.zeros(GRID.shape)

    with pytest.raises(DataError, match=r"image has shape \[2, 2, 2\] but its grid has \[12, 10"):
        evaluate_regions(np.zeros((2, 2, 2)), image, grid=GRID, regions=REGIONS)
    with pytest.raises(DataError, match=r"error has shape \[1\] but its grid"):
        evaluate_regions(image, image, grid=GRID, regions=REGIONS, error=[1.0])
    with pytest.raises(DataError, match=r"truth has shape \[3\]; expected an image of \[12, 10, 8"):
        evaluate_regions(image, [1.0, 2.0, 3.0], grid=GRID, regions=REGIONS)


def test_contrast_recovery_of_a_half_blurred_region_is_one_half():
    hot, cold = single("hot", (2, 2, 2)), single("cold", (7, 7, 7))
    image = np.full(GRID.shape, np.nan)
    image[2, 2, 2], image[7, 7, 7] = 2.5, 2.0

    found = contrast_recovery(
        image, grid=GRID, region=hot, background=cold, true_region=3.0, true_background=2.0
    )

    assert (found.region_mean, found.background_mean) == (2.5, 2.0)
    assert_allclose([found.difference_recovery, found.ratio_recovery], 0.5)


def test_the_two_contrasts_differ_where_the_background_is_off():
    hot, cold = single("hot", (2, 2, 2)), single("cold", (7, 7, 7))
    image = np.full(GRID.shape, 4.0)
    image[7, 7, 7] = 1.0
    truth = {"true_region": 8.0, "true_background": 2.0}

    found = contrast_recovery(image, grid=GRID, region=hot, background=cold, **truth)
    dark = contrast_recovery(
        np.where(image == 1.0, 0.0, image), grid=GRID, region=hot, background=cold, **truth
    )

    assert_allclose(found.difference_recovery, 3.0 / 6.0)
    assert_allclose(found.ratio_recovery, (4.0 - 1.0) / (4.0 - 1.0))
    assert_allclose(dark.difference_recovery, 4.0 / 6.0)
    assert math.isnan(dark.ratio_recovery)


def test_contrast_needs_a_contrast_and_values():
    image = np.full(GRID.shape, 2.0)
    places = {"grid": GRID, "region": REGIONS[0], "background": REGIONS[1]}

    with pytest.raises(SettingsError, match="are both 2: there is no contrast"):
        contrast_recovery(image, **places, true_region=2.0, true_background=2.0)
    with pytest.raises(DataError, match="no voxel with a value has its centre in 'far'"):
        contrast_recovery(image, **(places | {"region": FAR}), true_region=3.0, true_background=2.0)


def repeats(n_repeat: int, *, bias: float, seed: int):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1.5, 3.0, GRID.shape)
    errors = rng.uniform(0.1, 0.4, (n_repeat, *GRID.shape))
    images = truth + bias + rng.normal(size=errors.shape) * errors
    return images, truth, errors


def test_repeats_equal_a_loop_over_repeats():
    images, truth, errors = repeats(6, bias=0.1, seed=4)
    rng = np.random.default_rng(5)
    images[rng.random(images.shape) < 0.2] = np.nan

    found = over_replicates(images, truth, grid=GRID, regions=REGIONS, errors=errors)

    for row, region in enumerate(REGIONS):
        each = [evaluate_regions(i, truth, grid=GRID, regions=(region,)) for i in images]
        bias = np.array([e.bias[0] for e in each])
        inside = region.contains(GRID.centres_mm()).reshape(GRID.shape)
        pulls = ((images - truth) / errors)[:, inside]
        assert found.n_repeat[row] == 6
        assert found.n_value[row] == sum(e.n_voxel[0] for e in each)
        assert found.n_missing[row] == sum(e.n_missing[0] for e in each)
        assert_allclose(found.mean[row], np.mean([e.mean[0] for e in each]))
        assert_allclose(found.bias[row], bias.mean())
        assert_allclose(found.spread[row], bias.std(ddof=1))
        assert_allclose(found.bias_error[row], bias.std(ddof=1) / math.sqrt(6))
        assert_allclose(found.pull_mean[row], np.nanmean(pulls))
        assert_allclose(found.pull_width[row], np.nanstd(pulls, ddof=1))
        for value, error in (("mean", "pull_mean_error"), ("std", "pull_width_error")):
            left_out = []
            for s in range(6):
                rest = np.delete(pulls, s, axis=0)
                rest = rest[np.isfinite(rest)]
                left_out.append(rest.mean() if value == "mean" else rest.std(ddof=1))
            expected = math.sqrt(5 / 6 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
            assert_allclose(getattr(found, error)[row], expected)
    assert_allclose(found.rmse**2, found.bias**2 + found.spread**2 * 5 / 6, rtol=1e-13)
    assert len(found) == 2


def test_errors_of_bias_and_pulls_are_those_between_studies():
    n_study = 200
    bias, pull_mean, pull_width = [], [], []
    for seed in range(n_study):
        images, truth, errors = repeats(10, bias=0.05, seed=seed)
        found = over_replicates(images, truth, grid=GRID, regions=REGIONS[:1], errors=errors)
        plain = over_replicates(images - 0.05, truth, grid=GRID, regions=REGIONS[:1], errors=errors)
        bias.append((found.bias[0] - 0.05) / found.bias_error[0])
        pull_mean.append(plain.pull_mean[0] / plain.pull_mean_error[0])
        pull_width.append((plain.pull_width[0] - 1.0) / plain.pull_width_error[0])

    # Nine degrees of freedom: Student's t has the width sqrt(9 / 7).
    width = math.sqrt(9 / 7)
    for pulls in (bias, pull_mean, pull_width):
        assert abs(np.mean(pulls)) < 4 * width / math.sqrt(n_study)
        # Kurtosis 6 / (9 - 4) of t: sd of the width is width sqrt((2 + 1.2) / 4 n).
        assert abs(np.std(pulls) - width) < 4 * width * math.sqrt(3.2 / (4 * n_study))


def test_repeats_without_a_value_count_apart():
    images = np.full((3, *GRID.shape), 2.0)
    images[0] += 0.1
    images[2] = np.nan

    found = over_replicates(images, [1.5, 2.0], grid=GRID, regions=(REGIONS[0], FAR))

    assert_array_equal(found.n_repeat, [2, 0])
    assert_allclose(found.bias[0], 0.55)
    assert np.isnan(found.bias[1])
    assert np.isnan(found.pull_mean).all()
    images[1] = np.nan
    alone = over_replicates(images, [1.5], grid=GRID, regions=REGIONS[:1], errors=images)
    assert np.isnan(alone.spread[0])
    assert np.isnan(alone.pull_mean_error[0])


def test_repeats_that_do_not_fit_are_errors():
    stack = np.zeros((3, *GRID.shape))

    with pytest.raises(DataError, match="1 repeat: a spread between repeats needs at least two"):
        over_replicates(stack[:1], stack[0], grid=GRID, regions=REGIONS)
    with pytest.raises(DataError, match=r"images has shape \[12, 10, 8\]; expected repeats of"):
        over_replicates(stack[0], stack[0], grid=GRID, regions=REGIONS)
    with pytest.raises(DataError, match="3 images but 2 images of errors"):
        over_replicates(stack, stack[0], grid=GRID, regions=REGIONS, errors=stack[:2])


def blurred_numerically(radius: float, sigma: float, step: float, centre=(0.0, 0.0, 0.0)):
    """Return a grid and a ball of which each voxel holds its share, blurred on that grid."""
    reach = 2 * radius + 2 * sigma
    n = 2 * math.ceil(reach / step) + 1
    grid = VoxelGrid.centred(shape=(n, n, n), voxel_mm=(step,) * 3)
    share = np.zeros(grid.shape)
    parts = (np.arange(3) - 1) * step / 3
    x, y, z = np.meshgrid(*(grid.axis_mm(a) - centre[a] for a in range(3)), indexing="ij")
    for dx in parts:
        for dy in parts:
            for dz in parts:
                share += (x + dx) ** 2 + (y + dy) ** 2 + (z + dz) ** 2 <= radius**2
    return grid, gaussian_filter(share / 27, sigma / step, truncate=6.0)


@pytest.mark.parametrize(("radius", "sigma"), [(5.0, 2.0), (5.0, 4.0), (14.0, 3.0)])
def test_the_profile_is_that_of_a_ball_blurred_numerically(radius, sigma):
    step = sigma / 5
    grid, blurred = blurred_numerically(radius, sigma, step)

    r = np.linalg.norm(grid.centres_mm(), axis=1).reshape(grid.shape)
    # Of shares, the blur has a variance of step^2 / 12 more.
    known = blurred_ball(r, radius_mm=radius, sigma_mm=math.sqrt(sigma**2 + step**2 / 12))

    assert_allclose(blurred, known, atol=1.5e-3)


def test_the_profile_has_its_limits():
    # At the centre: the chi distribution of three degrees of freedom.
    R, sigma = 4.0, 3.0
    at_centre = erf(R / sigma / math.sqrt(2)) - math.sqrt(2 / math.pi) * R / sigma * math.exp(
        -0.5 * (R / sigma) ** 2
    )
    assert_allclose(blurred_ball(0.0, radius_mm=R, sigma_mm=sigma), at_centre, rtol=1e-13)
    assert_allclose(blurred_ball(1e-9, radius_mm=R, sigma_mm=sigma), at_centre, rtol=1e-8)
    # All of it: the volume of the ball.
    r = np.linspace(0.0, 60.0, 60001)
    volume = trapezoid(4 * np.pi * r**2 * blurred_ball(r, radius_mm=R, sigma_mm=sigma), r)
    assert_allclose(volume, 4 / 3 * np.pi * R**3, rtol=1e-6)
    # A large ball: an error function, less sigma / r times a Gaussian.
    near = np.linspace(990.0, 1010.0, 21)
    edge = 0.5 * (1.0 + erf((1000.0 - near) / sigma / math.sqrt(2)))
    assert_allclose(blurred_ball(near, radius_mm=1000.0, sigma_mm=sigma), edge, atol=2e-3)


@pytest.mark.parametrize(
    ("radius", "sigma", "centre"),
    [(5.0, 2.0, (0.0, 0.0, 0.0)), (5.0, 4.0, (0.7, -0.4, 0.2)), (14.0, 3.0, (0.0, 0.0, 0.0))],
)
def test_the_resolution_of_a_numerically_blurred_ball_is_recovered(radius, sigma, centre):
    step = sigma / 5
    fine, share = blurred_numerically(radius, sigma, step, centre)
    # Every third point: voxels of 0.6 sigma.
    coarse = share[::3, ::3, ::3]
    grid = VoxelGrid(shape=coarse.shape, voxel_mm=(3 * step,) * 3, origin_mm=fine.origin_mm)
    image = 2.0 + 1.0 * coarse

    found = edge_resolution(image, grid=grid, centre_mm=centre, radius_mm=radius)

    true_sigma = math.sqrt(sigma**2 + step**2 / 12)
    assert found.status == FitStatus.OK
    assert_allclose(found.fwhm_mm, FWHM_PER_SIGMA * true_sigma, rtol=3e-3)
    assert_allclose([found.inside, found.outside], [3.0, 2.0], atol=6e-3)


def edge_map(sigma: float, noise: float, seed: int, *, radius: float = 9.0):
    grid = VoxelGrid.centred(shape=(21, 21, 21), voxel_mm=(2.0, 2.0, 2.0))
    r = np.linalg.norm(grid.centres_mm(), axis=1).reshape(grid.shape)
    rng = np.random.default_rng(seed)
    errors = noise * rng.uniform(0.5, 2.0, grid.shape)
    f = blurred_ball(r, radius_mm=radius, sigma_mm=sigma)
    return grid, 1.6 + 1.4 * f + errors * rng.normal(size=grid.shape), errors


@pytest.mark.parametrize("weighted", [True, False])
def test_pulls_of_the_resolution_have_mean_0_and_width_1(weighted):
    n = 150
    pulls = []
    for seed in range(n):
        grid, image, errors = edge_map(2.5, 0.1, seed)
        if not weighted:
            image = edge_map(2.5, 0.0, 0)[1] + 0.1 * np.random.default_rng(seed).normal(
                size=grid.shape
            )
        found = edge_resolution(
            image, grid=grid, centre_mm=(0, 0, 0), radius_mm=9.0, error=errors if weighted else None
        )
        assert found.status == FitStatus.OK
        pulls.append((found.fwhm_mm - FWHM_PER_SIGMA * 2.5) / found.fwhm_error_mm)

    assert abs(np.mean(pulls)) < 4 / math.sqrt(n)
    assert abs(np.std(pulls) - 1.0) < 4 / math.sqrt(2 * n)


def test_chi_square_of_the_edge_is_one_per_voxel_and_voxels_without_error_stay_out():
    grid, image, errors = edge_map(2.5, 0.1, 3)
    image[10, 10, 10] = np.nan
    errors[11, 10, 10] = 0.0

    found = edge_resolution(image, grid=grid, centre_mm=(0, 0, 0), radius_mm=9.0, error=errors)
    near = edge_resolution(image, grid=grid, centre_mm=(0, 0, 0), radius_mm=9.0, reach_mm=4.0)

    r = np.linalg.norm(grid.centres_mm(), axis=1)
    assert found.n_voxel == np.count_nonzero(r <= 18.0) - 2
    assert near.n_voxel == np.count_nonzero(r <= 13.0) - 1
    ndf = found.n_voxel - 3
    assert abs(found.chi_square - ndf) < 4 * math.sqrt(2 * ndf)


def test_an_edge_sharper_than_the_voxels_is_at_the_bound():
    grid, _, _ = edge_map(2.5, 0.1, 3)
    r = np.linalg.norm(grid.centres_mm(), axis=1).reshape(grid.shape)

    found = edge_resolution(
        np.where(r <= 9.0, 3.0, 2.0), grid=grid, centre_mm=(0, 0, 0), radius_mm=9.0
    )

    assert found.status == FitStatus.AT_BOUND
    assert math.isnan(found.fwhm_mm)
    assert math.isnan(found.fwhm_error_mm)
    # At the smallest width, 0.1 mm, voxels 0.06 mm inside still count as blurred.
    assert_allclose([found.inside, found.outside], [3.0, 2.0], atol=0.02)


def test_an_edge_that_is_not_there_is_an_error():
    grid, image, _ = edge_map(2.5, 0.1, 3)
    place = {"grid": grid, "centre_mm": (0.0, 0.0, 0.0)}

    with pytest.raises(DataError, match="1 voxels with a value around the ball: a fit of its edge"):
        edge_resolution(image, **place, radius_mm=0.5)
    with pytest.raises(DataError, match="all voxels around the ball are 2: there is no edge"):
        edge_resolution(np.full(grid.shape, 2.0), **place, radius_mm=9.0)
    with pytest.raises(DataError, match="all voxels with a value are inside the ball"):
        edge_resolution(image, **place, radius_mm=90.0)
    r = np.linalg.norm(grid.centres_mm(), axis=1).reshape(grid.shape)
    with pytest.raises(DataError, match="all voxels with a value are outside the ball"):
        edge_resolution(np.where(r > 9.0, image, np.nan), **place, radius_mm=9.0)
    with pytest.raises(SettingsError, match="radius_mm"):
        edge_resolution(image, **place, radius_mm=-1.0)


def test_a_comparison_equals_a_loop_over_voxels():
    a, b, error_a = noisy_map(7)
    error_b = np.full(GRID.shape, 0.2)

    found = compare_maps(a, b, grid=GRID, regions=REGIONS, error_a=error_a, error_b=error_b)

    assert found.names == ("all voxels", "ball", "box")
    assert not found.resampled
    assert found.with_errors == ("A", "B")
    centres = GRID.centres_mm().reshape(*GRID.shape, 3)
    for row, region in enumerate((None, *REGIONS)):
        pairs, pulls, only_a, only_b = [], [], 0, 0
        for index in np.ndindex(GRID.shape):
            if region is not None and not region.contains(centres[index][None])[0]:
                continue
            has_a, has_b = not math.isnan(a[index]), not math.isnan(b[index])
            only_a += has_a and not has_b
            only_b += has_b and not has_a
            if has_a and has_b:
                pairs.append((a[index], b[index]))
                if not math.isnan(error_a[index]):
                    error = math.hypot(error_a[index], error_b[index])
                    pulls.append((a[index] - b[index]) / error)
        x, y = np.array(pairs).T
        assert (found.n_both[row], found.n_only_a[row], found.n_only_b[row]) == (
            len(pairs), only_a, only_b,
        )  # fmt: skip
        assert_allclose([found.mean_a[row], found.mean_b[row]], [x.mean(), y.mean()])
        assert_allclose(found.difference[row], (x - y).mean())
        assert_allclose(found.relative_difference[row], (x - y).mean() / y.mean())
        assert_allclose(found.spread[row], (x - y).std())
        assert_allclose(found.correlation[row], np.corrcoef(x, y)[0, 1])
        assert found.n_pull[row] == len(pulls)
        assert_allclose(found.pull_mean[row], np.mean(pulls))
        assert_allclose(found.pull_width[row], np.std(pulls, ddof=1))
    assert_allclose(found.rmse**2, found.difference**2 + found.spread**2, rtol=1e-13)
    assert len(found) == 3


def test_a_map_compared_with_itself_differs_nowhere():
    a, _, error = noisy_map(8)

    found = compare_maps(a, a, grid=GRID, regions=REGIONS, error_a=error, error_b=error)

    for column in (found.difference, found.spread, found.rmse, found.pull_mean, found.pull_width):
        assert_array_equal(column, 0.0)
    assert_allclose(found.correlation, 1.0)
    assert found.n_both[0] == np.isfinite(a).sum()
    assert not found.n_only_a.any()


def test_exchanging_the_maps_changes_signs():
    a, b, error = noisy_map(9)

    one = compare_maps(a, b, grid=GRID, regions=REGIONS, error_a=error)
    two = compare_maps(b, a, grid=GRID, regions=REGIONS, error_b=error)

    assert (one.with_errors, two.with_errors) == (("A",), ("B",))
    assert_array_equal(one.n_only_a, two.n_only_b)
    assert_allclose(one.difference, -two.difference)
    assert_allclose(one.pull_mean, -two.pull_mean)
    assert_array_equal(one.mean_a, two.mean_b)
    for name in ("n_both", "spread", "rmse", "correlation", "pull_width"):
        assert_allclose(getattr(one, name), getattr(two, name))


def test_one_common_voxel_has_a_difference_but_no_width():
    a, b = np.full(GRID.shape, np.nan), np.full(GRID.shape, 2.0)
    a[4, 4, 4] = 2.5

    found = compare_maps(a, b, grid=GRID, error_a=np.full(GRID.shape, 0.1), regions=(FAR,))

    assert_array_equal(found.n_both, [1, 0])
    assert_allclose([found.difference[0], found.rmse[0], found.pull_mean[0]], [0.5, 0.5, 5.0])
    assert found.spread[0] == 0.0
    assert np.isnan([found.correlation[0], found.pull_width[0], found.difference[1]]).all()


def test_pulls_of_two_independent_maps_have_width_1():
    rng = np.random.default_rng(10)
    truth, ea, eb = rng.uniform(0.1, 2.0, (3, *GRID.shape))
    a, b = truth + ea * rng.normal(size=GRID.shape), truth + eb * rng.normal(size=GRID.shape)

    found = compare_maps(a, b, grid=GRID, error_a=ea, error_b=eb)

    n = GRID.n_voxel
    assert abs(found.pull_mean[0]) < 4 / math.sqrt(n)
    assert abs(found.pull_width[0] - 1) < 4 / math.sqrt(2 * n)


def test_resampling_is_exact_for_what_is_linear_along_each_axis():
    other = VoxelGrid.centred(shape=(7, 9, 6), voxel_mm=(2.5, 2.7, 3.1), centre_mm=(1.0, -2.0, 0.5))
    x, y, z = GRID.centres_mm().T
    u, v, w = other.centres_mm().T
    image = (1.0 + 0.1 * x - 0.2 * y + 0.3 * z + 0.01 * x * y * z).reshape(GRID.shape)

    found = resample(image, GRID, other)

    expected = (1.0 + 0.1 * u - 0.2 * v + 0.3 * w + 0.01 * u * v * w).reshape(other.shape)
    assert_allclose(found, expected, rtol=1e-12)


def test_a_voxel_without_value_empties_what_is_interpolated_from_it_and_no_other():
    # Half a voxel along x, none along y and z.
    other = VoxelGrid(
        shape=GRID.shape,
        voxel_mm=GRID.voxel_mm,
        origin_mm=(GRID.origin_mm[0] + 1.5, GRID.origin_mm[1] + 1e-5, GRID.origin_mm[2]),
    )
    image = np.ones(GRID.shape)
    image[5, 4, 3] = np.nan

    found = resample(image, GRID, other)

    expected = np.ones(GRID.shape)
    expected[4, 4, 3] = expected[5, 4, 3] = np.nan
    expected[-1] = np.nan  # beyond the centres of the last voxels
    assert_array_equal(found, expected)
    assert_array_equal(resample(image, GRID, GRID), image)


def test_errors_of_interpolated_values_are_those_of_a_weighted_mean():
    other = VoxelGrid(
        shape=(11, 9, 7),
        voxel_mm=GRID.voxel_mm,
        origin_mm=tuple(
            o + share * s
            for o, s, share in zip(GRID.origin_mm, GRID.voxel_mm, (0.5, 0.25, 0.1), strict=True)
        ),
    )
    rng = np.random.default_rng(11)
    error = rng.uniform(0.5, 1.5, GRID.shape)
    # Of independent noise through the interpolation itself.
    found = resample(error, GRID, other, as_errors=True)
    samples = [resample(error * rng.normal(size=GRID.shape), GRID, other) for _ in range(600)]

    assert_allclose(np.std(samples, axis=0) / found, 1.0, atol=5.5 / math.sqrt(2 * 600))


def test_maps_on_different_grids_are_compared_on_the_first():
    x = GRID.centres_mm()[:, 0].reshape(GRID.shape)
    fine = VoxelGrid.centred(shape=(30, 30, 30), voxel_mm=(1.7, 1.7, 1.7))
    b = 2.0 + 0.01 * fine.centres_mm()[:, 0].reshape(fine.shape)

    found = compare_maps(
        2.1 + 0.01 * x, b, grid=GRID, grid_b=fine, error_b=np.full(fine.shape, 0.1),
        regions=REGIONS,
    )  # fmt: skip

    assert found.resampled
    assert found.b.shape == GRID.shape
    assert_allclose(found.difference, 0.1)
    assert_allclose(found.spread, 0.0, atol=1e-12)
    assert (found.pull_mean > 1.0).all()


def test_a_grid_that_a_file_has_rounded_is_the_same_grid():
    size = np.float32(3.3001)
    a = VoxelGrid.centred(shape=(50, 50, 50), voxel_mm=(3.3001,) * 3)
    b = VoxelGrid(
        shape=(50, 50, 50),
        voxel_mm=(float(size),) * 3,
        origin_mm=tuple(float(np.float32(o)) for o in a.origin_mm),
    )
    image = np.random.default_rng(1).random(a.shape)

    assert not compare_maps(image, image, grid=a, grid_b=b).resampled


def test_maps_that_cannot_be_compared_are_errors():
    a, empty = np.ones(GRID.shape), np.full(GRID.shape, np.nan)
    far = VoxelGrid.centred(shape=GRID.shape, voxel_mm=GRID.voxel_mm, centre_mm=(0, 0, 400.0))

    with pytest.raises(DataError, match=r"the grids do not overlap: A spans -18 to 18, -20 to 20"):
        compare_maps(a, a, grid=GRID, grid_b=far)
    with pytest.raises(
        DataError, match=r"no voxel has a value in both maps \(960 have one in A, 0"
    ):
        compare_maps(a, empty, grid=GRID)
    with pytest.raises(DataError, match=r"B has shape \[3, 3\] but its grid"):
        compare_maps(a, np.ones((3, 3)), grid=GRID)
    with pytest.raises(DataError, match=r"error of B has shape \[3, 3\] but its grid"):
        compare_maps(a, a, grid=GRID, error_b=np.ones((3, 3)))
