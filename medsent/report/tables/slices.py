"""The tables of slices: macro F1 by a column's values, and F1 by persona and label."""

from collections.abc import Iterator
from typing import Final

from medsent.metrics.estimate import Estimated
from medsent.metrics.format import count
from medsent.metrics.model import LabelMetrics, Metrics, SliceMetrics, VariantMetrics
from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import Cell, Column, Table, undefined
from medsent.report.tables.cells import difference_cell, estimate_cell, f1_cell, p_cell

PERSONA: Final = "persona"

# Past this many rows a table starts closed.
_MANY: Final = 40
_WIDE: Final = 30
"""A table with more columns is turned, so that it fits on a screen or a sheet of paper."""


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
            *_differences(metrics, f"{column}={value}"),
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
        "Averages are over the labels that enough opinions of the slice have. Averages over "
        "different labels cannot be compared: see the last columns for how many."
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
        return ["Difference, points", "p, corrected"]
    return [
        title
        for pair in metrics.comparisons
        for title in (f"{pair.candidate} − {pair.baseline}, points", "p, corrected")
    ]


def _records(value: str, slices: dict[str, dict[str, SliceMetrics]]) -> Cell:
    rows = max(each[value].overall.rows for each in slices.values() if value in each)
    return Cell(count(rows), rows)


def _macro(part: SliceMetrics | None) -> Cell:
    if part is None:
        return undefined("no record scored")
    return estimate_cell(_mean(part)[0], "no label with enough opinions")


def _mean(part: SliceMetrics) -> tuple[Estimated, int]:
    """Return macro F1 and over how many labels: those with enough opinions, where that is known."""
    overall = part.overall
    if overall.macro_f1 is None or overall.macro_f1.no_interval != "no_replicates":
        return overall.macro_f1_supported, len(overall.supported_labels)
    return overall.macro_f1, len(part.labels) - len(overall.left_out.get("f1", []))


def _averaged(part: SliceMetrics | None) -> Cell:
    """How many labels the macro F1 is a mean of: averages of different labels differ by that."""
    if part is None:
        return undefined("no record scored")
    number = _mean(part)[1]
    return Cell(count(number), number)


def _differences(metrics: Metrics, key: str) -> Iterator[Cell]:
    for pair in metrics.comparisons:
        change = pair.slices.get(key)
        yield from (difference_cell(change), p_cell(change)) if change else (Cell(""), Cell(""))


def persona_labels(name: str, variant: VariantMetrics) -> Table:
    """Return a variant's F1 by persona (rows) and label (columns), in whole percent."""
    rows = [
        [Cell(persona, persona), *map(_whole, part.labels.values())]
        for persona, part in values_of(variant, PERSONA).items()
    ]
    titles, rows = _narrower(["Persona", *variant.labels], rows)
    columns = [Column(titles[0], "text"), *map(Column, titles[1:])]
    note = (
        f"In brackets: fewer than {FEW_POSITIVES} positives. Intervals of these figures are in "
        "metrics.json; most are wide, since one persona has few records of a label."
    )
    caption = f"F1 of {name} by persona and label, in percent"
    return Table(caption, columns, rows, [note], folded=True, sortable=True)


def given_by_value(name: str, variant: VariantMetrics, column: str) -> Table:
    """Return how often a variant gave each label, by value of a column, in percent."""
    rows = [
        [
            Cell(value, value),
            Cell(count(part.overall.answered_rows), part.overall.answered_rows),
            *map(_given, part.labels.values()),
        ]
        for value, part in values_of(variant, column).items()
    ]
    titles, rows = _narrower([column.capitalize(), "Answers", *variant.labels], rows)
    columns = [Column(titles[0], "text"), *map(Column, titles[1:])]
    caption = f"Share of answers of {name} with each label by {column}, in percent"
    note = "Their intervals, where they have any, are in metrics.json."
    return Table(caption, columns, rows, [note], folded=len(rows) > _MANY, sortable=True)


def _narrower(titles: list[str], rows: list[list[Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """Turn a table with a column for each of many labels, where that makes it narrower."""
    if len(titles) <= _WIDE or len(rows) + 1 >= len(titles):
        return titles, rows
    turned = [
        [Cell(title, title), *cells]
        for title, *cells in zip(titles[1:], *(row[1:] for row in rows), strict=True)
    ]
    return ["Label", *(row[0].text for row in rows)], turned


def _given(label: LabelMetrics) -> Cell:
    rate = label.predicted_rate
    if rate is None:
        return undefined("no usable answer")
    return Cell(f"{100 * rate.value:.1f}", rate.value)


def _whole(label: LabelMetrics) -> Cell:
    if label.f1 is None:
        return f1_cell(label)
    text = f"{100 * label.f1.value:.0f}"
    return Cell(f"({text})" if label.support < FEW_POSITIVES else text, label.f1.value)
