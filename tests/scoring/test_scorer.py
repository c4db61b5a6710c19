"""The actor by itself, with the scripted engine and no Ray: order, sharing, what goes wrong."""

import asyncio
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsent import predictions
from medsent.config.engine import ScriptedSettings
from medsent.config.labels import LABELS
from medsent.engine.protocol import Completion, Request
from medsent.engine.scripted.engine import ScriptedEngine
from medsent.engine.supervised import SupervisedEngine
from medsent.errors import (
    AdapterError,
    EngineDiedError,
    EngineError,
    EngineGoneError,
    MedsentError,
    ModelError,
)
from medsent.runs.blocks import packed
from medsent.runs.folder import RunFolder
from medsent.scoring.actor import Actor, Tell
from medsent.scoring.bound_variant import bind_variants
from medsent.scoring.plan import Plan, make_plan
from medsent.scoring.scorer import Scorer
from tests.conftest import MARKER, AdapterWriter, JobBuilder
from tests.input import record_rows

pytestmark = pytest.mark.slow


class Told:
    """Stands for the monitor's handle: notes each call, and answers as it is told to."""

    def __init__(self, **answers: object) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers = answers

    def __getattr__(self, name: str) -> SimpleNamespace:
        def remote(*values: Any) -> Any:
            self.calls.append((name, *values))
            return Waiting(self._answers.get(name))

        return SimpleNamespace(remote=remote)

    def told(self, name: str) -> list[tuple[Any, ...]]:
        return [values for called, *values in self.calls if called == name]  # type: ignore[misc]


@dataclass
class Waiting:
    """What the monitor answers, to be waited for."""

    value: object

    def __await__(self) -> Generator[None, None, object]:
        yield from ()
        return self.value


class Here(Actor):
    """An actor without Ray around it, whose engine is one of the tests."""

    name = "node-actor"
    gpus: Sequence[int | str] = ()

    def __init__(self, start: Callable[..., Any], *, replaced: bool = False) -> None:
        self._started, self._replaced = start, replaced

    @property
    def is_replacement(self) -> bool:
        return self._replaced

    def wait(self, answer: Any) -> Any:
        return answer.value

    def end(self) -> NoReturn:
        sys.exit(1)

    def start(self, plan: Plan, tell: Tell) -> Any:
        return self._started(plan, tell)


Behave = Callable[[Request], None]
Alter = Callable[[Completion], Completion]


@pytest.fixture
def made(
    job: JobBuilder, tokenizer: Any, tmp_path: Path
) -> Iterator[Callable[..., tuple[Scorer, Told, list[Request]]]]:
    """Yield a maker of a scorer whose requests are noted and may be made to fail."""
    started: list[Scorer] = []
    run = RunFolder(tmp_path / "run")
    run.predictions.mkdir(parents=True)

    def make(
        behave: Behave = lambda _: None, alter: Alter = lambda same: same, **groups: Any
    ) -> tuple[Scorer, Told, list[Request]]:
        requests: list[Request] = []

        class Noting(ScriptedEngine):
            async def complete(self, request: Request) -> Completion:
                requests.append(request)
                behave(request)
                return alter(await super().complete(request))

        def start(plan: Plan, tell: Tell) -> Any:
            settings = plan.config.engine
            assert isinstance(settings, ScriptedSettings)
            engine = SupervisedEngine(lambda _: Noting(settings), settings.supervision, tell)
            return bind_variants(plan, tokenizer), engine

        plan: Plan = make_plan(job(**groups))
        told = Told()
        started.append(Scorer(plan, run, told, Here(start)))
        return started[-1], told, requests

    yield make
    for actor in started:
        actor._engine.close()


def records(*rows: dict[str, Any]) -> pa.Table:
    """Return records packed as a block."""
    return packed([("x-000000", False, record_rows.records(*rows))])


def scored(actor: Scorer, block: pa.Table) -> list[dict[str, Any]]:
    """Return what an actor writes of a block; nothing is left of it."""
    receipt = asyncio.run(actor(block))
    rows: list[dict[str, Any]] = []
    for file in actor._run.predictions.iterdir():
        assert isinstance(file, Path)
        rows += pq.read_table(file).to_pylist()
        file.unlink()
    assert sum(receipt["records"].to_pylist()) == len(rows)
    return rows


@pytest.mark.parametrize(
    ("error", "replaced", "ends"),
    [
        (EngineError("a wrong setting"), False, None),
        (ModelError("other files"), False, None),
        (EngineGoneError("killed"), False, EngineGoneError),
        (EngineError("a wrong setting"), True, SystemExit),
        (EngineGoneError("killed"), True, SystemExit),
    ],
)
def test_a_start_that_would_fail_again_ends_the_job_at_the_first_block(
    job: JobBuilder,
    error: MedsentError,
    replaced: bool,
    ends: type[BaseException] | None,
) -> None:
    """Others would start in vain. One that stands in for another ends, and Ray replaces it."""

    def fail(*_: object) -> None:
        raise error

    plan, told = make_plan(job()), Told(others_work=False)
    run, here = RunFolder(Path("unused")), Here(fail, replaced=replaced)
    if ends is not None:
        with pytest.raises(ends):
            Scorer(plan, run, told, here)
        return
    actor = Scorer(plan, run, told, here)
    assert not told.told("started")
    with pytest.raises(type(error), match=str(error)):
        asyncio.run(actor(records({"text": "unread"})))
    assert told.told("fail") == [[type(error).__name__, str(error)]]


