import errno
import json
import logging
import shutil
from collections import namedtuple
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import FileError, SettingsError
from psimg.core.isotopes import find_isotope
from psimg.io import open_input
from psimg.simulate import Detector, detector, detectors
from psimg.study import read_simulation, read_study, run_and_write, run_simulation
from psimg.study.simulation_rows import measure_size
from psimg.study.simulation_study import windows_of

ROOT = Path(__file__).parents[2]

HEAD = """
[simulation]
name = "test"
isotope = "Sc-44"
duration_s = 0.0002
activity_mbq = 20.0
"""
SCANNER = """
[scanner]
inner_radius_mm = 410.0
thickness_mm = 20.0
length_mm = 1060.0
crystals_around = 760
crystals_along = 320
crt_ns = 0.228
energy_fwhm = 0.1
"""
BALL = """
[[regions]]
name = "ball"
shape = "sphere"
centre_mm = [0.0, 0.0, 0.0]
radius_mm = 50.0
activity_mbq = 3.0
"""
PLASTIC = """
[scanner]
material = "plastic-scintillator"
inner_radius_mm = 380.0
thickness_mm = 25.0
length_mm = 500.0
crystals_around = 312
crt_ns = 0.5
energy_fwhm = 0.2
threshold_kev = 50.0
tot_ns = [-80.0, 16.0, 60.0, 0.0]
"""


def write_spec(folder, *parts, head=HEAD, scanner=SCANNER):
    path = folder / "sim.toml"
    path.write_text(head + scanner + "".join(parts))
    return path


def write_image(path, values, *, size=4.0, origin=-20.0):
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), affine), path)


def test_a_simulation_writes_singles_truth_and_what_they_are(tmp_path):
    simulation = read_simulation(write_spec(tmp_path, BALL))

    result = run_simulation(simulation)

    singles = next(open_input(tmp_path / "singles.root").chunks()).value
    with uproot.open(tmp_path / "truth.root") as file:
        truth = file["Decays"].arrays(library="np")
    summary = json.loads((tmp_path / "singles.json").read_text())
    assert result.n_singles == len(singles) == summary["n_singles"]
    assert result.n_decays == len(truth["number"]) == summary["n_decays"]
    assert abs(result.n_decays - result.expected_decays) < 5 * np.sqrt(result.expected_decays)
    assert_array_equal(truth["number"], np.arange(result.n_decays))
    assert set(singles.decay) <= set(truth["number"])
    assert np.all(np.diff(singles.time_ns) >= 0)
    region = summary["regions"][0]
    assert (region["number"], region["name"]) == (0, "ball")
    assert [channel["name"] for channel in region["channels"]] == ["pps", "direct", "ops"]
    assert [channel["share"] for channel in region["channels"]] == [0.1, 0.6, 0.3]
    ops = (truth["region"] == 0) & (truth["channel"] == 2)
    mean = truth["life_ns"][ops].mean()
    assert abs(mean - region["channels"][2]["tau_ns"]) < 5 * 1.83 / np.sqrt(ops.sum())
    assert np.isnan(truth["life_ns"][truth["channel"] == 254]).all()
    assert summary["settings"]["physics"]["acollinearity_fwhm_deg"] == 0.5
    assert summary["activities_mbq"] == {"ball": 20.0}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "sim.toml", "singles.json", "singles.root", "truth.root",
    ]  # fmt: skip


@pytest.mark.parametrize("preset", detectors())
def test_every_preset_simulates_and_its_study_is_one_psimg_takes(tmp_path, preset):
    scanner = f'[scanner]\npreset = "{preset}"\n'
    path = write_spec(tmp_path, BALL, '[output]\nstudy = "study.toml"\n', scanner=scanner)

    result = run_simulation(read_simulation(path, duration_s=1e-5))

    assert result.n_singles > 0
    assert read_study(tmp_path / "study.toml").scanner.radius_mm > 200.0


