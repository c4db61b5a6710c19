"""Shards are listed, and what does not fit is refused from the footers alone."""

import datetime
import json
from collections.abc import Callable
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.config.labels import LABELS
from medsent.errors import InputError
from medsent.input.shards import Shards
from tests.input.reading import opened, read, records, rows

Written = Callable[..., Path]

EXTRA = pa.array([1, 2])
STRUCT = pa.struct([(label, pa.int64()) for label in LABELS])


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(*tables: pa.Table) -> Path:
        for number, table in enumerate(tables):
            pq.write_table(table, tmp_path / f"{number}.parquet")
        return tmp_path

    return write


def refused(path: Path | str, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, **settings)
    return str(caught.value)


def test_a_folder_is_listed_in_order_with_its_rows(written: Written) -> None:
    folder = written(rows(2), rows(0), rows(3))
    (folder / "nested").mkdir()
    pq.write_table(rows(4), folder / "nested" / "x.parquet")
    (folder / "_temporary").mkdir()
    for name in ("_hidden.parquet", ".hidden.parquet", "notes.txt", "_temporary/y.parquet"):
        (folder / name).write_text("not a shard")
    shards = opened(folder)
    names = [Path(file.path).relative_to(folder.resolve()).as_posix() for file in shards.files]
    assert names == ["0.parquet", "1.parquet", "2.parquet", "nested/x.parquet"]
    assert [file.rows for file in shards.files] == [2, 0, 3, 4]
    assert shards.rows == 9
    for file in shards.files:
        told, stat = json.loads(json.dumps(file.told())), Path(file.path).stat()
        seen = {"size_bytes": stat.st_size, "etag": str(stat.st_mtime_ns)}
        assert told == {"path": file.path, "rows": file.rows} | seen


