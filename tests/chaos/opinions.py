"""Shards of made-up opinions, as many as wanted: a seeded program wrote them, no patient did."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.labels import LABELS
from medsent.config.personas import load_personas

_WORDS = np.array(["waited", "doctor", "nurse", "kind", "pain", "bill", "fair", "miło", "długo"])
_WORDS_IN_TEXT = 8
_LABELS_AT_MOST = 4
_EMPTY_EVERY, _STRANGER_EVERY = 97, 131
_ROW_GROUP = 16_384


def write_shards(
    folder: Path,
    *,
    opinions: int,
    shards: int,
    seed: int = 0,
    bad_rows: bool = False,
    row_group: int = _ROW_GROUP,
) -> int:
    """Write shards of `opinions` read by all 16 personas each; return the number of records.

    `bad_rows` spoils about one record in 55: an empty text, or a persona nobody knows.
    """
    folder.mkdir(parents=True)
    records = 0
    for shard, numbers in enumerate(np.array_split(np.arange(opinions), shards)):
        table = _table(numbers, np.random.default_rng([seed, shard]), bad_rows)
        pq.write_table(table, folder / f"part-{shard:05d}.parquet", row_group_size=row_group)
        records += table.num_rows
    return records


def _table(numbers: npt.NDArray[np.int64], rng: np.random.Generator, bad_rows: bool) -> pa.Table:
    personas = np.array(sorted(load_personas(None)))
    opinion = np.repeat(numbers, len(personas))
    persona = np.tile(personas, len(numbers))
    words = rng.choice(_WORDS, (len(numbers), _WORDS_IN_TEXT))
    texts = [f"{' '.join(row)} {number}." for row, number in zip(words, numbers, strict=True)]
    text = np.repeat(np.array(texts, object), len(personas))
    if bad_rows:
        text[::_EMPTY_EVERY] = ""
        persona = persona.astype(object)
        persona[::_STRANGER_EVERY] = "nobody"
    return pa.table(
        {
            "record_id": [f"{o}-{i}" for i, o in enumerate(opinion)],
            "opinion_id": opinion.astype(str),
            "text": pa.array(text, pa.string()),
            "language": pa.array(np.where(opinion % 2, "pl", "en"), pa.string()),
            "persona": pa.array(persona, pa.string()),
            "labels": _labels(len(opinion), rng),
        }
    )


def _labels(rows: int, rng: np.random.Generator) -> pa.Array:
    """Return a few label names a row."""
    counts = rng.integers(0, _LABELS_AT_MOST + 1, rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    names = pa.array(LABELS).take(pa.array(rng.integers(0, len(LABELS), offsets[-1])))
    return pa.ListArray.from_arrays(pa.array(offsets), names)
