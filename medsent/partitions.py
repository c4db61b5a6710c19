"""Columns that the folders of a file tell, as Hive and Spark write them."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date

import pyarrow as pa

_TEXTS = ("record_id", "opinion_id", "text", "language", "persona", "labels")
"""Columns of ours that a folder's name, a text, serves as it stands."""


def partition_values(path: str) -> dict[str, str | None]:
    return {}


def path_columns(path: str, serves: Mapping[str, str]) -> dict[str, pa.Scalar]:
    """Return the columns that a shard's folders tell; dates and votes where they serve as such."""
    found = {}
    for name, value in partition_values(path).items():
        ours = serves.get(name)
        made = pa.scalar(value, pa.string())
        if value is not None and ours is not None and ours not in _TEXTS:
            with suppress(ValueError):  # its type then tells that it does not fit
                made = pa.scalar(date.fromisoformat(value) if ours == "date" else int(value))
        found[name] = made
    return found
