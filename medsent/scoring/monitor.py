"""What the actors tell the driver while a job runs: progress, deaths, and why one failed."""

from dataclasses import dataclass, field

import ray

from medsent.engine.events import Event, EventKind
from medsent.errors import EngineGoneError
from medsent.input.shard import BadShard
from medsent.runs.log import Power

_SPARE_STARTS, _SPARE_EACH = 5, 2
"""Starts allowed without a record done in between, besides one for each replica; after these no
scorer is admitted. In a large pool two for each replica, since all engines may die with their
nodes before the first record."""


@dataclass(frozen=True)
class EngineEvent(Event):
    """An event, with the replica that it happened to; `pool` for all of them."""

    replica: str


@dataclass
class Status:
    """A job's state at one moment."""

    records: int = 0
    """Records done in this session."""
    answers: int = 0
    """Answers that came back, one a record and variant; those of quarantined records count."""
    starts_s: dict[str, float] = field(default_factory=dict)
    """Replica to the seconds its first engine took to start."""
    starting: set[str] = field(default_factory=set)
    """Replicas whose first engine is about to start."""
    failing: set[str] = field(default_factory=set)
    """Those whose engine did not start and is tried again."""
    notes: list[EngineEvent] = field(default_factory=list)
    """What happened, oldest first."""
    failure: tuple[str, str] | None = None
    """Kind and message of the first error that ends the job."""
    quarantined: dict[str, BadShard] = field(default_factory=dict)
    """Shards that could not be read on, by path."""
    power: dict[str, Power] = field(default_factory=dict)
    """Replica to what its GPUs have drawn."""
    start_failure: tuple[str, str] | None = None
    """Kind and message of a scorer that did not start; None again once one has started."""

    @property
    def running(self) -> int:
        """How many scorers have started; one that was replaced on another node counts once."""
        return len(set(map(_actor, self.starts_s)))


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Monitor:
    """One small actor, beside the driver, that all scorers report to."""

    def __init__(self, replicas: int) -> None:
        """Count for a pool of at most `replicas` scorers."""
        self._status = Status()
        self._replicas = replicas
        self._starts = self._given_up = 0
        self._blocks: set[str] = set()
        self._draining = False

    def starting(self, replica: str) -> str | None:
        """Admit a scorer; returns why not when scorers only die and start again."""
        self._starts += 1
        waiting = {each for each in self._status.starting if _actor(each) != _actor(replica)}
        self._status.starting = waiting
        if replica in self._status.starts_s:
            self.note(EngineEvent(EventKind.RESTART, 0.0, "the actor ended", replica))
        else:
            self._status.starting.add(replica)
        if self._starts <= self._replicas + max(_SPARE_STARTS, _SPARE_EACH * self._replicas):
            return None
        self._status.starting.discard(replica)
        return (
            f"scorers started {self._starts} times without one block of records done between; "
            f"{self._last_cause()}"
        )

    def started(self, replica: str, seconds: float) -> None:
        """Keep that an engine is ready; a failure to start before it is forgotten."""
        self._status.starting.discard(replica)
        self._status.failing.discard(replica)
        self._status.starts_s.setdefault(replica, seconds)
        self._status.start_failure = None

    def did_not_start(self, kind: str, message: str) -> None:
        """Keep why a scorer could not start, where none has: else it is not what ends the job."""
        if not self._status.starts_s:
            self._status.start_failure = (kind, message)

    def others_work(self, replica: str) -> bool | None:
        """Tell a scorer that did not start whether any has; None while some still may."""
        self._status.starting.discard(replica)
        self._status.failing.add(replica)
        if self._status.starts_s:
            return True
        return None if self._status.starting else False

    def done(self, block: str, records: int) -> None:
        """Count the records of a block that a scorer has written.

        One that is scored again, since its receipt was lost, is no progress.
        """
        if block in self._blocks:
            return
        self._blocks.add(block)
        self._status.records += records
        self._starts = self._given_up = 0

    def answered(self, answers: int) -> None:
        """Count answers, so that progress shows within a block."""
        self._status.answers += answers

    def drew(self, replica: str, power: Power) -> None:
        """Keep what a scorer's GPUs have drawn since its first block."""
        self._status.power[replica] = power

    def note(self, note: EngineEvent) -> None:
        """Keep what happened to an engine."""
        self._status.notes.append(note)

    def gave_up(self, replica: str, cause: str) -> bool:
        """Return whether a scorer whose engines only die should be replaced; else the job ends.

        There are as many replacements as replicas: a node or a device may be what is broken.
        """
        self.note(EngineEvent(EventKind.GAVE_UP, 0.0, cause, replica))
        self._given_up += 1
        if self._given_up <= self._replicas:
            return True
        self.fail(EngineGoneError.__name__, cause)
        return False

    def fail(self, kind: str, message: str) -> None:
        """Keep the first failure; messages never hold an opinion's text."""
        if self._status.failure is None:
            self._status.failure = (kind, message)

    def quarantine(self, bad: BadShard) -> None:
        """Keep a shard that could not be read on."""
        self._status.quarantined[bad.path] = bad

    def drain(self) -> None:
        """Ask the scorers to finish what is in flight and to begin nothing."""
        self._draining = True

    def draining(self) -> bool:
        """Tell whether the job is to end."""
        return self._draining

    def status(self) -> Status:
        """Return the state now."""
        return self._status

    def _last_cause(self) -> str:
        causes = [note.cause for note in self._status.notes if note.kind != EventKind.START]
        return f"the last cause: {causes[-1]}" if causes else "no cause is known"


def _actor(replica: str) -> str:
    """Return the part of a replica's name that stays where its actor starts on another node."""
    return replica.rpartition("-")[2]
