"""Counts of some rows in each bootstrap replicate, opinion by opinion; see `weights`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.reducer.counts import Ints, Matrix
from medsent.reducer.equality import ByFields
from medsent.reducer.sketch import Sketch
from medsent.reducer.weights import Keys, Weights

CELLS: Final = ("tp", "fp", "fn", "tn")
ROWS: Final = ("rows", "answered", "evaluated", "exact", "f1_of", "precision_of", "recall_of")
"""Numbers of rows: all; with a usable answer; with a label that has gold and a prediction; with
all such labels right; with a defined F1; with a defined precision; with a defined recall."""
MEANS: Final = ("f1", "precision", "recall")
FIXED: Final = 2**32
"""Sums over rows of these three are fixed point, in units of 1 / 2^32."""

# Of opinions multiplied at a time: 8192 x 1000 weights are 33 MB.
_BLOCK: Final = 8192


@dataclass(frozen=True)
class Observed:
    """What each row adds: (N, 4 L + 7) counts and (N, 3) fixed-point sums."""

    counts: npt.NDArray[np.int32]
    means: Ints


def observe(
    gold: Matrix,
    predicted: Matrix,
    answered: npt.NDArray[np.bool_],
    asked: npt.NDArray[np.bool_] | None = None,
) -> Observed:
    """Return what each row adds. Both matrices are (N, L) of 1, 0 or -1 for missing.

    A row that was not asked, (N,), adds nothing; all were where that is None.
    """
    known = (gold >= 0) & (predicted >= 0)
    has, says = known & (gold == 1), known & (predicted == 1)
    cells = (has & says, says & ~has, has & ~says, known & ~has & ~says)
    tp, fp, fn = (cell.sum(axis=1) for cell in cells[:3])
    wholes = (2 * tp + fp + fn, tp + fp, tp + fn)
    rows = (
        np.ones(len(gold), dtype=bool) if asked is None else asked,
        answered,
        known.any(axis=1),
        known.any(axis=1) & (fp + fn == 0),
        *(whole > 0 for whole in wholes),
    )
    means = [
        FIXED * part // np.maximum(w, 1) for part, w in zip((2 * tp, tp, tp), wholes, strict=True)
    ]
    counts = np.concatenate([*cells, np.stack(rows, axis=1)], axis=1)
    return Observed(counts.astype(np.int32), np.stack(means, axis=1).astype(np.int64))


@dataclass(frozen=True)
class Clusters:
    """Rows of a batch, gathered by group and opinion; each pair of these stands once."""

    order: Ints
    """(N,) rows, those of one pair together."""
    starts: Ints
    """(P,) where each pair's rows begin; by group, then by the opinion's key."""
    group: Ints
    """(P,)"""
    opinion: Ints
    """(P,) index of the opinion's key."""

    @classmethod
    def gather(cls, groups: Ints, opinions: Ints, size: int) -> "Clusters":
        """`groups` and `opinions` are (N,); there are `size` opinions, sorted by key."""
        pairs = groups * size + opinions
        order = np.argsort(pairs, kind="stable")
        ordered = pairs[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        found = ordered[starts]
        return cls(order, starts, found // size, found % size)

    def sums(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Add up (N, C) values of rows; return (P, C)."""
        if len(self.starts) == len(self.order):
            return values[self.order]
        return np.add.reduceat(values[self.order], self.starts, axis=0)

    def of_group(self, group: int) -> slice:
        """Return where a group's pairs stand."""
        first, last = np.searchsorted(self.group, [group, group + 1])
        return slice(int(first), int(last))


@dataclass(eq=False)
class Resamples(ByFields):
    """Mergeable sums of each replicate; a replicate weighs all records of an opinion alike."""

    counts: Ints
    """(replicates, 4 L + 7): `CELLS` of each label, then `ROWS`."""
    means: Ints
    """(replicates, 3): sums over rows of `MEANS`."""
    positives: list[Sketch]
    """Of each label: opinions with the label in gold, on a record with a usable answer."""

    def merge(self, other: "Resamples") -> "Resamples":
        """Return the sums of both sets of rows."""
        return Resamples(
            self.counts + other.counts,
            self.means + other.means,
            [
                mine.merge(theirs)
                for mine, theirs in zip(self.positives, other.positives, strict=True)
            ],
        )

    def cell(self, name: str) -> Ints:
        """Return one of `CELLS`, (replicates, L)."""
        labels = len(self.positives)
        first = CELLS.index(name) * labels
        return self.counts[:, first : first + labels]

    def rows(self, name: str) -> Ints:
        """Return one of `ROWS`, (replicates,)."""
        return self.counts[:, len(CELLS) * len(self.positives) + ROWS.index(name)]

    def mean_sums(self, name: str) -> Ints:
        """Return the sums of one of `MEANS`, (replicates,), in units of 1 / `FIXED`."""
        return self.means[:, MEANS.index(name)]


def resample(
    observed: Observed, clusters: Clusters, keys: Keys, weights: Weights, size: int
) -> Iterator[Resamples]:
    """Yield the state of each of `size` groups.

    `keys` and `weights` are those of the batch's opinions, (O,) and (O, replicates).
    """
    counts, means = clusters.sums(observed.counts), clusters.sums(observed.means)
    labels = (counts.shape[1] - len(ROWS)) // len(CELLS)
    gold = counts[:, :labels] + counts[:, 2 * labels : 3 * labels]
    for group in range(size):
        at = clusters.of_group(group)
        opinions = clusters.opinion[at]
        yield Resamples(
            *_weighted(counts[at], means[at], opinions, weights),
            sketches(gold[at], keys[opinions]),
        )


def sketches(records: npt.NDArray[np.integer], keys: Keys) -> list[Sketch]:
    """Sketch, for each column of (P, L) records, the opinions that have any; keys ascend."""
    found = []
    for column in records.T:
        some = np.flatnonzero(column)
        found.append(Sketch.of(keys[some], column[some].astype(np.int64)))
    return found


def _weighted(
    counts: npt.NDArray[np.integer],
    means: npt.NDArray[np.integer],
    opinions: Ints,
    weights: Weights,
) -> tuple[Ints, Ints]:
    """Return (replicates, 4 L + 7) and (replicates, 3) sums over opinions of weight times value."""
    summed = np.zeros((weights.shape[1], counts.shape[1]), dtype=np.int64)
    meant = np.zeros((weights.shape[1], means.shape[1]), dtype=np.int64)
    for first in range(0, len(opinions), _BLOCK):
        at = slice(first, first + _BLOCK)
        drawn = weights[opinions[at]]
        # Counts of a batch of 65,536 rows stay below 2^24, and the others far below 2^53,
        # so floats are exact, and BLAS multiplies them many times faster than integers.
        summed += (drawn.T.astype(np.float32) @ counts[at].astype(np.float32)).astype(np.int64)
        meant += (drawn.T.astype(np.float64) @ means[at].astype(np.float64)).astype(np.int64)
    return summed, meant
