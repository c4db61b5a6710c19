"""The same text under another id: how texts are made alike, and how they are hashed."""

import hashlib
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from medsent.input import casting
from medsent.input.reading import OpenShard, opened
from medsent.input.records import ids_of
from medsent.input.shard import ShardError
from medsent.input.shards import Shards

Hashes = npt.NDArray[np.uint64]

LEAST: Final = 40
"""Characters of a text that can be recognised. Many people write a shorter one, such as "A very
good doctor, I recommend him", each for themselves: the same words are no copy of an opinion."""
NO_TEXT: Final = 0
"""The hash of a text that is missing, or too short to be recognised."""

_UNSEEN = r"[\p{Cf}\x{FE0E}\x{FE0F}]+"
"""What has no mark of its own: soft hyphens, joiners, the choice of an emoji's form."""
_BETWEEN = r"[\s\pZ\p{Cc}\pP]+"
"""White space, control characters and punctuation."""


def recognisable(texts: pa.Array) -> pa.Array:
    """Return (N,) texts as they are compared: null where missing, or shorter than `LEAST`.

    Two are the same where they have the same letters, digits and symbols in the same order, by
    Unicode's NFKC and in either case: punctuation and white space only part words.
    """
    cased = [
        None if text is None else unicodedata.normalize("NFKC", text).casefold()
        for text in texts.to_pylist()
    ]
    # Folding the case may leave what NFKC would write otherwise.
    folded = pc.utf8_normalize(pa.array(cased, pa.string()), form="NFKC")
    seen = pc.replace_substring_regex(folded, _UNSEEN, "")
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(seen, _BETWEEN, " "))
    return pc.if_else(pc.greater_equal(pc.utf8_length(words), LEAST), words, None)


def text_hashes(texts: pa.Array, key: str) -> Hashes:
    """Return 64 bits of each of N texts that `recognisable` gave, `NO_TEXT` for null.

    They depend on a key: without it nobody can tell which texts they are of, and hashes by two
    keys do not show which texts both have.
    """
    secret = key.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
    made = [
        NO_TEXT
        if text is None
        else int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=secret).digest())
        for text in texts.to_pylist()
    ]
    return np.array(made, np.uint64)


def ids_and_texts(file: OpenShard) -> Iterator[tuple[int, pa.Table]]:
    """Yield (row group, the opinion_id and the text of each of its rows), batch by batch."""
    for group, rows in file.tables(["opinion_id", "text"]):
        texts = casting.texts(rows["text"])[0]
        yield group, pa.table({"opinion_id": ids_of(rows), "text": texts})


def texts_of(shards: Shards, opinion_ids: pa.Array) -> Iterator[pa.Table]:
    """Yield the opinion_id and text of the opinions that are named, as `recognisable`.

    Each pair is there once a batch. A shard that cannot be read is passed over: its opinions
    are found to have no text.
    """
    for shard in shards.files:
        with suppress(ShardError), opened(shards, shard) as file:
            for _, rows in ids_and_texts(file):
                if (named := texts_among(rows, opinion_ids)).num_rows:
                    yield named


def texts_among(rows: pa.Table, opinion_ids: pa.Array) -> pa.Table:
    """Return once each opinion_id and text, as `recognisable`, of the opinions that are named."""
    named = rows.filter(pc.is_in(rows["opinion_id"], value_set=opinion_ids))
    once = named.group_by(["opinion_id", "text"]).aggregate([]).combine_chunks()
    return pa.table({"opinion_id": once["opinion_id"], "text": recognisable(once["text"])})
