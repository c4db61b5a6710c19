"""A pool of engines of a fixed rate: do so many give so many times one, from a minimum of one too?

Eight scripted engines of 400 records/s are about what two cores carry around them.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import BaseModel

from medsent import predictions
from tests.bench.job import command_of
from tests.bench.orchestration import write_shards

ENGINES = (1, 2, 4, 8)
RATE = 400
"""Records/s of one engine."""
_AT_A_TIME = 256
_LATENCY_S = _AT_A_TIME / RATE
_SECONDS = 15
"""Of scoring, once all have started."""


class Pool(BaseModel):
    """What a job's predictions say of its pool."""

    engines: int
    minimum: int
    started_s: float
    """From the first question to that of the engine that was last to start."""
    records_per_s: float
    """From then on, until the first engine has no more to do."""

    @property
    def of_all(self) -> float:
        """Records/s over those of so many engines alone."""
        return self.records_per_s / (self.engines * RATE)


def measure(folder: Path, model: Path) -> Iterator[Pool]:
    """Run a job for each number of engines, all at the minimum and then from one on."""
    for engines in ENGINES:
        source = folder / f"pool-{engines}"
        write_shards(source, engines * RATE * _SECONDS)
        for minimum in sorted({engines, 1}, reverse=True):
            yield _run(folder / f"{source.name}-{minimum}", source, model, engines, minimum)


def row(pool: Pool) -> dict[str, Any]:
    """Return a line of the table."""
    return {**pool.model_dump(), "of_all": pool.of_all}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the figures as Markdown."""
    lines = [f"| engines of {RATE} records/s | from | records/s | of all | all started after |"]
    lines.append("|--:|--:|--:|--:|--:|")
    for each in rows:
        rates = f"{each['records_per_s']:,.0f} | {each['of_all']:.2f} | {each['started_s']:.1f} s"
        lines.append(f"| {each['engines']} | {each['minimum']} | {rates} |")
    return lines


def _run(folder: Path, source: Path, model: Path, engines: int, minimum: int) -> Pool:
    engine = {
        "kind": "scripted",
        "latency_s": _LATENCY_S,
        "max_num_seqs": _AT_A_TIME,
        "replicas": {"min": minimum, "max": engines},
    }
    command = command_of(folder, source, model, {"plain": {"method": "onepass"}}, engine)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    [run] = (folder / "runs").iterdir()
    answers = predictions.table(run / "predictions", ["plain"])["plain"].combine_chunks()
    replicas = np.asarray(pc.struct_field(answers, "replica").to_pylist())
    finished = pc.struct_field(answers, "finished_at").cast("int64")  # in microseconds
    latency = pc.struct_field(answers, "latency_s")
    return pool_of(
        np.asarray(finished, float) / 1e6, np.asarray(latency, float), replicas, engines, minimum
    )


def pool_of(
    finished: npt.NDArray[np.float64],
    latency: npt.NDArray[np.float64],
    replicas: npt.NDArray[np.str_],
    engines: int,
    minimum: int,
) -> Pool:
    """Return what (N,) answers tell, in seconds; raises `SystemExit` where an engine had none."""
    sent, names = finished - latency, np.unique(replicas)
    if names.size != engines:
        raise SystemExit(f"of at most {engines} engines, {names.size} answered")
    started = max(sent[replicas == name].min() for name in names)
    # An engine answers all that it has at once: whole rounds are counted.
    begun = started + _LATENCY_S
    ended = min(finished[replicas == name].max() for name in names)
    rounds = max(1, int((ended - begun) / _LATENCY_S))
    until = begun + rounds * _LATENCY_S
    counted = int(np.sum((finished > begun) & (finished <= until)))
    return Pool(
        engines=engines,
        minimum=minimum,
        started_s=started - sent.min(),
        records_per_s=counted / (until - begun),
    )
