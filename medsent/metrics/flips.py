"""Repeats among a report's numbers: what flipped, and how far each difference may have moved."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from medsent.metrics.estimate import Figure
from medsent.metrics.model import Change, Comparison, Metrics
from medsent.metrics.repeats import LabelRepeats, RepeatedVariant, Repeats, Spread
from medsent.metrics.statistics.metrics import label_figures, overall_figures
from medsent.reducer.counts import Counts
from medsent.reducer.repeats import Repetition, VariantRepeats

_SUCCESS: Final = "generation_success_rate"


def with_repeats(metrics: Metrics, counted: Repetition, runs: Sequence[str]) -> Metrics:
    """Return a report's numbers with what was counted over the run and its repeats.

    `runs` are the folders of the repeats.
    """
    found = Repeats(
        runs=list(runs),
        records=counted.records,
        left_out=metrics.records.scored - counted.records,
        variants={
            name: _variant(each, counted.scope.labels) for name, each in counted.variants.items()
        },
    )
    comparisons = [_with_moves(metrics, pair, counted) for pair in metrics.comparisons]
    return metrics.model_copy(update={"comparisons": comparisons, "repeats": found})


def _variant(counted: VariantRepeats, labels: Sequence[str]) -> RepeatedVariant:
    overall = [overall_figures(counts) for counts in counted.counts]
    f1 = _f1(counted.counts)
    return RepeatedVariant(
        answered=counted.answered,
        flipped=counted.flipped,
        sometimes_answered=counted.sometimes,
        overall={name: Spread.of(each[name] for each in overall) for name in overall[0]},
        labels={
            name: LabelRepeats(flips=int(counted.flips[i]), f1=Spread.of(each[i] for each in f1))
            for i, name in enumerate(labels)
        },
    )


def _with_moves(metrics: Metrics, pair: Comparison, counted: Repetition) -> Comparison:
    """Return a comparison whose changes tell by how much the two figures moved, added up."""
    names, labels = (pair.baseline, pair.candidate), counted.scope.labels
    supported = [metrics.variants[name].overall.supported_labels for name in names]
    kept = [i for i, label in enumerate(labels) if all(label in each for each in supported)]
    sides = list(zip(*counted.pairs[names], strict=True))
    overall = [[_overall(counts, kept) for counts in side] for side in sides]
    answered = [[overall_figures(c)[_SUCCESS] for c in counted.variants[n].counts] for n in names]
    moved = {
        name: _added_up([each[name] for each in side] for side in overall) for name in overall[0][0]
    } | {_SUCCESS: _added_up(answered)}
    f1 = [_f1(side) for side in sides]
    by_label = {
        name: _added_up([each[i] for each in side] for side in f1) for i, name in enumerate(labels)
    }
    return pair.model_copy(
        update={"overall": _moved(pair.overall, moved), "labels": _moved(pair.labels, by_label)}
    )


def _overall(counts: Counts, kept: Sequence[int]) -> dict[str, float]:
    f1 = label_figures(counts).f1[list(kept)]
    supported = float(f1.mean()) if len(f1) else float("nan")
    return {**overall_figures(counts), "macro_f1_supported": supported}


def _f1(times: Sequence[Counts]) -> list[list[float]]:
    return [label_figures(counts).f1.tolist() for counts in times]


def _added_up(sides: Iterable[Sequence[float]]) -> Figure:
    """Return the widths of both sides' figures, over the times, added up."""
    widths = [Spread.of(side).width for side in sides]
    return None if None in widths else sum(width for width in widths if width is not None)


def _moved(changes: Mapping[str, Change], by: Mapping[str, Figure]) -> dict[str, Change]:
    return {
        name: change.model_copy(update={"moved_by_repeats": by[name]})
        for name, change in changes.items()
    }
