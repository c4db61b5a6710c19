"""Pools that may grow do, on one machine and as nodes join; and what befalls one engine is no loss.

The nodes are of this machine. One scripted engine answers `max_num_seqs` records in `latency_s`,
so that its time is known to be `alone` at least.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from tests.chaos.nodes import SETTINGS
from tests.chaos.opinions import write_shards
from tests.conftest import job_values, merged, predictions_of
from tests.scoring.slow_reading import ENGINES, PAUSE_S

pytestmark = [pytest.mark.ray, pytest.mark.campaign]

RECORDS = 4800
PATIENCE_S = 400
CPUS, MORE_CPUS = 2, 3
"""Of the first node, for one engine and what reading takes, and of the other, for three more."""


@dataclass(frozen=True)
class Scored:
    """A complete run of the command."""

    folder: Path
    said: str

    @property
    def replicas(self) -> set[str]:
        """The engines that answered."""
        return set(self._answers("replica").to_pylist())

    def replicas_after(self, seconds: float) -> set[str]:
        """Return the engines that answered later than so long after the first answer."""
        finished = self._finished()
        late = pa.array(finished > finished.min() + seconds)
        return set(self._answers("replica").filter(late).to_pylist())

    @property
    def records(self) -> int:
        """Distinct records of the predictions."""
        return len(set(predictions_of(self.folder)["row_hash"].to_pylist()))

    @property
    def seconds(self) -> float:
        """From the first question to the last answer."""
        finished = self._finished()
        return float(finished.max() - (finished - self._answers("latency_s").to_numpy()).min())

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one kind."""
        lines = (self.folder / "log.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def _finished(self) -> npt.NDArray[np.float64]:
        times = self._answers("finished_at").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        return np.asarray(times, float) / 1e6

    def _answers(self, field: str) -> Any:
        return pc.struct_field(predictions_of(self.folder)["plain"].combine_chunks(), field)


class Pools:
    """Jobs on a cluster of a node of this machine, to which others may be added."""

    def __init__(self, folder: Path, model: Path) -> None:
        from ray.cluster_utils import Cluster

        self._folder, self._model, self._jobs = folder, model, 0
        self._nodes: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": CPUS, "include_dashboard": False}
        )
        write_shards(folder / "shards", opinions=RECORDS // 16, shards=1)
        [shard] = (folder / "shards").iterdir()
        pq.write_table(pq.read_table(shard), shard, row_group_size=RECORDS // 5)

    def start(self, script: str = "-m medsent", **engine: Any) -> "subprocess.Popen[str]":
        """Start a job of a name of its own; `script` is what runs the command."""
        self._jobs += 1
        values = job_values(self._folder / "shards", self._runs, self._model)
        engine = {"kind": "scripted", "rows_per_block": 256, **engine}
        job = merged(values, {"model": {"max_model_len": 4096}, "engine": engine})
        self._job.write_text(yaml.safe_dump({**job, "statistics": {"replicates": 0}}))
        return self.again(script)

    def again(self, script: str = "-m medsent") -> "subprocess.Popen[str]":
        """Start the last job once more."""
        return subprocess.Popen(
            [sys.executable, *script.split(), "evaluate", str(self._job)],
            env={**os.environ, "RAY_ADDRESS": self._nodes.address},
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_for_blocks(self, job: "subprocess.Popen[str]", blocks: int) -> None:
        """Wait until a job has written so many."""
        deadline = time.monotonic() + PATIENCE_S
        while sum(1 for _ in self._runs.glob("*/predictions/*.parquet")) < blocks:
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def finish(self, job: "subprocess.Popen[str]") -> Scored:
        """Wait for a job's end and return its run."""
        said, _ = job.communicate(timeout=PATIENCE_S)
        assert job.returncode == 0, said
        [run] = self._runs.iterdir()
        return Scored(run, said)

    def join(self) -> None:
        """Add a node."""
        self._nodes.add_node(num_cpus=MORE_CPUS)

    def close(self) -> None:
        """End the nodes."""
        self._nodes.shutdown()

    @property
    def _runs(self) -> Path:
        return self._folder / f"runs-{self._jobs}"

    @property
    def _job(self) -> Path:
        return self._folder / f"job-{self._jobs}.yaml"


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[Pools]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        pools = Pools(tmp_path_factory.mktemp("pools"), small_model)
        yield pools
        pools.close()


@pytest.fixture(scope="module")
def joined(pools: Pools) -> Scored:
    """A job with room for one engine of at most four, until a second node joins."""
    job = pools.start(latency_s=3.0, replicas={"min": 1, "max": 4})
    pools.wait_for_blocks(job, 1)
    pools.join()
    return pools.finish(job)


def test_a_pool_grows_as_nodes_join(joined: Scored) -> None:
    assert len(joined.replicas) == 4
    assert joined.records == RECORDS
    assert joined.seconds < 0.75 * alone(3.0)


def test_a_pool_without_room_says_so_once(joined: Scored) -> None:
    told = (
        "1 of at most 4 engines: the cluster has no more logical CPUs (an engine takes 1 beside "
        "the 1 that reading takes); others start as nodes join"
    )
    assert joined.said.count(told) == 1
    [event] = joined.events("engine_short")
    assert event["cause"] == told


def test_a_pool_that_may_grow_takes_less_than_half_of_one_engines_time(
    pools: Pools, joined: Scored
) -> None:
    one = pools.finish(pools.start(latency_s=1.0))
    four = pools.finish(pools.start(latency_s=1.0, replicas={"min": 1, "max": 4}))
    assert len(one.replicas) == 1
    assert len(four.replicas) == 4
    assert one.records == four.records == RECORDS
    assert one.seconds >= alone(1.0)
    assert four.seconds < one.seconds / 2
    assert not four.events("engine_short")


def test_a_resumed_pool_grows_again_whatever_its_blocks(pools: Pools, joined: Scored) -> None:
    """Blocks as large as these would be five: they are cut so that every engine has some."""
    together = "-m tests.scoring.all_engines"
    job = pools.start(
        together,
        latency_s=1.0,
        max_num_seqs=128,
        rows_per_block=1024,
        replicas={"min": 1, "max": 4},
    )
    pools.wait_for_blocks(job, 8)  # of 16: two of each engine, and as many for those to come
    job.kill()
    job.communicate()
    resumed = pools.finish(pools.again(together))
    assert "Resuming: " in resumed.said
    assert resumed.records == RECORDS
    [scored] = resumed.events("scored")
    # Four of each session: those of the second are of other actors.
    assert len(resumed.replicas) == 8
    assert scored["records"] < RECORDS


def test_neither_idling_nor_a_start_that_fails_ends_an_engine(pools: Pools, joined: Scored) -> None:
    run = pools.finish(
        pools.start(
            "-m tests.scoring.slow_reading", latency_s=1.0, replicas={"min": 1, "max": ENGINES}
        )
    )
    assert run.records == RECORDS
    assert len(run.replicas) == ENGINES
    assert run.replicas_after(PAUSE_S / 2) == run.replicas
    assert [event["cause"] for event in run.events("engine_no_start")] == ["not this time"]
    assert not run.events("engine_restart")
    assert "its engine does not start; it is tried again where others work" in run.said


def alone(latency_s: float) -> float:
    """Return the seconds that one engine takes at least, 256 records at a time."""
    return RECORDS / 256 * latency_s
