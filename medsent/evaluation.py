"""One job from its configuration to its report: plan, score what is missing, reduce, write."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medsent import predictions
from medsent.config import JobConfig
from medsent.errors import RunError
from medsent.model import Say
from medsent.pipeline import Sitting, score
from medsent.plan import Plan, make_plan, versions
from medsent.progress import ScoringProgress
from medsent.reporting import write_report
from medsent.run import RunFolder, open_run


def evaluate(config: JobConfig, say: Say = print) -> Path:
    """Run a job, or go on with it, or just write the report of a complete one.

    Returns the path of the HTML report. Raises `MedsentError`.
    """
    plan = make_plan(config, say)
    run = open_run(plan)
    say(_summary(plan, run))
    manifest = run.manifest()
    if manifest is None:
        manifest = _score(plan, run, say)
    else:
        say("The run is complete: no engine is started, only the report is written again.")
    _keep_thresholds(plan, run)
    return write_report(run, plan.config, manifest, say)


def rewrite_report(folder: Path, say: Say = print) -> Path:
    """Write the report of a complete run again, from its predictions and configuration."""
    run = RunFolder(folder.resolve())
    config = run.config()
    manifest = run.manifest()
    if manifest is None:
        raise RunError(f"{run.path} is not complete; run its job again to finish it first")
    return write_report(run, config, manifest, say)


def _keep_thresholds(plan: Plan, run: RunFolder) -> None:
    """Write the thresholds into the run, so that its report depends on nothing outside it."""
    kept = {
        variant.name: {
            "file": variant.settings.thresholds or "0.5 for every label",
            "values": variant.thresholds,
        }
        for variant in plan.variants
    }
    run.write("thresholds.json", json.dumps(kept, indent=1))


def _summary(plan: Plan, run: RunFolder) -> str:
    variants = ", ".join(
        f"{v.name} ({v.settings.method}{', LoRA' if v.adapter else ''})" for v in plan.variants
    )
    return (
        f"{plan.config.name}: {plan.shards.rows:,} records in {len(plan.shards.files)} shards, "
        f"variants {variants}\nRun folder {run.path}"
    )


def _score(plan: Plan, run: RunFolder, say: Say) -> dict[str, Any]:
    done = _rows_written(run)
    if done:
        say(f"Resuming: {done:,} of {plan.shards.rows:,} records were already done.")
        if done == plan.shards.rows:
            return _finish(plan, run)
    run.log("start", done=done, versions=versions())
    started = time.monotonic()
    with ScoringProgress(plan.shards.rows, len(plan.variants), done) as progress:
        sitting = score(plan, run, progress.update)
    run.log("scored", **vars(sitting))
    say(_sitting_line(sitting, time.monotonic() - started))
    return _finish(plan, run)


def _sitting_line(sitting: Sitting, total_s: float) -> str:
    return (
        f"Scored {sitting.records:,} records in {total_s:.0f} s, "
        f"of which {sitting.start_up_s:.0f} s were the engine's start."
    )


def _rows_written(run: RunFolder) -> int:
    """Return about how many records are done: a file that was cut off is not counted."""
    rows = 0
    for path in run.predictions.glob("*.parquet"):
        with suppress(pa.ArrowException, OSError):
            rows += pq.read_metadata(path).num_rows
    return rows


def _finish(plan: Plan, run: RunFolder) -> dict[str, Any]:
    """Check that every row has exactly one outcome, and write the manifest."""
    records = _account(plan, run)
    sittings = run.events("scored")
    manifest = {
        "fingerprint": plan.fingerprint,
        "input": plan.shards.listing(),
        "records": records,
        "timing": {
            "start_up_s": sum(s["start_up_s"] for s in sittings),
            "total_s": sum(s["total_s"] for s in sittings),
            "sittings": len(sittings),
        },
        "provenance": plan.provenance(),
    }
    run.write("manifest.json", json.dumps(manifest, indent=1))
    return manifest


def _account(plan: Plan, run: RunFolder) -> dict[str, Any]:
    written = predictions.dataset(run.predictions).to_table(
        columns=["row_hash", "outcome", "reason", "record_id"]
    )
    distinct = pc.count_distinct(written["row_hash"]).as_py()
    if not (distinct == written.num_rows == plan.shards.rows):
        raise RunError(
            f"{run.path} does not add up: {plan.shards.rows} rows in the input, "
            f"{written.num_rows} in predictions/, {distinct} of them distinct. The manifest is not "
            "written; run the same command again, and if it stays so, delete the run's folder"
        )
    quarantined = written.filter(pc.equal(written["outcome"], predictions.QUARANTINED))
    reasons = pc.value_counts(quarantined["reason"]).to_pylist()
    return {
        "input": plan.shards.rows,
        "scored": written.num_rows - quarantined.num_rows,
        "quarantined": quarantined.num_rows,
        "by_reason": {entry["values"]: entry["counts"] for entry in reasons},
        "duplicate_record_ids": written.num_rows
        - pc.count_distinct(written["record_id"], mode="all").as_py(),
    }
