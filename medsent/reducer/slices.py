"""Slices: the groups of rows that have one value in one column."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.errors import ConfigError
from medsent.reducer.counts import Ints

SliceKey: TypeAlias = tuple[str, str]
"""A column and a value of it, or `ALL`."""

ALL: Final[SliceKey] = ("", "")
NULL: Final = "none"

MAX_VALUES: Final = 256
"""A column with more has no slices at all: one costs some 10 kB a variant, and which of them were
to be left out would depend on the order in which values come."""

MAX_RESAMPLED: Final = 40
"""A column with more values has no intervals: a slice's replicates take 0.7 MB a variant
with 21 labels."""


@dataclass(frozen=True)
class Grouping:
    """Rows grouped by one column: group `codes[i]` of row i has the key `keys[codes[i]]`."""

    keys: list[SliceKey]
    codes: Ints


def groupings(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[Grouping]:
    """Yield all rows as one group, then the rows grouped by each column.

    Values are compared as text; a null is `none`, as is the text "none". Raises
    `ConfigError` for a column that is not there or holds no plain values.
    """
    yield Grouping([ALL], np.zeros(batch.num_rows, dtype=np.int64))
    for column in columns:
        yield _by_column(batch, column)


def is_crowded(column: str, keys: Iterable[SliceKey]) -> bool:
    """Tell whether a column has more than `MAX_VALUES` distinct values among some keys."""
    return sum(name == column for name, _ in keys) > MAX_VALUES


def _by_column(batch: pa.RecordBatch, column: str) -> Grouping:
    if column not in batch.schema.names:
        raise ConfigError(
            f"statistics.slices: the predictions have no column {column!r}; "
            "name it in input.keep, or take it out"
        )
    try:
        text = pc.cast(batch[column], pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ConfigError(
            f"statistics.slices: column {column!r} is {batch[column].type}; "
            "slice by a column of plain values"
        ) from None
    encoded = pc.dictionary_encode(pc.fill_null(text, NULL))
    keys = [(column, str(value)) for value in encoded.dictionary.to_pylist()]
    return Grouping(keys, np.asarray(encoded.indices, dtype=np.int64))
