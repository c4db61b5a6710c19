"""The kinds of kill, and how each is done to a running job."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from medsent.commands.requeue import Selection, take_out
from medsent.runs.folder import RunFolder
from tests.chaos import processes
from tests.chaos.failpoint import Failpoints
from tests.chaos.job import Job
from tests.chaos.nodes import Nodes

DRIVER, OWN_RAY, TWO = "driver", "driver_with_ray", "two_drivers"
ACTOR, ENGINE, RAYLET = "actor", "engine", "raylet"
BEFORE, BETWEEN, AFTER, RECEIPT = "before_write", "between", "after_move", "receipt_lost"
PART, ORPHAN = "part_gone", "orphan"
KINDS = {
    DRIVER: "the job's driver; its Ray lives on",
    OWN_RAY: "the driver that started Ray itself, which goes with it",
    TWO: "the driver, and the next one starts while scorers of the first still work",
    ACTOR: "the process of a scorer",
    ENGINE: "an engine's own process",
    RAYLET: "a whole node with a scorer on it",
    BEFORE: "a scorer with a block scored, and nothing written",
    BETWEEN: "a scorer with a block's file written aside, and not moved in",
    AFTER: "a scorer with a block's file moved in, and its receipt not given",
    RECEIPT: "a scorer that gives its receipt, a moment before or after Ray has it",
    PART: "a scorer that has made a block whole of a part, rows having been requeued",
    ORPHAN: "the driver of a scorer that lives on, and writes when another has scored its block",
}
"""Kind to what is killed with -9."""
POINTS = (BEFORE, BETWEEN, AFTER, RECEIPT)

_REQUEUED = Selection(status="empty_text")
"""One row in 97: of most blocks some rows stay, as a part."""
_POLL_S = 0.1
_EARLY = 0.15  # share of a driver's kills that come at any moment of its start
_FRESH = 0.25  # share of the others that may come before this start has got a block done
_EARLY_LATEST_S = 8.0
_PATIENCE_S = 900.0
_ORPHANS_S = 60.0


@dataclass
class Struck:
    """What a kill left to be done, and what it showed."""

    landed: bool
    """Whether the target was alive and died of it."""
    faults: list[str] = field(default_factory=list)
    """What should have died with it, and lives on."""
    resumes: int = 0
    """Times that the command was given again as part of it."""


class Killer:
    """Kills at seeded moments."""

    def __init__(
        self,
        rng: random.Random,
        tag: str,
        points: Failpoints,
        nodes: Nodes,
        *,
        latest_s: float,
        passes: int,
        with_driver: float,
    ) -> None:
        """Strike at most `latest_s` after the moment waited for, and at one of so many passes.

        `with_driver` is the share of kills at a point after which the driver is killed too, so
        that what they left stands.
        """
        self._rng, self._tag, self._points, self._nodes = rng, tag, points, nodes
        self._latest_s, self._passes, self._with_driver = latest_s, passes, with_driver
        self.outlived_s: list[float] = []
        """How long scorers outlived a killed driver."""
        self._ways: dict[str, Callable[[Job], Struck]] = {
            DRIVER: self._driver,
            OWN_RAY: self._driver,
            TWO: self._two_drivers,
            ACTOR: lambda job: self._process(job, processes.scorers),
            ENGINE: lambda job: self._process(job, processes.engines),
            RAYLET: self._node,
            PART: self._part,
            ORPHAN: self._orphan,
        }

    def strike(self, job: Job, kind: str) -> Struck:
        """Wait for a moment to strike and do it; not landed where the job ends before."""
        if kind in POINTS:
            return self._at_a_point(job, kind)
        early = kind in (DRIVER, OWN_RAY) and self._rng.random() < _EARLY
        fresh = kind != PART and self._rng.random() < _FRESH
        if not early and not _until(job, lambda: self._scores(job, fresh)):
            return Struck(landed=False)
        self._pause(job, _EARLY_LATEST_S if early else self._latest_s)
        return self._ways[kind](job)

    def _scores(self, job: Job, fresh: bool) -> bool:
        """Tell whether a scorer is there and, unless just begun will do, has got blocks done."""
        return (fresh or job.blocks_done() > 0) and bool(processes.scorers(self._tag))

    def _kill_driver(self, job: Job) -> list[psutil.Process] | None:
        """Kill a job's driver; return the scorers it had, None where it had ended before."""
        scorers = processes.scorers(self._tag)
        if not job.kill():
            return None

        def time_them() -> None:
            seconds = processes.seconds_until_gone(scorers, _ORPHANS_S)
            self.outlived_s.append(_ORPHANS_S if seconds is None else seconds)

        threading.Thread(target=time_them, daemon=True).start()
        return scorers

    def _driver(self, job: Job) -> Struck:
        """Kill a driver; its scorers are gone when the next one starts."""
        scorers = self._kill_driver(job)
        if scorers and processes.seconds_until_gone(scorers, _ORPHANS_S) is None:
            return Struck(True, [f"scorers outlive their driver by {_ORPHANS_S:.0f} s"])
        return Struck(scorers is not None)

    def _two_drivers(self, job: Job) -> Struck:
        if (scorers := self._kill_driver(job)) is None:
            return Struck(landed=False)
        job.start()
        return Struck(any(map(processes.alive, scorers)), resumes=1)

    def _process(self, job: Job, targets: processes.Find) -> Struck:
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

    def _at_a_point(self, job: Job, point: str) -> Struck:
        fired = self._fired(job, point, self._rng.randint(1, self._passes))
        if fired and self._rng.random() < self._with_driver:
            self._kill_driver(job)
        self._points.clear()
        return Struck(fired)

    def _part(self, job: Job) -> Struck:
        """Requeue some rows between two drivers, and kill who scores the rest of a block."""
        if self._kill_driver(job) is None or job.run is None:
            return Struck(landed=False)
        take_out(RunFolder(job.run), _REQUEUED)
        job.start()
        fired = self._fired(job, PART, 1)
        self._points.clear()
        return Struck(fired, resumes=1)

    def _orphan(self, job: Job) -> Struck:
        """Hold a scorer, kill its driver, and let it go on once another has scored its block."""
        if not self._fired(job, ORPHAN, self._rng.randint(1, self._passes)):
            return Struck(landed=False)
        _until(job, lambda: self._points.held() is not None)
        if (block := self._points.held()) is None or self._kill_driver(job) is None:
            return Struck(landed=False)
        job.start()
        _until(job, block.exists)
        self._pause(job, self._latest_s)
        there = block.exists()  # before it is let go
        self._points.let_go()
        _wait(self._points.moved, _ORPHANS_S)
        moved = self._points.moved()
        self._points.clear()
        return Struck(there and moved, resumes=1)

    def _fired(self, job: Job, point: str, passes: int) -> bool:
        """Arm a point, and wait until it has fired; tell whether it has."""
        self._points.arm(point, passes)
        _until(job, lambda: self._points.fired(point))
        return self._points.fired(point)

    def _pause(self, job: Job, latest_s: float) -> None:
        moment = time.monotonic() + self._rng.uniform(0.0, latest_s)
        job.wait(moment)


def _until(job: Job, seen: Callable[[], bool]) -> bool:
    """Wait for something to be seen; False where the job ends before, or patience does."""
    _wait(lambda: seen() or job.ended() is not None)
    return job.ended() is None and seen()


def _wait(seen: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not seen() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
