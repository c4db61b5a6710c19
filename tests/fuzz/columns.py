"""Columns of the kinds that are drawn, as Arrow arrays."""

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from medsent.config.labels import LABELS
from tests.fuzz.drawn import Shard

MARK = "WHAT-A-PATIENT-SAID"
"""Stands in every text, so that one that gets out is found."""
NAMED = ("surgeon", "no_such_reader")

Arrays = dict[str, pa.Array]


def columns(shard: Shard, number: int) -> list[tuple[str, pa.Array]]:
    """Return the columns of a shard, names and arrays of `shard.rows`, in the order of writing."""
    made: list[tuple[str, pa.Array]] = [
        ("record_id", _ids(shard, number)),
        ("text", _texts(shard, number)),
        ("language", _languages(shard)),
    ]
    if shard.persona != "absent":
        made.append(("persona", _personas(shard)))
    if shard.date != "absent":
        made.append(("date", _dates(shard)))
    made += _gold(shard)
    if shard.kept != "absent":
        made.append(("clinic", _kept(shard)))
    return made


def _cycled(values: Sequence[Any], rows: int) -> list[Any]:
    return [values[i % len(values)] for i in range(rows)]


def _ids(shard: Shard, number: int) -> pa.Array:
    first = number * 20  # int8 holds those of six shards
    whole = list(range(first, first + shard.rows))
    match shard.ids:
        case "int8" | "int64" | "uint64":
            return pa.array(whole, getattr(pa, shard.ids)())
        case "decimal":
            return pa.array([decimal.Decimal(i) for i in whole], pa.decimal128(20, 0))
        case "decimal_places":
            return pa.array([decimal.Decimal(i) / 2 for i in whole], pa.decimal128(20, 1))
        case "uuid":
            raw = pa.array([uuid.UUID(int=i).bytes for i in whole], pa.binary(16))
            return pa.ExtensionArray.from_storage(pa.uuid(), raw)
        case "whole_float":
            return pa.array([float(i) for i in whole], pa.float64())
        case "broken_float":
            return pa.array([i + 0.5 for i in whole], pa.float64())
        case "bool":
            return pa.array([bool(i % 2) for i in whole])
        case "some_null":
            return pa.array([None if i % 3 == 1 else f"r{i}" for i in whole], pa.string())
        case "twice":
            return pa.array(["same"] * shard.rows)
        case "binary":
            return pa.array([f"r{i}".encode() for i in whole], pa.binary())
    return _typed([f"r{i}" for i in whole], shard.ids)


def _typed(values: list[str | None], kind: str) -> pa.Array:
    strings = pa.array(values, pa.string())
    match kind:
        case "dictionary" | "dictionary32":
            return strings.dictionary_encode()
        case "dictionary8":
            return strings.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string()))
        case "string" | "large_string" | "string_view" | "binary" | "large_binary":
            return strings.cast(getattr(pa, kind)())
        case "all_null":
            return pa.nulls(len(values), pa.null())
    raise ValueError(kind)


_CONTENTS: dict[str, Callable[[str], str | None]] = {
    "plain": lambda mark: f"{mark} The doctor was kind. Pani doktor była miła.",
    "empty": lambda mark: "",
    "white_space": lambda mark: " \t\n\u00a0\u3000",
    "zero_width": lambda mark: "\u200b\u200d\ufeff",
    "null": lambda mark: None,
    "special_tokens": lambda mark: f"<bos>{mark}<end_of_turn><start_of_image></s>[INST]",
    "long": lambda mark: f"{mark} " + "bardzo długo " * 3_000,
    "controls": lambda mark: f"{mark}\x00\x01\x1b[31m\r\n</script><b>| a |",
    "lone_surrogate": lambda mark: f"{mark} \U0001f9d1\u200d\u2695\ufe0f e\u0301",
    "bad_utf8": lambda mark: f"{mark} bad",
}


def _texts(shard: Shard, number: int) -> pa.Array:
    if shard.text == "int64":
        return pa.array(range(shard.rows), pa.int64())
    if shard.text == "all_null":
        return pa.nulls(shard.rows, pa.null())
    kinds = _cycled(shard.contents, shard.rows)
    texts = [_CONTENTS[kind](f"{MARK}-{number}-{i}") for i, kind in enumerate(kinds)]
    if "bad_utf8" not in shard.contents:
        return _typed(texts, shard.text)
    raw = [
        text if text is None else text.encode() + b"\xff" * (kind == "bad_utf8")
        for text, kind in zip(texts, kinds, strict=True)
    ]
    if shard.text in ("binary", "large_binary"):
        return pa.array(raw, getattr(pa, shard.text)())
    return pa.array(raw, pa.binary()).view(pa.string())


def _languages(shard: Shard) -> pa.Array:
    named = ["ą" * 300 if name == "long" else name for name in shard.languages]
    return _typed(_cycled(named, shard.rows), shard.language_type)


