"""A backfill from its configuration to its labelled rows: scored, accounted for, handed on."""

import logging
from collections.abc import Sequence
from typing import Any

from medsent.commands.announcement import summary, warn
from medsent.commands.backfill.budget import Meter, Spent
from medsent.commands.backfill.export import hand_on
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.compare import open_reference
from medsent.commands.drift import Drift, DriftSettings, measure_drift
from medsent.commands.evaluate import Job, finish_what_was_cut_short, held
from medsent.config.labels import load_labels
from medsent.errors import StoppedError
from medsent.runs.drifted import write_drift
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger
from medsent.runs.shared_labels import SharedLabels
from medsent.scoring.accounting import count_done
from medsent.scoring.opening import open_run
from medsent.scoring.plan import Plan, make_plan
from medsent.storage.paths import AnyPath

logger = logging.getLogger(__name__)


def backfill(config: BackfillConfig) -> AnyPath:
    """Score what is not scored yet, new shards included, and hand it on as labelled rows.

    Returns the path of the HTML report. Raises `MedsentError`; `StoppedError` where the budget
    is used up before the records are: what is done by then is handed on.
    """
    labels = load_labels(config.labels).names
    reference = open_reference(config.reference, list(config.variants), labels)
    plan = make_plan(config.job())
    run = open_run(plan)
    logger.info(summary(plan, run))
    warn(plan)
    with held(run) as stop:
        run.keep_config(plan.config)
        finish_what_was_cut_short(run)
        meter = Meter(config, run, stop)
        job = Job(plan, run, Ledger.read(run), stop, meter.look)
        try:
            report = job.finish()
        except StoppedError as error:
            meter.settle()
            if meter.used_up and not stop.forced:
                _hand_on(plan, run, config, reference)
            left = _left(plan, run, meter.spent, config)
            raise StoppedError(f"{error}. {_cost(config, meter.spent)}{left}") from error
        meter.settle()
        _hand_on(plan, run, config, reference)
        logger.info(_cost(config, meter.spent))
        return report


def _hand_on(
    plan: Plan, run: RunFolder, config: BackfillConfig, reference: RunFolder | None
) -> None:
    done = hand_on(plan, run, config.labelled)
    logger.info(
        f"Labelled: {done.rows:,} rows in {done.files:,} files, {run.labelled} "
        f"({done.added:,} new; {done.rewritten:,} partitions written)"
    )
    if done.shortened:
        logger.info(
            f"Of the new rows {done.shortened:,} have a value that is too long to name a folder "
            f"({', '.join(config.labelled.partition_by)}): there it is shortened, and the "
            "predictions have it whole"
        )
    if reference and config.drift and run.holds_predictions():
        _watch_drift(reference, run, done.new, config.drift, list(config.variants))


def _watch_drift(
    reference: RunFolder,
    run: RunFolder,
    new: Sequence[str],
    settings: DriftSettings,
    variants: list[str],
) -> None:
    """Log what has drifted from the reference beyond its limit, and write all drifts to a file.

    This is done for the whole run, and again for what has come since the last call, which would
    go unnoticed in a large run.
    """
    parts: dict[str, Sequence[str] | None] = {"drifts": None}
    if new:
        parts["drifts_of_new"] = new
    drifts = {
        part: measure_drift(reference, run, variants, settings, names)
        for part, names in parts.items()
    }
    told: dict[str, Any] = {}
    labels, sides = SharedLabels.of(reference, run), (reference.path.name, run.path.name)
    for line in labels.told(*sides):
        logger.info(f"Drift: {line}")
    if left_out := labels.left_out(*sides):
        told["labels_left_out"] = left_out
    for part, found in drifts.items():
        told[part] = [drift.model_dump(mode="json") for drift in found]
    write_drift(run, reference, told)
    for part, found in drifts.items():
        for drift in found:
            if drift.alarm:
                logger.info(_alarm(drift, reference, of_new=part != "drifts"))


def _alarm(drift: Drift, reference: RunFolder, *, of_new: bool) -> str:
    whose = f"{drift.variant}: " if drift.variant else ""
    where = " in what is new" if of_new else ""
    told = f"{whose}{drift.message}; {drift.limit_message}"
    return f"ALARM, drift{where}: {told}, against {reference.path}"


def _cost(config: BackfillConfig, spent: Spent) -> str:
    return f"The run has cost {spent.told(config)} so far"


def _left(plan: Plan, run: RunFolder, spent: Spent, config: BackfillConfig) -> str:
    """Say what the rest takes at the pace so far; nothing where there is none."""
    done = count_done(plan, run)
    left = plan.records - done
    if not done or left <= 0:
        return ""
    rest = Spent(replica_s=spent.replica_s * (left / done))
    return f"; the other {left:,} records take about {rest.told(config)} more"
