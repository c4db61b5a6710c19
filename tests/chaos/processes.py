"""The processes of the jobs under test, told from all others by a tag in their environment."""

import time
from collections.abc import Callable, Iterable

import psutil

TAG = "MEDSENT_CHAOS_TAG"
"""In the environment of everything that a campaign starts."""

Find = Callable[[str], list[psutil.Process]]
"""Finds the processes of a kind that bear a tag."""

_ENGINE = "medsent.engine.scripted.process"
_POLL_S = 0.05


def engines(tag: str) -> list[psutil.Process]:
    """Return the scripted engines' own processes."""
    found = []
    for process in psutil.process_iter():
        try:
            if _ENGINE in process.cmdline() and process.environ().get(TAG) == tag:
                found.append(process)
        except psutil.Error:
            continue  # it ended meanwhile
    return found


def scorers(tag: str) -> list[psutil.Process]:
    """Return the actors that have an engine: Ray renames its workers, so their children tell."""
    found = []
    for engine in engines(tag):
        try:
            parent = engine.parent()
        except psutil.Error:
            continue
        if parent is not None and parent.pid != 1:
            found.append(parent)
    return found


def command(process: psutil.Process) -> list[str]:
    """Return a process's command line, empty where it ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def kill(process: psutil.Process) -> bool:
    """Kill -9 a process; tell whether it was alive."""
    if not alive(process):
        return False
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def seconds_until_gone(processes: Iterable[psutil.Process], limit_s: float) -> float | None:
    """Wait until none of the processes runs; return how long that took, None beyond the limit."""
    started = time.monotonic()
    left = list(processes)
    while left := [process for process in left if alive(process)]:
        if time.monotonic() - started > limit_s:
            return None
        time.sleep(_POLL_S)
    return time.monotonic() - started
