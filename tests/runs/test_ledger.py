"""A run remembers its shards: new ones join, mended ones too, rewritten ones are refused."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent.config.input import InputSettings
from medsent.config.labels import LABELS
from medsent.errors import InputError, RunError
from medsent.input.shard import BadShard, Shard
from medsent.input.shards import Shards, changed, find_rewritten, open_shards
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger


def table(count: int, text: str = "all was well") -> pa.Table:
    same = {"text": text, "language": "en", "persona": "surgeon"}
    columns: dict[str, Any] = {name: [value] * count for name, value in same.items()}
    return pa.table({"record_id": [f"r{i}" for i in range(count)], **columns})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards a, b and c of 2, 3 and 4 rows."""
    folder = tmp_path / "in"
    folder.mkdir()
    for count, name in enumerate("abc", 2):
        pq.write_table(table(count), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def listed(folder: Path) -> Shards:
    return open_shards(InputSettings(path=str(folder), on_bad_shard="quarantine"), LABELS)


def path(folder: Path, name: str) -> str:
    return str(folder.resolve() / f"{name}.parquet")


def names(shards: Any) -> list[str]:
    """Return the names of shards, given as an iterable of them or of paths."""
    return [Path(getattr(shard, "path", shard)).stem for shard in shards]


def rewrite(folder: Path, name: str, count: int, text: str = "another text") -> None:
    """Write a shard anew, at another time whatever the clock's steps."""
    file = folder / f"{name}.parquet"
    before = file.stat().st_mtime_ns if file.exists() else 0
    pq.write_table(table(count, text), file)
    os.utime(file, ns=(before + 10**9, before + 10**9))


def as_bad(shard: Shard, reason: Any) -> BadShard:
    return BadShard(**shard.told(), reason=reason, message=f"{shard.path} is bad")


def test_a_run_without_a_ledger_has_an_empty_one(run: RunFolder) -> None:
    assert Ledger.read(run) == Ledger()


def test_it_is_read_as_it_was_written(folder: Path, run: RunFolder) -> None:
    (folder / "d.parquet").touch()
    shards = listed(folder)
    ledger = Ledger().admit(shards).quarantine(as_bad(shards.files[1], "corrupt_page"))
    ledger.write(run)
    assert Ledger.read(run) == ledger
    assert [file.name for file in run.path.iterdir()] == ["ledger.json"]
    assert names(ledger.good) == ["a", "c"]
    assert sorted(names(ledger.bad)) == ["b", "d"]
    assert sorted(names(ledger.shards)) == ["a", "b", "c", "d"]
    assert Ledger.read(run).admit(listed(folder)) == ledger


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"good": [], "bad": [1]}', '{"good": [{"path": 1}], "bad": []}']
)
def test_a_damaged_ledger_is_named(run: RunFolder, text: str) -> None:
    run.write("ledger.json", text)
    with pytest.raises(RunError, match=r"ledger\.json is damaged; .*delete it.*begin a new run"):
        Ledger.read(run)


def test_new_shards_join(folder: Path) -> None:
    ledger = Ledger().admit(listed(folder))
    pq.write_table(table(5), folder / "d.parquet")
    (folder / "e.parquet").write_bytes(b"no Parquet")
    ledger = ledger.admit(listed(folder))
    assert {names([key])[0]: shard.rows for key, shard in ledger.good.items()} == {
        "a": 2,
        "b": 3,
        "c": 4,
        "d": 5,
    }
    assert ledger.bad[path(folder, "e")].reason == "not_parquet"


@pytest.mark.parametrize("count", [3, 7], ids=["as many rows", "other rows"])
def test_a_shard_rewritten_since_it_was_scored_is_refused(folder: Path, count: int) -> None:
    ledger = Ledger().admit(listed(folder))
    rewrite(folder, "b", count)
    with pytest.raises(InputError) as caught:
        ledger.admit(listed(folder))
    message = str(caught.value)
    assert message.startswith(f"{path(folder, 'b')} was rewritten since its rows were scored; ")
    assert "`medsent requeue RUN --shard PATH` scores it anew" in message
    assert "another name" in message
    rewrite(folder, "c", 4)
    with pytest.raises(InputError, match=r"b\.parquet \(and 1 more\) was rewritten"):
        ledger.admit(listed(folder))


