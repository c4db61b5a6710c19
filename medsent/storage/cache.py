"""What a machine keeps to itself: prepared models, and folders fetched from object storage."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pyarrow import fs

from medsent.storage.paths import ObjectPath, StoredFile, any_path, stored_files

_UNASKED_S = 30 * 86_400.0


def cache_dir() -> Path:
    """The folder for prepared models and data.

    `MEDSENT_CACHE`, else `medsent` in `XDG_CACHE_HOME` (where that is absolute, as its
    specification asks), else `~/.cache/medsent`.
    """
    if own := os.environ.get("MEDSENT_CACHE"):
        return Path(own)
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (caches if caches.is_absolute() else Path.home() / ".cache") / "medsent"


def fetched(path: str) -> Path:
    """Return a folder of this machine with what lies at a path: itself, or a copy of objects.

    A copy is named after its objects' names, sizes and ETags, so that other content is another
    copy. It is whole or not there. Processes that want the same one fetch it once: one does,
    the others wait. Copies that nobody has asked for in 30 days go when another is fetched.
    Raises `OSError` with the reason in words.
    """
    source = any_path(path)
    if isinstance(source, Path):
        return source.resolve()
    listed = _listed(source)
    copy = cache_dir() / "fetched" / f"{source.name}-{_digest(listed)}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    with alone(_lock_of(copy)):
        if not copy.is_dir():
            _fetch(source, copy, listed)
            _evict(copy.parent)
    return copy


def _lock_of(copy: Path) -> Path:
    """Return a copy's lock file; its time of change tells when the copy was last asked for."""
    return copy.with_name(f".{copy.name}.lock")


def _evict(folder: Path) -> None:
    """Remove the copies that nobody has asked for in a long time."""
    for lock in folder.glob(".*.lock"):
        copy = folder / lock.name.removeprefix(".").removesuffix(".lock")
        with lock.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody asks for it just now
                continue
            if os.fstat(file.fileno()).st_mtime < time.time() - _UNASKED_S:
                shutil.rmtree(copy, ignore_errors=True)


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
def alone(lock: Path) -> Iterator[None]:
    """Let one process of this machine in at a time; the end of a process lets the next one in."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(file.fileno())
        yield
