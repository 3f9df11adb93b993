import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core.errors import FileError
from psimg.core.grid import VoxelGrid
from psimg.io import read_mask, write_map
from psimg.io.nifti import read_image_affine

GRID = VoxelGrid(shape=(3, 4, 5), voxel_mm=(2.0, 3.0, 4.0), origin_mm=(-10.0, 20.0, 7.5))


@pytest.fixture
def image():
    rng = np.random.default_rng(5)
    return rng.normal(2.0, 0.1, GRID.shape)


@pytest.fixture
def labels():
    rng = np.random.default_rng(6)
    return rng.integers(0, 4, GRID.shape).astype(np.uint8)


def save(path, data, affine):
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def test_a_voxel_of_a_map_lies_where_the_grid_says(tmp_path, image):
    write_map(tmp_path, "tau_ops", image, GRID, sidecar={})

    stored = nib.load(tmp_path / "tau_ops.nii.gz")
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1)
    world = apply_affine(stored.affine, index.reshape(-1, 3))
    assert_allclose(world, GRID.centres_mm(), atol=1e-5)
    assert_array_equal(GRID.voxel_of(world), np.arange(GRID.n_voxel))
    assert nib.aff2axcodes(stored.affine) == ("R", "A", "S")


def test_both_forms_of_a_map_say_the_same_place_in_mm(tmp_path, image):
    write_map(tmp_path, "tau_ops", image, GRID, sidecar={})

    header = nib.load(tmp_path / "tau_ops.nii.gz").header
    assert header.get_xyzt_units()[0] == "mm"
    for form, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        assert code == 1  # scanner coordinates
        assert_allclose(form, GRID.affine, atol=1e-5)


def test_values_of_a_map_are_float32_with_nan_kept(tmp_path, image):
    image[1, 2, 3] = np.nan

    write_map(tmp_path, "tau_ops", image, GRID, sidecar={})

    stored = nib.load(tmp_path / "tau_ops.nii.gz")
    assert stored.get_data_dtype() == np.float32
    assert_array_equal(np.asarray(stored.dataobj), image.astype(np.float32))


def test_a_status_map_stays_bytes(tmp_path, labels):
    write_map(tmp_path, "status", labels, GRID, sidecar={})

    stored = nib.load(tmp_path / "status.nii.gz")
    assert stored.get_data_dtype() == np.uint8
    assert_array_equal(np.asarray(stored.dataobj), labels)


def test_the_sidecar_holds_what_was_given(tmp_path, image):
    sidecar = {"Units": "ns", "InputSha256": ["ab", "cd"], "Levels": {"0": "ok"}, "Isotope": None}

    write_map(tmp_path, "tau_ops", image, GRID, sidecar=sidecar)

    assert json.loads((tmp_path / "tau_ops.json").read_text()) == sidecar


def test_a_map_reads_back_as_the_mask_it_is(tmp_path, labels):
    write_map(tmp_path, "regions", labels, GRID, sidecar={})

    grid, inside = read_mask(tmp_path / "regions.nii.gz")

    assert grid.shape == GRID.shape
    assert_allclose(grid.voxel_mm, GRID.voxel_mm, rtol=1e-6)
    assert_allclose(grid.origin_mm, GRID.origin_mm, rtol=1e-6)
    assert_array_equal(inside, labels != 0)


@pytest.mark.parametrize("label", [1, 2, 3])
def test_a_label_picks_its_voxels(tmp_path, labels, label):
    path = save(tmp_path / "a.nii", labels, GRID.affine)

    _, inside = read_mask(path, label=label)

    assert_array_equal(inside, labels == label)


@pytest.mark.parametrize("codes", ["LAS", "LPS", "RAI", "PSR", "SAL"])
def test_a_mask_stored_in_another_orientation_covers_the_same_points(tmp_path, labels, codes):
    straight = nib.Nifti1Image(labels, GRID.affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(GRID.affine), nib.orientations.axcodes2ornt(codes)
    )
    stored = straight.as_reoriented(turn)
    nib.save(stored, tmp_path / "a.nii.gz")
    assert "".join(nib.aff2axcodes(nib.load(tmp_path / "a.nii.gz").affine)) == codes

    grid, inside = read_mask(tmp_path / "a.nii.gz", label=2)

    assert_allclose(grid.origin_mm, GRID.origin_mm, atol=1e-5)
    assert_allclose(grid.voxel_mm, GRID.voxel_mm, rtol=1e-6)
    assert_array_equal(inside, labels == 2)


def test_a_mask_scaled_in_its_header_is_read_in_true_values(tmp_path, labels):
    image = nib.Nifti1Image(labels.astype(np.int16), GRID.affine)
    image.header.set_slope_inter(2.0, 0.0)
    nib.save(image, tmp_path / "a.nii")

    stored = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    _, inside = read_mask(tmp_path / "a.nii", label=2)

    assert_array_equal(inside, stored == 2)


@pytest.mark.parametrize("degrees", [1.0, 30.0, -45.0])
def test_a_turned_mask_is_refused(tmp_path, labels, degrees):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = save(tmp_path / "a.nii", labels, turn @ GRID.affine)

    with pytest.raises(
        FileError, match=r"a\.nii: its axes are turned against the scanner's; resample it along"
    ):
        read_mask(path)


