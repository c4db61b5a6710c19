"""The parts that the sentences of findings are made of, and the numbers beside them."""

from collections.abc import Iterable, Sequence
from typing import Final

from medsent.metrics.estimate import Estimated, value_of
from medsent.metrics.format import counted, percent, points, share_interval, signed_interval
from medsent.metrics.model import Change, LabelMetrics
from medsent.metrics.statuses import spaced
from medsent.reducer.sketch import KEPT

_NAMED: Final = 10

UNCORRECTED: Final = "before correction for the number of labels"
"""Said of detectable differences: the corrected test needs larger ones."""


def share(figure: Estimated) -> str:
    """Write a share with its interval, or that it has none."""
    interval = None if figure is None else share_interval(figure)
    told = "no interval" if interval is None else f"95% interval {interval}{_rough(figure)}"
    return f"{percent(value_of(figure))} ({told})"


def gap(change: Change) -> str:
    """Write a difference with its interval, or that it has none."""
    interval = signed_interval(change.difference)
    told = "no interval" if interval is None else f"95% interval {interval}"
    return f"{points(value_of(change.difference))} points ({told}{_rough(change.difference)})"


def _rough(figure: Estimated) -> str:
    return ", rough" if figure is not None and figure.rough else ""


def changed(change: Change) -> dict[str, int | float | None]:
    """Return the numbers of a change."""
    figure = change.difference
    numbers = {
        "baseline": change.baseline,
        "candidate": change.candidate,
        "difference": value_of(figure),
        "low": None if figure is None else figure.low,
        "high": None if figure is None else figure.high,
        "p": change.p,
    }
    if change.p_corrected is not None:
        numbers["p_corrected"] = change.p_corrected
    return {**numbers, "detectable": change.detectable}


def estimated(name: str, figure: Estimated) -> dict[str, int | float | None]:
    """Return a figure's numbers under its name."""
    if figure is None:
        return {name: None}
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def support(label: LabelMetrics) -> str:
    """Write how many records, in how many opinions, have a label."""
    return f"{counted(label.support, 'record')} in {opinions(label.opinions)}"


def opinions(number: int | None) -> str:
    """Write a number of opinions, which is counted up to 64."""
    if number is None:
        return "opinions not counted"
    if number >= KEPT:
        return f"{KEPT} or more opinions"
    return f"{number} opinion{'' if number == 1 else 's'}"


def part(key: str) -> str:
    """Write a slice as words, the value as it is: `age_group=over_60` as `age group over_60`."""
    column, _, value = key.partition("=")
    return f"{spaced(column)} {value}"


def first(parts: Sequence[str], unit: str = "") -> str:
    """Write the first ten of a list, of a unit, and how many more there are."""
    more = len(parts) - _NAMED
    return (
        f"{', '.join(parts[:_NAMED])}{unit} and {more} more" if more > 0 else listed(parts) + unit
    )


def listed(parts: Iterable[str]) -> str:
    """Write a list with `and` before its last part."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last
