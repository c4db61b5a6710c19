"""Rows become records; a row that cannot be scored has a reason and stays in its place."""

import datetime
import hashlib
from datetime import UTC
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent import predictions
from medsent.config.labels import LABELS
from medsent.input.records import LOST_DATE, RecordReader, fan_out, row_hashes
from tests.input.reading import opened, read, records, rows, written


def made(kept: list[str] | None = None, longest: int | None = None, **columns: Any) -> pa.Table:
    """Read rows made of good values for each column that is not given; None takes one out."""
    count = max([1, *(len(column) for column in columns.values() if column is not None)])
    columns = {"text": pa.array([f"text {i}" for i in range(count)]), **columns}
    return read(rows(count, **columns), keep=kept or [], longest=longest, columns=_lacking(columns))


def _lacking(columns: dict[str, Any]) -> dict[str, None]:
    return {name: None for name, column in columns.items() if column is None}


def test_reasons() -> None:
    texts = ["fine", "", " \n\t\u00a0", None, "fine", "fine", ""]
    readers = ["nurse", "nurse", "nurse", "nurse", "stranger", None, "stranger"]
    found = made(text=pa.array(texts), persona=pa.array(readers))
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


@pytest.mark.parametrize(
    "blank",
    [
        "\u200b\u200d\ufeff\u2060",
        "\u2800 \u3164 \u00ad",
        "\u115f\u1160\uffa0",
        "\0",
        " \x1b\x7f\u2028\u3000",
    ],
)
def test_a_text_of_nothing_to_be_seen_is_empty(blank: str) -> None:
    found = made(text=pa.array([blank, f"{blank}a{blank}", "\u0301", "👍🏽", "."]))
    assert found["reason"].to_pylist() == ["empty_text", None, None, None, None]
    assert found["text"][1].as_py() == f"{blank}a{blank}"


def test_a_text_of_too_many_characters_is_read_no_further() -> None:
    texts = ["ż" * 9, "ż" * 10, "ż" * 11, " " * 99, "w" * 2_000_000]
    found = made(text=pa.array(texts), longest=10)
    assert found["reason"].to_pylist() == [None, None, "too_long", "empty_text", "too_long"]
    assert found["text"].to_pylist() == [*texts[:2], None, None, None]
    assert len(set(found["opinion_id"].to_pylist())) == 5, "an id is a hash of the whole text"
    assert found["text"].nbytes < 200, "its bytes are gone, not only hidden"
    assert made(text=pa.array(texts))["text"].to_pylist() == texts


def test_an_unknown_label_is_a_reason_and_leaves_no_gold() -> None:
    tags = pa.array([["anger"], ["wrath"], None, []], pa.list_(pa.string()))
    found = made(labels=tags)
    assert found["reason"].to_pylist() == [None, "bad_labels", None, None]
    gold = found["gold"].to_pylist()
    assert gold[0] == {label: int(label == "anger") for label in LABELS}
    assert gold[1] is gold[2] is None
    assert gold[3] == dict.fromkeys(LABELS, 0)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.decimal128(9, 2)])
def test_a_vote_that_is_no_whole_number_is_a_reason(kind: pa.DataType) -> None:
    wide = {label: pa.array([1, 0, None], pa.int8()).cast(kind) for label in LABELS}
    shares = pa.array([0, 0.25, 0]).cast(kind)
    found = made(**wide | {"calm": shares})
    assert found["reason"].to_pylist() == [None, "bad_labels", None]
    assert found["gold"][1].as_py() is None
    assert found["gold"][0].as_py() == dict.fromkeys(LABELS, 1) | {"calm": 0}


