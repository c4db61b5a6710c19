"""Rows into records: our columns in our types, and a reason for each row that cannot be scored."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.errors import ReadingError
from medsent.input import casting
from medsent.input.languages import as_spoken
from medsent.input.reading import BATCH_ROWS, KEPT, OpenShard, opened
from medsent.input.shard import Shard
from medsent.input.shards import Shards
from medsent.predictions import Reason
from medsent.storage.paths import shown

LOST_DATE = "lost date"
"""The column of records that tells where a date was outside the years 1 to 9999."""

_STRINGS = ("record_id", "opinion_id", "text", "language", "persona")
_BLANK = r"^[\s\pZ\p{Cc}\p{Cf}\x{115F}\x{1160}\x{2800}\x{3164}\x{FFA0}]*$"
"""A text of nothing to be seen: white space, control characters, others without a mark."""


class RecordReader:
    """Reads shards as records: the predictions' keys, the text, and what is kept."""

    def __init__(
        self,
        shards: Shards,
        personas: Collection[str],
        longest: int | None = None,
        languages: Collection[str] = (),
    ) -> None:
        """Texts of more characters than `longest` are too long, and are not read on.

        `languages` are the codes that a record's language is brought to where it is one of them.
        """
        self._shards, self._longest, self._languages = shards, longest, frozenset(languages)
        self._personas = pa.array(sorted(personas), pa.string())
        keys = predictions.key_types(shards.labels)
        names = ("row_hash", "path", *_STRINGS, "date", "reason", "gold")
        fields = [pa.field(name, keys.get(name, pa.string())) for name in names]
        kept = [field.with_name(f"{KEPT}{field.name}") for field in shards.kept]
        self.schema = pa.schema([*fields, pa.field(LOST_DATE, pa.bool_()), *kept])

    def every(self, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """Yield the records of all shards, in their order; raises as `read` does."""
        for shard in self._shards.files:
            yield from self.read(shard, rows=rows)

    def read(
        self,
        shard: Shard,
        groups: Collection[int] | None = None,
        rows: int = BATCH_ROWS,
        skip: int = 0,
    ) -> Iterator[pa.Table]:
        """Yield the records of a shard in its order; see `OpenShard.tables`.

        The first `skip` rows of each row group are passed over.

        Raises `ShardError` where the shard cannot be read, `StorageError` where its storage
        does not give it.
        """
        with opened(self._shards, shard) as file:
            last, done = -1, 0
            for group, batch in file.tables(groups=groups, rows=rows):
                done = done if group == last else 0
                last = group
                over = min(batch.num_rows, max(0, skip - done))
                batch, done = batch.slice(over), done + over
                if not batch.num_rows:
                    continue
                yield self._records(batch, shard.path, file.starts[group] + done)
                done += batch.num_rows

    def _records(self, rows: pa.Table, path: str, first: int) -> pa.Table:
        """Return records with `reason` set where a row is quarantined, in the rows' order."""
        count = rows.num_rows
        strings, undecodable = _strings(rows)
        days, lost = casting.dates(_column(rows, "date"))
        gold, wrong = casting.gold(rows, self._shards.labels, self._shards.gold_cut)
        text = strings["text"]
        long = pc.greater(pc.fill_null(pc.utf8_length(text), 0), self._longest or 2**31 - 1)
        made = {
            **strings,
            "language": as_spoken(strings["language"], self._languages),
            "row_hash": pa.array(row_hashes(path, first, count)),
            "path": pa.repeat(shown(path), count),
            "opinion_id": _with_text_hash(strings["opinion_id"], text),
            # `if_else` would keep the bytes of the texts that are too long in memory.
            "text": pc.replace_with_mask(text, long, pa.scalar(None, pa.string())),
            "date": days,
            "reason": self._reasons(text, strings["persona"], undecodable, wrong, long),
            "gold": gold,
            LOST_DATE: lost,
            **{
                field.name: _kept(rows[field.name], field, path)
                for field in self.schema
                if field.name.startswith(KEPT)
            },
        }
        return pa.table([made[field.name] for field in self.schema], schema=self.schema)

    def _reasons(self, text: pa.Array, persona: pa.Array, *wrong: pa.Array) -> pa.Array:
        """Return each row's first reason to be quarantined, null for a good one."""
        undecodable, labels, long = wrong
        blank = pc.match_substring_regex(pc.fill_null(text, ""), _BLANK)
        known = pc.or_(pc.is_null(persona), pc.is_in(persona, value_set=self._personas))
        return pc.case_when(
            pc.make_struct(undecodable, blank, pc.invert(known), labels, long),
            pa.scalar(Reason.BAD_TYPE),
            pa.scalar(Reason.EMPTY_TEXT),
            pa.scalar(Reason.UNKNOWN_PERSONA),
            pa.scalar(Reason.BAD_LABELS),
            pa.scalar(Reason.TOO_LONG),
        )


def fan_out(records: pa.Table, readers: Sequence[str]) -> pa.Table:
    """Return N records once for each of R readers, (N x R); those of a row follow each other.

    A row that cannot be scored becomes R quarantined records. Without readers the records are
    returned as they are, each with the persona that it names.
    """
    if not readers:
        return records
    places = pa.array(np.repeat(np.arange(records.num_rows), len(readers)))
    personas = pa.array([*readers] * records.num_rows, pa.string())
    columns = [
        personas if name == "persona" else records[name].take(places)
        for name in records.column_names
    ]
    return pa.table(columns, schema=records.schema)


def opinion_ids(file: OpenShard) -> Iterator[tuple[int, pa.Array]]:
    """Yield (row group, the opinion_id of each of its rows' records), batch by batch.

    The texts of a row group are read only where an id is missing, and is a text's hash.
    """
    for group in file.groups:
        parts = [ids_of(rows, with_text=False) for _, rows in file.tables(["opinion_id"], [group])]
        if not parts or any(part.null_count for part in parts):
            names = ["opinion_id", "text"]
            parts = [ids_of(rows) for _, rows in file.tables(names, [group])]
        yield from ((group, part) for part in parts)


def ids_of(rows: pa.Table, *, with_text: bool = True) -> pa.Array:
    """Return each row's opinion_id; where missing the text's hash, or null if not `with_text`."""
    known, _ = casting.texts(_column(rows, "opinion_id"))
    return _with_text_hash(known, casting.texts(rows["text"])[0]) if with_text else known


def row_hashes(path: str, first: int, count: int) -> npt.NDArray[np.uint64]:
    """Return (count,) keys of a shard's rows from row `first` on: of its path and their places.

    The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014) over the path's MD5 plus
    the place: no two rows of a shard have one key.
    """
    seed = int.from_bytes(
        hashlib.md5(os.fsencode(path), usedforsecurity=False).digest()[:8], "little"
    )
    keys = np.uint64(seed) + np.arange(first, first + count, dtype=np.uint64)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(keys ^ (keys >> np.uint64(31)), np.uint64)


def _strings(rows: pa.Table) -> tuple[dict[str, pa.Array], pa.Array]:
    """Return the columns of text, and in which rows one of them held no UTF-8 (now null)."""
    strings, undecodable = {}, pa.repeat(False, rows.num_rows)
    for name in _STRINGS:
        strings[name], wrong = casting.texts(_column(rows, name))
        undecodable = pc.or_(undecodable, wrong)
    return strings, undecodable


def _kept(column: pa.ChunkedArray, field: pa.Field, path: str) -> pa.Array:
    try:
        return casting.kept(column, field.type)
    except (ValueError, pa.ArrowException):  # their message may quote a value
        raise ReadingError(
            f"{shown(path)}: a value of column {field.name.removeprefix(KEPT)!r} does not fit "
            f"{field.type}, which the run holds it in; cast the column in the shards, or take it "
            "out of input.keep"
        ) from None


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray | pa.Array:
    return rows[name] if name in rows.column_names else pa.nulls(rows.num_rows)


def _with_text_hash(opinion_id: pa.Array, text: pa.Array) -> pa.Array:
    """Fill a missing opinion_id with a hash of the text, so one text is one cluster."""
    if opinion_id.null_count == 0:
        return opinion_id
    hashes = [
        hashlib.blake2b((value or "").encode(), digest_size=8).hexdigest()
        for value in text.to_pylist()
    ]
    return pc.coalesce(opinion_id, pa.array(hashes, pa.string()))
