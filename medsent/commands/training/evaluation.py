"""A model on a labelled split: its logits, its loss, and F1 at tuned thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from sklearn.metrics import precision_recall_fscore_support

from medsent.commands.training.base import working_dtype
from medsent.commands.training.objectives import Objective
from medsent.commands.training.readings import Readings
from medsent.metrics.statistics.thresholds import best_f1_thresholds

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """One pass over a split of N readings, in the order of the readings."""

    loss: float
    """Mean over batches, each weighted by its readings."""
    logits: Floats | None
    """(N, L), or None for a method without logits."""
    gold: Floats
    """(N, L): 0, 1 or NaN for missing."""


@dataclass(frozen=True)
class LabelResult:
    """How well one label is told, with its threshold tuned on the same readings."""

    label: str
    positives: int
    threshold: float
    precision: float
    recall: float
    f1: float


def evaluate(model: Any, objective: Objective, readings: Readings, at_once: int = 8) -> Evaluation:
    """Run the model over a split, packed and in mixed precision as in training.

    `at_once` is how many opinions are in memory at a time.
    """
    model.eval()
    device = next(model.parameters()).device
    mixed = working_dtype() == torch.bfloat16
    order = sorted(range(len(readings)), key=lambda index: len(readings[index].text))
    found: dict[int, npt.NDArray[np.float32]] = {}
    total = count = 0.0
    for start in range(0, len(order), at_once):
        chosen = order[start : start + at_once]
        opinions = [readings[index] for index in chosen]
        batch = {name: part.to(device) for name, part in objective.collate(opinions).items()}
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            loss, logits = objective.loss(model, batch)
        weight = sum(len(opinion.personas) for opinion in opinions)
        total, count = total + float(loss) * weight, count + weight
        if logits is not None:
            for index, own in zip(chosen, logits.float().cpu().numpy(), strict=True):
                found[index] = own[: len(readings[index].personas)]
    stacked = np.concatenate([found[i] for i in range(len(readings))]) if found else None
    gold = np.concatenate([opinion.gold for opinion in readings.opinions])
    return Evaluation(
        total / count,
        None if stacked is None else stacked.astype(np.float64),
        gold.astype(np.float64),
    )


def tuned_results(logits: Floats, gold: Floats, labels: Sequence[str]) -> list[LabelResult]:
    """Return each of L labels' result at the threshold that is best on these very readings.

    Missing gold is left out label by label. An F1 that is undefined counts as 0.
    """
    probabilities = expit(logits)
    cuts = best_f1_thresholds(gold, probabilities)
    results = []
    for index, (label, cut) in enumerate(zip(labels, cuts, strict=True)):
        known = ~np.isnan(gold[:, index])
        truth = gold[known, index] == 1
        given = probabilities[known, index] >= cut
        precision, recall, f1, _ = precision_recall_fscore_support(
            truth, given, average="binary", zero_division=0
        )
        results.append(
            LabelResult(label, int(truth.sum()), cut, float(precision), float(recall), float(f1))
        )
    return results


def macro_f1(results: list[LabelResult]) -> float:
    """Return the mean F1 over the labels."""
    return float(np.mean([result.f1 for result in results]))
