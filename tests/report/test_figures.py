import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from numpy.testing import assert_allclose
from scipy.stats import chi2

from psimg.core import Box, Cylinder, Everywhere, FitStatus, Mask, Sphere, VoxelGrid
from psimg.events import TOT, SelectOptions
from psimg.lifetime import Component, LifetimeModel, Response
from psimg.lifetime._likelihood import poisson_deviance
from psimg.report.drawing import drawable, png
from psimg.report.figures import (
    deviance_residuals,
    draw_signals,
    draw_spectrum,
    poisson_bars,
)
from psimg.report.pictures import map_images
from psimg.report.random_figures import draw_delayed, draw_randoms
from psimg.report.slices import MapImage, colour_limits, draw_slices, find_slices
from psimg.spectra.signal import SignalSpectrum

GRID = VoxelGrid.centred(shape=(6, 5, 4), voxel_mm=(8.0, 8.0, 10.0))
UNIT = re.compile(r"\[(ns|ps|mm|keV|counts|%|1|\$\\sigma\$)\]$|per [\d.]+ (ns|keV)$")


def value_map(values, errors=None, scale="value", least_span=1.0):
    return MapImage(
        name="tau_ops",
        title="Mean life",
        label="tau [ns]",
        image=np.asarray(values, float),
        errors=None if errors is None else np.asarray(errors, float),
        scale=scale,
        least_span=least_span,
    )


def curves_of(figure):
    return {line.get_label(): line.get_ydata() for line in figure.axes[-1].lines}


def labels_of(figure):
    return [text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel()) if text]


def test_curves_of_the_components_sum_to_the_total(make_fit):
    figure = draw_spectrum(make_fit("water"))

    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    total = lines.pop("fit")
    parts = [
        y for label, y in lines.items() if label.startswith(("p-Ps", "direct", "o-Ps", "back"))
    ]
    assert len(parts) == 4
    assert_allclose(np.sum(parts, axis=0), total, rtol=1e-12)


def test_class_2_has_a_line_of_its_own_where_it_is_not_zero(make_fit):
    fit = make_fit("water")
    class_2 = 0.1 * fit.expected[-1]

    with_line = draw_spectrum(replace(fit, class_2=class_2)).axes[0]
    without = draw_spectrum(fit).axes[0]

    lines = {line.get_label(): line.get_ydata() for line in with_line.lines}
    assert_allclose(lines["background: all randoms"], fit.expected[-1])
    assert_allclose(lines["of them prompt-correlated (class II)"], class_2)
    assert not [line for line in without.lines if "class II" in str(line.get_label())]


def test_spectrum_shows_name_value_intensity_and_deviance(make_fit):
    fit = make_fit("water")

    figure = draw_spectrum(fit)

    assert figure.get_suptitle() == f"water: {fit.n_events:,} events"
    title = figure.axes[0].get_title(loc="left")
    assert f"{fit.tau_ops_ns:.3f} ±" in title
    assert f"{100 * fit.intensity_ops:.1f}" in title or f"{100 * fit.intensity_ops:.2f}" in title
    assert f"/{fit.ndf}" in title


def test_spectrum_without_a_fit_shows_counts_and_says_why(make_fit):
    fit = make_fit("faint", n_events=20)
    assert fit.status == FitStatus.TOO_FEW_COUNTS

    figure = draw_spectrum(fit)

    assert len(figure.axes) == 1
    assert figure.axes[0].get_title(loc="left") == "too few events"
    assert png(figure).startswith(b"\x89PNG")


def test_spectrum_without_any_event_can_be_drawn(make_fit):
    assert png(draw_spectrum(make_fit("empty", n_events=0)))


def test_spectrum_at_a_bound_keeps_its_curves_and_gives_no_mean_life(make_fit):
    fit = make_fit("bound")
    none = np.where([n.startswith("tau") for n in fit.parameters], np.nan, fit.values)
    fit = replace(fit, values=none, intensities=np.full(3, np.nan), status=FitStatus.AT_BOUND)

    figure = draw_spectrum(fit)

    assert len(figure.axes) == 2
    assert figure.axes[0].get_title(loc="left").startswith("no o-Ps lifetime found")
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert "o-Ps, no value" in labels
    assert png(figure)


