"""Blocks: rows of one row group, cut the same way every time, done when their file is there.

A block's file is `predictions/<shard>-<number>.parquet`, the shard as a hash of its path. It is
written aside and then moved into place. A second attempt, a scorer that outlives its driver, or
another driver writes the same rows under the same name. Where a job was told to stop, or rows were
requeued, the rows that are done are in `<shard>-<number>.part.parquet`.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.storage.paths import AnyPath, names_below, open_parquet, write_whole

CUT = 1
"""The version of how blocks are cut: a run is only continued under the one that it began with."""
WINDOW_ROWS = 32_768
"""About how many rows are reordered at a time, so that those of an opinion come together."""
_LOST_DATES = b"medsent.lost_dates"
"""In a file's metadata: the keys of the rows whose date was outside the years 1 to 9999."""
_SUFFIX, _PART = ".parquet", ".part.parquet"


@dataclass(frozen=True)
class Piece:
    """A row group of a shard of which blocks are missing."""

    path: str
    group: int
    rows: int
    """Rows of it that are taken."""
    first: int
    """The number of its first block."""
    missing: tuple[int, ...]
    """The numbers of its blocks without a file."""
    parts: frozenset[int]
    """Those of them of which a part is there."""


@dataclass(frozen=True)
class Done:
    """Which blocks of a run have their file, and which a part of it."""

    whole: Mapping[str, frozenset[int]] = field(default_factory=dict)
    parts: Mapping[str, frozenset[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, run: RunFolder) -> "Done":
        """List a run's files; other names than blocks have are passed over."""
        return cls.of(names_below(run.predictions, f"*{_SUFFIX}"))

    @classmethod
    def of(cls, names: Iterable[str]) -> "Done":
        """Return the blocks whose files have these names."""
        whole: dict[str, set[int]] = defaultdict(set)
        parts: dict[str, set[int]] = defaultdict(set)
        for name in names:
            found = parts if is_part(name) else whole
            shard, _, number = name.removesuffix(_SUFFIX).removesuffix(".part").rpartition("-")
            if number.isdigit():
                found[shard].add(int(number))
        return cls(_frozen(whole), _frozen(parts))

    def missing(self, path: str, groups: Sequence[int], rows_per_block: int) -> Iterator[Piece]:
        """Yield the row groups of a shard, given as their rows, that are not done in full."""
        shard, first = shard_id(path), 0
        whole, parts = self.whole.get(shard, frozenset()), self.parts.get(shard, frozenset())
        for group, rows in enumerate(groups):
            numbers = range(first, first + -(-rows // rows_per_block))
            lacking = tuple(number for number in numbers if number not in whole)
            if lacking:
                yield Piece(path, group, rows, first, lacking, parts.intersection(lacking))
            first += len(numbers)

    def rows(self, path: str, groups: Sequence[int], rows_per_block: int) -> int:
        """Return the rows of a shard in blocks that are done in full."""
        lacking = self.missing(path, groups, rows_per_block)
        return sum(groups) - sum(
            min(rows_per_block, piece.rows - (number - piece.first) * rows_per_block)
            for piece in lacking
            for number in piece.missing
        )

    def part_names(self) -> list[str]:
        """Return the names of the files that hold a part of a block that is not done."""
        return [
            f"{_name(shard, number)}{_PART}"
            for shard, numbers in self.parts.items()
            for number in numbers - self.whole.get(shard, frozenset())
        ]


def shard_id(path: str) -> str:
    """Return the name that a shard's blocks begin with, of its canonical path."""
    return hashlib.blake2b(os.fsencode(path), digest_size=8, person=b"medsent shard").hexdigest()


def block_name(path: str, number: int) -> str:
    """Return a block's name: that of its file, without the suffix."""
    return _name(shard_id(path), number)


def _name(shard: str, number: int) -> str:
    return f"{shard}-{number:06d}"


def tidy(run: RunFolder) -> None:
    """Remove parts of blocks that are done, and what a kill left of files on their way."""
    names = names_below(run.predictions, "*")
    done = Done.of(name for name in names if name.endswith(_SUFFIX))
    for shard, numbers in done.parts.items():
        for number in numbers & done.whole.get(shard, frozenset()):
            (run.predictions / f"{_name(shard, number)}{_PART}").unlink(missing_ok=True)
    for name in (each for each in names if each.startswith(".")):
        (run.predictions / name).unlink(missing_ok=True)


def is_part(name: str) -> bool:
    """Tell whether a file holds a part of a block."""
    return name.endswith(_PART)


def part_of(name: str) -> str:
    """Return the name of the part of a block's file."""
    return name.removesuffix(_SUFFIX).removesuffix(".part") + _PART


def keep_rows(run: RunFolder, name: str, wanted: pa.Array) -> None:
    """Keep some rows of a block's file, as a part of it: the block is done no more."""
    file = run.predictions / name
    with open_parquet(file) as parquet:
        rows = parquet.read()
    rows = with_lost_dates(rows.filter(wanted), lost_dates(rows.schema))
    part = run.predictions / part_of(name)
    if rows.num_rows:
        write_whole(part, _encoded(rows))
    if part != file or not rows.num_rows:
        file.unlink()


class BlockWriter:
    """Writes the blocks of a run, without the opinions that it must not hold."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def write(self, name: str, rows: pa.Table, *, whole: bool, has_part: bool) -> None:
        """Write a block's outcomes, beside those that a part of it holds; raises `OSError`.

        What comes late, of a block that another attempt or driver has made whole, is not written.
        """
        block = self._run.predictions / f"{name}{_SUFFIX}"
        part = self._run.predictions / f"{name}{_PART}"
        if has_part and (before := _read(part)) is not None:
            rows = _joined(before, rows)
        elif has_part or not whole:
            if block.is_file():
                return
            whole = False  # where a part is lost, the rest is not the whole
        if not rows.num_rows:
            return
        target = block if whole else part
        erased = Erased.read(self._run)
        write_whole(target, _encoded(erased.blank_in(self._run, rows)))
        # An opinion may have been erased meanwhile: its list is written before files are looked at.
        if (since := Erased.read(self._run)).opinions != erased.opinions:
            write_whole(target, _encoded(since.blank_in(self._run, rows)))
        if has_part and whole:
            part.unlink(missing_ok=True)

    def hashes(self, name: str) -> pa.ChunkedArray:
        """Return the keys of the rows that a part of a block holds; none where it is gone."""
        found = _read(self._run.predictions / f"{name}{_PART}", ["row_hash"])
        return pa.chunked_array([], pa.uint64()) if found is None else found["row_hash"]


def packed(blocks: Iterable[tuple[str, bool, pa.Table]]) -> pa.Table:
    """Return blocks (name, whether a part is there, records) as one row, which is not cut."""
    found = list(blocks)
    told = [(name, part, table.num_rows) for name, part, table in found]
    records = pa.concat_tables([table for _, _, table in found])
    records = records.replace_schema_metadata({"blocks": json.dumps(told)})
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, records.schema) as writer:
        writer.write_table(records)
    return pa.table({"records": pa.array([stream.getvalue().to_pybytes()], pa.large_binary())})


def unpacked(row: pa.Table) -> tuple[list[tuple[str, bool, int]], pa.Table]:
    """Return what was packed: each block's (name, whether a part is there, rows), all records."""
    with pa.ipc.open_stream(row["records"][0].as_buffer()) as stream:
        records = stream.read_all()
    told = json.loads(records.schema.metadata[b"blocks"])
    return [(name, part, rows) for name, part, rows in told], records.replace_schema_metadata()


def _read(part: AnyPath, columns: list[str] | None = None) -> pa.Table | None:
    """Return a part's rows, None where it is not there."""
    try:
        with open_parquet(part) as parquet:
            return parquet.read(columns)
    except FileNotFoundError:
        return None


def _joined(before: pa.Table, rows: pa.Table) -> pa.Table:
    """Return a part's rows before those that have come; no row twice."""
    new = pc.invert(pc.is_in(rows["row_hash"], value_set=before["row_hash"].combine_chunks()))
    joined = pa.concat_tables([before, rows.filter(new)], promote_options="permissive")
    return with_lost_dates(joined, lost_dates(before.schema) | lost_dates(rows.schema))


def lost_dates(schema: pa.Schema) -> frozenset[int]:
    """Return the keys of the rows that have lost their dates, as a file's schema tells."""
    told = (schema.metadata or {}).get(_LOST_DATES, b"")
    return frozenset(map(int, told.split()))


def with_lost_dates(rows: pa.Table, lost: Iterable[int]) -> pa.Table:
    """Return rows with the keys of those among them that have lost their dates."""
    found = frozenset(lost)
    if not found:
        return rows.replace_schema_metadata()
    found &= frozenset(rows["row_hash"].to_pylist())
    return rows.replace_schema_metadata({_LOST_DATES: " ".join(map(str, sorted(found)))})


def _encoded(rows: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(rows, stream)
    made: bytes = stream.getvalue().to_pybytes()
    return made


def _frozen(found: Mapping[str, set[int]]) -> dict[str, frozenset[int]]:
    return {shard: frozenset(numbers) for shard, numbers in found.items()}
