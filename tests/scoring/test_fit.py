"""Does the cluster hold the plan? Asked before anything waits for it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from medsent.config.job import JobConfig
from medsent.errors import ConfigError
from medsent.scoring import cluster
from medsent.scoring.cluster import Capacity, check_cluster, engines_held, occupancy, shortfalls
from tests.conftest import JobBuilder, job_values, merged

pytestmark = pytest.mark.slow


def plan(**groups: object) -> JobConfig:
    values = job_values(Path("unused"), Path("unused"), Path("unused"))
    return JobConfig.model_validate(merged(values, groups))


ON_GPUS = {"kind": "vllm", "device": "gpu"}


@pytest.mark.parametrize(
    ("capacity", "engine", "says"),
    [
        (Capacity(2, 0, 0), {"replicas": {"min": 1, "max": 8}}, []),
        (
            Capacity(1, 0, 0),
            {"replicas": {"min": 1, "max": 8}},
            ["1 logical CPUs are missing: it has 1, the plan takes 2"],
        ),
        (
            Capacity(3, 0, 0),
            {"replicas": {"min": 4, "max": 4}},
            ["2 logical CPUs are missing: it has 3, the plan takes 5"],
        ),
        (Capacity(16, 1, 1), ON_GPUS, []),
        (
            Capacity(16, 0, 0),
            ON_GPUS,
            ["1 GPUs are missing: it has 0, the plan takes 1"],
        ),
        (
            Capacity(0, 1, 1),
            {**ON_GPUS, "replicas": {"min": 2, "max": 2}},
            ["1 logical CPUs are missing", "1 GPUs are missing: it has 1, the plan takes 2"],
        ),
    ],
)
def test_what_a_plan_needs_beyond_the_cluster_is_said(
    capacity: Capacity, engine: dict[str, object], says: list[str]
) -> None:
    found = shortfalls(plan(engine=engine), capacity)
    assert len(found) == len(says)
    for line, start in zip(found, says, strict=True):
        assert line.startswith(start)


def test_a_model_over_several_gpus_needs_them_on_one_node() -> None:
    config = plan(engine=ON_GPUS, model={"tensor_parallel_size": 2})
    assert shortfalls(config, Capacity(16, 2, 2)) == []
    assert shortfalls(config, Capacity(16, 2, 1)) == [
        "no node has the 2 GPUs that model.tensor_parallel_size asks for"
    ]


EIGHT = {"replicas": {"min": 1, "max": 8}}


@pytest.mark.parametrize(
    ("capacity", "engine", "gpus_each", "says", "held"),
    [
        (
            Capacity(32, 4, 2, ((16, 2), (16, 2))),
            {**ON_GPUS, **EIGHT},
            2,
            "1 to 8 engines, each of 2 GPUs: 2 to 16 GPUs, on 1 to 8 nodes with 2 GPUs each",
            2,
        ),
        (
            Capacity(32, 3, 2, ((16, 2), (16, 1))),
            {**ON_GPUS, "replicas": {"min": 3, "max": 3}},
            1,
            "3 engines, each of 1 GPU: 3 GPUs, on 2 nodes with 2 GPUs each",
            3,
        ),
        (
            Capacity(0, 0, 0),
            {**ON_GPUS, **EIGHT},
            1,
            "1 to 8 engines, each of 1 GPU: 1 to 8 GPUs",
            0,
        ),
        (
            Capacity(6, 0, 0, ((6, 0),)),
            EIGHT,
            1,
            "1 to 8 engines, each of 1 logical CPU and no GPU: with 1 for reading "
            "2 to 9 logical CPUs, on 1 to 2 nodes with 6 logical CPUs each",
            5,
        ),
    ],
)
def test_what_a_plan_will_occupy_is_said(
    capacity: Capacity, engine: dict[str, object], gpus_each: int, says: str, held: int
) -> None:
    config = plan(engine=engine, model={"tensor_parallel_size": gpus_each})
    assert occupancy(config, capacity) == says
    assert engines_held(config, capacity) == held


def test_this_machine_holds_any_number_of_scorers_on_its_cpu() -> None:
    config = plan(engine={"replicas": {"min": 9, "max": 9}})
    assert check_cluster(config).cpus >= 10


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[str]:
    """A Ray head of one logical CPU, in processes of its own; its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    yield cluster.address
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_a_cluster_that_cannot_hold_the_plan_is_refused(
    command: str, small_cluster: str, job: JobBuilder, tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job().model_dump(mode="json")))
    ended = subprocess.run(
        [sys.executable, "-m", "medsent", command, str(file)],
        env={**os.environ, "RAY_ADDRESS": small_cluster},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == ConfigError.exit_code
    assert ended.stderr.splitlines()[-1] == (
        "medsent: engine.replicas: the cluster cannot hold 1 scorers, and the job would wait for "
        "ever: 1 logical CPUs are missing: it has 1, the plan takes 2 (one a scorer and 1 beside "
        "them)"
    )


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:8265", "is an address for `ray job submit` and the dashboard"),
        ("ray://127.0.0.1:10001", "is an address of Ray Client"),
        ("redis://127.0.0.1:6379", "is an address of no cluster"),
        ("10.0.0.1", "is an address without a host and a port"),
        (":6379", "is an address without a host and a port"),
        ("127.0.0.1:1", "nothing answers there (Connection refused)"),
        ("127.0.0.1:99999", "nothing answers there"),
    ],
)
def test_an_address_that_is_no_heads_is_refused(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError) as caught:
        check_cluster(plan())
    assert told in str(caught.value)
    assert str(caught.value).startswith("RAY_ADDRESS: ")
    assert address in str(caught.value)


def test_a_local_cluster_is_none_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert check_cluster(plan(engine={"replicas": {"min": 9, "max": 9}})).cpus >= 10


def test_a_ray_that_does_not_start_is_one_line(job: JobBuilder, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job().model_dump(mode="json")))
    nowhere = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "medsent", "evaluate", str(file)],
        capture_output=True,
        text=True,
        env=nowhere | {"RAY_TMPDIR": "/proc/nowhere"},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("medsent: Ray did not start on this machine (")


def test_batches_are_not_made_invariant_on_a_machine_without_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "has_gpu", lambda: False)
    with pytest.raises(ConfigError, match=r"engine\.batch_invariant: vLLM has it for GPUs alone"):
        check_cluster(plan(engine={"kind": "vllm", "batch_invariant": True}))


def test_a_shard_of_an_adapter_for_each_worker_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "has_gpu", lambda: False)
    with pytest.raises(ConfigError, match=r"^engine\.options\.fully_sharded_loras: "):
        check_cluster(plan(engine={"kind": "vllm", "options": {"fully_sharded_loras": True}}))


def test_gpus_are_not_paid_for_on_a_machine_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "has_gpu", lambda: False)
    priced = plan(engine={"kind": "vllm"}, price={"per_gpu_hour": 2.5})
    with pytest.raises(ConfigError, match=r"price\.per_gpu_hour: the engines run on CPUs here"):
        check_cluster(priced)
    check_cluster(plan(engine={"kind": "vllm"}, price={"per_machine_hour": 0.2}))
