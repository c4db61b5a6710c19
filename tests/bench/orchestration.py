"""The cost of everything but the engine: the whole job around a scripted engine without latency."""

import os
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.personas import load_personas
from tests.bench.job import command_of
from tests.bench.workload import READERS, write_shard

_ENGINE = "scripted_process"
_EVERY_S = 0.05
_FROM, _TO = 0.15, 0.95
_ROWS_PER_BLOCK = 1024
_SHARDS = 4
_TEXTS = 400


@dataclass(frozen=True)
class Cost:
    """What the steady part of a job took."""

    records_per_s: float
    records_per_core_s: float
    """Records for each second of a core, of all processes but the engines'."""
    engine_core_s_per_record: float


def write_shards(folder: Path, records: int) -> None:
    """Write shards of `records` unlabelled records: demo opinions, each made unlike the others."""
    found = write_shard(folder.parent / "texts.parquet", _TEXTS * READERS)
    texts = [(row["text"], row["language"]) for row in found[::READERS]]
    folder.mkdir()
    each = records // _SHARDS // READERS
    for shard in range(_SHARDS):
        rows = [
            {
                "record_id": f"{number}-{persona}",
                "opinion_id": str(number),
                "text": f"{text} {number}",
                "language": language,
                "persona": persona,
            }
            for number in range(shard * each, (shard + 1) * each)
            for text, language in [texts[number % _TEXTS]]
            for persona in sorted(load_personas(None))
        ]
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, folder / f"part-{shard}.parquet", row_group_size=16_384)


def measure(folder: Path, source: Path, model: Path, replicas: int, records: int) -> Cost:
    """Run the job with so many scripted engines, and look at its processes while it runs."""
    engine = {
        "kind": "scripted",
        "rows_per_block": _ROWS_PER_BLOCK,
        "replicas": {"min": replicas, "max": replicas},
    }
    command = command_of(folder, source, model, {"plain": {"method": "onepass"}}, engine)
    looks: list[Look] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ) as job:
        processes = _Processes(job.pid)
        while job.poll() is None:
            done = _done(folder)
            if not looks or done > looks[-1].records:  # a look costs milliseconds
                looks.append(Look(time.monotonic(), done, *processes.core_s()))
            time.sleep(_EVERY_S)
    if job.returncode != 0:
        raise SystemExit(f"the job with {replicas} replicas ended with {job.returncode}")
    return cost_of(looks, records)


@dataclass(frozen=True)
class Look:
    """A job as blocks end: records done, and seconds of a core used around engines and by them."""

    at: float
    records: int
    around_s: float
    engine_s: float


def cost_of(looks: list[Look], records: int) -> Cost:
    """Return what the middle of a job of so many records took: start and end are left out.

    Raises `ValueError` where fewer than two blocks end there.
    """
    middle = [look for look in looks if _FROM * records <= look.records <= _TO * records]
    if len(middle) < 2:
        raise ValueError(f"{records:,} records are too few to see what the middle of a job takes")
    first, last = middle[0], middle[-1]
    done = last.records - first.records
    return Cost(
        done / (last.at - first.at),
        done / (last.around_s - first.around_s),
        (last.engine_s - first.engine_s) / done,
    )


def _done(folder: Path) -> int:
    return _ROWS_PER_BLOCK * sum(1 for _ in folder.glob("runs/*/predictions/*.parquet"))


class _Processes:
    """The job and all that it started; the time of those that ended is kept."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._core_s: dict[int, float] = defaultdict(float)
        self._engines: set[int] = set()

    def core_s(self) -> tuple[float, float]:
        """Return the seconds of a core used so far: around the engines, and by them."""
        for process in self._all():
            try:
                times: Any = process.cpu_times()
                self._core_s[process.pid] = times.user + times.system
                if process.pid not in self._engines and _ENGINE in " ".join(process.cmdline()):
                    self._engines.add(process.pid)
            except psutil.Error:
                continue
        engines = sum(self._core_s[pid] for pid in self._engines)
        return sum(self._core_s.values()) - engines, engines

    def _all(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []
