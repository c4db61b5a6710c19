"""Two variants side by side, on the records that both answered."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medsent.reducer.counts import Counts, Ints, Matrix, count_groups
from medsent.reducer.equality import ByFields
from medsent.reducer.resamples import Clusters, Observed, Resamples, observe, resample, sketches
from medsent.reducer.sketch import Sketch
from medsent.reducer.weights import Keys, Weights

BOTH, NOT_BOTH = "ok", "not_both"


@dataclass(eq=False)
class Pair(ByFields):
    """Mergeable counts of a baseline and a candidate, both on the same records."""

    baseline: Counts
    candidate: Counts
    resampled: tuple[Resamples, Resamples] | None
    """Of the baseline and of the candidate; None where there are no replicates."""
    discordant: Ints
    """(L, 2): records on which the baseline alone is right, and the candidate alone."""
    disagreeing: list[Sketch]
    """Of each label: opinions with such a record."""
    opinions: Sketch
    """Opinions with a record that both answered."""
    one_sided: Sketch
    """Opinions with a record that only one of them answered."""

    @classmethod
    def none(cls, labels: int) -> "Pair":
        """Return the counts of no record, of so many labels."""
        return cls(
            Counts.none(labels),
            Counts.none(labels),
            None,
            np.zeros((labels, 2), dtype=np.int64),
            [Sketch() for _ in range(labels)],
            Sketch(),
            Sketch(),
        )

    def turned(self) -> "Pair":
        """Return the counts with the baseline as the candidate."""
        resampled = None if self.resampled is None else self.resampled[::-1]
        return replace(
            self,
            baseline=self.candidate,
            candidate=self.baseline,
            resampled=resampled,
            discordant=self.discordant[:, ::-1],
        )

    def merge(self, other: "Pair") -> "Pair":
        """Return the counts of both sets of records."""
        resampled = None
        if self.resampled and other.resampled:
            mine, theirs = self.resampled, other.resampled
            resampled = (mine[0].merge(theirs[0]), mine[1].merge(theirs[1]))
        return Pair(
            self.baseline.merge(other.baseline),
            self.candidate.merge(other.candidate),
            resampled,
            self.discordant + other.discordant,
            [a.merge(b) for a, b in zip(self.disagreeing, other.disagreeing, strict=True)],
            self.opinions.merge(other.opinions),
            self.one_sided.merge(other.one_sided),
        )


@dataclass(frozen=True)
class Sides:
    """A batch's labels of two variants, each (N, L), -1 on rows that not both have answered."""

    gold: Matrix
    baseline: Matrix
    candidate: Matrix
    both: npt.NDArray[np.bool_]
    """(N,) whether both answered."""
    one: npt.NDArray[np.bool_]
    """(N,) whether only one did."""

    @classmethod
    def of(
        cls,
        gold: Matrix,
        baseline: tuple[Matrix, npt.NDArray[np.bool_]],
        candidate: tuple[Matrix, npt.NDArray[np.bool_]],
    ) -> "Sides":
        """Each variant is its labels and whether it answered, (N,)."""
        both = baseline[1] & candidate[1]
        kept = [np.where(both[:, None], labels, -1) for labels in (baseline[0], candidate[0])]
        return cls(gold, kept[0], kept[1], both, baseline[1] ^ candidate[1])

    def count(
        self, groups: Ints, size: int, clusters: Clusters, keys: Keys, weights: Weights | None
    ) -> Iterator[Pair]:
        """Yield the counts of each of `size` groups."""
        sides = (self.baseline, self.candidate)
        status = (~self.both).astype(np.int64)
        counted = [
            count_groups(self.gold, side, [BOTH, NOT_BOTH], status, groups, size) for side in sides
        ]
        resampled = None
        if weights is not None:
            resampled = [
                list(resample(each, clusters, keys, weights, size)) for each in self._observed
            ]
        alone, labels = clusters.sums(self._alone), self.gold.shape[1]
        for group in range(size):
            at = clusters.of_group(group)
            right, mine = alone[at], keys[clusters.opinion[at]]
            either = right[:, :labels] + right[:, labels : 2 * labels]
            yield Pair(
                counted[0][group],
                counted[1][group],
                (resampled[0][group], resampled[1][group]) if resampled else None,
                right[:, : 2 * labels].sum(axis=0).reshape(2, labels).T,
                sketches(either, mine),
                *sketches(right[:, -2:], mine),
            )

    # `count` is called once for each way to group the rows, and uses both properties below.
    @cached_property
    def _observed(self) -> list[Observed]:
        """What each row adds to the baseline's replicates, and to the candidate's."""
        sides = (self.baseline, self.candidate)
        return [observe(self.gold, side, self.both) for side in sides]

    @cached_property
    def _alone(self) -> Ints:
        """Return (N, 2 L + 2) flags.

        For each label, that only the baseline is right; for each label, that only the candidate
        is; that both answered; that only one did.
        """
        known = (self.gold >= 0) & (self.baseline >= 0) & (self.candidate >= 0)
        differ = known & (self.baseline != self.candidate)
        base = differ & (self.baseline == self.gold)
        columns = (base, differ & ~base, self.both[:, None], self.one[:, None])
        return np.asarray(np.concatenate(columns, axis=1), dtype=np.int64)
