"""One engine after the other: starts with pauses between, a smaller one after a lack of memory."""

import threading
import time
from collections.abc import Callable
from typing import Final

from medsent.config.engine import SupervisionSettings
from medsent.engine.crash_report import EngineMemoryError
from medsent.engine.events import Event, EventKind
from medsent.engine.footprint import Footprint
from medsent.engine.protocol import Engine
from medsent.errors import EngineDiedError, EngineError, EngineGoneError

CLOSED: Final = "the engine was closed"


class EngineHangError(EngineDiedError):
    """The engine lives and answers no more."""


def hang_error(seconds: float) -> EngineHangError:
    """Return the error of an engine that has answered nothing for so long."""
    return EngineHangError(f"no request was finished for {seconds:g} s")


class Restarter:
    """Owns the present engine, and starts another one in its place.

    `start` takes what the engine may take of memory, None for as much as configured. `tell`
    is called for each event, from any thread. The constructor raises `EngineError` where no
    engine starts.
    """

    def __init__(
        self,
        start: Callable[[Footprint | None], Engine],
        settings: SupervisionSettings,
        tell: Callable[[Event], None],
    ) -> None:
        self._start, self._settings, self._tell = start, settings, tell
        self._footprint: Footprint | None = None
        self._deaths = 0
        """Since a request was last answered."""
        self._closed, self._swap = threading.Event(), threading.Lock()
        self.engine = self._started()
        self._started_at = time.monotonic()

    def answered(self) -> None:
        """Take note that the engine answered a request."""
        self._deaths = 0

    def died(self, error: EngineDiedError) -> bool:
        """Take note of the present engine's death; return whether a request may be its cause.

        Raises `EngineGoneError` where too many died and answered nothing between.
        """
        self._tell(Event(_kind(error), time.monotonic() - self._started_at, str(error)))
        if isinstance(error, EngineMemoryError) and error.smaller is not None:
            self._footprint = error.smaller
            return False
        self._deaths += 1
        if self._deaths < self._settings.max_deaths:
            return True
        self.engine.kill()
        raise EngineGoneError(
            f"engines died {self._deaths} times and finished no request between; "
            f"the last cause: {error}"
        )

    def restart(self) -> None:
        """End what is left of the engine and start another; it may take minutes.

        Raises `EngineError`: an `EngineGoneError` where it may start elsewhere.
        """
        self.engine.kill()
        self.engine.close()
        began = time.monotonic()
        engine = self._started()
        with self._swap:
            if not self._closed.is_set():
                self.engine = engine
        if engine is not self.engine:
            engine.close()
            raise EngineGoneError(CLOSED)
        self._started_at = time.monotonic()
        self._tell(Event(EventKind.START, self._started_at - began, ""))

    def close(self) -> None:
        """End every process of the engine, and of one that is being started once it has."""
        with self._swap:
            if self._closed.is_set():
                return
            self._closed.set()
        self.engine.close()

    def _started(self) -> Engine:
        """Start an engine, in a few tries, a smaller one after a lack of memory."""
        pause, tries = self._settings.backoff_s, 0
        while not self._closed.is_set():
            tries += 1
            last = tries >= self._settings.start_tries
            try:
                return self._start(self._footprint)
            except EngineMemoryError as error:
                self._tell(Event(EventKind.OUT_OF_MEMORY, 0.0, str(error)))
                if last or error.smaller is None:
                    raise EngineError(f"{_none(tries, error)}; {error.footprint.remedy}") from None
                self._footprint = error.smaller
            except EngineDiedError as error:  # another error would come again
                if last:
                    raise EngineGoneError(_none(tries, error)) from None
            self._closed.wait(pause)
            pause *= 2
        raise EngineGoneError(CLOSED)


def _kind(error: EngineDiedError) -> EventKind:
    if isinstance(error, EngineMemoryError):
        return EventKind.OUT_OF_MEMORY
    return EventKind.HANG if isinstance(error, EngineHangError) else EventKind.DEATH


def _none(tries: int, error: EngineDiedError) -> str:
    return f"no engine started in {tries} {'try' if tries == 1 else 'tries'}: {error}"
