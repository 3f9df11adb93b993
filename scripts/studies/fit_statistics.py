"""Bias, spread and coverage of voxel fits, by number of counts and share of randoms.

Writes docs/studies/fit_statistics.md and docs/images/fit_statistics.png.
Usage: python scripts/studies/fit_statistics.py [--toys N] [--posterior-toys N]
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from psimg.core import FitStatus, VoxelGrid
from psimg.lifetime import (
    FitOptions,
    LifetimeModel,
    Prior,
    SpectrumData,
    fit_voxels,
    precision_of,
    sample_posterior,
)
from psimg.lifetime.posterior import ONE_SIGMA, TWO_SIGMA
from psimg.lifetime.problem import SpectrumProblem
from psimg.spectra import LifetimeSpectra, SpectrumOptions

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "fit_statistics.md"
FIGURE = ROOT / "docs" / "images" / "fit_statistics.png"
EDGES_NS = SpectrumOptions().edges_ns
N_BIN = len(EDGES_NS) - 1
TAU_NS, SIGMA_NS = 2.0, 0.09
MODEL = LifetimeModel().with_response(0.0, SIGMA_NS)
COUNTS = (100, 300, 1000, 10_000, 100_000)
SHARES = (0.0, 0.5, 0.8)
GOOD = 0.10
"""Bound over lifetime up to which the fit is to be at the limit."""
TAU_PRIOR = Prior(low=1.0, high=4.0)


@dataclass(frozen=True)
class Row:
    """What toys of one number of counts and one share of randoms show."""

    n: int
    share: float
    bound: float
    """Cramer-Rao bound [ns]."""
    with_value: float
    mean_ns: float
    median_ns: float
    spread_ns: float
    half_width_ns: float
    """Half of the central 68 % of the values [ns]."""
    mean_error_ns: float
    cover: tuple[float, float]
    """Share of the toys with a value whose truth lies within 1 and 1.96 standard errors."""
    beyond: float
    """Share of the toys with a value that is more than three standard errors off."""
    profile: tuple[float, float]
    """Share of all toys whose truth lies in the profile interval of 68 and 95 %."""
    posterior: tuple[float, float] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the bound is small enough for the fit to be at the limit."""
        return self.bound < GOOD * TAU_NS


def problem(counts: np.ndarray) -> SpectrumProblem:
    return SpectrumProblem(SpectrumData(name="toy", edges_ns=EDGES_NS, counts=counts), MODEL)


def expected_counts(n: float, share: float) -> np.ndarray:
    """(B,) expected events: a mean of n in the window, a share of them flat."""
    signal = problem(np.zeros(N_BIN)).expectation(np.array([0.6, 0.3, TAU_NS, 0.0]))
    return n * ((1 - share) * signal / signal.sum() + share / N_BIN)


