"""`medsent erase`: opinions out of runs, and every file that told of them made anew."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from medsent.commands import erasure
from medsent.commands.evaluate import held
from medsent.errors import MedsentError, RunError, UsageError, place_of, some_of
from medsent.report.write import FILES, reduce_run, write_files
from medsent.runs.erased import LISTS, Erased, found_in, list_erased, listed_in, opinion_hash
from medsent.runs.folder import RunFolder
from medsent.runs.repeats import repeats_of
from medsent.storage.paths import AnyPath, any_path

logger = logging.getLogger(__name__)

_MOST_NAMED = 5
_AROUND = "\ufeff\u200b"
"""Beside white space, what programs put before or after an id without showing it."""


def read_ids(file: TextIO) -> dict[str, str]:
    """Return the ids of a file, one a line, each to where it stands; blank lines are none.

    White space around an id, and a mark of the byte order, are no part of it. Raises
    `UsageError` where the file is no UTF-8.
    """
    found: dict[str, str] = {}
    try:
        for number, line in enumerate(file, start=1):
            if name := line.strip().strip(_AROUND).strip():
                found.setdefault(name, f"line {number}")
    except UnicodeDecodeError:
        raise UsageError("--opinion-ids: the file is no UTF-8; save it as such") from None
    return found


def erase(folders: Sequence[str | AnyPath], opinion_ids: Mapping[str, str]) -> str:
    """Take opinions out of some runs, one run after the other; return what to say last.

    `opinion_ids` is each id to where the user gave it. They are listed in the output folders of
    the runs first, so that no other run there, and none to come, scores them or hands them on.
    Raises `UsageError` where an id is empty and `RunError` where a folder is no run, before
    anything is touched. Raises `RunError` after the other runs are done where a run is held by a
    job or is damaged (the same command then does the rest), or where an id was in no run.
    """
    if not all(opinion_ids):
        raise UsageError("--opinion-id: an id is empty, and every record without one would go")
    runs = _with_repeats(_runs([any_path(folder).resolve() for folder in folders]))
    outputs = list(dict.fromkeys([*(run.path.parent for run in runs), *_linked_from(folders)]))
    for output in outputs:
        list_erased(output, opinion_ids)
    records, failed = 0, []
    for run in runs:
        try:
            records += _erase(run, list(opinion_ids))
        except MedsentError as error:
            failed.append(f"{run.path}: {error}")
        except (OSError, ValueError, pa.ArrowException) as error:
            failed.append(f"{run.path}: a file in it cannot be read ({place_of(error)})")
    for output in outputs:
        _tell_others(output, runs)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(runs)} runs may still hold the opinions; give the same command "
            f"again to finish these runs: {'; '.join(failed)}"
        )
    _refuse_not_found(runs, opinion_ids)
    asked, where = len(opinion_ids), len(runs)
    return f"Erased {records:,} records of {asked:,} opinions in {where:,} runs"


def _runs(folders: Sequence[AnyPath]) -> list[RunFolder]:
    """Return the runs among folders; `runs/*` names what else lies in an output folder as well."""
    runs = []
    for folder in dict.fromkeys(folders):
        run = RunFolder(folder)
        if (told := _no_run(folder)) and not (folder / "config.yaml").exists():
            logger.info(f"Passed over: {folder}, {told}")
            continue
        run.config()  # refuses what is no run before anything is touched
        runs.append(run)
    if not runs:
        raise UsageError("erase: none of the folders is a run's")
    return runs


def _with_repeats(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Return runs with their repeats, which hold the same opinions."""
    return list(dict.fromkeys(each for run in runs for each in (run, *repeats_of(run))))


def _linked_from(folders: Sequence[str | AnyPath]) -> Iterator[AnyPath]:
    """Yield the output folders that hold a link to a run: jobs there look into its list."""
    for path in map(any_path, folders):
        if isinstance(path, Path) and path.is_symlink():
            yield path.absolute().parent.resolve()


def _no_run(folder: AnyPath) -> str | None:
    """Tell what a folder is that stands beside runs; None for any other."""
    if folder.name == LISTS and any(folder.glob("*.json")):
        return "the list of what is erased here"
    if (folder / "nights.parquet").exists():
        return "the history of nights: figures alone"
    if folder.name.startswith("compare-") or (folder / "metrics.json").exists():
        return "a comparison: it goes with what is erased from its runs"
    return None


def _erase(run: RunFolder, opinion_ids: Sequence[str]) -> int:
    with held(run):
        done = erasure.erase(run, opinion_ids)
        logger.info(f"{run.path}: {_told(done)}")
        for names, folder in ((done.files, run.predictions), (done.labelled_files, run.labelled)):
            for name in names:
                logger.info(f"  rewritten: {folder / name}")
        for compared in done.comparisons:
            logger.info(f"  removed: the report in {compared}; `medsent compare` makes it anew")
        if done.complete:
            logger.info(str(_report(run)))
        if (run.path / "gate.json").exists():
            logger.info(
                f"  {run.path / 'gate.json'} keeps the night's verdict, with figures over all "
                "records; `medsent nightly` with the night's --date makes the verdict, the night's "
                "page and its row in the history anew"
            )
    return done.records


def _report(run: RunFolder) -> AnyPath:
    """Write the report again; without predictions it was already made again from the figures."""
    if not run.holds_predictions():
        return run.path / FILES[-1]
    return write_files(run, reduce_run(run, run.config(), run.complete()))


def _tell_others(output: AnyPath, runs: Sequence[RunFolder]) -> None:
    """Name the runs of an output folder that may hold what is erased there."""
    listed = None
    with suppress(RunError):  # where its list is damaged, none of its runs can be looked into
        listed = listed_in(output)
    beside: list[AnyPath] = sorted(output.glob("*"), key=str)
    waiting = [
        each.name
        for each in beside
        if RunFolder(each.resolve()) not in runs
        and (each / "config.yaml").is_file()
        and _may_hold(RunFolder(each), listed)
    ]
    if waiting:
        logger.info(
            f"Not looked into: {some_of(waiting, _MOST_NAMED)}, in {output}. The next command that "
            "works on one of them takes out what is erased; name them here to have it done now"
        )


def _may_hold(run: RunFolder, listed: frozenset[str] | None) -> bool:
    try:
        return Erased.read(run, listed).pending
    except (OSError, RunError):  # a damaged list of another run must not hide how these went
        return True


def _refuse_not_found(runs: Sequence[RunFolder], opinion_ids: Mapping[str, str]) -> None:
    """Raise `RunError` where no run held an opinion, now or when it was erased before."""
    found = frozenset(chain.from_iterable(map(found_in, runs)))
    lost = [place for name, place in opinion_ids.items() if opinion_hash(name) not in found]
    if lost:
        raise RunError(
            f"{len(opinion_ids) - len(lost):,} of {len(opinion_ids):,} opinions were found and "
            f"erased; no run holds an opinion of these ids: {', '.join(lost)}. Look for a typing "
            "error. They stay listed as erased: if a shard brings them later, they are left out"
        )


def _told(done: erasure.Rewritten) -> str:
    if not done.records and not done.labelled_rows:
        return "holds no record of them now; if a shard brings one later, it is left out"
    files, labelled_files = len(done.files), len(done.labelled_files)
    return (
        f"{done.records:,} records erased, {files:,} files of predictions rewritten; "
        f"{done.labelled_rows:,} labelled rows removed, {labelled_files:,} files rewritten; "
        f"{'report made again' if done.complete else 'the run is not complete yet'}"
    )
