import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import SettingsError
from psimg.lifetime import Component, Gaussian, LifetimeModel, Response, standard_components
from psimg.lifetime.model import require_free_ops

PPS, DIRECT, OPS = standard_components()


def test_the_ps_ratio_gives_p_ps_a_third_of_o_ps():
    names, link = LifetimeModel(intensities="ps-ratio").groups

    assert names == ("direct", "ops")
    assert_allclose(link @ [60.0, 30.0], [10.0, 60.0, 30.0])


def test_free_intensities_are_one_amplitude_each():
    names, link = LifetimeModel(intensities="free").groups

    assert names == ("pps", "direct", "ops")
    assert_array_equal(link, np.eye(3))


def test_fixed_intensities_leave_one_amplitude():
    names, link = LifetimeModel(intensities="fixed").groups

    assert names == ("signal",)
    assert_allclose(link[:, 0], [0.1, 0.6, 0.3])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"components": (PPS, DIRECT)}, "'ps-ratio' needs a component named 'ops'"),
        ({"components": (PPS, DIRECT), "intensities": "merged"}, "needs a component named 'ops'"),
        ({"components": ()}, "needs a component that is not of the source"),
        (
            {"components": (PPS, OPS, Component(name="direct", tau_ns=0.125))},
            "components pps and direct have the same mean life tau_ns = 0.125",
        ),
        (
            {"components": (PPS, OPS, Component(name="foil", tau_ns=0.3))}
            | {"intensities": "merged"},
            "'merged' needs an intensity of each component but o-Ps",
        ),
        (
            {"components": (Component(name="x", tau_ns=0.3, intensity=0.0), OPS)}
            | {"intensities": "merged"},
            "intensities of the components but o-Ps are zero",
        ),
        (
            {
                "components": (
                    *standard_components(),
                    Component(name="foil", tau_ns=0.38, intensity=0.6, source=True),
                    Component(name="salt", tau_ns=0.43, intensity=0.5, source=True),
                )
            },
            "source's intensities sum to 1.1",
        ),
        ({"components": (OPS, OPS)}, "same name"),
        ({"components": (DIRECT, OPS)}, "needs a component named 'pps'"),
        (
            {
                "intensities": "fixed",
                "components": (PPS, Component(name="ops", tau_ns=2.0, free=True)),
            },
            "needs an intensity of each component",
        ),
        (
            {
                "intensities": "fixed",
                "components": (PPS, Component(name="ops", tau_ns=2.0, free=True, intensity=0.3)),
            },
            "intensities sum to 0.4, expected 1",
        ),
    ],
)
def test_a_model_that_makes_no_sense_is_an_error(change, match):
    with pytest.raises(SettingsError, match=match):
        LifetimeModel(**change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"tau_ns": 0.0}, "tau_ns of component x = 0"),
        ({"bounds_ns": (3.0, 1.0)}, "bounds_ns of component x = .* the low end is not below"),
        ({"bounds_ns": (-3.0, 1.0)}, "bounds_ns of component x = -3: expected a number above zero"),
        (
            {"name": "ops", "free": True, "tau_ns": 30.0},
            "tau_ns = 30 of component ops lies outside its bounds_ns 0.5 to 20",
        ),
        ({"intensity": 1.5}, "intensity = 1.5 of component x: expected 0 to 1"),
        ({"prior_ns": (2.0, 0.1)}, "component x has a prior_ns and a fixed mean life"),
        ({"prior_ns": (2.0, 0.0), "free": True}, "second number of prior_ns of component x = 0"),
        ({"source": True}, "component x is of the source and needs an intensity below 1"),
        ({"spread": 1.2}, "spread = 1.2 of component x: expected 0 to 1"),
    ],
)
def test_a_component_that_makes_no_sense_is_an_error(change, match):
    with pytest.raises(SettingsError, match=match):
        Component(**({"name": "x", "tau_ns": 2.0} | change))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Response(sigma_ns=0.0), "sigma_ns = 0: expected a number above zero"),
        (lambda: Gaussian(sigma_ns=-1.0), "sigma_ns = -1: expected a number above zero"),
        (lambda: Gaussian(weight=1.0), "weight = 1 of a Gaussian of the response: expected 0 to 1"),
        (
            lambda: Response(more=(Gaussian(weight=0.6), Gaussian(weight=0.5))),
            "further Gaussians sum to 1.1; they must leave something for the first",
        ),
    ],
)
def test_a_response_that_makes_no_sense_is_an_error(make, match):
    with pytest.raises(SettingsError, match=match):
        make()


def test_merged_components_share_as_they_state():
    names, link = LifetimeModel(intensities="merged").groups

    assert names == ("fast", "ops")
    assert_allclose(link @ [70.0, 30.0], [10.0, 60.0, 30.0])


@pytest.mark.parametrize("rule", ["free", "ps-ratio", "fixed", "merged"])
def test_a_source_has_its_share_of_all_positrons_whatever_the_rule(rule):
    foil = Component(name="foil", tau_ns=0.382, intensity=0.2, source=True)
    model = LifetimeModel(components=(PPS, foil, DIRECT, OPS), intensities=rule)

    names, link = model.groups

    events = link @ np.arange(1.0, len(names) + 1)
    assert_allclose(events[1] / events.sum(), 0.2)
    without = LifetimeModel(intensities=rule).groups
    assert names == without[0]
    assert_allclose(np.delete(link, 1, axis=0), without[1])


def test_free_mean_lives_have_ranges_of_their_own():
    assert OPS.range_ns == (0.5, 20.0)
    assert DIRECT.range_ns == (0.097, 1.552)
    assert Component(name="x", tau_ns=1.0, bounds_ns=(0.9, 1.1)).range_ns == (0.9, 1.1)


def test_the_table_of_a_response_has_its_gaussians_in_full():
    response = Response(
        mu_ns=0.1, sigma_ns=0.1, more=(Gaussian(weight=0.25, shift_ns=-0.3, sigma_ns=0.2),)
    )

    assert_allclose(response.table, [[0.75, 0.1, 0.1], [0.25, -0.2, 0.2]])
    assert response.known
    assert not Response(mu_ns=0.1, sigma_ns=0.1, more=(Gaussian(weight=0.2),)).known


@pytest.mark.parametrize(
    "components", [(PPS, DIRECT), (PPS, DIRECT, Component(name="ops", tau_ns=2.0))]
)
def test_regions_and_voxels_need_o_ps_with_a_free_mean_life(components):
    model = LifetimeModel(components=components, intensities="free")

    with pytest.raises(SettingsError, match=r"components need one named 'ops' with free = true"):
        require_free_ops(model)
