"""The physics of a simulation: what is in it, and the tables it draws from."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import loggamma

from psimg.core.errors import SettingsError
from psimg.core.isotopes import Isotope
from psimg.core.scanner import SPEED_OF_LIGHT_MM_NS
from psimg.core.settings import SETTINGS_CONFIG
from psimg.simulate._decays import Paths
from psimg.simulate._photons import ELECTRON_KEV, SCATTER_STEP_KEV
from psimg.simulate._positrons import Positrons
from psimg.simulate.materials import Material

FINE_STRUCTURE = 7.2973525693e-3
"""Fine-structure constant (CODATA 2018)."""
ELECTRON_RADIUS_CM = 2.8179403262e-13
"""Classical electron radius (CODATA 2018) [cm]."""
AVOGADRO = 6.02214076e23
"""Particles in a mole, exact by the definition of the mole."""
_LOWEST_KEV = 0.2
"""Below this a positron is taken to be at rest; what it takes to thermalise, some picoseconds, goes
with the mean of the response [keV]."""
_THINNEST_G_CM3 = 0.01
"""Gases do not stop positrons within a phantom."""
_PROTONS = {
    "C": 6, "N": 7, "O": 8, "F": 9, "Na": 11, "Al": 13, "Sc": 21, "Ti": 22, "Mn": 25, "Fe": 26,
    "Co": 27, "Ni": 28, "Cu": 29, "Ga": 31, "As": 33, "Br": 35, "Rb": 37, "Y": 39, "Zr": 40,
    "Nb": 41, "Tc": 43, "In": 49, "I": 53, "La": 57, "Pr": 59, "Tb": 65,
}  # fmt: skip
"""Protons of the elements that have positron emitters in use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Physics:
    """What a simulation has in it; each part can be switched off to see what it does."""

    attenuation: bool = True
    """Compton scatter and photoelectric absorption in the phantom."""
    positron_range: bool = True
    """Positrons move before they annihilate, and take their time to slow down."""
    in_flight: bool = True
    """Some positrons annihilate before they stop, with no lifetime and other energies."""
    acollinearity_fwhm_deg: float = 0.5
    """FWHM of the deviation from 180 degrees of the annihilation photons, in each of two directions
    across; 0.5 degrees is that of water."""
    lutetium: bool = True
    """Decays of 176Lu in the scintillator."""
    pile_up: bool = True
    """Blocks add up what arrives within their integration time, and are dead after a single."""

    __pydantic_config__ = SETTINGS_CONFIG

    def __post_init__(self) -> None:
        fwhm = self.acollinearity_fwhm_deg
        if not 0 <= fwhm < 90:
            raise SettingsError(f"acollinearity_fwhm_deg = {fwhm:g}: expected 0 to below 90")


def positron_spectrum(end_kev: float, daughter_z: int, n: int = 513) -> NDArray[np.float64]:
    """Tabulate the kinetic energy of positrons.

    The allowed shape p W (W0 - W)^2 F(Z, W), with the Fermi function of a point nucleus, F = p^(2 g
    - 2) exp(pi y) |Gamma(g + i y)|^2 up to a constant, g^2 = 1 - (alpha Z)^2, y = -alpha Z W/p for
    positrons and with the other sign for electrons (E. Fermi, Z. Phys. 88 (1934) 161).

    Parameters
    ----------
    end_kev : float
        End point [keV].
    daughter_z : int
        Protons of the daughter.
    n : int
        Rows of the table.

    Returns
    -------
    (n,) array
        Energy at equal steps of the cumulative share, from 0 to 1 [keV].
    """
    return _beta_spectrum(end_kev, -daughter_z, n)


def electron_spectrum(end_kev: float, daughter_z: int, n: int = 513) -> NDArray[np.float64]:
    """Tabulate the kinetic energy of beta electrons, as `positron_spectrum` does for positrons."""
    return _beta_spectrum(end_kev, daughter_z, n)


def _beta_spectrum(end_kev: float, charge: int, n: int) -> NDArray[np.float64]:
    kinetic = np.linspace(0.0, end_kev, 20_001)[1:-1]
    total = 1.0 + kinetic / ELECTRON_KEV
    momentum = np.sqrt(total * total - 1.0)
    y = FINE_STRUCTURE * charge * total / momentum
    g = math.sqrt(1.0 - (FINE_STRUCTURE * charge) ** 2)
    fermi = momentum ** (2.0 * g - 2.0) * np.exp(math.pi * y + 2.0 * loggamma(g + 1j * y).real)
    density = momentum * total * (end_kev - kinetic) ** 2 * fermi
    cumulative = np.concatenate([[0.0], np.cumsum(density)])
    edges = np.concatenate([[0.0], 0.5 * (kinetic[1:] + kinetic[:-1]), [end_kev]])
    return np.asarray(np.interp(np.linspace(0.0, 1.0, n), cumulative / cumulative[-1], edges))


