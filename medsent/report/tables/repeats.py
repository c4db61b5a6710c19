"""What asking the same records again changed: by variant, by label, and for each difference."""

from collections.abc import Iterator, Sequence
from typing import Final

from medsent.metrics.estimate import over
from medsent.metrics.format import count, counted, percent, points
from medsent.metrics.model import Metrics
from medsent.metrics.repeats import RepeatedChange, RepeatedComparison, Repeats, Spread
from medsent.report.document import Block, Cell, Column, Table, Text, undefined
from medsent.report.tables.cells import share_cell

_AVERAGES: Final = {
    "macro_f1": "Macro F1",
    "macro_f1_supported": "Macro F1 over the labels with enough opinions",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "samples_f1": "Samples F1",
    "hamming_accuracy": "Hamming accuracy",
    "subset_accuracy": "Subset accuracy",
    "generation_success_rate": "Generation success rate",
}
_OF_LABELS: Final = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
_NONE: Final = "undefined at one of the times at least"


def repeat_tables(metrics: Metrics) -> Iterator[Block]:
    """Yield the tables of the repeats, where a run has any."""
    repeats = metrics.repeats
    if repeats is None:
        return
    yield Text(_basis(repeats))
    if not repeats.records:
        return
    yield _by_variant(repeats)
    for pair in repeats.comparisons:
        yield _differences(pair)
    yield _averages(repeats)
    for name in repeats.variants:
        yield _by_label(repeats, name)


def _basis(repeats: Repeats) -> str:
    """Say which records are compared, and what was left out."""
    runs = ", ".join(repeats.runs)
    records = counted(repeats.records, "record")
    told = f"{records}, each asked {repeats.times} times: here and in {runs}."
    if repeats.left_out:
        told += f" {count(repeats.left_out)} scored here are not in every repeat, and left out."
    if repeats.unfinished:
        told += f" Not complete, and left out: {', '.join(repeats.unfinished)}."
    return told


def _by_variant(repeats: Repeats) -> Table:
    columns = [
        Column("Variant", "text"),
        Column("Answered each time"),
        Column("Records that flipped", define="repeats"),
        Column("Share"),
        Column("Labels that flipped", define="repeats"),
        Column("Answered at some times only"),
    ]
    rows = [
        [
            Cell(name),
            _number(each.answered),
            _number(each.flipped),
            share_cell(over(each.flipped, each.answered), "no record was answered each time"),
            _number(each.flips),
            _number(each.sometimes_answered),
        ]
        for name, each in repeats.variants.items()
    ]
    return Table("The same records, asked again", columns, rows)


def _differences(pair: RepeatedComparison) -> Table:
    changes = {title: pair.overall[key] for key, title in _AVERAGES.items()}
    changes |= {f"F1 of {label}": each for label, each in pair.labels.items()}
    columns = [
        Column("Figure", "text"),
        Column("Difference, points"),
        Column("Repeats moved it by at most", define="repeats"),
        Column("Larger than that", "text"),
    ]
    rows = [[Cell(title), *_difference(each)] for title, each in changes.items()]
    caption = f"Differences beside what repeats moved: {pair.candidate} against {pair.baseline}"
    return Table(caption, columns, rows, folded=True)


def _difference(change: RepeatedChange) -> list[Cell]:
    value, moved = change.difference, change.moved
    if value is None or moved is None:
        return [undefined(_NONE) for _ in range(3)]
    larger = "yes" if abs(value) > moved else "no"
    return [Cell(points(value), value), Cell(f"{100 * moved:.1f}", moved), Cell(larger)]


def _averages(repeats: Repeats) -> Table:
    columns = [Column("Figure", "text"), *(Column(name) for name in repeats.variants)]
    rows = [
        [Cell(title), *(_spread(each.overall[key]) for each in repeats.variants.values())]
        for key, title in _AVERAGES.items()
        if key != "macro_f1_supported"  # over which labels is said of two variants together
    ]
    return Table("Averages, lowest to highest of these times", columns, rows, folded=True)


def _by_label(repeats: Repeats, name: str) -> Table:
    columns = [
        Column("Label", "text"),
        Column("Flips", define="repeats"),
        *(Column(title) for title in _OF_LABELS.values()),
    ]
    rows: list[Sequence[Cell]] = [
        [Cell(label), _number(each.flips), *(_spread(each.figures[key]) for key in _OF_LABELS)]
        for label, each in repeats.variants[name].labels.items()
    ]
    caption = f"Labels of {name}, lowest to highest of these times"
    return Table(caption, columns, rows, folded=True, sortable=True)


def _spread(spread: Spread) -> Cell:
    if spread.low is None:
        return undefined(_NONE)
    low, high = percent(spread.low), percent(spread.high)
    return Cell(low if low == high else f"{low} to {high}", spread.low)


def _number(number: int) -> Cell:
    return Cell(count(number), number)