@pytest.mark.parametrize("name", ["$\\bad{", "_hidden", "体模\n\t\x00", "x" * 500, "", "a % {b}"])
def test_spectrum_of_any_name_can_be_drawn(make_fit, name):
    model = LifetimeModel(
        components=(
            Component(name="direct", tau_ns=0.388),
            Component(name="ops", tau_ns=2.0, free=True),
            Component(name=name, tau_ns=0.125),
        ),
        intensities="free",
        response=Response(mu_ns=0.0, sigma_ns=0.1),
    )

    assert png(draw_spectrum(make_fit(name, model=model)))


def test_text_is_drawn_on_one_line_in_letters_of_the_font():
    assert drawable("a\nb\t体", 20) == "a b □"
    assert drawable("__x", 20) == "x"
    assert drawable("abcdef", 4) == "abc…"


def test_residuals_are_signed_and_their_squares_sum_to_the_deviance():
    rng = np.random.default_rng(5)
    expected = rng.uniform(0.01, 40.0, 300)
    counts = rng.poisson(expected).astype(float)

    residuals = deviance_residuals(counts, expected)

    assert_allclose(np.sum(residuals**2), poisson_deviance(counts, expected), rtol=1e-12)
    assert np.all(np.sign(residuals) == np.sign(counts - expected))


def test_error_bars_are_garwood_intervals():
    counts = np.array([0.0, 1.0, 7.0, 1000.0])

    below, above = poisson_bars(counts)

    low, high = 0.15865525393145707, 0.8413447460685429
    lower = np.where(counts > 0, chi2.ppf(low, np.maximum(2 * counts, 1)) / 2, 0.0)
    assert_allclose(counts - below, lower, rtol=1e-10)
    assert_allclose(counts + above, chi2.ppf(high, 2 * counts + 2) / 2, rtol=1e-10)


def test_energies_are_drawn_with_both_windows():
    energy = SignalSpectrum.of(np.array([511.0, 1157.0, 2500.0]))

    figure = draw_signals(energy, windows=SelectOptions().signal)

    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["annihilation window, 430 to 600 keV", "prompt window, 700 to 1300 keV"]
    assert figure.get_suptitle() == "3 singles, 1 of them above 2000 keV"
    assert figure.axes[0].get_xlabel() == "energy [keV]"


def test_times_over_threshold_are_drawn_in_ns_and_an_open_window_to_the_end():
    tot = SignalSpectrum.of(np.array([17.0, 40.0, 140.0]), signal=TOT)
    options = SelectOptions(annihilation_tot_ns=(10.0, 25.0), prompt_tot_ns=(30.0, np.inf))

    figure = draw_signals(tot, windows=options.signal)

    axes = figure.axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["annihilation window, 10 to 25 ns", "prompt window, from 30 ns on"]
    assert axes.get_xlabel() == "time over threshold [ns]"
    assert axes.get_ylabel() == "singles per 0.25 ns"
    assert figure.get_suptitle() == "3 singles, 1 of them above 100 ns"
    assert axes.get_xlim()[1] >= 40.25
    assert png(figure)


def test_energies_of_no_singles_can_be_drawn():
    energy = SignalSpectrum.of(np.empty(0))

    assert png(draw_signals(energy, windows=SelectOptions().signal))


def test_every_axis_carries_its_unit(content):
    figures = [draw_spectrum(content.fits[0])]
    figures.append(draw_signals(content.signals, windows=SelectOptions().signal))
    for image in map_images(content):
        figures.append(draw_slices(image, grid=GRID, voxel=(3, 2, 2)))

    for figure in figures:
        labels = labels_of(figure)
        assert labels
        for label in labels:
            assert UNIT.search(label), label


