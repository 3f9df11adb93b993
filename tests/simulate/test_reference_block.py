import numpy as np
import pytest
from numpy.testing import assert_allclose

from psimg.core import NUCLIDES
from psimg.core.errors import SettingsError
from psimg.simulate import Acquisition, Physics, find_detector, simulate_acquisition
from psimg.simulate.phantoms import REFERENCE_CHANNELS, reference_block, two_photon_channels


@pytest.mark.parametrize("material", REFERENCE_CHANNELS)
def test_a_block_leaves_the_source_its_share_of_the_positrons(material):
    (discs,) = reference_block(material, source_share=0.2).regions

    shares = {channel.name: channel.share for channel in discs.channels}
    assert_allclose(sum(shares.values()), 1.0)
    assert_allclose(shares["source"], 0.2)
    for channel in REFERENCE_CHANNELS[material]:
        assert_allclose(shares[channel.name], 0.8 * channel.share)


def test_a_block_needs_channels_for_a_material_it_does_not_know():
    with pytest.raises(SettingsError, match="material 'pmma' has no channels; use one of quartz"):
        reference_block("pmma")

    block = reference_block("pmma", channels=REFERENCE_CHANNELS["quartz"])
    assert block.regions[0].material == "pmma"


def test_long_lived_ops_loses_what_goes_to_three_photons():
    channels = REFERENCE_CHANNELS["xad-4"]

    again = {c.name: c.share for c in two_photon_channels(channels)}

    before = {c.name: c.share for c in channels}
    ratio = (again["ops_pores"] / before["ops_pores"]) / (again["direct"] / before["direct"])
    assert_allclose(ratio, 1.0 - 90.0 / 142.0)


def test_positrons_of_a_block_annihilate_within_it_by_its_shares():
    acquisition = Acquisition(
        phantom=reference_block("quartz", activity_mbq=1.0),
        isotope=NUCLIDES["Na-22"],
        detector=find_detector("vision-quadra"),
        duration_s=0.02,
        physics=Physics(lutetium=False, in_flight=False),
    )

    pieces = simulate_acquisition(acquisition, rng=np.random.default_rng(4))
    channel = np.concatenate([piece.decays.channel for piece in pieces])

    n = np.bincount(channel[channel < 4], minlength=4)
    shares = [c.share for c in acquisition.phantom.regions[0].channels]
    pull = (n - n.sum() * np.array(shares)) / np.sqrt(n.sum() * np.array(shares))
    assert np.all(np.abs(pull) < 4.0)
