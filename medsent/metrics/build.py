"""From a reduced state to the numbers of `metrics.json`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
from pydantic import JsonValue

from medsent.errors import RunError
from medsent.metrics.calibration import calibrate
from medsent.metrics.estimate import Estimate, defined, over
from medsent.metrics.findings.catalogue import find
from medsent.metrics.flips import repeats
from medsent.metrics.judgement import judge, opinions_of
from medsent.metrics.model import (
    Change,
    Comparison,
    Distribution,
    LabelMetrics,
    Metrics,
    OverallMetrics,
    Records,
    Route,
    Run,
    SliceMetrics,
    Timing,
    VariantMetrics,
)
from medsent.metrics.statistics.changes import Change as Known
from medsent.metrics.statistics.changes import (
    Side,
    corrected,
    label_changes,
    mcnemar_p,
    overall_changes,
    supported_change,
)
from medsent.metrics.statistics.comparisons import compare
from medsent.metrics.statistics.estimates import (
    NOT_ESTIMATED,
    Bounds,
    label_bounds,
    opinions_with,
    overall_bounds,
    supported_macro,
)
from medsent.metrics.statistics.metrics import label_figures, left_out, overall_figures
from medsent.metrics.throughput import variant_speed
from medsent.metrics.verdict import Margins
from medsent.predictions import AnswerStatus
from medsent.reducer.counts import Counts
from medsent.reducer.pairs import BOTH, Pair
from medsent.reducer.repeats import Repetition
from medsent.reducer.resamples import Resamples
from medsent.reducer.slices import ALL, SliceKey
from medsent.reducer.state import Reduction

COMPARED: Final = (
    "generation_success_rate",
    "accuracy",
    "macro_f1",
    "macro_f1_supported",
    "macro_precision",
    "macro_recall",
    "macro_f1_undefined_as_0",
    "macro_f1_undefined_as_1",
    "micro_f1",
    "micro_precision",
    "micro_recall",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
    "samples_f1",
    "samples_precision",
    "samples_recall",
    "hamming_accuracy",
    "subset_accuracy",
)
"""The overall figures that a comparison compares."""

_COUNTED: Final = ("tp", "fp", "fn", "tn", "missing", "unanswered")

T = TypeVar("T")


def build_metrics(
    state: Reduction,
    *,
    run: Run,
    timing: Timing | None = None,
    provenance: Mapping[str, JsonValue] | None = None,
    input_records: int | None = None,
    duplicate_record_ids: int | None = None,
    unread: Mapping[str, int] | None = None,
    share: float | None = None,
    labels_left_out: Mapping[str, list[str]] | None = None,
    compared: Sequence[tuple[str, str]] | None = None,
    margins: Margins | None = None,
    repeated: Repetition | None = None,
) -> Metrics:
    """Return all numbers of a report; the same state and context give the same, to the bit.

    `timing.seconds_per_sample` is filled in where it is not given. `input_records` is what the
    run was asked for. `unread` are records that no prediction holds, since they could not be
    read, by reason. `share` is what a route is configured with. `labels_left_out` are those that
    only one of two compared runs has, by variant. `compared` are the pairs that the report
    compares; all of the state's where None. Without `margins` no comparison has a verdict.
    `repeated` is what was counted over the run and its repeats. Raises `RunError` where the
    input is not scored + quarantined.
    """
    variants = {name: _variant(state, name) for name in state.scope.judged}
    pairs = state.scope.pairs if compared is None else compared
    built = Metrics(
        run=run,
        records=_records(state, input_records, duplicate_record_ids, unread or {}),
        variants=variants,
        comparisons=[
            _comparison(state, *pair, dict(labels_left_out or {}), margins) for pair in pairs
        ],
        route=_route(state, share),
        timing=_timing(timing or Timing(), state.scored),
        repeats=None if repeated is None else repeats(repeated, state, pairs),
        provenance=dict(provenance or {}),
    )
    return built.model_copy(update={"findings": find(built)})


def _records(
    state: Reduction, asked: int | None, duplicates: int | None, unread: Mapping[str, int]
) -> Records:
    by_reason = Counter(state.quarantined) + Counter(unread)
    quarantined = by_reason.total()
    found = state.scored + quarantined
    if asked is not None and asked != found:
        raise RunError(
            f"the run has {asked} records, its predictions {found}: files of them are lost; give "
            "the run's job again, which scores what is missing"
        )
    return Records(
        input=found,
        scored=state.scored,
        quarantined=quarantined,
        by_reason=_most_first(by_reason),
        duplicate_record_ids=duplicates,
    )


def _route(state: Reduction, share: float | None) -> Route | None:
    if state.scope.route is None:
        return None
    candidate, fallback = state.scope.route
    counts, _ = _side(state, ALL, candidate)
    asked = counts.statuses.total()
    return Route(
        candidate=candidate,
        fallback=fallback,
        share=share,
        asked=asked,
        fell_back=asked - counts.statuses[AnswerStatus.OK],
    )


def _timing(timing: Timing, scored: int) -> Timing:
    if timing.seconds_per_sample is not None or timing.scoring_s is None:
        return timing
    return timing.model_copy(update={"seconds_per_sample": over(timing.scoring_s, scored)})


def _variant(state: Reduction, name: str) -> VariantMetrics:
    cuts = state.scope.thresholds.get(name)
    return VariantMetrics(
        **dict(_slice(*_side(state, ALL, name), state.scope.labels)),
        slices={
            _title(key): _slice(*_side(state, key, name), state.scope.labels)
            for key in _slice_order(state)
        },
        thresholds=dict(zip(state.scope.labels, cuts, strict=True)) if cuts is not None else None,
        throughput=variant_speed(state.throughput, name),
        repaired=state.repaired.get(name),
        calibration=calibrate(state.scores.get(name), state.scope.labels),
    )


def _side(state: Reduction, key: SliceKey, name: str) -> Side:
    counts = state.slices.get(key, {}).get(name)
    counts = Counts.none(len(state.scope.labels)) if counts is None else counts
    return counts, state.resamples.get(key, {}).get(name)


def _title(key: SliceKey) -> str:
    return "=".join(key)


def _slice_order(state: Reduction) -> list[SliceKey]:
    """Columns as configured, their values sorted."""
    columns = state.scope.slices
    keys = [key for key in state.slices if key != ALL]
    return sorted(keys, key=lambda key: (columns.index(key[0]), key[1]))


def _slice(counts: Counts, resamples: Resamples | None, labels: Sequence[str]) -> SliceMetrics:
    ok = counts.statuses.get(AnswerStatus.OK, 0)
    rest = {status: n for status, n in counts.statuses.items() if status != AnswerStatus.OK}
    return SliceMetrics(
        overall=_overall(counts, resamples, labels),
        labels=_labels(counts, resamples, labels),
        answer_statuses={AnswerStatus.OK: ok, **_most_first(rest)},
    )


def _overall(counts: Counts, resamples: Resamples | None, labels: Sequence[str]) -> OverallMetrics:
    bounds = overall_bounds(counts, resamples)
    figures = {
        name: defined(value) if name in NOT_ESTIMATED else _estimate(value, bounds[name])
        for name, value in overall_figures(counts).items()
    }
    kept, mean, of_mean = supported_macro(counts, resamples)
    rows = counts.rows
    without = rows.numbers[rows.tp + rows.fp + rows.fn == 0]
    return OverallMetrics.model_validate(
        {
            "rows": sum(counts.statuses.values()),
            "answered_rows": counts.statuses.get(AnswerStatus.OK, 0),
            "evaluated_rows": int(rows.numbers.sum()),
            "rows_without_positives": int(without.sum()),
            "left_out": left_out(counts, labels),
            "macro_f1_supported": _estimate(mean, of_mean),
            "supported_labels": [labels[i] for i in np.flatnonzero(kept)],
            **figures,
        }
    )


def _labels(
    counts: Counts, resamples: Resamples | None, labels: Sequence[str]
) -> dict[str, LabelMetrics]:
    bounds = label_bounds(counts, resamples)
    numbers = {name: getattr(counts, name).tolist() for name in _COUNTED} | {
        name: values.tolist() for name, values in label_figures(counts).items()
    }
    if resamples is not None:
        numbers["opinions"] = opinions_with(resamples.positives).tolist()
    return {
        label: LabelMetrics.model_validate(
            {
                name: _estimate(values[index], bounds[name][index])
                if name in bounds
                else defined(values[index])
                for name, values in numbers.items()
            }
        )
        for index, label in enumerate(labels)
    }


def _comparison(
    state: Reduction,
    baseline: str,
    candidate: str,
    left_out: dict[str, list[str]],
    margins: Margins | None,
) -> Comparison:
    names = (baseline, candidate)
    pair = state.pairs.get(ALL, {}).get(names) or Pair.none(len(state.scope.labels))
    overall = overall_changes(pair, (_side(state, ALL, baseline), _side(state, ALL, candidate)))
    tests: Sequence[float | None] = mcnemar_p(pair) or [None] * len(state.scope.labels)
    known = label_changes(pair)
    labels = {
        label: _change(change, test, *support)
        for label, change, test, support in zip(
            state.scope.labels, known, tests, _opinions(pair), strict=True
        )
    }
    by_name = dict(zip(state.scope.labels, known, strict=True))
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        records=pair.baseline.statuses[BOTH],
        overall={name: _change(overall[name]) for name in COMPARED},
        labels=labels,
        distribution=Distribution.model_validate(
            Counter(change.kind for change in labels.values())
        ),
        labels_left_out=left_out,
        slices=_slice_changes(state, names),
        opinions=opinions_of(pair),
        verdict=margins and judge(overall, by_name, margins, pair),
    )


def _opinions(pair: Pair) -> list[tuple[int | None, int | None]]:
    """Return for each label how many opinions have it, and on how many the two disagree."""
    if pair.resampled is None:
        return [(None, None)] * pair.baseline.labels
    numbers = (opinions_with(pair.resampled[0].positives), opinions_with(pair.disagreeing))
    return list(zip(*(each.tolist() for each in numbers), strict=True))


def _slice_changes(state: Reduction, names: tuple[str, str]) -> dict[str, Change]:
    """Return the change of macro F1 by slice, corrected over the values of each column."""
    found: dict[str, Change] = {}
    for column in state.scope.slices:
        keys = [key for key in _slice_order(state) if key[0] == column]
        changes = [supported_change(state.pairs[key][names]) for key in keys]
        found |= {
            _title(key): _change(change)
            for key, change in zip(keys, corrected(changes), strict=True)
        }
    return found


def _change(
    change: Known,
    mcnemar_p: float | None = None,
    opinions: int | None = None,
    disagreeing: int | None = None,
) -> Change:
    baseline, candidate = defined(change.baseline), defined(change.candidate)
    figures = compare(baseline, candidate)
    return Change(
        baseline=baseline,
        candidate=candidate,
        difference=_estimate(figures.difference, change.difference),
        relative=_estimate(figures.relative, change.relative),
        kind=figures.kind,
        p=change.p,
        p_corrected=change.p_corrected,
        simultaneous=change.simultaneous and _estimate(figures.difference, change.simultaneous),
        detectable=change.detectable,
        detectable_low=change.detectable_range and change.detectable_range[0],
        detectable_high=change.detectable_range and change.detectable_range[1],
        one_sided=change.one_sided and _estimate(figures.difference, change.one_sided),
        detectable_one_sided=change.detectable_one_sided,
        at_most=change.disagreements and change.disagreements.bound(change.number, sides=1),
        mcnemar_p=mcnemar_p,
        opinions=opinions,
        disagreeing=disagreeing,
    )


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _estimate(value: float | None, bounds: Bounds) -> Estimate | None:
    if value is None or np.isnan(value):
        return None
    return Estimate(
        value=value,
        low=bounds.low,
        high=bounds.high,
        rough=bounds.rough,
        no_interval=bounds.none,
    )
