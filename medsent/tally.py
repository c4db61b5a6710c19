"""What the actors tell the driver while a job runs: progress, starts, and why one failed."""

from dataclasses import dataclass, field

import ray


@dataclass
class Standing:
    """A job's state at one moment."""

    records: int = 0
    """Records done in this sitting."""
    answers: int = 0
    """Answers that came back, one a record and variant; those of quarantined records count."""
    starts_s: dict[str, float] = field(default_factory=dict)
    """Replica to the seconds its engine took to start."""
    failure: tuple[str, str] | None = None
    """Kind and message of the first error that ends the job."""


@ray.remote(num_cpus=0)
class Tally:
    """One small actor that all scorers report to."""

    def __init__(self) -> None:
        self._standing = Standing()

    def done(self, records: int) -> None:
        """Count records that a scorer has finished."""
        self._standing.records += records

    def answered(self, answers: int) -> None:
        """Count answers, so that progress shows within a block."""
        self._standing.answers += answers

    def started(self, replica: str, seconds: float) -> None:
        """Note that an engine is ready."""
        self._standing.starts_s[replica] = seconds

    def fail(self, kind: str, message: str) -> None:
        """Keep the first failure; messages never hold an opinion's text."""
        if self._standing.failure is None:
            self._standing.failure = (kind, message)

    def standing(self) -> Standing:
        """Return the state now."""
        return self._standing
