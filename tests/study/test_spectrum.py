import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import FileError, SettingsError
from psimg.lifetime import Response
from psimg.lifetime._mixture import mixture_shares
from psimg.lifetime.automatic import water_like_components
from psimg.study import SpectrumFitOptions, fit_file
from psimg.study.spectrum import as_dict, parse_component
from psimg.study.spectrum_figures import draw_file, draw_posterior
from psimg.study.spectrum_text import describe_fit, measured

STEP_NS = 0.05
N_BIN = 800
SPECTRA = Path(__file__).parents[3] / "shared" / "data" / "spectra"


def counts(n=4e5, background=4e4, seed=3) -> np.ndarray:
    edges = STEP_NS * np.arange(N_BIN + 1)
    total, out, work = np.full(N_BIN, background / N_BIN), np.empty(N_BIN), np.empty(N_BIN)
    pps, direct, ops = water_like_components()
    for component, share in ((pps, 0.1), (direct, 0.6), (replace(ops, tau_ns=1.9), 0.3)):
        response = Response(mu_ns=8.0, sigma_ns=0.12).table
        mixture_shares(edges, component.tau_ns, 0.0, response, work, out)
        total += n * share * out
    return np.random.default_rng(seed).poisson(total)


@pytest.fixture
def write(tmp_path):
    """Write counts as an LT file; return its path."""

    def call(values, name="water.dat") -> Path:
        path = tmp_path / name
        rows = "\n".join(str(int(n)) for n in values)
        path.write_text(f"water\n{STEP_NS}\n0\n0.28\n{rows}\n")
        return path

    return call


def test_a_file_is_fitted_with_everything_it_needs(write):
    fitted = fit_file(write(counts()))

    assert abs(fitted.fit.tau_ops_ns - 1.9) < 4 * fitted.fit.tau_ops_error_ns
    assert 1e-4 < fitted.goodness.p_value <= 1
    text = describe_fit(fitted)
    assert "time axis: 0.05 ns per channel" in text
    assert "pps                    0.125 (fixed)" in text
    assert "degrees of freedom" in text
    assert "warning" not in text


def test_the_json_holds_the_fit_and_no_number_that_is_none(write):
    fitted = fit_file(write(counts()), options=SpectrumFitOptions(intervals=True))

    found = json.loads(json.dumps(as_dict(fitted), allow_nan=False))

    assert [c["name"] for c in found["components"]] == ["pps", "direct", "ops"]
    assert_allclose(found["components"][2]["tau_ns"], fitted.fit.tau_ops_ns)
    assert_allclose(sum(c["intensity"] for c in found["components"]), 1.0)
    assert_allclose(found["response"][0]["fwhm_ps"], 2354.8 * 0.12, rtol=0.02)
    assert_allclose(found["background"]["counts"], 4e4, rtol=0.05)
    names = found["correlation"]["parameters"]
    assert np.shape(found["correlation"]["matrix"]) == (len(names), len(names))
    low, high = found["parameters"]["tau_ops_ns"]["interval"]
    assert low < fitted.fit.tau_ops_ns < high
    assert "68 % intervals by likelihood profile" in describe_fit(fitted)


def test_a_posterior_comes_with_its_priors(write, tmp_path):
    fitted = fit_file(write(counts()), options=SpectrumFitOptions(posterior=True))

    found = as_dict(fitted)["posterior"]
    assert found["priors"]["tau_ops_ns"] == "uniform from 0.5 to 20"
    assert_allclose(found["parameters"]["tau_ops_ns"]["mean"], fitted.fit.tau_ops_ns, rtol=0.02)
    assert "uniform from 0.5 to 20" in describe_fit(fitted)
    draw_posterior(fitted, tmp_path / "corner.png")
    assert (tmp_path / "corner.png").stat().st_size > 10_000


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_is_written_in_the_format_of_its_suffix(write, tmp_path, suffix):
    path = tmp_path / f"fit.{suffix}"

    draw_file(fit_file(write(counts())), path)

    assert path.stat().st_size > 10_000
    if suffix == "png":
        assert matplotlib.image.imread(path).shape[1] > 800


def test_a_figure_that_cannot_be_written_is_an_error(write, tmp_path):
    fitted = fit_file(write(counts()))

    with pytest.raises(FileError, match=r"fit\.xyz: no format of that suffix; use one of .*\.png"):
        draw_file(fitted, tmp_path / "fit.xyz")
    with pytest.raises(FileError, match=r"fit\.png: cannot be written"):
        draw_file(fitted, tmp_path / "nowhere" / "fit.png")
    with pytest.raises(FileError, match=r"is a directory; name a file"):
        draw_file(fitted, tmp_path)


def test_a_component_beyond_its_range_is_named_with_what_to_do(write):
    pair = [parse_component(text) for text in ("fast=0.4~", "ops=1.0~0.7:1.4")]
    model = replace(fit_file(write(counts())).fit.model, components=pair, response=Response())

    with pytest.raises(FileError, match=r"tau_ops_ns ended on a bound .*ops=30~5:100"):
        fit_file(write(counts()), options=SpectrumFitOptions(model=model))


def test_channels_choose_the_bins(write):
    fitted = fit_file(write(counts()), options=SpectrumFitOptions(channels=(40, 639)))

    assert fitted.fit.data.n_bin == 600
    with pytest.raises(SettingsError, match="channels 40 to 900: expected two rising numbers"):
        fit_file(write(counts()), options=SpectrumFitOptions(channels=(40, 900)))


