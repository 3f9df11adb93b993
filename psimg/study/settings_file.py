"""Files of settings: TOML, checked by pydantic, with errors that name the key and the file."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from psimg.core.errors import FileError, PsimgError, SettingsError

T = TypeVar("T")

_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What the sections of a file are called, to name the nearest key to a misspelt one."""

    root: type
    """Dataclass of the whole file."""
    sections: Mapping[str, type]
    """Dataclasses of sections within sections, by the key that holds them."""
    kinds: Mapping[str, Mapping[str, type]]
    """By the key of a section of several kinds: the dataclass of each kind."""
    kind_key: Mapping[str, str]
    """By the same: the key that says which kind it is."""
    unions: tuple[str, ...] = ()
    """Types that pydantic names in the place of an error, and no key of the file."""

    @property
    def names(self) -> frozenset[str]:
        """What is in the place of an error and no key."""
        kinds = (name for kinds in self.kinds.values() for name in kinds)
        return frozenset((*kinds, *self.unions))


def read_toml(path: Path, *, missing: str) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path
        The file.
    missing : str
        What to say where it is missing.

    Raises
    ------
    FileError
        If the file is missing, cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileError(f"{path}: {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not TOML: {error}") from error


def check_settings(raw: Mapping[str, Any], kind: type[T], layout: Layout) -> T:
    """Turn what a file says into its dataclasses.

    Raises
    ------
    SettingsError
        If a key is unknown (the nearest known one is named), missing, or its value out of range.
    """
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        raise SettingsError(explain(error, layout)) from None


def of_file(path: Path, error: PsimgError) -> PsimgError:
    """Return the error with the file's name in it."""
    return error if str(path) in str(error) else type(error)(f"{path}: {error}")


def explain(error: ValidationError, layout: Layout) -> str:
    """Say what is wrong with a file, by key, in one line: a misspelt key before all else."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] in _UNKNOWN_KEY), errors[0])
    place = [str(part) for part in first["loc"] if part not in layout.names]
    key = ".".join(place)
    if first["type"] in _UNKNOWN_KEY:
        return f"unknown key {key}; {_hint(place[-1], _known_keys(place, first['loc'], layout))}"
    if first["type"] in ("missing", "missing_argument"):
        if isinstance(first["loc"][-1], int):
            return f"{'.'.join(place[:-1])} = {first['input']!r}: holds too few values"
        return f"{key} is missing; add it"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        section = place[-1] if place[-1] in layout.kinds else place[-2]
        kinds = ", ".join(layout.kinds[section])
        return f"{key}.{layout.kind_key[section]}: expected one of {kinds}"
    if first["type"] == "dataclass_type":
        return f"{key} = {first['input']!r}: expected a table of settings"
    context = first.get("ctx", {})
    if isinstance(context.get("error"), PsimgError):
        return f"{key}: {context['error']}" if key else str(context["error"])
    reason = first["msg"].lower().replace("a valid tuple", "a list of values")
    return f"{key} = {first['input']!r}: {reason}"


def _hint(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"


def _known_keys(place: list[str], location: tuple[int | str, ...], layout: Layout) -> list[str]:
    """Return the keys of the section that holds the key at ``place``."""
    sections: dict[str, Any] = {f.name: f.type for f in fields(layout.root)} | {**layout.sections}
    for name, kinds in layout.kinds.items():
        kind = next((part for part in location if part in kinds), next(iter(kinds)))
        sections[name] = kinds[str(kind)]
    section = next((sections[p] for p in reversed(place[:-1]) if p in sections), layout.root)
    return sorted(f.name for f in fields(section))