def test_rows_come_back_in_their_order(made: Any) -> None:
    actor, told, _ = made()
    block = records({"text": "b"}, {"reason": "empty_text", "text": ""}, {"text": "a"})
    receipt = asyncio.run(actor(block))
    assert receipt.to_pylist() == [{"block": "x-000000", "records": 3}]
    [file] = actor._run.predictions.iterdir()
    assert file.name == "x-000000.parquet"
    result = pq.read_table(file)
    assert result.schema == predictions.schema(["plain"], LABELS)
    rows = result.to_pylist()
    assert [row["row_hash"] for row in rows] == [0, 1, 2]
    assert [row["outcome"] for row in rows] == ["scored", "quarantined", "scored"]
    assert [row["reason"] for row in rows] == [None, "empty_text", None]
    assert rows[1]["plain"] is None
    assert {row["plain"]["status"] for row in rows if row["plain"]} == {"ok"}
    assert rows[0]["plain"]["replica"] == "node-actor"
    assert told.told("done") == [["x-000000", 3]]
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


def test_a_block_of_refused_records_alone_is_written(made: Any) -> None:
    """As after `requeue --status engine_error`: another refusal is their outcome."""

    def refuse_records(request: Request) -> None:
        if len(request.prompt) > 1:
            raise EngineError("the engine refused: ValueError")

    actor, told, _ = made(refuse_records)
    rows = scored(actor, records({}, {"text": "another"}))
    assert [row["plain"]["status"] for row in rows] == ["engine_error"] * 2
    assert told.told("fail") == []


def test_blocks_in_work_give_up_as_one(made: Any) -> None:
    def die(_: Request) -> None:
        raise EngineDiedError("the engine's process ended")

    actor, told, _ = made(die, engine={"supervision": {"max_deaths": 2, "backoff_s": 0}})

    async def both() -> list[Any]:
        blocks = (actor(records({})), actor(records({"text": "another", "row_hash": 7})))
        return await asyncio.gather(*blocks, return_exceptions=True)

    assert [type(end) for end in asyncio.run(both())] == [EngineGoneError] * 2
    assert len(told.told("gave_up")) == 1


def test_engines_that_only_die_end_the_job_with_their_reason(made: Any) -> None:
    def die(_: Request) -> None:
        raise EngineDiedError("the engine's process ended")

    actor, told, _ = made(die, engine={"supervision": {"max_deaths": 2, "backoff_s": 0}})
    with pytest.raises(EngineGoneError, match="the engine's process ended"):
        asyncio.run(actor(records({}, {"text": "another"})))
    [(replica, cause)] = told.told("gave_up")
    assert replica == "node-actor"
    assert "the engine's process ended" in cause
    kinds = [note.kind for (note,) in told.told("note")]
    assert kinds.count("death") == 2
    assert told.told("done") == []


def test_an_engine_that_dies_once_costs_no_record(made: Any) -> None:
    deaths: list[Request] = []

    def die_once(request: Request) -> None:
        if not deaths:
            deaths.append(request)
            raise EngineDiedError("the engine's process ended")

    actor, told, _ = made(die_once)
    rows = scored(actor, records(*({"text": "word " * n} for n in range(1, 7))))
    assert [row["plain"]["status"] for row in rows] == ["ok"] * 6
    assert max(row["plain"]["attempt"] for row in rows) == 2
    assert [note.kind for (note,) in told.told("note")] == ["death", "start"]
    assert told.told("fail") == []


def test_a_record_that_kills_engines_is_quarantined_alone(made: Any) -> None:
    def die_of_the_longest(request: Request) -> None:
        if len(request.prompt) > 200:
            raise EngineDiedError("the engine's process ended")

    actor, told, _ = made(die_of_the_longest, variants={"plain": {}, "digits": {"method": "bits"}})
    texts = ["word", "word " * 200, "another"]
    rows = scored(actor, records(*({"text": text} for text in texts)))
    assert [row["reason"] for row in rows] == [None, "engine_killer", None]
    assert rows[1]["plain"] is rows[1]["digits"] is None
    assert {row["digits"]["status"] for row in rows if row["digits"]} == {"ok"}
    assert "killer" in [note.kind for (note,) in told.told("note")]
    assert told.told("done") == [["x-000000", 3]]


def test_a_job_that_is_to_end_returns_what_is_answered(made: Any) -> None:
    def slow(request: Request) -> None:
        actor._draining.set()

    actor, told, requests = made(slow, engine={"latency_s": 60, "max_num_seqs": 1})
    scorer_wait = records({"text": "a"}, {"reason": "empty_text", "text": ""}, {"text": "b"})
    rows = scored(actor, scorer_wait)
    assert [row["row_hash"] for row in rows] == [1]
    assert told.told("done") == [["x-000000", 1]]
    assert scored(actor, records({})) == []
    assert len(requests) == 2


def test_an_unforeseen_failure_is_told_without_its_text(made: Any) -> None:
    def fail(_: Request) -> None:
        raise KeyError(MARKER)

    actor, told, _ = made(fail)
    with pytest.raises(EngineError) as caught:
        asyncio.run(actor(records({})))
    assert str(caught.value).startswith("scoring a block failed: KeyError at test_scorer.py:")
    assert caught.value.__suppress_context__
    assert told.told("fail") == [["EngineError", str(caught.value)]]


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
    made: Any, write_adapter: AdapterWriter, tmp_path: Any
) -> None:
    def deaf(completion: Completion) -> Completion:
        return replace(completion, logprobs=[dict.fromkeys(range(9), -1.0)])

    adapter = {"adapter": str(write_adapter(tmp_path / "a"))}
    actor, told, requests = made(alter=deaf, variants={"tuned": adapter})
    with pytest.raises(AdapterError, match=r"variants\.tuned\.adapter changes nothing"):
        asyncio.run(actor(records({"text": "an opinion"})))
    assert told.told("fail")[0][0] == "AdapterError"
    assert {request.adapter for request in requests} == {None, "tuned"}
    assert told.told("done") == []