def test_slices_are_the_planes_through_the_voxel():
    image = np.arange(GRID.n_voxel, dtype=float).reshape(GRID.shape)

    figure = draw_slices(value_map(image), grid=GRID, voxel=(1, 2, 3))

    planes = [axes.images[0].get_array() for axes in figure.axes[:3]]
    assert_allclose(planes[0], image[:, :, 3].T)
    assert_allclose(planes[1], image[:, 2, :].T)
    assert_allclose(planes[2], image[1, :, :].T)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["z = 15 mm", "y = 0 mm", "x = −12 mm"]
    assert_allclose(figure.axes[0].images[0].get_extent(), [-24.0, 24.0, -20.0, 20.0])


def test_panels_share_one_scale_in_mm():
    figure = draw_slices(value_map(np.ones(GRID.shape)), grid=GRID, voxel=(1, 2, 3))

    width, height = figure.get_size_inches()
    for axes in figure.axes[:3]:
        box = axes.get_position(original=True)
        x, y = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
        assert_allclose(box.width * width / x, box.height * height / y)


def test_voxels_without_a_value_are_masked():
    image = np.full(GRID.shape, np.nan)
    image[3, 2, 2] = 2.0

    figure = draw_slices(value_map(image), grid=GRID, voxel=(3, 2, 2))

    assert np.count_nonzero(~figure.axes[0].images[0].get_array().mask) == 1
    assert figure.axes[0].patch.get_hatch()


def test_map_without_any_value_can_be_drawn():
    nothing = np.full(GRID.shape, np.nan)

    assert png(draw_slices(value_map(nothing, nothing), grid=GRID, voxel=(0, 0, 0)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 1), (2, 2, 300)])
def test_grids_of_any_shape_can_be_drawn(shape):
    grid = VoxelGrid.centred(shape=shape, voxel_mm=(4.0, 4.0, 4.0))

    assert png(draw_slices(value_map(np.ones(shape)), grid=grid, voxel=(0, 0, 0)))


def test_regions_are_outlined_where_they_meet_the_slice():
    through = Sphere(name="through", centre_mm=(0.0, 0.0, 5.0), radius_mm=10.0)
    elsewhere = Sphere(name="elsewhere", centre_mm=(0.0, 0.0, -15.0), radius_mm=4.0)
    voxel = (3, 2, 2)  # its centre has z = 5

    drawn = draw_slices(value_map(np.ones(GRID.shape)), grid=GRID, regions=[through], voxel=voxel)
    away = draw_slices(value_map(np.ones(GRID.shape)), grid=GRID, regions=[elsewhere], voxel=voxel)

    outline = drawn.axes[0].collections[0].get_paths()[0].vertices
    # The outline lies within half a step of the raster, 20.8 mm over 239 steps.
    assert_allclose(np.hypot(*outline.T), 10.0, atol=0.09)
    assert not away.axes[0].collections


@pytest.mark.parametrize(
    "region",
    [
        Everywhere(),
        Box(name="huge", centre_mm=(0.0, 0.0, 0.0), half_length_mm=(500.0, 500.0, 500.0)),
        Cylinder(name="far", centre_mm=(900.0, 0.0, 0.0), radius_mm=5.0, half_length_mm=900.0),
        Mask(name="mask", grid=GRID, inside=np.indices(GRID.shape).sum(axis=0) > 7),
    ],
    ids=lambda region: region.name,
)
def test_any_region_can_be_outlined(region):
    image = value_map(np.ones(GRID.shape))

    figure = draw_slices(image, grid=GRID, regions=[region], voxel=(3, 2, 2), number_regions=True)

    assert png(figure)


def test_noise_alone_does_not_fill_the_colours():
    rng = np.random.default_rng(11)
    noise = rng.normal(5.0, 0.5, GRID.shape)

    low, high = colour_limits(value_map(noise, np.full(GRID.shape, 0.5)))

    # The scale reaches three errors to both sides, and the 2 % tails about two.
    assert high - low >= 6 * 0.5
    inside = (noise > low) & (noise < high)
    assert inside.mean() > 0.96


def test_outliers_do_not_set_the_colours():
    values, errors = np.full(GRID.shape, 2.0), np.full(GRID.shape, 0.1)
    values[0, 0, 0], errors[0, 0, 0] = 19.0, 30.0

    low, high = colour_limits(value_map(values, errors))

    assert (low, high) == (1.5, 2.5)


