"""Counts of the same records, asked several times: of each time, and what was not the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from medsent.predictions import ROUTED, AnswerStatus, label_matrix
from medsent.reducer.counts import Counts, Ints, Matrix, count_groups
from medsent.reducer.state import Answers, Scope


@dataclass
class VariantRepeats:
    """One variant, asked several times about the same records."""

    counts: list[Counts]
    """Of each time."""
    flips: Ints
    """(L,): records with a usable answer each time, but not the same one for the label."""
    asked: int = 0
    """Records that it was asked about each time."""
    answered: int = 0
    """Of these, records with a usable answer each time."""
    flipped: int = 0
    """Of the answered, records of which any label was not the same each time."""
    sometimes: int = 0
    """Of the asked, records with a usable answer at some times, and none at others."""


@dataclass
class Repetition:
    """What was counted of records that a run and each of its repeats have scored."""

    scope: Scope
    runs: tuple[str, ...]
    """The folders of the repeats."""
    unfinished: tuple[str, ...] = ()
    """Those of repeats that are left out."""
    records: int = 0
    variants: dict[str, VariantRepeats] = field(init=False)
    pairs: dict[tuple[str, str], list[tuple[Counts, Counts]]] = field(init=False)
    """Of each time, baseline and candidate on the records that both answered then."""

    def __post_init__(self) -> None:
        none, times = Counts.none(len(self.scope.labels)), len(self.runs) + 1
        self.variants = {
            name: VariantRepeats([none] * times, np.zeros(len(self.scope.labels), np.int64))
            for name in self.scope.judged
        }
        self.pairs = {pair: [(none, none)] * times for pair in self.scope.pairs}

    def add(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Count a batch of each time: the same scored records in the same order."""
        gold = label_matrix(batches[0]["gold"], "")
        self.records += len(gold)
        answers = [self.scope.all_answers(batch) for batch in batches]
        for name, counted in self.variants.items():
            self._count(counted, gold, [each[name] for each in answers])
        for (baseline, candidate), known in self.pairs.items():
            self.pairs[baseline, candidate] = [
                (old[0].merge(new[0]), old[1].merge(new[1]))
                for old, each in zip(known, answers, strict=True)
                for new in [_both(gold, each[baseline], each[candidate])]
            ]

    def _count(self, counted: VariantRepeats, gold: Matrix, times: Sequence[Answers]) -> None:
        counted.counts = [
            old.merge(_counts(gold, each)) for old, each in zip(counted.counts, times, strict=True)
        ]
        asked = np.all([each.asked for each in times], axis=0)
        answered = np.array([each.answered & asked for each in times])
        always = answered.all(axis=0)
        labels = np.array([each.labels[always] for each in times])
        differing = (labels != labels[0]).any(axis=0)
        counted.flips = counted.flips + differing.sum(axis=0)
        counted.asked += int(asked.sum())
        counted.answered += int(always.sum())
        counted.flipped += int(differing.any(axis=1).sum())
        counted.sometimes += int((answered.any(axis=0) & ~always).sum())


def columns_of(scope: Scope) -> list[str]:
    """Return the columns, and fields of columns, that are counted."""
    fields = ("status", "labels", "probabilities")
    routed = [ROUTED] if scope.route else []
    return ["gold", *routed, *(f"{name}.{each}" for name in scope.variants for each in fields)]


def _counts(gold: Matrix, answers: Answers) -> Counts:
    at = answers.asked
    every = np.zeros(int(at.sum()), np.int64)
    counted = count_groups(
        gold[at], answers.labels[at], answers.statuses, answers.status[at], every, 1
    )
    return counted[0]


def _both(gold: Matrix, baseline: Answers, candidate: Answers) -> tuple[Counts, Counts]:
    at = baseline.answered & candidate.answered
    every = np.zeros(int(at.sum()), np.int64)
    first, second = (
        count_groups(gold[at], each.labels[at], [AnswerStatus.OK], every, every, 1)[0]
        for each in (baseline, candidate)
    )
    return first, second