def voxels(counts: np.ndarray) -> LifetimeSpectra:
    n = len(counts)
    return LifetimeSpectra(
        edges_ns=EDGES_NS, counts=counts, delayed=np.zeros((n, 3, 1)), n_sets=(0, 0, 0),
        n_events=0, n_outside=0, n_outside_dt=0, voxel=np.arange(n),
        grid=VoxelGrid.centred(shape=(n, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
    )  # fmt: skip


def row_of(n: int, share: float, n_toy: int, rng: np.random.Generator) -> Row:
    spectra = voxels(rng.poisson(expected_counts(n, share), size=(n_toy, N_BIN)))
    maps, inside = None, []
    for rise in (1.0, 3.841):
        options = FitOptions(intervals="profile", interval_rise=rise, min_counts=10)
        maps = fit_voxels(spectra, model=MODEL, options=options)
        low = maps.values[:, maps.column("tau_ops_low")]
        high = maps.values[:, maps.column("tau_ops_high")]
        known = np.isfinite(low) & np.isfinite(high)
        inside.append(float(np.mean((low <= TAU_NS) & (high >= TAU_NS) & known)))
    good = maps.status == FitStatus.OK
    tau, error = maps.values[good, 0], maps.errors[good, 0]
    low, high = np.quantile(tau, ONE_SIGMA)
    bound = precision_of(MODEL, EDGES_NS, n_events=n, background_share=share)
    return Row(
        n=n,
        share=share,
        bound=bound.tau_ops_error_ns,
        with_value=float(good.mean()),
        mean_ns=float(tau.mean()),
        median_ns=float(np.median(tau)),
        spread_ns=float(tau.std()),
        half_width_ns=float(0.5 * (high - low)),
        mean_error_ns=float(error.mean()),
        cover=tuple(float(np.mean(np.abs(tau - TAU_NS) < k * error)) for k in (1.0, 1.96)),
        beyond=float(np.mean(np.abs(tau - TAU_NS) > 3.0 * error)),
        profile=(inside[0], inside[1]),
    )


def posterior_coverage(
    n: int, share: float, n_toy: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Coverage of credible intervals over truths drawn from their priors."""
    signal = (1 - share) * n
    priors = {
        "tau_ops_ns": TAU_PRIOR,
        "n_direct": Prior(low=0.3 * signal, high=0.9 * signal),
        "n_ops": Prior(low=0.1 * signal, high=0.5 * signal),
        "background": Prior(low=0.5 * share * n, high=max(1.5 * share * n, 0.1 * n)),
    }
    names = problem(np.ones(N_BIN)).names
    hits = np.zeros(2)
    for _ in range(n_toy):
        truth = np.array([rng.uniform(priors[name].low, priors[name].high) for name in names])
        counts = rng.poisson(problem(np.zeros(N_BIN)).expectation(truth))
        data = SpectrumData(name="toy", edges_ns=EDGES_NS, counts=counts)
        found = sample_posterior(
            data, model=MODEL, priors=priors, rng=rng, n_walker=24, n_step=800, n_burn=250
        )
        tau = truth[names.index("tau_ops_ns")]
        for i, quantiles in enumerate((ONE_SIGMA, TWO_SIGMA)):
            low, high = found.interval("tau_ops_ns", quantiles)
            hits[i] += low <= tau <= high
    return float(hits[0] / n_toy), float(hits[1] / n_toy)


def table(rows: list[Row]) -> str:
    lines = []
    for r in rows:
        posterior = "–"
        if r.posterior is not None:
            posterior = f"{100 * r.posterior[0]:.1f} / {100 * r.posterior[1]:.1f}"
        lines.append(
            f"| {r.n} | {r.share:g} | {100 * r.bound / TAU_NS:.1f} | {100 * r.with_value:.1f} "
            f"| {r.median_ns:.3f} | {(r.mean_ns - TAU_NS) / r.spread_ns:+.3f} "
            f"| {r.spread_ns / r.bound:.3f} | {r.half_width_ns / r.bound:.3f} "
            f"| {r.mean_error_ns / r.spread_ns:.3f} "
            f"| {100 * r.cover[0]:.1f} / {100 * r.cover[1]:.1f} "
            f"| {100 * r.beyond:.1f} "
            f"| {100 * r.profile[0]:.1f} / {100 * r.profile[1]:.1f} | {posterior} |"
        )
    return "\n".join(lines)


def draw(rows: list[Row]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
    for share, colour in zip(SHARES, ("#0072b2", "#d55e00", "#009e73"), strict=True):
        chosen = [r for r in rows if r.share == share]
        x = [100 * r.bound / TAU_NS for r in chosen]
        axes[0].plot(x, [r.half_width_ns / r.bound for r in chosen], "o-", color=colour,
                     label=f"random share {share:g}")  # fmt: skip
        axes[1].plot(x, [100 * r.cover[0] for r in chosen], "o--", color=colour, mfc="white")
        axes[1].plot(x, [100 * r.profile[0] for r in chosen], "o-", color=colour)
    axes[0].axhline(1.0, color="0.5", lw=0.8)
    axes[0].set_ylabel("half of the central 68 % / bound")
    axes[0].legend(frameon=False)
    axes[1].axhline(68.27, color="0.5", lw=0.8)
    axes[1].plot([], [], "ko-", label="profile interval")
    axes[1].plot([], [], "ko--", mfc="white", label="standard error")
    axes[1].set_ylabel("coverage of the 68 % interval [%]")
    axes[1].legend(frameon=False)
    for one in axes:
        one.set_xscale("log")
        one.set_xlabel("Cramér-Rao bound / o-Ps mean life [%]")
        one.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=150)


PAGE_TEXT = """\
# Statistics of voxel fits

`scripts/studies/fit_statistics.py` made this page: {n_toy} simulated voxels in each row, o-Ps
lifetime {tau:g} ns, 10/60/30 % of the positrons in p-Ps, direct annihilation and o-Ps, {n_bin} bins
from {start:g} to {stop:g} ns, response known, background flat; lifetime, o-Ps events, fast events and
background free. With {n_toy} toys a coverage is known to {cover_error:.1f} (68 %) and
{cover_error_95:.1f} (95 %) percent, and a spread to {spread_error:.1f} %.

* **bound**: the Cramér-Rao bound, over the lifetime. **with a value**: voxels whose minimum lies inside
  the bounds; the others have a status and no number.
* **bias**: mean of the values minus truth, over their spread. **spread**: standard deviation of the
  values, over the bound; **core**: half of the central 68 % of the values, over the bound. The spread
  is that of a long tail where the bound is large, the core is not.
* **error**: mean standard error over spread. **standard**: coverage of one and of 1.96 standard errors,
  of voxels with a value. **beyond 3 errors**: those whose value is more than three standard errors
  off; 0.3 % of a Gaussian's. **profile**: coverage of the 68 and 95 % profile intervals
  (`fit.intervals = "profile"`), of all voxels: those without a value have intervals too.
* **posterior**: coverage of 68 and 95 % credible intervals, {n_posterior} toys a row, over truths drawn from
  the priors: lifetime uniform from {prior_low:g} to {prior_high:g} ns, events uniform about those of the row.

| counts | random share | bound [%] | with a value [%] | median [ns] | bias / spread | spread / bound | core / bound | error / spread | standard 68 / 95 [%] | beyond 3 errors [%] | profile 68 / 95 [%] | posterior 68 / 95 [%] |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
{table}

![Width and coverage against the bound](../images/{figure})

Where the bound is below {good:g} % of the lifetime ({n_good} rows): bias at most {worst_bias:.3f} of
the spread; spread within {worst_spread:.1f} % of the bound; coverage of one standard error
{cover_low:.1f} to {cover_high:.1f} % and of 1.96 errors {cover95_low:.1f} to {cover95_high:.1f} %; of
the profile intervals {profile_low:.1f} to {profile_high:.1f} % and {profile95_low:.1f} to
{profile95_high:.1f} %.

Where it is larger ({n_poor} rows): profile intervals cover {poor_low:.1f} to {poor_high:.1f} %;
posterior intervals {posterior:.1f} % in all rows together (± {posterior_error:.1f}). The
likelihood's best value leans to the long side, as the mean shows, and its median less so. Standard
errors do not say so, and up to {worst_beyond:.1f} % of the values lie more than three of them off: use
profile intervals, or the posterior of a region, there.

On a bound (no fast events are left, or the lifetime is at an end of its range) a voxel has no value.
Its interval is that of a deviance risen as far as two parameters allow with the same probability: with
another parameter pressed against a bound, the rise of one would cover too rarely.
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=10_000)
    parser.add_argument("--posterior-toys", type=int, default=400)
    given = parser.parse_args()
    rng = np.random.default_rng(20261125)
    rows = [row_of(n, share, given.toys, rng) for n in COUNTS for share in SHARES]
    for i, row in enumerate(rows):
        if not row.is_good:
            found = posterior_coverage(row.n, row.share, given.posterior_toys, rng)
            rows[i] = replace(row, posterior=found)
    draw(rows)
    good, poor = [r for r in rows if r.is_good], [r for r in rows if not r.is_good]
    posterior = float(np.mean([r.posterior[0] for r in poor]))
    n_posterior = given.posterior_toys * len(poor)
    page = PAGE_TEXT.format(
        n_toy=given.toys,
        tau=TAU_NS,
        n_bin=N_BIN,
        start=EDGES_NS[0],
        stop=EDGES_NS[-1],
        cover_error=100 * np.sqrt(0.6827 * 0.3173 / given.toys),
        cover_error_95=100 * np.sqrt(0.95 * 0.05 / given.toys),
        spread_error=100 / np.sqrt(2 * given.toys),
        n_posterior=given.posterior_toys,
        prior_low=TAU_PRIOR.low,
        prior_high=TAU_PRIOR.high,
        table=table(rows),
        figure=FIGURE.name,
        good=100 * GOOD,
        n_good=len(good),
        worst_bias=max(abs(r.mean_ns - TAU_NS) / r.spread_ns for r in good),
        worst_spread=100 * max(abs(r.spread_ns / r.bound - 1) for r in good),
        cover_low=100 * min(r.cover[0] for r in good),
        cover_high=100 * max(r.cover[0] for r in good),
        cover95_low=100 * min(r.cover[1] for r in good),
        cover95_high=100 * max(r.cover[1] for r in good),
        profile_low=100 * min(r.profile[0] for r in good),
        profile_high=100 * max(r.profile[0] for r in good),
        profile95_low=100 * min(r.profile[1] for r in good),
        profile95_high=100 * max(r.profile[1] for r in good),
        n_poor=len(poor),
        worst_beyond=100 * max(r.beyond for r in poor),
        poor_low=100 * min(r.profile[0] for r in poor),
        poor_high=100 * max(r.profile[0] for r in poor),
        posterior=100 * posterior,
        posterior_error=100 * np.sqrt(posterior * (1 - posterior) / n_posterior),
    )
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
