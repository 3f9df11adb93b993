"""The windows a triplet can come from: the prompt window, and those that hold randoms only.

With A the annihilation photons and P the prompts, random triplets are of three classes:

    I    a pair of one decay and an unrelated prompt
    II   a prompt and one annihilation photon of one decay, the other photon of another decay
    III  three unrelated photons

and each kind of delayed window holds, in the mean,

    prompt delayed               P = I + III
    one annihilation photon      A = II + 2 III
    both, by different delays    B = 2 III

so that I + II + III = P + A - B. Twice III, because either photon of a pair may be the delayed one,
and two unrelated photons pair up both ways; a prompt's own photon must be the one left in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class WindowKind(IntEnum):
    """What is delayed in a window."""

    PROMPT = 0
    """Nothing: true and random triplets."""
    DELAYED_PROMPT = 1
    """The prompt: randoms of classes I and III."""
    DELAYED_PHOTON = 2
    """One annihilation photon: randoms of class II, and twice those of class III."""
    DELAYED_BOTH = 3
    """One annihilation photon and the prompt, by different delays: twice class III."""


N_DELAYED_KINDS = 3
"""Kinds of windows that hold randoms only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One window of the triplet finder: which photons are delayed, and by how much."""

    kind: WindowKind
    photon_delay_ns: float = 0.0
    """Added to the time of the second annihilation photon [ns]."""
    prompt_delay_ns: float = 0.0
    """Added to the time of the prompt [ns]."""


def windows_of(
    prompt_delays_ns: tuple[float, ...], photon_delays_ns: tuple[float, ...]
) -> tuple[Window, ...]:
    """Return the prompt window and its delayed ones; a triplet's label is the position here.

    Each prompt delay makes a window. Each delay of a photon makes two: one with that photon
    delayed, and one with the prompt delayed as far the other way as well.
    """
    return (
        Window(kind=WindowKind.PROMPT),
        *(Window(kind=WindowKind.DELAYED_PROMPT, prompt_delay_ns=d) for d in prompt_delays_ns),
        *(Window(kind=WindowKind.DELAYED_PHOTON, photon_delay_ns=d) for d in photon_delays_ns),
        *(
            Window(kind=WindowKind.DELAYED_BOTH, photon_delay_ns=d, prompt_delay_ns=-d)
            for d in photon_delays_ns
        ),
    )


PROMPT_ONLY = windows_of((), ())
"""No delayed windows."""


def kinds_of(windows: Sequence[Window]) -> NDArray[np.uint8]:
    """Return the (n_windows,) `WindowKind` of each window."""
    return np.array([window.kind for window in windows], dtype=np.uint8)


def n_sets_of(windows: Sequence[Window]) -> tuple[int, int, int]:
    """Return how many windows there are of each delayed kind."""
    prompt, photon, both = np.bincount(kinds_of(windows), minlength=1 + N_DELAYED_KINDS)[1:]
    return int(prompt), int(photon), int(both)
