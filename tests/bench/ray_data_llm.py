"""`ray.data.llm` at the same job: `python -m tests.bench.ray_data_llm SETTINGS`, a JSON file.

It gets the engine settings and the CPU operations for LoRA that the job uses, and the same
prompts as token ids; what differs is the way around the engine, and that vLLM keeps statistics.
It writes each answer's logprobs to Parquet, and checks, resumes and reports nothing.
"""

import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from medsent.engine.protocol import Request
from medsent.engine.vllm import EnginePlan, arguments_of
from tests.bench.timing import Round

_BATCH: Final = 64
_ROWS_PER_BLOCK: Final = 4 * _BATCH
"""Within a block Ray works on four batches at a time; the engine's actor takes several blocks."""
_ENOUGH: Final = 2
"""Requests in flight for each sequence of the engine."""
_CPUS: Final = 3
"""At least: one for the engine's actor, and one each to read and to write."""
_PLAN: Final = TypeAdapter(EnginePlan)
_TOLD_CHARACTERS: Final = 300


def run(folder: Path, plan: EnginePlan, requests: Sequence[Request]) -> Round:
    """Let it answer requests of one way to ask in a new folder; `SystemExit` where it fails.

    Requests of an adapter should be among the first, so that it is loaded within the warm-up.
    """
    _write_prompts(folder / "prompts", plan, requests)
    [ask] = {request.ask for request in requests}
    settings = {
        "plan": _PLAN.dump_python(plan, mode="json"),
        "source": str(folder / "prompts"),
        "output": str(folder / "output"),
        "max_tokens": ask.max_tokens,
        "token_ids": list(ask.token_ids),
        "rows": len(requests),
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "tests.bench.ray_data_llm", str(folder / "settings.json")]
    began = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    whole_s = time.monotonic() - began
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        [*_, last] = done.stderr.strip().splitlines() or ["it said nothing"]
        raise SystemExit(f"ray.data.llm ended with {done.returncode}: {last[:_TOLD_CHARACTERS]}")
    return _read(folder / "output", whole_s)


def main() -> None:
    """Score the prompts of `settings["source"]` into `settings["output"]`."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    plan = _PLAN.validate_python(settings["plan"])
    arguments = arguments_of(plan)
    in_flight = _ENOUGH * arguments["max_num_seqs"]
    ray.init(
        num_cpus=max(_CPUS, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    config = vLLMEngineProcessorConfig(
        model_source=arguments.pop("model"),
        engine_kwargs={**arguments, "disable_log_stats": False},
        runtime_env={"env_vars": plan.environment()},
        concurrency=1,
        batch_size=_BATCH,
        max_concurrent_batches=math.ceil(in_flight / _BATCH),
        log_engine_metrics=False,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        placement_group_config={"bundles": [{"CPU": 1, **({"GPU": 1} if plan.on_gpu else {})}]},
    )
    asked = _Asked(settings["max_tokens"], settings["token_ids"])
    processor = build_processor(config, preprocess=asked, postprocess=_kept)
    blocks = math.ceil(settings["rows"] / _ROWS_PER_BLOCK)
    prompts = ray.data.read_parquet(settings["source"], override_num_blocks=blocks)
    processor(prompts).write_parquet(settings["output"])


def _write_prompts(folder: Path, plan: EnginePlan, requests: Sequence[Request]) -> None:
    """Write token ids, and the folder of the model or of the adapter that is asked."""
    prompts = [request.prompt for request in requests]
    models = [plan.adapters.get(request.adapter or "", plan.model) for request in requests]
    folder.mkdir(parents=True)
    table = pa.table({"tokenized_prompt": prompts, "model": models})
    pq.write_table(table, folder / "prompts.parquet")


class _Asked:
    """A row of `tokenized_prompt` and `model` as the processor wants it."""

    def __init__(self, max_tokens: int, token_ids: list[int]) -> None:
        self._sampling = {
            "temperature": 0.0,
            "max_tokens": max_tokens,
            "logprob_token_ids": token_ids,
            "detokenize": False,
        }

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "sampling_params": dict(self._sampling)}


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """The logprobs of labels and reference, and when the answer came."""
    [step] = row["logprobs"]
    values = [entry["logprob"] for entry in step.values() if entry is not None]
    metrics = row["metrics"]
    return {
        "model": row["model"],
        "logprobs": np.array(values, np.float32),
        "finished": metrics["last_token_ts"],
        "queued": metrics["queued_ts"],
    }


def _read(output: Path, whole_s: float) -> Round:
    """Return what a finished run says of its speed."""
    table = pq.read_table(output, columns=["finished", "queued"])
    queued = float(np.asarray(table["queued"]).min())
    finished = np.sort(np.asarray(table["finished"])) - queued
    return Round(tuple(finished.tolist()), whole_s=whole_s)


if __name__ == "__main__":
    main()
