"""No engine outlives its job: each of its processes ends itself when its owner is gone.

The owner is the process that started the engine, a Ray actor as a rule. Whatever kills
it gives it no chance to end its children, so they look for themselves. Its start time
tells it from a later process of the same number.
"""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from medsent.engine import crash_report

OWNER: Final = "MEDSENT_ENGINE_OWNER"

_LOOK_EVERY_S = 1.0
_STATE, _START = 0, 19  # fields of /proc/PID/stat, counted from behind the command's name


def environment() -> dict[str, str]:
    """Return the variable by which an engine's processes know this one as their owner."""
    return {OWNER: f"{os.getpid()}:{_start_of(os.getpid())}"}


def register() -> None:
    """Enter a process of an engine of ours; a `vllm.general_plugins` hook.

    The process ends with its owner, and leaves the kinds of its errors to it. In other
    processes that load vLLM nothing happens.
    """
    if watch():
        os.register_at_fork(after_in_child=watch)  # threads stay behind
        crash_report.listen("vllm")


def watch() -> bool:
    """From now on end this process within seconds of its owner's end.

    Returns False, and does nothing, where no owner is named or this process is the owner.
    """
    pid, _, start = os.environ.get(OWNER, "").partition(":")
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    threading.Thread(
        target=_wait_for_end, args=(int(pid), start), name="medsent-orphan", daemon=True
    ).start()
    return True


def members(note: str) -> list[int]:
    """Return the processes of the engine whose note lies at the path, this one left out."""
    mark = f"{crash_report.NOTE}={note}".encode()
    return [pid for pid in _processes() if pid != os.getpid() and mark in _environment(pid)]


def kill(pids: list[int]) -> None:
    """End processes at once; those that are gone already are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    return _start_of(pid) is not None


def _wait_for_end(owner: int, start: str) -> None:
    while _start_of(owner) == start:
        time.sleep(_LOOK_EVERY_S)
    crash_report.leave_nothing()
    os.kill(os.getpid(), signal.SIGKILL)


def _start_of(pid: int) -> str | None:
    """Return when a process started, in ticks of the kernel; None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the command's name may hold anything
    return None if fields[_STATE] in "ZX" else fields[_START]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    """Return a process's variables as they were at its start; none where they are closed."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
