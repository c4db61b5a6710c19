"""The actor: blocks of records through one engine, all variants of a record in the same one."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from medsent import predictions
from medsent.answers.method import Answer
from medsent.engine.energy import EnergyMeter
from medsent.engine.events import DEATHS, Event, EventKind
from medsent.engine.protocol import Engine
from medsent.errors import (
    EngineDiedError,
    EngineError,
    EngineGoneError,
    EngineKillerError,
    MedsentError,
    place_of,
    storage_failure,
)
from medsent.input.records import LOST_DATE, fan_out
from medsent.runs.blocks import BlockWriter, unpacked, with_lost_dates
from medsent.runs.folder import RunFolder
from medsent.runs.log import Power
from medsent.scoring.actor import Actor
from medsent.scoring.adapter_probe import check_effects
from medsent.scoring.block import Block, Reply
from medsent.scoring.bound_variant import BoundVariant
from medsent.scoring.monitor import EngineEvent
from medsent.scoring.plan import Plan
from medsent.scoring.telemetry import Telemetry

_NOTE_EVERY_S = 0.5
_LOOK_EVERY_S = 1.0
_OTHERS_START_S = 1800.0
"""How long a scorer that did not start waits to see whether others do."""
_START_AGAIN_S = 60.0
_LAST_ANSWERS_S = 5.0
"""How long a job that is to end waits for the requests in flight."""
_HERE = Actor()


class Scorer:
    """A callable class for Ray Data's `map_batches`: records in, predictions out."""

    def __init__(self, plan: Plan, run: RunFolder, monitor: Any, actor: Actor = _HERE) -> None:
        self._monitor, self._run, self._writer = monitor, run, BlockWriter(run)
        self._actor = actor
        self._unsaid, self._said_at = 0, 0.0
        self._replica = actor.name
        self._limit = plan.config.model.max_model_len
        self._answers = plan.answers_per_record
        self._readers, self._route = plan.readers, plan.config.route
        variants = [variant.name for variant in plan.variants]
        self._schema = predictions.schema(
            variants, plan.labels.names, plan.shards.kept, routed=self._route is not None
        )
        self._telemetry, self._in_flight = Telemetry(plan.config.name, variants), 0
        self._drawing: _Drawing | None = None
        self._refusal: MedsentError | None = None
        started = time.monotonic()
        try:
            self._bound_variants, self._engine = self._started(plan)
        except MedsentError as error:
            if isinstance(error, EngineDiedError):
                raise
            # Other scorers would fail in the same way, after minutes: the first block raises it.
            self._refusal = error
            return
        self._checked = asyncio.Lock()
        self._effect_known = not any(bound.adapter for bound in self._bound_variants)
        self._draining = asyncio.Event()
        self._last_answers_at = math.inf
        self._looking: asyncio.Task[None] | None = None
        self._replaced: asyncio.Task[bool] | None = None
        monitor.started.remote(self._replica, time.monotonic() - started)

    async def __call__(self, packed: pa.Table) -> pa.Table:
        """Score and write some packed blocks; return what was written, as names and records.

        If the job ends within a block, the records that were answered are written as a part.
        """
        try:
            return await self._score(packed)
        except EngineGoneError as error:
            # Every block in work meets the same end: it is told once.
            self._replaced = self._replaced or asyncio.create_task(self._give_up(str(error)))
            if await self._replaced:
                self._engine.close()
                self._actor.end()
            raise
        except MedsentError as error:
            await self._monitor.fail.remote(type(error).__name__, str(error))
            raise
        except OSError as error:  # nothing else of a block touches storage
            told = storage_failure(error, self._run.path)
            await self._monitor.fail.remote(type(told).__name__, str(told))
            raise told from None
        except Exception as error:  # noqa: BLE001
            # Its message may quote an opinion, and Ray would log it.
            failure = EngineError(f"scoring a block failed: {place_of(error)}")
            await self._monitor.fail.remote(EngineError.__name__, str(failure))
            raise failure from None

    async def _give_up(self, cause: str) -> bool:
        replaced: bool = await self._monitor.gave_up.remote(self._replica, cause)
        return replaced

    def _started(self, plan: Plan) -> tuple[tuple[BoundVariant, ...], Engine]:
        """Start what asks and what answers, again and again while others work."""
        told = False
        self._refuse_endless_starts()
        while True:
            try:
                return self._start(plan)
            except MedsentError as error:
                if not told:
                    self._monitor.note.remote(
                        EngineEvent(EventKind.NO_START, 0.0, str(error), self._replica)
                    )
                told = True
                self._settle(error)
                self._pause(error)

    def _settle(self, error: MedsentError) -> None:
        """Return if this scorer may try again; else end it, for a replacement or with the job."""
        # The pool would only say that an actor died; the driver asks the monitor why.
        self._actor.wait(self._monitor.did_not_start.remote(type(error).__name__, str(error)))
        if self._actor.is_replacement:
            # Ray gives up one that raises here, and with it the blocks it was to score.
            self._actor.end()
        if not self._others_work():
            raise error

    def _pause(self, error: MedsentError) -> None:
        """Wait before the next start, or end where the job does: nobody else ends this actor."""
        until = time.monotonic() + _START_AGAIN_S
        while time.monotonic() < until:
            if self._actor.wait(self._monitor.draining.remote()):
                raise EngineDiedError(str(error)) from error  # other kinds fail the first block
            time.sleep(_LOOK_EVERY_S)

    def _others_work(self) -> bool:
        """Wait until a scorer works, and return True; return False once none can start any more."""
        until = time.monotonic() + _OTHERS_START_S
        while (found := self._actor.wait(self._monitor.others_work.remote(self._replica))) is None:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_EVERY_S)
        return bool(found)

    def _refuse_endless_starts(self) -> None:
        refusal = self._actor.wait(self._monitor.starting.remote(self._replica))
        if refusal is not None:
            self._actor.wait(self._monitor.did_not_start.remote(EngineDiedError.__name__, refusal))
            raise EngineDiedError(refusal)

    def _start(self, plan: Plan) -> tuple[tuple[BoundVariant, ...], Engine]:
        return self._actor.start(plan, self._tell)

    def _tell(self, event: Event) -> None:
        self._monitor.note.remote(
            EngineEvent(event.kind, event.seconds, event.cause, self._replica)
        )
        if event.kind in DEATHS:
            self._telemetry.died(event.kind)

    async def _score(self, packed: pa.Table) -> pa.Table:
        if self._refusal is not None:
            raise self._refusal
        await self._ensure_effect()
        self._looking = self._looking or asyncio.create_task(self._look_for_the_end())
        if self._draining.is_set() or not packed.num_rows:
            return _receipt({})
        self._drawing = self._drawing or _Drawing(
            self._actor.gpus
        )  # not before: the engine's start is no scoring
        told, records = unpacked(packed)
        block = await asyncio.to_thread(self._block, records)
        for bound in self._bound_variants:
            await self._ask_all(bound, block)
        self._note((len(block) - len(block.order)) * self._answers, flush=True)
        written = await asyncio.to_thread(self._write, told, block, records)
        for name, count in written.items():
            self._monitor.done.remote(name, count)
        self._monitor.drew.remote(self._replica, self._drawing.power())
        return _receipt(written)

    def _block(self, records: pa.Table) -> Block:
        return Block(
            fan_out(records, self._readers), self._bound_variants, self._limit, self._route
        )

    def _write(
        self, told: Sequence[tuple[str, bool, int]], block: Block, records: pa.Table
    ) -> dict[str, int]:
        """Write each block's outcomes; return block to its records that are written."""
        table, answered = block.table(self._schema, self._replica), block.answered()
        lost = records["row_hash"].filter(records[LOST_DATE]).to_pylist()
        at, written = 0, {}
        for name, has_part, rows in told:
            count = rows * max(1, len(self._readers))
            stays = answered.slice(at, count)
            made = with_lost_dates(table.slice(at, count).filter(stays), lost)
            whole = made.num_rows == count
            self._writer.write(name, made, whole=whole, has_part=has_part)
            written[name] = made.num_rows
            at += count
        self._telemetry.scored(table.filter(answered))
        return written

    async def _ensure_effect(self) -> None:
        async with self._checked:
            if not self._effect_known:
                prompters = {s.adapter: s.prompter for s in self._bound_variants if s.adapter}
                await check_effects(self._engine, prompters)
                self._effect_known = True

    async def _look_for_the_end(self) -> None:
        """Ask the monitor, every second, whether the job is to end."""
        while not await self._monitor.draining.remote():
            await asyncio.sleep(_LOOK_EVERY_S)
        self._last_answers_at = time.monotonic() + _LAST_ANSWERS_S
        self._draining.set()

    async def _ask_all(self, bound: BoundVariant, block: Block) -> None:
        """Ask a variant about a block; records that were not answered leave the block."""
        asked = block.asked(bound)
        tasks = [asyncio.create_task(self._ask(bound, block.prompt(i, bound))) for i in asked]
        await self._answered(tasks)
        for index, task in zip(asked, tasks, strict=True):
            if task.cancelled():
                block.leave(index)
            elif (reply := task.result()) is None:
                block.quarantine(index)
            else:
                block.put(index, bound, reply)
        if asked and all(_is_refused(task) for task in tasks):
            await self._refuse_silence(bound, block.prompt(asked[0], bound)[:1])

    async def _answered(self, tasks: list[asyncio.Task[Reply | None]]) -> None:
        """Wait for all, or for one that fails; where the job is to end, only a little longer."""
        if not tasks:
            return
        draining = asyncio.create_task(self._draining.wait())
        answered = asyncio.create_task(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
        while not (await _any_of(answered, draining)):
            # Also of an engine that answers no more: that is when somebody looks at it.
            self._telemetry.waiting(self._in_flight)
        left = max(0.0, min(_LAST_ANSWERS_S, self._last_answers_at - time.monotonic()))
        await asyncio.wait([answered], timeout=left)
        unfinished = [task for task in (*tasks, answered, draining) if not task.done()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for task in tasks:  # asyncio logs an error that nobody has looked at
            _ = task.cancelled() or task.exception()

    async def _ask(self, bound: BoundVariant, prompt: list[int]) -> Reply | None:
        """Return the reply to one prompt; None where it kills engines."""
        self._in_flight += 1
        try:
            completion = await self._engine.complete(bound.request(prompt))
        except EngineKillerError:
            return None
        except EngineDiedError:
            raise
        except EngineError:
            self._note(1)
            return Reply(Answer(predictions.AnswerStatus.ENGINE_ERROR), None)
        finally:
            self._in_flight -= 1
        self._note(1)
        return Reply(bound.read(completion), completion)

    async def _refuse_silence(self, bound: BoundVariant, prompt: list[int]) -> None:
        """Stop where the engine refuses even a harmless request, not just a block's.

        If its refusals were written, block after block would count as done, to the end.
        """
        try:
            await self._engine.complete(bound.request(prompt))
        except EngineDiedError:
            raise
        except EngineError as error:
            raise EngineError(
                f"the engine refused every request of variant {bound.name}"
            ) from error

    def _note(self, answers: int, flush: bool = False) -> None:
        """Tell the monitor of answers, some at a time."""
        self._unsaid += answers
        now = time.monotonic()
        if flush or now > self._said_at + _NOTE_EVERY_S:
            self._monitor.answered.remote(self._unsaid)
            self._telemetry.waiting(self._in_flight)
            self._unsaid, self._said_at = 0, now


async def _any_of(*tasks: "asyncio.Task[Any]") -> set["asyncio.Task[Any]"]:
    """Wait for one of some tasks for a moment; return those that are done."""
    done, _ = await asyncio.wait(tasks, timeout=_NOTE_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
    return done


class _Drawing:
    """What this actor's GPUs draw from now on."""

    def __init__(self, gpus: Sequence[int | str]) -> None:
        self._gpus, self._meter, self._since = len(gpus), EnergyMeter(gpus), time.monotonic()

    def power(self) -> Power:
        seconds = time.monotonic() - self._since
        return Power(gpus=self._gpus, seconds=seconds, joules=self._meter.joules())


def _receipt(written: Mapping[str, int]) -> pa.Table:
    """Return what was written, as Ray Data passes it to the driver."""
    names = pa.array(list(written), pa.string())
    return pa.table({"block": names, "records": pa.array(list(written.values()), pa.int64())})


def _is_refused(task: asyncio.Task[Reply | None]) -> bool:
    reply = None if task.cancelled() else task.result()
    return reply is not None and reply.answer.status == predictions.AnswerStatus.ENGINE_ERROR
