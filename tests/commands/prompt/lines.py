"""What a training pipeline may have written, and shards that hold other records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = "Osoba: {persona}\nOpinia: {opinion}\nOdpowiedź:"

Asked = Callable[..., list[str]]


def written(file: Path, lines: list[Any]) -> str:
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    return str(file)


def with_texts(shard: Path, folder: Path, **columns: list[Any]) -> str:
    """Write the demo's records with some columns changed; return the shard's path."""
    table = pq.read_table(shard)
    for name, values in columns.items():
        changed = pa.array(values[: table.num_rows], table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, changed)
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "changed.parquet")
    return str(folder / "changed.parquet")


def asked_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return what a prompter takes of a row."""
    return row["text"], row["language"], row["persona"]
