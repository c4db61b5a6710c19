"""Slices: the groups of rows that have one value in one column."""

from collections.abc import Iterator, Sequence
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

# Each slice costs some 10 kB a variant. Lumping the surplus into one slice would make it depend on
# the order in which values arrive, and the state must not: more than this is an error.
MAX_VALUES: Final = 256

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


def check_values(keys: Iterator[SliceKey] | Sequence[SliceKey], columns: Sequence[str]) -> None:
    """Raise `ConfigError` where a column has more than `MAX_VALUES` distinct values."""
    names = [column for column, _ in keys]
    for column in columns:
        if names.count(column) > MAX_VALUES:
            raise ConfigError(
                f"statistics.slices: column {column!r} has more than {MAX_VALUES} distinct "
                "values; slice by a column with fewer"
            )


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
