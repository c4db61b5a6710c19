"""Shards into blocks, as Ray Data reads them: one row for each call of a scorer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from medsent.errors import MedsentError, ReadingError, StorageError, place_of, storage_failure
from medsent.input.order import by_work
from medsent.input.records import RecordReader
from medsent.input.shard import Shard, ShardError, rewritten
from medsent.runs.blocks import WINDOW_ROWS, BlockWriter, Piece, block_name, packed
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.scoring.plan import Plan
from medsent.storage.paths import shown

_ROWS_OF_A_TASK = 65_536
_PIECES_OF_A_TASK = 64


class BlockSource(Datasource):
    """The blocks of a plan that are missing in its run."""

    def __init__(self, plan: Plan, run: RunFolder, monitor: Any, pieces: Sequence[Piece]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reader = BlockReader(plan, run, monitor)
        self._shards = {shard.path: shard for shard in plan.shards.files}
        self._pieces = pieces

    def estimate_inmemory_data_size(self) -> None:
        """Say nothing: what is read is packed into rows of one size."""

    def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:
        """Return tasks of some row groups each, in the order of the shards."""
        return [self._task(some) for some in _shared_out(self._pieces)]

    def _task(self, pieces: Sequence[Piece]) -> ReadTask:
        shards = {piece.path: self._shards[piece.path] for piece in pieces}
        size = sum(piece.rows for piece in pieces)
        told = BlockMetadata(num_rows=None, size_bytes=size, input_files=None, exec_stats=None)
        return ReadTask(partial(self._reader, pieces, shards), told)


class BlockReader:
    """Reads row groups, and cuts them into packed blocks."""

    def __init__(self, plan: Plan, run: RunFolder, monitor: Any) -> None:
        shards = plan.shards.without_files()
        self._records = RecordReader(shards, plan.personas, plan.longest_text, plan.languages)
        self._sample, self._erased = plan.sample and plan.sample.chosen(), Erased.read(run)
        self._rows = plan.rows_per_block
        self._window = max(1, WINDOW_ROWS // self._rows) * self._rows
        self._quarantines = plan.config.input.on_bad_shard == "quarantine"
        self._run, self._parts, self._monitor = run, BlockWriter(run), monitor

    def __call__(self, pieces: Iterable[Piece], shards: Mapping[str, Shard]) -> Iterator[pa.Table]:
        """Yield rows of packed blocks, each of about as many records as one block may have.

        Blocks are packed by their full size, however many of their rows are done already, so
        that a task that is tried again yields the same.
        """
        waiting: list[tuple[str, bool, pa.Table]] = []
        rows = 0
        bad: set[str] = set()
        for piece in pieces:
            if piece.path in bad:
                continue
            try:
                for size, block in self._blocks(piece, shards[piece.path]):
                    waiting.append(block)
                    rows += size
                    if rows >= self._rows:
                        yield packed(waiting)
                        waiting, rows = [], 0
            except ShardError as error:
                bad.add(piece.path)
                self._quarantine(error)
            except (StorageError, ReadingError) as error:
                raise self._failed(error) from None
            except OSError as error:  # shards raise our errors, so this is the run's storage
                raise self._failed(storage_failure(error, self._run.path)) from None
            except Exception as error:  # noqa: BLE001
                # Its message may quote an opinion, and Ray would log it.
                told = f"a row could not be read as a record ({place_of(error)})"
                raise self._failed(ReadingError(f"{shown(piece.path)}: {told}")) from None
        if waiting:
            yield packed(waiting)

    def _blocks(
        self, piece: Piece, shard: Shard
    ) -> Iterator[tuple[int, tuple[str, bool, pa.Table]]]:
        """Yield (rows, block) of a row group for each block that is missing; see `packed`."""
        missing, last = frozenset(piece.missing), max(piece.missing)
        # With a sample, it is not known how many rows of the shard the skipped blocks cover.
        before = 0 if self._sample else (min(missing) - piece.first) * self._rows
        done = before - before % self._window
        for window in self._windows(piece, shard, done):
            first = piece.first + done // self._rows
            numbers = range(first, first + -(-window.num_rows // self._rows))
            if not missing.isdisjoint(numbers):
                if ray.get(self._monitor.draining.remote()):
                    return
                for number, records in zip(numbers, self._cut(window), strict=True):
                    if number in missing:
                        yield records.num_rows, self._block(piece, number, records)
            done += window.num_rows
            if numbers[-1] >= last:
                return
        if done != piece.rows:
            raise ShardError(rewritten(shard))

    def _windows(self, piece: Piece, shard: Shard, skip: int) -> Iterator[pa.Table]:
        """Yield the records of a row group that are taken, so many at a time, after some."""
        waiting: list[pa.Table] = []
        for records in self._records.read(shard, [piece.group], skip=skip):
            left = self._sample.of(records) if self._sample else records
            while left.num_rows:
                room = self._window - sum(table.num_rows for table in waiting)
                waiting.append(left.slice(0, room))
                left = left.slice(room)
                if waiting[-1].num_rows == room:
                    yield pa.concat_tables(waiting)
                    waiting = []
        if waiting:
            yield pa.concat_tables(waiting)

    def _cut(self, window: pa.Table) -> Iterator[pa.Table]:
        order = by_work(window, self._rows)
        for start in range(0, len(order), self._rows):
            yield window.take(order[start : start + self._rows])

    def _block(self, piece: Piece, number: int, records: pa.Table) -> tuple[str, bool, pa.Table]:
        name = block_name(piece.path, number)
        if number in piece.parts:
            there = self._parts.hashes(name).combine_chunks()
            records = records.filter(pc.invert(pc.is_in(records["row_hash"], value_set=there)))
        return name, number in piece.parts, self._erased.blank_in(self._run, records)

    def _quarantine(self, error: ShardError) -> None:
        """Tell the driver of a shard that cannot be read on; go on without it where allowed."""
        ray.get(self._monitor.quarantine.remote(error.bad))
        if not self._quarantines:
            raise self._failed(ReadingError(str(error))) from None

    def _failed(self, error: MedsentError) -> MedsentError:
        ray.get(self._monitor.fail.remote(type(error).__name__, str(error)))
        return error


def _shared_out(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield lists of row groups, of about `_ROWS_OF_A_TASK` rows or `_PIECES_OF_A_TASK` groups."""
    some: list[Piece] = []
    for piece in pieces:
        some.append(piece)
        if len(some) == _PIECES_OF_A_TASK or sum(p.rows for p in some) >= _ROWS_OF_A_TASK:
            yield some
            some = []
    if some:
        yield some
