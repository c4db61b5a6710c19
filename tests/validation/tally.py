"""How often something held, with its Monte Carlo error."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np


@dataclass
class Tally:
    """How often something held; what is counted in one sample goes together."""

    held: int = 0
    of: int = 0
    moments: tuple[int, int, int] = (0, 0, 0)
    """Sums over closed samples of held^2, held x of and of^2."""

    @property
    def share(self) -> float:
        """In percent; NaN of none."""
        return 100 * self.held / self.of if self.of else float("nan")

    @property
    def error(self) -> float:
        """Monte Carlo standard error of that, in points, with samples as clusters.

        Labels and variants of a sample are not independent. The variance is a ratio's
        (Cochran 1977, Sampling Techniques, 6.4): the sum of (held - p of)^2 over (sum of)^2.
        """
        if not self.of:
            return float("nan")
        p, (hh, hn, nn) = self.held / self.of, self.moments
        return 100 * float(np.sqrt(max(hh - 2 * p * hn + p * p * nn, 0))) / self.of

    def add(self, held: bool) -> None:
        """Count once more."""
        self.held += held
        self.of += 1

    def close(self) -> None:
        """End a sample, of which all so far was counted."""
        self.moments = (self.held**2, self.held * self.of, self.of**2)

    def merge(self, other: "Tally") -> None:
        """Add a tally of other, closed samples."""
        self.held += other.held
        self.of += other.of
        mine, theirs = self.moments, other.moments
        self.moments = (mine[0] + theirs[0], mine[1] + theirs[1], mine[2] + theirs[2])


Tallies: TypeAlias = defaultdict[str, Tally]


def tallies() -> Tallies:
    """Return tallies by name, none so far."""
    return defaultdict(Tally)


def merge(mine: Tallies, other: Tallies) -> None:
    """Add each of the other tallies to that of its name."""
    for name, tally in other.items():
        mine[name].merge(tally)
