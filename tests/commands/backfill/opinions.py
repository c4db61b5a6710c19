"""Shards of opinions that nobody has labelled, one row each, and what a run makes of them."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.personas import load_personas

PERSONAS = sorted(load_personas(None))
_WORDS = ("waited", "doctor", "nurse", "kind", "pain", "bill", "fair", "miło", "długo")
_WORDS_IN_TEXT = 8
_MONTHS = 3


def write_opinions(file: Path, first: int, count: int, empty: int | None = None) -> None:
    """Write a shard of the opinions from number `first` on, made up by a seeded program.

    Every `empty`-th text is empty.
    """
    numbers = np.arange(first, first + count)
    words = np.random.default_rng(first).choice(_WORDS, (count, _WORDS_IN_TEXT))
    texts = [f"{' '.join(row)} {number}." for row, number in zip(words, numbers, strict=True)]
    if empty is not None:
        texts[::empty] = [""] * len(texts[::empty])
    days = [date(2026, 1, 1) + timedelta(days=int(n) % (31 * _MONTHS - 3)) for n in numbers]
    table = pa.table(
        {
            "record_id": [f"r{number}" for number in numbers],
            "opinion_id": [f"o{number}" for number in numbers],
            "text": texts,
            "language": np.where(numbers % 2, "pl", "en"),
            "date": pa.array(days, pa.date32()),
        }
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def backfill_values(
    source: Path | str, output: Path | str, model: Path, **groups: Any
) -> dict[str, Any]:
    """Return the settings of a backfill with the scripted engine; groups are replaced whole."""
    return {
        "name": "chaos",
        "input": {"path": str(source), "fan_out": "personas"},
        "output": {"path": str(output)},
        "model": {"source": str(model), "max_model_len": 1024},
        "variants": {"plain": {"method": "onepass"}},
        "engine": {"kind": "scripted", "rows_per_block": 64},
        "statistics": {"replicates": 0},
    } | groups


def outcomes(run: Path) -> Counter[tuple[str, str]]:
    """Count the outcomes of each (record_id, persona), by nothing of the job's own."""
    counted: Counter[tuple[str, str]] = Counter()
    for file in (run / "predictions").glob("*.parquet"):
        table = pq.ParquetFile(file).read(columns=["record_id", "persona"])
        counted.update(zip(*(table[n].to_pylist() for n in table.column_names), strict=True))
    return counted


def expected(source: Path) -> Counter[tuple[str, str]]:
    """Return one outcome of each record of the shards for each persona."""
    ids = [i for file in source.glob("*.parquet") for i in pq.read_table(file)[0].to_pylist()]
    return Counter({(record, persona): 1 for record in ids for persona in PERSONAS})
