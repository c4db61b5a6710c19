"""From a reduced state to the numbers of `metrics.json`."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import numpy as np
from pydantic import JsonValue

from medsent.errors import ConfigError, RunError
from medsent.labels import LABELS
from medsent.predictions import OK
from medsent.reducer.counts import ROW_FN, ROW_FP, ROW_TP, Counts
from medsent.reducer.slices import ALL, SliceKey
from medsent.reducer.state import Reduction
from medsent.reducer.throughput import Speed
from medsent.report.model import (
    Change,
    Comparison,
    Distribution,
    Figure,
    LabelMetrics,
    Metrics,
    OverallMetrics,
    Records,
    Run,
    SliceMetrics,
    Throughput,
    Timing,
    VariantMetrics,
    VariantThroughput,
)
from medsent.statistics.comparisons import Difference, compare_all, distribution
from medsent.statistics.metrics import label_figures, left_out, overall_figures

COMPARED: Final = (
    "generation_success_rate",
    "accuracy",
    "macro_f1",
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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


def build_metrics(
    state: Reduction,
    *,
    run: Run,
    compare: Sequence[tuple[str, str]] = (),
    timing: Timing | None = None,
    provenance: Mapping[str, JsonValue] | None = None,
    input_records: int | None = None,
    duplicate_record_ids: int | None = None,
    unread: Mapping[str, int] | None = None,
) -> Metrics:
    """Return all numbers of a report; the same state and context give the same, to the bit.

    `compare` holds pairs of baseline and candidate. `timing.seconds_per_sample` is filled in
    where it is not given. `input_records` is what the run was asked for. `unread` are records
    that no prediction holds, since they could not be read, by reason. Raises `RunError` where
    the input is not scored + quarantined, `ConfigError` for a pair that names no variant.
    """
    variants = {name: _variant(state, name) for name in state.scope.variants}
    return Metrics(
        run=run,
        records=_records(state, input_records, duplicate_record_ids, unread or {}),
        variants=variants,
        comparisons=[_comparison(variants, *pair) for pair in compare],
        timing=_timing(timing or Timing(), state.scored),
        provenance=dict(provenance or {}),
    )


def _records(
    state: Reduction, asked: int | None, duplicates: int | None, unread: Mapping[str, int]
) -> Records:
    by_reason = Counter(state.quarantined) + Counter(unread)
    quarantined = by_reason.total()
    found = state.scored + quarantined
    if asked is not None and asked != found:
        raise RunError(
            f"the input has {asked} records, the predictions {found}: the run is not complete; "
            "run the same command again to resume it"
        )
    return Records(
        input=found,
        scored=state.scored,
        quarantined=quarantined,
        by_reason=_most_first(by_reason),
        duplicate_record_ids=duplicates,
    )


def _timing(timing: Timing, scored: int) -> Timing:
    if timing.seconds_per_sample is not None or timing.scoring_s is None:
        return timing
    return timing.model_copy(update={"seconds_per_sample": _over(timing.scoring_s, scored)})


def _variant(state: Reduction, name: str) -> VariantMetrics:
    whole = state.slices.get(ALL, {}).get(name, Counts())
    cuts = state.scope.thresholds.get(name)
    return VariantMetrics(
        **dict(_slice(whole)),
        slices={
            f"{column}={value}": _slice(state.slices[column, value][name])
            for column, value in _slice_order(state)
        },
        thresholds=dict(zip(LABELS, cuts, strict=True)) if cuts is not None else None,
        throughput=_throughput(state, name),
    )


def _slice_order(state: Reduction) -> list[SliceKey]:
    """Columns as configured, their values sorted."""
    columns = state.scope.slices
    keys = [key for key in state.slices if key != ALL]
    return sorted(keys, key=lambda key: (columns.index(key[0]), key[1]))


def _slice(counts: Counts) -> SliceMetrics:
    ok = counts.statuses.get(OK, 0)
    rest = {status: n for status, n in counts.statuses.items() if status != OK}
    return SliceMetrics(
        overall=_overall(counts),
        labels=_labels(counts),
        answer_statuses={OK: ok, **_most_first(rest)},
    )


def _overall(counts: Counts) -> OverallMetrics:
    figures = {name: _figure(value) for name, value in overall_figures(counts).items()}
    without = counts.rows[ROW_TP + ROW_FP + ROW_FN == 0]
    return OverallMetrics.model_validate(
        {
            "rows": sum(counts.statuses.values()),
            "answered_rows": counts.statuses.get(OK, 0),
            "evaluated_rows": int(counts.rows.sum()),
            "rows_without_positives": int(without.sum()),
            "left_out": left_out(counts),
            **figures,
        }
    )


def _labels(counts: Counts) -> dict[str, LabelMetrics]:
    numbers = {
        name: getattr(counts, name).tolist()
        for name in ("tp", "fp", "fn", "tn", "missing", "unanswered")
    } | {name: values.tolist() for name, values in asdict(label_figures(counts)).items()}
    return {
        label: LabelMetrics.model_validate(
            {name: _figure(values[index]) for name, values in numbers.items()}
        )
        for index, label in enumerate(LABELS)
    }


def _comparison(
    variants: Mapping[str, VariantMetrics], baseline: str, candidate: str
) -> Comparison:
    for name in (baseline, candidate):
        if name not in variants:
            raise ConfigError(f"compare: there is no variant {name!r} in the predictions")
    old, new = variants[baseline], variants[candidate]
    overall = compare_all(_compared(old.overall), _compared(new.overall))
    labels = compare_all(_f1(old), _f1(new))
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        overall={name: _change(difference) for name, difference in overall.items()},
        labels={label: _change(difference) for label, difference in labels.items()},
        distribution=Distribution.model_validate(distribution(labels.values())),
    )


def _compared(overall: OverallMetrics) -> dict[str, Figure]:
    return {name: getattr(overall, name) for name in COMPARED}


def _f1(variant: VariantMetrics) -> dict[str, Figure]:
    return {label: figures.f1 for label, figures in variant.labels.items()}


def _change(difference: Difference) -> Change:
    return Change.model_validate(asdict(difference))


def _throughput(state: Reduction, variant: str) -> VariantThroughput | None:
    busy = state.throughput.busy_s()
    speeds = {
        replica: speed
        for (name, replica), speed in sorted(state.throughput.speeds.items())
        if name == variant
    }
    if not speeds:
        return None
    total = Speed()
    for speed in speeds.values():
        total = total.merge(speed)
    seconds = [busy[variant, replica] for replica in speeds]
    return VariantThroughput(
        **dict(_rates(total, math.fsum(s for s, _ in seconds), math.fsum(s for _, s in seconds))),
        replicas={
            replica: _rates(speed, *busy[variant, replica]) for replica, speed in speeds.items()
        },
    )


def _rates(speed: Speed, busy_s: float, shared_s: float) -> Throughput:
    return Throughput(
        records=speed.records,
        busy_s=busy_s,
        shared_s=shared_s,
        records_per_s=_over(speed.records, busy_s),
        seconds_per_record=_over(busy_s, speed.records),
        uncached_prompt_tokens=speed.uncached_tokens,
        cached_prompt_tokens=speed.cached_tokens,
        output_tokens=speed.output_tokens,
        uncached_prompt_tokens_per_s=_over(speed.uncached_tokens, busy_s),
        cached_prompt_tokens_per_s=_over(speed.cached_tokens, busy_s),
        output_tokens_per_s=_over(speed.output_tokens, busy_s),
        latency_p50_s=speed.latency_s(50),
        latency_p95_s=speed.latency_s(95),
        latency_p99_s=speed.latency_s(99),
        first_start=_EPOCH + timedelta(microseconds=speed.first_start_us),
        last_finish=_EPOCH + timedelta(microseconds=speed.last_finish_us),
    )


def _over(part: float, whole: float) -> Figure:
    return part / whole if whole else None


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _figure(value: T) -> T | None:
    return None if isinstance(value, float) and np.isnan(value) else value
