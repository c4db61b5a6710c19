"""A candidate's figures against a baseline's: differences, and their classes."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ChangeKind: TypeAlias = Literal[
    "over_50", "from_10_to_50", "from_0_to_10", "unchanged", "worse", "from_zero", "undefined"
]
"""The class of a change, by its relative improvement in percent."""

# A relative improvement of just 50% (0.2 to 0.3) comes out a bit more or less in floats.
_DIGITS = 9


@dataclass(frozen=True)
class Difference:
    """The change of a figure."""

    difference: float | None
    """candidate - baseline; None where one of them is undefined."""
    relative: float | None
    """difference / baseline; None from zero."""
    kind: ChangeKind


def compare(baseline: float | None, candidate: float | None) -> Difference:
    """Compare two figures of 0 or more."""
    if baseline is None or candidate is None:
        return Difference(None, None, "undefined")
    difference = candidate - baseline
    if difference == 0:
        return Difference(0.0, 0.0 if baseline else None, "unchanged")
    if baseline == 0:
        return Difference(difference, None, "from_zero")
    relative = difference / baseline
    return Difference(difference, relative, _kind(relative))


def _kind(relative: float) -> ChangeKind:
    rounded = round(relative, _DIGITS)
    if rounded < 0:
        return "worse"
    if rounded > 0.5:
        return "over_50"
    return "from_10_to_50" if rounded >= 0.1 else "from_0_to_10"
