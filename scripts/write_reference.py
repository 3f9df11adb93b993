"""Write docs/study_file.md and docs/simulation_file.md from the settings' own docstrings."""

import ast
import inspect
import itertools
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from psimg.io import ColumnSpec
from psimg.lifetime import Component, Response
from psimg.simulate import MATERIALS, Physics
from psimg.study import sections, simulation_parts, simulation_sections

DOCS = Path(__file__).parents[1] / "docs"
INTRO = """\
# The study file

`scripts/write_reference.py` made this page from the code. A study is a TOML file; paths in it are
relative to it. An unknown key is an error that names the nearest known one. Windows hold both their
ends.
"""
SIMULATION_INTRO = """\
# The simulation file

`scripts/write_reference.py` made this page from the code; [simulation.md](simulation.md) says how
to write one. A simulation is a TOML file for `psimg simulate`; paths in it are relative to it. An
unknown key is an error that names the nearest known one. With a preset in `[scanner]`, the defaults
there are the preset's.
"""


def docs_of(kind: type) -> dict[str, str]:
    """Return the text under each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(inspect.getsource(base)).body[0].body
        for line, text in itertools.pairwise(body):
            if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[line.target.id] = inspect.cleandoc(text.value.value)
    return found


def default_of(field: Any) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float | str):
        return f"`{value!r}`".replace("'", '"')
    if isinstance(value, tuple) and all(isinstance(x, int | float | str) for x in value):
        return f"`{list(value)}`".replace("'", '"')
    return "see below" if value else "–"


def fields_of(kind: type) -> list[Any]:
    """Return the fields of a dataclass: its own first, then those of its bases."""
    own: dict[str, int] = {}
    for depth, base in enumerate(kind.__mro__):
        for name in getattr(base, "__annotations__", {}):
            own.setdefault(name, depth)
    return sorted(fields(kind), key=lambda field: own[field.name])


def section(title: str, kind: type) -> list[str]:
    docs = docs_of(kind)
    summary = inspect.cleandoc(kind.__doc__ or "").splitlines()[0].split("``: ")[-1]
    summary = summary[0].upper() + summary[1:]
    lines = [f"## `{title}`", "", summary, "", "| key | default | meaning |", "|---|---|---|"]
    for field in fields_of(kind):
        meaning = " ".join(docs.get(field.name, "").split()).replace("|", "\\|")
        lines.append(f"| `{field.name}` | {default_of(field)} | {meaning} |")
    return [*lines, ""]


def page() -> str:
    lines = [INTRO]
    for field in fields(sections.StudyFile):
        if field.name != "regions":
            lines += section(f"[{field.name}]", field.type)
    for title, kind in (
        ("[input.columns]: each", ColumnSpec),
        ("[[model.components]]", Component),
        ("[model.response]", Response),
    ):
        lines += section(title, kind)
    for shape, kind in sections.REGION_SPECS.items():
        lines += section(f'[[regions]] with shape = "{shape}"', kind)
    return "\n".join(lines).replace("``", "`")


def simulation_page() -> str:
    lines = [SIMULATION_INTRO]
    for title, kind in (
        ("[simulation]", simulation_sections.SimulationSection),
        ("[scanner]", simulation_sections.ScannerSection),
        ('[phantom] with preset = "nema-iq"', simulation_sections.NemaSection),
        ('[phantom] with preset = "cylinder"', simulation_sections.CylinderSection),
        ("[phantom.voxels]", simulation_sections.VoxelSection),
        ("[[regions]]", simulation_parts.RegionSpec),
        ("[[points]]", simulation_parts.PointSpec),
        ("[[lines]]", simulation_parts.LineSpec),
        ("channels: each", simulation_parts.ChannelSpec),
        ("[physics]", Physics),
        ("[output]", simulation_sections.SimulationOutput),
    ):
        lines += section(title, kind)
    lines += ["## Materials", "", "| name | density [g/cm3] | from |", "|---|---|---|"]
    for name, material in MATERIALS.items():
        lines.append(f"| `{name}` | {material.density_g_cm3:g} | {material.source} |")
    return "\n".join(lines).replace("``", "`") + "\n"


if __name__ == "__main__":
    (DOCS / "study_file.md").write_text(page())
    (DOCS / "simulation_file.md").write_text(simulation_page())
