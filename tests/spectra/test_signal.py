import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psimg.core import DataError
from psimg.events import ENERGY, TOT
from psimg.spectra import SignalSpectrum
from psimg.spectra.signal import describe_signals, find_maxima, find_overflow


@pytest.mark.parametrize(("signal", "top"), [(ENERGY, 2000.0), (TOT, 100.0)])
def test_the_spectrum_equals_numpys_and_counts_what_is_above(signal, top):
    values = np.random.default_rng(2).uniform(0, 1.25 * top, 5000)

    parts = (values[:2000], values[2000:])
    one, other = (SignalSpectrum.of(part, signal=signal) for part in parts)
    spectrum = one + other

    assert spectrum.edges[-1] == top
    assert_array_equal(spectrum.counts, np.histogram(values[values < top], spectrum.edges)[0])
    assert spectrum.n_above == np.count_nonzero(values >= top)


def test_spectra_of_different_signals_do_not_add():
    one, other = (SignalSpectrum.of(np.ones(3), signal=signal) for signal in (ENERGY, TOT))

    with pytest.raises(DataError, match="of energies and of times over threshold do not add"):
        one + other


def lutetium_like(n: int, seed: int = 1) -> np.ndarray:
    """A photopeak at 511 keV on its Compton part, a backscatter peak, and a falling tail."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.normal(511.0, 22.0, n // 2),
            rng.normal(75.0, 12.0, n // 8),
            rng.uniform(0.0, 340.0, n // 3),
            rng.exponential(150.0, n // 20),
        ]
    )


@pytest.mark.parametrize("n", [3_000, 1_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_maxima_are_where_the_peaks_are_and_nowhere_else(n, seed):
    maxima = find_maxima(SignalSpectrum.of(np.abs(lutetium_like(n, seed))))

    # The middle of seven bins of 5 keV is known to some keV; a flat part and a tail have none.
    assert_allclose(maxima, [75.0, 511.0], atol=12.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_spectrum_has_no_maximum_but_its_own(seed):
    rng = np.random.default_rng(seed)

    maxima = find_maxima(SignalSpectrum.of(rng.uniform(0.0, 2000.0, 50_000)))

    assert len(maxima) <= 1


def test_no_singles_have_no_maximum_and_no_overflow():
    nothing = SignalSpectrum.of(np.empty(0))

    assert find_maxima(nothing) == []
    assert find_overflow(nothing) is None


def test_a_spectrum_is_described_by_its_maxima_and_its_end():
    text = describe_signals(SignalSpectrum.of(np.abs(lutetium_like(200_000))))

    assert text.startswith("their energies have maxima at 7")
    assert "and 51" in text
    assert "99 % lie below 5" in text


def test_energies_in_a_wrong_unit_are_described_as_what_they_look_like():
    kev = np.abs(lutetium_like(20_000))

    in_mev = describe_signals(SignalSpectrum.of(1e-3 * kev))
    in_ev = describe_signals(SignalSpectrum.of(1e3 * kev))

    assert in_mev == "their energies have a maximum at 2.5 keV and 99 % lie below 5 keV"
    assert "of them lie above 2000 keV" in in_ev


@pytest.mark.parametrize("signal", [ENERGY, TOT])
def test_a_full_bin_at_the_top_is_an_overflow_bin(signal):
    rng = np.random.default_rng(4)
    step = 5.0 if signal is ENERGY else 0.25
    values = np.minimum(rng.exponential(60 * step, 20_000), 145.4 * step)

    low, high, share = find_overflow(SignalSpectrum.of(values, signal=signal))

    assert (low, high) == (145 * step, 146 * step)
    assert_allclose(share, np.mean(values >= 145 * step))


def test_a_spectrum_that_tails_off_has_no_overflow_bin():
    rng = np.random.default_rng(4)

    assert find_overflow(SignalSpectrum.of(rng.exponential(300.0, 20_000))) is None
    assert find_overflow(SignalSpectrum.of(rng.normal(511.0, 3.0, 20_000))) is None
