"""The errors a user can meet, each with its exit code.

Every message names the file, row or setting at fault and what to do about it,
and never quotes the text of an opinion.
"""

import errno
import os
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
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
    """A request kills engines: two died of it while it was the only one in flight."""


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

_KEY = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_OBJECTS = {
    "ACCESS_DENIED": (errno.EACCES, "access is denied", f"{_KEY}, and what the key may do there"),
    "INVALID_ACCESS_KEY_ID": (errno.EACCES, "the key is unknown", _KEY),
    "SIGNATURE_DOES_NOT_MATCH": (errno.EACCES, "the secret is not that of the key", _KEY),
    "NO_SUCH_BUCKET": (errno.ENOENT, "there is no such bucket", "make it, or correct its name"),
    "NETWORK_CONNECTION": (
        errno.EHOSTUNREACH,
        "the server cannot be reached",
        "check AWS_ENDPOINT_URL and the network",
    ),
    "HTTP status 400": (
        errno.EACCES,
        "the request is refused",
        "renew AWS_SESSION_TOKEN, or set the clock",
    ),
    "REQUEST_TIME_TOO_SKEWED": (errno.EACCES, "this machine's clock is wrong", "set it"),
    "HTTP status 301": (errno.EREMOTE, "the bucket is in another region", "set AWS_REGION to it"),
}
"""Error code of object storage to the errno of a like error of a file system, reason and remedy."""
_CODE = re.compile(r"AWS Error (?:UNKNOWN \((.+?)\)|([A-Z_]+))")
_KEY_TOLD = re.compile(r"key '([^']+)'")


@dataclass(frozen=True)
class ObjectRefusal:
    """What pyarrow tells when object storage refuses or fails."""

    code: str
    """The AWS SDK's name of the error; where it has none, such as `HTTP status 301`."""
    key: str | None
    """The object's key, without its bucket; None where the error names no object."""

    @classmethod
    def of(cls, error: BaseException | None) -> "ObjectRefusal | None":
        """Read an error or one that it was raised from; None if none is of object storage."""
        while error is not None:
            if isinstance(error, OSError) and (code := _CODE.search(str(error))):
                key = _KEY_TOLD.search(str(error))
                return cls(code[1] or code[2], key[1] if key else None)
            error = error.__cause__
        return None


def object_storage_error(error: OSError, path: str) -> OSError:
    """Return object storage's error as a file system would raise it: errno, words and path."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", path)
    refusal = ObjectRefusal.of(error)
    number = _OBJECTS[refusal.code][0] if refusal and refusal.code in _OBJECTS else errno.EIO
    return OSError(number, "; ".join(reason(error)), path)


def reason(error: BaseException) -> tuple[str, str]:
    """Return why storage refuses or fails, and what to do about it."""
    refusal = ObjectRefusal.of(error)
    if refusal is not None:
        _, why, remedy = _OBJECTS.get(
            refusal.code, (0, "the server refuses or fails", "try again later")
        )
        return f"{why} ({refusal.code})", remedy
    number = getattr(error, "errno", None)
    why = {**_FULL, **_CLOSED}.get(number or 0) or (
        os.strerror(number).lower() if number else type(error).__name__
    )
    return why, "free some" if number in _FULL else "make it writable"


def is_refused_write(error: OSError, folder: object) -> bool:
    """Tell whether the folder failed: the error names it, or its disk is full or read-only.

    A refusal by object storage that names no object counts too.
    """
    refusal = ObjectRefusal.of(error)
    if refusal is None:
        return error.errno in (*_FULL, errno.EROFS) or str(folder) in str(error)
    key = str(folder).partition("://")[2].partition("/")[2]
    return bool(key) and (refusal.key is None or refusal.key.startswith(key))


def storage_failure(error: OSError, folder: object) -> StorageError:
    """Return what to tell of a run folder that cannot be written to."""
    why, remedy = reason(error)
    return StorageError(
        f"cannot write to {folder}: {why}. Nothing there is damaged; {remedy}, and the same "
        "command goes on from there"
    )


def some_of(names: Sequence[str], most: int) -> str:
    """Write the first of some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
