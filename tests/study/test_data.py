import importlib.util
from pathlib import Path

from psimg.core import FitStatus
from psimg.study import read_study, run_study

ROOT = Path(__file__).parents[2]


def test_the_small_study_measures_the_lifetimes_that_were_put_in():
    spec = importlib.util.spec_from_file_location("make_data", ROOT / "scripts" / "make_data.py")
    make_data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_data)

    result = run_study(read_study(ROOT / "data" / "two_sources.toml"))

    assert result.counts["n_rows"] == 12_000
    for fit in result.regions:
        assert fit.status == FitStatus.OK
        assert abs(fit.tau_ops_ns - make_data.TAU_OPS_NS[fit.name]) < 3 * fit.tau_ops_error_ns
        assert abs(fit.intensity_ops - 0.3) < 3 * fit.intensity_ops_error
