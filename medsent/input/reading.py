"""Shards read in batches: what is damaged, gone or rewritten is found by it and named."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medsent.input.columns import NEEDED
from medsent.input.files import cannot_read
from medsent.input.partitions import path_columns
from medsent.input.shard import (
    BROKEN,
    REMEDY,
    Fault,
    Shard,
    ShardBytes,
    ShardError,
    bad,
    gone,
    rewritten,
)
from medsent.input.shards import Shards, changed

PAGE_READERS = 4
BATCH_ROWS = 4096
_BUFFER_BYTES = 1 << 20
_BATCH_BYTES = 32 << 20
"""Of one column in a batch, about; making records of it takes a dozen times that memory."""
KEPT = "kept "
"""Stands before the names of kept columns, which may be those of ours."""


class OpenShard:
    """A shard that is read in batches, in the memory of a few pages."""

    def __init__(self, shards: Shards, shard: Shard, source: ShardBytes) -> None:
        """Read the footer; see `opened`."""
        self._source, self._parquet = source, _parquet(source)
        footer = self._parquet.metadata
        groups = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        if footer.num_rows != shard.rows or (shard.groups and list(shard.groups) != groups):
            raise ShardError(rewritten(shard))
        self._stored = set(self._parquet.schema_arrow.names)
        self._of_path = path_columns(
            shard.path, {theirs: ours for ours, theirs in shards.columns.items()}
        )
        self._kept = {f"{KEPT}{field.name}": field.name for field in shards.kept}
        known = {*self._stored, *self._of_path}
        needed = {shards.columns[ours] for ours in NEEDED if ours in shards.columns}
        if not known >= needed.union(self._kept.values()):
            raise ShardError(rewritten(shard))
        self._columns = self._there(shards.columns, shards.labels, known)
        self.groups = range(len(groups))
        self.starts = [0, *accumulate(groups)]
        """The row of the shard at which each of its row groups begins."""
        self.group = 0
        """The row group that was begun last."""

    def tables(
        self,
        names: Collection[str] | None = None,
        groups: Collection[int] | None = None,
        rows: int = BATCH_ROWS,
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yield (row group, rows): some of our columns, by default all and those that are kept.

        Columns have the shard's own types; those that it lacks are not there.
        """
        found = {ours: theirs for ours, theirs in self._columns.items() if names and ours in names}
        columns = self._columns | self._kept if names is None else found
        if not columns:
            return
        for group in self.groups if groups is None else groups:
            self.group = group
            left = self._parquet.metadata.row_group(self.group).num_rows
            for batch in self._batches(columns, rows):
                left -= batch.num_rows
                yield self.group, self._ours(batch, columns)
            if left:
                raise ValueError("fewer rows than the footer tells")

    def _there(
        self, columns: Mapping[str, str], labels: Collection[str], known: Collection[str]
    ) -> dict[str, str]:
        """Return our columns to the shard's own; those of labels only if all labels have one."""
        found = {ours: theirs for ours, theirs in columns.items() if theirs in known}
        if set(labels) <= set(found):
            return found
        return {ours: theirs for ours, theirs in found.items() if ours not in labels}

    def _batches(self, columns: Mapping[str, str], rows: int) -> Iterator[pa.RecordBatch]:
        stored = sorted({theirs for theirs in columns.values() if theirs in self._stored})
        for ours, theirs in columns.items():
            if theirs in self._stored and (ours == "text" or ours.startswith(KEPT)):
                rows = min(rows, self._rows_of(theirs))
        # Some column must be read to see how many rows there are.
        read = stored or self._parquet.schema_arrow.names[:1]
        yield from self._parquet.iter_batches(rows, [self.group], read)

    def _ours(self, batch: pa.RecordBatch, columns: Mapping[str, str]) -> pa.Table:
        made = {
            ours: batch[theirs]
            if theirs in self._stored
            else pa.repeat(self._of_path[theirs], batch.num_rows)
            for ours, theirs in columns.items()
        }
        return pa.table(made)

    def _rows_of(self, name: str) -> int:
        """Return how many rows of a column make no more bytes than a batch may, about.

        Only the sizes of a row group are asked for: where a column is encrypted, Arrow ends the
        process when it is asked for that column's.
        """
        footer = self._parquet.metadata
        group = footer.row_group(self.group)
        rows, size = group.num_rows, group.total_byte_size
        most: int = max(1, min(BATCH_ROWS, rows * _BATCH_BYTES // max(1, size)))
        if not rows or min(rows, most) * size <= _BATCH_BYTES:  # even if each row held all bytes
            return most
        if pa.types.is_nested(self._parquet.schema_arrow.field(name).type):
            return most  # pyarrow reads no dictionary of a list's or a struct's values
        coded = _parquet(self._source, metadata=footer, read_dictionary=[name])
        [values] = next(coded.iter_batches(1, [self.group], [name])).select([name]).columns
        if not pa.types.is_dictionary(values.type):
            return most
        # A dictionary stores a value once, however many rows have it: count each as the longest.
        longest: int = pc.max(pc.binary_length(values.dictionary)).as_py() or 1
        return max(1, min(most, _BATCH_BYTES // longest))


@contextmanager
def opened(shards: Shards, shard: Shard) -> Iterator[OpenShard]:
    """Open a shard; what is wrong with it, found within, is raised as `ShardError`.

    `StorageError` where the storage does not give it.
    """
    file = None
    try:
        with ShardBytes(shards.filesystem, shard.path) as source:
            file = OpenShard(shards, shard, source)
            yield file
    except ShardError:
        raise
    except FileNotFoundError:
        raise ShardError(gone(shard, shard.rows)) from None
    except MemoryError as error:
        raise cannot_read(shard.path, error) from error
    except BROKEN as error:
        where = f"row group {file.group}" if file else "its footer"
        message = f"is damaged inside ({where} cannot be read); {REMEDY}"
        if "decrypt" in str(error):
            message = f"has columns that are encrypted, and no key is known here; {REMEDY}"
        damage = bad(shard, Fault.CORRUPT_PAGE, message, shard.rows)
        raise ShardError(changed(shards, shard) or damage) from None


def _parquet(source: ShardBytes, **more: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        source,
        # Without a buffer, or with pre-buffering, whole column chunks come into memory.
        buffer_size=_BUFFER_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit="us",  # in ns the year 9999 comes back as 1816
        **more,
    )
