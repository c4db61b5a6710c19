"""An engine that outlives its processes: the dead are replaced, what was in flight is sent again.

A death costs every request in flight its answer, and one of them may be its cause. So
those that were in flight at two deaths are tried alone, one after the other: an engine
takes a minute to start and an answer alone less than a second, which makes this cheaper
than halving. A request that was alone in flight at two deaths is not sent again, unless
the next engine dies of a harmless request too: then it is the engine that is broken.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from medsent.config.job import SupervisionSettings
from medsent.engine.crash_report import EngineMemoryError
from medsent.engine.events import Event, EventKind
from medsent.engine.footprint import Footprint
from medsent.engine.protocol import Ask, Completion, Engine, Request
from medsent.errors import (
    EngineDiedError,
    EngineError,
    EngineGoneError,
    EngineKillerError,
    place_of,
)

_SUSPECT_AFTER = 2
"""Deaths in company after which a request is tried alone."""
_CONDEMNED_AFTER = 2
"""Deaths alone after which it is the cause: one can be a coincidence."""
_RELEASE_S = 5.0
"""How long a dead engine has for telling its requests so, before they are taken from it."""
_CLOSED = "the engine was closed"


class _HangError(EngineDiedError):
    """The engine lives and answers no more."""


class _Flight:
    """One request on its way, through as many engines as it takes."""

    __slots__ = ("alone", "deaths", "patience", "request", "sent", "turn")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sent = 0
        self.deaths = 0
        """Deaths at which the engine was at work on it."""
        self.alone = 0
        """Those at which it was the only request."""
        self.patience: asyncio.Timeout | None = None
        self.turn: asyncio.Future[None] | None = None


class SupervisedEngine:
    """Starts an engine, and another one whenever it dies, hangs or runs out of memory.

    `start` takes what the engine may take of memory, None for as much as configured. `tell`
    is called for each event, from any thread. Requests belong to one event loop at a time.
    The constructor raises `EngineError` where no engine starts.
    """

    def __init__(
        self,
        start: Callable[[Footprint | None], Engine],
        settings: SupervisionSettings,
        tell: Callable[[Event], None],
    ) -> None:
        self._start, self._settings, self._tell = start, settings, tell
        self._flying: dict[_Flight, None] = {}
        self._waiting: dict[_Flight, None] = {}
        self._suspects: dict[_Flight, None] = {}
        self._renewal: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._gone: str | None = None
        self._harmless: Request | None = None
        self._deaths = 0
        self._closed = threading.Event()
        self._swap = threading.Lock()
        self._footprint: Footprint | None = None
        self._engine = self._started()
        self._born = self._last_sign = time.monotonic()
        self._untried = True

    @property
    def max_num_seqs(self) -> int:
        """Sequences the present engine works on at a time; fewer after a lack of memory."""
        return self._engine.max_num_seqs

    async def complete(self, request: Request) -> Completion:
        """Answer one request, by as many engines as it takes.

        Raises `EngineKillerError` where engines die of it, `EngineGoneError` where they
        die of anything or do not start, `EngineError` where the engine refuses it.
        """
        flight = _Flight(request)
        try:
            while True:
                await self._take_off(flight)
                completion = await self._fly(flight)
                if completion is not None:
                    break
        finally:
            self._leave(flight)
        return completion if flight.sent == 1 else replace(completion, attempt=flight.sent)

    def kill(self) -> None:
        """End every process of the present engine at once; another one follows."""
        self._engine.kill()

    def close(self) -> None:
        """End every process of the engine, and of one that is being started once it has."""
        with self._swap:
            if self._closed.is_set():
                return
            self._closed.set()
        self._give_up(_CLOSED)
        self._engine.close()
        if self._watch is not None:
            self._watch.cancel()

    async def _take_off(self, flight: _Flight) -> None:
        """Wait until the request may be sent."""
        while not self._may_fly(flight):
            flight.turn = asyncio.get_running_loop().create_future()
            self._waiting[flight] = None
            try:
                await flight.turn
            finally:
                self._waiting.pop(flight, None)
        if flight.alone >= _CONDEMNED_AFTER:
            cause = f"the engine died {flight.deaths} times while it worked on one request"
            self._tell(Event(EventKind.KILLER, 0.0, cause))
            raise EngineKillerError(cause)

    def _may_fly(self, flight: _Flight) -> bool:
        if self._gone is not None:
            raise EngineGoneError(self._gone)
        if self._renewal is not None:
            return False
        if not self._suspects:
            return True
        return flight is next(iter(self._suspects)) and not self._flying

    async def _fly(self, flight: _Flight) -> Completion | None:
        """Send the request; returns None where the engine died under it."""
        engine = self._engine
        flight.sent += 1
        if not self._flying:
            self._last_sign = time.monotonic()
        self._flying[flight] = None
        self._keep_watch()
        try:
            async with asyncio.timeout(None) as flight.patience:
                completion = await engine.complete(flight.request)
        except TimeoutError:  # a dead engine held on to it
            return None
        except EngineDiedError as error:
            flight.patience = None  # it has been left
            self._bury(engine, error)
            return None
        except EngineError:
            self._lives(flight.request)  # to refuse is to answer
            raise
        finally:
            self._flying.pop(flight, None)
        self._lives(flight.request)
        return completion

    def _leave(self, flight: _Flight) -> None:
        if flight in self._suspects:
            del self._suspects[flight]
            self._wake()

    def _wake(self) -> None:
        """Let those look whose turn it may be."""
        one_at_a_time = self._suspects and self._gone is None
        for flight in [next(iter(self._suspects))] if one_at_a_time else list(self._waiting):
            if flight in self._waiting and flight.turn is not None and not flight.turn.done():
                flight.turn.set_result(None)

    def _lives(self, request: Request) -> None:
        self._last_sign = time.monotonic()
        self._untried = False
        self._deaths = 0
        self._harmless = request

    def _bury(self, engine: Engine, error: EngineDiedError) -> None:
        """Take note of a death, once, and begin to replace the engine."""
        if engine is not self._engine or self._renewal is not None or self._gone is not None:
            return
        self._count(engine, error)
        release_at = asyncio.get_running_loop().time() + _RELEASE_S
        for flight in self._flying:
            if flight.patience is not None:
                flight.patience.reschedule(release_at)
        self._flying.clear()
        if self._gone is None:
            self._renewal = asyncio.create_task(self._renew())

    def _count(self, engine: Engine, error: EngineDiedError) -> None:
        """Tell of a death, and find who may be its cause."""
        self._tell(Event(_kind(error), time.monotonic() - self._born, str(error)))
        if isinstance(error, EngineMemoryError) and error.smaller is not None:
            self._footprint = error.smaller
            return
        self._deaths += 1
        # Requests are served in the order they come, so later ones had only been waiting.
        for flight in islice(self._flying, engine.max_num_seqs):
            flight.deaths += 1
            flight.alone += len(self._flying) == 1
            if flight.deaths >= _SUSPECT_AFTER:
                self._suspects[flight] = None
        if self._deaths >= self._settings.max_deaths:
            engine.kill()
            self._give_up(
                f"engines died {self._deaths} times and finished no request between; "
                f"the last cause: {error}"
            )

    def _give_up(self, why: str) -> None:
        self._gone = self._gone or why
        self._wake()

    async def _renew(self) -> None:
        """Replace the engine, until there is one that lives."""
        try:
            while self._gone is None:
                await asyncio.to_thread(self._replace)
                if not self._suspects or await self._proves_itself():
                    break
        except EngineError as error:
            self._give_up(str(error))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            self._give_up(f"to replace the engine failed: {place_of(error)}")
        finally:
            self._renewal = None
            self._wake()

    def _replace(self) -> None:
        """End what is left of the engine and start another; not in the loop's thread."""
        self._engine.kill()
        self._engine.close()
        began = time.monotonic()
        engine = self._started()
        with self._swap:
            if not self._closed.is_set():
                self._engine = engine
        if engine is not self._engine:
            engine.close()
            raise EngineGoneError(_CLOSED)
        self._born = self._last_sign = time.monotonic()
        self._untried = True
        self._tell(Event(EventKind.START, self._born - began, ""))

    def _started(self) -> Engine:
        """Start an engine, in a few tries, a smaller one after a lack of memory.

        Raises `EngineError`: an `EngineGoneError` where it may start elsewhere.
        """
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
        raise EngineGoneError(_CLOSED)

    async def _proves_itself(self) -> bool:
        """Tell whether the new engine answers a request that is known to kill none."""
        engine, request = self._engine, self._harmless or self._smallest()
        try:
            async with asyncio.timeout(2 * self._settings.hang_s):
                await engine.complete(request)
        except TimeoutError:
            self._count(engine, _HangError(_silence(2 * self._settings.hang_s)))
            return False
        except EngineDiedError as error:
            self._count(engine, error)
            return False
        except EngineError:
            pass  # to refuse is to answer
        self._lives(request)
        return True

    def _smallest(self) -> Request:
        """Return a request of one token, the same that begins every prompt."""
        suspect = next(iter(self._suspects)).request
        return Request(suspect.prompt[:1], Ask(max_tokens=1), None)

    def _keep_watch(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_for_hangs())

    async def _look_for_hangs(self) -> None:
        """Bury an engine that has finished no request for too long, while any is in flight."""
        while self._flying:
            allowed = self._settings.hang_s * (2 if self._untried else 1)
            engine, sign = self._engine, self._last_sign
            left = sign + allowed - time.monotonic()
            # Where this loop was itself held up, answers may still lie before its door.
            await asyncio.sleep(left if left > 0 else allowed / 10)
            if left <= 0 and sign == self._last_sign and self._flying:
                self._bury(engine, _HangError(_silence(allowed)))


def _kind(error: EngineDiedError) -> EventKind:
    if isinstance(error, EngineMemoryError):
        return EventKind.OUT_OF_MEMORY
    return EventKind.HANG if isinstance(error, _HangError) else EventKind.DEATH


def _none(tries: int, error: EngineDiedError) -> str:
    return f"no engine started in {tries} {'try' if tries == 1 else 'tries'}: {error}"


def _silence(seconds: float) -> str:
    return f"no request was finished for {seconds:g} s"
