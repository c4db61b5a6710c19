"""Let contenders answer; one that fails says why, and the others go on."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel

from medsent.config.engine import VllmSettings
from medsent.config.job import ModelSettings
from medsent.config.labels import LABELS
from medsent.engine.protocol import Request
from medsent.engine.vllm import EnginePlan, arguments_of
from medsent.models.source import load_tokenizer
from tests.bench import ray_data_llm
from tests.bench.bare import BareVllm
from tests.bench.gpu.contenders import ENGINES, JOB, PEER, SHARED, Contender, Traffic, Who
from tests.bench.gpu.shapes import TARGETS
from tests.bench.job import run_job
from tests.bench.timing import Edges, Round
from tests.bench.worker import Worker
from tests.bench.workload import MAX_MODEL_LEN, Asker, Row, write_shard

_ADAPTED: Final = "finetuned"
_DUMMY: Final = {"load_format": "dummy"}
_LIMITED: Final = {"lora_target_modules": list(TARGETS)}
"""Kernels for an adapter run where it changes something, as in the job's engines."""


class Measured(BaseModel):
    """One contender's answers in one kind of traffic."""

    contender: str
    who: Who
    eight_bits: bool = False
    method: str
    readers: int
    rates: list[float] = []
    """Answers a second in steady state, one a round."""
    computed_tokens: float | None = None
    """Prompt tokens of one answer that were worked out; None where it does not tell."""
    cached_tokens: float | None = None
    output_tokens: float | None = None
    start_s: float | None = None
    """The engine's start."""
    whole_s: float | None = None
    """The whole process, where it does not stay between rounds."""
    failed: str | None = None
    """Why there is nothing."""


