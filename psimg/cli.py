"""The command line: parse, call, print, exit status."""

import functools
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from psimg.lifetime import LifetimeModel, SpectrumFit
    from psimg.study import Forecast, Inspection, Plan
    from psimg.study.demo import DemoResult
    from psimg.study.recon_methods import RegionRow

app = typer.Typer(
    name="psimg",
    help="Positronium lifetime imaging: from list-mode events to maps of o-Ps lifetime.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_F = TypeVar("_F", bound=Callable[..., None])
_INTERRUPTED = 130


def _command(action: _F) -> _F:
    """Turn an error of the user's into one line and exit status 1; bugs keep their traceback."""

    @functools.wraps(action)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from psimg.core.errors import PsimgError

        try:
            action(*args, **kwargs)
        except PsimgError as error:
            print(f"psimg: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print("psimg: interrupted; no results were written", file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from None

    return guarded  # type: ignore[return-value]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every stage.")] = False,
) -> None:
    handler = logging.StreamHandler()
    # On the handler, not the logger: psimg.log holds every line whatever is shown here.
    handler.setLevel(logging.INFO if verbose else logging.ERROR)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", handlers=[handler])
    if verbose:
        logging.getLogger("psimg").setLevel(logging.INFO)
    if version:
        import importlib.metadata

        print(f"psimg {importlib.metadata.version('psimg')}")
        raise typer.Exit


@app.command(
    epilog="Example: psimg demo --directory psimg-demo",
    help="Simulate a small 44Sc acquisition and run the whole chain on it.",
)
@_command
def demo(
    directory: Annotated[Path, typer.Option(help="Where to put it.")] = Path("psimg-demo"),
    decays: Annotated[int, typer.Option(min=1000, help="Mean number of decays.")] = 6_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier demonstration.")] = False,
) -> None:
    """Run the demonstration."""
    from psimg.study import run_demo

    with _Bars() as bars:
        result = run_demo(
            directory, n_decays=decays, seed=seed, overwrite=overwrite, progress=bars.update
        )
    _print_truth(result)
    _print_places(directory / "results")


@app.command(
    epilog="Example: psimg run study.toml --overwrite",
    help="Run a study: from its input files to maps, tables and a report.",
)
@_command
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    overwrite: Annotated[bool, typer.Option(help="Replace the results of an earlier run.")] = False,
) -> None:
    """Run a study and print its table of regions."""
    from psimg.study import read_study, run_and_write

    checked = read_study(study)
    with _Bars() as bars:
        result = run_and_write(checked, overwrite=overwrite, progress=bars.update)
    for warning in result.warnings:
        print(f"psimg: warning: {warning}", file=sys.stderr)
    _print_regions(result.regions)
    if result.images is not None and result.images.regions:
        print()
        _print_region_likelihood(result.images.regions)
    _print_places(checked.directory)


@app.command(
    epilog="Example: psimg simulate data/nema_quadra.toml --duration-s 0.1",
    help="Simulate an acquisition: from a description of scanner and phantom to singles, with the "
    "truth of every decay.",
)
@_command
def simulate(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="The simulation file.")],
    overwrite: Annotated[
        bool, typer.Option(help="Replace the files of an earlier simulation.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed in place of the file's.")] = None,
    duration_s: Annotated[
        float | None, typer.Option(help="Length of the scan in place of the file's [s].")
    ] = None,
) -> None:
    """Simulate and print what was written."""
    from psimg.study import read_simulation, run_simulation

    checked = read_simulation(spec, seed=seed, duration_s=duration_s)
    with _Bars() as bars:
        result = run_simulation(checked, overwrite=overwrite, progress=bars.update)
    print(f"decays              {result.n_decays:>14,}  expected {result.expected_decays:,.0f}")
    print(f"decays of 176Lu     {result.n_lutetium:>14,}")
    print(f"singles             {result.n_singles:>14,}")
    print(f"singles per decay   {result.singles_per_decay:>14.4f}")
    print(f"singles per second  {result.n_singles / result.duration_s:>14.4g}")
    for path in result.files:
        print(f"written: {path}  {path.stat().st_size / 1e6:.3g} MB")


