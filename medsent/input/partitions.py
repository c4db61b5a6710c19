"""Columns that are in a file's path: `language=pl/month=2026-01/part-0.parquet`."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from urllib.parse import unquote

import pyarrow as pa

_NULL = "__HIVE_DEFAULT_PARTITION__"
"""How Hive, Spark and DuckDB call the folder of no value."""


_TEXTS = ("record_id", "opinion_id", "text", "language", "persona", "labels")
"""Columns of ours that a folder's name, a text, serves as it stands."""


def partition_values(path: str) -> dict[str, str | None]:
    """Return the values that the folders of a path give its file, None for no value.

    Of two folders of one name the inner one counts. The texts can be written to Parquet: in
    place of a byte that is no UTF-8 stands its escape.
    """
    values: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if name and equals:
            text = _decoded(value)
            values[_decoded(name)] = None if text in ("", _NULL) else text
    return values


def path_columns(path: str, serves: Mapping[str, str]) -> dict[str, pa.Scalar]:
    """Return the columns that a shard's folders tell; dates and votes where they serve as such."""
    found = {}
    for name, value in partition_values(path).items():
        ours = serves.get(name)
        if ours is None or ours in _TEXTS:
            found[name] = pa.scalar(value, pa.string())
        else:
            found[name] = _day_or_vote(value, ours)
    return found


def _day_or_vote(value: str | None, ours: str) -> pa.Scalar:
    """Return a folder's value as a day or a vote; else as text, whose type is refused later."""
    if value is None:
        return pa.scalar(None)
    with suppress(ValueError, OverflowError):
        return pa.scalar(date.fromisoformat(value) if ours == "date" else int(value))
    return pa.scalar(value, pa.string())


def _decoded(text: str) -> str:
    """Return what was percent-encoded; the text as it stands where that gives no characters."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
