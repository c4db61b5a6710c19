"""Files of predictions: read in batches, a run's or some of them, and written anew."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from medsent.errors import RunError
from medsent.storage.ahead import in_turn
from medsent.storage.paths import AnyPath, ObjectPath, any_path, open_parquet, write_whole

_AHEAD = 8
"""Objects that are read before they are asked for: each costs several round trips."""
_BLOCK_ROWS = 4096
MOST_BYTES = 2**30
"""Most bytes of rows put together in one batch: a column of strings holds 2 GiB at most."""

Look = Callable[[pq.ParquetFile], None]


def _pass_by(_: pq.ParquetFile) -> None:
    """Do nothing: the default `look`."""


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


def read_predictions(run: str | AnyPath, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the predictions of a run's folder: one row a record, a struct column a variant.

    Raises `RunError` where it holds none.
    """
    return table(any_path(run) / "predictions", columns)


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
    """Yield what some files of predictions, or of rows of their kind, hold in the same way."""
    waiting: list[pa.RecordBatch] = []
    held_rows = held_bytes = 0
    for batch in _each(some, columns, rows, look):
        size = batch.nbytes
        if waiting and (held_rows >= rows or held_bytes + size > MOST_BYTES):
            yield _as_one(waiting)
            waiting, held_rows, held_bytes = [], 0, 0
        waiting.append(batch)
        held_rows += batch.num_rows
        held_bytes += size
    if waiting:
        yield _as_one(waiting)


def _as_one(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    if _alike(parts):
        return pa.concat_batches(parts)
    [one] = _together(list(parts)).combine_chunks().to_batches() or parts[:1]
    return one


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
    of_object = partial(_of_object, columns, rows, look)
    with ThreadPoolExecutor(_AHEAD) as threads:
        for batches in in_turn(threads, of_object, found, _AHEAD):
            yield from batches


def _of_object(
    columns: Sequence[str] | None, rows: int, look: Look, file: AnyPath
) -> Iterable[pa.RecordBatch]:
    """Return an object's batches: read at once if it is small (one block), else one by one."""
    parquet = open_parquet(file)
    look(parquet)
    batches = parquet.iter_batches(rows, columns=columns)
    return list(batches) if parquet.metadata.num_rows <= _BLOCK_ROWS else batches


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