@pytest.mark.parametrize("kind", ["string", "binary", "dictionary"])
@pytest.mark.parametrize("column", ["record_id", "opinion_id", "text", "language", "persona"])
def test_a_value_that_is_not_utf8_is_a_reason(column: str, kind: str) -> None:
    raw = pa.array([b"nurse", b"\xff\xfe", None])
    values = {"string": raw.view(pa.string()), "binary": raw}
    values["dictionary"] = values["string"].dictionary_encode()
    found = made(**{column: values[kind]})
    assert found["reason"][1].as_py() == "bad_type"
    assert found["reason"][0].as_py() is None or column == "language"
    assert found["reason"][2].as_py() == ("empty_text" if column == "text" else None)
    if column != "opinion_id":  # that one falls back to a hash of the text
        assert found[column].to_pylist() == ["nurse", None, None]


def test_the_schema_is_the_predictions_own() -> None:
    found = made(["clinic"], clinic=pa.array([1], pa.int8()))
    keys = predictions.key_types(LABELS)
    others = {"kept clinic": pa.int8(), LOST_DATE: pa.bool_()}
    for field in found.schema:
        assert field.type == keys.get(field.name, others.get(field.name, pa.string()))
    assert set(found.column_names) == (set(keys) - {"outcome"}) | {"text", *others}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_the_text_may_be_kept(kind: pa.DataType) -> None:
    found = made(["text"], text=pa.array(["a", ""], kind))
    assert found["text"].to_pylist() == found["kept text"].to_pylist() == ["a", ""]
    assert found["kept text"].type == pa.string()


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("record_id", pa.array([7, None], pa.int64()), ["7", None]),
        ("record_id", pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
        ("record_id", pa.array([7, None]).cast(pa.decimal128(20, 0)), ["7", None]),
        (
            "record_id",
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\x01" * 16], pa.binary(16))),
            [str(UUID(bytes=b"\x01" * 16))],
        ),
        ("opinion_id", pa.array([7, 8], pa.int8()), ["7", "8"]),
        ("opinion_id", pa.array([7, 7]).dictionary_encode(), ["7", "7"]),
        ("text", pa.array(["a", "ż"], pa.large_string()), ["a", "ż"]),
        ("text", pa.array(["a", "ż"], pa.string_view()), ["a", "ż"]),
        ("text", pa.array([b"a", "ż".encode()], pa.binary()), ["a", "ż"]),
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
        (
            "date",
            pa.array(
                [datetime.datetime(2026, 1, 1, 23, 30, tzinfo=UTC)],
                pa.timestamp("s", "Europe/Warsaw"),
            ),
            [datetime.date(2026, 1, 2)],
        ),
        ("date", pa.nulls(1), [None]),
    ],
)
def test_types_are_brought_to_ours(column: str, values: Any, expected: list[Any]) -> None:
    found = made(**{column: values})
    assert found[column].to_pylist() == expected
    assert found["reason"].null_count == len(expected)
    assert not any(found[LOST_DATE].to_pylist())


@pytest.mark.parametrize("name", ["opinion_id", "language", "persona", "date", "labels"])
@pytest.mark.parametrize("kind", [pa.null(), None])
def test_a_column_without_any_value_is_missing_whatever_its_type(
    name: str, kind: pa.DataType | None
) -> None:
    usual = {"date": pa.timestamp("ns"), "labels": pa.list_(pa.string())}
    found = made(**{name: pa.nulls(2, kind or usual.get(name, pa.string_view()))})
    assert found["reason"].to_pylist() == [None, None]
    assert found["gold"].null_count == 2
    assert found["date"].null_count == 2


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_date_that_none_can_show_is_null_and_told(unit: str) -> None:
    moments = pa.array([253_402_300_799, 253_402_300_800, -62_135_596_801, -62_135_596_800, None])
    found = made(date=moments.view(pa.timestamp("s")).cast(pa.timestamp(unit)))
    first, last = datetime.date(1, 1, 1), datetime.date(9999, 12, 31)
    assert found["date"].to_pylist() == [last, None, None, first, None]
    assert found[LOST_DATE].to_pylist() == [False, True, True, False, False]
    assert found["reason"].null_count == 5


