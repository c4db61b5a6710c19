"""Shards are read batch by batch: of the file, of its path, and in bounded memory."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from medsent.config.labels import LABELS
from medsent.errors import InputError
from medsent.input import reading
from medsent.input.records import opinion_ids
from medsent.input.shard import ShardError
from tests.input.reading import opened, records, rows


def refused(path: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, **settings)
    return str(caught.value)


def test_columns_may_stand_in_the_folders_names(tmp_path: Path) -> None:
    null = "__HIVE_DEFAULT_PARTITION__"
    votes = "/".join(f"{label}={int(label == 'calm')}" for label in LABELS)
    for place, when, gold in (
        ("pl", "2026-01-02", votes),
        (null, null, votes.replace("=0", f"={null}")),
    ):
        folder = tmp_path / f"language={place}" / "site=a%2Fb" / f"date={when}" / gold
        folder.mkdir(parents=True)
        pq.write_table(rows(language=None), folder / "part-0.parquet")
    found = records(opened(tmp_path, keep=["site"])).sort_by("language")
    assert found["language"].to_pylist() == ["pl", "pl", None, None]
    assert found["date"].to_pylist() == [datetime.date(2026, 1, 2)] * 2 + [None] * 2
    assert found["kept site"].to_pylist() == ["a/b"] * 4
    gold = found["gold"].to_pylist()
    assert gold[0] == dict.fromkeys(LABELS, 0) | {"calm": 1}
    assert gold[2] == dict.fromkeys(LABELS) | {"calm": 1}


@pytest.mark.parametrize(("name", "value"), [("date", "yesterday"), ("calm", "1" + "0" * 30)])
def test_a_folder_s_name_that_is_no_date_and_no_vote_is_refused(
    tmp_path: Path, name: str, value: str
) -> None:
    (tmp_path / f"{name}={value}").mkdir()
    wide = {label: pa.array([1, 0]) for label in LABELS if label != name}
    pq.write_table(rows(**wide), tmp_path / f"{name}={value}" / "0.parquet")
    assert f"column '{name}' (input.columns.{name}) is string" in refused(tmp_path)


def test_a_file_s_own_column_counts_before_its_path(tmp_path: Path) -> None:
    (tmp_path / "language=pl").mkdir()
    pq.write_table(rows(), tmp_path / "language=pl" / "0.parquet")
    assert records(opened(tmp_path))["language"].to_pylist() == ["en", "en"]


def test_two_columns_of_one_name_are_no_matter_where_they_are_not_read(tmp_path: Path) -> None:
    doubled = rows(2, note=pa.array(["a", "b"])).append_column("note", pa.array([1, 2]))
    for number, table in enumerate((rows(), doubled)):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    assert records(opened(tmp_path))["record_id"].to_pylist() == ["r0", "r1"] * 2
    assert "1.parquet: there are two columns 'note'" in refused(
        tmp_path / "1.parquet", keep=["note"]
    )


def test_a_name_with_dots_is_not_the_field_of_a_struct(tmp_path: Path) -> None:
    table = rows(
        text=None,
        opinion=pa.array([{"text": "WRONG", "id": 1}] * 2),
        **{"opinion.text": pa.array(["a", "b"]), "opinion.id": pa.array([7, 8])},
    )
    pq.write_table(table, tmp_path / "0.parquet")
    columns = {"text": "opinion.text"}
    shards = opened(tmp_path, columns=columns, keep=["opinion", "opinion.id"])
    found = records(shards)
    assert found["text"].to_pylist() == ["a", "b"]
    assert found["kept opinion"].to_pylist() == [{"text": "WRONG", "id": 1}] * 2
    assert found["kept opinion.id"].to_pylist() == [7, 8]
    assert "no column 'opinion.no'" in refused(tmp_path, columns={"text": "opinion.no"})


def test_shards_without_row_groups_and_groups_without_rows(tmp_path: Path) -> None:
    table = rows(5)
    pq.ParquetWriter(tmp_path / "a.parquet", table.schema).close()
    with pq.ParquetWriter(tmp_path / "b.parquet", table.schema) as writer:
        for piece in (table[:0], table[:2], table[:0], table[2:]):
            writer.write_table(piece)
    shards = opened(tmp_path)
    assert [(file.rows, file.groups) for file in shards.files] == [(0, ()), (5, (0, 2, 0, 3))]
    assert records(shards)["record_id"].to_pylist() == [f"r{i}" for i in range(5)]


def long_texts(count: int = 300, length: int = 1000, **columns: Any) -> pa.Table:
    """Return rows of ten long texts in turn, after some short ones: a dictionary of few bytes."""
    texts = [f"{i}" * length for i in range(10)]
    said = ["short"] * 50 + [texts[i % 10] for i in range(count - 50)]
    return rows(count, text=pa.array(said), **columns)


def sizes(folder: Path, **settings: Any) -> list[tuple[int, int]]:
    """Return the (rows, bytes of text) of each batch."""
    shards = opened(folder, **settings)
    with reading.opened(shards, shards.files[0]) as file:
        return [(table.num_rows, table.nbytes) for _, table in file.tables()]


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("column", ["text", "note"])
def test_a_batch_holds_so_many_bytes_whatever_a_group_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionary: bool, column: str
) -> None:
    """A small file may hold gigabytes: the same texts again and again, as codes or compressed."""
    table = long_texts()
    if column == "note":
        table = rows(300, note=table["text"])
    file = tmp_path / "0.parquet"
    pq.write_table(table, file, use_dictionary=dictionary, compression="zstd", data_page_size=4096)
    assert file.stat().st_size < 10_000
    kept = ["note"] if column == "note" else []
    assert [count for count, _ in sizes(tmp_path, keep=kept)] == [300]
    monkeypatch.setattr(reading, "_BATCH_BYTES", 20_000)
    batches = sizes(tmp_path, keep=kept)
    assert sum(count for count, _ in batches) == 300
    assert max(count for count, _ in batches) <= 25
    assert max(size for _, size in batches) < 40_000
    found = records(opened(tmp_path, keep=kept))
    assert found["text"].to_pylist() == table["text"].to_pylist()


def test_texts_that_are_long_are_too_long_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH_BYTES", 1 << 20)
    pq.write_table(long_texts(2000, 30_000), tmp_path / "0.parquet", compression="zstd")
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    peak = 0
    shards = opened(tmp_path)
    with reading.opened(shards, shards.files[0]) as file:
        for _, _table in file.tables():
            peak = max(peak, pool.bytes_allocated() - before)
    assert peak < 20 << 20 < 2000 * 30_000
    found = records(shards, longest=1000)
    assert found["reason"].to_pylist() == [None] * 50 + ["too_long"] * 1950


def test_the_first_text_may_be_missing_and_no_text_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH_BYTES", 100)
    pq.write_table(rows(text=pa.array([None, "a"])), tmp_path / "0.parquet")
    pq.write_table(rows(text=pa.array([None, None], pa.string())), tmp_path / "1.parquet")
    pq.write_table(rows(text=pa.array(["", ""])), tmp_path / "2.parquet")
    assert records(opened(tmp_path))["text"].to_pylist() == [None, "a", None, None, "", ""]


def test_ids_are_read_without_the_texts_where_there_are_any(tmp_path: Path) -> None:
    ids = pa.array(["a", "b", None, "d"])
    pq.write_table(rows(4, opinion_id=ids), tmp_path / "0.parquet", row_group_size=2)
    pq.write_table(rows(4), tmp_path / "1.parquet", row_group_size=2)
    shards = opened(tmp_path)
    of_text = records(shards)["opinion_id"][2].as_py()
    found = []
    for shard in shards.files:
        with reading.opened(shards, shard) as file:
            found.append([(group, part.to_pylist()) for group, part in opinion_ids(file)])
    assert found == [
        [(0, ["a", "b"]), (1, [of_text, "d"])],
        [(0, [of_text, of_text]), (1, [of_text, of_text])],
    ]


def test_ids_in_a_folder_s_name_are_of_every_row(tmp_path: Path) -> None:
    (tmp_path / "opinion_id=o7").mkdir()
    pq.write_table(rows(3), tmp_path / "opinion_id=o7" / "0.parquet", row_group_size=2)
    shards = opened(tmp_path)
    with reading.opened(shards, shards.files[0]) as file:
        assert [(group, ids.to_pylist()) for group, ids in opinion_ids(file)] == [
            (0, ["o7", "o7"]),
            (1, ["o7"]),
        ]


def test_a_shard_that_lacks_now_what_is_read_was_rewritten(tmp_path: Path) -> None:
    for name in ("text", "site"):
        pq.write_table(rows(site=pa.array([1, 2])), tmp_path / "0.parquet")
        shards = opened(tmp_path, keep=["site"])
        pq.write_table(rows(site=pa.array([1, 2])).drop([name]), tmp_path / "0.parquet")
        with pytest.raises(ShardError, match="was rewritten since the input was listed"):
            records(shards)


def test_a_shard_of_other_row_groups_was_rewritten(tmp_path: Path) -> None:
    pq.write_table(rows(8), tmp_path / "0.parquet", row_group_size=2)
    shards = opened(tmp_path)
    pq.write_table(rows(8), tmp_path / "0.parquet")
    with pytest.raises(ShardError, match="was rewritten since the input was listed"):
        records(shards)


class Keys(pe.KmsClient):  # type: ignore[misc]
    """Keys that are stored as they are."""

    def wrap_key(self, key: bytes, _: str) -> str:
        return key.hex()

    def unwrap_key(self, key: str, _: str) -> bytes:
        return bytes.fromhex(key)


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_a_shard_under_encryption_is_named(tmp_path: Path, plaintext_footer: bool) -> None:
    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["text"]}, plaintext_footer=plaintext_footer
    )
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    pq.write_table(rows(), tmp_path / "0.parquet")
    with pq.ParquetWriter(
        tmp_path / "1.parquet", rows().schema, encryption_properties=properties
    ) as writer:
        writer.write_table(rows())
    if not plaintext_footer:
        assert "1.parquet is encrypted, and its key is not known here; " in refused(tmp_path)
        return
    shards = opened(tmp_path)
    with pytest.raises(ShardError, match=r"1\.parquet has columns that are encrypted") as caught:
        records(shards)
    assert (caught.value.bad.reason, caught.value.bad.rows) == ("corrupt_page", 2)


def test_lists_and_structs_are_kept_of_large_row_groups(tmp_path: Path) -> None:
    count = 5000
    lists = [[{"city": f"Zielona Góra {i}", "stars": [i]}] for i in range(count)]
    table = rows(count, visits=pa.array(lists), place=pa.array([each[0] for each in lists]))
    pq.write_table(table, tmp_path / "a.parquet")
    found = records(opened(tmp_path, keep=["visits", "place"]))
    assert found["kept visits"].to_pylist() == lists
    assert found["kept place"][-1].as_py() == lists[-1][0]
