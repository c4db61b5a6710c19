"""Shards are listed, and what does not fit is refused from the footers alone."""

import datetime
import json
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.config import InputSettings
from medsent.errors import InputError
from medsent.labels import LABELS
from medsent.records import RecordReader
from medsent.shards import Shards, open_shards

Written = Callable[..., Path]

EXTRA = pa.array([1, 2])
STRUCT = pa.struct([(label, pa.int64()) for label in LABELS])


def rows(count: int = 2, **columns: Any) -> pa.Table:
    """Return a table of good rows, with columns added, replaced, or (None) taken out."""
    table = {
        "record_id": pa.array([f"r{i}" for i in range(count)]),
        "text": pa.array(["all was well"] * count),
        "language": pa.array(["en"] * count),
        "persona": pa.array(["surgeon"] * count),
        **columns,
    }
    return pa.table({name: column for name, column in table.items() if column is not None})


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(*tables: pa.Table) -> Path:
        for number, table in enumerate(tables):
            pq.write_table(table, tmp_path / f"{number}.parquet")
        return tmp_path

    return write


def opened(path: Path | str, **settings: Any) -> Shards:
    return open_shards(InputSettings(path=str(path), **settings), LABELS)


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
    for file, listed in zip(shards.files, shards.listing(), strict=True):
        assert listed["size_bytes"] == Path(file.path).stat().st_size
        assert listed["etag"] == str(Path(file.path).stat().st_mtime_ns)
    assert json.loads(json.dumps(shards.listing())) == shards.listing()


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
    del wide["funny"]
    assert not set(LABELS) & set(opened(written(rows(**wide))).columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"record_id": pa.array([1, 2], pa.uint8())},
        {"text": pa.array(["a", "b"], pa.large_string())},
        {"language": pa.array(["pl", "en"]).dictionary_encode()},
        {"persona": pa.nulls(2)},
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
        {"labels": pa.array([[], None], pa.list_(pa.null()))},
    ],
)
def test_types_that_fit(written: Written, columns: dict[str, pa.Array]) -> None:
    assert opened(written(rows(**columns))).rows == 2


@pytest.mark.parametrize(
    ("ours", "column", "told"),
    [
        ("text", pa.array([1, 2]), "is int64; it must be a string"),
        ("text", pa.array([b"a", b"b"]), "is binary; it must be a string"),
        ("record_id", pa.array([0.5, 1.0]), "is double; it must be a string or an integer"),
        ("persona", pa.array([1, 2]), "is int64; it must be a string"),
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
    folder = written(rows(**{ours: None}))
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


def test_a_column_that_reading_adds_cannot_be_read(written: Written) -> None:
    folder = written(rows(path=pa.array(["a", "b"])))
    assert "cannot be called 'path'" in refused(folder, columns={"opinion_id": "path"})
    assert opened(folder).rows == 2


def test_shards_may_differ_where_one_type_holds_both(written: Written) -> None:
    folder = written(
        rows(record_id=pa.array([1, 2], pa.int8()), extra=pa.array([1, 2], pa.int16())),
        rows(
            record_id=pa.array([1, 2], pa.int64()),
            text=pa.array(["a", "b"], pa.large_string()),
            persona=pa.nulls(2),
            extra=pa.array([1, 2], pa.int32()),
            unread=pa.array([1, 2]),
        ),
    )
    assert opened(folder, keep=["extra"]).kept == (pa.field("extra", pa.int32()),)


@pytest.mark.parametrize(
    ("stored", "held"),
    [
        (pa.string_view(), pa.large_string()),
        (pa.binary_view(), pa.large_binary()),
        (pa.list_(pa.string_view()), pa.list_(pa.large_string())),
    ],
    ids=str,
)
def test_a_kept_view_is_held_as_what_rows_can_be_picked_of(
    written: Written, stored: pa.DataType, held: pa.DataType
) -> None:
    values = [["a"], ["b"]] if pa.types.is_list(stored) else ["a", "b"]
    folder = written(rows(extra=pa.array(values, stored)))
    shards = opened(folder, keep=["extra"])
    [field] = shards.kept
    assert field.type == held
    read = pq.read_table(folder).append_column("row_hash", pa.array([0, 1], pa.uint64()))
    read = read.append_column("path", ["a", "a"])
    made = RecordReader(shards, ["surgeon"])(read)
    assert made.filter([False, True])["extra"].to_pylist() == pa.array(values[1:], held).to_pylist()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (rows(text=None), "no column 'text'"),
        (rows(record_id=pa.array([1, 2]), extra=EXTRA), "column 'record_id' is int64, but str"),
        (
            rows(language=pa.array(["a", "b"]).dictionary_encode(), extra=EXTRA),
            "column 'language' is dictionary<values=string",
        ),
        (rows(extra=pa.array(["a", "b"])), "column 'extra' is string, but int64 in"),
        (rows(), "no column 'extra', which input.keep names"),
    ],
)
def test_a_shard_unlike_the_first_is_named(written: Written, other: pa.Table, told: str) -> None:
    folder = written(rows(extra=EXTRA), other)
    message = refused(folder, keep=["extra"])
    assert message.startswith(f"{folder.resolve()}/1.parquet: ")
    assert told in message


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
