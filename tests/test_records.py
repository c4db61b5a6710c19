"""Rows become records; a row that cannot be scored has a reason and stays in its place."""

import datetime
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs

from medsent import predictions
from medsent.labels import LABELS
from medsent.records import RecordReader, fan_out
from medsent.shards import Shards

PERSONAS = ("nurse", "surgeon")
OURS = ("record_id", "opinion_id", "text", "language", "persona", "date", "labels")


def records(kept: tuple[pa.Field, ...] = (), **columns: Any) -> pa.Table:
    """Read rows made of good values for each column that is not given; None takes one out."""
    count = max([1, *(len(column) for column in columns.values() if column is not None)])
    table = {
        "record_id": pa.array([f"r{i}" for i in range(count)]),
        "text": pa.array([f"text {i}" for i in range(count)]),
        "language": pa.array(["en"] * count),
        "persona": pa.array(["nurse"] * count),
        **columns,
        "row_hash": pa.array([2**64 - 1 - i for i in range(count)], pa.uint64()),
        "path": pa.array(["/in/0.parquet"] * count),
    }
    rows = pa.table({name: column for name, column in table.items() if column is not None})
    ours = {name: name for name in (*OURS, *LABELS) if name in rows.column_names}
    shards = Shards((), fs.LocalFileSystem(), ours, kept, LABELS)
    return RecordReader(shards, PERSONAS)(rows)


def test_reasons() -> None:
    texts = ["fine", "", " \n\t\u00a0", None, "fine", "fine", ""]
    readers = ["nurse", "nurse", "nurse", "nurse", "stranger", None, "stranger"]
    found = records(text=pa.array(texts), persona=pa.array(readers))
    assert found["reason"].to_pylist() == [
        None,
        "empty_text",
        "empty_text",
        "empty_text",
        "unknown_persona",
        None,
        "empty_text",
    ]
    assert found["record_id"].to_pylist() == [f"r{i}" for i in range(7)]


def test_an_unknown_label_is_a_reason_and_leaves_no_gold() -> None:
    tags = pa.array([["anger"], ["wrath"], None, []], pa.list_(pa.string()))
    found = records(labels=tags)
    assert found["reason"].to_pylist() == [None, "bad_labels", None, None]
    gold = found["gold"].to_pylist()
    assert gold[0] == {label: int(label == "anger") for label in LABELS}
    assert gold[1] is gold[2] is None
    assert gold[3] == dict.fromkeys(LABELS, 0)


@pytest.mark.parametrize("column", ["record_id", "opinion_id", "text", "language", "persona"])
def test_a_value_that_is_not_utf8_is_a_reason(column: str) -> None:
    values = pa.array([b"nurse", b"\xff\xfe", None]).view(pa.string())
    found = records(**{column: values})
    assert found["reason"][1].as_py() == "bad_type"
    assert found["reason"][0].as_py() is None
    assert found["reason"][2].as_py() == ("empty_text" if column == "text" else None)
    if column != "opinion_id":  # that one falls back to a hash of the text
        assert found[column].to_pylist() == ["nurse", None, None]


def test_the_schema_is_the_predictions_own() -> None:
    kept = (pa.field("clinic", pa.int8()),)
    found = records(kept, clinic=pa.array([1], pa.int64()))
    keys = predictions.key_types(LABELS)
    for field in found.schema:
        assert field.type == keys.get(
            field.name, pa.int8() if field.name == "clinic" else pa.string()
        )
    assert set(found.column_names) == set(keys) - {"outcome"} | {"text", "clinic"}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_the_text_may_be_kept(kind: pa.DataType) -> None:
    found = records((pa.field("text", kind),), text=pa.array(["a", ""], kind))
    assert found.column_names.count("text") == 1
    assert found["text"].to_pylist() == ["a", ""]
    assert found["text"].type == kind


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("record_id", pa.array([7, None], pa.int64()), ["7", None]),
        ("record_id", pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
        ("opinion_id", pa.array([7, 8], pa.int8()), ["7", "8"]),
        ("text", pa.array(["a", "ż"], pa.large_string()), ["a", "ż"]),
        ("language", pa.array(["pl", None]).dictionary_encode(), ["pl", None]),
        ("persona", pa.nulls(2), [None, None]),
        ("persona", None, [None]),
        ("language", None, [None]),
        ("date", None, [None]),
        ("date", pa.array([datetime.date(2026, 1, 2)], pa.date64()), [datetime.date(2026, 1, 2)]),
        (
            "date",
            pa.array([datetime.datetime(2026, 1, 2, 23, 59, 59, tzinfo=UTC)], pa.timestamp("ns")),
            [datetime.date(2026, 1, 2)],
        ),
        ("date", pa.nulls(1), [None]),
    ],
)
def test_types_are_brought_to_ours(column: str, values: Any, expected: list[Any]) -> None:
    found = records(**{column: values})
    assert found[column].to_pylist() == expected
    assert found["reason"].null_count == len(expected)


def test_keys_pass_as_they_are() -> None:
    found = records(text=pa.array(["a", "b"]))
    assert found["row_hash"].to_pylist() == [2**64 - 1, 2**64 - 2]
    assert found["path"].to_pylist() == ["/in/0.parquet"] * 2


def test_an_opinion_without_an_id_is_known_by_its_text() -> None:
    texts = pa.array(["same", "same", "other", "same"])
    without = records(text=texts)["opinion_id"].to_pylist()
    assert without[0] == without[1] == without[3] != without[2]
    some = records(text=texts, opinion_id=pa.array(["o1", None, None, "o4"]))["opinion_id"]
    assert some.to_pylist() == ["o1", without[0], without[2], "o4"]
    assert "same" not in without[0]


def test_wide_labels() -> None:
    wide = {label: pa.array([1, -1, 0], pa.int8()) for label in LABELS}
    gold = records(**wide | {"calm": pa.array([0, -1, None], pa.int8())})["gold"].to_pylist()
    assert gold[0] == dict.fromkeys(LABELS, 1) | {"calm": 0}
    assert gold[1] is None
    assert gold[2] == dict.fromkeys(LABELS, 0) | {"calm": None}


def test_no_rows() -> None:
    empty = {
        "record_id": pa.array([], pa.string()),
        "text": pa.array([], pa.string()),
        "labels": pa.array([], pa.list_(pa.string())),
    }
    rows = pa.table(
        {**empty, "row_hash": pa.array([], pa.uint64()), "path": pa.array([], pa.string())}
    )
    shards = Shards((), fs.LocalFileSystem(), {name: name for name in empty}, (), LABELS)
    assert RecordReader(shards, PERSONAS)(rows).num_rows == 0


def test_all_personas_read_a_row_one_after_the_other() -> None:
    kept = pa.field("clinic", pa.string())
    rows = records((kept,), text=["one", ""], clinic=["a", "b"])
    made = fan_out(rows, ("nurse", "surgeon"))
    assert made.schema == rows.schema
    assert made["persona"].to_pylist() == ["nurse", "surgeon"] * 2
    assert made["clinic"].to_pylist() == ["a", "a", "b", "b"]
    assert made["reason"].to_pylist() == [None, None, "empty_text", "empty_text"]
    for name in ("row_hash", "text", "opinion_id"):
        once = rows[name].to_pylist()
        assert made[name].to_pylist() == [once[0], once[0], once[1], once[1]]
    assert len(set(predictions.record_keys(made).tolist())) == 4
    assert fan_out(rows, ()) is rows
