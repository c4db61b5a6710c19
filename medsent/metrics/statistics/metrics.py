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

Floats = npt.NDArray[np.float64]

RATES: Final = ("f1", "precision", "recall")


@dataclass(frozen=True)
class LabelFigures:
    """Figures of each label, (L,) each; `support` is a count, the others are fractions."""

    support: Ints
    precision: Floats
    recall: Floats
    f1: Floats
    accuracy: Floats
    specificity: Floats
    mcc: Floats
    prevalence: Floats
    predicted_rate: Floats


def label_figures(counts: Counts) -> LabelFigures:
    """Return the figures of each label from its counts."""
    tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
    cells = tp + fp + fn + tn
    ones, answered = counts.predicted
    return LabelFigures(
        support=tp + fn,
        precision=ratio(tp, tp + fp),
        recall=ratio(tp, tp + fn),
        f1=ratio(2 * tp, 2 * tp + fp + fn),
        accuracy=ratio(tp + tn, cells),
        specificity=ratio(tn, tn + fp),
        mcc=_mcc(tp, fp, fn, tn),
        prevalence=ratio(tp + fn, cells),
        predicted_rate=ratio(ones, answered),
    )


def overall_figures(counts: Counts) -> dict[str, float]:
    """Return the averages over labels, cells and rows, under their names in `metrics.json`."""
    labels = label_figures(counts)
    return {
        "generation_success_rate": success_rate(counts.statuses),
        "accuracy": macro(labels.accuracy).defined,
        **_macro_figures(labels),
        **_micro_figures(counts),
        **_weighted_figures(labels),
        **_row_figures(counts),
        "hamming_accuracy": _hamming_accuracy(counts),
    }


def left_out(counts: Counts, labels: Sequence[str]) -> dict[str, list[str]]:
    """Return for F1, precision and recall which of the labels, by name, it is undefined for."""
    figures = label_figures(counts)
    return {
        rate: [labels[i] for i in np.flatnonzero(np.isnan(getattr(figures, rate)))]
        for rate in RATES
    }


@dataclass(frozen=True)
class Macro:
    """The mean of a figure over labels, under each rule for labels where it is undefined."""

    defined: float
    """Left out; NaN where it is defined for none."""
    as_0: float
    as_1: float


def macro(values: npt.ArrayLike) -> Macro:
    """Average one figure over labels; all three are NaN where no label has it."""
    array = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(array)
    if undefined.all():
        return Macro(np.nan, np.nan, np.nan)
    return Macro(
        float(array[~undefined].mean()),
        float(np.where(undefined, 0.0, array).mean()),
        float(np.where(undefined, 1.0, array).mean()),
    )


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


def _macro_figures(labels: LabelFigures) -> dict[str, float]:
    figures = {}
    for rate in RATES:
        average = macro(getattr(labels, rate))
        figures[f"macro_{rate}"] = average.defined
        figures[f"macro_{rate}_undefined_as_0"] = average.as_0
        figures[f"macro_{rate}_undefined_as_1"] = average.as_1
    return figures


def _micro_figures(counts: Counts) -> dict[str, float]:
    tp, fp, fn = counts.tp.sum(), counts.fp.sum(), counts.fn.sum()
    return {
        "micro_f1": float(ratio(2 * tp, 2 * tp + fp + fn)),
        "micro_precision": float(ratio(tp, tp + fp)),
        "micro_recall": float(ratio(tp, tp + fn)),
    }


def _weighted_figures(labels: LabelFigures) -> dict[str, float]:
    return {f"weighted_{rate}": _mean(getattr(labels, rate), labels.support) for rate in RATES}


def _row_figures(counts: Counts) -> dict[str, float]:
    """Averages over evaluated rows: of equal rows, one figure weighs as many as there are."""
    tp, fp, fn, numbers = counts.rows.tp, counts.rows.fp, counts.rows.fn, counts.rows.numbers
    return {
        "samples_f1": _mean(ratio(2 * tp, 2 * tp + fp + fn), numbers),
        "samples_precision": _mean(ratio(tp, tp + fp), numbers),
        "samples_recall": _mean(ratio(tp, tp + fn), numbers),
        "subset_accuracy": _mean((fp + fn == 0).astype(float), numbers),
    }


def _hamming_accuracy(counts: Counts) -> float:
    right = (counts.tp + counts.tn).sum()
    return float(ratio(right, right + (counts.fp + counts.fn).sum()))


def _mean(values: Floats, weights: Ints) -> float:
    """Return the weighted mean of the values that are defined; NaN where they weigh nothing."""
    kept = ~np.isnan(values) & (weights > 0)
    if not kept.any():
        return float("nan")
    return float(np.average(values[kept], weights=weights[kept]))