def test_a_scored_shard_that_is_broken_now_was_rewritten(folder: Path) -> None:
    ledger = Ledger().admit(listed(folder))
    (folder / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"b\.parquet was rewritten since"):
        ledger.admit(listed(folder))


def test_a_scored_shard_that_is_gone_is_refused(folder: Path) -> None:
    ledger = Ledger().admit(listed(folder))
    (folder / "b.parquet").unlink()
    with pytest.raises(InputError) as caught:
        ledger.admit(listed(folder))
    assert str(caught.value).startswith(f"{path(folder, 'b')} is no longer in the input; put it")
    assert "medsent requeue RUN --shard" in str(caught.value)


@pytest.mark.parametrize("count", [3, 7])
def test_a_forgotten_shard_is_taken_as_it_is(folder: Path, count: int) -> None:
    ledger = Ledger().admit(listed(folder)).forget(path(folder, "b"))
    rewrite(folder, "b", count)
    assert ledger.admit(listed(folder)).good[path(folder, "b")].rows == count
    (folder / "b.parquet").unlink()
    assert names(ledger.admit(listed(folder)).shards) == ["a", "c"]
    assert ledger.forget("/no/such/shard") == ledger


def test_a_mended_shard_is_scored(folder: Path) -> None:
    broken = folder / "b.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    ledger = Ledger().admit(listed(folder))
    assert names(ledger.bad) == ["b"]
    assert ledger.admit(listed(folder)) == ledger
    rewrite(folder, "b", 3)
    mended = ledger.admit(listed(folder))
    assert mended.bad == {}
    assert mended.good[path(folder, "b")].rows == 3
    assert names(mended.readable(listed(folder)).files) == ["a", "b", "c"]


def test_a_shard_that_is_broken_otherwise_is_told_so(folder: Path) -> None:
    (folder / "b.parquet").write_bytes(b"PAR1")
    ledger = Ledger().admit(listed(folder))
    (folder / "b.parquet").write_bytes(b"")
    assert ledger.admit(listed(folder)).bad[path(folder, "b")].reason == "empty_file"


def test_a_corrupt_page_stays_bad_though_the_footer_is_fine(folder: Path) -> None:
    shards = listed(folder)
    ledger = Ledger().admit(shards).quarantine(as_bad(shards.files[1], "corrupt_page"))
    assert names(listed(folder).files) == ["a", "b", "c"]
    again = ledger.admit(listed(folder))
    assert again == ledger
    assert names(again.readable(listed(folder)).files) == ["a", "c"]
    rewrite(folder, "b", 3, "all was well")
    assert names(ledger.admit(listed(folder)).bad) == []


@pytest.mark.parametrize("reason", ["corrupt_page", "disappeared"])
def test_a_mended_shard_of_other_rows_is_another(folder: Path, reason: str) -> None:
    """Some of its rows may be scored: their places would not be those of the new ones."""
    shards = listed(folder)
    ledger = Ledger().admit(shards).quarantine(as_bad(shards.files[1], reason))
    rewrite(folder, "b", 7)
    with pytest.raises(InputError, match=r"b\.parquet was rewritten since"):
        ledger.admit(listed(folder))


def test_a_shard_that_went_while_it_was_read_may_come_back(folder: Path) -> None:
    shards = listed(folder)
    kept = (folder / "b.parquet").rename(folder / "kept")
    bad = changed(shards, shards.files[1])
    assert bad is not None
    ledger = Ledger().admit(shards).quarantine(bad)
    assert ledger.admit(listed(folder)).bad == {bad.path: bad}
    kept.rename(folder / "b.parquet")
    assert names(ledger.admit(listed(folder)).good) == ["a", "c", "b"]