@pytest.mark.parametrize("ending", ["root", "csv", "npz"])
@pytest.mark.parametrize("scanner", [SCANNER, PLASTIC])
def test_every_format_holds_the_same_singles(tmp_path, ending, scanner):
    output = f'[output]\nsingles = "out/s.{ending}"\ntruth = "out/t.{ending}"\n'
    simulation = read_simulation(write_spec(tmp_path, BALL, output, scanner=scanner))

    result = run_simulation(simulation, threads=1)

    value = next(open_input(tmp_path / "out" / f"s.{ending}").chunks()).value
    assert len(value) == result.n_singles
    assert (value.tot_ns is None) == (scanner is SCANNER)
    assert value.detector is not None
    assert value.decay.max() < result.n_decays
    radius = np.hypot(value.position_mm[:, 0], value.position_mm[:, 1])
    assert_allclose(radius, simulation.acquisition.detector.placed_radius_mm, atol=2e-3)
    if ending == "root":
        assert open_input(tmp_path / "out" / "s.root").format == (
            "gate9" if scanner is SCANNER else "root"
        )


def test_the_seed_and_not_the_threads_makes_the_numbers(tmp_path):
    path = write_spec(tmp_path, BALL, '[output]\nsingles = "s.npz"\ntruth = false\n')

    def times(seed, threads):
        run_simulation(read_simulation(path, seed=seed), overwrite=True, threads=threads)
        with np.load(tmp_path / "s.npz") as file:
            return file["time_ns"]

    first = times(5, 1)

    assert_array_equal(times(5, 2), first)
    assert len(times(6, 2)) != len(first) or np.any(times(6, 2) != first)
    assert not (tmp_path / "truth.root").exists()


def test_the_study_that_comes_with_it_runs(tmp_path):
    parts = (
        BALL,
        '[[regions]]\nname = "insert"\ncentre_mm = [20.0, 0.0, 0.0]\nshape = "cylinder"\n'
        "radius_mm = 15.0\nhalf_length_mm = 20.0\nactivity_kbq_ml = 100.0\ntau_ops_ns = 2.6\n",
        '[[points]]\nname = "point"\nposition_mm = [0.0, -30.0, 0.0]\nactivity_mbq = 1.0\n',
        '[output]\nstudy = "studies/study.toml"\n',
    )
    path = write_spec(tmp_path, *parts)
    result = run_simulation(read_simulation(path, duration_s=0.01))

    study = read_study(tmp_path / "studies" / "study.toml")
    measured = run_and_write(study)

    assert study.settings.study.isotope == "Sc-44"
    assert [fit.name for fit in measured.regions] == ["phantom", "ball", "insert", "point"]
    assert measured.counts["n_singles"] == result.n_singles
    assert measured.counts["n_true_triplets"] > 1000
    fit = measured.regions[0]
    assert abs(fit.tau_ops_ns - 2.0) < 5 * fit.tau_ops_error_ns


def test_windows_of_plastic_are_about_the_compton_edges():
    plastic = Detector(
        material="plastic-scintillator", inner_radius_mm=380.0, thickness_mm=25.0, length_mm=500.0,
        crystals_around=312, crt_ns=0.5, energy_fwhm=0.1, tot_ns=(-80.0, 16.0, 60.0, 0.0),
    )  # fmt: skip

    annihilation, prompt, unit = windows_of(plastic, find_isotope("Sc-44"))

    edges = plastic.time_over_threshold(np.array([511.0 * 2 / 3, 1157.0 * 0.8191]))
    assert unit == "tot_ns"
    assert annihilation[0] < edges[0] < annihilation[1] < prompt[0] < edges[1] < prompt[1]


def test_the_window_of_prompts_takes_in_the_end_of_the_scale():
    lso = Detector(
        inner_radius_mm=380.0, thickness_mm=25.0, length_mm=500.0, crystals_around=312, crt_ns=0.5,
        energy_fwhm=0.1, saturation_kev=690.0,
    )  # fmt: skip

    assert windows_of(lso, find_isotope("Sc-44"))[1] == (pytest.approx(689.31), np.inf)


