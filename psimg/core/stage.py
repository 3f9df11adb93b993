"""The path of the events: what each stage kept and what it dropped."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What went into a stage, what stayed, and why the rest went."""

    name: str
    unit: str
    n_in: int
    n_out: int
    dropped: dict[str, int]
    """Number by reason; with ``n_out`` they sum to ``n_in``."""
