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

    Forms: a column `labels` that is a struct of L numbers or a list of label names,
    or L columns named after the labels. Above 0 is 1, 0 is 0, null or negative is
    missing. Raises `InputError` for another type or an unknown label name.
    """
    matrix, unknown = read_gold(table, labels)
    if unknown.any():
        raise InputError(
            f"column 'labels', row {int(unknown.argmax())}: it names something that is no label "
            f"of ours; the labels are {', '.join(labels)}"
        )
    return matrix


def read_gold(table: pa.Table | pa.RecordBatch, labels: Sequence[str]) -> tuple[Gold | None, Mask]:
    """Return what `gold_matrix` does and, (N,), which rows name an unknown label.

    Those rows are missing throughout. Raises `InputError` for another type.
    """
    names = table.schema.names
    known = np.zeros(table.num_rows, dtype=np.bool_)
    if "labels" in names:
        column = table["labels"]
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            return _from_names(column, labels)
        return _from_column(column, labels), known
    if set(labels) <= set(names):
        return np.stack([_votes(table[label]) for label in labels], axis=1), known
    return None, known


def _from_column(column: pa.Array, labels: Sequence[str]) -> Gold | None:
    if pa.types.is_struct(column.type):
        return _from_struct(column, labels)
    if pa.types.is_null(column.type):
        return None
    raise InputError(
        f"column 'labels' is {column.type}; it must be a struct of the labels or a list of "
        "their names"
    )


def _from_struct(column: pa.StructArray, labels: Sequence[str]) -> Gold:
    fields = {field.name for field in column.type}
    absent = [label for label in labels if label not in fields]
    if absent:
        raise InputError(f"column 'labels' has no field {absent[0]!r}; it must have every label")
    matrix = np.stack([_votes(pc.struct_field(column, label)) for label in labels], axis=1)
    matrix[column.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return matrix


def _votes(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int8]:
    """Above 0 is 1, 0 is 0, null and negative are missing."""
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_boolean(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_null(column.type)
    ):
        raise InputError(f"a label's values are {column.type}; they must be integers")
    values = pc.fill_null(pc.cast(column, pa.float64()), float(MISSING))
    numbers = np.nan_to_num(np.asarray(values), nan=MISSING)
    return np.where(numbers > 0, 1, np.where(numbers == 0, 0, MISSING)).astype(np.int8)


def _from_names(column: pa.ListArray, labels: Sequence[str]) -> tuple[Gold, Mask]:
    rows = np.asarray(pc.list_parent_indices(column))
    names = pc.cast(pc.list_flatten(column), pa.string())
    found = pc.index_in(names, value_set=pa.array(labels))
    positions = np.asarray(pc.fill_null(found, MISSING))
    unknown = np.zeros(len(column), dtype=np.bool_)
    unknown[rows[positions == MISSING]] = True
    matrix = np.zeros((len(column), len(labels)), dtype=np.int8)
    matrix[rows[positions >= 0], positions[positions >= 0]] = 1
    matrix[unknown | np.asarray(column.is_null())] = MISSING
    return matrix, unknown
