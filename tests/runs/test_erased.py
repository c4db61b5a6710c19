"""The lists of what runs must hold no more: read once, and carried on from earlier versions."""

import json
from pathlib import Path

import pytest

from medsent.runs.erased import (
    LISTS,
    Erased,
    list_carried,
    list_erased,
    listed_in,
    opinion_hash,
)
from medsent.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "my-0").mkdir()
    return RunFolder(tmp_path / "my-0")


def hashes(*opinion_ids: str) -> frozenset[str]:
    return frozenset(map(opinion_hash, opinion_ids))


def test_a_list_is_read_once_and_a_new_one_is_seen(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = list[Path](), Path.read_text

    def reading(path: Path, **options: str) -> str:
        read.append(path)
        return real(path, **options)

    list_erased(run.path.parent, ["a"])
    list_erased(run.path.parent, ["b", "c"])
    monkeypatch.setattr(Path, "read_text", reading)
    for _ in range(3):
        assert Erased.read(run).opinions == hashes("a", "b", "c")
    lists = [path for path in read if path.parent.name == LISTS]
    assert len(lists) == 2
    list_erased(run.path.parent, ["d"])
    assert Erased.read(run).opinions == hashes("a", "b", "c", "d")
    assert Erased.read(run, hashes("a")).opinions == hashes("a")


def test_what_earlier_versions_erased_is_listed_for_every_run(
    run: RunFolder, tmp_path: Path, said: list[str]
) -> None:
    output = tmp_path
    list_erased(output, ["a"])
    for name, ids in (("one-0", "ab"), ("two-0", "c")):
        (output / name).mkdir()
        told = {"opinions": sorted(hashes(*ids)), "pending": False}
        (output / name / "erased.json").write_text(json.dumps(told))
    (output / "notes.txt").write_text("no run")
    (output / "bad-0").mkdir()
    (output / "bad-0" / "erased.json").write_text("{}")
    list_carried(output)
    assert Erased.read(run).opinions == listed_in(output) == hashes("a", "b", "c")
    assert Erased.read(run).pending
    [message] = said
    assert message.startswith(f"{output / 'bad-0' / 'erased.json'} is damaged; put it back")
    before = sorted((output / LISTS).iterdir())
    list_carried(output)
    assert sorted((output / LISTS).iterdir()) == before


def test_nothing_is_made_where_nothing_was_erased(run: RunFolder, tmp_path: Path) -> None:
    list_carried(tmp_path)
    assert list(tmp_path.iterdir()) == [run.path]
