"""Calibration in `metrics.json`: how probabilities rank, how far they can be believed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
import numpy.typing as npt

from medsent.metrics.estimate import Figure, Part, defined
from medsent.metrics.statistics.calibration import Bin, label_calibrations, threshold_curve
from medsent.reducer.scores import Scores

CURVE_POINTS: Final = 41


class ReliabilityBin(Part):
    """Records whose probability is above `low` and at most `high`."""

    low: float
    """Lower edge; 0 is in the first bin."""
    high: float
    """Upper edge."""
    records: int
    """Records in the bin."""
    mean_probability: Figure
    """Mean of their probabilities."""
    observed_rate: Figure
    """Share of them that has the label in gold."""


class Curve(Part):
    """What each threshold would give on these records, thresholds ascending."""

    thresholds: list[float]
    """A record gets the label where its probability is at least this."""
    precision: list[Figure]
    """Of the records given the label, the share that has it."""
    recall: list[Figure]
    """Of the records that have it, the share given it."""
    f1: list[Figure]
    """Of the two."""


class LabelCalibration(Part):
    """One label, over the records that have gold and a probability."""

    records: int
    """Records counted."""
    positives: int
    """Of these with the label in gold."""
    ece: Figure
    """Expected calibration error: mean distance of a bin's probability and its rate."""
    brier: Figure
    """Brier score: mean squared difference of probability and gold."""
    auroc: Figure
    """Chance that a positive has a higher probability than a negative; within 0.002."""
    average_precision: Figure
    """Mean over the positives of the precision at each one's own threshold; within 0.002 or, with
    fewer than 250 positives, within 0.5 / positives."""
    bins: list[ReliabilityBin]
    """Ten of equal width."""
    curve: Curve
    """Precision, recall and F1 by threshold."""


class Calibration(Part):
    """The probabilities of one variant. These figures have no intervals."""

    macro_ece: Figure
    """Mean over the labels where it is defined."""
    macro_brier: Figure
    """Mean over the labels where it is defined."""
    macro_auroc: Figure
    """Mean over the labels where it is defined."""
    macro_average_precision: Figure
    """Mean over the labels where it is defined."""
    labels: dict[str, LabelCalibration]
    """By label, in the labels' order."""


def calibrate(scores: Scores | None, names: Sequence[str]) -> Calibration | None:
    """Return the figures of a variant's probabilities; None where there are none.

    `names` are those of the labels, in the order of the scores.
    """
    if scores is None or not scores.records.any():
        return None
    labels = {
        label: LabelCalibration(
            records=found.records,
            positives=found.positives,
            ece=defined(found.ece),
            brier=defined(found.brier),
            auroc=defined(found.auroc),
            average_precision=defined(found.average_precision),
            bins=[_bin(each) for each in found.bins],
            curve=_curve(scores, index),
        )
        for index, (label, found) in enumerate(zip(names, label_calibrations(scores), strict=True))
    }
    means = {
        f"macro_{name}": _mean([getattr(label, name) for label in labels.values()])
        for name in ("ece", "brier", "auroc", "average_precision")
    }
    return Calibration(**means, labels=labels)


def _bin(found: Bin) -> ReliabilityBin:
    return ReliabilityBin.model_validate(
        {name: defined(value) for name, value in asdict(found).items()}
    )


def _curve(scores: Scores, index: int) -> Curve:
    found = threshold_curve(scores, index, CURVE_POINTS)
    return Curve(
        thresholds=found.thresholds.tolist(),
        precision=_figures(found.precision),
        recall=_figures(found.recall),
        f1=_figures(found.f1),
    )


def _figures(values: npt.NDArray[np.float64]) -> list[Figure]:
    return [defined(value) for value in values.tolist()]


def _mean(figures: list[Figure]) -> Figure:
    known = [figure for figure in figures if figure is not None]
    return float(np.mean(known)) if known else None
