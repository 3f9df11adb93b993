"""Make the small files under data/."""

from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "data"
TAU_OPS_NS = {"left": 1.8, "right": 2.6}
STUDY = """\
# Two small sources of different o-Ps lifetime. Run with: psimg run data/two_sources.toml

[study]
name = "two sources"

[input]
files = ["two_sources.csv"]

[input.columns]
x = { name = "X", unit = "cm" }
y = { name = "Y", unit = "cm" }
z = { name = "Z", unit = "cm" }
dt = { name = "DT", unit = "ps" }

[grid]
voxel_mm = 10.0
extent_mm = [120.0, 60.0, 60.0]

[output]
directory = "../results/two_sources"
"""
REGION = """
[[regions]]
name = "{name}"
shape = "sphere"
centre_mm = [{x}, 0.0, 0.0]
radius_mm = 30.0
"""


def main() -> None:
    rng = np.random.default_rng(2026)
    n = 6000
    rows = []
    text = STUDY
    for x, (name, tau_ops) in zip((-30.0, 30.0), TAU_OPS_NS.items(), strict=True):
        tau = rng.choice([0.125, 0.388, tau_ops], n, p=[0.1, 0.6, 0.3])
        dt = rng.exponential(tau) + 0.09 * rng.standard_normal(n)
        # One event in ten is a random triplet, flat in dt.
        random = rng.random(n) < 0.1
        dt[random] = rng.uniform(-10.0, 20.0, int(random.sum()))
        point = rng.normal([x, 0.0, 0.0], 8.0, (n, 3))
        rows.append(np.c_[point / 10, 1e3 * dt])
        text += REGION.format(name=name, x=x)
    table = rng.permutation(np.concatenate(rows))
    with (DATA / "two_sources.csv").open("w") as file:
        np.savetxt(
            file, table, fmt=["%.2f", "%.2f", "%.2f", "%.0f"], delimiter=",", header="X,Y,Z,DT",
            comments="",
        )  # fmt: skip
    (DATA / "two_sources.toml").write_text(text)


if __name__ == "__main__":
    main()
