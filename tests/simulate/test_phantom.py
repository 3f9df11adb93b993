import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import SettingsError
from psimg.core.grid import VoxelGrid
from psimg.core.isotopes import find_nuclide
from psimg.core.regions import Box, Cylinder, Sphere
from psimg.simulate import (
    Acquisition,
    Channel,
    Detector,
    HalfCylinder,
    LineSource,
    Phantom,
    PhantomRegion,
    VoxelPhantom,
    ps_channels,
)
from psimg.simulate.phantoms import (
    NEMA_DIAMETERS_MM,
    REFERENCE_CHANNELS,
    cylinder_phantom,
    nema_iq,
)

GRID = VoxelGrid.centred(shape=(2, 2, 2), voxel_mm=(10.0, 10.0, 10.0))


def ball(name="b", x=0.0, radius_mm=10.0, **keys):
    sphere = Sphere(name=name, centre_mm=(x, 0.0, 0.0), radius_mm=radius_mm)
    return PhantomRegion(name=name, shapes=(sphere,), **keys)


def voxels(**keys):
    keys = {"activity": np.ones(8), "activity_mbq": 1.0} | keys
    return VoxelPhantom(name="v", grid=GRID, **keys)


def line(start, end=None, name="l", activity_mbq=1.0):
    end = start if end is None else end
    return LineSource(name=name, start_mm=start, end_mm=end, activity_mbq=activity_mbq)


def acquisition(phantom, **keys):
    detector = Detector(
        inner_radius_mm=200.0, thickness_mm=20.0, length_mm=100.0, crystals_around=10, crt_ns=0.2,
        energy_fwhm=0.1,
    )  # fmt: skip
    keys = {"duration_s": 2.0} | keys
    return Acquisition(
        phantom=phantom, isotope=find_nuclide("F-18"), detector=detector, **keys
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "ml"),
    [
        (Sphere(name="s", centre_mm=(1, 2, 3), radius_mm=10.0), 4e-3 / 3 * math.pi * 1000),
        (Box(name="b", centre_mm=(0, 0, 0), half_length_mm=(10.0, 20.0, 30.0)), 48.0),
        (
            Cylinder(name="c", centre_mm=(0, 0, 0), radius_mm=10.0, half_length_mm=20.0),
            4 * math.pi,
        ),
        (
            HalfCylinder(name="h", centre_mm=(0, 0, 0), radius_mm=10.0, half_length_mm=20.0),
            2 * math.pi,
        ),
    ],
)
def test_the_volume_of_a_shape_alone_is_exact(shape, ml):
    region = PhantomRegion(name="r", shapes=(shape,))

    assert Phantom(regions=(region,)).visible_ml(0) == pytest.approx(ml, rel=1e-12)
    # Shapes that only touch its box displace nothing.
    apart = ball("far", x=500.0)
    assert Phantom(regions=(region, apart)).visible_ml(0) == pytest.approx(ml, rel=1e-12)
    # With a shape given twice the points come in, good to a part in a thousand.
    twice = PhantomRegion(name="r", shapes=(shape, shape))
    assert Phantom(regions=(twice,)).visible_ml(0) == pytest.approx(ml, rel=1e-3)


def test_a_later_region_takes_its_volume_away():
    outer, inner = ball("outer", radius_mm=20.0), ball("inner", x=5.0, radius_mm=10.0)

    phantom = Phantom(regions=(outer, inner))

    full = 4e-3 / 3 * math.pi
    assert phantom.visible_ml(0) == pytest.approx(full * 7000, rel=1e-3)
    assert phantom.visible_ml(1) == pytest.approx(full * 1000, rel=1e-12)
    # Two balls whose surfaces cross: a lens of two caps of height 10 - 4.
    crossing = Phantom(regions=(ball("a"), ball("b", x=8.0)))
    cap = math.pi * 6**2 * (30 - 6) / 3 * 1e-3
    assert crossing.visible_ml(0) == pytest.approx(full * 1000 - 2 * cap, rel=1e-3)


def test_the_nema_phantom_has_its_volumes():
    phantom = nema_iq(sphere_kbq_ml=10.0, background_kbq_ml=1.0)
    volume = dict(zip(phantom.names, map(phantom.visible_ml, range(9)), strict=True))

    for diameter in NEMA_DIAMETERS_MM:
        ball_ml = math.pi / 6 * diameter**3 * 1e-3
        assert volume[f"sphere_{diameter:g}mm"] == pytest.approx(ball_ml, rel=1e-12)
    face = math.pi / 2 * 147**2 + math.pi / 2 * 77**2 + 140 * 77
    inside = sum(volume.values()) - volume["wall"]
    assert inside == pytest.approx(0.18 * face, rel=1e-3)
    assert inside == pytest.approx(9720, rel=2e-3)
    assert volume["lung"] == pytest.approx(0.18 * math.pi * 25**2, rel=1e-3)
    outer = math.pi / 2 * 150**2 + math.pi / 2 * 80**2 + 140 * 80
    # The difference of volumes ten times as large.
    assert volume["wall"] == pytest.approx(0.186 * outer - 0.18 * face, rel=2e-2)
    activity = dict(zip(phantom.names, phantom.activities_mbq(), strict=True))
    assert activity["sphere_37mm"] == pytest.approx(10e-3 * volume["sphere_37mm"])
    assert activity["body"] == pytest.approx(1e-3 * volume["body"])
    assert activity["lung"] == activity["wall"] == 0.0