def test_a_shard_rewritten_while_it_was_read_waits_for_a_requeue(folder: Path) -> None:
    shards = listed(folder)
    rewrite(folder, "b", 3)
    bad = changed(shards, shards.files[1])
    assert bad is not None
    assert bad.reason == "rewritten"
    ledger = Ledger().admit(shards).quarantine(bad)
    for _ in range(2):
        assert ledger.admit(listed(folder)).bad == {bad.path: bad}
        rewrite(folder, "b", 3)
    assert path(folder, "b") in ledger.forget(bad.path).admit(listed(folder)).good


def test_a_shard_of_another_schema_keeps_the_rows_it_had(folder: Path) -> None:
    shards = listed(folder)
    odd = as_bad(shards.files[1], "other_schema")
    unlike = replace(
        shards, files=(shards.files[0], shards.files[2]), bad=(replace(odd, rows=None),)
    )
    assert Ledger().admit(shards).admit(unlike).bad == {odd.path: odd}
    assert names(Ledger().admit(unlike).admit(shards).bad) == []


def test_the_quarantined_are_not_read_and_the_input_stays_the_same(folder: Path) -> None:
    (folder / "d.parquet").touch()
    shards = listed(folder)
    ledger = Ledger().admit(shards).quarantine(as_bad(shards.files[1], "corrupt_page"))
    left = ledger.readable(shards)
    assert names(left.files) == ["a", "c"]
    assert [(Path(bad.path).stem, bad.reason) for bad in left.bad] == [
        ("b", "corrupt_page"),
        ("d", "empty_file"),
    ]
    assert left.rows == 6
    every = [{(s.path, s.size_bytes, s.etag) for s in (*e.files, *e.bad)} for e in (shards, left)]
    assert every[0] == every[1]
    assert ledger.readable(left) == left


def test_with_every_shard_quarantined_there_is_no_input(folder: Path) -> None:
    shards = listed(folder)
    ledger = Ledger().admit(shards)
    for file in shards.files:
        ledger = ledger.quarantine(as_bad(file, "corrupt_page"))
    with pytest.raises(InputError, match=r"every shard .* is quarantined: .*a\.parquet is bad"):
        ledger.readable(shards)


def test_the_manifest_is_told_of_the_quarantined(folder: Path) -> None:
    (folder / "0.parquet").touch()
    shards = listed(folder)
    told = Ledger().admit(shards).quarantine(as_bad(shards.files[2], "corrupt_page")).quarantined()
    assert [(names([each.path])[0], each.rows, each.reason) for each in told] == [
        ("0", None, "empty_file"),
        ("c", 4, "corrupt_page"),
    ]
    assert all(each.message.startswith(each.path) for each in told)
    assert Ledger().quarantined() == ()


def test_a_damaged_shard_that_is_broken_further_keeps_its_rows(
    folder: Path, run: RunFolder
) -> None:
    """Else those that were not scored before would vanish from the account."""
    ledger = Ledger().admit(listed(folder))
    damaged = ledger.good[path(folder, "c")]
    ledger = ledger.quarantine(BadShard(**damaged.told(), reason="corrupt_page", message="damaged"))
    (folder / "c.parquet").write_bytes(b"no Parquet any more")
    [bad] = ledger.admit(listed(folder)).bad.values()
    assert (bad.reason, bad.rows) == ("not_parquet", 4)


def test_a_listing_without_what_came_since(folder: Path) -> None:
    ledger = Ledger().admit(listed(folder))
    rewrite(folder, "d", 5)
    assert names(ledger.known(listed(folder)).files) == ["a", "b", "c"]


def test_a_shard_rewritten_while_it_is_scored_is_found(folder: Path) -> None:
    shards = listed(folder)
    assert find_rewritten(shards) == []
    rewrite(folder, "b", 3)
    (folder / "c.parquet").unlink()  # its rows are scored: no other data stand for them
    assert names(find_rewritten(shards)) == ["b"]