def test_a_preset_gives_what_the_section_does_not_say(tmp_path, monkeypatch):
    ring = Detector(
        name="ring", inner_radius_mm=410.0, thickness_mm=20.0, length_mm=1060.0,
        crystals_around=760, crt_ns=0.228, energy_fwhm=0.1,
    )  # fmt: skip
    monkeypatch.setattr(detector, "detectors", lambda: {"ring": ring})
    scanner = '[scanner]\npreset = "ring"\nlength_mm = 500.0\n'

    found = read_simulation(write_spec(tmp_path, BALL, scanner=scanner)).acquisition.detector

    assert (found.name, found.length_mm, found.inner_radius_mm) == ("ring", 500.0, 410.0)
    path = write_spec(tmp_path, BALL, scanner='[scanner]\npreset = "rign"\n')
    with pytest.raises(SettingsError, match=r"scanner 'rign' is not known; did you mean 'ring'\?"):
        read_simulation(path)


def test_offsets_come_as_a_list_or_a_file(tmp_path):
    offsets = np.arange(243_200) * 1e-6
    np.savetxt(tmp_path / "offsets.txt", offsets)
    path = write_spec(tmp_path, BALL, scanner=SCANNER + 'offset_ns = "offsets.txt"\n')

    assert_allclose(read_simulation(path).acquisition.detector.offset_ns, offsets)
    with pytest.raises(SettingsError, match="offset_ns has 2 offsets, and the detector 243200"):
        read_simulation(write_spec(tmp_path, BALL, scanner=SCANNER + "offset_ns = [0.0, 1.0]\n"))


def test_the_nema_phantom_has_lifetimes_of_its_own_in_each_sphere(tmp_path):
    spec = (
        '[phantom]\npreset = "nema-iq"\nsphere_kbq_ml = 20.0\nbackground_kbq_ml = 5.0\n'
        "tau_ops_ns = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]\nshare_ops = 0.24\nbackground_tau_ops_ns = 2\n"
    )

    phantom = read_simulation(write_spec(tmp_path, spec)).acquisition.phantom

    taus = {region.name: region.channels[-1].tau_ns for region in phantom.regions}
    assert taus["sphere_10mm"] == 1.1
    assert taus["sphere_37mm"] == 1.6
    assert taus["body"] == 2.0
    assert phantom.regions[-1].channels[0].share == pytest.approx(0.08)


def test_regions_lie_upon_a_preset_and_the_log_says_what_they_displace(tmp_path, caplog):
    cylinder = '[phantom]\npreset = "cylinder"\nradius_mm = 90.0\nreference = "quartz"\n'

    with caplog.at_level(logging.INFO, "psimg"):
        phantom = read_simulation(write_spec(tmp_path, cylinder, BALL)).acquisition.phantom

    assert phantom.names == ("body", "ball")
    assert phantom.regions[0].channels[-1].tau_ns == 1.62
    assert "region 'ball' displaces a part of 'body'" in caplog.text


def test_a_region_of_several_shapes_is_where_any_of_them_is(tmp_path):
    spec = (
        '[[regions]]\nname = "two"\nactivity_mbq = 1.0\nmaterial = "pmma"\nshapes = [\n'
        '  { shape = "half-cylinder", centre_mm = [0, 0, 0], radius_mm = 9, half_length_mm = 5},\n'
        '  { shape = "box", centre_mm = [50, 0, 0], half_length_mm = [1, 2, 3] },\n]\n'
    )

    (region,) = read_simulation(write_spec(tmp_path, spec)).acquisition.phantom.regions

    points = np.array([[0.0, 5.0, 0.0], [0.0, -5.0, 0.0], [50.0, 0.0, 0.0]])
    assert region.contains(points).tolist() == [True, False, True]


