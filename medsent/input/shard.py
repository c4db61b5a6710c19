"""One file of the input: how it is known, what may be wrong with it, and its bytes."""

import io
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import pyarrow as pa
from pyarrow import fs
from pydantic import Field

from medsent.errors import InputError
from medsent.input.files import cannot_read
from medsent.storage.paths import StoredFile, shown


class Fault(StrEnum):
    """What may be wrong with a shard; a newer version may know more."""

    EMPTY_FILE = "empty_file"
    NOT_PARQUET = "not_parquet"
    OTHER_SCHEMA = "other_schema"
    CORRUPT_PAGE = "corrupt_page"
    DISAPPEARED = "disappeared"
    REWRITTEN = "rewritten"


BROKEN = (OSError, ValueError, pa.ArrowException)
"""What a Parquet reader raises at bytes that make no sense."""
REMEDY = "write it again or take it out of the input"


@dataclass(frozen=True)
class Shard(StoredFile):
    """One Parquet file of the input."""

    rows: int
    groups: Annotated[tuple[int, ...], Field(exclude=True)] = field(
        default=(), compare=False, repr=False
    )
    """The rows of each of its row groups; nothing is written of them."""

    def told(self) -> dict[str, Any]:
        """Return what is written of it."""
        return {name: value for name, value in asdict(self).items() if name != "groups"}


@dataclass(frozen=True)
class BadShard(StoredFile):
    """One file of the input that cannot be read as records."""

    rows: int | None
    """None where no footer tells."""
    reason: str
    """A `Fault`, or what a newer version calls it."""
    message: str
    """Names the file and says what to do; quotes nothing of what is in it."""


class ShardError(InputError):
    """A shard cannot be read on: damaged inside, gone, or rewritten since it was listed."""

    def __init__(self, bad: BadShard) -> None:
        super().__init__(bad.message)
        self.bad = bad


class ShardBytes(io.RawIOBase):
    """A file for a Parquet reader, which keeps errors of the storage apart from the reader's own.

    Those of the storage pass through the reader as `StorageError`, a missing file as
    `FileNotFoundError`. Any other error then means that the file's bytes are damaged.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str) -> None:
        self._path = path
        local = isinstance(filesystem, fs.LocalFileSystem)  # it takes no names but UTF-8
        opener = partial(open, mode="rb", buffering=0) if local else filesystem.open_input_file
        self._file = self._asked(opener, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._asked(self._file.read, *([] if size < 0 else [size]))
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


def bad(file: StoredFile, reason: Fault, what: str, rows: int | None = None) -> BadShard:
    message = f"{shown(file.path)} {what}"
    return BadShard(file.path, file.size_bytes, file.etag, rows, reason, message)


def gone(file: StoredFile, rows: int | None = None) -> BadShard:
    what = "is gone since the input was listed; put it back, or start again without it"
    return bad(file, Fault.DISAPPEARED, what, rows)


def rewritten(shard: Shard) -> BadShard:
    what = (
        "was rewritten since the input was listed; give the new data another name, or score it "
        "anew with `medsent requeue RUN --shard PATH`"
    )
    return bad(shard, Fault.REWRITTEN, what, shard.rows)
