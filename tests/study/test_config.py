import math

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core.errors import FileError, SettingsError
from psimg.core.isotopes import ISOTOPES
from psimg.core.regions import Mask, Sphere
from psimg.core.scanner import SCANNERS
from psimg.events.select import SelectOptions
from psimg.events.signal import TOT
from psimg.io import ColumnSpec
from psimg.study import read_study

INPUT = '[input]\nfiles = ["events.csv"]\n'
SPHERE = """
[[regions]]
name = "liver"
shape = "sphere"
centre_mm = [0, 0, 0]
radius_mm = 5
"""


@pytest.fixture
def study_of(tmp_path):
    """Write a study file and read it."""

    def read(text, *, head=INPUT):
        path = tmp_path / "study.toml"
        path.write_text(head + text)
        return read_study(path)

    return read


@pytest.fixture
def mask_file(tmp_path):
    """A mask of two labels in the folder of the study."""
    data = np.zeros((4, 4, 4), np.uint8)
    data[1:3, 1:3, 1:3] = 1
    data[2, 2, 2] = 2
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -6.0
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "organs.nii.gz")
    return tmp_path / "organs.nii.gz"


# What is read


def test_only_the_input_files_must_be_given(study_of, tmp_path):
    study = study_of("")

    assert study.files == (tmp_path / "events.csv",)
    assert study.directory == tmp_path / "results"
    assert study.grid.shape == (32, 32, 32)
    assert_allclose(study.grid.low_mm, -128.0)
    assert study.scanner is None
    assert study.object is None
    assert study.regions == ()
    assert study.settings.select.annihilation_kev == SelectOptions().annihilation_kev
    assert study.settings.output.formats == ("nifti", "root", "npz", "report")
    assert len(study.settings.spectrum.edges_ns) == 301


@pytest.mark.parametrize("name", ISOTOPES)
def test_the_isotope_fills_the_windows(study_of, name):
    select = study_of(f'[study]\nisotope = "{name}"\n').settings.select

    assert select.annihilation_kev == ISOTOPES[name].annihilation_window_kev
    assert select.prompt_kev == ISOTOPES[name].prompt_window_kev


def test_explicit_windows_go_before_those_of_the_isotope(study_of):
    select = study_of(
        '[study]\nisotope = "I-124"\n[select]\nprompt_kev = [590, 620]\npair_window_ns = 3.0\n'
    ).settings.select

    assert select.prompt_kev == (590.0, 620.0)
    assert select.annihilation_kev == ISOTOPES["I-124"].annihilation_window_kev
    assert select.pair_window_ns == 3.0


def test_paths_are_relative_to_the_study_file(tmp_path, mask_file, monkeypatch):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(
        '[input]\nfiles = ["../data/a.csv"]\n[output]\ndirectory = "../out"\n'
        '[[regions]]\nname = "m"\nshape = "mask"\nfile = "../../organs.nii.gz"\n'
    )
    monkeypatch.chdir(tmp_path)

    study = read_study("deep/er/study.toml")

    assert [file.resolve() for file in study.files] == [tmp_path / "deep" / "data" / "a.csv"]
    assert study.directory.resolve() == tmp_path / "deep" / "out"
    assert study.regions[0].name == "m"


