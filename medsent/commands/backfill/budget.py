"""What a run has cost, counted while it is scored; and its end where that is enough."""

import time

from medsent.commands.backfill.settings import BackfillConfig
from medsent.config.job import PriceSettings
from medsent.runs.files import Written, read_file
from medsent.runs.folder import RunFolder
from medsent.scoring.monitor import Status
from medsent.scoring.stop import Stop

_FILE = "spent.json"
_WRITE_EVERY_S = 5.0
"""So much, at most, is not counted where the job is killed."""


class Spent(Written):
    """Over all commands of a run."""

    wall_s: float = 0.0
    """While records were scored, the engines' start included."""
    replica_s: float = 0.0
    """The same times the engines there were."""

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

    def times(self, factor: float) -> "Spent":
        """Return it so many times over."""
        return Spent(wall_s=self.wall_s * factor, replica_s=self.replica_s * factor)

    def money(self, price: PriceSettings) -> float:
        """Return it in the price's currency."""
        return self.replica_h * price.per_replica_hour

    def told(self, price: PriceSettings | None) -> str:
        """Say it in words."""
        hours = f"{self.replica_h:,.2f} replica hours"
        return f"{hours}, {self.money(price):,.2f} {price.currency}" if price else hours


class Meter:
    """Watches a job while it scores, and asks it to stop where its budget is used up."""

    def __init__(self, config: BackfillConfig, run: RunFolder, stop: Stop) -> None:
        self._config, self._run, self._stop = config, run, stop
        self._began = time.monotonic()
        self._seen: float | None = None
        self._written = self._began
        self.spent = Spent.read(run)
        self.used_up = False
        """Whether the job was asked to stop for its budget."""
        self._check()

    def look(self, status: Status) -> None:
        """Count the time since the last look, and check the budget."""
        now = time.monotonic()
        bounds = self._config.engine.replicas
        # Those that were replaced are counted in it, so that it may be more than there can be.
        replicas = min(max(bounds.min, len(status.starts_s)), bounds.max)
        passed = 0.0 if self._seen is None else now - self._seen
        self._seen = now
        wall_s, replica_s = self.spent.wall_s + passed, self.spent.replica_s + passed * replicas
        self.spent = Spent(wall_s=wall_s, replica_s=replica_s)
        if now - self._written > _WRITE_EVERY_S:
            self._written = now
            self.spent.write(self._run)
        self._check()

    def settle(self) -> None:
        """Write what is counted and not written yet."""
        self.spent.write(self._run)

    def _check(self) -> None:
        reason = self._reason()
        if reason is not None and self._stop.reason is None:
            self.used_up = True
            self._stop.ask(reason)

    def _reason(self) -> str | None:
        budget, price = self._config.budget, self._config.price
        if budget.hours is not None and time.monotonic() - self._began >= budget.hours * 3600:
            return f"the budget of {budget.hours:g} hours is used up"
        if budget.money is not None and price and self.spent.money(price) >= budget.money:
            return f"the budget of {budget.money:g} {price.currency} is used up, so raise it first"
        return None
