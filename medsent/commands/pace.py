"""What a job will take, in time and money, from how fast the latest run of its name was."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from medsent.commands.backfill.budget import Spent
from medsent.config.job import JobConfig
from medsent.errors import RunError, place_of
from medsent.runs.folder import RunFolder, runs_named
from medsent.runs.log import Scored
from medsent.scoring.opening import run_of
from medsent.scoring.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How fast a run was, complete or not, over all its sessions that came to their end."""

    run: RunFolder
    start_up_s: float
    """The engines' start, the last time."""
    s_per_record: float

    @classmethod
    def latest(cls, plan: Plan) -> "Pace | None":
        """Return the pace of the run of the plan's name that was at work last; None without any.

        Runs with no finished session, or a log that cannot be read, are passed over.
        """
        runs = []
        for run in runs_named(run_of(plan).path.parent, plan.config.name):
            with suppress(OSError):
                runs.append((run.logged_ns(), run))
        for _, run in sorted(runs, key=lambda each: each[0], reverse=True):
            try:
                if (pace := cls.of(run)) is not None:
                    return pace
            except (RunError, OSError, UnicodeDecodeError) as error:
                told = error if isinstance(error, RunError) else place_of(error)
                logger.warning(f"No time is taken from {run.path.name}: {told}")
        return None

    @classmethod
    def of(cls, run: RunFolder) -> "Pace | None":
        """Return that of a run; None where it has finished no session of scoring."""
        sessions = [event for event in run.events(Scored) if event.records]
        if not sessions:
            return None
        scoring_s = sum(event.scoring_s for event in sessions)
        records = sum(event.records for event in sessions)
        return cls(run, sessions[-1].start_up_s, scoring_s / records)

    @property
    def replicas(self) -> float:
        """The engines that it had, in the mean; 1 where that was not counted."""
        spent = Spent()
        with suppress(RunError):  # a damaged count must not stop a look at the job
            spent = Spent.read(self.run)
        return spent.replica_s / spent.wall_s if spent.wall_s else 1.0

    def seconds(self, records: int) -> float:
        """Return how long so many records take, with as many engines."""
        return self.start_up_s + self.s_per_record * records if records else 0.0


def cost(config: JobConfig, records: int, pace: Pace | None) -> Iterator[tuple[str, str]]:
    """Yield what so many records take, as heading and text."""
    if pace is None:
        part = "score a part first (--set input.limit=100)"
        yield "Time", f"unknown: no run of this name has scored here yet; {part}"
        yield "Price", f"unknown, as the time is{_hourly(config)}"
        return
    hours = pace.seconds(records) / 3600
    had = f"what {pace.run.path.name} had ({pace.replicas:.1f} engines)"
    yield "Time", f"about {hours:,.2f} hours on {had}"
    told = f"about {Spent(replica_s=3600 * hours * pace.replicas).told(config)}"
    named = "" if config.price else "; set `price` to see it in money"
    yield "Price", f"{told}{named}"


def _hourly(config: JobConfig) -> str:
    """Tell what the engines cost in an hour, where that is known."""
    price, bounds = config.price, config.engine.replicas
    if price is None:
        return ""
    each = price.of_replica_hour(config.model.tensor_parallel_size)
    if each is None:
        return ""
    low, high = each * bounds.min, each * bounds.max
    span = f"{low:,.2f}" + (f" to {high:,.2f}" if high > low else "")
    return f"; its engines cost {span} {price.currency} an hour"
