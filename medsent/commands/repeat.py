"""A job asked several times, to see how much of its figures comes from the machine alone."""

import logging

from medsent.commands.evaluate import evaluate, rewrite_report
from medsent.config.job import JobConfig
from medsent.runs.repeats import repeat_name
from medsent.storage.paths import AnyPath

logger = logging.getLogger(__name__)


def evaluate_repeatedly(config: JobConfig, times: int) -> AnyPath:
    """Run a job so many times in all, and write what changed into the first run's report.

    Each time is a run of its own, `<name>-repeat-2` and so on beside the first, so that each is
    resumed, requeued and erased like any other; one that is complete is not scored again. Returns
    the path of the first run's HTML report. Raises `MedsentError`.
    """
    report = evaluate(config)
    for number in range(2, times + 1):
        logger.info(f"The same records again, time {number} of {times}:")
        evaluate(config.model_copy(update={"name": repeat_name(config.name, number)}))
    return rewrite_report(report.parent) if times > 1 else report
