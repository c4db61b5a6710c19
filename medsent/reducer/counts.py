"""Counts of one variant on some rows: cells by gold and prediction, rows by their errors."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.labels import LABELS

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.int8]

N_LABELS: Final = len(LABELS)

# What one row's labels can add up to: all (tp, fp, fn) with a sum of at most 21. There are
# 2,024, so a histogram over them keeps every average over rows exact, in integers.
_TRIPLES = np.array(
    [
        (tp, fp, fn)
        for tp in range(N_LABELS + 1)
        for fp in range(N_LABELS + 1 - tp)
        for fn in range(N_LABELS + 1 - tp - fp)
    ],
    dtype=np.int64,
)
ROW_TP, ROW_FP, ROW_FN = (_TRIPLES[:, i] for i in range(3))
_TRIPLE_INDEX = np.zeros((N_LABELS + 1,) * 3, dtype=np.int64)
_TRIPLE_INDEX[ROW_TP, ROW_FP, ROW_FN] = np.arange(len(_TRIPLES))

_MISSING, _ZERO, _ONE = 0, 1, 2  # a value of -1, 0 or 1, as an index


def _no_cells() -> Ints:
    return np.zeros((N_LABELS, 3, 3), dtype=np.int64)


def _no_rows() -> Ints:
    return np.zeros(len(_TRIPLES), dtype=np.int64)


@dataclass(eq=False)
class Counts:
    """Mergeable counts; their size does not depend on how many rows were counted."""

    cells: Ints = field(default_factory=_no_cells)
    """(21, 3, 3): rows by label, gold and prediction, each missing, 0 or 1 in this order."""
    rows: Ints = field(default_factory=_no_rows)
    """(2024,): evaluated rows by (`ROW_TP`, `ROW_FP`, `ROW_FN`), over the cells they have."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Rows by status of the answer."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Counts)
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.rows, other.rows)
            and self.statuses == other.statuses
        )

    def merge(self, other: "Counts") -> "Counts":
        """Return the counts of both sets of rows."""
        return Counts(
            self.cells + other.cells, self.rows + other.rows, self.statuses + other.statuses
        )

    @property
    def tp(self) -> Ints:
        """(21,): gold 1, predicted 1."""
        return self.cells[:, _ONE, _ONE]

    @property
    def fp(self) -> Ints:
        """(21,): gold 0, predicted 1."""
        return self.cells[:, _ZERO, _ONE]

    @property
    def fn(self) -> Ints:
        """(21,): gold 1, predicted 0."""
        return self.cells[:, _ONE, _ZERO]

    @property
    def tn(self) -> Ints:
        """(21,): gold 0, predicted 0."""
        return self.cells[:, _ZERO, _ZERO]

    @property
    def missing(self) -> Ints:
        """(21,): no gold, whatever was predicted."""
        return np.asarray(self.cells[:, _MISSING].sum(axis=1))

    @property
    def unanswered(self) -> Ints:
        """(21,): gold, but no usable prediction."""
        return np.asarray(self.cells[:, [_ZERO, _ONE], _MISSING].sum(axis=1))

    @property
    def predicted(self) -> tuple[Ints, Ints]:
        """Twice (21,): predictions of 1, and usable predictions, with gold or without."""
        ones = self.cells[:, :, _ONE].sum(axis=1)
        return ones, ones + self.cells[:, :, _ZERO].sum(axis=1)


def count_groups(
    gold: Matrix, predicted: Matrix, statuses: list[str], status: Ints, groups: Ints, size: int
) -> list[Counts]:
    """Count the rows of each of `size` groups.

    `gold` and `predicted` are (N, 21) of 1, 0 or -1 for missing; `status` (N,) indexes
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
    per_label = (gold + 1) * 3 + (predicted + 1)  # 0 to 8
    offset = groups[:, None] * N_LABELS + np.arange(N_LABELS)
    counted = np.bincount((offset * 9 + per_label).ravel(), minlength=size * N_LABELS * 9)
    return counted.reshape(size, N_LABELS, 3, 3).astype(np.int64, copy=False)


def _rows(gold: Matrix, predicted: Matrix, groups: Ints, size: int) -> Ints:
    known = (gold >= 0) & (predicted >= 0)
    has, says = known & (gold == 1), known & (predicted == 1)
    tp, fp, fn = (part.sum(axis=1) for part in (has & says, says & ~has, has & ~says))
    evaluated = known.any(axis=1)
    index = groups * len(_TRIPLES) + _TRIPLE_INDEX[tp, fp, fn]
    counted = np.bincount(index[evaluated], minlength=size * len(_TRIPLES))
    return counted.reshape(size, len(_TRIPLES)).astype(np.int64, copy=False)
