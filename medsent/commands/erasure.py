"""Opinions that a run must hold no more: blanked where they are scored, never scored again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from medsent.commands.backfill import export
from medsent.errors import RunError
from medsent.metrics.cuts import KeptCuts
from medsent.metrics.model import read_metrics
from medsent.metrics.statistics.thresholds import read_thresholds
from medsent.predictions import rewrite
from medsent.report.write import FILES, write_files
from medsent.runs.blocks import tidy
from medsent.runs.clusters import Clusters
from medsent.runs.drifted import forget_drift
from medsent.runs.erased import Erased
from medsent.runs.folder import QUOTING, RunFolder
from medsent.scoring import accounting
from medsent.storage.paths import AnyPath, names_below, open_parquet, write_whole

_FIGURES = FILES[0]
_REPORTS = (*FILES, *QUOTING)
"""Files that may quote opinions, or count so few records that they reveal one."""
_WORKERS = 4


@dataclass(frozen=True)
class Rewritten:
    """What an erasure wrote anew in a run."""

    records: int = 0
    """Records that were blanked in the predictions."""
    files: tuple[str, ...] = ()
    """Files of predictions that held them."""
    labelled_rows: int = 0
    labelled_files: tuple[str, ...] = ()
    comparisons: tuple[AnyPath, ...] = ()
    """Folders of comparisons with the run, whose reports are removed."""
    complete: bool = False
    """Whether the run is complete: its manifest was written anew, and its report is to be."""


def erase(run: RunFolder, opinion_ids: Sequence[str]) -> Rewritten:
    """Take opinions out of a run.

    They are added to the run's own list (since the run may be moved) before anything else that
    mentions them is deleted, so that nothing is forgotten if the command is killed: see `resume`.
    Thresholds come first: their hashes are made from the ids, which the list does not hold.
    """
    forget_tuned_on(run, opinion_ids)
    Erased.read(run).with_opinions(opinion_ids).write(run)
    return resume(run)


def resume(run: RunFolder) -> Rewritten:
    """Take out the opinions on a run's list that may still be in it; every step may be repeated."""
    erased = Erased.read(run)
    if not erased.pending:
        return Rewritten()
    scored, manifest = run.holds_predictions(), run.manifest()
    figures = run.path / _FIGURES
    old_night = not scored and figures.is_file()
    for file in _quoting(run):
        if not (old_night and file.name in FILES):
            file.unlink(missing_ok=True)
    if old_night:
        # Without predictions only the figures are left, and they stay. Reports are made again from
        # these alone, since reports of earlier versions quote opinions.
        write_files(run, read_metrics(figures))
    else:
        forget_drift(run)
    tidy(run)
    export.finish(run)
    held, handed_on = (_holding(folder, erased) for folder in (run.predictions, run.labelled))
    found = erased.found.union(*held.values(), *handed_on.values())
    erased = erased.model_copy(update={"found": found, "pending": True})
    erased.write(run)  # before the rest: a kill must not lose which opinions were here
    if clusters := Clusters.read(run):
        clusters.without(erased).write(run)
    compared = _remove_comparisons(run) if held else ()
    blanked = _each(run.predictions, held, erased, erased.blank)
    removed = _each(run.labelled, handed_on, erased, erased.drop)
    if manifest is not None and scored:
        fanned_out = run.config().input.fan_out == "personas"
        account = accounting.count(run, [], fanned_out=fanned_out)
        records = accounting.recounted(manifest.records, account)
        now = manifest.model_copy(update={"records": records})
        run.write(run.manifest_file.name, now.to_json())
    erased.model_copy(update={"pending": False}).write(run)
    return Rewritten(*blanked, *removed, compared, complete=manifest is not None)


def forget_tuned_on(run: RunFolder, opinion_ids: Sequence[str]) -> None:
    """Take the hashes of opinions, and of their texts, out of the thresholds files of a run."""
    if any(run.path.glob("thresholds.json")):
        kept = KeptCuts.read(run)
        if (cuts := kept.without(opinion_ids)) != kept:
            cuts.write(run)
    for file in run.path.glob("thresholds-*.json"):
        thresholds = read_thresholds(file)
        left = thresholds.model_copy(update={"tuned_on": thresholds.tuned_on.without(opinion_ids)})
        if left != thresholds:
            write_whole(file, left.to_json())


def _quoting(run: RunFolder) -> Iterator[AnyPath]:
    """Yield the reports, and temporary files that a killed command left behind."""
    for name in _REPORTS:
        yield run.path / name
        yield from run.path.glob(f".{name}.*")
    for folder in (run.predictions, run.labelled):
        yield from (folder / name for name in names_below(folder, ".*.parquet.*"))


def _remove_comparisons(run: RunFolder) -> tuple[AnyPath, ...]:
    """Remove the reports of comparisons beside a run that count its records."""
    found = []
    for folder in run.path.parent.glob("compare-*"):
        with suppress(RunError):  # it is none of ours
            sides = read_metrics(folder / "metrics.json").provenance
            if any(f"@{run.path.name} " in f"{name} " for name in sides):
                for name in reversed(FILES):  # last the one that tells whose they are
                    (folder / name).unlink(missing_ok=True)
                found.append(folder)
    return tuple(found)


def _holding(folder: AnyPath, erased: Erased) -> dict[str, frozenset[str]]:
    """Return the files that hold listed opinions, each to the hashes of those."""

    def among(name: str) -> frozenset[str]:
        with open_parquet(folder / name) as parquet:
            return erased.among(parquet.read(columns=["opinion_id"])["opinion_id"])

    names = names_below(folder, "*.parquet")
    with ThreadPoolExecutor(_WORKERS) as threads:
        found = zip(names, threads.map(among, names), strict=True)
        return {name: hashes for name, hashes in found if hashes}


def _each(
    folder: AnyPath,
    names: Iterable[str],
    erased: Erased,
    changed: Callable[[pa.Table], pa.Table],
) -> tuple[int, tuple[str, ...]]:
    """Write files anew that hold listed opinions; return their rows, and which they were."""
    some = tuple(names)

    def write(name: str) -> int:
        with open_parquet(folder / name) as parquet:
            rows = parquet.read()
        rewrite(folder / name, changed(rows))
        return int(pc.sum(erased.matches(rows["opinion_id"])).as_py() or 0)

    with ThreadPoolExecutor(_WORKERS) as threads:
        return sum(threads.map(write, some)), some
