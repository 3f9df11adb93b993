"""How far to trust the error of one voxel, by number of events and share of randoms.

Writes docs/studies/voxel_pulls.md. Usage: python scripts/studies/voxel_pulls.py
"""

from pathlib import Path

import numpy as np

from psimg.core import FitStatus, VoxelGrid
from psimg.lifetime import LifetimeModel, fit_voxels
from psimg.spectra import LifetimeSpectra, SpectrumOptions

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "voxel_pulls.md"
TAU_NS, SIGMA_NS, N_TOY = 2.0, 0.09, 4000
EVENTS = (60, 100, 300, 1000, 10_000)
SHARES = (0.0, 0.3, 0.6)


def toys(rng, n_event, share, edges):
    """Sample events, not bins: exponential decays with Gaussian blur, and randoms."""
    n = rng.poisson(n_event, N_TOY)
    voxel = np.repeat(np.arange(N_TOY), n)
    tau = rng.choice([0.125, 0.388, TAU_NS], len(voxel), p=[0.1, 0.6, 0.3])
    dt = rng.exponential(tau) + SIGMA_NS * rng.standard_normal(len(voxel))
    random = rng.random(len(voxel)) < share
    dt[random] = rng.uniform(edges[0], edges[-1], int(random.sum()))
    counts, *_ = np.histogram2d(voxel, dt, [np.arange(N_TOY + 1), edges])
    return LifetimeSpectra(
        edges_ns=edges,
        counts=counts,
        delayed=np.zeros((len(counts), 3, 1)),
        n_sets=(0, 0, 0),
        n_events=len(voxel),
        n_outside=0,
        n_outside_dt=0,
        grid=VoxelGrid.centred(shape=(N_TOY, 1, 1), voxel_mm=(1.0, 1.0, 1.0)),
        voxel=np.arange(N_TOY),
    )


def main() -> None:
    rng = np.random.default_rng(20261121)
    edges = SpectrumOptions().edges_ns
    model = LifetimeModel().with_response(0.0, SIGMA_NS)
    lines = [
        "# How far to trust the error of one voxel",
        "",
        f"`scripts/studies/voxel_pulls.py` made this page: {N_TOY} voxels each, o-Ps lifetime "
        f"{TAU_NS:g} ns,",
        "10/60/30 % of the positrons in p-Ps, direct annihilation and o-Ps, response known,",
        "background flat and fitted. Pull: (measured - true) / error, of voxels with a value. A",
        "Gaussian would have 68 % within one error and 0.3 % beyond three.",
        "",
        "| events | random share | with a value [%] | median [ns] | median error [ns] | within one "
        "error [%] | beyond three errors [%] |",
        "|---|---|---|---|---|---|---|",
    ]
    for n_event in EVENTS:
        for share in SHARES:
            maps = fit_voxels(toys(rng, n_event, share, edges), model=model)
            fitted = maps.status == FitStatus.OK
            tau, error = maps.values[fitted, 0], maps.errors[fitted, 0]
            pull = np.abs(tau - TAU_NS) / error
            lines.append(
                f"| {n_event} | {share:g} | {100 * fitted.mean():.1f} | {np.median(tau):.2f} "
                f"| {np.median(error):.2f} | {100 * np.mean(pull < 1):.1f} "
                f"| {100 * np.mean(pull > 3):.1f} |"
            )
    PAGE.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
