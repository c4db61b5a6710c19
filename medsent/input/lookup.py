"""Records of a job's input that a command looks at without scoring any."""

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from medsent.input.reading import BATCH_ROWS
from medsent.input.records import RecordReader, fan_out
from medsent.input.shard import Shard, ShardError
from medsent.input.shards import Shards

_SHARDS: Final = 5
"""Shards that some records are of: one may hold another language or length than the next."""

Row = dict[str, Any]
"""A record by its columns' names; `reason` tells why it is not scored."""


def spread_over(shards: Shards, most: int = _SHARDS) -> list[Shard]:
    """Return a few shards that have rows, from the first to the last."""
    files = [file for file in shards.files if file.rows]
    number = min(most, len(files))
    return [files[place * (len(files) - 1) // max(1, number - 1)] for place in range(number)]


class Lookup:
    """The records of some shards, each row read by the persona it names or by all `readers`.

    All methods raise `InputError` where a shard is damaged inside, but `spread` where it is told
    to pass it over, and `StorageError` where the storage does not give it.
    """

    def __init__(
        self,
        shards: Shards,
        personas: Collection[str],
        readers: Sequence[str],
        longest: int | None = None,
        languages: Collection[str] = (),
    ) -> None:
        """Texts of more characters than `longest` are too long; see `RecordReader`."""
        self._shards, self._readers = shards, readers
        self.personas = frozenset(personas)
        self._records = RecordReader(shards, personas, longest, languages)

    def first(self, count: int) -> list[Row]:
        """Return so many records at most, in the order of the shards and of their rows."""
        tables = self._records.every(min(count, BATCH_ROWS))
        rows = (row for table in tables for row in fan_out(table, self._readers).to_pylist())
        return list(islice(rows, count))

    def spread(self, count: int, damaged: list[str] | None = None) -> list[Row]:
        """Return about `count` records: the first ones of a few shards, spread over all shards.

        Shards that are damaged inside are passed over where `damaged` is given; it gets what is
        wrong with each.
        """
        some = spread_over(self._shards)
        most = max(1, count // (max(1, len(some)) * max(1, len(self._readers))))
        rows: list[Row] = []
        for shard in some:
            try:
                for table in islice(self._records.read(shard, rows=most), 1):
                    rows += fan_out(table, self._readers).to_pylist()
            except ShardError as error:
                if damaged is None:
                    raise
                damaged.append(str(error))
        return rows

    def named(self, record_ids: Collection[str]) -> dict[str, list[Row]]:
        """Return record_id to its records, in the same order, for those that are there."""
        wanted = pa.array(sorted(set(record_ids)), pa.string())
        found: dict[str, list[Row]] = {}
        for table in self._records.every():
            some = table.filter(pc.is_in(table["record_id"], value_set=wanted))
            for row in fan_out(some, self._readers).to_pylist():
                found.setdefault(row["record_id"], []).append(row)
        return found
