"""A Ray head with dashboard and token, and two nodes that score, each a process of this machine."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.request import Request, urlopen

import psutil

CPUS = 6
"""Logical CPUs of a node that scores: one would do for two scorers."""
PATIENCE_S = 400
_RAY = Path(sys.executable).with_name("ray")
_SETTINGS = {
    # A dead node is known as such after about three seconds rather than half a minute.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_metrics_report_interval_ms": "500",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_NOT_OURS = ("PYTHONPATH", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class Nodes:
    """The cluster; it ends with `close`, and whatever a test killed before."""

    def __init__(self, folder: Path) -> None:
        """Start the nodes; all that they write goes under `folder`, whose path must be short."""
        self._folder = folder
        self.token = secrets.token_hex(16)
        self.dashboard = f"http://127.0.0.1:{_free_port()}"
        self.address = f"127.0.0.1:{_free_port()}"
        head = {
            "port": self.address.rpartition(":")[2],
            "dashboard-host": "127.0.0.1",
            "dashboard-port": self.dashboard.rpartition(":")[2],
            "ray-client-server-port": str(_free_port()),
            "temp-dir": str(folder / "ray"),
            "num-cpus": "0",
        }
        self._logs: list[IO[bytes]] = []
        self._metrics: dict[psutil.Popen, str] = {}
        self._head = self._start("head", ["--head", "--include-dashboard=true"], head)
        try:
            self._wait_for(1)
            self.workers = []
            for name in ("worker-a", "worker-b"):  # at once they might take the same sockets
                self.workers.append(self._worker(name))
                self._wait_for(1 + len(self.workers))
        except BaseException:
            self.close()
            raise

    def environment(self, token: str | None) -> dict[str, str]:
        """Return what a process of a user's has, with a token or without one."""
        kept = {k: v for k, v in os.environ.items() if k not in _NOT_OURS}
        path = f"{_RAY.parent}{os.pathsep}{os.environ['PATH']}"
        mine = {"PATH": path, "HOME": str(self._folder), "RAY_AUTH_MODE": "token", **_SETTINGS}
        return {**kept, **mine, **({"RAY_AUTH_TOKEN": token} if token else {})}

    def command(self, *arguments: str, token: str | None = None) -> "subprocess.Popen[str]":
        """Start a command of Ray's, such as `job submit`; its output is one stream."""
        return subprocess.Popen(
            [_RAY, *arguments],
            env={**self.environment(token), "RAY_ADDRESS": self.dashboard},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def alive(self) -> int:
        """Return how many nodes the dashboard knows to be alive, 0 before it answers."""
        headers = {"Authorization": f"Bearer {self.token}"}
        asked = Request(f"{self.dashboard}/api/v0/nodes", headers=headers)
        try:
            with urlopen(asked, timeout=PATIENCE_S) as answer:
                nodes = json.load(answer)["data"]["result"]["result"]
        except OSError:
            return 0
        return sum(node["state"] == "ALIVE" for node in nodes)

    def metrics(self) -> str:
        """Return what Prometheus would scrape from the nodes that score."""
        texts = []
        for worker in self.workers:
            with urlopen(self._metrics[worker], timeout=PATIENCE_S) as answer:
                texts.append(answer.read().decode())
        return "\n".join(texts)

    def kill_a_scorer(self) -> None:
        """Kill -9 the raylet of a node with an engine on it, and wait until the node is gone."""
        worker = next(worker for worker in self.workers if _engines(worker))
        lived = worker.children(recursive=True)
        [raylet] = [process for process in lived if process.name() == "raylet"]
        raylet.kill()
        worker.wait(PATIENCE_S)  # `ray start --block` reaps it, and ends with it
        psutil.wait_procs(lived, PATIENCE_S)
        self.workers.remove(worker)

    @contextmanager
    def engines_stand_still(self) -> Iterator[None]:
        """Keep every engine from answering, so that what is under way stays so."""
        engines = [engine for worker in self.workers for engine in _engines(worker)]
        assert engines
        for engine in engines:
            engine.suspend()
        try:
            yield
        finally:
            for engine in engines:
                engine.resume()

    def close(self) -> None:
        """End every process that was started here."""
        nodes = [node for node in (*self._metrics, self._head) if node.is_running()]
        processes = [inner for node in nodes for inner in (node, *node.children(recursive=True))]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, PATIENCE_S)
        for log in self._logs:
            log.close()

    def _worker(self, name: str) -> psutil.Popen:
        port = _free_port()
        flags = {"num-cpus": str(CPUS), "metrics-export-port": str(port)}
        worker = self._start(name, [f"--address={self.address}"], flags)
        self._metrics[worker] = f"http://127.0.0.1:{port}/metrics"
        return worker

    def _start(self, name: str, flags: Sequence[str], values: Mapping[str, str]) -> psutil.Popen:
        ports = {
            "min-worker-port": "0",
            "max-worker-port": "0",
            "node-ip-address": "127.0.0.1",
            # Where another Ray of this machine has the usual one, no agent takes jobs.
            "dashboard-agent-listen-port": str(_free_port()),
        }
        given = [f"--{key}={value}" for key, value in {**ports, **values}.items()]
        log = (self._folder / f"{name}.log").open("wb")
        self._logs.append(log)
        return psutil.Popen(
            [_RAY, "start", "--block", "--disable-usage-stats", *flags, *given],
            env=self.environment(self.token),
            cwd=self._folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _wait_for(self, alive: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.alive() < alive:
            ended = [node for node in (self._head, *self._metrics) if node.poll() is not None]
            assert not ended, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.5)

    def _said(self) -> str:
        return "\n".join(log.read_text() for log in sorted(self._folder.glob("*.log")))


def _engines(node: psutil.Process) -> list[psutil.Process]:
    return [
        process
        for process in node.children(recursive=True)
        if "medsent.engine.scripted.process" in process.cmdline()
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
