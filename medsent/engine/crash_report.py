"""Why an engine died, in our words: a library's own may quote a prompt.

The engine's processes leave their last errors in a small file of their owner's: their kinds,
and until it serves requests their words. The file's path stands in their environment, where it
also marks the processes of one engine.
"""

import json
import logging
import os
import re
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from medsent.engine.footprint import Footprint
from medsent.engine.library_errors import (
    OUT_OF_MEMORY,
    is_certain,
    is_lack_of_cache,
    is_reference,
    kind_of,
    with_remedy,
    words,
)
from medsent.errors import EngineDiedError, EngineError

NOTE: Final = "MEDSENT_ENGINE_NOTE"

_SERVES: Final = "serves"
_FATAL: Final = ("failed to start", "hit an exception")
"""What vLLM's processes log with the error that ends them."""
_LOST: Final = re.compile(r"proc\(s\): \{(?:[^}]*?: (-?\d+))?")
_TOLD_KINDS: Final = 3
_HEARD: Final[set[str]] = set()
"""The libraries whose logged errors this process notes for its owner; see `listen`."""


class EngineMemoryError(EngineDiedError):
    """The engine died of a lack of memory; `smaller` may fit, or nothing where it is None."""

    def __init__(self, message: str, footprint: Footprint, smaller: Footprint | None) -> None:
        """`footprint` is what it did not fit with."""
        super().__init__(message)
        self.footprint, self.smaller = footprint, smaller


@dataclass(frozen=True)
class Trace:
    """An error that a process of the engine met."""

    kind: str
    told: str = ""
    """Its words; empty once the engine serves requests."""
    fatal: bool = False
    """Whether the process ended with it."""
    certain: bool = False
    """Whether another start would meet it again."""


class CrashReport:
    """The owner's side: the file, and what it says of a death."""

    def __init__(self) -> None:
        file, path = tempfile.mkstemp(prefix="medsent-engine-")
        os.close(file)
        self.path = path

    def environment(self) -> dict[str, str]:
        """Return the variable that the engine's processes need."""
        return {NOTE: self.path}

    def serves(self) -> None:
        """From now on errors may quote an opinion; drop those of the start, which succeeded."""
        with suppress(OSError):
            Path(self.path).write_text(f"{_SERVES}\n", encoding="utf-8")

    def died(self, exit_code: int | None, footprint: Footprint) -> EngineDiedError:
        """Return the error that tells of a death; `exit_code` is -n for signal n."""
        kinds = list(dict.fromkeys(trace.kind for trace in self._traces()))
        if OUT_OF_MEMORY in kinds:
            return _lack(footprint, footprint.smaller())
        told = ", ".join(kinds[-_TOLD_KINDS:]) or _ending(exit_code)
        return EngineDiedError(f"the engine's process ended ({told})")

    def did_not_start(self, error: Exception, footprint: Footprint) -> EngineError:
        """Return the error that tells the root cause of a failed start, `error` being how it ended.

        It is an `EngineDiedError` where another start may go well.
        """
        traces = self._traces()
        # Here a plain RuntimeError only says that processes died during the start.
        certain = is_certain(error) and type(error) is not RuntimeError
        own = Trace(kind_of(error), words(error), fatal=True, certain=certain)
        if OUT_OF_MEMORY in (own.kind, *(trace.kind for trace in traces)):
            return _lack(footprint, footprint.smaller())
        root = _root(own, traces)
        if root is None:
            told = _lost(str(error)) or own.told
            return EngineDiedError(with_remedy(f"vLLM did not start: {told}"))
        if is_lack_of_cache(root.told) and footprint.gpu_memory_utilization is not None:
            smaller = footprint.smaller(for_cache=True)
            return _lack(footprint, smaller, with_remedy(root.told))
        kind = EngineError if root.certain else EngineDiedError
        return kind(f"vLLM did not start: {with_remedy(root.told)}")

    def remove(self) -> None:
        """Delete the file; safe to call again."""
        with suppress(OSError):
            Path(self.path).unlink(missing_ok=True)

    def _traces(self) -> list[Trace]:
        """Return what the processes left, in the order it came."""
        found = []
        for line in _lines(self.path):
            with suppress(ValueError, TypeError):  # one that a kill cut short
                found.append(Trace(**json.loads(line)))
        return found


def leave(trace: Trace) -> None:
    """Write down what this process of an engine met; its words only before it serves."""
    path = os.environ.get(NOTE)
    if path is None:
        return
    if trace.told and _SERVES in _lines(path)[:1]:
        trace = Trace(trace.kind)
    with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(asdict(trace))}\n")


def leave_nothing() -> None:
    """Delete the note of an owner that is gone."""
    path = os.environ.get(NOTE)
    if path is not None:
        with suppress(OSError):
            Path(path).unlink(missing_ok=True)


def listen(logger: str) -> None:
    """From now on note each error that a library logs in this process; safe to call again.

    This wraps the factory of log records: vLLM sets up logging again while it starts, and a
    handler of ours would be lost.
    """
    if logger not in _HEARD:
        _HEARD.add(logger)
        logging.setLogRecordFactory(_Listener(logging.getLogRecordFactory(), logger))


class _Listener:
    """Makes log records by another factory, and notes the errors among them."""

    def __init__(self, make: Callable[..., logging.LogRecord], logger: str) -> None:
        self._make, self._logger = make, logger

    def __call__(self, *values: Any, **named: Any) -> logging.LogRecord:
        record = self._make(*values, **named)
        error = record.exc_info[1] if record.exc_info else None
        if (
            error is not None
            and record.levelno >= logging.ERROR
            and f"{record.name}.".startswith(f"{self._logger}.")
        ):
            fatal = any(sign in str(record.msg) for sign in _FATAL)
            leave(Trace(kind_of(error), words(error), fatal, is_certain(error)))
        return record


def _root(own: Trace, traces: list[Trace]) -> Trace | None:
    """Return the error behind a failed start; None where no process could say any.

    It is `own`, the error raised in this process, unless that only refers to another one. Then it
    is the first that ended a process, as later ones follow from it; else the last one logged.
    """
    fatal = [trace for trace in traces if trace.fatal]
    others = [trace for trace in reversed(traces) if not trace.fatal]
    told = (each for each in (own, *fatal, *others) if not is_reference(each.told))
    return next(told, None)


def _lost(text: str) -> str | None:
    """Return how the process ended that vLLM says it lost; None where it says no such thing."""
    if found := _LOST.search(text):
        return f"its process ended ({_ending(int(found[1]) if found[1] else None)})"
    return None


def _lack(footprint: Footprint, smaller: Footprint | None, told: str = "") -> EngineMemoryError:
    text = f"{OUT_OF_MEMORY} with {footprint}" + (f" ({told})" if told else "")
    return EngineMemoryError(text, footprint, smaller)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "no cause is known"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
