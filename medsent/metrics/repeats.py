"""What asking the same records again changes: answers that flip, and figures that move.

An engine answers many requests in one batch, and which of them stand together differs from one
time to the next. The rounding of 16 bits, seldom that of 32, then turns a close answer over.
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


class LabelRepeats(Part):
    """One label of one variant."""

    flips: int
    """Records answered each time whose answer for this label was not the same each time."""
    f1: Spread
    """F1 at each time."""


class RepeatedVariant(Part):
    """One variant, on the records that every time has scored."""

    answered: int
    """Records with a usable answer each time."""
    flipped: int
    """Of these, records of which at least one label was not the same each time."""
    sometimes_answered: int
    """Records with a usable answer at some times and none at others."""
    overall: dict[str, Spread]
    """By the name of an overall figure: macro_f1, accuracy, ..."""
    labels: dict[str, LabelRepeats]
    """By label, in the labels' order."""


class Repeats(Part):
    """The same records, asked several times by the same job."""

    runs: list[str]
    """The folders of the repeats, beside this run's."""
    records: int
    """Records that this run and each repeat have scored."""
    left_out: int
    """Scored records of this run that a repeat has not scored, or not in the same block."""
    variants: dict[str, RepeatedVariant]
    """By variant."""

    @property
    def times(self) -> int:
        """How many times each record was asked."""
        return len(self.runs) + 1
