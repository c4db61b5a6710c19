"""One job from its configuration to its report: plan, score what is missing, reduce, write."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import yaml

from medsent.commands.announcement import summary, warn
from medsent.commands.backfill.budget import counted
from medsent.commands.erasure import resume as finish_erasure
from medsent.commands.requeue import Selection, take_out
from medsent.commands.requeue import resume as finish_requeue
from medsent.config.job import JobConfig
from medsent.engine.events import DEATHS
from medsent.errors import (
    ConfigError,
    InputError,
    RunError,
    StoppedError,
    UsageError,
    is_refused_write,
    storage_failure,
)
from medsent.input.files import canonical
from medsent.input.shard import BadShard
from medsent.input.shards import Shards, find_rewritten
from medsent.metrics.cuts import Cuts, KeptCuts
from medsent.metrics.near_duplicates import keep_clusters
from medsent.report.write import write_report
from medsent.runs.blocks import Done, Piece, tidy
from medsent.runs.erased import list_carried
from medsent.runs.folder import RunFolder
from medsent.runs.ledger import Ledger, refuse_former
from medsent.runs.log import EngineLogged, Scored, Started
from medsent.runs.manifest import Manifest, Timing
from medsent.scoring import accounting
from medsent.scoring.hopeless import refuse_nothing_scored
from medsent.scoring.identity import versions
from medsent.scoring.monitor import Status
from medsent.scoring.opening import open_run
from medsent.scoring.pipeline import Session, Watch, score
from medsent.scoring.plan import Plan, make_plan
from medsent.scoring.progress import ScoringProgress
from medsent.scoring.resumption import (
    admitted,
    missing,
    refuse_bad,
    refuse_dropped,
    refuse_other_versions,
)
from medsent.scoring.stop import Stop
from medsent.storage.lease import Lease
from medsent.storage.paths import AnyPath, any_path, located

logger = logging.getLogger(__name__)


def evaluate(config: JobConfig) -> AnyPath:
    """Run a job, or go on with it, or just write the report of a complete one.

    Returns the path of the HTML report. Raises `MedsentError`.
    """
    plan = make_plan(config)
    run = open_run(plan)
    logger.info(summary(plan, run))
    warn(plan)
    with held(run) as stop, counted(plan.config, run) as watch:
        run.keep_config(plan.config)
        finish_what_was_cut_short(run)
        return Job(plan, run, Ledger.read(run), stop, watch).finish()


def requeue(folder: str | AnyPath, selection: Selection) -> AnyPath:
    """Score some rows of a run again, whatever became of them, and write its report anew.

    Returns the path of the HTML report. Raises `MedsentError`.
    """
    run = RunFolder(any_path(folder).resolve())
    plan = make_plan(run.config())
    _refuse_other_recipe(plan, run)
    with held(run) as stop, counted(plan.config, run) as watch:
        finish_what_was_cut_short(run)
        selection, ledger = _known(selection, run), Ledger.read(run)
        if not plan.config.input.joins:
            plan = plan.among(ledger.known(plan.shards))
        if selection.shard is not None:
            ledger = ledger.forget(selection.shard)
        job = Job(plan, run, ledger, stop, watch)  # refuses before anything is taken out
        refuse_former(run, ledger)
        taken = take_out(run, selection)
        logger.info(f"Requeued {taken:,} records of {run.path}")
        report = job.finish()
        _tell_what_is_older(run)
        return report


def rewrite_report(folder: str | AnyPath, quoted: int = 0) -> AnyPath:
    """Write the report of a complete run again, from its predictions and configuration.

    Quotes so many opinions of a kind, from the input's shards, in a report of its own.
    """
    run = RunFolder(any_path(folder).resolve())
    config = run.config()
    run.complete()
    with held(run):  # so that no erasure runs meanwhile
        finish_erasure(run)
        return write_report(run, config, run.complete(), quoted)


class Job:
    """A plan in its run folder, held by this process's lease."""

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        ledger: Ledger,
        stop: Stop,
        watch: Watch = lambda _: None,
    ) -> None:
        """Admit the plan's shards to the run; `watch` is shown how scoring goes.

        Raises `InputError` where the run cannot go on with them.
        """
        self._run, self._stop, self._watch = run, stop, watch
        self._plan, self._ledger = admitted(plan, ledger)
        refuse_bad(self._plan, self._plan.shards.bad)

    def finish(self) -> AnyPath:
        """Score what is missing, if anything is, and write the report; return its path."""
        manifest = self._run.manifest()
        refuse_dropped(self._run, manifest)
        _keep_thresholds(self._plan, self._run)
        _keep_prompts(self._plan, self._run)
        whole = manifest is not None and manifest.input == self._plan.shards.files
        lost = accounting.lost(self._plan, self._run) if whole else 0
        if lost:
            logger.info(f"Files of predictions are lost: {lost:,} records are scored again.")
        if manifest is None or not whole or lost:
            manifest = self._complete()
        else:
            logger.info("The run is complete: no engine is started, only its report is made again.")
        keep_clusters(self._run, self._plan.config, self._plan.shards)
        report = write_report(self._run, self._plan.config, manifest)
        refuse_nothing_scored(self._run, manifest.records, self._plan)
        return report

    def _complete(self) -> Manifest:
        refuse_former(self._run, self._ledger)
        self._run.manifest_file.unlink(missing_ok=True)
        self._run.predictions.mkdir(parents=True, exist_ok=True)
        self._begin_ledger()
        tidy(self._run)
        while pieces := self._missing():
            if self._stop.reason is not None:
                raise StoppedError(self._stopped())
            quarantined = self._sit(pieces)
            if not quarantined:
                break  # should a record be missing all the same, the account names its shard
            self._quarantine(quarantined)
        _refuse_rewritten(self._plan.shards)
        return self._close()

    def _missing(self) -> list[Piece]:
        """Return the row groups of which blocks have no file, and count what is done."""
        done = Done.read(self._run)
        self._done = accounting.records_done(self._plan, self._run, done)
        return missing(self._plan, done)

    def _begin_ledger(self) -> None:
        """Write the ledger, with the rows per block and the kept columns that hold from now on."""
        rows, kept = self._plan.rows_per_block, self._plan.shards.kept
        now = replace(self._plan, rows_of_run=None).rows_per_block
        if rows != now and not self._plan.shards.bad:  # with fewer shards blocks would be smaller
            logger.info(f"Blocks are of {rows:,} rows, as the run began with, not of {now:,}.")
        self._ledger = replace(self._ledger, rows_per_block=rows, kept=kept)
        self._ledger.write(self._run)
        self._plan = replace(self._plan, rows_of_run=rows)

    def _sit(self, pieces: Sequence[Piece]) -> Sequence[BadShard]:
        """Score until all is done, or the job is asked to stop; return what could not be read."""
        if self._done:
            told = f"{self._done:,} of {self._plan.records:,} records were already done."
            logger.info(f"Resuming: {told}")
        run, records = self._run, self._plan.records
        refuse_other_versions(self._plan, run)
        route, answers = self._plan.config.route, self._plan.answers_per_record
        share = route and route.share
        recipe = self._plan.recipe
        run.log(Started(done=self._done, versions=versions(), recipe=recipe, share=share))
        started = time.monotonic()
        with ScoringProgress(records, answers, self._done, run.log) as progress:

            def watch(status: Status) -> None:
                progress.update(status)
                self._watch(status)

            try:
                session = score(self._plan, run, pieces, watch, self._stop)
            except StoppedError as error:
                raise StoppedError(self._stopped()) from error
        run.log(
            Scored(
                start_up_s=session.start_up_s,
                total_s=session.total_s,
                records=session.records,
                power=session.power,
            )
        )
        if self._stop.reason is not None:
            raise StoppedError(self._stopped())
        logger.info(_session_line(session, time.monotonic() - started))
        return session.quarantined

    def _stopped(self) -> str:
        done = accounting.count_done(self._plan, self._run)
        return (
            f"stopped ({self._stop.reason}): {done:,} of {self._plan.records:,} records are "
            "done and written; the same command goes on from there"
        )

    def _quarantine(self, bad: Sequence[BadShard]) -> None:
        """Go on without shards that could not be read, where that is allowed."""
        refuse_bad(self._plan, bad)
        for shard in bad:
            logger.info(f"Quarantined: {shard.message}")
            self._ledger = self._ledger.quarantine(shard)
        self._ledger.write(self._run)
        self._plan = self._plan.over(self._ledger.readable(self._plan.shards))

    def _close(self) -> Manifest:
        """Check that every row has exactly one outcome, and write the manifest."""
        plan, run = self._plan, self._run
        tidy(run)  # a scorer that outlived another driver may have left a part beside its block
        finish_erasure(run)  # of what was listed while the run was scored
        variants = [variant.name for variant in plan.variants]
        account = accounting.count(
            run, variants, fanned_out=bool(plan.readers), languages=plan.languages
        )
        deaths = [event for event in run.events(EngineLogged) if event.kind in DEATHS]
        manifest = Manifest(
            fingerprint=run.fingerprint,
            night=plan.config.night,
            input=plan.shards.files,
            records=accounting.settle(account, self._ledger, run, plan),
            shards_quarantined=self._ledger.quarantined(),
            engine_deaths=len(deaths),
            timing=_timing(run),
            provenance=plan.provenance(),
        )
        run.write(run.manifest_file.name, manifest.to_json())
        return manifest