@dataclass(frozen=True)
class Bench:
    """What all contenders share."""

    folder: Path
    model: Path
    adapter: Path
    device: Literal["gpu", "cpu"]
    """`gpu` or `cpu`, as the configuration has it."""
    quantization: str
    """vLLM's name for FP8."""
    traffic: dict[str, Traffic]
    rounds: int

    @property
    def contenders(self) -> list[Contender]:
        """The engines that the device can have."""
        return [each for each in ENGINES if self.device == "gpu" or not each.needs_gpu]

    def plan(self, contender: Contender) -> EnginePlan:
        """Return the engine that a contender starts."""
        options = {**_DUMMY, **(_LIMITED if contender.adapted else {})}
        settings = VllmSettings(device=self.device, options=options, **contender.settings)
        model = ModelSettings(
            source=str(self.model),
            max_model_len=MAX_MODEL_LEN,
            quantization=self.quantization if contender.eight_bits else None,
        )
        adapters = {_ADAPTED: str(self.adapter)} if contender.adapted else {}
        return EnginePlan(str(self.model), settings, model, adapters, contender.written)

    def arguments(self, contender: Contender) -> dict[str, Any]:
        """Return vLLM's arguments for a contender's engine."""
        return arguments_of(self.plan(contender))

    def engine(self, contender: Contender) -> Iterator[Measured]:
        """Start a contender's engine and let it answer; once it fails, the rest fails with it."""
        answered = 0
        try:
            with Worker(BareVllm, self.plan(contender)) as bare:
                for who, name in contender.asks:
                    requests = self._requests(who, self.traffic[name])
                    yield self._answered(bare, contender, who, self.traffic[name], requests)
                    answered += 1
        except SystemExit as error:
            for who, name in contender.asks[answered:]:
                yield _blank(contender, who, self.traffic[name], failed=str(error))

    def peer(self) -> Iterator[Measured]:
        """Let `ray.data.llm` answer once, base and adapter in one engine."""
        traffic, contender = self.traffic[SHARED], Contender(PEER, (), adapted=True)
        requests = self._requests("both", traffic)
        found = _blank(contender, "both", traffic)
        try:
            round_ = ray_data_llm.run(self.folder / "peer", self.plan(contender), requests)
        except SystemExit as error:
            yield found.model_copy(update={"failed": str(error)})
        else:
            told = {"rates": [_steady(round_, _twice(traffic))], "whole_s": round_.whole_s}
            yield found.model_copy(update=told)

    def job(self) -> Iterator[Measured]:
        """Run `medsent evaluate` once, base and adapter in one engine."""
        traffic = self.traffic[SHARED]
        found = _blank(Contender(JOB, ()), "both", traffic)
        shard = self.folder / "job" / "shard" / "part.parquet"
        write_shard(shard, traffic.records, traffic.readers)
        variants: dict[str, dict[str, Any]] = {
            "baseline": {"method": traffic.method},
            _ADAPTED: {"method": traffic.method, "adapter": str(self.adapter)},
        }
        engine = {"device": self.device, "options": _DUMMY}
        try:
            job = run_job(self.folder / "job" / "run", shard, self.model, variants, engine)
        except subprocess.CalledProcessError as error:
            why = f"the job ended with exit code {error.returncode}; its own words are above"
            yield found.model_copy(update={"failed": why})
            return
        answers = [job.rounds[name] for name in variants]
        yield _with_tokens(found, answers).model_copy(
            update={
                "rates": [_steady(job.together, _twice(traffic))],
                "start_s": job.start_s,
                "whole_s": job.whole_s,
            }
        )

    def _answered(
        self,
        bare: Worker,
        contender: Contender,
        who: Who,
        traffic: Traffic,
        requests: list[Request],
    ) -> Measured:
        bare.ask("answer", requests[: len(requests) // 4])  # kernels are compiled, adapters loaded
        rounds = [bare.ask("answer", requests) for _ in range(self.rounds)]
        edges = _twice(traffic) if who == "both" else traffic.edges
        rates = [_steady(each, edges) for each in rounds]
        found = _blank(contender, who, traffic, rates=rates, start_s=bare.start_s)
        return _with_tokens(found, rounds[:1])

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.model)

    @cached_property
    def _asker(self) -> Asker:
        return Asker(self._tokenizer)

    def _requests(self, who: Who, traffic: Traffic) -> list[Request]:
        """Return the job's requests; of `both` one opinion's readers after the other's."""
        shard = self.folder / f"{traffic.method}-{traffic.readers}.parquet"
        rows: list[Row] = write_shard(shard, traffic.records, traffic.readers)
        base = self._as_long(self._asker.requests(rows, traffic.method))
        adapted = self._as_long(self._asker.requests(rows, traffic.method, _ADAPTED))
        if who != "both":
            return base if who == "base" else adapted
        starts = range(0, len(base), traffic.readers)
        return [
            request
            for start in starts
            for side in (base, adapted)
            for request in side[start : start + traffic.readers]
        ]

    def _as_long(self, requests: list[Request]) -> list[Request]:
        """Make answers no longer than a trained model's, which has a token for each word.

        A model of random weights spells them, and would write until it is cut off.
        """
        [ask] = {request.ask for request in requests}
        if ask.form is None:
            return requests
        answer = ask.form.write([False] * len(LABELS))
        tokens = len(self._tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1
        cut = replace(ask, max_tokens=tokens)
        return [replace(request, ask=cut) for request in requests]


def _blank(contender: Contender, who: Who, traffic: Traffic, **more: Any) -> Measured:
    return Measured(
        contender=contender.name,
        who=who,
        eight_bits=contender.eight_bits,
        method=traffic.method,
        readers=traffic.readers,
        **more,
    )


def _with_tokens(found: Measured, rounds: list[Round]) -> Measured:
    answers = sum(len(each.finished) for each in rounds)
    names = ("computed_tokens", "cached_tokens", "output_tokens")
    tokens = {name: sum(getattr(each, name) for each in rounds) / answers for name in names}
    return found.model_copy(update=tokens)


def _twice(traffic: Traffic) -> Edges:
    return Edges(2 * traffic.edges.warm, 2 * traffic.edges.ending)


def _steady(round_: Round, edges: Edges) -> float:
    """Return the steady part's rate; of a round without steps to see, as of a tiny model, all."""
    try:
        return round_.steady_rate(edges)
    except ValueError:
        return round_.rate