def test_the_spheres_of_the_nema_phantom_are_on_their_circle():
    phantom = nema_iq(sphere_kbq_ml=1.0, first_sphere_deg=30.0)
    centres = np.array([region.shapes[0].centre_mm for region in phantom.regions[3:]])

    assert_allclose(np.hypot(centres[:, 0], centres[:, 1]), 57.2)
    assert_allclose(
        np.degrees(np.arctan2(centres[:, 1], centres[:, 0])) % 360, 30 + 60 * np.arange(6)
    )
    assert not centres[:, 2].any()
    # They are 70 mm from the nearer end, which is 20 mm off the middle.
    assert phantom.regions[1].bounds_mm[1][2] == pytest.approx(70.0)


def test_what_displaces_what_is_told():
    phantom = Phantom(regions=(ball("a"), ball("b", x=15.0), ball("c", x=100.0), ball("d", x=26.0)))

    assert phantom.displaced() == [("a", "b"), ("b", "d")]
    names = nema_iq(sphere_kbq_ml=1.0).displaced()
    assert ("wall", "body") in names
    assert ("body", "sphere_10mm") in names
    assert not any(first.startswith("sphere") for first, _ in names)


def test_parts_have_names_and_activities_in_their_order():
    phantom = Phantom(
        voxels=voxels(activity_mbq=3.0),
        regions=(
            ball("a", -30.0, activity_mbq=2.0),
            ball("b", x=30.0, activity_kbq_ml=500.0),
            ball("c", 60.0),
        ),
        lines=(line((0.0, 0.0, 0.0), activity_mbq=7.0),),
    )

    assert phantom.names == ("v", "a", "b", "c")
    assert_allclose(phantom.activities_mbq(), [3.0, 2.0, 0.5 * 4e-3 / 3 * math.pi * 1e3, 0.0, 7.0])
    scan = acquisition(phantom)
    assert scan.total_mbq == pytest.approx(phantom.activities_mbq().sum())
    assert acquisition(phantom, activity_mbq=0.5).total_mbq == 0.5
    assert scan.expected_decays == pytest.approx(2e6 * scan.total_mbq, rel=1e-3)


