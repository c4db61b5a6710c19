"""SIGTERM asks a job to end; a second one, or a lost lease, ends it where it stands."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from medsent.errors import StoppedError
from medsent.scoring.stop import Stop


def wait_after(*calls: Callable[[], object]) -> None:
    """Make the calls, then wait for what they do to the main thread."""
    for call in calls:
        call()
    for _ in range(1000):
        time.sleep(0.01)
    pytest.fail("nothing interrupted the main thread")


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_first_sigterm_only_asks() -> None:
    stop = Stop()
    before = signal.getsignal(signal.SIGTERM)
    with stop.on_sigterm():
        assert stop.reason is None
        terminate()
        assert stop.reason == "SIGTERM"
        assert not stop.forced
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_second_sigterm_ends_it_where_it_stands() -> None:
    stop = Stop()
    with stop.on_sigterm(), pytest.raises(StoppedError, match="SIGTERM"):
        wait_after(terminate, terminate)
    assert stop.forced


def test_a_job_can_be_ended_for_another_reason() -> None:
    stop = Stop()
    with stop.on_sigterm(), pytest.raises(StoppedError, match="the lease is gone"):
        wait_after(lambda: stop.force("the lease is gone"))
    assert stop.forced


def test_the_first_reason_stays() -> None:
    stop = Stop()
    stop.ask("one")
    stop.ask("two")
    assert stop.reason == "one"
