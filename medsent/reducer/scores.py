"""Probabilities of one variant beside gold: histograms for ranking, bins for calibration."""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medsent.errors import RunError
from medsent.reducer.counts import Ints, Matrix
from medsent.reducer.equality import ByFields

Floats = npt.NDArray[np.float64]

# Bins are equally wide in arcsinh(z / 4), where z is the log odds. Their width in z is
# sqrt(16 + z²) / 2048: 1/512 at probability 0.5, 1/20 at the smallest float32. 12,800 bins hold
# every float32 between 0 and 1, and 0 and 1 have one each. One bin begins exactly at 0.5, the
# usual threshold.
_SOFTNESS: Final = 4
_PER_UNIT: Final = 2048
_FIRST: Final = -4 * _PER_UNIT
_LAST: Final = 9 * _PER_UNIT // 4
N_BINS: Final = _LAST - _FIRST + 2
LOWEST: Final[Floats] = np.concatenate(
    [[0.0], 1 / (1 + np.exp(-_SOFTNESS * np.sinh(np.arange(_FIRST, _LAST + 1) / _PER_UNIT)))]
)
"""(12802,): the probability from which on a record is in each bin, ascending."""

N_TENTHS: Final = 10
SCALE: Final = 2**30
"""What a sum in fixed point is divided by. It overflows from 2^33 records of one label on."""

# A block's sums, of at most 2^16 times 2^30, are exact in the float64 that `bincount` adds in.
_BLOCK: Final = 2**16


@dataclass(eq=False)
class Scores(ByFields):
    """Mergeable sums over cells that have gold and a probability, of L labels.

    They take 0.2 MB a label, at any number of rows. A tenth is one of ten bins of probability,
    (0, 0.1] to (0.9, 1]; 0 is in the first.
    """

    logits: Ints
    """(L, 2, 12802): records by label, gold and bin of log odds."""
    records: Ints
    """(L, 10): records by label and tenth."""
    positives: Ints
    """(L, 10): records with gold 1."""
    probability: Ints
    """(L, 10): sum of the probabilities, times `SCALE`."""
    squared_error: Ints
    """(L,): sum of the squared differences of probability and gold, times `SCALE`."""

    @classmethod
    def none(cls, labels: int) -> "Scores":
        """Return the sums over no row, of so many labels."""
        return cls(*(np.zeros(shape, dtype=np.int64) for shape in _shapes(labels)))

    def merge(self, other: "Scores") -> "Scores":
        """Return the sums over the rows of both."""
        return Scores(
            *(mine + theirs for mine, theirs in zip(self._sums(), other._sums(), strict=True))
        )

    def _sums(self) -> list[Ints]:
        return [getattr(self, part.name) for part in fields(self)]


def count_scores(gold: Matrix, probabilities: npt.NDArray[np.float32]) -> Scores:
    """Count the cells that have both; an answer that is not to be used comes as NaN.

    `gold` is (N, L) of 1, 0 or -1 for missing; `probabilities` (N, L) with NaN for none.
    Raises `RunError` for a probability outside 0 to 1.
    """
    total = Scores.none(gold.shape[1])
    for start in range(0, len(gold), _BLOCK):
        block = slice(start, start + _BLOCK)
        total = total.merge(_count(gold[block], probabilities[block]))
    return total


def bins(probability: Floats) -> Ints:
    """Return the bin of log odds, 0 to 12801, of probabilities of any one shape."""
    with np.errstate(divide="ignore"):
        logit = np.log(probability / (1 - probability))
    step = np.floor(np.arcsinh(logit / _SOFTNESS) * _PER_UNIT)
    return np.asarray(np.clip(step, _FIRST - 1, _LAST), dtype=np.int64) - (_FIRST - 1)


def _count(gold: Matrix, probabilities: npt.NDArray[np.float32]) -> Scores:
    known = (gold >= 0) & ~np.isnan(probabilities)
    label = np.nonzero(known)[1]
    y, p = gold[known].astype(np.int64), probabilities[known].astype(np.float64)
    if ((p < 0) | (p > 1)).any():
        raise RunError(
            "the predictions hold a probability below 0 or above 1; were they made or changed "
            "by another program?"
        )
    # As in scikit-learn's `calibration_curve`, a bin holds its upper edge and not its lower.
    tenth = label * N_TENTHS + np.maximum(np.ceil(p * N_TENTHS).astype(np.int64) - 1, 0)
    sums = [
        ((label * 2 + y) * N_BINS + bins(p), None),
        (tenth, None),
        (tenth, y),
        (tenth, np.rint(p * SCALE)),
        (label, np.rint((p - y) ** 2 * SCALE)),
    ]
    shapes = _shapes(gold.shape[1])
    return Scores(*(_sum(*each, shape) for each, shape in zip(sums, shapes, strict=True)))


def _shapes(labels: int) -> list[tuple[int, ...]]:
    """Return the shapes of the fields of `Scores`."""
    tenths = (labels, N_TENTHS)
    return [(labels, 2, N_BINS), tenths, tenths, tenths, (labels,)]


def _sum(index: Ints, weights: npt.NDArray[Any] | None, shape: tuple[int, ...]) -> Ints:
    size = int(np.prod(shape))
    return np.bincount(index, weights, minlength=size).astype(np.int64, copy=False).reshape(shape)
