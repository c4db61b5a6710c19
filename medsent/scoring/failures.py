"""Why scoring stopped: from what Ray raises to one of our errors, never a library's text."""

from collections.abc import Iterator

import pyarrow as pa

from medsent import errors
from medsent.errors import (
    EngineError,
    MedsentError,
    ObjectRefusal,
    ReadingError,
    is_refused_write,
    place_of,
    storage_failure,
)
from medsent.input.files import cannot_read
from medsent.runs.folder import RunFolder
from medsent.scoring.monitor import Status

_GOES_ON = "what was written stays, and the same command goes on from there"


def failure(error: Exception, status: Status, run: RunFolder) -> MedsentError:
    """Return the error to end a job with: what an actor told, or what its cause shows."""
    if status.failure is not None:
        return _told(*status.failure)
    causes = list(_causes(error))
    ours = next((cause for cause in causes if type(cause).__module__ == errors.__name__), None)
    if isinstance(ours, MedsentError):
        return type(ours)(str(ours))
    for cause in (each for each in causes if isinstance(each, OSError)):
        if is_refused_write(cause, run.path):
            return storage_failure(cause, run.path)
        if refusal := ObjectRefusal.of(cause):
            return cannot_read(refusal.key or "the input", cause)
    if status.start_failure is not None:
        return _told(*status.start_failure)
    if any(map(_is_of_a_shard, causes)):
        return ReadingError(f"a shard could not be read ({place_of(causes[-1])}); {_GOES_ON}")
    return EngineError(
        f"scoring stopped ({type(causes[-1]).__name__}); {_GOES_ON}. Ray's own logs tell more"
    )


def _is_of_a_shard(cause: BaseException) -> bool:
    return isinstance(cause, OSError | pa.ArrowException) and not isinstance(
        cause, ConnectionError | TimeoutError
    )


def _told(kind: str, message: str) -> MedsentError:
    made: MedsentError = getattr(errors, kind, MedsentError)(message)
    return made


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what lies behind it, outermost first; Ray keeps a task's as `cause`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
