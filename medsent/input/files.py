"""The files of an input: each found once, whatever links and spellings lead to it."""

import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from medsent.errors import InputError, ObjectRefusal, StorageError, reason, some_of
from medsent.input.folders import Listed, is_hidden, on_this_machine
from medsent.input.tables import SIGNS, tables
from medsent.storage.paths import StoredFile, located, shown, stored

_Told = TypeVar("_Told")

_SUFFIXES = (".parquet", ".parq", ".pq")
_MAGIC = b"PAR1"
_READERS = 16
_LEVELS = 4
"""Folders above the input that are looked at: it may be a part of a table."""
_MOST_NAMED = 5
_SECRETS = re.compile(r"(?<=://)(?:[^@\s]*:[^@\s]*|[^/@]*)@")
"""The key and secret that a path of object storage may carry."""


@dataclass(frozen=True)
class Found:
    """What lies at an input's path or below it."""

    filesystem: fs.FileSystem
    files: tuple[StoredFile, ...]
    """Those to read, in the order of their paths."""
    passed_over: tuple[str, ...]
    """The paths of all others, in order: hidden ones, and those that are not called Parquet."""


def find_files(path: str) -> Found:
    """List the Parquet files at a path or below it.

    A file is taken if it has a suffix of Parquet, or no suffix but Parquet's first bytes; the
    file that the path itself names is taken in any case. Names below the path that begin with
    `_` or `.` are passed over as unfinished, unless they hold a `=`, as those of partitions do.
    Raises `InputError` where no file is left, a link leads nowhere, or a folder is a table of
    Delta Lake, Iceberg or Hudi; `StorageError` where the storage cannot be listed.
    """
    named = shown(_SECRETS.sub("", path))
    try:
        filesystem, root = located(path)
        listed = _listed(filesystem, root)
        if listed is None:
            raise InputError(f"input.path: there is nothing at {named}")
        top = _resolved(filesystem, root).rstrip("/")
        _refuse_tables([each.inside for each in listed], top)
        for above in _above(filesystem, top):
            _refuse_tables(*above)
        files = [each for each in listed if not each.inside.endswith("/")]
        taken = {each.path: each for each in _taken(filesystem, files)}
        found = [state for state in _in_threads(_state, filesystem, taken.values()) if state]
    except OSError as error:
        which = _which(error)
        part = f" ({which})" if which and which not in named else ""
        raise StorageError(f"input.path: cannot list {named}{part}: {_told(error)}") from error
    except (RuntimeError, ValueError, pa.ArrowException) as error:
        why = shown(_SECRETS.sub("", str(error)))
        raise InputError(f"input.path: cannot list {named}: {why}") from error
    left = sorted({each.inside for each in files if each.path not in taken})
    if not found:
        raise InputError(f"input.path: no shards (*.parquet, *.parq, *.pq) in {named}{_also(left)}")
    found.sort(key=lambda file: file.path)
    return Found(filesystem, tuple(found), tuple(f"{top}/{inside}" for inside in left))


def canonical(path: str) -> str:
    """Return the path under which a file is listed, whether it is there or not."""
    return _resolved(*located(path))


def look(filesystem: fs.FileSystem, path: str) -> StoredFile | None:
    """Return how a file stands in storage now; None where it is gone."""
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            return _look_here(path)
        [info] = filesystem.get_file_info([path])
        return stored(filesystem, info) if info.type == fs.FileType.File else None
    except (OSError, pa.ArrowException) as error:
        raise cannot_read(path, error) from error


def _look_here(path: str) -> StoredFile | None:
    """Return how a file of this machine stands; pyarrow takes no name that is not UTF-8."""
    try:
        now = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    regular = stat.S_ISREG(now.st_mode)
    return StoredFile(path, now.st_size, str(now.st_mtime_ns)) if regular else None


def cannot_read(path: str, error: BaseException) -> StorageError:
    """Return what to tell of a file that the storage does not give."""
    return StorageError(
        f"cannot read {shown(path)}: {_told(error)}. The shard itself may be whole: mend what "
        "keeps it from being read, and give the same command again"
    )


def _told(error: BaseException) -> str:
    """Return the reason in words; the path is told beside it."""
    why, remedy = reason(error)
    if ObjectRefusal.of(error):
        return f"{why}; {remedy}"
    return why if getattr(error, "errno", None) else shown(str(error)).rstrip(".") or why


