"""The input shards: found, listed and their footers read before anything is spent on them."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from medsent.columns import NEEDED, Settled, check_names, settle
from medsent.config import InputSettings
from medsent.errors import InputError
from medsent.listing import cannot_read, find_files, look
from medsent.storage import StoredFile

Reason = Literal[
    "empty_file", "not_parquet", "other_schema", "corrupt_page", "disappeared", "rewritten"
]

PAGE_READERS = 4
_FOOTER_READERS = 16
_BUFFER_BYTES = 1 << 20
BATCH_ROWS = 4096
_MOST_NAMED = 5
BROKEN = (OSError, ValueError, pa.ArrowException)
"""What a Parquet reader raises at bytes that make no sense."""
_REMEDY = "write it again or take it out of the input"


@dataclass(frozen=True)
class Shard(StoredFile):
    """One Parquet file of the input."""

    rows: int


@dataclass(frozen=True)
class BadShard(StoredFile):
    """One file of the input that cannot be read as records."""

    rows: int | None
    """None where no footer tells."""
    reason: Reason
    message: str
    """Names the file and says what to do; quotes nothing of what is in it."""


@dataclass(frozen=True)
class Shards:
    """A job's input: its files, their file system, and which columns to read."""

    files: tuple[Shard, ...]
    filesystem: fs.FileSystem
    columns: dict[str, str]
    """Our column name to the shard's, for those that are there."""
    kept: tuple[pa.Field, ...]
    labels: tuple[str, ...]
    """The labels that the shards may have gold for."""
    bad: tuple[BadShard, ...] = ()
    """The files that are left out; always none with `input.on_bad_shard: fail`."""

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return sum(file.rows for file in self.files)

    def listing(self) -> list[dict[str, Any]]:
        """Return what a manifest records of the input: its good shards."""
        return [asdict(file) for file in self.files]

    def read_columns(self) -> list[str]:
        """Return the names of the shards' columns that are read."""
        return sorted({*self.columns.values(), *(field.name for field in self.kept)})


def open_shards(settings: InputSettings, labels: Sequence[str]) -> Shards:
    """List the shards of `input.path`, read every footer, and settle the columns.

    A shard that cannot be read as records ends in `bad` where `on_bad_shard` is
    `quarantine`. Raises `InputError` that names the files where it is `fail`, or where no
    shard is good; `StorageError` where the storage does not give them, whatever is set.
    """
    check_names(settings, labels)
    found = find_files(settings.path)
    with ThreadPoolExecutor(_FOOTER_READERS) as threads:
        footers = list(threads.map(partial(_footer, found.filesystem), found.files))
    schemas = {shard.path: schema for shard, schema in footers if schema is not None}
    settled = settle(settings, schemas, labels)
    every = [_fitted(shard, settled) for shard, _ in footers]
    files = tuple(shard for shard in every if isinstance(shard, Shard))
    bad = tuple(shard for shard in every if isinstance(shard, BadShard))
    if bad and (not files or settings.on_bad_shard == "fail"):
        raise _refusal(bad, some_are_good=bool(files))
    _refuse_no_rows(settings, files, settled)
    kept = tuple(_kept(settled.types.field(name)) for name in settings.keep)
    return Shards(files, found.filesystem, settled.columns, kept, tuple(labels), bad)


def _kept(field: pa.Field) -> pa.Field:
    """Return a kept column as a run holds it: pyarrow can pick no rows of a view."""
    return field.with_type(_without_views(field.type))


