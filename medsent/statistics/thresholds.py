"""Per-label decision thresholds, tuned for F1 on a validation split."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve

Floats = npt.NDArray[np.floating]


def best_f1_thresholds(gold: Floats, probabilities: Floats) -> list[float]:
    """Return for each label the threshold that gives the highest F1; 0.5 where none can.

    `gold` (N, L) holds 0, 1 or NaN for missing; `probabilities` (N, L) may hold NaN.
    A threshold lies halfway between two neighbouring probabilities, so that rounding
    does not move a record across it.
    """
    return [_best(gold[:, i], probabilities[:, i]) for i in range(gold.shape[1])]


def _best(gold: Floats, probabilities: Floats) -> float:
    known = ~(np.isnan(gold) | np.isnan(probabilities))
    truth, score = gold[known], probabilities[known]
    if not truth.any():
        return 0.5
    precision, recall, cuts = precision_recall_curve(truth, score)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(np.argmax(f1[:-1]))
    below = cuts[best - 1] if best > 0 else cuts[best]
    return float((cuts[best] + below) / 2)
