"""Joining a Ray cluster, or starting one on this machine; a plan that cannot fit is refused."""

import atexit
import logging
import math
import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state as ray_state
from ray.exceptions import AuthenticationError

from medsent.config.engine import NO_INVARIANCE, VllmSettings
from medsent.config.job import JobConfig
from medsent.engine.vllm import has_gpu
from medsent.errors import ConfigError, EngineError
from medsent.scoring.spill import remove, spill_folder
from medsent.storage.paths import shown

# Reading takes a CPU beside the scorers: without one a job would wait for ever, so a local Ray
# always declares enough.
_BESIDE_SCORERS = 1
_HEAD_ANSWERS_S = 10.0
_OTHER_ADDRESSES = {
    **dict.fromkeys(("http", "https"), "for `ray job submit` and the dashboard, not for a job"),
    "ray": "of Ray Client, under which a job does not run",
}
"""Scheme to what an address of it is for."""


@dataclass(frozen=True)
class Capacity:
    """What a cluster has, or can grow to where it scales itself."""

    cpus: float
    gpus: float
    node_gpus: float
    """The most GPUs on one node."""
    nodes: tuple[tuple[float, float], ...] = ()
    """Logical CPUs and GPUs of each node that is up."""

    def __str__(self) -> str:
        return f"{self.cpus:.0f} logical CPUs and {self.gpus:.0f} GPUs"


def connect(config: JobConfig) -> None:
    """Connect to the cluster of `RAY_ADDRESS`, or start Ray here, unless that is done.

    Raises `ConfigError` where the cluster cannot be joined or cannot hold the plan, `EngineError`
    where Ray does not start.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    if not ray.is_initialized():
        _join() if _is_elsewhere() else _start(config)
    capacity = _capacity()
    _refuse_too_small(config, capacity)
    _refuse_lack_of_gpus(config, capacity)


def check_cluster(config: JobConfig) -> Capacity:
    """Return the capacity that a job would find, without starting a Ray.

    Raises `ConfigError` where it cannot hold the plan.
    """
    if _is_elsewhere():
        connect(config)
        return _capacity()
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) if has_gpu() else 0
    cpus = _local_cpus(config)
    capacity = Capacity(cpus, gpus, gpus, ((cpus, gpus),))
    _refuse_too_small(config, capacity)
    _refuse_lack_of_gpus(config, capacity)
    return capacity


def shortfalls(config: JobConfig, capacity: Capacity) -> list[str]:
    """Return what a plan needs beyond a capacity; nothing where it fits."""
    scorers, scorer = config.engine.replicas.min, _scorer(config, capacity)
    cpus = scorers * scorer.get("num_cpus", 0) + _BESIDE_SCORERS
    gpus = scorers * scorer.get("num_gpus", 0)
    found = []
    if capacity.cpus < cpus:
        found.append(
            f"{cpus - capacity.cpus:.0f} logical CPUs are missing: it has {capacity.cpus:.0f}, "
            f"the plan takes {cpus} ({'' if gpus else 'one a scorer and '}{_BESIDE_SCORERS} "
            f"beside {'the scorers' if gpus else 'them'})"
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


def engines_held(config: JobConfig, capacity: Capacity | None = None) -> int:
    """Return how many engines the nodes that are up can hold beside reading; Ray is asked."""
    return int(min(_held(config, capacity or _capacity())))


def engines_asked(config: JobConfig) -> int:
    """Return how many engines to ask for at the start.

    Where GPUs are the limit, the maximum: engines that wait for a GPU make an autoscaling
    cluster add nodes. Where CPUs are the limit, as many as fit: more would take the CPUs that
    reading needs.
    """
    replicas = config.engine.replicas
    by_gpus, by_cpus = _held(config, _capacity())
    if by_gpus <= by_cpus:
        return replicas.max
    return max(replicas.min, min(replicas.max, int(by_cpus)))


def why_no_more(config: JobConfig, engines: int) -> str:
    """Tell why a pool of so many engines does not grow on the nodes that are up."""
    scorer, (by_gpus, by_cpus) = scorer_resources(config), _held(config, _capacity())
    if by_gpus <= by_cpus:
        scarce, what, each = "GPU", "GPUs", scorer["num_gpus"]
        told = f"an engine takes {each}"
    else:
        scarce, what, each = "CPU", "logical CPUs", 1
        told = f"an engine takes 1 beside the {_BESIDE_SCORERS} that reading takes"
    if engines >= min(by_gpus, by_cpus):
        return f"the cluster has no more {what} ({told}); others start as nodes join"
    if ray.available_resources().get(scarce, 0) < each:
        return f"the cluster has no more free {what} ({told}); others start as some go free"
    return "Ray has not placed the others, though there is room; `ray status` tells more"


def occupancy(config: JobConfig, capacity: Capacity) -> str:
    """Tell what a plan takes: engines, what each has, and the nodes at the size that is known."""
    replicas, scorer = config.engine.replicas, _scorer(config, capacity)
    gpus = scorer.get("num_gpus", 0)
    bounds = (replicas.min, replicas.max)
    if not gpus:
        size = max((cpus for cpus, _ in capacity.nodes), default=0)
        cpus = [engines + _BESIDE_SCORERS for engines in bounds]
        beside = f"with {_BESIDE_SCORERS} for reading {_span(cpus, 'logical CPU')}"
        nodes = [math.ceil(each / size) for each in cpus if size]
        taken = f"each of 1 logical CPU and no GPU: {beside}"
        sort = "logical CPU"
    else:
        size = capacity.node_gpus
        nodes = [math.ceil(engines / (size // gpus)) for engines in bounds if size >= gpus]
        in_all = _span([engines * gpus for engines in bounds], "GPU")
        taken = f"each of {_span([gpus], 'GPU')}: {in_all}"
        sort = "GPU"
    on = f", on {_span(nodes, 'node')} with {_span([int(size)], sort)} each" if nodes else ""
    return f"{_span(bounds, 'engine')}, {taken}{on}"


def scorer_resources(config: JobConfig) -> dict[str, Any]:
    """Return the logical CPUs, or the GPUs, of one scorer."""
    return _scorer(config, _capacity())


def _is_elsewhere() -> bool:
    """Tell whether there is a cluster to join; `local` is Ray's word for none."""
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local")