def _without_views(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(_without_views(kind.value_type))
    return kind


@contextmanager
def opened(shards: Shards, shard: Shard) -> Iterator[pq.ParquetFile]:
    """Open a shard to read it in batches, in the memory of a few pages.

    What is wrong with its bytes is raised as one of `BROKEN`; `StorageError` where the
    storage does not give it.
    """
    with _Source(shards.filesystem, shard.path) as source:
        try:
            # Without a buffer, or with pre-buffering, whole column chunks come into memory.
            yield pq.ParquetFile(
                source,
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
        except MemoryError as error:
            raise cannot_read(shard.path, error) from error


def find_rewritten(shards: Shards) -> list[BadShard]:
    """Return the shards that hold other data now than when they were listed.

    Raises `StorageError` where the storage does not tell.
    """
    with ThreadPoolExecutor(_FOOTER_READERS) as threads:
        found = threads.map(partial(_changed, shards), shards.files)
        return [bad for bad in found if bad is not None and bad.reason == "rewritten"]


def find_unreadable(shards: Shards) -> list[BadShard]:
    """Read all that is needed of the shards, and return those that do not stand as listed.

    Those are shards with a page that cannot be decoded or is not the one its checksum was
    made of, shards that are gone, and ones that were rewritten. Needs the
    memory of a few pages a thread.

    Raises `StorageError` where the storage does not give a shard.
    """
    with ThreadPoolExecutor(PAGE_READERS) as threads:
        found = threads.map(partial(_unreadable, shards), shards.files)
        return [bad for bad in found if bad is not None]


class _Source(io.RawIOBase):
    """A file for a Parquet reader, whose own errors then all lie in the bytes.

    The storage's pass through the reader as `StorageError`, a file that is gone as
    `FileNotFoundError`.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str) -> None:
        self._path = path
        self._file = self._asked(filesystem.open_input_file, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._asked(self._file.read, None if size < 0 else size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        place: int = self._asked(self._file.seek, offset, whence)
        return place

    def tell(self) -> int:
        place: int = self._file.tell()
        return place

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _asked(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise cannot_read(self._path, error) from error


def _footer(
    filesystem: fs.FileSystem, file: StoredFile
) -> tuple[Shard, pa.Schema] | tuple[BadShard, None]:
    if not file.size_bytes:
        return _bad(file, "empty_file", f"is empty (0 bytes); {_REMEDY}"), None
    try:
        with _Source(filesystem, file.path) as source:
            parquet = pq.ParquetFile(source)
            rows, schema = _rows(parquet.metadata), parquet.schema_arrow.remove_metadata()
    except FileNotFoundError:
        return _gone(file), None
    except BROKEN:
        return _bad(file, "not_parquet", f"is not a whole Parquet file; {_REMEDY}"), None
    return Shard(file.path, file.size_bytes, file.etag, rows), schema


def _rows(footer: pq.FileMetaData) -> int:
    """Return the rows of a file; `ValueError` where its footer is at odds with itself."""
    rows: int = footer.num_rows
    if rows != sum(footer.row_group(group).num_rows for group in range(footer.num_row_groups)):
        raise ValueError("the row groups do not add up")
    return rows


def _unreadable(shards: Shards, shard: Shard) -> BadShard | None:
    """Return what is wrong with a shard; of what may be, a change of the file comes first."""
    try:
        changed = _changed(shards, shard)
        if changed is not None:
            return changed
        damage = _damage(shards, shard)
        return damage and (_changed(shards, shard) or damage)
    except FileNotFoundError:
        return _gone(shard, shard.rows)


def _changed(shards: Shards, shard: Shard) -> BadShard | None:
    now = look(shards.filesystem, shard.path)
    if now is None:
        return _gone(shard, shard.rows)
    same = (now.size_bytes, now.etag) == (shard.size_bytes, shard.etag)
    return None if same else _rewritten(shard)


def _damage(shards: Shards, shard: Shard) -> BadShard | None:
    """Decode every page that is needed, one at a time."""
    where = "its footer"
    try:
        with opened(shards, shard) as parquet:
            if parquet.metadata.num_rows != shard.rows:
                return _rewritten(shard)
            for group in range(parquet.num_row_groups):
                where = f"row group {group}"
                batches = parquet.iter_batches(BATCH_ROWS, [group], shards.read_columns())
                if sum(map(len, batches)) != parquet.metadata.row_group(group).num_rows:
                    raise ValueError("fewer rows than the footer tells")
    except FileNotFoundError:
        raise
    except BROKEN:
        message = f"is damaged inside ({where} cannot be read); {_REMEDY}"
        return _bad(shard, "corrupt_page", message, shard.rows)
    return None


def _bad(file: StoredFile, reason: Reason, what: str, rows: int | None = None) -> BadShard:
    return BadShard(file.path, file.size_bytes, file.etag, rows, reason, f"{file.path} {what}")


def _gone(file: StoredFile, rows: int | None = None) -> BadShard:
    what = "is gone since the input was listed; put it back, or start again without it"
    return _bad(file, "disappeared", what, rows)


def _rewritten(shard: Shard) -> BadShard:
    what = (
        "was rewritten since the input was listed; give the new data another name, or score it "
        "anew with `medsent requeue RUN --shard PATH`"
    )
    return _bad(shard, "rewritten", what, shard.rows)


def _fitted(shard: Shard | BadShard, settled: Settled) -> Shard | BadShard:
    """Return the shard, as a bad one where its columns are not those of the others."""
    why = settled.misfits.get(shard.path)
    return shard if why is None else BadShard(**vars(shard), reason="other_schema", message=why)


def _refusal(bad: Sequence[BadShard], some_are_good: bool) -> InputError:
    """Return the error that tells of the first bad shard, and names a few others."""
    first, *others = bad
    message = first.message
    if others:
        named = ", ".join(f"{shard.path} ({shard.reason})" for shard in others[: _MOST_NAMED - 1])
        more = len(bad) - _MOST_NAMED
        message += f"; also bad: {named}" + (f" and {more} more" if more > 0 else "")
    if some_are_good:
        them = "them" if others else "it"
        message += f". Or set input.on_bad_shard: quarantine to go on without {them}"
    return InputError(message)


def _refuse_no_rows(settings: InputSettings, files: Sequence[Shard], settled: Settled) -> None:
    if not any(file.rows for file in files):
        raise InputError(f"input.path: the shards in {settings.path} hold no rows")
    for ours in NEEDED:
        theirs = settled.columns[ours]
        if pa.types.is_null(settled.types.field(theirs).type):
            raise InputError(
                f"{settings.path}: column {theirs!r} (input.columns.{ours}) is empty in every shard"
            )
