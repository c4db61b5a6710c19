"""`medsent backfill --dry-run`: what is left to score, and the time and money it will take."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from medsent.commands.backfill.budget import Spent
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.check import tell
from medsent.commands.compare import open_reference
from medsent.console import Say
from medsent.runs.folder import RunFolder, runs_named
from medsent.runs.log import Scored
from medsent.scoring.accounting import count_done
from medsent.scoring.opening import run_of
from medsent.scoring.plan import Plan, make_plan


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


def estimate(config: BackfillConfig, say: Say = print) -> str:
    """Print what a backfill comes to; return the last line. Raises `MedsentError`."""
    open_reference(config.reference, list(config.variants))
    plan = make_plan(config.job(), say)
    tell(plan, say, here=False)
    run = run_of(plan)
    done = count_done(plan, run)
    left = max(0, plan.records - done)
    pace = _latest_pace(plan)
    for heading, text in _lines(config, run, done, left, pace):
        say(f"{heading:<15} {text}")
    time = "" if pace is None else f" in about {pace.hours(left):,.2f} hours"
    return f"Ready: `medsent backfill` with the same file scores {left:,} records{time}"


def _lines(
    config: BackfillConfig, run: RunFolder, done: int, left: int, pace: Pace | None
) -> Iterator[tuple[str, str]]:
    yield "Run", f"{run.path}: {done:,} records done, {left:,} left"
    if done:
        yield "Cost so far", Spent.read(run).told(config)
    if pace is None:
        yield "Time", "unknown: no run of this name has scored here yet; try --limit 100 first"
        return
    hours = pace.hours(left)
    replica_hours = hours * pace.replicas
    yield "Time", f"about {hours:,.2f} hours on what {pace.run} had ({pace.replicas:.1f} engines)"
    yield "Price", _price(config, replica_hours)


def _price(config: BackfillConfig, replica_hours: float) -> str:
    told = f"about {Spent(replica_s=3600 * replica_hours).told(config)}"
    if config.price is None:
        return f"{told}; set price.per_replica_hour to see it in money"
    return told


def _latest_pace(plan: Plan) -> Pace | None:
    """Return the pace of the run of this name that scored last."""
    runs = runs_named(run_of(plan).path.parent, plan.config.name)
    paces = [pace for pace in map(Pace.of, runs) if pace is not None]
    return max(paces, key=lambda pace: pace.at, default=None)
