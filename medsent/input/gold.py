"""Gold labels in any of their three forms, as one int8 matrix."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.errors import InputError

MISSING = -1

Gold = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]


def gold_matrix(table: pa.Table | pa.RecordBatch, labels: Sequence[str]) -> Gold | None:
    """Return (N, L) of 1, 0 or -1 (missing); None where the rows carry no labels.

    Forms: a column `labels` that is a struct of L votes or a list of label names,
    or L columns of votes named after the labels. A vote is 1 or 0; null or negative is
    missing. Raises `InputError` for another type, an unknown label name or another vote.
    """
    matrix, wrong = read_gold(table, labels)
    if wrong.any():
        raise InputError(
            f"gold labels, row {int(wrong.argmax())}: it names something that is no label of ours, "
            f"or a vote is neither 0 nor 1; the labels are {', '.join(labels)}"
        )
    return matrix


def read_gold(
    table: pa.Table | pa.RecordBatch, labels: Sequence[str], cut: float | None = None
) -> tuple[Gold | None, Mask]:
    """Return what `gold_matrix` does and, (N,), which rows hold what is no label and no vote.

    Those rows are missing throughout. With a cut a vote may be any number: 1 from the cut on,
    0 from 0 on, else missing. Raises `InputError` for another type.
    """
    names = table.schema.names
    if "labels" in names:
        column = table["labels"]
        return _from_column(
            column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, labels, cut
        )
    if set(labels) <= set(names):
        return _from_votes([table[label] for label in labels], cut)
    return _none(table.num_rows)


def votes_of(
    table: pa.Table | pa.RecordBatch, labels: Sequence[str]
) -> npt.NDArray[np.float64] | None:
    """Return (N, L) votes as they stand, NaN where there is none; None where gold is names."""
    names = table.schema.names
    if "labels" not in names:
        columns = [table[label] for label in labels] if set(labels) <= set(names) else None
    elif pa.types.is_struct(table.schema.field("labels").type):
        columns = [pc.struct_field(table["labels"], label) for label in labels]
    else:
        columns = None
    return None if columns is None else _stacked(columns)


def is_names(kind: pa.DataType) -> bool:
    """Tell whether a type is a list of any of Arrow's kinds."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def is_vote(kind: pa.DataType) -> bool:
    """Tell whether values of a type can say yes or no to a label."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def _none(rows: int) -> tuple[None, Mask]:
    return None, np.zeros(rows, np.bool_)


def _from_column(
    column: pa.Array, labels: Sequence[str], cut: float | None
) -> tuple[Gold | None, Mask]:
    if is_names(column.type):
        return _from_names(column, labels)
    if pa.types.is_struct(column.type):
        return _from_struct(column, labels, cut)
    if pa.types.is_null(column.type):
        return _none(len(column))
    raise InputError(
        f"column 'labels' is {column.type}; it must be a struct of the labels or a list of "
        "their names"
    )


def _from_struct(
    column: pa.StructArray, labels: Sequence[str], cut: float | None
) -> tuple[Gold, Mask]:
    fields = {field.name for field in column.type}
    absent = [label for label in labels if label not in fields]
    if absent:
        raise InputError(f"column 'labels' has no field {absent[0]!r}; it must have every label")
    return _from_votes([pc.struct_field(column, label) for label in labels], cut)


def _from_votes(
    columns: Sequence[pa.Array | pa.ChunkedArray], cut: float | None
) -> tuple[Gold, Mask]:
    """1 is 1, 0 is 0, null and negative are missing; a share, a count or a grade needs a cut."""
    votes = _stacked(columns)
    if cut is None:
        odd = np.isinf(votes) | (votes > np.floor(votes)) | (votes > 1)
    else:
        odd = np.isinf(votes)
        truths = [pa.types.is_boolean(column.type) for column in columns]
        votes = np.where(np.asarray(truths), votes, np.where(votes >= cut, 1, np.minimum(votes, 0)))
    wrong: Mask = np.any(odd, axis=1)
    matrix = np.where(votes > 0, 1, np.where(votes == 0, 0, MISSING)).astype(np.int8)
    matrix[wrong] = MISSING
    return matrix, wrong


def _stacked(columns: Sequence[pa.Array | pa.ChunkedArray]) -> npt.NDArray[np.float64]:
    return np.stack([_votes(column) for column in columns], axis=1)


def _votes(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return (N,) numbers, NaN where there is none."""
    if not is_vote(column.type):
        raise InputError(f"a label's values are {column.type}; they must be 0 and 1")
    numbers = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan"))
    return np.asarray(numbers, np.float64)


def _from_names(column: pa.Array, labels: Sequence[str]) -> tuple[Gold, Mask]:
    rows = np.asarray(pc.list_parent_indices(column))
    # As bytes, since a name in a shard need be no UTF-8.
    known = pa.array([label.encode() for label in labels], pa.binary())
    found = pc.index_in(pc.list_flatten(column).cast(pa.binary()), value_set=known)
    positions = np.asarray(pc.fill_null(found, MISSING))
    unknown = np.zeros(len(column), dtype=np.bool_)
    unknown[rows[positions == MISSING]] = True
    matrix = np.zeros((len(column), len(labels)), dtype=np.int8)
    matrix[rows[positions >= 0], positions[positions >= 0]] = 1
    matrix[unknown | np.asarray(column.is_null())] = MISSING
    return matrix, unknown
