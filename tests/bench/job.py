"""`medsent evaluate` as a process, and what its predictions say of its speed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from medsent import predictions
from tests.bench.timing import Round
from tests.bench.workload import MAX_MODEL_LEN


@dataclass(frozen=True)
class Job:
    """A finished run of the command."""

    whole_s: float
    """The command from start to end, report included."""
    start_s: float
    """The engine's start, as the job tells it."""
    rounds: dict[str, Round]
    """Each variant's answers, from its first request on."""
    together: Round
    """The answers of all variants, from the first request on."""


def run_job(
    folder: Path,
    shard: Path,
    model: Path,
    variants: Mapping[str, Mapping[str, Any]],
    engine: Mapping[str, Any] | None = None,
) -> Job:
    """Run the command in a new folder; raises `CalledProcessError` where it fails."""
    command = command_of(folder, shard, model, variants, engine or {"device": "cpu"})
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    whole_s = time.monotonic() - began
    [run] = (folder / "runs").iterdir()
    return _read(run, list(variants), whole_s)


def command_of(
    folder: Path,
    source: Path,
    model: Path,
    variants: Mapping[str, Mapping[str, Any]],
    engine: Mapping[str, Any],
) -> list[str]:
    """Write a job into a new folder, its runs in `runs`; return the command that runs it."""
    folder.mkdir(parents=True)
    config = folder / "job.yaml"
    values = {
        "name": "bench",
        "input": {"path": str(source)},
        "output": {"path": str(folder / "runs")},
        "model": {"source": str(model), "max_model_len": MAX_MODEL_LEN},
        "variants": {name: dict(settings) for name, settings in variants.items()},
        "engine": dict(engine),
    }
    config.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return [sys.executable, "-m", "medsent", "evaluate", str(config)]


def _read(run: Path, variants: list[str], whole_s: float) -> Job:
    table = predictions.table(run / "predictions", variants)
    times = {name: _times(table[name].combine_chunks()) for name in variants}
    started = min(start for start, _ in times.values())
    everything = np.sort(np.concatenate([finished for _, finished in times.values()]))
    manifest = json.loads((run / "manifest.json").read_text())
    return Job(
        whole_s=whole_s,
        start_s=manifest["timing"]["start_up_s"],
        rounds={
            name: _round(table[name].combine_chunks(), finished - start)
            for name, (start, finished) in times.items()
        },
        together=Round(tuple((everything - started).tolist())),
    )


def _times(column: pa.StructArray) -> tuple[float, np.ndarray]:
    """Return when the first request was sent, and when each was answered, ascending, in seconds."""
    finished = _numbers(column, "finished_at") / 1e6
    sent = finished - _numbers(column, "latency_s")
    return float(sent.min()), np.sort(finished)


def _round(column: pa.StructArray, finished: np.ndarray) -> Round:
    cached = int(_numbers(column, "cached_tokens").sum())
    return Round(
        finished=tuple(finished.tolist()),
        computed_tokens=int(_numbers(column, "prompt_tokens").sum()) - cached,
        cached_tokens=cached,
        output_tokens=int(_numbers(column, "output_tokens").sum()),
    )


def _numbers(column: pa.StructArray, field: str) -> np.ndarray:
    values = pc.struct_field(column, field)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", tz=values.type.tz)).cast(pa.int64())
    return np.asarray(values, float)
