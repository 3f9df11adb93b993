import json
import logging
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.cli import main
from psimg.core import ISOTOPES, FileError
from psimg.lifetime import LifetimeModel
from psimg.lifetime.precision import precision_of
from psimg.study import PlanOptions, forecast_scan, plan_measurement, read_study, run_and_write

SIGMA = 0.25 / 2.354820045
EDGES = np.linspace(-10.0, 20.0, 301)
SCAN = ("--activity-mbq", "40", "--minutes", "20", "--triplets-per-decay", "2e-5")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return exit status, output and error output."""
    root = logging.getLogger()
    handlers = root.handlers[:]

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["psimg", *map(str, arguments)])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield call
    root.handlers[:] = handlers


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run on events of 40 % o-Ps of 2 ns, and a quarter as many randoms."""
    folder = tmp_path_factory.mktemp("like")
    rng = np.random.default_rng(20261125)
    n = 20_000
    dt = np.where(rng.random(n) < 0.4, rng.exponential(2.0, n), rng.exponential(0.388, n))
    dt = np.r_[dt + 0.1 * rng.standard_normal(n), rng.uniform(-10.0, 20.0, n // 4)]
    rows = np.c_[rng.normal(0, 5, (len(dt), 3)), dt]
    np.savetxt(folder / "events.csv", rows, delimiter=",", header="x,y,z,dt")
    (folder / "study.toml").write_text(
        '[input]\nfiles = ["events.csv"]\n[grid]\nvoxel_mm = 60\n[output]\nformats = []\n'
        '[[regions]]\nname = "centre"\nshape = "sphere"\ncentre_mm = [0, 0, 0]\nradius_mm = 5\n'
        '[[regions]]\nname = "far"\nshape = "sphere"\ncentre_mm = [90, 0, 0]\nradius_mm = 5\n'
    )
    run_and_write(read_study(folder / "study.toml"))
    return folder / "results"


def test_plan_has_help_with_an_example(run):
    status, out, _ = run("plan", "--help")

    assert status == 0
    assert "Example: psimg plan" in " ".join(out.split())


def test_a_plan_of_counts_is_the_bound_of_its_spectrum():
    plan = plan_measurement(PlanOptions(counts=3000, background=0.2, tau_ops_ns=1.83))

    model = LifetimeModel().with_response(0.0, SIGMA)
    ops = [c for c in model.components if c.name == "ops"]
    assert plan.response_assumed
    assert plan.n_true == 2400
    assert ops[0].tau_ns == 2.0
    for row in plan.expectations:
        at_2 = precision_of(model, EDGES, n_events=3000, background_share=0.2, free=row.free)
        assert row.tau_ops_error_share == pytest.approx(row.tau_ops_error_ns / 1.83)
        # A shorter lifetime is a little more precise in ns.
        assert 0.8 < row.tau_ops_error_ns / at_2.tau_ops_error_ns < 1.0
    assert [len(row.free) for row in plan.expectations] == [2, 4, 7]
    assert np.all(np.diff([row.tau_ops_error_ns for row in plan.expectations]) > 0)


def test_the_events_of_a_goal_give_the_error_of_the_goal():
    plan = plan_measurement(PlanOptions(counts=3000, background=0.6, sigma_ns=0.1, delays=4))

    assert [goal.error_share for goal in plan.goals] == [0.1, 0.05, 0.02, 0.01]
    for goal in plan.goals:
        then = plan_measurement(
            PlanOptions(counts=goal.n_events, background=0.6, sigma_ns=0.1, delays=4)
        )
        assert_allclose(then.expectations[1].tau_ops_error_share, goal.error_share, rtol=1e-9)
        assert_allclose(goal.times, goal.n_events / 3000)


@pytest.mark.parametrize("name", ISOTOPES)
def test_decays_are_the_integral_of_a_falling_activity(name):
    isotope = ISOTOPES[name]
    seconds = 1500.0
    t = np.linspace(0.0, seconds, 200_001)

    activity = 40e6 * 0.5 ** (t / isotope.half_life_s)

    assert_allclose(isotope.decays(40.0, seconds), np.trapezoid(activity, t), rtol=1e-8)
    assert isotope.decays(40.0, isotope.half_life_s) == pytest.approx(
        isotope.decays(40.0, 1e4 * isotope.half_life_s) / 2
    )


@pytest.mark.parametrize(
    ("name", "half_life"),
    [("Na-22", "2.603 y"), ("Sc-44", "4.042 h"), ("Ga-68", "1.13 h"), ("Rb-82", "1.258 min"),
     ("I-124", "4.176 d")],
)  # fmt: skip
def test_a_scan_names_its_decays_and_half_life(run, name, half_life):
    status, out, err = run("plan", "--isotope", name, *SCAN)

    decays = ISOTOPES[name].decays(40.0, 1200.0)
    n_true = 2e-5 * decays
    assert (status, err) == (0, "")
    assert f"{decays:.4g} decays of {name} in 20 min from 40 MBq (half-life {half_life})" in out
    assert f"{2 * n_true:,.0f} events in the spectrum: {n_true:,.0f} true triplets" in out


def test_a_plan_above_ten_per_cent_says_that_it_is_optimistic(run):
    few, many = run("plan", "--counts", 500), run("plan", "--counts", 500_000)

    assert "note: above 10 % of tau_ops these errors are optimistic" in few[1]
    assert "optimistic" not in many[1]
    assert "250 ps FWHM (assumed)" in few[1]


def test_json_holds_the_numbers_of_the_plan(run):
    status, out, _ = run(
        "plan", "--counts", 3000, "--window", -10, 20, "--step", 0.1, "--fwhm-ps", 250, "--json"
    )

    plan = json.loads(out)
    known = plan_measurement(PlanOptions(counts=3000))
    assert status == 0
    assert (plan["start_ns"], plan["stop_ns"], plan["response_assumed"]) == (-10, 20, False)
    assert plan["expectations"][0]["free"] == ["tau_ops_ns", "events"]
    assert_allclose(
        [row["tau_ops_error_ns"] for row in plan["expectations"]],
        [row.tau_ops_error_ns for row in known.expectations],
    )
    assert plan["scan"] is None
    assert plan["is_lopsided"] is True


def test_a_study_gives_model_spectrum_isotope_and_delays(run, tmp_path):
    # The files of a study that is planned are not there yet.
    (tmp_path / "study.toml").write_text(
        '[study]\nisotope = "Ga-68"\n[input]\nfiles = ["run*.root"]\n'
        "[select]\ndelays_ns = [200.0, 300.0]\n"
        "[spectrum]\nstart_ns = -5\nstop_ns = 15\nstep_ns = 0.2\n"
        '[model]\nbackground = "delayed"\nresponse = { mu_ns = 0.1, sigma_ns = 0.2 }\n'
    )

    status, out, err = run("plan", "--study", tmp_path / "study.toml", *SCAN, "--json")

    plan = json.loads(out)
    assert (status, err) == (0, "")
    assert plan["scan"]["isotope"] == "Ga-68"
    assert [plan[k] for k in ("start_ns", "stop_ns", "step_ns")] == [-5, 15, 0.2]
    assert [plan[k] for k in ("mu_ns", "sigma_ns", "delays")] == [0.1, 0.2, 2]


def test_a_forecast_is_the_error_of_the_run_over_the_root_of_the_times(results):
    forecast = forecast_scan(results, times=4.0)

    region = {r.region: r for r in forecast.regions}["centre"]
    assert region.n_events > 1000
    # The bound at the fitted values is the error that the fit found, to the scatter of the data.
    assert_allclose(region.bound_ns, region.tau_ops_error_ns, rtol=0.1)
    assert_allclose(region.forecast_ns, region.bound_ns / 2, rtol=1e-12)


def test_a_forecast_is_a_table_of_regions_with_dashes_where_nothing_was_found(run, results):
    status, out, err = run("plan", "--like", results, "--times", 4)

    assert (status, err) == (0, "")
    assert "with 4 x the events" in out
    (far,) = [line for line in out.splitlines() if line.startswith("far")]
    assert far.split()[2:] == ["-"] * 6


def test_a_forecast_can_be_json(run, results):
    status, out, _ = run("plan", "--like", results, "--json")

    forecast = json.loads(out)
    assert status == 0
    assert forecast["times"] == 1.0
    assert [r["region"] for r in forecast["regions"]] == ["centre", "far"]
    assert forecast["regions"][1]["bound_ns"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to plan with; give counts, or isotope, activity_mbq, minutes and"),
        (("--counts", "-5"), "counts = -5: expected a number above zero"),
        (("--counts", "nan"), "counts = nan: expected a number above zero"),
        (("--counts", "5", "--background", "1"), "background = 1: expected a share, 0 or more"),
        (("--counts", "5", "--background", "-0.1"), "background = -0.1: expected a share"),
        (("--counts", "5", "--delays", "-1"), "delays = -1: expected 0 or more"),
        (("--counts", "5", "--fwhm-ps", "0"), "fwhm_ps = 0: expected a number above zero"),
        (("--counts", "5", "--fwhm-ps", "200", "--sigma-ns", "0.1"), "fwhm_ps and sigma_ns are"),
        (("--counts", "5", "--tau-ops", "0.1"), "tau_ns = 0.1 of component ops lies outside"),
        (("--counts", "5", "--intensity-ops", "0.9"), "intensities leave -0.2 for direct"),
        (("--counts", "5", "--window", "20", "-10"), "the low end is not below the high end"),
        (("--counts", "5", "--step", "0.7"), "step_ns = 0.7 does not divide the range"),
        (("--counts", "5", "--times", "4"), "--times needs --like RESULTS_DIR"),
        (("--counts", "5", *SCAN), "counts and activity_mbq, minutes, triplets_per_decay are both"),
        (("--isotope", "F-18", *SCAN), "isotope = 'F-18' is not known; use one of Sc-44, Na-22"),
        (SCAN, "triplets_per_decay without isotope; give them all"),
        (("--isotope", "Sc-44", "--minutes", "5"), "minutes without activity_mbq, triplets_per"),
        (("--counts", "5", "--study", "none.toml"), "none.toml: no such study file"),
        (("--like", "nowhere"), "nowhere/summary.json: no such file; name the output directory"),
        (("--like", "nowhere", "--counts", "5"), "--like takes all from the earlier run; leave"),
        (("--like", "nowhere", "--times", "0"), "times = 0: expected a number above zero"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_one_line_and_exit_status_1(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)

    status, out, err = run("plan", *arguments)

    assert (status, out) == (1, "")
    assert message in err
    assert err.startswith("psimg: ")
    assert err.count("\n") == 1


def test_results_that_cannot_be_read_are_errors_that_name_the_file(results, tmp_path):
    summary = json.loads((results / "summary.json").read_text())
    good = (results / "regions.csv").read_text()

    def forecast_with(changes=None, table=good, text=None):
        (tmp_path / "summary.json").write_text(text or json.dumps(summary | (changes or {})))
        (tmp_path / "regions.csv").write_text(table)
        return forecast_scan(tmp_path)

    assert len(forecast_with().regions) == 2
    with pytest.raises(FileError, match=r"summary.json: not a summary of this version"):
        forecast_with({"settings": {}})
    with pytest.raises(FileError, match=r"summary.json: cannot be read"):
        forecast_with(text="{")
    with pytest.raises(FileError, match=r"summary.json: holds no summary"):
        forecast_with(text="[]")
    with pytest.raises(FileError, match=r"regions.csv: no column tau_ops_ns"):
        forecast_with(table="region,n_events\na,1\n")
    with pytest.raises(FileError, match=r"csv: line 2: n_events = 'x\d+', expected"):
        forecast_with(table=good.replace("centre,", "centre,x"))
