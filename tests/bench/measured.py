"""What a bench has measured so far, kept in a file: an hour's work outlives what comes after it."""

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tests.bench import machine, orchestration, pool
from tests.bench.limit import MatrixRate, read_shape
from tests.bench.rounds import Contenders, Found
from tests.bench.worker import Worker

_SCRIPTED_RECORDS = 32_768
_REPLICAS = (1, 2, 4)


class Measured(BaseModel):
    """All that the figures are made from."""

    machine: dict[str, Any]
    minutes: float = 0.0
    matrix_operations_per_s: float
    costs: dict[int, list[orchestration.Cost]]
    """Number of scripted engines to what each round cost around them."""
    pools: list[pool.Pool] = []
    """Scripted engines of a fixed rate, by their number and the pool's minimum."""
    bare_start_s: float = 0.0
    rounds: list[Found] = []


def measure(folder: Path, model: Path, rounds: int, kept: Path) -> Measured:
    """Let everyone answer so many times; `kept` holds what is measured, after each round."""
    began = time.monotonic()
    described = machine.describe()  # before an hour's work: it needs the CPU lock
    costs = _costs(folder, model, rounds)
    print("Pools of engines of a fixed rate", flush=True)
    pools = list(pool.measure(folder, model))
    with Worker(MatrixRate, as_engine=True) as worker:
        operations = worker.ask("measure", read_shape(model))
    measured = Measured(
        machine=described, matrix_operations_per_s=operations, costs=costs, pools=pools
    )
    print("Starting those that stay", flush=True)
    with Contenders(folder, model) as contenders:
        measured.bare_start_s = contenders.bare_start_s
        for number in range(rounds):
            print(f"Round {number + 1} of {rounds}", flush=True)
            measured.rounds.append(contenders.round())
            measured.minutes = (time.monotonic() - began) / 60
            kept.write_text(measured.model_dump_json(), encoding="utf-8")
    return measured


def _costs(folder: Path, model: Path, rounds: int) -> dict[int, list[orchestration.Cost]]:
    print(f"Around a scripted engine, {_SCRIPTED_RECORDS:,} records", flush=True)
    source = folder / "scripted"
    orchestration.write_shards(source, _SCRIPTED_RECORDS)
    costs: dict[int, list[orchestration.Cost]] = {replicas: [] for replicas in _REPLICAS}
    for number in range(rounds):
        for replicas, found in costs.items():
            target = folder / f"scripted-{replicas}-{number}"
            found.append(orchestration.measure(target, source, model, replicas, _SCRIPTED_RECORDS))
    return costs