def test_a_phantom_of_voxels_comes_from_images(tmp_path):
    activity = np.zeros((10, 10, 10))
    activity[2:8, 2:8, 2:8] = 7.0
    write_image(tmp_path / "activity.nii.gz", activity)
    write_image(tmp_path / "mu.nii.gz", np.where(activity > 0, 0.0956, 0.0))
    write_image(tmp_path / "tau.nii.gz", np.where(np.arange(10)[:, None, None] < 5, 1.5, 2.5)
                * np.ones((10, 10, 10)))  # fmt: skip
    spec = (
        '[phantom.voxels]\nactivity = "activity.nii.gz"\nattenuation = "mu.nii.gz"\n'
        'tau_ops_ns = "tau.nii.gz"\nshare_ops = 0.27\n[output]\nstudy = "study.toml"\n'
    )
    simulation = read_simulation(write_spec(tmp_path, spec))

    voxels = simulation.acquisition.phantom.voxels
    run_simulation(simulation)

    assert voxels.density.max() == pytest.approx(1.0, abs=2e-3)
    assert voxels.density.min() == 0.0
    assert voxels.channels[0].share == pytest.approx(0.09)
    summary = json.loads((tmp_path / "singles.json").read_text())
    assert summary["regions"][0]["channels"][2] == {"name": "ops", "tau_ns": None, "share": 0.27}
    with uproot.open(tmp_path / "truth.root") as file:
        truth = file["Decays"].arrays(library="np")
    left = (truth["annihilation_x_mm"] < -2.0) & (truth["channel"] == 2)
    assert abs(truth["life_ns"][left].mean() - 1.5) < 5 * 1.5 / np.sqrt(left.sum())
    grid = read_study(tmp_path / "study.toml").regions[1]
    assert_allclose(grid.bounds_mm, [[-14.0] * 3, [10.0] * 3])


def test_the_size_is_foreseen(tmp_path):
    path = write_spec(tmp_path, BALL, scanner=SCANNER + "lutetium_bq_cm3 = 250.0\n")
    simulation = read_simulation(path, duration_s=0.004)

    foreseen = measure_size(simulation).bytes_of(0.004)
    run_simulation(simulation)

    for file, n_bytes in zip((simulation.singles, simulation.truth), foreseen, strict=True):
        assert n_bytes == pytest.approx(file.stat().st_size, rel=0.1)


def test_a_disk_too_small_is_an_error_that_says_what_fits(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    simulation = read_simulation(write_spec(tmp_path, BALL), duration_s=100.0)

    pattern = r"sim\.toml: 100 s would write .* GB, and .* has 0\.001 GB free; simulate at most 0"
    with pytest.raises(FileError, match=pattern):
        run_simulation(simulation)

    assert [p.name for p in tmp_path.iterdir()] == ["sim.toml"]


def test_files_are_replaced_only_when_asked(tmp_path):
    simulation = read_simulation(write_spec(tmp_path, BALL))
    (tmp_path / "truth.root").write_text("mine")

    with pytest.raises(FileError, match=r"truth\.root: exists already; use --overwrite"):
        run_simulation(simulation)
    assert (tmp_path / "truth.root").read_text() == "mine"
    run_simulation(simulation, overwrite=True)

    assert (tmp_path / "truth.root").stat().st_size > 1000


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space left"), FileError)],
)
def test_a_simulation_stopped_half_way_leaves_nothing(tmp_path, error, raised):
    output = '[output]\nsingles = "new/s.npz"\nstudy = "new/study.toml"\n'
    simulation = read_simulation(write_spec(tmp_path, BALL, output))

    def stop(stage, done, total):
        if stage == "simulate":
            raise error

    with pytest.raises(raised):
        run_simulation(simulation, progress=stop)

    assert [p.name for p in tmp_path.iterdir()] == ["sim.toml"]


