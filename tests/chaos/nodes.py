"""Ray on three nodes of this machine, of which two may be killed."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

_CPUS = 4
"""Logical CPUs of a node that scores: two nodes hold the plan twice over, one would do."""

SETTINGS = {
    # A dead node is known as such after about three seconds rather than half a minute.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


class Nodes:
    """A head that holds no scorer, and two nodes that do; alive as long as this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the nodes; all that runs on them inherits `environment`."""
        os.environ.update(environment)
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False},
        )
        for _ in range(2):
            self._cluster.add_node(num_cpus=_CPUS)

    @property
    def address(self) -> str:
        """What RAY_ADDRESS is to be."""
        address: str = self._cluster.address
        return address

    def node_of(self, actors: Sequence[psutil.Process]) -> Any | None:
        """Return a node, never the head, on which one of the actors lives."""
        parents = {actor.ppid() for actor in actors if actor.is_running()}
        nodes = (node for node in self._cluster.worker_nodes if _raylet(node).pid in parents)
        return next(nodes, None)

    def kill(self, node: Any) -> list[psutil.Process]:
        """Kill -9 a node's raylet, reap it, and put a new node in its place.

        Returns the processes that lived on the node, which are to die by themselves.
        """
        raylet = _raylet(node)
        lived = psutil.Process(raylet.pid).children(recursive=True)
        raylet.send_signal(signal.SIGKILL)
        raylet.wait()  # a zombie would keep its workers alive
        self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.add_node(num_cpus=_CPUS)
        return lived

    def close(self) -> None:
        """End every node."""
        self._cluster.shutdown()


def _raylet(node: Any) -> Any:
    return node.all_processes["raylet"][0].process
