"""Rates of answers: the steady part of a round, and medians over rounds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


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

    def steady_rate(self, warm: int) -> float:
        """Answers a second after the first `warm`: warm-up outside."""
        return (len(self.finished) - warm) / (self.finished[-1] - self.finished[warm - 1])


def median(values: Sequence[float]) -> float:
    """Return the middle of the rounds."""
    return float(statistics.median(values))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the middle of the rounds' own ratios: what slows the machine slows both of a round."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])
