"""What is simulated for the studies of the NEMA phantom: scanners, windows, seconds, seeds."""

from dataclasses import replace

from nema import run, several

from psimg.events import SelectOptions
from psimg.simulate import Physics, find_detector

QUADRA, JPET = find_detector("vision-quadra"), find_detector("jpet-modular")
QUADRA_SELECT = SelectOptions(
    annihilation_kev=(435.0, 585.0),
    prompt_kev=(720.0, float("inf")),
    pair_window_ns=4.7,
    prompt_window_ns=(-20.0, 20.0),
    min_pair_distance_mm=300.0,
)
JPET_SELECT = SelectOptions(
    annihilation_tot_ns=(10.0, 25.0),
    prompt_tot_ns=(30.0, 50.0),
    pair_window_ns=1.0,
    prompt_window_ns=(-20.0, 20.0),
    min_pair_distance_mm=300.0,
)
# As loose as times over threshold allow: any deposit up to about the Compton edge of 511 keV, and
# any above it.
JPET_LOOSE = replace(JPET_SELECT, annihilation_tot_ns=(0.1, 24.0), prompt_tot_ns=(24.1, 50.0))
LSO_SHORT = replace(
    QUADRA, name="lso in the cylinder of jpet-modular", inner_radius_mm=369.4, length_mm=500.0,
    position_radius_mm=379.0, crystals_around=685, crystals_along=150,
)  # fmt: skip
PLASTIC_LONG = replace(
    JPET, name="plastic in the cylinder of vision-quadra", inner_radius_mm=410.0,
    length_mm=1060.0, position_radius_mm=422.5, module_width_mm=90.1 * 410.0 / 369.4,
)  # fmt: skip
NO_LUTETIUM = Physics(lutetium=False)


def quadra_runs():
    """Return the runs of the Vision Quadra by name."""
    quadra = (QUADRA, QUADRA_SELECT)
    return {
        "uniform": several(*quadra, seconds=0.5, seeds=range(1, 5), label="quadra_uniform"),
        "spheres": run(*quadra, seconds=5.0, seed=12, activity_mbq=2.0, spheres_only=True,
                       physics=NO_LUTETIUM, label="quadra_spheres"),
        "hot": several(*quadra, seconds=0.5, seeds=(13, 16, 17), contrast=8.0, label="quadra_hot"),
        "no lutetium": run(*quadra, seconds=0.3, seed=14, physics=NO_LUTETIUM,
                           label="quadra_nolu"),
        "a tenth": run(*quadra, seconds=1.0, seed=15, activity_mbq=4.17, label="quadra_tenth"),
    }  # fmt: skip


def jpet_runs():
    """Return the runs of the Modular J-PET and of what lies between the scanners, by name."""
    low = {"activity_mbq": 4.0, "physics": NO_LUTETIUM}
    return {
        "jpet": several(JPET, JPET_SELECT, seconds=0.5, seeds=range(21, 27), label="jpet"),
        "quadra low": run(QUADRA, QUADRA_SELECT, seconds=1.0, seed=35, **low, label="quadra_low"),
        "lso short": run(LSO_SHORT, QUADRA_SELECT, seconds=2.0, seed=33, **low, label="lso_short"),
        "plastic long": run(PLASTIC_LONG, JPET_SELECT, seconds=3.0, seed=34, **low,
                            label="plastic_long"),
        "jpet loose": run(JPET, JPET_LOOSE, seconds=2.5, seed=32, **low, label="jpet_loose"),
    }  # fmt: skip


if __name__ == "__main__":
    quadra_runs()
    jpet_runs()
