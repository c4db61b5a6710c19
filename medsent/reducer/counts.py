"""Counts of one variant on some rows: cells by gold and prediction, rows by their errors."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.reducer.equality import ByFields

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.int8]

_MISSING, _ZERO, _ONE = 0, 1, 2  # a value of -1, 0 or 1, as an index

# A row's (tp, fp, fn) packed into one integer, 20 bits each: integers sort as the triples do.
_BITS: Final = 20
_LOWEST: Final = 2**_BITS - 1


@dataclass(eq=False)
class Rows(ByFields):
    """Evaluated rows by what their labels add up to: a histogram of the triples that occur.

    With it every average over rows is exact, in integers. With L labels there are
    (L + 1) (L + 2) (L + 3) / 6 triples, of which data hold few.
    """

    triples: Ints
    """(K,), rising: tp, fp and fn of a row, 20 bits each."""
    numbers: Ints
    """(K,): rows of each, above 0."""

    @classmethod
    def none(cls) -> "Rows":
        """Return the histogram of no row."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def merge(self, other: "Rows") -> "Rows":
        """Return the histogram of both sets of rows."""
        both = np.concatenate([self.triples, other.triples])
        numbers = np.concatenate([self.numbers, other.numbers])
        order = np.argsort(both, kind="stable")
        return Rows(*_added_up(both[order], numbers[order]))

    @property
    def tp(self) -> Ints:
        """(K,)"""
        return self.triples >> 2 * _BITS

    @property
    def fp(self) -> Ints:
        """(K,)"""
        return self.triples >> _BITS & _LOWEST

    @property
    def fn(self) -> Ints:
        """(K,)"""
        return self.triples & _LOWEST


def _added_up(ordered: Ints, numbers: Ints) -> tuple[Ints, Ints]:
    """Return the distinct values of a rising array, and the sum of the numbers of each."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    return ordered[starts], np.add.reduceat(numbers, starts) if len(starts) else numbers


@dataclass(eq=False)
class Counts(ByFields):
    """Mergeable counts of L labels; their size is bounded, however many rows were counted."""

    cells: Ints
    """(L, 3, 3): rows by label, gold and prediction, each missing, 0 or 1 in this order."""
    rows: Rows
    """Evaluated rows by their errors, over the cells they have."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Rows by status of the answer."""

    @classmethod
    def none(cls, labels: int) -> "Counts":
        """Return the counts of no row, of so many labels."""
        return cls(np.zeros((labels, 3, 3), dtype=np.int64), Rows.none())

    def merge(self, other: "Counts") -> "Counts":
        """Return the counts of both sets of rows."""
        return Counts(
            self.cells + other.cells,
            self.rows.merge(other.rows),
            self.statuses + other.statuses,
        )

    @property
    def labels(self) -> int:
        """How many labels there are."""
        return len(self.cells)

    @property
    def tp(self) -> Ints:
        """(L,): gold 1, predicted 1."""
        return self.cells[:, _ONE, _ONE]

    @property
    def fp(self) -> Ints:
        """(L,): gold 0, predicted 1."""
        return self.cells[:, _ZERO, _ONE]

    @property
    def fn(self) -> Ints:
        """(L,): gold 1, predicted 0."""
        return self.cells[:, _ONE, _ZERO]

    @property
    def tn(self) -> Ints:
        """(L,): gold 0, predicted 0."""
        return self.cells[:, _ZERO, _ZERO]

    @property
    def missing(self) -> Ints:
        """(L,): no gold, whatever was predicted."""
        return np.asarray(self.cells[:, _MISSING].sum(axis=1))

    @property
    def unanswered(self) -> Ints:
        """(L,): gold, but no usable prediction."""
        return np.asarray(self.cells[:, [_ZERO, _ONE], _MISSING].sum(axis=1))

    @property
    def predicted(self) -> tuple[Ints, Ints]:
        """Twice (L,): predictions of 1, and usable predictions, with gold or without."""
        ones = self.cells[:, :, _ONE].sum(axis=1)
        return ones, ones + self.cells[:, :, _ZERO].sum(axis=1)


def count_groups(
    gold: Matrix, predicted: Matrix, statuses: list[str], status: Ints, groups: Ints, size: int
) -> list[Counts]:
    """Count the rows of each of `size` groups.

    `gold` and `predicted` are (N, L) of 1, 0 or -1 for missing; `status` (N,) indexes
    `statuses`; `groups` (N,) is each row's group, from 0.
    """
    cells = _cells(gold, predicted, groups, size)
    rows = _rows(gold, predicted, groups, size)
    by_status = np.bincount(groups * len(statuses) + status, minlength=size * len(statuses))
    found = by_status.reshape(size, len(statuses)).tolist()
    return [
        Counts(
            cells[i], rows[i], Counter({s: n for s, n in zip(statuses, found[i], strict=True) if n})
        )
        for i in range(size)
    ]


def _cells(gold: Matrix, predicted: Matrix, groups: Ints, size: int) -> Ints:
    labels = gold.shape[1]
    per_label = (gold + 1) * 3 + (predicted + 1)  # 0 to 8
    offset = groups[:, None] * labels + np.arange(labels)
    counted = np.bincount((offset * 9 + per_label).ravel(), minlength=size * labels * 9)
    return counted.reshape(size, labels, 3, 3).astype(np.int64, copy=False)


def _rows(gold: Matrix, predicted: Matrix, groups: Ints, size: int) -> list[Rows]:
    known = (gold >= 0) & (predicted >= 0)
    has, says = known & (gold == 1), known & (predicted == 1)
    tp, fp, fn = (part.sum(axis=1) for part in (has & says, says & ~has, has & ~says))
    evaluated = known.any(axis=1)
    triples = (tp << 2 * _BITS | fp << _BITS | fn)[evaluated]
    found, place = np.unique(triples, return_inverse=True)
    by_group = np.bincount(groups[evaluated] * len(found) + place, minlength=size * len(found))
    return [
        Rows(found[some > 0], some[some > 0])
        for some in by_group.reshape(size, len(found)).astype(np.int64, copy=False)
    ]
