"""Reference materials with 22Na on the Vision Quadra: two exponentials against psimg's fit.

A sealed source between discs of quartz, polycarbonate or XAD-4 is simulated with all physics, and
the same spectra are fitted in both ways. Writes docs/studies/reference_materials.md and its
figure; the spectra are kept in build/simulated. Usage:
python scripts/studies/reference_materials.py
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from simulated import measure, scaled

from psimg.core import NUCLIDES, Sphere
from psimg.events import SelectOptions
from psimg.simulate import Acquisition, Physics, find_detector, ps_channels
from psimg.simulate.phantoms import reference_block
from psimg.spectra import SpectrumOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "studies" / "reference_materials.md"
FIGURE = DOCS / "images" / "reference_materials.png"

ROI = Sphere(name="discs", centre_mm=(0.0, 0.0, 0.0), radius_mm=50.0)
EDGES_NS = SpectrumOptions(start_ns=-20.0, stop_ns=35.0, step_ns=0.05).edges_ns
WIDE_NS = SpectrumOptions(start_ns=-80.0, stop_ns=600.0, step_ns=0.1).edges_ns
WINDOWS = {"annihilation_kev": (435.0, 585.0), "prompt_kev": (720.0, 950.0)}
SELECT = SelectOptions(
    **WINDOWS,
    pair_window_ns=4.7,
    prompt_window_ns=(-25.0, 40.0),
    delays_ns=(150.0, 220.0, 290.0, 360.0),
    photon_delays_ns=(150.0, -150.0, 220.0, -220.0),
    min_pair_distance_mm=300.0,
)
SELECT_WIDE = SelectOptions(
    **WINDOWS,
    pair_window_ns=4.7,
    prompt_window_ns=(-90.0, 610.0),
    min_pair_distance_mm=300.0,
)
SHARE_OPS = {"quartz": 0.50, "polycarbonate": 0.30}
PUBLISHED_NS = {"quartz": (1.538, 0.036), "polycarbonate": (1.927, 0.042)}
CERTIFIED_NS = {"quartz": (1.62, 0.05), "polycarbonate": (2.10, 0.05)}
SOURCE_SHARE, SOURCE_NS = 0.1, 0.382
ACTIVITY_MBQ, HOT_MBQ = 5.0, 40.0
DECAYS = 1.2e7


@dataclass(frozen=True, kw_only=True)
class Case:
    """One simulated measurement."""

    material: str
    tau_ops_ns: float | None = None
    activity_mbq: float = ACTIVITY_MBQ
    physics: Physics = Physics()

    def run(self):
        channels = None
        if self.tau_ops_ns is not None:
            channels = ps_channels(self.tau_ops_ns, share_ops=SHARE_OPS[self.material])
        made = Acquisition(
            phantom=reference_block(
                self.material,
                activity_mbq=self.activity_mbq,
                channels=channels,
                source_share=SOURCE_SHARE,
                source_tau_ns=SOURCE_NS,
            ),
            isotope=NUCLIDES["Na-22"],
            detector=find_detector("vision-quadra"),
            duration_s=1.0,
            physics=self.physics,
        )
        wide = self.tau_ops_ns is None
        return measure(
            scaled(made, decays=DECAYS),
            select=SELECT_WIDE if wide else SELECT,
            regions=[ROI],
            edges_ns=WIDE_NS if wide else EDGES_NS,
            seed=1,
            label="reference",
        )


# Without scatter also without 176Lu: only the true triplets of that run are used.
CLEAN = Physics(attenuation=False, lutetium=False)
CASES = {
    (material, kind): Case(material=material, **what)
    for material in SHARE_OPS
    for kind, what in {
        "certified": {"tau_ops_ns": CERTIFIED_NS[material][0]},
        "published": {"tau_ops_ns": PUBLISHED_NS[material][0]},
        "no scatter": {"tau_ops_ns": CERTIFIED_NS[material][0], "physics": CLEAN},
        "40 MBq": {"tau_ops_ns": CERTIFIED_NS[material][0], "activity_mbq": HOT_MBQ},
    }.items()
} | {("xad-4", "evacuated"): Case(material="xad-4")}

if __name__ == "__main__":
    for key, case in CASES.items():
        m = case.run()
        print(key, m.truth[0].sum(axis=1), m.counts, flush=True)
