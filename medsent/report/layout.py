"""What stands in a report, in which order: from the numbers to the `Document`."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from medsent.metrics.findings.attention import judged
from medsent.metrics.headline import is_evaluated
from medsent.metrics.model import Metrics
from medsent.report.claims import findings
from medsent.report.definitions import definitions
from medsent.report.document import Block, Document, Plot, Section, Table, Text
from medsent.report.plots import curves
from medsent.report.plots import labels as plots
from medsent.report.plots import speed as pace
from medsent.report.plots.svg import own_settings
from medsent.report.tables import calibration as probabilities
from medsent.report.tables import run as operations
from medsent.report.tables import scores, slices
from medsent.report.tables.cost import cost_tables
from medsent.report.tables.repeats import repeat_tables
from medsent.report.tables.route import routed
from medsent.report.verdict import key_figures, verdict

Model = TypeVar("Model", bound=BaseModel)

_REORDERING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NEVER_TEXT: Final = frozenset(
    map(
        chr,
        [*range(0xFDD0, 0xFDF0), *(p << 16 | last for p in range(17) for last in (0xFFFE, 0xFFFF))],
    )
)
"""Unicode's noncharacters: XML, and so a plot, must not hold two of them; none can be seen."""


@own_settings()
def contents(metrics: Metrics, examples: Sequence[Table] = ()) -> Document:
    """Return the report of a run; a pure function of its numbers, and of examples if any."""
    metrics = shown(metrics)
    drawn = list(_drawn_labels(metrics))
    sections = [
        Section("findings", "Findings", list(findings(metrics))),
        Section("route", "Route", list(routed(metrics, metrics.route)) if metrics.route else []),
        Section("overall", "Overall", list(_overall(metrics))),
        Section("cost", "Cost", list(cost_tables(metrics))),
        Section("repeats", "Asked again", list(repeat_tables(metrics))),
        Section("labels", "Labels", [*drawn[1:], *_labels(metrics)]),
        Section("calibration", "Calibration", list(_calibration(metrics))),
        Section("slices", "Slices", list(_slices(metrics))),
        Section("examples", "Examples", [_shown_as_it_is(table) for table in examples]),
        Section("speed", "Time and throughput", list(_speed(metrics))),
        Section("records", "Records and answers", list(_records(metrics))),
        Section("provenance", "Provenance", [operations.provenance(metrics)]),
    ]
    return Document(
        title=metrics.run.name,
        run=f"{metrics.run.name}-{metrics.run.fingerprint}",
        note=metrics.run.note,
        verdict=verdict(metrics),
        key_figures=key_figures(metrics),
        sections=[section for section in sections if section.blocks],
        definitions=definitions(
            len(metrics.labels),
            priced=any(each.cost for each in metrics.variants.values()),
            judged=any(pair.verdict for pair in metrics.comparisons),
            repeated=metrics.repeats is not None,
        ),
        plot=drawn[0] if drawn else None,
    )


def _drawn_labels(metrics: Metrics) -> Iterator[Plot]:
    """Yield the plots of labels: of each comparison or, without one, of each variant."""
    evaluated = is_evaluated(metrics)
    if metrics.comparisons and evaluated:
        for index, comparison in enumerate(metrics.comparisons):
            yield plots.dumbbell(metrics, comparison, f"rows-{index}")
        return
    draw = plots.dots if evaluated else plots.given
    for index, (name, variant) in enumerate(metrics.variants.items()):
        if variant.overall.answered_rows:
            yield draw(metrics, name, f"rows-{index}")


def _overall(metrics: Metrics) -> Iterator[Block]:
    if not is_evaluated(metrics):
        return
    for comparison in metrics.comparisons:
        yield scores.compared_averages(comparison)
    if not metrics.comparisons:
        yield scores.single_averages(metrics)
    yield scores.macro_rules(metrics)


