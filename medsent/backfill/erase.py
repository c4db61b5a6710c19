"""`medsent erase`: opinions out of runs, and every file that told of them made anew."""

from collections.abc import Sequence

from medsent import erasure
from medsent.errors import UsageError
from medsent.evaluation import held
from medsent.model import Say
from medsent.reporting import write_report
from medsent.run import RunFolder
from medsent.storage import AnyPath, any_path


def erase(folders: Sequence[str | AnyPath], opinion_ids: Sequence[str], say: Say = print) -> str:
    """Take opinions out of some runs, one run after the other; return what to say last.

    Raises `UsageError` where an id is empty, and `MedsentError` where a folder is no run or is
    held by a job: the runs before it are done, and the same command does the rest.
    """
    if not all(opinion_ids):
        raise UsageError("--opinion-id: an id is empty, and every record without one would go")
    runs = [RunFolder(any_path(folder).resolve()) for folder in folders]
    for run in runs:
        run.config()  # refuses what is no run before anything is touched
    records = sum(_erase(run, opinion_ids, say) for run in runs)
    asked, where = len(set(opinion_ids)), len(runs)
    return f"Erased {records:,} records of {asked:,} opinions in {where:,} runs"


def _erase(run: RunFolder, opinion_ids: Sequence[str], say: Say) -> int:
    with held(run, say):
        done = erasure.erase(run, opinion_ids)
        say(f"{run.path}: {_told(done)}")
        if done.complete:
            say(str(write_report(run, run.config(), run.complete(), lambda _: None)))
    return done.records


def _told(done: erasure.Rewritten) -> str:
    if not done.records and not done.labelled_rows:
        return (
            "holds no record of them, or none any more; should one come in a shard, it is left out"
        )
    return (
        f"{done.records:,} records erased, {done.files:,} files of predictions rewritten; "
        f"{done.labelled_rows:,} labelled rows removed, {done.labelled_files:,} files rewritten; "
        f"{'manifest and report made again' if done.complete else 'the run is not complete yet'}"
    )
