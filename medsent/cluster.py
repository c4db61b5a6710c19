"""Joining a Ray cluster, or starting one on this machine; a plan that cannot fit is refused."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state as ray_state
from ray.exceptions import AuthenticationError

from medsent.config import JobConfig, VllmSettings
from medsent.engine.vllm import has_gpu
from medsent.errors import ConfigError

# Reading, the checkpoint's filter and writing each take a CPU beside the scorers. With fewer
# logical CPUs a resumed job would wait for ever, so a local Ray always declares enough.
_BESIDE_SCORERS = 4


@dataclass(frozen=True)
class Capacity:
    """What a cluster has, or can grow to where it scales itself."""

    cpus: float
    gpus: float
    node_gpus: float
    """The most GPUs on one node."""

    def __str__(self) -> str:
        return f"{self.cpus:.0f} logical CPUs and {self.gpus:.0f} GPUs"


def connect(config: JobConfig) -> None:
    """Connect to the cluster of `RAY_ADDRESS`, or start Ray here, unless that is done.

    Raises `ConfigError` where the cluster cannot be joined or cannot hold the plan.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    if not ray.is_initialized():
        _join() if os.environ.get("RAY_ADDRESS") else _start(config)
    _refuse_too_small(config, _capacity())


def check_cluster(config: JobConfig) -> Capacity:
    """Return the capacity that a job would find, without starting a Ray.

    Raises `ConfigError` where it cannot hold the plan.
    """
    if os.environ.get("RAY_ADDRESS"):
        connect(config)
        return _capacity()
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) if has_gpu() else 0
    capacity = Capacity(_local_cpus(config), gpus, gpus)
    _refuse_too_small(config, capacity)
    return capacity


def shortfalls(config: JobConfig, capacity: Capacity) -> list[str]:
    """Return what a plan needs beyond a capacity; nothing where it fits."""
    scorers, scorer = config.engine.replicas.min, _scorer(config, capacity)
    cpus = scorers * scorer["num_cpus"] + _BESIDE_SCORERS
    gpus = scorers * scorer.get("num_gpus", 0)
    found = []
    if capacity.cpus < cpus:
        found.append(
            f"{cpus - capacity.cpus:.0f} logical CPUs are missing: it has {capacity.cpus:.0f}, "
            f"the plan takes {cpus} (one a scorer and {_BESIDE_SCORERS} beside them)"
        )
    if capacity.gpus < gpus:
        found.append(
            f"{gpus - capacity.gpus:.0f} GPUs are missing: it has {capacity.gpus:.0f}, "
            f"the plan takes {gpus} ({scorer['num_gpus']} a scorer)"
        )
    elif capacity.node_gpus < scorer.get("num_gpus", 0):
        found.append(
            f"no node has the {scorer['num_gpus']} GPUs that model.tensor_parallel_size asks for"
        )
    return found


def scorer_resources(config: JobConfig) -> dict[str, Any]:
    """Return the logical CPUs and GPUs of one scorer."""
    return _scorer(config, _capacity())


def _join() -> None:
    try:
        ray.init(address="auto", **_quiet())
    except (ConnectionError, RuntimeError, AuthenticationError) as error:
        raise ConfigError(
            f"RAY_ADDRESS: cannot join the cluster at {os.environ['RAY_ADDRESS']}; "
            "is its head running, and the token right?"
        ) from error


def _start(config: JobConfig) -> None:
    ray.init(num_cpus=_local_cpus(config), include_dashboard=False, **_quiet())


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def _local_cpus(config: JobConfig) -> int:
    return max(os.cpu_count() or 1, config.engine.replicas.max + _BESIDE_SCORERS)


def _capacity() -> Capacity:
    """Return what the cluster has; of one that scales itself, the most it can have."""
    now = ray.cluster_resources()
    most = ray_state.get_max_resources_from_cluster_config() or {}
    nodes = [node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]]
    gpus = max(now.get("GPU", 0), most.get("GPU", 0))
    return Capacity(
        cpus=max(now.get("CPU", 0), most.get("CPU", 0)),
        gpus=gpus,
        # A node that is not up yet may be of any size.
        node_gpus=max(nodes, default=0) if gpus == now.get("GPU", 0) else gpus,
    )


def _scorer(config: JobConfig, capacity: Capacity) -> dict[str, Any]:
    engine = config.engine
    if isinstance(engine, VllmSettings) and (
        engine.device == "gpu" or (engine.device == "auto" and capacity.gpus)
    ):
        return {"num_cpus": 1, "num_gpus": config.model.tensor_parallel_size}
    return {"num_cpus": 1}


def _refuse_too_small(config: JobConfig, capacity: Capacity) -> None:
    found = shortfalls(config, capacity)
    if found:
        raise ConfigError(
            f"engine.replicas: the cluster cannot hold {config.engine.replicas.min} scorers, and "
            f"the job would wait for ever: {'; '.join(found)}"
        )
