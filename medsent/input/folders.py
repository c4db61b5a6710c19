"""What lies in folders of this machine, whatever links lead there."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from medsent.errors import InputError
from medsent.storage.paths import shown


@dataclass(frozen=True)
class Listed:
    """A file or folder as it was listed."""

    inside: str
    """Its place below the root: ends in "/" for a folder, empty for a root that is a file."""
    path: str
    """As a `StoredFile` has it."""
    info: fs.FileInfo | None = None
    """What object storage tells; None for what is on this machine."""
    regular: bool = True
    """Not a pipe, socket or device: to read one may wait for ever."""


def is_hidden(inside: str) -> bool:
    """Tell whether a part of the path begins with `_` or `.` and holds no `=`: it is unfinished."""
    return any(part.startswith(("_", ".")) and "=" not in part for part in inside.split("/"))


def on_this_machine(root: Path) -> list[Listed] | None:
    """Return what lies at a root or below it; None where nothing is there."""
    mode = _mode(root)
    if mode is None:
        return None
    if stat.S_ISDIR(mode):
        return list(_walk(root.resolve(), "", set()))
    if not stat.S_ISREG(mode):
        raise InputError(f"input.path: {shown(str(root))} is neither a file nor a folder")
    return [Listed("", str(root.resolve()))]


def _walk(folder: Path, place: str, seen: set[Path]) -> Iterator[Listed]:
    """Yield what lies in and below a folder; `seen` ends a walk that links lead in a circle."""
    if folder in seen:
        return
    seen.add(folder)
    for path in sorted(folder.iterdir()):
        inside = place + path.name
        if is_hidden(path.name):
            yield from _hidden(path, inside)
            continue
        mode = _mode(path)
        if mode is None:  # gone since the folder was listed
            continue
        real = path.resolve() if path.is_symlink() else path
        if stat.S_ISDIR(mode):
            yield Listed(f"{inside}/", str(real))
            yield from _walk(real, f"{inside}/", seen)
        else:
            yield Listed(inside, str(real), regular=stat.S_ISREG(mode))


def _hidden(path: Path, inside: str) -> Iterator[Listed]:
    """Yield what has a hidden name, and what is below it, without a look at where links lead."""
    if not path.is_dir():
        yield Listed(inside, str(path))
        return
    yield Listed(f"{inside}/", str(path))
    for folder, _, names in os.walk(path) if not path.is_symlink() else ():
        below = inside + folder.removeprefix(str(path))
        yield from (Listed(f"{below}/{name}", f"{folder}/{name}") for name in names)


def _mode(path: Path) -> int | None:
    """Return the mode of what a path leads to, None where nothing is there."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(
                f"{shown(str(path))} is a link that leads in a circle; point it at its shards or "
                "remove it"
            ) from error
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        if path.is_symlink():
            raise InputError(
                f"{shown(str(path))} is a link to {shown(str(path.readlink()))}, where there is "
                "nothing; put that back or remove the link"
            ) from error
        return None
