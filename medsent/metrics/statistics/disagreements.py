"""How far apart two figures can be where the variants disagree too seldom for an interval.

With few disagreements the replicates vary too little, and with none they do not vary at all. Only
a count is known: on how many of the opinions the two disagreed. It bounds the share of all
opinions on which they would disagree (Clopper and Pearson 1934; with no disagreement, the rule of
three). That in turn bounds the difference: at worst the same variant is wrong on that whole share.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize, stats

from medsent.metrics.statistics.intervals import ALPHA, Floats

_MOST_TIMES: Final = 1e4


@dataclass(frozen=True)
class Disagreements:
    """Of the opinions that a figure is made of, those on which the two disagree."""

    seen: int
    opinions: float
    """Effective number of opinions that the figure is made of."""
    influence: float
    """How far the figure moves for each unit of the share that disagrees, at most."""
    identical: bool
    """Whether the two disagree on no label of any record at all."""

    @classmethod
    def about_label(
        cls, seen: int, opinions: float, f1: float, identical: bool
    ) -> "Disagreements | None":
        """Return the disagreements about one label; in `opinions`, gold or a variant has it."""
        if not opinions > seen or np.isnan(f1):
            return None
        return cls(seen, opinions, float(_steepest(np.array(f1))), identical)

    @classmethod
    def about_any(
        cls, seen: int, opinions: float, f1: Floats, with_label: Floats
    ) -> "Disagreements | None":
        """Return those about any label, which macro F1 is a mean over.

        `f1` and `with_label`, (L,), are each label's F1 and the opinions where gold or a variant
        has it. At worst, where the two disagree on an opinion, they do so about all its labels, as
        many as opinions have on average, and about the rarest label as well.
        """
        if not len(f1) or not opinions > seen or not (with_label > 0).all():
            return None
        steep = _steepest(f1)
        rarest = (steep * np.maximum(opinions / with_label, 1)).max() / len(f1)
        return cls(seen, opinions, float(rarest + steep.mean()), seen == 0)

    def bound(self, number: int = 1, sides: int = 2) -> float:
        """Return by how much the figures differ at most; one of `number` such bounds (Bonferroni).

        0 where the two are identical: there is nothing by which one could be preferred.
        """
        return 0.0 if self.identical else min(self._bound(1.0, number, sides), 1.0)

    def _bound(self, times: float, number: int, sides: int) -> float:
        seen, all_ = self.seen * times, self.opinions * times
        share = stats.beta.isf(ALPHA / sides / number, seen + 1, max(all_ - seen, 1e-9))
        return float(share * self.influence)

    def times(self, margin: float, number: int = 1, sides: int = 2) -> float | None:
        """Return how many times as many opinions would bring the bound down to a margin.

        They are taken to disagree as often. None where no number would.
        """
        if self._bound(_MOST_TIMES, number, sides) >= margin:
            return None
        if self._bound(1.0, number, sides) <= margin:
            return 1.0
        return float(
            optimize.brentq(
                lambda times: self._bound(times, number, sides) - margin, 1.0, _MOST_TIMES
            )
        )


def influence(f1: Floats, opinions: Floats) -> Floats:
    """Return by how much one opinion moves F1, (L,), of so many where gold or a variant has it.

    That is half of the steepest: an opinion of which one variant has lost all labels is of the
    other's 2 tp + fp + fn as much.
    """
    return np.asarray(_steepest(f1) / 2 / opinions)


def _steepest(f1: Floats) -> Floats:
    """Return how far F1 moves for each unit of the share that disagrees, at most, (L,).

    The share q is of 2 tp + fp + fn of both variants together. If a variant of this F1 is right
    on all of it, the other's is lower by 2 q F1 / (1 + q) where it gives labels wrongly, and by
    2 q (2 - F1) / (3 - q) where it misses labels. The largest loss per unit of q is that at q = 0
    in the first case and at q = 1 in the second.
    """
    return np.asarray(np.maximum(2 * f1, 2 - f1))
