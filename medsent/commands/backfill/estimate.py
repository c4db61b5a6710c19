"""`medsent backfill --dry-run`: what is left to score, and the time and money it will take."""

import logging
from collections.abc import Iterator

from medsent.commands.backfill.budget import Spent
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.check import tell
from medsent.commands.compare import open_reference
from medsent.commands.pace import Pace, cost
from medsent.runs.folder import RunFolder
from medsent.scoring.accounting import count_done
from medsent.scoring.opening import run_of
from medsent.scoring.plan import make_plan
from medsent.scoring.resumption import refuse_run

logger = logging.getLogger(__name__)


def estimate(config: BackfillConfig) -> str:
    """Print what a backfill comes to; return the last line. Raises `MedsentError`."""
    open_reference(config.reference, list(config.variants))
    plan = make_plan(config.job())
    refuse_run(plan)
    tell(plan, here=False)
    run = run_of(plan)
    done = count_done(plan, run)
    left = max(0, plan.records - done)
    pace = Pace.latest(plan)
    for heading, text in _lines(config, run, done, left, pace):
        logger.info(f"{heading:<15} {text}")
    time = "" if pace is None else f" in about {pace.seconds(left) / 3600:,.2f} hours"
    return f"Ready: `medsent backfill` with the same file scores {left:,} records{time}"


def _lines(
    config: BackfillConfig, run: RunFolder, done: int, left: int, pace: Pace | None
) -> Iterator[tuple[str, str]]:
    yield "Run", f"{run.path}: {done:,} records done, {left:,} left"
    if done:
        yield "Cost so far", Spent.read(run).told(config)
    yield from cost(config, left, pace)
