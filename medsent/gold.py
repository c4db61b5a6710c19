"""Gold labels in any of their three forms, as one int8 matrix."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.errors import InputError
from medsent.labels import LABEL_INDEX, LABELS

MISSING = -1

Gold = npt.NDArray[np.int8]


def gold_matrix(table: pa.Table | pa.RecordBatch) -> Gold | None:
    """Return (N, 21) of 1, 0 or -1 (missing); None where the rows carry no labels.

    Forms: a column `labels` that is a struct of 21 numbers or a list of label names,
    or 21 columns named after the labels. Above 0 is 1, 0 is 0, null or negative is
    missing. Raises `InputError` for another type or an unknown label name.
    """
    names = table.schema.names
    if "labels" in names:
        column = table["labels"]
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        return _from_column(column)
    if set(LABELS) <= set(names):
        return np.stack([_votes(table[label]) for label in LABELS], axis=1)
    return None


def _from_column(column: pa.Array) -> Gold | None:
    kind = column.type
    if pa.types.is_struct(kind):
        return _from_struct(column)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _from_names(column)
    if pa.types.is_null(kind):
        return None
    raise InputError(
        f"column 'labels' is {kind}; it must be a struct of the 21 labels or a list of label names"
    )


def _from_struct(column: pa.StructArray) -> Gold:
    fields = {field.name for field in column.type}
    absent = [label for label in LABELS if label not in fields]
    if absent:
        raise InputError(f"column 'labels' has no field {absent[0]!r}; it must have all 21 labels")
    matrix = np.stack([_votes(pc.struct_field(column, label)) for label in LABELS], axis=1)
    matrix[column.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return matrix


def _votes(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int8]:
    """Above 0 is 1, 0 is 0, null and negative are missing."""
    if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
            or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise InputError(f"a label's values are {column.type}; they must be integers")
    values = pc.fill_null(pc.cast(column, pa.float64()), float(MISSING))
    numbers = np.nan_to_num(np.asarray(values), nan=MISSING)
    return np.where(numbers > 0, 1, np.where(numbers == 0, 0, MISSING)).astype(np.int8)


def _from_names(column: pa.ListArray) -> Gold:
    matrix = np.zeros((len(column), len(LABELS)), dtype=np.int8)
    for row, names in enumerate(column.to_pylist()):
        if names is None:
            matrix[row] = MISSING
            continue
        for name in names:
            if name not in LABEL_INDEX:
                raise InputError(f"column 'labels' names {name!r}, which is no label")
            matrix[row, LABEL_INDEX[name]] = 1
    return matrix
