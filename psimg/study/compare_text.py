"""A comparison in words, as the command line prints it."""

import math

from psimg.study.compare import FitPair, ResultsComparison


def describe_comparison(found: ResultsComparison) -> str:
    """Return a comparison as lines of text."""
    maps = found.maps
    name = found.a.name if found.a.named else found.b.name
    unit = f" [{found.unit}]" if found.unit not in (None, "1") else ""
    lines = [
        f"{name}{unit}",
        f"A  {found.a.path}",
        f"B  {found.b.path}",
        f"voxels with a value: {maps.n_both[0]:,} in both, {maps.n_only_a[0]:,} in A alone, "
        f"{maps.n_only_b[0]:,} in B alone",
        *(f"note: {note}" for note in found.notes),
        "",
        *_voxel_table(found),
    ]
    if found.fits:
        lines += ["", *_fit_table(found.fits)]
    return "\n".join(lines)


def _voxel_table(found: ResultsComparison) -> list[str]:
    maps = found.maps
    wide = _width([*maps.names])
    lines = [
        f"{'voxels of':<{wide}}{'both':>8}{'A':>9}{'B':>9}{'A - B':>9}{'%':>7}{'spread':>9}"
        f"{'RMSE':>9}{'r':>7}{'pull':>8}{'width':>7}"
    ]
    decimals = _decimals([*maps.mean_a, *maps.mean_b])
    for row, name in enumerate(maps.names):
        numbers = (maps.mean_a[row], maps.mean_b[row])
        lines.append(
            f"{name:<{wide}}{maps.n_both[row]:>8,}"
            + "".join(f"{_number(x, f'.{decimals}f'):>9}" for x in numbers)
            + f"{_number(maps.difference[row], f'+.{decimals}f'):>9}"
            f"{_number(100 * maps.relative_difference[row], '+.1f'):>7}"
            f"{_number(maps.spread[row], f'.{decimals}f'):>9}"
            f"{_number(maps.rmse[row], f'.{decimals}f'):>9}"
            f"{_number(maps.correlation[row], '.2f'):>7}"
            f"{_number(maps.pull_mean[row], '+.2f'):>8}"
            f"{_number(maps.pull_width[row], '.2f'):>7}"
        )
    lines.append(
        "A, B: means over the voxels with a value in both; RMSE^2 = (A - B)^2 + spread^2; r: "
        "correlation"
    )
    if maps.with_errors:
        whose = " and ".join(maps.with_errors)
        lines.append(
            f"pull, width: mean and standard deviation of (A - B) / error, with the errors of "
            f"{whose}"
        )
    else:
        lines.append("no pulls: neither map has a map of its errors beside it")
    return lines


def _fit_table(fits: tuple[FitPair, ...]) -> list[str]:
    wide = _width([pair.region for pair in fits])
    lines = [
        f"{'fit of region':<{wide}}{'events A':>11}{'events B':>11}{'tau_ops A [ns]':>18}"
        f"{'tau_ops B [ns]':>18}{'A - B':>9}{'/ error':>9}"
    ]
    for pair in fits:
        lines.append(
            f"{pair.region:<{wide}}{_number(pair.n_events_a, ',d'):>11}"
            f"{_number(pair.n_events_b, ',d'):>11}"
            f"{_measured(pair.tau_ops_a_ns, pair.error_a_ns):>18}"
            f"{_measured(pair.tau_ops_b_ns, pair.error_b_ns):>18}"
            f"{_number(pair.difference_ns, '+.3f'):>9}{_number(pair.pull, '+.1f'):>9}"
        )
    return lines


def _width(names: list[str]) -> int:
    return max(16, *(len(name) + 1 for name in names))


def _decimals(numbers: list[float]) -> int:
    """Return the digits after the point that leave about four in the largest number."""
    largest = max((abs(x) for x in numbers if math.isfinite(x)), default=1.0)
    return 3 if largest < 100 else 1


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:{form}}"


def _measured(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if error is None else f"{value:.3f} +- {error:.3f}"
