"""Shards written for a test and read as records, without Ray."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.input import InputSettings
from medsent.config.labels import LABELS
from medsent.input.reading import BATCH_ROWS
from medsent.input.records import RecordReader
from medsent.input.shards import Shards, open_shards

PERSONAS = ("nurse", "surgeon")


def rows(count: int = 2, **columns: Any) -> pa.Table:
    """Return a table of good rows, with columns added, replaced, or (None) taken out."""
    table = {
        "record_id": pa.array([f"r{i}" for i in range(count)]),
        "text": pa.array(["all was well"] * count),
        "language": pa.array(["en"] * count),
        "persona": pa.array(["surgeon"] * count),
        **columns,
    }
    return pa.table({name: column for name, column in table.items() if column is not None})


def opened(path: Path | str, **settings: Any) -> Shards:
    return open_shards(InputSettings(path=str(path), **settings), LABELS)


def records(shards: Shards, *, longest: int | None = None, batch: int = BATCH_ROWS) -> pa.Table:
    """Return the records of all shards."""
    reader = RecordReader(shards, PERSONAS, longest)
    return pa.concat_tables([reader.schema.empty_table(), *reader.every(batch)])


def read(*tables: pa.Table, longest: int | None = None, **settings: Any) -> pa.Table:
    """Return the records of shards that hold these tables."""
    with written(tables) as folder:
        return records(opened(folder, **settings), longest=longest)


@contextmanager
def written(tables: Collection[pa.Table]) -> Iterator[Path]:
    with TemporaryDirectory() as name:
        for number, table in enumerate(tables):
            pq.write_table(table, Path(name) / f"{number}.parquet")
        yield Path(name)
