"""The likelihood of regions on the six spheres: bias, spread, errors, against fits to the events.

Each acquisition is fitted with the randoms of each region from pairs, without them, and by fits to
the spectrum of the events that are located inside each region.
Usage: python scripts/studies/image_regions.py [--seeds N] [--resolution MM]
"""

import argparse
import time

import numpy as np
import six_spheres as spheres
import six_spheres_data

from psimg.core import FitStatus
from psimg.imaging.regions import reconstruct_regions
from psimg.imaging.values import ReconOptions
from psimg.lifetime import fit_regions
from psimg.spectra import bin_regions

REGIONS = (spheres.BODY, *spheres.SPHERES)
TRUTH_NS = np.array([spheres.BODY_TAU_NS, *spheres.TAU_OPS_NS])
RESOLUTION_MM = 4.0


def run(n_seed=20, resolution_mm=RESOLUTION_MM):
    """Return (n_seed, R, 2) mean lives and their errors of each method [ns]."""
    found = {"located": [], "pairs": [], "alone": []}
    for seed in range(n_seed):
        p = six_spheres_data.prepare(seed)
        spectra = bin_regions(
            p.events, regions=REGIONS, edges_ns=six_spheres_data.EDGES_NS,
            windows=spheres.SELECT.windows,
        )  # fmt: skip
        fits = fit_regions(spectra, model=p.model, shape=p.shape)
        found["located"].append(
            [
                (f.tau_ops_ns, f.tau_ops_error_ns) if f.status == FitStatus.OK else (np.nan,) * 2
                for f in fits
            ]
        )
        options = ReconOptions(method="regions", resolution_mm=resolution_mm)
        start = time.perf_counter()
        for name, pairs in (("pairs", p.pairs), ("alone", None)):
            fit = reconstruct_regions(p.data, regions=REGIONS, options=options, pairs=pairs)
            found[name].append(np.stack([fit.tau_ops_ns, fit.tau_ops_errors_ns], axis=1))
        print(f"seed {seed}: {time.perf_counter() - start:.1f} s", flush=True)
    return {name: np.array(values) for name, values in found.items()}


def table(found):
    """Return rows of numbers: method, region and what `main` prints of it."""
    spread_of_located = _rmse(found["located"])
    rows = []
    for name, values in found.items():
        rmse = _rmse(values)
        relative = values[:, :, 0] / TRUTH_NS - 1.0
        pull = (values[:, :, 0] - TRUTH_NS) / values[:, :, 1]
        for r, region in enumerate(REGIONS):
            x, z = relative[:, r], pull[:, r]
            ok = np.isfinite(x)
            bias, error = x[ok].mean(), x[ok].std() / np.sqrt(ok.sum())
            low, high = np.percentile(z[ok], [15.9, 84.1])
            rows.append(
                (name, region.name, 100 * bias, 100 * error, 100 * np.median(x[ok]), rmse[r],
                 rmse[r] / spread_of_located[r], z[ok].mean(), z[ok].std(), 0.5 * (high - low),
                 int(ok.sum()))
            )  # fmt: skip
    return rows


def _rmse(values):
    return np.sqrt(np.nanmean((values[:, :, 0] - TRUTH_NS) ** 2, axis=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--resolution", type=float, default=RESOLUTION_MM)
    arguments = parser.parse_args()
    found = run(arguments.seeds, arguments.resolution)
    rows = table(found)
    print(
        "method  region        bias %          median %  RMSE ns  of located  pull   width  68 %  n"
    )
    for name, region, bias, error, median, rmse, ratio, mean, width, core, n in rows:
        print(
            f"{name:8s}{region:12s}{bias:7.1f} +-{error:5.1f}{median:9.1f}{rmse:9.3f}{ratio:9.2f}"
            f"{mean:9.2f}{width:7.2f}{core:7.2f}{n:4d}"
        )
    return found, rows


if __name__ == "__main__":
    main()