@pytest.mark.parametrize(("shape", "n"), [((3, 4, 5, 2), 4), ((3, 4), 2)])
def test_a_mask_of_other_than_three_axes_is_refused(tmp_path, shape, n):
    path = save(tmp_path / "a.nii", np.ones(shape, np.uint8), GRID.affine)

    with pytest.raises(FileError, match=rf"a\.nii: has {n} axes, expected a mask of three"):
        read_mask(path)


def test_a_missing_mask_is_an_error(tmp_path):
    with pytest.raises(FileError, match=r"none\.nii: no such file; check the path"):
        read_mask(tmp_path / "none.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.csv"])
def test_a_file_that_is_no_image_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"x,y,z\n1,2,3\n" * 100)

    with pytest.raises(FileError, match=rf"{name}: not a readable NIfTI image \("):
        read_mask(tmp_path / name)


def damage(content, kind):
    content = bytearray(content)
    if kind == "truncated":
        return content[: len(content) // 2]
    if kind == "type":
        content[70:72] = b"\x99\x99"
    else:
        content[2000:2100] = bytes(100)
    return content


@pytest.mark.parametrize(
    ("name", "kind"), [("a.nii", "truncated"), ("a.nii", "type"), ("a.nii.gz", "flipped")]
)
def test_a_damaged_image_is_an_error_of_one_line(tmp_path, name, kind, caplog):
    data = np.random.default_rng(0).integers(0, 255, (30, 30, 30)).astype(np.uint8)
    path = save(tmp_path / name, data, GRID.affine)
    path.write_bytes(damage(path.read_bytes(), kind))

    with pytest.raises(FileError, match=rf"{name}: not a readable NIfTI image \(") as caught:
        read_mask(path)

    assert "\n" not in str(caught.value)


def test_an_image_of_any_orientation_is_read_with_its_affine(tmp_path, image):
    affine = np.array([[0, -2.0, 0.3, 5], [3.0, 0, 0, -7], [0, 0.2, 4.0, 9], [0, 0, 0, 1]])
    image[1, 2, 3] = np.nan
    path = save(tmp_path / "a.nii.gz", image.astype(np.float32), affine)

    values, found = read_image_affine(path)

    assert values.dtype == found.dtype == np.float64
    assert_array_equal(values, image.astype(np.float32))
    assert_allclose(found, affine, rtol=1e-6)


@pytest.mark.parametrize("more", [(1,), (1, 1)])
def test_one_frame_is_an_image(tmp_path, image, more):
    path = save(tmp_path / "a.nii", image.reshape(*GRID.shape, *more), GRID.affine)

    values, _ = read_image_affine(path)

    assert_array_equal(values, image)


def test_integers_are_read_in_true_values(tmp_path, labels):
    stored = nib.Nifti1Image(labels.astype(np.int16), GRID.affine)
    stored.header.set_slope_inter(0.5, -3.0)
    nib.save(stored, tmp_path / "a.nii")

    values, _ = read_image_affine(tmp_path / "a.nii")

    assert_allclose(values, np.asarray(nib.load(tmp_path / "a.nii").dataobj))


@pytest.mark.parametrize(
    ("data", "affine", "message"),
    [
        (np.ones((3, 4, 5, 2), np.uint8), GRID.affine, "has 2 frames, expected one image; extract"),
        (np.ones((3, 4), np.uint8), GRID.affine, "has shape 3 x 4, expected an image of three"),
        (np.ones((3, 4, 5), np.complex64), GRID.affine, "its voxels are complex64, expected real"),
        (np.ones((3, 4, 5), np.uint8), np.full((4, 4), np.nan), "its affine does not say where"),
        (np.ones((3, 4, 5), np.uint8), np.diag([1.0, 0, 1, 1]), "its affine does not say where"),
    ],
)
def test_an_image_that_cannot_be_placed_is_an_error(tmp_path, data, affine, message):
    # Byte for byte: nibabel refuses to write what it reads.
    header = nib.Nifti1Image(data, GRID.affine).header
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    header["sform_code"], header["vox_offset"], header["magic"] = 1, 352, b"n+1"
    content = header.binaryblock + bytes(4) + data.tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(content)

    with pytest.raises(FileError, match=rf"a\.nii: {message}"):
        read_image_affine(tmp_path / "a.nii")


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(FileError, match=r"none\.nii: no such file; check the path"):
        read_image_affine(tmp_path / "none.nii")


@pytest.mark.parametrize(
    ("name", "kind"), [("a.nii", "truncated"), ("a.nii", "type"), ("a.nii.gz", "flipped")]
)
def test_a_damaged_image_has_no_values(tmp_path, name, kind):
    data = np.random.default_rng(0).integers(0, 255, (30, 30, 30)).astype(np.uint8)
    path = save(tmp_path / name, data, GRID.affine)
    path.write_bytes(damage(path.read_bytes(), kind))

    with pytest.raises(FileError, match=rf"{name}: not a readable NIfTI image \("):
        read_image_affine(path)
