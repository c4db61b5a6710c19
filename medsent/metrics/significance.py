"""The rules by which a report calls something higher, lower or too little to tell."""

from typing import Final, Literal, TypeAlias

from medsent.metrics.estimate import Estimated
from medsent.metrics.model import Change
from medsent.metrics.statistics.intervals import widened_high

SIGNIFICANT: Final = 0.05
"""A change with a p-value below this, corrected where there are several, is told from chance."""

Direction: TypeAlias = Literal["higher", "lower", "no difference detected", "too few to tell"]


def untested(change: Change) -> str:
    """Return why a change has no test."""
    if change.difference is None:
        return "it is undefined for one of them"
    return {
        "too_few_disagreements": "they disagree on too few opinions to tell",
        "no_variation": "all opinions change alike, so that there is no test",
        "no_replicates": "no interval was asked for",
    }.get(change.difference.no_interval or "", "some labels have too few opinions to tell")


def direction(change: Change) -> Direction:
    """Return what the test says of a change; where there is none, that it is too few to tell."""
    p = change.p if change.p_corrected is None else change.p_corrected
    if p is None or change.difference is None:
        return "too few to tell"
    if p >= SIGNIFICANT:
        return "no difference detected"
    return "higher" if change.difference.value > 0 else "lower"


def below(figure: Estimated, bound: float, among: int) -> bool:
    """Return whether a figure's interval lies below a bound, as one of so many looked at."""
    if figure is None or figure.high is None:
        return False
    return widened_high(figure.value, figure.high, among) < bound
