"""The actor: a batch of records through one engine, all variants of a record in the same one."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from medsent import predictions
from medsent.answers.method import ENGINE_ERROR, Answer, Method, method_for
from medsent.config import ScriptedSettings
from medsent.engine.effect import check_effects
from medsent.engine.protocol import Completion, Engine, Request
from medsent.engine.scripted import ScriptedEngine
from medsent.engine.vllm import VllmEngine
from medsent.errors import EngineDiedError, EngineError, MedsentError
from medsent.labels import LABELS
from medsent.model import load_tokenizer, resolve_model
from medsent.plan import Plan, Variant
from medsent.prompts import Prompter
from medsent.records import TOO_LONG

_NOTE_EVERY = 32


@dataclass(frozen=True)
class _Speaker:
    """A variant bound to a tokenizer: how it asks, and how it reads the answer."""

    variant: Variant
    method: Method
    prompter: Prompter

    @property
    def adapter(self) -> str | None:
        return self.variant.name if self.variant.adapter else None

    @property
    def thresholds(self) -> list[float]:
        return [self.variant.thresholds[label] for label in LABELS]


class Scorer:
    """A callable class for Ray Data's `map_batches`: records in, predictions out."""

    def __init__(self, plan: Plan, tally: Any) -> None:
        self._tally = tally
        self._unsaid = 0
        self._replica = _replica_name()
        self._limit = plan.config.model.max_model_len
        self._schema = predictions.schema(
            [variant.name for variant in plan.variants], plan.shards.kept
        )
        started = time.monotonic()
        try:
            self._speakers, self._engine = self._start(plan)
        except MedsentError as error:
            # The pool would only say that an actor died; the driver asks the tally why.
            ray.get(tally.fail.remote(type(error).__name__, str(error)))
            raise
        self._checked = asyncio.Lock()
        self._effect_known = not any(speaker.adapter for speaker in self._speakers)
        tally.started.remote(self._replica, time.monotonic() - started)

    def _start(self, plan: Plan) -> tuple[list[_Speaker], Engine]:
        folder = resolve_model(plan.config.model.source, _silent)
        tokenizer = load_tokenizer(folder)
        speakers = []
        for variant in plan.variants:
            method = method_for(variant.settings.method, tokenizer)
            prompter = Prompter(tokenizer, method.prompt, plan.personas)
            speakers.append(_Speaker(variant, method, prompter))
        settings = plan.config.engine
        if isinstance(settings, ScriptedSettings):
            return speakers, ScriptedEngine(settings)
        return speakers, VllmEngine(plan.engine_plan(settings, folder))

    async def __call__(self, records: pa.Table) -> pa.Table:
        """Return the predictions of `records`, in their order."""
        await self._ensure_effect()
        rows = records.select(["text", "language", "persona", "reason"]).to_pylist()
        prompts = await asyncio.to_thread(self._prompts, rows)
        reasons = [row["reason"] for row in rows]
        for index, own in enumerate(prompts):
            if reasons[index] is None and own is None:
                reasons[index] = TOO_LONG
        # An opinion's readers one after the other, so that they share its prefix.
        order = sorted(
            (i for i, reason in enumerate(reasons) if reason is None),
            key=lambda i: (rows[i]["text"], rows[i]["persona"] or ""),
        )
        columns = {}
        for number, speaker in enumerate(self._speakers):
            asked = [(i, prompts[i][number]) for i in order]
            answers = await self._ask_all(speaker, asked, len(rows))
            await self._refuse_silence(speaker, answers)
            columns[speaker.variant.name] = answers
        self._note((len(rows) - len(order)) * len(self._speakers), flush=True)
        self._tally.done.remote(len(rows))
        return self._table(records, reasons, columns)

    async def _ensure_effect(self) -> None:
        async with self._checked:
            if self._effect_known:
                return
            try:
                await check_effects(
                    self._engine, {s.adapter: s.prompter for s in self._speakers if s.adapter}
                )
            except MedsentError as error:
                await self._tally.fail.remote(type(error).__name__, str(error))
                raise
            self._effect_known = True

    def _prompts(self, rows: list[dict[str, Any]]) -> list[Any]:
        """Return for each row its prompts, one a variant; None where one is too long."""
        heads: dict[tuple[int, str], list[int]] = {}
        prompts: list[list[list[int]] | None] = []
        for row in rows:
            if row["reason"] is not None:
                prompts.append(None)
                continue
            own = []
            for number, speaker in enumerate(self._speakers):
                key = (number, row["text"])
                if key not in heads:
                    heads[key] = speaker.prompter.head(row["text"])
                own.append(heads[key] + speaker.prompter.tail(row["language"], row["persona"]))
            fits = all(
                len(ids) + speaker.method.ask.max_tokens <= self._limit
                for ids, speaker in zip(own, self._speakers, strict=True)
            )
            prompts.append(own if fits else None)
        return prompts

    async def _ask_all(
        self, speaker: _Speaker, asked: list[tuple[int, list[int]]], count: int
    ) -> list[dict[str, Any] | None]:
        answers = await asyncio.gather(*(self._ask(speaker, prompt) for _, prompt in asked))
        column: list[dict[str, Any] | None] = [None] * count
        for (index, _), answer in zip(asked, answers, strict=True):
            column[index] = answer
        return column

    async def _refuse_silence(
        self, speaker: _Speaker, answers: list[dict[str, Any] | None]
    ) -> None:
        """Stop where the engine refuses a whole block: written, it would count as done."""
        statuses = {answer["status"] for answer in answers if answer is not None}
        if statuses == {ENGINE_ERROR}:
            message = f"the engine refused every request of variant {speaker.variant.name}"
            await self._tally.fail.remote(EngineError.__name__, message)
            raise EngineError(message)

    async def _ask(self, speaker: _Speaker, prompt: list[int]) -> dict[str, Any]:
        request = Request(prompt, speaker.method.ask, speaker.adapter)
        try:
            completion = await self._engine.complete(request)
        except EngineDiedError as error:
            await self._tally.fail.remote(type(error).__name__, str(error))
            raise
        except EngineError:
            self._note(1)
            return self._row(Answer(ENGINE_ERROR), None)
        self._note(1)
        return self._row(speaker.method.read(completion, speaker.thresholds), completion)

    def _note(self, answers: int, flush: bool = False) -> None:
        """Tell the tally of answers, some at a time."""
        self._unsaid += answers
        if flush or self._unsaid >= _NOTE_EVERY:
            self._tally.answered.remote(self._unsaid)
            self._unsaid = 0

    def _row(self, answer: Answer, completion: Completion | None) -> dict[str, Any]:
        row: dict[str, Any] = {
            "status": answer.status,
            "labels": _by_label(answer.labels),
            "probabilities": _by_label(answer.probabilities),
            "answer": answer.text,
            "replica": self._replica,
            "attempt": 1,
        }
        if completion is not None:
            row |= {
                "prompt_tokens": completion.prompt_tokens,
                "cached_tokens": completion.cached_tokens,
                "output_tokens": completion.output_tokens,
                "latency_s": completion.latency_s,
                "finished_at": completion.finished_at,
            }
        return row

    def _table(
        self, records: pa.Table, reasons: list[str | None], columns: dict[str, list[Any]]
    ) -> pa.Table:
        made: dict[str, pa.Array | pa.ChunkedArray] = {
            "reason": pa.array(reasons, pa.string()),
            "outcome": pa.array(
                [predictions.SCORED if r is None else predictions.QUARANTINED for r in reasons]
            ),
        }
        for name, column in columns.items():
            made[name] = pa.array(column, predictions.PREDICTION)
        arrays = [made.get(f.name) for f in self._schema]
        filled = [
            records[field.name] if array is None else array
            for field, array in zip(self._schema, arrays, strict=True)
        ]
        return pa.table(filled, schema=self._schema)


def _by_label(values: list[Any] | None) -> dict[str, Any] | None:
    return None if values is None else dict(zip(LABELS, values, strict=True))


def _replica_name() -> str:
    context = ray.get_runtime_context()
    return f"{context.get_node_id()[:6]}-{(context.get_actor_id() or '')[:6]}"


def _silent(_: str) -> None:
    """Drop a progress line: an actor's output goes to no one."""
