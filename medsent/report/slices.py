"""The tables of slices: macro F1 by a column's values, and F1 by persona and label."""

from collections.abc import Iterator
from typing import Final

from medsent.labels import LABELS
from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import Cell, Column, Table, undefined
from medsent.report.figures import count
from medsent.report.model import LabelMetrics, Metrics, SliceMetrics, VariantMetrics
from medsent.report.scores import difference_cell, f1_cell, share_cell
from medsent.statistics.comparisons import compare

PERSONA: Final = "persona"

# Past this many rows a table starts closed.
_MANY: Final = 40


def columns_of(metrics: Metrics) -> list[str]:
    """Return the columns that the run was sliced by, in order."""
    keys = (key for variant in metrics.variants.values() for key in variant.slices)
    return list(dict.fromkeys(key.partition("=")[0] for key in keys))


def values_of(variant: VariantMetrics, column: str) -> dict[str, SliceMetrics]:
    """Return a variant's slices by one column, by value."""
    parts = ((key.partition("="), part) for key, part in variant.slices.items())
    return {value: part for (name, _, value), part in parts if name == column}


def by_value(metrics: Metrics, column: str) -> Table:
    """Return macro F1 of each variant, and each comparison's difference, by value of a column."""
    slices = {name: values_of(variant, column) for name, variant in metrics.variants.items()}
    values = list(dict.fromkeys(value for each in slices.values() for value in each))
    rows = [
        [
            Cell(value, value),
            _records(value, slices),
            *(_macro(each.get(value)) for each in slices.values()),
            *_differences(metrics, value, slices),
            *(_averaged(each.get(value)) for each in slices.values()),
        ]
        for value in values
    ]
    columns = [
        Column(column.capitalize(), "text"),
        Column("Records", define="record"),
        *(Column(name, group="Macro F1") for name in slices),
        *(
            Column(title, group="Macro F1", define="difference")
            for title in _difference_titles(metrics)
        ),
        *(Column(name, group="Labels averaged") for name in slices),
    ]
    note = (
        "Averages over different numbers of labels are not of the same thing: see the last columns."
    )
    uneven = any(len({cell.text for cell in row[-len(slices) :]}) > 1 for row in rows)
    return Table(
        f"Macro F1 by {column}",
        columns,
        rows,
        notes=[note] if uneven else [],
        folded=len(rows) > _MANY,
        sortable=True,
        group_definitions={"Macro F1": "macro", "Labels averaged": "macro"},
    )


def _difference_titles(metrics: Metrics) -> list[str]:
    if len(metrics.comparisons) == 1:
        return ["Difference, points"]
    return [f"{pair.candidate} − {pair.baseline}, points" for pair in metrics.comparisons]


def _records(value: str, slices: dict[str, dict[str, SliceMetrics]]) -> Cell:
    rows = max(each[value].overall.rows for each in slices.values() if value in each)
    return Cell(count(rows), rows)


def _macro(part: SliceMetrics | None) -> Cell:
    if part is None:
        return undefined("no record scored")
    return share_cell(part.overall.macro_f1, "undefined for every label")


def _averaged(part: SliceMetrics | None) -> Cell:
    """How many labels the macro F1 is a mean of: averages of different labels differ by that."""
    if part is None:
        return undefined("no record scored")
    number = len(part.labels) - len(part.overall.left_out.get("f1", []))
    return Cell(count(number), number)


def _differences(
    metrics: Metrics, value: str, slices: dict[str, dict[str, SliceMetrics]]
) -> Iterator[Cell]:
    for pair in metrics.comparisons:
        base, candidate = (
            slices[name][value].overall.macro_f1 if value in slices[name] else None
            for name in (pair.baseline, pair.candidate)
        )
        yield difference_cell(compare(base, candidate).difference)


def persona_labels(name: str, variant: VariantMetrics) -> Table:
    """Return a variant's F1 by persona (rows) and label (columns), in whole percent."""
    rows = [
        [Cell(persona, persona), *(_whole(part.labels[label]) for label in LABELS)]
        for persona, part in values_of(variant, PERSONA).items()
    ]
    columns = [Column("Persona", "text"), *(Column(label) for label in LABELS)]
    note = f"In brackets: fewer than {FEW_POSITIVES} positives."
    caption = f"F1 of {name} by persona and label, in percent"
    return Table(caption, columns, rows, [note], folded=True, sortable=True)


def _whole(label: LabelMetrics) -> Cell:
    if label.f1 is None:
        return f1_cell(label)
    text = f"{100 * label.f1:.0f}"
    return Cell(f"({text})" if label.support < FEW_POSITIVES else text, label.f1)
