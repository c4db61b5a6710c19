"""What a run has cost, counted while it is scored; and its end where that is enough."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from medsent.commands.backfill.settings import BackfillConfig
from medsent.config.engine import Replicas
from medsent.config.job import JobConfig
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder
from medsent.scoring.monitor import Status
from medsent.scoring.pipeline import Watch
from medsent.scoring.stop import Stop

_FILE = "spent.json"
_WRITE_EVERY_S = 5.0
"""So much, at most, is not counted where the job is killed."""


class Spent(Written):
    """What a run has cost, over all commands that scored for it."""

    wall_s: float = 0.0
    """Seconds in which records were scored, the engines' start included."""
    replica_s: float = 0.0
    """The same multiplied by the number of engines at the time."""

    @classmethod
    def read(cls, run: RunFolder) -> "Spent":
        """Read what a run has cost. `RunError` where that is damaged: a budget rests on it."""
        return read_file(run.path / _FILE, cls, "delete it to count from nothing") or cls()

    def write(self, run: RunFolder) -> None:
        """Write it into the run, whole or not at all."""
        run.write(_FILE, self.to_json())

    @property
    def replica_h(self) -> float:
        return self.replica_s / 3600

    def money(self, config: JobConfig) -> float | None:
        """Return it in the price's currency; None without a price by the hour."""
        if config.price is None:
            return None
        each = config.price.of_replica_hour(config.model.tensor_parallel_size)
        return None if each is None else self.replica_h * each

    def told(self, config: JobConfig) -> str:
        """Say it in words."""
        hours, money = f"{self.replica_h:,.2f} replica hours", self.money(config)
        if config.price is None or money is None:
            return hours
        return f"{hours}, {money:,.2f} {config.price.currency}"


class Count:
    """Counts what a run costs while it is scored."""

    def __init__(self, replicas: Replicas, run: RunFolder) -> None:
        self._replicas, self._run = replicas, run
        self._began = time.monotonic()
        self._seen: float | None = None
        self._written = self._began
        self.spent = Spent.read(run)

    def look(self, status: Status) -> None:
        """Count the time since the last look."""
        now, bounds = time.monotonic(), self._replicas
        # `starts_s` also has engines that were replaced, so it may have more than the maximum.
        replicas = min(max(bounds.min, len(status.starts_s)), bounds.max)
        passed = 0.0 if self._seen is None else now - self._seen
        self._seen = now
        wall_s, replica_s = self.spent.wall_s + passed, self.spent.replica_s + passed * replicas
        self.spent = Spent(wall_s=wall_s, replica_s=replica_s)
        if now - self._written > _WRITE_EVERY_S:
            self._written = now
            self.spent.write(self._run)

    def settle(self) -> None:
        """Write what is counted and not written yet."""
        self.spent.write(self._run)


@contextmanager
def counted(config: JobConfig, run: RunFolder) -> Iterator[Watch]:
    """Yield a function that counts the cost of scoring, or does nothing if it is no backfill's run.

    Every command that scores for a backfill counts, since the budget of money is for all of them.
    """
    if not (run.path / _FILE).exists():
        yield lambda _: None
        return
    count = Count(config.engine.replicas, run)
    try:
        yield count.look
    finally:
        count.settle()


class Meter(Count):
    """Watches a job while it scores, and asks it to stop where its budget is used up."""

    def __init__(self, config: BackfillConfig, run: RunFolder, stop: Stop) -> None:
        super().__init__(config.engine.replicas, run)
        self._config, self._stop = config, stop
        self.used_up = False
        """Whether the job was asked to stop for its budget."""
        self._check()

    def look(self, status: Status) -> None:
        """Count the time since the last look, and check the budget."""
        super().look(status)
        self._check()

    def _check(self) -> None:
        reason = self._reason()
        if reason is not None and self._stop.reason is None:
            self.used_up = True
            self._stop.ask(reason)

    def _reason(self) -> str | None:
        budget, price = self._config.budget, self._config.price
        if budget.hours is not None and time.monotonic() - self._began >= budget.hours * 3600:
            return f"the budget of {budget.hours:g} hours is used up"
        spent = self.spent.money(self._config)
        if budget.money is not None and price and spent is not None and spent >= budget.money:
            return f"the budget of {budget.money:g} {price.currency} is used up, so raise it first"
        return None
