"""The labels that two runs both have, and predictions brought down to these."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.errors import RunError
from medsent.predictions import gold_type, prediction_type
from medsent.runs.folder import RunFolder


@dataclass(frozen=True)
class SharedLabels:
    """What two runs have in common, and what only one of them has."""

    names: tuple[str, ...]
    """The labels of both, in the order of the second run."""
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()

    @classmethod
    def of(cls, first: RunFolder, second: RunFolder) -> "SharedLabels":
        """Read the labels of two runs. Raises `RunError` where they have none in common."""
        before, now = (predictions.labels_of(run.predictions) for run in (first, second))
        names = tuple(label for label in now if label in before)
        if not names:
            raise RunError(
                f"{first.path} and {second.path} have no label in common, so there is nothing to "
                "compare; name a run of the same label file"
            )
        return cls(
            names,
            tuple(label for label in before if label not in now),
            tuple(label for label in now if label not in before),
        )

    def left_out(self, first: str, second: str) -> dict[str, list[str]]:
        """Return the labels that only one has, under the name of that one; nothing where none."""
        alone = {first: list(self.only_first), second: list(self.only_second)}
        return {name: labels for name, labels in alone.items() if labels}

    def told(self, first: str, second: str) -> list[str]:
        """Say for each of the two which labels only it has."""
        return [
            f"Labels left out, which only {name} has: {', '.join(labels)}."
            for name, labels in self.left_out(first, second).items()
        ]


def narrow_gold(column: pa.StructArray, labels: Sequence[str]) -> pa.StructArray:
    """Return a gold column of these labels alone, in this order."""
    return _narrowed(column, gold_type(labels))


def narrow_answers(column: pa.StructArray, labels: Sequence[str]) -> pa.StructArray:
    """Return a variant's column of these labels alone; a field that it lacks is null."""
    return _narrowed(column, prediction_type(labels))


def _narrowed(column: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    parts = []
    for field in kind:
        if column.type.get_field_index(field.name) < 0:
            parts.append(pa.nulls(len(column), field.type))
            continue
        part = pc.struct_field(column, field.name)
        parts.append(_narrowed(part, field.type) if pa.types.is_struct(field.type) else part)
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=column.is_null())
