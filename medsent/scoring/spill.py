"""Where Ray puts objects that memory has no room for: opinions are among them.

A Ray that is killed leaves them. So each start has a folder of its own, which no other user can
read, and removes those of processes that are gone.
"""

import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import IO

from medsent.errors import ConfigError
from medsent.storage.cache import alone

_OWNER_ALONE = 0o700
_RAYS_OWN = ("RAY_object_spilling_directory", "RAY_TMPDIR")
"""Variables by which Ray is told of a larger disk, say."""


def spill_folder() -> Path:
    """Return a new folder for this process, and remove those that killed ones have left.

    Raises `ConfigError` where another user could read it.
    """
    base = spill_base()
    with alone(base / "all"):  # a lock that is made just now is not yet held
        _sweep(base)
        folder = base / uuid.uuid4().hex
        _HELD[folder] = _locked(folder.with_suffix(".lock"))
        folder.mkdir(mode=_OWNER_ALONE)
    return folder


def spill_base() -> Path:
    """Return the folder that holds those of all processes of this user, made if need be."""
    named = next(filter(None, map(os.environ.get, _RAYS_OWN)), None) or tempfile.gettempdir()
    base = Path(named) / f"medsent-spill-{os.getuid()}"
    base.mkdir(mode=_OWNER_ALONE, parents=True, exist_ok=True)
    found = base.lstat()
    if base.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{base} is to hold opinions for a while, and is not of this user alone; remove it, or "
            "name another place for Ray's files by RAY_TMPDIR"
        )
    return base


_HELD: dict[Path, IO[str]] = {}
"""Folder to its lock, which the end of this process releases, whatever it dies of."""


def _sweep(base: Path) -> None:
    for lock in base.glob("*.lock"):
        try:
            held = _locked(lock)
        except BlockingIOError:  # its process lives
            continue
        _discard(lock.with_suffix(""), held)


def remove(folder: Path) -> None:
    """Remove a folder of this process."""
    if held := _HELD.pop(folder, None):
        _discard(folder, held)


def _discard(folder: Path, held: IO[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():  # else the next start tries again
        Path(held.name).unlink(missing_ok=True)
    held.close()


def _locked(file: Path) -> IO[str]:
    """Open a file and lock it. Raises `BlockingIOError` where another process has it."""
    handle = file.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise
    return handle
