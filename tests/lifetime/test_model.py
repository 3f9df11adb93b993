import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import SettingsError
from psimg.lifetime import Component, LifetimeModel, Response, standard_components

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
        ({"components": (PPS, DIRECT)}, "no component is named 'ops'"),
        ({"components": (OPS, OPS)}, "same name"),
        ({"components": (DIRECT, OPS)}, "needs a component named 'pps'"),
        (
            {"components": (PPS, DIRECT, Component(name="ops", tau_ns=2.0))},
            "component 'ops' must be free = true",
        ),
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
        ({"free": True, "tau_ns": 30.0}, "tau_ns = 30 of component x lies outside its bounds_ns"),
        ({"intensity": 1.5}, "intensity = 1.5 of component x: expected 0 to 1"),
    ],
)
def test_a_component_that_makes_no_sense_is_an_error(change, match):
    with pytest.raises(SettingsError, match=match):
        Component(**({"name": "x", "tau_ns": 2.0} | change))


def test_a_response_without_width_is_an_error():
    with pytest.raises(SettingsError, match="sigma_ns = 0: expected a number above zero"):
        Response(sigma_ns=0.0)
