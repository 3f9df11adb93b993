"""Whether the chain closes: simulate with all physics, run, compare with the truth.

Ten acquisitions of a uniform water cylinder with 44Sc on the Vision Quadra, about 10^6 triplets
each, randoms and scatter included, and the same with parts of the physics switched off. Writes
docs/studies/closure.md and its figure. Usage: python scripts/studies/closure.py [--seeds N]
"""

from pathlib import Path

import numpy as np
from simulated import measure, scaled

from psimg.core import NUCLIDES, Cylinder
from psimg.events import SelectOptions
from psimg.lifetime import LifetimeModel, fit_spectrum
from psimg.simulate import Acquisition, Physics, find_detector, ps_channels
from psimg.simulate.phantoms import cylinder_phantom
from psimg.spectra import SpectrumOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURE = DOCS / "studies" / "closure.md", DOCS / "images" / "closure.png"

TAU_OPS_NS, SHARE_OPS = 2.0, 0.3
ACTIVITY_MBQ = 8.0
BODY = Cylinder(name="body", centre_mm=(0.0, 0.0, 0.0), radius_mm=100.0, half_length_mm=90.0)
EDGES_NS = SpectrumOptions(start_ns=-10.0, stop_ns=25.0, step_ns=0.1).edges_ns
SELECT = SelectOptions(
    annihilation_kev=(430.0, 600.0),
    prompt_kev=(700.0, 1300.0),
    pair_window_ns=2.0,
    prompt_window_ns=(-25.0, 40.0),
    delays_ns=(150.0, 220.0, 290.0, 360.0),
    photon_delays_ns=(150.0, -150.0, 220.0, -220.0),
    min_pair_distance_mm=300.0,
)
NOTHING = Physics(
    attenuation=False,
    positron_range=False,
    in_flight=False,
    acollinearity_fwhm_deg=0.0,
    lutetium=False,
    pile_up=False,
)
# What is left out, and about how many triplets a decay then gives.
CASES = {
    "everything": Physics(),
    "no attenuation and scatter": Physics(attenuation=False),
    "no annihilation in flight": Physics(in_flight=False),
    "no positron range": Physics(positron_range=False),
    "no 176Lu": Physics(lutetium=False),
    "no pile-up": Physics(pile_up=False),
    "none of these": NOTHING,
}
BACKGROUNDS = ("four-set", "delayed", "flat")


def acquisition(physics, decays):
    made = Acquisition(
        phantom=cylinder_phantom(
            radius_mm=BODY.radius_mm,
            half_length_mm=BODY.half_length_mm,
            activity_mbq=ACTIVITY_MBQ,
            channels=ps_channels(TAU_OPS_NS, share_ops=SHARE_OPS),
        ),
        isotope=NUCLIDES["Sc-44"],
        detector=find_detector("vision-quadra"),
        duration_s=1.0,
        physics=physics,
    )
    return scaled(made, decays=decays)


def run(physics, decays, seed):
    return measure(
        acquisition(physics, decays),
        select=SELECT,
        regions=[BODY],
        edges_ns=EDGES_NS,
        seed=seed,
        label="closure",
    )


def fit(measured, background):
    return fit_spectrum(
        measured.spectra.counts[0],
        EDGES_NS,
        model=LifetimeModel(background=background),
        delayed=measured.delayed(0),
    )


def row_of(runs, background):
    """Return the line of a case: mean, its error, mean and width of the pulls, deviance."""
    fits = [fit(measured, background) for measured in runs]
    tau = np.array([f.tau_ops_ns for f in fits])
    error = np.array([f.tau_ops_error_ns for f in fits])
    pull = (tau - TAU_OPS_NS) / error
    ops = np.array([f.intensity_ops for f in fits])
    return {
        "tau": tau,
        "error": error,
        "mean": tau.mean(),
        "mean_error": np.sqrt(np.sum(error**2)) / len(tau),
        "pull": pull.mean(),
        "width": pull.std(ddof=1),
        "ops": ops.mean(),
        "ops_error": np.sqrt(np.sum([f.intensity_ops_error**2 for f in fits])) / len(ops),
        "deviance": np.mean([f.deviance / f.ndf for f in fits]),
    }


if __name__ == "__main__":
    import sys
    import time

    n = float(sys.argv[1])
    for name, physics in CASES.items():
        t = time.time()
        m = run(physics, n, 1)
        r = row_of([m, m], "four-set")
        print(
            name,
            m.truth[0].sum(axis=1),
            m.counts,
            round(r["mean"], 4),
            round(r["error"][0], 4),
            time.time() - t,
            flush=True,
        )
