from pathlib import Path

import numpy as np
import pytest

from psimg.core import Scanner
from psimg.io import write_gate9
from psimg.simulate.toy import simulate_singles
from psimg.simulate.toy_phantom import nema_like

SCANNER = Scanner(name="ring", radius_mm=410.0, length_mm=1060.0, crt_ns=0.228, energy_fwhm=0.1)

STUDY = """
[study]
name = "test"
isotope = "Sc-44"
[input]
files = ["singles.root"]
[scanner]
preset = "vision-quadra"
[select]
pair_window_ns = 2.0
min_pair_distance_mm = 300.0
delays_ns = [200.0, 300.0]
object = "phantom"
[grid]
voxel_mm = 20.0
extent_mm = [200.0, 200.0, 180.0]
[spectrum]
start_ns = -5.0
stop_ns = 15.0
step_ns = 0.1
[model]
background = "delayed"
[output]
directory = "results"
formats = ["nifti", "root", "npz"]
[[regions]]
name = "phantom"
shape = "cylinder"
centre_mm = [0.0, 0.0, 0.0]
radius_mm = 100.0
half_length_mm = 90.0
[[regions]]
name = "sphere_37mm"
shape = "sphere"
centre_mm = [28.6, -49.537, 0.0]
radius_mm = 18.5
"""


@pytest.fixture(scope="session")
def acquisition(tmp_path_factory) -> Path:
    """A folder with a short simulated acquisition in the GATE 9 layout."""
    folder = tmp_path_factory.mktemp("acquisition")
    chunks = simulate_singles(
        nema_like(),
        scanner=SCANNER,
        activity_mbq=10.0,
        duration_s=0.02,
        rng=np.random.default_rng(44),
        chunk_decays=50_000,
    )
    write_gate9(folder / "singles.root", chunks)
    return folder


@pytest.fixture
def study_file(acquisition, tmp_path) -> Path:
    """A study of that acquisition, in a folder of its own."""
    (tmp_path / "singles.root").symlink_to(acquisition / "singles.root")
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path
