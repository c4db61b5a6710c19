"""How well probabilities rank and how far they can be believed; NaN where undefined.

Definitions are scikit-learn's. Brier score and calibration error are exact to 1e-9. The
ranking figures take probabilities in one bin of log odds, 1/512 wide about 0.5, for equal: the
AUROC is off by at most half the share of pairs of a positive and a negative that share a bin,
which on random data was below 0.001. The average precision of few positives hangs on each: one
that shares its bin with the negative next to it may count half. On random data of 600 to 50,000
records it came within 0.002 or, with fewer than 250 positives, within 0.5 / positives.
"""

from dataclasses import dataclass

import numpy as np

from medsent.metrics.statistics.metrics import Floats, ratio
from medsent.reducer.counts import Ints
from medsent.reducer.scores import LOWEST, N_TENTHS, SCALE, Scores


@dataclass(frozen=True)
class Bin:
    """Records whose probability is above `low` and at most `high`; 0 is in the first bin."""

    low: float
    high: float
    records: int
    mean_probability: float
    """NaN without records."""
    observed_rate: float
    """Share with gold 1; NaN without records."""


@dataclass(frozen=True)
class LabelCalibration:
    """Figures of one label over the records that have gold and a probability."""

    records: int
    positives: int
    bins: tuple[Bin, ...]
    """Ten of equal width, from 0 to 1."""
    ece: float
    """Expected calibration error, 0 to 1; NaN without records."""
    brier: float
    """Brier score, 0 to 1; NaN without records."""
    auroc: float
    """Area under the ROC curve; NaN without positives or without negatives."""
    average_precision: float
    """NaN without positives, and without negatives, where any ranking would have 1."""


@dataclass(frozen=True)
class ThresholdCurve:
    """What each threshold would give, (M,) each, thresholds ascending."""

    thresholds: Floats
    """A record gets the label where its probability is at least this."""
    precision: Floats
    recall: Floats
    """NaN without positives."""
    f1: Floats
    predicted_rate: Floats
    """Share of records that get the label."""


def label_calibrations(scores: Scores) -> list[LabelCalibration]:
    """Return the figures of each label, in the order of the scores."""
    return [label_calibration(scores, index) for index in range(len(scores.records))]


def label_calibration(scores: Scores, label_index: int) -> LabelCalibration:
    """Return the figures of one label."""
    negative, positive = scores.logits[label_index]
    records = int(scores.records[label_index].sum())
    return LabelCalibration(
        records=records,
        positives=int(positive.sum()),
        bins=_bins(scores, label_index),
        ece=_ece(scores, label_index),
        brier=float(scores.squared_error[label_index]) / SCALE / records if records else np.nan,
        auroc=_auroc(negative, positive),
        average_precision=_average_precision(negative, positive),
    )


def threshold_curve(scores: Scores, label_index: int, points: int) -> ThresholdCurve:
    """Return the curve of one label at no more than `points` thresholds.

    Each is the lower end of a bin of log odds that holds records; where more bins do than
    `points`, they are taken at equal steps, the lowest and the highest included. Definitions
    are those of `precision_recall_curve` in `sklearn.metrics`.
    """
    negative, positive = scores.logits[label_index]
    occupied = np.flatnonzero(negative + positive)
    steps = np.linspace(0, len(occupied) - 1, min(points, len(occupied)))
    chosen = occupied[np.rint(steps).astype(np.int64)]
    tp, fp = _from_each(positive)[chosen], _from_each(negative)[chosen]
    real = np.full(len(chosen), positive.sum())
    return ThresholdCurve(
        thresholds=LOWEST[chosen],
        precision=ratio(tp, tp + fp),
        recall=ratio(tp, real),
        f1=ratio(2 * tp, tp + fp + real),
        predicted_rate=ratio(tp + fp, real + negative.sum()),
    )


def _bins(scores: Scores, index: int) -> tuple[Bin, ...]:
    """`calibration_curve` of `sklearn.calibration` with ten uniform bins, empty ones kept."""
    records = scores.records[index]
    mean = ratio(scores.probability[index], records) / SCALE
    rate = ratio(scores.positives[index], records)
    return tuple(
        Bin(i / N_TENTHS, (i + 1) / N_TENTHS, int(records[i]), float(mean[i]), float(rate[i]))
        for i in range(N_TENTHS)
    )


def _ece(scores: Scores, index: int) -> float:
    """Mean distance of a bin's mean probability and its observed rate, weighted by records.

    Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using
    Bayesian binning"; of the probability of the label, not of the likelier answer.
    """
    gaps = np.abs(scores.probability[index] / SCALE - scores.positives[index])
    records = scores.records[index].sum()
    return float(gaps.sum() / records) if records else np.nan


def _auroc(negative: Ints, positive: Ints) -> float:
    """Share of pairs of a positive and a negative in which the positive has more.

    Hanley and McNeil (1982), "The meaning and use of the area under a ROC curve": an equal
    pair counts one half, as in the trapezoids of `roc_auc_score`.
    """
    below = np.cumsum(negative) - negative
    # The number of pairs overflows 64 bits from some billions of records.
    pairs = float(positive.sum()) * float(negative.sum())
    won = np.dot(positive.astype(np.float64), below + negative / 2)
    return float(won / pairs) if pairs else np.nan


def _average_precision(negative: Ints, positive: Ints) -> float:
    """Mean over the positives of the precision at each one's own threshold.

    The sum of (R_n - R_(n-1)) P_n that `average_precision_score` defines.
    """
    if not positive.any() or not negative.any():
        return np.nan
    held = positive > 0
    tp, fp = _from_each(positive)[held], _from_each(negative)[held]
    return float(np.average(tp / (tp + fp), weights=positive[held]))


def _from_each(counts: Ints) -> Ints:
    """Return for each bin how many are in it or above."""
    return np.asarray(np.cumsum(counts[::-1])[::-1])
