import numpy as np
import pytest
import uproot
from numpy.testing import assert_array_equal

from psimg.io import write_spectra_npz, write_spectra_root

EDGES_NS = np.linspace(-2.0, 8.0, 41)
CURVES = ("counts", "delayed_prompt", "pps", "direct", "ops", "background", "class_2")


@pytest.fixture
def spectra():
    rng = np.random.default_rng(9)
    return {
        region: {curve: rng.uniform(0.0, 100.0, len(EDGES_NS) - 1) for curve in CURVES}
        for region in ("liver", "insert 2")
    }


def test_root_spectra_come_back_as_histograms_of_the_right_bins(tmp_path, spectra):
    write_spectra_root(tmp_path / "spectra.root", spectra, EDGES_NS)

    with uproot.open(tmp_path / "spectra.root") as file:
        for region, curves in spectra.items():
            for curve, counts in curves.items():
                histogram = file[f"{region}/{curve}"]
                assert histogram.classname == "TH1D"
                assert_array_equal(histogram.axis().edges(), EDGES_NS)
                assert_array_equal(histogram.values(), counts)


def test_integer_counts_come_back_from_root(tmp_path):
    counts = np.arange(40)

    write_spectra_root(tmp_path / "spectra.root", {"all": {"counts": counts}}, EDGES_NS)

    with uproot.open(tmp_path / "spectra.root") as file:
        assert_array_equal(file["all/counts"].values(), counts)


def test_a_slash_in_a_region_opens_no_folder(tmp_path, spectra):
    write_spectra_root(tmp_path / "spectra.root", {"a/b": spectra["liver"]}, EDGES_NS)

    with uproot.open(tmp_path / "spectra.root") as file:
        assert_array_equal(file["a_b/counts"].values(), spectra["liver"]["counts"])


def test_npz_spectra_come_back(tmp_path, spectra):
    write_spectra_npz(tmp_path / "spectra.npz", spectra, EDGES_NS)

    with np.load(tmp_path / "spectra.npz") as file:
        assert_array_equal(file["edges_ns"], EDGES_NS)
        assert list(file["regions"]) == ["liver", "insert 2"]
        for curve in CURVES:
            expected = [spectra[region][curve] for region in spectra]
            assert_array_equal(file[curve], expected)


def test_npz_of_no_region_holds_the_edges(tmp_path):
    write_spectra_npz(tmp_path / "spectra.npz", {}, EDGES_NS)

    with np.load(tmp_path / "spectra.npz") as file:
        assert_array_equal(file["edges_ns"], EDGES_NS)
        assert len(file["regions"]) == 0
