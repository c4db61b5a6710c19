"""Rows into records: canonical columns, and a reason for each row that cannot be scored."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent import predictions
from medsent.gold import MISSING, read_gold
from medsent.shards import Shards

BAD_TYPE = "bad_type"
EMPTY_TEXT = "empty_text"
UNKNOWN_PERSONA = "unknown_persona"
BAD_LABELS = "bad_labels"
TOO_LONG = "too_long"
ENGINE_KILLER = "engine_killer"
ERASED = "erased"
"""Rows of an opinion that `medsent erase` took out of the run; nothing else of them is kept."""
BAD_SHARD = "bad_shard"
"""Rows that no one can read, since their shard is quarantined: no prediction holds them."""

_STRINGS = ("record_id", "opinion_id", "text", "language", "persona")


def schema(kept: Collection[pa.Field], labels: Sequence[str]) -> pa.Schema:
    """Return the columns of a record: the predictions' keys, the text and what is kept.

    The text may be among the kept; it is one column then, of the kept one's type.
    """
    keys = predictions.key_types(labels)
    names = ("row_hash", "path", *_STRINGS, "date", "reason", "gold")
    fields = [pa.field(name, keys.get(name, pa.string())) for name in names]
    return pa.schema({field.name: field for field in (*fields, *kept)}.values())


class RecordReader:
    """Turns a batch of shard rows into records; a function for Ray Data's `map_batches`."""

    def __init__(self, shards: Shards, personas: Collection[str]) -> None:
        self._columns = shards.columns
        self._labels = shards.labels
        self._schema = schema(shards.kept, shards.labels)
        self._personas = pa.array(sorted(personas), pa.string())

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return records with `reason` set where a row is quarantined, in the rows' order."""
        ours = {ours: rows[theirs] for ours, theirs in self._columns.items()}
        count = rows.num_rows
        strings, undecodable = _strings(ours, count)
        gold, unknown_labels = _gold(ours, count, self._labels)
        made = {
            **strings,
            "row_hash": rows["row_hash"],
            "path": rows["path"],
            "opinion_id": _with_text_hash(strings["opinion_id"], strings["text"]),
            "date": ours.get("date", pa.nulls(count, pa.date32())),
            "reason": self._reasons(
                strings["text"], strings["persona"], undecodable, unknown_labels
            ),
            "gold": gold,
        }
        columns = [
            (made[field.name] if field.name in made else rows[field.name]).cast(field.type)
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def _reasons(
        self, text: pa.Array, persona: pa.Array, undecodable: pa.Array, unknown_labels: pa.Array
    ) -> pa.Array:
        """Return each row's first reason to be quarantined, null for a good one."""
        blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(pc.fill_null(text, ""))), 0)
        known = pc.or_(pc.is_null(persona), pc.is_in(persona, value_set=self._personas))
        return pc.case_when(
            pc.make_struct(undecodable, blank, pc.invert(known), unknown_labels),
            pa.scalar(BAD_TYPE),
            pa.scalar(EMPTY_TEXT),
            pa.scalar(UNKNOWN_PERSONA),
            pa.scalar(BAD_LABELS),
        )


def fan_out(records: pa.Table, readers: Sequence[str]) -> pa.Table:
    """Return N records once for each of R readers, (N x R): a row's follow each other.

    A row that cannot be scored is as many quarantined records. Without readers each record
    keeps its own.
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


def opinion_ids(rows: pa.Table, columns: Mapping[str, str]) -> pa.Array:
    """Return the opinion_id that each row's record has.

    `columns` is our name to the rows' for those that are read. Without `text` among them an
    id that only the text can tell is null.
    """
    ours = {ours: rows[theirs] for ours, theirs in columns.items()}
    strings, _ = _strings(ours, rows.num_rows)
    known = strings["opinion_id"]
    return _with_text_hash(known, strings["text"]) if "text" in ours else known


def labelled(rows: pa.Table, columns: Mapping[str, str], labels: Sequence[str]) -> pa.Array:
    """Return which rows' records have gold for any label."""
    gold, _ = _gold({ours: rows[theirs] for ours, theirs in columns.items()}, rows.num_rows, labels)
    return gold.is_valid()


def _strings(ours: dict[str, pa.ChunkedArray], count: int) -> tuple[dict[str, pa.Array], pa.Array]:
    """Return the columns of text, and in which rows one of them held no UTF-8 (now null)."""
    strings, undecodable = {}, pa.repeat(False, count)
    for name in _STRINGS:
        if name not in ours or pa.types.is_null(ours[name].type):
            strings[name] = pa.nulls(count, pa.string())
            continue
        raw = pc.cast(ours[name], pa.string()).combine_chunks()
        strings[name] = _decoded(raw)
        undecodable = pc.or_(undecodable, pc.xor(raw.is_null(), strings[name].is_null()))
    return strings, undecodable


def _decoded(column: pa.Array) -> pa.Array:
    """Return the column, null where a value is not UTF-8: Parquet readers do not check it."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array(map(_utf8, column.cast(pa.binary()).to_pylist()), pa.string())
    return column


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _with_text_hash(opinion_id: pa.Array, text: pa.Array) -> pa.Array:
    """Fill a missing opinion_id with a hash of the text, so one text is one cluster."""
    if opinion_id.null_count == 0:
        return opinion_id
    hashes = [
        hashlib.blake2b((value or "").encode(), digest_size=8).hexdigest()
        for value in text.to_pylist()
    ]
    return pc.coalesce(opinion_id, pa.array(hashes, pa.string()))


def _gold(
    ours: dict[str, pa.ChunkedArray], count: int, labels: Sequence[str]
) -> tuple[pa.Array, pa.Array]:
    """Return the gold labels, and which rows name a label that is none."""
    kind = predictions.gold_type(labels)
    present = {name: ours[name] for name in ("labels", *labels) if name in ours}
    if not present:
        return pa.nulls(count, kind), pa.repeat(False, count)
    matrix, unknown = read_gold(pa.table(present), labels)
    if matrix is None:
        return pa.nulls(count, kind), pa.repeat(False, count)
    columns = [
        pa.array(matrix[:, index], pa.int8(), mask=matrix[:, index] == MISSING)
        for index in range(len(labels))
    ]
    unlabelled = pa.array((matrix == MISSING).all(axis=1))
    gold = pa.StructArray.from_arrays(columns, fields=list(kind), mask=unlabelled)
    return gold, pa.array(unknown)
