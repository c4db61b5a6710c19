"""A contender's process: it answers, and nothing that it started outlives it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from medsent.engine import watchdog
from tests.bench.worker import Worker

pytestmark = pytest.mark.slow

RUNNING = {psutil.STATUS_RUNNING, psutil.STATUS_SLEEPING, psutil.STATUS_DISK_SLEEP}


class Parent:
    """Starts a process that would run on by itself."""

    def __init__(self, seconds: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True
        )

    def child(self) -> int:
        return self._child.pid

    def end(self) -> None:
        os._exit(7)


class Stillborn:
    """Ends before it is made."""

    def __init__(self, note: Path) -> None:
        note.write_text(str(Parent(3600).child()))
        time.sleep(2)  # as an engine takes its time
        os._exit(9)


class Refusing:
    """Is never made."""

    def __init__(self) -> None:
        raise ValueError("no kernel for this\nand more")


def ends(pid: int) -> None:
    """Wait for a process to end; one that never does ends with pytest's own time limit."""
    while watchdog.is_alive(pid):
        time.sleep(0.05)


def test_it_answers_and_leaves_no_process() -> None:
    with Worker(Parent, 3600) as worker:
        child = worker.ask("child")
        while (status := psutil.Process(child).status()) in RUNNING:  # it is told to rest
            time.sleep(0.05)
        assert status == psutil.STATUS_STOPPED
        assert worker.ask("child") == child
        assert worker.start_s > 0
    ends(child)


def test_one_that_ends_by_itself_says_how_and_leaves_no_process() -> None:
    with Worker(Parent, 3600) as worker:
        child = worker.ask("child")
        with pytest.raises(SystemExit, match="exit code 7"):
            worker.ask("end")
    ends(child)


def test_one_that_ends_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with pytest.raises(SystemExit, match="exit code 9"):
        Worker(Stillborn, note)
    ends(int(note.read_text()))


def test_one_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match=r"^ValueError: no kernel for this$"):
        Worker(Refusing)