@app.command(
    epilog="Example: psimg inspect singles.root --study study.toml",
    help="Show what a file holds: format, columns, ranges, spectra.",
)
@_command
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any readable file.")],
    study: Annotated[
        Path | None, typer.Option(metavar="STUDY.toml", help="Write a study file to start from.")
    ] = None,
    tree: Annotated[str | None, typer.Option(help="Tree of a ROOT file.")] = None,
    format: Annotated[str | None, typer.Option(help="Format, where it is not found.")] = None,  # noqa: A002
) -> None:
    """Inspect a file and print what it holds."""
    from psimg.core.errors import SettingsError
    from psimg.io import FORMATS, InputOptions
    from psimg.study import inspect_file, write_study

    if format is not None and format not in FORMATS:
        raise SettingsError(f"--format {format}: not known; use one of {', '.join(FORMATS)}")
    options = InputOptions(tree=tree, format=format)  # type: ignore[arg-type]
    inspection = inspect_file(file, options=options)
    _print_inspection(inspection)
    if study is not None:
        write_study(inspection, study)
        print(f"\nstudy file: {study}; run it with: psimg run {study}")


@app.command(
    epilog="Example: psimg calibrate study.toml --block 64 --output timing.csv",
    help="Measure time offsets of the detectors and the prompt's time walk from a study's files. "
    "The region must be filled uniformly, or be small. The table goes into the study as "
    "input.timing.",
)
@_command
def calibrate(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    output: Annotated[
        Path | None, typer.Option(help="The table to write; timing.csv beside the study file.")
    ] = None,
    block: Annotated[int, typer.Option(min=1, help="Detector labels that share an offset.")] = 1,
    region: Annotated[
        str | None, typer.Option(help="Region of the activity; select.object when left out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier table.")] = False,
) -> None:
    """Calibrate the timing and print what it does."""
    from psimg.events import OffsetOptions
    from psimg.study import calibrate_and_write, read_study
    from psimg.study.calibrate import describe

    checked = read_study(study, with_timing=False)
    path = output or study.parent / "timing.csv"
    with _Bars() as bars:
        calibration = calibrate_and_write(
            checked,
            path,
            region=region,
            options=OffsetOptions(block=block),
            overwrite=overwrite,
            progress=bars.update,
        )
    print(describe(calibration))
    print(f"timing table: {path}")


