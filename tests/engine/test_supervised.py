"""The supervised engine over the real scripted process: whatever dies, each request ends once."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from medsent.config.engine import ScriptedSettings, SupervisionSettings
from medsent.engine import watchdog
from medsent.engine.crash_report import EngineMemoryError
from medsent.engine.events import Event
from medsent.engine.footprint import Footprint
from medsent.engine.protocol import Ask, Completion, Request
from medsent.engine.scripted.engine import ScriptedEngine
from medsent.engine.scripted.faults import Faults
from medsent.engine.supervised import SupervisedEngine
from medsent.errors import EngineDiedError, EngineError, EngineGoneError, EngineKillerError

pytestmark = pytest.mark.slow

ASK = Ask(max_tokens=1, token_ids=tuple(range(100, 122)))
DEADLY, HANGING = 666, 667
EASY = 7


def request(number: int, *more: int) -> Request:
    return Request([2, number, *more], ASK, None)


class Bench:
    """A supervised scripted engine; keeps each engine it started, and what was told."""

    def __init__(
        self,
        supervision: dict[str, Any],
        before: Callable[[int], None] = lambda _: None,
        faults: Faults | None = None,
        **scripted: Any,
    ) -> None:
        self._settings, self._faults = ScriptedSettings(kind="scripted", **scripted), faults
        self._before = before
        self.engines: list[ScriptedEngine] = []
        self.events: list[Event] = []
        self.tries = 0
        settings = SupervisionSettings(**{"backoff_s": 0.01, **supervision})
        self.engine = SupervisedEngine(self._start, settings, self.events.append)

    def _start(self, footprint: Footprint | None) -> ScriptedEngine:
        self.tries += 1
        self._before(self.tries)
        self.engines.append(ScriptedEngine(self._settings, footprint, self._faults))
        return self.engines[-1]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def kill(self) -> None:
        """Kill the present process from outside."""
        os.kill(self.engines[-1].pid, signal.SIGKILL)

    async def outcomes(self, requests: list[Request]) -> list[Completion | BaseException]:
        return await asyncio.gather(*map(self.engine.complete, requests), return_exceptions=True)


def run(bench: Bench, work: Callable[[Bench], Awaitable[Any]]) -> Any:
    """Run work and close; no process of any engine may be left."""

    async def whole() -> Any:
        try:
            return await work(bench)
        finally:
            bench.engine.close()

    result = asyncio.run(whole())
    assert not [engine.pid for engine in bench.engines if watchdog.is_alive(engine.pid)]
    return result


def answers(count: int) -> list[list[dict[int, float]]]:
    """Return what an undisturbed engine answers."""
    bench = Bench({})
    found = run(bench, lambda b: b.outcomes([request(i) for i in range(count)]))
    assert bench.kinds == []
    return [completion.logprobs for completion in found]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_killed_process_costs_no_answer() -> None:
    bench = Bench({}, latency_s=1.0, max_num_seqs=8)

    async def work(b: Bench) -> Any:
        asked = asyncio.create_task(b.outcomes([request(i) for i in range(20)]))
        await asyncio.sleep(0.1)
        b.kill()
        return await asked

    found = run(bench, work)
    assert [completion.logprobs for completion in found] == answers(20)
    assert {completion.attempt for completion in found} == {2}
    assert bench.kinds == ["death", "start"]
    assert bench.events[0].cause == "the engine's process ended (killed by SIGKILL)"
    assert len(bench.engines) == 2


def test_what_was_answered_before_a_death_is_not_asked_again() -> None:
    bench = Bench({}, latency_s=1.0, max_num_seqs=4)

    async def work(b: Bench) -> Any:
        tasks = [asyncio.create_task(b.engine.complete(request(i))) for i in range(8)]
        await asyncio.wait(tasks[:4])
        b.kill()
        return await asyncio.gather(*tasks)

    assert [completion.attempt for completion in run(bench, work)] == [1] * 4 + [2] * 4


def test_an_idle_engines_death_shows_at_the_next_request() -> None:
    bench = Bench({})

    async def work(b: Bench) -> Any:
        first = await b.outcomes([request(0)])
        b.kill()
        return first + await b.outcomes([request(1)])

    assert [completion.attempt for completion in run(bench, work)] == [1, 2]
    assert bench.kinds == ["death", "start"]


@pytest.mark.parametrize(
    ("fault", "token", "kind", "place"),
    [
        ("deadly_token", DEADLY, "death", 0),
        ("deadly_token", DEADLY, "death", 100),
        ("deadly_token", DEADLY, "death", 199),
        ("hanging_token", HANGING, "hang", 100),
    ],
)
def test_a_request_that_kills_is_found_among_many(
    fault: str, token: int, kind: str, place: int
) -> None:
    bench = Bench(
        {"hang_s": 1.0, "max_deaths": 3}, max_num_seqs=64, faults=Faults(**{fault: token})
    )
    requests = [request(i) for i in range(200)]
    requests[place] = request(place, token)
    found = run(bench, lambda b: b.outcomes(requests))
    assert isinstance(found.pop(place), EngineKillerError)
    expected = answers(200)
    del expected[place]
    assert [completion.logprobs for completion in found] == expected
    # Twice in company, twice alone.
    assert Counter(bench.kinds) == {kind: 4, "start": 4, "killer": 1}


def test_neighbours_that_all_kill_are_each_found() -> None:
    """An opinion that kills is read by many readers, one after the other."""
    bench = Bench({"max_deaths": 3}, faults=Faults(deadly_token=DEADLY))
    requests = [request(i, DEADLY) if i < 4 else request(i) for i in range(12)]
    found = run(bench, lambda b: b.outcomes(requests))
    assert [isinstance(outcome, EngineKillerError) for outcome in found] == [True] * 4 + [False] * 8
    assert bench.kinds.count("killer") == 4


def test_a_killer_alone_from_the_start_is_found() -> None:
    bench = Bench({}, faults=Faults(deadly_token=DEADLY))
    [found] = run(bench, lambda b: b.outcomes([request(0, DEADLY)]))
    assert isinstance(found, EngineKillerError)
    assert bench.kinds == ["death", "start", "death", "start", "killer"]


def test_a_lone_request_survives_one_death_from_outside() -> None:
    bench = Bench({}, latency_s=1.0)

    async def work(b: Bench) -> Any:
        asked = asyncio.create_task(b.engine.complete(request(0)))
        await asyncio.sleep(0.1)
        b.kill()
        return await asked

    assert run(bench, work).attempt == 2


def test_an_engine_that_dies_of_everything_quarantines_nothing() -> None:
    bench = Bench({"max_deaths": 5}, faults=Faults(deadly_token=2))
    found = run(bench, lambda b: b.outcomes([request(i) for i in range(10)]))
    assert {type(outcome) for outcome in found} == {EngineGoneError}
    assert "killed by SIGKILL" in str(found[0])
    assert bench.kinds == [*["death", "start"] * 4, "death"]


def test_an_engine_that_is_gone_stays_gone() -> None:
    bench = Bench({"max_deaths": 1}, latency_s=1.0)

    async def work(b: Bench) -> Any:
        asked = asyncio.create_task(b.outcomes([request(0)]))
        await asyncio.sleep(0.02)
        b.kill()
        return await asked + await b.outcomes([request(1)])

    assert {type(outcome) for outcome in run(bench, work)} == {EngineGoneError}
    assert len(bench.engines) == 1


def test_a_lack_of_memory_halves_the_sequences_until_they_fit() -> None:
    bench = Bench({"max_deaths": 1}, max_num_seqs=64, faults=Faults(memory_for=10))
    found = run(bench, lambda b: b.outcomes([request(i) for i in range(100)]))
    assert [completion.logprobs for completion in found] == answers(100)
    assert [engine.max_num_seqs for engine in bench.engines] == [64, 32, 16, 8]
    assert bench.kinds == ["out_of_memory", "start"] * 3
    assert bench.events[0].cause == "out of memory with 64 sequences at a time"
    assert bench.engine.max_num_seqs == 8


def test_fewer_sequences_stay_after_another_death() -> None:
    bench = Bench({}, max_num_seqs=8, faults=Faults(memory_for=4))

    async def work(b: Bench) -> Any:
        first = await b.outcomes([request(i) for i in range(8)])
        b.kill()
        return first + await b.outcomes([request(8)])

    assert all(isinstance(outcome, Completion) for outcome in run(bench, work))
    assert [engine.max_num_seqs for engine in bench.engines] == [8, 4, 4]


def test_a_failed_start_is_tried_again() -> None:
    def fail(tries: int) -> None:
        if tries in (1, 3, 4):
            raise EngineDiedError(f"no luck {tries}")

    bench = Bench({"start_tries": 3}, fail)

    async def work(b: Bench) -> Any:
        b.kill()
        return await b.outcomes([request(0)])

    [completion] = run(bench, work)
    assert completion.attempt == 2
    assert bench.tries == 5
    assert bench.kinds == ["death", "start"]


def test_starts_that_fail_every_time_end_it() -> None:
    def fail(tries: int) -> None:
        if tries > 1:
            raise EngineDiedError("no luck")

    bench = Bench({"start_tries": 3}, fail)

    async def work(b: Bench) -> Any:
        b.kill()
        return await b.outcomes([request(i) for i in range(3)])

    found = run(bench, work)
    assert [type(outcome) for outcome in found] == [EngineGoneError] * 3
    assert str(found[0]) == "no engine started in 3 tries: no luck"
    assert bench.tries == 4


@pytest.mark.parametrize(
    ("error", "told", "tries"),
    [
        (EngineDiedError("no luck"), EngineGoneError, 2),
        (EngineError("a wrong setting"), EngineError, 1),
        (ValueError("a wrong setting"), ValueError, 1),
    ],
)
def test_a_first_start_is_tried_again_only_where_that_may_help(
    error: Exception, told: type[Exception], tries: int
) -> None:
    tried = []

    def start(_: Footprint | None) -> Any:
        tried.append(1)
        raise error

    with pytest.raises(told, match=str(error)):
        SupervisedEngine(start, SupervisionSettings(backoff_s=0), lambda _: None)
    assert len(tried) == tries


@pytest.mark.parametrize(
    ("fits", "tries", "told"),
    [
        (256, 2, None),
        (64, 3, None),
        (16, 3, "no engine started in 3 tries: out of memory with 64 sequences.*; it takes GPUs"),
        (0, 3, "no engine started in 3 tries: "),
    ],
)
def test_a_lack_of_memory_at_the_start_counts_as_a_try(
    fits: int, tries: int, told: str | None
) -> None:
    tried: list[Footprint] = []
    events: list[Event] = []

    def start(footprint: Footprint | None) -> Any:
        tried.append(footprint or Footprint(1024, 16384, 0.9))
        if tried[-1].max_num_seqs > fits:
            text = f"out of memory with {tried[-1]}"
            raise EngineMemoryError(text, tried[-1], tried[-1].smaller())
        return None

    settings = SupervisionSettings(start_tries=3, backoff_s=0)
    if told is None:
        SupervisedEngine(start, settings, events.append)
    else:
        with pytest.raises(EngineError, match=told) as caught:
            SupervisedEngine(start, settings, events.append)
        # Nor would another actor's engine start.
        assert not isinstance(caught.value, EngineDiedError)
    assert len(tried) == tries
    assert {event.kind for event in events} == {"out_of_memory"}


def test_where_nothing_smaller_is_left_no_other_start_is_tried() -> None:
    least = Footprint(1)

    def start(_: Footprint | None) -> Any:
        raise EngineMemoryError("out of memory", least, least.smaller())

    with pytest.raises(EngineError, match="in 1 try: out of memory; lower engine"):
        SupervisedEngine(start, SupervisionSettings(start_tries=9), lambda _: None)


@pytest.mark.parametrize("when", ["in flight", "restarting", "held back", "on trial"])
def test_cancelled_requests_leave_no_trace(when: str) -> None:
    """Whatever is cancelled at whatever moment, the rest is answered."""
    bench = Bench({}, latency_s=0.05, max_num_seqs=16, faults=Faults(deadly_token=DEADLY))
    deaths = {"in flight": 0, "restarting": 1, "held back": 3, "on trial": 2}[when]

    async def work(b: Bench) -> Any:
        killer = [request(3, DEADLY)] if deaths > 1 else []
        plain = [request(i) for i in range(40)]
        tasks = [asyncio.create_task(b.engine.complete(r)) for r in killer + plain]
        await asyncio.sleep(0.02)
        if deaths == 1:
            b.kill()
        await until(lambda: b.kinds.count("death") == deaths)
        doomed = tasks[::2] if when != "held back" else tasks[20:]
        for task in doomed:
            task.cancel()
        kept = [task for task in tasks if task not in doomed]
        outcomes = await asyncio.gather(*kept, return_exceptions=True)
        assert all(task.cancelled() or task.done() for task in tasks)
        return outcomes + await b.outcomes([request(99)])

    found = run(bench, work)
    killers = [outcome for outcome in found if isinstance(outcome, EngineKillerError)]
    assert len(killers) == (when == "held back")
    assert all(isinstance(o, Completion) for o in found if o not in killers)
    assert not bench.engine._in_flight
    assert not bench.engine._waiting
    assert bench.engine._killers.tried_alone is None


def test_an_engine_cannot_be_used_once_closed() -> None:
    bench = Bench({})

    async def work(b: Bench) -> Any:
        asked = asyncio.create_task(b.outcomes([request(0)]))
        await asyncio.sleep(0)
        b.engine.close()
        b.engine.close()
        return await asked + await b.outcomes([request(1)])

    assert {type(outcome) for outcome in run(bench, work)} == {EngineGoneError}
    assert "start" not in bench.kinds


def test_an_engine_that_is_starting_while_it_is_closed_is_ended_too() -> None:
    bench = Bench({})

    async def work(b: Bench) -> Any:
        await b.outcomes([request(0)])
        b.kill()
        asked = asyncio.create_task(b.outcomes([request(1)]))
        await until(lambda: b.tries == 2)
        b.engine.close()
        return await asked

    [found] = run(bench, work)
    assert isinstance(found, EngineGoneError)


def test_a_pause_between_starts_ends_with_close() -> None:
    def fail(tries: int) -> None:
        if tries > 1:
            raise EngineDiedError("no luck")

    bench = Bench({"backoff_s": 3600.0, "start_tries": 5}, fail)

    async def work(b: Bench) -> Any:
        b.kill()
        asked = asyncio.create_task(b.outcomes([request(0)]))
        await until(lambda: b.tries == 2)
        b.engine.close()
        return await asked

    [found] = run(bench, work)
    assert isinstance(found, EngineGoneError)
    assert bench.tries == 2


def test_it_may_serve_one_loop_after_the_other() -> None:
    engine = SupervisedEngine(
        partial(ScriptedEngine, ScriptedSettings(kind="scripted")), SupervisionSettings(), print
    )
    first = asyncio.run(engine.complete(request(0)))
    engine.kill()
    second = asyncio.run(engine.complete(request(0)))
    engine.close()
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.logprobs == second.logprobs
