"""Shards are read page by page: what is corrupt, gone or rewritten is found and named."""

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from medsent.errors import StorageError
from medsent.input.files import find_files
from medsent.input.shard import BadShard, ShardError
from medsent.input.shards import Shards, find_rewritten
from tests.conftest import MARKER
from tests.input.reading import opened, records, rows

NOBODY = 65534


def found_bad(shards: Shards) -> list[BadShard]:
    """Read all shards to their ends; return those that cannot be read."""
    bad = []
    for shard in shards.files:
        try:
            records(replace(shards, files=(shard,)))
        except ShardError as error:
            bad.append(error.bad)
    return bad


def write(folder: Path, *counts: int) -> Path:
    """Write a shard of so many rows each."""
    for number, count in enumerate(counts):
        pq.write_table(rows(count), folder / f"{number}.parquet")
    return folder


def incompressible(count: int = 4000) -> pa.Table:
    random = Random(0)
    texts = pa.array([f"{MARKER} {random.randbytes(32).hex()}" for _ in range(count)])
    return rows(count, text=texts, unread=texts)


def corrupt(file: Path, column: str, group: int = 0, *, header: bool = False) -> None:
    """Flip bytes in the pages of one column and leave the footer, size and time as they are."""
    footer = pq.read_metadata(file)
    before, data = file.stat(), bytearray(file.read_bytes())
    place = footer.schema.names.index(column)
    chunk = footer.row_group(group).column(place)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    start += 0 if header else chunk.total_compressed_size // 2
    for at in range(start, start + 20):
        data[at] ^= 0x55
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("codec", "checksums", "header"),
    [
        ("snappy", False, True),
        ("snappy", True, False),
        ("none", True, False),
        ("zstd", True, False),
    ],
)
def test_a_corrupt_page_is_found_by_reading(
    tmp_path: Path, codec: str, checksums: bool, header: bool
) -> None:
    for name in ("a", "b", "c"):
        pq.write_table(
            incompressible(),
            tmp_path / f"{name}.parquet",
            compression=codec,
            write_page_checksum=checksums,
            use_dictionary=False,
            row_group_size=1000,
        )
    shards = opened(tmp_path)
    assert found_bad(shards) == []
    corrupt(tmp_path / "b.parquet", "text", group=2, header=header)
    assert opened(tmp_path).files == shards.files
    [bad] = found_bad(shards)
    assert (bad.path, bad.reason, bad.rows) == (shards.files[1].path, "corrupt_page", 4000)
    assert bad.message.startswith(f"{bad.path} is damaged inside (row group 2 cannot be read); ")
    assert MARKER not in bad.message


def test_a_corrupt_page_that_no_one_reads_is_no_matter(tmp_path: Path) -> None:
    pq.write_table(incompressible(), tmp_path / "a.parquet", use_dictionary=False)
    corrupt(tmp_path / "a.parquet", "unread", header=True)
    assert found_bad(opened(tmp_path)) == []
    [bad] = found_bad(opened(tmp_path, keep=["unread"]))
    assert bad.reason == "corrupt_page"


def test_what_became_of_a_shard_since_the_listing(tmp_path: Path) -> None:
    folder = write(tmp_path, 2, 3, 4, 5)
    shards = opened(folder)
    (folder / "1.parquet").unlink()
    pq.write_table(rows(9, text=pa.array(["another"] * 9)), folder / "2.parquet")
    (folder / "3.parquet").write_bytes(b"PAR1")
    found = found_bad(shards)
    assert [(Path(bad.path).name, bad.reason, bad.rows) for bad in found] == [
        ("1.parquet", "disappeared", 3),
        ("2.parquet", "rewritten", 4),
        ("3.parquet", "rewritten", 5),
    ]
    assert [(bad.size_bytes, bad.etag) for bad in found] == [
        (file.size_bytes, file.etag) for file in shards.files[1:]
    ]
    assert [bad.path for bad in find_rewritten(shards)] == [bad.path for bad in found[1:]]
    assert "put it back" in found[0].message
    assert "medsent requeue" in found[1].message


def test_a_shard_of_as_many_other_rows_is_found_by_its_time(tmp_path: Path) -> None:
    shards = opened(write(tmp_path, 2, 2))
    before = (tmp_path / "1.parquet").stat()
    pq.write_table(rows(2), tmp_path / "1.parquet")
    os.utime(tmp_path / "1.parquet", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert found_bad(shards) == []
    [bad] = find_rewritten(shards)
    assert (bad.path, bad.reason) == (shards.files[1].path, "rewritten")


def test_a_shard_that_goes_before_its_footer_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, 2, 2)

    def found(path: str) -> Any:
        listed = find_files(path)
        (folder / "1.parquet").unlink()
        return listed

    monkeypatch.setattr("medsent.input.shards.find_files", found)
    [bad] = opened(folder, on_bad_shard="quarantine").bad
    assert (Path(bad.path).name, bad.reason, bad.rows) == ("1.parquet", "disappeared", None)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user to whom permissions apply, who this process is meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid():
            yield Path(name)
            return
        os.chown(name, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("setting", ["fail", "quarantine"])
def test_a_shard_that_must_not_be_read_is_not_called_broken(
    unprivileged: Path, setting: str
) -> None:
    for name in ("a", "b"):
        pq.write_table(rows(), unprivileged / f"{name}.parquet")
    shards = opened(unprivileged)
    secret = unprivileged / "b.parquet"
    secret.chmod(0)
    with pytest.raises(StorageError) as caught:
        opened(unprivileged, on_bad_shard=setting)
    message = str(caught.value)
    assert message.startswith(f"cannot read {secret.resolve()}: permission denied. ")
    assert caught.value.exit_code == 1
    with pytest.raises(StorageError, match=r"b\.parquet: permission denied"):
        found_bad(shards)


class FailingStorage(LocalFileSystem):
    """A disk that gives so many bytes of a file and then fails to read."""

    given = 0
    cachable = False

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
        return FailingFile(path, self.given)


class FailingFile(io.FileIO):
    def __init__(self, path: str, given: int) -> None:
        super().__init__(path)
        self._given = given

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self._given -= len(data)
        if self._given < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data


@pytest.mark.parametrize("given", [0, 80_000])
def test_a_disk_that_fails_while_reading_quarantines_no_shard(tmp_path: Path, given: int) -> None:
    pq.write_table(incompressible(), tmp_path / "a.parquet", use_dictionary=False)
    shards = opened(tmp_path)
    storage = FailingStorage()
    storage.given = given
    failing = fs.PyFileSystem(fs.FSSpecHandler(storage))
    [now] = failing.get_file_info([shards.files[0].path])
    listed = replace(shards.files[0], etag=str(now.mtime_ns))
    with pytest.raises(StorageError, match=r"a\.parquet: input/output error\."):
        found_bad(replace(shards, files=(listed,), filesystem=failing))