def finish_what_was_cut_short(run: RunFolder) -> None:
    """Finish a requeue or erasure that was killed midway; erase what other runs here erased."""
    list_carried(run.path.parent)
    finish_requeue(run)
    finish_erasure(run)


@contextmanager
def held(run: RunFolder) -> Iterator[Stop]:
    """Hold a run alone; what its storage refuses within is said as such."""
    stop = Stop()
    lease = Lease(
        *located(run.path / "lease"),
        on_lost=lambda: stop.force("the lease on the run folder is lost"),
    )
    try:
        with lease, stop.on_sigterm():
            yield stop
    except OSError as error:
        if not is_refused_write(error, run.path):
            raise
        raise storage_failure(error, run.path) from error


def _tell_what_is_older(run: RunFolder) -> None:
    """Name what another command made of a run's answers before they changed."""
    for made, command in ((run.labelled, "backfill"), (run.path / "gate.json", "nightly")):
        if made.exists():
            logger.info(
                f"{made} is older than these answers; `medsent {command}` brings it up to date"
            )


def _known(selection: Selection, run: RunFolder) -> Selection:
    """Return a selection with its shard by the path that the run knows it by."""
    if selection.shard is None:
        return selection
    shards = Ledger.read(run).shards
    for path in (selection.shard, canonical(selection.shard)):
        if path in shards:
            return selection.model_copy(update={"shard": path})
    raise UsageError(f"--shard: {selection.shard} is no shard of {run.path}")


