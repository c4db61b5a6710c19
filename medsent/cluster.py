"""Joining a Ray cluster, or starting one on this machine, with Ray's own talk kept in its logs."""

import logging
import os
from typing import Any

import ray

from medsent.config import JobConfig, VllmSettings
from medsent.engine.vllm import has_gpu
from medsent.errors import ConfigError

# Reading, the checkpoint's filter and writing each take a CPU beside the scorers. With fewer
# logical CPUs a resumed job would wait for ever, so a local Ray always declares enough.
_BESIDE_SCORERS = 4


def connect(config: JobConfig) -> None:
    """Connect to the cluster of `RAY_ADDRESS`, or start Ray here; a no-op when connected."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": True,
    }
    if os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(address="auto", **quiet)
        except (ConnectionError, RuntimeError) as error:
            raise ConfigError(
                f"RAY_ADDRESS: cannot join the cluster at {os.environ['RAY_ADDRESS']}; "
                "is its head running, and the token right?"
            ) from error
        _refuse_too_few_cpus(config)
        return
    ray.init(
        num_cpus=max(os.cpu_count() or 1, config.engine.replicas.max + _BESIDE_SCORERS),
        include_dashboard=False,
        **quiet,
    )


def _refuse_too_few_cpus(config: JobConfig) -> None:
    needed = config.engine.replicas.min + _BESIDE_SCORERS
    found = ray.cluster_resources().get("CPU", 0)
    if found < needed:
        raise ConfigError(
            f"engine.replicas: the cluster has {found:.0f} CPUs, the plan needs {needed} (one a "
            f"scorer and {_BESIDE_SCORERS} beside them); it would wait for ever"
        )


def scorer_resources(config: JobConfig) -> dict[str, Any]:
    """Return the logical CPUs and GPUs of one scorer."""
    engine = config.engine
    if isinstance(engine, VllmSettings) and (
        engine.device == "gpu" or (engine.device == "auto" and _cluster_has_gpu())
    ):
        return {"num_cpus": 1, "num_gpus": config.model.tensor_parallel_size}
    return {"num_cpus": 1}


def _cluster_has_gpu() -> bool:
    return bool(ray.cluster_resources().get("GPU")) or has_gpu()
