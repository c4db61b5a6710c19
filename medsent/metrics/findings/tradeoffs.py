"""Rules on what is paid for what: time for F1, precision for recall."""

from collections.abc import Iterator
from typing import Final

from medsent.metrics.findings.bounds import SPEED
from medsent.metrics.findings.rule import Said
from medsent.metrics.findings.wording import changed, gap
from medsent.metrics.format import counted, rate, seconds
from medsent.metrics.headline import headline
from medsent.metrics.model import Change, Comparison, Metrics
from medsent.metrics.significance import direction
from medsent.metrics.throughput import Throughput

_WAYS: Final = {"higher", "lower"}


def speed_against_f1(metrics: Metrics) -> Iterator[Said]:
    """Say what time a record takes, and what F1 does, where the times differ."""
    for pair in metrics.comparisons:
        speeds = [_own_speed(metrics, name) for name in (pair.baseline, pair.candidate)]
        name, change = headline(pair)
        base, candidate = speeds
        if base is None or candidate is None or change.p is None:
            continue
        base_s, candidate_s = base.seconds_per_record or 0.0, candidate.seconds_per_record or 0.0
        if max(base_s, candidate_s) <= SPEED * min(base_s, candidate_s):
            continue
        yield Said(
            f"{pair.candidate} takes {candidate_s / base_s:.2f} times as long for a record as "
            f"{pair.baseline}: {seconds(candidate_s)} against {seconds(base_s)}, which is "
            f"{rate(candidate.records_per_s)} against {rate(base.records_per_s)} records a second "
            f"on {counted(candidate.records, 'record')}. Rates have no interval. "
            f"{_told(name, change)}",
            {
                "time_ratio": candidate_s / base_s,
                "baseline_seconds_per_record": base_s,
                "candidate_seconds_per_record": candidate_s,
                "records": candidate.records,
                **changed(change),
            },
            [pair.baseline, pair.candidate],
        )


def _own_speed(metrics: Metrics, name: str) -> Throughput | None:
    """Return a variant's speed where most of its time was its own."""
    speed = metrics.variants[name].throughput
    if speed is None or not speed.seconds_per_record:
        return None
    return None if (speed.shared_s or 0.0) > speed.busy_s / 2 else speed


def _told(name: str, change: Change) -> str:
    told = {
        "higher": f"Its {name} is higher",
        "lower": f"Its {name} is lower",
    }.get(direction(change), f"No difference in {name} was found")
    return f"{told}: {gap(change)}."


def precision_against_recall(metrics: Metrics) -> Iterator[Said]:
    """Say that one of precision and recall went up and the other down."""
    for pair in metrics.comparisons:
        for average in ("macro", "micro"):
            precision = pair.overall[f"{average}_precision"]
            recall = pair.overall[f"{average}_recall"]
            if {direction(precision), direction(recall)} == _WAYS:
                yield _exchanged(pair, average, precision, recall)
                break


def _exchanged(pair: Comparison, average: str, precision: Change, recall: Change) -> Said:
    return Said(
        f"{pair.candidate} trades how many of the labels it gives are right (precision) against "
        f"how many it finds (recall): {average} precision is {direction(precision)} than that of "
        f"{pair.baseline}, {gap(precision)}, {average} recall is {direction(recall)}, "
        f"{gap(recall)}, on {counted(pair.records, 'record')}.",
        {
            **{f"precision_{name}": value for name, value in changed(precision).items()},
            **{f"recall_{name}": value for name, value in changed(recall).items()},
            "records": pair.records,
        },
        [pair.baseline, pair.candidate],
    )