def scatter_table(max_kev: int, n: int = 65) -> NDArray[np.float64]:
    """Tabulate Compton scattering on free electrons.

    O. Klein and Y. Nishina, Z. Phys. 52 (1929) 853: the ratio e of the energies after and before
    has the density 1/e + e - sin^2 (theta), and runs from 1/(1 + 2 E/mc^2) to 1.

    Returns
    -------
    (E, n) array
        At each `SCATTER_STEP_KEV` from 0 on, to above ``max_kev``, and equal steps of the
        cumulative share from 0 to 1: how far the ratio is from its lowest value, 0, to 1.
    """
    place = np.linspace(0.0, 1.0, 4001)
    rows = []
    for energy in SCATTER_STEP_KEV * np.arange(int(max_kev / SCATTER_STEP_KEV) + 3.0):
        k = max(energy, 1e-3) / ELECTRON_KEV
        lowest = 1.0 / (1.0 + 2.0 * k)
        ratio = lowest + (1.0 - lowest) * place
        cosine = 1.0 - (1.0 / ratio - 1.0) / k
        density = 1.0 / ratio + ratio - (1.0 - cosine**2)
        cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
        rows.append(np.interp(np.linspace(0.0, 1.0, n), cumulative / cumulative[-1], place))
    return np.array(rows)


def range_sigma_mm(material: Material, max_kev: int) -> NDArray[np.float64]:
    """Tabulate the width of where positrons of one energy come to rest.

    Annihilation points of positrons of one energy are a Gaussian cloud about the decay (M. R.
    Palmer and G. L. Brownell, IEEE Trans. Med. Imaging 11 (1992) 373): with T in MeV the
    extrapolated range is R = 0.1 b1 T^2/(b2 + T) [g/cm2], b1 = 4.569 A/Z^1.209, b2 = 1/(2.873 -
    0.02309 Z), and the width along each axis is R/(2 rho).

    Returns
    -------
    (max_kev + 1,) array
        Gaussian width along each axis at each keV [mm]; 0 in a vacuum.
    """
    if material.density_g_cm3 < _THINNEST_G_CM3:
        return np.zeros(max_kev + 1)
    energy = 1e-3 * np.arange(max_kev + 1.0)
    b1 = 4.569 * material.effective_a / material.effective_z**1.209
    b2 = 1.0 / (2.873 - 0.02309 * material.effective_z)
    extrapolated = 0.1 * b1 * energy**2 / (b2 + energy)
    return np.asarray(10.0 * extrapolated / (2.0 * material.density_g_cm3))


def annihilations_in_flight(max_kev: int) -> NDArray[np.float64]:
    """Tabulate the annihilations expected while a positron slows down in water.

    The integral over the energy of the cross section for two photons on an electron at rest (W.
    Heitler, The Quantum Theory of Radiation, par. 27) over the stopping power. Both go as the
    electrons per gram, so that other light materials differ by their excitation energy only.

    Returns
    -------
    (max_kev + 1,) array
        Expected annihilations from each keV down to rest.
    """
    kinetic = np.geomspace(_LOWEST_KEV, max_kev, 4000)
    g = kinetic / ELECTRON_KEV + 1.0
    root = np.sqrt(g * g - 1.0)
    cross = (
        math.pi * ELECTRON_RADIUS_CM**2 / (g + 1.0)
        * ((g * g + 4.0 * g + 1.0) / (g * g - 1.0) * np.log(g + root) - (g + 3.0) / root)
    )  # fmt: skip
    return _down_to_rest(kinetic, cross / _stopping_per_electron(kinetic), max_kev)


