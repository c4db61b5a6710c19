"""A job's early end: SIGTERM (a spot notice, a stopped job), or a lease that is gone."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from medsent.errors import StoppedError


class Stop:
    """Asked once, the job finishes what is in flight; asked twice, it ends where it stands."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why the job is to end; None while it is not."""
        self.forced = False
        """Whether it ends where it stands: others may still write what was in flight."""

    def ask(self, reason: str) -> None:
        """Ask the job to finish what is in flight and end."""
        self.reason = self.reason or reason

    def force(self, reason: str) -> None:
        """End the job where it stands: the main thread meets a `StoppedError`."""
        self.ask(reason)
        self.forced = True
        os.kill(os.getpid(), signal.SIGTERM)

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Take SIGTERM as the wish to stop; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._received)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None:
            self.forced = True
            raise StoppedError(self.reason)
        self.ask("SIGTERM")
