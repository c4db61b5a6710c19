"""A large file is read once for each content, and never taken for what it was."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from medsent.models import hashes
from medsent.models.hashes import kept_sha256

LARGE = 1 << 20


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_SETTLED_S", -1.0)  # tests do not wait for files to be old


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List the files that are read."""
    files: list[Path] = []
    whole = hashes.sha256_file

    def counted(path: Path) -> str:
        files.append(path)
        return whole(path)

    monkeypatch.setattr(hashes, "sha256_file", counted)
    return files


def written(path: Path, content: bytes) -> str:
    """Write a file and return what its hash should be."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_a_large_file_is_read_once(tmp_path: Path, read: list[Path]) -> None:
    expected = written(tmp_path / "weights", b"a" * LARGE)
    (tmp_path / "link").symlink_to(tmp_path / "weights")
    for name in ("weights", "weights", "link"):
        assert kept_sha256(tmp_path / name) == expected
    assert len(read) == 1


def test_a_small_file_leaves_nothing(tmp_path: Path) -> None:
    expected = written(tmp_path / "config", b"{}")
    assert kept_sha256(tmp_path / "config") == expected
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("way", ["in place", "in its place", "under its old date"])
def test_a_file_that_was_rewritten_is_read_again(tmp_path: Path, way: str) -> None:
    weights = tmp_path / "weights"
    first = written(weights, b"a" * LARGE)
    assert kept_sha256(weights) == first
    before = weights.stat()
    if way == "in its place":
        written(tmp_path / "new", b"b" * LARGE)
        (tmp_path / "new").replace(weights)
    else:
        written(weights, b"b" * LARGE)
    if way == "under its old date":
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert weights.stat().st_mtime_ns == before.st_mtime_ns
    assert kept_sha256(weights) == hashlib.sha256(b"b" * LARGE).hexdigest()


def test_a_file_of_this_moment_is_not_relied_on(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "_SETTLED_S", 3600.0)
    expected = written(tmp_path / "weights", b"a" * LARGE)
    assert [kept_sha256(tmp_path / "weights") for _ in range(2)] == [expected] * 2
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_read_is_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    written(weights, b"a" * LARGE)
    whole = hashes.sha256_file

    def overtaken(path: Path) -> str:
        digest = whole(path)
        time.sleep(0.01)  # a tick of the file system's clock
        written(path, b"b" * LARGE)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(hashes, "sha256_file", overtaken)
        kept_sha256(weights)
    assert kept_sha256(weights) == hashlib.sha256(b"b" * LARGE).hexdigest()


@pytest.mark.parametrize("note", ["", "[]", "{", '{"marks": 1}', '{"sha256": "x"}'])
def test_a_damaged_note_says_nothing(tmp_path: Path, note: str) -> None:
    expected = written(tmp_path / "weights", b"a" * LARGE)
    kept_sha256(tmp_path / "weights")
    [file] = (tmp_path / "cache" / "hashes").iterdir()
    file.write_text(note)
    assert kept_sha256(tmp_path / "weights") == expected


def test_where_nothing_can_be_kept_it_is_read_each_time(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "file"))
    expected = written(tmp_path / "weights", b"a" * LARGE)
    assert [kept_sha256(tmp_path / "weights") for _ in range(2)] == [expected] * 2
    assert len(read) == 2


def test_a_name_is_relied_on_in_the_hubs_cache_alone(tmp_path: Path) -> None:
    for folder in ("blobs", "other"):
        (tmp_path / folder).mkdir()
        blob = tmp_path / folder / ("0" * 64)
        expected = written(blob, b"a" * LARGE)
        (tmp_path / f"link-{folder}").symlink_to(blob)
    assert kept_sha256(tmp_path / "link-blobs") == "0" * 64
    assert kept_sha256(tmp_path / "link-other") == expected
    assert kept_sha256(tmp_path / "blobs" / ("0" * 64)) == expected
