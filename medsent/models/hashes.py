"""Hashes of large files, made once for each content: 24 GB take a minute and more to read."""

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from medsent.storage.cache import cache_dir
from medsent.storage.paths import write_whole

_LARGE: Final = 1 << 20
"""Bytes from which a hash is kept; fewer are read as fast as it is found."""
_SETTLED_S: Final = 2.0
"""A file changed so shortly ago may be changed again within one tick of its file system's clock."""
_SHA256: Final = re.compile("[0-9a-f]{64}")


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file's bytes, all of which are read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept_sha256(path: Path) -> str:
    """Return the hex sha256 of a file's bytes, which are read only where they may have changed.

    The hub's cache names large files by their sha256. For any other file our cache keeps it, with
    the file's path, size, inode, mtime and ctime. Programs can set mtime back but not ctime: a
    file that was rewritten under its old date is read again.
    """
    file = path.resolve()
    if path.is_symlink() and file.parent.name == "blobs" and _SHA256.fullmatch(file.name):
        return file.name
    before = file.stat()
    if before.st_size < _LARGE:
        return sha256_file(file)
    note, marks = _note(file), _marks(before)
    known = _known(note)
    if known.get("marks") == marks:
        return str(known["sha256"])
    settled = before.st_ctime < time.time() - _SETTLED_S
    digest = sha256_file(file)
    if settled and _marks(file.stat()) == marks:
        with suppress(OSError):  # where nothing can be kept, it is read again
            note.parent.mkdir(parents=True, exist_ok=True)
            write_whole(note, json.dumps({"file": str(file), "marks": marks, "sha256": digest}))
    return digest


def _note(file: Path) -> Path:
    """Return where a file's hash is kept: one small file each, so that none waits for another."""
    name = hashlib.sha256(os.fsencode(file)).hexdigest()[:32]
    return cache_dir() / "hashes" / f"{name}.json"


def _marks(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _known(note: Path) -> dict[str, object]:
    """Return what is kept; nothing where it is damaged."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and _SHA256.fullmatch(str(found.get("sha256")))
    return found if whole else {}
