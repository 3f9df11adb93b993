"""The demonstration: a simulated acquisition through the whole chain, against its truth."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from psimg.core.errors import FileError
from psimg.core.regions import Cylinder, Sphere
from psimg.core.scanner import SCANNERS
from psimg.events.values import Singles
from psimg.io.gate9 import write_gate9
from psimg.simulate.toy import simulate_singles
from psimg.simulate.toy_phantom import Phantom, nema_like
from psimg.study.config import read_study
from psimg.study.reading import Progress
from psimg.study.record import run_and_write
from psimg.study.run import StudyResult

ACTIVITY_MBQ = 8.0
N_DECAYS = 6_000_000
SCANNER = SCANNERS["vision-quadra"]
SINGLES, STUDY, RESULTS = "singles.root", "study.toml", "results"

_STUDY = """\
# Written by 'psimg demo'. Run it again with: psimg run {study} --overwrite

[study]
name = "psimg demo: 44Sc in a NEMA-like phantom, simulated"
isotope = "Sc-44"

[input]
files = ["{singles}"]

[scanner]
preset = "{scanner}"

[select]
pair_window_ns = 2.0
prompt_window_ns = [-20.0, 40.0]
min_pair_distance_mm = 300.0
delays_ns = [200.0, 300.0, 400.0, 500.0]
object = "phantom"

[grid]
voxel_mm = 8.0
extent_mm = [208.0, 208.0, 184.0]

[spectrum]
start_ns = -10.0
stop_ns = 25.0
step_ns = 0.1

[model]
intensities = "ps-ratio"
background = "delayed"

[output]
directory = "{results}"
"""

_SPHERE = """
[[regions]]
name = "{name}"
shape = "sphere"
centre_mm = [{x:.3f}, {y:.3f}, {z:.3f}]
radius_mm = {radius:g}
"""

_BODY = """
[[regions]]
name = "phantom"
shape = "cylinder"
centre_mm = [0.0, 0.0, 0.0]
radius_mm = 100.0
half_length_mm = 90.0

# Away from the spheres, whose events time of flight spreads along the LOR.
[[regions]]
name = "body"
shape = "cylinder"
centre_mm = [0.0, 0.0, 72.0]
radius_mm = 90.0
half_length_mm = 15.0
"""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class DemoResult:
    """The demonstration's results and the truth they are to meet."""

    result: StudyResult
    true_tau_ops_ns: dict[str, float]
    """True mean life of o-Ps of each region [ns]."""
    true_intensity_ops: float
    """True share of o-Ps, the same everywhere."""


def run_demo(
    directory: Path,
    *,
    n_decays: int = N_DECAYS,
    seed: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DemoResult:
    """Simulate a small 44Sc acquisition, write it as a file, and run the chain on that file.

    Parameters
    ----------
    directory : Path
        Receives the singles, the study file and the results.
    n_decays : int
        Mean number of decays.
    seed : int
        Seed of the simulation.
    overwrite : bool
        Whether an earlier demonstration in that directory may be replaced.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    DemoResult
        What was measured, and the truth.

    Raises
    ------
    FileError
        If the directory holds something and ``overwrite`` is False, or cannot be written to.
    """
    singles, study_file = directory / SINGLES, directory / STUDY
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        if not overwrite:
            raise FileError(
                f"{directory}: exists and is not empty; use --overwrite to replace the "
                "demonstration in it, or --directory for another place"
            )
        if not study_file.is_file():
            raise FileError(f"{directory}: holds no demonstration; choose another --directory")
    phantom = nema_like()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        singles.unlink(missing_ok=True)
        study_file.write_text(study_text(phantom))
    except OSError as error:
        raise FileError(f"{directory}: cannot be written ({error.strerror})") from error
    try:
        _simulate(phantom, singles, n_decays, seed, progress)
        result = run_and_write(read_study(study_file), overwrite=overwrite, progress=progress)
    except BaseException:
        # Stopped half-way: the next demonstration is to find the place as this one did.
        for path in (singles, study_file):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            directory.rmdir()
        raise
    return DemoResult(
        result=result,
        # The region "phantom" mixes them all and has no one lifetime.
        true_tau_ops_ns={source.region.name: source.tau_ops_ns for source in phantom.sources},
        true_intensity_ops=phantom.sources[0].intensity_ops,
    )


def _simulate(
    phantom: Phantom, path: Path, n_decays: int, seed: int, progress: Progress | None
) -> None:
    duration_s = n_decays / (ACTIVITY_MBQ * 1e6)
    chunks = simulate_singles(
        phantom,
        scanner=SCANNER,
        activity_mbq=ACTIVITY_MBQ,
        duration_s=duration_s,
        rng=np.random.default_rng(seed),
    )

    def counted() -> Iterator[Singles]:
        for singles in chunks:
            yield singles
            if progress is not None:
                done = int(singles.decay.max()) if singles.decay is not None else 0
                progress("simulate", min(done, n_decays), n_decays)

    write_gate9(path, counted())
    if progress is not None:
        progress("simulate", n_decays, n_decays)


def study_text(phantom: Phantom) -> str:
    """Return the study file of the demonstration, with a region per source of the phantom."""
    text = _STUDY.format(study=STUDY, singles=SINGLES, scanner=SCANNER.name, results=RESULTS)
    for source in phantom.sources:
        region = source.region
        if isinstance(region, Sphere):
            x, y, z = region.centre_mm
            text += _SPHERE.format(name=region.name, x=x, y=y, z=z, radius=region.radius_mm)
        elif isinstance(region, Cylinder):
            text += _BODY
    return text