@pytest.mark.parametrize("ending", ["root", "csv", "npz"])
def test_a_scan_without_decays_is_no_error(tmp_path, ending):
    output = f'[output]\nsingles = "s.{ending}"\ntruth = "t.{ending}"\n'

    result = run_simulation(read_simulation(write_spec(tmp_path, BALL, output), duration_s=1e-12))

    assert (result.n_decays, result.n_singles) == (0, 0)
    assert json.loads((tmp_path / "s.json").read_text())["singles_per_decay"] is None


def test_voxels_without_matter_may_lie_in_the_detectors(tmp_path):
    density = np.zeros((10, 10, 3))
    density[3:7, 3:7] = 1.0
    for name, values in (("d", density), ("a", density)):
        write_image(tmp_path / f"{name}.nii.gz", values, size=80.0, origin=-360.0)
    spec = '[phantom.voxels]\nactivity = "a.nii.gz"\n'

    path = write_spec(tmp_path, spec + 'density = "d.nii.gz"\n')
    assert read_simulation(path).acquisition.phantom.reach_mm == pytest.approx(160 * np.sqrt(2))
    with pytest.raises(SettingsError, match=r"the phantom reaches 565\.7 mm from the axis"):
        read_simulation(write_spec(tmp_path, spec))


def test_progress_goes_up_to_the_decays_expected(tmp_path):
    calls = []
    simulation = read_simulation(write_spec(tmp_path, BALL), duration_s=0.004)

    run_simulation(simulation, progress=lambda *call: calls.append(call))

    done = [call[1] for call in calls if call[0] == "simulate"]
    assert done == sorted(done)
    assert len(done) > 3
    assert calls[-1] == ("simulate", 80_000, 80_000)