def _join() -> None:
    address = os.environ["RAY_ADDRESS"]
    _refuse_address(address)
    try:
        ray.init(address="auto", **_quiet())
    except (ConnectionError, RuntimeError, ValueError, AuthenticationError) as error:
        raise ConfigError(
            f"RAY_ADDRESS: cannot join the cluster at {address}; "
            "is its head running, and the token right?"
        ) from error


def _refuse_address(address: str) -> None:
    """Raise `ConfigError` where no head can be at an address: Ray itself tries for minutes."""
    if address == "auto":
        return
    scheme, there, _ = address.partition("://")
    host, colon, port = address.rpartition(":")
    if there:
        what = _OTHER_ADDRESSES.get(scheme.lower(), "of no cluster")
    elif not colon or not host or not port.isdigit():
        what = "without a host and a port"
    else:
        what = ""
    if what:
        raise ConfigError(
            f"RAY_ADDRESS: {shown(address)} is an address {what}; unset it to run on this machine, "
            "or set it to HOST:6379, that of the cluster's head"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _HEAD_ANSWERS_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"RAY_ADDRESS: cannot join the cluster at {shown(address)}: nothing answers there "
            f"({getattr(error, 'strerror', None) or type(error).__name__}); is its head running? "
            "Unset it to run on this machine"
        ) from error


