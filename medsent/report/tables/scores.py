"""The tables of scores: averages, labels, and how the labels' changes are spread."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from medsent.metrics.estimate import Estimate, Estimated
from medsent.metrics.format import UNDEFINED, count, p_value
from medsent.metrics.model import (
    Change,
    Comparison,
    LabelMetrics,
    Metrics,
    OverallMetrics,
    VariantMetrics,
)
from medsent.metrics.statistics.comparisons import ChangeKind
from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import Cell, Column, Table, undefined
from medsent.report.tables.cells import (
    NEVER_GIVEN,
    NO_POSITIVES,
    NONE_IN_GOLD,
    NOTHING_COMPARED,
    difference_cell,
    estimate_cell,
    f1_cell,
    p_cell,
    reason_of,
    relative_cell,
    share_cell,
)

# Name in the model, title, definition.
_AVERAGES: Final[tuple[tuple[str, str, str], ...]] = (
    ("generation_success_rate", "Generation success rate", "success"),
    ("accuracy", "Accuracy, mean over labels", "accuracy"),
    ("macro_f1", "Macro F1", "macro"),
    ("macro_f1_supported", "Macro F1, labels with enough opinions", "supported"),
    ("macro_precision", "Macro precision", "macro"),
    ("macro_recall", "Macro recall", "macro"),
    ("micro_f1", "Micro F1", "micro"),
    ("micro_precision", "Micro precision", "micro"),
    ("micro_recall", "Micro recall", "micro"),
    ("weighted_f1", "Weighted F1", "weighted"),
    ("weighted_precision", "Weighted precision", "weighted"),
    ("weighted_recall", "Weighted recall", "weighted"),
    ("samples_f1", "Samples F1", "samples"),
    ("samples_precision", "Samples precision", "samples"),
    ("samples_recall", "Samples recall", "samples"),
    ("hamming_accuracy", "Hamming accuracy", "hamming"),
    ("subset_accuracy", "Subset accuracy", "subset"),
)

_FIGURES: Final[tuple[tuple[Literal["f1", "precision", "recall"], str], ...]] = (
    ("f1", "Macro F1"),
    ("precision", "Macro precision"),
    ("recall", "Macro recall"),
)

_DEFINED: Final = {
    "F1": "f1",
    "Precision": "precision",
    "Recall": "recall",
    "Accuracy": "accuracy",
}

_KINDS: Final[tuple[tuple[ChangeKind, str], ...]] = (
    ("over_50", "Better by more than 50%"),
    ("from_10_to_50", "Better by 10% to 50%"),
    ("from_0_to_10", "Better by less than 10%"),
    ("from_zero", "Better, from zero"),
    ("unchanged", "Unchanged"),
    ("worse", "Worse"),
    ("undefined", "Undefined"),
)


def compared_averages(comparison: Comparison) -> Table:
    """Return the overall table of a comparison."""
    rows = [
        [
            Cell(title, define=define),
            share_cell(change.baseline, _undefined_average(name)),
            share_cell(change.candidate, _undefined_average(name)),
            difference_cell(change),
            p_cell(change, corrected=False),
            relative_cell(change),
        ]
        for name, title, define in _AVERAGES
        if (change := comparison.overall.get(name)) is not None
    ]
    columns = [
        Column("Figure", "text"),
        Column(comparison.baseline),
        Column(comparison.candidate),
        Column("Difference, points", define="difference"),
        Column("p", define="p"),
        Column("Relative improvement", define="relative"),
    ]
    note = (
        f"On the {count(comparison.records)} records that both answered, the generation success "
        "rate on all. Below each difference its 95% interval."
    )
    return Table(f"{comparison.candidate} against {comparison.baseline}", columns, rows, [note])


def single_averages(metrics: Metrics) -> Table:
    """Return the overall table of a run without a comparison, one column a variant."""
    rows = [
        [
            Cell(title, define=define),
            *(
                estimate_cell(getattr(variant.overall, name), _undefined_average(name))
                for variant in metrics.variants.values()
            ),
        ]
        for name, title, define in _AVERAGES
    ]
    columns = [Column("Figure", "text"), *(Column(name) for name in metrics.variants)]
    note = "Each variant on all records that it answered, with 95% intervals."
    return Table("Overall figures by variant", columns, rows, [note])


def _undefined_average(name: str) -> str:
    if name == "generation_success_rate":
        return "no record scored"
    if name == "macro_f1_supported":
        return "no label with enough opinions"
    if name.startswith(("macro", "weighted")):
        return "undefined for every label"
    if name.startswith("samples"):
        return "undefined for every record"
    return NO_POSITIVES if name.startswith("micro") else NOTHING_COMPARED


def macro_rules(metrics: Metrics) -> Table:
    """Return the macro averages with undefined left out, as 0 and as 1."""
    rows = [
        row for name, variant in metrics.variants.items() for row in _rules(name, variant.overall)
    ]
    columns = [
        Column("Average", "text"),
        Column("Variant", "text"),
        Column("Left out", group="Undefined counted as"),
        Column("0", group="Undefined counted as"),
        Column("1", group="Undefined counted as"),
        Column("Labels left out", "text"),
    ]
    return Table("Macro averages under each rule for undefined labels", columns, rows)


def _rules(variant: str, overall: OverallMetrics) -> Iterator[list[Cell]]:
    for figure, title in _FIGURES:
        name = f"macro_{figure}"
        names = (name, f"{name}_undefined_as_0", f"{name}_undefined_as_1")
        yield [
            Cell(title, define="macro"),
            Cell(variant),
            *(_average_cell(getattr(overall, each), each) for each in names),
            Cell(", ".join(overall.left_out.get(figure, [])) or "none"),
        ]


def _average_cell(figure: Estimated | float, name: str) -> Cell:
    if isinstance(figure, Estimate):
        return estimate_cell(figure, _undefined_average(name))
    return share_cell(figure, _undefined_average(name))


def compared_labels(metrics: Metrics, comparison: Comparison) -> Table:
    """Return the table of labels, baseline beside candidate."""
    base = metrics.variants[comparison.baseline]
    candidate = metrics.variants[comparison.candidate]
    # Only where each opinion has one record is there such a test.
    single = any(change.mcnemar_p is not None for change in comparison.labels.values())
    rows = [
        _label_row(label, base.labels[label], candidate.labels[label], change, single)
        for label, change in comparison.labels.items()
    ]
    pair = (comparison.baseline, comparison.candidate)
    columns = [
        Column("Label", "text"),
        Column("Positives", define="gold"),
        Column("Prevalence", define="prevalence"),
        *(Column(name, group="F1") for name in pair),
        Column("Difference, points", group="F1", define="difference"),
        Column("p, corrected", group="F1", define="p"),
        Column("Detectable, points", group="F1", define="detectable"),
        Column("Relative improvement", group="F1", define="relative"),
        *(Column(name, group="Precision") for name in pair),
        *(Column(name, group="Recall") for name in pair),
        *(Column(name, group="Accuracy") for name in pair),
        *([Column("McNemar's p", group="Accuracy", define="mcnemar")] if single else []),
    ]
    return Table(
        f"Labels: {comparison.candidate} against {comparison.baseline}",
        columns,
        rows,
        _few_note(rows),
        sortable=True,
        group_definitions=_DEFINED,
    )


def _label_row(
    label: str, base: LabelMetrics, candidate: LabelMetrics, change: Change, single: bool
) -> list[Cell]:
    return [
        _label_cell(label, base, candidate),
        _support_cell(base, candidate),
        estimate_cell(candidate.prevalence, NOTHING_COMPARED),
        f1_cell(base),
        f1_cell(candidate),
        difference_cell(change),
        p_cell(change),
        _detectable(change),
        relative_cell(change),
        *(
            estimate_cell(each.precision, reason_of(each, NEVER_GIVEN))
            for each in (base, candidate)
        ),
        *(estimate_cell(each.recall, reason_of(each, NONE_IN_GOLD)) for each in (base, candidate)),
        *(estimate_cell(each.accuracy, NOTHING_COMPARED) for each in (base, candidate)),
        *([Cell(p_value(change.mcnemar_p), change.mcnemar_p)] if single else []),
    ]


def _detectable(change: Change) -> Cell:
    if change.detectable is None:
        return Cell(UNDEFINED)
    return Cell(f"{100 * change.detectable:.1f}", change.detectable)


def _label_cell(label: str, *variants: LabelMetrics) -> Cell:
    few = min(variant.support for variant in variants) < FEW_POSITIVES
    return Cell(label, label, tag="few positives" if few else None)


def _support_cell(base: LabelMetrics, candidate: LabelMetrics) -> Cell:
    if base.support == candidate.support:
        return Cell(count(candidate.support), candidate.support)
    # The two answered different records.
    return Cell(f"{count(base.support)} / {count(candidate.support)}", candidate.support)


def _few_note(rows: Sequence[Sequence[Cell]]) -> list[str]:
    if not any(row[0].tag for row in rows):
        return []
    return [
        f"Few positives: under {FEW_POSITIVES} in gold. One record more or less moves such a "
        "label's F1 by several points."
    ]


def single_labels(metrics: Metrics) -> Table:
    """Return the table of labels of a run without a comparison."""
    names, variants = list(metrics.variants), list(metrics.variants.values())
    rows = [
        _single_row(label, [variant.labels[label] for variant in variants])
        for label in (variants[0].labels if variants else ())
    ]
    columns = [
        Column("Label", "text"),
        Column("Positives", define="gold"),
        Column("Prevalence", define="prevalence"),
        *(
            Column(figure, group=name, define=define)
            for name in names
            for figure, define in _DEFINED.items()
        ),
    ]
    return Table("Labels by variant", columns, rows, _few_note(rows), sortable=True)


def _single_row(label: str, variants: list[LabelMetrics]) -> list[Cell]:
    cells = [
        _label_cell(label, *variants),
        _support_cell(variants[0], variants[-1]),
        estimate_cell(variants[-1].prevalence, NOTHING_COMPARED),
    ]
    for each in variants:
        cells += [
            f1_cell(each),
            estimate_cell(each.precision, reason_of(each, NEVER_GIVEN)),
            estimate_cell(each.recall, reason_of(each, NONE_IN_GOLD)),
            estimate_cell(each.accuracy, NOTHING_COMPARED),
        ]
    return cells


def label_counts(name: str, variant: VariantMetrics) -> Table:
    """Return one variant's counts and further figures by label."""
    rows = [
        [
            Cell(label, label),
            *(
                Cell(count(number), number)
                for number in (each.tp, each.fp, each.fn, each.tn, each.missing, each.unanswered)
            ),
            estimate_cell(each.predicted_rate, "no usable answer"),
            estimate_cell(each.specificity, reason_of(each, "no negative in gold")),
            _mcc_cell(each),
        ]
        for label, each in variant.labels.items()
    ]
    titles = ("TP", "FP", "FN", "TN", "No gold", "No answer", "Given", "Specificity", "MCC")
    columns = [Column("Label", "text"), *(Column(title) for title in titles)]
    note = (
        "TP + FP + FN + TN + no gold + no answer = records scored. Given: share of the answers "
        "with the label. Specificity: of the records without the label in gold, the share not "
        "given it. MCC: Matthews correlation, −1 to 1, 0 for a guess."
    )
    return Table(f"Counts by label: {name}", columns, rows, [note], folded=True, sortable=True)


