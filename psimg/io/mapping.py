"""Which column of a file is which of psimg's, and in what unit."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from psimg.core.errors import FileError, SettingsError
from psimg.core.settings import SETTINGS_CONFIG
from psimg.core.units import OWN_UNIT, unit_factor
from psimg.io.table import Table

_XYZ = ("x", "y", "z")
_PHOTONS = (1, 2, 3)
_Groups = dict[str, tuple[tuple[str, ...], ...]]

REQUIRED = {
    "singles": ("time", *_XYZ),
    "triplets": tuple(f"{name}_{i}" for i in _PHOTONS for name in ("time", *_XYZ)),
    "events": (*_XYZ, "dt"),
}
"""psimg's columns, by content; all must be there."""
SIGNALS: _Groups = {
    "singles": (("energy",), ("tot",)),
    "triplets": tuple(tuple(f"{name}_{i}" for i in _PHOTONS) for name in ("energy", "tot")),
    "events": (),
}
"""psimg's columns of which one group at least must be there, by content."""
OPTIONAL: _Groups = {
    "singles": (("detector",), ("decay",)),
    "triplets": (tuple(f"detector_{i}" for i in _PHOTONS),),
    "events": (),
}
"""psimg's columns that a file may have beside, by content; those of a group come together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSpec:
    """The user's word on one column: its name in the file and its unit."""

    name: str
    unit: str | None = None

    __pydantic_config__ = SETTINGS_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One of psimg's columns and where it comes from."""

    role: str
    """psimg's name: ``time``, ``energy_1``, ``x``, ``dt``, ..."""
    source: str
    """Name in the file."""
    unit: str
    """Unit in the file; empty for labels."""
    factor: float = 1.0
    """What a number in the file is multiplied by; its sign may mirror an axis."""
    assumed: bool = False
    """Whether the unit is a guess because neither the file nor the user states it."""


class UnmappedError(FileError):
    """A table whose columns nobody has told psimg the meaning of."""

    def __init__(self, table: Table, message: str) -> None:
        super().__init__(message)
        self.table = table


def quantity_of(role: str) -> str | None:
    """Return what a column measures; None for labels."""
    stem = role.split("_")[0]
    if stem in ("time", "dt", "tot"):
        return "time"
    if stem == "energy":
        return "energy"
    return "length" if stem in _XYZ else None


def make_column(role: str, source: str, unit: str | None, *, sign: float = 1.0) -> Column:
    """Return the column, with the factor of its unit; without a unit psimg's own is assumed."""
    quantity = quantity_of(role)
    if quantity is None:
        return Column(role=role, source=source, unit="")
    return Column(
        role=role,
        source=source,
        unit=unit or OWN_UNIT[quantity],
        factor=sign * unit_factor(quantity, unit or OWN_UNIT[quantity]),
        assumed=unit is None,
    )


