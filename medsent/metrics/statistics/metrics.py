"""Metrics from counts; NaN wherever a figure is undefined.

Definitions and values are scikit-learn's with `zero_division=nan` (`classification` in
`sklearn.metrics`), except that a Matthews correlation with an empty margin is undefined
where scikit-learn gives 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.predictions import AnswerStatus
from medsent.reducer.counts import Counts, Ints
from medsent.reducer.resamples import Resamples

Floats = npt.NDArray[np.float64]

RATES: Final = ("f1", "precision", "recall")

_RULES: Final = {"": np.nan, "_undefined_as_0": 0.0, "_undefined_as_1": 1.0}
"""What a macro average takes an undefined figure for, by the end of its name."""

LABEL_FIGURES: Final = (
    "precision",
    "recall",
    "f1",
    "accuracy",
    "specificity",
    "prevalence",
    "predicted_rate",
)


@dataclass(frozen=True)
class Cells:
    """Counts by label, each (..., L): of all rows, or of each replicate."""

    tp: Ints
    fp: Ints
    fn: Ints
    tn: Ints

    @classmethod
    def of(cls, counted: Counts) -> "Cells":
        """Return the counts of all rows."""
        return cls(counted.tp, counted.fp, counted.fn, counted.tn)

    @classmethod
    def drawn(cls, resamples: Resamples) -> "Cells":
        """Return those of each replicate."""
        return cls(*(resamples.cell(name) for name in ("tp", "fp", "fn", "tn")))

    def ratio(self, figure: str) -> tuple[Ints, Ints]:
        """Return what a figure of `LABEL_FIGURES` is a ratio of: part and whole."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        everything = tp + fp + fn + tn
        parts = {
            "precision": (tp, tp + fp),
            "recall": (tp, tp + fn),
            "f1": (2 * tp, 2 * tp + fp + fn),
            "accuracy": (tp + tn, everything),
            "specificity": (tn, tn + fp),
            "prevalence": (tp + fn, everything),
            "predicted_rate": (tp + fp, everything),
        }
        return parts[figure]

    def value(self, figure: str) -> Floats:
        """Return a figure of each label, NaN where it is undefined."""
        return ratio(*self.ratio(figure))

    def pooled(self, figure: str) -> tuple[Ints, Ints]:
        """Return part and whole, each summed over the labels."""
        part, whole = self.ratio(figure)
        return part.sum(axis=-1), whole.sum(axis=-1)


def label_figures(counts: Counts) -> dict[str, Ints | Floats]:
    """Return the figures of each label, (L,) each: `support` is a count, the others fractions."""
    cells = Cells.of(counts)
    return {
        "support": cells.tp + cells.fn,
        **{name: cells.value(name) for name in LABEL_FIGURES[:-2]},
        "mcc": _mcc(cells.tp, cells.fp, cells.fn, cells.tn),
        "prevalence": cells.value("prevalence"),
        "predicted_rate": ratio(*counts.predicted),  # with gold or without
    }


def overall_figures(counts: Counts) -> dict[str, float]:
    """Return the averages over labels, cells and rows, under their names in `metrics.json`."""
    cells = Cells.of(counts)
    return {
        "generation_success_rate": success_rate(counts.statuses),
        "accuracy": macro(cells.value("accuracy")),
        **{
            f"macro_{rate}{rule}": macro(cells.value(rate), undefined_as)
            for rate in RATES
            for rule, undefined_as in _RULES.items()
        },
        **{f"micro_{rate}": float(ratio(*cells.pooled(rate))) for rate in RATES},
        **{f"weighted_{rate}": _mean(cells.value(rate), cells.tp + cells.fn) for rate in RATES},
        **_row_figures(counts),
        "hamming_accuracy": float(ratio(*cells.pooled("accuracy"))),
    }


def left_out(counts: Counts, labels: Sequence[str]) -> dict[str, list[str]]:
    """Return for F1, precision and recall which of the labels, by name, it is undefined for."""
    cells = Cells.of(counts)
    return {
        rate: [labels[i] for i in np.flatnonzero(np.isnan(cells.value(rate)))] for rate in RATES
    }


def macro(values: npt.ArrayLike, undefined_as: float = np.nan) -> float:
    """Average one figure over labels; NaN where no label has it.

    Labels where it is undefined are left out, or counted as they are said to be.
    """
    array = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(array)
    if undefined.all():
        return np.nan
    filled = np.where(undefined, undefined_as, array)
    return float(filled[~np.isnan(filled)].mean())


def success_rate(statuses: Mapping[str, int]) -> float:
    """Return the share of rows whose status is `ok`."""
    total = sum(statuses.values())
    return statuses.get(AnswerStatus.OK, 0) / total if total else np.nan


def ratio(part: Ints | Floats, whole: Ints) -> Floats:
    """Divide counts of any one shape; NaN where there is nothing to divide by."""
    undefined = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=undefined, where=whole != 0))


def _mcc(tp: Ints, fp: Ints, fn: Ints, tn: Ints) -> Floats:
    # The product of all four margins would overflow 64 bits from about 100,000 rows.
    root = np.sqrt((tp + fp).astype(float) * (tp + fn)) * np.sqrt(
        (tn + fp).astype(float) * (tn + fn)
    )
    numerator = tp.astype(float) * tn - fp.astype(float) * fn
    undefined = np.full(root.shape, np.nan)
    return np.asarray(np.divide(numerator, root, out=undefined, where=root != 0))


def _row_figures(counts: Counts) -> dict[str, float]:
    """Averages over evaluated rows: of equal rows, one figure weighs as many as there are."""
    tp, fp, fn, numbers = counts.rows.tp, counts.rows.fp, counts.rows.fn, counts.rows.numbers
    return {
        "samples_f1": _mean(ratio(2 * tp, 2 * tp + fp + fn), numbers),
        "samples_precision": _mean(ratio(tp, tp + fp), numbers),
        "samples_recall": _mean(ratio(tp, tp + fn), numbers),
        "subset_accuracy": _mean((fp + fn == 0).astype(float), numbers),
    }


def _mean(values: Floats, weights: Ints) -> float:
    """Return the weighted mean of the values that are defined; NaN where they weigh nothing."""
    kept = ~np.isnan(values) & (weights > 0)
    if not kept.any():
        return float("nan")
    return float(np.average(values[kept], weights=weights[kept]))
