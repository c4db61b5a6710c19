"""The tables of probabilities: how they rank, and how far they can be believed."""

from collections.abc import Mapping
from typing import Final, Literal

from medsent.metrics.calibration import Calibration, LabelCalibration
from medsent.metrics.format import count, decimals
from medsent.metrics.model import Metrics
from medsent.report.definitions import FEW_POSITIVES
from medsent.report.document import Cell, Column, Table, undefined

_Name = Literal["average_precision", "auroc", "brier", "ece"]

_FIGURES: Final[tuple[tuple[_Name, str], ...]] = (
    ("average_precision", "Average precision"),
    ("auroc", "AUROC"),
    ("brier", "Brier"),
    ("ece", "ECE"),
)
"""Name in the model, which is that of its definition, and title."""

_RANKS: Final = ("average_precision", "auroc")
_NOT_RANKED: Final = "it takes both records that have the label in gold and records that do not"
_NO_RECORD: Final = "no record with both gold and a probability"

_NO_INTERVALS: Final = (
    "These figures have no intervals: the bootstrap's replicates hold labels, not probabilities. "
    "They describe these records, and move by chance. Ranking figures move more where there are "
    "fewer positives. Even for perfect probabilities the ECE lies above 0, at about 0.04 on 60 "
    "opinions and half of that on four times as many."
)


def calibrated(metrics: Metrics) -> dict[str, Calibration]:
    """Return what is known of each variant's probabilities, for those that give any."""
    return {
        name: variant.calibration
        for name, variant in metrics.variants.items()
        if variant.calibration is not None
    }


def mean_calibration(sides: Mapping[str, Calibration]) -> Table:
    """Return the means over the labels, one column a variant."""
    rows = [
        [
            Cell(title, define=name),
            *(_figure(getattr(side, f"macro_{name}"), name) for side in sides.values()),
        ]
        for name, title in _FIGURES
    ]
    columns = [Column("Mean over the labels", "text"), *map(Column, sides)]
    return Table("Probabilities, all labels", columns, rows, [_NO_INTERVALS])


def label_calibration(sides: Mapping[str, Calibration]) -> Table:
    """Return the figures of each label, the variants side by side."""
    labels = next(iter(sides.values())).labels
    rows = [
        [
            _label(label, [side.labels[label] for side in sides.values()]),
            *(cell for side in sides.values() for cell in _cells(side.labels[label])),
        ]
        for label in labels
    ]
    columns = [Column("Label", "text")]
    for variant in sides:
        columns += [Column(title, group=variant, define=name) for name, title in _FIGURES]
        columns.append(Column("Positives", group=variant, define="gold"))
        columns.append(Column("Records", group=variant, define="record"))
    return Table("Probabilities by label", columns, rows, [_NO_INTERVALS], sortable=True)


def _label(label: str, found: list[LabelCalibration]) -> Cell:
    few = min(each.positives for each in found) < FEW_POSITIVES
    return Cell(label, label, tag="few positives" if few else None)


def _cells(label: LabelCalibration) -> list[Cell]:
    figures = [_figure(getattr(label, name), name) for name, _ in _FIGURES]
    return [*figures, *(Cell(count(each), each) for each in (label.positives, label.records))]


def _figure(value: float | None, name: _Name) -> Cell:
    if value is None:
        return undefined(_NOT_RANKED if name in _RANKS else _NO_RECORD)
    return Cell(decimals(value), value)
