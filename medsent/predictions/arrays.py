"""Columns of predictions as arrays for the reducer, and a key of each record."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def record_keys(rows: pa.Table | pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """Return (N,) a key of each record: its row's hash, changed by its persona.

    A row that all personas read has a record for each of them.
    """
    encoded = pc.dictionary_encode(pc.fill_null(rows["persona"], ""))
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    changes = np.array([_persona_key(name) for name in encoded.dictionary.to_pylist()], np.uint64)
    keys: npt.NDArray[np.uint64] = changes[np.asarray(encoded.indices)]
    return keys ^ np.asarray(rows["row_hash"], np.uint64)


def label_matrix(column: pa.StructArray, field: str) -> npt.NDArray[np.int8]:
    """Return a prediction column's `labels` (or a gold struct) as (N, L): 1, 0 or -1 for null.

    The L labels are in the struct's own order. `field` is `labels` for a variant's column;
    pass the gold column with `field=""`.
    """
    struct = pc.struct_field(column, field) if field else column
    values = [_nullable(pc.struct_field(struct, label.name)) for label in struct.type]
    return np.stack(values, axis=1)


def probability_matrix(column: pa.StructArray) -> npt.NDArray[np.float32]:
    """Return a variant column's `probabilities` as (N, L) float32 with NaN for null."""
    struct = pc.struct_field(column, "probabilities")
    columns = [pc.struct_field(struct, label.name) for label in struct.type]
    return np.stack(
        [np.asarray(pc.fill_null(values, float("nan")), dtype=np.float32) for values in columns],
        axis=1,
    )


def label_struct(
    values: npt.NDArray[Any], missing: npt.NDArray[np.bool_], kind: pa.StructType
) -> pa.StructArray:
    """Return (N, L) values as N structs, null where `missing`; a row without values is null."""
    value = kind.field(0).type
    given = np.asfortranarray(values, value.to_pandas_dtype())
    gaps = np.asfortranarray(missing)
    columns = [pa.array(given[:, i], value, mask=gaps[:, i]) for i in range(kind.num_fields)]
    none = pa.array(missing.all(axis=1))
    return pa.StructArray.from_arrays(columns, fields=list(kind), mask=none)


def _persona_key(persona: str) -> int:
    if not persona:
        return 0
    digest = hashlib.blake2b(persona.encode(), digest_size=8, person=b"medsent persona").digest()
    return int.from_bytes(digest, "little")


def _nullable(values: pa.Array) -> npt.NDArray[np.int8]:
    return np.asarray(pc.fill_null(pc.cast(values, pa.int8()), -1), dtype=np.int8)