REGION = '[[regions]]\nname = "a"\nshape = "sphere"\ncentre_mm = [0, 0, 0]\nradius_mm = 30.0\n'
CASES = {
    "isotope without prompt": (
        {"head": HEAD.replace("Sc-44", "F-18")}, (BALL,),
        r"simulation: F-18 emits no prompt gamma with its positron; use one of Sc-44",
    ),
    "unknown isotope": (
        {"head": HEAD.replace("Sc-44", "Sc44")}, (BALL,),
        r"isotope = 'Sc44' is not known; did you mean 'Sc-44'\?",
    ),
    "no isotope": (
        {"head": "[simulation]\nduration_s = 1.0\n"}, (BALL,), r"simulation\.isotope is missing",
    ),
    "no duration": (
        {"head": HEAD.replace("0.0002", "-1")}, (BALL,), r"duration_s = -1: expected a number",
    ),
    "negative seed": ({"head": HEAD + "seed = -1\n"}, (BALL,), r"seed = -1: expected zero or more"),
    "misspelt key": (
        {"head": HEAD.replace("duration_s", "duration")}, (BALL,),
        r"unknown key simulation\.duration; did you mean 'duration_s'\?",
    ),
    "misspelt section": ({}, (BALL, "[phantoms]\n"), r"key phantoms; did you mean 'phantom'"),
    "misspelt scanner key": (
        {"scanner": SCANNER + "treshold_kev = 3\n"}, (BALL,),
        r"unknown key scanner\.treshold_kev; did you mean 'threshold_kev'\?",
    ),
    "no scanner": ({"scanner": ""}, (BALL,), r"\[scanner\] is missing; give it preset, or"),
    "half a scanner": (
        {"scanner": "[scanner]\nlength_mm = 1.0\n"}, (BALL,), r"scanner\.inner_radius_mm is",
    ),
    "unknown scintillator": (
        {"scanner": SCANNER + 'material = "lsoo"\n'}, (BALL,),
        r"material = 'lsoo' is not known; did you mean 'lso'\?",
    ),
    "no phantom": ({}, (), r"there is no phantom; give \[phantom\] a preset or voxels, or add"),
    "no activity": ({}, (REGION,), r"no part of the phantom has activity; give a region activity"),
    "unknown preset": (
        {}, ('[phantom]\npreset = "nema"\n',),
        r"phantom\.preset: expected one of none, nema-iq, cylinder",
    ),
    "five spheres": (
        {}, ('[phantom]\npreset = "nema-iq"\nsphere_kbq_ml = 1\ntau_ops_ns = [1, 2, 3, 4, 5]\n',),
        r"phantom: tau_ops_ns has 5 values; expected one, or one for each of six spheres",
    ),
    "misspelt phantom key": (
        {}, ('[phantom]\npreset = "nema-iq"\nsphere_kbqml = 1\n',),
        r"unknown key phantom\.sphere_kbqml; did you mean 'sphere_kbq_ml'\?",
    ),
    "unknown material": (
        {}, (REGION + 'material = "watr"\n',),
        r"region 'a': material = 'watr' is not known; did you mean 'water'\?",
    ),
    "negative lifetime": (
        {}, (REGION + "tau_ops_ns = -1.8\n",),
        r"region 'a': channel 'ops': tau_ns = -1.8, expected a mean life above zero",
    ),
    "share above one": (
        {}, (REGION + "share_ops = 0.9\n",),
        r"region 'a': channel 'direct': share = -0.2, expected 0 to 1",
    ),
    "shares that do not sum to one": (
        {}, (REGION + 'channels = [{ name = "direct", tau_ns = 0.4, share = 0.9 }]\n',),
        r"region 'a': the shares of its channels sum to 0.9, expected 1 \(direct 0.9\)",
    ),
    "two kinds of lifetime": (
        {}, (REGION + 'tau_ops_ns = 2\nreference = "quartz"\n',),
        r"region 'a': tau_ops_ns and reference both say how positrons annihilate; keep one",
    ),
    "unknown reference": (
        {}, (REGION + 'reference = "quarz"\n',),
        r"reference = 'quarz' is not known; did you mean 'quartz'\?",
    ),
    "misspelt channel key": (
        {}, (REGION + 'channels = [{ name = "direct", tau = 0.4, share = 1 }]\n',),
        r"unknown key regions\.0\.channels\.0\.tau; did you mean 'tau_ns'\?",
    ),
    "region without shape": (
        {}, ('[[regions]]\nname = "a"\n',), r"region 'a': give it shape, or shapes",
    ),
    "shape with too much": (
        {}, (REGION + "half_length_mm = 3.0\n",),
        r"region 'a': a sphere has no half_length_mm; it takes centre_mm, radius_mm",
    ),
    "shape with too little": (
        {}, (REGION.replace("radius_mm = 30.0", ""),), r"region 'a': a sphere needs radius_mm; it",
    ),
    "box of one length": (
        {}, (REGION.replace("sphere", "box").replace("radius_mm = 30.0", "half_length_mm = 3"),),
        r"region 'a': half_length_mm of a box: expected one number per axis",
    ),
    "two activities": (
        {}, (BALL + "activity_kbq_ml = 2.0\n",), r"region 'ball' has activity_mbq and activity_kbq",
    ),
    "a hidden region": (
        {}, (BALL, REGION.replace("30.0", "60.0")),
        r"region 'ball' has activity, and lies wholly inside later regions",
    ),
    "a point outside": (
        {}, (BALL, '[[points]]\nname = "p"\nposition_mm = [0, 80, 0]\nactivity_mbq = 1\n'),
        r"source 'p' lies outside every region",
    ),
    "a point at no number": (
        {}, (BALL, '[[lines]]\nname = "l"\nstart_mm = [0, nan, 0]\nend_mm = [0, 0, 0]\n'
             "activity_mbq = 1.0\n"),
        r"source 'l' lies outside every region",
    ),
    "a phantom too wide": (
        {}, ('[phantom]\npreset = "cylinder"\nradius_mm = 420.0\n',),
        r"the phantom reaches 420 mm from the axis, into the detectors, which begin at 410 mm",
    ),
    "a centre that is no number": (
        {}, (BALL.replace("[0.0, 0", "[nan, 0"),), r"region 'ball': centre_mm = \[nan, .* not f",
    ),
    "a part without a name": (
        {}, (BALL.replace('"ball"', '" "'),), r"name ' ' of a part of the phantom: expected a word",
    ),
    "acollinearity below zero": (
        {}, (BALL, "[physics]\nacollinearity_fwhm_deg = -1\n"),
        r"physics: acollinearity_fwhm_deg = -1: expected 0 to below 90",
    ),
    "offsets that are words": (
        {"scanner": SCANNER + 'offset_ns = ["a"]\n'}, (BALL,),
        r"scanner\.offset_ns: expected a list of numbers, or the name of a file",
    ),
    "offsets that are not there": (
        {"scanner": SCANNER + 'offset_ns = "none.txt"\n'}, (BALL,),
        r"none\.txt: not a text of one offset a line",
    ),
    "two of one name": ({}, (BALL, BALL), r"two parts of the phantom are called 'ball'"),
    "unknown ending": (
        {}, (BALL, '[output]\nsingles = "s.h5"\n'),
        r"output\.singles = 's\.h5': expected an ending of \.root, \.csv, \.npz",
    ),
    "one file twice": (
        {}, (BALL, '[output]\ntruth = "singles.root"\n'), r"two files to write are .*singles\.root",
    ),
    "itself": (
        {}, (BALL, '[output]\nstudy = "sim.toml"\n'),
        r"\[output\] would replace .*sim\.toml, the simulation file itself",
    ),
    "truth that is true": ({}, (BALL, "[output]\ntruth = true\n"), r"output\.truth = True: "),
    "no image": (
        {}, ('[phantom.voxels]\nactivity = "none.nii"\n',), r"none\.nii: no such file; check",
    ),
    "no TOML": ({}, ("[",), r"not TOML"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_in_one_line(tmp_path, case):
    sections, parts, message = CASES[case]

    with pytest.raises((SettingsError, FileError), match=message) as caught:
        read_simulation(write_spec(tmp_path, *parts, **sections))

    assert "\n" not in str(caught.value)
    assert "sim.toml" in str(caught.value)


def test_images_on_two_grids_are_refused_with_both(tmp_path):
    write_image(tmp_path / "a.nii.gz", np.ones((4, 4, 4)))
    write_image(tmp_path / "d.nii.gz", np.ones((4, 4, 5)))
    spec = '[phantom.voxels]\nactivity = "a.nii.gz"\ndensity = "d.nii.gz"\n'

    pattern = r"d\.nii\.gz has 4 x 4 x 5 voxels of 4 x 4 x 4 mm .* and .*a\.nii\.gz 4 x 4 x 4 "
    with pytest.raises(SettingsError, match=pattern):
        read_simulation(write_spec(tmp_path, spec))
    write_image(tmp_path / "d.nii.gz", np.ones((4, 4, 4)), origin=-18.0)
    with pytest.raises(SettingsError, match=r"from \(-18, -18, -18\), and .* from \(-20, -20, -20"):
        read_simulation(write_spec(tmp_path, spec))


def test_voxels_need_their_own_activity_beside_other_sources(tmp_path):
    write_image(tmp_path / "a.nii.gz", np.ones((4, 4, 4)))

    with pytest.raises(SettingsError, match=r"phantom\.voxels\.activity_mbq is missing"):
        read_simulation(write_spec(tmp_path, BALL, '[phantom.voxels]\nactivity = "a.nii.gz"\n'))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"no\.toml: no such simulation file"):
        read_simulation(tmp_path / "no.toml")


def test_the_example_simulates_and_its_study_is_one_psimg_takes(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ROOT / "data" / "nema_quadra.toml", data)
    simulation = read_simulation(data / "nema_quadra.toml", duration_s=1e-4)

    run_simulation(simulation)

    study = read_study(tmp_path / "results" / "nema_quadra" / "study.toml")
    assert study.settings.select.prompt_kev == (700.0, np.inf)
    assert [region.name for region in study.regions[-2:]] == ["sphere_28mm", "sphere_37mm"]