def _refuse_rewritten(shards: Shards) -> None:
    """Refuse to complete a run of which a shard was rewritten while it was scored."""
    rewritten = find_rewritten(shards)
    if rewritten:
        raise InputError("; ".join(shard.message for shard in rewritten))


def _refuse_other_recipe(plan: Plan, run: RunFolder) -> None:
    """Refuse to score rows of a run in another way than its others."""
    starts = run.events(Started)
    if not starts:
        raise RunError(f"{run.path} has scored nothing yet; run its job first")
    if starts[-1].recipe != plan.recipe:
        raise ConfigError(
            f"{run.path} was scored with another model, adapter, prompt or persona file than "
            "its configuration names now; put those back, or make a new run with `evaluate`"
        )


def _timing(run: RunFolder) -> Timing:
    sessions = run.events(Scored)
    return Timing(
        start_up_s=sum(session.start_up_s for session in sessions),
        total_s=sum(session.total_s for session in sessions),
        records=sum(session.records for session in sessions),
        sittings=len(run.events(Started)),
    )


def _keep_thresholds(plan: Plan, run: RunFolder) -> None:
    """Write the thresholds into the run, so that its report depends on nothing outside it."""
    kept = {
        variant.name: Cuts(
            probabilities=variant.has_probabilities,
            file=variant.settings.thresholds or "0.5 for every label",
            values=variant.thresholds,
            tuned_on=variant.tuned_on and variant.tuned_on.model_dump(mode="json"),
        )
        for variant in plan.variants
    }
    KeptCuts(kept).write_again(run)


def _keep_prompts(plan: Plan, run: RunFolder) -> None:
    """Write into the run what each variant was asked, and in which form it was to answer."""
    kept = {
        variant.name: {
            "prompt": variant.prompt.content(),
            **({"answer": variant.answer.content()} if variant.answer else {}),
        }
        for variant in plan.variants
    }
    run.write("prompts.yaml", yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def _session_line(session: Session, total_s: float) -> str:
    return (
        f"Scored {session.records:,} records in {total_s:.0f} s, "
        f"of which {session.start_up_s:.0f} s were the engine's start."
    )
