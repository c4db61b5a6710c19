"""Files on a file system or in object storage, asked for by one set of names.

`AnyPath` is a `pathlib.Path`, or an `ObjectPath` with those of its methods that are needed.
Object storage shows an object whole or not at all and at once, in listings too; it has no
folders, no renaming and no appending.
"""

import fnmatch
import os
import posixpath
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pyarrow.parquet as pq
from pyarrow import fs

from medsent.errors import ConfigError, object_storage_error

SCHEMES = ("s3", "gs")
"""Of the object storage that a run can lie in."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What begins the file that git leaves in another's place where git-lfs did not fetch it."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_OPTIONS = re.compile(r"\?[a-z_]+=")
"""With these a path is for pyarrow to take apart; else a `?` in it is one of its characters."""
_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, ends of lines, marks that turn text round, and bytes that are no UTF-8."""
_CONNECT_S = 5.0
_READERS = 16


@dataclass(frozen=True)
class StoredFile:
    """One file as it stands in storage."""

    path: str
    """Canonical: absolute, links resolved, with no scheme."""
    size_bytes: int
    etag: str
    """What changes when the file is rewritten: on S3 the ETag, else the time in ns."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """An object, or what the names of several begin with; its methods are `pathlib.Path`'s.

    What the storage refuses is raised as an `OSError` with the reason in words and the path.
    """

    scheme: str
    key: str
    """Bucket and key, as pyarrow's file systems take them."""
    filesystem: fs.FileSystem = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.scheme, f"{self.key}/{name}", self.filesystem)

    @property
    def name(self) -> str:
        return posixpath.basename(self.key)

    @property
    def parent(self) -> "ObjectPath":
        return ObjectPath(self.scheme, posixpath.dirname(self.key), self.filesystem)

    def resolve(self) -> "ObjectPath":
        return self

    def absolute(self) -> "ObjectPath":
        return self

    def is_file(self) -> bool:
        return bool(self.info().type == fs.FileType.File)

    def is_dir(self) -> bool:
        return bool(self.info().type == fs.FileType.Directory)

    def exists(self) -> bool:
        return bool(self.info().type != fs.FileType.NotFound)

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder comes with what is written into it."""

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Yield what lies right in this folder under a name of the pattern."""
        return self._found(pattern, recursive=False)

    def rglob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Yield what lies in this folder or below it under a name of the pattern."""
        return self._found(pattern, recursive=True)

    def read_bytes(self) -> bytes:
        with self.told(), self.filesystem.open_input_stream(self.key) as stream:
            data: bytes = stream.read()
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        with self.told(), self.filesystem.open_output_stream(self.key) as stream:
            stream.write(data)

    def unlink(self, *, missing_ok: bool = False) -> None:
        try:
            with self.told():
                self.filesystem.delete_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def info(self) -> fs.FileInfo:
        with self.told():
            return self.filesystem.get_file_info(self.key)

    def _found(self, pattern: str, *, recursive: bool) -> Iterator["ObjectPath"]:
        selector = fs.FileSelector(self.key, allow_not_found=True, recursive=recursive)
        with self.told():
            found = self.filesystem.get_file_info(selector)
        for info in found:
            if fnmatch.fnmatchcase(info.base_name, pattern):
                yield ObjectPath(self.scheme, info.path, self.filesystem)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn an `OSError` raised inside into one with the reason in words and this path."""
        try:
            yield
        except OSError as error:
            raise object_storage_error(error, str(self)) from error


AnyPath = Path | ObjectPath


def holds_secret(path: str) -> bool:
    """Tell whether a path of object storage carries a key; a secret may hold a slash."""
    _, there, inner = path.partition("://")
    bucket = inner.partition("?")[0].partition("/")[0]
    return bool(there) and any(mark in bucket for mark in "@:")


def shown(path: str) -> str:
    """Return a path as it can be written in messages, JSON and Parquet.

    Bytes that are no UTF-8, and characters that would act on a terminal, become escapes.
    """
    return _UNPRINTED.sub(_escape, path)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode()


def any_path(path: str | AnyPath) -> AnyPath:
    """Return where a path leads: this machine's files, or `s3://` and `gs://` to objects.

    Raises `ConfigError` for another scheme, and where the path holds a key.
    """
    if isinstance(path, ObjectPath):
        return path
    scheme, there, _ = str(path).partition("://")
    if not there:
        return Path(path).expanduser()
    if scheme not in SCHEMES:
        raise ConfigError(f"{scheme}:// is no storage; give a folder, s3:// or gs://")
    if holds_secret(str(path)):
        raise ConfigError(
            f"a {scheme}:// path must hold no key; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY instead"
        )
    filesystem, key = located(str(path))
    return ObjectPath(scheme, key.strip("/"), filesystem)


def located(path: str | AnyPath) -> tuple[fs.FileSystem, str]:
    """Return a path as pyarrow takes it: its file system, and its name there.

    Raises `OSError`, `ValueError` or `pyarrow.ArrowException` for a path of no known storage.
    """
    if isinstance(path, ObjectPath):
        return path.filesystem, path.key
    url = _URL.fullmatch(str(path))
    if url is None:
        return fs.LocalFileSystem(), str(Path(path).expanduser().absolute())
    scheme, key = url.groups()
    if scheme == "file" and key.startswith("/"):  # with no part that is not the path
        return fs.LocalFileSystem(), os.fsdecode(unquote_to_bytes(os.fsencode(key)))
    bucket = key.partition("/")[0]
    if scheme in SCHEMES and not _OPTIONS.search(key) and "@" not in bucket:
        filesystem = _s3() if scheme == "s3" else fs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
        return filesystem, "/".join(filter(None, key.split("/")))
    filesystem, inner = fs.FileSystem.from_uri(path)
    return filesystem, str(inner)


