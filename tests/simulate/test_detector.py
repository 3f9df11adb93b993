import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import SettingsError
from psimg.simulate import Detector

RING = Detector(
    inner_radius_mm=400.0, thickness_mm=20.0, length_mm=1000.0, crystals_around=760,
    crystals_along=320, crt_ns=0.23, energy_fwhm=0.1,
)  # fmt: skip
MODULES = replace(RING, n_modules=24, module_width_mm=90.0, crystals_around=312, crystals_along=1)


def test_a_ring_knows_its_sizes():
    assert RING.n_crystals == 760 * 320
    assert RING.outer_radius_mm == 420.0
    assert RING.placed_radius_mm == 410.0
    assert replace(RING, position_radius_mm=405.0).placed_radius_mm == 405.0
    assert RING.sigma_single_ns == pytest.approx(0.23 / (2.35482 * math.sqrt(2)), rel=1e-5)
    assert RING.scintillator_cm3 == pytest.approx(math.pi * (42**2 - 40**2) * 100)


def test_modules_reach_farther_than_their_middles():
    assert MODULES.outer_radius_mm == pytest.approx(math.hypot(420, 45))
    assert MODULES.scintillator_cm3 == pytest.approx(24 * 9 * 2 * 100)
    assert replace(MODULES, packing=0.5).scintillator_cm3 == pytest.approx(12 * 9 * 2 * 100)
    # As wide as fits is allowed.
    widest = 2 * 400 * math.tan(math.pi / 24)
    assert replace(MODULES, module_width_mm=widest).module_width_mm == widest


def test_a_study_is_told_what_it_needs_of_a_detector():
    scanner = RING.scanner()

    assert (scanner.radius_mm, scanner.length_mm) == (410.0, 1000.0)
    assert (scanner.crt_ns, scanner.energy_fwhm) == (0.23, 0.1)
    assert replace(RING, tot_ns=(0.0, 10.0, 1.0, 0.0)).scanner().energy_fwhm is None
    assert replace(RING, energy_fwhm=0.0).scanner().energy_fwhm is None


def test_time_over_threshold_is_a_parabola_in_the_logarithm_held_at_its_top():
    a, b, c, d = -40.0, 30.0, 20.0, -2.0
    detector = replace(RING, tot_ns=(a, b, c, d))
    top = math.exp(-b / (2 * d)) - c
    log = np.log(np.array([50.0, 300.0, 1000.0]) + c)

    found = detector.time_over_threshold(np.array([0.0, -5.0, 50.0, 300.0, 1000.0, top, 2 * top]))

    assert_allclose(found[:2], max(0.0, a + b * math.log(c) + d * math.log(c) ** 2))
    assert_allclose(found[2:5], a + b * log + d * log**2, rtol=1e-12)
    assert_allclose(found[5:], a - b * b / (4 * d), rtol=1e-12)


def test_a_time_over_threshold_is_never_negative():
    detector = replace(RING, tot_ns=(-100.0, 10.0, 0.0, 0.0))

    assert_allclose(detector.time_over_threshold(np.array([0.0, 1.0, 1e3])), 0.0)


def test_offsets_are_the_detectors_own():
    offset = np.zeros(RING.n_crystals)
    detector = replace(RING, offset_ns=offset)

    with pytest.raises(ValueError, match="read-only"):
        detector.offset_ns[0] = 1.0
    offset[0] = 1.0
    assert len(detector.offset_ns) == RING.n_crystals


POSITIVE = ["inner_radius_mm", "thickness_mm", "length_mm", "packing", "crt_ns"]
POSITIVE += ["crystals_around", "crystals_along", "block_around", "block_along"]
NOT_NEGATIVE = ["energy_fwhm", "threshold_kev", "trigger_kev", "integration_ns", "dead_ns"]
NOT_NEGATIVE += ["lutetium_bq_cm3"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        *(({name: 0}, rf"{name} = 0: expected a number above zero") for name in POSITIVE),
        *(({name: -1.5}, rf"{name} = -1.5: expected zero or more") for name in NOT_NEGATIVE),
        ({"energy_fwhm": math.nan}, r"energy_fwhm = nan: expected zero or more"),
        ({"packing": 1.2}, r"packing = 1.2: expected a share, at most 1"),
        ({"tot_ns": (0.0, -1.0, 5.0, 0.0)}, r"tot_ns = .*: expected a curve that rises"),
        ({"tot_ns": (0.0, 1.0, -5.0, 0.0)}, r"tot_ns = .*: expected a curve that rises"),
        ({"walk_ns": -0.1}, r"walk_ns = -0.1: expected zero or more"),
        ({"depth_fwhm_mm": -1.0}, r"depth_fwhm_mm = -1: expected zero or more"),
        ({"saturation_kev": 10.0}, r"saturation_kev = 10 is not above threshold_kev"),
        ({"highest_kev": 10.0}, r"highest_kev = 10 is not above threshold_kev"),
        ({"n_modules": 20}, r"module_width_mm = 0: expected a number above zero"),
        (
            {"n_modules": 23, "module_width_mm": 90.0},
            r"crystals_around = 760 is no multiple of n_modules = 23; a module holds whole strips",
        ),
        (
            {"n_modules": 20, "module_width_mm": 130.0},
            r"module_width_mm = 130: 20 modules at 400 mm from the axis overlap; at most 126",
        ),
        (
            {"offset_ns": np.zeros(5)},
            r"offset_ns has 5 offsets, and the detector 243200 elements; give one per element",
        ),
    ],
)
def test_what_is_wrong_with_a_detector_is_said(keys, message):
    with pytest.raises(SettingsError, match=message):
        replace(RING, **keys)


def test_a_detector_of_energies_has_no_time_over_threshold():
    with pytest.raises(SettingsError, match=r"detector 'user' measures energies"):
        RING.time_over_threshold(np.array([511.0]))
