from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def sc44() -> Path:
    """A Geant4 acquisition of four inserts with known truth, where it is at hand."""
    folder = SHARED_DATA / "sc44_four_inserts"
    if not folder.is_dir():
        pytest.skip("the sc44_four_inserts acquisition is not here")
    return folder


@pytest.fixture(scope="session")
def measured_spectra() -> Path:
    """Measured spectra of other people, where they are at hand."""
    folder = SHARED_DATA / "spectra"
    if not folder.is_dir():
        pytest.skip("the measured spectra are not here")
    return folder
