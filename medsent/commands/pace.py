"""How fast the latest run of a name was, from which the time of the next one is told."""

from dataclasses import dataclass
from datetime import datetime

from medsent.runs.folder import RunFolder, runs_named
from medsent.runs.log import Scored
from medsent.scoring.opening import run_of
from medsent.scoring.plan import Plan


@dataclass(frozen=True)
class Pace:
    """That of a run, complete or not, over all its sessions that came to their end."""

    run: RunFolder
    at: datetime
    """When it last scored."""
    start_up_s: float
    """The engines' start, the last time."""
    s_per_record: float

    @classmethod
    def latest(cls, plan: Plan) -> "Pace | None":
        """Return that of the run of a plan's name that scored last; None where none has.

        Raises `RunError` where the log of one cannot be read.
        """
        runs = runs_named(run_of(plan).path.parent, plan.config.name)
        paces = [pace for pace in map(cls.of, runs) if pace is not None]
        return max(paces, key=lambda pace: pace.at, default=None)

    @classmethod
    def of(cls, run: RunFolder) -> "Pace | None":
        """Return that of a run; None where it has finished no session of scoring."""
        sessions = [event for event in run.events(Scored) if event.records]
        if not sessions:
            return None
        scoring_s = sum(event.scoring_s for event in sessions)
        records = sum(event.records for event in sessions)
        return cls(run, sessions[-1].at, sessions[-1].start_up_s, scoring_s / records)

    def seconds(self, records: int) -> float:
        """Return how long so many records take, with as many engines."""
        return self.start_up_s + self.s_per_record * records if records else 0.0
