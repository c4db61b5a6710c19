"""Rows out: the schema of `predictions/*.parquet`, and reading it back for the reducer."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medsent.errors import RunError
from medsent.storage import AnyPath, ObjectPath, open_parquet, write_whole

SCORED, QUARANTINED = "scored", "quarantined"
ROUTED = "routed"
"""The column that names the variant whose answer counts, in a job with a route."""
OK = "ok"

_AHEAD = 8
"""Objects that are read before they are asked for: each costs several round trips."""
_BLOCK_ROWS = 4096

Look = Callable[[pq.ParquetFile], None]


def _pass_by(_: pq.ParquetFile) -> None:
    """Pass a file by."""


KEYS: tuple[str, ...] = (
    "row_hash",
    "path",
    "record_id",
    "opinion_id",
    "language",
    "persona",
    "date",
    "outcome",
    "reason",
    "gold",
)
"""The columns that every run's predictions begin with."""


def gold_type(labels: Sequence[str]) -> pa.StructType:
    """Return the type of the column `gold`: 1, 0 or null for each label."""
    return pa.struct([(label, pa.int8()) for label in labels])


def prediction_type(labels: Sequence[str]) -> pa.StructType:
    """Return the type of a variant's column."""
    return pa.struct(
        [
            ("status", pa.string()),
            ("labels", pa.struct([(label, pa.bool_()) for label in labels])),
            ("probabilities", pa.struct([(label, pa.float32()) for label in labels])),
            ("answer", pa.string()),
            ("prompt_tokens", pa.int32()),
            ("cached_tokens", pa.int32()),
            ("output_tokens", pa.int32()),
            ("latency_s", pa.float32()),
            ("finished_at", pa.timestamp("us", tz="UTC")),
            ("replica", pa.string()),
            ("attempt", pa.int8()),
            ("repaired", pa.bool_()),
        ]
    )


def key_types(labels: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the types of `KEYS`."""
    strings: dict[str, pa.DataType] = dict.fromkeys(KEYS, pa.string())
    others = {"row_hash": pa.uint64(), "date": pa.date32(), "gold": gold_type(labels)}
    return strings | others


def schema(
    variants: Sequence[str],
    labels: Sequence[str],
    kept: Sequence[pa.Field] = (),
    routed: bool = False,
) -> pa.Schema:
    """Return the schema of a run's predictions: keys, kept input columns, a struct a variant.

    With a route a variant is null where it was not asked, and `routed` stands after the keys.
    """
    fields = [pa.field(name, kind) for name, kind in key_types(labels).items()]
    if routed:
        fields.append(pa.field(ROUTED, pa.string()))
    answers = prediction_type(labels)
    return pa.schema([*fields, *kept, *(pa.field(name, answers) for name in variants)])


def labels_of(folder: AnyPath) -> tuple[str, ...]:
    """Return the names of the labels that a run's predictions are of."""
    with open_parquet(files(folder)[0]) as parquet:
        return tuple(field.name for field in parquet.schema_arrow.field("gold").type)


def files(folder: AnyPath) -> list[AnyPath]:
    """Return the Parquet files of a run's `predictions/`, in the order of their names."""
    found: list[AnyPath] = sorted(folder.glob("*.parquet"), key=lambda file: file.name)
    if not found:
        raise RunError(f"{folder} holds no predictions; of old nights they are not kept")
    return found


def table(folder: AnyPath, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of a run's predictions whole, in the order of their file names."""
    return _together(list(batches(folder, columns)))


def batches(
    folder: AnyPath, columns: Sequence[str] | None = None, rows: int = 65_536, look: Look = _pass_by
) -> Iterator[pa.RecordBatch]:
    """Yield the predictions of a run, about so many rows at a time, in the files' order.

    `columns` may name fields of a struct, as `finetuned.status`. Each file is shown to `look`.
    """
    yield from read(files(folder), columns, rows, look)


def read(
    some: Sequence[AnyPath],
    columns: Sequence[str] | None = None,
    rows: int = 65_536,
    look: Look = _pass_by,
) -> Iterator[pa.RecordBatch]:
    """Yield what some files of predictions hold, in the same way."""
    waiting: list[pa.RecordBatch] = []
    for batch in _each(some, columns, rows, look):
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= rows:
            yield _as_one(waiting)
            waiting = []
    if waiting:
        yield _as_one(waiting)


def _as_one(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if _alike(parts):
        return pa.concat_batches(parts)
    return next(iter(_together(parts).combine_chunks().to_batches()), parts[0])


def _together(parts: list[pa.RecordBatch]) -> pa.Table:
    """Return batches as a table; what an earlier version wrote lacks the fields that came since."""
    if _alike(parts):
        return pa.Table.from_batches(parts)
    tables = [pa.Table.from_batches([part]) for part in parts]
    return pa.concat_tables(tables, promote_options="permissive")


def _alike(parts: Sequence[pa.RecordBatch]) -> bool:
    return all(part.schema.equals(parts[0].schema) for part in parts[1:])


def _each(
    found: Sequence[AnyPath], columns: Sequence[str] | None, rows: int, look: Look
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of one file after the other; of objects, the next ones come meanwhile."""
    if not found or not isinstance(found[0], ObjectPath):
        # One file at a time: a dataset of them all keeps the footer of each, 200 kB, to its end.
        for file in found:
            with open_parquet(file) as parquet:
                look(parquet)
                yield from parquet.iter_batches(rows, columns=columns)
        return
    coming: deque[Future[Iterable[pa.RecordBatch]]] = deque()
    with ThreadPoolExecutor(_AHEAD) as threads:
        for file in found:
            coming.append(threads.submit(_of_object, file, columns, rows, look))
            if len(coming) > _AHEAD:
                yield from coming.popleft().result()
        while coming:
            yield from coming.popleft().result()


def _of_object(
    file: AnyPath, columns: Sequence[str] | None, rows: int, look: Look
) -> Iterable[pa.RecordBatch]:
    """Return an object's batches: already read where it is a block, else as they are asked for."""
    parquet = open_parquet(file)
    look(parquet)
    batches = parquet.iter_batches(rows, columns=columns)
    return list(batches) if parquet.metadata.num_rows <= _BLOCK_ROWS else batches


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


def rewrite(file: AnyPath, rows: pa.Table) -> None:
    """Write a file of rows anew, whole or not at all; without any row it goes."""
    if not rows.num_rows:
        file.unlink()
        return
    written = pa.BufferOutputStream()
    pq.write_table(rows, written, compression=_compression(file))
    write_whole(file, written.getvalue().to_pybytes())


def _compression(file: AnyPath) -> str:
    """Return how a file's columns are compressed."""
    with open_parquet(file) as parquet:
        if not parquet.metadata.num_row_groups:
            return "zstd"
        name: str = parquet.metadata.row_group(0).column(0).compression
    return "none" if name == "UNCOMPRESSED" else name.lower()


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


def _persona_key(persona: str) -> int:
    if not persona:
        return 0
    digest = hashlib.blake2b(persona.encode(), digest_size=8, person=b"medsent persona").digest()
    return int.from_bytes(digest, "little")


def _nullable(values: pa.Array) -> npt.NDArray[np.int8]:
    return np.asarray(pc.fill_null(pc.cast(values, pa.int8()), -1), dtype=np.int8)
