"""A contender's process: it answers, and nothing that it started outlives it."""

import subprocess
import sys

import psutil

from tests.bench.worker import Worker


class Parent:
    """Starts a process that would run on by itself."""

    def __init__(self, seconds: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True
        )

    def child(self) -> int:
        return self._child.pid


def test_it_answers_and_leaves_no_process() -> None:
    with Worker(Parent, 3600) as worker:
        child = worker.ask("child")
        # At rest between two calls, the child as well.
        assert psutil.Process(child).status() == psutil.STATUS_STOPPED
        assert worker.ask("child") == child
        assert worker.start_s > 0
    process = psutil.Process(child) if psutil.pid_exists(child) else None
    assert process is None or process.wait(10) is None or process.status() == psutil.STATUS_ZOMBIE
