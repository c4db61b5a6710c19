"""What a machine keeps to itself: prepared models, and folders fetched from object storage."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pyarrow import fs

from medsent.storage.paths import ObjectPath, StoredFile, any_path, stored_files


def cache_dir() -> Path:
    """The folder for prepared models and data: `MEDSENT_CACHE`, else `~/.cache/medsent`."""
    return Path(os.environ.get("MEDSENT_CACHE") or Path.home() / ".cache" / "medsent")


def fetched(path: str) -> Path:
    """Return a folder of this machine with what lies at a path: itself, or a copy of objects.

    A copy is named after its objects' names, sizes and ETags, so that other content is another
    copy. It is whole or not there. Processes that want the same one fetch it once: one does,
    the others wait. Raises `OSError` with the reason in words.
    """
    source = any_path(path)
    if isinstance(source, Path):
        return source.resolve()
    listed = _listed(source)
    copy = cache_dir() / "fetched" / f"{source.name}-{_digest(listed)}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    with _alone(copy.with_name(f".{copy.name}.lock")):
        if not copy.is_dir():
            _fetch(source, copy, listed)
    return copy


def _listed(source: ObjectPath) -> list[StoredFile]:
    with source.told():
        found = stored_files(source.filesystem, source.key)
    if not found:
        raise FileNotFoundError(errno.ENOENT, "there are no objects", str(source))
    return sorted(found, key=lambda file: file.path)


def _digest(listed: list[StoredFile]) -> str:
    told = json.dumps([asdict(file) for file in listed])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _fetch(source: ObjectPath, copy: Path, listed: list[StoredFile]) -> None:
    """Copy the objects into a folder that gets its name when all are there."""
    partial = copy.with_name(f".{copy.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a kill left
    partial.mkdir()
    with source.told():
        fs.copy_files(source.key, str(partial), source.filesystem, fs.LocalFileSystem())
    if _listed(source) != listed:
        told = "was rewritten while it was fetched; try again when nobody writes it"
        raise OSError(errno.EAGAIN, told, str(source))
    partial.rename(copy)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process of this machine in at a time; the end of a process lets the next one in."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
