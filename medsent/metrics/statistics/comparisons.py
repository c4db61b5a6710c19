"""A candidate's figures against a baseline's: differences, and how they are distributed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

ChangeKind: TypeAlias = Literal[
    "over_50", "from_10_to_50", "from_0_to_10", "unchanged", "worse", "from_zero", "undefined"
]
"""The class of a change, by its relative improvement in percent."""

# A relative improvement of just 50% (0.2 to 0.3) comes out a bit more or less in floats.
_DIGITS = 9


@dataclass(frozen=True)
class Difference:
    """A figure of both, None where it is undefined, and its change."""

    baseline: float | None
    candidate: float | None
    difference: float | None
    """candidate - baseline."""
    relative: float | None
    """difference / baseline; None from zero."""
    kind: ChangeKind


def compare(baseline: float | None, candidate: float | None) -> Difference:
    """Compare two figures of 0 or more."""
    if baseline is None or candidate is None:
        return Difference(baseline, candidate, None, None, "undefined")
    difference = candidate - baseline
    if difference == 0:
        return Difference(baseline, candidate, 0.0, 0.0 if baseline else None, "unchanged")
    if baseline == 0:
        return Difference(baseline, candidate, difference, None, "from_zero")
    relative = difference / baseline
    return Difference(baseline, candidate, difference, relative, _kind(relative))


def distribution(kinds: Iterable[ChangeKind]) -> dict[ChangeKind, int]:
    """Return how many changes there are of each class; the parts add up to all of them."""
    counted = Counter(kinds)
    return {kind: counted[kind] for kind in get_args(ChangeKind)}


def _kind(relative: float) -> ChangeKind:
    rounded = round(relative, _DIGITS)
    if rounded < 0:
        return "worse"
    if rounded > 0.5:
        return "over_50"
    return "from_10_to_50" if rounded >= 0.1 else "from_0_to_10"
