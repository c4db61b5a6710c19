"""Noticing an engine that lives and answers no more."""

import asyncio
import time
from collections.abc import Callable


class HangWatch:
    """Looks whether requests are finished, as long as any is in flight.

    `busy` says whether any is. `hung` is called with the seconds in which none was finished,
    where these are more than `hang_s`; a new engine has twice as long for its first one.
    """

    def __init__(
        self, hang_s: float, busy: Callable[[], bool], hung: Callable[[float], None]
    ) -> None:
        self._hang_s, self._busy, self._hung = hang_s, busy, hung
        self._task: asyncio.Task[None] | None = None
        self.engine_started()

    def engine_started(self) -> None:
        """Take note that another engine is in use."""
        self._last_sign, self._untried = time.monotonic(), True

    def answered(self) -> None:
        """Take note that the engine finished a request."""
        self._last_sign, self._untried = time.monotonic(), False

    def before_sending(self) -> None:
        """Watch from now on: a request is about to be in flight."""
        if not self._busy():
            self._last_sign = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        while self._busy():
            allowed, sign = self._hang_s * (2 if self._untried else 1), self._last_sign
            left = sign + allowed - time.monotonic()
            # Where this loop was itself held up, answers may have come that it has not read yet.
            await asyncio.sleep(left if left > 0 else allowed / 10)
            if left <= 0 and sign == self._last_sign and self._busy():
                self._hung(allowed)