def _labels(metrics: Metrics) -> Iterator[Block]:
    yield from _scored_labels(metrics) if is_evaluated(metrics) else [scores.given_labels(metrics)]
    if any(variant.thresholds for variant in metrics.variants.values()):
        yield operations.thresholds(metrics)


def _scored_labels(metrics: Metrics) -> Iterator[Block]:
    for comparison in metrics.comparisons:
        yield scores.spread(comparison)
        yield scores.compared_labels(metrics, comparison)
    if not metrics.comparisons:
        yield scores.single_labels(metrics)
    for name, variant in metrics.variants.items():
        yield scores.label_counts(name, variant)


def _calibration(metrics: Metrics) -> Iterator[Block]:
    known = probabilities.calibrated(metrics)
    if not known:
        return
    yield probabilities.mean_calibration(known)
    for index, (baseline, names) in enumerate(_beside(metrics)):
        sides = {name: known[name] for name in names if name in known}
        if sides:
            yield curves.reliability(sides, baseline, f"reliability-{index}")
    yield probabilities.label_calibration(known)
    for index, (name, variant) in enumerate(judged(metrics).items()):
        yield from _drawn(curves.thresholds(name, variant, f"thresholds-{index}"))


def _beside(metrics: Metrics) -> list[tuple[str | None, list[str]]]:
    """Return which variants are drawn in one plot, each with the baseline among them."""
    pairs = [(pair.baseline, [pair.baseline, pair.candidate]) for pair in metrics.comparisons]
    return [*pairs] or [(None, [name]) for name in metrics.variants]


def _drawn(*plots: Plot | None) -> Iterator[Plot]:
    return (plot for plot in plots if plot is not None)


def _slices(metrics: Metrics) -> Iterator[Block]:
    if not is_evaluated(metrics):
        for column in slices.columns_of(metrics):
            for name, variant in metrics.variants.items():
                yield slices.given_by_value(name, variant, column)
        return
    for column in slices.columns_of(metrics):
        yield slices.by_value(metrics, column)
    for index, (name, variant) in enumerate(judged(metrics).items()):
        if slices.values_of(variant, slices.PERSONA):
            yield from plots.heat_maps(name, variant, f"heat-{index}")
            yield slices.persona_labels(name, variant)


def _speed(metrics: Metrics) -> Iterator[Block]:
    yield operations.timing(metrics)
    timed = any(variant.throughput is not None for variant in metrics.variants.values())
    if not timed:
        yield Text("No answer was timed, so there are no rates.")
        return
    yield pace.speed(metrics, "speed-0")
    yield from _drawn(pace.course(metrics, "course-0"), pace.latency(metrics, "latency-0"))
    yield operations.throughput(metrics)
    yield operations.replicas(metrics)


def _records(metrics: Metrics) -> Iterator[Block]:
    yield Text(operations.sum_of_input(metrics.records))
    if metrics.records.duplicate_record_ids:
        yield Text(operations.duplicates(metrics.records.duplicate_record_ids))
    yield operations.quarantine(metrics.records)
    yield operations.statuses(metrics)


def _shown_as_it_is(table: Table) -> Table:
    rows = [[replace(cell, text=_visible(cell.text)) for cell in row] for row in table.rows]
    return replace(table, rows=rows)


def shown(part: Model) -> Model:
    """Return a copy whose strings can be seen whole, and stand in a page and its drawings."""
    return type(part).model_validate(_visible(part.model_dump()))


def _visible(value: Any) -> Any:
    """Make visible, in all strings, what cannot be seen, reorders what is, or is not for XML."""
    if isinstance(value, str):
        return "".join(map(_shown, value))
    if isinstance(value, dict):
        return {_visible(key): _visible(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_visible(inner) for inner in value]
    return value


def _shown(character: str) -> str:
    hidden = character in _REORDERING or character in _NEVER_TEXT
    if hidden or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return f"⟨U+{ord(character):04X}⟩"
    return character
