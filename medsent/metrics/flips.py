"""Repeats among a report's numbers: what flipped, and how far each difference may have moved."""

from collections.abc import Iterable, Sequence
from typing import Final

from medsent.metrics.estimate import Figure, defined
from medsent.metrics.repeats import (
    RepeatedChange,
    RepeatedComparison,
    RepeatedLabel,
    RepeatedVariant,
    Repeats,
    Spread,
)
from medsent.metrics.statistics.changes import SUPPORTED, supported_labels
from medsent.metrics.statistics.metrics import label_figures, overall_figures, success_rate
from medsent.metrics.statistics.replicates import SUCCESS
from medsent.reducer.counts import Counts
from medsent.reducer.pairs import Pair
from medsent.reducer.repeats import Repetition, VariantRepeats
from medsent.reducer.slices import ALL
from medsent.reducer.state import Reduction

Values = dict[str, float]

_COUNTS: Final = ("support",)
"""Of a label's figures those that are no shares: they are the same each time."""


def repeats(counted: Repetition, state: Reduction, compared: Sequence[tuple[str, str]]) -> Repeats:
    """Return what was counted over a run, whose own state this is, and its repeats."""
    return Repeats(
        runs=list(counted.runs),
        unfinished=list(counted.unfinished),
        records=counted.records,
        left_out=state.scored - counted.records,
        variants={
            name: _variant(each, counted.scope.labels) for name, each in counted.variants.items()
        },
        comparisons=[_comparison(counted, state, pair) for pair in compared],
    )


def _variant(counted: VariantRepeats, labels: Sequence[str]) -> RepeatedVariant:
    overall = [overall_figures(counts) for counts in counted.counts]
    by_label = [_by_label(counts) for counts in counted.counts]
    return RepeatedVariant(
        asked=counted.asked,
        answered=counted.answered,
        flipped=counted.flipped,
        sometimes_answered=counted.sometimes,
        overall={name: Spread.of(each[name] for each in overall) for name in overall[0]},
        labels={
            label: RepeatedLabel(
                flips=int(counted.flips[i]),
                figures={
                    name: Spread.of(each[name][i] for each in by_label) for name in by_label[0]
                },
            )
            for i, label in enumerate(labels)
        },
    )


def _by_label(counts: Counts) -> dict[str, list[float]]:
    figures = label_figures(counts)
    return {name: each.tolist() for name, each in figures.items() if name not in _COUNTS}


def _comparison(
    counted: Repetition, state: Reduction, names: tuple[str, str]
) -> RepeatedComparison:
    labels = counted.scope.labels
    pair = state.pairs.get(ALL, {}).get(names) or Pair.none(len(labels))
    kept = supported_labels(pair)
    sides: list[list[Values]] = []
    by_label: list[list[Values]] = []
    for name, times in zip(names, zip(*counted.pairs[names], strict=True), strict=True):
        every = [success_rate(counts.statuses) for counts in counted.variants[name].counts]
        f1 = [label_figures(counts)["f1"] for counts in times]
        by_label.append([dict(zip(labels, each.tolist(), strict=True)) for each in f1])
        sides.append(
            [
                {
                    **overall_figures(counts),
                    SUPPORTED: float(each[kept].mean()) if kept else float("nan"),
                    SUCCESS: success,
                }
                for counts, each, success in zip(times, f1, every, strict=True)
            ]
        )
    return RepeatedComparison(
        baseline=names[0],
        candidate=names[1],
        overall=_changes(sides),
        labels=_changes(by_label),
    )


def _changes(sides: Sequence[Sequence[Values]]) -> dict[str, RepeatedChange]:
    """Return the change of each figure; `sides` are those of baseline and candidate each time."""
    baseline, candidate = sides
    return {
        name: RepeatedChange(
            difference=defined(candidate[0][name] - baseline[0][name]),
            moved=_added_up([each[name] for each in side] for side in sides),
        )
        for name in baseline[0]
    }


def _added_up(sides: Iterable[Sequence[float]]) -> Figure:
    """Return the widths of both sides' figures, over the times, added up."""
    widths = [Spread.of(side).width for side in sides]
    return None if None in widths else sum(width for width in widths if width is not None)