@app.command(
    epilog="Example: psimg fit spectrum.dat --channel-ns 0.05 --figure fit.png",
    help="Fit one spectrum: text, LT, Maestro .Spe, a ROOT histogram, or the spectra of a run. "
    "Without options: p-Ps of 0.125 ns, direct annihilation and o-Ps with free mean lives, free "
    "intensities, a flat background, and as many Gaussians in the response as the counts ask for.",
)
@_command
def fit(
    spectrum: Annotated[Path, typer.Argument(metavar="SPECTRUM", help="The file.")],
    channel_ns: Annotated[
        float | None, typer.Option(help="Width of a channel, where the file does not state it.")
    ] = None,
    object: Annotated[  # noqa: A002
        str | None, typer.Option(help="Histogram or region, in a file of several.")
    ] = None,
    range_ns: Annotated[
        tuple[float, float] | None, typer.Option(help="Part of the axis to fit [ns].")
    ] = None,
    channels: Annotated[
        tuple[int, int] | None, typer.Option(help="Or its first and last bin, from 0.")
    ] = None,
    component: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=TAU [ns], NAME=TAU~ for a free mean life, NAME=TAU~LOW:HIGH with its "
            "bounds, @SHARE behind it for an intensity; once for each."
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="NAME=TAU@SHARE: a source or foil with its share of all positrons."),
    ] = None,
    intensities: Annotated[
        str | None, typer.Option(help="free, ps-ratio, fixed or merged; free when left out.")
    ] = None,
    gaussians: Annotated[
        int | None, typer.Option(help="Gaussians of the response, 1 to 3.")
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="Spectrum with the shape of the background.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(metavar="STUDY.toml", help="Study file with the [model].")
    ] = None,
    intervals: Annotated[bool, typer.Option(help="Profile intervals (MINOS).")] = False,
    posterior: Annotated[bool, typer.Option(help="Sample the posterior.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Draw spectrum, fit and residuals.")] = None,
    corner: Annotated[
        Path | None, typer.Option(help="Draw the posterior's corner plot; with --posterior.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a spectrum and print a table."""
    from psimg.core.errors import SettingsError
    from psimg.study import SpectrumFitOptions, fit_file
    from psimg.study.spectrum import as_dict
    from psimg.study.spectrum_figures import check_figure, draw_file, draw_posterior
    from psimg.study.spectrum_text import describe_fit

    if corner is not None and not posterior:
        raise SettingsError("--corner draws the posterior; add --posterior")
    options = SpectrumFitOptions(
        channel_ns=channel_ns, object=object, range_ns=range_ns, channels=channels,
        model=_fit_model(component, source, intensities, template is not None, study),
        n_gaussian=gaussians, template=template, intervals=intervals, posterior=posterior,
    )  # fmt: skip
    for path in (figure, corner):
        if path is not None:
            check_figure(path)
    fitted = fit_file(spectrum, options=options)
    if json:
        import json as encoder

        print(encoder.dumps(as_dict(fitted), indent=2, allow_nan=False))
    else:
        print(describe_fit(fitted))
    for path, draw in ((figure, draw_file), (corner, draw_posterior)):
        if path is not None:
            draw(fitted, path)
            if not json:
                print(f"figure: {path}")


def _fit_model(
    component: list[str] | None,
    source: list[str] | None,
    intensities: str | None,
    with_template: bool,
    study: Path | None,
) -> "LifetimeModel | None":
    """Return the model that the options describe; None where they leave it open."""
    from psimg.core.errors import SettingsError
    from psimg.lifetime import LifetimeModel
    from psimg.lifetime.automatic import water_like_components
    from psimg.study.config import read_settings
    from psimg.study.spectrum import parse_component

    if study is not None:
        if component or source or intensities:
            raise SettingsError("--study brings its [model]; leave the model's options out")
        # A spectrum file brings no delayed windows.
        return replace(read_settings(study).model, background="flat")
    if not (component or source or intensities or with_template):
        return None
    rules = ("free", "ps-ratio", "fixed", "merged")
    if intensities is not None and intensities not in rules:
        raise SettingsError(f"--intensities {intensities}: use one of {', '.join(rules)}")
    sample = [parse_component(text) for text in component or ()] or water_like_components()
    foils = [parse_component(text, source=True) for text in source or ()]
    return LifetimeModel(
        components=(*sample, *foils),
        intensities=intensities or "free",  # type: ignore[arg-type]
        background="template" if with_template else "flat",
    )


@app.command(
    epilog="Example: psimg plan --isotope Sc-44 --activity-mbq 40 --minutes 20 "
    "--triplets-per-decay 2e-5 --background 0.5",
    help="Say which error of the o-Ps lifetime to expect of counts, of a scan, or of a scan like "
    "an earlier one, and how many events a smaller error takes. The errors are Cramer-Rao "
    "bounds: no unbiased fit does better.",
)
@_command
def plan(
    counts: Annotated[
        float | None, typer.Option(help="Events in the spectrum, randoms included.")
    ] = None,
    isotope: Annotated[str | None, typer.Option(help="Positron emitter.")] = None,
    activity_mbq: Annotated[
        float | None, typer.Option(help="Activity at the start of the scan.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the scan.")] = None,
    triplets_per_decay: Annotated[
        float | None, typer.Option(help="True triplets in the spectrum per decay.")
    ] = None,
    background: Annotated[
        float | None, typer.Option(help="Share of random triplets; 0.5 when left out.")
    ] = None,
    delays: Annotated[
        int | None, typer.Option(help="Delayed windows that measure the randoms.")
    ] = None,
    tau_ops: Annotated[float | None, typer.Option(help="o-Ps lifetime [ns].")] = None,
    intensity_ops: Annotated[float | None, typer.Option(help="Share of positrons in o-Ps.")] = None,
    fwhm_ps: Annotated[float | None, typer.Option(help="FWHM of the time response [ps].")] = None,
    sigma_ns: Annotated[float | None, typer.Option(help="Its sigma instead [ns].")] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="Ends of the spectrum [ns].")
    ] = None,
    step: Annotated[float | None, typer.Option(help="Width of its bins [ns].")] = None,
    study: Annotated[
        Path | None,
        typer.Option(metavar="STUDY.toml", help="Study with the model, spectrum and isotope."),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="RESULTS_DIR", help="Results of an earlier run.")
    ] = None,
    times: Annotated[
        float | None, typer.Option(help="Events over those of the earlier run; with --like.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan a measurement and print the errors to expect."""
    from psimg.core.errors import SettingsError
    from psimg.study import PlanOptions, forecast_scan, plan_measurement
    from psimg.study.plan_text import describe_forecast, describe_plan

    given = {
        "counts": counts, "isotope": isotope, "activity_mbq": activity_mbq, "minutes": minutes,
        "triplets_per_decay": triplets_per_decay, "background": background, "delays": delays,
        "tau_ops_ns": tau_ops, "intensity_ops": intensity_ops, "fwhm_ps": fwhm_ps,
        "sigma_ns": sigma_ns, "window_ns": window, "step_ns": step, "study": study,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if like is None:
        if times is not None:
            raise SettingsError("--times needs --like RESULTS_DIR, the run it is a multiple of")
        planned = plan_measurement(PlanOptions(**given))  # type: ignore[arg-type]
        print(_as_json(planned) if json else describe_plan(planned))
        return
    if given:
        raise SettingsError(f"--like takes all from the earlier run; leave {', '.join(given)} out")
    scan = forecast_scan(like, times=1.0 if times is None else times)
    print(_as_json(scan) if json else describe_forecast(scan))


@app.command(
    epilog="Example: psimg compare results truth.nii.gz --regions study.toml --figure compare.png",
    help="Compare two maps, voxel by voxel and in regions: of two runs, or of a run and a NIfTI "
    "file such as a truth. All differences are A - B.",
)
@_command
def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="Output directory of a run, or a NIfTI file.")
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="What to compare it with; the same.")],
    map: Annotated[  # noqa: A002
        str, typer.Option(help="Which map of a directory: tau_ops, intensity_ops, counts ...")
    ] = "tau_ops",
    regions: Annotated[
        Path | None,
        typer.Option(
            metavar="STUDY.toml", help="Study with the regions; those of A's run when left out."
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw slices, values and differences.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two maps and print tables."""
    from psimg.study.compare import as_dict, compare_results, draw_results
    from psimg.study.compare_text import describe_comparison
    from psimg.study.spectrum_figures import check_figure

    if figure is not None:
        check_figure(figure)
    found = compare_results(a, b, map_name=map, regions=regions)
    if json:
        import json as encoder

        print(encoder.dumps(as_dict(found), indent=2, allow_nan=False))
    else:
        print(describe_comparison(found))
    if figure is not None:
        draw_results(found, figure)
        if not json:
            print(f"figure: {figure}")


def _as_json(value: "Plan | Forecast") -> str:
    import json
    from dataclasses import asdict

    return json.dumps(asdict(value) | {"is_lopsided": value.is_lopsided}, indent=2)


class _Bars:
    """One progress bar per stage, on standard error."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage is."""
        from tqdm import tqdm

        if stage != self._stage:
            if self._bar is not None:
                self._bar.close()
            self._stage = stage
            self._bar = tqdm(total=total, desc=f"{stage:>9}", unit_scale=True, leave=True)
        self._bar.update(done - self._bar.n)


def _print_truth(demo: "DemoResult") -> None:
    print(f"{'region':<14}{'events':>8}{'true tau_ops':>14}{'measured':>20}{'pull':>7}", end="")
    print(f"{'intensity_ops':>18}")
    for fit in demo.result.regions:
        true = demo.true_tau_ops_ns.get(fit.name)
        tau, error = fit.tau_ops_ns, fit.tau_ops_error_ns
        pull = "-" if true is None or error != error else f"{(tau - true) / error:+.1f}"
        print(f"{fit.name:<14}{fit.n_events:>8}", end="")
        print(f"{'mixed' if true is None else f'{true:.2f} ns':>14}", end="")
        print(f"{_measured(tau, error, ' ns'):>20}{pull:>7}", end="")
        print(f"{_measured(fit.intensity_ops, fit.intensity_ops_error):>18}")
    print(f"true intensity_ops {demo.true_intensity_ops:.2f}; pull = (measured - true) / error")


def _print_regions(fits: "tuple[SpectrumFit, ...]") -> None:
    print(f"{'region':<20}{'events':>10}{'tau_ops':>20}{'intensity_ops':>20}  status")
    for fit in fits:
        print(
            f"{fit.name:<20}{fit.n_events:>10}"
            f"{_measured(fit.tau_ops_ns, fit.tau_ops_error_ns, ' ns'):>20}"
            f"{_measured(fit.intensity_ops, fit.intensity_ops_error):>20}  "
            f"{fit.status.name.lower()}"
        )


def _print_region_likelihood(rows: "tuple[RegionRow, ...]") -> None:
    print(f"{'region likelihood':<20}{'triplets':>10}{'tau_ops':>20}{'intensity_ops':>20}  status")
    for row in rows:
        print(
            f"{row.name:<20}{row.n_triplets:>10.0f}"
            f"{_measured(row.tau_ops_ns, row.tau_ops_error_ns, ' ns'):>20}"
            f"{_measured(row.intensity_ops, row.intensity_ops_error):>20}  "
            f"{row.status.name.lower()}"
        )


def _print_places(directory: Path) -> None:
    if (directory / "report.html").exists():
        print(f"report: {directory / 'report.html'}")
    print(f"results: {directory}")


def _measured(value: float, error: float, unit: str = "") -> str:
    """Return value and error with a digit or two of the error; a dash for NaN."""
    if value != value or error != error:
        return "-"
    return f"{value:.3f} +- {error:.3f}{unit}"


def _print_inspection(found: "Inspection") -> None:
    from psimg.study.inspect import DT_EDGES_NS, describe_axes

    n_rows = f"{found.n_rows:,}" if found.n_rows is not None else "not counted"
    print(f"{found.path}")
    print(f"format    {found.format}" + (f", tree {found.tree}" if found.tree else ""))
    print(f"content   {found.content}")
    print(f"rows      {n_rows}; looked at {found.n_looked_at:,}, of them {found.n_bad:,} bad")
    if found.time_span_ns is not None:
        print(f"time      {found.time_span_ns * 1e-9:.6g} s in the rows looked at")
    if found.axes is not None:
        print(f"axes      {describe_axes(found.axes)}")
    print(f"\n{'column':<10}{'in the file':<24}{'from':>14}{'to':>14}")
    for column in found.columns:
        source = f"{column.source} [{column.file_unit}]" if column.file_unit else column.source
        remark = "  unit assumed" if column.assumed else ""
        # Labels are whole numbers and are shown whole.
        style = ">14.0f" if column.role.startswith(("detector", "decay")) else ">14.6g"
        print(f"{column.role:<10}{source:<24}{column.low:{style}}{column.high:{style}} ", end="")
        print(f"{column.unit}{remark}")
    if found.signals is not None:
        signal, edges = found.signals.signal, found.signals.edges
        print(f"\n{signal.name} [{signal.unit}], first {edges[300]:g}")
        _print_bars(edges[:301:10], found.signals.counts[:300])
    if found.note:
        print(f"\nno dt spectrum: {found.note}")
    elif found.n_events is not None:
        windows = "" if found.content == "events" else " found with the default windows"
        print(f"\ndt [ns] of {found.n_events:,} events{windows}, log scale")
        _print_bars(DT_EDGES_NS[::10], found.dt_counts, logarithmic=True)


def _print_bars(edges: Any, counts: Any, *, logarithmic: bool = False, width: int = 50) -> None:
    """Print a histogram, merged to the given edges, as bars of text."""
    import numpy as np

    merged = np.asarray(counts).reshape(len(edges) - 1, -1).sum(axis=1)
    height = np.log1p(merged) if logarithmic else merged
    top = max(float(height.max()), 1e-9)
    for low, high, count, tall in zip(edges[:-1], edges[1:], merged, height, strict=True):
        bar = "#" * round(width * float(tall) / top)
        print(f"{low:>8.5g} to {high:>6.5g} {count:>10,} {bar}")


def _stop(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Run the command; return its exit status."""
    # As an exception, so that what was begun is cleared away, as for Ctrl-C.
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except SystemExit as stop:
        # A wrong option is a user's error like any other.
        return 1 if stop.code == 2 else int(stop.code or 0)
    return 0