def _which(error: OSError) -> str:
    """Return the file, folder or object that was refused, if the error tells."""
    refusal = ObjectRefusal.of(error)
    return shown(str((refusal.key if refusal else error.filename) or ""))


def _also(passed_over: Sequence[str]) -> str:
    """Say what was found where there is no shard."""
    if not passed_over:
        return ""
    names = some_of([*map(shown, passed_over)], _MOST_NAMED)
    return (
        f"; passed over ({len(passed_over)}): {names}. Parquet files need such an ending, "
        "and names of files and folders must not begin with _ or ."
    )


def _resolved(filesystem: fs.FileSystem, path: str) -> str:
    local = isinstance(filesystem, fs.LocalFileSystem)
    return str(Path(path).resolve()) if local else path.rstrip("/")


def _in_threads(
    call: Callable[[fs.FileSystem, Listed], _Told],
    filesystem: fs.FileSystem,
    each: Iterable[Listed],
) -> list[_Told]:
    with ThreadPoolExecutor(_READERS) as threads:
        return list(threads.map(partial(call, filesystem), each))


def _state(filesystem: fs.FileSystem, listed: Listed) -> StoredFile | None:
    return stored(filesystem, listed.info) if listed.info else look(filesystem, listed.path)


def _above(filesystem: fs.FileSystem, top: str) -> Iterator[tuple[list[str], str]]:
    """Yield what tells of a table in the folders above a path, as names, and each such folder."""
    folder, below = top.rpartition("/")[0], top.rpartition("/")[2]
    for _ in range(_LEVELS):
        if not folder:
            return
        names = [name for mark in SIGNS for name in _names(filesystem, folder, mark)]
        if names:
            yield [*names, f"{below}/"], folder
        folder, _, name = folder.rpartition("/")
        below = f"{name}/{below}"


def _names(filesystem: fs.FileSystem, folder: str, mark: str) -> list[str]:
    """Return what lies in a folder's subfolder `mark`, by names relative to the folder.

    Nothing where it is not there, or where the credentials do not allow listing it.
    """
    place = f"{folder}/{mark}"
    with suppress(OSError):
        if isinstance(filesystem, fs.LocalFileSystem):
            return [f"{mark}/", *(f"{mark}/{each.name}" for each in Path(place).iterdir())]
        below = filesystem.get_file_info(fs.FileSelector(place, allow_not_found=True))
        return [f"{mark}/{info.base_name}" for info in below]
    return []


def _refuse_tables(names: Sequence[str], top: str) -> None:
    for folder, why in tables(names):
        if not is_hidden(folder):
            where = shown(f"{top}/{folder}".rstrip("/"))
            raise InputError(f"input.path: {where} is {why}")


def _taken(filesystem: fs.FileSystem, files: Sequence[Listed]) -> Iterator[Listed]:
    """Yield the files to read; a file without a suffix is looked into."""
    unsure = []
    for file in files:
        name = file.inside.rpartition("/")[2]
        if not file.inside:
            yield file
        elif not file.regular or is_hidden(file.inside):
            continue
        elif name.lower().endswith(_SUFFIXES):
            yield file
        elif "." not in name:
            unsure.append(file)
    begun = _in_threads(_begins_as_parquet, filesystem, unsure)
    yield from (file for file, does in zip(unsure, begun, strict=True) if does)


def _begins_as_parquet(filesystem: fs.FileSystem, file: Listed) -> bool:
    try:
        if file.info is None:
            with Path(file.path).open("rb") as local:
                return local.read(len(_MAGIC)) == _MAGIC
        with filesystem.open_input_stream(file.path) as stream:
            return bool(stream.read(len(_MAGIC)) == _MAGIC)
    except FileNotFoundError:  # gone since it was listed
        return False
    except (OSError, pa.ArrowException) as error:
        raise cannot_read(file.path, error) from error


def _listed(filesystem: fs.FileSystem, root: str) -> list[Listed] | None:
    """Return all that lies at a root or below it; None where nothing is there."""
    if isinstance(filesystem, fs.LocalFileSystem):
        return on_this_machine(Path(root))
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        return None
    if info.type == fs.FileType.File:
        return [Listed("", info.path, info)]
    below = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
    return [_object(root, info) for info in below]


def _object(root: str, info: fs.FileInfo) -> Listed:
    inside = info.path.removeprefix(root).removeprefix("/")
    return Listed(inside if info.type == fs.FileType.File else f"{inside}/", info.path, info)