def slowing_down_ns(material: Material, max_kev: int) -> NDArray[np.float64]:
    """Tabulate how long a positron takes to slow down, from the stopping power in water.

    Returns
    -------
    (max_kev + 1,) array
        Time from each keV down to rest [ns]; 0 in a vacuum.
    """
    if material.density_g_cm3 < _THINNEST_G_CM3:
        return np.zeros(max_kev + 1)
    kinetic = np.geomspace(_LOWEST_KEV, max_kev, 4000)
    g = kinetic / ELECTRON_KEV + 1.0
    speed_cm_ns = 0.1 * SPEED_OF_LIGHT_MM_NS * np.sqrt(1.0 - 1.0 / (g * g))
    electrons_cm3 = AVOGADRO * material.z_over_a * material.density_g_cm3
    loss_kev_ns = electrons_cm3 * _stopping_per_electron(kinetic) * speed_cm_ns
    return _down_to_rest(kinetic, 1.0 / loss_kev_ns, max_kev)


def _stopping_per_electron(kinetic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the stopping power by collision of positrons in water over its electrons [keV cm2].

    ICRU Report 37 without the density correction, which takes off 2 % at 1 MeV and 4 % at 2; the
    mean excitation energy of water is 75 eV.
    """
    t = kinetic / ELECTRON_KEV
    beta2 = 1.0 - 1.0 / (t + 1.0) ** 2
    excitation = 75e-3 / ELECTRON_KEV
    terms = 23.0 + 14.0 / (t + 2.0) + 10.0 / (t + 2.0) ** 2 + 4.0 / (t + 2.0) ** 3
    shape = np.log(t * t * (t + 2.0) / (2.0 * excitation**2))
    shape += 2.0 * math.log(2.0) - beta2 / 12.0 * terms
    return np.asarray(2.0 * math.pi * ELECTRON_RADIUS_CM**2 * ELECTRON_KEV / beta2 * shape)


def _down_to_rest(
    kinetic: NDArray[np.float64], density: NDArray[np.float64], max_kev: int
) -> NDArray[np.float64]:
    """Return the integral of a density over the energy, from rest up to each keV."""
    kinetic, density = np.concatenate([[0.0], kinetic]), np.concatenate([[0.0], density])
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(kinetic)
    total = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(np.interp(np.arange(max_kev + 1.0), kinetic, total))


def paths_of(isotope: Isotope) -> tuple[Paths, list[float], float]:
    """Return the decay paths as arrays, the end points of their positrons, and events per decay.

    Gammas of isomers come at their own times: they are paths without a positron, so that there is
    more than one event per decay.
    """
    ends = sorted({p.positron_kev for p in isotope.paths if p.positron_kev is not None})
    rows = [(p.share, p.positron_kev, p.gammas_kev, p.delays_ns) for p in isotope.paths]
    rows += [(share, None, (kev,), (0.0,)) for kev, share in isotope.delayed_gammas]
    shares = np.array([row[0] for row in rows])
    n_most = max(1, *(len(row[2]) for row in rows))
    gamma, delay = np.zeros((2, len(rows), n_most))
    for i, (_, _, energies, delays) in enumerate(rows):
        gamma[i, : len(energies)] = energies
        delay[i, : len(energies)] = delays
    cumulative = np.cumsum(shares) / shares.sum()
    cumulative[-1] = 1.0
    paths = Paths(
        cumulative=cumulative,
        spectrum=np.array([-1 if row[1] is None else ends.index(row[1]) for row in rows]),
        n_gamma=np.array([len(row[2]) for row in rows]),
        gamma=gamma,
        delay=delay,
    )
    return paths, ends, float(shares.sum())


def daughter_protons(isotope: Isotope) -> int:
    """Return the protons of what a positron emitter decays to.

    Raises
    ------
    SettingsError
        If its name does not begin with an element known here.
    """
    symbol = isotope.name.split("-")[0]
    if symbol not in _PROTONS:
        raise SettingsError(
            f"isotope {isotope.name!r}: {symbol!r} is no element of a known positron emitter; name "
            "isotopes like Sc-44"
        )
    return _PROTONS[symbol] - 1


def positrons_of(
    ends_kev: list[float], daughter_z: int, materials: tuple[Material, ...]
) -> Positrons:
    """Return the positron tables of an isotope in these materials."""
    top = int(max(ends_kev, default=1.0)) + 2
    spectra = [positron_spectrum(end, daughter_z) for end in ends_kev] or [np.zeros(2)]
    return Positrons(
        energy=np.ascontiguousarray(np.transpose(spectra)),
        sigma=np.stack([range_sigma_mm(material, top) for material in materials], axis=1),
        slowing=np.stack([slowing_down_ns(material, top) for material in materials], axis=1),
        flight=annihilations_in_flight(top),
    )
