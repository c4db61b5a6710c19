"""The kinds of kill, and how each is done to a running job."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos import processes
from tests.chaos.failpoint import Failpoints
from tests.chaos.job import Job
from tests.chaos.nodes import Nodes

DRIVER, OWN_RAY, ACTOR, ENGINE, RAYLET = "driver", "driver_with_ray", "actor", "engine", "raylet"
BEFORE, BETWEEN, AFTER, TWINS = "before_data", "between", "after_commit", "twins"
KINDS = {
    DRIVER: "the job's driver; its Ray lives on",
    OWN_RAY: "the driver that started Ray itself, which goes with it",
    ACTOR: "the process of a scorer",
    ENGINE: "an engine's own process",
    RAYLET: "a whole node with a scorer on it",
    BEFORE: "a task that has written pending ids, and no data yet",
    BETWEEN: "a task that has written data, and not committed their ids",
    AFTER: "a task that has committed, and not reported it",
    TWINS: "the same, killed again before its second commit, and the driver with it",
}
"""Kind to what is killed with -9."""

_POLL_S = 0.1
_EARLY = 0.15  # share of a driver's kills that come at any moment of its start
_FRESH = 0.25  # share of the others that may come before this start has got a block done
_LATEST_S = 3.0
_EARLY_LATEST_S = 8.0
_PASSES = 6
_RETRIES = 50
"""Tries of a twin's second commit that die, until the driver does too."""
_PATIENCE_S = 900.0
_WITH_DRIVER = 0.3
"""Share of kills at a point after which the driver is killed too, so that what they left stands."""
_ORPHANS_S = 60.0


@dataclass
class Struck:
    """What a kill left to be done, and what it showed."""

    landed: bool
    """Whether the target was alive and died of it."""
    faults: list[str] = field(default_factory=list)
    """What should have died with it, and lives on."""


class Killer:
    """Kills at seeded moments."""

    def __init__(self, rng: random.Random, tag: str, points: Failpoints, nodes: Nodes) -> None:
        self._rng, self._tag, self._points, self._nodes = rng, tag, points, nodes

    def strike(self, job: Job, kind: str) -> Struck:
        """Wait for a moment to strike and do it; not landed where the job ends before."""
        if kind in (BEFORE, BETWEEN, AFTER, TWINS):
            return self._at_a_point(job, kind)
        early = kind in (DRIVER, OWN_RAY) and self._rng.random() < _EARLY
        fresh = self._rng.random() < _FRESH
        if not early and not _until(job, lambda: self._scores(job, fresh)):
            return Struck(landed=False)
        self._pause(job, _EARLY_LATEST_S if early else _LATEST_S)
        if kind in (DRIVER, OWN_RAY):
            return Struck(job.kill())
        if kind == RAYLET:
            return self._node(job)
        return self._process(job, kind)

    def _scores(self, job: Job, fresh: bool) -> bool:
        """Tell whether a scorer is there and, unless just begun will do, has got blocks done."""
        return (fresh or job.blocks_done() > 0) and bool(processes.scorers(self._tag))

    def _process(self, job: Job, kind: str) -> Struck:
        targets = processes.engines if kind == ENGINE else processes.scorers
        _until(job, lambda: bool(targets(self._tag)))
        found = sorted(targets(self._tag), key=lambda process: process.pid)
        if not found or job.ended() is not None:
            return Struck(landed=False)
        return Struck(processes.kill(self._rng.choice(found)))

    def _node(self, job: Job) -> Struck:
        found = _until(job, lambda: self._nodes.node_of(processes.scorers(self._tag)) is not None)
        node = self._nodes.node_of(processes.scorers(self._tag)) if found else None
        if node is None:
            return Struck(landed=False)
        lived = self._nodes.kill(node)
        if processes.seconds_until_gone(lived, _ORPHANS_S) is not None:
            return Struck(True)
        left = sorted({" ".join(processes.command(p)[:4]) for p in lived if processes.alive(p)})
        return Struck(True, [f"lived on {_ORPHANS_S:.0f} s after their node: {'; '.join(left)}"])

    def _at_a_point(self, job: Job, kind: str) -> Struck:
        fatal = "between_again" if kind == TWINS else kind
        self._points.arm(AFTER if kind == TWINS else kind, self._rng.randint(1, _PASSES))
        if kind == TWINS:
            self._points.arm(fatal, passes=1, times=_RETRIES)
        fired = _until(job, lambda: self._points.fired(fatal))
        landed = self._points.fired(fatal)
        if kind == TWINS and fired:
            landed = job.kill() and bool(job.twins())
        elif fired and self._rng.random() < _WITH_DRIVER:
            job.kill()
        self._points.clear()
        return Struck(landed)

    def _pause(self, job: Job, latest_s: float) -> None:
        moment = time.monotonic() + self._rng.uniform(0.0, latest_s)
        job.wait(moment)


def _until(job: Job, seen: Callable[[], bool]) -> bool:
    """Wait for something to be seen; False where the job ends before, or patience does."""
    deadline = time.monotonic() + _PATIENCE_S
    while job.ended() is None and time.monotonic() < deadline:
        if seen():
            return True
        time.sleep(_POLL_S)
    return False
