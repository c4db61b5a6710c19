"""`medsent erase`: opinions out of runs, and every file that told of them made anew."""

import logging
from collections.abc import Sequence

import pyarrow as pa

from medsent.commands import erasure
from medsent.commands.evaluate import held
from medsent.errors import MedsentError, RunError, UsageError, place_of
from medsent.metrics.model import read_metrics
from medsent.report.write import reduce_run, write_files
from medsent.runs.folder import RunFolder
from medsent.storage.paths import AnyPath, any_path

logger = logging.getLogger(__name__)


def erase(folders: Sequence[str | AnyPath], opinion_ids: Sequence[str]) -> str:
    """Take opinions out of some runs, one run after the other; return what to say last.

    Raises `UsageError` where an id is empty and `RunError` where a folder is no run, before
    anything is touched; `RunError` where a run is held by a job or is damaged: the others are
    done, and the same command does the rest.
    """
    if not all(opinion_ids):
        raise UsageError("--opinion-id: an id is empty, and every record without one would go")
    runs = [RunFolder(any_path(folder).resolve()) for folder in folders]
    for run in runs:
        run.config()  # refuses what is no run before anything is touched
    records, failed = 0, []
    for run in runs:
        try:
            records += _erase(run, opinion_ids)
        except MedsentError as error:
            failed.append(f"{run.path}: {error}")
        except (OSError, ValueError, pa.ArrowException) as error:
            failed.append(f"{run.path}: a file in it cannot be read ({place_of(error)})")
    if failed:
        raise RunError(
            f"{len(failed)} of {len(runs)} runs may hold them still, and the same command does "
            f"these again: {'; '.join(failed)}"
        )
    asked, where = len(set(opinion_ids)), len(runs)
    return f"Erased {records:,} records of {asked:,} opinions in {where:,} runs"


def _erase(run: RunFolder, opinion_ids: Sequence[str]) -> int:
    with held(run):
        done = erasure.erase(run, opinion_ids)
        logger.info(f"{run.path}: {_told(done)}")
        for names, folder in ((done.files, run.predictions), (done.labelled_files, run.labelled)):
            for name in names:
                logger.info(f"  rewritten: {folder / name}")
        if done.complete:
            logger.info(str(_report(run)))
    return done.records


def _report(run: RunFolder) -> AnyPath:
    """Write the report again; of an old night, of which there are figures alone, from those."""
    if not run.holds_predictions():
        return write_files(run, read_metrics(run.path / "metrics.json"))
    return write_files(run, reduce_run(run, run.config(), run.complete()))


def _told(done: erasure.Rewritten) -> str:
    if not done.records and not done.labelled_rows:
        return (
            "holds no record of them, or none any more; should one come in a shard, it is left out"
        )
    files, labelled_files = len(done.files), len(done.labelled_files)
    return (
        f"{done.records:,} records erased, {files:,} files of predictions rewritten; "
        f"{done.labelled_rows:,} labelled rows removed, {labelled_files:,} files rewritten; "
        f"{'report made again' if done.complete else 'the run is not complete yet'}"
    )