def test_ready_made_phantoms_and_channels():
    assert [c.share for c in ps_channels(2.0, share_ops=0.24)] == pytest.approx([0.08, 0.68, 0.24])
    assert [c.share for c in ps_channels(2.0, share_pps=0.0)] == pytest.approx([0.0, 0.7, 0.3])
    assert [c.tau_ns for c in ps_channels(2.0)] == [0.125, 0.388, 2.0]
    cylinder = cylinder_phantom(radius_mm=50.0, half_length_mm=20.0, activity_mbq=4.0)
    assert cylinder.visible_ml(0) == pytest.approx(0.04 * math.pi * 2500)
    for name, channels in REFERENCE_CHANNELS.items():
        assert PhantomRegion(name=name, shapes=(), material=name, channels=channels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Channel(name="ops", tau_ns=0.0, share=1.0),
            r"channel 'ops': tau_ns = 0, expected a mean life above zero",
        ),
        (lambda: Channel(name="c", tau_ns=math.inf, share=1.0), r"channel 'c': tau_ns = inf"),
        (
            lambda: Channel(name="c", tau_ns=1.0, share=1.2),
            r"channel 'c': share = 1.2, expected 0 to 1",
        ),
        (lambda: ps_channels(2.0, share_ops=0.9), r"channel 'direct': share = -0.2"),
        (
            lambda: ball(channels=(Channel(name="x", tau_ns=1.0, share=0.5),)),
            r"region 'b': the shares of its channels sum to 0.5, expected 1 \(x 0.5\)",
        ),
        (lambda: ball(channels=()), r"sum to 0, expected 1 \(none\)"),
        (lambda: ball(material="watre"), r"material = 'watre' is not known; did you mean 'water'"),
        (lambda: ball(activity_mbq=-1.0), r"'b': activity -1, expected zero or more"),
        (lambda: ball(activity_kbq_ml=math.nan), r"'b': activity nan, expected zero or more"),
        (
            lambda: ball(activity_kbq_ml=1.0, activity_mbq=1.0),
            r"region 'b' has activity_mbq and activity_kbq_ml; give one of them",
        ),
        (
            lambda: HalfCylinder(name="h", centre_mm=(0, 0, 0), radius_mm=0.0, half_length_mm=1.0),
            r"radius_mm = 0: expected a number above zero",
        ),
        (
            lambda: HalfCylinder(name="h", centre_mm=(0, 0, 0), radius_mm=1.0, half_length_mm=-1.0),
            r"half_length_mm = -1: expected a number above zero",
        ),
        (lambda: line((0, 0, 0), activity_mbq=-2.0), r"'l': activity -2, expected zero or more"),
        (lambda: Phantom(), r"the phantom has no region; give it one, or a voxel phantom"),
        (
            lambda: Phantom(regions=(ball(), ball(x=50.0))),
            r"two parts of the phantom are called 'b'; rename one",
        ),
        (
            lambda: Phantom(regions=(ball(),), lines=(line((0, 0, 0), name="b"),)),
            r"two parts of the phantom are called 'b'; rename one",
        ),
        (
            lambda: Phantom(regions=(ball(),), lines=(line((0, 0, 0), (11.0, 0, 0)),)),
            r"source 'l' lies outside every region, .*; put a region around it",
        ),
        (
            lambda: Phantom(voxels=voxels(), lines=(line((0.0, 0.0, 10.5)),)),
            r"source 'l' lies outside every region",
        ),
        (lambda: voxels(material="cheese"), r"material = 'cheese' is not known"),
        (
            lambda: voxels(channels=(Channel(name="x", tau_ns=1.0, share=0.5),)),
            r"region 'v': the shares of its channels sum to 0.5",
        ),
        (lambda: voxels(activity_mbq=-1.0), r"'v': activity -1, expected zero or more"),
        (
            lambda: voxels(activity=np.zeros(8)),
            r"voxel phantom 'v': its activity map is zero everywhere",
        ),
        (
            lambda: voxels(activity=np.array([1, 1, 1, 1, 1, 1, 1, -1.0])),
            r"voxel phantom 'v': its map activity holds negative or non-finite values",
        ),
        (
            lambda: voxels(density=np.full(8, np.nan)),
            r"voxel phantom 'v': its map density holds negative or non-finite values",
        ),
        (
            lambda: voxels(tau_ops_ns=np.full(8, -1.0)),
            r"voxel phantom 'v': its map tau_ops_ns holds negative or non-finite values",
        ),
        (
            lambda: voxels(tau_ops_ns=np.zeros(8)),
            r"voxel phantom 'v': tau_ops_ns is zero where there is activity",
        ),
        (
            lambda: voxels(share_ops=np.full(8, 1.5)),
            r"voxel phantom 'v': share_ops reaches 1.5, expected 0 to 1",
        ),
        (
            lambda: voxels(share_ops=np.full(8, -0.5)),
            r"voxel phantom 'v': its map share_ops holds negative or non-finite values",
        ),
        (
            lambda: voxels(
                share_ops=np.full(8, 0.5), channels=(Channel(name="ops", tau_ns=2.0, share=1.0),)
            ),
            r"voxel phantom 'v': maps of o-Ps need the channels pps, direct, ops",
        ),
        (
            lambda: acquisition(Phantom(regions=(ball(activity_mbq=1.0),)), duration_s=0.0),
            r"duration_s = 0: expected a number above zero",
        ),
        (
            lambda: acquisition(Phantom(regions=(ball(activity_mbq=1.0),)), activity_mbq=-1.0),
            r"activity_mbq = -1: expected a number above zero",
        ),
        (
            lambda: acquisition(Phantom(regions=(ball(),))),
            r"no part of the phantom has activity; give a region activity_mbq or activity_kbq_ml",
        ),
        (
            lambda: acquisition(
                Phantom(regions=(ball("small", activity_mbq=1.0), ball("big", radius_mm=20.0)))
            ),
            r"region 'small' has activity, and lies wholly inside later regions; name it after",
        ),
        (
            lambda: acquisition(
                Phantom(
                    voxels=voxels(),
                    regions=(ball("small", activity_mbq=1.0), ball("big", radius_mm=20.0)),
                )
            ),
            r"region 'small' has activity, and lies wholly inside later regions",
        ),
        (
            lambda: acquisition(Phantom(voxels=voxels(), regions=(ball(radius_mm=30.0),))),
            r"voxel phantom 'v' has activity, and regions cover all of it",
        ),
        (
            lambda: Phantom(
                regions=(ball("a", -50.0), ball("b", 50.0)),
                lines=(line((-50.0, 0.0, 0.0), (50.0, 0.0, 0.0)),),
            ),
            r"source 'l' lies outside every region, all or a part of it",
        ),
        (
            lambda: voxels(share_ops=np.full(8, 0.9)),
            r"'v': share_ops reaches 0.9, and with the p-Ps that goes with it 1.2; expected at mo",
        ),
        (
            lambda: Channel(name="ops", tau_ns=1e12, share=1.0),
            r"channel 'ops': tau_ns = 1e\+12, expected a mean life above zero and at most 10000 ns",
        ),
        (
            lambda: voxels(share_ops=np.full(8, 0.3), channels=ps_channels(2.0, share_ops=0.0)),
            r"'v': with a map share_ops its channels need a share of o-Ps above zero",
        ),
    ],
)
def test_what_is_wrong_with_a_phantom_is_said(call, message):
    with pytest.raises(SettingsError, match=message):
        call()


def test_zero_lifetimes_are_allowed_where_nothing_decays():
    tau = np.array([0, 1, 1, 1, 1, 1, 1, 1.0])

    assert voxels(tau_ops_ns=tau, activity=tau).has_maps
    assert not voxels().has_maps
