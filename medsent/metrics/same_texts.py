"""The same text under several ids, counted over an input with gold."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.input import casting
from medsent.input.lookup import spread_over
from medsent.input.reading import BATCH_ROWS, opened
from medsent.input.records import ids_of
from medsent.input.sample import Sample
from medsent.input.shard import Shard, ShardError
from medsent.input.shards import Shards
from medsent.input.texts import NO_TEXT, recognisable, text_hashes
from medsent.predictions import label_matrix

MOST_ROWS: Final = 20_000
"""Rows that are looked at: what takes a few seconds."""
_SHARDS: Final = 50
"""Shards that these are of."""
_SCHEMA: Final = pa.schema(
    [("text", pa.uint64()), ("opinion", pa.string()), ("persona", pa.string()), ("gold", "uint64")]
)


@dataclass(frozen=True)
class SameTexts:
    """What an input with gold holds of texts that stand under several ids."""

    opinions: pa.Array
    """(K,): the ids of all opinions with gold."""
    texts: int
    """Number of texts that several of these opinions have."""
    under: int
    """Number of opinions with such a text."""
    differing: int
    """Number of such texts for which the gold of one reader is not the same on all records."""


def first_rows(
    shards: Shards, sample: Sample | None = None, most: int | None = None
) -> tuple[list[pa.Table], bool]:
    """Return opinion, text, persona and gold of an input's rows, and whether these are all rows.

    If the input has more than `most` rows (`MOST_ROWS` where None), only the first rows of shards
    spread over the input are read. With a sample, rows of other opinions are left out. A shard
    that cannot be read is passed over.
    """
    most = MOST_ROWS if most is None else most
    every = shards.rows <= most
    files = list(shards.files) if every else spread_over(shards, _SHARDS)
    rows = most if every else max(1, most // len(files))
    return [table for file in files for table in _of(shards, file, sample, rows)], every


def same_texts(tables: Iterable[pa.Table], shards: Shards) -> SameTexts:
    """Count them in tables that `first_rows` gave of these shards; about 50 bytes a row."""
    hashed = (_hashed(table, shards) for table in tables)
    rows = pa.concat_tables([_SCHEMA.empty_table(), *hashed])
    known = rows.filter(pc.not_equal(rows["text"], pa.scalar(NO_TEXT, pa.uint64())))
    by_text = known.group_by("text").aggregate([("opinion", "count_distinct")])
    several = by_text.filter(pc.greater(by_text["opinion_count_distinct"], 1))
    shared = known.filter(pc.is_in(known["text"], value_set=several["text"].combine_chunks()))
    by_reader = shared.group_by(["text", "persona"]).aggregate([("gold", "count_distinct")])
    differing = by_reader.filter(pc.greater(by_reader["gold_count_distinct"], 1))
    return SameTexts(
        opinions=pc.unique(rows["opinion"]),
        texts=several.num_rows,
        under=len(pc.unique(shared["opinion"])),
        differing=len(pc.unique(differing["text"])),
    )


def _of(shards: Shards, shard: Shard, sample: Sample | None, most: int) -> Iterator[pa.Table]:
    """Yield the first rows of a shard that a sample takes, with the opinion_id that each has."""
    names = ("opinion_id", "text", "persona", "labels", *shards.labels)
    with suppress(ShardError), opened(shards, shard) as file:
        for _, rows in file.tables(names, rows=min(most, BATCH_ROWS)):
            rows, most = rows.slice(0, most), most - rows.num_rows
            made = {"opinion_id": ids_of(rows), "text": casting.texts(rows["text"])[0]}
            table = pa.table({name: rows[name] for name in rows.column_names} | made)
            yield table if sample is None else sample.of(table)
            if most <= 0:
                return


def _hashed(rows: pa.Table, shards: Shards) -> pa.Table:
    gold = casting.gold(rows, shards.labels, shards.gold_cut)[0]
    labelled = gold.is_valid()
    texts = pc.dictionary_encode(rows["text"].combine_chunks().filter(labelled))
    hashes = np.append(text_hashes(recognisable(texts.dictionary), ""), np.uint64(NO_TEXT))
    places = np.asarray(pc.fill_null(texts.indices, len(texts.dictionary)))
    persona = (
        casting.texts(rows["persona"])[0].filter(labelled)
        if "persona" in rows.column_names
        else pa.nulls(len(places), pa.string())
    )
    columns = [
        hashes[places],
        rows["opinion_id"].filter(labelled),
        persona,
        np.array(list(_votes(gold.filter(labelled))), np.uint64),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _votes(gold: pa.StructArray) -> Iterator[int]:
    for votes in label_matrix(gold, ""):
        yield int.from_bytes(hashlib.blake2b(votes.tobytes(), digest_size=8).digest())
