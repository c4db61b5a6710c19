"""All nights of a job in one Parquet file, a row a night: verdict, rulings, figures."""

import io
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from medsent.commands.nightly.gate import Gate, Ruling
from medsent.errors import RunError
from medsent.metrics.estimate import Estimate, Figure, Part
from medsent.metrics.model import Metrics
from medsent.runs.folder import RunFolder
from medsent.storage.paths import AnyPath

NIGHTS: Final = "nights.parquet"

_COPIED: Final = {"night", "run", "status", "reference", "last_good", "decision"}
"""What a night has as its gate has it."""
_OVERALL: Final = ("macro_f1", "macro_f1_supported", "micro_f1", "generation_success_rate")
_LABEL: Final = ("f1", "precision", "recall", "prevalence", "predicted_rate")


class NightFigure(Part):
    """One figure of a night."""

    variant: str
    label: str | None
    """None for an overall figure."""
    figure: str
    """Its name in `metrics.json`."""
    value: float
    low: Figure
    high: Figure


class Night(Part):
    """One night: a row of the history."""

    night: date
    """The key: the same night again takes the row's place."""
    run: str
    """The run folder, beside the history's own; empty for a night that failed."""
    status: str
    """`open` or `closed`, or `failed` for a night without a verdict."""
    reference: str | None
    last_good: str | None
    records: int
    quarantined: int
    rules: list[Ruling]
    figures: list[NightFigure]
    message: str | None = None
    """Why it failed."""
    decision: str | None = None
    """`ship`, `block` or `cannot_tell`; None for a failed night, or one of an earlier version."""

    @classmethod
    def failed(cls, night: date, message: str) -> "Night":
        """Return the row of a night without a verdict."""
        none: dict[str, Any] = {"reference": None, "last_good": None, "rules": [], "figures": []}
        counts = {"records": 0, "quarantined": 0}
        return cls(night=night, run="", status="failed", message=message, **none, **counts)

    @classmethod
    def of(cls, gate: Gate, metrics: Metrics) -> "Night":
        """Return the row of a night that was judged."""
        return cls(
            **gate.model_dump(include=_COPIED),
            records=metrics.records.input,
            quarantined=metrics.records.quarantined,
            rules=gate.rules,
            figures=list(_figures(metrics)),
        )

    def figure(self, variant: str, name: str) -> NightFigure | None:
        """Return an overall figure; None where it was undefined."""
        found = (each for each in self.figures if (each.variant, each.label) == (variant, None))
        return next((each for each in found if each.figure == name), None)


_STRING: Final = pa.string()
_ENDS: Final = [("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64())]
_RULING: Final = [
    *((name, _STRING) for name in ("rule", "status", "variant", "subject", "against")),
    *_ENDS,
    ("limit", pa.float64()),
    ("message", _STRING),
    ("decision", _STRING),
]
_FIGURE: Final = [*((name, _STRING) for name in ("variant", "label", "figure")), *_ENDS]
SCHEMA: Final = pa.schema(
    [
        ("night", pa.date32()),
        *((name, _STRING) for name in ("run", "status", "reference", "last_good")),
        ("records", pa.int64()),
        ("quarantined", pa.int64()),
        ("rules", pa.list_(pa.struct(_RULING))),
        ("figures", pa.list_(pa.struct(_FIGURE))),
        ("message", _STRING),
        ("decision", _STRING),
    ]
)


class History:
    """The nights of one job, in `<output>/<name>-history/`."""

    def __init__(self, output: AnyPath, name: str) -> None:
        self.output, self.name = output, name
        self.folder = RunFolder(output / f"{name}-history")

    def read(self) -> list[Night]:
        """Return the nights, oldest first. Raises `RunError` where the file is damaged."""
        file = self.folder.path / NIGHTS
        if not file.exists():
            return []
        try:
            rows = pq.read_table(io.BytesIO(file.read_bytes())).to_pylist()
            return TypeAdapter(list[Night]).validate_python(rows)
        except (pa.ArrowException, ValidationError) as error:
            raise RunError(
                f"{file} is damaged or of another version; move it away for a history from now on"
            ) from error

    def night(self, of: date) -> Night | None:
        """Return the row of a date; None where it has none."""
        return next((each for each in self.read() if each.night == of), None)

    def add(self, night: Night) -> list[Night]:
        """Write a night into its place, whole or not at all; return all of them."""
        others = [each for each in self.read() if each.night != night.night]
        nights = sorted([*others, night], key=lambda each: each.night)
        table = pa.Table.from_pylist([each.model_dump() for each in nights], SCHEMA)
        data = io.BytesIO()
        pq.write_table(table, data)
        self.folder.write(NIGHTS, data.getvalue())
        return nights

    def run(self, night: Night) -> RunFolder:
        """Return a night's run folder."""
        return RunFolder(self.output / night.run)


def last_good(nights: Sequence[Night], before: date) -> Night | None:
    """Return the last open night before a date."""
    good = [each for each in nights if each.status == "open" and each.night < before]
    return max(good, key=lambda each: each.night, default=None)


def _figures(metrics: Metrics) -> Iterator[NightFigure]:
    for variant, found in metrics.variants.items():
        yield from _of(variant, None, found.overall, _OVERALL)
        if found.cost is not None:
            name = "money_per_million_records"
            amount = found.cost.money_per_million_records
            yield NightFigure(variant=variant, label=None, figure=name, **dict(amount))
        for label, figures in found.labels.items():
            yield from _of(variant, label, figures, _LABEL)


def _of(variant: str, label: str | None, part: Part, names: Sequence[str]) -> Iterator[NightFigure]:
    for name in names:
        estimate: Estimate | None = getattr(part, name)
        if estimate is not None:
            ends = estimate.model_dump(include={"value", "low", "high"})
            yield NightFigure(variant=variant, label=label, figure=name, **ends)
