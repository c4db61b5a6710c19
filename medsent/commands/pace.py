"""What a job will take, in time and money, from how fast the latest run of its name was."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from medsent.commands.backfill.budget import Spent
from medsent.config.job import JobConfig
from medsent.errors import RunError
from medsent.runs.folder import RunFolder, runs_named
from medsent.runs.log import Scored
from medsent.scoring.opening import run_of
from medsent.scoring.plan import Plan


@dataclass(frozen=True)
class Pace:
    """How fast the latest run of a name was, complete or not."""

    run: str
    at: datetime
    """When it last scored."""
    start_up_s: float
    """The engines' start."""
    s_per_record: float
    replicas: float
    """Engines it had, in the mean."""

    @classmethod
    def of(cls, run: RunFolder) -> "Pace | None":
        """Return a run's pace; None where it has finished no stretch of scoring."""
        sessions = [event for event in run.events(Scored) if event.records]
        if not sessions:
            return None
        scoring_s = sum(event.scoring_s for event in sessions)
        spent = Spent()
        with suppress(RunError):  # a damaged one must not stop a look at the job
            spent = Spent.read(run)
        return cls(
            run.path.name,
            sessions[-1].at,
            sessions[-1].start_up_s,
            scoring_s / sum(event.records for event in sessions),
            spent.replica_s / spent.wall_s if spent.wall_s else 1.0,
        )

    def hours(self, records: int) -> float:
        """Return how long so many records take, with as many engines."""
        return (self.start_up_s + self.s_per_record * records) / 3600 if records else 0.0


def latest_pace(plan: Plan) -> Pace | None:
    """Return the pace of the run of this name that scored last."""
    runs = runs_named(run_of(plan).path.parent, plan.config.name)
    paces = [pace for pace in map(Pace.of, runs) if pace is not None]
    return max(paces, key=lambda pace: pace.at, default=None)


def cost(config: JobConfig, records: int, pace: Pace | None) -> Iterator[tuple[str, str]]:
    """Yield what so many records take, as heading and text."""
    if pace is None:
        part = "--set input.limit=100"
        yield (
            "Time",
            f"unknown: no run of this name has scored here yet; score a part first ({part})",
        )
        yield "Price", f"unknown, as the time is{_hourly(config)}"
        return
    hours = pace.hours(records)
    yield "Time", f"about {hours:,.2f} hours on what {pace.run} had ({pace.replicas:.1f} engines)"
    yield "Price", _price(config, hours * pace.replicas)


def _hourly(config: JobConfig) -> str:
    """Tell what the engines cost in an hour, where that is known."""
    if config.price is None:
        return ""
    bounds = config.engine.replicas
    low, high = (config.price.per_replica_hour * each for each in (bounds.min, bounds.max))
    span = f"{low:,.2f}" + (f" to {high:,.2f}" if high > low else "")
    return f"; its engines cost {span} {config.price.currency} an hour"


def _price(config: JobConfig, replica_hours: float) -> str:
    hours = f"about {replica_hours:,.2f} replica hours"
    if config.price is None:
        return f"{hours}; set price.per_replica_hour to see it in money"
    money = replica_hours * config.price.per_replica_hour
    return f"{hours}, {money:,.2f} {config.price.currency}"
