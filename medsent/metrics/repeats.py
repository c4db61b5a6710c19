"""What asking the same records again changes: answers that flip, and figures that move.

An engine answers many requests in one batch, and which requests share a batch differs from one
time to the next. Rounding in 16 bits, rarely in 32, then flips answers that were close.
"""

from collections.abc import Iterable

import numpy as np

from medsent.metrics.estimate import Figure, Part, defined


class Spread(Part):
    """A figure over the times; both None where it is undefined at any of them."""

    low: Figure
    """The lowest."""
    high: Figure
    """The highest."""

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return that of a figure's value each time, NaN where undefined."""
        known = np.array(list(values), dtype=np.float64)
        return cls(low=defined(float(known.min())), high=defined(float(known.max())))

    @property
    def width(self) -> Figure:
        """The highest less the lowest."""
        return None if self.low is None or self.high is None else self.high - self.low


class RepeatedLabel(Part):
    """One label of one variant."""

    flips: int
    """Records answered each time whose answer for this label was not the same each time."""
    figures: dict[str, Spread]
    """By the name of a label's figure: f1, precision, recall, ..."""


class RepeatedVariant(Part):
    """One variant, on the records that every time has scored."""

    asked: int
    """Records that it was asked about each time: all, unless a route took some past it."""
    answered: int
    """Of these, records with a usable answer each time."""
    flipped: int
    """Of the answered, records of which at least one label was not the same each time."""
    sometimes_answered: int
    """Of the asked, records with a usable answer at some times and none at others."""
    overall: dict[str, Spread]
    """By the name of an overall figure: macro_f1, accuracy, ..."""
    labels: dict[str, RepeatedLabel]
    """By label, in the labels' order."""

    @property
    def flips(self) -> int:
        """Labels of records that were not the same each time."""
        return sum(label.flips for label in self.labels.values())


class RepeatedChange(Part):
    """A difference between two variants, on the records that every time has scored."""

    difference: Figure
    """candidate - baseline at the first time, on the records that both answered then."""
    moved: Figure
    """By how much the two figures moved over the times, added up: the most by which their
    difference could move."""

    @property
    def is_within(self) -> bool:
        """Whether there is a difference that is not larger than what repeating moves."""
        if self.difference is None or self.moved is None:
            return False
        return 0 < abs(self.difference) <= self.moved


class RepeatedComparison(Part):
    """The differences between a baseline and a candidate."""

    baseline: str
    """The baseline's variant."""
    candidate: str
    """The candidate's variant."""
    overall: dict[str, RepeatedChange]
    """By the name of an overall figure."""
    labels: dict[str, RepeatedChange]
    """F1 by label, in the labels' order."""


class Repeats(Part):
    """The same records, asked several times by the same job."""

    runs: list[str]
    """The folders of the repeats, beside this run's."""
    unfinished: list[str]
    """Folders of repeats that are not complete, or hold no predictions any more: left out."""
    records: int
    """Records that this run and each repeat have scored."""
    left_out: int
    """Scored records of this run that a repeat has not scored, or not in the same block."""
    variants: dict[str, RepeatedVariant]
    """By variant, and with a route by `routed`: the answers that count."""
    comparisons: list[RepeatedComparison]
    """In the order of the report's comparisons."""

    @property
    def times(self) -> int:
        """How many times each record was asked."""
        return len(self.runs) + 1
