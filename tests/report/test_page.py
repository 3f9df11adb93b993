import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from psimg.core import FitStatus, Stage
from psimg.events.windows import PROMPT_ONLY, windows_of
from psimg.lifetime import LifetimeModel
from psimg.report import ReportFile, write_report
from psimg.report.page import render_page
from psimg.report.pictures import file_name
from psimg.report.words import (
    STATUS_MEANING,
    STATUS_WORDS,
    chance,
    number,
    percent,
    share_of,
    with_error,
)
from psimg.spectra.randoms import measure_shape

HOSTILE = ["<script>alert(1)</script>", "../../x", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}"]
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag that opens also closes."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)
        self.text = " ".join(self.text.split())
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data + " "


def write(directory, content) -> tuple[str, Page]:
    write_report(directory, content)
    html = (directory / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


def render(content) -> Page:
    """The page without its figures, which take the time."""
    return Page(render_page(content, ()))


@pytest.fixture(scope="module")
def written(tmp_path_factory, make_content):
    """A report, written once: its directory, its page, and the calls of its progress."""
    directory, calls = tmp_path_factory.mktemp("report"), []
    write_report(directory, make_content(), progress=lambda *done: calls.append(done))
    return directory, (directory / "report.html").read_text(encoding="utf-8"), calls


def test_page_shows_every_region_with_its_figure(written, content):
    directory, html, _ = written
    page = Page(html)

    for fit in content.fits:
        assert fit.name in page.text
        assert with_error(fit.tau_ops_ns, fit.tau_ops_error_ns) in page.text
    descriptions = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    for name in ("small", "large"):
        assert f"Spectrum of region {name}: fitted" in descriptions
    assert len(descriptions) == len(list((directory / "figures").glob("*.png")))


def test_page_needs_no_other_file(written):
    _, html, _ = written
    page = Page(html)

    assert "http:" not in html
    assert "https:" not in html
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    for _, attrs in page.tags:
        assert "src" not in attrs or attrs["src"].startswith("data:image/png;base64,")
        assert attrs.get("href", "#").startswith("#")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_names_are_escaped_and_stay_in_the_directory(
    tmp_path, make_content, make_fit, make_maps, make_randoms
):
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    content = make_content(
        maps=make_maps(fitted=False),
        title=HOSTILE[0],
        fits=[make_fit(name) for name in HOSTILE],
        randoms=make_randoms(names=tuple(HOSTILE)),
        warnings=HOSTILE,
        files=[ReportFile(name=n, format=n, content=n, sha256=n) for n in HOSTILE],
        stages=[Stage(name=n, unit=n, n_in=1, n_out=0, dropped={n: 1}) for n in HOSTILE],
        settings={n: {n: [n]} for n in HOSTILE},
        seconds=dict.fromkeys(HOSTILE, 1.0),
        isotope=HOSTILE[0],
        created=HOSTILE[0],
    )

    html, page = write(directory, content)

    assert "<script" not in html
    assert all("onerror" not in attrs for _, attrs in page.tags)
    for name in HOSTILE:
        assert name in page.text
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert all(path.startswith("a/b/") for path in written)
    assert len([path for path in written if "/region-" in path]) == len(HOSTILE)


def test_file_names_are_safe_and_unique():
    names = ["../../x", "x", "X", "", "體", "a/b\\c:d\0e", "x" * 300, "con", "CON"]

    found = [file_name(i, name) for i, name in enumerate(names, start=1)]

    assert len({name.lower() for name in found}) == len(names)
    assert all(re.fullmatch(r"region-\d\d[a-z0-9-]{0,41}", name) for name in found)


def test_name_that_no_encoding_holds_does_not_break_the_page(tmp_path, make_content, make_maps):
    # A file's name that is not UTF-8 reaches Python with such code points.
    content = make_content(title="scan \udce9", fits=[], signals=None, maps=make_maps(fitted=False))

    _, page = write(tmp_path, content)

    assert "scan ?" in page.text


def test_run_without_fitted_voxels_makes_a_report(tmp_path, make_content, make_maps):
    _, page = write(tmp_path, make_content(fits=[], maps=make_maps(fitted=False)))

    assert "No voxel has a fitted value" in page.text
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "map-counts.png" in figures
    assert "map-tau_ops.png" not in figures


def test_run_without_any_voxel_makes_a_report(tmp_path, make_content, make_maps):
    maps = make_maps()
    none = replace(
        maps,
        voxel=maps.voxel[:0],
        values=maps.values[:0],
        errors=maps.errors[:0],
        deviance=maps.deviance[:0],
        status=maps.status[:0],
    )

    _, page = write(tmp_path, make_content(fits=[], maps=none))

    assert "0 of 120 voxels" in page.text


def test_run_without_a_value_in_any_region_makes_a_report(tmp_path, make_content, make_fit):
    faint = [make_fit("a", 0), make_fit("b", 30)]

    _, page = write(tmp_path, make_content(fits=faint, calibration=make_fit("calibration", 10)))

    assert "0 of 2 regions" in page.text
    assert page.text.count("too few events") >= 4
    assert "nan" not in page.text.split()


def test_run_without_regions_or_energies_makes_a_report(tmp_path, make_content):
    _, page = write(
        tmp_path, make_content(fits=[], regions=[], signals=None, settings={}, files=[])
    )

    assert "names no regions" in page.text
    assert "no energy spectrum" in page.text
    assert not (tmp_path / "figures" / "energy.png").exists()


def test_page_states_the_fitted_response(content):
    page = render(content)

    fit = content.calibration
    sigma = with_error(1e3 * fit.value("sigma_ns"), 1e3 * fit.error("sigma_ns"))
    assert f"σ = {sigma} ps" in page.text


def test_page_says_that_a_response_was_given(make_content, make_fit):
    page = render(make_content(calibration=make_fit("calibration")))

    assert "μ = 0 ps (given)" in page.text
    assert "σ = 100 ps (given; 235 ps FWHM)" in page.text


def test_page_says_that_a_response_was_assumed(make_content, make_fit):
    content = make_content(calibration=make_fit("calibration", 10, model=LifetimeModel()))

    page = render(content)

    assert "σ = 100 ps (assumed; 235 ps FWHM)" in page.text


def test_page_says_where_the_model_does_not_describe_all_events(make_content, make_fit):
    fit = replace(make_fit("calibration"), deviance=400.0)
    assert fit.is_poor  # 96 degrees of freedom

    page = render(make_content(calibration=fit))

    assert "The model does not describe the spectrum of all events" in page.text


def test_chance_alone_makes_no_fit_poor(make_fit):
    for n_events in (60, 300, 1000, 20_000):
        assert not make_fit("good", n_events).is_poor


def test_page_shows_warnings_and_no_box_without_them(make_content):
    with_box = render(make_content(warnings=["the moon is full"]))
    without = render(make_content())

    assert "the moon is full" in with_box.text
    assert not [attrs for _, attrs in without.tags if attrs.get("class") == "warnings"]


def test_page_tells_the_path_of_the_events(content):
    page = render(content)

    assert "read (rows) 1,234,567 1,234,560 100 NaN or infinite 7 < 0.01" in page.text
    assert "object (events) 0 0 – – 0 –" in page.text


def section(page: Page) -> str:
    """The text of the section on random triplets."""
    return re.search(r"Random triplets (Triplets whose .*?) Regions (?:No\.|The)", page.text)[1]


def content_with(make_content, make_fit, background: str, **changes):
    fit = make_fit("calibration")
    return make_content(
        calibration=replace(fit, model=replace(fit.model, background=background)), **changes
    )


def test_page_shows_each_class_of_randoms_beside_the_truth(content):
    text = section(render(content))

    classes, truth = content.randoms.classes[0], content.randoms.truth
    assert "True number" in text
    for name, origins in (
        ("class_1", [1]),
        ("class_2", [2]),
        ("class_3", [3]),
        ("total", [1, 2, 3]),
    ):
        estimate, error = getattr(classes, name), getattr(classes, f"{name}_error")
        true = int(truth[origins].sum())
        pull = (estimate - true) / np.hypot(error, np.sqrt(true))
        share = percent(estimate / truth.sum(), error / truth.sum())
        row = f"{with_error(estimate, error)} {share} {true:,} {pull:+.1f}"
        assert row.replace("-", "−") in text
    unrelated = with_error(classes.unrelated, classes.unrelated_error)
    region = f"small {content.randoms.n_events[1]:,} {unrelated}"
    assert region in text


def test_page_names_the_windows_that_measured_the_randoms(content):
    text = section(render(content))

    assert "2 windows with the prompt delayed by 200 and 300 ns;" in text
    assert "2 windows with one annihilation photon delayed by 200 and −200 ns;" in text
    assert "the prompt the other way, by 200 and −200 ns" in text


def test_page_without_truth_has_no_column_for_it(make_content, make_randoms):
    text = section(render(make_content(randoms=make_randoms(with_truth=False))))

    assert "Estimate" in text
    assert "True number" not in text
    assert "Poisson error of the true number" not in text


def test_page_with_delayed_prompts_alone_has_dashes_for_the_classes_they_do_not_tell(
    tmp_path, make_content, make_randoms
):
    content = make_content(
        randoms=make_randoms(n_sets=(2, 0, 0)), windows=windows_of((200.0, 300.0), ())
    )

    _, page = write(tmp_path, content)

    text = section(page)
    assert "2 windows with the prompt delayed by 200 and 300 ns." in text
    assert "a pair of one decay, the prompt of another – – " in text
    assert "nan" not in text.lower().replace("annihilation", "")
    assert "would tell how much of it there is" in text
    assert (tmp_path / "figures" / "delayed-windows.png").exists()


def test_page_of_located_events_says_that_the_sideband_is_all_there_is(
    tmp_path, make_content, make_randoms
):
    content = make_content(
        randoms=make_randoms(n_sets=(0, 0, 0), with_truth=False), windows=PROMPT_ONLY, signals=None
    )

    _, page = write(tmp_path, content)

    text = section(page)
    assert "The input holds no singles, so there are no delayed windows" in text
    assert "Estimate" not in text
    assert "In each region" not in text
    assert "the spectrum before −1.0 ns (sideband)" in text
    assert "windows with a delayed prompt" not in text.partition("Are they flat?")[2]
    assert "the input cannot tell; singles could" in text
    assert not (tmp_path / "figures" / "randoms.png").exists()


def test_page_of_singles_without_delayed_windows_says_how_to_make_some(make_content, make_randoms):
    randoms = make_randoms(n_sets=(0, 0, 0), with_truth=False)

    text = section(render(make_content(randoms=randoms, windows=PROMPT_ONLY)))

    assert "select.delays_ns and select.photon_delays_ns make some" in text


@pytest.mark.parametrize(
    ("background", "left_out", "reading"),
    [
        ("flat", "Class II is not, and is left out", "even in Δt"),
        ("delayed", "Class II is in none of them", "whose prompt is unrelated"),
        ("four-set", "leaves out no class", "the randoms of all classes"),
    ],
)
def test_page_says_what_each_background_leaves_out(
    make_content, make_fit, background, left_out, reading
):
    page = render(content_with(make_content, make_fit, background))

    text = section(page)
    assert f"The background of this study, {background} ," in text
    assert left_out in text
    assert f"With the background of this study, {background} , these are" in page.text
    assert reading in page.text
    # What is said of class II in the signal is said of the backgrounds that leave it there.
    assert ("remain in the signal" in page.text) == (background != "four-set")
    assert ("four-set , all classes" in page.text) == (background != "four-set")


def test_page_compares_the_mean_lives_of_two_backgrounds_where_both_were_fitted(
    make_content, make_fit, make_randoms
):
    both = render(content_with(make_content, make_fit, "flat"))
    one = render(
        content_with(
            make_content, make_fit, "flat", randoms=make_randoms(tau_ops_four_set_ns=np.nan)
        )
    )

    assert "flat , of this study 1.900 ± 0.020 four-set , all classes 2.000 ± 0.030" in both.text
    assert "of this study 1.900" not in one.text


def test_page_tells_whether_the_unrelated_randoms_and_the_sideband_are_flat(
    make_content, make_randoms
):
    flat = make_randoms()
    slope = np.linspace(400.0, 100.0, 100)
    bent = measure_shape(slope, flat.edges_ns)
    assert bent.order > 0

    even = section(render(make_content(randoms=flat)))
    uneven = section(
        render(
            make_content(
                randoms=replace(flat, shape=bent, sideband=replace(flat.sideband, shape=bent))
            )
        )
    )

    assert f"flat {number(flat.shape.p_flat, 2)}" in even
    assert "Nothing speaks against a flat spectrum before the peak" in even
    assert f"smooth curve of order {bent.order} < 0.0001" in uneven
    assert "The unrelated randoms are not flat" in uneven
    assert "The spectrum before the peak is not flat" in uneven


def test_page_of_a_spectrum_without_bins_before_the_peak_says_so(make_content, make_randoms):
    with_windows = make_randoms(sideband=None)
    without = make_randoms(n_sets=(0, 0, 0), sideband=None)

    assert "too few bins before the peak" in section(render(make_content(randoms=with_windows)))
    assert "and too few bins before the peak" in section(render(make_content(randoms=without)))


def test_page_of_randoms_without_any_count_has_no_nan(tmp_path, make_content, make_randoms):
    nothing = make_randoms(
        scale=0.0,
        signal=np.nan,
        tau_ops_ns=np.nan,
        tau_ops_error_ns=np.nan,
        tau_ops_four_set_ns=np.nan,
        tau_ops_four_set_error_ns=np.nan,
    )

    _, page = write(tmp_path, make_content(fits=[], randoms=nothing))

    assert "nan" not in page.text.split()
    assert (tmp_path / "figures" / "randoms.png").exists()


def test_page_shows_all_settings_and_seconds(content):
    page = render(content)

    assert "grid.voxel_mm [8.0, 8.0, 10.0]" in page.text
    assert "grid.shape not set" in page.text
    assert json.dumps(content.settings["regions"]) in page.text
    assert "fit voxels 0 " in page.text


def test_progress_counts_the_figures(written):
    directory, _, calls = written

    n = len(list((directory / "figures").iterdir()))
    assert calls == [(i, n) for i in range(1, n + 1)]


def test_same_content_makes_the_same_page(content):
    assert render_page(content, ()) == render_page(content, ())


def test_report_is_imported_without_matplotlib():
    code = "import sys, psimg.report; print('matplotlib' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_every_status_has_words():
    assert set(STATUS_WORDS) == set(STATUS_MEANING) == set(FitStatus)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.01349, 0.0213, "2.013 ± 0.021"),
        (2.0, 0.0996, "2.00 ± 0.10"),
        (2.0, 0.996, "2.0 ± 1.0"),
        (1234.5, 57.0, "1,234 ± 57"),
        (1234.5, 570.0, "1,234 ± 570"),
        (0.125, 0.0, "0.125"),
        (0.125, np.nan, "0.125"),
        (-0.25, 0.25, "−0.25 ± 0.25"),
        (np.nan, 0.1, "–"),
    ],
)
def test_errors_have_two_digits(value, error, text):
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (12345.6, 3, "12,346"),
        (99.96, 3, "100"),
        (0.012345, 3, "0.0123"),
        (np.inf, 3, "–"),
    ],
)
def test_numbers_have_the_digits_asked_for(value, digits, text):
    assert number(value, digits) == text


def test_shares_are_per_cent():
    assert percent(0.1234) == "12.3"
    assert percent(0.3, 0.01) == "30.0 ± 1.0"
    assert share_of(1, 100_000) == "< 0.01"
    assert share_of(1, 3) == "33.3"
    assert share_of(0, 0) == "–"


def test_chances_have_no_digits_that_mean_nothing():
    assert chance(0.4321) == "0.43"
    assert chance(1e-30) == "< 0.0001"
    assert chance(np.nan) == "–"
