import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import (
    SCANNERS,
    Box,
    Cylinder,
    DataError,
    Everywhere,
    FitStatus,
    Mask,
    ParameterMaps,
    Scanner,
    SettingsError,
    Sphere,
    VoxelGrid,
    freeze,
    require_positive,
    require_window,
    unit_factor,
)


class _Holder:
    def __init__(self, column: object) -> None:
        self.column = column


def test_a_frozen_column_is_read_only_and_leaves_the_callers_array_alone():
    mine = np.arange(3.0)
    holder = _Holder(mine)

    freeze(holder, column=(np.float64, 3))

    assert not holder.column.flags.writeable
    mine[0] = 7.0
    assert mine.flags.writeable


def test_a_column_of_another_shape_is_an_error_that_names_both_shapes():
    with pytest.raises(DataError, match=r"_Holder.column has shape \(3,\), expected \(2,\)"):
        freeze(_Holder(np.arange(3.0)), column=(np.float64, 2))


def test_an_absent_column_stays_absent():
    holder = _Holder(None)

    freeze(holder, column=(np.float64, 2))

    assert holder.column is None


@pytest.mark.parametrize(
    ("quantity", "unit", "factor"),
    [("time", "s", 1e9), ("time", "ps", 1e-3), ("energy", "MeV", 1e3), ("length", "cm", 10.0)],
)
def test_units_turn_into_ns_kev_and_mm(quantity, unit, factor):
    assert unit_factor(quantity, unit) == factor


def test_a_unit_of_another_quantity_is_an_error_that_lists_the_right_ones():
    with pytest.raises(SettingsError, match="'mm' is no unit of time; use one of s ms us ns ps"):
        unit_factor("time", "mm")


def test_windows_and_positive_numbers_are_checked():
    with pytest.raises(SettingsError, match="the low end is not below the high end"):
        require_window("prompt_kev", (3.0, 3.0))
    with pytest.raises(SettingsError, match="is not finite"):
        require_window("prompt_kev", (3.0, np.inf))
    require_window("prompt_kev", (3.0, np.inf), open_end=True)
    for window in ((-np.inf, 3.0), (3.0, np.nan), (np.inf, np.inf)):
        with pytest.raises(SettingsError, match="is not finite"):
            require_window("prompt_kev", window, open_end=True)
    with pytest.raises(SettingsError, match="crt_ns = 0: expected a number above zero"):
        require_positive("crt_ns", 0.0)


def test_sigma_of_dt_is_the_isotropic_mean_over_prompt_directions():
    scanner = SCANNERS["vision-quadra"]
    cosine = np.random.default_rng(5).uniform(-1, 1, 200_000)

    mean = np.mean(scanner.sigma_single_ns**2 * (1.5 + 0.5 * cosine**2))

    assert_allclose(scanner.sigma_dt_ns, np.sqrt(mean), rtol=1e-3)
    assert_allclose(Scanner(name="x", radius_mm=1, length_mm=1, crt_ns=0.23, energy_fwhm=None)
                    .sigma_dt_ns, 0.0892, atol=1e-4)  # fmt: skip


def test_the_point_of_a_230_ps_scanner_is_known_to_14_6_mm():
    scanner = Scanner(name="x", radius_mm=400, length_mm=1000, crt_ns=0.230, energy_fwhm=0.1)

    assert_allclose(scanner.sigma_point_mm, 14.6, atol=0.05)


def test_the_affine_takes_indices_to_voxel_centres():
    grid = VoxelGrid.centred(shape=(2, 3, 4), voxel_mm=(2.0, 3.0, 4.0), centre_mm=(10.0, 0.0, -5.0))
    index = np.argwhere(np.ones(grid.shape))

    world = (grid.affine @ np.c_[index, np.ones(len(index))].T).T[:, :3]

    assert_allclose(world, grid.centres_mm())
    assert_allclose(world.mean(axis=0), [10.0, 0.0, -5.0])


def test_every_voxel_holds_its_own_centre_and_its_lower_corner():
    grid = VoxelGrid.centred(shape=(3, 4, 5), voxel_mm=(2.0, 2.5, 4.0))

    assert_array_equal(grid.voxel_of(grid.centres_mm()), np.arange(grid.n_voxel))
    corners = grid.centres_mm() - 0.5 * np.array(grid.voxel_mm)
    assert_array_equal(grid.voxel_of(corners), np.arange(grid.n_voxel))
    assert_array_equal(grid.voxel_of(grid.high_mm[None]), [-1])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape": (0, 1, 1)}, "at least one voxel"),
        ({"voxel_mm": (1.0, -1.0, 1.0)}, "sizes above zero"),
        ({"origin_mm": (np.nan, 0.0, 0.0)}, "is not finite"),
    ],
)
def test_an_impossible_grid_is_an_error(change, match):
    good = {"shape": (1, 1, 1), "voxel_mm": (1.0, 1.0, 1.0), "origin_mm": (0.0, 0.0, 0.0)}

    with pytest.raises(SettingsError, match=match):
        VoxelGrid(**(good | change))


