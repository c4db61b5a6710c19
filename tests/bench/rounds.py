"""One round of every contender, on the same prompts, one after the other."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config import MethodName
from medsent.engine.protocol import Request
from medsent.model import load_tokenizer
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
        adapter = {"method": "onepass", "adapter": str(ADAPTER)}
        adapted = self._job("adapted", "onepass", {ADAPTED: adapter})
        both = self._job("both", "onepass", {BASE: {"method": "onepass"}, ADAPTED: adapter})
        _say("the adapter alone, and both in one engine")
        peer = self._peer()
        _say("ray.data.llm")
        alone = {name: self._one_by_one(name, bare["json"]) for name in self._alone}
        _say("transformers, one at a time")
        orders = self._orders()
        _say("orders of the prompt")
        return Found(bare, jobs, adapted, both, peer, alone, orders)

    def _job(self, name: str, method: MethodName, variants: dict[str, dict[str, str]]) -> Job:
        source = self._folder / method / "part.parquet"
        return run_job(self._folder / f"{name}-{self._round}", source, self._model, variants)

    def _peer(self) -> Round:
        folder = self._folder / f"peer-{self._round}"
        requests = self._asker.requests(self._rows["onepass"], "onepass")
        self._write_prompts(folder / "prompts", requests)
        settings = {
            "model": str(self._model),
            "source": str(folder / "prompts"),
            "output": str(folder / "output"),
            "token_ids": list(requests[0].ask.token_ids),
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "tests.bench.ray_data_llm", str(folder / "settings.json")]
        began = time.monotonic()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        whole_s = time.monotonic() - began
        if done.returncode != 0:
            raise SystemExit(f"ray.data.llm ended with {done.returncode}: {done.stderr[-2000:]}")
        return ray_data_llm.read(folder / "output", whole_s)

    def _write_prompts(self, folder: Path, requests: Sequence[Request]) -> None:
        """Write the prompts as text, for the base model and then for the adapter.

        One opinion's go to the adapter first, so that it is loaded within the warm-up.
        """
        texts = [self._tokenizer.decode(request.prompt) for request in requests]
        again = [self._tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        if again != [request.prompt for request in requests]:
            raise SystemExit("the prompts as text are not the prompts as token ids")
        base = [(text, str(self._model)) for text in texts]
        adapted = [(text, str(ADAPTER)) for text in texts]
        prompts, models = zip(*adapted[:READERS], *base, *adapted[READERS:], strict=True)
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"prompt": prompts, "model": models}), folder / "prompts.parquet")

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