def stored(filesystem: fs.FileSystem, info: fs.FileInfo) -> StoredFile:
    """Return how a file that was listed stands in storage."""
    etag = None
    if filesystem.type_name == "s3":
        with suppress(FileNotFoundError), filesystem.open_input_stream(info.path) as stream:
            etag = stream.metadata().get("ETag")
    stamp = "" if info.mtime_ns is None else str(info.mtime_ns)
    return StoredFile(info.path, info.size, etag.decode() if etag else stamp)


def stored_files(filesystem: fs.FileSystem, folder: str) -> list[StoredFile]:
    """Return the files in and below a folder."""
    listed = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
    files = [info for info in listed if info.type == fs.FileType.File]
    with ThreadPoolExecutor(_READERS) as threads:
        return list(threads.map(partial(stored, filesystem), files))


def write_whole(target: AnyPath, data: str | bytes, mode: int | None = None) -> AnyPath:
    """Write a file whole or not at all; return its path. Raises `OSError`.

    A file has the rights of `mode` from its first byte on; of objects the bucket decides.
    """
    made = data.encode() if isinstance(data, str) else data
    if isinstance(target, ObjectPath):
        target.write_bytes(made)
    else:
        written_aside(target, made, mode).replace(target)
        _sync_folder(target.parent)
    return target


def written_aside(target: Path, data: bytes, mode: int | None = None) -> Path:
    """Write a file beside the one whose place it is to take; return its path. Raises `OSError`.

    It is synced to disk before it takes that place, so that a loss of power leaves no empty file.
    """
    aside = target.with_name(f".{target.name}.{time.time_ns()}")
    try:
        made = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(made, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return aside


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut; some network file systems cannot do this."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_line(target: AnyPath, line: str) -> None:
    """Append a line to a file; in object storage write it as an object in a folder of that name."""
    if isinstance(target, ObjectPath):
        (target / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json").write_bytes(line.encode())
        return
    with target.open("a+b") as file:
        torn = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
        # What a kill left of a line stays a line by itself, so that it does not spoil this one.
        file.write(b"\n" * torn + line.encode() + b"\n")


def read_lines(target: AnyPath) -> list[str]:
    """Return what `append_line` wrote, oldest first; nothing where it wrote nothing."""
    if isinstance(target, ObjectPath):
        lines = sorted(target.glob("*.json"))
        with ThreadPoolExecutor(_READERS) as threads:
            return list(threads.map(ObjectPath.read_text, lines))
    return target.read_text(encoding="utf-8").splitlines() if target.is_file() else []


def last_line_ns(target: AnyPath) -> int:
    """Return when `append_line` wrote last, in nanoseconds since 1970; 0 where it never did."""
    if isinstance(target, ObjectPath):
        stamps = (each.name.partition("-")[0] for each in target.glob("*.json"))
        return max((int(stamp) for stamp in stamps if stamp.isdigit()), default=0)
    return target.stat().st_mtime_ns if target.is_file() else 0


def names_below(folder: AnyPath, pattern: str) -> list[str]:
    """Return the files in and below a folder whose own name matches the pattern.

    They are given by their names relative to the folder, with `/`, sorted.
    """
    if isinstance(folder, ObjectPath):
        found = (each.key.removeprefix(f"{folder.key}/") for each in folder.rglob(pattern))
    else:
        # A path object for each of a million blocks would take many times as long.
        found = (
            (Path(root) / name).relative_to(folder).as_posix() if root != str(folder) else name
            for root, _, names in os.walk(folder, onerror=_raise_unless_gone)
            for name in fnmatch.filter(names, pattern)
        )
    return sorted(found)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def move(source: AnyPath, target: AnyPath) -> None:
    """Put a file in another's place, if there is one.

    An object is copied and then deleted: after a kill between these both stand.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    filesystem, here = located(source)
    filesystem.move(here, located(target)[1])


def remove_folder(folder: AnyPath) -> None:
    """Remove a folder and all that is in it; nothing where it is not there."""
    filesystem, path = located(folder)
    with suppress(FileNotFoundError):
        filesystem.delete_dir(path)


def open_parquet(path: AnyPath) -> pq.ParquetFile:
    """Open a Parquet file; the columns that are read of an object come in few requests."""
    if isinstance(path, ObjectPath):
        return pq.ParquetFile(path.key, filesystem=path.filesystem, pre_buffer=True)
    return pq.ParquetFile(path)


def count_rows(folder: AnyPath, names: Iterable[str]) -> list[int]:
    """Return the rows of Parquet files in a folder, as their footers tell."""

    def count(name: str) -> int:
        with open_parquet(folder / name) as parquet:
            return int(parquet.metadata.num_rows)

    with ThreadPoolExecutor(_READERS) as threads:
        return list(threads.map(count, names))


def _s3() -> fs.S3FileSystem:
    """Return S3 as the environment names it: endpoint, region and credentials are AWS's own."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return _s3_at(endpoint, region)


@cache
def _s3_at(endpoint: str | None, region: str | None) -> fs.S3FileSystem:
    # A small object is then one request, where a multipart upload is three.
    options: dict[str, Any] = {"connect_timeout": _CONNECT_S, "allow_delayed_open": True}
    if endpoint is not None:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
        region = region or "us-east-1"  # else it is asked of a network that may not be there
    return fs.S3FileSystem(region=region, **options)