def test_the_key_of_a_row_is_of_its_shard_and_place_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(rows(7), tmp_path / f"{name}.parquet", row_group_size=3)
    shards = opened(tmp_path)
    at_once = records(shards)
    assert len(set(at_once["row_hash"].to_pylist())) == 14
    assert at_once["path"].to_pylist() == [
        str(tmp_path / f"{n}.parquet") for n in "a" * 7 + "b" * 7
    ]
    assert records(shards, batch=2).equals(at_once)
    keys = row_hashes(str(tmp_path / "b.parquet"), 0, 7)
    assert at_once["row_hash"].to_pylist()[7:] == keys.tolist()
    assert row_hashes(str(tmp_path / "b.parquet"), 5, 2).tolist() == keys[5:].tolist()


def test_keys_stay_as_they_are_from_version_to_version() -> None:
    """Runs that are gone on with hold them."""
    seed = int.from_bytes(hashlib.md5(b"/in/a.parquet").digest()[:8], "little")
    key = (seed + 3) % 2**64
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB % 2**64
    assert row_hashes("/in/a.parquet", 3, 1).tolist() == [key ^ (key >> 31)]


def test_an_opinion_without_an_id_is_known_by_its_text() -> None:
    texts = pa.array(["same", "same", "other", "same"])
    without = made(text=texts)["opinion_id"].to_pylist()
    assert without[0] == without[1] == without[3] != without[2]
    some = made(text=texts, opinion_id=pa.array(["o1", None, None, "o4"]))["opinion_id"]
    assert some.to_pylist() == ["o1", without[0], without[2], "o4"]
    assert "same" not in without[0]


def test_wide_labels() -> None:
    wide = {label: pa.array([1, -1, 0], pa.int8()) for label in LABELS}
    gold = made(**wide | {"calm": pa.array([0, -1, None], pa.int8())})["gold"].to_pylist()
    assert gold[0] == dict.fromkeys(LABELS, 1) | {"calm": 0}
    assert gold[1] is None
    assert gold[2] == dict.fromkeys(LABELS, 0) | {"calm": None}


def test_no_rows() -> None:
    tags = pa.array([[], []], pa.list_(pa.string()))
    assert read(rows(0, labels=tags[:0]), rows(2, labels=tags)).num_rows == 2


def test_all_personas_read_a_row_one_after_the_other() -> None:
    found = made(["clinic"], text=pa.array(["one", ""]), clinic=pa.array(["a", "b"]))
    fanned = fan_out(found, ("nurse", "surgeon"))
    assert fanned.schema == found.schema
    assert fanned["persona"].to_pylist() == ["nurse", "surgeon"] * 2
    assert fanned["kept clinic"].to_pylist() == ["a", "a", "b", "b"]
    assert fanned["reason"].to_pylist() == [None, None, "empty_text", "empty_text"]
    for name in ("row_hash", "text", "opinion_id"):
        once = found[name].to_pylist()
        assert fanned[name].to_pylist() == [once[0], once[0], once[1], once[1]]
    assert len(set(predictions.record_keys(fanned).tolist())) == 4
    assert fan_out(found, ()) is found


def test_a_reader_that_is_a_number_is_its_digits() -> None:
    with written([rows(2, persona=pa.array([17, 18]))]) as folder:
        shards = opened(folder)
        reader = RecordReader(shards, ["17"])
        [found] = reader.read(shards.files[0])
    assert found["persona"].to_pylist() == ["17", "18"]
    assert found["reason"].to_pylist() == [None, "unknown_persona"]


def test_a_language_is_read_as_the_jobs_words_name_it() -> None:
    with written([rows(3, language=pa.array(["pl-PL", "Klingon", None]))]) as folder:
        shards = opened(folder)
        [found] = RecordReader(shards, ["surgeon"], None, {"en", "pl"}).read(shards.files[0])
    assert found["language"].to_pylist() == ["pl", "Klingon", None]
