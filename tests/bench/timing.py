"""Rates of answers: the steady part of a round, and medians over rounds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

STEP_S: Final = 0.02
"""Answers nearer than this came of one engine step; a pause between steps is longer."""


@dataclass(frozen=True)
class Edges:
    """What does not count as steady, in answers."""

    warm: int
    """At the beginning: memory is touched and caches are empty."""
    ending: int
    """At the end, where the engine has fewer sequences than it could work on."""


@dataclass(frozen=True)
class Round:
    """One contender's answers in one round."""

    finished: tuple[float, ...]
    """Seconds from the first request to each answer, ascending."""
    computed_tokens: int = 0
    """Prompt tokens that were worked out."""
    cached_tokens: int = 0
    """Prompt tokens that were found in the prefix cache."""
    output_tokens: int = 0
    whole_s: float = 0.0
    """The whole process, from its start to its end; 0 where it stays between rounds."""

    @property
    def rate(self) -> float:
        """Answers a second, warm-up inside."""
        return len(self.finished) / self.finished[-1]

    def steady_rate(self, edges: Edges) -> float:
        """Answers a second between two ends of engine steps, warm-up and ending outside.

        Answers come in bunches, one an engine step. A time cut through a bunch would count
        answers whose work was done before it: with ten bunches an error of up to a tenth.
        Raises `ValueError` where fewer than two steps ended in between.
        """
        ends = self._step_ends()
        first = next(end for end in ends if end >= edges.warm - 1)
        last = max((end for end in ends if end < len(self.finished) - edges.ending), default=-1)
        if last <= first:
            raise ValueError(f"{len(ends)} steps are too few for a steady part within {edges}")
        return (last - first) / (self.finished[last] - self.finished[first])

    def _step_ends(self) -> list[int]:
        """Return the index of each step's last answer."""
        answers = self.finished
        pauses = enumerate(pairwise(answers))
        return [i for i, (one, next_) in pauses if next_ - one > STEP_S] + [len(answers) - 1]


def median(values: Sequence[float]) -> float:
    """Return the middle of the rounds."""
    return float(statistics.median(values))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the middle of the rounds' own ratios: what slows the machine slows both of a round."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])