def test_one_file_and_links_have_one_canonical_path(
    written: Written, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(rows())
    link = tmp_path_factory.mktemp("link") / "to"
    link.symlink_to(folder)
    monkeypatch.chdir(folder)
    expected = str(folder.resolve() / "0.parquet")
    for path in (folder, link, link / "0.parquet", Path(), Path("0.parquet")):
        assert [file.path for file in opened(path).files] == [expected]


def test_columns_are_found_by_our_names_and_by_mapping(written: Written) -> None:
    table = rows(persona=None, text=None, comment=pa.array(["a", "b"]), extra=pa.array([1, 2]))
    folder = written(table.append_column("labels", pa.nulls(2, STRUCT)))
    shards = opened(folder, columns={"text": "comment", "persona": None}, keep=["extra"])
    assert shards.columns == {
        "record_id": "record_id",
        "text": "comment",
        "language": "language",
        "labels": "labels",
    }
    assert shards.kept == (pa.field("extra", pa.int64()),)


def test_wide_labels_count_only_when_all_are_there(written: Written) -> None:
    wide = {label: pa.array([1, 0]) for label in LABELS}
    folder = written(rows(**wide))
    assert set(LABELS) < set(opened(folder).columns)
    some = {label: wide[label] for label in LABELS[:5]}
    assert not set(LABELS) & set(opened(written(rows(**some))).columns)
    assert opened(written(rows(**some))).partly_labelled == LABELS[:5]
    del wide["funny"]
    assert "20 of 21 are there; without one: funny." in refused(written(rows(**wide)))


@pytest.mark.parametrize(
    "columns",
    [
        {"record_id": pa.array([1, 2], pa.uint8())},
        {"record_id": pa.array([1, 2]).cast(pa.decimal128(20, 0))},
        {"record_id": pa.array([1, 2]).dictionary_encode()},
        {"text": pa.array(["a", "b"], pa.large_string())},
        {"text": pa.array(["a", "b"], pa.string_view())},
        {"text": pa.array([b"a", b"b"])},
        {"language": pa.array(["pl", "en"]).dictionary_encode()},
        {"persona": pa.nulls(2)},
        {"persona": pa.array([17, 27])},
        {"opinion_id": pa.array([1, 2])},
        {"date": pa.array([datetime.date(2026, 1, 1)] * 2)},
        {
            "date": pa.array(
                [datetime.datetime(2026, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")
            )
        },
        {"labels": pa.nulls(2, STRUCT)},
        {"labels": pa.nulls(2)},
        {"labels": pa.array([["anger"], []])},
        {"labels": pa.array([["anger"], []], pa.large_list(pa.string_view()))},
        {"labels": pa.array([["anger"], ["calm"]], pa.list_(pa.string(), 1))},
        {"labels": pa.array([dict.fromkeys(LABELS, True)] * 2)},
        {"labels": pa.array([[], None], pa.list_(pa.null()))},
    ],
)
def test_types_that_fit(written: Written, columns: dict[str, pa.Array]) -> None:
    assert opened(written(rows(**columns))).rows == 2


@pytest.mark.parametrize(
    ("ours", "column", "told"),
    [
        ("text", pa.array([1, 2]), "is int64; it must be a string"),
        ("record_id", pa.array([0.5, 1.0]), "is double; it must be a string or an integer"),
        ("record_id", pa.array([b"ab", b"cd"], pa.binary(2)), "is fixed_size_binary[2]; it must"),
        ("persona", pa.array([0.5, 1.0]), "is double; it must be a string or an integer"),
        ("language", pa.array([["en"], ["pl"]]), "it must be a string"),
        ("date", pa.array(["2026-01-01"] * 2), "is string; it must be a date"),
        ("labels", pa.array(["anger", "fear"]), "is string; it must be a struct of the 21"),
        ("labels", pa.array([[1], [2]]), "it must be a struct of the 21 labels"),
        ("labels", pa.array([{"anger": 1}] * 2), "it must be a struct of the 21 labels"),
        ("labels", pa.array([dict.fromkeys(LABELS, "no")] * 2), "…; it must be a struct of"),
    ],
)
def test_a_wrong_type_names_file_column_and_setting(
    written: Written, ours: str, column: pa.Array, told: str
) -> None:
    folder = written(rows(**{ours: None, "mine": column}))
    message = refused(folder, columns={ours: "mine"})
    assert message.startswith(f"{folder.resolve()}/0.parquet: column 'mine' (input.columns.{ours})")
    assert told in message


def test_a_wrong_wide_label_is_refused(written: Written) -> None:
    wide = {label: pa.array([1, 0]) for label in LABELS} | {"calm": pa.array(["yes", "no"])}
    assert "column 'calm' (input.columns.calm) is string" in refused(written(rows(**wide)))


@pytest.mark.parametrize("ours", ["record_id", "text", "language", "persona"])
def test_a_missing_column_names_file_column_and_setting(written: Written, ours: str) -> None:
    folder = written(rows().drop([ours]))
    message = refused(folder)
    assert message.startswith(f"{folder.resolve()}/0.parquet: no column '{ours}' (it has ")
    assert f"set input.columns.{ours} to your name for it" in message
    assert ("to null to go without" in message) == (ours in ("language", "persona"))


def test_a_mapped_column_must_be_there(written: Written) -> None:
    folder = written(rows())
    assert "no column 'when'" in refused(folder, columns={"date": "when"})
    assert "no column 'extra', which input.keep names" in refused(folder, keep=["extra"])
    assert "'txt' is not a column of ours" in refused(folder, columns={"txt": "text"})
    assert "input.columns.text cannot be null" in refused(folder, columns={"text": None})


def test_columns_may_have_the_names_that_records_add() -> None:
    names = {name: pa.array([f"{name} 0", f"{name} 1"]) for name in ("path", "row_hash", "reason")}
    found = read(rows(**names), columns={"opinion_id": "path"}, keep=["row_hash", "reason"])
    assert found["opinion_id"].to_pylist() == ["path 0", "path 1"]
    assert found["kept reason"].to_pylist() == ["reason 0", "reason 1"]
    assert found["reason"].null_count == 2


def test_each_shard_is_read_in_its_own_types(written: Written) -> None:
    folder = written(
        rows(record_id=pa.array([1, 2], pa.int8()), extra=pa.array([1, 2], pa.int16())),
        rows(
            record_id=pa.array(["3", "4"], pa.string_view()),
            text=pa.array(["a", "b"], pa.large_string()),
            language=pa.array(["pl", "en"]).dictionary_encode(),
            persona=pa.nulls(2),
            extra=pa.array([1.5, None]),
            unread=pa.array([1, 2]),
        ),
    )
    shards = opened(folder, keep=["extra"])
    assert shards.kept == (pa.field("extra", pa.float64()),)
    found = records(shards)
    assert found["record_id"].to_pylist() == ["1", "2", "3", "4"]
    assert found["language"].to_pylist() == ["en", "en", "pl", "en"]
    assert found["persona"].to_pylist() == ["surgeon", "surgeon", None, None]
    assert found["kept extra"].to_pylist() == [1.0, 2.0, 1.5, None]


def test_days_of_all_kinds_in_one_input(written: Written) -> None:
    when = datetime.datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
    kinds = [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ms", "Europe/Warsaw")]
    dates = [pa.array([when.date()] * 2), *(pa.array([when] * 2, kind) for kind in kinds)]
    found = records(opened(written(*(rows(date=each) for each in dates), rows())))
    assert found["date"].to_pylist() == [when.date()] * 8 + [None] * 2


def test_gold_of_all_forms_in_one_input(written: Written) -> None:
    votes = pa.array([dict.fromkeys(LABELS, False) | {"calm": True}, None])
    wide = {label: pa.array([int(label == "calm"), None], pa.int8()) for label in LABELS}
    shards = written(
        rows(labels=votes),
        rows(labels=pa.array([["calm"], None])),
        rows(**wide),
        rows(labels=pa.nulls(2)),
        rows(calm=pa.array(["yes", "no"])),  # one of our names alone is no gold
    )
    gold = records(opened(shards))["gold"].to_pylist()
    assert gold[:6] == [dict.fromkeys(LABELS, 0) | {"calm": 1}, None] * 3
    assert gold[6:] == [None] * 4


@pytest.mark.parametrize(
    ("stored", "held"),
    [
        (pa.string_view(), pa.string()),
        (pa.binary_view(), pa.binary()),
        (pa.list_(pa.string_view()), pa.list_(pa.string())),
        (pa.large_list(pa.string_view()), pa.list_(pa.string())),
        (pa.map_(pa.string(), pa.string_view()), pa.map_(pa.string(), pa.string())),
        (pa.struct([("a", pa.string_view())]), pa.struct([("a", pa.string())])),
    ],
    ids=str,
)
def test_a_kept_view_is_held_as_what_rows_can_be_picked_of(
    written: Written, stored: pa.DataType, held: pa.DataType
) -> None:
    whole = pa.array([None, _value(stored)], stored)
    shards = opened(written(rows(extra=whole)), keep=["extra"])
    assert shards.kept == (pa.field("extra", held),)
    found = records(shards)
    picked = found.filter(pa.array([False, True])).take(pa.array([0]))
    assert picked["kept extra"].to_pylist() == whole[1:].to_pylist()


def _value(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {"a": "more than twelve bytes"}
    if pa.types.is_map(kind):
        return [("k", "more than twelve bytes")]
    return ["more than twelve bytes", None] if pa.types.is_nested(kind) else "more than 12 bytes"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (rows(text=None), "no column 'text'"),
        (
            rows(extra=pa.array(["a", "b"])),
            "column 'extra', which input.keep names, is string, but",
        ),
        (rows(extra=pa.array([0.5, None])), "is double, but int64 in others such as "),
        (rows(), "no column 'extra', which input.keep names"),
    ],
)
def test_a_shard_unlike_the_first_is_named(written: Written, other: pa.Table, told: str) -> None:
    folder = written(rows(extra=EXTRA), other)
    message = refused(folder, keep=["extra"])
    assert message.startswith(f"{folder.resolve()}/1.parquet: ")
    assert told in message


def test_a_growing_run_goes_on_in_the_types_that_it_began_with(written: Written) -> None:
    folder = written(
        *(rows(extra=pa.array([1, 2], kind)) for kind in (pa.int8(), pa.int64(), pa.float32()))
    )
    shards = opened(folder, keep=["extra"], on_bad_shard="quarantine")
    began = shards.held_as([pa.field("extra", pa.int16())])
    assert began.kept == (pa.field("extra", pa.int16()),)
    assert [Path(file.path).name for file in began.files] == ["0.parquet"]
    told = {bad.message for bad in began.bad if Path(bad.path).name == "1.parquet"}
    assert told == {
        f"{folder}/1.parquet: column 'extra' is int64, and the run holds it as int16 since its "
        "first start; cast it in the shard, or begin a new run with another name"
    }
    assert {bad.reason for bad in began.bad} == {"other_schema"}
    assert records(began)["kept extra"].type == pa.int16()
    assert shards.held_as(shards.kept).files == shards.files


def test_what_most_shards_have_does_not_outvote_a_run_that_has_begun(written: Written) -> None:
    texts, numbers = pa.array(["a", "b"]), pa.array([1, 2])
    folder = written(rows(extra=texts), rows(extra=numbers), rows(extra=numbers))
    shards = opened(folder, keep=["extra"], on_bad_shard="quarantine")
    assert [Path(bad.path).name for bad in shards.bad] == ["0.parquet"]
    began = shards.held_as([pa.field("extra", pa.string())])
    assert [Path(file.path).name for file in began.files] == ["0.parquet"]
    assert [Path(bad.path).name for bad in began.bad] == ["1.parquet", "2.parquet"]


def test_a_whole_number_is_not_held_in_a_decimal_too_short_for_it(written: Written) -> None:
    short = pa.array([Decimal("1.25"), None], pa.decimal128(5, 2))
    message = refused(written(rows(extra=pa.array([1, 2])), rows(extra=short)), keep=["extra"])
    assert "decimal128(5, 2)" in message
    assert "int64" in message
    wide = pa.array([Decimal("1.25"), None], pa.decimal128(25, 2))
    assert opened(written(rows(extra=EXTRA), rows(extra=wide)), keep=["extra"]).rows == 4


@pytest.mark.parametrize("keep_bytes", [0, 4, 700, -1])
def test_a_broken_shard_is_named(written: Written, keep_bytes: int) -> None:
    folder = written(rows(), rows())
    broken = folder / "1.parquet"
    broken.write_bytes(broken.read_bytes()[:keep_bytes])
    what = "is empty (0 bytes)" if keep_bytes == 0 else "is not a whole Parquet file"
    assert refused(folder).startswith(f"{broken.resolve()} {what}; ")


def test_no_shards(tmp_path: Path, written: Written) -> None:
    assert "no shards (*.parquet" in refused(tmp_path)
    assert "there is nothing at" in refused(tmp_path / "gone")
    assert "cannot list" in refused("ftpp://bucket/x")
    (tmp_path / "rows.csv").write_text("a,b\n")
    assert "rows.csv is not a whole Parquet file" in refused(tmp_path / "rows.csv")
    assert "hold no rows" in refused(written(rows(0), rows(0)))


def test_a_column_may_be_empty_in_one_shard_but_not_in_all(written: Written) -> None:
    assert opened(written(rows(text=pa.nulls(2)), rows())).rows == 4
    message = refused(written(rows(text=pa.nulls(2)), rows(text=pa.nulls(2))))
    assert "column 'text' (input.columns.text) is empty in every shard" in message


def test_what_is_passed_over_is_told(written: Written) -> None:
    folder = written(rows())
    (folder / "_SUCCESS").touch()
    (folder / "notes.txt").touch()
    assert opened(folder).passed_over == (f"{folder}/_SUCCESS", f"{folder}/notes.txt")


def test_a_file_under_encryption_is_called_so(written: Written) -> None:
    folder = written(rows())
    encrypted = folder / "1.parquet"
    encrypted.write_bytes(b"PARE" + b"x" * 100 + b"PARE")
    [bad] = quarantined(folder).bad
    assert bad.reason == "not_parquet"
    assert bad.message.startswith(f"{encrypted} is encrypted, and its key is not known here; ")


def quarantined(path: Path, **settings: Any) -> Shards:
    return opened(path, on_bad_shard="quarantine", **settings)


def spoilt(folder: Path) -> list[str]:
    """Write four bad shards beside the good ones; return what is wrong with each, in order."""
    whole = (folder / "0.parquet").read_bytes()
    (folder / "5.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "6.parquet").touch()
    pq.write_table(rows(5, persona=None), folder / "7.parquet")
    pq.write_table(rows(3, text=pa.array([1, 2, 3])), folder / "8.parquet")
    return ["not_parquet", "empty_file", "other_schema", "other_schema"]


def test_bad_shards_are_quarantined_with_their_reasons(written: Written) -> None:
    folder = written(rows(2), rows(4))
    reasons = spoilt(folder)
    shards = quarantined(folder)
    assert [Path(file.path).name for file in shards.files] == ["0.parquet", "1.parquet"]
    assert shards.rows == 6
    assert [bad.reason for bad in shards.bad] == reasons
    assert [bad.rows for bad in shards.bad] == [None, None, 5, 3]
    for bad in shards.bad:
        assert bad.message.startswith(bad.path)
        assert bad.size_bytes == Path(bad.path).stat().st_size
        assert bad.etag == str(Path(bad.path).stat().st_mtime_ns)


def test_a_refusal_names_the_first_bad_shard_and_a_few_others(written: Written) -> None:
    folder = written(rows(), rows())
    spoilt(folder)
    message = refused(folder)
    assert message.startswith(f"{folder.resolve()}/5.parquet is not a whole Parquet file; ")
    assert f"also bad: {folder.resolve()}/6.parquet (empty_file), " in message
    assert message.endswith(
        "8.parquet (other_schema). Or set input.on_bad_shard: quarantine to go on without them"
    )
    for number in range(10, 15):
        (folder / f"{number}.parquet").touch()
    assert "14.parquet" in (message := refused(folder))
    assert "5.parquet" not in message
    assert "and 4 more. Or set" in message


def test_a_refusal_offers_quarantine_only_where_something_is_left(written: Written) -> None:
    one = refused(written(rows(), rows(text=None)))
    assert one.endswith("input.on_bad_shard: quarantine to go on without it")
    folder = written(rows(text=None), rows(text=None))
    assert "quarantine" not in refused(folder)
    with pytest.raises(InputError, match=r"0\.parquet: no column 'text'.*also bad: .*1\.parquet"):
        quarantined(folder)


def test_good_shards_without_rows_are_no_input(written: Written) -> None:
    folder = written(rows(0))
    (folder / "1.parquet").touch()
    with pytest.raises(InputError, match="hold no rows"):
        quarantined(folder)
