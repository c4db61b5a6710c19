"""The errors a user can meet, each with its exit code.

Every message names the file, row or setting at fault and what to do about it,
and never quotes the text of an opinion.
"""

import errno
import os
import traceback
from pathlib import Path
from typing import ClassVar


class MedsentError(Exception):
    """Base of all errors of this package; the command ends with `exit_code`."""

    exit_code: ClassVar[int] = 1


class UsageError(MedsentError):
    """Something the user gave cannot be used; nothing was scored."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, missing or wrong."""


class InputError(UsageError):
    """The input shards cannot be read as records."""


class ReadingError(InputError):
    """A shard could not be read while the job ran."""


class ModelError(UsageError):
    """The model is missing, incomplete or not the one it claims to be."""


class AdapterError(UsageError):
    """An adapter is missing, does not fit the model, or changes nothing."""


class EngineError(MedsentError):
    """The engine could not answer a request."""


class EngineDiedError(EngineError):
    """The engine itself is gone; the run can be resumed."""


class EngineKillerError(EngineError):
    """A request kills engines: it was in flight, at last alone, whenever one died."""


class EngineGoneError(EngineDiedError):
    """Engines die one after the other, and none finishes a request."""


class RunError(MedsentError):
    """The run folder does not hold what it should."""


class StorageError(MedsentError):
    """Storage refuses or fails: it is full, closed, or out of reach."""


class LeaseError(MedsentError):
    """Another job holds the run folder."""


class GateClosedError(MedsentError):
    """A nightly evaluation went through, and its gate's rules closed it."""

    exit_code = 3


class StoppedError(MedsentError):
    """The job was told to stop; what is scored is written."""


def place_of(error: BaseException) -> str:
    """Return an unforeseen error's kind and place, without its message: that may quote a text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


_FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up"}
_CLOSED = {
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EROFS: "the file system is read-only",
}


def is_refused_write(error: OSError, folder: Path) -> bool:
    """Tell whether a disk is full, or a folder is what failed; reading fails elsewhere."""
    return error.errno in (*_FULL, errno.EROFS) or str(folder) in str(error)


def storage_failure(error: OSError, folder: Path) -> StorageError:
    """Return what to tell of a run folder that cannot be written to."""
    known = {**_FULL, **_CLOSED}.get(error.errno or 0)
    known = known or (os.strerror(error.errno).lower() if error.errno else type(error).__name__)
    remedy = "free some" if error.errno in _FULL else "make it writable"
    return StorageError(
        f"cannot write to {folder}: {known}. Nothing there is damaged; {remedy}, and the same "
        "command goes on from there"
    )