def _mcc_cell(label: LabelMetrics) -> Cell:
    if label.mcc is None:
        return undefined(reason_of(label, "gold or answers are all yes or all no"))
    return Cell(f"{label.mcc:.3f}".replace("-", "−"), label.mcc)


def given_labels(metrics: Metrics) -> Table:
    """Return how often each variant gave each label: all there is to say without gold."""
    labels = dict.fromkeys(label for each in metrics.variants.values() for label in each.labels)
    rows = [
        [
            Cell(label, label),
            *(
                estimate_cell(each.labels[label].predicted_rate, "no usable answer")
                for each in metrics.variants.values()
            ),
        ]
        for label in labels
    ]
    columns = [Column("Label", "text"), *map(Column, metrics.variants)]
    return Table("Share of answers with each label", columns, rows, sortable=True)


def spread(comparison: Comparison) -> Table:
    """Return how many labels changed by how much, and which."""
    by_kind = {
        kind: [label for label, change in comparison.labels.items() if change.kind == kind]
        for kind, _ in _KINDS
    }
    numbers = {kind: getattr(comparison.distribution, kind) for kind, _ in _KINDS}
    rows = [
        [Cell(title), Cell(count(numbers[kind])), Cell(", ".join(by_kind[kind]))]
        for kind, title in _KINDS
    ]
    rows.append([Cell("All labels"), Cell(count(sum(numbers.values()))), Cell("")])
    columns = [
        Column("Relative improvement of F1", "text", define="relative"),
        Column("Labels"),
        Column("Which", "text"),
    ]
    caption = f"Labels by improvement: {comparison.candidate} against {comparison.baseline}"
    return Table(caption, columns, rows)
