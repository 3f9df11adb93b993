import pytest

from psimg.core import FileError
from psimg.study import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "psimg-demo"
    calls = []
    result = run_demo(
        folder, n_decays=400_000, progress=lambda stage, done, total: calls.append((stage, total))
    )
    return folder, result, calls


def test_the_demonstration_measures_its_lifetimes(demo):
    _, result, _ = demo

    measured = {fit.name: fit for fit in result.result.regions}
    assert len(result.true_tau_ops_ns) == 7
    for name, tau in result.true_tau_ops_ns.items():
        assert abs(measured[name].tau_ops_ns - tau) < 4 * measured[name].tau_ops_error_ns
        share = abs(measured[name].intensity_ops - result.true_intensity_ops)
        assert share < 4 * measured[name].intensity_ops_error


def test_the_demonstration_leaves_singles_study_and_results(demo):
    folder, _, _ = demo

    assert {path.name for path in folder.iterdir()} == {"singles.root", "study.toml", "results"}
    assert (folder / "results" / "report.html").stat().st_size > 100_000


def test_progress_is_told_for_every_stage(demo):
    _, _, calls = demo

    stages = list(dict.fromkeys(stage for stage, _ in calls))
    assert stages == ["simulate", "events", "regions", "voxels", "outputs"]
    assert all(total is not None for _, total in calls)


def test_a_demonstration_is_replaced_only_when_asked(demo):
    folder, result, _ = demo

    with pytest.raises(FileError, match="exists and is not empty; use --overwrite"):
        run_demo(folder, n_decays=100_000)
    again = run_demo(folder, n_decays=400_000, overwrite=True)

    assert again.result.counts == result.result.counts


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(FileError, match="holds no demonstration"):
        run_demo(tmp_path, overwrite=True)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_demonstration_stopped_half_way_leaves_nothing(tmp_path):
    def stop(stage, done, total):
        if stage == "events":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo", n_decays=20_000, progress=stop)

    assert list(tmp_path.iterdir()) == []
