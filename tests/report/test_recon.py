from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from psimg.core import FitStatus
from psimg.report import ReportRecon, ReportRegion
from psimg.report.page import render_page
from psimg.report.pictures import draw_all, map_images
from psimg.report.recon import METHOD_WORDS
from psimg.report.recon_figures import draw_convergence, has_convergence
from psimg.report.slices import colour_limits

TRACE = np.array([-1000.0, -900.0, -890.0, -889.5])


def make_recon(grid, **changes):
    fields = {
        "method": "em",
        "n_triplets": 12_345,
        "iterations": 4,
        "subsets": 1,
        "activity": "pairs",
        "activity_iterations": 10,
        "activity_subsets": 2,
        "n_pairs": 67_890,
        "pair_share": 0.5,
        "sensitivity": "uniform",
        "n_unrelated": 1234.0,
        "n_class_2": 0.0,
        "random_scale": 1.0,
        "replicates": 0,
        "min_counts": 50.0,
        "trace": TRACE,
        "triplets_image": np.full(grid.shape, 0.25, np.float32),
    }
    return ReportRecon(**(fields | changes))


@pytest.fixture
def content_of(make_content, make_maps):
    """Return content with an image, its maps named otherwise on demand."""

    def build(names=None, units=None, fitted=True, **changes):
        maps = make_maps(fitted=fitted)
        if names is not None:
            columns = range(len(names))
            maps = replace(
                maps,
                names=names,
                units=units,
                values=maps.values[:, columns],
                errors=maps.errors[:, columns],
            )
        return make_content(maps=maps, recon=make_recon(maps.grid, **changes))

    return build


def page_of(content):
    return render_page(content, ())


def test_the_page_says_how_an_image_was_made(content_of):
    content = content_of()

    page = render_page(content, draw_all(content))

    assert "component EM" in page
    assert "12,345 whose lines reach the grid" in page
    assert "from 67,890 annihilation pairs (50.0 % of them kept)" in page
    assert "10 passes of 2 subsets each" in page
    assert "curvature of the likelihood" in page
    assert "Convergence" not in page  # a figure's title is in the figure
    assert 'alt="Change of the log-likelihood in each pass"' in page


@pytest.mark.parametrize("method", METHOD_WORDS)
def test_every_method_has_a_page(content_of, method):
    page = page_of(content_of(method=method))

    assert METHOD_WORDS[method].name in page
    assert "Events in the spectrum of each voxel" not in page


def test_an_activity_alone_makes_a_page_without_lifetimes(content_of):
    content = content_of(names=("activity",), units=("counts",), method="mlem")

    page = page_of(content)

    assert map_images(content)[0].name == "activity"
    assert "have a value of the activity" in page
    assert "from 67,890 pairs" in page
    assert "The median over the fitted voxels" not in page


def test_a_mean_lifetime_takes_the_place_of_that_of_ops(content_of):
    content = content_of(
        names=("mean_lifetime",), units=("ns",), method="simple", trace=np.zeros(0)
    )

    page = page_of(content)

    names = [image.name for image in map_images(content)]
    assert names[:3] == ["counts", "mean_lifetime", "mean_lifetime_error"]
    assert "have a mean lifetime of positrons" in page
    assert "log-likelihood of all events in each" not in page


def test_an_image_without_a_value_has_a_page(content_of):
    content = content_of(fitted=False)

    page = render_page(content, draw_all(content))

    assert "No voxel has a fitted value" in page
    assert "<code>recon.min_counts</code>" in page


def test_the_likelihood_of_regions_has_a_table(content_of):
    row = ReportRegion(
        name="<b>small</b>",
        n_triplets=321.0,
        tau_ops_ns=1.9,
        tau_ops_error_ns=0.1,
        intensity_ops=np.nan,
        intensity_ops_error=np.nan,
        background_fraction=0.1,
        status=FitStatus.TOO_FEW_COUNTS,
    )

    page = page_of(content_of(method="regions", regions=[row]))

    assert "&lt;b&gt;small&lt;/b&gt;" in page
    assert "321" in page
    assert "1.90 ± 0.10" in page


def test_a_scale_of_less_than_one_triplet_ends_at_the_largest(content_of):
    image = map_images(content_of())[0]

    assert colour_limits(image) == (0.0, 0.25)


@pytest.mark.parametrize("trace", [TRACE, np.array([0.0, -5.0]), np.array([1.0, 3.0, 2.0, 2.0])])
def test_rises_and_falls_of_the_likelihood_can_be_drawn(trace):
    assert has_convergence(trace)
    assert isinstance(draw_convergence(trace), Figure)


@pytest.mark.parametrize("trace", [[], [1.0], [1.0, 1.0], [1.0, np.nan, 2.0]])
def test_a_trace_that_tells_of_no_change_is_not_drawn(trace):
    assert not has_convergence(np.array(trace))
