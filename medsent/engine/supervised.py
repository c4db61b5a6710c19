"""An engine that outlives its processes: the dead are replaced, what was in flight is sent again.

What kills engines is found by `killers`; `restarter` starts them. Where a request is suspected,
each new engine first answers a probe, one that is known to kill none: an engine that dies of that
too is broken itself, and no request is blamed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Final

from medsent.config.engine import SupervisionSettings
from medsent.engine.events import Event, EventKind
from medsent.engine.footprint import Footprint
from medsent.engine.hang_watch import HangWatch
from medsent.engine.killers import KillerDetector, Verdict
from medsent.engine.protocol import Ask, Completion, Engine, Request
from medsent.engine.restarter import CLOSED, Restarter, hang_error
from medsent.errors import (
    EngineDiedError,
    EngineError,
    EngineGoneError,
    EngineKillerError,
    place_of,
)

_RELEASE_S: Final = 5.0
"""How long a dead engine has for telling its requests so, before they are taken from it."""


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
        self._tell, self._probe_s = tell, 2 * settings.hang_s
        self._restarter, self._killers = Restarter(start, settings, tell), KillerDetector()
        self._numbers = count()
        self._in_flight: dict[int, asyncio.Timeout] = {}
        """Number of a request to when it is taken from a dead engine, in the order of sending."""
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._watch = HangWatch(settings.hang_s, lambda: bool(self._in_flight), self._hung)
        self._renewal: asyncio.Task[None] | None = None
        self._probe: Request | None = None
        """A request that is known to kill no engine: the last that was answered."""
        self._gone: str | None = None
        """Why there will be no other engine."""

    @property
    def max_num_seqs(self) -> int:
        """Sequences the present engine works on at a time; fewer after a lack of memory."""
        return self._restarter.engine.max_num_seqs

    async def complete(self, request: Request) -> Completion:
        """Answer one request, by as many engines as it takes.

        Raises `EngineKillerError` where engines die of it, `EngineGoneError` where they
        die of anything or do not start, `EngineError` where the engine refuses it.
        """
        number, attempt = next(self._numbers), 0
        # At first it is one token, the same that begins every prompt.
        self._probe = self._probe or Request(request.prompt[:1], Ask(max_tokens=1), None)
        try:
            while True:
                await self._admit(number)
                attempt += 1
                completion = await self._send(number, request)
                if completion is not None:
                    return completion if attempt == 1 else replace(completion, attempt=attempt)
        finally:
            if self._killers.finished(number):
                self._wake()

    def kill(self) -> None:
        """End every process of the present engine at once; another one follows."""
        self._restarter.engine.kill()

    def close(self) -> None:
        """End every process of the engine, and of one that is being started once it has."""
        self._give_up(CLOSED)
        self._restarter.close()
        self._watch.stop()

    async def _admit(self, number: int) -> None:
        """Wait until a request may be sent. Raises `EngineKillerError` where it never may again."""
        while (verdict := self._verdict(number)) is Verdict.WAIT:
            turn = self._waiting[number] = asyncio.get_running_loop().create_future()
            try:
                await turn
            finally:
                del self._waiting[number]
        if verdict is Verdict.QUARANTINE:
            deaths = self._killers.deaths(number)
            cause = f"the engine died {deaths} times while it worked on one request"
            self._tell(Event(EventKind.KILLER, 0.0, cause))
            raise EngineKillerError(cause)

    def _verdict(self, number: int) -> Verdict:
        if self._gone is not None:
            raise EngineGoneError(self._gone)
        return Verdict.WAIT if self._renewal is not None else self._killers.verdict(number)

    async def _send(self, number: int, request: Request) -> Completion | None:
        """Send a request; returns None where the engine died with it in flight."""
        engine = self._restarter.engine
        self._watch.before_sending()
        try:
            async with asyncio.timeout(None) as self._in_flight[number]:
                try:
                    completion = await engine.complete(request)
                except EngineDiedError as error:
                    if engine is self._restarter.engine:
                        self._mark_dead(error)
                    return None
        except TimeoutError:  # a dead engine held on to it
            return None
        except EngineError:
            self._answered(request)  # to refuse is to answer
            raise
        finally:
            self._in_flight.pop(number, None)
        self._answered(request)
        return completion

    def _answered(self, request: Request) -> None:
        self._watch.answered()
        self._restarter.answered()
        self._probe = request

    def _hung(self, seconds: float) -> None:
        self._mark_dead(hang_error(seconds))

    def _mark_dead(self, error: EngineDiedError) -> None:
        """Take note of the present engine's death, once, and begin to replace it."""
        if self._renewal is not None or self._gone is not None:
            return
        try:
            if self._restarter.died(error):
                self._killers.died(list(self._in_flight), self.max_num_seqs)
            self._renewal = asyncio.create_task(self._renew())
        except EngineGoneError as gone:
            self._give_up(str(gone))
        release_at = asyncio.get_running_loop().time() + _RELEASE_S
        for patience in self._in_flight.values():
            patience.reschedule(release_at)
        self._in_flight.clear()

    async def _renew(self) -> None:
        """Replace the engine, until there is one that lives."""
        try:
            while self._gone is None:
                await asyncio.to_thread(self._restarter.restart)
                self._watch.engine_started()
                if self._killers.tried_alone is None or await self._answers_probe():
                    break
        except EngineError as error:
            self._give_up(str(error))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            self._give_up(f"to replace the engine failed: {place_of(error)}")
        finally:
            self._renewal = None
            self._wake()

    async def _answers_probe(self) -> bool:
        """Tell whether the new engine answers a request that is known to kill none."""
        assert self._probe is not None  # as a request is suspected
        try:
            async with asyncio.timeout(self._probe_s):
                await self._restarter.engine.complete(self._probe)
        except TimeoutError:
            self._restarter.died(hang_error(self._probe_s))
            return False
        except EngineDiedError as error:
            self._restarter.died(error)
            return False
        except EngineError:
            pass  # to refuse is to answer
        self._answered(self._probe)
        return True

    def _give_up(self, why: str) -> None:
        self._gone = self._gone or why
        self._wake()

    def _wake(self) -> None:
        """Wake the waiting requests: all, or while there are suspects only the next of these."""
        suspect = self._killers.tried_alone
        if suspect is None or self._gone is not None:
            turns = list(self._waiting.values())
        else:
            turns = [self._waiting[suspect]] if suspect in self._waiting else []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)