def test_slices_go_through_the_plane_with_the_most_events():
    counts = np.ones((9, 8, 7), np.uint32)
    counts[2, 6, 1] = 5000

    assert find_slices(counts) == (2, 6, 1)


def test_slices_of_even_activity_go_through_its_middle():
    rng = np.random.default_rng(2)

    assert find_slices(rng.poisson(np.full((5, 5, 5), 40.0)).astype(np.uint32)) in [
        (i, j, k) for i in (1, 2, 3) for j in (1, 2, 3) for k in (1, 2, 3)
    ]
    assert find_slices(np.zeros((5, 4, 3), np.uint32)) == (2, 2, 1)


def points_of(axes):
    """Points of each error bar by its label."""
    return {bar.get_label(): bar.lines[0].get_data() for bar in axes.containers}


def steps_of(axes):
    return [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]


def test_points_of_the_randoms_keep_their_sum(make_randoms):
    randoms = make_randoms()

    axes = draw_randoms(randoms).axes[0]

    classes = randoms.classes[0]
    points = points_of(axes)
    n_bin = len(randoms.counts)
    for name, total in (
        ("all randoms", classes.total),
        ("prompt unrelated (I + III)", classes.unrelated),
        ("prompt-correlated (II)", classes.class_2),
    ):
        _, y = points[name]
        # 100 bins in as many alike: means over bins of one size.
        assert_allclose(y.mean() * n_bin, total, rtol=0.02)
    assert len(steps_of(axes)) == 3


def test_true_numbers_are_drawn_only_where_they_are_known(make_randoms):
    known = draw_randoms(make_randoms()).axes[0]
    unknown = draw_randoms(make_randoms(with_truth=False)).axes[0]

    assert len(steps_of(known)) == 3
    assert not steps_of(unknown)
    labels = [text.get_text() for text in unknown.get_legend().get_texts()]
    assert not any("true" in label for label in labels)
    assert labels[0] == "events"


def test_truth_without_windows_is_drawn_under_its_own_names(make_randoms):
    axes = draw_randoms(make_randoms(n_sets=(0, 0, 0))).axes[0]

    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "prompt-correlated (II), true" in labels
    assert list(points_of(axes)) == ["events"]


@pytest.mark.parametrize("n_sets", [(2, 2, 2), (4, 0, 0), (0, 1, 1)])
def test_each_kind_of_delayed_window_has_a_panel_from_zero(make_randoms, n_sets):
    randoms = make_randoms(n_sets=n_sets)

    figure = draw_delayed(randoms)

    kinds = [kind for kind in range(3) if n_sets[kind]]
    assert len(figure.axes) == len(kinds)
    for axes, kind in zip(figure.axes, kinds, strict=True):
        assert axes.get_ylim()[0] == 0.0
        _, y = points_of(axes)["events"]
        assert_allclose(y.mean() * len(randoms.counts), randoms.delayed[kind].sum(), rtol=0.05)
        assert f"{n_sets[kind]} window" in axes.get_title(loc="left")
    assert png(figure)


@pytest.mark.parametrize("with_truth", [True, False])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.01])
def test_randoms_of_few_or_no_counts_can_be_drawn(make_randoms, scale, with_truth):
    randoms = make_randoms(scale=scale, with_truth=with_truth)

    figures = draw_randoms(randoms), draw_delayed(randoms)

    for figure in figures:
        assert png(figure)
        for axes in figure.axes:
            assert np.all(np.isfinite(axes.get_ylim()))
    assert figures[0].axes[0].get_ylim()[0] > 0


def test_drawing_leaves_pyplot_alone(content):
    before = "matplotlib.pyplot" in sys.modules

    draw_spectrum(content.fits[0])

    assert ("matplotlib.pyplot" in sys.modules) == before


def test_equal_figures_are_equal_files(make_fit):
    first, second = (png(draw_spectrum(make_fit("water"))) for _ in range(2))

    assert first == second
