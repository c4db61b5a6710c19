"""What asking the same records again changed: by variant, by label, and for each difference."""

from collections.abc import Iterator, Sequence

from medsent.metrics.estimate import value_of
from medsent.metrics.findings.repeats import is_within, told, within
from medsent.metrics.format import count, counted, percent, points
from medsent.metrics.headline import headline
from medsent.metrics.model import Change, Comparison, Metrics
from medsent.metrics.repeats import RepeatedVariant, Repeats, Spread
from medsent.report.document import Block, Cell, Column, Table, undefined

_AVERAGES = {
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "samples_f1": "Samples F1",
    "hamming_accuracy": "Labels right",
    "subset_accuracy": "Records all right",
    "generation_success_rate": "Usable answers",
}
_NONE = "undefined at one of the times at least"


def asked_again(metrics: Metrics) -> Iterator[str]:
    """Yield what a command prints of the repeats, where a run has any."""
    if metrics.repeats is None:
        return
    for name, variant in metrics.repeats.variants.items():
        yield f"asked {metrics.repeats.times} times, {name} {told(variant)}"
    for pair in metrics.comparisons:
        if sentence := within(pair):
            yield sentence


def repeat_tables(metrics: Metrics) -> Iterator[Block]:
    """Yield the tables of the repeats, where a run has any."""
    if metrics.repeats is None:
        return
    yield _by_variant(metrics.repeats)
    for pair in metrics.comparisons:
        yield _differences(pair)
    yield _figures(metrics.repeats, metrics.labels)


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
            _share(each.flipped, each.answered),
            _number(sum(label.flips for label in each.labels.values())),
            _number(each.sometimes_answered),
        ]
        for name, each in repeats.variants.items()
    ]
    notes = [
        f"{counted(repeats.records, 'record')}, each asked {repeats.times} times: by this run and "
        f"by {', '.join(repeats.runs)}."
    ]
    if repeats.left_out:
        notes.append(f"{count(repeats.left_out)} of this run are not in every repeat.")
    return Table("The same records, asked again", columns, rows, notes)


def _figures(repeats: Repeats, labels: Sequence[str]) -> Table:
    columns = [
        Column("Figure", "text"),
        *(
            Column(title, group=name, define="repeats")
            for name in repeats.variants
            for title in ("Flips", "Lowest to highest")
        ),
    ]
    variants = repeats.variants.values()
    averages = [
        [
            Cell(title),
            *(cell for each in variants for cell in (Cell(""), _spread(each.overall[key]))),
        ]
        for key, title in _AVERAGES.items()
    ]
    by_label = [
        [Cell(f"F1 of {label}"), *(cell for each in variants for cell in _label(each, label))]
        for label in labels
    ]
    return Table("Figures at each time", columns, averages + by_label, folded=True)


def _label(variant: RepeatedVariant, label: str) -> list[Cell]:
    found = variant.labels[label]
    return [_number(found.flips), _spread(found.f1)]


def _differences(pair: Comparison) -> Table:
    name, change = headline(pair)
    changes = {f"{name[0].upper()}{name[1:]}": change}
    changes |= {title: pair.overall[key] for key, title in _AVERAGES.items()}
    changes |= {f"F1 of {label}": each for label, each in pair.labels.items()}
    columns = [
        Column("Figure", "text"),
        Column("Difference, points"),
        Column("Repeats move it by", define="repeats"),
        Column("It is larger", "text"),
    ]
    rows = [[Cell(title), *_difference(each)] for title, each in changes.items()]
    caption = f"Differences beside what repeats move: {pair.candidate} against {pair.baseline}"
    return Table(caption, columns, rows, folded=True)


def _difference(change: Change) -> list[Cell]:
    value, by = value_of(change.difference), change.moved_by_repeats
    if value is None or by is None:
        return [undefined(_NONE) for _ in range(3)]
    larger = "no" if is_within(change) or not value else "yes"
    return [Cell(points(value), value), Cell(f"{100 * by:.1f}", by), Cell(larger)]


def _spread(spread: Spread) -> Cell:
    if spread.low is None:
        return undefined(_NONE)
    low, high = percent(spread.low), percent(spread.high)
    return Cell(low if low == high else f"{low} to {high}", spread.low)


def _number(number: int) -> Cell:
    return Cell(count(number), number)


def _share(part: int, whole: int) -> Cell:
    if not whole:
        return undefined("no record answered each time")
    return Cell(percent(part / whole), part / whole)
