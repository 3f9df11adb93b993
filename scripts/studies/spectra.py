"""Single spectra against others' fits and against truth.

Writes docs/studies/spectra.md and docs/images/spectrum_water.png. The two measured spectra are read
from a folder given as argument. Usage: python scripts/studies/spectra.py FOLDER
"""

import argparse
from pathlib import Path

import numpy as np

from psimg.core import FitStatus
from psimg.core.scanner import FWHM_PER_SIGMA
from psimg.lifetime import Component, Gaussian, LifetimeModel, Response, fit_spectrum
from psimg.lifetime._mixture import mixture_shares
from psimg.study import SpectrumFitOptions, fit_file
from psimg.study.spectrum import parse_component
from psimg.study.spectrum_figures import draw_file

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "spectra.md"
FIGURE = ROOT / "docs" / "images" / "spectrum_water.png"
PASCUAL = {
    "FWHM [ps]": (266.6, 2.9),
    "background per channel": (98.77, 0.48),
    "τ₁ [ps]": (138, 13),
    "τ₂ [ps]": (403, 23),
    "τ₃ [ps]": (1994, 7),
    "I₁ [%]": (15.7, 1.8),
    "I₂ [%]": (19.2, 2.7),
    "I₃ [%]": (65.2, 1.1),
}
"""PAScual 3.0.3 on its example CPI_A_001, channels 17 to 689: value and error."""
N_TOY, N_EVENT, N_RANDOM = 300, 2e7, 2e6
EDGES_NS = np.linspace(-4.0, 46.0, 2001)
RESPONSE = Response(
    mu_ns=0.05,
    sigma_ns=0.09,
    more=(
        Gaussian(weight=0.30, shift_ns=-0.04, sigma_ns=0.17),
        Gaussian(weight=0.08, shift_ns=0.10, sigma_ns=0.35),
    ),
)
FIVE = (
    Component(name="pps", tau_ns=0.125, intensity=0.15),
    Component(name="direct", tau_ns=0.4, free=True, intensity=0.45),
    Component(name="ops", tau_ns=2.0, free=True, intensity=0.25),
    Component(name="pore", tau_ns=8.0, free=True, intensity=0.15, bounds_ns=(4.0, 16.0)),
    Component(name="foil", tau_ns=0.25, intensity=0.10, source=True),
)


PAGE_TEXT = """\
# Single spectra against others' fits and against truth

`scripts/studies/spectra.py` made this page with the functions of `psimg fit`.

## PAScual's example

`CPI_A_001`, distributed with PAScual: 1024 channels of 50 ps. Channels 17 to 689, three free mean
lives and one Gaussian, as in PAScual 3.0.3. The last column is the difference over PAScual's error.
Least squares that weights a channel by its own counts gives channels that happen to be low more
weight, and puts a flat background about one count low; the Poisson likelihood does not.

| | PAScual 3.0.3 | psimg | difference / error |
|---|---|---|---|
{pascual}

## Water, without options

`H2O_002.Spe`, measured in water: a million counts in 8192 channels. The file does not state the
width of a channel. 6.186 ps is quoted with it; without `--channel-ns` psimg assumes a converter
range of 50 ns over all channels, and says so. Channels where the converter was off are left out. A
further Gaussian is taken into the response where it lowers the deviance by more than chance does
once in a million. p-Ps is fixed at 0.125 ns, all else is free.

An independent fit with two Gaussians and 6.186 ps gave 1.830 ± 0.019 ns and a deviance of 0.99 per
degree of freedom. What the response is taken to be moves o-Ps by more than its error: p-Ps and
direct annihilation lie closer together than the response is wide, and share their events with it.

| channel | Gaussians | o-Ps [ns] | direct [ns] | p-Ps [%] | o-Ps [%] | deviance / ndf | p |
|---|---|---|---|---|---|---|---|
{water}

![Water, the fit and its components](../images/{figure})

## Three Gaussians and five components

{n_toy} simulated spectra of {n_event:g} million positrons and {n_random:g} million flat counts in
bins of 25 ps: p-Ps (mean life known), direct annihilation, two o-Ps components, 10 % in a foil;
response and intensities all free. Pull: (fitted - true) / error. With so many spectra the mean is
known to {mean_error:.2f} and the width to {width_error:.2f}.

| parameter | true | median error | mean pull | width of pulls |
|---|---|---|---|---|
{five}
"""


