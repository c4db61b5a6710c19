"""`ray.data.llm` at the same job: `python -m tests.bench.ray_data_llm SETTINGS`, a JSON file.

It gets the engine settings and the CPU operations for LoRA that the job uses, and the same
prompts as text; what differs is the way around the engine, and that vLLM keeps statistics. It
writes each answer's logprobs to Parquet, and checks, resumes and reports nothing.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests.bench.timing import Round
from tests.bench.workload import engine_plan


def main() -> None:
    """Score the prompts of `settings["source"]` into `settings["output"]`."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from medsent.engine.vllm import arguments_of

    plan = engine_plan(Path(settings["model"]), adapted=True, written=False)
    arguments = arguments_of(plan)
    arguments.pop("model")
    ray.init(num_cpus=6, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = vLLMEngineProcessorConfig(
        model_source=plan.model,
        engine_kwargs={**arguments, "disable_log_stats": False},
        runtime_env={"env_vars": plan.environment()},
        concurrency=1,
        batch_size=64,
        log_engine_metrics=False,
        chat_template_stage=False,
        detokenize_stage=False,
        placement_group_config={"bundles": [{"CPU": 1}]},
    )
    processor = build_processor(config, preprocess=_Asked(settings["token_ids"]), postprocess=_kept)
    processor(ray.data.read_parquet(settings["source"])).write_parquet(settings["output"])


class _Asked:
    """A row of `prompt` and `model` (a folder, also of an adapter) as the processor wants it."""

    def __init__(self, token_ids: list[int]) -> None:
        self._token_ids = token_ids

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        sampling = {
            "temperature": 0.0,
            "max_tokens": 1,
            "logprob_token_ids": self._token_ids,
            "detokenize": False,
        }
        return {**row, "sampling_params": sampling}


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


def read(output: Path, whole_s: float) -> Round:
    """Return what a finished run says of its speed."""
    table = pq.read_table(output, columns=["finished", "queued"])
    queued = float(np.asarray(table["queued"]).min())
    finished = np.sort(np.asarray(table["finished"])) - queued
    return Round(tuple(finished.tolist()), whole_s=whole_s)


if __name__ == "__main__":
    main()
