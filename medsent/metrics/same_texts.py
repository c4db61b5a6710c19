"""The same text under several ids, counted over an input with gold."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medsent.input import casting
from medsent.input.reading import opened
from medsent.input.records import ids_of
from medsent.input.shard import Shard, ShardError
from medsent.input.shards import Shards
from medsent.input.texts import NO_TEXT, recognisable, text_hashes
from medsent.predictions import label_matrix

_SCHEMA: Final = pa.schema(
    [("text", pa.uint64()), ("opinion", pa.string()), ("persona", pa.string()), ("gold", "uint64")]
)


@dataclass(frozen=True)
class SameTexts:
    """What an input with gold holds of texts that stand under several ids."""

    opinions: pa.Array
    """(K,): the ids of all opinions with gold."""
    texts: int
    """Texts that several of them have."""
    under: int
    """Opinions that have these."""
    differing: int
    """Of the texts, those to which one reader's gold differs."""


def same_texts(shards: Shards) -> SameTexts:
    """Count them; a shard that cannot be read is passed over. Memory is about 50 bytes a row."""
    rows = pa.concat_tables([_SCHEMA.empty_table(), *(_of(shards, file) for file in shards.files)])
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


def _of(shards: Shards, shard: Shard) -> pa.Table:
    """Return the rows of a shard that have gold, by hashes of text and gold."""
    names = ("opinion_id", "text", "persona", "labels", *shards.labels)
    made = [_SCHEMA.empty_table()]
    with suppress(ShardError), opened(shards, shard) as file:
        made.extend(_hashed(rows, shards) for _, rows in file.tables(names))
    return pa.concat_tables(made)


def _hashed(rows: pa.Table, shards: Shards) -> pa.Table:
    gold = casting.gold(rows, shards.labels, shards.gold_cut)[0]
    labelled = gold.is_valid()
    texts = pc.dictionary_encode(casting.texts(rows["text"])[0].filter(labelled))
    hashes = np.append(text_hashes(recognisable(texts.dictionary), ""), np.uint64(NO_TEXT))
    places = np.asarray(pc.fill_null(texts.indices, len(texts.dictionary)))
    persona = (
        casting.texts(rows["persona"])[0].filter(labelled)
        if "persona" in rows.column_names
        else pa.nulls(len(places), pa.string())
    )
    columns = [
        hashes[places],
        ids_of(rows).filter(labelled),
        persona,
        np.array(list(_votes(gold.filter(labelled))), np.uint64),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _votes(gold: pa.StructArray) -> Iterator[int]:
    for votes in label_matrix(gold, ""):
        yield int.from_bytes(hashlib.blake2b(votes.tobytes(), digest_size=8).digest())
