"""Check what ``psimg demo`` left behind: the files, the books, and the truth."""

import csv
import json
import sys
from pathlib import Path

from psimg.simulate.toy_phantom import nema_like

MAPS = ("tau_ops", "tau_ops_error", "intensity_ops", "intensity_ops_error", "counts",
        "background", "deviance", "status")  # fmt: skip


def main(directory: Path) -> None:
    results = directory / "results"
    wanted = ["summary.json", "regions.csv", "spectra.root", "spectra.npz", "report.html",
              "psimg.log", *(f"maps/{name}.nii.gz" for name in MAPS),
              *(f"maps/{name}.json" for name in MAPS)]  # fmt: skip
    missing = [name for name in wanted if not (results / name).is_file()]
    assert not missing, f"missing in {results}: {missing}"

    summary = json.loads((results / "summary.json").read_text())
    for stage in summary["stages"]:
        assert stage["n_in"] == stage["n_out"] + sum(stage["dropped"].values()), stage

    truth = {source.region.name: source.tau_ops_ns for source in nema_like().sources}
    with (results / "regions.csv").open() as file:
        rows = {row["region"]: row for row in csv.DictReader(file)}
    for name, tau in truth.items():
        found, error = (float(rows[name][key]) for key in ("tau_ops_ns", "tau_ops_error_ns"))
        # A blunder moves a lifetime by many errors; seven regions reach four by chance never.
        assert abs(found - tau) < 4 * error, f"{name}: {found} +- {error}, true {tau}"
        assert 0 < error < 0.3, f"{name}: error {error}"
    size = (results / "report.html").stat().st_size
    assert 1e5 < size < 15e6, f"report of {size} bytes"
    print(f"demo: {len(wanted)} files, {len(truth)} lifetimes within four errors of the truth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