def test_a_template_has_the_bins_of_its_spectrum(write):
    flat = write(np.full(N_BIN, 10), "flat.dat")
    model = replace(fit_file(write(counts())).fit.model, background="template")

    fitted = fit_file(
        write(counts()), options=SpectrumFitOptions(template=flat, model=replace(
            model, response=Response()))
    )  # fmt: skip

    assert_allclose(fitted.fit.tau_ops_ns, fit_file(write(counts())).fit.tau_ops_ns, rtol=1e-5)
    with pytest.raises(FileError, match=r"short.dat: the template has 700 bins and the spectrum"):
        fit_file(
            write(counts()),
            options=SpectrumFitOptions(template=write(np.full(700, 10), "short.dat")),
        )


def test_a_wrong_model_is_warned_of(write):
    model = replace(
        fit_file(write(counts())).fit.model,
        components=water_like_components()[1:],
        response=Response(mu_ns=8.0, sigma_ns=0.2),
    )

    text = describe_fit(fit_file(write(counts()), options=SpectrumFitOptions(model=model)))

    assert "warning: the model does not describe the spectrum" in text


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.where(np.arange(N_BIN) == 200, 20, 0), r"20 counts, a fit needs 50 or more"),
        (np.zeros(N_BIN), "no counts in 800 bins"),
        (np.full(5, 100), r"5 bins cannot fix \d free parameters"),
        (np.full(N_BIN, 100), "water.dat: 80000 counts, and the fit did not converge"),
    ],
)
def test_a_spectrum_that_gives_no_fit_is_one_clear_line(write, values, match):
    with pytest.raises(FileError, match=match) as caught:
        fit_file(write(values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("pps=0.125", False, (0.125, False, None)),
        ("ops=1.9~", False, (1.9, True, None)),
        ("ops=1.9~@0.3", False, (1.9, True, 0.3)),
        ("ops=30~5:100", False, (30.0, True, None)),
        ("foil=0.382@0.1", True, (0.382, False, 0.1)),
    ],
)
def test_components_are_written_in_a_line(text, source, expected):
    component = parse_component(text, source=source)

    assert (component.tau_ns, component.free, component.intensity) == expected
    assert component.source == source


@pytest.mark.parametrize(
    ("text", "source", "match"),
    [
        ("0.125", False, "component '0.125': expected NAME=TAU, or NAME=TAU~"),
        ("pps=", False, "component 'pps=': expected NAME=TAU"),
        ("foil=x@0.1", True, "component 'foil=x@0.1': expected NAME=TAU@SHARE"),
        ("foil=0.38", True, "component foil is of the source and needs an intensity"),
        ("pps=-1", False, "tau_ns of component pps = -1: expected a number above zero"),
    ],
)
def test_components_that_make_no_sense_are_an_error(text, source, match):
    with pytest.raises(SettingsError, match=match):
        parse_component(text, source=source)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"range_ns": (1.0, 2.0), "channels": (1, 2)}, "both given; keep one"),
        ({"range_ns": (5.0, 2.0)}, "the low end is not below the high end; swap them"),
        ({"n_gaussian": 4}, "4 Gaussians of the response: expected 1 to 3"),
    ],
)
def test_options_that_make_no_sense_are_an_error(change, match):
    with pytest.raises(SettingsError, match=match):
        SpectrumFitOptions(**change)


def test_errors_have_two_digits():
    assert measured(1.8304, 0.0196) == "1.830 +- 0.020"
    assert measured(1.8304, 0.0996) == "1.83 +- 0.10"
    assert measured(99.67, 0.5) == "99.67 +- 0.50"
    assert measured(253.2, 21.4) == "253 +- 21"
    assert measured(0.125, 0.0) == "0.125 (fixed)"
    assert measured(10.0, 1e-15) == "10 (fixed)"
    assert measured(0.0, float("nan")) == "0 (on a bound)"


needs_spectra = pytest.mark.skipif(not SPECTRA.is_dir(), reason="measured spectra not at hand")


@needs_spectra
@pytest.mark.parametrize("channel_ns", [None, 0.006186])
def test_measured_water_has_the_lifetime_of_water_without_options(channel_ns):
    options = SpectrumFitOptions(channel_ns=channel_ns)

    fit = fit_file(SPECTRA / "H2O_002.Spe", options=options).fit

    assert 1.78 < fit.tau_ops_ns < 1.90
    assert fit.deviance / fit.ndf < 1.1


@needs_spectra
def test_the_example_of_pascual_has_the_values_of_pascual():
    # PAScual 3.0.3, channels 17 to 689, three free lifetimes: value and error of each.
    lives_ps = [(138, 13), (403, 23), (1994, 7)]
    shares = [(15.7, 1.8), (19.2, 2.7), (65.2, 1.1)]
    texts = ("pps=0.13~", "direct=0.4~", "ops=2.0~")
    model = replace(
        fit_file(SPECTRA / "CPI_A_001.dat").fit.model,
        components=tuple(parse_component(text) for text in texts),
        response=Response(),
    )

    fit = fit_file(
        SPECTRA / "CPI_A_001.dat", options=SpectrumFitOptions(channels=(16, 688), model=model)
    ).fit

    for k, name in enumerate(("pps", "direct", "ops")):
        value, error = lives_ps[k]
        assert abs(1e3 * fit.value(f"tau_{name}_ns") - value) < 0.3 * error
        value, error = shares[k]
        assert abs(100 * fit.intensities[k] - value) < 0.3 * error
    assert abs(2354.8 * fit.value("sigma_ns") - 266.6) < 0.3 * 2.9
