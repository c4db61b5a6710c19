"""A contender's process: it answers, and nothing that it started outlives it."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from tests.bench.worker import Worker


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


def test_it_answers_and_leaves_no_process() -> None:
    with Worker(Parent, 3600) as worker:
        child = worker.ask("child")
        while psutil.Process(child).status() != psutil.STATUS_STOPPED:  # at rest between calls
            time.sleep(0.05)
        assert worker.ask("child") == child
        assert worker.start_s > 0
    process = psutil.Process(child) if psutil.pid_exists(child) else None
    assert process is None or process.wait(10) is None or process.status() == psutil.STATUS_ZOMBIE


def test_one_that_ends_by_itself_says_how_and_leaves_no_process() -> None:
    with Worker(Parent, 3600) as worker:
        child = worker.ask("child")
        with pytest.raises(SystemExit, match="exit code 7"):
            worker.ask("end")
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(10)