def _personas(shard: Shard) -> pa.Array:
    known, unknown = NAMED
    match shard.persona:
        case "unknown":
            return pa.array([unknown] * shard.rows)
        case "some_null":
            return pa.array(_cycled([known, None], shard.rows))
        case "int64":
            return pa.array(range(shard.rows), pa.int64())
        case "all_null":
            return pa.nulls(shard.rows, pa.null())
        case "dictionary":
            return pa.array([known] * shard.rows).dictionary_encode()
    return pa.array([known] * shard.rows)


def _dates(shard: Shard) -> pa.Array:
    day, rows = dt.date(2026, 1, 2), shard.rows
    evening = np.datetime64("2026-01-02T23:30:00")
    match shard.date:
        case "date32" | "date64":
            return pa.array([day] * rows, getattr(pa, shard.date)())
        case "s" | "ms" | "us" | "ns":
            return pa.array([evening] * rows).cast(pa.timestamp(shard.date))
        case "us_utc" | "us_warsaw":
            zone = {"us_utc": "UTC", "us_warsaw": "Europe/Warsaw"}[shard.date]
            return pa.array([evening] * rows).cast(pa.timestamp("us", zone))
        case "int96_far" | "far":
            return pa.array([np.datetime64("9999-12-31T00:00:00")] * rows).cast(pa.timestamp("us"))
        case "iso":
            return pa.array(["2026-01-02"] * rows)
        case "german":
            return pa.array(["02.01.2026"] * rows)
        case "int64":
            return pa.array([20260102] * rows, pa.int64())
    return pa.nulls(rows, pa.null())


def _gold(shard: Shard) -> list[tuple[str, pa.Array]]:
    rows, first, second = shard.rows, LABELS[0], LABELS[1]
    one = pa.list_(pa.string())
    lists: dict[str, tuple[list[Any], pa.DataType]] = {
        "names": ([[first], [], [first, second]], one),
        "large_names": ([[first], [], [first, second]], pa.large_list(pa.large_string())),
        "unknown_name": ([[first], ["no such label"]], one),
        "other_case": ([[first.upper()], [f" {second} "]], one),
        "all_empty": ([[]], one),
        "class_ids": ([[0, 3], []], pa.list_(pa.int64())),
        "words": (["yes", "tak"], pa.string()),
        "json_text": ([json.dumps([first])], pa.string()),
        "all_null": ([None], pa.null()),
    }
    if shard.gold in lists:
        values, of_type = lists[shard.gold]
        return [("labels", pa.array(_cycled(values, rows), of_type))]
    votes: dict[str, tuple[Sequence[str], list[Any], pa.DataType]] = {
        "struct_bool": (LABELS, [True, False], pa.bool_()),
        "struct_int": (LABELS, [1, 0, None], pa.int8()),
        "struct_some": (LABELS[:3], [1, 0], pa.int8()),
        "struct_other": (("joyful", "sadful"), [1, 0], pa.int8()),
        "columns": (LABELS, [1, 0], pa.int8()),
        "columns_20": (LABELS[:-1], [1, 0], pa.int8()),
        "columns_bool": (LABELS, [True, False], pa.bool_()),
        "shares": (LABELS, [0.25, 0.75, 0.0, 1.0], pa.float64()),
        "whole_shares": (LABELS, [0.0, 1.0], pa.float64()),
        "grades": (LABELS, [0, 1, 2, 3], pa.int64()),
        "half_votes": (LABELS, [0.5, 1.0], pa.float64()),
    }
    if shard.gold not in votes:
        return []
    names, values, of_type = votes[shard.gold]
    made = [
        (name, pa.array(_cycled(values[i % len(values) :] + values, rows), of_type))
        for i, name in enumerate(names)
    ]
    if shard.gold.startswith("struct"):
        return [("labels", pa.StructArray.from_arrays([a for _, a in made], [n for n, _ in made]))]
    return made


def _kept(shard: Shard) -> pa.Array:
    rows = shard.rows
    inner = pa.struct([("a", pa.list_(pa.int32())), ("b", pa.string_view())])
    kinds: dict[str, tuple[list[Any], pa.DataType]] = {
        "int32": ([1, None], pa.int32()),
        "int64": ([1, 2**53 + 1], pa.int64()),
        "big_int": ([2**63 - 1], pa.int64()),
        "float64": ([1.5, float("nan")], pa.float64()),
        "string": (["north", None], pa.string()),
        "string_view": (["north", None], pa.string_view()),
        "bool": ([True], pa.bool_()),
        "list": ([[1], None], pa.list_(pa.int64())),
        "list_of_views": ([["a"], []], pa.list_(pa.string_view())),
        "struct": ([{"a": [1], "b": "x"}, None], inner),
        "map": ([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "decimal": ([decimal.Decimal("1.50")], pa.decimal128(10, 2)),
        "time": ([dt.time(1, 2)], pa.time64("us")),
        "duration": ([dt.timedelta(1)], pa.duration("us")),
        "timestamp": ([np.datetime64("2026-01-02", "ns")], pa.timestamp("ns")),
        "binary": ([b"\xff\x00"], pa.binary()),
        "all_null": ([None], pa.null()),
    }
    if shard.kept == "dictionary":
        return pa.array(_cycled(["north", "south"], rows)).dictionary_encode()
    values, of_type = kinds[shard.kept]
    return pa.array(_cycled(values, rows), of_type)
