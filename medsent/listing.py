"""The files of an input: each found once, whatever links and spellings lead to it."""

import errno
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from medsent.errors import InputError, ObjectRefusal, StorageError, reason
from medsent.storage import StoredFile, located, stored, stored_files

_SUFFIX = ".parquet"
_SECRETS = re.compile(r"(?<=://)(?:[^@\s]*:[^@\s]*|[^/@]*)@")
"""The key and secret that a path of object storage may carry."""


def find_files(path: str) -> tuple[fs.FileSystem, list[StoredFile]]:
    """List the Parquet files at a path or below it, in the order of their paths.

    Files and folders whose names begin with `_` or `.` are what writers leave behind
    unfinished, and are left out. Raises `InputError` where there is none, or a link
    leads nowhere, and `StorageError` where the storage cannot be listed.
    """
    shown = _SECRETS.sub("", path)
    try:
        filesystem, inner = located(path)
        if isinstance(filesystem, fs.LocalFileSystem):
            found = _in_folders(Path(inner))
        else:
            found = _in_objects(filesystem, inner)
    except OSError as error:
        refusal = ObjectRefusal.of(error)
        if refusal and refusal.key and refusal.key not in shown:
            shown += f" ({refusal.key})"
        raise StorageError(f"input.path: cannot list {shown}: {_told(error)}") from error
    except (RuntimeError, ValueError, pa.ArrowException) as error:
        why = _SECRETS.sub("", str(error))
        raise InputError(f"input.path: cannot list {shown}: {why}") from error
    if found is None:
        raise InputError(f"input.path: there is nothing at {shown}")
    if not found:
        raise InputError(f"input.path: no shards (*.parquet) in {shown}")
    return filesystem, sorted(found, key=lambda file: file.path)


def canonical(path: str) -> str:
    """Return the path under which a file is listed, whether it is there or not."""
    filesystem, inner = located(path)
    return str(Path(inner).resolve()) if isinstance(filesystem, fs.LocalFileSystem) else inner


def look(filesystem: fs.FileSystem, path: str) -> StoredFile | None:
    """Return how a file stands in storage now; None where it is gone."""
    try:
        [info] = filesystem.get_file_info([path])
        return stored(filesystem, info) if info.type == fs.FileType.File else None
    except (OSError, pa.ArrowException) as error:
        raise cannot_read(path, error) from error


def cannot_read(path: str, error: BaseException) -> StorageError:
    """Return what to tell of a file that the storage does not give."""
    return StorageError(
        f"cannot read {path}: {_told(error)}. The shard itself may be whole: mend what keeps it "
        "from being read, and give the same command again"
    )


def _told(error: BaseException) -> str:
    """Return the reason in words; the path is told beside it."""
    why, remedy = reason(error)
    if ObjectRefusal.of(error):
        return f"{why}; {remedy}"
    return why if getattr(error, "errno", None) else str(error).rstrip(".") or why


def _in_folders(root: Path) -> list[StoredFile] | None:
    """Return the files of this machine's folders, one reached twice once; None for no root."""
    kind = _kind(root)
    if kind is None:
        return None
    files: dict[Path, Path] = {}
    for path in _walk(root.resolve(), set()) if stat.S_ISDIR(kind) else _one(root):
        real = path.resolve() if path.is_symlink() else path
        # Ray reads no file of another ending: the link then stands for what it leads to.
        name = real if real.suffix == _SUFFIX else path
        files[real] = min(name, files.get(real, name))
    return [
        StoredFile(str(path), (now := path.stat()).st_size, str(now.st_mtime_ns))
        for path in files.values()
    ]


def _one(file: Path) -> Iterator[Path]:
    if file.suffix == _SUFFIX:
        yield file.parent.resolve() / file.name


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the shards in and below a folder; `seen` ends a walk that links lead in a circle."""
    if folder in seen:
        return
    seen.add(folder)
    for path in sorted(folder.iterdir()):
        if _is_hidden(path.name):
            continue
        kind = _kind(path)
        if kind is None:  # gone since the folder was listed
            continue
        if stat.S_ISDIR(kind):
            yield from _walk(path.resolve(), seen)
        elif stat.S_ISREG(kind) and path.suffix == _SUFFIX:
            yield path


def _kind(path: Path) -> int | None:
    """Return the mode of what a path leads to, None where nothing is there."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(
                f"{path} is a link that leads in a circle; point it at its shards or remove it"
            ) from error
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        if path.is_symlink():
            raise InputError(
                f"{path} is a link to {path.readlink()}, where there is nothing; put that back "
                "or remove the link"
            ) from error
        return None


def _is_hidden(path: str) -> bool:
    """Tell whether a file or folder on the way is one that writers leave behind unfinished."""
    return any(part.startswith(("_", ".")) for part in path.split("/"))


def _in_objects(filesystem: fs.FileSystem, root: str) -> list[StoredFile] | None:
    """Return the files below a root of object storage; None where that is not there."""
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        return None
    if info.type == fs.FileType.File:
        return [stored(filesystem, info)] if _is_shard(info, root) else []
    return stored_files(filesystem, root, partial(_is_shard, root=root))


def _is_shard(info: fs.FileInfo, root: str) -> bool:
    inside = info.path.removeprefix(root)
    return info.base_name.endswith(_SUFFIX) and not _is_hidden(inside)
