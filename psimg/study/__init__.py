"""A study: its file, its run over chunks, its outputs."""

from psimg.study.calibrate import Calibration, calibrate_and_write, calibrate_timing
from psimg.study.config import Study, read_study
from psimg.study.demo import DemoResult, run_demo
from psimg.study.forecast import Forecast, forecast_scan
from psimg.study.inspect import Inspection, inspect_file, write_study
from psimg.study.plan import Plan, PlanOptions, plan_measurement
from psimg.study.record import run_and_write
from psimg.study.run import StudyResult, run_study
from psimg.study.simulation import SimulationResult, run_simulation
from psimg.study.simulation_file import Simulation, read_simulation
from psimg.study.spectrum import FittedFile, SpectrumFitOptions, fit_file

__all__ = [
    "Calibration",
    "DemoResult",
    "FittedFile",
    "Forecast",
    "Inspection",
    "Plan",
    "PlanOptions",
    "Simulation",
    "SimulationResult",
    "SpectrumFitOptions",
    "Study",
    "StudyResult",
    "calibrate_and_write",
    "calibrate_timing",
    "fit_file",
    "forecast_scan",
    "inspect_file",
    "plan_measurement",
    "read_simulation",
    "read_study",
    "run_and_write",
    "run_demo",
    "run_simulation",
    "run_study",
    "write_study",
]
