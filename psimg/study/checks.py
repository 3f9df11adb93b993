"""What a study asks of its input that the input may not have."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from psimg.core.errors import DataError, SettingsError
from psimg.events.select import SelectOptions
from psimg.events.signal import ENERGY, TOT
from psimg.io.input import InputFile
from psimg.spectra.signal import SignalSpectrum, describe_signals, find_overflow
from psimg.study.config import Study
from psimg.study.ledger import COUNT_OF_RULE


def require_columns_of_rules(study: Study, files: Sequence[InputFile], content: str) -> None:
    """Refuse windows and geometric rules that need what the files do not say of the photons.

    Parameters
    ----------
    study : Study
        A checked study.
    files : sequence of InputFile
        Its input, open and not yet read.
    content : {"singles", "triplets", "events"}
        What the files hold.

    Raises
    ------
    SettingsError
        If a rule is set and the input holds located events, or a file lacks a column.
    """
    # A distance of pairs is always set.
    _, *rules = study.settings.select.rules
    if content == "events":
        if rules:
            raise SettingsError(
                f"select.{rules[0]} needs singles or triplets, and the input holds events, whose "
                "photons are not known; remove it"
            )
        return
    for file in files:
        roles = {column.role.split("_")[0] for column in file.columns}
        _require_signal(study, file, roles)
        if "min_prompt_crystals" in rules and "detector" not in roles:
            raise SettingsError(
                f"{file.path}: select.min_prompt_crystals needs the detector of each photon, and "
                "the file has no column for it; map detector in [input.columns], or use "
                "min_prompt_distance_mm"
            )


def _require_signal(study: Study, file: InputFile, roles: set[str]) -> None:
    signal = study.settings.select.signal.signal
    if signal.role in roles:
        return
    if signal is TOT:
        raise SettingsError(
            f"{file.path}: select.annihilation_tot_ns and prompt_tot_ns need times over threshold, "
            "and the file has no column for them; map tot in [input.columns], or set "
            "annihilation_kev and prompt_kev in their place"
        )
    isotope = study.settings.study.isotope
    set_by = "[select]" if isotope is None else f"[select] (those of {isotope}, where not set)"
    raise SettingsError(
        f"{file.path}: the windows of {set_by} are on energies, and the file has only times over "
        "threshold; set select.annihilation_tot_ns and select.prompt_tot_ns"
    )


def require_candidates(
    counts: Mapping[str, int], select: SelectOptions, spectrum: SignalSpectrum | None
) -> None:
    """Refuse a window that keeps no single, and say where the singles are.

    Parameters
    ----------
    counts : mapping
        ``n_singles``, ``n_annihilation`` and ``n_prompt``, where the input holds singles.
    select : SelectOptions
        The windows.
    spectrum : SignalSpectrum or None
        Of all singles.

    Raises
    ------
    DataError
        If one of the windows is empty.
    """
    if spectrum is None:
        return
    signal = select.signal.signal
    for key, window, n_kept in (
        (signal.annihilation_key, select.signal.annihilation, counts["n_annihilation"]),
        (signal.prompt_key, select.signal.prompt, counts["n_prompt"]),
    ):
        if n_kept == 0:
            unit = "unit of energy" if signal is ENERGY else "unit of tot"
            raise DataError(
                f"{key} = {_text(window)} keeps none of {counts['n_singles']} singles; "
                f"{describe_signals(spectrum)}; move the window, or check the {unit} in "
                "[input.columns]"
            )


def require_kept(counts: Counter[str], select: SelectOptions) -> None:
    """Refuse rules that drop every triplet, and say which of them does.

    Parameters
    ----------
    counts : Counter
        ``n_triplets``, ``n_located`` and what each rule dropped.
    select : SelectOptions
        The rules, geometric and for triplets that are not alone.

    Raises
    ------
    DataError
        If there were triplets and none is left.
    """
    n_triplets = counts["n_triplets"]
    if not n_triplets or counts["n_located"]:
        return
    dropped = {
        "secondary_ns": counts["n_secondary"],
        "exactly_three": counts["n_not_alone"],
        "multiples": counts["n_multiple"],
    } | {rule: counts[COUNT_OF_RULE[rule]] for rule in select.rules}
    listed = ", ".join(f"{rule} {n}" for rule, n in dropped.items() if n)
    raise DataError(
        f"the rules of [select] drop all {n_triplets} triplets ({listed}); relax them, "
        "or check the unit of x, y, z in [input.columns]"
    )


def overflow_warnings(spectrum: SignalSpectrum | None, select: SelectOptions) -> list[str]:
    """Return a warning where an overflow bin lies beyond the prompt window; else nothing.

    Parameters
    ----------
    spectrum : SignalSpectrum or None
        Of all singles.
    select : SelectOptions
        The windows.
    """
    overflow = None if spectrum is None else find_overflow(spectrum)
    if overflow is None or select.signal.prompt[1] >= overflow[0]:
        return []
    low, high, share = overflow
    signal, prompt = select.signal.signal, select.signal.prompt
    return [
        f"{100 * share:.1f} % of the singles have {signal.names} of {low:g} to {high:g} "
        f"{signal.unit} and none has more: that looks like an overflow bin, which holds the "
        f"prompts above it, and {signal.prompt_key} = {_text(prompt)} does not reach it; "
        f"{signal.prompt_key} = {_text((prompt[0], math.inf))} would"
    ]


def rule_warnings(select: SelectOptions) -> list[str]:
    """Return a warning where a rule acts on dt itself; else nothing."""
    if not select.scatter_margin_ns:
        return []
    return [
        f"scatter_margin_ns = {select.scatter_margin_ns:g} drops good triplets too, and more of "
        "them at some dt than at others, so that lifetimes may be off by more than their errors; "
        "min_prompt_distance_mm and min_prompt_crystals leave dt alone"
    ]


def _text(window: tuple[float, float]) -> str:
    """Return a window as a study file has it."""
    return f"[{window[0]:g}, {window[1]:g}]"
