"""The tables of the run itself: time, throughput, answers, quarantine, provenance."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from medsent.metrics.estimate import over
from medsent.metrics.format import count, counted, percent, rate, seconds
from medsent.metrics.model import Metrics, Records, VariantMetrics
from medsent.metrics.statuses import answer
from medsent.metrics.throughput import Throughput
from medsent.predictions import AnswerStatus
from medsent.report.document import Cell, Column, Table, undefined
from medsent.report.tables.cells import share_cell

_UNTIMED: Final = "not timed"
_LISTED: Final = 20
"""So many items of a list are shown; the rest are in metrics.json."""

_SHORT: Final = 8
"""A table of replicas with more rows starts closed."""

_Row = tuple[str, str | None, Callable[[Throughput], Cell]]


def timing(metrics: Metrics) -> Table:
    """Return the wall-clock times of the run."""
    times = metrics.timing
    rows = [
        [Cell("Start-up: engines, model, adapters"), _time(times.start_up_s)],
        [Cell("Scoring: first record sent to last answer"), _time(times.scoring_s)],
        [Cell("Total"), _time(times.total_s)],
        [Cell("Per sample: scoring / records, all variants"), _time(times.seconds_per_sample)],
    ]
    return Table("Wall-clock time", [Column("Part", "text"), Column("Time")], rows)


def throughput(metrics: Metrics) -> Table:
    """Return the speed of each variant, one column each."""
    speeds = {
        name: variant.throughput
        for name, variant in metrics.variants.items()
        if variant.throughput is not None
    }
    rows = [
        [Cell(title, define=define), *(cell(speed) for speed in speeds.values())]
        for title, define, cell in _SPEED
    ]
    columns = [Column("Figure", "text"), *map(Column, speeds)]
    return Table("Throughput by variant", columns, rows, _mixed(speeds))


def _mixed(speeds: Mapping[str, Throughput]) -> list[str]:
    """Say which rates are those of a mixture of variants rather than of one."""
    mixed = [
        name
        for name, speed in speeds.items()
        if speed.shared_s is not None and speed.shared_s > speed.busy_s / 2
    ]
    if not mixed:
        return []
    return [
        f"Most of the busy time of {', '.join(mixed)} was shared with other variants in flight: "
        "its rates are those of the mixture rather than of the variant alone."
    ]


def replicas(metrics: Metrics) -> Table:
    """Return the speed of each variant on each replica."""
    rows = [
        [
            Cell(replica, replica),
            Cell(name, name),
            Cell(count(speed.records), speed.records),
            _time(speed.busy_s),
            _rate(speed.records_per_s),
            _rate(speed.uncached_prompt_tokens_per_s),
            _rate(speed.cached_prompt_tokens_per_s),
            _rate(speed.output_tokens_per_s),
            _time(speed.latency_p50_s),
            _time(speed.latency_p95_s),
            _time(speed.latency_p99_s),
        ]
        for name, variant in metrics.variants.items()
        if variant.throughput is not None
        for replica, speed in variant.throughput.replicas.items()
    ]
    columns = [
        Column("Replica", "code"),
        Column("Variant", "text"),
        Column("Records"),
        Column("Busy", define="rates"),
        Column("Records/s", define="rates"),
        *(Column(title, group="Tokens/s") for title in ("Uncached", "Cached", "Output")),
        *(Column(title, group="Latency") for title in ("p50", "p95", "p99")),
    ]
    return Table(
        "Throughput by replica",
        columns,
        rows,
        folded=len(rows) > _SHORT,
        sortable=True,
        group_definitions={"Tokens/s": "tokens", "Latency": "latency"},
    )


def _time(value: float | None) -> Cell:
    return undefined(_UNTIMED) if value is None else Cell(seconds(value), value)


def _rate(value: float | None) -> Cell:
    return undefined(_UNTIMED) if value is None else Cell(rate(value), value)


def _moment(value: datetime | None) -> Cell:
    return undefined(_UNTIMED) if value is None else Cell(f"{value:%Y-%m-%d %H:%M:%S} UTC")


_SPEED: Final[tuple[_Row, ...]] = (
    ("Records", "record", lambda speed: Cell(count(speed.records))),
    ("Busy", "rates", lambda speed: _time(speed.busy_s)),
    ("Of that, shared with other variants", "rates", lambda speed: _time(speed.shared_s)),
    ("Records per second", "rates", lambda speed: _rate(speed.records_per_s)),
    ("Time per record", "rates", lambda speed: _time(speed.seconds_per_record)),
    ("Prompt tokens, uncached", "tokens", lambda speed: Cell(count(speed.uncached_prompt_tokens))),
    ("Prompt tokens, cached", "tokens", lambda speed: Cell(count(speed.cached_prompt_tokens))),
    ("Output tokens", "tokens", lambda speed: Cell(count(speed.output_tokens))),
    (
        "Uncached prompt tokens per second",
        "rates",
        lambda speed: _rate(speed.uncached_prompt_tokens_per_s),
    ),
    (
        "Cached prompt tokens per second",
        "rates",
        lambda speed: _rate(speed.cached_prompt_tokens_per_s),
    ),
    ("Output tokens per second", "rates", lambda speed: _rate(speed.output_tokens_per_s)),
    ("Latency, median", "latency", lambda speed: _time(speed.latency_p50_s)),
    ("Latency, p95", "latency", lambda speed: _time(speed.latency_p95_s)),
    ("Latency, p99", "latency", lambda speed: _time(speed.latency_p99_s)),
    ("First record sent", None, lambda speed: _moment(speed.first_start)),
    ("Last answer", None, lambda speed: _moment(speed.last_finish)),
)


def statuses(metrics: Metrics) -> Table:
    """Return how many answers of each variant were usable, and why the others were not."""
    rows = [
        [
            Cell(name),
            Cell(status, tone=None if status == AnswerStatus.OK else "worse"),
            Cell(answer(status)),
            Cell(count(number)),
            share_cell(over(number, variant.overall.rows), "no record scored"),
        ]
        for name, variant in metrics.variants.items()
        for status, number in variant.answer_statuses.items()
    ]
    columns = [
        Column("Variant", "text"),
        Column("Status", "code"),
        Column("Meaning", "text"),
        Column("Records"),
        Column("Share of scored", define="success"),
    ]
    notes = [_repaired(name, each) for name, each in metrics.variants.items()]
    return Table("Answers by status", columns, rows, [note for note in notes if note])


def _repaired(name: str, variant: VariantMetrics) -> str:
    """Say how many answers were usable only once their JSON was repaired; nothing if not known."""
    usable, repaired = variant.overall.answered_rows, variant.repaired
    if repaired is None:
        return ""
    share = f" ({percent(repaired / usable)})" if usable else ""
    return (
        f"Of the {counted(usable, 'usable answer')} of {name}, {count(repaired)}{share} came in "
        "broken JSON and could be read only once it was repaired."
    )


def quarantine(records: Records) -> Table:
    """Return what became of the input: scored, and quarantined by reason."""
    numbers = {
        "Scored": records.scored,
        **{f"Quarantined: {reason}": number for reason, number in records.by_reason.items()},
        "Input": records.input,
    }
    rows = [
        [Cell(name), Cell(count(number)), share_cell(over(number, records.input), "no input")]
        for name, number in numbers.items()
    ]
    columns = [Column("Outcome", "text", define="quarantined"), Column("Records"), Column("Share")]
    return Table("What became of the input", columns, rows)


def sum_of_input(records: Records) -> str:
    """Say that input = scored + quarantined, or that it is not."""
    by_reason = sum(records.by_reason.values())
    sums = f"{count(records.scored)} scored + {count(records.quarantined)} quarantined"
    if records.input == records.scored + records.quarantined and by_reason == records.quarantined:
        return f"Input {count(records.input)} = {sums}."
    return (
        f"This does not add up: input {count(records.input)}, {sums}, "
        f"{count(by_reason)} by reason. Do not rely on this report."
    )


def duplicates(number: int) -> str:
    """Say that record ids occur more than once, and what that means."""
    return (
        f"{counted(number, 'record')} with the record_id of an earlier one. Each was scored and "
        "counted as a record of its own."
    )


def thresholds(metrics: Metrics) -> Table:
    """Return the thresholds that turned each variant's probabilities into labels."""
    tuned = {
        name: variant.thresholds
        for name, variant in metrics.variants.items()
        if variant.thresholds is not None
    }
    labels = dict.fromkeys(label for each in tuned.values() for label in each)
    rows = [
        [
            Cell(label),
            *(
                Cell(f"{each[label]:.3f}") if label in each else undefined("none set")
                for each in tuned.values()
            ),
        ]
        for label in labels
    ]
    columns = [Column("Label", "text"), *map(Column, tuned)]
    return Table("Thresholds on the probabilities", columns, rows, folded=True)


def provenance(metrics: Metrics) -> Table:
    """Return what made the predictions, nested settings as dotted names."""
    run = metrics.run
    facts: dict[str, JsonValue] = {
        "run": f"{run.name}-{run.fingerprint}",
        "schema_version": metrics.schema_version,
        **metrics.provenance,
    }
    rows = [[Cell(name), Cell(value)] for name, value in _flat("", facts)]
    return Table(
        "What made the predictions", [Column("What", "text"), Column("Value", "code")], rows
    )


def _flat(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value[:_LISTED]):
            yield f"{name} {index + 1}", _plain(item)
        if len(value) > _LISTED:
            yield f"{name}, more", f"{count(len(value) - _LISTED)} in metrics.json"
    else:
        yield name, _plain(value)


def _plain(value: JsonValue) -> str:
    """Print a value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return _joined(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _joined(values: Sequence[JsonValue]) -> str:
    shown = ", ".join(_plain(value) for value in values[:_LISTED])
    rest = len(values) - _LISTED
    return f"{shown} and {count(rest)} more in metrics.json" if rest > 0 else shown
