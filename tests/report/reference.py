"""Fifty records that give the figures of the reference report, which prints no counts.

It prints F1 by label to four digits, and the mean accuracy and the share of usable answers of
each variant. Both mean accuracies fix the number of wrong labels: 142 of 50 x 21 for the
fine-tuned model, and 312 of 49 x 21 for the baseline, one answer of which could not be used.
Many counts agree with all that. Two choices bound them: the one with the most gold positives,
summed over the labels, is the most that the report's claims could rest on; the one with the
fewest is the least. What cannot be known is chosen in favour of its claims: in a label the
two variants' right answers, and their false alarms, overlap as far as they can, which makes
the difference's error the smallest; labels begin at records of their own, so that errors do
not gather in few of them. The unanswered record has no label, and the fine-tuned model is
right about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml

from medsent.config.labels import LABELS
from medsent.metrics.build import build_metrics
from medsent.metrics.model import Metrics, Run, Timing
from medsent.reducer.state import Scope, reduce_batches
from tests.predicted import Answers, Matrix, batch

REFERENCE: Final[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent.parent / "data" / "reference-report.yaml").read_text()
)
SAMPLES: Final = REFERENCE["samples"]
ANSWERED: Final = SAMPLES - 1
WRONG: Final = (312, 142)
"""Labels that the baseline, and the fine-tuned model, get wrong."""

Support = Literal["most", "fewest"]
Errors = tuple[int, int]


@dataclass(frozen=True)
class Counted:
    """One label: gold positives, and what each variant (baseline, fine-tuned) makes of it."""

    positives: int
    tp: Errors
    fp: Errors

    @property
    def wrong(self) -> Errors:
        """False positives and false negatives of each."""
        return (
            self.fp[0] + self.positives - self.tp[0],
            self.fp[1] + self.positives - self.tp[1],
        )


def consistent(label: str) -> Iterator[Counted]:
    """Yield all counts of a label, on the answered records, that round to both printed F1."""
    baseline, candidate, _ = REFERENCE["labels"][label]
    for positives in range(1, ANSWERED):
        for old in _of_one(baseline, positives):
            for new in _of_one(candidate, positives):
                yield Counted(positives, (old[0], new[0]), (old[1], new[1]))


@cache
def _of_one(f1: float, positives: int) -> list[tuple[int, int]]:
    """Return tp and fp of one variant."""
    return [
        (tp, fp)
        for tp in range(positives + 1)
        for fp in range(ANSWERED - positives + 1)
        if round(2 * tp / (tp + fp + positives), 4) == f1
    ]


@cache
def counts(support: Support) -> dict[str, Counted]:
    """Return the counts of each label; of several choices the first that is found.

    Labels are taken one by one, and for each sum of errors so far only the best choice is kept.
    """
    sign = 1 if support == "most" else -1
    steps = [_best_by_errors(label, sign) for label in LABELS]
    best: dict[Errors, tuple[int, tuple[Counted, ...]]] = {(0, 0): (0, ())}
    for index, step in enumerate(steps):
        rest = [
            sum(min(each[side] for each in later) for later in steps[index + 1 :])
            for side in (0, 1)
        ]
        best = _extended(best, step, sign, (WRONG[0] - rest[0], WRONG[1] - rest[1]))
    return dict(zip(LABELS, best[WRONG][1], strict=True))


def _best_by_errors(label: str, sign: int) -> dict[Errors, Counted]:
    found: dict[Errors, Counted] = {}
    for each in consistent(label):
        known = found.get(each.wrong)
        if known is None or sign * each.positives > sign * known.positives:
            found[each.wrong] = each
    return found


def _extended(
    best: dict[Errors, tuple[int, tuple[Counted, ...]]],
    step: dict[Errors, Counted],
    sign: int,
    most: Errors,
) -> dict[Errors, tuple[int, tuple[Counted, ...]]]:
    found: dict[Errors, tuple[int, tuple[Counted, ...]]] = {}
    for errors, (positives, chosen) in best.items():
        for more, each in step.items():
            total = (errors[0] + more[0], errors[1] + more[1])
            score = positives + sign * each.positives
            if total[0] > most[0] or total[1] > most[1]:
                continue
            if total not in found or score > found[total][0]:
                found[total] = (score, (*chosen, each))
    return found


def metrics(support: Support) -> Metrics:
    """Return the report of the fifty records, with 1,000 replicates."""
    gold = np.zeros((SAMPLES, len(LABELS)), dtype=np.int8)
    old, new = np.zeros_like(gold), np.zeros_like(gold)
    for index, counted in enumerate(counts(support).values()):
        order = np.roll(np.arange(ANSWERED), -7 * index)
        has, not_ = order[: counted.positives], order[counted.positives :]
        gold[has, index] = 1
        for side, variant in enumerate((old, new)):
            variant[has[: counted.tp[side]], index] = 1
            variant[not_[: counted.fp[side]], index] = 1
    scope = Scope.of(
        ["baseline", "candidate"], LABELS, pairs=[("baseline", "candidate")], replicates=1000
    )
    statuses = ["ok"] * ANSWERED + ["invalid_answer"]
    variants = {
        "baseline": _timed(old, 0, 0.0, statuses),
        "candidate": _timed(new, 1, REFERENCE["timing"]["total"][0], ["ok"] * SAMPLES),
    }
    ids = {"opinion_id": [f"opinion-{index}" for index in range(SAMPLES)]}
    return build_metrics(
        reduce_batches([batch(gold, variants, ids)], scope),
        run=Run(name="reference", fingerprint="0" * 12),
        timing=Timing(scoring_s=sum(REFERENCE["timing"]["total"])),
    )


def _timed(labels: Matrix, side: int, start_s: float, statuses: list[str]) -> Answers:
    """One variant after the other, one record at a time, as long a record as printed."""
    each = REFERENCE["timing"]["per_sample"][side]
    finished = [round(1e6 * (start_s + each * (row + 1))) for row in range(SAMPLES)]
    return Answers(
        labels,
        statuses,
        finished_at=list(finished),
        latency_s=[each] * SAMPLES,
        replicas=["replica"] * SAMPLES,
    )