def test_patterns_expand_in_sorted_order(study_of, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("b2.csv", "a10.csv", "b1.csv", "c.root"):
        (tmp_path / "data" / name).touch()

    study = study_of("", head='[input]\nfiles = ["data/c.root", "data/*.csv"]\n')

    names = [file.name for file in study.files]
    assert names == ["c.root", "a10.csv", "b1.csv", "b2.csv"]


def test_a_pattern_may_go_down_folders(study_of, tmp_path):
    for folder in ("x", "x/y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").touch()

    study = study_of("", head='[input]\nfiles = ["x/**/*.csv"]\n')

    assert len(study.files) == 2


def test_a_name_that_exists_is_never_a_pattern(study_of, tmp_path):
    (tmp_path / "run[1].csv").touch()
    (tmp_path / "run1.csv").touch()

    study = study_of("", head='[input]\nfiles = ["run[1].csv"]\n')

    assert [file.name for file in study.files] == ["run[1].csv"]


def test_columns_are_given_by_name_or_by_name_and_unit(study_of):
    study = study_of('[input.columns]\ndt = { name = "tau", unit = "ps" }\nx = "px"\n')

    assert study.settings.input.columns == {"dt": ColumnSpec(name="tau", unit="ps"), "x": "px"}


def test_the_axis_map_of_quadra_is_a_setting(study_of):
    study = study_of('axes = ["+c0", "-c2", "-c1"]\n')

    assert study.settings.input.axes == ("+c0", "-c2", "-c1")


def test_the_extent_is_covered_by_whole_voxels(study_of):
    grid = study_of("[grid]\nvoxel_mm = 3.0\nextent_mm = [9, 10, 0.1]\ncentre_mm = [1, 2, 3]").grid

    assert grid.shape == (3, 4, 1)
    assert_allclose(0.5 * (grid.low_mm + grid.high_mm), [1, 2, 3])


def test_an_extent_of_whole_voxels_gets_no_extra_one(study_of):
    assert study_of("[grid]\nvoxel_mm = 0.1\nextent_mm = [24, 0.3, 0.7]").grid.shape == (240, 3, 7)


def test_voxels_may_be_no_cubes(study_of):
    grid = study_of("[grid]\nvoxel_mm = [1, 2, 3]\nshape = [4, 5, 6]").grid

    assert grid.voxel_mm == (1.0, 2.0, 3.0)
    assert grid.shape == (4, 5, 6)


def test_a_preset_is_the_scanner_with_own_figures_on_top(study_of):
    study = study_of('[scanner]\npreset = "vision-quadra"\ncrt_ns = 0.3\n')

    assert study.scanner.crt_ns == 0.3
    assert study.scanner.radius_mm == SCANNERS["vision-quadra"].radius_mm


def test_a_scanner_of_own_figures_needs_no_preset(study_of):
    scanner = study_of("[scanner]\ncrt_ns = 0.5\nradius_mm = 300\nlength_mm = 400\n").scanner

    assert (scanner.crt_ns, scanner.radius_mm, scanner.length_mm) == (0.5, 300.0, 400.0)
    assert scanner.energy_fwhm is None


def test_regions_of_every_shape_are_loaded(study_of, mask_file):
    study = study_of(
        SPHERE
        + """
[[regions]]
name = "tube"
shape = "cylinder"
centre_mm = [0, 0, 0]
radius_mm = 5
half_length_mm = 10
[[regions]]
name = "brick"
shape = "box"
centre_mm = [0, 0, 0]
half_length_mm = [1, 2, 3]
[[regions]]
name = "organ"
shape = "mask"
file = "organs.nii.gz"
label = 2
"""
    )

    assert [region.name for region in study.regions] == ["liver", "tube", "brick", "organ"]
    point = np.array([[2.0, 2.0, 2.0]])  # the middle of voxel (2, 2, 2)
    assert isinstance(study.regions[0], Sphere)
    assert [bool(r.contains(point)[0]) for r in study.regions] == [True, True, False, True]
    assert isinstance(study.regions[3], Mask)
    assert np.count_nonzero(study.regions[3].inside) == 1


def test_the_object_is_the_region_it_names(study_of):
    study = study_of('[select]\nobject = "liver"\n' + SPHERE)

    assert study.object is study.regions[0]


def test_a_byte_order_mark_before_the_study_is_passed_over(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + INPUT.encode())

    assert len(read_study(path).files) == 1


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[slect]\n", r"unknown key slect; did you mean 'select'\?$"),
        ("[grid]\nvoxel = 3", r"unknown key grid\.voxel; did you mean 'voxel_mm'\?$"),
        (
            "[select]\nprompt_kve = [1, 2]",
            r"unknown key select\.prompt_kve; did you mean 'prompt_k",
        ),
        ("fils = []", r"unknown key input\.fils; did you mean 'files'\?$"),
        ("[study]\nzzzz = 1", r"unknown key study\.zzzz; known keys are isotope, name$"),
        (
            "[fit]\nminimum_counts = 1",
            r"unknown key fit\.minimum_counts; did you mean 'min_counts'",
        ),
        ("[model.response]\nsigma = 1", r"unknown key model\.response\.sigma; .* 'sigma_ns'\?$"),
        (
            '[[model.components]]\nname = "ops"\ntau = 1.0',
            r"unknown key model\.components\.0\.tau; did you mean 'tau_ns'\?$",
        ),
        (
            '[input.columns]\ntime = { name = "t", units = "s" }',
            r"unknown key input\.columns\.time\.units; did you mean 'unit'\?$",
        ),
        (SPHERE + "radus_mm = 1", r"unknown key regions\.0\.radus_mm; did you mean 'radius_mm'\?$"),
        (
            '[[regions]]\nname = "a"\nshape = "mask"\nfiles = "x.nii"',
            r"unknown key regions\.0\.files; did you mean 'file'\?$",
        ),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(study_of, text, message):
    with pytest.raises(SettingsError, match=r"study\.toml: " + message):
        study_of(text)


def test_a_misspelt_key_is_named_before_other_errors(study_of):
    with pytest.raises(SettingsError, match="did you mean 'min_counts'"):
        study_of('[fit]\nmax_iter = "many"\nmin_count = 3\n')


def test_windows_on_time_over_threshold_stand_beside_an_isotope(study_of):
    study = study_of(
        '[study]\nisotope = "Na-22"\n[select]\n'
        "annihilation_tot_ns = [10, 25]\nprompt_tot_ns = [30, inf]\n"
    )

    signal = study.settings.select.signal
    assert signal.signal is TOT
    assert (signal.annihilation, signal.prompt) == ((10.0, 25.0), (30.0, math.inf))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[select]\nprompt_kev = [900, 700]", r"select: prompt_kev = \[900, 700\]: .*low end"),
        ("[select]\nannihilation_kev = [600, 600]", r"annihilation_kev = \[600, 600\]: .*low end"),
        ("[select]\nprompt_window_ns = [5, -5]", r"prompt_window_ns = \[5, -5\]: .*low end"),
        ("[select]\nprompt_kev = [-inf, 900]", r"prompt_kev = \[-inf, 900\] is not finite"),
        (
            "[select]\nprompt_tot_ns = [30, 50]",
            r"select: annihilation_tot_ns and prompt_tot_ns go together; give both or neither",
        ),
        (
            "[select]\nprompt_kev = [700, 900]\nprompt_tot_ns = [30, 50]",
            r"select\.prompt_kev and select\.prompt_tot_ns: photons are told apart by energy or",
        ),
        ("[select]\nprompt_kev = [500, 900]", r"annihilation_kev and prompt_kev overlap from 500"),
        ("[select]\npair_window_ns = 0", r"select: pair_window_ns = 0: expected a number above"),
        ("[select]\nmin_pair_distance_mm = -1", r"min_pair_distance_mm = -1 is negative"),
        ("[select]\ndelays_ns = [10]", r"delays_ns holds 10 ns, not longer than the prompt window"),
        ("[spectrum]\nstart_ns = 5\nstop_ns = 1", r"start_ns, stop_ns = \[5, 1\]: .*low end"),
        ("[spectrum]\nstep_ns = 0.7", r"spectrum: step_ns = 0\.7 does not divide the range -10 to"),
        ("[spectrum]\nstep_ns = 0", r"spectrum: step_ns = 0: expected a number above zero"),
        ("[grid]\nvoxel_mm = -1", r"grid: voxel_mm = -1: expected a number above zero"),
        ("[grid]\nvoxel_mm = nan", r"grid: voxel_mm = nan: expected a number above zero"),
        ("[grid]\nshape = [4, 4, 0]", r"grid: .*shape \[4, 4, 0\]: expected at least one voxel"),
        ("[grid]\nextent_mm = [0, 1, 1]", r"grid: extent_mm = 0: expected a number above zero"),
        ("[grid]\ncentre_mm = [nan, 0, 0]", r"grid: grid origin \[nan, .* is not finite"),
        (
            "[grid]\nshape = [4, 4, 4]\nextent_mm = [9, 9, 9]",
            r"grid: give shape or extent_mm, not both",
        ),
        (
            '[study]\nisotope = "Sc44"',
            r"study: isotope = 'Sc44' is not known; use one of Sc-44, .*, or leave it out",
        ),
        (
            '[scanner]\npreset = "quadra"',
            r"scanner: preset = 'quadra' is not known; use one of vision-quadra, neuroexplorer",
        ),
        ("[scanner]\ncrt_ns = 0.2", r"scanner: without a preset, give radius_mm, length_mm too"),
        ('[scanner]\npreset = "pennpet"\ncrt_ns = -1', r"scanner: crt_ns = -1: expected a number"),
        ("[fit]\nmin_counts = 0", r"fit: min_counts = 0: expected 1 or more"),
        ("max_disorder_ns = -1", r"input: max_disorder_ns = -1 is negative"),
        (
            'axes = ["c0", "c0", "c1"]',
            r"input\.axes = \['c0', 'c0', 'c1'\]: expected c0, c1 and c2",
        ),
        (SPHERE.replace("liver", "a;1"), r"region name 'a;1': expected a name without slash"),
        (
            '[model]\nbackground = "delayed"',
            r"model.background = 'delayed' needs delayed windows and there are none; set ",
        ),
        (SPHERE.replace("liver", "a/b"), r"region name 'a/b': expected a name without slash"),
        (SPHERE.replace("liver", " "), r"region name ' ': expected a name without slash"),
        (SPHERE + SPHERE, r"two regions are named 'liver'; give each its own name"),
        (
            '[select]\nobject = "lver"\n' + SPHERE,
            r"select\.object = 'lver' is no region; there are liver$",
        ),
        ('[select]\nobject = "liver"', r"select\.object = 'liver' is no region; there are none$"),
        (
            '[select]\nlor_through = "lver"\n' + SPHERE,
            r"select\.lor_through = 'lver' is no region; there are liver$",
        ),
        (
            "[select]\nmin_prompt_crystals = 2",
            r"select\.min_prompt_crystals needs .* in a ring; set scanner\.crystals_around$",
        ),
        (
            '[scanner]\npreset = "pennpet"\ncrystals_around = 0',
            r"scanner: crystals_around = 0: expected a number above zero",
        ),
        ("[select]\nmin_opening_deg = 181", r"min_opening_deg = 181: two directions are at most"),
        (
            SPHERE.replace("= 5", "= -5"),
            r"regions\.0: radius_mm = -5: expected a number above zero",
        ),
    ],
)
def test_a_setting_out_of_its_range_is_an_error_that_names_it(study_of, text, message):
    with pytest.raises(SettingsError, match=r"study\.toml: .*" + message):
        study_of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[grid]\nvoxel_mm = "big"', r"grid\.voxel_mm = 'big': .*valid number"),
        ("[grid]\nshape = [1, 1.5, 1]", r"grid\.shape\.1 = 1\.5: .*valid integer"),
        ("[grid]\nshape = [1, 1]", r"grid\.shape = \[1, 1\]: holds too few values"),
        (
            "[select]\nprompt_kev = 700",
            r"select\.prompt_kev = 700: input should be a list of values",
        ),
        ("[select]\nprompt_kev = [700]", r"select\.prompt_kev = \[700\]: holds too few values"),
        ("[study]\nisotope = 44", r"study\.isotope = 44: input should be a valid string"),
        ("[output]\ndirectory = 3", r"output\.directory = 3: input should be a valid string"),
        (
            '[output]\nformats = "nifti"',
            r"output\.formats = 'nifti': input should be a list of val",
        ),
        (
            '[output]\nformats = ["nifit"]',
            r"output\.formats\.0 = 'nifit': .*'nifti', 'root', 'npz'",
        ),
        ('[recon]\nmethod = "fbp"', r"recon\.method = 'fbp': input should be 'histogram', 'mlem'"),
        (
            '[model]\nbackground = "none"',
            r"model\.background = 'none': .*'flat', 'delayed', 'four-set' or 'template'",
        ),
        (
            'format = "cvs"',
            r"input\.format = 'cvs': .*'quadra-xyzt', 'gate9', 'root', 'csv' or 'np",
        ),
        ('content = "hits"', r"input\.content = 'hits': .*'singles', 'triplets' or 'events'"),
        ('axes = ["c0", "c1"]', r"input\.axes = \['c0', 'c1'\]: holds too few values"),
        ("[input.columns]\ntime = 3", r"input\.columns\.time = 3: expected a table of settings"),
        ("[[study]]\nname = 'x'", r"study = \[\{'name': 'x'\}\]: expected a table of settings"),
        (SPHERE.replace("sphere", "ball"), r"regions\.0\.shape: expected one of sphere, cylinder,"),
        (
            SPHERE.replace('shape = "sphere"', ""),
            r"regions\.0\.shape: expected one of sphere, cyli",
        ),
        (SPHERE.replace("radius_mm = 5", ""), r"regions\.0\.radius_mm is missing; add it"),
        (SPHERE.replace("[0, 0, 0]", "[0, 0]"), r"regions\.0\.centre_mm = \[0, 0\]: holds too few"),
        (SPHERE.replace("= 5", '= "five"'), r"regions\.0\.radius_mm = 'five': .*valid number"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_names_its_key(study_of, text, message):
    with pytest.raises(SettingsError, match=r"study\.toml: " + message):
        study_of(text)


@pytest.mark.parametrize("head", ["study = 3\n", "regions = 3\n", "grid = []\n"])
def test_a_section_that_is_no_table_is_an_error_that_names_it(study_of, head):
    with pytest.raises(SettingsError, match=rf"study\.toml: {head.split()[0]} = .*: "):
        study_of("", head=head + INPUT)


@pytest.mark.parametrize(
    ("head", "error", "message"),
    [
        ("", SettingsError, r"input is missing; add it"),
        ("[input]\n", SettingsError, r"input\.files is missing; add it"),
        ("[input]\nfiles = []", SettingsError, r"input\.files is empty; name at least one file"),
        ('[input]\nfiles = "a.csv"', SettingsError, r"input\.files = 'a\.csv': .*a list of values"),
        ("[input]\nfiles = [3]", SettingsError, r"input\.files\.0 = 3: .*valid string"),
        (
            '[input]\nfiles = ["no*.csv"]',
            FileError,
            r".*no\*\.csv: no file matches; check input\.f",
        ),
        (
            '[input]\nfiles = ["a.csv", "a.csv"]',
            SettingsError,
            r"input\.files names .*a\.csv more than once",
        ),
    ],
)
def test_input_files_that_are_not_there_are_an_error(study_of, head, error, message):
    with pytest.raises(error, match=r"study\.toml: " + message):
        study_of("", head=head)


def test_a_file_matched_by_two_patterns_is_an_error(study_of, tmp_path):
    (tmp_path / "a.csv").touch()

    with pytest.raises(SettingsError, match=r"input\.files names .*a\.csv more than once"):
        study_of("", head='[input]\nfiles = ["*.csv", "a*"]\n')


@pytest.mark.parametrize(
    "centre", ["[200, 0, 0]", "[0, -133, 0]", "[0, 0, 133]", "[nan, 0, 0]", "[0, 0, inf]"]
)
def test_a_region_outside_the_grid_is_an_error_with_both_boxes(study_of, centre):
    with pytest.raises(
        SettingsError,
        match=r"region 'liver' spans .* mm and lies outside the grid, which spans -128 to 128, "
        r"-128 to 128, -128 to 128 mm; move it, or enlarge \[grid\]",
    ):
        study_of(SPHERE.replace("[0, 0, 0]", centre))


def test_a_region_partly_in_the_grid_is_none(study_of):
    assert len(study_of(SPHERE.replace("[0, 0, 0]", "[132, 0, 0]")).regions) == 1


def test_a_mask_outside_the_grid_is_an_error(study_of, mask_file):
    with pytest.raises(SettingsError, match=r"region 'm' spans -4 to 4, -4 to 4, -4 to 4 mm and"):
        study_of(
            "[grid]\nshape = [2, 2, 2]\ncentre_mm = [50, 0, 0]\n"
            '[[regions]]\nname = "m"\nshape = "mask"\nfile = "organs.nii.gz"\n'
        )


MASK = '[[regions]]\nname = "m"\nshape = "mask"\nfile = "{}"\n'


def test_a_missing_mask_file_is_an_error_that_names_it(study_of):
    with pytest.raises(FileError, match=r"none\.nii: no such file; check the path"):
        study_of(MASK.format("none.nii"))


def test_a_mask_file_that_is_no_image_is_an_error(study_of, tmp_path):
    (tmp_path / "a.nii").write_text("no image")

    with pytest.raises(FileError, match=r"a\.nii: not a readable NIfTI image"):
        study_of(MASK.format("a.nii"))


def test_an_absent_label_is_an_error_that_names_it(study_of, mask_file):
    with pytest.raises(
        SettingsError, match=r"region 'm': no voxel of .*organs\.nii\.gz is equal to 7"
    ):
        study_of(MASK.format("organs.nii.gz") + "label = 7\n")


def test_a_mask_without_voxels_is_an_error(study_of, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "zero.nii")

    with pytest.raises(SettingsError, match=r"region 'm': no voxel of .*zero\.nii is set"):
        study_of(MASK.format("zero.nii"))


def test_text_that_is_no_toml_is_an_error_with_its_line(study_of):
    with pytest.raises(FileError, match=r"study\.toml: not TOML: .*line 3"):
        study_of("[grid\n")


def test_bytes_that_are_no_text_are_no_study(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(FileError, match=r"study\.toml: cannot be read \('utf-8'"):
        read_study(tmp_path / "study.toml")


def test_a_missing_study_is_an_error_that_says_how_to_get_one(tmp_path):
    with pytest.raises(FileError, match=r"study\.toml: no such study file; 'psimg inspect FILE --"):
        read_study(tmp_path / "study.toml")


def test_a_directory_is_no_study(tmp_path):
    with pytest.raises(FileError, match=r"cannot be read \(.*Is a directory"):
        read_study(tmp_path)


def test_every_error_of_a_study_is_one_line(study_of):
    with pytest.raises(SettingsError) as caught:
        study_of('[grid]\nvoxel_mm = "big"\nshape = "x"\n[fit]\nmin_counts = []\n')

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ('multiples = "first"', "select.multiples"),
        ("secondary_ns = 2.0", "select.secondary_ns"),
        ("exactly_three = true", "select.exactly_three"),
    ],
)
def test_rules_about_neighbours_do_not_go_with_delayed_backgrounds(tmp_path, rule, name):
    path = tmp_path / "study.toml"
    (tmp_path / "events.csv").touch()
    text = f'[input]\nfiles = ["events.csv"]\n[select]\ndelays_ns = [200.0]\n{rule}\n'
    path.write_text(text + '[model]\nbackground = "delayed"\n')

    with pytest.raises(SettingsError, match=f"{name} with model.background = 'delayed'"):
        read_study(path)
    path.write_text(text)
    assert read_study(path).settings.model.background == "flat"
