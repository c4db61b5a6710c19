"""One round of every contender, on the same prompts, one after the other."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medsent.config.methods import MethodName
from medsent.models.source import load_tokenizer
from tests.bench import ray_data_llm
from tests.bench.bare import BareVllm
from tests.bench.job import Job, run_job
from tests.bench.one_at_a_time import OneAtATime
from tests.bench.timing import Edges, Round
from tests.bench.worker import Worker
from tests.bench.workload import ADAPTED, ADAPTER, READERS, Asker, engine_plan, write_shard

RECORDS: Final[dict[MethodName, int]] = {"json": 128, "bits": 128, "onepass": 608}
"""Answers of a round: twice what an engine works on, or as many as a small night has."""
EDGES: Final[dict[MethodName, Edges]] = {
    # What an engine works on ends nearly together, so that its last answers are no slow ending.
    "json": Edges(64, 0),
    "bits": Edges(64, 0),
    "onepass": Edges(128, 64),
}
BOTH_EDGES: Final = Edges(256, 64)
SHARING: Final = {1: 64, 4: 96, 16: 192}
"""Readers an opinion in the comparison of prompt orders, to its records: where less is shared they
take longer."""

_ALONE: Final = 2

BASE: Final = "baseline"
_BY_ADAPTER: Final = {"method": "onepass", "adapter": str(ADAPTER)}


@dataclass(frozen=True)
class AgainstPeer:
    """What one round gave of the job and `ray.data.llm` alone, baseline and adapter."""

    both: Job
    peer: Round


@dataclass(frozen=True)
class Found:
    """What one round gave."""

    bare: dict[MethodName, Round]
    jobs: dict[MethodName, Job]
    """The baseline alone, by each method."""
    adapted: Job
    """The adapter alone, by `onepass`."""
    both: Job
    """Baseline and adapter in one engine, by `onepass`."""
    peer: Round
    """`ray.data.llm`, baseline and adapter."""
    alone: dict[str, Round]
    """transformers, without and with the adapter."""
    orders: dict[str, dict[int, Round]]
    """Bare vLLM by order of the prompt (`opinion`, `persona`) and readers an opinion."""


class Contenders:
    """Everything that takes part, started where it stays over the rounds."""

    def __init__(self, folder: Path, model: Path) -> None:
        """`folder` takes the shards and runs."""
        self._folder, self._model = folder, model
        self._tokenizer = load_tokenizer(model)
        self._asker = Asker(self._tokenizer)
        self._rows = {
            name: write_shard(folder / name / "part.parquet", records)
            for name, records in RECORDS.items()
        }
        self._shared = {
            readers: write_shard(folder / f"shared-{readers}.parquet", records, readers)
            for readers, records in SHARING.items()
        }
        self._stack = ExitStack()
        self._round = 0

    def __enter__(self) -> "Contenders":
        with ExitStack() as stack:  # where one does not start, those before it end
            plan = engine_plan(self._model, adapted=False, written=True)
            self._bare = stack.enter_context(Worker(BareVllm, plan))
            self._alone = {
                name: stack.enter_context(Worker(OneAtATime, self._model, adapter, as_engine=True))
                for name, adapter in ((BASE, None), (ADAPTED, ADAPTER))
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def bare_start_s(self) -> float:
        """What the start of bare vLLM took."""
        return self._bare.start_s

    def round(self) -> Found:
        """Let everyone answer once."""
        self._round += 1
        bare, jobs = {}, {}
        for name in RECORDS:
            bare[name] = self._bare.ask("answer", self._asker.requests(self._rows[name], name))
            jobs[name] = self._job(name, name, {BASE: {"method": name}})
            _say(f"{name}: bare vLLM and the job, {len(self._rows[name])} answers each")
        adapted = self._job("adapted", "onepass", {ADAPTED: _BY_ADAPTER})
        _say("the adapter alone")
        both, peer = self._both_and_peer()
        alone = {name: self._one_by_one(name, bare["json"]) for name in self._alone}
        _say("transformers, one at a time")
        orders = self._orders()
        _say("orders of the prompt")
        return Found(bare, jobs, adapted, both, peer, alone, orders)

    def against_peer(self) -> "AgainstPeer":
        """Let the job and `ray.data.llm` answer once; nothing that stays need be started."""
        self._round += 1
        return AgainstPeer(*self._both_and_peer())

    def _both_and_peer(self) -> tuple[Job, Round]:
        """Let them answer; who goes first changes from round to round."""
        found: dict[str, Any] = {}
        for name in ("job", "peer") if self._round % 2 else ("peer", "job"):
            found[name] = self._both() if name == "job" else self._peer()
            _say("both in one engine" if name == "job" else "ray.data.llm")
        return found["job"], found["peer"]

    def _both(self) -> Job:
        variants = {BASE: {"method": "onepass"}, ADAPTED: _BY_ADAPTER}
        return self._job("both", "onepass", variants)

    def _job(self, name: str, method: MethodName, variants: dict[str, dict[str, str]]) -> Job:
        source = self._folder / method / "part.parquet"
        return run_job(self._folder / f"{name}-{self._round}", source, self._model, variants)

    def _peer(self) -> Round:
        plan = engine_plan(self._model, adapted=True, written=False)
        rows = self._rows["onepass"]
        base = self._asker.requests(rows, "onepass")
        adapted = self._asker.requests(rows, "onepass", ADAPTED)
        # One opinion's go to the adapter first, so that it is loaded within the warm-up.
        requests = [*adapted[:READERS], *base, *adapted[READERS:]]
        return ray_data_llm.run(self._folder / f"peer-{self._round}", plan, requests)

    def _one_by_one(self, name: str, guided: Round) -> Round:
        requests = self._asker.requests(self._rows["json"], "json")[::READERS][:_ALONE]
        tokens = round(guided.output_tokens / len(guided.finished))
        answered: Round = self._alone[name].ask("answer", requests, tokens)
        return answered

    def _orders(self) -> dict[str, dict[int, Round]]:
        found: dict[str, dict[int, Round]] = {"opinion": {}, "persona": {}}
        for readers, rows in self._shared.items():
            asked = {
                "opinion": self._asker.requests(rows, "onepass"),
                "persona": self._asker.persona_first(rows),
            }
            for order, requests in asked.items():
                found[order][readers] = self._bare.ask("answer", requests)
        return found


def _say(line: str) -> None:
    print(f"  {line}", flush=True)
