"""Why an engine died, in our words: a library's own may quote a prompt.

The engine's processes leave the kinds of their last errors in a small file of their
owner's. The file's path stands in their environment, where it also marks the processes
of one engine.
"""

import logging
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from medsent.errors import EngineDiedError

NOTE: Final = "MEDSENT_ENGINE_NOTE"
OUT_OF_MEMORY: Final = "out of memory"

_MEMORY_KINDS = {"OutOfMemoryError", "MemoryError"}
_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")
_TOLD_KINDS = 3
_TOLD_CHARACTERS = 300


class EngineMemoryError(EngineDiedError):
    """The engine died of a lack of memory: fewer sequences at a time may fit."""

    def __init__(self, message: str, max_num_seqs: int) -> None:
        """`max_num_seqs` is how many it worked on at a time."""
        super().__init__(message)
        self.max_num_seqs = max_num_seqs


class Note:
    """The owner's side: the file, and what it says of a death."""

    def __init__(self) -> None:
        file, path = tempfile.mkstemp(prefix="medsent-engine-")
        os.close(file)
        self.path = path

    def environment(self) -> dict[str, str]:
        """Return the variable that the engine's processes need."""
        return {NOTE: self.path}

    def died(self, exit_code: int | None, max_num_seqs: int) -> EngineDiedError:
        """Return the error that tells of the death; `exit_code` is -n for signal n."""
        kinds = self._kinds()
        if OUT_OF_MEMORY in kinds:
            text = f"{OUT_OF_MEMORY} with {max_num_seqs} sequences at a time"
            return EngineMemoryError(text, max_num_seqs)
        told = ", ".join(kinds[-_TOLD_KINDS:]) or _ending(exit_code)
        return EngineDiedError(f"the engine's process ended ({told})")

    def remove(self) -> None:
        """Delete the file; safe to call again."""
        with suppress(OSError):
            Path(self.path).unlink(missing_ok=True)

    def _kinds(self) -> list[str]:
        """Return the kinds of error, each once, in the order they came."""
        try:
            lines = Path(self.path).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return list(dict.fromkeys(lines))


def leave(kind: str) -> None:
    """Write down why this process of an engine is about to die."""
    path = os.environ.get(NOTE)
    if path is not None:
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{kind}\n")


def leave_nothing() -> None:
    """Delete the note of an owner that is gone."""
    path = os.environ.get(NOTE)
    if path is not None:
        with suppress(OSError):
            Path(path).unlink(missing_ok=True)


def kind_of(error: BaseException) -> str:
    """Return `out of memory`, or the name of the error's class."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in _MEMORY_KINDS:
            return OUT_OF_MEMORY
        if any(sign in str(seen).lower() for sign in _MEMORY_SIGNS):
            return OUT_OF_MEMORY
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def listen(logger: str) -> None:
    """From now on leave the kind of each error that a library of this process logs."""
    found = logging.getLogger(logger)
    if not any(isinstance(handler, _Listener) for handler in found.handlers):
        found.addHandler(_Listener(logging.ERROR))


def first_line(error: BaseException) -> str:
    """Return an error's own words, cut; to be told only where no opinion was read before it."""
    return str(error).partition("\n")[0][:_TOLD_CHARACTERS]


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        kind = kind_of(error)
        # Nothing was read before the start was over, so that an error's own words are safe.
        if "failed to start" in str(record.msg) and kind != OUT_OF_MEMORY and str(error):
            kind = f"{kind}: {first_line(error)}"
        leave(kind)


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "no cause is known"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