def _start(config: JobConfig) -> None:
    _keep_token()
    try:
        folder = spill_folder()
        atexit.register(remove, folder)
        ray.init(
            num_cpus=_local_cpus(config),
            include_dashboard=False,
            object_spilling_directory=str(folder),
            **_quiet(),
        )
    except ConfigError:
        raise
    except Exception as error:  # of many kinds, a plain Exception where a node took too long
        raise EngineError(
            f"Ray did not start on this machine ({type(error).__name__}): it may be too busy, or "
            "short of memory or of room for temporary files; the same command tries again"
        ) from error


def _keep_token() -> None:
    """Keep the token of a Ray on this machine from other users: who has it runs code as this one.

    Ray itself makes it once, for everybody to read.
    """
    file = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # without a home Ray says what is wrong
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            suppress(FileExistsError),
            os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made,
        ):
            made.write(secrets.token_hex(32))
        file.chmod(0o600)


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def _local_cpus(config: JobConfig) -> int:
    return max(os.cpu_count() or 1, config.engine.replicas.max + _BESIDE_SCORERS)


def _capacity() -> Capacity:
    """Return what the cluster has; of one that scales itself, the most it can have."""
    now = ray.cluster_resources()
    most = ray_state.get_max_resources_from_cluster_config() or {}
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = tuple((float(node.get("CPU", 0)), float(node.get("GPU", 0))) for node in alive)
    gpus = max(now.get("GPU", 0), most.get("GPU", 0))
    largest = max((gpus for _, gpus in nodes), default=0)
    return Capacity(
        cpus=max(now.get("CPU", 0), most.get("CPU", 0)),
        gpus=gpus,
        # A node that is not up yet may be of any size.
        node_gpus=largest if gpus == now.get("GPU", 0) else gpus,
        nodes=nodes,
    )


def _held(config: JobConfig, capacity: Capacity) -> tuple[float, float]:
    """Return how many engines fit the nodes' GPUs, and how many their CPUs; infinity: no limit."""
    each = _scorer(config, capacity).get("num_gpus", 0)
    if not each:
        return math.inf, max(0.0, sum(cpus for cpus, _ in capacity.nodes) - _BESIDE_SCORERS)
    return sum(gpus // each for _, gpus in capacity.nodes), math.inf


def _span(bounds: Sequence[int], what: str) -> str:
    """Return a number of things, or its bounds where they differ."""
    low, high = min(bounds), max(bounds)
    told = f"{low}" if low == high else f"{low} to {high}"
    return f"{told} {what}{'s' * (high != 1)}"


def _scorer(config: JobConfig, capacity: Capacity) -> dict[str, Any]:
    engine = config.engine
    if isinstance(engine, VllmSettings) and (
        engine.device == "gpu" or (engine.device == "auto" and capacity.gpus)
    ):
        # GPUs and no CPU: actors that wait for a GPU would keep CPUs from the reading tasks.
        return {"num_gpus": config.model.tensor_parallel_size}
    return {"num_cpus": 1}


def _refuse_too_small(config: JobConfig, capacity: Capacity) -> None:
    found = shortfalls(config, capacity)
    if found:
        raise ConfigError(
            f"engine.replicas: the cluster cannot hold {config.engine.replicas.min} scorers, and "
            f"the job would wait for ever: {'; '.join(found)}"
        )


def _refuse_lack_of_gpus(config: JobConfig, capacity: Capacity) -> None:
    """Refuse settings that only GPUs have, where the engines run on CPUs."""
    if "num_gpus" in _scorer(config, capacity):
        return
    if getattr(config.engine, "batch_invariant", False):
        raise ConfigError(NO_INVARIANCE)
    if getattr(config.engine, "options", {}).get("fully_sharded_loras"):
        raise ConfigError(
            "engine.options.fully_sharded_loras: vLLM's CPU build would answer the base model's "
            "records with the last adapter; take it out"
        )
    if config.price and config.price.per_gpu_hour:
        raise ConfigError(
            "price.per_gpu_hour: the engines run on CPUs here; give price.per_machine_hour"
        )
