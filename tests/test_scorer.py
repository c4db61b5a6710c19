"""The actor by itself, with the scripted engine and no Ray: order, sharing, what goes wrong."""

import asyncio
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from medsent import predictions, scorer
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted import ScriptedEngine
from medsent.errors import AdapterError, EngineDiedError, EngineError
from medsent.plan import Plan, make_plan
from medsent.records import schema
from medsent.scorer import Scorer
from tests.conftest import AdapterWriter, JobBuilder


class Told:
    """Stands for the tally's handle: notes each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> SimpleNamespace:
        def remote(*values: Any) -> "Told":
            self.calls.append((name, *values))
            return self

        return SimpleNamespace(remote=remote)

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]

    def told(self, name: str) -> list[tuple[Any, ...]]:
        return [values for called, *values in self.calls if called == name]  # type: ignore[misc]


Behave = Callable[[Request], None]


@pytest.fixture
def made(
    job: JobBuilder, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Scorer, Told, list[Request]]]:
    """Return a maker of a scorer whose requests are noted and may be made to fail."""
    monkeypatch.setattr(scorer, "_replica_name", lambda: "node-actor")
    monkeypatch.setattr(scorer, "load_tokenizer", lambda _: tokenizer)

    def make(behave: Behave = lambda _: None, **groups: Any) -> tuple[Scorer, Told, list[Request]]:
        requests: list[Request] = []
        answer = ScriptedEngine.complete

        async def complete(engine: ScriptedEngine, request: Request) -> Completion:
            requests.append(request)
            behave(request)
            return await answer(engine, request)

        monkeypatch.setattr(ScriptedEngine, "complete", complete)
        plan: Plan = make_plan(job(**groups), lambda _: None)
        told = Told()
        return Scorer(plan, told), told, requests

    return make


def records(*rows: dict[str, Any]) -> pa.Table:
    blank = dict.fromkeys(schema(()).names)
    good = {"text": "All was well.", "language": "en", "persona": "surgeon", "path": "/in"}
    filled = [{**blank, **good, "row_hash": i, **row} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, schema=schema(()))


def scored(actor: Scorer, table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = asyncio.run(actor(table)).to_pylist()
    return rows


def test_rows_come_back_in_their_order(made: Any) -> None:
    actor, told, _ = made()
    table = records({"text": "b"}, {"reason": "empty_text", "text": ""}, {"text": "a"})
    result = asyncio.run(actor(table))
    assert result.schema == predictions.schema(["plain"])
    rows = result.to_pylist()
    assert [row["row_hash"] for row in rows] == [0, 1, 2]
    assert [row["outcome"] for row in rows] == ["scored", "quarantined", "scored"]
    assert [row["reason"] for row in rows] == [None, "empty_text", None]
    assert rows[1]["plain"] is None
    assert {row["plain"]["status"] for row in rows if row["plain"]} == {"ok"}
    assert rows[0]["plain"]["replica"] == "node-actor"
    assert told.told("done") == [[3]]
    assert sum(values[0] for values in told.told("answered")) == 3


def test_an_opinions_readers_are_asked_one_after_the_other(made: Any) -> None:
    actor, _, requests = made()
    texts = ["one opinion", "another opinion"] * 3
    readers = ["surgeon", "chaplain", "pharmacist", "surgeon", "chaplain", "pharmacist"]
    scored(
        actor,
        records(*({"text": t, "persona": p} for t, p in zip(texts, readers, strict=True))),
    )
    heads = [tuple(request.prompt[:8]) for request in requests]
    assert heads == [heads[0]] * 3 + [heads[3]] * 3
    assert heads[0] != heads[3]
    assert len({tuple(request.prompt) for request in requests}) == 6


def test_a_prompt_that_leaves_no_room_for_the_answer_is_too_long(made: Any) -> None:
    actor, _, requests = made(model={"max_model_len": 64})
    [whole] = scored(actor, records({"text": "fine"}))
    used = whole["plain"]["prompt_tokens"]
    room = 64 - used - 1  # the answer is one token
    rows = scored(
        actor, records({"text": "fine" + " fine" * room}, {"text": "fine" + " fine" * (room + 1)})
    )
    assert [row["reason"] for row in rows] == [None, "too_long"]
    assert rows[0]["plain"]["prompt_tokens"] == 63
    assert rows[1]["plain"] is None
    assert len(requests) == 2


def test_a_refused_request_is_an_answer_that_is_not_there(made: Any) -> None:
    def refuse_odd_lengths(request: Request) -> None:
        if len(request.prompt) % 2:
            raise EngineError("the engine refused: ValueError")

    actor, told, requests = made(refuse_odd_lengths)
    rows = scored(actor, records(*({"text": "word " * n} for n in range(1, 7))))
    statuses = [row["plain"]["status"] for row in rows]
    assert set(statuses) == {"ok", "engine_error"}
    assert len(requests) == 6
    for row in rows:
        failed = row["plain"]["status"] == "engine_error"
        assert row["outcome"] == "scored"
        assert (row["plain"]["labels"] is None) == failed
        assert (row["plain"]["probabilities"] is None) == failed
        assert (row["plain"]["latency_s"] is None) == failed
    assert told.told("fail") == []


def test_an_engine_that_refuses_all_ends_the_job(made: Any) -> None:
    """Written as answers that are not there, the block would count as done for ever."""

    def refuse(_: Request) -> None:
        raise EngineError("the engine refused: ValueError")

    actor, told, _ = made(refuse)
    with pytest.raises(EngineError, match="refused every request of variant plain"):
        asyncio.run(actor(records({}, {"text": "another"})))
    assert [values[0] for values in told.told("fail")] == ["EngineError"]
    assert told.told("done") == []
    quarantined = scored(actor, records({"reason": "empty_text", "text": ""}))
    assert quarantined[0]["outcome"] == "quarantined"


def test_a_dead_engine_ends_the_job_with_its_reason(made: Any) -> None:
    def die(_: Request) -> None:
        raise EngineDiedError("the engine's process ended")

    actor, told, _ = made(die)
    with pytest.raises(EngineDiedError):
        asyncio.run(actor(records({})))
    assert told.told("fail")[0] == ["EngineDiedError", "the engine's process ended"]


def test_adapters_are_checked_once_and_first(
    made: Any, write_adapter: AdapterWriter, tmp_path: Any
) -> None:
    adapter = {"adapter": str(write_adapter(tmp_path / "a"))}
    actor, _, requests = made(variants={"tuned": adapter, "base": {}})
    scored(actor, records({}))
    probes = len(requests) - 2
    assert [request.adapter for request in requests[:probes]] == [None, "tuned"] * (probes // 2)
    assert {request.adapter for request in requests[probes:]} == {None, "tuned"}
    scored(actor, records({}, {}))
    assert len(requests) == probes + 2 + 4


def test_an_adapter_without_effect_ends_the_job_before_anything_is_scored(
    made: Any, write_adapter: AdapterWriter, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsent.engine.scripted._chances", lambda request, n: [0.5] * n)
    adapter = {"adapter": str(write_adapter(tmp_path / "a"))}
    actor, told, requests = made(variants={"tuned": adapter})
    with pytest.raises(AdapterError, match=r"variants\.tuned\.adapter changes nothing"):
        asyncio.run(actor(records({"text": "an opinion"})))
    assert told.told("fail")[0][0] == "AdapterError"
    assert {request.adapter for request in requests} == {None, "tuned"}
    assert told.told("done") == []
