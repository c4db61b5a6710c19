"""A job asked several times, to see how much of its figures comes from the machine alone."""

import logging
from dataclasses import replace

from medsent.commands.evaluate import evaluate, rewrite_report
from medsent.config.job import JobConfig
from medsent.errors import ConfigError, RunError
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.repeats import repeat_name
from medsent.scoring.opening import open_run
from medsent.scoring.plan import make_plan
from medsent.scoring.resumption import refuse_other_versions
from medsent.storage.paths import AnyPath

logger = logging.getLogger(__name__)


def evaluate_repeatedly(config: JobConfig, times: int) -> AnyPath:
    """Run a job so many times in all, and write what changed into the first run's report.

    Each time is a run of its own, `<name>-repeat-2` and so on beside the first, so that each is
    resumed, requeued and erased like any other; one that is complete is not scored again. Returns
    the path of the first run's HTML report. Raises `MedsentError`; `ConfigError` or `RunError`
    where a repeat would not be of the same job as the first run, before it scores anything.
    """
    report = evaluate(config)
    first = RunFolder(report.parent)
    for number in range(2, times + 1):
        logger.info(f"The same records again, time {number} of {times}:")
        again = config.model_copy(update={"name": repeat_name(config.name, number)})
        _begin(again, first)
        evaluate(again)
    return rewrite_report(first.path) if times > 1 else report


def _begin(again: JobConfig, first: RunFolder) -> None:
    """Open a repeat's run, cut into the blocks of the first, unless it has been begun."""
    plan = make_plan(again)
    if plan.fingerprint != first.fingerprint:
        raise ConfigError(
            f"--repeat: the job is not that of {first.path} any more: a shard, the model or an "
            "adapter has changed since, or the run is of an earlier version. Give the job another "
            "name, and all its repeats are scored anew"
        )
    rows = Ledger.read(first).rows_per_block
    if rows is None:
        raise RunError(
            f"{first.path} is of an earlier version, whose records cannot be set against those of "
            "a repeat. Give the job another name, and all its repeats are scored anew"
        )
    run = open_run(plan)
    if run.manifest() is None:
        refuse_other_versions(plan, first)
    ledger = Ledger.read(run)
    if ledger.rows_per_block is None:
        replace(ledger, rows_per_block=rows).write(run)