def map_columns(
    table: Table, given: Mapping[str, ColumnSpec | str], content: str | None
) -> tuple[str, tuple[Column, ...]]:
    """Settle content and columns of a flat table.

    A column the user names is taken as said; else one called like psimg's with its unit
    (``time_ns``, ``x_1_mm``), else one called like psimg's, in psimg's unit.

    Parameters
    ----------
    table : Table
        The file.
    given : mapping
        The user's column map; a plain string names a column in psimg's unit.
    content : {"singles", "triplets", "events"}, optional
        What a row is; found from the columns when None.

    Raises
    ------
    FileError
        If a column is missing in the file; the message lists those that are there.
    SettingsError
        If the map has a key that is not one of psimg's columns.
    """
    specs = {k: ColumnSpec(name=v) if isinstance(v, str) else v for k, v in given.items()}
    known = {role for roles in REQUIRED.values() for role in roles}
    for groups in (*SIGNALS.values(), *OPTIONAL.values()):
        known |= {role for group in groups for role in group}
    for role in specs:
        if role not in known:
            near = difflib.get_close_matches(role, sorted(known), 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; use {', '.join(sorted(known))}"
            raise SettingsError(f"input.columns.{role} is not one of psimg's columns{hint}")
    found = {role: _find(table, role, specs.get(role)) for role in sorted(known)}
    if content is None:
        complete = [c for c in REQUIRED if _is_complete(c, found)]
        if not complete:
            raise UnmappedError(
                table,
                f"{table.path}: cannot tell what a row is from the columns {_listed(table)}; map "
                "psimg's columns in [input.columns]: time energy x y z for singles, time_1 .. z_3 "
                "for triplets, x y z dt for events",
            )
        content = complete[0]
    columns = []
    for role in REQUIRED[content]:
        column = found[role]
        if column is None:
            raise _missing(table, f"{role!r}", content)
        columns.append(column)
    signals = [column for group in SIGNALS[content] for column in _together(table, group, found)]
    if SIGNALS[content] and not signals:
        energy, tot = (group[0] for group in SIGNALS[content])
        raise _missing(table, f"{energy!r} (or {tot!r})", content)
    # A table shows the time first and what the photon left next.
    columns[1:1] = signals
    for group in OPTIONAL[content]:
        columns += _together(table, group, found)
    return content, tuple(columns)


def _is_complete(content: str, found: Mapping[str, Column | None]) -> bool:
    """Whether a table has all columns that this content needs."""
    signals = SIGNALS[content]
    known = not signals or any(all(found[role] for role in group) for group in signals)
    return known and all(found[role] for role in REQUIRED[content])


def _together(
    table: Table, group: tuple[str, ...], found: Mapping[str, Column | None]
) -> list[Column]:
    """Return the columns of a group that comes whole or not at all."""
    there = [column for column in (found[role] for role in group) if column is not None]
    if there and len(there) < len(group):
        missing = ", ".join(role for role in group if found[role] is None)
        raise FileError(
            f"{table.path}: there is {there[0].role} but no {missing}; map all of "
            f"{', '.join(group)} in [input.columns], or none"
        )
    return there


def _missing(table: Table, what: str, content: str) -> FileError:
    return FileError(
        f"{table.path}: no {table.where} for {what} of {content}; the file has "
        f"{_listed(table)}; map it in [input.columns]"
    )


def require_columns(table: Table, columns: tuple[Column, ...], content: str) -> None:
    """Raise `FileError` where a column is not in the file or cannot hold its numbers."""
    for column in columns:
        dtype = table.columns.get(column.source)
        if dtype is None:
            raise FileError(
                f"{table.path}: no {table.where} {column.source!r} for {column.role!r}; the file "
                f"has {_listed(table)}"
            )
        if dtype.kind not in "fiub":
            raise FileError(
                f"{table.path}: {table.where} {column.source!r} holds {dtype}, expected one number "
                "a row; flatten the file first"
            )
        absolute = column.role.startswith("time")
        if absolute and dtype.kind == "f" and dtype.itemsize < 8:
            raise FileError(
                f"{table.path}: {column.source!r} holds times as {dtype}, which cannot tell "
                "picoseconds after a millisecond; export times as float64"
            )
    clocks = {
        (column.unit, table.columns[column.source].kind == "f")
        for column in columns
        if column.role.startswith("time")
    }
    # The first time of the file is taken off all of them, in their own unit.
    if len(clocks) > 1:
        listed = ", ".join(sorted({f"{c.role} {c.unit}" for c in columns if c.role[:4] == "time"}))
        raise FileError(
            f"{table.path}: the times of a triplet are of different units or types ({listed}); "
            "export them alike"
        )


def _find(table: Table, role: str, spec: ColumnSpec | None) -> Column | None:
    """Return where a column comes from; None if nothing in the file is called like it."""
    if spec is not None:
        try:
            return make_column(role, spec.name, spec.unit)
        except SettingsError as error:
            raise SettingsError(f"input.columns.{role}: {error}") from error
    quantity = quantity_of(role)
    if quantity is not None:
        own = OWN_UNIT[quantity]
        named = f"{role}_{own.lower()}"
        if named in table.columns:
            return make_column(role, named, own)
    return make_column(role, role, None) if role in table.columns else None


def _listed(table: Table) -> str:
    names = list(table.columns)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