def pascual(folder: Path) -> list[str]:
    """Fit PAScual's example with PAScual's model."""
    model = LifetimeModel(
        components=tuple(parse_component(t) for t in ("pps=0.13~", "direct=0.4~", "ops=2.0~")),
        intensities="free",
    )
    options = SpectrumFitOptions(channels=(16, 688), model=model)
    fit = fit_file(folder / "CPI_A_001.dat", options=options).fit
    fwhm = 1e3 * FWHM_PER_SIGMA
    n_bin = fit.data.n_bin
    found = [
        (fwhm * fit.value("sigma_ns"), fwhm * fit.error("sigma_ns")),
        (fit.value("background") / n_bin, fit.error("background") / n_bin),
    ]
    names = ("pps", "direct", "ops")
    found += [(1e3 * fit.value(f"tau_{n}_ns"), 1e3 * fit.error(f"tau_{n}_ns")) for n in names]
    pairs = zip(fit.intensities, fit.intensity_errors, strict=True)
    found += [(100 * i, 100 * e) for i, e in pairs]
    lines = []
    for (name, (value, error)), (own, own_error) in zip(PASCUAL.items(), found, strict=True):
        lines.append(
            f"| {name} | {value:g} ± {error:g} | {own:.2f} ± {own_error:.2f} "
            f"| {(own - value) / error:+.2f} |"
        )
    goodness = f"Deviance {fit.deviance:.1f} for {fit.ndf} degrees of freedom"
    return [*lines, "", f"{goodness}; PAScual's chi-square is 1.017 per degree of freedom."]


def water(folder: Path) -> list[str]:
    """Fit measured water without options, and with other axes and responses."""
    lines = []
    for channel_ns, n_gaussian in ((None, None), (0.006186, None), (0.006186, 1), (0.006186, 3)):
        options = SpectrumFitOptions(channel_ns=channel_ns, n_gaussian=n_gaussian)
        fitted = fit_file(folder / "H2O_002.Spe", options=options)
        fit = fitted.fit
        if channel_ns is None:
            draw_file(fitted, FIGURE)
        width = "assumed" if channel_ns is None else f"{1e3 * channel_ns:.3f} ps"
        chosen = "by the counts" if n_gaussian is None else "told"
        lines.append(
            f"| {width} | {len(fit.model.response.more) + 1}, {chosen} | {fit.tau_ops_ns:.3f} ± "
            f"{fit.tau_ops_error_ns:.3f} | {fit.value('tau_direct_ns'):.3f} ± "
            f"{fit.error('tau_direct_ns'):.3f} | {100 * fit.intensities[0]:.1f} ± "
            f"{100 * fit.intensity_errors[0]:.1f} | {100 * fit.intensity_ops:.1f} ± "
            f"{100 * fit.intensity_ops_error:.1f} | {fit.deviance:.1f} / {fit.ndf} "
            f"| {fitted.goodness.p_value:.2f} |"
        )
    return lines


def five_components() -> list[str]:
    """Fit simulated spectra of three Gaussians and five components; return a table of pulls."""
    sample = 1.0 - sum(c.intensity for c in FIVE if c.source)
    expected = np.full(len(EDGES_NS) - 1, N_RANDOM / (len(EDGES_NS) - 1))
    work, out = np.empty_like(expected), np.empty_like(expected)
    for component in FIVE:
        mixture_shares(EDGES_NS, component.tau_ns, 0.0, RESPONSE.table, work, out)
        expected += N_EVENT * component.intensity * (1.0 if component.source else sample) * out
    model = LifetimeModel(
        components=FIVE, intensities="free", response=Response(more=(Gaussian(), Gaussian()))
    )
    truth = {f"tau_{c.name}_ns": c.tau_ns for c in FIVE if c.free}
    truth |= {"mu_ns": RESPONSE.mu_ns, "sigma_ns": RESPONSE.sigma_ns}
    for i, g in enumerate(RESPONSE.more, start=2):
        truth |= {f"weight_{i}": g.weight, f"shift_{i}_ns": g.shift_ns, f"sigma_{i}_ns": g.sigma_ns}
    rng = np.random.default_rng(20261125)
    pulls, errors = [], []
    for _ in range(N_TOY):
        fit = fit_spectrum(rng.poisson(expected), EDGES_NS, model=model)
        assert fit.status == FitStatus.OK
        values = [fit.value(n) for n in truth] + list(fit.intensities[:4])
        own = [fit.error(n) for n in truth] + list(fit.intensity_errors[:4])
        expect = [*truth.values(), *(c.intensity for c in FIVE[:4])]
        pulls.append((np.array(values) - expect) / own)
        errors.append(own)
    names = [*truth, *(f"intensity_{c.name}" for c in FIVE[:4])]
    expect = [*truth.values(), *(c.intensity for c in FIVE[:4])]
    mean, width = np.mean(pulls, axis=0), np.std(pulls, axis=0)
    error = np.median(errors, axis=0)
    return [
        f"| `{name}` | {x:g} | {e:.2g} | {m:+.2f} | {w:.2f} |"
        for name, x, e, m, w in zip(names, expect, error, mean, width, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of CPI_A_001.dat and H2O_002.Spe")
    folder = parser.parse_args().folder
    page = PAGE_TEXT.format(
        pascual="\n".join(pascual(folder)),
        water="\n".join(water(folder)),
        figure=FIGURE.name,
        five="\n".join(five_components()),
        n_toy=N_TOY,
        n_event=N_EVENT / 1e6,
        n_random=N_RANDOM / 1e6,
        mean_error=1 / np.sqrt(N_TOY),
        width_error=1 / np.sqrt(2 * N_TOY),
    )
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