REGIONS = [
    (Sphere(name="s", centre_mm=(5.0, -3.0, 2.0), radius_mm=8.0), 4 / 3 * np.pi * 8**3),
    (
        Cylinder(name="c", centre_mm=(5.0, -3.0, 2.0), radius_mm=8.0, half_length_mm=5.0),
        np.pi * 8**2 * 10,
    ),
    (Box(name="b", centre_mm=(5.0, -3.0, 2.0), half_length_mm=(3.0, 4.0, 5.0)), 480.0),
]


@pytest.mark.parametrize(("region", "volume"), REGIONS, ids=lambda x: getattr(x, "name", ""))
def test_a_region_has_its_volume_about_its_centre_and_stays_in_its_bounds(region, volume):
    n = 200_000
    point = np.random.default_rng(3).uniform(-20, 20, (n, 3)) + np.array([5.0, -3.0, 2.0])

    inside = region.contains(point)

    share = volume / 40**3
    assert_allclose(inside.mean(), share, atol=4 * np.sqrt(share * (1 - share) / n))
    low, high = region.bounds_mm
    assert np.all(point[inside] >= low)
    assert np.all(point[inside] <= high)
    spread = (high - low).max() / np.sqrt(12 * inside.sum())
    assert_allclose(point[inside].mean(axis=0), [5.0, -3.0, 2.0], atol=5 * spread)


def test_points_on_a_surface_are_inside():
    sphere = Sphere(name="s", centre_mm=(0.0, 0.0, 0.0), radius_mm=5.0)
    cylinder = Cylinder(name="c", centre_mm=(0.0, 0.0, 0.0), radius_mm=5.0, half_length_mm=2.0)
    box = Box(name="b", centre_mm=(0.0, 0.0, 0.0), half_length_mm=(5.0, 5.0, 2.0))

    for region in (sphere, cylinder, box):
        assert region.contains(np.array([[5.0, 0.0, 0.0]]))[0]


def test_everywhere_holds_all_points():
    assert Everywhere().contains(np.array([[1e9, -1e9, 0.0]])).all()


def test_a_mask_holds_the_points_of_its_voxels_only():
    grid = VoxelGrid.centred(shape=(3, 3, 3), voxel_mm=(2.0, 2.0, 2.0))
    inside = np.zeros(grid.shape, bool)
    inside[2, 0, 1] = True
    mask = Mask(name="m", grid=grid, inside=inside)

    hit = mask.contains(grid.centres_mm())

    assert_array_equal(hit.reshape(grid.shape), inside)
    assert not mask.contains(np.array([[50.0, 0.0, 0.0]]))[0]
    low, high = mask.bounds_mm
    assert_allclose(low, [1.0, -3.0, -1.0])
    assert_allclose(high, [3.0, -1.0, 1.0])


def test_an_empty_mask_is_an_error():
    grid = VoxelGrid.centred(shape=(2, 2, 2), voxel_mm=(1.0, 1.0, 1.0))

    with pytest.raises(SettingsError, match="'m': its mask has no voxel set"):
        Mask(name="m", grid=grid, inside=np.zeros(grid.shape, bool))


def _maps() -> ParameterMaps:
    return ParameterMaps(
        grid=VoxelGrid.centred(shape=(2, 2, 1), voxel_mm=(1.0, 1.0, 1.0)),
        names=("tau_ops",),
        units=("ns",),
        voxel=np.array([1, 2]),
        values=np.array([[2.0], [np.nan]]),
        errors=np.array([[0.1], [np.nan]]),
        deviance=np.array([3.0, np.nan]),
        ndf=5,
        status=np.array([FitStatus.OK, FitStatus.NOT_CONVERGED]),
    )


def test_images_put_values_at_their_voxels_and_nan_elsewhere():
    maps = _maps()

    assert_array_equal(maps.image("tau_ops")[..., 0], [[np.nan, 2.0], [np.nan, np.nan]])
    assert_array_equal(maps.error_image("tau_ops")[..., 0], [[np.nan, 0.1], [np.nan, np.nan]])
    assert_array_equal(maps.deviance_image()[..., 0], [[np.nan, 3.0], [np.nan, np.nan]])
    assert_array_equal(maps.status_image()[..., 0], [[1, 0], [2, 1]])
    assert maps.unit("tau_ops") == "ns"


def test_an_unknown_map_is_an_error_that_lists_those_there_are():
    with pytest.raises(DataError, match="no parameter 'tau' in these maps; they hold tau_ops"):
        _maps().image("tau")
